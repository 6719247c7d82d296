//! HMAC-SHA256 from OpenSSL, as the keyed hash that the protocol core is given.
//!
//! Not a place for other cryptography: links are TLS, and proofs are this one function (DESIGN.md S5).
//!
//! Invariant: a value of [`HmacSha256`] exists only after OpenSSL answered a published test vector, so the
//! calls of a running node have no failure to report.

use clerver_proto::crypto::KeyedHash;
use clerver_proto::error::{Code, Error, Result};
use openssl::error::ErrorStack;
use openssl::hash::MessageDigest;
use openssl::pkey::PKey;
use openssl::sign::Signer;
use std::sync::{Arc, OnceLock};

/// HMAC-SHA256 (RFC 2104). Holds no key and no state; free to copy and to share between threads.
#[derive(Debug, Clone, Copy)]
pub struct HmacSha256 {
    tested: (),
}

fn hmac(key: &[u8], parts: &[&[u8]]) -> Result<[u8; 32], ErrorStack> {
    let key = PKey::hmac(key)?;
    let mut signer = Signer::new(MessageDigest::sha256(), &key)?;
    for part in parts {
        signer.update(part)?;
    }
    let mut hash = [0; 32];
    signer.sign(&mut hash)?;
    Ok(hash)
}

impl HmacSha256 {
    /// Asks OpenSSL for HMAC-SHA256 and checks its answer. Does not block.
    ///
    /// Errors: `SYSTEM` when OpenSSL offers no HMAC or SHA-256 (a broken `openssl.cnf`), or computes it
    /// wrongly.
    pub fn new() -> Result<HmacSha256> {
        // RFC 4231, test case 2.
        let first_bytes = [0x5b, 0xdc, 0xc1, 0x46, 0xbf, 0x60, 0x75, 0x4e];
        let failed = |why: String| {
            Error::new(Code::System, format!("start HMAC-SHA256 of OpenSSL: {why}"))
                .with_remedy("check the OpenSSL installation and its openssl.cnf")
        };
        match hmac(b"Jefe", &[b"what do ya want ", b"for nothing?"]) {
            Ok(hash) if hash.starts_with(&first_bytes) => Ok(HmacSha256 { tested: () }),
            Ok(_) => Err(failed("its answer to a test vector is wrong".into())),
            Err(error) => Err(failed(error.to_string())),
        }
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
        // Only exhausted memory can fail here, and a proof must never be replaced by a guess.
        hmac(key, parts).expect("OpenSSL computed HMAC-SHA256 at start")
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
            hex(hmac(&[0x0b; 20], &[b"Hi There"]).unwrap()),
            "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"
        );
        assert_eq!(
            hex(hmac(b"Jefe", &[b"what do ya want for nothing?"]).unwrap()),
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
