//! Living objects: what a node keeps for a peer, and the callbacks that end it (DESIGN.md 3.5).

use crate::engine::KindCallbacks;
pub use crate::engine::Payload;
use clerver_proto::error::Result;
use clerver_proto::node::KindOptions;
use std::any::Any;
use std::fmt;
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
