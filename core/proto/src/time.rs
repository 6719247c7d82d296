//! Our own instant, and an ordered table of deadlines.
//!
//! Nothing here reads a clock: an [`Instant`] is passed in with every input (T1). Arithmetic saturates, so a
//! clock that starts near its end only makes deadlines "never", and never wraps into the past.

use crate::small_map::SmallMap;
use std::ops::{Add, Sub};
use std::time::Duration;

/// A moment on a clock that counts sleep: nanoseconds from an arbitrary start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Instant(pub u64);

impl Instant {
    /// Later than every deadline.
    pub const NEVER: Instant = Instant(u64::MAX);

    /// Time from `earlier` to now, zero when `earlier` is later.
    pub fn since(self, earlier: Instant) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Instant {
    type Output = Instant;
    fn add(self, span: Duration) -> Instant {
        Instant(self.0.saturating_add(u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)))
    }
}

impl Sub<Duration> for Instant {
    type Output = Instant;
    fn sub(self, span: Duration) -> Instant {
        Instant(self.0.saturating_sub(u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)))
    }
}

/// Deadlines by key, one each; an idle one costs memory and nothing else.
#[derive(Debug, Clone)]
pub struct Deadlines<K: Ord + Copy> {
    by_key: SmallMap<K, Instant>,
    by_time: SmallMap<(Instant, K), ()>,
}

impl<K: Ord + Copy> Default for Deadlines<K> {
    fn default() -> Self {
        Deadlines { by_key: SmallMap::default(), by_time: SmallMap::default() }
    }
}

impl<K: Ord + Copy> Deadlines<K> {
    /// Sets, moves or (with `Instant::NEVER`) clears the deadline of a key.
    pub fn set(&mut self, key: K, at: Instant) {
        if at == Instant::NEVER {
            return self.clear(key);
        }
        match self.by_key.insert(key, at) {
            Some(old) if old == at => return,
            Some(old) => {
                self.by_time.remove(&(old, key));
            }
            None => {}
        }
        self.by_time.insert((at, key), ());
    }

    /// Forgets the deadline of a key, if it has one.
    pub fn clear(&mut self, key: K) {
        if let Some(old) = self.by_key.remove(&key) {
            self.by_time.remove(&(old, key));
        }
    }

    /// The next deadline, if any.
    pub fn next(&self) -> Option<Instant> {
        self.by_time.first_key().map(|(at, _)| at)
    }

    /// Removes and returns one key whose deadline has come, earliest first.
    pub fn pop_due(&mut self, now: Instant) -> Option<K> {
        let (at, key) = self.by_time.first_key()?;
        if at > now {
            return None;
        }
        self.by_time.remove(&(at, key));
        self.by_key.remove(&key);
        Some(key)
    }

    /// How many deadlines stand.
    pub fn len(&self) -> usize {
        self.by_key.len()
    }

    /// Whether none stands.
    pub fn is_empty(&self) -> bool {
        self.by_key.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arithmetic_saturates_near_the_end_of_the_clock() {
        let late = Instant(u64::MAX - 5);
        assert_eq!(late + Duration::from_secs(1), Instant::NEVER);
        assert_eq!(Instant(3) - Duration::from_secs(1), Instant(0));
        assert_eq!(Instant(3).since(Instant(9)), Duration::ZERO);
    }

    #[test]
    fn deadlines_come_due_in_order_once() {
        let mut table = Deadlines::default();
        table.set('b', Instant(20));
        table.set('a', Instant(10));
        table.set('b', Instant(5));
        table.set('c', Instant(30));
        table.clear('c');
        assert_eq!(table.next(), Some(Instant(5)));
        assert_eq!(table.pop_due(Instant(4)), None);
        assert_eq!(table.pop_due(Instant(10)), Some('b'));
        assert_eq!(table.pop_due(Instant(10)), Some('a'));
        assert!(table.is_empty());
    }
}
