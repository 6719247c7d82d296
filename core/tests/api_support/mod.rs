//! Two nodes in one process, with separate homes and mutual trust, for the tests of the API.
#![allow(dead_code, reason = "each test program uses a part of it")]

use clerver::api::{LogLevel, Node, Session};
use clerver::identity::HostKey;
use clerver::options::Options;
use clerver::trust::TrustStore;
use std::time::Duration;
use tempfile::TempDir;

/// Long enough for any machine; nothing waits this long when all is well.
pub(crate) const SOON: Option<Duration> = Some(Duration::from_secs(20));

pub(crate) struct Home(pub(crate) TempDir);

impl Home {
    pub(crate) fn new() -> Home {
        Home(tempfile::tempdir().unwrap())
    }

    pub(crate) fn options(&self) -> Options {
        Options::new().home(self.0.path()).beat_ms(200).ttl_ms(4000)
    }

    pub(crate) fn open(&self) -> Node {
        Node::open(self.options()).unwrap()
    }

    pub(crate) fn trust(&self, other: &Home) {
        let host = HostKey::load_or_create(other.0.path()).unwrap().host_id();
        TrustStore::load(self.0.path()).unwrap().authorize(host, 1, "test").unwrap();
    }
}

/// A server and a client that trust each other, and the session between them.
pub(crate) struct Pair {
    pub(crate) server: Node,
    pub(crate) client: Node,
    pub(crate) address: String,
    pub(crate) homes: (Home, Home),
}

impl Pair {
    pub(crate) fn new() -> Pair {
        Pair::with(|options| options, |options| options)
    }

    pub(crate) fn with(
        server: impl FnOnce(Options) -> Options,
        client: impl FnOnce(Options) -> Options,
    ) -> Pair {
        let homes = (Home::new(), Home::new());
        homes.0.trust(&homes.1);
        homes.1.trust(&homes.0);
        let server = Node::open(server(homes.0.options())).unwrap();
        let client = Node::open(client(homes.1.options())).unwrap();
        if std::env::var_os("API_TEST_LOG").is_some() {
            server.set_log(LogLevel::Debug, |level, line| eprintln!("server {level:?} {line}"));
            client.set_log(LogLevel::Debug, |level, line| eprintln!("client {level:?} {line}"));
        }
        let address = server.listen("127.0.0.1:0").unwrap().to_string();
        Pair { server, client, address, homes }
    }

    /// The client's and the server's end of a new session.
    pub(crate) fn session(&self) -> (Session, Session) {
        let ours = self.client.connect(&self.address, SOON).unwrap();
        let theirs = self.server.accept(SOON).unwrap();
        (ours, theirs)
    }
}
