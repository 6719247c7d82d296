//! The two clocks of a session (T2): how long this end may believe that the peer keeps its objects, and how
//! long this end keeps the peer's. Pure arithmetic; the session acts on it.

use crate::limits::{BEAT_MS_MIN, LEASE_PERCENT};
use crate::time::Instant;
use crate::wire::Hello;
use std::time::Duration;

/// Lease and hold.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Liveness {
    pub(crate) ttl: Duration,
    pub(crate) beat: Duration,
    cap: Duration,
    /// TTL that the holder is known to have adopted; the lease follows this one.
    lease_ttl: Duration,
    lease_from: Instant,
    hold_from: Instant,
    /// One of the ends comes and goes.
    pub(crate) volatile: bool,
    /// For how long both ends would keep it past its TTL.
    pub(crate) span: Duration,
}

/// What both HELLOs come to (T5): both ends compute the same.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Terms {
    pub(crate) ttl: Duration,
    pub(crate) beat: Duration,
    /// The TTL that neither end goes beyond.
    pub(crate) cap: Duration,
    /// One of the ends comes and goes.
    pub(crate) volatile: bool,
    /// For how long both ends would keep it past its TTL.
    pub(crate) span: Duration,
}

/// The terms of two ends.
pub(crate) fn agree(mine: &Hello, peer: &Hello) -> Terms {
    // A beat that does not fit four times into the lower cap is shortened: nobody's ttl_max is ever exceeded.
    let cap = mine.ttl_max_ms.min(peer.ttl_max_ms).max(4 * BEAT_MS_MIN);
    let beat = mine.beat_ms.max(peer.beat_ms).min(cap / 4).max(BEAT_MS_MIN);
    let floor = mine.ttl_floor_ms.max(peer.ttl_floor_ms).max(beat.saturating_mul(4));
    let wanted = mine.ttl_ms.max(peer.ttl_ms).max(floor);
    let keeps = mine.embalm_ms.min(peer.embalm_ms);
    let [ttl, beat, cap, span] = [wanted.min(cap), beat, cap, keeps].map(Duration::from_millis);
    Terms { ttl, beat, cap, volatile: mine.volatile || peer.volatile, span }
}

impl Liveness {
    pub(crate) fn new(now: Instant, Terms { ttl, beat, cap, volatile, span }: Terms) -> Liveness {
        Liveness { ttl, beat, cap, lease_ttl: ttl, lease_from: now, hold_from: now, volatile, span }
    }

    /// This end keeps what is the peer's for longer from now on; its next beat says so.
    pub(crate) fn raise_ttl(&mut self, ttl: Duration) {
        self.ttl = self.ttl.max(ttl.min(self.cap));
    }

    /// The peer says for how long it keeps what is ours. This end does the same for what is the peer's.
    pub(crate) fn hear_ttl(&mut self, ttl: Duration) {
        self.lease_ttl = self.lease_ttl.max(ttl.min(self.cap));
        self.raise_ttl(ttl);
    }

    /// A new link brought new terms: a TTL may rise and never falls within a session.
    pub(crate) fn renegotiate(&mut self, Terms { ttl, beat, cap, volatile, span }: Terms) {
        (self.volatile, self.span) = (volatile, span);
        self.cap = cap;
        self.ttl = self.ttl.max(ttl);
        self.beat = self.beat.max(beat).min(self.ttl / 4);
    }

    /// A beat that was sent at this instant came back, on a link whose terms have this TTL.
    pub(crate) fn on_echo(&mut self, sent_at: Instant, ttl: Duration) {
        self.lease_from = self.lease_from.max(sent_at);
        self.lease_ttl = self.lease_ttl.max(ttl);
    }

    /// An authenticated record of an attached link came.
    pub(crate) fn on_record(&mut self, now: Instant) {
        self.hold_from = self.hold_from.max(now);
    }

    /// When this end must stop believing.
    pub(crate) fn lease_end(&self) -> Instant {
        self.lease_from + self.lease_ttl * LEASE_PERCENT / 100
    }

    /// How long the end that was told of a close waits for the rest: a contact that is alive gives a sign
    /// within the TTL, so this only bounds a peer that never finishes.
    pub(crate) fn close_wait(&self) -> Duration {
        self.ttl * 4
    }

    /// When this end may sweep the peer's objects.
    pub(crate) fn hold_end(&self) -> Instant {
        self.hold_from + self.ttl
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_sign_of_life_the_lease_ends_before_the_hold_for_clocks_within_ten_per_cent() {
        let sent = Instant(1_000_000_000_000);
        let [ttl, beat] = [10, 1].map(Duration::from_secs);
        let mut live = Liveness::new(
            sent,
            Terms { ttl, beat, cap: Duration::MAX, volatile: false, span: Duration::ZERO },
        );
        live.on_echo(sent, live.ttl);
        live.on_record(sent);
        let owner_true = live.lease_end().since(sent).as_secs_f64() / 0.9;
        let holder_true = live.hold_end().since(sent).as_secs_f64() / 1.1;
        assert!(owner_true < holder_true, "{owner_true} < {holder_true}");
    }
}
