//! Objects: held by one application for another, used, touched, updated, released, and ended.

use super::{Job, OwnerDoes};
use crate::checker::objects::{Life, Object};
use crate::checker::{Verdict, ensure};
use crate::plan::{Kind, MS, Objects, SEC, What};
use crate::toy;
use crate::world::{Phase, Pid, World};
use bytes::Bytes;
use clerver_proto::error::Code;
use clerver_proto::id::{ObjectId, SessionId};
use clerver_proto::node::{ObjectAction, SessionState};
use std::time::Duration;

/// Bytes that an owner leaves in an object.
const UPDATE: usize = 40;

/// Where the content of an object's updates stands in the pool.
fn update_at(session: u64, object: ObjectId) -> usize {
    (crate::rng::mix(session ^ object.0 << 20) % toy::POOL as u64) as usize
}

/// What an object is embalmed as.
fn embalmed(session: SessionId, object: ObjectId) -> Bytes {
    toy::content(update_at(!session.0, object), 60)
}

impl World {
    fn wish(&self, goal: usize) -> Option<Objects> {
        match &self.plan.goals[goal].what {
            What::Objects(objects) => Some(objects.clone()),
            _ => None,
        }
    }

    /// The holder makes the next objects of a goal, several at once.
    pub(super) fn do_attach(&mut self, pid: Pid, goal: usize, session: SessionId) -> Verdict {
        let Some(wish) = self.wish(goal) else { return Ok(()) };
        let at_once = self.procs[pid].rng.range(1, 40);
        for _ in 0..at_once {
            let run = &mut self.goals[goal];
            if run.begun >= wish.count || run.status != (super::goals::Status::Running { pid, session }) {
                return Ok(());
            }
            run.begun += 1;
            let ttl = wish.ttl.map(Duration::from_nanos);
            let kind = wish.kind.name();
            let answer =
                self.api(pid, "object_attach", |node, now| node.object_attach(now, session, kind, ttl))?;
            let object = match answer {
                Ok(object) => object,
                Err(error) if error.code == Code::Again && self.is_embalmed(pid, session) => {
                    self.goals[goal].begun -= 1;
                    self.job(pid, SEC, Job::Attach(goal, session));
                    return Ok(());
                }
                Err(error) => {
                    let ended = self.may_end(pid, session);
                    ensure!(ended, I8, "object_attach in a living session of process {pid}: {error}");
                    return Ok(());
                }
            };
            let view = Object {
                life: Life::Alive,
                inside: 0,
                embalms: wish.kind != Kind::Plain,
                discards: wish.kind == Kind::Kept,
                abandoned: false,
                asked: false,
                known: false,
                owner_told: false,
                doomed: false,
                counted: false,
                own_ttl: wish.ttl.is_some(),
            };
            self.check.objects.attached((pid, session, object), view)?;
            if let Some(known) = self.sess(pid, session) {
                known.held.insert(object, goal);
            }
            let rng = &mut self.procs[pid].rng;
            let (ends, enters, when) = (rng.percent(wish.end), rng.percent(wish.enter), rng.below(2 * SEC));
            if ends {
                self.job(pid, when, Job::EndObject(session, object));
            }
            if enters {
                self.soon(pid, Job::Enter(session, object));
            }
        }
        self.soon(pid, Job::Attach(goal, session));
        Ok(())
    }

    /// The holder's end of a session of which this is the owner's.
    fn holder_of(&self, pid: Pid, session: SessionId, object: ObjectId) -> Option<(Pid, SessionId)> {
        let view = self.check.sessions.get(pid, session)?;
        let others = self.check.sessions.others(view.sid, view.arbiter);
        others.into_iter().find(|&(holder, theirs)| self.check.objects.get(holder, theirs, object).is_some())
    }

    /// The owner learns that an object is kept for it.
    pub(super) fn owned(&mut self, pid: Pid, session: SessionId, object: ObjectId) {
        let Some((holder, theirs)) = self.holder_of(pid, session, object) else { return };
        if let Some(view) = self.check.objects.get_mut(holder, theirs, object) {
            view.known = true;
        }
        let Some(goal) = self.count_object(holder, theirs, object) else { return };
        let Some(wish) = self.wish(goal) else { return };
        let rng = &mut self.procs[pid].rng;
        let (updates, releases) = (rng.percent(wish.update), rng.percent(wish.release));
        let (soon, later) = (rng.below(SEC), rng.below(3 * SEC));
        if updates {
            self.job(pid, soon, Job::Owner(OwnerDoes::Update, session, object));
        }
        if releases {
            self.job(pid, later, Job::Owner(OwnerDoes::Release, session, object));
        }
        if let Some(ttl) = wish.ttl.filter(|_| wish.touch) {
            self.job(pid, ttl / 5, Job::Owner(OwnerDoes::Touch, session, object));
        }
    }

    /// An object is done with for its goal, the first time this is said; answers the goal.
    fn count_object(&mut self, holder: Pid, session: SessionId, object: ObjectId) -> Option<usize> {
        let goal = self.procs[holder].app.sessions.get(&session)?.held.get(&object).copied()?;
        let view = self.check.objects.get_mut(holder, session, object)?;
        if !std::mem::replace(&mut view.counted, true) {
            let run = self.goals[goal].run;
            self.goals[goal].one_less(run);
        }
        Some(goal)
    }

    pub(super) fn do_owner(
        &mut self,
        pid: Pid,
        does: OwnerDoes,
        session: SessionId,
        object: ObjectId,
    ) -> Verdict {
        if !self.sess(pid, session).is_some_and(|known| !known.over && !known.closing && !known.frozen) {
            return Ok(());
        }
        let holder = self.holder_of(pid, session, object);
        match does {
            OwnerDoes::Touch => {
                let touched =
                    self.api(pid, "object_touch", |node, now| node.object_touch(now, session, object))?;
                let known = holder.and_then(|(holder, theirs)| {
                    self.procs[holder].app.sessions.get(&theirs)?.held.get(&object).copied()
                });
                let ttl = known.and_then(|goal| self.wish(goal)).and_then(|wish| wish.ttl);
                if let (Ok(()), Some(ttl), Phase::Faults) = (touched, ttl, self.phase) {
                    self.job(pid, ttl / 5, Job::Owner(does, session, object));
                }
            }
            OwnerDoes::Update => {
                let Some((_, theirs)) = holder else { return Ok(()) };
                let data = toy::content(update_at(theirs.0, object), UPDATE);
                self.api(pid, "object_update", |node, now| node.object_update(now, session, object, data))?
                    .ok();
            }
            OwnerDoes::Release => {
                if let Some((holder, theirs)) = holder {
                    self.mark_asked(holder, theirs, object);
                }
                self.api(pid, "object_release", |node, now| node.object_release(now, session, object))?.ok();
            }
        }
        Ok(())
    }

    fn mark_asked(&mut self, pid: Pid, session: SessionId, object: ObjectId) {
        if let Some(view) = self.check.objects.get_mut(pid, session, object) {
            view.asked = true;
        }
    }

    /// The owner is told that an object is over.
    pub(super) fn owner_told(&mut self, pid: Pid, session: SessionId, object: ObjectId) {
        if let Some((holder, theirs)) = self.holder_of(pid, session, object)
            && let Some(view) = self.check.objects.get_mut(holder, theirs, object)
        {
            view.owner_told = true;
        }
    }

    /// The holder sees data that the owner left.
    pub(super) fn updated(
        &mut self,
        pid: Pid,
        session: SessionId,
        object: ObjectId,
        data: &Bytes,
    ) -> Verdict {
        let right = data.len() == UPDATE && toy::is_content(update_at(session.0, object), data);
        ensure!(
            right,
            I1,
            "object {object} of session {session} of process {pid} has data nobody left there"
        );
        let slot = self.procs[pid].slot;
        self.tally(slot, "object updated");
        Ok(())
    }

    pub(super) fn do_end_object(&mut self, pid: Pid, session: SessionId, object: ObjectId) -> Verdict {
        if self.sess(pid, session).is_some() {
            self.mark_asked(pid, session, object);
            self.api(pid, "object_end", |node, now| node.object_end(now, session, object))?.ok();
        }
        Ok(())
    }

    /// A user of an object, as often as it may.
    pub(super) fn do_enter(&mut self, pid: Pid, session: SessionId, object: ObjectId) -> Verdict {
        if self.phase == Phase::Closing || self.sess(pid, session).is_none_or(|known| known.frozen) {
            return Ok(());
        }
        let entered = self.api(pid, "object_enter", |node, now| node.object_enter(now, session, object))?;
        let Some(view) = self.check.objects.get_mut(pid, session, object) else { return Ok(()) };
        if entered.is_err() {
            return Ok(());
        }
        ensure!(
            matches!(view.life, Life::Alive),
            I8,
            "process {pid} may enter object {object} of session {session}, which is {:?}",
            view.life
        );
        view.inside += 1;
        let goal = self.sess(pid, session).and_then(|known| known.held.get(&object).copied());
        let stay = goal.and_then(|goal| self.wish(goal)).map_or(SEC, |wish| wish.stay);
        let time = self.procs[pid].rng.range(stay / 2, stay);
        self.job(pid, time, Job::Leave(session, object));
        Ok(())
    }

    pub(super) fn do_leave(&mut self, pid: Pid, session: SessionId, object: ObjectId) -> Verdict {
        let Some(view) = self.check.objects.get_mut(pid, session, object) else { return Ok(()) };
        view.inside = view.inside.saturating_sub(1);
        self.api(pid, "object_leave", |node, now| node.object_leave(now, session, object))?.ok();
        let pause = self.procs[pid].rng.below(2 * SEC);
        self.job(pid, pause, Job::Enter(session, object));
        Ok(())
    }

    /// The node asks the application to end, embalm, revive or discard something.
    pub(super) fn asked(
        &mut self,
        pid: Pid,
        session: SessionId,
        object: ObjectId,
        action: ObjectAction,
        kept: &Bytes,
    ) -> Verdict {
        let is_handed = matches!(action, ObjectAction::Revive | ObjectAction::Discard);
        let right = if is_handed { embalmed(session, object) } else { Bytes::new() };
        ensure!(
            *kept == right,
            I1,
            "object {object} of session {session} of process {pid} shall {action:?} from bytes that are not its own"
        );
        let plan = &self.plan.nodes[self.procs[pid].slot];
        let (span, fails) = (plan.destructor, plan.embalm_fails);
        let rng = &mut self.procs[pid].rng;
        let time = span.draw(rng);
        let ok = !matches!(action, ObjectAction::Embalm) || !rng.percent(fails);
        self.job(pid, time, Job::ObjectDone(session, object, action, ok));
        Ok(())
    }

    pub(super) fn do_done(
        &mut self,
        pid: Pid,
        session: SessionId,
        object: ObjectId,
        action: ObjectAction,
        ok: bool,
    ) -> Verdict {
        self.check.objects.done((pid, session, object), action, ok);
        if matches!(action, ObjectAction::Destroy | ObjectAction::Discard) {
            self.count_object(pid, session, object);
        }
        let bytes = if action == ObjectAction::Embalm { embalmed(session, object) } else { Bytes::new() };
        let done = ok.then_some(bytes);
        let answer =
            self.api(pid, "object_done", |node, now| node.object_done(now, session, object, action, done))?;
        if let Err(error) = answer {
            ensure!(
                action == ObjectAction::Abandon,
                I8,
                "object_done({action:?}, {ok}) for object {object} of session {session} of process {pid}: {error}"
            );
        }
        Ok(())
    }

    /// A session with a host came whose objects were embalmed: some of them are wanted back.
    pub(super) fn revive_for(&mut self, pid: Pid, session: SessionId) {
        let slot = self.procs[pid].slot;
        let chance = self.plan.nodes[slot].revives;
        let Some(peer) = self.sess(pid, session).map(|known| known.slot) else { return };
        let host = self.plan.nodes[peer].host;
        let ended: Vec<SessionId> = self.procs[pid]
            .app
            .sessions
            .iter()
            .filter(|(_, known)| self.plan.nodes[known.slot].host == host)
            .filter(|(old, known)| known.over || self.is_embalmed(pid, **old))
            .map(|(old, _)| *old)
            .collect();
        for from in ended {
            for object in self.check.objects.embalmed(pid, from) {
                if self.procs[pid].rng.percent(chance) {
                    let after = self.procs[pid].rng.below(100 * MS);
                    self.job(pid, after, Job::Revive { from, object, to: session });
                }
            }
        }
    }

    fn is_embalmed(&self, pid: Pid, session: SessionId) -> bool {
        let view = self.check.sessions.get(pid, session);
        view.is_some_and(|view| view.state == SessionState::Embalmed)
    }

    pub(super) fn do_revive(
        &mut self,
        pid: Pid,
        from: SessionId,
        object: ObjectId,
        to: SessionId,
    ) -> Verdict {
        let Some(view) = self.check.objects.get(pid, from, object).cloned() else { return Ok(()) };
        if view.life != Life::Embalmed {
            return Ok(());
        }
        self.api(pid, "object_revive", |node, now| node.object_revive(now, from, object, to))?.ok();
        Ok(())
    }

    /// An embalmed object lives on in another session, under another name.
    pub(super) fn revived(
        &mut self,
        pid: Pid,
        to: SessionId,
        new: ObjectId,
        from: SessionId,
        was: ObjectId,
    ) -> Verdict {
        let slot = self.procs[pid].slot;
        self.tally(slot, "revived");
        let Some(old) = self.check.objects.get_mut(pid, from, was) else { return Ok(()) };
        ensure!(
            old.life == Life::Alive,
            I8,
            "object {was} of process {pid} is revived, and is {:?}",
            old.life
        );
        old.life = Life::Moved;
        let view = Object { known: false, asked: false, owner_told: false, inside: 0, ..old.clone() };
        self.check.objects.attached((pid, to, new), Object { life: Life::Alive, ..view })
    }
}
