//! Integers, byte strings and text on the wire.
//!
//! Integers are the variable-length form of RFC 9000 section 16 (1, 2, 4 or 8 bytes, up to 2^62 - 1); a
//! longer form than needed is accepted. Nothing here knows a frame.

use crate::error::{Code, Error, Result};
use crate::limits::TEXT_BYTES_MAX;
use bytes::{Buf, BufMut, Bytes, BytesMut};

/// Largest integer that can be written.
pub const VARINT_MAX: u64 = (1 << 62) - 1;

/// Appends an integer; a value above [`VARINT_MAX`] is written as that maximum.
pub fn put_varint(to: &mut BytesMut, value: u64) {
    match value.min(VARINT_MAX) {
        v if v < 1 << 6 => to.put_u8(v as u8),
        v if v < 1 << 14 => to.put_u16(v as u16 | 0x4000),
        v if v < 1 << 30 => to.put_u32(v as u32 | 0x8000_0000),
        v => to.put_u64(v | 0xc000_0000_0000_0000),
    }
}

/// Bytes that [`put_varint`] takes for a value.
pub fn varint_len(value: u64) -> usize {
    match value {
        v if v < 1 << 6 => 1,
        v if v < 1 << 14 => 2,
        v if v < 1 << 30 => 4,
        _ => 8,
    }
}

/// Reads an integer from the front of `from` without moving; `None` when more bytes are needed.
pub fn peek_varint(from: &[u8]) -> Option<(u64, usize)> {
    let first = *from.first()?;
    let len = 1usize << (first >> 6);
    let body = from.get(..len)?;
    let value = body[1..].iter().fold(u64::from(first & 0x3f), |value, &byte| (value << 8) | u64::from(byte));
    Some((value, len))
}

/// Appends bytes with their length before them.
pub fn put_bytes(to: &mut BytesMut, bytes: &[u8]) {
    put_varint(to, bytes.len() as u64);
    to.put_slice(bytes);
}

/// Text as it is written: cut at the last whole character within [`TEXT_BYTES_MAX`].
fn bounded(text: &str) -> &[u8] {
    let mut end = text.len().min(TEXT_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text.as_bytes()[..end]
}

/// Appends text, cut at the last whole character within [`TEXT_BYTES_MAX`].
pub fn put_text(to: &mut BytesMut, text: &str) {
    put_bytes(to, bounded(text));
}

/// Bytes that [`put_text`] takes for a text.
pub fn text_len(text: &str) -> usize {
    let len = bounded(text).len();
    varint_len(len as u64) + len
}

/// Reads the fields of one frame body; every error names the field.
#[derive(Debug)]
pub struct Reader {
    rest: Bytes,
}

impl Reader {
    /// Starts at the front of a body.
    pub fn new(body: Bytes) -> Reader {
        Reader { rest: body }
    }

    fn need(&self, bytes: usize, field: &str) -> Result<()> {
        if self.rest.len() < bytes {
            return Err(malformed(format!(
                "{field} is cut off: {} bytes left, {bytes} needed",
                self.rest.len()
            )));
        }
        Ok(())
    }

    /// One byte.
    pub fn u8(&mut self, field: &str) -> Result<u8> {
        self.need(1, field)?;
        Ok(self.rest.get_u8())
    }

    /// Two bytes, big-endian.
    pub fn u16(&mut self, field: &str) -> Result<u16> {
        self.need(2, field)?;
        Ok(self.rest.get_u16())
    }

    /// A variable-length integer.
    pub fn varint(&mut self, field: &str) -> Result<u64> {
        let (value, len) = peek_varint(&self.rest)
            .ok_or_else(|| malformed(format!("{field} is cut off within its integer")))?;
        self.rest.advance(len);
        Ok(value)
    }

    /// A fixed number of bytes.
    pub fn array<const N: usize>(&mut self, field: &str) -> Result<[u8; N]> {
        self.need(N, field)?;
        let mut array = [0; N];
        self.rest.copy_to_slice(&mut array);
        Ok(array)
    }

    /// Bytes with their length before them, at most `max`.
    pub fn bytes(&mut self, max: usize, field: &str) -> Result<Bytes> {
        let len = self.varint(field)?;
        if len > max as u64 {
            return Err(malformed(format!("{field} has {len} bytes, at most {max} are allowed")));
        }
        self.need(len as usize, field)?;
        Ok(self.rest.split_to(len as usize))
    }

    /// Text of at most [`TEXT_BYTES_MAX`] bytes of UTF-8.
    pub fn text(&mut self, field: &str) -> Result<String> {
        let bytes = self.bytes(TEXT_BYTES_MAX, field)?;
        match std::str::from_utf8(&bytes) {
            Ok(text) => Ok(text.to_owned()),
            Err(_) => Err(Error::new(Code::Encoding, format!("read frame: {field} is not UTF-8"))),
        }
    }

    /// Whatever is left.
    pub fn rest(&mut self) -> Bytes {
        std::mem::take(&mut self.rest)
    }

    /// Whether nothing is left.
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Refuses left-over bytes: this version writes none in this frame.
    pub fn end(&self, frame: &str) -> Result<()> {
        if self.rest.is_empty() {
            return Ok(());
        }
        Err(malformed(format!("{frame} has {} bytes too many", self.rest.len())))
    }
}

/// An error that says the peer's bytes do not follow the protocol.
pub fn malformed(what: String) -> Error {
    Error::new(Code::Protocol, format!("read frame: {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn integers_read_back(value in 0..=VARINT_MAX) {
            let mut to = BytesMut::new();
            put_varint(&mut to, value);
            prop_assert_eq!(to.len(), varint_len(value));
            prop_assert_eq!(peek_varint(&to), Some((value, to.len())));
            prop_assert_eq!(peek_varint(&to[..to.len() - 1]), None);
        }

        #[test]
        fn text_reads_back_and_is_cut_at_a_character(text in ".{0,300}") {
            let mut to = BytesMut::new();
            put_text(&mut to, &text);
            let read = Reader::new(to.freeze()).text("text").unwrap();
            prop_assert!(text.starts_with(&read) && read.len() <= TEXT_BYTES_MAX);
            prop_assert!(read.len() > TEXT_BYTES_MAX - 4 || read == text);
        }
    }
}
