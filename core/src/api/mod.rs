//! The public Rust API: what programs, and the C, Python and Node faces, are written against.
//!
//! Handles ([`Node`], [`Connecting`], [`Session`], [`Channel`], [`Call`]) are cheap to clone and may be used from
//! any thread. A wait is an `Option<Duration>`: `None` waits for ever. No user code runs with a lock held or inside
//! the caller's own call; it runs on worker threads, on the engine's thread when a service says `inline`, or
//! inside [`Node::run_once`] when the program drives the node itself.
//!
//! Every method that can fail may also answer `FORKED` (in a child of the process that opened the node) and
//! `CLOSED` (after the node was closed); every method that waits answers `IN_CALLBACK` inside an inline
//! handler, and `TIMEOUT` when its wait is over.
//!
//! Not here: sockets, threads and locks (those are the engine's), and the protocol (crate `clerver-proto`).

mod call;
mod channel;
mod connecting;
mod moves;
mod node;
mod object;
mod service;
mod session;

pub use crate::engine::{DescriptorKind, LogLevel, NodeEvent, SessionEvent};
pub use call::Call;
pub use channel::{Channel, Delivery, StoredMark};
pub use connecting::Connecting;
pub use node::{CloseReport, ConnectOptions, DrainReport, ListenOptions, Node, Undelivered};
pub use object::{Kind, Payload};
pub use service::{CallContext, DeferredReply, ServiceOptions};
pub use session::Session;

pub use clerver_proto::error::{Class, Code, Error, Result};
pub use clerver_proto::id::{ChannelId, HostId, NodeId, ObjectId, SessionId, Sid};
pub use clerver_proto::node::{
    AddressOrigin, ChannelOptions, ChannelReport, Counters, LossReport, MoveCause, Outcome, PeerAddress,
    SessionInfo, SessionState,
};

/// Smaller messages are copied into their channel, larger ones kept as they are.
const SHARED_BYTES_MIN: usize = 4 * 1024;

/// How long a call may block: `None` waits for ever, `Some(Duration::ZERO)` only looks.
pub type Wait = Option<std::time::Duration>;

/// The error of a wait that is over.
fn timed_out(what: &str, wait: Wait) -> Error {
    let milliseconds = wait.map_or(0, |wait| wait.as_millis());
    Error::new(Code::Timeout, format!("{what}: nothing came within {milliseconds} ms"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{in_forked_child, set_interrupt_check};
    use crate::options::Options;
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
    use std::time::Duration;

    fn open(home: &std::path::Path) -> Node {
        Node::open(Options::new().home(home).beat_ms(200).ttl_ms(2000)).unwrap()
    }

    #[test]
    fn the_child_of_a_fork_is_refused_and_the_parent_does_not_notice() {
        let home = tempfile::tempdir().unwrap();
        let (server, client) = (open(home.path()), open(home.path()));
        let address = server.listen("127.0.0.1:0").unwrap().to_string();
        let soon = Some(Duration::from_secs(20));
        let (ours, theirs) = (client.connect(&address, soon).unwrap(), server.accept(soon).unwrap());
        let channel = ours.open("x").unwrap();
        let (session, node) = (ours.clone(), client.clone());
        assert!(in_forked_child(|| {
            let code = |error: Error| error.code == Code::Forked;
            let refused = node.connect(&address, None).is_err_and(code)
                && node.close(Duration::from_secs(1)).is_err_and(code)
                && session.call("x", b"", None).is_err_and(code)
                && channel.send(b"from the child", None).is_err_and(code)
                && node.try_next_event().is_none();
            // Their destructors do nothing here, and wait for no thread.
            drop((node, session));
            refused
        }));
        channel.send(b"from the parent", soon).unwrap();
        let other = theirs.accept_channel(soon).unwrap();
        assert_eq!(other.receive(soon).unwrap(), "from the parent");
        assert_eq!(ours.state(), SessionState::Live);
    }

    #[test]
    fn a_handler_that_forks_replies_from_the_parent_alone() {
        let home = tempfile::tempdir().unwrap();
        let (server, client) = (open(home.path()), open(home.path()));
        let fork = |call: &CallContext| {
            let is_refused = in_forked_child(|| {
                let code = |error: Error| error.code == Code::Forked;
                call.reply_part(b"from the child").is_err_and(code) && call.session().info().is_err_and(code)
            });
            Ok(vec![u8::from(is_refused)])
        };
        server.serve("fork", ServiceOptions::default(), fork).unwrap();
        let inline = ServiceOptions { inline: true, ..ServiceOptions::default() };
        server.serve("inline", inline, fork).unwrap();
        let address = server.listen("127.0.0.1:0").unwrap().to_string();
        let soon = Some(Duration::from_secs(20));
        let ours = client.connect(&address, soon).unwrap();
        for service in ["fork", "inline"] {
            assert_eq!(ours.call(service, b"", soon).unwrap(), vec![1]);
        }
        assert_eq!(ours.info().unwrap().links_total, 1);
    }

    static IS_SIGNALLED: AtomicBool = AtomicBool::new(false);
    static ASKED: AtomicUsize = AtomicUsize::new(0);

    fn check() -> bool {
        ASKED.fetch_add(1, Ordering::Relaxed);
        IS_SIGNALLED.load(Ordering::Relaxed)
    }

    #[test]
    fn a_wait_of_a_thread_that_has_a_check_ends_with_interrupted_and_loses_nothing() {
        let home = tempfile::tempdir().unwrap();
        let soon = Some(Duration::from_secs(20));
        let (server, client) = (open(home.path()), open(home.path()));
        let address = server.listen("127.0.0.1:0").unwrap().to_string();
        let ours = client.connect(&address, soon).unwrap();
        let theirs = server.accept(soon).unwrap();
        let channel = ours.open("x").unwrap();
        channel.send(b"first", soon).unwrap();
        let other = theirs.accept_channel(soon).unwrap();
        assert_eq!(other.receive(soon).unwrap(), "first");

        set_interrupt_check(Some(check));
        // A reader in the link's seat, a caller of a service that does not answer, one who waits for a peer.
        let code = |error: Error| error.code;
        let short = Some(Duration::from_millis(120));
        assert_eq!(other.receive(short).map_err(code), Err(Code::Timeout));
        assert!(ASKED.load(Ordering::Relaxed) > 0);
        IS_SIGNALLED.store(true, Ordering::Relaxed);
        assert_eq!(other.receive(None).map_err(code), Err(Code::Interrupted));
        assert_eq!(server.accept(None).map_err(code).err(), Some(Code::Interrupted));
        assert_eq!(client.connect("127.0.0.1:1", None).map_err(code).err(), Some(Code::Interrupted));
        set_interrupt_check(None);

        channel.send(b"second", soon).unwrap();
        assert_eq!(other.receive(soon).unwrap(), "second");
    }
}
