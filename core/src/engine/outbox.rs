//! Plain bytes that wait for a link: small pieces are joined by copy, large ones are shared.
//!
//! It knows neither TLS nor sockets. Invariant: `len` bytes wait, and `slices` gives them in the order in which they
//! were put in.

use bytes::Bytes;
use std::collections::VecDeque;

/// Pieces shorter than this are copied: they go into a record with others anyway, which costs the same copy.
const SHARED_BYTES_MIN: usize = 4 * 1024;
/// Empty memory is kept up to this size, so that an idle link costs little.
const KEPT_BYTES: usize = 1024;

/// A shared piece, and how many of the joined bytes follow it.
type Part = (Bytes, usize);

/// See the module.
#[derive(Default)]
pub(super) struct Outbox {
    /// Joined bytes that stand before all parts; mostly they are all there is.
    first: usize,
    parts: VecDeque<Part>,
    joined: Vec<u8>,
    /// Joined bytes that are gone already.
    gone: usize,
    len: usize,
}

impl Outbox {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(super) fn push(&mut self, piece: Bytes) {
        if piece.len() < SHARED_BYTES_MIN {
            self.join(&piece);
        } else {
            self.share(piece);
        }
    }

    fn share(&mut self, piece: Bytes) {
        self.len += piece.len();
        self.parts.push_back((piece, 0));
    }

    fn join(&mut self, piece: &[u8]) {
        self.joined.extend_from_slice(piece);
        self.len += piece.len();
        match self.parts.back_mut() {
            Some((_, after)) => *after += piece.len(),
            None => self.first += piece.len(),
        }
    }

    /// Moves what is next into `other`, which is empty, at most `bytes_max`.
    pub(super) fn move_into(&mut self, other: &mut Outbox, bytes_max: usize) {
        if self.len <= bytes_max {
            // The memory of both is used in turns.
            return std::mem::swap(self, other);
        }
        let mut room = bytes_max;
        while room > 0 {
            if self.first > 0 {
                let taken = room.min(self.first);
                other.join(&self.joined[self.gone..self.gone + taken]);
                (self.first, self.gone) = (self.first - taken, self.gone + taken);
                room -= taken;
                continue;
            }
            let Some((piece, after)) = self.parts.front_mut() else { break };
            let taken = piece.split_to(room.min(piece.len()));
            room -= taken.len();
            other.share(taken);
            if piece.is_empty() {
                self.first = *after;
                self.parts.pop_front();
            }
        }
        self.len -= bytes_max - room;
    }

    /// The bytes, in order.
    pub(super) fn slices(&self) -> impl Iterator<Item = &[u8]> {
        let mut at = self.gone;
        let mut joined = move |len: usize| {
            at += len;
            &self.joined[at - len..at]
        };
        let first = joined(self.first);
        let parts = self.parts.iter().flat_map(move |(piece, after)| [&piece[..], joined(*after)]);
        std::iter::once(first).chain(parts).filter(|slice| !slice.is_empty())
    }

    /// Forgets the bytes, and memory that an idle link need not keep.
    pub(super) fn clear(&mut self) {
        self.parts.clear();
        self.joined.clear();
        (self.first, self.gone, self.len) = (0, 0, 0);
        if self.joined.capacity() > KEPT_BYTES {
            self.joined = Vec::new();
        }
        if self.parts.capacity() * size_of::<Part>() > KEPT_BYTES {
            self.parts = VecDeque::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn bytes_of(outbox: &Outbox) -> Vec<u8> {
        outbox.slices().flatten().copied().collect()
    }

    proptest! {
        #[test]
        fn what_goes_in_comes_out_in_order_however_it_is_cut(
            pieces in proptest::collection::vec(1usize..9000, 1..12),
            cuts in proptest::collection::vec(1usize..20_000, 1..40),
        ) {
            let (mut outbox, mut batch, mut all) = (Outbox::default(), Outbox::default(), Vec::new());
            for len in pieces {
                let piece: Vec<u8> = (all.len()..all.len() + len).map(|at| (at % 251) as u8).collect();
                all.extend_from_slice(&piece);
                outbox.push(piece.into());
            }
            let mut seen = Vec::new();
            for cut in cuts.into_iter().cycle().take(100_000) {
                if outbox.is_empty() {
                    break;
                }
                outbox.move_into(&mut batch, cut);
                prop_assert!(batch.len() <= cut && batch.len() == bytes_of(&batch).len());
                seen.extend(bytes_of(&batch));
                batch.clear();
            }
            prop_assert_eq!(outbox.len(), 0);
            prop_assert!(seen == all);
        }
    }
}
