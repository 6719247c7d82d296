//! The opening header: the first bytes of a channel, from the end that opened it (X1).

use super::codec::{Reader, malformed, peek_varint, put_text, put_varint, text_len, varint_len};
use crate::error::Result;
use bytes::{BufMut, Bytes, BytesMut};

/// Largest header, its length included.
pub const HEADER_BYTES_MAX: usize = 512;

/// What a channel is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Purpose {
    /// A sequence of messages.
    Messages,
    /// A stream of bytes.
    Bytes,
    /// A call: one request message one way, reply messages the other.
    Call {
        /// Time the caller gives it, from the moment the header is read; 0 for no limit.
        deadline_ms: u64,
    },
}

/// The first bytes of a channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// Messages, bytes or a call.
    pub purpose: Purpose,
    /// May use bulk links, and yields to everything else.
    pub bulk: bool,
    /// Is stored before it is sent (D1).
    pub stored: bool,
    /// The channel's or the service's name; may be empty for a channel.
    pub name: String,
}

impl Header {
    fn deadline_ms(&self) -> u64 {
        if let Purpose::Call { deadline_ms } = self.purpose { deadline_ms } else { 0 }
    }

    fn body_len(&self) -> usize {
        2 + varint_len(self.deadline_ms()) + text_len(&self.name)
    }

    /// Bytes that [`Header::encode`] appends.
    pub fn encoded_len(&self) -> usize {
        varint_len(self.body_len() as u64) + self.body_len()
    }

    /// Appends the header, with its length before it.
    pub fn encode(&self, to: &mut BytesMut) {
        let kind = match self.purpose {
            Purpose::Messages => 0,
            Purpose::Bytes => 1,
            Purpose::Call { .. } => 2,
        };
        put_varint(to, self.body_len() as u64);
        to.put_u8(kind);
        to.put_u8(u8::from(self.bulk) | u8::from(self.stored) << 1);
        put_varint(to, self.deadline_ms());
        put_text(to, &self.name);
    }

    /// Length of the whole header as its first bytes tell, or `None` when more are needed.
    pub fn peek_len(front: &[u8]) -> Result<Option<usize>> {
        match peek_varint(front) {
            None => Ok(None),
            Some((body, head)) if body <= (HEADER_BYTES_MAX - 8) as u64 => Ok(Some(head + body as usize)),
            Some((body, _)) => Err(malformed(format!("a channel header has {body} bytes"))),
        }
    }

    /// Reads a whole header; a later version may append fields.
    pub fn decode(whole: Bytes) -> Result<Header> {
        let mut from = Reader::new(whole);
        from.varint("header length")?;
        let kind = from.u8("channel kind")?;
        let flags = from.u8("channel flags")?;
        let deadline_ms = from.varint("deadline")?;
        let purpose = match kind {
            0 => Purpose::Messages,
            1 => Purpose::Bytes,
            2 => Purpose::Call { deadline_ms },
            other => return Err(malformed(format!("channel kind {other} is not known"))),
        };
        Ok(Header { purpose, bulk: flags & 1 != 0, stored: flags & 2 != 0, name: from.text("channel name")? })
    }
}
