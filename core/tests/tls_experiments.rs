//! The experiments behind docs/decisions/0001 to 0004, kept so that another version of OpenSSL, of its
//! crate or of the kernel shows when an answer changes. They test what Clerver is built on, not Clerver.
#![allow(clippy::unwrap_used, reason = "a test program: a failed step ends it")]

use openssl::asn1::Asn1Time;
use openssl::ec::{EcGroup, EcKey};
use openssl::error::ErrorStack;
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{Id, PKey, Private};
use openssl::ssl::{
    AlpnError, ErrorCode, Ssl, SslContext, SslContextBuilder, SslMethod, SslStream, SslVerifyMode, SslVersion,
};
use openssl::x509::{X509, X509NameBuilder};
use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::sync::{Arc, Mutex};

/// One direction of a wire.
type Queue = Arc<Mutex<VecDeque<u8>>>;

struct Wire {
    incoming: Queue,
    outgoing: Queue,
}

impl Read for Wire {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let mut queue = self.incoming.lock().unwrap();
        if queue.is_empty() { Err(io::ErrorKind::WouldBlock.into()) } else { queue.read(into) }
    }
}

impl Write for Wire {
    fn write(&mut self, from: &[u8]) -> io::Result<usize> {
        self.outgoing.lock().unwrap().write(from)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

type Stream = SslStream<Wire>;

fn streams(client: &SslContext, server: &SslContext) -> (Stream, Stream) {
    let (there, back) = (Queue::default(), Queue::default());
    let (mut left, mut right) = (Ssl::new(client).unwrap(), Ssl::new(server).unwrap());
    left.set_connect_state();
    right.set_accept_state();
    let left = SslStream::new(left, Wire { incoming: back.clone(), outgoing: there.clone() }).unwrap();
    let right = SslStream::new(right, Wire { incoming: there, outgoing: back }).unwrap();
    (left, right)
}

/// Runs both ends until both are done; else whose error it was, and which.
fn shake(client: &SslContext, server: &SslContext) -> Result<(Stream, Stream), String> {
    let (mut left, mut right) = streams(client, server);
    for _ in 0..10 {
        let mut done = 0;
        for (stream, name) in [(&mut left, "client"), (&mut right, "server")] {
            match stream.do_handshake() {
                Ok(()) => done += 1,
                Err(error) if error.code() == ErrorCode::WANT_READ => {}
                Err(error) => return Err(format!("{name}: {error}")),
            }
        }
        if done == 2 {
            return Ok((left, right));
        }
    }
    Err("no end".into())
}

fn certificate(key: &PKey<Private>, digest: MessageDigest) -> X509 {
    let mut name = X509NameBuilder::new().unwrap();
    name.append_entry_by_text("CN", "experiment").unwrap();
    let name = name.build();
    let mut builder = X509::builder().unwrap();
    builder.set_version(2).unwrap();
    builder.set_subject_name(&name).unwrap();
    builder.set_issuer_name(&name).unwrap();
    builder.set_not_before(&Asn1Time::from_unix(0).unwrap()).unwrap();
    builder.set_not_after(&Asn1Time::days_from_now(9).unwrap()).unwrap();
    builder.set_pubkey(key).unwrap();
    builder.sign(key, digest).unwrap();
    builder.build()
}

fn ed25519() -> (PKey<Private>, X509) {
    let key = PKey::generate_ed25519().unwrap();
    let certificate = certificate(&key, MessageDigest::null());
    (key, certificate)
}

fn p256() -> (PKey<Private>, X509) {
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
    let key = PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap();
    let certificate = certificate(&key, MessageDigest::sha256());
    (key, certificate)
}

fn add(builder: &mut SslContextBuilder, (key, certificate): &(PKey<Private>, X509)) {
    builder.set_certificate(certificate).unwrap();
    builder.set_private_key(key).unwrap();
}

/// TLS 1.3 with these keys; both sides ask for a certificate and take any.
fn context(keys: &[(PKey<Private>, X509)], set: impl FnOnce(&mut SslContextBuilder)) -> SslContext {
    let mut builder = SslContext::builder(SslMethod::tls()).unwrap();
    builder.set_min_proto_version(Some(SslVersion::TLS1_3)).unwrap();
    builder.set_num_tickets(0).unwrap();
    builder.set_verify_callback(SslVerifyMode::PEER | SslVerifyMode::FAIL_IF_NO_PEER_CERT, |_, _| true);
    for key in keys {
        add(&mut builder, key);
    }
    set(&mut builder);
    builder.build()
}

fn exported(stream: &Stream, label: &str, context: Option<&[u8]>) -> Result<[u8; 32], ErrorStack> {
    let mut secret = [0; 32];
    stream.ssl().export_keying_material(&mut secret, label, context)?;
    Ok(secret)
}

fn peer_key_kind(stream: &Stream) -> Option<Id> {
    Some(stream.ssl().peer_certificate()?.public_key().unwrap().id())
}

mod exporter_0001 {
    use super::*;

    const LABEL: &str = "EXPORTER-clerver link";

    #[test]
    fn both_ends_of_a_link_and_nobody_else_have_it() {
        let (one, two) = (context(&[ed25519()], |_| {}), context(&[ed25519()], |_| {}));
        let (client, server) = shake(&one, &two).unwrap();
        let secret = exported(&client, LABEL, None).unwrap();
        assert_eq!(exported(&server, LABEL, None).unwrap(), secret);
        assert_eq!(
            exported(&client, LABEL, Some(b"")).unwrap(),
            secret,
            "TLS 1.3: no context is the empty one"
        );
        assert_ne!(exported(&client, LABEL, Some(b"x")).unwrap(), secret);
        assert_ne!(exported(&client, "EXPORTER-other", None).unwrap(), secret);
        let (again, _) = shake(&one, &two).unwrap();
        assert_ne!(exported(&again, LABEL, None).unwrap(), secret, "the same keys, another link");
    }

    #[test]
    fn there_is_none_before_the_handshake() {
        let one = context(&[ed25519()], |_| {});
        let (client, _) = streams(&one, &one);
        assert!(exported(&client, LABEL, None).is_err());
    }
}

mod external_psk_0002 {
    use super::*;

    const SHA256_SUITE: &str = "TLS_AES_128_GCM_SHA256";

    fn with_psk(
        client_key: [u8; 32],
        server_key: Option<[u8; 32]>,
        suites: &str,
    ) -> (SslContext, SslContext) {
        let client = context(&[ed25519()], |builder| {
            builder.set_ciphersuites(suites).unwrap();
            builder.set_psk_client_callback(move |_, _, identity, key| {
                identity[..4].copy_from_slice(b"sid\0");
                key[..32].copy_from_slice(&client_key);
                Ok(32)
            });
        });
        let server = context(&[ed25519()], |builder| {
            builder.set_session_id_context(b"server only").unwrap();
            builder.set_ciphersuites(suites).unwrap();
            builder.set_psk_server_callback(move |_, identity, key| {
                let Some(server_key) = server_key.filter(|_| identity == Some(b"sid")) else { return Ok(0) };
                key[..32].copy_from_slice(&server_key);
                Ok(32)
            });
        });
        (client, server)
    }

    #[test]
    fn a_shared_key_replaces_the_certificates_of_both_ends() {
        let (client, server) = with_psk([7; 32], Some([7; 32]), SHA256_SUITE);
        let (client, server) = shake(&client, &server).unwrap();
        assert!(client.ssl().session_reused(), "OpenSSL counts it as a resumption");
        assert_eq!(peer_key_kind(&client), None, "no certificate: the peer's identity is gone");
        assert_eq!(peer_key_kind(&server), None, "even though the server demands one");
        assert_eq!(
            exported(&client, "EXPORTER-x", None).unwrap(),
            exported(&server, "EXPORTER-x", None).unwrap()
        );
    }

    #[test]
    fn an_unknown_identity_falls_back_to_certificates() {
        let (client, server) = with_psk([7; 32], None, SHA256_SUITE);
        let (client, server) = shake(&client, &server).unwrap();
        assert!(!client.ssl().session_reused());
        assert_eq!(peer_key_kind(&client), Some(Id::ED25519));
        assert_eq!(peer_key_kind(&server), Some(Id::ED25519));
    }

    #[test]
    fn a_wrong_key_fails_the_handshake_without_a_fallback() {
        let (client, server) = with_psk([7; 32], Some([8; 32]), SHA256_SUITE);
        let error = shake(&client, &server).map(|_| ()).unwrap_err();
        assert!(error.starts_with("server:") && error.contains("binder does not verify"), "{error}");
    }

    #[test]
    fn the_callback_form_needs_a_sha256_suite_in_the_first_place() {
        for suites in [
            "TLS_AES_256_GCM_SHA384",
            "TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256:TLS_AES_128_GCM_SHA256",
        ] {
            let (client, server) = with_psk([7; 32], Some([7; 32]), suites);
            let (client, _) = shake(&client, &server).unwrap();
            assert_eq!(client.ssl().current_cipher().unwrap().name(), "TLS_AES_256_GCM_SHA384");
            assert!(!client.ssl().session_reused(), "the key is silently not used");
        }
        let order = "TLS_CHACHA20_POLY1305_SHA256:TLS_AES_256_GCM_SHA384:TLS_AES_128_GCM_SHA256";
        let (client, server) = with_psk([7; 32], Some([7; 32]), order);
        let (client, _) = shake(&client, &server).unwrap();
        assert!(client.ssl().session_reused(), "any suite with a hash of 32 bytes will do");
        assert_eq!(client.ssl().current_cipher().unwrap().name(), "TLS_CHACHA20_POLY1305_SHA256");
    }

    fn with_contexts(client: &[u8], server: &[u8]) -> Result<(), String> {
        let make = |name: &[u8]| {
            context(&[ed25519()], |builder| {
                if !name.is_empty() {
                    builder.set_session_id_context(name).unwrap();
                }
                builder.set_ciphersuites(SHA256_SUITE).unwrap();
                builder.set_psk_client_callback(|_, _, identity, key| {
                    identity[..4].copy_from_slice(b"sid\0");
                    key[..32].copy_from_slice(&[7; 32]);
                    Ok(32)
                });
                builder.set_psk_server_callback(|_, _, key| {
                    key[..32].copy_from_slice(&[7; 32]);
                    Ok(32)
                });
            })
        };
        shake(&make(client), &make(server)).map(|_| ())
    }

    #[test]
    fn the_server_needs_a_session_id_context_and_the_client_must_have_none() {
        with_contexts(b"", b"x").unwrap();
        let error = with_contexts(b"", b"").unwrap_err();
        assert!(error.contains("session id context uninitialized"), "{error}");
        let error = with_contexts(b"x", b"x").unwrap_err();
        assert!(error.contains("attempt to reuse session in different context"), "{error}");
    }
}

mod notsent_lowat_0003 {
    use super::*;
    use socket2::{Domain, Socket, Type};
    use std::net::{Ipv4Addr, SocketAddr};

    /// A connected pair over loopback whose reader never reads.
    fn pair(lowat: Option<u32>) -> (Socket, Socket) {
        let listener = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        listener.set_recv_buffer_size(32 * 1024).unwrap();
        listener.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).unwrap();
        listener.listen(1).unwrap();
        let writer = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        if let Some(lowat) = lowat {
            writer.set_tcp_notsent_lowat(lowat).unwrap();
        }
        writer.connect(&listener.local_addr().unwrap()).unwrap();
        let (reader, _) = listener.accept().unwrap();
        writer.set_nonblocking(true).unwrap();
        (writer, reader)
    }

    fn is_writable(socket: &Socket) -> bool {
        use std::os::fd::AsRawFd;
        let mut poll = mio::Poll::new().unwrap();
        let mut events = mio::Events::with_capacity(4);
        let fd = socket.as_raw_fd();
        let mut source = mio::unix::SourceFd(&fd);
        poll.registry().register(&mut source, mio::Token(0), mio::Interest::WRITABLE).unwrap();
        poll.poll(&mut events, Some(std::time::Duration::ZERO)).unwrap();
        events.iter().any(|event| event.is_writable())
    }

    /// Bytes that a writer who asks before each write puts into a connection that nobody reads.
    fn accepted(lowat: Option<u32>) -> usize {
        let (mut writer, _reader) = pair(lowat);
        let mut total = 0;
        while is_writable(&writer) {
            match writer.write(&[0; 1024]) {
                Ok(size) => total += size,
                Err(error) => {
                    assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
                    break;
                }
            }
        }
        total
    }

    #[test]
    fn the_option_is_set_and_read_without_unsafe_code() {
        let (writer, _reader) = pair(Some(16 * 1024));
        assert_eq!(writer.tcp_notsent_lowat().unwrap(), 16 * 1024);
        writer.set_tcp_notsent_lowat(128 * 1024).unwrap();
        assert_eq!(writer.tcp_notsent_lowat().unwrap(), 128 * 1024, "it can follow the measured rate");
    }

    #[test]
    fn a_writer_that_waits_for_writable_queues_much_less() {
        let (with, without) = (accepted(Some(4 * 1024)), accepted(None));
        println!("unread connection takes {with} bytes with a mark of 4 KiB, {without} without");
        assert!(with * 2 < without, "{with} with, {without} without");
    }

    #[test]
    fn the_mark_governs_readiness_and_not_the_write_itself() {
        let (mut writer, _reader) = pair(Some(4 * 1024));
        while is_writable(&writer) {
            writer.write_all(&[0; 1024]).unwrap();
        }
        let more = writer.write(&[0; 64 * 1024]);
        println!("a write past the mark answers {more:?}");
        assert!(more.is_ok_and(|size| size > 0), "the kernel still takes what is written without asking");
    }
}

mod two_certificates_0004 {
    use super::*;

    const CLERVER: &[u8] = b"\x09clerver/1";
    const BROWSER: &[u8] = b"\x02h2\x08http/1.1";

    /// A listener with both certificates, which asks a browser for none.
    fn listener(order: &[(PKey<Private>, X509)]) -> SslContext {
        context(order, |builder| {
            builder.set_sigalgs_list("ed25519:ECDSA+SHA256").unwrap();
            builder.set_alpn_select_callback(|ssl, offered| {
                if offered == CLERVER {
                    return Ok(&offered[1..]);
                }
                ssl.set_verify(SslVerifyMode::NONE);
                offered
                    .windows(9)
                    .position(|name| name == b"\x08http/1.1")
                    .map_or(Err(AlpnError::ALERT_FATAL), |at| Ok(&offered[at + 1..at + 9]))
            });
        })
    }

    fn clerver() -> SslContext {
        context(&[ed25519()], |builder| {
            builder.set_sigalgs_list("ed25519").unwrap();
            builder.set_alpn_protos(CLERVER).unwrap();
        })
    }

    /// No certificate of its own, and no Ed25519, as browsers are.
    fn browser() -> SslContext {
        context(&[], |builder| {
            builder.set_sigalgs_list("ECDSA+SHA256:RSA-PSS+SHA256").unwrap();
            builder.set_alpn_protos(BROWSER).unwrap();
        })
    }

    #[test]
    fn the_clients_signature_algorithms_choose_the_certificate() {
        for keys in [[ed25519(), p256()], [p256(), ed25519()]] {
            let listener = listener(&keys);
            let (client, server) = shake(&clerver(), &listener).unwrap();
            assert_eq!(peer_key_kind(&client), Some(Id::ED25519));
            assert_eq!(peer_key_kind(&server), Some(Id::ED25519), "and the client proves its own key");
            assert_eq!(server.ssl().selected_alpn_protocol(), Some(&b"clerver/1"[..]));

            let (client, server) = shake(&browser(), &listener).unwrap();
            assert_eq!(peer_key_kind(&client), Some(Id::EC));
            assert_eq!(peer_key_kind(&server), None, "a browser is asked for no certificate");
            assert_eq!(server.ssl().selected_alpn_protocol(), Some(&b"http/1.1"[..]));
        }
    }

    #[test]
    fn a_client_that_takes_both_gets_the_one_it_names_first() {
        let listener = listener(&[ed25519(), p256()]);
        for (list, kind) in [("ed25519:ECDSA+SHA256", Id::ED25519), ("ECDSA+SHA256:ed25519", Id::EC)] {
            let both = context(&[ed25519()], |builder| {
                builder.set_sigalgs_list(list).unwrap();
                builder.set_alpn_protos(CLERVER).unwrap();
            });
            let (client, _) = shake(&both, &listener).unwrap();
            assert_eq!(peer_key_kind(&client), Some(kind), "{list}");
        }
    }

    #[test]
    fn a_listener_that_takes_both_algorithms_also_takes_a_p256_client() {
        let client = context(&[p256()], |builder| builder.set_alpn_protos(CLERVER).unwrap());
        let (_, server) = shake(&client, &listener(&[ed25519(), p256()])).unwrap();
        assert_eq!(peer_key_kind(&server), Some(Id::EC), "so the kind of the key must be checked by us");
    }
}
