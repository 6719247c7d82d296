//! A toy in place of HMAC-SHA256, and the toy randomness of what applications write.
//!
//! Not secure, but deterministic, fast, and different for different keys and parts: all that the protocol's state
//! machines need to be tested.

use crate::rng::{Rng, mix};
use bytes::{Bytes, BytesMut};
use clerver_proto::crypto::KeyedHash;
use std::sync::OnceLock;

/// A keyed hash that mixes 64 bits and spreads them over 32 bytes.
#[derive(Debug)]
pub(crate) struct ToyHash;

impl KeyedHash for ToyHash {
    fn keyed_hash(&self, key: &[u8; 32], parts: &[&[u8]]) -> [u8; 32] {
        let mut state = fold(0x636c_6572_7665_7221, key);
        for part in parts {
            state = fold(state, part);
        }
        let words: [[u8; 8]; 4] = std::array::from_fn(|lane| mix(state ^ mix(lane as u64)).to_be_bytes());
        std::array::from_fn(|index| words[index / 8][index % 8])
    }
}

/// Mixes bytes, eight at a time, into a state.
pub(crate) fn fold(state: u64, bytes: &[u8]) -> u64 {
    let mut chunks = bytes.chunks_exact(8);
    let mut state = state;
    for chunk in &mut chunks {
        let word = chunk.iter().fold(0u64, |word, &byte| (word << 8) | u64::from(byte));
        state = (state ^ word).wrapping_mul(0x2545_f491_4f6c_dd1d).rotate_left(29);
    }
    let rest = chunks.remainder().iter().fold(0u64, |word, &byte| (word << 8) | u64::from(byte));
    mix(state ^ rest ^ (bytes.len() as u64) << 48)
}

/// A prime, so that no frame or window length is a period of the content.
pub(crate) const POOL: usize = 262_139;

/// Random bytes of which all messages are slices: made without a copy, compared without being kept.
fn pool() -> &'static Bytes {
    static BYTES: OnceLock<Bytes> = OnceLock::new();
    BYTES.get_or_init(|| {
        let mut rng = Rng::new(42);
        (0..POOL).map(|_| rng.next() as u8).collect::<Vec<u8>>().into()
    })
}

/// `len` bytes of content from position `at` of the endless repetition of the pool.
pub(crate) fn content(at: usize, len: usize) -> Bytes {
    let at = at % POOL;
    if at + len <= POOL {
        return pool().slice(at..at + len);
    }
    let mut whole = BytesMut::with_capacity(len);
    while whole.len() < len {
        let from = (at + whole.len()) % POOL;
        let piece = (len - whole.len()).min(POOL - from);
        whole.extend_from_slice(&pool()[from..from + piece]);
    }
    whole.freeze()
}

/// Whether `bytes` are the content from position `at` on.
pub(crate) fn is_content(at: usize, bytes: &[u8]) -> bool {
    let mut done = 0;
    while done < bytes.len() {
        let from = (at + done) % POOL;
        let piece = (bytes.len() - done).min(POOL - from);
        if bytes[done..done + piece] != pool()[from..from + piece] {
            return false;
        }
        done += piece;
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_is_told_from_other_content() {
        let whole = content(POOL - 3, 600_000);
        assert_eq!(whole.len(), 600_000);
        assert!(is_content(POOL - 3, &whole));
        assert!(!is_content(POOL - 2, &whole));
    }

    #[test]
    fn the_toy_hash_depends_on_key_and_parts() {
        let hash = |key: u8, parts: &[&[u8]]| ToyHash.keyed_hash(&[key; 32], parts);
        assert_eq!(hash(1, &[b"a", b"b"]), hash(1, &[b"a", b"b"]));
        assert_ne!(hash(1, &[b"a", b"b"]), hash(2, &[b"a", b"b"]));
        assert_ne!(hash(1, &[b"a", b"b"]), hash(1, &[b"ab"]));
    }
}
