//! Two links in one thread, with the test as the wire between them.

use super::context::select_alpn;
use super::*;
use crate::identity::HostKey;
use bytes::BytesMut;
use clerver_proto::error::{Code, Error, Result};
use openssl::ec::{EcGroup, EcKey};
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::ssl::{SslContext, SslContextBuilder, SslMethod, SslVersion};
use openssl::x509::X509;
use proptest::prelude::*;

struct Pair {
    client: TlsLink,
    server: TlsLink,
}

fn context() -> TlsContext {
    TlsContext::new(&HostKey::generate().unwrap()).unwrap()
}

/// Carries ciphertext both ways until both are done, or one fails.
fn shake(client: &mut TlsLink, server: &mut TlsLink) -> Result<(HandshakeState, HandshakeState)> {
    loop {
        let left = client.handshake();
        server.feed(&client.take_output());
        let right = server.handshake();
        client.feed(&server.take_output());
        match (left?, right?) {
            (HandshakeState::InProgress, _) | (_, HandshakeState::InProgress) => {}
            done => return Ok(done),
        }
    }
}

fn pair() -> Pair {
    let mut client = context().connect("the server").unwrap();
    let mut server = context().accept("the client").unwrap();
    shake(&mut client, &mut server).unwrap();
    Pair { client, server }
}

fn read_all(link: &mut TlsLink) -> Vec<u8> {
    let mut read = Vec::new();
    assert_eq!(link.read(&mut read, usize::MAX).unwrap(), ReadState::Drained);
    read
}

/// Lengths of the TLS records in a ciphertext.
fn records(mut ciphertext: &[u8]) -> Vec<usize> {
    let mut lengths = Vec::new();
    while let [_, _, _, high, low, rest @ ..] = ciphertext {
        let length = usize::from(*high) << 8 | usize::from(*low);
        lengths.push(length);
        ciphertext = &rest[length..];
    }
    assert!(ciphertext.is_empty());
    lengths
}

#[test]
fn each_side_learns_whose_key_the_other_holds_and_both_the_same_secret() {
    let (one, two) = (context(), context());
    let mut client = one.connect("two").unwrap();
    let mut server = two.accept("one").unwrap();
    let (left, right) = shake(&mut client, &mut server).unwrap();
    let HandshakeState::Done { peer: seen_by_client, exporter: first } = left else { panic!() };
    let HandshakeState::Done { peer: seen_by_server, exporter: second } = right else { panic!() };
    assert_eq!(seen_by_client, two.host_id());
    assert_eq!(seen_by_server, one.host_id());
    assert_eq!(first, second);
    assert_eq!(client.handshake().unwrap(), left, "asked again, it answers the same");
    let mut other_client = one.connect("two").unwrap();
    let mut other_server = two.accept("one").unwrap();
    let (other, _) = shake(&mut other_client, &mut other_server).unwrap();
    assert_ne!(other, left, "another link has another exporter");
    assert_eq!(server.output_bytes(), 0, "no tickets follow the handshake");
}

#[test]
fn links_and_contexts_move_between_threads() {
    fn is_send<T: Send>() {}
    fn is_sync<T: Sync>() {}
    is_send::<TlsLink>();
    is_send::<TlsContext>();
    is_sync::<TlsContext>();
}

#[test]
fn what_is_written_is_read_in_both_directions() {
    let Pair { mut client, mut server } = pair();
    client.write(&[b"hello ", b"", b"server"]).unwrap();
    server.feed(&client.take_output());
    assert_eq!(read_all(&mut server), b"hello server");
    server.write(&[b"hello client"]).unwrap();
    client.feed(&server.take_output());
    assert_eq!(read_all(&mut client), b"hello client");
    client.write(&[]).unwrap();
    client.write(&[b"", b""]).unwrap();
    assert_eq!(client.output_bytes(), 0, "nothing makes no record");
}

#[test]
fn data_behind_the_handshake_in_one_segment_is_not_lost() {
    let (mut client, mut server) = (context().connect("s").unwrap(), context().accept("c").unwrap());
    client.handshake().unwrap();
    server.feed(&client.take_output());
    server.handshake().unwrap();
    client.feed(&server.take_output());
    client.handshake().unwrap();
    client.write(&[&[7; 100_000]]).unwrap();
    server.feed(&client.take_output());
    assert!(matches!(server.handshake().unwrap(), HandshakeState::Done { .. }));
    assert_eq!(read_all(&mut server), [7; 100_000]);
}

#[test]
fn records_are_full_and_even_and_small_slices_share_one() {
    let mut client = pair().client;
    client.write(&[b"header", &[1; 3], b"body"]).unwrap();
    assert_eq!(records(&client.take_output()).len(), 1);
    client.write(&[&[0; 64 * 1024]]).unwrap();
    assert_eq!(records(&client.take_output()), [16 * 1024 + 17; 4]);
    client.write(&[&[0; 16], &[1; 64 * 1024]]).unwrap();
    let lengths = records(&client.take_output());
    assert_eq!(lengths.len(), 5);
    assert!(lengths.iter().all(|&length| length > 13_000), "no runt: {lengths:?}");
    client.set_record_bytes(1024);
    client.write(&[&[0; 2049]]).unwrap();
    assert_eq!(records(&client.take_output()), [683 + 17; 3]);
}

#[test]
fn a_read_stops_at_its_maximum_and_goes_on_later() {
    let Pair { mut client, mut server } = pair();
    client.write(&[&[5; 40_000]]).unwrap();
    server.feed(&client.take_output());
    let mut read = b"kept".to_vec();
    assert_eq!(server.read(&mut read, 0).unwrap(), ReadState::More);
    assert_eq!(server.read(&mut read, 10_000).unwrap(), ReadState::More);
    assert_eq!(read.len(), 10_004);
    assert_eq!(server.read(&mut read, 16_384).unwrap(), ReadState::More);
    assert_eq!(server.read(&mut read, 16_384).unwrap(), ReadState::Drained);
    assert_eq!(&read[..4], b"kept");
    assert_eq!(read[4..], [5; 40_000]);
}

#[test]
fn buffers_can_be_lent_and_come_back() {
    let Pair { mut client, mut server } = pair();
    client.lend_output(Vec::with_capacity(70_000));
    client.write(&[&[9; 64 * 1024]]).unwrap();
    let ciphertext = client.take_output();
    assert_eq!(ciphertext.capacity(), 70_000, "encrypted into the lent buffer");
    server.feed_lent(ciphertext);
    let mut into = BytesMut::new();
    assert_eq!(server.read_record(&mut into).unwrap(), ReadState::More);
    assert_eq!(
        (into.len(), server.take_spent().capacity()),
        (RECORD_BYTES_MAX, 0),
        "it still holds ciphertext"
    );
    while server.read_record(&mut into).unwrap() == ReadState::More {}
    assert_eq!(into[..], [9; 64 * 1024]);
    assert_eq!(server.take_spent().capacity(), 70_000);
    assert_eq!(server.read_record(&mut into).unwrap(), ReadState::Drained);
}

#[test]
fn a_goodbye_is_told_apart_from_a_cut() {
    let Pair { mut client, mut server } = pair();
    client.write(&[b"last words"]).unwrap();
    client.shutdown();
    client.shutdown();
    assert_eq!(client.write(&[b"more"]).unwrap_err().code, Code::State);
    server.write(&[b"an answer all the same"]).unwrap();
    client.feed(&server.take_output());
    assert_eq!(read_all(&mut client), b"an answer all the same", "each direction ends for itself");
    server.feed(&client.take_output());
    server.feed_end();
    let mut read = Vec::new();
    assert_eq!(server.read(&mut read, usize::MAX).unwrap(), ReadState::Closed);
    assert_eq!(read, b"last words");
    assert_eq!(server.read(&mut read, usize::MAX).unwrap(), ReadState::Closed);

    let Pair { mut client, mut server } = pair();
    client.write(&[b"first"]).unwrap();
    let whole = client.take_output();
    client.write(&[b"second"]).unwrap();
    let half = client.take_output();
    server.feed(&whole);
    server.feed(&half[..half.len() - 1]);
    server.feed_end();
    let mut read = Vec::new();
    let error = server.read(&mut read, usize::MAX).unwrap_err();
    assert_eq!(read, b"first", "what came whole is kept");
    assert_eq!(error.code, Code::LinkFailed);
    assert!(error.message.contains("the client") && error.message.contains("without a goodbye"), "{error}");
}

#[test]
fn altered_ciphertext_ends_the_link_with_a_reason_and_an_alert() {
    let Pair { mut client, mut server } = pair();
    client.write(&[b"pay 10"]).unwrap();
    let mut ciphertext = client.take_output();
    ciphertext[9] ^= 1;
    server.feed(&ciphertext);
    let mut read = Vec::new();
    let error = server.read(&mut read, usize::MAX).unwrap_err();
    assert_eq!(error.code, Code::LinkFailed);
    assert!(
        error.message.contains("the client") && error.message.contains("not what the peer sent"),
        "{error}"
    );
    assert_eq!(server.read(&mut read, usize::MAX).unwrap_err(), error, "and stays ended");
    assert_eq!(server.write(&[b"x"]).unwrap_err(), error);
    assert!(read.is_empty());
    client.feed(&server.take_output());
    let told = client.read(&mut read, usize::MAX).unwrap_err();
    assert!(told.message.contains("alert \"bad record mac\""), "{told}");
}

#[test]
fn nothing_is_read_or_written_before_the_handshake_is_done() {
    let mut link = context().connect("the server").unwrap();
    assert_eq!(link.write(&[b"early"]).unwrap_err().code, Code::State);
    assert_eq!(link.read(&mut Vec::new(), 10).unwrap_err().code, Code::State);
    link.shutdown();
    assert_eq!(link.output_bytes(), 0);
}

#[test]
fn strangers_to_tls_are_named_as_such() {
    let (version, protocol) = (Code::Version, Code::Protocol);
    for (first_bytes, to_server, to_client) in [
        (&b"GET / HTTP/1.1\r\nHost: example\r\n\r\n"[..], version, version),
        (b"SSH-2.0-OpenSSH_9.2p1\r\n", version, version),
        (b"\x16\x03\x01\xff\xff oversized", protocol, protocol),
        (b"\x16\x03\x03\x00\x04\x01\xff\xff\xff", protocol, protocol),
        (b"\x15\x03\x03\x00\x02\x02\x28", protocol, version),
    ] {
        let server = context().accept("10.0.0.9:5555").unwrap();
        let client = context().connect("10.0.0.9:5555").unwrap();
        for (mut link, code) in [(server, to_server), (client, to_client)] {
            assert_eq!(link.handshake().unwrap(), HandshakeState::InProgress);
            link.feed(first_bytes);
            let error = link.handshake().unwrap_err();
            assert_eq!(error.code, code, "{first_bytes:?}: {error}");
            assert!(error.message.contains("10.0.0.9:5555"), "{error}");
            assert_eq!(link.handshake().unwrap_err(), error, "the same error again");
        }
    }
}

#[test]
fn a_handshake_cut_off_at_any_byte_says_that_the_connection_ended() {
    let mut client = context().connect("s").unwrap();
    client.handshake().unwrap();
    let hello = client.take_output();
    let server = context();
    for cut in [0, 1, 4, 5, 6, hello.len() / 2, hello.len() - 1, hello.len()] {
        let mut link = server.accept("the dialler").unwrap();
        link.feed(&hello[..cut]);
        link.feed_end();
        let error = link.handshake().unwrap_err();
        assert_eq!(error.code, Code::LinkFailed);
        assert!(error.message.contains("ended before the handshake did"), "{error}");
    }
}

#[test]
fn a_handshake_without_end_is_cut_off() {
    let mut link = context().accept("the flooder").unwrap();
    // Middlebox-compatibility records that mean nothing may come before the end of a handshake.
    let mut client = context().connect("s").unwrap();
    client.handshake().unwrap();
    link.feed(&client.take_output());
    link.handshake().unwrap();
    let error = (0..20_000)
        .find_map(|_| {
            link.feed(b"\x14\x03\x03\x00\x01\x01");
            link.handshake().err()
        })
        .expect("refused in the end");
    assert_eq!(error.code, Code::Protocol, "{error}");
}

#[test]
fn a_certificate_without_end_is_cut_off() {
    let mut client = context().connect("the flooder").unwrap();
    let mut server = foreign(false, |builder| {
        let key = HostKey::generate().unwrap();
        builder.set_private_key(key.pkey()).unwrap();
        builder.set_certificate(&super::context::certificate_for_tests(&key)).unwrap();
        let (_, filler) = p256();
        for _ in 0..400 {
            builder.add_extra_chain_cert(filler.clone()).unwrap();
        }
    });
    client.handshake().unwrap();
    server.feed(&client.take_output());
    server.handshake().unwrap();
    let flight = server.take_output();
    assert!(flight.len() > 70_000, "{}", flight.len());
    let mut error = None;
    for piece in flight.chunks(4096) {
        client.feed(piece);
        error = error.or(client.handshake().err());
    }
    let error = error.expect("refused in the end");
    assert_eq!(error.code, Code::Limit, "{error}");
    assert!(error.message.contains("the flooder"), "{error}");
}

/// A certificate and key that are not a host key.
fn p256() -> (PKey<Private>, X509) {
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
    let key = PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap();
    let mut builder = X509::builder().unwrap();
    builder.set_version(2).unwrap();
    builder.set_not_before(&openssl::asn1::Asn1Time::from_unix(0).unwrap()).unwrap();
    builder.set_not_after(&openssl::asn1::Asn1Time::days_from_now(9).unwrap()).unwrap();
    builder.set_pubkey(&key).unwrap();
    builder.sign(&key, MessageDigest::sha256()).unwrap();
    let certificate = builder.build();
    (key, certificate)
}

/// Another TLS program, in the role of a link.
fn foreign(is_client: bool, set: impl FnOnce(&mut SslContextBuilder)) -> TlsLink {
    let mut builder = SslContext::builder(SslMethod::tls()).unwrap();
    let (key, certificate) = p256();
    if !is_client {
        builder.set_private_key(&key).unwrap();
        builder.set_certificate(&certificate).unwrap();
    }
    set(&mut builder);
    let mut ssl = openssl::ssl::Ssl::new(&builder.build()).unwrap();
    if is_client {
        ssl.set_connect_state()
    } else {
        ssl.set_accept_state()
    }
    TlsLink::new(ssl, "clerver").unwrap()
}

fn our_error_as_server(set: impl FnOnce(&mut SslContextBuilder)) -> Error {
    let (mut client, mut server) = (foreign(true, set), context().accept("the stranger").unwrap());
    let _ = shake(&mut client, &mut server);
    server.handshake().unwrap_err()
}

fn our_error_as_client(set: impl FnOnce(&mut SslContextBuilder)) -> Error {
    let (mut client, mut server) = (context().connect("the stranger").unwrap(), foreign(false, set));
    let _ = shake(&mut client, &mut server);
    client.handshake().unwrap_err()
}

#[test]
fn a_server_refuses_clients_of_other_protocols_versions_and_keys() {
    let error = our_error_as_server(|builder| builder.set_alpn_protos(b"\x08http/1.1\x02h2").unwrap());
    assert_eq!(error.code, Code::Version);
    assert!(error.message.contains("clerver/1"), "{error}");

    let error = our_error_as_server(|builder| {
        builder.set_max_proto_version(Some(SslVersion::TLS1_2)).unwrap();
    });
    assert_eq!(error.code, Code::Version, "{error}");
    assert!(error.message.contains("TLS 1.3"), "{error}");

    let error = our_error_as_server(|builder| builder.set_alpn_protos(b"\x09clerver/1").unwrap());
    assert_eq!(error.code, Code::WrongIdentity, "{error}");
    assert!(error.message.contains("no certificate"), "{error}");

    let error = our_error_as_server(|builder| {
        let (key, certificate) = p256();
        builder.set_alpn_protos(b"\x09clerver/1").unwrap();
        builder.set_private_key(&key).unwrap();
        builder.set_certificate(&certificate).unwrap();
    });
    assert_eq!(error.code, Code::WrongIdentity, "{error}");

    let error = our_error_as_server(|builder| {
        // A host key, but no ALPN: OpenSSL never asks for the protocol, so the link itself must.
        let key = HostKey::generate().unwrap();
        let certificate = super::context::certificate_for_tests(&key);
        builder.set_private_key(key.pkey()).unwrap();
        builder.set_certificate(&certificate).unwrap();
    });
    assert_eq!(error.code, Code::Version, "{error}");
}

#[test]
fn a_client_refuses_servers_of_other_protocols_versions_and_keys() {
    let error = our_error_as_client(|_| {});
    assert_eq!(error.code, Code::Version, "a web server with P-256 only cannot serve Ed25519: {error}");
    assert!(error.message.contains("the stranger"), "{error}");

    let error = our_error_as_client(|builder| {
        builder.set_max_proto_version(Some(SslVersion::TLS1_2)).unwrap();
    });
    assert_eq!(error.code, Code::Version, "{error}");

    let error = our_error_as_client(|builder| {
        let key = HostKey::generate().unwrap();
        let certificate = super::context::certificate_for_tests(&key);
        builder.set_private_key(key.pkey()).unwrap();
        builder.set_certificate(&certificate).unwrap();
    });
    assert_eq!(error.code, Code::Version, "no ALPN chosen: {error}");
    assert!(error.message.contains("clerver/1"), "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_cutting_of_the_wire_gives_the_same_bytes(
        parts in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..20_000), 0..5),
        record in 1usize..20_000,
        cuts in prop::collection::vec(1usize..9_000, 1..6),
        max in 1usize..30_000,
    ) {
        let Pair { mut client, mut server } = pair();
        client.set_record_bytes(record.max(64));
        let slices: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
        client.write(&slices).unwrap();
        let ciphertext = client.take_output();
        let mut rest = &ciphertext[..];
        let mut read = Vec::new();
        for &cut in cuts.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (piece, tail) = rest.split_at(cut.min(rest.len()));
            rest = tail;
            server.feed(piece);
            while server.read(&mut read, max).unwrap() == ReadState::More {}
        }
        prop_assert_eq!(read, parts.concat());
    }

    #[test]
    fn random_bytes_never_panic(garbage in prop::collection::vec(any::<u8>(), 0..600), at in 0usize..3000) {
        for mut link in [context().accept("x").unwrap(), context().connect("x").unwrap()] {
            let _ = link.handshake();
            link.feed(&garbage);
            let _ = link.handshake();
            link.feed_end();
            prop_assert!(link.handshake().is_err());
        }
        // Garbage in the place of a flight of a real handshake.
        let (mut client, mut server) = (context().connect("x").unwrap(), context().accept("x").unwrap());
        client.handshake().unwrap();
        server.feed(&client.take_output());
        server.handshake().unwrap();
        let mut flight = server.take_output();
        let at = at % flight.len();
        for (byte, wrong) in flight[at..].iter_mut().zip(&garbage) {
            *byte ^= wrong;
        }
        client.feed(&flight);
        let _ = client.handshake();
        // And in an open link.
        let Pair { client: _, mut server } = pair();
        server.feed(&garbage);
        let _ = server.read(&mut Vec::new(), usize::MAX);
        server.feed_end();
        prop_assert!(server.read(&mut Vec::new(), usize::MAX).is_err());
    }

    #[test]
    fn any_list_of_protocols_is_searched_without_a_panic(offered in prop::collection::vec(0u8..20, 0..60)) {
        prop_assert_eq!(select_alpn(&offered), None);
        let good = [&[0][..], ALPN_IN_A_LIST, &offered].concat();
        prop_assert_eq!(select_alpn(&good), Some(ALPN));
    }
}

const ALPN_IN_A_LIST: &[u8] = b"\x02h2\x09clerver/1";
