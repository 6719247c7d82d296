//! The end of a session at its application: closing, reading what is left, forgetting.

use super::Job;
use crate::checker::{Verdict, ensure};
use crate::plan::MS;
use crate::world::{Pid, World};
use clerver_proto::id::SessionId;
use clerver_proto::node::SessionState;
use std::time::Duration;

/// Pause between two looks at whether everything is over.
const LOOK: u64 = 500 * MS;

impl World {
    /// Closes every handle of a session.
    pub(super) fn do_close(&mut self, pid: Pid, session: SessionId, timeout: u64) -> Verdict {
        let Some(known) = self.sess(pid, session) else { return Ok(()) };
        if known.over || known.closing {
            return Ok(());
        }
        known.closing = true;
        known.calls.clear();
        known.waiting.clear();
        known.channels.values_mut().for_each(|chan| (chan.write, chan.reading) = (None, false));
        let handles = known.handles.max(1);
        if let Some(view) = self.check.sessions.get_mut(pid, session) {
            view.closed_here = true;
        }
        for _ in 0..handles {
            let span = Duration::from_nanos(timeout);
            let answer =
                self.api(pid, "session_close", |node, now| node.session_close(now, session, span))?;
            if answer.is_err() {
                break;
            }
        }
        Ok(())
    }

    /// Reads what is left of an ended session, waits for handlers and destructors, and forgets it.
    pub(super) fn do_wind_down(&mut self, pid: Pid, session: SessionId) -> Verdict {
        let Some(known) = self.sess(pid, session) else { return Ok(()) };
        let mut reads = Vec::new();
        for (channel, chan) in &mut known.channels {
            chan.write = None;
            if chan.reading && !chan.parked && !known.closing && !chan.read_soon {
                chan.read_soon = true;
                reads.push(Job::Read(session, *channel));
            }
        }
        if !known.closing {
            reads.extend(known.calls.keys().map(|call| Job::ReadCall(session, *call)));
        }
        let reading = known.channels.values().any(|chan| chan.reading);
        let busy = reading || !known.calls.is_empty() || !known.running.is_empty();
        let (sid, arbiter, closing) = (known.sid, known.arbiter, known.closing);
        reads.into_iter().for_each(|job| self.soon(pid, job));
        if busy || self.check.objects.living(pid, session) > 0 || !self.is_registration_over(pid, session) {
            self.job(pid, LOOK, Job::WindDown(session));
            return Ok(());
        }
        if !closing {
            self.all_was_read(pid, session, sid, arbiter)?;
        }
        self.procs[pid].app.sessions.remove(&session);
        self.api(pid, "session_forget", |node, now| node.session_forget(now, session))?.ok();
        Ok(())
    }

    fn is_registration_over(&self, pid: Pid, session: SessionId) -> bool {
        use crate::checker::objects::Life;
        let view = self.check.objects.get(pid, session, clerver_proto::id::REGISTRATION);
        view.is_none_or(|view| matches!(view.life, Life::Alive | Life::Ended))
    }

    /// When both ends say closed, not lost, everything that the other one wrote was read (X5).
    fn all_was_read(
        &self,
        pid: Pid,
        session: SessionId,
        sid: clerver_proto::id::Sid,
        arbiter: bool,
    ) -> Verdict {
        let closed = |pid, session| {
            self.check.sessions.get(pid, session).is_some_and(|view| view.state == SessionState::Closed)
        };
        // A node that drains refuses channels with what was written to them.
        if !closed(pid, session) || !self.drained.is_empty() {
            return Ok(());
        }
        for (other, theirs) in self.check.sessions.others(sid, arbiter) {
            if closed(other, theirs) {
                let unread = self.check.flows.unread(sid, !arbiter, pid);
                ensure!(
                    unread.is_empty(),
                    I2,
                    "session {session} of process {pid} closed in good order with bytes that it never read: {unread:?}"
                );
            }
        }
        Ok(())
    }
}
