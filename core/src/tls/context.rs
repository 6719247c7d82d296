//! What all links under one host key share: the key, its certificate and the rules of the handshake.
//!
//! Invariant: nothing of it is changed once it is made, so nodes of one process with the same key have one.

use crate::identity::{HostKey, host_id_of};
use crate::tls::link::TlsLink;
use clerver_proto::error::{Code, Error, Result};
use clerver_proto::id::HostId;
use openssl::asn1::Asn1Time;
use openssl::bn::BigNum;
use openssl::error::ErrorStack;
use openssl::hash::MessageDigest;
use openssl::pkey::{Id, PKey, Private};
use openssl::ssl::{
    AlpnError, Ssl, SslContext, SslContextBuilder, SslMethod, SslMode, SslOptions, SslSessionCacheMode,
    SslVerifyMode, SslVersion,
};
use openssl::x509::{X509, X509Name, X509StoreContextRef, X509VerifyResult};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Weak};

/// The application protocol of links, as TLS names it (ALPN).
pub const ALPN: &[u8] = b"clerver/1";
const ALPN_LIST: &[u8] = b"\x09clerver/1";

/// The contexts of this process that are in use.
static IN_USE: Mutex<BTreeMap<HostId, Weak<Rules>>> = Mutex::new(BTreeMap::new());

/// Everything that the TLS links of one node share. Cheap to clone; free to share between threads.
#[derive(Clone)]
pub struct TlsContext(Arc<Rules>);

struct Rules {
    ssl: SslContext,
    key: HostKey,
}

impl fmt::Debug for TlsContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsContext").field("host_id", &self.host_id()).finish_non_exhaustive()
    }
}

impl TlsContext {
    /// Makes the certificate of this host key and the rules for its links. Does not block.
    ///
    /// Errors: `SYSTEM` when the installed OpenSSL lacks TLS 1.3, Ed25519 or one of the cipher suites.
    pub fn new(key: &HostKey) -> Result<TlsContext> {
        let ssl = build(key.pkey()).map_err(|error| {
            Error::new(Code::System, format!("set up TLS for host {}: {error}", key.host_id().short()))
                .with_remedy("check the OpenSSL installation (3.0 or newer) and its openssl.cnf")
        })?;
        Ok(TlsContext(Arc::new(Rules { ssl, key: key.clone() })))
    }

    /// As [`TlsContext::new`], and the same one for all nodes of this process that run under this key: it takes
    /// some 16 KiB. Does not block.
    ///
    /// Errors: as [`TlsContext::new`].
    pub fn shared(key: &HostKey) -> Result<TlsContext> {
        let mut in_use = IN_USE.lock();
        if let Some(rules) = in_use.get(&key.host_id()).and_then(Weak::upgrade) {
            return Ok(TlsContext(rules));
        }
        let fresh = TlsContext::new(key)?;
        in_use.retain(|_, rules| rules.strong_count() > 0);
        in_use.insert(key.host_id(), Arc::downgrade(&fresh.0));
        Ok(fresh)
    }

    /// The id that peers see.
    pub fn host_id(&self) -> HostId {
        self.0.key.host_id()
    }

    /// A link of the side that dialled; `with` names the peer in messages, such as its address. Does no I/O.
    ///
    /// Errors: `SYSTEM` when memory is exhausted.
    pub fn connect(&self, with: &str) -> Result<TlsLink> {
        let mut ssl = self.new_ssl(with)?;
        ssl.set_connect_state();
        TlsLink::new(ssl, with)
    }

    /// A link of the side that listens; `with` names the peer in messages, such as its address. Does no I/O.
    ///
    /// Errors: `SYSTEM` when memory is exhausted.
    pub fn accept(&self, with: &str) -> Result<TlsLink> {
        let mut ssl = self.new_ssl(with)?;
        ssl.set_accept_state();
        TlsLink::new(ssl, with)
    }

    fn new_ssl(&self, with: &str) -> Result<Ssl> {
        Ssl::new(&self.0.ssl)
            .map_err(|error| Error::new(Code::System, format!("start a TLS link with {with}: {error}")))
    }
}

fn build(key: &PKey<Private>) -> Result<SslContext, ErrorStack> {
    let mut builder = SslContext::builder(SslMethod::tls())?;
    builder.set_min_proto_version(Some(SslVersion::TLS1_3))?;
    builder.set_max_proto_version(Some(SslVersion::TLS1_3))?;
    builder.set_ciphersuites("TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256:TLS_AES_128_GCM_SHA256")?;
    builder.set_sigalgs_list("ed25519")?;
    builder.set_certificate(certificate(key)?.as_ref())?;
    builder.set_private_key(key)?;
    builder.check_private_key()?;
    builder.set_mode(SslMode::RELEASE_BUFFERS);
    no_resumption(&mut builder)?;
    builder.set_alpn_protos(ALPN_LIST)?;
    builder.set_alpn_select_callback(|_, offered| select_alpn(offered).ok_or(AlpnError::ALERT_FATAL));
    builder.set_verify_callback(SslVerifyMode::PEER | SslVerifyMode::FAIL_IF_NO_PEER_CERT, |_, chain| {
        is_ed25519_leaf(chain)
    });
    Ok(builder.build())
}

fn no_resumption(builder: &mut SslContextBuilder) -> Result<(), ErrorStack> {
    builder.set_session_cache_mode(SslSessionCacheMode::OFF);
    builder.set_num_tickets(0)?;
    builder.set_options(SslOptions::NO_TICKET | SslOptions::NO_COMPRESSION | SslOptions::NO_RENEGOTIATION);
    // A client that offers a ticket all the same gets a full handshake instead of an error about a missing
    // context.
    builder.set_session_id_context(ALPN)
}

/// Finds `clerver/1` in a client's list; the list is as the peer sent it and may be malformed.
pub(super) fn select_alpn(offered: &[u8]) -> Option<&[u8]> {
    let mut rest = offered;
    while let Some((&length, tail)) = rest.split_first() {
        let (name, next) = tail.split_at_checked(usize::from(length))?;
        if name == ALPN {
            return Some(name);
        }
        rest = next;
    }
    None
}

/// Any issuer, date and chain will do, for the handshake proves the key and `trust` decides about it; but a
/// host id is the hash of an Ed25519 key.
fn is_ed25519_leaf(chain: &mut X509StoreContextRef) -> bool {
    let leaf = chain.chain().and_then(|certificates| certificates.get(0));
    let good = leaf
        .or(chain.current_cert())
        .and_then(|leaf| leaf.public_key().ok())
        .is_some_and(|key| key.id() == Id::ED25519);
    chain.set_error(if good { X509VerifyResult::OK } else { X509VerifyResult::APPLICATION_VERIFICATION });
    good
}

/// A certificate that depends on nothing but the key, and never ends: host clocks may be wrong (S8).
fn certificate(key: &PKey<Private>) -> Result<X509, ErrorStack> {
    let mut name = X509Name::builder()?;
    name.append_entry_by_text("CN", "clerver")?;
    let name = name.build();
    let mut builder = X509::builder()?;
    builder.set_version(2)?;
    let serial = BigNum::from_u32(1)?.to_asn1_integer()?;
    builder.set_serial_number(&serial)?;
    builder.set_subject_name(&name)?;
    builder.set_issuer_name(&name)?;
    builder.set_not_before(Asn1Time::from_unix(0)?.as_ref())?;
    builder.set_not_after(Asn1Time::from_str_x509("99991231235959Z")?.as_ref())?;
    builder.set_pubkey(key)?;
    builder.sign(key, MessageDigest::null())?;
    Ok(builder.build())
}

/// The host id that a peer proved in its handshake, `None` when it showed no usable Ed25519 certificate.
pub(super) fn peer_of(ssl: &openssl::ssl::SslRef) -> Option<HostId> {
    let key = ssl.peer_certificate()?.public_key().ok()?;
    if key.id() == Id::ED25519 { host_id_of(&key).ok() } else { None }
}

#[cfg(test)]
pub(super) fn certificate_for_tests(key: &HostKey) -> X509 {
    certificate(key.pkey()).unwrap()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contexts_of_one_key_are_one_for_as_long_as_it_is_used() {
        let (key, other) = (HostKey::generate().unwrap(), HostKey::generate().unwrap());
        let first = TlsContext::shared(&key).unwrap();
        let second = TlsContext::shared(&key.clone()).unwrap();
        assert!(Arc::ptr_eq(&first.0, &second.0));
        assert!(!Arc::ptr_eq(&first.0, &TlsContext::shared(&other).unwrap().0));
        let gone = Arc::downgrade(&first.0);
        drop((first, second));
        assert!(gone.upgrade().is_none());
        assert_eq!(TlsContext::shared(&key).unwrap().host_id(), key.host_id());
    }
}
