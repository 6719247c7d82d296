//! How much may be on its way to the socket at once, so that a heartbeat never waits long behind bulk (L5).
//!
//! Numbers only: the link counts, and asks what it may grant to the protocol. Invariants: what is granted and
//! has not left is never more than the window was when it was granted; a link that carries as much as it is
//! given soon has the largest window, and a slow one about what it carries in a quarter of a beat.

use crate::tls::RECORD_BYTES_MAX;
use clerver_proto::time::Instant;
use std::time::Duration;

/// Largest window; more makes nothing faster.
pub(super) const WINDOW_BYTES_MAX: usize = 256 * 1024;
/// Smallest window: a frame of data and the small ones before it.
const WINDOW_BYTES_MIN: usize = 8 * 1024;
/// What a link starts with, before anything is known of it.
const WINDOW_BYTES_FIRST: usize = 64 * 1024;
/// A measurement takes at least this long, or nothing but the clock would be measured.
const MEASURE: Duration = Duration::from_millis(10);
/// Below this window the system keeps no more unsent bytes than it, but at least this many.
const LOWAT_BYTES_MIN: usize = 4 * 1024;

/// See the module.
#[derive(Debug)]
pub(super) struct Pace {
    quarter_beat: Duration,
    window: usize,
    /// Granted, and not left yet.
    outstanding: usize,
    since: Instant,
    left: usize,
    was_full: bool,
}

impl Pace {
    pub(super) fn new(beat: Duration, now: Instant) -> Pace {
        Pace {
            quarter_beat: beat / 4,
            window: WINDOW_BYTES_FIRST,
            outstanding: 0,
            since: now,
            left: 0,
            was_full: false,
        }
    }

    /// The socket takes no more now: what leaves is all that the link can carry.
    pub(super) fn note_full(&mut self, now: Instant) {
        if !self.was_full {
            // The time before it was full tells what there was to send, and not what the link carries.
            (self.was_full, self.since, self.left) = (true, now, 0);
        }
    }

    /// Bytes left. True when the window changed.
    pub(super) fn note_left(&mut self, bytes: usize, now: Instant) -> bool {
        self.outstanding = self.outstanding.saturating_sub(bytes);
        self.left += bytes;
        let elapsed = now.since(self.since);
        if elapsed < MEASURE || self.left < WINDOW_BYTES_MIN {
            return false;
        }
        let before = self.window;
        let wanted = if self.was_full {
            let carried = self.left as f64 * self.quarter_beat.as_secs_f64() / elapsed.as_secs_f64();
            // Half at most in one step, so that one short stall does not throttle a fast link.
            (carried as usize).max(self.window / 2)
        } else {
            self.window * 2
        };
        self.window = wanted.clamp(WINDOW_BYTES_MIN, WINDOW_BYTES_MAX);
        (self.since, self.left, self.was_full) = (now, 0, false);
        self.window != before
    }

    /// What may be granted now: nothing while it is little, so that small messages cost no second look at the
    /// protocol.
    pub(super) fn grant(&mut self) -> usize {
        let room = self.window.saturating_sub(self.outstanding);
        if room < self.window / 4 {
            return 0;
        }
        self.outstanding += room;
        room
    }

    /// Plain bytes of one record.
    pub(super) fn record_bytes(&self) -> usize {
        (self.window / 8).clamp(1024, RECORD_BYTES_MAX)
    }

    /// Unsent bytes that the system may keep; without bound on a fast link.
    pub(super) fn lowat_bytes(&self) -> u32 {
        if self.window >= WINDOW_BYTES_MAX {
            return u32::MAX;
        }
        u32::try_from(self.window.max(LOWAT_BYTES_MIN)).unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Instant = Instant(1_000_000_000);

    /// Carries bulk for a second at a rate, in steps of 20 ms.
    fn carry(pace: &mut Pace, bytes_per_s: usize, full: bool) {
        for step in 1..=50 {
            if full {
                pace.note_full(START + Duration::from_millis(20 * (step - 1)));
            }
            pace.note_left(bytes_per_s / 50, START + Duration::from_millis(20 * step));
        }
    }

    #[test]
    fn a_slow_link_gets_what_it_carries_in_a_quarter_of_a_beat_and_a_fast_one_the_most() {
        let mut slow = Pace::new(Duration::from_secs(1), START);
        carry(&mut slow, 100_000_000, true);
        assert_eq!((slow.window, slow.lowat_bytes()), (WINDOW_BYTES_MAX, u32::MAX));
        let mut slow = Pace::new(Duration::from_secs(1), START);
        carry(&mut slow, 500_000, true);
        assert!((120_000..130_000).contains(&slow.window), "{slow:?}");
        let mut slower = Pace::new(Duration::from_secs(1), START);
        carry(&mut slower, 20_000_000, false);
        assert_eq!(slower.window, WINDOW_BYTES_MAX, "it was never full");
        slower.since = START;
        for step in 1..=100 {
            slower.note_full(START + Duration::from_millis(100 * (step - 1)));
            slower.note_left(1_000, START + Duration::from_millis(100 * step));
        }
        assert_eq!((slower.window, slower.record_bytes()), (WINDOW_BYTES_MIN, 1024));
    }

    #[test]
    fn grants_never_exceed_the_window_and_come_in_steps() {
        let mut pace = Pace::new(Duration::from_secs(1), START);
        assert_eq!(pace.grant(), WINDOW_BYTES_FIRST);
        assert_eq!(pace.grant(), 0);
        pace.note_left(100, START);
        assert_eq!(pace.grant(), 0, "not for a small message");
        pace.note_left(WINDOW_BYTES_FIRST / 4, START);
        assert_eq!(pace.grant(), WINDOW_BYTES_FIRST / 4 + 100);
        assert_eq!(pace.outstanding, pace.window);
    }
}
