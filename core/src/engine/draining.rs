//! How far the drain of a node has come, and who is told.
//!
//! Invariant: an event tells each step that somebody looked at, and the end, whether somebody looks or not.

use super::closing::Leftover;
use super::event::NodeEvent;
use super::shard::{Batch, Shard};
use clerver_proto::id::SessionId;
use clerver_proto::time::Instant;
use std::collections::BTreeSet;

/// A drain whose end was not told yet.
#[derive(Default)]
pub(super) struct Draining {
    /// Sessions that were not delivered when they were looked at, and have not said since that they are.
    waiting: BTreeSet<SessionId>,
    /// Sessions, bytes and handlers that the last event told of.
    told: (usize, u64, usize),
}

impl Shard {
    /// What a drain waits for. Tells the program of it when that is new.
    pub(super) fn look_at_drain(&mut self, now: Instant, batch: &mut Batch) -> (Vec<Leftover>, Vec<String>) {
        let undelivered = self.undelivered();
        let running: Vec<String> = self.running.values().map(|running| running.name()).collect();
        let is_open =
            |session: &SessionId| self.node.session_info(*session).is_ok_and(|info| !info.state.is_final());
        let sessions = self.node.sessions().iter().filter(|session| is_open(session)).count();
        let undelivered_bytes = undelivered.iter().map(|(_, _, report)| report.written - report.held).sum();
        let told = (sessions, undelivered_bytes, running.len());
        if self.draining.as_ref().is_none_or(|draining| draining.told != told) {
            self.tell(NodeEvent::Draining { sessions, undelivered_bytes, running: running.clone() }, batch);
        }
        let waiting: BTreeSet<SessionId> = undelivered.iter().map(|(session, _, _)| *session).collect();
        for &session in &waiting {
            // An error means that it is over, and says so.
            let _ = self.node.session_drain(now, session);
        }
        self.draining = Some(Draining { waiting, told });
        (undelivered, running)
    }

    /// A session holds nothing up any more.
    pub(super) fn note_drained(&mut self, session: SessionId) {
        if let Some(draining) = &mut self.draining {
            draining.waiting.remove(&session);
        }
    }

    /// Whether a drain that was not at its end may have come there.
    pub(super) fn drain_may_be_over(&self) -> bool {
        self.running.is_empty()
            && self.draining.as_ref().is_some_and(|draining| {
                let (_, bytes, handlers) = draining.told;
                draining.waiting.is_empty() && (bytes > 0 || handlers > 0)
            })
    }

    /// Channels of open sessions whose data the peer does not hold yet, released ones too.
    pub(super) fn undelivered(&self) -> Vec<Leftover> {
        let mut found = Vec::new();
        for session in self.node.sessions() {
            let peer = match self.node.session_info(session) {
                Ok(info) if !info.state.is_final() => Some(info.peer),
                _ => continue,
            };
            let left = self.node.undelivered(session).unwrap_or_default();
            found.extend(left.into_iter().map(|report| (session, peer, report)));
        }
        found
    }
}
