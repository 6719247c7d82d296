//! Every frame reads back; no input makes the decoder panic or grow.

use super::*;
use crate::id::{HostId, NodeId, ProcessId};
use crate::limits::{FRAME_BYTES_MAX, SessionLimits};
use proptest::prelude::*;

fn hello() -> Hello {
    Hello {
        version_min: 1,
        version_max: 9,
        node: NodeId { host: HostId([7; 32]), process: ProcessId([8; 16]) },
        binding: [9; 16],
        link_counter: 77,
        role: Role::Bulk,
        revive: true,
        volatile: false,
        for_session: Some(Sid([5; 16])),
        limits: SessionLimits::default(),
        beat_ms: 1000,
        ttl_ms: 10_000,
        ttl_floor_ms: 4000,
        ttl_max_ms: 120_000,
        embalm_ms: 0,
        wall_ms: 1_700_000_000_000,
        host_name: "höst".into(),
        node_name: "orders".into(),
        web_address: String::new(),
    }
}

fn row() -> impl Strategy<Value = TableRow> {
    (0..1u64 << 40, 0..1u64 << 60, 0..1u64 << 60, 0..1u64 << 60).prop_map(|(channel, a, b, held)| TableRow {
        channel: ChannelId(channel),
        kept: a.min(b),
        written: a.max(b),
        held,
    })
}

fn table() -> impl Strategy<Value = Table> {
    let rows = proptest::collection::vec(row(), 0..9).prop_map(|mut rows| {
        rows.sort_by_key(|row| row.channel);
        rows.dedup_by_key(|row| row.channel);
        rows
    });
    (0..1u64 << 60, 0..1u64 << 60, rows).prop_map(|(opened, seen, rows)| Table { opened, seen, rows })
}

fn frame() -> impl Strategy<Value = Frame> {
    let number = 0..1u64 << 61;
    let channel = (0..1u64 << 61).prop_map(ChannelId);
    let bytes = proptest::collection::vec(any::<u8>(), 1..50).prop_map(Bytes::from);
    prop_oneof![
        Just(Frame::Hello(Box::new(hello()))),
        Just(Frame::Retire),
        (any::<u16>(), "[a-zä]{0,20}").prop_map(|(code, text)| Frame::Notice { code, text }),
        (any::<u16>(), "[a-zä]{0,20}").prop_map(|(code, text)| Frame::Refuse { code, text }),
        (any::<[u8; 16]>(), number.clone(), any::<[u8; 32]>()).prop_map(|(sid, n, secret)| Frame::Session {
            sid: Sid(sid),
            n,
            offer: Offer::Fresh { secret }
        }),
        (any::<[u8; 16]>(), number.clone(), table(), any::<[u8; 32]>()).prop_map(|(sid, n, table, proof)| {
            Frame::Session { sid: Sid(sid), n, offer: Offer::Existing { table, proof } }
        }),
        (any::<[u8; 16]>(), table(), any::<[u8; 32]>()).prop_map(|(sid, table, proof)| Frame::Attach {
            sid: Sid(sid),
            table,
            proof
        }),
        (any::<[u8; 16]>(), any::<u16>(), any::<Option<[u8; 32]>>())
            .prop_map(|(sid, code, proof)| Frame::Gone { sid: Sid(sid), code, proof }),
        (any::<[u8; 16]>(), number.clone(), table(), any::<[u8; 32]>())
            .prop_map(|(sid, epoch, table, proof)| Frame::Revive { sid: Sid(sid), epoch, table, proof }),
        number.clone().prop_map(|count| Frame::Lack { count }),
        number.clone().prop_map(|count| Frame::ChannelCredit { count }),
        (number.clone(), number.clone(), number.clone(), number.clone()).prop_map(
            |(number, echo, echo_delay_us, ttl_ms)| Frame::Beat { number, echo, echo_delay_us, ttl_ms }
        ),
        proptest::collection::vec((any::<bool>(), number.clone()), 0..9).prop_map(|links| Frame::Dead {
            links: links.into_iter().map(|(by_arbiter, counter)| LinkName { by_arbiter, counter }).collect()
        }),
        Just(Frame::Role { role: Role::Standby }),
        (number.clone(), number.clone(), number.clone()).prop_map(|(transfer, portion, bytes)| Frame::Hop {
            transfer,
            portion,
            bytes
        }),
        bytes.clone().prop_map(|record| Frame::Rekey { record }),
        (number.clone(), bytes.clone()).prop_map(|(shard, body)| Frame::Shard { shard, body }),
        (channel.clone(), number.clone()).prop_map(|(channel, limit)| Frame::Credit { channel, limit }),
        (channel.clone(), number.clone(), any::<u16>(), "[a-z]{0,9}")
            .prop_map(|(channel, size, code, text)| Frame::Reset { channel, size, code, text }),
        (channel.clone(), any::<u16>()).prop_map(|(channel, code)| Frame::Stop { channel, code }),
        (channel.clone(), number.clone()).prop_map(|(channel, offset)| Frame::Done { channel, offset }),
        (channel.clone(), number.clone(), bytes).prop_map(|(channel, offset, bytes)| Frame::Data {
            channel,
            offset,
            bytes
        }),
        (channel.clone(), number.clone(), proptest::collection::vec(any::<u8>(), 1..50))
            .prop_map(|(channel, offset, bytes)| Frame::Rest { channel, offset, bytes: bytes.into() }),
        (channel, number).prop_map(|(channel, size)| Frame::End { channel, size }),
    ]
}

proptest! {
    #[test]
    fn frames_read_back_however_they_are_cut(
        frames in proptest::collection::vec(frame(), 1..6),
        cut in 1usize..40,
        even_type in (64u8..128).prop_map(|n| n * 2),
    ) {
        let mut wire = BytesMut::new();
        for frame in &frames {
            wire.put_u8(even_type);
            put_bytes(&mut wire, b"skip me");
            frame.encode(&mut wire);
        }
        let mut decoder = Decoder::default();
        let mut read = Vec::new();
        for piece in wire.chunks(cut) {
            decoder.push(BytesMut::from(piece));
            while let Some(frame) = decoder.next(FRAME_BYTES_MAX).unwrap() {
                read.push(frame);
            }
        }
        prop_assert!(decoder.is_empty());
        prop_assert_eq!(read, frames);
    }

    #[test]
    fn random_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let mut decoder = Decoder::default();
        decoder.push(BytesMut::from(&bytes[..]));
        while let Ok(Some(_)) = decoder.next(1000) {}
        prop_assert!(decoder.len() <= 200);
    }

    #[test]
    fn a_damaged_frame_is_read_or_refused(frame in frame(), at in 0usize..400, to: u8) {
        let mut wire = BytesMut::new();
        frame.encode(&mut wire);
        let at = at % wire.len();
        wire[at] = to;
        let mut decoder = Decoder::default();
        decoder.push(wire);
        while let Ok(Some(_)) = decoder.next(FRAME_BYTES_MAX) {}
    }
}

fn decode_one(wire: &[u8], max: usize) -> Result<Option<Frame>> {
    let mut decoder = Decoder::default();
    decoder.push(BytesMut::from(wire));
    decoder.next(max)
}

#[test]
fn an_unknown_odd_type_is_refused() {
    assert_eq!(decode_one(&[201, 0], 10).unwrap_err().code, Code::Protocol);
}

#[test]
fn a_frame_at_the_limit_passes_and_one_byte_more_is_refused_before_it_arrives() {
    assert_eq!(decode_one(&[200, 10, 0], 10), Ok(None), "waits for the rest");
    let error = decode_one(&[200, 11], 10).unwrap_err();
    assert!(error.message.contains("11 bytes, at most 10"), "{error}");
}

#[test]
fn another_version_is_refused_by_its_own_code() {
    let mut wire = BytesMut::new();
    Frame::Hello(Box::new(Hello { version_min: 2, version_max: 3, ..hello() })).encode(&mut wire);
    assert_eq!(decode_one(&wire, 4000).unwrap_err().code, Code::Version);
}

#[test]
fn text_that_is_not_utf8_is_refused_by_its_own_code() {
    assert_eq!(decode_one(&[NOTICE, 5, 0, 1, 2, 0xff, 0xfe], 100).unwrap_err().code, Code::Encoding);
}

#[test]
fn the_data_head_and_data_make_the_same_bytes_as_the_frame() {
    let (channel, offset, bytes) = (ChannelId(300), 70_000, Bytes::from_static(b"abc"));
    let mut whole = BytesMut::new();
    Frame::Data { channel, offset, bytes: bytes.clone() }.encode(&mut whole);
    let mut parts = BytesMut::new();
    Frame::encode_data_head(&mut parts, channel, offset, bytes.len(), false);
    assert_eq!(parts.len(), data_overhead(channel, offset, bytes.len()));
    parts.put_slice(&bytes);
    assert_eq!(whole, parts);
}
