//! One link of a session: what it carried, what of that is held, its beats and its suspicion (L2, X2, T2).
//!
//! Counts and clocks only; it decides nothing about the session. Invariant: `in_flight` are the counted
//! frames that this end sent on this link and the peer did not LACK, in the order in which they were sent.

use super::flight::Flight;
use crate::error::Result;
use crate::id::{ChannelId, LinkId, LinkName};
use crate::limits::{
    LACK_AT_ONCE_BYTES, LACK_AT_ONCE_UNTIL_BYTES, LACK_BYTES, LACK_DELAY, LACK_FRAMES, RENEW_AFTER,
    RENEW_RECORDS,
};
use crate::time::Instant;
use crate::wire::Role;
use crate::wire::codec::malformed;
use bytes::BytesMut;
use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

/// A value that is resent as it is now, not as it was (X1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Value {
    Credit(ChannelId),
    Reset(ChannelId),
    Stop(ChannelId),
    ChannelCredit,
}

/// A counted frame that is on a link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Sent {
    Data(ChannelId, Range<u64>),
    /// The last bytes, and END with them.
    Rest(ChannelId, Range<u64>),
    End(ChannelId),
    Value(Value),
}

impl Sent {
    /// What it adds to what is on its way; the small ones are as nothing.
    fn bytes(&self) -> usize {
        match self {
            Sent::Data(_, range) | Sent::Rest(_, range) => (range.end - range.start) as usize,
            Sent::End(_) | Sent::Value(_) => 0,
        }
    }
}

/// How long a link has been silent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Suspicion {
    /// It gave a record lately.
    None,
    /// Silent for 1.5 beats and 3 round trips: its frames may also go elsewhere.
    Suspect,
    /// Silent for 3 beats: a new link is dialled.
    Silent,
}

/// Intervals that a link is measured by.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    pub(crate) beat: Duration,
    pub(crate) ttl: Duration,
}

/// A span as it is added to an instant; so much that it is worth to do it in one number.
fn nanos(span: Duration) -> u64 {
    span.as_secs().saturating_mul(1_000_000_000).saturating_add(span.subsec_nanos().into())
}

/// How a link retires (L3).
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Retirement {
    /// This end wants to say RETIRE.
    pub(crate) wanted: bool,
    /// This end said it, and when it gives up waiting for LACK.
    pub(crate) said_until: Option<Instant>,
    /// The peer said it.
    pub(crate) heard: bool,
}

#[derive(Debug, Clone)]
pub(crate) struct Link {
    pub(crate) id: LinkId,
    pub(crate) name: LinkName,
    pub(crate) dialled_here: bool,
    pub(crate) role: Role,
    /// Rises with each link of the session that becomes primary; 0 for one that never was.
    pub(crate) primary_since: u64,
    /// The peer has to be told of the role.
    pub(crate) role_untold: bool,
    /// What was dialled for it; `None` at the end that accepted it.
    pub(crate) address: Option<Arc<str>>,
    /// Where that ended, if it is another text.
    pub(crate) place: Option<Arc<str>>,
    pub(crate) allowance: usize,
    /// Frames of the handshake that did not fit yet.
    pub(crate) prelude: BytesMut,
    pub(crate) in_flight: VecDeque<Sent>,
    /// How much of it there may be.
    pub(crate) flight: Flight,
    pub(crate) suspicion: Suspicion,
    /// What is in flight was also given to other links.
    pub(crate) requeued: bool,
    pub(crate) retirement: Retirement,
    /// A successor was asked for because of age (L6).
    pub(crate) renewing: bool,
    /// No echo of this end's beats came for long, although records come.
    pub(crate) mute: bool,
    /// The peer was told once that something is not built.
    pub(crate) noticed: bool,
    /// TTL of the terms that this link brought.
    pub(crate) ttl: Duration,
    /// The peer has to be told which links are dead.
    pub(crate) dead_untold: bool,
    pub(crate) round_trip: Option<Duration>,
    pub(crate) echoes: u64,
    echoed_at: Instant,
    lacked: u64,
    received: u64,
    /// Frames that may still go in this turn although the link is full.
    gap_frames: u8,
    /// More must not be LACKed now; `None` when nothing is in the way.
    lackable: Option<u64>,
    lack_told: u64,
    lack_bytes: u64,
    received_bytes: u64,
    lack_due: Option<Instant>,
    beat_number: u64,
    beats_out: VecDeque<(u64, Instant)>,
    beat_seen: u64,
    beat_seen_at: Instant,
    next_beat: Instant,
    /// The next beat goes sooner, with whatever goes.
    beat_rides: bool,
    /// The next beat answers one of the peer's.
    follows: bool,
    last_record: Instant,
    attached_at: Instant,
    records: u64,
}

/// Frames of a turn that may go on a full link, of what its reader misses.
const GAP_FRAMES: u8 = 16;

/// BEAT, LACK and RETIRE together.
pub(crate) const LINK_FRAMES_BYTES_MAX: usize = 64;

/// Beats that may be unanswered and still remembered; the oldest is forgotten, which only delays the lease.
const BEATS_OUT_MAX: usize = 1024;

impl Link {
    pub(crate) fn new(id: LinkId, name: LinkName, dialled_here: bool, role: Role, now: Instant) -> Link {
        Link {
            id,
            name,
            dialled_here,
            role,
            primary_since: 0,
            role_untold: false,
            address: None,
            place: None,
            allowance: 0,
            prelude: BytesMut::new(),
            in_flight: VecDeque::new(),
            flight: Flight::new(),
            suspicion: Suspicion::None,
            requeued: false,
            retirement: Retirement::default(),
            renewing: false,
            mute: false,
            noticed: false,
            ttl: Duration::ZERO,
            dead_untold: false,
            echoed_at: now,
            round_trip: None,
            echoes: 0,
            lacked: 0,
            received: 0,
            gap_frames: 0,
            lackable: None,
            lack_told: 0,
            lack_bytes: 0,
            received_bytes: 0,
            lack_due: None,
            beat_number: 0,
            beats_out: VecDeque::new(),
            beat_seen: 0,
            beat_seen_at: now,
            next_beat: now,
            beat_rides: false,
            follows: false,
            last_record: now,
            attached_at: now,
            records: 0,
        }
    }

    /// Whether it can be given frames of channels.
    pub(crate) fn is_usable(&self) -> bool {
        !self.retirement.wanted && self.retirement.said_until.is_none() && !self.retirement.heard
    }

    /// From now on it has this role, which the peer is told; only at the end that dialled it.
    pub(crate) fn take_role(&mut self, role: Role) {
        self.role_untold |= self.role != role;
        self.role = role;
    }

    /// It leads nowhere, as far as is known here; a sign of life proves the contrary.
    pub(crate) fn doubt(&mut self) {
        self.suspicion = Suspicion::Silent;
    }

    /// For how long it gave signs of life.
    pub(crate) fn lived(&self) -> Duration {
        self.last_record.since(self.attached_at)
    }

    // ---- what came ----

    /// An authenticated record came. Answers whether the link was suspect.
    pub(crate) fn on_record(&mut self, now: Instant) -> bool {
        self.last_record = now;
        self.records += 1;
        std::mem::replace(&mut self.suspicion, Suspicion::None) != Suspicion::None
    }

    /// A counted frame goes on this link.
    pub(crate) fn push_in_flight(&mut self, now: Instant, sent: Sent) {
        self.flight.sent(now, sent.bytes(), self.lacked + self.in_flight.len() as u64 + 1);
        self.in_flight.push_back(sent);
        self.requeued = false;
    }

    /// Whether it carries, and was of use: something of this end is held, or something of the peer came.
    pub(crate) fn has_carried(&self) -> bool {
        self.role == Role::Primary && (self.lacked > 0 || self.echoes > 0 || self.received > 0)
    }

    /// A stream or state frame came.
    pub(crate) fn on_counted(&mut self, now: Instant, bytes: u64) {
        self.received += 1;
        self.lack_bytes += bytes;
        self.received_bytes += bytes;
        // The first ones tell the peer how fast the link is.
        let is_first = bytes >= LACK_AT_ONCE_BYTES && self.received_bytes <= LACK_AT_ONCE_UNTIL_BYTES;
        let are_many = self.received - self.lack_told >= LACK_FRAMES || self.lack_bytes >= LACK_BYTES;
        let at_once = is_first || are_many;
        let due = if at_once { now } else { now + LACK_DELAY };
        self.lack_due = Some(self.lack_due.map_or(due, |earlier| earlier.min(due)));
    }

    /// LACK came: the frames that are held now.
    pub(crate) fn on_lack(
        &mut self,
        now: Instant,
        count: u64,
        beat: Duration,
    ) -> Result<impl Iterator<Item = Sent> + '_> {
        let newly = count.saturating_sub(self.lacked);
        if newly > self.in_flight.len() as u64 {
            return Err(malformed(format!(
                "LACK of {count} frames, {} were sent",
                self.lacked + self.in_flight.len() as u64
            )));
        }
        self.lacked += newly;
        let bytes = self.in_flight.iter().take(newly as usize).map(Sent::bytes).sum();
        self.flight.held(now, bytes, self.lacked, beat);
        Ok(self.in_flight.drain(..newly as usize))
    }

    /// BEAT came. Answers when the beat that it echoes was sent.
    pub(crate) fn on_beat(
        &mut self,
        now: Instant,
        (number, echo): (u64, u64),
        delay: Duration,
        beat: Duration,
    ) -> Option<Instant> {
        if number > self.beat_seen {
            // The first beat is answered soon: a link that lives less than a beat renews the lease too. A call often
            // comes with it, and its reply takes the beat along. Later ones are answered when this end's own is due
            // soon anyway: one waking does for both.
            if self.beat_seen == 0 {
                self.next_beat = now + LACK_DELAY;
                self.beat_rides = true;
            } else if self.next_beat.since(now) < beat / 2 {
                self.next_beat = now;
                self.follows = true;
            }
            self.beat_seen = number;
            self.beat_seen_at = now;
        }
        while self.beats_out.front().is_some_and(|&(sent, _)| sent < echo) {
            self.beats_out.pop_front();
        }
        let &(sent, at) = self.beats_out.front()?;
        if sent != echo {
            return None;
        }
        self.beats_out.pop_front();
        self.echoes += 1;
        self.echoed_at = now;
        self.mute = false;
        let sample = now.since(at).saturating_sub(delay);
        self.flight.path_took(sample);
        self.round_trip = Some(self.round_trip.map_or(sample, |old| (old * 7 + sample) / 8));
        Some(at)
    }

    // ---- what goes ----

    /// The LACK that is due, if any.
    pub(crate) fn take_lack(&mut self, now: Instant, in_company: bool) -> Option<u64> {
        let due = self.lack_due?;
        if due > now && !in_company {
            return None;
        }
        self.lack_due = None;
        self.lack_bytes = 0;
        let count = self.lackable();
        if count == self.lack_told {
            return None;
        }
        self.lack_told = count;
        Some(count)
    }

    /// It is looked at for something to send.
    pub(crate) fn begin_turn(&mut self) {
        self.gap_frames = GAP_FRAMES;
    }

    /// Whether a frame may go that the link has no room for.
    pub(crate) fn may_fill_gap(&mut self) -> bool {
        let may = self.gap_frames > 0;
        self.gap_frames = self.gap_frames.saturating_sub(1);
        may
    }

    /// Counted frames that came.
    pub(crate) fn received(&self) -> u64 {
        self.received
    }

    /// Of them, such as may be LACKed.
    pub(crate) fn lackable(&self) -> u64 {
        self.lackable.map_or(self.received, |most| most.min(self.received)).max(self.lack_told)
    }

    /// No frame may be LACKed beyond those that may be now.
    pub(crate) fn hold_lacks(&mut self) {
        self.lackable.get_or_insert(self.lack_told);
    }

    /// Only so many frames may be LACKed until more is said.
    pub(crate) fn lack_at_most(&mut self, count: u64) {
        let before = self.lackable.replace(count);
        if before.is_some_and(|before| count > before) {
            self.lack_due = Some(Instant(0));
        }
    }

    /// Nothing is in the way of LACKs.
    pub(crate) fn lack_all(&mut self) {
        if self.lackable.take().is_some() && self.received > self.lack_told {
            self.lack_due = Some(Instant(0));
        }
    }

    /// Makes a waiting LACK due at once.
    pub(crate) fn hurry_lack(&mut self, now: Instant) {
        if self.lackable() > self.lack_told {
            self.lack_due = Some(now);
        }
    }

    /// The BEAT that is due, if any: number, echo, and how long ago the echoed one came.
    pub(crate) fn take_beat(
        &mut self,
        now: Instant,
        beat: Duration,
        in_company: bool,
    ) -> Option<(u64, u64, Duration)> {
        if self.next_beat > now && !(in_company && self.beat_rides) {
            return None;
        }
        self.beat_rides = false;
        // Who follows the peer's beats gives them time to come.
        let patience = if std::mem::take(&mut self.follows) { beat / 8 } else { Duration::ZERO };
        self.next_beat = now + beat + patience;
        self.beat_number += 1;
        if self.beats_out.len() == BEATS_OUT_MAX {
            self.beats_out.pop_front();
        }
        self.beats_out.push_back((self.beat_number, now));
        let delay = if self.beat_seen == 0 { Duration::ZERO } else { now.since(self.beat_seen_at) };
        Some((self.beat_number, self.beat_seen, delay))
    }

    // ---- time ----

    /// Whether BEAT and LACK can be written now.
    pub(crate) fn has_room_for_link_frames(&self) -> bool {
        self.prelude.is_empty() && self.allowance >= LINK_FRAMES_BYTES_MAX
    }

    /// Whether the link gives signs of life, and ours reach the peer.
    pub(crate) fn is_healthy(&self) -> bool {
        self.suspicion == Suspicion::None && !self.mute
    }

    /// Under a one-way black hole records still come, but no echo of ours: another link is wanted before the
    /// lease ends.
    fn mute_after(pace: Pace) -> Duration {
        (pace.beat * 3).max(pace.ttl / 2)
    }

    fn suspect_after(&self, pace: Pace) -> Duration {
        (pace.beat * 3 / 2).max(self.round_trip.unwrap_or_default() * 3)
    }

    /// Updates the suspicion; answers whether it rose, and whether the link has to be given up.
    pub(crate) fn watch(&mut self, now: Instant, pace: Pace) -> (bool, bool) {
        let silent = now.since(self.last_record);
        let before = self.suspicion;
        if silent >= (pace.beat * 3).max(self.suspect_after(pace)) {
            self.suspicion = Suspicion::Silent;
        } else if silent >= self.suspect_after(pace) {
            self.suspicion = self.suspicion.max(Suspicion::Suspect);
        }
        let was_mute = self.mute;
        self.mute = now.since(self.echoed_at) >= Link::mute_after(pace);
        let overdue = self.retirement.said_until.is_some_and(|until| until <= now);
        (self.suspicion > before || (self.mute && !was_mute), silent >= pace.ttl || overdue)
    }

    /// Whether a successor is due because of age (L6).
    pub(crate) fn is_old(&self, now: Instant) -> bool {
        now.since(self.attached_at) >= RENEW_AFTER || self.records >= RENEW_RECORDS
    }

    /// When something is due next.
    pub(crate) fn next_deadline(&self, pace: Pace) -> Instant {
        let (beat, ttl) = (nanos(pace.beat), nanos(pace.ttl));
        let suspect_after =
            (beat.saturating_mul(3) / 2).max(nanos(self.round_trip.unwrap_or_default()).saturating_mul(3));
        let silence = match self.suspicion {
            Suspicion::None => suspect_after,
            Suspicion::Suspect => beat.saturating_mul(3).max(suspect_after),
            Suspicion::Silent => ttl,
        };
        let after = |since: Instant, span: u64| Instant(since.0.saturating_add(span));
        let mut next = after(self.last_record, silence);
        // A full link is looked at again when it has room.
        if self.has_room_for_link_frames() {
            next = next.min(self.next_beat).min(self.lack_due.unwrap_or(Instant::NEVER));
        }
        if let Some(until) = self.retirement.said_until {
            next = next.min(until);
        }
        if self.dialled_here && !self.renewing {
            next = next.min(self.attached_at + RENEW_AFTER);
        }
        if !self.mute {
            next = next.min(after(self.echoed_at, beat.saturating_mul(3).max(ttl / 2)));
        }
        next
    }

    /// Whether it has something to say beside what the session has for it.
    pub(crate) fn has_own_frames(&self, now: Instant) -> bool {
        !self.prelude.is_empty()
            || self.dead_untold
            || self.role_untold
            || self.next_beat <= now
            || self.lack_due.is_some_and(|due| due <= now)
            || self.retirement.wanted
            || self.retirement.heard
    }
}
