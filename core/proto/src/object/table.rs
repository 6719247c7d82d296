//! The table of a session's objects: what their owner, the handlers and the holder may do with them.
//!
//! Here are the entries and their checks; how an end proceeds is in `ending`. Invariants of the sets: `queue`
//! holds the objects that a sweep must still end and that may hold up those attached before them; `waiting`
//! names what a running handler holds up outside the queue; `deadlines` has at most one entry per object (its
//! TTL while alive, its grace while ended alone, its time aside while embalmed), and under `REGISTRATION` the
//! grace of the sweep.

use super::history::History;
use super::{Action, Effect, KindRules, ObjectInfo, ObjectState, REGISTRATION_KIND, TaskRecord};
use crate::error::{Code, Error, Result};
use crate::id::{ChannelId, ObjectId, REGISTRATION};
use crate::limits::{OBJECT_DATA_BYTES_MAX, OBJECTS_MAX};
use crate::time::{Deadlines, Instant};
use bytes::Bytes;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

/// One object that is not dead.
#[derive(Debug, Clone)]
pub(super) struct Object {
    pub(super) kind: String,
    pub(super) rules: KindRules,
    pub(super) ttl: Option<Duration>,
    pub(super) data: Bytes,
    /// What it was made into when it was embalmed.
    pub(super) kept: Bytes,
    pub(super) in_service: u32,
    pub(super) phase: Phase,
    /// The action in flight.
    pub(super) running: Option<Action>,
}

/// Where an object is between attach and death.
#[derive(Debug, Clone)]
pub(super) enum Phase {
    Alive,
    Ending(Ending),
    /// `late`: its deadline came while a revival was in flight. `returns`: that revival is for its own session.
    Embalmed {
        code: Code,
        late: bool,
        returns: bool,
    },
}

/// An end that has begun.
#[derive(Debug, Clone)]
pub(super) struct Ending {
    pub(super) code: Code,
    /// Calls with a start number below this ran when the object was poisoned.
    pub(super) barrier: u64,
    /// The action to run as soon as it may.
    pub(super) next: Action,
    /// It takes its turn in the sweep; otherwise it was ended alone and waits for nobody.
    pub(super) ordered: bool,
    /// Its grace ended while it was in use.
    pub(super) stuck: bool,
}

/// The living objects that one session's holder keeps for its peer. Every method that takes `now` first lets
/// all deadlines up to then take effect (T1); call [`Objects::poll`] until `None` after each.
#[derive(Debug, Clone)]
pub struct Objects {
    pub(super) grace: Duration,
    pub(super) destroy_at_grace_end: bool,
    /// Alive; Poisoned once the sweep began; Dead when all is over.
    pub(super) registration: ObjectState,
    pub(super) settled: bool,
    next: u64,
    pub(super) table: BTreeMap<ObjectId, Object>,
    /// Of several deadlines at one instant, that of the object attached last comes first.
    pub(super) deadlines: Deadlines<Reverse<ObjectId>>,
    pub(super) history: History,
    pub(super) queue: BTreeSet<ObjectId>,
    /// The object whose turn in the sweep it is, while its action is in flight.
    pub(super) turn: Option<ObjectId>,
    /// By the barrier that must pass.
    pub(super) waiting: BTreeSet<(u64, Reverse<ObjectId>)>,
    /// The session was embalmed and contact has not come back.
    pub(super) aside: bool,
    /// The holder ends, so nothing is kept any more.
    pub(super) keeps_none: bool,
    /// Objects that contact brings back, until they are back or over.
    pub(super) returning: BTreeSet<ObjectId>,
    /// Bytes of all objects that are embalmed.
    pub(super) kept_bytes: u64,
    pub(super) effects: VecDeque<Effect>,
}

impl Objects {
    /// A table with a living registration object and nothing else. `grace` is the time that handlers have
    /// after an object is poisoned; `destroy_at_grace_end_canary` is the deliberate bug of that name.
    pub fn new(grace: Duration, destroy_at_grace_end_canary: bool) -> Objects {
        Objects {
            grace,
            destroy_at_grace_end: destroy_at_grace_end_canary,
            registration: ObjectState::Alive,
            settled: false,
            next: REGISTRATION.0 + 1,
            table: BTreeMap::new(),
            deadlines: Deadlines::default(),
            history: History::default(),
            queue: BTreeSet::new(),
            turn: None,
            waiting: BTreeSet::new(),
            aside: false,
            keeps_none: false,
            returning: BTreeSet::new(),
            kept_bytes: 0,
            effects: VecDeque::new(),
        }
    }

    /// Takes a new object of this kind into the session; `ttl` is how long it lives without a touch.
    ///
    /// # Errors
    /// `POISONED` once the sweep began: the caller keeps the payload (O2). `LIMIT` at
    /// [`OBJECTS_MAX`] objects that are not dead. `AGAIN` while the session is embalmed. `ARG` for a TTL of zero.
    pub fn attach(
        &mut self,
        now: Instant,
        kind: &str,
        rules: KindRules,
        ttl: Option<Duration>,
    ) -> Result<ObjectId> {
        self.tick(now);
        self.takes_more()?;
        if ttl == Some(Duration::ZERO) {
            let what = format!("attach an object of kind {kind:?}: its TTL is zero");
            return Err(Error::new(Code::Argument, what));
        }
        let id = ObjectId(self.next);
        self.next += 1;
        let kind = kind.to_owned();
        let (data, kept, phase) = (Bytes::new(), Bytes::new(), Phase::Alive);
        self.table.insert(id, Object { kind, rules, ttl, data, kept, in_service: 0, phase, running: None });
        self.arm(now, id, ttl);
        Ok(id)
    }

    /// Whether another one may be attached.
    ///
    /// # Errors
    /// `POISONED` when the end of all has begun; `AGAIN` while they are put aside; `LIMIT`.
    pub fn takes_more(&self) -> Result<()> {
        if self.registration != ObjectState::Alive {
            let what = "attach an object: the session's objects are being ended";
            return Err(Error::new(Code::Poisoned, what));
        }
        if self.aside {
            let what = "attach an object: the session is embalmed";
            return Err(Error::new(Code::Again, what).with_remedy("attach it when the session is live again"));
        }
        if self.table.len() >= OBJECTS_MAX {
            let what = format!("attach an object: the session has {OBJECTS_MAX} already");
            return Err(Error::new(Code::Limit, what).with_remedy("release objects that are not needed"));
        }
        Ok(())
    }

    /// The owner gave a sign that it wants this object: its own TTL starts anew. Without a TTL, and for the
    /// registration, only the state is checked.
    ///
    /// # Errors
    /// `POISONED` when its end has begun or it was put aside; `HANDLE` when there is no such object.
    pub fn touch(&mut self, now: Instant, id: ObjectId) -> Result<()> {
        self.tick(now);
        if id == REGISTRATION {
            return match self.registration {
                ObjectState::Alive => Ok(()),
                _ => Err(Error::new(
                    Code::Poisoned,
                    "touch the registration: the session's objects are being ended",
                )),
            };
        }
        let ttl = self.alive("touch", id)?.ttl;
        self.arm(now, id, ttl);
        Ok(())
    }

    /// Replaces the data that the owner leaves in an object for its holder.
    ///
    /// # Errors
    /// `SIZE` over [`OBJECT_DATA_BYTES_MAX`]; `POISONED` when its end has begun or it was put aside; `HANDLE`
    /// when there is no such object; `STATE` for the registration.
    pub fn update(&mut self, id: ObjectId, data: Bytes) -> Result<()> {
        let object = self.alive("update", id)?;
        if data.len() > OBJECT_DATA_BYTES_MAX {
            let what = format!(
                "update object {id}: {} bytes given, at most {OBJECT_DATA_BYTES_MAX} are allowed",
                data.len()
            );
            return Err(
                Error::new(Code::Size, what).with_remedy("keep bulk data in a channel, not in an object")
            );
        }
        object.data = data;
        Ok(())
    }

    /// Poisons one object, whatever the others do: the owner released it, or the holder ends it early. One
    /// that was put aside is freed now (and destroyed, not handed on, if a revival is in flight).
    ///
    /// # Errors
    /// `POISONED` when its end has begun already; `HANDLE` when there is no such object; `STATE` for the
    /// registration, which only [`Objects::sweep`] ends.
    pub fn end(&mut self, now: Instant, id: ObjectId, code: Code) -> Result<()> {
        self.tick(now);
        let object = self.known("end", id)?;
        match &mut object.phase {
            Phase::Alive => self.poison(now, id, code),
            Phase::Embalmed { .. } => self.free_embalmed(id, code),
            Phase::Ending(ending) if ending.next != Action::Embalm => return Err(poisoned("end", id)),
            Phase::Ending(ending) => {
                (ending.next, ending.code) = (Action::Destroy, code);
                if self.registration == ObjectState::Alive {
                    self.deadlines.set(Reverse(id), now + self.grace);
                }
            }
        }
        self.tick(now);
        Ok(())
    }

    /// Poisons everything, and with it the session's registration: from now on attach, enter and new handlers
    /// fail. `contact_lost`: the hold ended without the peer's word, so objects that can be embalmed are put
    /// aside instead of destroyed. The first call decides; a repeated one changes nothing.
    pub fn sweep(&mut self, now: Instant, code: Code, contact_lost: bool) {
        self.tick(now);
        if self.registration != ObjectState::Alive {
            return;
        }
        self.poison_all(now, code, contact_lost);
        self.tick(now);
    }

    /// A handler begins to use this object.
    ///
    /// # Errors
    /// `POISONED` when its end has begun or it was put aside; `HANDLE` when there is no such object; `STATE`
    /// for the registration; `LIMIT` at 2^32 - 1 uses.
    pub fn enter(&mut self, id: ObjectId) -> Result<()> {
        let object = self.alive("enter", id)?;
        let Some(count) = object.in_service.checked_add(1) else {
            return Err(Error::new(
                Code::Limit,
                format!("enter object {id}: it is entered {} times", u32::MAX),
            ));
        };
        object.in_service = count;
        Ok(())
    }

    /// A handler no longer uses this object; allowed in every state.
    ///
    /// # Errors
    /// `STATE` without a matching enter, and for the registration; `HANDLE` when there is no such object.
    pub fn leave(&mut self, now: Instant, id: ObjectId) -> Result<()> {
        self.tick(now);
        let object = self.known("leave", id)?;
        let Some(count) = object.in_service.checked_sub(1) else {
            return Err(Error::new(Code::State, format!("leave object {id}: it was not entered")));
        };
        object.in_service = count;
        self.wake(id);
        self.tick(now);
        Ok(())
    }

    /// A handler of this session took a call; it goes into the history.
    ///
    /// # Errors
    /// `POISONED` once the sweep began; `STATE` when this call runs already.
    pub fn handler_started(
        &mut self,
        now: Instant,
        call: ChannelId,
        service: impl Into<Arc<str>>,
    ) -> Result<()> {
        let service = service.into();
        self.tick(now);
        if self.registration != ObjectState::Alive {
            let what =
                format!("run call {call} of service {service:?}: the session's objects are being ended");
            return Err(Error::new(Code::Poisoned, what));
        }
        self.history.start(now, call, service)
    }

    /// The handler of this call returned, with a reply or without.
    ///
    /// # Errors
    /// `STATE` when no handler runs for it.
    pub fn handler_finished(&mut self, now: Instant, call: ChannelId, replied: bool) -> Result<()> {
        self.tick(now);
        self.history.finish(now, call, replied)?;
        self.wake_waiting();
        self.tick(now);
        Ok(())
    }

    /// Handlers that run for the peer now.
    pub fn handlers_running(&self) -> usize {
        self.history.running()
    }

    /// Answers an [`Effect::Run`]: `None` when it failed, which counts for `Embalm` and `Revive` only. The bytes are
    /// those that `Embalm` hands over; one that hands over more than
    /// [`EMBALMED_BYTES_MAX`](crate::limits::EMBALMED_BYTES_MAX) is freed again at once.
    ///
    /// # Errors
    /// `STATE` when this action is not in flight for this object; nothing is changed then.
    pub fn done(&mut self, now: Instant, id: ObjectId, action: Action, answer: Option<Bytes>) -> Result<()> {
        let running = self.table.get(&id).and_then(|object| object.running);
        if running != Some(action) {
            let what = format!("answer {action:?} of object {id}: it is not running");
            return Err(Error::new(Code::State, what));
        }
        self.tick(now);
        self.complete(now, id, action, answer);
        self.tick(now);
        Ok(())
    }

    /// Begins to bring an embalmed object back, to be attached to another session of its owner: `Revive` runs
    /// here. When it succeeds, even after the embalming's deadline, [`Effect::Revived`] hands the object out
    /// and it is gone from here. When it fails, the object stays embalmed until its deadline and may be tried
    /// again; after the deadline it is freed.
    ///
    /// # Errors
    /// `STATE` when it is not embalmed or is being revived already, and for the registration; `HANDLE` when
    /// there is no such object.
    pub fn revive_out(&mut self, now: Instant, id: ObjectId) -> Result<()> {
        self.tick(now);
        let object = self.known("revive", id)?;
        if !matches!(object.phase, Phase::Embalmed { .. }) || object.running.is_some() {
            let state = object.state();
            let what =
                format!("revive object {id}: it is {state:?}, and must be embalmed with nothing in flight");
            return Err(Error::new(Code::State, what));
        }
        self.run(id, Action::Revive);
        Ok(())
    }

    /// The next thing to do; `None` when there is nothing more now.
    pub fn poll(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// When [`Objects::tick`] must be called at the latest; `Instant::NEVER` when nothing is timed.
    pub fn next_deadline(&self) -> Instant {
        self.deadlines.next().unwrap_or(Instant::NEVER)
    }

    /// The registration and every object that is not dead, by number.
    pub fn infos(&self) -> Vec<ObjectInfo> {
        let registration = ObjectInfo {
            object: REGISTRATION,
            kind: REGISTRATION_KIND.to_owned(),
            state: self.registration,
            ttl: None,
            in_service: u32::try_from(self.history.running()).unwrap_or(u32::MAX),
            data: Bytes::new(),
        };
        let objects = self.table.iter().map(|(&id, object)| object.info(id));
        std::iter::once(registration).chain(objects).collect()
    }

    /// The last [`HISTORY_MAX`](crate::limits::HISTORY_MAX) calls that this end ran for the peer, oldest
    /// first.
    pub fn history(&self) -> Vec<TaskRecord> {
        self.history.records()
    }

    /// Older calls that are no longer in [`Objects::history`].
    pub fn history_forgotten(&self) -> u64 {
        self.history.forgotten()
    }

    /// Objects that are not dead, without the registration.
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Whether there is no object but the registration.
    pub fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// Whether everything is dead, the registration too: swept, no object left (embalmed ones are), no
    /// handler running.
    pub fn is_over(&self) -> bool {
        self.registration == ObjectState::Dead
    }

    /// Whether a new session of the pair may open (T4): since the sweep there was a moment when no object was
    /// on its way to its end (each was dead, embalmed, or abandoned and still in use), or its grace passed.
    /// Once true, it stays so.
    pub fn settled(&self) -> bool {
        self.settled
    }

    /// Kind of the registration or of an object that is not dead.
    pub fn kind_of(&self, id: ObjectId) -> Option<&str> {
        if id == REGISTRATION {
            return Some(REGISTRATION_KIND);
        }
        self.table.get(&id).map(|object| object.kind.as_str())
    }

    pub(super) fn arm(&mut self, now: Instant, id: ObjectId, ttl: Option<Duration>) {
        let at = ttl.map_or(Instant::NEVER, |ttl| now + ttl);
        self.deadlines.set(Reverse(id), at);
    }

    fn known(&mut self, verb: &str, id: ObjectId) -> Result<&mut Object> {
        if id == REGISTRATION {
            let what =
                format!("{verb} object {id}: it is the registration, which lives and ends with its session");
            return Err(Error::new(Code::State, what));
        }
        let why = if id.0 < self.next { "it has ended" } else { "there is no such object" };
        self.table.get_mut(&id).ok_or_else(|| Error::new(Code::Handle, format!("{verb} object {id}: {why}")))
    }

    fn alive(&mut self, verb: &str, id: ObjectId) -> Result<&mut Object> {
        let object = self.known(verb, id)?;
        match object.phase {
            Phase::Alive => Ok(object),
            Phase::Embalmed { .. } => {
                Err(Error::new(Code::Poisoned, format!("{verb} object {id}: it is embalmed")))
            }
            Phase::Ending(_) => Err(poisoned(verb, id)),
        }
    }
}

impl Object {
    fn state(&self) -> ObjectState {
        match self.phase {
            Phase::Alive => ObjectState::Alive,
            Phase::Ending(_) => ObjectState::Poisoned,
            Phase::Embalmed { .. } => ObjectState::Embalmed,
        }
    }

    fn info(&self, object: ObjectId) -> ObjectInfo {
        ObjectInfo {
            object,
            kind: self.kind.clone(),
            state: self.state(),
            ttl: self.ttl,
            in_service: self.in_service,
            data: self.data.clone(),
        }
    }
}

fn poisoned(verb: &str, id: ObjectId) -> Error {
    Error::new(Code::Poisoned, format!("{verb} object {id}: its end has begun"))
}
