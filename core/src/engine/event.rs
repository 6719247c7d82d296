//! What a program is told without asking: events of a node and of a session, and lines for its log.

use bytes::Bytes;
use clerver_proto::error::{Code, Error};
use clerver_proto::id::{ChannelId, HostId, LinkName, NodeId, ObjectId, SessionId};
use clerver_proto::node::{LossReport, MoveCause, SessionState};
use clerver_proto::wire::Role;
use std::collections::VecDeque;
use std::time::Duration;

/// How important a log line is; a lower one is more important.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum LogLevel {
    /// Something failed and will not mend itself.
    Error,
    /// Somebody should look at it.
    Warn,
    /// What an operator wants to see.
    Info,
    /// What a developer wants to see.
    Debug,
}

/// Something about the node as a whole.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum NodeEvent {
    /// A connect of this node reached a session.
    Connected {
        /// The session.
        session: SessionId,
        /// With whom.
        peer: NodeId,
        /// Whether another connect, or the peer, had made it already.
        shared: bool,
    },
    /// A connect gave up.
    ConnectFailed {
        /// The addresses as the user gave them.
        address: String,
        /// The last failure.
        why: Error,
    },
    /// Nobody, or somebody else, answered at an address; another one is tried at once.
    AddressFailed {
        /// The address.
        address: String,
        /// What happened.
        why: Error,
    },
    /// A dial failed and will be repeated.
    DialRetry {
        /// The addresses as the user gave them; empty when a live session redials.
        address: String,
        /// What happened.
        why: Error,
        /// Until the next one.
        after: Duration,
    },
    /// A peer made a session with this node; `Node::accept` gives it out.
    Accepted {
        /// The session.
        session: SessionId,
        /// With whom.
        peer: NodeId,
    },
    /// A session that an earlier process left was found in the store; `Node::accept` gives it out, and
    /// `Session::accept_channel` its stored channels.
    Restored {
        /// The session.
        session: SessionId,
        /// With whom.
        peer: NodeId,
    },
    /// A link was refused, here or by the peer. The error's remedy has the command that would allow it.
    Refused {
        /// The host that TLS proved.
        peer: HostId,
        /// Why.
        why: Error,
    },
    /// A host was pinned on first use under the name that the user gave.
    Pinned {
        /// The name.
        name: String,
        /// The host.
        host: HostId,
    },
    /// This node's own host id was used from another machine.
    OwnIdElsewhere {
        /// The address it came from.
        address: String,
    },
    /// The state of a session changed.
    SessionState {
        /// The session.
        session: SessionId,
        /// Before.
        from: SessionState,
        /// Now.
        to: SessionState,
        /// Why.
        why: String,
    },
    /// How far a drain of this node is, told each time that it changed.
    Draining {
        /// Sessions that are not over.
        sessions: usize,
        /// Bytes that their peers do not hold yet.
        undelivered_bytes: u64,
        /// Handlers that run, such as `service "echo"`.
        running: Vec<String>,
    },
    /// A notice of the protocol.
    Notice {
        /// What.
        text: String,
    },
    /// A watched channel or call has something to take, or its end: take until `AGAIN`.
    Readable {
        /// What the program gave to `watch`.
        token: u64,
    },
    /// A watched channel has room, or its end.
    Writable {
        /// What the program gave to `watch`.
        token: u64,
    },
    /// A watched session has events, a channel to accept, or its end.
    SessionReady {
        /// What the program gave to `watch`.
        token: u64,
    },
    /// The queue was full: this many older events were dropped before this one.
    Dropped(u64),
}

/// Something about one session.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum SessionEvent {
    /// The state changed.
    State {
        /// Before.
        from: SessionState,
        /// Now.
        to: SessionState,
        /// Why.
        why: String,
        /// Bytes that are kept here, to be sent or to be read.
        buffered_bytes: u64,
        /// How long a suspended session waits for its peer before it is lost.
        left: Option<Duration>,
    },
    /// Continuity is broken; the only event after which data may be missing.
    Lost(Box<LossReport>),
    /// Ended in good order; the report lists what was never taken.
    Closed(Box<LossReport>),
    /// A link joined the session.
    LinkAttached {
        /// Its name at both ends.
        name: LinkName,
        /// What it carries.
        role: Role,
        /// Where its other end is.
        address: String,
    },
    /// A link left the session.
    LinkEnded {
        /// Its name at both ends.
        name: LinkName,
        /// Why.
        why: Error,
    },
    /// The wall clocks of the two machines differ.
    Skew {
        /// Peer's clock minus ours, in milliseconds.
        milliseconds: i64,
    },
    /// The peer drains: it takes no new channels and calls.
    PeerDrains,
    /// The peer can be reached at these addresses, and at none that it announced before.
    PeerAddresses(Vec<String>),
    /// This end dials a link that shall take the place of the one that carries: `LinkAttached` or `MoveFailed` follows.
    /// Where the cause is congestion that link is there already, and takes over now.
    MoveBegan {
        /// Where it goes first; `None` is anywhere else.
        to: Option<String>,
        /// Why.
        cause: MoveCause,
    },
    /// No address answered that the session could move to. It stays where it is.
    MoveFailed {
        /// The last failure.
        why: Error,
    },
    /// The peer moves the session to another link.
    PeerMoves {
        /// Why.
        cause: MoveCause,
    },
    /// The peer's end is another process now, which found the session in its store. Stored channels go on; all others
    /// ended with `LOST`.
    PeerRevived {
        /// Who it is now.
        peer: NodeId,
    },
    /// The peer opened a channel; `Session::accept_channel` gives it out.
    Opened(ChannelId),
    /// There is room to open a channel again after `CHANNELS`.
    Openable,
    /// The peer keeps an object for this end.
    ObjectAttached {
        /// Which.
        object: ObjectId,
        /// Its kind.
        kind: String,
    },
    /// An object that the peer kept for this end is over.
    ObjectEnded {
        /// Which.
        object: ObjectId,
        /// Why.
        code: Code,
    },
    /// The owner left data in an object that is kept here.
    ObjectUpdated {
        /// Which.
        object: ObjectId,
        /// The data.
        data: Bytes,
    },
    /// An object that was put aside for an ended session is alive again, as an object of this one.
    ObjectRevived {
        /// What it is here.
        object: ObjectId,
        /// The session that it came from.
        from: SessionId,
        /// What it was there.
        was: ObjectId,
    },
    /// The grace is over and this object still waits for a handler.
    ObjectStuck {
        /// Which.
        object: ObjectId,
    },
    /// The queue was full: this many older events were dropped before this one.
    Dropped(u64),
}

/// An event that can say how many were dropped before it.
pub(crate) trait Overflow {
    fn dropped(count: u64) -> Self;
}

impl Overflow for NodeEvent {
    fn dropped(count: u64) -> NodeEvent {
        NodeEvent::Dropped(count)
    }
}

impl Overflow for SessionEvent {
    fn dropped(count: u64) -> SessionEvent {
        SessionEvent::Dropped(count)
    }
}

/// Up to so many events wait without memory for more: an idle session has two or three that nobody took.
const EXACT_MAX: usize = 4;

/// A bounded queue; when it is full the oldest event is dropped, and counted.
#[derive(Debug)]
pub(crate) struct EventQueue<T> {
    events: VecDeque<T>,
    events_max: usize,
    dropped: u64,
}

impl<T: Overflow> EventQueue<T> {
    pub(crate) fn new(events_max: usize) -> EventQueue<T> {
        EventQueue { events: VecDeque::new(), events_max: events_max.max(1), dropped: 0 }
    }

    pub(crate) fn push(&mut self, event: T) {
        if self.events.len() >= self.events_max {
            self.events.pop_front();
            self.dropped += 1;
        }
        if self.events.len() < EXACT_MAX {
            self.events.reserve_exact(1);
        }
        self.events.push_back(event);
    }

    /// The oldest event, or first how many are missing before it.
    pub(crate) fn pop(&mut self) -> Option<T> {
        if self.dropped > 0 {
            return Some(T::dropped(std::mem::take(&mut self.dropped)));
        }
        self.events.pop_front()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.events.is_empty() && self.dropped == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_queue_drops_the_oldest_and_says_so() {
        let mut queue = EventQueue::new(2);
        for text in ["a", "b", "c", "d"] {
            queue.push(NodeEvent::Notice { text: text.into() });
        }
        assert!(matches!(queue.pop(), Some(NodeEvent::Dropped(2))));
        for wanted in ["c", "d"] {
            assert!(matches!(queue.pop(), Some(NodeEvent::Notice { text }) if text == wanted));
        }
        assert!(queue.pop().is_none() && queue.is_empty());
    }
}
