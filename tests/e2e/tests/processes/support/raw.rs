//! A peer that keeps to no rule: bytes of our own choice over TLS or TCP.

use super::LONG;
use bytes::BytesMut;
use clerver::identity::HostKey;
use clerver::keyed_hash::HmacSha256;
use clerver::tls::{HandshakeState, TlsContext, TlsLink};
use clerver_proto::crypto::KeyedHash;
use clerver_proto::id::{NodeId, ProcessId};
use clerver_proto::limits::{FRAME_BYTES_MAX, SessionLimits, VERSION_MAX, VERSION_MIN};
use clerver_proto::wire::{Decoder, Frame, Hello, Role};
use std::io::{Read, Write};
use std::net::TcpStream;

/// A TLS link that is driven by hand.
pub(crate) struct RawLink {
    socket: TcpStream,
    tls: TlsLink,
    decoder: Decoder,
    exporter: [u8; 32],
    node: NodeId,
}

impl RawLink {
    /// Dials and shakes hands with this key.
    pub(crate) fn dial(address: &str, key: &HostKey) -> RawLink {
        let mut socket = TcpStream::connect(address).unwrap();
        socket.set_read_timeout(Some(LONG)).unwrap();
        let mut tls = TlsContext::new(key).unwrap().connect(address).unwrap();
        let mut piece = [0; 4096];
        let exporter = loop {
            let state = tls.handshake().unwrap();
            socket.write_all(&tls.take_output()).unwrap();
            if let HandshakeState::Done { exporter, .. } = state {
                break exporter;
            }
            let size = socket.read(&mut piece).unwrap();
            assert!(size > 0, "the server hung up in the handshake");
            tls.feed(&piece[..size]);
        };
        let node = NodeId { host: key.host_id(), process: ProcessId([0x5a; 16]) };
        RawLink { socket, tls, decoder: Decoder::default(), exporter, node }
    }

    /// A HELLO that is right for this link.
    pub(crate) fn hello(&self) -> Hello {
        let hash = HmacSha256::new().unwrap();
        let wide = hash.keyed_hash(&self.exporter, &[b"clerver hello", b"dialler"]);
        Hello {
            version_min: VERSION_MIN,
            version_max: VERSION_MAX,
            node: self.node,
            binding: std::array::from_fn(|index| wide[index]),
            link_counter: 1,
            role: Role::Primary,
            revive: false,
            volatile: false,
            for_session: None,
            limits: SessionLimits::default(),
            beat_ms: 1000,
            ttl_ms: 10_000,
            ttl_floor_ms: 0,
            ttl_max_ms: 120_000,
            embalm_ms: 0,
            wall_ms: 0,
            host_name: "raw".into(),
            node_name: "raw".into(),
            web_address: String::new(),
        }
    }

    /// Sends plain bytes; a server that hung up already does not matter.
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.tls.write(&[bytes]).unwrap();
        let _ = self.socket.write_all(&self.tls.take_output());
    }

    pub(crate) fn send_frame(&mut self, frame: &Frame) {
        let mut bytes = BytesMut::new();
        frame.encode(&mut bytes);
        self.send(&bytes);
    }

    /// The next frame; `None` when the server closed the link.
    pub(crate) fn next_frame(&mut self) -> Option<Frame> {
        let mut piece = [0; 4096];
        loop {
            if let Some(frame) = self.decoder.next(FRAME_BYTES_MAX).unwrap() {
                return Some(frame);
            }
            let mut plain = Vec::new();
            // A server may close without a goodbye.
            let is_open = self.tls.read(&mut plain, 1 << 16).is_ok();
            if !plain.is_empty() {
                self.decoder.push(plain.as_slice().into());
                continue;
            }
            match self.socket.read(&mut piece) {
                Ok(size) if size > 0 && is_open => self.tls.feed(&piece[..size]),
                Err(error) if matches!(error.kind(), std::io::ErrorKind::WouldBlock) => {
                    panic!("waited {LONG:?} for a frame or the end of the link")
                }
                _ => return None,
            }
        }
    }

    /// Reads until REFUSE: its code and text. Then the link is closed.
    pub(crate) fn refused(&mut self) -> (u16, String) {
        loop {
            match self.next_frame() {
                Some(Frame::Refuse { code, text }) => {
                    assert_eq!(self.next_frame(), None, "the link is closed after REFUSE");
                    return (code, text);
                }
                Some(_) => {}
                None => panic!("the link was closed without REFUSE"),
            }
        }
    }

    /// Reads until the server closes the link; the REFUSE before that, if there was one.
    pub(crate) fn closed(&mut self) -> Option<u16> {
        let mut code = None;
        while let Some(frame) = self.next_frame() {
            if let Frame::Refuse { code: refused, .. } = frame {
                code = Some(refused);
            }
        }
        code
    }

    /// No more will be sent.
    pub(crate) fn shut_down(&mut self) {
        // The server may have closed before.
        let _ = self.socket.shutdown(std::net::Shutdown::Write);
    }
}
