//! How many bytes of channels may be on their way on one link, so that what comes behind them is not late (L5).
//!
//! What waits in the system's queue and in those of the path can be overtaken by nothing, and no socket tells how much
//! it is. The LACKs do: one frame at a time is timed until it is held. It is not about credit, nor about what the
//! engine's own queue takes (the link's allowance).
//!
//! Invariants: `bytes` is the sum of what the frames in flight weigh; a frame is let go while they are fewer than the
//! window, and is a quarter of it at most, or the smallest; the window shrinks only when a frame took too long, by half
//! at most, or when the path is fast and short; it grows only when it was full, to twice at most.

use crate::limits::{DATA_BYTES_MAX, LACK_DELAY};
use crate::time::Instant;
use std::time::Duration;

/// What a link starts with, before anything is known of it: about what TCP sends at first.
const WINDOW_BYTES_FIRST: usize = 16 * 1024;
/// A few packets; with less nothing would go on while a LACK is on its way.
const WINDOW_BYTES_MIN: usize = 1024;
/// More is never in flight: the budget of a session.
const WINDOW_BYTES_MAX: usize = 64 * 1024 * 1024;
/// A path that carries this much in a second ..
const FAST_BYTES: f64 = 128e6;
/// .. gets this and what its length needs: more makes nothing faster, and whoever comes behind it waits for it.
const WINDOW_BYTES_FAST: usize = 4 * DATA_BYTES_MAX;
/// No frame of data is cut smaller than this on a slow link.
const FRAME_BYTES_MIN: usize = 512;
/// No beat is so short that less is aimed at: a LACK alone may wait for its 20 ms.
const QUEUE_MIN: Duration = LACK_DELAY.saturating_mul(3);
/// The window may be filled again by what goes before bulk, and no further.
const AHEAD: usize = 2;
/// After something went before bulk, bulk has one message less on its way for so long: its sender waits more often, and
/// lets go of the processor that whoever comes next may need.
const SHARED_FOR: Duration = Duration::from_millis(100);

/// A frame that is timed.
#[derive(Debug, Clone, Copy)]
struct Probe {
    /// It is held when the peer says that so many are.
    count: u64,
    sent_at: Instant,
    /// What was in flight with it.
    bytes: usize,
}

/// See the module.
#[derive(Debug, Clone)]
pub(crate) struct Flight {
    bytes: usize,
    window: usize,
    was_full: bool,
    has_shrunk: bool,
    shared_until: Instant,
    probe: Option<Probe>,
    /// The shortest time that a beat or a frame took: what the path itself takes. Beats come before there is bulk; from
    /// the times of bulk alone a long path cannot be told from a long queue.
    base: Duration,
}

impl Flight {
    pub(crate) fn new() -> Flight {
        Flight {
            bytes: 0,
            window: WINDOW_BYTES_FIRST,
            was_full: false,
            has_shrunk: false,
            shared_until: Instant(0),
            probe: None,
            base: Duration::MAX,
        }
    }

    /// Bytes that the next frame of data may carry, 0 for now none.
    pub(crate) fn frame_bytes(&mut self, now: Instant, is_bulk: bool) -> usize {
        let takes_whole_messages = self.window >= WINDOW_BYTES_FAST;
        let is_shared = takes_whole_messages && now < self.shared_until;
        let window = if is_bulk { self.window } else { self.window * AHEAD };
        let kept_free = if is_bulk && is_shared { DATA_BYTES_MAX } else { 0 };
        if self.bytes + kept_free >= window {
            self.was_full |= self.bytes >= window;
            return 0;
        }
        if takes_whole_messages { DATA_BYTES_MAX } else { (self.window / 8).max(FRAME_BYTES_MIN) }
    }

    /// Something goes that is sent before bulk.
    pub(crate) fn goes_ahead(&mut self, now: Instant) {
        self.shared_until = now + SHARED_FOR;
    }

    /// A frame goes, the `count`th of its link.
    pub(crate) fn sent(&mut self, now: Instant, bytes: usize, count: u64) {
        self.bytes += bytes;
        if self.probe.is_none() && bytes > 0 {
            self.probe = Some(Probe { count, sent_at: now, bytes: self.bytes });
        }
    }

    /// So many frames are held in all, and they weighed this.
    pub(crate) fn held(&mut self, now: Instant, bytes: usize, count: u64, beat: Duration) {
        self.bytes = self.bytes.saturating_sub(bytes);
        if let Some(probe) = self.probe.filter(|probe| probe.count <= count) {
            self.probe = None;
            self.learn(probe.bytes, now.since(probe.sent_at), beat);
        }
    }

    /// What the path alone takes, there and back, as far as is known.
    pub(crate) fn base(&self) -> Duration {
        self.base
    }

    /// The path alone takes no longer than this, there and back.
    pub(crate) fn path_took(&mut self, took: Duration) {
        self.base = self.base.min(took);
    }

    /// That much was in flight, and it took so long.
    fn learn(&mut self, bytes: usize, took: Duration, beat: Duration) {
        // With so little in flight the time is the path's own: it may have changed, and must not throttle for good.
        self.base = if self.window == WINDOW_BYTES_MIN { took } else { self.base.min(took) };
        let queue = (beat / 8).max(QUEUE_MIN);
        let took_s = took.as_secs_f64().max(1e-9);
        let aim = self.base.saturating_add(queue).as_secs_f64() / took_s;
        let was_full = std::mem::take(&mut self.was_full);
        let mut wanted = self.window as f64;
        if aim < 1.0 {
            self.has_shrunk = true;
            wanted = (self.window.min(bytes) as f64 * aim).max(wanted / 2.0);
        } else if was_full {
            // On a long path the aim is never far above what is, however little is in flight.
            let least = if self.has_shrunk { 1.25 } else { 2.0 };
            let is_short = took < self.base.saturating_add(queue / 2);
            wanted *= if is_short { aim.clamp(least, 2.0) } else { aim };
        }
        let rate = bytes as f64 / took_s;
        if rate >= FAST_BYTES {
            wanted = wanted.min((2.0 * self.base.as_secs_f64() * rate).max(WINDOW_BYTES_FAST as f64));
        }
        self.window = (wanted as usize).clamp(WINDOW_BYTES_MIN, WINDOW_BYTES_MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEAT: Duration = Duration::from_secs(1);

    /// Bulk for so long through a path of this rate and one-way time, which has a queue without end. Answers the
    /// longest time that a byte spent in the queue in the last half, and bytes carried in a second then.
    fn carry(flight: &mut Flight, bytes_per_s: f64, way: Duration, span: Duration) -> (Duration, f64) {
        (flight.bytes, flight.probe) = (0, None);
        flight.path_took(way * 2);
        let (mut now, mut free_at) = (Instant(1_000_000_000), Instant(1_000_000_000));
        let (start, mut sent, mut carried, mut longest) = (now, 0, 0, Duration::ZERO);
        let mut on_way = std::collections::VecDeque::new();
        while now.since(start) < span {
            let size = flight.frame_bytes(now, true);
            if size > 0 {
                sent += 1;
                flight.sent(now, size, sent);
                free_at = free_at.max(now) + Duration::from_secs_f64(size as f64 / bytes_per_s);
                on_way.push_back((free_at + way * 2, size, sent, free_at.since(now)));
                continue;
            }
            let Some((at, size, count, waited)) = on_way.pop_front() else { break };
            now = now.max(at);
            flight.held(now, size, count, BEAT);
            if now.since(start) > span / 2 {
                carried += size;
                longest = longest.max(waited);
            }
        }
        (longest, carried as f64 / (span / 2).as_secs_f64())
    }

    #[test]
    fn a_slow_path_is_kept_full_and_its_queue_short() {
        for rate in [12_500.0, 1_250_000.0] {
            for way_ms in [1, 20, 300] {
                let way = Duration::from_millis(way_ms);
                let (longest, carried) = carry(&mut Flight::new(), rate, way, BEAT * 60);
                assert!(longest < BEAT / 4, "{rate} {way_ms}: {longest:?}");
                assert!(carried > rate * 0.8, "{rate} {way_ms}: {carried}");
            }
        }
    }

    #[test]
    fn a_fast_and_long_path_is_kept_full() {
        let mut flight = Flight::new();
        let (_, carried) = carry(&mut flight, 1e9, Duration::from_millis(10), BEAT);
        assert!(carried > 0.8e9, "{carried} {flight:?}");
    }

    #[test]
    fn a_fast_and_short_path_has_no_more_on_its_way_than_it_needs() {
        let mut flight = Flight::new();
        let (longest, carried) = carry(&mut flight, 1e9, Duration::from_micros(30), BEAT);
        assert!(carried > 0.8e9 && longest < Duration::from_micros(500), "{carried} {longest:?} {flight:?}");
        // Something held it up once.
        flight.window = WINDOW_BYTES_MAX;
        let (longest, _) = carry(&mut flight, 1e9, Duration::from_micros(30), BEAT);
        assert!(longest < Duration::from_micros(500), "{longest:?} {flight:?}");
    }

    #[test]
    fn a_path_that_became_long_is_learned() {
        let mut flight = Flight::new();
        carry(&mut flight, 1_250_000.0, Duration::from_millis(1), BEAT * 10);
        let (_, carried) = carry(&mut flight, 1_250_000.0, Duration::from_millis(400), BEAT * 100);
        assert!(carried > 0.8 * 1_250_000.0, "{carried} {flight:?}");
    }

    #[test]
    fn what_goes_before_bulk_finds_room_when_bulk_finds_none() {
        let mut flight = Flight::new();
        flight.sent(Instant(1), WINDOW_BYTES_FIRST, 1);
        assert_eq!(flight.frame_bytes(Instant(1), true), 0);
        assert_eq!(flight.frame_bytes(Instant(1), false), WINDOW_BYTES_FIRST / 8);
        flight.sent(Instant(1), WINDOW_BYTES_FIRST, 2);
        assert_eq!(flight.frame_bytes(Instant(1), false), 0);
        flight.held(Instant(2), WINDOW_BYTES_FIRST * 2, 2, BEAT);
        assert_eq!((flight.bytes, flight.window), (0, WINDOW_BYTES_FIRST * 2));
    }

    #[test]
    fn bulk_has_a_message_less_on_its_way_while_calls_go() {
        let mut flight = Flight { window: WINDOW_BYTES_FAST, ..Flight::new() };
        let now = Instant(1_000_000_000);
        flight.sent(now, 3 * DATA_BYTES_MAX, 3);
        assert_eq!(flight.frame_bytes(now, true), DATA_BYTES_MAX);
        flight.goes_ahead(now);
        assert_eq!(flight.frame_bytes(now, true), 0);
        assert_eq!(flight.frame_bytes(now, false), DATA_BYTES_MAX);
        assert_eq!(flight.frame_bytes(now + SHARED_FOR, true), DATA_BYTES_MAX);
    }
}
