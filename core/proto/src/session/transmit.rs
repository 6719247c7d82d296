//! Which frame goes on which link, and when (L3, L4, L5).
//!
//! Frames are bound to a link when they are written into its one buffer; nothing is queued per link.
//! Invariant: what is handed out for a link is never more than its allowance (I13).

use super::Session;
use super::link::{LINK_FRAMES_BYTES_MAX, Link, Sent, Suspicion};
use crate::channel::{Class, Slice};
use crate::id::{ChannelId, LinkId};
use crate::io::{Output, Parts};
use crate::limits::{DATA_BYTES_MAX, IN_FLIGHT_FRAMES_MAX, LINGER, SEND_BYTES_MAX};
use crate::time::Instant;
use crate::wire::{Frame, Role, data_overhead};
use bytes::{Bytes, BytesMut};

/// Data shorter than this is copied behind its frame head, so that small frames make one piece.
const COPY_BYTES_MAX: usize = 1024;
/// What is allocated at once for small frames, enough for beats; it grows with what is written and is kept then.
const HEAD_BYTES: usize = 64;
/// When so little of it is left, what was taken out of it may come back.
const HEAD_BYTES_MIN: usize = 48;
/// No counted frame other than DATA is larger (RESET with a long text).
const SMALL_FRAME_BYTES_MAX: usize = 320;
/// DATA that goes although the link has no room for it.
const GAP_BYTES: usize = 1024;
/// DATA is not cut smaller than this, unless it is the end of what there is.
const DATA_BYTES_MIN: usize = 64;

/// One `Send` in the making.
#[derive(Debug)]
struct Batch<'a> {
    room: usize,
    used: usize,
    /// Small frames, and the heads of large ones.
    head: &'a mut BytesMut,
    parts: Parts,
}

impl Batch<'_> {
    /// `head` is empty, and is empty again behind the last `seal`.
    fn new(room: usize, head: &mut BytesMut) -> Batch<'_> {
        if head.capacity() < HEAD_BYTES_MIN {
            // What was taken out of it has left by now, as a rule: then this is no allocation.
            head.reserve(HEAD_BYTES);
        }
        Batch { room, used: 0, head, parts: Parts::new() }
    }

    fn left(&self) -> usize {
        self.room - self.used
    }

    /// Appends a whole frame if it fits.
    fn frame(&mut self, frame: &Frame) -> bool {
        let before = self.head.len();
        frame.encode(self.head);
        let size = self.head.len() - before;
        if size > self.left() {
            self.head.truncate(before);
            return false;
        }
        self.used += size;
        true
    }

    fn raw(&mut self, bytes: &mut BytesMut) {
        let part = bytes.split_to(bytes.len().min(self.left()));
        self.used += part.len();
        self.head.extend_from_slice(&part);
    }

    fn slice(&mut self, slice: &Slice<'_>) {
        match slice {
            Slice::Kept(piece, range) if range.len() >= COPY_BYTES_MAX => {
                self.seal();
                self.parts.push(piece.slice(range.clone()));
            }
            small => self.head.extend_from_slice(small.bytes()),
        }
    }

    fn seal(&mut self) {
        match self.head.len() {
            0 => {}
            // Cheaper than a share of it, and its memory stays for the next.
            1..=COPY_BYTES_MAX => {
                self.parts.push(Bytes::copy_from_slice(self.head));
                self.head.clear();
            }
            _ => self.parts.push(self.head.split().freeze()),
        }
    }
}

impl Session {
    /// The link that carries everything but bulk: of those that are not suspect the one that became primary last,
    /// else the newest of the others, else whatever there is.
    pub(super) fn carrier(&self) -> Option<LinkId> {
        let rank = |link: &Link| {
            let is_primary = link.role == Role::Primary;
            (link.is_healthy(), is_primary, link.suspicion != Suspicion::Silent, link.primary_since, link.id)
        };
        self.links.values().filter(|link| link.is_usable()).max_by_key(|link| rank(link)).map(|link| link.id)
    }

    /// Hands out everything that may and can be sent now. `head` is an empty buffer to write into.
    pub(crate) fn transmit(&mut self, now: Instant, head: &mut BytesMut, out: &mut impl FnMut(Output)) {
        let has_streams = !self.state.is_final() && self.streams.has_work(false);
        if !has_streams && !self.links.values().any(|link| link.has_own_frames(now)) {
            return;
        }
        let carrier = self.carrier();
        // Nothing below looks for a link by its id.
        let mut links = std::mem::take(&mut self.links);
        for (id, link) in links.iter_mut() {
            link.begin_turn();
            loop {
                let mut batch = Batch::new(link.allowance.min(SEND_BYTES_MAX), head);
                self.fill(now, link, carrier == Some(id), &mut batch);
                if batch.used == 0 {
                    break;
                }
                batch.seal();
                link.allowance -= batch.used;
                self.bytes_sent += batch.used as u64;
                out(Output::Send { link: id, parts: batch.parts });
            }
        }
        self.links = links;
    }

    fn fill(&mut self, now: Instant, link: &mut Link, is_carrier: bool, batch: &mut Batch<'_>) {
        if batch.left() == 0 {
            return;
        }
        if !link.prelude.is_empty() {
            batch.raw(&mut link.prelude);
            if !link.prelude.is_empty() {
                return;
            }
        }
        let bulk_only = !is_carrier;
        let takes_streams =
            !self.state.is_final() && (is_carrier || (link.role == Role::Bulk && link.is_healthy()));
        let takes_streams = takes_streams && link.is_usable();
        let has_streams =
            takes_streams && link.flight.frame_bytes(now, bulk_only) > 0 && self.streams.has_work(bulk_only);
        self.fill_link_frames(now, link, has_streams, batch);
        if !takes_streams {
            return;
        }
        while link.in_flight.len() < IN_FLIGHT_FRAMES_MAX && batch.left() > SMALL_FRAME_BYTES_MAX {
            if !bulk_only && !self.streams.control_is_next() && self.fill_value(now, link, batch) {
                continue;
            }
            let Some((channel, frame_bytes)) = self.next_channel(now, link, bulk_only) else { return };
            let before = batch.used;
            self.fill_channel(now, link, (channel, frame_bytes), batch);
            if batch.used == before && self.streams.is_queued(channel) {
                return;
            }
        }
    }

    /// Whose turn it is of those that the link has room for, and how much data its frame may carry.
    fn next_channel(&mut self, now: Instant, link: &mut Link, bulk_only: bool) -> Option<(ChannelId, usize)> {
        let ahead = if bulk_only { 0 } else { link.flight.frame_bytes(now, false) };
        if ahead > 0
            && let Some(channel) = self.streams.next_channel(Class::Control..=Class::Call)
        {
            link.flight.goes_ahead(now);
            return Some((channel, ahead));
        }
        let behind = link.flight.frame_bytes(now, true);
        if behind == 0 {
            // What is LACKed only with it would hold up the link for ever.
            return self.streams.next_missing().filter(|_| link.may_fill_gap()).map(|id| (id, GAP_BYTES));
        }
        let first = if bulk_only { Class::Bulk } else { Class::Ordinary };
        Some((self.streams.next_channel(first..=Class::Bulk)?, behind))
    }

    fn fill_link_frames(&mut self, now: Instant, link: &mut Link, in_company: bool, batch: &mut Batch<'_>) {
        if link.dead_untold && batch.frame(&Frame::Dead { links: self.dead.iter().copied().collect() }) {
            link.dead_untold = false;
        }
        if batch.left() < LINK_FRAMES_BYTES_MAX {
            return;
        }
        if std::mem::take(&mut link.role_untold) {
            batch.frame(&Frame::Role { role: link.role });
        }
        let leaving = link.retirement.wanted || link.retirement.heard;
        if leaving {
            link.hurry_lack(now);
        }
        if let Some((number, echo, delay)) = link.take_beat(now, self.liveness.beat, in_company) {
            let echo_delay_us = u64::try_from(delay.as_micros()).unwrap_or(u64::MAX);
            let ttl_ms = u64::try_from(self.liveness.ttl.as_millis()).unwrap_or(u64::MAX);
            batch.frame(&Frame::Beat { number, echo, echo_delay_us, ttl_ms });
        }
        if let Some(count) = link.take_lack(now, in_company || batch.used > 0) {
            batch.frame(&Frame::Lack { count });
        }
        if link.retirement.wanted {
            link.retirement.wanted = false;
            link.retirement.said_until = Some(now + LINGER);
            batch.frame(&Frame::Retire);
        }
    }

    fn fill_value(&mut self, now: Instant, link: &mut Link, batch: &mut Batch<'_>) -> bool {
        let Some((value, frame)) = self.streams.next_value() else { return false };
        if batch.frame(&frame) {
            link.push_in_flight(now, Sent::Value(value));
            true
        } else {
            self.streams.unsend_value(value);
            false
        }
    }

    /// One DATA of the channel, with END behind its last byte (REST); then back into its queue.
    fn fill_channel(
        &mut self,
        now: Instant,
        link: &mut Link,
        (id, frame_bytes): (ChannelId, usize),
        batch: &mut Batch<'_>,
    ) {
        let room = batch.left();
        let Some(channel) = self.streams.get_mut(id) else { return };
        let overhead = data_overhead(id, channel.send.written(), DATA_BYTES_MAX);
        let most = room.saturating_sub(overhead + SMALL_FRAME_BYTES_MAX).min(frame_bytes);
        let range = if most >= DATA_BYTES_MIN { channel.send.next_range(most as u64) } else { None };
        if let Some(range) = range {
            let len = (range.end - range.start) as usize;
            let before = batch.head.len();
            let is_rest = channel.send.is_rest(&range);
            Frame::encode_data_head(batch.head, id, range.start, len, is_rest);
            batch.used += batch.head.len() - before + len;
            channel.send.slices(range.clone(), |slice| batch.slice(&slice));
            if is_rest {
                channel.send.end = crate::channel::Delivery::InFlight;
                link.push_in_flight(now, Sent::Rest(id, range));
            } else {
                link.push_in_flight(now, Sent::Data(id, range));
            }
        }
        if channel.send.end_is_due() && batch.frame(&Frame::End { channel: id, size: channel.send.written() })
        {
            channel.send.end = crate::channel::Delivery::InFlight;
            link.push_in_flight(now, Sent::End(id));
        }
        self.streams.touch(id);
    }
}
