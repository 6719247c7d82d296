//! One attached or attaching link: a socket, its TLS, and the queue of plain bytes that wait for it.
//!
//! Whoever needs the link drives it: any thread may flush, one at a time (`Owner`); the others only append,
//! and the owner takes what they appended along. The engine's thread alone receives.
//!
//! Invariants: bytes are appended under the shard lock, so their order is that of the protocol; neither the
//! queue's nor the TLS lock is held over a system call; at most 16 KiB are encrypted or decrypted per hold of
//! the TLS lock; when the owner stops, the queue is empty, or somebody else (the engine, or a writable
//! socket) is named to go on.

use super::pace::Pace;
use super::{clock, descriptor};
use crate::tls::{RECORD_BYTES_MAX, ReadState, TlsLink};
use bytes::{Bytes, BytesMut};
use clerver_proto::error::{Code, Error, Result};
use clerver_proto::id::LinkId;
use clerver_proto::time::Instant;
use parking_lot::{Mutex, MutexGuard};
use socket2::SockRef;
use std::cell::Cell;
use std::collections::VecDeque;
use std::io::{self, ErrorKind, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::time::Duration;

/// Encrypted and sent at once: one system call per 64 KiB, never one per record. A message of 64 KiB fits with what
/// stands before it, or its last bytes would be a record and a system call of their own.
const BATCH_BYTES: usize = 66 * 1024;
/// Batches that one visit sends before it passes the link on.
const BATCHES_PER_VISIT: usize = 4;
/// Buffer for one receive.
pub(crate) const RECEIVE_BYTES: usize = 256 * 1024;
/// Sends that callers may make at once in a burst; then the engine gathers what follows.
const TOKENS_MAX: u64 = 16;
/// A token comes back after this time.
const TOKEN_NANOS: u64 = 20_000;

thread_local! {
    /// Ciphertext buffers are kept per thread and never per link, so that an idle link costs nothing.
    static SPARE: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// Who sends what is queued.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Owner {
    /// Nobody has to: the queue is empty.
    Nobody,
    /// A thread is at it and will look again before it stops.
    Working,
    /// The engine was asked.
    Engine,
    /// The socket is full; the engine goes on when it is writable.
    Socket,
    /// Nobody ever again.
    Gone,
}

/// Why somebody wants to flush.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum By {
    /// A thread that just appended.
    Caller,
    /// A thread that just appended what somebody waits for: no burst that is gathered.
    Urgent,
    /// The engine's thread that just appended.
    Engine,
    /// The engine, as it was asked to.
    Asked,
    /// The engine, because the socket is writable.
    Writable,
}

/// What has to happen after a flush.
#[derive(Debug)]
pub(crate) enum Next {
    /// Nothing.
    Nothing,
    /// The engine goes on (`By::Asked`).
    AskEngine,
    /// Watch the socket for room (`By::Writable`).
    AwaitRoom,
    /// All was sent after a hang-up: close.
    Finished,
    /// The socket or TLS failed.
    Failed(Error),
}

/// How far a flush came.
#[derive(Debug)]
pub(crate) struct Flushed {
    /// Plain bytes more that the protocol may hand over; 0 while they are few.
    pub(crate) grant: usize,
    /// What has to happen now.
    pub(crate) next: Next,
}

/// Result of one receive.
#[derive(Debug)]
pub(crate) enum Received {
    /// Plain bytes, perhaps none; `more` when the socket may have more already.
    Bytes { bytes: Bytes, more: bool },
    /// The socket has nothing now.
    Nothing,
    /// The link ended: the last bytes, and why.
    Ended { bytes: Bytes, why: Error },
}

/// How much of what arrived was thrown away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Discarded {
    /// All that was there.
    All,
    /// More may be there, for which no event will come.
    Some,
    /// All: the peer closed or the link failed.
    End,
}

struct Queue {
    parts: VecDeque<Bytes>,
    bytes: usize,
    owner: Owner,
    tokens: u64,
    tokens_at: Instant,
    hang_up: bool,
    pace: Pace,
}

/// Ciphertext on its way into the socket; touched by the owner of the flush alone, so its lock is never
/// contended.
#[derive(Default)]
struct Cipher {
    buffer: Vec<u8>,
    at: usize,
    /// Plain bytes that it stands for.
    plain: usize,
    goodbye: bool,
}

/// See the module.
pub(crate) struct Link {
    pub(crate) id: LinkId,
    /// The peer's address, for messages.
    pub(crate) with: String,
    socket: TcpStream,
    queue: Mutex<Queue>,
    tls: Mutex<TlsLink>,
    cipher: Mutex<Cipher>,
}

impl AsRawFd for Link {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

impl Link {
    /// A link whose handshake is done; `socket` does not block.
    pub(crate) fn new(
        id: LinkId,
        with: String,
        socket: TcpStream,
        tls: TlsLink,
        beat: Duration,
        now: Instant,
    ) -> Link {
        let queue = Queue {
            parts: VecDeque::new(),
            bytes: 0,
            owner: Owner::Nobody,
            tokens: TOKENS_MAX,
            tokens_at: now,
            hang_up: false,
            pace: Pace::new(beat, now),
        };
        let cipher = Mutex::new(Cipher::default());
        Link { id, with, socket, queue: Mutex::new(queue), tls: Mutex::new(tls), cipher }
    }

    /// Queues plain bytes. Only under the shard lock, which orders them; then flush without it.
    pub(crate) fn append(&self, parts: Vec<Bytes>) {
        let mut queue = self.queue.lock();
        queue.bytes += parts.iter().map(Bytes::len).sum::<usize>();
        queue.parts.extend(parts);
    }

    /// After what is queued, say goodbye. Only under the shard lock; then flush without it.
    pub(crate) fn hang_up(&self) {
        self.queue.lock().hang_up = true;
    }

    /// Sends what is queued, unless somebody else is at it or named for it.
    pub(crate) fn flush(&self, by: By, now: Instant) -> Flushed {
        let mut queue = self.queue.lock();
        if let Some(next) = queue.refuse(by, now) {
            return Flushed { grant: 0, next };
        }
        queue.owner = Owner::Working;
        let mut cipher = self.cipher.lock();
        let mut batches = 0;
        let next = loop {
            // What a full socket left over goes first, so the ciphertext never grows beyond one batch.
            let batch = if cipher.is_sent() { queue.take_batch() } else { VecDeque::new() };
            let say_goodbye = cipher.is_sent() && batch.is_empty() && queue.hang_up && !cipher.goodbye;
            if cipher.is_sent() && batch.is_empty() && !say_goodbye {
                break queue.stop(cipher.goodbye);
            }
            if batches == BATCHES_PER_VISIT {
                queue.put_back(batch);
                queue.owner = Owner::Engine;
                break Next::AskEngine;
            }
            batches += 1;
            let record_bytes = queue.pace.record_bytes();
            let send = || self.send_batch(&mut cipher, batch, say_goodbye, record_bytes);
            let sent = MutexGuard::unlocked(&mut queue, send);
            if queue.owner == Owner::Gone {
                break Next::Nothing;
            }
            match sent {
                Ok(Some(plain)) => {
                    if queue.pace.note_left(plain, clock::now()) {
                        self.follow_pace(&mut queue);
                    }
                    if queue.owner == Owner::Gone {
                        break Next::Nothing;
                    }
                }
                Ok(None) => {
                    queue.pace.note_full(clock::now());
                    queue.owner = Owner::Socket;
                    break Next::AwaitRoom;
                }
                Err(why) => {
                    queue.end();
                    break Next::Failed(why);
                }
            }
        };
        Flushed { grant: queue.pace.grant(), next }
    }

    /// The link turned out faster or slower: the system keeps more or fewer unsent bytes. Only while this
    /// thread is the owner, for the lock is let go.
    fn follow_pace(&self, queue: &mut MutexGuard<'_, Queue>) {
        let lowat = queue.pace.lowat_bytes();
        // Without it a beat may wait longer behind bulk, and nothing breaks.
        let set = || drop(SockRef::from(&self.socket).set_tcp_notsent_lowat(lowat));
        MutexGuard::unlocked(queue, set);
    }

    /// Whether nothing waits to be sent. A link that is over is not quiet: the engine will take it away.
    pub(crate) fn is_quiet(&self) -> bool {
        let queue = self.queue.lock();
        queue.owner == Owner::Nobody && queue.parts.is_empty() && !queue.hang_up
    }

    /// What the protocol may hand over at first.
    pub(crate) fn first_grant(&self) -> usize {
        self.queue.lock().pace.grant()
    }

    /// Encrypts a batch and sends it, or sends what is left of the last one. Answers the plain bytes that
    /// left, or `None` when the socket is full.
    fn send_batch(
        &self,
        cipher: &mut Cipher,
        batch: VecDeque<Bytes>,
        say_goodbye: bool,
        record_bytes: usize,
    ) -> Result<Option<usize>> {
        if cipher.is_sent() {
            cipher.buffer = self.encrypt(&batch, say_goodbye, record_bytes)?;
            cipher.at = 0;
            cipher.goodbye |= say_goodbye;
            cipher.plain = batch.iter().map(Bytes::len).sum();
        }
        self.send(cipher)
    }

    /// Encrypts in even records, at most 16 KiB per hold of the lock.
    fn encrypt(&self, batch: &VecDeque<Bytes>, say_goodbye: bool, record_bytes: usize) -> Result<Vec<u8>> {
        let total: usize = batch.iter().map(Bytes::len).sum();
        let size = total.div_ceil(total.div_ceil(record_bytes).max(1)).max(1);
        let mut pieces: Vec<&[u8]> = Vec::new();
        let mut gathered = 0;
        let mut tls = self.tls.lock();
        tls.lend_output(SPARE.take());
        for part in batch {
            let mut rest: &[u8] = part;
            while !rest.is_empty() {
                let (next, tail) = rest.split_at(rest.len().min(size - gathered));
                pieces.push(next);
                gathered += next.len();
                rest = tail;
                if gathered == size {
                    tls.write(&pieces)?;
                    pieces.clear();
                    gathered = 0;
                    MutexGuard::bump(&mut tls);
                }
            }
        }
        tls.write(&pieces)?;
        if say_goodbye {
            tls.shutdown();
        }
        Ok(tls.take_output())
    }

    fn send(&self, cipher: &mut Cipher) -> Result<Option<usize>> {
        while !cipher.is_sent() {
            match (&self.socket).write(&cipher.buffer[cipher.at..]) {
                Ok(0) => return Err(self.failed(&ErrorKind::WriteZero.into())),
                Ok(size) => cipher.at += size,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
                Err(error) => return Err(self.failed(&error)),
            }
        }
        keep_spare(std::mem::take(&mut cipher.buffer));
        cipher.at = 0;
        Ok(Some(std::mem::take(&mut cipher.plain)))
    }

    fn failed(&self, error: &io::Error) -> Error {
        Error::new(Code::LinkFailed, format!("link with {}: {error}", self.with))
    }

    /// One receive and its decryption; `cipher` is a buffer for it, `plain` collects. Only on the
    /// engine's thread. Without `receive`, only what TLS already has.
    pub(crate) fn receive(&self, cipher: &mut Vec<u8>, plain: &mut BytesMut, receive: bool) -> Received {
        let mut more = false;
        empty(cipher);
        if receive {
            match descriptor::receive(self.socket.as_fd(), cipher) {
                Ok(size) => more = size > 0 && cipher.len() == cipher.capacity(),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Received::Nothing,
                Err(error) if error.kind() == ErrorKind::Interrupted => {
                    return Received::Bytes { bytes: Bytes::new(), more: true };
                }
                Err(error) => return Received::Ended { bytes: Bytes::new(), why: self.failed(&error) },
            }
        }
        let size = cipher.len();
        let mut tls = self.tls.lock();
        if receive && size == 0 {
            tls.feed_end();
        } else {
            tls.feed_lent(std::mem::take(cipher));
        }
        let result = decrypt(&mut tls, plain, size);
        *cipher = tls.take_spent();
        drop(tls);
        let bytes = plain.split().freeze();
        match result {
            Ok(true) => {
                let what = format!("link with {}: the peer closed it", self.with);
                Received::Ended { bytes, why: Error::new(Code::LinkFailed, what) }
            }
            Ok(false) => Received::Bytes { bytes, more },
            Err(why) => Received::Ended { bytes, why },
        }
    }

    /// After a failure: the alert that tells the peer why, if TLS made one and nobody is sending.
    pub(crate) fn send_last_words(&self) {
        let Some(_owner) = self.cipher.try_lock().filter(|cipher| cipher.is_sent()) else { return };
        let words = self.tls.lock().take_output();
        // They help the peer's log and nothing else.
        let _ = (&self.socket).write(&words);
    }

    /// Nothing more is sent or queued.
    pub(crate) fn end(&self) {
        self.queue.lock().end();
    }

    /// Tells the peer that nothing follows; it may still send.
    pub(crate) fn close_sending(&self) {
        // The other end may be gone already, which is what we want anyway.
        let _ = self.socket.shutdown(Shutdown::Write);
    }

    /// Cuts the connection, whoever still holds the link.
    pub(crate) fn cut(&self) {
        let _ = self.socket.shutdown(Shutdown::Both);
    }

    /// Throws away what arrives.
    pub(crate) fn discard(&self, buffer: &mut Vec<u8>) -> Discarded {
        for _ in 0..BATCHES_PER_VISIT {
            empty(buffer);
            match descriptor::receive(self.socket.as_fd(), buffer) {
                Ok(0) => return Discarded::End,
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Discarded::All,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return Discarded::End,
            }
        }
        Discarded::Some
    }
}

/// Decrypts all that was fed; true when the peer said goodbye.
fn decrypt(tls: &mut MutexGuard<'_, TlsLink>, plain: &mut BytesMut, fed: usize) -> Result<bool> {
    let room = fed.clamp(1024, RECORD_BYTES_MAX);
    loop {
        let start = plain.len();
        plain.resize(start + room, 0);
        let result = tls.read_slice(&mut plain[start..]);
        plain.truncate(start + result.as_ref().map_or(0, |&(size, _)| size));
        match result? {
            (_, ReadState::Drained) => return Ok(false),
            (_, ReadState::Closed) => return Ok(true),
            (_, ReadState::More) => MutexGuard::bump(tls),
        }
    }
}

/// Makes a receive buffer ready: a lent one may come back without its memory, and one without room looks like
/// the end.
pub(super) fn empty(buffer: &mut Vec<u8>) {
    buffer.clear();
    buffer.reserve_exact(RECEIVE_BYTES);
}

fn keep_spare(mut buffer: Vec<u8>) {
    if buffer.capacity() > 0 && buffer.capacity() <= 2 * BATCH_BYTES {
        buffer.clear();
        SPARE.set(buffer);
    }
}

impl Cipher {
    fn is_sent(&self) -> bool {
        self.at == self.buffer.len()
    }
}

impl Queue {
    /// Why this one need not flush, if so.
    fn refuse(&mut self, by: By, now: Instant) -> Option<Next> {
        let is_empty = self.parts.is_empty() && !self.hang_up;
        match (self.owner, by) {
            (Owner::Nobody, _) if is_empty => Some(Next::Nothing),
            (Owner::Nobody, By::Caller) if self.bytes < BATCH_BYTES && !self.take_token(now) => {
                self.owner = Owner::Engine;
                Some(Next::AskEngine)
            }
            (Owner::Nobody, _) | (Owner::Engine, By::Asked) | (Owner::Socket, By::Writable) => None,
            _ => Some(Next::Nothing),
        }
    }

    fn take_token(&mut self, now: Instant) -> bool {
        let fresh = now.0.saturating_sub(self.tokens_at.0) / TOKEN_NANOS;
        if fresh > 0 {
            self.tokens = (self.tokens + fresh).min(TOKENS_MAX);
            self.tokens_at = now;
        }
        let has_token = self.tokens > 0;
        self.tokens -= u64::from(has_token);
        has_token
    }

    fn take_batch(&mut self) -> VecDeque<Bytes> {
        if self.bytes <= BATCH_BYTES {
            self.bytes = 0;
            // With its memory: an idle link keeps none.
            return std::mem::take(&mut self.parts);
        }
        let mut batch = VecDeque::new();
        let mut room = BATCH_BYTES;
        while room > 0 {
            let Some(mut part) = self.parts.pop_front() else { break };
            if part.len() > room {
                let rest = part.split_off(room);
                self.parts.push_front(rest);
            }
            room -= part.len();
            batch.push_back(part);
        }
        self.bytes -= BATCH_BYTES - room;
        batch
    }

    fn put_back(&mut self, batch: VecDeque<Bytes>) {
        self.bytes += batch.iter().map(Bytes::len).sum::<usize>();
        batch.into_iter().rev().for_each(|part| self.parts.push_front(part));
    }

    /// All is sent.
    fn stop(&mut self, after_goodbye: bool) -> Next {
        if after_goodbye {
            self.end();
            return Next::Finished;
        }
        self.owner = Owner::Nobody;
        Next::Nothing
    }

    fn end(&mut self) {
        self.owner = Owner::Gone;
        self.parts.clear();
        self.bytes = 0;
    }
}
