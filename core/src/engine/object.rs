//! Payloads of living objects, and the callbacks of their kinds.
//!
//! When an object ends is decided by the protocol; here is only what to run then. Invariant: a payload is
//! handed to `destroy` at most once, because it is taken out of the map for it; an object that is embalmed has bytes,
//! which the protocol keeps, and no payload.

use clerver_proto::error::Result;
use clerver_proto::node::KindOptions;
use std::any::Any;
use std::sync::Arc;

/// What an object is to the program that keeps it.
pub type Payload = Box<dyn Any + Send + Sync>;

/// A payload in use: while an object is entered, its destructor waits.
pub(crate) type SharedPayload = Arc<Payload>;

/// Ends an object for good.
pub(crate) type Ender = Box<dyn Fn(Payload) + Send + Sync>;
/// Says of an object all that it can be made again from.
pub(crate) type Embalmer = Box<dyn Fn(&(dyn Any + Send + Sync)) -> Result<Vec<u8>> + Send + Sync>;
/// Makes an object from what `Embalmer` said.
pub(crate) type Reviver = Box<dyn Fn(&[u8]) -> Result<Payload> + Send + Sync>;
/// Ends an object of which there is only what `Embalmer` said.
pub(crate) type Discarder = Box<dyn Fn(&[u8]) + Send + Sync>;
/// Gives up on an object that is still in use.
pub(crate) type Abandoner = Box<dyn Fn(&(dyn Any + Send + Sync)) + Send + Sync>;
/// Describes an object.
pub(crate) type Printer = Box<dyn Fn(&(dyn Any + Send + Sync)) -> String + Send + Sync>;

/// The callbacks of one kind.
pub(crate) struct KindCallbacks {
    pub(crate) destroy: Ender,
    pub(crate) embalm: Option<(Embalmer, Reviver)>,
    pub(crate) discard: Option<Discarder>,
    pub(crate) abandon: Option<Abandoner>,
    pub(crate) print: Option<Printer>,
    pub(crate) options: KindOptions,
}
