//! What other threads ask, for a node, of the one that drives its sockets.

use super::bridge::Bridge;
use super::link::Link;
use super::service::IncomingCall;
use clerver_proto::error::{Error, Result};
use clerver_proto::id::{AttemptId, HostId, LinkId};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

/// A request to the driver; it answers by inputs to the protocol.
pub(crate) enum Command {
    /// Resolve and dial this address.
    Dial { attempt: AttemptId, address: String, expected: Option<HostId> },
    /// The names of a dial were looked up.
    Resolved { attempt: AttemptId, result: Result<Vec<SocketAddr>> },
    /// The dial is not wanted any more.
    CancelDial(AttemptId),
    /// Accept connections here, from peers of at least this level.
    Listen { listener: TcpListener, level_min: u8 },
    /// Look at the interfaces of this machine from now on.
    WatchNetwork,
    /// Accept no more connections anywhere.
    StopListening,
    /// The trust store was asked about the host at the other end of a dialled handshake.
    Checked { token: usize, result: Result<()> },
    /// Go on sending.
    Flush(Arc<Link>),
    /// A caller left this link unarmed: look after it.
    Tick(Arc<Link>),
    /// This link has to be closed soon, whether its peer reads or not.
    HangUp(LinkId),
    /// All was sent after a hang-up.
    Finished(LinkId),
    /// Sending failed.
    Failed(LinkId, Error),
    /// Run this handler on the driving thread.
    Run(Arc<IncomingCall>),
    /// A channel became a descriptor.
    Bridge(Box<Bridge>),
    /// Its channel is ready.
    Pump(usize),
    /// The node closes.
    PumpAll,
    /// The node is closed: it leaves the loop with everything that it has there.
    Leave,
    /// Panic.
    #[cfg(test)]
    Panic,
}
