//! The keyed hash that proto needs, injected: the engine passes HMAC-SHA256, the simulator a toy.

use std::fmt;
use std::sync::Arc;

/// A keyed hash of 32 bytes (HMAC-SHA256, RFC 2104, in the engine).
pub trait KeyedHash: Send + Sync + fmt::Debug {
    /// The hash of `parts`, joined, under `key`.
    fn keyed_hash(&self, key: &[u8; 32], parts: &[&[u8]]) -> [u8; 32];
}

/// All randomness of a node, drawn from one seed by the keyed hash in counter mode: as good as the hash, and
/// the same seed gives the same bytes (I17).
#[derive(Debug, Clone)]
pub struct Random {
    hash: Arc<dyn KeyedHash>,
    key: [u8; 32],
    counter: u64,
}

impl Random {
    /// A generator from a seed of 32 secret bytes.
    pub fn new(hash: Arc<dyn KeyedHash>, seed: [u8; 32]) -> Random {
        Random { hash, key: seed, counter: 0 }
    }

    /// 32 fresh bytes.
    pub fn bytes32(&mut self) -> [u8; 32] {
        self.counter += 1;
        self.hash.keyed_hash(&self.key, &[b"clerver random", &self.counter.to_be_bytes()])
    }

    /// 16 fresh bytes.
    pub fn bytes16(&mut self) -> [u8; 16] {
        let wide = self.bytes32();
        std::array::from_fn(|index| wide[index])
    }

    /// A number in `0..=max`; the bias of the remainder is below 2^-32 for the spans used here.
    pub fn up_to(&mut self, max: u64) -> u64 {
        let wide = self.bytes16();
        let value = wide.iter().fold(0u128, |sum, &byte| (sum << 8) | u128::from(byte));
        (value % (u128::from(max) + 1)) as u64
    }
}

/// Whether two secrets are equal, in time that does not depend on where they differ.
pub fn equal_in_constant_time(left: &[u8; 32], right: &[u8; 32]) -> bool {
    left.iter().zip(right).fold(0, |difference, (a, b)| difference | (a ^ b)) == 0
}
