//! Two helpers that trust each other, with a fault proxy between, and a third one that must not notice anything.

use super::{LONG, Peer};
use clerver_proto::id::HostId;
use clerver_proxy::Proxy;

/// Options for tests in which time is not the point: patient on a busy machine.
pub(crate) const STEADY: &str = "beat_ms=200 ttl_ms=6000";
/// Options for tests that wait for a TTL.
pub(crate) const SWIFT: &str = "beat_ms=100 ttl_ms=2000";

/// A server and a client, both with a node `n`, and after `connect` with a session `s`.
pub(crate) struct Pair {
    pub(crate) server: Peer,
    pub(crate) client: Peer,
    pub(crate) proxy: Proxy,
    /// Where the server listens.
    pub(crate) direct: String,
}

impl Pair {
    /// Both run, with these options, and are not connected yet.
    pub(crate) fn new(options: &str) -> Pair {
        let (server, client) = (Peer::start("server"), Peer::start("client"));
        server.home.authorize(client.home.host_id());
        client.home.authorize(server.home.host_id());
        // Or its client would find the way around the proxy.
        server.ok(&format!("open n {options} node_name=server announce=false"));
        client.ok(&format!("open n {options} node_name=client"));
        server.ok("serve n echo echo");
        server.ok("kind n thing");
        server.ok("serve n keep keep:thing");
        let direct = server.ok("listen n 127.0.0.1:0");
        let proxy = Proxy::start(direct.parse().unwrap()).unwrap();
        Pair { server, client, proxy, direct }
    }

    /// As `new`, and connected through the proxy.
    pub(crate) fn connected(options: &str) -> Pair {
        let pair = Pair::new(options);
        pair.connect();
        pair
    }

    /// The server's address by way of the proxy, with its host id.
    pub(crate) fn address(&self) -> String {
        format!("clv://{}@{}", self.server.home.host_id(), self.proxy.address())
    }

    pub(crate) fn connect(&self) {
        self.client.ok(&format!("connect n s {} 20000", self.address()));
        self.server.ok("accept n s 20000");
    }

    /// Opens a channel from client to server, under the same name at both.
    pub(crate) fn channel(&self, name: &str, kind: &str) {
        self.client.ok(&format!("channel s {name} {name} {kind} 10000"));
        assert_eq!(self.server.ok(&format!("take s {name} 10000")), name);
    }

    /// A call from the client that has to come back.
    pub(crate) fn echo(&self, text: &str) {
        assert_eq!(self.client.ok(&format!("call s echo {text} 20000")), text);
    }

    /// Both ends have the session and are sure of it.
    pub(crate) fn expect_live(&self) {
        for peer in [&self.server, &self.client] {
            peer.begin("wait s live 20000").ok_within(LONG);
            assert_eq!(peer.said("! s lost"), [""; 0]);
        }
    }
}

/// A peer with a session of its own to the same server, not through the proxy. Whatever happens to others, it goes on.
pub(crate) struct Bystander(Peer);

impl Bystander {
    /// A server that lets in these hosts too, the peer with a session to it, and the server's address.
    pub(crate) fn with_server(options: &str, others: &[HostId]) -> (Bystander, Peer, String) {
        let (peer, server) = (Peer::start("bystander"), Peer::start("server"));
        // A node reads its trust at its start.
        for &host in others.iter().chain([&peer.home.host_id()]) {
            server.home.authorize(host);
        }
        server.ok(&format!("open n {options}"));
        server.ok("serve n echo echo");
        let address = server.ok("listen n 127.0.0.1:0");
        peer.ok(&format!("open n {options}"));
        peer.ok(&format!("connect n s clv://{}@{address} 20000", server.home.host_id()));
        server.ok("accept n bystander 20000");
        let bystander = Bystander(peer);
        bystander.is_well();
        (bystander, server, address)
    }

    /// Its session is the one it was, on the link it was, and works.
    pub(crate) fn is_well(&self) {
        assert_eq!(self.0.ok("call s echo hello 20000"), "hello");
        assert_eq!(self.0.said("! s link-ended"), [""; 0]);
        assert_eq!(self.0.said("! s lost"), [""; 0]);
    }
}
