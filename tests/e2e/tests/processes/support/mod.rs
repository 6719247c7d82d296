//! What the tests stand on: homes, helper processes, pairs of them with a fault proxy between, raw links.

mod home;
mod pair;
mod peer;
mod raw;

pub(crate) use home::Home;
pub(crate) use pair::{Bystander, Pair, STEADY, SWIFT};
pub(crate) use peer::{Peer, Refusal};
pub(crate) use raw::RawLink;

use std::time::Duration;

/// A wait that is longer than anything that works takes on a busy machine.
pub(crate) const LONG: Duration = Duration::from_secs(30);
