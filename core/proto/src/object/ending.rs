//! How objects end: grace, turns in the sweep, putting aside, and the death of the registration.
//!
//! It checks no caller (that is `table`'s work) and only moves objects on. A public method changes one thing
//! and then calls [`Objects::tick`], which draws every consequence; so no deadline that has come, no free
//! turn and no finished sweep is ever left behind.

use super::table::{Ending, Object, Objects, Phase};
use super::{Action, Effect, ObjectState};
use crate::error::Code;
use crate::id::{ObjectId, REGISTRATION};
use crate::time::Instant;
use bytes::Bytes;
use std::cmp::Reverse;

impl Objects {
    /// Lets every deadline up to `now` take effect: TTLs, graces and embalmings.
    pub fn tick(&mut self, now: Instant) {
        while let Some(Reverse(id)) = self.deadlines.pop_due(now) {
            self.expire(now, id);
        }
        self.take_turn();
        self.conclude();
    }

    /// Poisons a living object outside any order (O3).
    pub(super) fn poison(&mut self, now: Instant, id: ObjectId, code: Code) {
        let barrier = self.history.started();
        let Some(object) = self.table.get_mut(&id) else { return };
        object.phase =
            Phase::Ending(Ending { code, barrier, next: Action::Destroy, ordered: false, stuck: false });
        self.deadlines.set(Reverse(id), now + self.grace);
        self.await_barrier(id, barrier);
        self.wake(id);
    }

    /// Poisons every living object and the registration; what was ended alone before holds up the older ones.
    pub(super) fn poison_all(&mut self, now: Instant, code: Code, contact_lost: bool) {
        self.registration = ObjectState::Poisoned;
        let barrier = self.history.started();
        let mut embalmed = Vec::new();
        for (&id, object) in &mut self.table {
            let pending = match &mut object.phase {
                Phase::Alive => {
                    let embalm = contact_lost && object.rules.embalm_for.is_some();
                    let next = if embalm { Action::Embalm } else { Action::Destroy };
                    object.phase = Phase::Ending(Ending { code, barrier, next, ordered: true, stuck: false });
                    self.deadlines.clear(Reverse(id));
                    true
                }
                Phase::Ending(ending) => {
                    if ending.next == Action::Embalm && !contact_lost {
                        ending.next = Action::Destroy;
                    }
                    if ending.ordered && !ending.stuck {
                        // It was put aside: the grace of the sweep counts.
                        self.deadlines.clear(Reverse(id));
                    }
                    !ending.stuck || object.running == Some(Action::Destroy)
                }
                Phase::Embalmed { .. } => {
                    embalmed.push(id);
                    false
                }
            };
            if pending {
                self.queue.insert(id);
            }
        }
        self.deadlines.set(Reverse(REGISTRATION), now + self.grace);
        self.aside = false;
        self.returning.clear();
        // Whoever was put aside for the return of its session waits for nothing any more.
        embalmed.into_iter().for_each(|id| self.free_embalmed(id, code));
    }

    /// Frees what was put aside, in its turn; a revival in flight becomes the first step of that.
    pub(super) fn free_embalmed(&mut self, id: ObjectId, code: Code) {
        let Some(object) = self.table.get_mut(&id) else { return };
        let next = if object.rules.has_discard { Action::Discard } else { Action::Revive };
        object.phase = Phase::Ending(Ending { code, barrier: 0, next, ordered: true, stuck: false });
        self.deadlines.clear(Reverse(id));
        self.queue.insert(id);
    }

    /// Lets an object go on if nothing holds it up: at once when it was ended alone, else by joining the
    /// queue.
    pub(super) fn wake(&mut self, id: ObjectId) {
        let Some(object) = self.table.get(&id) else { return };
        let Phase::Ending(ending) = &object.phase else { return };
        if object.running.is_some() || self.is_busy(object, ending) {
            return;
        }
        let (ordered, next) = (ending.ordered, ending.next);
        if ordered {
            self.queue.insert(id);
        } else {
            self.deadlines.clear(Reverse(id));
            if self.registration != ObjectState::Alive {
                self.queue.insert(id);
            }
            self.run(id, next);
        }
    }

    /// Wakes what waited only for calls that have ended now.
    pub(super) fn wake_waiting(&mut self) {
        let ended_below = self.history.ended_below();
        while let Some(&(barrier, Reverse(id))) = self.waiting.first() {
            if barrier > ended_below {
                return;
            }
            self.waiting.pop_first();
            self.wake(id);
        }
    }

    /// Asks for an action, which is in flight from now on.
    pub(super) fn run(&mut self, id: ObjectId, action: Action) {
        let Some(object) = self.table.get_mut(&id) else { return };
        object.running = Some(action);
        let kept = match action {
            Action::Revive | Action::Discard => object.kept.clone(),
            Action::Destroy | Action::Embalm | Action::Abandon => Bytes::new(),
        };
        self.effects.push_back(Effect::Run { object: id, kind: object.kind.clone(), action, kept });
    }

    /// Moves an object on after its action in flight was answered.
    pub(super) fn complete(&mut self, now: Instant, id: ObjectId, action: Action, answer: Option<Bytes>) {
        if self.turn == Some(id) {
            self.turn = None;
        }
        let Some(object) = self.table.get_mut(&id) else { return };
        object.running = None;
        let (discards, ok) = (object.rules.has_discard, answer.is_some());
        if action == Action::Revive && ok {
            self.kept_bytes -= std::mem::take(&mut object.kept).len() as u64;
        }
        match (&mut object.phase, action) {
            (Phase::Ending(ending), Action::Embalm) if ok => {
                let (code, is_wanted) = (ending.code, ending.next == Action::Embalm);
                object.kept = answer.unwrap_or_default();
                self.kept_bytes += object.kept.len() as u64;
                self.is_embalmed(now, id, code);
                if !is_wanted {
                    self.free_embalmed(id, code);
                }
            }
            (Phase::Ending(ending), Action::Embalm) => {
                ending.next = Action::Destroy;
                self.wake(id);
            }
            (Phase::Ending(ending), Action::Revive) if ok => ending.next = Action::Destroy,
            (Phase::Ending(ending), Action::Revive) if discards => ending.next = Action::Discard,
            (Phase::Ending(_), Action::Abandon) => self.wake(id),
            // Destroyed, discarded, or impossible to make destroyable again: then what it holds is leaked.
            (Phase::Ending(ending), _) => {
                let code = ending.code;
                self.bury(id, Effect::Ended { object: id, code });
            }
            (Phase::Embalmed { returns: true, .. }, _) if ok => self.is_back(now, id),
            (&mut Phase::Embalmed { returns: true, code, .. }, _) => self.free_embalmed(id, code),
            (Phase::Embalmed { .. }, _) if ok => self.hand_out(id),
            (&mut Phase::Embalmed { code, late: true, .. }, _) => self.free_embalmed(id, code),
            (Phase::Embalmed { .. } | Phase::Alive, _) => {}
        }
    }

    /// Removes a revived object and says so.
    fn hand_out(&mut self, id: ObjectId) {
        let Some(object) = self.table.get(&id) else { return };
        let Object { kind, rules, ttl, data, .. } = object.clone();
        self.bury(id, Effect::Revived { object: id, kind, rules, ttl, data });
    }

    /// Forgets an object; `last` is the last that is said of it.
    fn bury(&mut self, id: ObjectId, last: Effect) {
        if let Some(object) = self.table.remove(&id) {
            self.kept_bytes -= object.kept.len() as u64;
        }
        self.queue.remove(&id);
        self.returning.remove(&id);
        self.deadlines.clear(Reverse(id));
        self.effects.push_back(last);
    }

    fn expire(&mut self, now: Instant, id: ObjectId) {
        if id == REGISTRATION {
            self.settled = true;
            // An object without a user now can get none any more, so this moment decides for all.
            let pending: Vec<ObjectId> = self.queue.iter().rev().copied().collect();
            return pending.into_iter().for_each(|id| self.give_up(id));
        }
        let Some(object) = self.table.get_mut(&id) else { return };
        match &mut object.phase {
            Phase::Alive => self.poison(now, id, Code::Timeout),
            Phase::Ending(ending) if ending.next == Action::Embalm => self.embalm_later(id),
            Phase::Ending(_) => self.give_up(id),
            Phase::Embalmed { late, .. } if object.running.is_some() => *late = true,
            &mut Phase::Embalmed { code, .. } => self.free_embalmed(id, code),
        }
    }

    /// The grace is over: an object still in use is abandoned and holds up nobody from now on; after that it
    /// is never embalmed, only destroyed.
    fn give_up(&mut self, id: ObjectId) {
        let Some(object) = self.table.get(&id) else { return };
        let Phase::Ending(ending) = &object.phase else { return };
        if object.running.is_some() || !self.is_busy(object, ending) {
            return;
        }
        let barrier = ending.barrier;
        if let Some(Object { phase: Phase::Ending(ending), .. }) = self.table.get_mut(&id) {
            ending.stuck = true;
            ending.next = Action::Destroy;
        }
        self.queue.remove(&id);
        if self.destroy_at_grace_end {
            return self.wake(id);
        }
        self.await_barrier(id, barrier);
        self.run(id, Action::Abandon);
        self.effects.push_back(Effect::Stuck { object: id });
    }

    /// Starts the next object of the sweep, the one attached last, unless it or its predecessor is not ready.
    fn take_turn(&mut self) {
        if self.turn.is_some() {
            return;
        }
        let Some(&id) = self.queue.last() else { return };
        let Some(object) = self.table.get(&id) else { return };
        let Phase::Ending(ending) = &object.phase else { return };
        if !ending.ordered || object.running.is_some() || self.is_busy(object, ending) {
            return;
        }
        let next = ending.next;
        self.turn = Some(id);
        self.run(id, next);
    }

    /// Draws what follows for the whole session: T4, and the death of the registration.
    fn conclude(&mut self) {
        if self.registration != ObjectState::Poisoned {
            return;
        }
        if self.queue.is_empty() {
            self.settled = true;
            self.deadlines.clear(Reverse(REGISTRATION));
        }
        if self.table.is_empty() && self.history.running() == 0 {
            self.registration = ObjectState::Dead;
            self.effects.push_back(Effect::AllEnded);
        }
    }

    pub(super) fn await_barrier(&mut self, id: ObjectId, barrier: u64) {
        if self.history.ended_below() < barrier {
            self.waiting.insert((barrier, Reverse(id)));
        }
    }

    /// Whether somebody may still use this poisoned object (O3).
    pub(super) fn is_busy(&self, object: &Object, ending: &Ending) -> bool {
        let forced = self.destroy_at_grace_end && ending.stuck;
        !forced && (object.in_service > 0 || self.history.ended_below() < ending.barrier)
    }
}
