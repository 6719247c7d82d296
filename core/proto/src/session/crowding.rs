//! When a session is better off on another path (R4): round trips of the link that carries, against its own past and
//! against a link that stands by. Pure arithmetic; the session acts on it.
//!
//! Invariant: between two moves there are at least [`HOLD_BEATS`] beats, and twice as many after each one that came
//! soon: two paths of which each is congested as soon as it is used do not make a session swing.

use crate::limits::LACK_DELAY;
use crate::time::Instant;
use std::time::Duration;

/// So many times its shortest round trip makes a link crowded ..
const SLOWER: u32 = 4;
/// .. if it is also this much longer, at least: what the session itself lets wait is less (`flight`).
const LONGER_MIN: Duration = LACK_DELAY.saturating_mul(6);
/// A link is crowded after so many echoes in a row that say so.
const ECHOES: u8 = 4;
/// A link that stands by is believed after so many echoes.
const PROBE_ECHOES: u64 = 3;
/// Beats between two moves, at least.
const HOLD_BEATS: u32 = 30;
/// The pause doubles so often at most.
const STEPS_MAX: u32 = 6;

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nothing.
    Stay,
    /// The other link takes over.
    Move,
    /// No other path is better; what was dialled to find out can go.
    Wait,
}

/// See the module.
#[derive(Debug, Clone, Default)]
pub(super) struct Crowding {
    echoes: u8,
    /// A link to compare with is wanted, or was.
    probes: bool,
    steps: u32,
    /// Before this nothing is done again.
    hold_until: Instant,
}

impl Crowding {
    /// Whether a link is wanted to compare with.
    pub(super) fn wants_probe(&self) -> bool {
        self.probes
    }

    /// There is no other address: the next one that is announced may be one.
    pub(super) fn no_probe(&mut self) {
        self.probes = false;
    }

    /// An echo came. Given are the smoothed and the shortest round trip of the link that carries, and echoes and
    /// smoothed round trip of the best link that stands by.
    pub(super) fn judge(
        &mut self,
        now: Instant,
        beat: Duration,
        (took, shortest): (Option<Duration>, Duration),
        probe: Option<(u64, Option<Duration>)>,
    ) -> Verdict {
        let Some(took) = took else { return Verdict::Stay };
        let longer = (beat / 4).max(LONGER_MIN);
        let is_crowded = took > shortest.saturating_mul(SLOWER) && took > shortest.saturating_add(longer);
        self.echoes = if is_crowded { self.echoes.saturating_add(1) } else { 0 };
        if now < self.hold_until {
            return Verdict::Stay;
        }
        if self.echoes < ECHOES {
            // What was crowded for a moment is no reason to keep a link that nobody asked for.
            return if std::mem::take(&mut self.probes) { Verdict::Wait } else { Verdict::Stay };
        }
        self.probes = true;
        let Some((echoes, Some(other))) = probe else { return Verdict::Stay };
        if echoes < PROBE_ECHOES {
            return Verdict::Stay;
        }
        let pause = beat * (HOLD_BEATS << self.steps);
        let was_calm = now.since(self.hold_until) > pause;
        self.steps = if was_calm { 0 } else { (self.steps + 1).min(STEPS_MAX) };
        self.hold_until = now + beat * (HOLD_BEATS << self.steps);
        (self.probes, self.echoes) = (false, 0);
        if other * 2 < took { Verdict::Move } else { Verdict::Wait }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEAT: Duration = Duration::from_secs(1);
    const SHORT: Duration = Duration::from_millis(20);
    const LONG: Duration = Duration::from_millis(900);

    /// So many beats, one echo each; answers in which of them it moved.
    fn beats(crowding: &mut Crowding, from: u64, count: u64, took: Duration, other: Duration) -> Vec<u64> {
        let mut moved = Vec::new();
        let mut echoes = 0;
        for beat in from..from + count {
            echoes = if crowding.wants_probe() { echoes + 1 } else { 0 };
            let probe = (echoes > 0).then_some((echoes, Some(other)));
            let now = Instant(0) + BEAT * (beat as u32 + 1000);
            if crowding.judge(now, BEAT, (Some(took), SHORT), probe) == Verdict::Move {
                moved.push(beat);
            }
        }
        moved
    }

    #[test]
    fn it_moves_once_the_path_was_crowded_for_a_while_and_another_is_at_least_twice_as_fast() {
        let mut crowding = Crowding::default();
        assert_eq!(beats(&mut crowding, 0, 20, SHORT * 3, SHORT), [0; 0]);
        assert_eq!(beats(&mut crowding, 20, 3, LONG, SHORT), [0; 0]);
        assert_eq!(beats(&mut crowding, 23, 20, SHORT, SHORT), [0; 0], "it was a moment");
        assert_eq!(beats(&mut crowding, 43, 10, LONG, LONG / 2), [0; 0], "no better");
        assert_eq!(beats(&mut Crowding::default(), 43, 10, LONG, SHORT), [49]);
    }

    #[test]
    fn paths_that_are_all_crowded_when_used_make_it_swing_ever_more_seldom() {
        let moved = beats(&mut Crowding::default(), 0, 4000, LONG, SHORT);
        let pauses: Vec<u64> = moved.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert!(pauses.iter().all(|&pause| pause >= u64::from(HOLD_BEATS)), "{moved:?}");
        assert!(pauses.last() >= Some(&900) && moved.len() < 12, "{moved:?}");
    }
}
