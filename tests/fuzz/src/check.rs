//! Rules that hold after every step.

use crate::world::World;
use clerver_proto::node::{ChannelReport, SessionState};
use std::collections::BTreeMap;

/// Channel 0 of a session, and what an end says there without asking for room.
const CONTROL_BYTES_MAX: u64 = 1 << 20;

impl World {
    pub fn check(&mut self, step: usize) {
        for end in &self.ends {
            for &session in &end.app.sessions {
                let Ok(info) = end.node.session_info(session) else { continue };
                assert!(
                    info.outstanding <= self.limits.budget_bytes,
                    "{} bytes are granted, the budget is {}",
                    info.outstanding,
                    self.limits.budget_bytes
                );
            }
            let counters = end.node.counters();
            let most = counters.sessions * (2 * self.limits.budget_bytes + CONTROL_BYTES_MAX);
            assert!(counters.buffered <= most, "{} bytes are buffered", counters.buffered);
        }
        if step.is_multiple_of(8) && !self.twin_seen {
            self.check_held();
        }
    }

    /// What a sender forgot is held by the receiver (I5), and nobody holds what was not sent (I3).
    fn check_held(&self) {
        let mut by_sid = BTreeMap::new();
        for (who, end) in self.ends.iter().enumerate() {
            for (&session, sid) in &end.app.sids {
                let is_open = end.node.session_info(session).is_ok_and(|info| !info.state.is_final());
                if is_open && self.vetted.contains(sid) {
                    by_sid.entry(sid).or_insert([None, None])[who] = Some(session);
                }
            }
        }
        for (sid, sessions) in by_sid {
            let [Some(_), Some(_)] = sessions else { continue };
            let channels = self.ledger.flows.keys().filter(|(of, _, writer)| of == sid && *writer == 0);
            for &(_, channel, _) in channels {
                let report = |who: usize| -> Option<ChannelReport> {
                    self.ends[who].node.channel_report(sessions[who]?, channel).ok()
                };
                let (Some(a), Some(b)) = (report(0), report(1)) else { continue };
                for (who, writer, reader) in [(0, a, b), (1, b, a)] {
                    // Who gave up on a channel counts no longer what comes.
                    let flow = self.ledger.flows.get(&(*sid, channel, who));
                    if flow.is_none_or(|flow| flow.reader_gone || flow.may_be_missing) {
                        continue;
                    }
                    assert!(writer.held <= reader.received, "forgotten: {writer:?} {reader:?}");
                    assert!(reader.received <= writer.sent, "invented: {writer:?} {reader:?}");
                    assert!(reader.taken <= reader.received, "{reader:?}");
                }
            }
        }
    }

    pub fn is_live(&self, who: usize, session: clerver_proto::id::SessionId) -> bool {
        self.ends[who].node.session_info(session).is_ok_and(|info| info.state == SessionState::Live)
    }
}
