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

enum Part {
    /// So many bytes of the joined ones.
    Joined(usize),
    Shared(Bytes),
}

/// See the module.
#[derive(Default)]
pub(super) struct Outbox {
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
            self.len += piece.len();
            self.parts.push_back(Part::Shared(piece));
        }
    }

    fn join(&mut self, piece: &[u8]) {
        self.joined.extend_from_slice(piece);
        self.len += piece.len();
        match self.parts.back_mut() {
            Some(Part::Joined(len)) => *len += piece.len(),
            _ => self.parts.push_back(Part::Joined(piece.len())),
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
            match self.parts.front_mut() {
                None => break,
                Some(Part::Joined(len)) => {
                    let taken = room.min(*len);
                    *len -= taken;
                    let is_empty = *len == 0;
                    other.join(&self.joined[self.gone..self.gone + taken]);
                    self.gone += taken;
                    room -= taken;
                    if is_empty {
                        self.parts.pop_front();
                    }
                }
                Some(Part::Shared(piece)) => {
                    let taken = piece.split_to(room.min(piece.len()));
                    room -= taken.len();
                    if piece.is_empty() {
                        self.parts.pop_front();
                    }
                    other.len += taken.len();
                    other.parts.push_back(Part::Shared(taken));
                }
            }
        }
        self.len -= bytes_max - room;
    }

    /// The bytes, in order.
    pub(super) fn slices(&self) -> impl Iterator<Item = &[u8]> {
        let mut at = self.gone;
        self.parts.iter().map(move |part| match part {
            Part::Joined(len) => {
                at += len;
                &self.joined[at - len..at]
            }
            Part::Shared(piece) => piece,
        })
    }

    /// Forgets the bytes, and memory that an idle link need not keep.
    pub(super) fn clear(&mut self) {
        self.parts.clear();
        self.joined.clear();
        (self.gone, self.len) = (0, 0);
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
