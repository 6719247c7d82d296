//! The receiving half of a channel: what is held, in order, until the application takes it.
//!
//! Bytes may come twice and, over several links, out of order; they are trimmed by range (X2). The limit that
//! was granted is enforced here; how much to grant is decided in `super`.

use super::codec_error;
use crate::error::{Code, Error, Result};
use crate::limits::{CHANNEL_BASE_BYTES, SLICE_BYTES_MIN};
use bytes::{Buf, Bytes, BytesMut};
use std::collections::{BTreeMap, VecDeque};

/// Small pieces are joined up to this size.
const TAIL_BYTES_MAX: usize = 4 * SLICE_BYTES_MIN;
/// An empty buffer for small pieces is kept up to this size.
const TAIL_BYTES_KEPT: usize = 1024;
/// Pieces that may wait for what is missing before them; a peer that cuts finer than this loses its link.
const EARLY_PIECES_MAX: usize = 8192;

/// The receiving half.
#[derive(Debug, Clone, Default)]
pub struct ReceiveHalf {
    ready: VecDeque<Bytes>,
    /// Small pieces are joined here, so that tiny frames cost their bytes and no more.
    tail: BytesMut,
    early: BTreeMap<u64, Bytes>,
    held: u64,
    taken: u64,
    /// Bytes that were held and will never be taken.
    dropped: u64,
    limit: u64,
    /// The peer's final size, from its END or RESET.
    size: Option<u64>,
    /// Where it broke off: by the peer's RESET, or here.
    reset: Option<Error>,
    discard: bool,
    duplicate: u64,
}

impl ReceiveHalf {
    /// A half whose peer may send up to `limit`.
    pub fn new(limit: u64) -> ReceiveHalf {
        ReceiveHalf { limit, ..ReceiveHalf::default() }
    }

    /// Bytes held without a gap.
    pub fn held(&self) -> u64 {
        self.held
    }

    /// Of them, taken by the application.
    pub fn taken(&self) -> u64 {
        self.taken
    }

    /// Offset up to which the peer may send.
    pub fn limit(&self) -> u64 {
        self.limit
    }

    /// Raises the limit.
    pub fn grant(&mut self, limit: u64) {
        self.limit = self.limit.max(limit);
    }

    /// Bytes that may still come or wait to be taken: what counts against the budget.
    pub fn outstanding(&self) -> u64 {
        if self.reset.is_some() {
            return self.available();
        }
        self.size.map_or(self.limit, |size| size.min(self.limit)).saturating_sub(self.consumed())
    }

    /// Bytes that can be taken now.
    pub fn available(&self) -> u64 {
        self.held - self.consumed()
    }

    /// Bytes that were taken or dropped: they need no memory any more.
    pub fn consumed(&self) -> u64 {
        self.taken + self.dropped
    }

    /// Bytes in memory.
    pub fn buffered(&self) -> u64 {
        self.available() + self.early.values().map(|piece| piece.len() as u64).sum::<u64>()
    }

    /// The bytes from `from` on that are held; of those that were taken or dropped, none.
    pub fn copy_from(&self, from: u64) -> Vec<u8> {
        let mut skip = from.saturating_sub(self.consumed()) as usize;
        let mut copied = Vec::with_capacity(self.held.saturating_sub(from) as usize);
        let tail: &[u8] = &self.tail;
        for piece in self.ready.iter().map(|piece| &piece[..]).chain([tail]) {
            let part = skip.min(piece.len());
            skip -= part;
            copied.extend_from_slice(&piece[part..]);
        }
        copied
    }

    /// Bytes that a reader got or will get: all that are held, but for those that will never make sense to it.
    pub fn useful(&self) -> u64 {
        self.held - self.dropped
    }

    /// Up to where the store has to know of it: what was dropped because it will never make sense is not there, what
    /// nobody wants counts as there.
    pub fn to_store(&self) -> u64 {
        if self.discard { self.held } else { self.useful() }
    }

    /// Whether something came beyond what is missing.
    pub fn has_gap(&self) -> bool {
        !self.early.is_empty()
    }

    /// How the peer ended it, once it did: the final size, and why if it was early.
    pub fn ending(&self) -> Option<(u64, Option<&Error>)> {
        self.size.map(|size| (size, self.reset.as_ref()))
    }

    /// A half as it was stored: everything before `done` is over, and what follows was held.
    pub fn restored(done: u64, pieces: impl IntoIterator<Item = Bytes>) -> ReceiveHalf {
        let mut half = ReceiveHalf { taken: done, held: done, ..ReceiveHalf::default() };
        pieces.into_iter().for_each(|piece| half.append(piece));
        half.limit = half.held.max(CHANNEL_BASE_BYTES);
        half
    }

    /// As it was stored.
    pub fn restore_ending(&mut self, size: u64, reset: Option<Error>) {
        (self.size, self.reset) = (Some(size), reset);
        self.limit = self.limit.max(size);
    }

    /// All links are gone: what came beyond what is missing comes again.
    pub fn forget_links(&mut self) {
        self.early.clear();
    }

    /// Nobody is there any more to say more: what is held can be read, then `why`.
    pub fn give_up(&mut self, why: Error) {
        if !self.is_final() {
            self.reset.get_or_insert(why);
            self.size = Some(self.held);
            self.early.clear();
        }
    }

    /// Bytes that came twice, since the last question.
    pub fn take_duplicate(&mut self) -> u64 {
        std::mem::take(&mut self.duplicate)
    }

    /// The error that the peer's RESET means for the reader.
    pub fn reset_error(&self) -> Option<&Error> {
        self.reset.as_ref()
    }

    /// Whether the peer's final size is known and everything up to it is held, or it was reset.
    pub fn is_complete(&self) -> bool {
        self.reset.is_some() || self.size == Some(self.held)
    }

    /// Whether the peer said its last word on this channel and nothing of it is missing here.
    pub fn is_final(&self) -> bool {
        self.size.is_some() && self.is_complete()
    }

    /// Whether the peer ended in good order and everything was taken.
    pub fn is_at_end(&self) -> bool {
        self.reset.is_none() && self.size == Some(self.consumed())
    }

    /// DATA came. Returns whether more can be taken than before.
    ///
    /// # Errors
    /// `PROTOCOL` beyond the granted limit or the final size.
    pub fn on_data(&mut self, offset: u64, mut bytes: Bytes) -> Result<bool> {
        let end = offset.saturating_add(bytes.len() as u64);
        if end > self.limit {
            return Err(codec_error(format!("data up to {end} where {} was granted", self.limit)));
        }
        if self.size.is_some_and(|size| end > size) {
            return Err(codec_error(format!("data up to {end} beyond the final size")));
        }
        // What was on its way when the channel broke off is late, not wrong.
        if self.reset.is_some() {
            self.duplicate += bytes.len() as u64;
            return Ok(false);
        }
        if offset < self.held {
            let old = (self.held - offset).min(bytes.len() as u64);
            self.duplicate += old;
            bytes.advance(old as usize);
        }
        if bytes.is_empty() {
            return Ok(false);
        }
        if offset > self.held {
            if self.early.len() >= EARLY_PIECES_MAX {
                return Err(codec_error(format!(
                    "more than {EARLY_PIECES_MAX} pieces wait for what is missing"
                )));
            }
            self.keep_early(offset, bytes);
            return Ok(false);
        }
        self.append(bytes);
        while let Some((&start, _)) = self.early.first_key_value()
            && start <= self.held
        {
            let mut piece = self.early.remove(&start).unwrap_or_default();
            let old = ((self.held - start) as usize).min(piece.len());
            self.duplicate += old as u64;
            piece.advance(old);
            self.append(piece);
        }
        Ok(true)
    }

    fn append(&mut self, bytes: Bytes) {
        self.held += bytes.len() as u64;
        if self.discard {
            self.dropped += bytes.len() as u64;
        } else if bytes.len() < SLICE_BYTES_MIN {
            self.tail.extend_from_slice(&bytes);
            if self.tail.len() >= TAIL_BYTES_MAX {
                self.seal_tail();
            }
        } else {
            self.seal_tail();
            self.ready.push_back(bytes);
        }
    }

    fn seal_tail(&mut self) {
        if !self.tail.is_empty() {
            let sealed = self.tail.split().freeze();
            self.ready.push_back(sealed);
        }
    }

    /// Keeps the parts of an early piece that are not there yet.
    fn keep_early(&mut self, mut offset: u64, mut bytes: Bytes) {
        if let Some((&before, piece)) = self.early.range(..=offset).next_back() {
            let overlap = (before + piece.len() as u64).saturating_sub(offset).min(bytes.len() as u64);
            self.duplicate += overlap;
            bytes.advance(overlap as usize);
            offset += overlap;
        }
        while !bytes.is_empty() {
            let next = self.early.range(offset..).next().map(|(&start, piece)| (start, piece.len() as u64));
            let fits = next.map_or(u64::MAX, |(start, _)| start - offset).min(bytes.len() as u64);
            let part = bytes.split_to(fits as usize);
            if !part.is_empty() {
                self.early.insert(
                    offset,
                    if part.len() < SLICE_BYTES_MIN { Bytes::copy_from_slice(&part) } else { part },
                );
            }
            offset += fits;
            if let Some((_, len)) = next.filter(|_| !bytes.is_empty()) {
                let overlap = len.min(bytes.len() as u64);
                self.duplicate += overlap;
                bytes.advance(overlap as usize);
                offset += overlap;
            }
        }
    }

    /// END came.
    ///
    /// # Errors
    /// `PROTOCOL` when the size contradicts what came before.
    pub fn on_end(&mut self, size: u64) -> Result<()> {
        let furthest =
            self.early.last_key_value().map_or(self.held, |(start, piece)| start + piece.len() as u64);
        if size < furthest || size > self.limit || self.size.is_some_and(|known| known != size) {
            return Err(codec_error(format!("final size {size} contradicts what came before")));
        }
        self.size = Some(size);
        Ok(())
    }

    /// RESET came: what is held stays readable, nothing more comes.
    ///
    /// # Errors
    /// `PROTOCOL` when the size contradicts what came before.
    pub fn on_reset(&mut self, size: u64, why: Error) -> Result<()> {
        if self.is_final() {
            return Ok(());
        }
        if size < self.held || size > self.limit || self.size.is_some_and(|known| known != size) {
            return Err(codec_error(format!("reset at size {size} contradicts what came before")));
        }
        self.reset.get_or_insert(why);
        self.size = Some(size);
        self.early.clear();
        Ok(())
    }

    /// The application wants no more: what is held is dropped, and what still comes is counted and dropped.
    pub fn discard(&mut self) {
        self.discard = true;
        self.drop_rest();
    }

    /// The rest will never make sense to a reader: drop it and say why.
    pub fn cut_off(&mut self, why: Error) {
        self.reset.get_or_insert(why);
        self.drop_rest();
    }

    /// What is held and was not taken will never be taken.
    pub fn drop_rest(&mut self) {
        self.dropped += self.available();
        self.ready.clear();
        self.tail.clear();
    }

    /// Whether [`ReceiveHalf::discard`] was called.
    pub fn is_discarded(&self) -> bool {
        self.discard
    }

    /// The first bytes that can be taken, without taking them: at least as many as `joined` has room for, where they
    /// are there. Those that lie in several pieces are copied into it.
    pub fn front<'a>(&'a self, joined: &'a mut [u8]) -> &'a [u8] {
        match self.ready.front() {
            Some(piece) if piece.len() >= joined.len() => piece,
            None => &self.tail,
            Some(_) => {
                let filled = self.peek(joined);
                &joined[..filled]
            }
        }
    }

    fn peek(&self, front: &mut [u8]) -> usize {
        let mut filled = 0;
        let tail: &[u8] = &self.tail;
        for piece in self.ready.iter().map(|piece| &piece[..]).chain([tail]) {
            let part = piece.len().min(front.len() - filled);
            front[filled..filled + part].copy_from_slice(&piece[..part]);
            filled += part;
            if filled == front.len() {
                break;
            }
        }
        filled
    }

    /// Takes bytes that are available without looking at them.
    pub fn skip(&mut self, len: usize) {
        if self.ready.is_empty() {
            self.taken += len as u64;
            self.advance_tail(len);
        } else {
            self.take(len);
        }
    }

    fn advance_tail(&mut self, len: usize) {
        if len < self.tail.len() {
            self.tail.advance(len);
        } else if self.tail.capacity() > TAIL_BYTES_KEPT {
            // A channel from which nothing waits keeps no large buffer.
            self.tail = BytesMut::new();
        } else {
            self.tail.clear();
        }
    }

    /// Takes exactly `len` bytes that are available; a slice when they lie in one piece.
    pub fn take(&mut self, len: usize) -> Bytes {
        let len = len.min(self.available() as usize);
        self.taken += len as u64;
        if self.ready.is_empty() && len == self.tail.len() && len <= TAIL_BYTES_KEPT {
            // The last of what waits: its buffer stays for what comes next.
            let last = Bytes::copy_from_slice(&self.tail);
            self.advance_tail(len);
            return last;
        }
        // Less is left than the tail has: the take reaches into it.
        if self.available() < self.tail.len() as u64 {
            self.seal_tail();
        }
        match self.ready.front_mut() {
            Some(front) if front.len() == len => return self.ready.pop_front().unwrap_or_default(),
            Some(front) if front.len() > len => return front.split_to(len),
            _ => {}
        }
        let mut joined = BytesMut::with_capacity(len);
        while joined.len() < len
            && let Some(front) = self.ready.front_mut()
        {
            let part = front.split_to(front.len().min(len - joined.len()));
            joined.extend_from_slice(&part);
            if front.is_empty() {
                self.ready.pop_front();
            }
        }
        joined.freeze()
    }

    /// Takes what lies in the first piece, at most `len` bytes: no copy.
    pub fn take_piece(&mut self, len: usize) -> Bytes {
        if self.ready.is_empty() {
            self.seal_tail();
        }
        let first = self.ready.front().map_or(0, Bytes::len);
        self.take(len.min(first))
    }

    /// An error for a reader of a session that is over.
    pub fn break_off(&mut self, why: Error) {
        if !self.is_complete() {
            self.reset = Some(why);
            self.early.clear();
        }
    }
}

/// The error a reader sees for a RESET frame.
pub fn reset_error(code: u16, text: &str) -> Error {
    let known = Code::from_number(code).unwrap_or(Code::Reset);
    Error::new(
        known,
        if text.is_empty() { "the peer ended the channel early".to_owned() } else { text.to_owned() },
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn pieces_in_any_order_and_number_give_the_bytes_once(
            len in 1usize..20_000,
            cuts in proptest::collection::vec((any::<prop::sample::Index>(), 1usize..9000), 0..30),
        ) {
            let all: Bytes = (0..len).map(|at| (at % 251) as u8).collect::<Vec<u8>>().into();
            let mut half = ReceiveHalf::new(len as u64);
            let mut read = Vec::new();
            for (at, size) in cuts {
                let start = at.index(len);
                let end = len.min(start + size);
                half.on_data(start as u64, all.slice(start..end)).unwrap();
                let part = half.take(half.available() as usize / 2);
                read.extend_from_slice(&part);
            }
            half.on_data(0, all.clone()).unwrap();
            half.on_end(len as u64).unwrap();
            prop_assert!(half.is_complete());
            read.extend_from_slice(&half.take(len));
            prop_assert_eq!(&read[..], &all[..]);
            prop_assert!(half.is_at_end());
            prop_assert_eq!(half.buffered(), 0);
        }
    }

    #[test]
    fn the_limit_passes_and_one_byte_more_does_not() {
        let mut half = ReceiveHalf::new(10);
        assert_eq!(half.on_data(5, Bytes::from(vec![0; 6])).unwrap_err().code, Code::Protocol);
        assert!(half.on_data(0, Bytes::from(vec![0; 10])).unwrap());
        assert_eq!(half.on_end(9).unwrap_err().code, Code::Protocol);
        half.on_end(10).unwrap();
        assert_eq!(half.on_end(9).unwrap_err().code, Code::Protocol);
    }

    #[test]
    fn held_bytes_stay_readable_after_a_reset() {
        let mut half = ReceiveHalf::new(100);
        half.on_data(0, Bytes::from_static(b"abc")).unwrap();
        half.on_reset(50, reset_error(Code::Cancelled as u16, "no")).unwrap();
        assert_eq!(half.outstanding(), 3, "the budget waits only for what is held");
        assert_eq!(&half.take(10)[..], b"abc");
        assert_eq!(half.reset_error().map(|error| error.code), Some(Code::Cancelled));
    }
}
