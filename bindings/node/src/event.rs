//! Events as plain objects of JavaScript, each with its `type`. `index.d.ts` has the same list.

use crate::error;
use crate::info;
use crate::js::value::Value;
use clerver::{MoveCause, NodeEvent, SessionEvent};

fn event(name: &'static str, mut fields: Vec<(&'static str, Value)>) -> Value {
    fields.insert(0, ("type", Value::text(name)));
    Value::Record(fields)
}

/// An event of the node that is none of the tokens.
pub(crate) fn of_node(happened: &NodeEvent) -> Value {
    match happened {
        NodeEvent::Connected { session, peer, shared } => event(
            "connected",
            vec![
                ("session", Value::count(session.0)),
                ("peer", info::peer(*peer)),
                ("shared", Value::Truth(*shared)),
            ],
        ),
        NodeEvent::ConnectFailed { address, why } => {
            event("connectFailed", vec![("address", Value::text(address)), ("error", error::value(why))])
        }
        NodeEvent::AddressFailed { address, why } => {
            event("addressFailed", vec![("address", Value::text(address)), ("error", error::value(why))])
        }
        NodeEvent::DialRetry { address, why, after } => event(
            "dialRetry",
            vec![
                ("address", Value::text(address)),
                ("error", error::value(why)),
                ("after", Value::span(*after)),
            ],
        ),
        NodeEvent::Accepted { session, peer } => {
            event("accepted", vec![("session", Value::count(session.0)), ("peer", info::peer(*peer))])
        }
        NodeEvent::Restored { session, peer } => {
            event("restored", vec![("session", Value::count(session.0)), ("peer", info::peer(*peer))])
        }
        NodeEvent::Refused { peer, why } => {
            event("refused", vec![("host", Value::Text(peer.to_string())), ("error", error::value(why))])
        }
        NodeEvent::Pinned { name, host } => {
            event("pinned", vec![("name", Value::text(name)), ("host", Value::Text(host.to_string()))])
        }
        NodeEvent::OwnIdElsewhere { address } => {
            event("ownIdElsewhere", vec![("address", Value::text(address))])
        }
        NodeEvent::SessionState { session, from, to, why } => event(
            "sessionState",
            vec![
                ("session", Value::count(session.0)),
                ("from", Value::text(from.name())),
                ("to", Value::text(to.name())),
                ("why", Value::text(why)),
            ],
        ),
        NodeEvent::Draining { sessions, undelivered_bytes, running } => event(
            "draining",
            vec![
                ("sessions", Value::count(*sessions as u64)),
                ("undeliveredBytes", Value::count(*undelivered_bytes)),
                ("running", Value::List(running.iter().map(Value::text).collect())),
            ],
        ),
        NodeEvent::Notice { text } => event("notice", vec![("text", Value::text(text))]),
        NodeEvent::Dropped(count) => event("dropped", vec![("count", Value::count(*count))]),
        other => event("notice", vec![("text", Value::Text(format!("{other:?}")))]),
    }
}

fn cause_of(cause: MoveCause) -> Value {
    Value::text(match cause {
        MoveCause::Asked => "asked",
        MoveCause::GoTo => "goTo",
        MoveCause::Congestion => "congestion",
    })
}

/// What happened to the session's links and addresses.
fn of_link(happened: &SessionEvent) -> Option<Value> {
    Some(match happened {
        SessionEvent::LinkAttached { name, role, address } => event(
            "linkAttached",
            vec![
                ("link", Value::Text(name.to_string())),
                ("role", Value::text(role.name())),
                ("address", Value::text(address)),
            ],
        ),
        SessionEvent::LinkEnded { name, why } => {
            event("linkEnded", vec![("link", Value::Text(name.to_string())), ("error", error::value(why))])
        }
        SessionEvent::PeerAddresses(list) => {
            event("peerAddresses", vec![("addresses", Value::List(list.iter().map(Value::text).collect()))])
        }
        SessionEvent::MoveBegan { to, cause } => event(
            "moveBegan",
            vec![("to", Value::maybe(to.as_ref(), Value::text)), ("cause", cause_of(*cause))],
        ),
        SessionEvent::MoveFailed { why } => event("moveFailed", vec![("error", error::value(why))]),
        SessionEvent::PeerMoves { cause } => event("peerMoves", vec![("cause", cause_of(*cause))]),
        _ => return None,
    })
}

/// What happened to objects.
fn of_object(happened: &SessionEvent) -> Option<Value> {
    Some(match happened {
        SessionEvent::ObjectAttached { object, kind } => {
            event("objectAttached", vec![("object", Value::count(object.0)), ("kind", Value::text(kind))])
        }
        SessionEvent::ObjectEnded { object, code } => {
            event("objectEnded", vec![("object", Value::count(object.0)), ("code", Value::text(code.name()))])
        }
        SessionEvent::ObjectUpdated { object, data } => event(
            "objectUpdated",
            vec![("object", Value::count(object.0)), ("data", Value::Data(data.clone()))],
        ),
        SessionEvent::ObjectRevived { object, from, was } => event(
            "objectRevived",
            vec![
                ("object", Value::count(object.0)),
                ("from", Value::count(from.0)),
                ("was", Value::count(was.0)),
            ],
        ),
        SessionEvent::ObjectStuck { object } => {
            event("objectStuck", vec![("object", Value::count(object.0))])
        }
        _ => return None,
    })
}

/// An event of a session.
pub(crate) fn of_session(happened: &SessionEvent) -> Value {
    if let Some(value) = of_link(happened).or_else(|| of_object(happened)) {
        return value;
    }
    match happened {
        SessionEvent::State { from, to, why, buffered_bytes, left } => event(
            "state",
            vec![
                ("from", Value::text(from.name())),
                ("to", Value::text(to.name())),
                ("why", Value::text(why)),
                ("bufferedBytes", Value::count(*buffered_bytes)),
                ("left", Value::maybe(*left, Value::span)),
            ],
        ),
        SessionEvent::Lost(report) => event("lost", vec![("report", info::loss(report))]),
        SessionEvent::Closed(report) => event("closed", vec![("report", info::loss(report))]),
        SessionEvent::Skew { milliseconds } => {
            event("skew", vec![("milliseconds", Value::Number(*milliseconds as f64))])
        }
        SessionEvent::PeerDrains => event("peerDrains", vec![]),
        SessionEvent::PeerRevived { peer } => event("peerRevived", vec![("peer", info::peer(*peer))]),
        SessionEvent::Opened(channel) => event("opened", vec![("channel", Value::count(channel.0))]),
        SessionEvent::Openable => event("openable", vec![]),
        SessionEvent::Dropped(count) => event("dropped", vec![("count", Value::count(*count))]),
        other => event("notice", vec![("text", Value::Text(format!("{other:?}")))]),
    }
}
