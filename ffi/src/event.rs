//! Events of nodes and sessions.

use crate::address::cause_number;
use crate::boundary::status_of;
use crate::buffer::{clv_buffer, held};
use crate::raw::{Versioned, fixed};
use crate::state::{clv_state, state_number};
use crate::status::{CLV_OK, clv_status};
use bytes::Bytes;
use clerver::{Error, NodeEvent, SessionEvent, SessionState};
use std::ffi::c_char;
use std::ptr;

/// What happened: one of CLV_EVENT_... Skip numbers that you do not know: later versions have more.
pub type clv_event_kind = i32;

/// The queue was full: `number` older events were dropped before this one.
pub const CLV_EVENT_DROPPED: clv_event_kind = 1;
/// Node: a connect of this node reached the session `session`.
pub const CLV_EVENT_CONNECTED: clv_event_kind = 2;
/// Node: a connect gave up, with `status` and `text`.
pub const CLV_EVENT_CONNECT_FAILED: clv_event_kind = 3;
/// Node: a dial failed and is repeated after `number` milliseconds.
pub const CLV_EVENT_DIAL_RETRY: clv_event_kind = 4;
/// Node: a peer made the session `session`; `clv_accept` gives it out.
pub const CLV_EVENT_ACCEPTED: clv_event_kind = 5;
/// Node: a connection of the host `peer` was refused, here or there, with `status` and `text`.
pub const CLV_EVENT_REFUSED: clv_event_kind = 6;
/// Node: the host `peer` was pinned on first use under the name `text`.
pub const CLV_EVENT_PINNED: clv_event_kind = 7;
/// Node: this host's own id was used from another machine, at the address `text`: the key was copied.
pub const CLV_EVENT_OWN_ID_ELSEWHERE: clv_event_kind = 8;
/// Node and session: the state went from `state_before` to `state`; `text` says why. Of a session also: `bytes` are
/// kept here, to be sent or to be read, and `number` is for how many milliseconds a suspended or embalmed one waits,
/// else -1.
pub const CLV_EVENT_STATE: clv_event_kind = 9;
/// Node: a notice for people, in `text`.
pub const CLV_EVENT_NOTICE: clv_event_kind = 10;
/// Node: the watched channel or call `token` has something to take, or its end. Take until CLV_E_AGAIN.
pub const CLV_EVENT_READABLE: clv_event_kind = 11;
/// Node: the watched channel `token` has room, or its end.
pub const CLV_EVENT_WRITABLE: clv_event_kind = 12;
/// Node: the watched session `token` has events, a channel to accept, or its end.
pub const CLV_EVENT_SESSION_READY: clv_event_kind = 13;
/// Node: how far `clv_node_drain` is, each time that it changed: `number` sessions are not over, `bytes` are not with
/// their peers yet, and `text` names the handlers that run.
pub const CLV_EVENT_DRAINING: clv_event_kind = 14;
/// Node: nobody, or somebody else, answered at the address `peer`, with `status` and `text`; another one is tried at
/// once.
pub const CLV_EVENT_ADDRESS_FAILED: clv_event_kind = 15;
/// Node: the session `session` with the node `peer` was found in the store; `clv_accept` gives it out, and
/// `clv_channel_accept` its stored channels.
pub const CLV_EVENT_RESTORED: clv_event_kind = 16;
/// Session: continuity is broken, with `status` and `text`; see `clv_session_loss`. Only after this event can
/// data be missing.
pub const CLV_EVENT_LOST: clv_event_kind = 20;
/// Session: it ended in good order.
pub const CLV_EVENT_CLOSED: clv_event_kind = 21;
/// Session: a connection with `peer`, an address, joined it.
pub const CLV_EVENT_LINK_ATTACHED: clv_event_kind = 22;
/// Session: a connection left it, with `status` and `text`.
pub const CLV_EVENT_LINK_ENDED: clv_event_kind = 23;
/// Session: the peer's clock is `number` milliseconds ahead of this one.
pub const CLV_EVENT_SKEW: clv_event_kind = 24;
/// Session: the peer drains and takes no new channels and calls.
pub const CLV_EVENT_PEER_DRAINS: clv_event_kind = 25;
/// Session: the peer opened the channel `number`; `clv_channel_accept` gives it out.
pub const CLV_EVENT_CHANNEL_OPENED: clv_event_kind = 26;
/// Session: channels can be opened again after CLV_E_CHANNELS.
pub const CLV_EVENT_OPENABLE: clv_event_kind = 27;
/// Session: the peer keeps the object `object` of kind `text` for this end.
pub const CLV_EVENT_OBJECT_ATTACHED: clv_event_kind = 28;
/// Session: the object `object` at the peer is over, with `status`.
pub const CLV_EVENT_OBJECT_ENDED: clv_event_kind = 29;
/// Session: the owner left `data` in the object `object` that is kept here.
pub const CLV_EVENT_OBJECT_UPDATED: clv_event_kind = 30;
/// Session: an object of another session lives on as the object `object` of this one.
pub const CLV_EVENT_OBJECT_REVIVED: clv_event_kind = 31;
/// Session: the grace is over and the object `object` still waits for a handler.
pub const CLV_EVENT_OBJECT_STUCK: clv_event_kind = 32;
/// Session: the peer can be reached at `number` addresses, which `text` lists as far as it has room, and at none that
/// it announced before. See `clv_session_addresses`.
pub const CLV_EVENT_PEER_ADDRESSES: clv_event_kind = 33;
/// Session: this end connects anew, to the address `text` first or (empty) to any other; `number` is the
/// clv_move_cause. CLV_EVENT_LINK_ATTACHED or CLV_EVENT_MOVE_FAILED follows; with CLV_MOVE_CONGESTION the connection is
/// there already.
pub const CLV_EVENT_MOVE_BEGAN: clv_event_kind = 34;
/// Session: nobody answered where it could move to, with `status` and `text`. It stays where it is.
pub const CLV_EVENT_MOVE_FAILED: clv_event_kind = 35;
/// Session: the peer moves it to another connection; `number` is the clv_move_cause.
pub const CLV_EVENT_PEER_MOVES: clv_event_kind = 36;
/// Session: the node `peer` has the other end now, which its process before left in its store. Stored channels go on;
/// all others ended with CLV_E_LOST.
pub const CLV_EVENT_PEER_REVIVED: clv_event_kind = 37;

/// An event. Which members mean something stands at its kind; the others are 0 or "".
#[repr(C)]
#[derive(Clone, Copy)]
pub struct clv_event {
    /// sizeof(clv_event): begin with CLV_EVENT_INIT.
    pub struct_size: usize,
    /// What happened.
    pub kind: clv_event_kind,
    /// Why, for what failed or ended.
    pub status: clv_status,
    /// Number of the session, as in clv_session_info.
    pub session: u64,
    /// Number of an object.
    pub object: u64,
    /// What the program gave to a .._watch function.
    pub token: u64,
    /// A count, a time or a channel.
    pub number: i64,
    /// State of the session.
    pub state: clv_state,
    /// State before.
    pub state_before: clv_state,
    /// Data of CLV_EVENT_OBJECT_UPDATED, else NULL. Belongs to the program: clv_buffer_free.
    pub data: *mut clv_buffer,
    /// For people, or a name; cut to fit.
    pub text: [c_char; 512],
    /// The other host, node or address.
    pub peer: [c_char; 112],
    /// A number of bytes.
    pub bytes: u64,
}

// SAFETY: numbers and a pointer, the size first.
unsafe impl Versioned for clv_event {}

impl clv_event {
    pub(crate) fn of(kind: clv_event_kind) -> clv_event {
        clv_event {
            struct_size: size_of::<clv_event>(),
            kind,
            status: CLV_OK,
            session: 0,
            object: 0,
            token: 0,
            number: 0,
            state: 0,
            state_before: 0,
            data: ptr::null_mut(),
            text: [0; 512],
            peer: [0; 112],
            bytes: 0,
        }
    }

    fn session(self, session: u64) -> clv_event {
        clv_event { session, ..self }
    }

    fn object(self, object: u64) -> clv_event {
        clv_event { object, ..self }
    }

    fn token(self, token: u64) -> clv_event {
        clv_event { token, ..self }
    }

    fn number(self, number: impl TryInto<i64>) -> clv_event {
        clv_event { number: number.try_into().unwrap_or(i64::MAX), ..self }
    }

    fn text(self, text: &str) -> clv_event {
        clv_event { text: fixed(text), ..self }
    }

    fn peer(self, peer: impl ToString) -> clv_event {
        clv_event { peer: fixed(&peer.to_string()), ..self }
    }

    fn why(self, why: &Error) -> clv_event {
        clv_event { status: status_of(why.code), text: fixed(&why.message), ..self }
    }

    fn states(self, from: SessionState, to: SessionState) -> clv_event {
        clv_event { state_before: state_number(from), state: state_number(to), ..self }
    }

    fn data(self, data: Bytes) -> clv_event {
        clv_event { data: held(data), ..self }
    }
}

impl From<NodeEvent> for clv_event {
    fn from(event: NodeEvent) -> clv_event {
        let of = clv_event::of;
        match event {
            NodeEvent::Dropped(count) => of(CLV_EVENT_DROPPED).number(count),
            NodeEvent::Connected { session, peer, .. } => {
                of(CLV_EVENT_CONNECTED).session(session.0).peer(peer)
            }
            NodeEvent::ConnectFailed { why, .. } => of(CLV_EVENT_CONNECT_FAILED).why(&why),
            NodeEvent::AddressFailed { address, why } => of(CLV_EVENT_ADDRESS_FAILED).why(&why).peer(address),
            NodeEvent::DialRetry { why, after, .. } => {
                of(CLV_EVENT_DIAL_RETRY).why(&why).number(after.as_millis())
            }
            NodeEvent::Accepted { session, peer } => of(CLV_EVENT_ACCEPTED).session(session.0).peer(peer),
            NodeEvent::Restored { session, peer } => of(CLV_EVENT_RESTORED).session(session.0).peer(peer),
            NodeEvent::Refused { peer, why } => of(CLV_EVENT_REFUSED).peer(peer).why(&why),
            NodeEvent::Pinned { name, host } => of(CLV_EVENT_PINNED).peer(host).text(&name),
            NodeEvent::OwnIdElsewhere { address } => of(CLV_EVENT_OWN_ID_ELSEWHERE).text(&address),
            NodeEvent::SessionState { session, from, to, why } => {
                of(CLV_EVENT_STATE).session(session.0).states(from, to).text(&why)
            }
            NodeEvent::Notice { text } => of(CLV_EVENT_NOTICE).text(&text),
            NodeEvent::Draining { sessions, undelivered_bytes, running } => {
                let event = of(CLV_EVENT_DRAINING).number(sessions as u64).text(&running.join(", "));
                clv_event { bytes: undelivered_bytes, ..event }
            }
            NodeEvent::Readable { token } => of(CLV_EVENT_READABLE).token(token),
            NodeEvent::Writable { token } => of(CLV_EVENT_WRITABLE).token(token),
            NodeEvent::SessionReady { token } => of(CLV_EVENT_SESSION_READY).token(token),
            // A kind that came after this file.
            other => of(CLV_EVENT_NOTICE).text(&format!("{other:?}")),
        }
    }
}

impl From<SessionEvent> for clv_event {
    fn from(event: SessionEvent) -> clv_event {
        let of = clv_event::of;
        match event {
            SessionEvent::Dropped(count) => of(CLV_EVENT_DROPPED).number(count),
            SessionEvent::State { from, to, why, buffered_bytes, left } => {
                let left_ms = left.map_or(-1, |left| i64::try_from(left.as_millis()).unwrap_or(i64::MAX));
                let event = of(CLV_EVENT_STATE).states(from, to).text(&why).number(left_ms);
                clv_event { bytes: buffered_bytes, ..event }
            }
            SessionEvent::Lost(report) => of(CLV_EVENT_LOST).why(&report.cause),
            SessionEvent::Closed(report) => of(CLV_EVENT_CLOSED).why(&report.cause),
            SessionEvent::LinkAttached { name, role, address } => {
                of(CLV_EVENT_LINK_ATTACHED).text(&format!("link {name}, {role:?}")).peer(address)
            }
            SessionEvent::LinkEnded { why, .. } => of(CLV_EVENT_LINK_ENDED).why(&why),
            SessionEvent::Skew { milliseconds } => of(CLV_EVENT_SKEW).number(milliseconds),
            SessionEvent::PeerDrains => of(CLV_EVENT_PEER_DRAINS),
            SessionEvent::PeerAddresses(addresses) => {
                of(CLV_EVENT_PEER_ADDRESSES).number(addresses.len() as u64).text(&addresses.join(", "))
            }
            SessionEvent::MoveBegan { to, cause } => {
                let event = of(CLV_EVENT_MOVE_BEGAN).number(cause_number(cause));
                event.text(to.as_deref().unwrap_or(""))
            }
            SessionEvent::MoveFailed { why } => of(CLV_EVENT_MOVE_FAILED).why(&why),
            SessionEvent::PeerMoves { cause } => of(CLV_EVENT_PEER_MOVES).number(cause_number(cause)),
            SessionEvent::PeerRevived { peer } => of(CLV_EVENT_PEER_REVIVED).peer(peer),
            SessionEvent::Opened(channel) => of(CLV_EVENT_CHANNEL_OPENED).number(channel.0),
            SessionEvent::Openable => of(CLV_EVENT_OPENABLE),
            SessionEvent::ObjectAttached { object, kind } => {
                of(CLV_EVENT_OBJECT_ATTACHED).object(object.0).text(&kind)
            }
            SessionEvent::ObjectEnded { object, code } => {
                clv_event { status: status_of(code), ..of(CLV_EVENT_OBJECT_ENDED).object(object.0) }
            }
            SessionEvent::ObjectUpdated { object, data } => {
                of(CLV_EVENT_OBJECT_UPDATED).object(object.0).data(data)
            }
            SessionEvent::ObjectRevived { object, .. } => of(CLV_EVENT_OBJECT_REVIVED).object(object.0),
            SessionEvent::ObjectStuck { object } => of(CLV_EVENT_OBJECT_STUCK).object(object.0),
            // A kind that came after this file.
            other => of(CLV_EVENT_NOTICE).text(&format!("{other:?}")),
        }
    }
}
