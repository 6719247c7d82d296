//! Bytes of a link, cut anywhere: the same frames or the same error come out as from one piece, every frame reads back,
//! and no more than one unfinished frame is kept.
#![no_main]

use arbitrary::Arbitrary;
use bytes::{Bytes, BytesMut};
use clerver_proto::error::Code;
use clerver_proto::limits::FRAME_BYTES_MAX;
use clerver_proto::wire::{Decoder, Frame};
use libfuzzer_sys::fuzz_target;

#[derive(Debug, Arbitrary)]
struct Input<'a> {
    body_bytes_max: u16,
    cuts: [u8; 8],
    wire: &'a [u8],
}

/// Type, length and a whole body: what an unfinished frame may take.
const HEAD_BYTES_MAX: usize = 9;

fn read(pieces: impl Iterator<Item = Bytes>, max: usize) -> (Vec<Frame>, Option<Code>) {
    let mut decoder = Decoder::default();
    let mut frames = Vec::new();
    for piece in pieces {
        decoder.push(piece.into());
        loop {
            match decoder.next(max) {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => break,
                Err(error) => return (frames, Some(error.code)),
            }
        }
        assert!(decoder.len() <= max + HEAD_BYTES_MAX, "{} bytes are kept", decoder.len());
    }
    (frames, None)
}

fuzz_target!(|input: Input| {
    let max = usize::from(input.body_bytes_max);
    let whole = read(std::iter::once(Bytes::copy_from_slice(input.wire)), max);
    let mut rest = input.wire;
    let mut cuts = input.cuts.iter().cycle();
    let pieces = std::iter::from_fn(|| {
        let size = usize::from(*cuts.next()?).clamp(1, rest.len().max(1));
        let (piece, tail) = rest.split_at_checked(size)?;
        rest = tail;
        Some(Bytes::copy_from_slice(piece))
    });
    assert_eq!(read(pieces, max), whole, "the cuts changed what was read");

    let mut again = BytesMut::new();
    whole.0.iter().for_each(|frame| frame.encode(&mut again));
    let (frames, error) = read(std::iter::once(again.freeze()), FRAME_BYTES_MAX);
    assert_eq!((frames, error), (whole.0, None), "a frame does not read back");
});
