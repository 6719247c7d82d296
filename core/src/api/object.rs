//! Living objects: what a node keeps for a peer, and the callbacks that end it (DESIGN.md 3.5).

use super::Session;
use crate::engine::KindCallbacks;
pub use crate::engine::Payload;
use bytes::Bytes;
use clerver_proto::error::{Code, Error, Result};
use clerver_proto::id::ObjectId;
use clerver_proto::node::KindOptions;
use clerver_proto::object::ObjectInfo;
use std::any::Any;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// The callbacks of one kind of object; give it to [`crate::api::Node::register_kind`].
///
/// All callbacks run on worker threads (in caller-driven mode inside `run_once`), with no lock held and never
/// beside each other for one object, except `abandon`. A panic of one is logged; an end that panicked is not
/// repeated.
pub struct Kind(pub(super) KindCallbacks);

impl fmt::Debug for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kind").field("options", &self.0.options).finish_non_exhaustive()
    }
}

impl Kind {
    /// A kind whose objects are ended by `destroy`: once each, never beside a handler that uses the object.
    /// It owns the payload from then on.
    #[must_use]
    pub fn new(destroy: impl Fn(Payload) + Send + Sync + 'static) -> Kind {
        Kind(KindCallbacks {
            destroy: Box::new(destroy),
            embalm: None,
            discard: None,
            abandon: None,
            print: None,
            options: KindOptions { level_min: 1, ..KindOptions::default() },
        })
    }

    /// When contact with the owner is lost, `embalm` says in bytes, at most 16 MiB, what the object can be made again
    /// from, and the payload is dropped; `revive` makes it again, for its owner who came back, or to be destroyed after
    /// `keep`. When `embalm` fails the object is destroyed; when `revive` does it is ended by `discard`.
    ///
    /// In a session that comes and goes (option `volatile`) the object comes back with it; otherwise the session is
    /// lost, and [`crate::api::Session::revive`] hands the object to a later one.
    #[must_use]
    pub fn embalm(
        mut self,
        keep: Duration,
        embalm: impl Fn(&(dyn Any + Send + Sync)) -> Result<Vec<u8>> + Send + Sync + 'static,
        revive: impl Fn(&[u8]) -> Result<Payload> + Send + Sync + 'static,
    ) -> Kind {
        self.0.embalm = Some((Box::new(embalm), Box::new(revive)));
        self.0.options.embalm_for = Some(keep);
        self
    }

    /// Ends an object that is embalmed, in place of `revive` and `destroy`: it gets the bytes.
    #[must_use]
    pub fn discard(mut self, discard: impl Fn(&[u8]) + Send + Sync + 'static) -> Kind {
        self.0.discard = Some(Box::new(discard));
        self.0.options.has_discard = true;
        self
    }

    /// The grace is over and a handler still uses the object: make the handler stop, without freeing
    /// anything. It runs beside that handler.
    #[must_use]
    pub fn abandon(mut self, abandon: impl Fn(&(dyn Any + Send + Sync)) + Send + Sync + 'static) -> Kind {
        self.0.abandon = Some(Box::new(abandon));
        self
    }

    /// One line about an object, for [`crate::api::Session::print_objects`]. Runs on the thread that asks.
    #[must_use]
    pub fn print(
        mut self,
        print: impl Fn(&(dyn Any + Send + Sync)) -> String + Send + Sync + 'static,
    ) -> Kind {
        self.0.print = Some(Box::new(print));
        self
    }

    /// Level that an owner needs; 1, every authorised peer, by default.
    #[must_use]
    pub fn level_min(mut self, level: u8) -> Kind {
        self.0.options.level_min = level;
        self
    }
}

impl Session {
    /// Keeps an object of a registered kind here, owned by the peer: it ends when the peer is gone, when
    /// `ttl` passes without a touch, or when either side ends it. Does not block. On an error the payload
    /// comes back.
    ///
    /// Errors: `POISONED` the session is ending; `AGAIN` it is embalmed; `ARG` an unknown kind; `LEVEL`; `LIMIT`.
    pub fn attach(
        &self,
        kind: &str,
        payload: Payload,
        ttl: Option<Duration>,
    ) -> std::result::Result<ObjectId, (Error, Payload)> {
        if let Err(error) = self.engine().check_process() {
            return Err((error, payload));
        }
        let id = self.id();
        self.engine().with_shard(|shard, now, _| {
            let attached = shard.check_open().and_then(|()| shard.node.object_attach(now, id, kind, ttl));
            match attached {
                Ok(object) => {
                    shard.payloads.insert((id, object), Arc::new(payload));
                    Ok(object)
                }
                Err(error) => Err((error, payload)),
            }
        })
    }

    /// Takes over an object that is embalmed in another session with the same host, which ended or whose process did:
    /// its kind's `revive` runs, and the event `ObjectRevived` tells its number here. Does not block.
    ///
    /// Errors: `HANDLE` there is none; `STATE` it is not embalmed; `DENIED` the hosts differ; `POISONED` this session
    /// is over; `AGAIN` it is embalmed itself; `LIMIT`.
    pub fn revive(&self, from: &Session, object: ObjectId) -> Result<()> {
        let (old, new) = (from.id(), self.id());
        self.change(|shard, now| shard.node.object_revive(now, old, object, new))
    }

    /// Runs `f` on the payload of an object that is kept here, on this thread. Its destructor waits
    /// meanwhile.
    ///
    /// Errors: `POISONED` its end has begun, or it is embalmed; `HANDLE` there is none.
    pub fn with_object<R>(
        &self,
        object: ObjectId,
        f: impl FnOnce(&(dyn Any + Send + Sync)) -> R,
    ) -> Result<R> {
        let id = self.id();
        let payload = self.change(|shard, now| {
            shard.node.object_enter(now, id, object)?;
            let payload = shard.payloads.get(&(id, object)).cloned();
            if payload.is_none() {
                shard.node.object_leave(now, id, object)?;
            }
            payload.ok_or_else(|| no_object(object))
        })?;
        // Leaves even when `f` panics, or the object could never end.
        let visit = Visit { session: self, object, payload: Some(payload) };
        Ok(f(&***visit.payload.as_ref().ok_or_else(|| no_object(object))?))
    }

    /// Ends an object that is kept here, before its owner does. Its destructor runs on a worker. Does not
    /// block.
    ///
    /// Errors: `HANDLE`.
    pub fn end_object(&self, object: ObjectId) -> Result<()> {
        self.change(|shard, now| shard.node.object_end(now, self.id(), object))
    }

    /// A sign of life for one object that the peer keeps for this end. Does not block.
    ///
    /// Errors: `HANDLE`; `AGAIN` no room now; `LOST`.
    pub fn touch(&self, object: ObjectId) -> Result<()> {
        self.change(|shard, now| shard.node.object_touch(now, self.id(), object))
    }

    /// Leaves data, at most 16 KiB, in an object that the peer keeps for this end. Does not block.
    ///
    /// Errors: `HANDLE`; `SIZE`; `AGAIN` no room now; `LOST`.
    pub fn update(&self, object: ObjectId, data: &[u8]) -> Result<()> {
        let data = Bytes::copy_from_slice(data);
        self.change(|shard, now| shard.node.object_update(now, self.id(), object, data))
    }

    /// An object that the peer keeps for this end is not needed any more. Does not block.
    ///
    /// Errors: `HANDLE`; `AGAIN` no room now; `LOST`.
    pub fn release(&self, object: ObjectId) -> Result<()> {
        self.change(|shard, now| shard.node.object_release(now, self.id(), object))
    }

    /// Objects that are kept here for the peer, the registration (object 0) first. Does not block.
    ///
    /// Errors: `HANDLE`.
    pub fn objects(&self) -> Result<Vec<ObjectInfo>> {
        self.change(|shard, _| shard.node.objects(self.id()))
    }

    /// One line for each object that is kept here for the peer, by the `print` of its kind where there is
    /// one. Runs that on this thread; does not block otherwise.
    ///
    /// Errors: `HANDLE`.
    pub fn print_objects(&self) -> Result<Vec<String>> {
        let mut lines = Vec::new();
        for info in self.objects()? {
            let kind = self.change(|shard, _| Ok(shard.kinds.get(&info.kind).cloned()))?;
            let print = kind.as_ref().and_then(|kind| kind.print.as_ref());
            let text = print.and_then(|print| self.with_object(info.object, |payload| print(payload)).ok());
            let head = format!("{} {} {:?}", info.object, info.kind, info.state);
            lines.push(text.map_or_else(|| head.clone(), |text| format!("{head} {text}")));
        }
        Ok(lines)
    }
}

fn no_object(object: ObjectId) -> Error {
    Error::new(Code::Handle, format!("object {object} is not kept here"))
}

/// One use of an object.
struct Visit<'a> {
    session: &'a Session,
    object: ObjectId,
    payload: Option<Arc<Payload>>,
}

impl Drop for Visit<'_> {
    fn drop(&mut self) {
        // First let go, then say so: the destructor gets the payload for itself.
        self.payload = None;
        let (id, object) = (self.session.id(), self.object);
        // An error means that the node has closed.
        let _ = self.session.change(|shard, now| shard.node.object_leave(now, id, object));
    }
}
