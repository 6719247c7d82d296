//! Objects whose session is embalmed and may come back (C5): put aside while there is no contact, and brought back
//! with it.
//!
//! Not the sweep, after which nothing comes back to this session (`ending`). Invariants: while the session is aside
//! no object is alive; an object that contact brings back is named in `returning` until it is alive or over.

use super::table::{Ending, Objects, Phase};
use super::{Action, ObjectState};
use crate::error::Code;
use crate::id::ObjectId;
use crate::limits::EMBALMED_BYTES_MAX;
use crate::time::Instant;
use bytes::Bytes;
use std::cmp::Reverse;
use std::time::Duration;

impl Objects {
    /// The hold ended, and the session is kept: every object that can be embalmed is, each after those attached
    /// later, and the others are ended. Nothing may use any of them meanwhile.
    pub fn put_aside(&mut self, now: Instant) {
        self.tick(now);
        if self.aside || self.registration != ObjectState::Alive {
            return;
        }
        self.aside = true;
        self.returning.clear();
        let ids: Vec<ObjectId> = self.table.keys().copied().collect();
        for id in ids {
            self.put_one_aside(now, id);
        }
        self.tick(now);
    }

    fn put_one_aside(&mut self, now: Instant, id: ObjectId) {
        let barrier = self.history.started();
        let Some(object) = self.table.get_mut(&id) else { return };
        match &mut object.phase {
            Phase::Alive => {
                let can = object.rules.embalm_for.is_some();
                let (code, next) = (Code::Lost, if can { Action::Embalm } else { Action::Destroy });
                object.phase = Phase::Ending(Ending { code, barrier, next, ordered: true, stuck: false });
                self.queue.insert(id);
                self.deadlines.set(Reverse(id), now + self.grace);
            }
            // On its way back; it goes again when it is there.
            Phase::Embalmed { .. } | Phase::Ending(_) => {}
        }
    }

    /// Somebody uses it beyond the grace: it holds up nobody, and is put aside when they leave.
    pub(super) fn embalm_later(&mut self, id: ObjectId) {
        let Some(object) = self.table.get_mut(&id) else { return };
        let Phase::Ending(ending) = &mut object.phase else { return };
        if object.running.is_some() {
            return;
        }
        ending.ordered = false;
        let barrier = ending.barrier;
        self.queue.remove(&id);
        self.await_barrier(id, barrier);
        self.wake(id);
    }

    /// It handed over its bytes.
    pub(super) fn is_embalmed(&mut self, now: Instant, id: ObjectId, code: Code) {
        let Some(object) = self.table.get_mut(&id) else { return };
        object.phase = Phase::Embalmed { code, late: false, returns: false };
        let is_too_long = object.kept.len() > EMBALMED_BYTES_MAX;
        let span = object.rules.embalm_for.unwrap_or_default();
        self.queue.remove(&id);
        self.deadlines.set(Reverse(id), now + span);
        if is_too_long {
            self.free_embalmed(id, Code::Size);
        } else if self.keeps_none {
            self.free_embalmed(id, code);
        } else if !self.aside && self.registration == ObjectState::Alive {
            self.bring_one_back(id);
        }
    }

    /// Contact is back: what was put aside is revived, what was not yet stays as it is.
    pub fn bring_back(&mut self, now: Instant) {
        self.tick(now);
        if !self.aside {
            return;
        }
        self.aside = false;
        let ids: Vec<ObjectId> = self.table.keys().copied().collect();
        for id in ids {
            let Some(object) = self.table.get_mut(&id) else { continue };
            match &object.phase {
                Phase::Ending(ending) if ending.next == Action::Embalm => {
                    if object.running.is_some() {
                        self.returning.insert(id);
                    } else {
                        self.is_back(now, id);
                    }
                }
                // One that was to be handed to another session goes there.
                Phase::Embalmed { .. } if object.running.is_none() => self.bring_one_back(id),
                Phase::Embalmed { returns: true, .. } => drop(self.returning.insert(id)),
                _ => {}
            }
        }
        self.tick(now);
    }

    fn bring_one_back(&mut self, id: ObjectId) {
        let Some(object) = self.table.get_mut(&id) else { return };
        if let Phase::Embalmed { returns, .. } = &mut object.phase {
            *returns = true;
        }
        self.deadlines.clear(Reverse(id));
        self.returning.insert(id);
        self.run(id, Action::Revive);
    }

    /// An object is alive again; its own TTL starts anew.
    pub(super) fn is_back(&mut self, now: Instant, id: ObjectId) {
        let Some(object) = self.table.get_mut(&id) else { return };
        object.phase = Phase::Alive;
        let ttl = object.ttl;
        self.queue.remove(&id);
        self.returning.remove(&id);
        self.waiting.retain(|&(_, Reverse(waiting))| waiting != id);
        self.arm(now, id, ttl);
        if self.aside {
            self.put_one_aside(now, id);
        }
    }

    /// The holder ends: what is embalmed is, and what will be, whoever may come back.
    pub fn end_embalmed(&mut self, now: Instant, code: Code) {
        self.keeps_none = true;
        let ids: Vec<ObjectId> = self.embalmed().map(|(id, _, _)| id).collect();
        for id in ids {
            self.free_embalmed(id, code);
        }
        self.tick(now);
    }

    /// Objects that the peer may still use, or will when they are back: for a peer that does not know of them.
    pub fn of_the_peer(&self) -> Vec<(ObjectId, String, Option<Duration>)> {
        let is_the_peers = |object: &super::table::Object| match &object.phase {
            Phase::Alive | Phase::Embalmed { .. } => true,
            Phase::Ending(ending) => ending.next == Action::Embalm,
        };
        let found = self.table.iter().filter(|(_, object)| is_the_peers(object));
        found.map(|(&id, object)| (id, object.kind.clone(), object.ttl)).collect()
    }

    /// What is embalmed: which object, of which kind, and as what.
    pub fn embalmed(&self) -> impl Iterator<Item = (ObjectId, &str, &Bytes)> {
        let is_embalmed = |object: &super::table::Object| matches!(object.phase, Phase::Embalmed { .. });
        let found = self.table.iter().filter(move |(_, object)| is_embalmed(object));
        found.map(|(&id, object)| (id, object.kind.as_str(), &object.kept))
    }

    /// Whether the session is embalmed and the objects were put aside.
    pub fn is_aside(&self) -> bool {
        self.aside
    }

    /// Whether objects are on their way back.
    pub fn is_returning(&self) -> bool {
        !self.returning.is_empty()
    }

    /// Bytes that embalmed objects are kept as.
    pub fn kept_bytes(&self) -> u64 {
        self.kept_bytes
    }
}
