//! The one interface of the engine and the simulator: what goes into a [`crate::node::Node`] and what comes
//! out.
//!
//! Plain values. The world goes in by [`crate::node::Node::handle`], the application by the typed methods of
//! `Node`; both are followed by [`crate::node::Node::poll`] until it answers `None`.

mod report;

pub use report::{ChannelReport, LossReport, Outcome, StoredChannel};

use crate::error::{Code, Error};
pub use crate::object::Action as ObjectAction;

use crate::id::{
    AttemptId, ChannelId, ConnectorId, HostId, LinkId, LinkName, NodeId, ObjectId, SessionId, Sid,
};
use crate::store::Change;
use crate::time::Instant;
use crate::wire::Role;
use crate::wire::header::Header;
use bytes::{Bytes, BytesMut};
use smallvec::SmallVec;
use std::sync::Arc;
use std::time::Duration;

/// What the engine knows of a link that just passed its TLS handshake.
#[derive(Debug, Clone)]
pub struct LinkInfo {
    /// The dial that made it; `None` when it was accepted.
    pub dialled: Option<AttemptId>,
    /// The host that TLS proved.
    pub peer: HostId,
    /// 32 bytes that only the two ends of this link know (RFC 8446 section 7.5).
    pub exporter: [u8; 32],
    /// Where the dial ended, as `host:port`, if that is not what was dialled (a name was).
    pub place: Option<Arc<str>>,
    /// The peer's address belongs to this machine; only then is our own host id trusted without an entry
    /// (3.5b).
    pub peer_is_local: bool,
    /// The dialled name is pinned to this host, so it is authorised for outbound use.
    pub pinned: bool,
    /// Level that the accepting listener asks for; 0 for dialled links.
    pub level_min: u8,
}

/// What happened in the world.
#[derive(Debug, Clone)]
pub enum Input {
    /// Time passed; nothing else.
    Tick,
    /// A link passed TLS. The node answers with HELLO as soon as [`Input::Writable`] allows.
    LinkUp {
        /// Rising, never reused by the engine (L1).
        link: LinkId,
        /// What TLS told.
        info: Box<LinkInfo>,
    },
    /// Authenticated plain bytes of a link, in order.
    Bytes {
        /// From where.
        link: LinkId,
        /// What; large pieces are kept as slices of it. Bytes that lie behind those of the call before are put together
        /// with them without a copy.
        bytes: BytesMut,
    },
    /// The link can take this many bytes more than granted before.
    Writable {
        /// Which.
        link: LinkId,
        /// Additional bytes.
        bytes: usize,
    },
    /// The link is gone (error, end of file, or after a hang-up); said once.
    LinkDown {
        /// Which.
        link: LinkId,
        /// What the system said.
        why: Error,
    },
    /// The address of a dial took the connection; nothing is proven yet. It may be left out.
    DialAnswered {
        /// Which.
        attempt: AttemptId,
    },
    /// The link may be silent from now on: its local address or interface is gone. What it carried goes elsewhere at
    /// once; it lives on if something comes all the same.
    LinkDoubted {
        /// Which.
        link: LinkId,
    },
    /// This machine has other addresses or interfaces than before: whoever waits to dial again does it now.
    NetworkChanged,
    /// A dial ended without a link.
    DialFailed {
        /// Which.
        attempt: AttemptId,
        /// What happened at which addresses.
        why: Error,
    },
    /// A store operation is durable, and all with lower numbers are.
    Done {
        /// Its number from [`Output::Store`].
        operation: u64,
    },
    /// From another shard of this engine; refused until there are several.
    FromShard(ShardMessage),
}

/// What shards tell each other; the form is fixed, the content comes with several shards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShardMessage {
    /// Sending shard.
    pub from: u32,
    /// Receiving shard.
    pub to: u32,
    /// The message.
    pub body: Bytes,
}

/// Which way a dial tries to get out (L6); only the first is built.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Rung {
    /// TCP to the address, v6 and v4 raced.
    Direct,
}

/// Slices in order; almost always it is one.
pub type Parts = SmallVec<[Bytes; 1]>;

/// What the world shall do, in order.
#[derive(Debug, Clone)]
pub enum Output {
    /// Write these bytes to the link, in order, after what was sent before; never more than granted.
    Send {
        /// Where.
        link: LinkId,
        /// Slices; together at most what `Writable` granted.
        parts: Parts,
    },
    /// Resolve and dial this address; answer with `LinkUp` or `DialFailed`.
    Dial {
        /// To be named in the answer.
        attempt: AttemptId,
        /// `host:port` as the user gave it, resolved afresh each time.
        address: String,
        /// The host that must answer; `None` pins on first use.
        expected: Option<HostId>,
        /// How.
        rung: Rung,
    },
    /// The result of this dial is not wanted any more.
    CancelDial {
        /// Which.
        attempt: AttemptId,
    },
    /// Write what was sent, then close; `LinkDown` follows when closed, and nothing else is said of this
    /// link.
    Hangup {
        /// Which.
        link: LinkId,
        /// For the log.
        why: Error,
    },
    /// Something the application or the log should know.
    Event(Event),
    /// A numbered operation on the store: all of it, after those with lower numbers, or nothing.
    Store {
        /// Number for [`Input::Done`].
        operation: u64,
        /// What to make durable.
        changes: Vec<Change>,
    },
    /// Move this link, with what was read and not used, to another shard; never emitted with one shard.
    HandOff {
        /// Which.
        link: LinkId,
        /// Where to.
        shard: u32,
        /// Plain bytes already read.
        unread: Bytes,
    },
    /// To another shard; never emitted with one shard.
    ToShard(ShardMessage),
    /// Nothing more now; call `handle(Tick)` at this instant at the latest (`Instant::NEVER`: not at all).
    /// Comes once, as the last output before `None`, and is always later than now; where nothing is to be said at all,
    /// not even this is, and what was said before holds.
    Wake(Instant),
}

/// State of a session, as its application sees it (DESIGN.md 3.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SessionState {
    /// Being made.
    Registering,
    /// An attached link gave a record within three beats.
    Live,
    /// No link gives a sign of life; everything is kept.
    Suspended,
    /// Kept past its TTL, because one of its ends comes and goes (C5).
    Embalmed,
    /// Contact is back, and the objects that were put aside are revived (C6). Data flows.
    Reviving,
    /// One side asked for the end; data still flows.
    Closing,
    /// Ended in good order. Final.
    Closed,
    /// Continuity is broken. Final.
    Lost,
}

impl SessionState {
    /// Whether no event but reads can follow (I10).
    pub fn is_final(self) -> bool {
        matches!(self, SessionState::Closed | SessionState::Lost)
    }

    /// Lower-case name.
    pub fn name(self) -> &'static str {
        match self {
            SessionState::Registering => "registering",
            SessionState::Live => "live",
            SessionState::Suspended => "suspended",
            SessionState::Embalmed => "embalmed",
            SessionState::Reviving => "reviving",
            SessionState::Closing => "closing",
            SessionState::Closed => "closed",
            SessionState::Lost => "lost",
        }
    }

    /// Whether the state graph of DESIGN.md 3.4 has an edge from this state to `next`.
    pub fn may_become(self, next: SessionState) -> bool {
        use SessionState::*;
        matches!(
            (self, next),
            (Registering, Live | Lost | Closed)
                | (Live, Suspended | Closing | Lost)
                | (Suspended, Live | Closing | Lost | Embalmed)
                | (Embalmed, Reviving | Closing | Lost)
                | (Reviving, Live | Closing | Lost | Embalmed)
                | (Closing, Closed | Lost)
        )
    }
}

/// A request that has to be run.
#[derive(Debug, Clone)]
pub struct CallRequest {
    /// The call's channel: with the session it is the call id.
    pub channel: ChannelId,
    /// Names the call between both ends and across processes: fencing token and key for idempotence (O6, C1).
    pub sid: Sid,
    /// Which service.
    pub service: Arc<str>,
    /// The one request message.
    pub request: Bytes,
    /// When the caller gives up.
    pub deadline: Option<Instant>,
    /// The caller's authority.
    pub level: u8,
}

/// Why a session moves to another link although it has one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum MoveCause {
    /// The application wanted it.
    Asked,
    /// The peer asked for it (R5).
    GoTo,
    /// Its path is congested, and another one is not (R4).
    Congestion,
}

impl MoveCause {
    /// Its number on the wire.
    pub(crate) fn number(self) -> u8 {
        self as u8
    }

    /// The cause with this number; one that a later version made is none of our business.
    pub(crate) fn from_number(number: u8) -> MoveCause {
        [MoveCause::Asked, MoveCause::GoTo, MoveCause::Congestion]
            .into_iter()
            .find(|cause| cause.number() == number)
            .unwrap_or(MoveCause::Asked)
    }

    /// For people.
    pub fn text(self) -> &'static str {
        match self {
            MoveCause::Asked => "the application wants it",
            MoveCause::GoTo => "the peer asked for it",
            MoveCause::Congestion => "the path is congested",
        }
    }
}

/// Who named an address of a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum AddressOrigin {
    /// The application, with a connect: a static address (R1).
    Given,
    /// The peer: a dynamic address (R2).
    Announced,
    /// Whoever moved the session there; it is in neither table.
    Moved,
}

impl AddressOrigin {
    /// Lower-case name.
    pub fn name(self) -> &'static str {
        match self {
            AddressOrigin::Given => "given",
            AddressOrigin::Announced => "announced",
            AddressOrigin::Moved => "moved",
        }
    }
}

/// One address of the peer of a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerAddress {
    /// `host:port`, or as the application gave it.
    pub address: Arc<str>,
    /// Who named it.
    pub origin: AddressOrigin,
    /// A dial of it failed in the round that goes on.
    pub has_failed: bool,
    /// A link that was dialled there is attached.
    pub is_in_use: bool,
}

/// An address at which this node can be reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnAddress {
    /// `host:port`.
    pub address: Arc<str>,
    /// Only peers on this machine can use it, such as a loopback address.
    pub is_local: bool,
}

/// Something about one session.
#[derive(Debug, Clone)]
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
        buffered: u64,
        /// When a suspended session is lost, or embalmed if it may be, and an embalmed one is lost, if no contact comes
        /// back.
        deadline: Option<Instant>,
    },
    /// Continuity is broken; the only event after which data may be missing.
    Lost(Box<LossReport>),
    /// Ended in good order; the report lists what was never taken.
    Closed(Box<LossReport>),
    /// A link joined the session.
    LinkAttached {
        /// Its name at both ends.
        name: LinkName,
        /// The engine's link.
        link: LinkId,
        /// What it carries.
        role: Role,
        /// The address that was dialled for it; `None` at the end that accepted it.
        address: Option<Arc<str>>,
    },
    /// A link left the session.
    LinkEnded {
        /// Its name at both ends.
        name: LinkName,
        /// The engine's link.
        link: LinkId,
        /// Why.
        why: Error,
    },
    /// The wall clocks differ (S8).
    Skew {
        /// Peer's clock minus ours, in milliseconds.
        milliseconds: i64,
    },
    /// The peer drains: no new channels and calls.
    PeerDrains,
    /// The peer can be reached at these addresses, and at no others that it announced before (R2).
    PeerAddresses(Arc<[Arc<str>]>),
    /// This end dials a link that shall take the place of the one that carries: `LinkAttached` or `MoveFailed` follows.
    /// Where the cause is congestion that link is there already, and takes over now.
    MoveBegan {
        /// Where it goes first; `None` is anywhere else.
        to: Option<Arc<str>>,
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
    /// The peer's end of the session is another process now, which has its stored channels (S6). All other channels
    /// ended with `LOST`.
    PeerRevived {
        /// Who it is now.
        peer: NodeId,
    },
    /// The peer opened a channel; take it with `channel_accept`.
    Opened(ChannelId),
    /// There is something to take, an end, or an error. Said again only after it was taken to the end.
    Readable(ChannelId),
    /// There is room again after `AGAIN`.
    Writable(ChannelId),
    /// There is room to open a channel again after `CHANNELS`.
    Openable,
    /// More of a stored channel is stored than before: of what was written, is done with, or its restart point.
    Stored(ChannelId),
    /// The peer holds everything that was written, which `session_drain` asked for.
    Delivered,
    /// The peer called a service.
    Call(Box<CallRequest>),
    /// The caller of this running call gave up, or its session ended.
    CallCancelled(ChannelId),
    /// The peer keeps an object for this end. One with a TTL of its own is announced when its first touch, which
    /// is sent by itself, is held: only from then on is there anything to believe.
    ObjectAttached {
        /// Which.
        object: ObjectId,
        /// Its kind.
        kind: String,
    },
    /// An object that the peer kept for this end is over; `TIMEOUT` when this end must not believe in it any more,
    /// because no touch got through for 80 % of its TTL.
    ObjectEnded {
        /// Which.
        object: ObjectId,
        /// Why.
        code: Code,
    },
    /// The owner left data in an object kept here.
    ObjectUpdated {
        /// Which.
        object: ObjectId,
        /// The data.
        data: Bytes,
    },
    /// Run this action of this object's kind and answer with `object_done`.
    ObjectAction {
        /// Which.
        object: ObjectId,
        /// Its kind.
        kind: String,
        /// What to do.
        action: ObjectAction,
        /// What embalm answered, for revive and discard.
        kept: Bytes,
    },
    /// An embalmed object of an ended session is alive again, as an object of this one.
    ObjectRevived {
        /// What it is here.
        object: ObjectId,
        /// The session that it came from.
        from: SessionId,
        /// What it was there.
        was: ObjectId,
    },
    /// The grace is over and this object waits for a handler.
    ObjectStuck {
        /// Which.
        object: ObjectId,
    },
}

/// Something the application or the log should know.
#[derive(Debug, Clone)]
pub enum Event {
    /// A connector reached a session (also when it is shared).
    Connected {
        /// Whose wish it was.
        connector: ConnectorId,
        /// The session.
        session: SessionId,
        /// Whether another connector or the peer had made it already.
        shared: bool,
    },
    /// A connector gave up; it is gone.
    ConnectFailed {
        /// Whose wish it was.
        connector: ConnectorId,
        /// The last failure.
        why: Error,
    },
    /// Nobody, or somebody else, answered at an address; another one is tried at once.
    AddressFailed {
        /// Whose wish it is.
        connector: ConnectorId,
        /// The address.
        address: Arc<str>,
        /// What happened.
        why: Error,
    },
    /// A dial failed and will be repeated.
    DialRetry {
        /// Whose wish it is.
        connector: ConnectorId,
        /// What happened.
        why: Error,
        /// Until the next one.
        after: Duration,
    },
    /// A peer made a session with this node.
    Accepted {
        /// The session.
        session: SessionId,
        /// With whom.
        peer: NodeId,
    },
    /// A session was found in the store: it is taken as one that a peer made, and its channels as such that the peer
    /// opened.
    Restored {
        /// The session.
        session: SessionId,
        /// With whom.
        peer: NodeId,
    },
    /// A link was refused, here or by the peer.
    Refused {
        /// The host that TLS proved.
        peer: HostId,
        /// Why, with what to do.
        why: Error,
    },
    /// Our own host id was used from another machine.
    OwnIdElsewhere {
        /// The link it came on.
        link: LinkId,
    },
    /// Something about a session.
    Session {
        /// Which.
        session: SessionId,
        /// What.
        event: SessionEvent,
    },
    /// The session left no trace: after its final state, its objects' ends and its last read.
    Forgotten {
        /// Which.
        session: SessionId,
    },
    /// A notice for the log.
    Notice {
        /// What.
        text: String,
    },
}

/// A channel that the peer opened.
#[derive(Debug, Clone)]
pub struct Incoming {
    /// Which.
    pub channel: ChannelId,
    /// What it is for.
    pub header: Header,
}
