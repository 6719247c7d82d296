//! One TLS connection between two byte queues.

use crate::tls::RECORD_BYTES_MAX;
use crate::tls::context::{ALPN, peer_of};
use crate::tls::failure::{During, explain, no_common_protocol, wrong_key};
use crate::tls::pipe::MemoryPipe;
use bytes::BytesMut;
use clerver_proto::error::{Code, Error, Result};
use clerver_proto::id::HostId;
use openssl::error::ErrorStack;
use openssl::ssl::{ErrorCode, Ssl, SslStream};
use std::cell::RefCell;
use std::fmt;

/// The exporter label that binds a session's proof to one link (DESIGN.md S5).
const EXPORTER_LABEL: &str = "EXPORTER-clerver link";
/// Ciphertext that a peer may send before its handshake is done; our own takes about 1 KiB.
const HANDSHAKE_BYTES_MAX: u64 = 64 * 1024;
/// Header, content type and tag of a record.
const RECORD_OVERHEAD_BYTES: usize = 22;

thread_local! {
    /// Where a record that spans several slices is put together: per thread, so that an idle link costs
    /// nothing.
    static GATHERED: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// How far the handshake is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HandshakeState {
    /// Send the output, feed what arrives, ask again.
    InProgress,
    /// Both keys are proved from here on. On the dialling side the peer may still refuse: that shows at the
    /// first read.
    Done {
        /// Whose key the peer proved to hold.
        peer: HostId,
        /// 32 secret bytes that only the two ends of this link know (RFC 8446 7.5).
        exporter: [u8; 32],
    },
}

/// Why [`TlsLink::read`] stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadState {
    /// Everything that was fed is decrypted: feed more.
    Drained,
    /// `max` bytes were read and more may wait: read again before feeding.
    More,
    /// The peer said goodbye; nothing follows and nothing was cut off.
    Closed,
}

/// One end of a TLS link. Nothing blocks and nothing does I/O: the owner carries the ciphertext.
///
/// May move between threads, but is used by one at a time (the engine keeps it under the link's lock).
pub struct TlsLink {
    stream: SslStream<MemoryPipe>,
    with: Box<str>,
    state: HandshakeState,
    record_bytes: usize,
    /// `pipe.taken` after the last whole record: what lies above is a partial record inside OpenSSL.
    whole_until: u64,
    failed: Option<Box<Error>>,
    /// The peer said goodbye.
    closed: bool,
    /// We did.
    is_shut_down: bool,
}

impl fmt::Debug for TlsLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The exporter is a secret.
        let peer = self.peer();
        f.debug_struct("TlsLink").field("with", &self.with).field("peer", &peer).finish_non_exhaustive()
    }
}

impl TlsLink {
    pub(super) fn new(ssl: Ssl, with: &str) -> Result<TlsLink> {
        let stream = SslStream::new(ssl, MemoryPipe::default())
            .map_err(|error| Error::new(Code::System, format!("start a TLS link with {with}: {error}")))?;
        Ok(TlsLink {
            stream,
            with: with.into(),
            state: HandshakeState::InProgress,
            record_bytes: RECORD_BYTES_MAX,
            whole_until: 0,
            failed: None,
            closed: false,
            is_shut_down: false,
        })
    }

    /// The peer's host id, once the handshake is done.
    pub fn peer(&self) -> Option<HostId> {
        match self.state {
            HandshakeState::InProgress => None,
            HandshakeState::Done { peer, .. } => Some(peer),
        }
    }

    /// Adds received ciphertext, by copy. Feed at most a read buffer at a time and then call `handshake` or
    /// `read`: what is fed is kept until it is decrypted.
    pub fn feed(&mut self, ciphertext: &[u8]) {
        self.stream.get_mut().feed(ciphertext);
    }

    /// Adds received ciphertext without a copy. The buffer is the link's until [`TlsLink::take_spent`].
    pub fn feed_lent(&mut self, ciphertext: Vec<u8>) {
        self.stream.get_mut().feed_lent(ciphertext);
    }

    /// The emptied input buffer, for the next receive; an unallocated one while ciphertext still waits in it.
    pub fn take_spent(&mut self) -> Vec<u8> {
        self.stream.get_mut().take_spent()
    }

    /// The connection ended: after what was fed, nothing comes. A read then ends with `Closed` or an error.
    pub fn feed_end(&mut self) {
        self.stream.get_mut().ended = true;
    }

    /// All ciphertext made so far, for the socket; empty when there is none. Also worth sending after an
    /// error: it holds the alert that tells the peer why.
    #[must_use = "ciphertext that is not sent breaks the link"]
    pub fn take_output(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.stream.get_mut().output)
    }

    /// Gives the link an empty buffer with capacity to encrypt into, so that it allocates none;
    /// `take_output` gives it back. Without effect while other output waits.
    pub fn lend_output(&mut self, mut buffer: Vec<u8>) {
        let output = &mut self.stream.get_mut().output;
        if output.is_empty() {
            buffer.clear();
            *output = buffer;
        }
    }

    /// Bytes of ciphertext that wait in the output.
    pub fn output_bytes(&self) -> usize {
        self.stream.get_ref().output.len()
    }

    /// Sets the most plaintext bytes per record, 1 to 16 KiB (the default): smaller ones let a beat through
    /// sooner.
    pub fn set_record_bytes(&mut self, bytes: usize) {
        self.record_bytes = bytes.clamp(1, RECORD_BYTES_MAX);
    }

    /// Takes the handshake as far as what was fed allows; the dialling side calls it once before feeding.
    /// Then send the output. When it is done it answers the same again.
    ///
    /// Errors, all final for the link: `VERSION` no TLS 1.3 or no `clerver/1`; `WRONG_IDENTITY` no
    /// certificate or no Ed25519 key; `DENIED` an alert of the peer; `LINK_FAILED` the connection ended;
    /// `PROTOCOL` no TLS at all; `LIMIT` more than 64 KiB before the end of the handshake.
    pub fn handshake(&mut self) -> Result<HandshakeState> {
        self.check_failed()?;
        if let HandshakeState::Done { .. } = self.state {
            return Ok(self.state);
        }
        let result = self.advance_handshake();
        self.stream.get_mut().release();
        self.remember(result)
    }

    fn advance_handshake(&mut self) -> Result<HandshakeState> {
        forget_errors();
        match self.stream.do_handshake() {
            Ok(()) => {}
            Err(error) if error.code() == ErrorCode::WANT_READ => return self.handshake_unfinished(),
            Err(error) => return Err(explain(&error, self.stream.ssl(), During::Handshake, &self.with)),
        }
        let ssl = self.stream.ssl();
        if ssl.selected_alpn_protocol() != Some(ALPN) {
            return Err(no_common_protocol(&self.with));
        }
        let peer = peer_of(ssl).ok_or_else(|| wrong_key(&self.with))?;
        forget_errors();
        let mut exporter = [0; 32];
        ssl.export_keying_material(&mut exporter, EXPORTER_LABEL, None).map_err(|error| {
            Error::new(Code::System, format!("TLS handshake with {}: no exporter: {error}", self.with))
        })?;
        self.whole_until = self.stream.get_ref().taken;
        self.state = HandshakeState::Done { peer, exporter };
        Ok(self.state)
    }

    fn handshake_unfinished(&self) -> Result<HandshakeState> {
        if self.stream.get_ref().taken <= HANDSHAKE_BYTES_MAX {
            return Ok(HandshakeState::InProgress);
        }
        let what = format!(
            "TLS handshake with {}: the peer sent more than {} KiB without an end",
            self.with,
            HANDSHAKE_BYTES_MAX / 1024
        );
        Err(Error::new(Code::Limit, what).with_remedy("check the port: something else may speak there"))
    }

    /// Decrypts what was fed and appends it to `into`, at most `max` bytes of plaintext; the engine passes
    /// 16 KiB per hold of the link's lock. What was read before a goodbye or an error is in `into` in any
    /// case.
    ///
    /// Reading can make output, such as an alert: send it.
    ///
    /// Errors: `STATE` before the handshake is done. `LINK_FAILED`, final for the link, when the ciphertext
    /// was altered or cut off, or the peer sent an alert.
    pub fn read(&mut self, into: &mut Vec<u8>, max: usize) -> Result<ReadState> {
        let end = into.len().saturating_add(max);
        loop {
            let start = into.len();
            if start >= end {
                return Ok(ReadState::More);
            }
            if let Some(state) = self.nothing_to_decrypt()? {
                return Ok(state);
            }
            // The room is zeroed first, so it is no larger than what can come out of OpenSSL now.
            let room = self.most_plaintext().min(end - start);
            into.resize(start + room, 0);
            let result = self.decrypt(&mut into[start..]);
            into.truncate(start + result.as_ref().map_or(0, |&(size, _)| size));
            if let (0, state) = result? {
                return Ok(state);
            }
        }
    }

    /// As [`TlsLink::read`], but appends one record at most.
    pub fn read_record(&mut self, into: &mut BytesMut) -> Result<ReadState> {
        if let Some(state) = self.nothing_to_decrypt()? {
            return Ok(state);
        }
        forget_errors();
        let read = super::unzeroed::read(&mut self.stream, into, RECORD_BYTES_MAX);
        self.note_read(read).map(|(_, state)| state)
    }

    /// The state to report without asking OpenSSL, whose answer would cost a failed read per wake-up.
    fn nothing_to_decrypt(&mut self) -> Result<Option<ReadState>> {
        self.check_failed()?;
        self.check_done("read")?;
        if self.closed {
            return Ok(Some(ReadState::Closed));
        }
        let pipe = self.stream.get_ref();
        if pipe.waiting() == 0 && !pipe.ended && self.stream.ssl().pending() == 0 {
            self.stream.get_mut().release();
            return Ok(Some(ReadState::Drained));
        }
        Ok(None)
    }

    fn most_plaintext(&self) -> usize {
        let pipe = self.stream.get_ref();
        let partial =
            usize::try_from(pipe.taken.saturating_sub(self.whole_until)).unwrap_or(RECORD_BYTES_MAX);
        partial.saturating_add(pipe.waiting()).max(self.stream.ssl().pending()).clamp(1, RECORD_BYTES_MAX)
    }

    /// One SSL_read; 0 bytes come with the state that says why.
    fn decrypt(&mut self, into: &mut [u8]) -> Result<(usize, ReadState)> {
        forget_errors();
        let read = self.stream.ssl_read(into);
        self.note_read(read)
    }

    fn note_read(&mut self, read: Result<usize, openssl::ssl::Error>) -> Result<(usize, ReadState)> {
        match read {
            Ok(size) => {
                if self.stream.ssl().pending() == 0 {
                    self.whole_until = self.stream.get_ref().taken;
                }
                Ok((size, ReadState::More))
            }
            Err(error) if error.code() == ErrorCode::WANT_READ => {
                self.stream.get_mut().release();
                Ok((0, ReadState::Drained))
            }
            Err(error) if error.code() == ErrorCode::ZERO_RETURN => {
                self.closed = true;
                self.stream.get_mut().release();
                Ok((0, ReadState::Closed))
            }
            Err(error) => {
                let result = Err(explain(&error, self.stream.ssl(), During::Traffic, &self.with));
                self.remember(result)
            }
        }
    }

    /// Encrypts all of `parts`, joined, into the output. It never waits; bound it by what the socket takes,
    /// and by 16 KiB per hold of the link's lock. The bytes are spread evenly over as few records as the
    /// record size allows, so no runt follows a full one; only a record that spans parts is copied first.
    ///
    /// Errors: `STATE` before the handshake is done or after `shutdown`; `LINK_FAILED` when the link failed
    /// before.
    pub fn write(&mut self, parts: &[&[u8]]) -> Result<()> {
        self.check_failed()?;
        self.check_done("write")?;
        if self.is_shut_down {
            let what = format!("write to the TLS link with {}: it was shut down", self.with);
            return Err(Error::new(Code::State, what));
        }
        let total: usize = parts.iter().map(|part| part.len()).sum();
        if total == 0 {
            return Ok(());
        }
        let records = total.div_ceil(self.record_bytes);
        let size = total.div_ceil(records);
        self.stream.get_mut().output.reserve(total + records * RECORD_OVERHEAD_BYTES);
        GATHERED.with_borrow_mut(|gathered| self.write_records(parts, size, gathered))
    }

    fn write_records(&mut self, parts: &[&[u8]], size: usize, gathered: &mut Vec<u8>) -> Result<()> {
        gathered.clear();
        for part in parts {
            let mut rest = *part;
            while !rest.is_empty() {
                let (next, tail) = rest.split_at(rest.len().min(size - gathered.len()));
                rest = tail;
                if next.len() == size {
                    self.encrypt(next)?;
                    continue;
                }
                gathered.extend_from_slice(next);
                if gathered.len() == size {
                    self.encrypt(gathered)?;
                    gathered.clear();
                }
            }
        }
        if gathered.is_empty() { Ok(()) } else { self.encrypt(gathered) }
    }

    fn encrypt(&mut self, record: &[u8]) -> Result<()> {
        // The pipe takes everything, so this waits for nothing, and OpenSSL does not ask the queue of errors.
        match self.stream.ssl_write(record) {
            Ok(size) if size == record.len() => Ok(()),
            Ok(_) => self.remember(Err(Error::new(
                Code::Bug,
                format!("TLS link with {}: OpenSSL encrypted only part of a record", self.with),
            ))),
            Err(error) => {
                let what = format!("write to the TLS link with {}: {error}", self.with);
                self.remember(Err(Error::new(Code::LinkFailed, what)))
            }
        }
    }

    /// Says goodbye: puts close_notify into the output, after which nothing can be written; reading goes
    /// on. Without effect before the handshake is done, after an error, and the second time.
    pub fn shutdown(&mut self) {
        if self.failed.is_none() && self.peer().is_some() && !self.is_shut_down {
            self.is_shut_down = true;
            forget_errors();
            // The answer only tells whether the peer said goodbye too, which `read` reports.
            let _ = self.stream.shutdown();
        }
    }

    fn check_done(&self, action: &str) -> Result<()> {
        if self.peer().is_some() {
            return Ok(());
        }
        let what = format!("{action} on the TLS link with {}: its handshake is not done", self.with);
        Err(Error::new(Code::State, what))
    }

    fn check_failed(&self) -> Result<()> {
        match &self.failed {
            Some(error) => Err(Error::clone(error)),
            None => Ok(()),
        }
    }

    fn remember<T>(&mut self, result: Result<T>) -> Result<T> {
        if let Err(error) = &result {
            self.failed.get_or_insert_with(|| Box::new(error.clone()));
        }
        result
    }
}

/// OpenSSL judges a call by its thread's queue of errors, in which other users of it may have left some.
fn forget_errors() {
    drop(ErrorStack::get());
}
