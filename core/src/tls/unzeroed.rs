//! Decryption into memory that was not zeroed first: the only `unsafe` of TLS.
//!
//! Invariant: no byte becomes visible that OpenSSL did not write.

use super::pipe::MemoryPipe;
use bytes::BytesMut;
use openssl::ssl::{Error, SslStream};

/// One SSL_read of at most `max` bytes, appended to `into`; answers how many.
pub(super) fn read(
    stream: &mut SslStream<MemoryPipe>,
    into: &mut BytesMut,
    max: usize,
) -> Result<usize, Error> {
    into.reserve(max);
    let size = stream.ssl_read_uninit(&mut into.spare_capacity_mut()[..max])?;
    // SAFETY: OpenSSL wrote `size` bytes, at most `max` of the spare capacity, right behind the old length.
    unsafe { into.set_len(into.len() + size) };
    Ok(size)
}
