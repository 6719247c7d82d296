//! What this end, as owner, knows of its objects at the peer (O5).
//!
//! An object with a TTL of its own obeys T2 on touch: its holder keeps it for the TTL after a touch came, its owner
//! believes in it for 80 % of that after the *sending* of the latest touch that is known to be held. So the owner knows
//! first. Bookkeeping only: what is said is said by the session.

use crate::id::ObjectId;
use crate::limits::LEASE_PERCENT;
use crate::time::{Deadlines, Instant};
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// Objects that the peer keeps for this end.
#[derive(Debug, Clone, Default)]
pub(super) struct Owned {
    ttls: BTreeMap<ObjectId, Option<Duration>>,
    leases: Deadlines<ObjectId>,
    /// Kinds of objects with a TTL that the application does not know of yet: there is no lease on them so far.
    unannounced: BTreeMap<ObjectId, String>,
    /// Touches on their way: where channel 0 stands when they are held, which object, when they were sent.
    touches: VecDeque<(u64, ObjectId, Instant)>,
}

impl Owned {
    pub(super) fn insert(&mut self, object: ObjectId, ttl: Option<Duration>) {
        self.ttls.insert(object, ttl);
    }

    /// An object with a TTL, which is announced once there is a lease on it.
    pub(super) fn insert_unannounced(&mut self, object: ObjectId, ttl: Duration, kind: String) {
        self.ttls.insert(object, Some(ttl));
        self.unannounced.insert(object, kind);
    }

    /// Forgets an object; answers whether the application knew of it.
    pub(super) fn remove(&mut self, object: ObjectId) -> bool {
        self.leases.clear(object);
        self.ttls.remove(&object).is_some() && self.unannounced.remove(&object).is_none()
    }

    pub(super) fn contains(&self, object: ObjectId) -> bool {
        self.ttls.contains_key(&object)
    }

    pub(super) fn len(&self) -> usize {
        self.ttls.len()
    }

    pub(super) fn ids(&self) -> Vec<ObjectId> {
        self.ttls.keys().copied().collect()
    }

    /// A touch was said; it is held once channel 0 is held up to here.
    pub(super) fn touched(&mut self, now: Instant, held_at: u64, object: ObjectId) {
        if self.ttls.get(&object).is_some_and(Option::is_some) {
            self.touches.push_back((held_at, object, now));
        }
    }

    /// Whether touches are on their way.
    pub(super) fn has_touches(&self) -> bool {
        !self.touches.is_empty()
    }

    /// Channel 0 is held up to here. Answers objects that can be announced now, with their kinds.
    pub(super) fn on_held(&mut self, now: Instant, held: u64) -> Vec<(ObjectId, String)> {
        let mut announced = Vec::new();
        while self.touches.front().is_some_and(|&(held_at, ..)| held_at <= held) {
            let Some((_, object, sent_at)) = self.touches.pop_front() else { break };
            let Some(Some(ttl)) = self.ttls.get(&object) else { continue };
            let lease_end = sent_at + *ttl * LEASE_PERCENT / 100;
            self.leases.set(object, lease_end);
            if lease_end > now {
                announced.extend(self.unannounced.remove(&object).map(|kind| (object, kind)));
            }
        }
        announced
    }

    /// An object whose lease ended: nothing of it may be believed any more.
    /// Also answers whether the application knew of it.
    pub(super) fn pop_due(&mut self, now: Instant) -> Option<(ObjectId, bool)> {
        let object = self.leases.pop_due(now)?;
        Some((object, self.remove(object)))
    }

    pub(super) fn next_deadline(&self) -> Instant {
        self.leases.next().unwrap_or(Instant::NEVER)
    }

    pub(super) fn timers(&self) -> usize {
        self.leases.len()
    }

    /// The session is over.
    pub(super) fn clear(&mut self) {
        *self = Owned::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lease_runs_from_the_sending_of_the_latest_touch_that_is_held() {
        let (mut owned, object, second) = (Owned::default(), ObjectId(3), Duration::from_secs(1));
        owned.insert_unannounced(object, second * 10, "file".into());
        assert_eq!(owned.next_deadline(), Instant::NEVER, "nothing is believed before a touch is held");
        owned.touched(Instant(0) + second, 20, object);
        owned.touched(Instant(0) + second * 5, 30, object);
        assert_eq!(owned.on_held(Instant(0) + second * 2, 29), vec![(object, "file".to_owned())]);
        assert_eq!(owned.next_deadline(), Instant(0) + second * 9);
        assert!(owned.on_held(Instant(0) + second * 6, 30).is_empty(), "announced once");
        assert_eq!(owned.pop_due(Instant(0) + second * 13), Some((object, true)));
        assert!(!owned.contains(object) && owned.timers() == 0);
    }
}
