//! Where a node keeps its embalmed sessions in order: so many and so many bytes, and the oldest goes first (C5).

use super::{Node, SessionState, Timer};
use crate::id::SessionId;
use std::collections::BTreeMap;
use std::time::Duration;

/// Whoever wrote to an embalmed session hears that it was accepted before the session is given up for it.
const EVICT_AFTER: Duration = Duration::from_millis(1);

/// The embalmed sessions of a node, in the order in which they came.
#[derive(Debug, Clone, Default)]
pub(super) struct Shelf {
    order: BTreeMap<u64, SessionId>,
    /// Place in the order, and size.
    places: BTreeMap<SessionId, (u64, u64)>,
    came: u64,
    bytes: u64,
}

impl Shelf {
    pub(super) fn has(&self, id: SessionId) -> bool {
        self.places.contains_key(&id)
    }

    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// A session has this size now; `None`: it is not embalmed.
    pub(super) fn note(&mut self, id: SessionId, size: Option<u64>) {
        let known = self.places.get(&id).copied();
        self.bytes -= known.map_or(0, |(_, bytes)| bytes);
        match (known, size) {
            (Some((at, _)), Some(bytes)) => drop(self.places.insert(id, (at, bytes))),
            (None, Some(bytes)) => {
                self.came += 1;
                self.order.insert(self.came, id);
                self.places.insert(id, (self.came, bytes));
            }
            (Some((at, _)), None) => {
                self.order.remove(&at);
                self.places.remove(&id);
            }
            (None, None) => {}
        }
        self.bytes += size.unwrap_or(0);
    }

    fn oldest(&self) -> Option<SessionId> {
        self.order.values().next().copied()
    }
}

impl Node {
    /// Something of an embalmed session changed, or it was one.
    pub(super) fn watch_shelf(&mut self, id: SessionId) {
        let Some(session) = self.sessions.get(&id) else { return };
        let size = (session.state == SessionState::Embalmed).then(|| session.embalmed_bytes());
        self.shelf.note(id, size);
        if self.too_much().is_some() {
            self.timers.set(Timer::Shelf, self.now + EVICT_AFTER);
        }
    }

    /// Why one has to go.
    fn too_much(&self) -> Option<String> {
        let limits = self.options.embalming;
        let (count, bytes) = (self.shelf.len(), self.shelf.bytes());
        if count > limits.sessions_max {
            return Some(format!("embalm_sessions_max is {}", limits.sessions_max));
        }
        let is_full = bytes > limits.bytes_max;
        is_full.then(|| format!("embalm_bytes_max is {}, and {bytes} bytes are kept", limits.bytes_max))
    }

    /// The oldest go until the rest fits.
    pub(super) fn clear_shelf(&mut self) {
        while let Some(what) = self.too_much() {
            let Some(oldest) = self.shelf.oldest() else { return };
            self.shelf.note(oldest, None);
            if let Some(session) = self.sessions.get_mut(&oldest) {
                session.evict(&what);
                self.dirty.insert(oldest);
            }
        }
    }
}
