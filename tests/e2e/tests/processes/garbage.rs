//! Bytes that follow no rule, over TCP and over TLS: the link ends, and nothing else.

use crate::support::{Bystander, LONG, RawLink, STEADY};
use bytes::{Bytes, BytesMut};
use clerver::identity::HostKey;
use clerver_e2e::pattern;
use clerver_proto::error::Code;
use clerver_proto::wire::Frame;
use clerver_proto::wire::codec::put_varint;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};

/// Sends bytes and reads until the server hangs up.
fn hung_up(address: &str, bytes: &[u8]) {
    let mut socket = TcpStream::connect(address).unwrap();
    socket.set_read_timeout(Some(LONG)).unwrap();
    // The server may hang up before it read everything.
    let _ = socket.write_all(bytes).and_then(|()| socket.shutdown(Shutdown::Write));
    let mut answer = Vec::new();
    if let Err(error) = socket.read_to_end(&mut answer) {
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "the server hangs up");
    }
}

#[test]
fn noise_over_tcp_is_hung_up_on() {
    let (bystander, server, address) = Bystander::with_server(STEADY, &[]);
    for (bytes, why) in [
        (b"GET / HTTP/1.1\r\n\r\n".to_vec(), "HTTP"),
        (b"\0\0\0\0".to_vec(), "does not speak TLS"),
        (pattern::make(3, 0, 100_000).to_vec(), "does not speak TLS"),
        (Vec::new(), "before it said anything"),
        // Begins like TLS, and then: nothing, noise, a record that never ends.
        (vec![0x16], "TLS handshake"),
        ([&b"\x16\x03\x01\x02\x00\x01"[..], &pattern::make(4, 0, 4000)].concat(), "TLS handshake"),
        ([&b"\x16\x03\x01\xff\xff"[..], &[0; 70_000]].concat(), "TLS handshake"),
    ] {
        let mark = server.mark();
        hung_up(&address, &bytes);
        server.see_where(mark, LONG, why, |line| {
            line.starts_with("# n ") && line.replace("%s", " ").contains(why)
        });
        bystander.is_well();
    }
}

/// A server, and a key that it lets in.
fn insider() -> (Bystander, crate::support::Peer, String, HostKey) {
    let key = HostKey::generate().unwrap();
    let (bystander, server, address) = Bystander::with_server(STEADY, &[key.host_id()]);
    (bystander, server, address, key)
}

fn frame(kind: u8, length: u64, body: &[u8]) -> Vec<u8> {
    let mut bytes = BytesMut::new();
    bytes.extend_from_slice(&[kind]);
    put_varint(&mut bytes, length);
    bytes.extend_from_slice(body);
    bytes.to_vec()
}

#[test]
fn noise_over_tls_is_refused_by_name() {
    let (bystander, server, address, key) = insider();
    let protocol = Code::Protocol as u16;
    for (what, bytes, code) in [
        ("an unknown type that must not be skipped", frame(99, 0, b""), protocol),
        ("a frame that is too long", frame(1, 1 << 20, b""), protocol),
        ("a HELLO that is none", frame(1, 4, b"nope"), protocol),
        ("a HELLO that is cut off", frame(1, 4, b"CLVR"), protocol),
        ("data before HELLO", frame(49, 2, b"\x02\x00"), protocol),
        ("text that is not UTF-8", frame(2, 5, b"\0\x01\x02\xff\xfe"), Code::Encoding as u16),
        ("a frame with bytes left over", frame(3, 6, b"\0\x01\x01aXX"), protocol),
    ] {
        let mut link = RawLink::dial(&address, &key);
        link.send(&bytes);
        let (refused, text) = link.refused();
        assert_eq!(refused, code, "{what}: {text}");
        assert!(!text.is_empty(), "{what}");
        bystander.is_well();
    }
    server.see_times(7, "! n refused");
}

#[test]
fn frames_that_may_be_skipped_are_skipped() {
    let (bystander, _server, address, key) = insider();
    for _ in 0..20 {
        let mut link = RawLink::dial(&address, &key);
        link.send(&frame(98, 5, b"hello"));
        let hello = link.hello();
        link.send_frame(&Frame::Hello(Box::new(hello)));
        assert!(matches!(link.next_frame(), Some(Frame::Hello(_))));
        // Either end may be the arbiter: it offers a session, or waits for the offer; it does not refuse, and it
        // notices the end of the link, which comes right behind the frame.
        link.send(&frame(98, 0, b""));
        link.shut_down();
        assert_eq!(link.closed(), None);
    }
    bystander.is_well();
}

#[test]
fn a_cut_in_the_middle_of_a_frame_changes_nothing() {
    let (bystander, server, address, key) = insider();
    for cut in [1, 2, 10, 100] {
        let mut link = RawLink::dial(&address, &key);
        let mut bytes = BytesMut::new();
        Frame::Hello(Box::new(link.hello())).encode(&mut bytes);
        link.send(&bytes[..cut]);
        link.shut_down();
        link.closed();
    }
    bystander.is_well();
    assert!(server.ok("counters n").contains("sessions=1 "), "the bystander's only");
}

/// After a good HELLO, 40 links with noise of all kinds: each is closed, none is served, the node lives.
#[test]
fn noise_after_hello() {
    let (bystander, server, address, key) = insider();
    for round in 0..40u64 {
        let mut link = RawLink::dial(&address, &key);
        let hello = link.hello();
        link.send_frame(&Frame::Hello(Box::new(hello)));
        let noise = pattern::make(round, 0, 20_000);
        // Half of it as the bodies of frames that are known, so that it gets further.
        let kind = 1 + 2 * (round % 27) as u8;
        let bytes = if round % 2 == 0 { noise } else { Bytes::from(frame(kind, 2000, &noise[..2000])) };
        link.send(&bytes);
        link.shut_down();
        link.closed();
    }
    bystander.is_well();
    server.ok("counters n");
}
