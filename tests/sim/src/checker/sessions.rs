//! I4, I10 and I16: which sessions exist at which process, in which state, and what may still be said of them.

use super::{Verdict, ensure};
use crate::world::Pid;
use clerver_proto::error::Code;
use clerver_proto::id::{NodeId, SessionId, Sid};
use clerver_proto::node::{SessionEvent, SessionState};
use std::collections::BTreeMap;

/// One end of a session.
#[derive(Debug, Clone)]
pub(crate) struct View {
    /// Its name in the ledgers, made from the sid and the pair of nodes.
    pub sid: Sid,
    /// The sid that both ends use.
    pub on_wire: Sid,
    pub peer: NodeId,
    /// This end is the arbiter.
    pub arbiter: bool,
    pub state: SessionState,
    /// A state event was seen; before, the state is a guess.
    pub certain: bool,
    /// The report of its end came.
    pub reported: bool,
    /// It was given up for another node at its address, as the application wished (`any_node`).
    pub moved: bool,
    /// The application closed it here.
    pub closed_here: bool,
    /// When it became final.
    pub final_at: Option<u64>,
    /// When the application was first told that contact is lost for good or doubtful: Lost, Closed or Closing.
    pub knew_at: Option<u64>,
    /// It is embalmed, or was and the other end may still be.
    pub was_embalmed: bool,
}

impl View {
    /// Ended, and said so.
    pub(crate) fn is_over(&self) -> bool {
        self.state.is_final() && self.reported
    }
}

/// All ends of all sessions.
#[derive(Debug, Default)]
pub(crate) struct Sessions {
    views: BTreeMap<(Pid, SessionId), View>,
    by_sid: BTreeMap<Sid, Vec<(Pid, SessionId)>>,
    /// Sessions whose end was lost, by this checker's count.
    pub lost: u64,
}

impl Sessions {
    pub(crate) fn get(&self, pid: Pid, session: SessionId) -> Option<&View> {
        self.views.get(&(pid, session))
    }

    pub(crate) fn get_mut(&mut self, pid: Pid, session: SessionId) -> Option<&mut View> {
        self.views.get_mut(&(pid, session))
    }

    /// Every end at this process.
    pub(crate) fn of(&self, pid: Pid) -> impl Iterator<Item = (SessionId, &View)> {
        self.views
            .range((pid, SessionId(0))..=(pid, SessionId(u64::MAX)))
            .map(|((_, session), view)| (*session, view))
    }

    /// The other ends of a session (more than one when a process was cloned).
    pub(crate) fn others(&self, sid: Sid, arbiter: bool) -> Vec<(Pid, SessionId)> {
        let ends = self.by_sid.get(&sid).into_iter().flatten();
        ends.filter(|end| self.views.get(end).is_some_and(|view| view.arbiter != arbiter)).copied().collect()
    }

    /// A process speaks of a session for the first time (I4).
    pub(crate) fn appear(&mut self, pid: Pid, session: SessionId, view: View) -> Verdict {
        for (other, known) in self.of(pid) {
            ensure!(
                known.sid != view.sid,
                I4,
                "process {pid} has session {session} under the sid {} of its {} session {other}",
                view.on_wire,
                known.state.name()
            );
            ensure!(
                known.peer != view.peer || !is_live(known.state),
                I4,
                "process {pid} has session {session} with {} beside its {} session {other}",
                view.peer,
                known.state.name()
            );
        }
        self.by_sid.entry(view.sid).or_default().push((pid, session));
        self.views.insert((pid, session), view);
        Ok(())
    }

    /// A snapshot of a process has the same sessions.
    pub(crate) fn fork(&mut self, of: BTreeMap<SessionId, View>, clone: Pid) {
        for (session, view) in of {
            self.by_sid.entry(view.sid).or_default().push((clone, session));
            self.views.insert((clone, session), view);
        }
    }

    /// What a process says of its sessions now.
    pub(crate) fn snapshot(&self, of: Pid) -> BTreeMap<SessionId, View> {
        self.of(of).map(|(session, view)| (session, view.clone())).collect()
    }

    /// An event of a session: state graph, and silence after the end (I10).
    pub(crate) fn event(&mut self, pid: Pid, session: SessionId, event: &SessionEvent, now: u64) -> Verdict {
        let Some(view) = self.views.get_mut(&(pid, session)) else { return Ok(()) };
        ensure!(
            !view.is_over() || may_follow_the_end(event),
            I10,
            "process {pid} said {event:?} of session {session} after it was {}",
            view.state.name()
        );
        match event {
            SessionEvent::State { from, to, .. } => {
                ensure!(
                    (*from == view.state || !view.certain) && from.may_become(*to),
                    I10,
                    "session {session} of process {pid} was {} and said {} -> {}",
                    view.state.name(),
                    from.name(),
                    to.name()
                );
                (view.state, view.certain) = (*to, true);
                if to.is_final() {
                    view.final_at = Some(now);
                    self.lost += u64::from(*to == SessionState::Lost);
                }
                view.was_embalmed |= *to == SessionState::Embalmed;
                if to.is_final() || *to == SessionState::Closing {
                    view.knew_at.get_or_insert(now);
                }
                if *to == SessionState::Live {
                    self.both_live(pid, session);
                }
            }
            SessionEvent::Lost(report) | SessionEvent::Closed(report) => {
                ensure!(!view.reported, I10, "session {session} of process {pid} ended twice");
                view.reported = true;
                view.moved = report.cause.code == Code::WrongNode;
                view.knew_at.get_or_insert(now);
            }
            _ => {}
        }
        Ok(())
    }

    /// What was embalmed is whole again once both ends are live.
    fn both_live(&mut self, pid: Pid, session: SessionId) {
        let Some(view) = self.get(pid, session) else { return };
        let others = self.others(view.sid, view.arbiter);
        if others.iter().all(|&(other, theirs)| {
            self.get(other, theirs).is_some_and(|view| view.state == SessionState::Live)
        }) {
            for (other, theirs) in others.into_iter().chain([(pid, session)]) {
                if let Some(view) = self.get_mut(other, theirs) {
                    view.was_embalmed = false;
                }
            }
        }
    }

    /// States of all sessions of a process, to see whether something changed them.
    pub(crate) fn states(&self, pid: Pid) -> Vec<(SessionId, SessionState)> {
        self.of(pid).map(|(session, view)| (session, view.state)).collect()
    }

    /// No session that was there is at its end now (I16).
    pub(crate) fn untouched(&self, pid: Pid, before: &[(SessionId, SessionState)]) -> Verdict {
        for (session, state) in before {
            let view = self.get(pid, *session);
            let now = view.map(|view| view.state);
            // The HELLO was genuine, and that is all such a move takes.
            if view.is_some_and(|view| view.moved) {
                continue;
            }
            ensure!(
                state.is_final() || *state == SessionState::Registering || now.is_some_and(|s| !s.is_final()),
                I16,
                "a false handshake ended session {session} of process {pid}: {} -> {}",
                state.name(),
                now.map_or("gone", SessionState::name)
            );
        }
        Ok(())
    }
}

fn is_live(state: SessionState) -> bool {
    !state.is_final() && state != SessionState::Closing
}

/// Objects end, and handlers are told to, after the session did (T4).
fn may_follow_the_end(event: &SessionEvent) -> bool {
    matches!(
        event,
        SessionEvent::Readable(_)
            | SessionEvent::ObjectAction { .. }
            | SessionEvent::ObjectStuck { .. }
            | SessionEvent::CallCancelled(_)
    )
}
