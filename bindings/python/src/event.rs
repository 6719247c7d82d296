//! Events as the name of a class of `clerver.events` and its fields.

use crate::error::raise;
use clerver::{Error, LossReport, MoveCause, NodeEvent, SessionEvent};
use pyo3::IntoPyObjectExt;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};

/// Name and fields.
pub(crate) type Told<'py> = (&'static str, Bound<'py, PyDict>);

/// `fields!(py, { name: value, .. })`.
macro_rules! fields {
    ($py:expr, {$($name:ident: $value:expr),* $(,)?}) => {{
        let dict = PyDict::new($py);
        $(dict.set_item(stringify!($name), ($value).into_bound_py_any($py)?)?;)*
        dict
    }};
}

fn exception<'py>(py: Python<'py>, why: &Error) -> Bound<'py, PyAny> {
    raise(py, why).into_value(py).into_bound(py).into_any()
}

fn cause(cause: MoveCause) -> &'static str {
    match cause {
        MoveCause::Asked => "asked",
        MoveCause::GoTo => "go-to",
        MoveCause::Congestion => "congestion",
    }
}

/// An event of a node.
pub(crate) fn of_node(py: Python<'_>, event: NodeEvent) -> PyResult<Told<'_>> {
    Ok(match event {
        NodeEvent::Connected { session, peer, shared } => {
            ("Connected", fields!(py, { session: session.0, peer: peer.to_string(), shared: shared }))
        }
        NodeEvent::ConnectFailed { address, why } => {
            ("ConnectFailed", fields!(py, { address: address, why: exception(py, &why) }))
        }
        NodeEvent::AddressFailed { address, why } => {
            ("AddressFailed", fields!(py, { address: address, why: exception(py, &why) }))
        }
        NodeEvent::DialRetry { address, why, after } => (
            "DialRetry",
            fields!(py, { address: address, why: exception(py, &why), after: after.as_secs_f64() }),
        ),
        NodeEvent::Accepted { session, peer } => {
            ("Accepted", fields!(py, { session: session.0, peer: peer.to_string() }))
        }
        NodeEvent::Restored { session, peer } => {
            ("Restored", fields!(py, { session: session.0, peer: peer.to_string() }))
        }
        NodeEvent::Refused { peer, why } => {
            ("Refused", fields!(py, { peer: peer.to_string(), why: exception(py, &why) }))
        }
        NodeEvent::Pinned { name, host } => ("Pinned", fields!(py, { name: name, host: host.to_string() })),
        NodeEvent::OwnIdElsewhere { address } => ("OwnIdElsewhere", fields!(py, { address: address })),
        NodeEvent::SessionState { session, from, to, why } => (
            "SessionStateChanged",
            fields!(py, { session: session.0, before: from.name(), state: to.name(), why: why }),
        ),
        NodeEvent::Draining { sessions, undelivered_bytes, running } => (
            "Draining",
            fields!(py, { sessions: sessions, undelivered_bytes: undelivered_bytes, running: running }),
        ),
        NodeEvent::Notice { text } => ("Notice", fields!(py, { text: text })),
        NodeEvent::Readable { token } => ("Readable", fields!(py, { token: token })),
        NodeEvent::Writable { token } => ("Writable", fields!(py, { token: token })),
        NodeEvent::SessionReady { token } => ("SessionReady", fields!(py, { token: token })),
        NodeEvent::Dropped(count) => ("Dropped", fields!(py, { count: count })),
        other => ("Notice", fields!(py, { text: format!("{other:?}") })),
    })
}

/// An event of a session.
pub(crate) fn of_session(py: Python<'_>, event: SessionEvent) -> PyResult<Told<'_>> {
    Ok(match event {
        SessionEvent::State { from, to, why, buffered_bytes, left } => (
            "StateChanged",
            fields!(py, {
                before: from.name(), state: to.name(), why: why, buffered_bytes: buffered_bytes,
                left: left.map(|left| left.as_secs_f64()),
            }),
        ),
        SessionEvent::Lost(report) => ("Lost", fields!(py, { report: loss(py, &report)? })),
        SessionEvent::Closed(report) => ("Closed", fields!(py, { report: loss(py, &report)? })),
        SessionEvent::LinkAttached { name, role, address } => {
            ("LinkAttached", fields!(py, { name: name.to_string(), role: role.name(), address: address }))
        }
        SessionEvent::LinkEnded { name, why } => {
            ("LinkEnded", fields!(py, { name: name.to_string(), why: exception(py, &why) }))
        }
        SessionEvent::Skew { milliseconds } => ("Skew", fields!(py, { milliseconds: milliseconds })),
        SessionEvent::PeerDrains => ("PeerDrains", fields!(py, {})),
        SessionEvent::PeerAddresses(addresses) => ("PeerAddresses", fields!(py, { addresses: addresses })),
        SessionEvent::MoveBegan { to, cause: why } => {
            ("MoveBegan", fields!(py, { to: to, cause: cause(why) }))
        }
        SessionEvent::MoveFailed { why } => ("MoveFailed", fields!(py, { why: exception(py, &why) })),
        SessionEvent::PeerMoves { cause: why } => ("PeerMoves", fields!(py, { cause: cause(why) })),
        SessionEvent::PeerRevived { peer } => ("PeerRevived", fields!(py, { peer: peer.to_string() })),
        SessionEvent::Opened(channel) => ("ChannelOpened", fields!(py, { channel: channel.0 })),
        SessionEvent::Openable => ("Openable", fields!(py, {})),
        SessionEvent::Dropped(count) => ("Dropped", fields!(py, { count: count })),
        other => return of_object(py, other),
    })
}

fn of_object(py: Python<'_>, event: SessionEvent) -> PyResult<Told<'_>> {
    Ok(match event {
        SessionEvent::ObjectAttached { object, kind } => {
            ("ObjectAttached", fields!(py, { object: object.0, kind: kind }))
        }
        SessionEvent::ObjectEnded { object, code } => {
            ("ObjectEnded", fields!(py, { object: object.0, code: code.name() }))
        }
        SessionEvent::ObjectUpdated { object, data } => {
            ("ObjectUpdated", fields!(py, { object: object.0, data: PyBytes::new(py, &data) }))
        }
        SessionEvent::ObjectRevived { object, from, was } => {
            ("ObjectRevived", fields!(py, { object: object.0, from_session: from.0, was: was.0 }))
        }
        SessionEvent::ObjectStuck { object } => ("ObjectStuck", fields!(py, { object: object.0 })),
        other => ("Notice", fields!(py, { text: format!("{other:?}") })),
    })
}

/// The fields of `clerver.LossReport`.
pub(crate) fn loss<'py>(py: Python<'py>, report: &LossReport) -> PyResult<Bound<'py, PyDict>> {
    let channels: PyResult<Vec<_>> =
        report.channels.iter().map(|channel| crate::channel::report(py, channel)).collect();
    let calls: Vec<_> = report.calls.iter().map(|(call, known)| (call.0, known.name())).collect();
    let objects: Vec<_> = report.objects.iter().map(|object| object.0).collect();
    Ok(fields!(py, {
        cause: exception(py, &report.cause), epoch: report.epoch, channels: channels?, calls: calls,
        objects: objects,
    }))
}
