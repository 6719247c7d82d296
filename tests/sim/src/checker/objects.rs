//! I7 and I8: who holds which object for whom, what was asked of it, and in which order it ended.

use super::{Verdict, ensure};
use crate::world::Pid;
use clerver_proto::id::{ObjectId, REGISTRATION, SessionId};
use clerver_proto::node::ObjectAction;
use std::collections::BTreeMap;

/// Where an object is in its life (O4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Life {
    Alive,
    Destroying,
    Embalming,
    Embalmed,
    Reviving,
    Discarding,
    /// Destroyed or discarded.
    Ended,
    /// Lives on as an object of another session.
    Moved,
}

/// One object at its holder.
#[derive(Debug, Clone)]
pub(crate) struct Object {
    pub life: Life,
    /// Uses that have not left; calls that run, for the registration.
    pub inside: u32,
    /// The kind can be embalmed, and has discard.
    pub embalms: bool,
    pub discards: bool,
    /// It was told to give up on a handler.
    pub abandoned: bool,
    /// Its end was asked for by owner or holder.
    pub asked: bool,
    /// Its owner's application knows of it.
    pub known: bool,
    /// Its owner's application was told that it is over.
    pub owner_told: bool,
    /// Its session was embalmed, and it cannot be: it ends, whoever comes back.
    pub doomed: bool,
    /// It has a TTL of its own.
    pub own_ttl: bool,
    /// Its goal counted it: its owner knows of it, or it was over before there was a lease to know of.
    pub counted: bool,
}

type Key = (Pid, SessionId, ObjectId);

/// Every object of the run.
#[derive(Debug, Default)]
pub(crate) struct Objects {
    objects: BTreeMap<Key, Object>,
    /// Destructors that ran.
    pub destroyed: u64,
}

impl Objects {
    pub(crate) fn get(&self, pid: Pid, session: SessionId, object: ObjectId) -> Option<&Object> {
        self.objects.get(&(pid, session, object))
    }

    pub(crate) fn get_mut(&mut self, pid: Pid, session: SessionId, object: ObjectId) -> Option<&mut Object> {
        self.objects.get_mut(&(pid, session, object))
    }

    fn range(&self, pid: Pid, session: SessionId) -> impl Iterator<Item = (ObjectId, &Object)> {
        self.objects
            .range((pid, session, ObjectId(0))..=(pid, session, ObjectId(u64::MAX)))
            .map(|((_, _, object), view)| (*object, view))
    }

    /// Objects of a session at its holder that have not ended.
    pub(crate) fn living(&self, pid: Pid, session: SessionId) -> usize {
        let over = |view: &Object| matches!(view.life, Life::Ended | Life::Moved);
        self.range(pid, session).filter(|(object, view)| *object != REGISTRATION && !over(view)).count()
    }

    /// The holder's session comes back from its embalming.
    pub(crate) fn comes_back(&mut self, pid: Pid, session: SessionId) {
        let keys = (pid, session, ObjectId(0))..=(pid, session, ObjectId(u64::MAX));
        for (_, object) in self.objects.range_mut(keys) {
            // One that was put aside may have stayed for too long.
            object.doomed |= object.life != Life::Alive || !object.embalms;
        }
    }

    /// Embalmed objects of a session, which may be revived.
    pub(crate) fn embalmed(&self, pid: Pid, session: SessionId) -> Vec<ObjectId> {
        let embalmed = self.range(pid, session).filter(|(_, view)| view.life == Life::Embalmed);
        embalmed.map(|(object, _)| object).collect()
    }

    /// The holder's node made an object.
    pub(crate) fn attached(&mut self, key: Key, object: Object) -> Verdict {
        let (pid, session, id) = key;
        ensure!(
            !self.objects.contains_key(&key),
            I8,
            "object {id} of session {session} exists twice in {pid}"
        );
        self.objects.insert(key, object);
        Ok(())
    }

    /// The registration object, which every session has.
    pub(crate) fn registration(&mut self, pid: Pid, session: SessionId) -> &mut Object {
        self.objects.entry((pid, session, REGISTRATION)).or_insert_with(|| Object {
            life: Life::Alive,
            inside: 0,
            embalms: false,
            discards: false,
            abandoned: false,
            asked: false,
            known: false,
            owner_told: false,
            doomed: false,
            counted: false,
            own_ttl: false,
        })
    }

    /// The node asks for an action (O3, O4); `over` says that the session has ended at the holder (O5).
    pub(crate) fn action(&mut self, key: Key, action: ObjectAction, over: bool) -> Verdict {
        let (pid, session, id) = key;
        if id == REGISTRATION {
            self.registration(pid, session);
        }
        let Some(object) = self.objects.get(&key) else {
            return super::broken(
                super::Invariant::I8,
                format!(
                    "process {pid} shall {action:?} object {id} of session {session}, which it never attached"
                ),
            );
        };
        let (life, inside, asked) = (object.life, object.inside, object.asked || object.own_ttl);
        let next = match (action, life) {
            (ObjectAction::Destroy, Life::Alive) => Life::Destroying,
            (ObjectAction::Embalm, Life::Alive) if object.embalms => Life::Embalming,
            (ObjectAction::Revive, Life::Embalmed) => Life::Reviving,
            (ObjectAction::Discard, Life::Embalmed) if object.discards => Life::Discarding,
            (ObjectAction::Abandon, Life::Alive) if !object.abandoned => Life::Alive,
            _ => {
                return super::broken(
                    super::Invariant::I8,
                    format!(
                        "process {pid} shall {action:?} object {id} of session {session}, which is {life:?}"
                    ),
                );
            }
        };
        let beside = matches!(action, ObjectAction::Destroy | ObjectAction::Discard) && inside > 0;
        ensure!(
            !beside,
            I8,
            "process {pid} shall {action:?} object {id} of session {session} with {inside} inside"
        );
        let calls = self.get(pid, session, REGISTRATION).map_or(0, |registration| registration.inside);
        ensure!(
            action != ObjectAction::Abandon || inside > 0 || calls > 0,
            I8,
            "process {pid} shall abandon object {id} of session {session}, which nobody uses"
        );
        ensure!(
            action != ObjectAction::Destroy || !over || calls == 0 || asked,
            I8,
            "process {pid} shall destroy object {id} of session {session} beside {calls} handlers"
        );
        if action == ObjectAction::Destroy && over && !asked {
            self.in_reverse(key)?;
        }
        if let Some(object) = self.objects.get_mut(&key) {
            object.life = next;
            object.abandoned |= action == ObjectAction::Abandon;
        }
        Ok(())
    }

    /// Younger objects of an ended session end first (O5).
    fn in_reverse(&self, (pid, session, id): Key) -> Verdict {
        for (younger, view) in self.range(pid, session).filter(|(other, _)| *other > id) {
            let waits = view.inside > 0 || view.abandoned || view.asked || view.own_ttl;
            ensure!(
                view.life != Life::Alive || waits,
                I8,
                "object {id} of session {session} of process {pid} ends before the younger {younger}"
            );
        }
        Ok(())
    }

    /// The application did what it was asked for.
    pub(crate) fn done(&mut self, key: Key, action: ObjectAction, ok: bool) {
        let Some(object) = self.objects.get_mut(&key) else { return };
        object.life = match action {
            ObjectAction::Destroy | ObjectAction::Discard => Life::Ended,
            ObjectAction::Embalm if ok => Life::Embalmed,
            ObjectAction::Revive if !ok => Life::Embalmed,
            _ => Life::Alive,
        };
        self.destroyed += u64::from(object.life == Life::Ended);
    }

    /// The process died: its objects have no destructor any more, and the documentation says so (O4).
    pub(crate) fn process_died(&mut self, pid: Pid) {
        let low = (pid, SessionId(0), ObjectId(0));
        let high = (pid, SessionId(u64::MAX), ObjectId(u64::MAX));
        let keys: Vec<Key> = self.objects.range(low..=high).map(|(key, _)| *key).collect();
        for key in keys {
            self.objects.remove(&key);
        }
    }

    /// What a process holds, for its snapshot.
    pub(crate) fn snapshot(&self, pid: Pid) -> Vec<(SessionId, ObjectId, Object)> {
        let low = (pid, SessionId(0), ObjectId(0));
        let high = (pid, SessionId(u64::MAX), ObjectId(u64::MAX));
        self.objects.range(low..=high).map(|((_, s, o), view)| (*s, *o, view.clone())).collect()
    }

    /// A snapshot of a process holds the same objects, in a life of its own.
    pub(crate) fn fork(&mut self, held: Vec<(SessionId, ObjectId, Object)>, clone: Pid) {
        for (session, object, view) in held {
            self.objects.insert((clone, session, object), view);
        }
    }

    /// At the very end every object of a living process has ended exactly once.
    pub(crate) fn all_ended(&self) -> Verdict {
        for ((pid, session, object), view) in &self.objects {
            let fine = matches!(view.life, Life::Ended | Life::Moved) || *object == REGISTRATION;
            ensure!(
                fine,
                I8,
                "object {object} of session {session} of process {pid} is still {:?} after all was closed",
                view.life
            );
        }
        Ok(())
    }
}
