//! The sending half of a channel: what the application wrote and the peer may not hold yet.
//!
//! Keeps every byte from `kept` to `written`; offers what the peer's credit allows, first what was lost with
//! a link. It does not know links: its caller says what a link carried, what was held and what was lost.

use super::Piece;
use super::range_set::RangeSet;
use crate::error::{Code, Error};
use crate::limits::{CHANNEL_BASE_BYTES, SLICE_BYTES_MIN};
use bytes::{Buf, Bytes, BytesMut};
use std::collections::VecDeque;
use std::ops::Range;

/// Small pieces are joined up to this size.
const TAIL_BYTES_MAX: usize = 4 * SLICE_BYTES_MIN;
/// An empty buffer for small pieces is kept up to this size.
const TAIL_BYTES_KEPT: usize = 1024;

/// A part of what is kept.
#[derive(Debug)]
pub enum Slice<'a> {
    /// A part of a piece that can be shared.
    Kept(&'a Bytes, Range<usize>),
    /// Bytes to copy.
    Small(&'a [u8]),
}

impl Slice<'_> {
    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        match self {
            Slice::Kept(piece, range) => &piece[range.clone()],
            Slice::Small(bytes) => bytes,
        }
    }
}

/// How far a frame that is sent until it is held has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Delivery {
    /// Nothing to send.
    #[default]
    Idle,
    /// Has to be sent (again).
    Wanted,
    /// On a link.
    InFlight,
    /// Held by the peer.
    Held,
}

impl Delivery {
    /// The link that carried it is dead or suspect.
    pub fn lost(&mut self) {
        if *self == Delivery::InFlight {
            *self = Delivery::Wanted;
        }
    }
}

/// An early end of the direction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reset {
    /// Final size: what was handed to links.
    pub size: u64,
    /// Why.
    pub code: Code,
    /// Why, for a person.
    pub text: String,
}

/// How a direction ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    /// It does not yet.
    Open,
    /// In good order, after what was written.
    End,
    /// Early.
    Reset(Reset),
}

/// The sending half.
#[derive(Debug, Clone, Default)]
pub struct SendHalf {
    pieces: VecDeque<(u64, Bytes)>,
    tail: BytesMut,
    kept: u64,
    written: u64,
    next: u64,
    limit: u64,
    held: RangeSet,
    lost: RangeSet,
    /// END of this direction.
    pub end: Delivery,
    reset: Option<Reset>,
    /// RESET of this direction.
    pub reset_delivery: Delivery,
    /// The peer wants no more, with its code.
    pub stopped: Option<u16>,
    /// What may leave: of a stored channel what is stored, and more than everything once its end is.
    ceiling: u64,
    is_stored: bool,
    /// What a peer may hold at the most: all that was handed to links, by this process or the one before it.
    reach: u64,
    repeated: u64,
}

impl SendHalf {
    /// A half that may send up to `limit` before the peer says more.
    pub fn new(limit: u64) -> SendHalf {
        SendHalf { limit, ceiling: u64::MAX, ..SendHalf::default() }
    }

    /// Of a stored channel: nothing leaves before [`SendHalf::is_stored_to`] says that it is stored (D1).
    pub fn waits_for_store(&mut self) {
        (self.is_stored, self.ceiling) = (true, 0);
    }

    /// So much of it is stored, and with `end` also how it ends.
    pub fn is_stored_to(&mut self, written: u64, end: bool) {
        if self.is_stored {
            self.ceiling = if end { u64::MAX } else { written.max(self.ceiling) };
        }
    }

    /// A half as it was stored: bytes from `kept` on, none of them on its way.
    pub fn restored((kept, written): (u64, u64), pieces: impl IntoIterator<Item = Bytes>) -> SendHalf {
        let mut half = SendHalf { kept, written: kept, next: kept, reach: written, ..SendHalf::new(kept) };
        for piece in pieces {
            let start = half.written;
            half.written += piece.len() as u64;
            half.pieces.push_back((start, piece));
        }
        half.is_stored = true;
        half.ceiling = half.written;
        half
    }

    /// How this direction ends, as far as this end decided it.
    pub fn ending(&self) -> Ending {
        match &self.reset {
            Some(reset) => Ending::Reset(reset.clone()),
            None if self.end != Delivery::Idle => Ending::End,
            None => Ending::Open,
        }
    }

    /// As it was stored.
    pub fn restore_ending(&mut self, ending: Ending) {
        match ending {
            Ending::Open => return,
            Ending::End => self.end = Delivery::Wanted,
            Ending::Reset(reset) => {
                self.pieces.clear();
                self.next = self.next.max(reset.size);
                self.reach = self.reach.max(reset.size);
                self.reset = Some(reset);
                self.reset_delivery = Delivery::Wanted;
            }
        }
        self.ceiling = u64::MAX;
    }

    /// All links are gone, and the peer holds nothing beyond `held` of what went on them.
    pub fn forget_links(&mut self, held: u64) {
        self.held.clear();
        self.lost.clear();
        self.next = self.kept.max(held.min(self.written));
        let first = self.kept;
        self.on_held(first..self.next);
        self.limit = self.next.max(CHANNEL_BASE_BYTES);
        if self.end != Delivery::Idle {
            self.end = Delivery::Wanted;
        }
        if self.reset.is_some() {
            self.reset_delivery = Delivery::Wanted;
        }
    }

    /// Nobody is there any more to hear it: nothing is kept and nothing is said.
    pub fn give_up(&mut self, why: &Error) {
        self.reset(why);
        self.reset_delivery = Delivery::Held;
    }

    /// Whether RESET may be said.
    pub fn reset_is_due(&self) -> bool {
        self.reset_delivery == Delivery::Wanted && self.ceiling == u64::MAX
    }

    /// Bytes that the application wrote.
    pub fn written(&self) -> u64 {
        self.written
    }

    /// Of them, handed to some link.
    pub fn sent(&self) -> u64 {
        self.next
    }

    /// What the peer may hold at the most.
    pub fn reach(&self) -> u64 {
        self.reach.max(self.next)
    }

    /// Whether something that was lost with a link waits to be sent again.
    pub fn has_lost(&self) -> bool {
        !self.lost.is_empty()
    }

    /// Whether all that was written was handed to some link at least once.
    pub fn is_sent(&self) -> bool {
        self.next >= self.written()
    }

    /// First byte that is still kept: everything before is held by the peer.
    pub fn kept(&self) -> u64 {
        self.kept
    }

    /// Bytes kept.
    pub fn occupied(&self) -> u64 {
        if self.reset.is_some() { 0 } else { self.written - self.kept }
    }

    /// Bytes handed to a link a second time, since the last question.
    pub fn take_repeated(&mut self) -> u64 {
        std::mem::take(&mut self.repeated)
    }

    /// The early end, if there is one.
    pub fn reset_info(&self) -> Option<&Reset> {
        self.reset.as_ref()
    }

    /// Whether the application may still write.
    pub fn is_open(&self) -> bool {
        self.end == Delivery::Idle && self.reset.is_none() && self.stopped.is_none()
    }

    /// Whether the peer holds everything, and the end of it.
    pub fn is_complete(&self) -> bool {
        match self.reset {
            // A reader that had the whole channel before the RESET came may be gone without holding the RESET.
            Some(_) if self.reset_delivery == Delivery::Held => true,
            _ => self.end == Delivery::Held && self.kept == self.written,
        }
    }

    /// Appends what the application wrote; small pieces are joined, large ones kept as they are.
    pub fn write<'a>(&mut self, piece: impl Into<Piece<'a>>) {
        let piece = piece.into();
        if piece.len() < SLICE_BYTES_MIN {
            self.write_with(|tail| tail.extend_from_slice(piece.bytes()));
        } else {
            self.seal_tail();
            let start = self.written;
            self.written += piece.len() as u64;
            self.pieces.push_back((start, piece.into_shared()));
        }
    }

    /// Makes room at once for small pieces that follow.
    pub fn reserve(&mut self, bytes: usize) {
        self.tail.reserve(bytes);
    }

    /// Appends a small piece, which `put` writes behind what is there.
    pub fn write_with(&mut self, put: impl FnOnce(&mut BytesMut)) {
        let before = self.tail.len();
        put(&mut self.tail);
        self.written += (self.tail.len() - before) as u64;
        if self.tail.len() >= TAIL_BYTES_MAX {
            self.seal_tail();
        }
    }

    /// Offset of the first byte of the tail.
    fn tail_start(&self) -> u64 {
        self.written - self.tail.len() as u64
    }

    fn seal_tail(&mut self) {
        if !self.tail.is_empty() {
            let start = self.tail_start();
            self.pieces.push_back((start, self.tail.split().freeze()));
        }
    }

    /// The application writes no more.
    pub fn finish(&mut self) {
        if self.end == Delivery::Idle && self.reset.is_none() {
            self.end = Delivery::Wanted;
        }
    }

    /// Ends the direction early; nothing kept is sent any more.
    pub fn reset(&mut self, why: &Error) {
        if self.reset.is_some() || self.is_complete() {
            return;
        }
        self.reset = Some(Reset { size: self.next, code: why.code, text: why.message.clone() });
        self.reset_delivery = Delivery::Wanted;
        if self.end == Delivery::Wanted {
            self.end = Delivery::Idle;
        }
        if self.is_stored {
            self.ceiling = self.next;
        }
        self.pieces.clear();
        self.tail.clear();
        self.lost.clear();
    }

    /// The peer grants more; a smaller or equal limit is old news.
    pub fn on_credit(&mut self, limit: u64) -> bool {
        let more = limit > self.limit;
        self.limit = self.limit.max(limit);
        more
    }

    /// Whether a DATA or END frame could be sent now.
    pub fn has_stream_work(&self) -> bool {
        self.reset.is_none()
            && (!self.lost.is_empty()
                || self.next < self.written.min(self.limit).min(self.ceiling)
                || (self.end == Delivery::Wanted && self.next == self.written && self.ceiling > self.written))
    }

    /// Whether END is the next thing to send.
    pub fn end_is_due(&self) -> bool {
        self.end == Delivery::Wanted
            && self.reset.is_none()
            && self.next == self.written
            && self.ceiling > self.written
            && self.lost.is_empty()
    }

    /// Whether END belongs to this range, the last that `next_range` answered. After a loss the last range to
    /// repeat need not be the last of the channel: that one may be on its way or held.
    pub fn is_rest(&self, range: &Range<u64>) -> bool {
        range.end == self.written && self.end_is_due()
    }

    /// The next range to send, at most `bytes_max` long, marked as sent; what was lost comes first.
    pub fn next_range(&mut self, bytes_max: u64) -> Option<Range<u64>> {
        if self.reset.is_some() || bytes_max == 0 {
            return None;
        }
        if let Some(first) = self.lost.first() {
            let range = first.start..first.end.min(first.start + bytes_max);
            self.lost.remove(range.clone());
            self.repeated += range.end - range.start;
            return Some(range);
        }
        let most = self.written.min(self.limit).min(self.ceiling);
        let end = most.min(self.next.saturating_add(bytes_max));
        if end <= self.next {
            return None;
        }
        let range = self.next..end;
        self.next = end;
        self.reach = self.reach.max(end);
        Some(range)
    }

    /// The bytes of a range that is kept, in order.
    pub fn slices(&self, range: Range<u64>, mut each: impl FnMut(Slice<'_>)) {
        let mut at = range.start;
        let tail_start = self.tail_start();
        if at < tail_start {
            let first = self.pieces.partition_point(|(start, piece)| start + piece.len() as u64 <= at);
            for (start, piece) in self.pieces.range(first..) {
                if at >= range.end {
                    return;
                }
                let from = (at - start) as usize;
                let to = piece.len().min((range.end - start) as usize);
                each(Slice::Kept(piece, from..to));
                at = start + to as u64;
            }
        }
        if at < range.end {
            each(Slice::Small(&self.tail[(at - tail_start) as usize..(range.end - tail_start) as usize]));
        }
    }

    /// The peer holds this range; returns how many bytes are not kept any more.
    pub fn on_held(&mut self, range: Range<u64>) -> u64 {
        if range.end <= self.kept {
            return 0;
        }
        let end = range.end.min(self.written);
        if range.start <= self.kept && self.held.is_empty() && self.lost.is_empty() {
            let before = std::mem::replace(&mut self.kept, end);
            self.drop_before_kept();
            self.next = self.next.max(self.kept);
            return self.kept - before;
        }
        self.held.insert(range.start.max(self.kept)..end);
        self.lost.remove(range.start..end);
        let before = self.kept;
        if let Some(first) = self.held.first()
            && first.start == self.kept
        {
            self.held.remove(first.clone());
            self.kept = first.end;
            self.drop_before_kept();
        }
        self.next = self.next.max(self.kept);
        self.kept - before
    }

    fn drop_before_kept(&mut self) {
        let in_tail = self.kept.saturating_sub(self.tail_start()) as usize;
        if in_tail == self.tail.len() {
            // A channel that has nothing to send keeps no large buffer.
            if self.tail.capacity() > TAIL_BYTES_KEPT {
                self.tail = BytesMut::new()
            } else {
                self.tail.clear()
            }
        } else {
            self.tail.advance(in_tail);
        }
        while let Some((start, piece)) = self.pieces.front_mut() {
            let end = *start + piece.len() as u64;
            if end <= self.kept {
                self.pieces.pop_front();
            } else {
                let gone = self.kept.saturating_sub(*start);
                piece.advance(gone as usize);
                *start += gone;
                return;
            }
        }
    }

    /// The peer holds END.
    pub fn end_is_held(&mut self) {
        if self.end != Delivery::Idle {
            self.end = Delivery::Held;
        }
    }

    /// The link that carried this range is dead or suspect.
    pub fn on_lost(&mut self, range: Range<u64>) {
        if self.reset.is_some() || range.end <= self.kept {
            return;
        }
        self.lost.insert(range.start.max(self.kept)..range.end);
        for held in self.held.iter() {
            self.lost.remove(held);
        }
    }

    /// Forgets what is kept, at the end of the session.
    pub fn drop_all(&mut self) {
        self.pieces.clear();
        self.tail.clear();
        self.lost.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn bytes_of(send: &SendHalf, range: Range<u64>) -> Vec<u8> {
        let mut all = Vec::new();
        send.slices(range, |slice| all.extend_from_slice(slice.bytes()));
        all
    }

    proptest! {
        /// Whatever is lost and held in whatever order, every byte is offered until it is held, with the
        /// right content.
        #[test]
        fn every_byte_is_offered_until_held(
            writes in proptest::collection::vec(1usize..9000, 1..8),
            steps in proptest::collection::vec((1u64..7000, any::<bool>(), any::<prop::sample::Index>()), 1..60),
        ) {
            let mut send = SendHalf::new(1 << 40);
            let mut all = Vec::new();
            for len in writes {
                let piece: Vec<u8> = (all.len()..all.len() + len).map(|at| (at % 251) as u8).collect();
                all.extend_from_slice(&piece);
                send.write(Bytes::from(piece));
            }
            let mut flying: Vec<Range<u64>> = Vec::new();
            for (max, is_held, which) in steps {
                if let Some(range) = send.next_range(max) {
                    prop_assert_eq!(bytes_of(&send, range.clone()), &all[range.start as usize..range.end as usize]);
                    flying.push(range);
                }
                if !flying.is_empty() {
                    let range = flying.swap_remove(which.index(flying.len()));
                    if is_held { send.on_held(range); } else { send.on_lost(range); }
                }
            }
            for range in flying { send.on_lost(range); }
            while let Some(range) = send.next_range(5000) {
                prop_assert_eq!(bytes_of(&send, range.clone()), &all[range.start as usize..range.end as usize]);
                send.on_held(range);
            }
            prop_assert_eq!(send.kept(), all.len() as u64);
            prop_assert_eq!(send.occupied(), 0);
        }
    }

    #[test]
    fn what_is_repeated_last_is_not_the_rest_while_later_bytes_are_on_their_way() {
        let mut send = SendHalf::new(100);
        send.write(Bytes::from(vec![1; 30]));
        send.finish();
        let (first, last) = (send.next_range(20).unwrap(), send.next_range(20).unwrap());
        assert!(!send.is_rest(&first) && send.is_rest(&last));
        send.on_lost(first.clone());
        assert_eq!(send.next_range(20), Some(first.clone()));
        assert!(!send.is_rest(&first), "the peer would take byte 20 for the end of 30");
    }

    #[test]
    fn credit_bounds_what_is_offered() {
        let mut send = SendHalf::new(10);
        send.write(Bytes::from(vec![1; 25]));
        assert_eq!(send.next_range(100), Some(0..10));
        assert_eq!(send.next_range(100), None);
        assert!(send.on_credit(12) && !send.on_credit(11));
        assert_eq!(send.next_range(100), Some(10..12));
    }

    #[test]
    fn what_the_reader_has_whole_needs_no_reset_to_be_complete() {
        let mut send = SendHalf::new(100);
        send.write(Bytes::from_static(b"abc"));
        send.finish();
        let range = send.next_range(100).unwrap();
        send.end = Delivery::InFlight;
        send.reset(&Error::new(Code::Stopped, "no more"));
        send.on_held(range);
        assert!(!send.is_complete());
        send.end = Delivery::Held;
        assert!(send.is_complete());
    }

    #[test]
    fn a_reset_ends_at_what_was_sent() {
        let mut send = SendHalf::new(10);
        send.write(Bytes::from(vec![1; 25]));
        send.next_range(100);
        send.reset(&Error::new(Code::Cancelled, "enough"));
        assert_eq!(send.reset_info().map(|reset| reset.size), Some(10));
        assert!(!send.has_stream_work() && send.occupied() == 0);
        send.on_lost(0..10);
        assert_eq!(send.next_range(100), None);
    }
}
