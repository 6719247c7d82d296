//! TLS 1.3 links in memory: bytes of a socket go in, bytes for the socket come out.
//!
//! [`TlsContext`] is made once per node from its host key; each connection is a [`TlsLink`]. Both ends show
//! a self-signed Ed25519 certificate; the handshake proves that the peer holds the key, and the peer's
//! [`HostId`] is the hash of that key. No socket, thread, clock or trust decision is in here: who may
//! connect is decided by `trust`, when to read and write by the engine.
//!
//! Invariants: TLS 1.3 only, no 0-RTT, no tickets, no session cache; the application protocol is
//! `clerver/1` on both sides, or the handshake fails; nothing is read or written before the handshake is
//! done; after an error a link only gives out what was already encrypted (such as the alert that tells the
//! peer why).
//!
//! [`HostId`]: clerver_proto::id::HostId

mod context;
mod failure;
mod link;
mod pipe;
#[cfg(test)]
mod tests;
mod unzeroed;

pub use context::{ALPN, TlsContext};
pub use link::{HandshakeState, ReadState, TlsLink};

/// Most plaintext bytes of one TLS record.
pub const RECORD_BYTES_MAX: usize = 16 * 1024;
