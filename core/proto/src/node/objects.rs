//! What the application asks of a node about living objects: at their holder, and as their owner.

use super::commands::no_session;
use super::{KindOptions, Node, ObjectAction};
use crate::error::{Code, Error, Result};
use crate::id::{ObjectId, SessionId};
use crate::limits::SERVICES_MAX;
use crate::object::{KindRules, ObjectInfo, TaskRecord};
use crate::options::check_text;
use crate::time::Instant;
use bytes::Bytes;
use std::time::Duration;

impl Node {
    // ---- objects, at the holder ----

    /// Registers a kind of object; its callbacks stay with the engine.
    ///
    /// # Errors
    /// `ARG`, `IN_USE`, `LIMIT`.
    pub fn kind_register(&mut self, now: Instant, name: &str, options: KindOptions) -> Result<()> {
        self.enter(now)?;
        check_text("kind name", name)?;
        if self.kinds.contains_key(name) {
            return Err(Error::new(Code::InUse, format!("register kind {name}: the name is taken")));
        }
        if self.kinds.len() >= SERVICES_MAX {
            return Err(Error::new(Code::Limit, format!("register kind {name}: {SERVICES_MAX} exist")));
        }
        self.kinds.insert(name.to_owned(), options);
        self.discard_relics(name, options.has_discard);
        Ok(())
    }

    /// The peer of this session owns a new object here, which lives until `ttl` passes without a touch, or as
    /// long as the session (O2).
    ///
    /// # Errors
    /// `POISONED` once the session's end began; `AGAIN` while it is embalmed, and while the peer reads nothing; `ARG`
    /// for an unknown kind; `LEVEL`; `LIMIT`.
    pub fn object_attach(
        &mut self,
        now: Instant,
        session: SessionId,
        kind: &str,
        ttl: Option<Duration>,
    ) -> Result<ObjectId> {
        let now = self.now.max(now);
        let known = self.kinds.get(kind).copied();
        let session = self.command(now, session)?;
        let Some(options) = known else {
            return Err(Error::new(
                Code::Argument,
                format!("attach an object of kind {kind}: no such kind is registered"),
            ));
        };
        if session.about.level < options.level_min {
            let what = format!(
                "attach an object of kind {kind}: level {}, it needs {}",
                session.about.level, options.level_min
            );
            return Err(Error::new(Code::Level, what));
        }
        let rules = KindRules { embalm_for: options.embalm_for, has_discard: options.has_discard };
        session.object_attach(now, kind, rules, ttl)
    }

    fn with_objects(
        &mut self,
        now: Instant,
        session: SessionId,
        each: impl FnOnce(&mut crate::object::Objects, Instant) -> Result<()>,
    ) -> Result<()> {
        self.enter(now)?;
        self.dirty.insert(session);
        let known = self.sessions.get_mut(&session).ok_or_else(|| no_session(session))?;
        let now = self.now;
        let done = each(&mut known.objects, now);
        known.settle_objects();
        done
    }

    /// The holder ends an object early.
    ///
    /// # Errors
    /// `HANDLE`, `POISONED`.
    pub fn object_end(&mut self, now: Instant, session: SessionId, object: ObjectId) -> Result<()> {
        self.with_objects(now, session, |objects, now| objects.end(now, object, Code::Closed))
    }

    /// Uses an object: its destructor waits for `object_leave` (O3).
    ///
    /// # Errors
    /// `HANDLE`, `POISONED`.
    pub fn object_enter(&mut self, now: Instant, session: SessionId, object: ObjectId) -> Result<()> {
        self.with_objects(now, session, |objects, _| objects.enter(object))
    }

    /// The use is over.
    ///
    /// # Errors
    /// `HANDLE`, `STATE`.
    pub fn object_leave(&mut self, now: Instant, session: SessionId, object: ObjectId) -> Result<()> {
        self.with_objects(now, session, |objects, now| objects.leave(now, object))
    }

    /// The answer to `ObjectAction`: `None` when embalm or revive failed. The bytes are those that embalm hands over.
    ///
    /// # Errors
    /// `STATE`, `HANDLE` for an answer that nobody waits for.
    pub fn object_done(
        &mut self,
        now: Instant,
        session: SessionId,
        object: ObjectId,
        action: ObjectAction,
        answer: Option<Bytes>,
    ) -> Result<()> {
        if self.relic_is_done(session, object) {
            return self.enter(now);
        }
        if action == ObjectAction::Destroy && self.orphans.remove(&(session, object)) {
            return self.enter(now);
        }
        if action == ObjectAction::Revive && answer.is_none() {
            self.reviving.remove(&(session, object));
        }
        self.with_objects(now, session, |objects, now| objects.done(now, object, action, answer))
    }

    /// Gives an embalmed object of an ended session to another session of the same host; `revive` runs, and
    /// `ObjectRevived` follows on that session.
    ///
    /// # Errors
    /// `HANDLE`; `DENIED` when the hosts differ; `STATE` when it is not embalmed; what [`Node::object_attach`] answers
    /// of the other session.
    pub fn object_revive(
        &mut self,
        now: Instant,
        from: SessionId,
        object: ObjectId,
        to: SessionId,
    ) -> Result<()> {
        self.enter(now)?;
        let owner = self.sessions.get(&from).ok_or_else(|| no_session(from))?.peer.host;
        let heir = self.session(to)?.peer.host;
        if owner != heir {
            let what = format!("revive object {object} of host {owner} for host {heir}: they differ");
            return Err(Error::new(Code::Denied, what));
        }
        self.session(to)?.takes_objects()?;
        self.dirty.insert(from);
        if let Some(session) = self.sessions.get_mut(&from) {
            session.objects.revive_out(self.now, object)?;
            session.settle_objects();
        }
        self.reviving.insert((from, object), to);
        Ok(())
    }

    /// The objects that this node keeps for the peer of a session; the registration first.
    ///
    /// # Errors
    /// `HANDLE`.
    pub fn objects(&self, session: SessionId) -> Result<Vec<ObjectInfo>> {
        self.sessions.get(&session).map(|session| session.objects.infos()).ok_or_else(|| no_session(session))
    }

    /// The tasks that were run for the peer of a session, oldest first; bounded (O1).
    ///
    /// # Errors
    /// `HANDLE`.
    pub fn history(&self, session: SessionId) -> Result<Vec<TaskRecord>> {
        self.sessions
            .get(&session)
            .map(|session| session.objects.history())
            .ok_or_else(|| no_session(session))
    }

    // ---- objects, at the owner ----

    /// An object with a TTL of its own still lives.
    ///
    /// # Errors
    /// `HANDLE`, `AGAIN`, `LOST`.
    pub fn object_touch(&mut self, now: Instant, session: SessionId, object: ObjectId) -> Result<()> {
        let now = self.now.max(now);
        self.command(now, session)?.owner_touch(now, object)
    }

    /// Leaves data in an object, for its holder.
    ///
    /// # Errors
    /// `HANDLE`, `SIZE`, `AGAIN`, `LOST`.
    pub fn object_update(
        &mut self,
        now: Instant,
        session: SessionId,
        object: ObjectId,
        data: Bytes,
    ) -> Result<()> {
        self.command(now, session)?.owner_update(object, data)
    }

    /// The object is not needed any more.
    ///
    /// # Errors
    /// `HANDLE`, `AGAIN`, `LOST`.
    pub fn object_release(&mut self, now: Instant, session: SessionId, object: ObjectId) -> Result<()> {
        self.command(now, session)?.owner_release(object)
    }
}
