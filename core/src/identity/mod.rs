//! Who this host is: its directory, and the key in it, made on first use.
//!
//! Not trust in others (that is `trust`), and no rotation yet. A host id proves that the same key is used
//! again, not that the machine is the same.
//!
//! Invariants: two processes that start at once end with one key; a key file that others could read or
//! replace is never used; the private key is never printed.

mod home;
mod key_file;

pub use home::home_dir;
pub(crate) use home::{create_private_dir, kept_from_writers};

use clerver_proto::error::{Code, Error, Result};
use clerver_proto::id::HostId;
use openssl::error::ErrorStack;
use openssl::pkey::{HasPublic, PKey, PKeyRef, Private};
use openssl::sha::Sha256;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

/// The key pair of a host and the id made from it. Cheap to clone; free to share between threads.
#[derive(Clone)]
pub struct HostKey(Arc<Pair>);

struct Pair {
    pkey: PKey<Private>,
    host_id: HostId,
}

impl fmt::Debug for HostKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HostKey").field("host_id", &self.host_id()).finish_non_exhaustive()
    }
}

/// What stands before the 32 bytes of an Ed25519 key in SPKI DER form (RFC 8410 section 4).
const SPKI_HEAD: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// SHA-256 of an Ed25519 public key in SPKI DER form, which is put together here: to ask OpenSSL for it costs a sixth
/// of a handshake.
pub(crate) fn host_id_of<T: HasPublic>(key: &PKeyRef<T>) -> Result<HostId, ErrorStack> {
    let mut hash = Sha256::new();
    hash.update(&SPKI_HEAD);
    hash.update(&key.raw_public_key()?);
    Ok(HostId(hash.finish()))
}

impl HostKey {
    /// A new key in memory only, for tests and for nodes that nobody needs to recognise again.
    ///
    /// Errors: `SYSTEM` when OpenSSL has no Ed25519 or no randomness.
    pub fn generate() -> Result<HostKey> {
        let system = |error: ErrorStack| Error::new(Code::System, format!("make a host key: {error}"));
        let pkey = PKey::generate_ed25519().map_err(system)?;
        let host_id = host_id_of(&pkey).map_err(system)?;
        Ok(HostKey(Arc::new(Pair { pkey, host_id })))
    }

    /// The key of the host directory `home` (see [`home_dir`]), from its file `host.key` (PKCS#8, PEM).
    /// Makes the directory (0700) and the key (0600) if there are none; of several processes that do so at
    /// once all get the same key. Blocks for a disk write then.
    ///
    /// Errors: `KEY_FILE`, with the file, its mode and the command that helps, when the file or directory
    /// is open to others, cannot be read or written, or holds no Ed25519 key.
    pub fn load_or_create(home: &Path) -> Result<HostKey> {
        key_file::load_or_create(home)
    }

    /// The private key, for TLS.
    pub fn pkey(&self) -> &PKey<Private> {
        &self.0.pkey
    }

    /// The id that peers know this host by.
    pub fn host_id(&self) -> HostId {
        self.0.host_id
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_id_is_the_hash_of_the_key_as_openssl_writes_it() {
        let pkey = PKey::generate_ed25519().unwrap();
        let der = pkey.public_key_to_der().unwrap();
        assert_eq!(host_id_of(&pkey).unwrap(), HostId(openssl::sha::sha256(&der)));
    }
}
