//! A keyed hash that is fast, repeatable and worth nothing.

use clerver_proto::crypto::KeyedHash;
use std::hash::{DefaultHasher, Hash, Hasher};

/// Four different hashes of key and parts, as the parts would be joined.
#[derive(Debug)]
pub struct Toy;

impl KeyedHash for Toy {
    fn keyed_hash(&self, key: &[u8; 32], parts: &[&[u8]]) -> [u8; 32] {
        let mut out = [0; 32];
        for (index, word) in out.chunks_mut(8).enumerate() {
            let mut hasher = DefaultHasher::new();
            (key, parts.concat(), index).hash(&mut hasher);
            word.copy_from_slice(&hasher.finish().to_be_bytes());
        }
        out
    }
}
