//! One node's clock: the true time of the simulator, seen through a start, a rate and jumps.
//!
//! Rates stay within 10 per cent and jumps go forward, as CLOCK_BOOTTIME does; the start may be near the end of u64.

use clerver_proto::time::Instant;

/// Largest deviation of a rate, in parts per million.
pub(crate) const PPM_MAX: i64 = 95_000;

/// A clock that starts somewhere and runs a little fast or slow.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    /// What it shows at true time 0.
    pub start: u64,
    /// How much faster than true time it runs, in parts per million.
    pub ppm: i64,
}

impl Clock {
    /// What the clock shows at this true time.
    pub(crate) fn local(&self, now: u64) -> Instant {
        Instant(self.start.saturating_add(self.scale(now)))
    }

    fn scale(&self, now: u64) -> u64 {
        (u128::from(now) * (1_000_000 + self.ppm) as u128 / 1_000_000) as u64
    }

    /// The first true time at which the clock shows at least `local`; `None` when it is never.
    pub(crate) fn when(&self, local: Instant) -> Option<u64> {
        if local == Instant::NEVER {
            return None;
        }
        let span = u128::from(local.0.saturating_sub(self.start));
        let mut now = (span * 1_000_000 / (1_000_000 + self.ppm) as u128) as u64;
        while self.local(now) < local {
            now += 1;
        }
        Some(now)
    }

    /// Jumps forward.
    pub(crate) fn jump(&mut self, by: u64) {
        self.start = self.start.saturating_add(by);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn when_is_the_first_moment_of_local() {
        for ppm in [-95_000, -1, 0, 3, 95_000] {
            let clock = Clock { start: u64::MAX - 1_000_000_000_000_000, ppm };
            for now in [0, 1, 999, 123_456_789_012] {
                let local = clock.local(now);
                let first = clock.when(local).expect("not never");
                assert!(first <= now && clock.local(first) >= local);
                assert!(first == 0 || clock.local(first - 1) < local);
            }
        }
    }
}
