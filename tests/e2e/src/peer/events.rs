//! Events of nodes and sessions, and log lines, as lines.

use super::{Peer, error_words, say};
use clerver::api::{LogLevel, Node, NodeEvent, Session, SessionEvent};
use clerver_e2e::words::quote;

/// Tells all events of a node, and its log.
pub(super) fn tell_node(name: &str, node: &Node) {
    let log_name = name.to_owned();
    node.set_log(LogLevel::Debug, move |level, text| {
        say(&format!("# {log_name} {level:?} {}", quote(text)));
    });
    let (name, node) = (name.to_owned(), node.clone());
    spawn(move || {
        while let Ok(event) = node.next_event(None) {
            say(&format!("! {name} {}", node_words(&event)));
        }
        say(&format!("! {name} no-more-events"));
    });
}

/// Tells all events of a session.
pub(super) fn tell_session(name: &str, session: &Session) {
    let (name, session) = (name.to_owned(), session.clone());
    spawn(move || {
        while let Ok(event) = session.next_event(None) {
            say(&format!("! {name} {}", session_words(&event)));
        }
        say(&format!("! {name} no-more-events"));
    });
}

fn spawn(run: impl FnOnce() + Send + 'static) {
    if std::thread::Builder::new().name("events".into()).spawn(run).is_err() {
        say("! no thread for events");
    }
}

fn node_words(event: &NodeEvent) -> String {
    match event {
        NodeEvent::Refused { peer, why } => format!("refused {peer} {}", error_words(why)),
        NodeEvent::ConnectFailed { why, .. } => format!("connect-failed {}", error_words(why)),
        NodeEvent::AddressFailed { address, why } => {
            format!("address-failed {} {}", quote(address), error_words(why))
        }
        NodeEvent::DialRetry { why, .. } => format!("dial-retry {}", error_words(why)),
        NodeEvent::Pinned { name, host } => format!("pinned {} {host}", quote(name)),
        NodeEvent::Accepted { peer, .. } => format!("accepted {peer}"),
        NodeEvent::Restored { peer, .. } => format!("restored {peer}"),
        NodeEvent::Dropped(count) => format!("dropped {count}"),
        other => format!("other {}", quote(&format!("{other:?}"))),
    }
}

fn session_words(event: &SessionEvent) -> String {
    match event {
        SessionEvent::State { from, to, why, .. } => {
            format!("state {} {} {}", from.name(), to.name(), quote(why))
        }
        SessionEvent::Lost(report) => format!("lost {}", error_words(&report.cause)),
        SessionEvent::Closed(report) => format!("closed {}", error_words(&report.cause)),
        SessionEvent::LinkAttached { name, role, address } => {
            format!("attached {name} {role:?} {}", quote(address))
        }
        SessionEvent::PeerAddresses(addresses) => format!("peer-addresses {}", quote(&addresses.join(","))),
        SessionEvent::MoveBegan { to, cause } => {
            format!("move-began {cause:?} {}", quote(to.as_deref().unwrap_or("")))
        }
        SessionEvent::MoveFailed { why } => format!("move-failed {}", error_words(why)),
        SessionEvent::PeerMoves { cause } => format!("peer-moves {cause:?}"),
        SessionEvent::LinkEnded { name, why } => format!("link-ended {name} {}", error_words(why)),
        SessionEvent::ObjectAttached { object, kind } => format!("object-attached {object} {}", quote(kind)),
        SessionEvent::ObjectEnded { object, code } => format!("object-ended {object} {code}"),
        SessionEvent::ObjectStuck { object } => format!("object-stuck {object}"),
        SessionEvent::Opened(_) => "opened".into(),
        SessionEvent::PeerRevived { peer } => format!("peer-revived {peer}"),
        other => format!("other {}", quote(&format!("{other:?}"))),
    }
}

impl Peer {
    /// Keeps a session under a name and tells its events.
    pub(super) fn keep_session(&self, name: &str, session: Session) -> String {
        tell_session(name, &session);
        let peer = session.peer().to_string();
        self.sessions.lock().insert(name.into(), session);
        peer
    }
}
