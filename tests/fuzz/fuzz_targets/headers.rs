//! The opening header of a channel: read or refused, and what is read reads back.
#![no_main]

use bytes::{Bytes, BytesMut};
use clerver_proto::wire::header::{HEADER_BYTES_MAX, Header};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let whole = match Header::peek_len(data) {
        Ok(Some(len)) => {
            assert!((1..=HEADER_BYTES_MAX).contains(&len), "a header of {len} bytes");
            data.get(..len)
        }
        Ok(None) => {
            assert!(data.len() < 8, "{} bytes do not tell the length", data.len());
            None
        }
        Err(_) => None,
    };
    // Whoever reads it has the whole of it; the rest must be refused without a panic all the same.
    let Ok(header) = Header::decode(Bytes::copy_from_slice(whole.unwrap_or(data))) else { return };
    let mut again = BytesMut::new();
    header.encode(&mut again);
    assert_eq!(Header::peek_len(&again), Ok(Some(again.len())));
    assert_eq!(Header::decode(again.freeze()), Ok(header));
});
