//! The two things that are compared: a channel of a session, and a kernel MPTCP socket.

use clerver::{ChannelOptions, ConnectOptions, Node, Options, Session};
use socket2::{Domain, Protocol, Socket, Type};
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::time::Duration;

/// Whatever went wrong, for people.
pub(crate) type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Where the receiver listens on all its addresses.
pub(crate) const PORT: u16 = 7400;
/// Heartbeat of the sessions, which says how soon a silent path is suspected.
pub(crate) const BEAT_MS: u64 = 50;
const TTL_MS: u64 = 8_000;
const SOON: Option<Duration> = Some(Duration::from_secs(20));

/// The receiving or sending end of one of them.
pub(crate) enum Carrier {
    Channel { channel: clerver::Channel, session: Session, _node: Node },
    Mptcp(Socket),
}

fn node() -> Result<Node> {
    // The options of whoever runs this are not for the bench.
    Ok(Node::open(Options::new().beat_ms(BEAT_MS).ttl_ms(TTL_MS).announce(true))?)
}

fn mptcp() -> Result<Socket> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::MPTCP))?;
    socket.set_reuse_address(true)?;
    Ok(socket)
}

impl Carrier {
    /// Waits for the sender.
    pub(crate) fn accept(kind: &str, ready: impl FnOnce()) -> Result<Carrier> {
        if kind == "mptcp" {
            let socket = mptcp()?;
            socket.bind(&SocketAddr::from(([0, 0, 0, 0], PORT)).into())?;
            socket.listen(8)?;
            ready();
            return Ok(Carrier::Mptcp(socket.accept()?.0));
        }
        let node = node()?;
        node.listen(&format!("0.0.0.0:{PORT}"))?;
        ready();
        let session = node.accept(SOON)?;
        let channel = session.accept_channel(SOON)?;
        Ok(Carrier::Channel { channel, session, _node: node })
    }

    /// Connects to the receiver; `wish` is `plain`, `standby` or `bulk`.
    pub(crate) fn connect(kind: &str, address: &str, wish: &str) -> Result<Carrier> {
        if kind == "mptcp" {
            let socket = mptcp()?;
            socket.connect(&address.parse::<SocketAddr>()?.into())?;
            socket.set_tcp_nodelay(true)?;
            return Ok(Carrier::Mptcp(socket));
        }
        let node = node()?;
        let options = ConnectOptions {
            addresses: vec![address.to_owned()],
            standby_links: u8::from(wish == "standby"),
            bulk_links: u8::from(wish == "bulk"),
            ..ConnectOptions::default()
        };
        let session = node.connect_with(options, SOON)?;
        let options = ChannelOptions {
            name: "flow".into(),
            bytes: true,
            bulk: wish == "bulk",
            ..ChannelOptions::default()
        };
        let channel = session.open_with(options, SOON)?;
        Ok(Carrier::Channel { channel, session, _node: node })
    }

    /// Takes what came; nothing is the end.
    pub(crate) fn receive(&mut self, buffer: &mut [u8]) -> Result<usize> {
        match self {
            Carrier::Channel { channel, .. } => match channel.receive(None) {
                Ok(bytes) => Ok(bytes.len()),
                Err(error) if error.code == clerver::Code::End => Ok(0),
                Err(error) => Err(error.into()),
            },
            Carrier::Mptcp(socket) => Ok(socket.read(buffer)?),
        }
    }

    /// Sends all of it.
    pub(crate) fn send(&mut self, data: &[u8]) -> Result<()> {
        match self {
            Carrier::Channel { channel, .. } => Ok(channel.send(data, None).map(drop)?),
            Carrier::Mptcp(socket) => Ok(socket.write_all(data)?),
        }
    }

    /// How many connections carry it, as far as it says.
    pub(crate) fn links(&self) -> usize {
        match self {
            Carrier::Channel { session, .. } => session.info().map_or(0, |info| info.links),
            Carrier::Mptcp(_) => 0,
        }
    }
}
