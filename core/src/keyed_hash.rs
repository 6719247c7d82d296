//! HMAC-SHA256 over OpenSSL's SHA-256, as the keyed hash that the protocol core is given.
//!
//! The two passes of RFC 2104 stand here because OpenSSL's own HMAC costs ten times what it hashes, a tenth of a
//! handshake.
//!
//! Not a place for other cryptography: links are TLS, and proofs are this one function (DESIGN.md S5).
//!
//! Invariant: a value of [`HmacSha256`] exists only after a published test vector was answered.

use clerver_proto::crypto::KeyedHash;
use clerver_proto::error::{Code, Error, Result};
use openssl::sha::Sha256;
use std::sync::{Arc, OnceLock};

/// HMAC-SHA256 (RFC 2104). Holds no key and no state; free to copy and to share between threads.
#[derive(Debug, Clone, Copy)]
pub struct HmacSha256 {
    tested: (),
}

/// Bytes that SHA-256 works on at once.
const BLOCK_BYTES: usize = 64;

/// `key` is at most a block long.
fn hmac(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    let padded = |pad: u8| {
        let mut block = [pad; BLOCK_BYTES];
        block.iter_mut().zip(key).for_each(|(byte, key)| *byte ^= key);
        block
    };
    let mut inner = Sha256::new();
    inner.update(&padded(0x36));
    parts.iter().for_each(|part| inner.update(part));
    let mut outer = Sha256::new();
    outer.update(&padded(0x5c));
    outer.update(&inner.finish());
    outer.finish()
}

impl HmacSha256 {
    /// Computes a test vector and checks the answer. Does not block.
    ///
    /// Errors: `SYSTEM` when OpenSSL's SHA-256 is wrong.
    pub fn new() -> Result<HmacSha256> {
        // RFC 4231, test case 2.
        let first_bytes = [0x5b, 0xdc, 0xc1, 0x46, 0xbf, 0x60, 0x75, 0x4e];
        if hmac(b"Jefe", &[b"what do ya want ", b"for nothing?"]).starts_with(&first_bytes) {
            return Ok(HmacSha256 { tested: () });
        }
        let what = "start HMAC-SHA256: the answer of OpenSSL to a test vector is wrong";
        Err(Error::new(Code::System, what).with_remedy("check the OpenSSL installation"))
    }
}

/// The one of all nodes of this process: it was tested once.
///
/// Errors: as [`HmacSha256::new`].
pub(crate) fn shared() -> Result<Arc<HmacSha256>> {
    static SHARED: OnceLock<Arc<HmacSha256>> = OnceLock::new();
    if let Some(known) = SHARED.get() {
        return Ok(Arc::clone(known));
    }
    let fresh = Arc::new(HmacSha256::new()?);
    Ok(Arc::clone(SHARED.get_or_init(|| fresh)))
}

impl KeyedHash for HmacSha256 {
    fn keyed_hash(&self, key: &[u8; 32], parts: &[&[u8]]) -> [u8; 32] {
        let () = self.tested;
        hmac(key, parts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_the_published_vectors() {
        // RFC 4231, test cases 1 and 2.
        let hex = |hash: [u8; 32]| hash.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        assert_eq!(
            hex(hmac(&[0x0b; 20], &[b"Hi There"])),
            "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"
        );
        assert_eq!(
            hex(hmac(b"Jefe", &[b"what do ya want for nothing?"])),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
    }

    #[test]
    fn parts_are_joined_and_keys_matter() {
        let hash = HmacSha256::new().unwrap();
        let whole = hash.keyed_hash(&[7; 32], &[b"session proof"]);
        assert_eq!(hash.keyed_hash(&[7; 32], &[b"session", b"", b" proof"]), whole);
        assert_ne!(hash.keyed_hash(&[8; 32], &[b"session proof"]), whole);
        assert_ne!(hash.keyed_hash(&[7; 32], &[]), whole);
    }
}
