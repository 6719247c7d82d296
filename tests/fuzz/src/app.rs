//! What the application of one node knows, and what it makes of events.

use crate::world::World;
use clerver_proto::error::Code;
use clerver_proto::id::{ChannelId, ConnectorId, ObjectId, SessionId, Sid};
use clerver_proto::node::{Event, ObjectAction, SessionEvent, SessionState};
use std::collections::{BTreeMap, BTreeSet};

#[derive(Debug, Default)]
pub struct App {
    pub connectors: Vec<ConnectorId>,
    pub sessions: Vec<SessionId>,
    /// Of sessions with the other node.
    pub sids: BTreeMap<SessionId, Sid>,
    pub states: BTreeMap<SessionId, SessionState>,
    /// Sessions with the other node that ended in good order here, and that were lost.
    pub closed: BTreeSet<Sid>,
    pub lost: BTreeSet<Sid>,
    /// Opened, accepted or called, and not given back.
    pub channels: Vec<(SessionId, ChannelId)>,
    /// Calls that were handed to a handler here.
    pub running: Vec<(SessionId, ChannelId)>,
    pub actions: Vec<(SessionId, ObjectId, ObjectAction)>,
    /// Objects that are kept here for a peer.
    pub held: Vec<(SessionId, ObjectId)>,
    /// Uses of them that have not left.
    pub entered: Vec<(SessionId, ObjectId)>,
    /// Objects that a peer keeps for this end.
    pub owned: Vec<(SessionId, ObjectId)>,
}

/// The element that a number picks.
pub fn pick<T: Copy>(from: &[T], at: u8) -> Option<T> {
    from.get(usize::from(at) % from.len().max(1)).copied()
}

impl World {
    /// The sid of a session, if both ends have it and no twin can have a hand in it.
    pub fn vetted_sid(&self, who: usize, session: SessionId) -> Option<Sid> {
        self.ends[who].app.sids.get(&session).copied().filter(|sid| self.vetted.contains(sid))
    }

    fn meet(&mut self, who: usize, session: SessionId) {
        let Ok(info) = self.ends[who].node.session_info(session) else { return };
        let app = &mut self.ends[who].app;
        if !app.sessions.contains(&session) {
            app.sessions.push(session);
        }
        // Anybody may give a session of its own the sid of another one.
        if info.peer == self.ends[1 - who].node.id() {
            self.ends[who].app.sids.insert(session, info.sid);
            if !self.twin_seen {
                self.vetted.insert(info.sid);
            }
        }
    }

    pub fn event(&mut self, who: usize, event: Event) {
        if self.is_traced {
            eprintln!("        {who}: {event:?}");
        }
        match event {
            Event::Connected { session, .. } | Event::Accepted { session, .. } => self.meet(who, session),
            Event::Session { session, event } => self.session_event(who, session, event),
            Event::Refused { peer, why } => {
                let is_honest = peer == self.ends[1 - who].node.id().host && !self.twin_seen;
                let is_breach = matches!(why.code, Code::Protocol | Code::Encoding | Code::Bug);
                assert!(!(is_honest && is_breach), "an honest link was refused: {why}");
            }
            Event::Forgotten { session } => {
                let app = &mut self.ends[who].app;
                app.sessions.retain(|&known| known != session);
                app.states.remove(&session);
            }
            Event::ConnectFailed { connector, .. } => {
                self.ends[who].app.connectors.retain(|&known| known != connector);
            }
            Event::AddressFailed { .. }
            | Event::DialRetry { .. }
            | Event::OwnIdElsewhere { .. }
            | Event::Notice { .. }
            | Event::Restored { .. } => {}
        }
    }

    fn session_event(&mut self, who: usize, session: SessionId, event: SessionEvent) {
        match event {
            SessionEvent::State { from, to, .. } => {
                assert!(from.may_become(to), "a session went from {} to {}", from.name(), to.name());
                let before = self.ends[who].app.states.insert(session, to);
                assert!(before.is_none_or(|before| before == from), "{before:?} became {to:?} from {from:?}");
            }
            SessionEvent::Closed(_) => {
                let sid = self.vetted_sid(who, session);
                self.ends[who].app.closed.extend(sid);
            }
            SessionEvent::Lost(report) => {
                let sid = self.vetted_sid(who, session);
                self.ends[who].app.lost.extend(sid);
                let is_honest = self.vetted_sid(who, session).is_some() && !self.twin_seen;
                let is_broken = report.cause.code == Code::Discontinuity;
                assert!(!(is_honest && is_broken), "an honest session was lost: {}", report.cause);
                for channel in report.channels {
                    assert!(channel.written >= channel.sent && channel.sent >= channel.held, "{channel:?}");
                    assert!(channel.received >= channel.taken, "{channel:?}");
                }
            }
            SessionEvent::LinkAttached { link, .. } => {
                let is_hostile = self.hostile.contains_key(&link);
                let is_vetted = self.vetted_sid(who, session).is_some();
                assert!(!(is_hostile && is_vetted), "a peer without the secret joined a session");
            }
            SessionEvent::Call(request) => {
                self.ends[who].app.running.push((session, request.channel));
                if let Some(sid) = self.vetted_sid(who, session) {
                    self.ledger.ran(sid, request.channel, 1 - who, &request.request);
                }
            }
            SessionEvent::ObjectAction { object, action, .. } => {
                self.ends[who].app.actions.push((session, object, action));
            }
            SessionEvent::ObjectRevived { object, .. } => self.ends[who].app.held.push((session, object)),
            SessionEvent::ObjectAttached { object, .. } => self.ends[who].app.owned.push((session, object)),
            SessionEvent::ObjectEnded { object, .. } => {
                self.ends[who].app.owned.retain(|&known| known != (session, object));
            }
            _ => {}
        }
    }
}
