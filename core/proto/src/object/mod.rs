//! The living objects that one session's holder keeps for its peer (O1 to O5).
//!
//! [`Objects`] decides when an object's callbacks run and in which order; it is sans-IO: time comes in with
//! each call, requests go out by [`Objects::poll`], and the owner of the callbacks answers each
//! [`Effect::Run`] with [`Objects::done`]. It is not the owner's view of its objects at the peer, it keeps no
//! payload (the engine does), and it knows neither links nor the wire. It never decides that the peer is
//! gone: its parent calls [`Objects::sweep`] (T3).
//!
//! Invariants:
//! - An object ends once: one [`Effect::Ended`] or one [`Effect::Revived`], and nothing about it after that.
//! - What `Embalm` handed over is kept until `Revive` answered ok or `Discard` answered, and no longer.
//! - `Destroy` runs at most once per object. It and `Embalm` run only with nothing in service, and beside no
//!   handler that was running when the object was poisoned (O3); later handlers cannot reach a poisoned
//!   object.
//! - At most one action of an object is in flight.
//! - A sweep ends objects in reverse order of attach, each after the one before; what is stuck past its
//!   grace, or was put aside, does not hold up the others; the registration object dies last, with
//!   [`Effect::AllEnded`] (O5, O1).
//! - Between [`Objects::put_aside`] and [`Objects::bring_back`] the registration lives and objects that can be embalmed
//!   are; each comes back under its own number or is over.
//! - A deadline that has come is acted upon in the same call, so [`Objects::next_deadline`] is later than the
//!   `now` of that call; an idle object costs no time at all.

mod aside;
mod ending;
mod history;
mod table;

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;

pub use table::Objects;

use crate::error::Code;
use crate::id::{ChannelId, ObjectId};
use crate::time::Instant;
use bytes::Bytes;
use std::sync::Arc;
use std::time::Duration;

/// Kind of the registration object.
pub const REGISTRATION_KIND: &str = "registration";

/// State of an object (O1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ObjectState {
    /// In use.
    Alive,
    /// Its end has begun: nothing new may use it.
    Poisoned,
    /// Put aside.
    Embalmed,
    /// Over.
    Dead,
}

impl ObjectState {
    /// Lower-case name.
    pub fn name(self) -> &'static str {
        match self {
            ObjectState::Alive => "alive",
            ObjectState::Poisoned => "poisoned",
            ObjectState::Embalmed => "embalmed",
            ObjectState::Dead => "dead",
        }
    }
}

/// What is known of an object at its holder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectInfo {
    /// Which; 0 is the registration.
    pub object: ObjectId,
    /// Its kind.
    pub kind: String,
    /// Its state.
    pub state: ObjectState,
    /// How long it lives without a touch; `None` for as long as its session.
    pub ttl: Option<Duration>,
    /// Uses that have not left; for the registration, the handlers that run for the peer.
    pub in_service: u32,
    /// Data that the owner left.
    pub data: Bytes,
}

/// One call that this end ran for the peer (O1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskRecord {
    /// The call's channel.
    pub call: ChannelId,
    /// Which service.
    pub service: Arc<str>,
    /// When it was handed to a handler.
    pub started: Instant,
    /// When the handler returned.
    pub finished: Option<Instant>,
    /// Whether it replied.
    pub replied: bool,
}

/// What a callback of an object kind is asked to do (O1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Action {
    /// Free it; it is over, whatever the answer.
    Destroy,
    /// Put it aside: its owner is out of contact and may return. It answers with bytes from which it can be made
    /// again, and frees everything else. When this fails, `Destroy` follows.
    Embalm,
    /// Make it again from those bytes: for its owner, or to be destroyed.
    Revive,
    /// Free what was put aside; it is over, whatever the answer.
    Discard,
    /// The grace is over and a handler still runs: give up on it without freeing what it uses. Not an end:
    /// `Destroy` follows when the last handler has left.
    Abandon,
}

/// What must be known of an object's kind to end it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct KindRules {
    /// The kind can be put aside when contact is lost, for this long from the moment it was; `None`: it
    /// cannot.
    pub embalm_for: Option<Duration>,
    /// What was put aside is freed by `Discard`, not by `Revive` and `Destroy`.
    pub has_discard: bool,
}

/// What the holder must do or should know, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Run this action of the object's kind and answer with [`Objects::done`]; a kind without this callback
    /// answers at once (ok, except for `Embalm` and `Revive`, which it must not claim to have done).
    Run {
        /// Which.
        object: ObjectId,
        /// Its kind.
        kind: String,
        /// What to do.
        action: Action,
        /// For `Revive` and `Discard`: what `Embalm` answered.
        kept: Bytes,
    },
    /// The grace is over and this object still waits for a handler to leave; said once.
    Stuck {
        /// Which.
        object: ObjectId,
    },
    /// The object is dead and no longer known here.
    Ended {
        /// Which.
        object: ObjectId,
        /// Why its end began.
        code: Code,
    },
    /// The object was brought back and is no longer known here: attach it, and its data, to the owner's new
    /// session.
    Revived {
        /// Which it was here; the new session gives it another number.
        object: ObjectId,
        /// Its kind.
        kind: String,
        /// What its kind allows.
        rules: KindRules,
        /// Its own TTL.
        ttl: Option<Duration>,
        /// Data that the owner left.
        data: Bytes,
    },
    /// The registration object died, the last of all. Nothing follows.
    AllEnded,
}
