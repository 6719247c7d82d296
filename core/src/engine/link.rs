//! One attached or attaching link: a socket, its TLS, and the queue of plain bytes that wait for it.
//!
//! Whoever needs the link drives it: any thread may flush, one at a time (`Owner`); the others only append,
//! and the owner takes what they appended along. Who receives is settled in `seat`.
//!
//! Invariants: bytes are appended under the shard lock, so their order is that of the protocol; neither the
//! queue's nor the TLS lock is held over a system call; at most 16 KiB are encrypted or decrypted per hold of
//! the TLS lock; when the owner stops, the queue is empty, or somebody else (the engine, or a writable
//! socket) is named to go on.

use super::outbox::Outbox;
use super::pace::Pace;
use super::seat::Seat;
use super::{clock, descriptor};
use crate::tls::{RECORD_BYTES_MAX, ReadState, TlsLink};
use bytes::BytesMut;
use clerver_proto::error::{Code, Error, Result};
use clerver_proto::id::LinkId;
use clerver_proto::node::Parts;
use clerver_proto::time::Instant;
use parking_lot::{Mutex, MutexGuard};
use socket2::SockRef;
use std::cell::Cell;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Shutdown, TcpStream};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::time::Duration;

/// Encrypted and sent at once: one system call per 64 KiB, never one per record. A message of 64 KiB fits with what
/// stands before it, or its last bytes would be a record and a system call of their own.
const BATCH_BYTES: usize = 68 * 1024;
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

/// How to receive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Receive {
    /// Not at all: only what TLS has already.
    Nothing,
    /// What is there.
    Now,
    /// What is there, or comes soon.
    Waiting,
}

/// Result of one receive.
#[derive(Debug)]
pub(crate) enum Received {
    /// Plain bytes, perhaps none; `more` when the socket may have more already.
    Bytes { bytes: BytesMut, more: bool },
    /// The socket has nothing now.
    Nothing,
    /// The link ended: the last bytes, and why.
    Ended { bytes: BytesMut, why: Error },
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
    outbox: Outbox,
    owner: Owner,
    tokens: u64,
    tokens_at: Instant,
    hang_up: bool,
    pace: Pace,
}

/// What is on its way into the socket; touched by the owner of the flush alone, so its lock is never
/// contended.
#[derive(Default)]
struct Cipher {
    /// Plain bytes that are encrypted next.
    batch: Outbox,
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
    /// The address of this end; `None` when both ends are on this machine.
    own_ip: Option<IpAddr>,
    /// Who reads it.
    pub(super) seat: Seat,
    queue: Mutex<Queue>,
    tls: Mutex<TlsLink>,
    cipher: Mutex<Cipher>,
}

impl AsRawFd for Link {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

impl AsFd for Link {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Link {
    /// A link whose handshake is done; `socket` blocks for `SLICE`, for those who ask for it.
    pub(crate) fn new(
        id: LinkId,
        with: String,
        socket: TcpStream,
        tls: TlsLink,
        beat: Duration,
        now: Instant,
    ) -> Link {
        let queue = Queue {
            outbox: Outbox::default(),
            owner: Owner::Nobody,
            tokens: TOKENS_MAX,
            tokens_at: now,
            hang_up: false,
            pace: Pace::new(beat, now),
        };
        let cipher = Mutex::new(Cipher::default());
        let (queue, tls) = (Mutex::new(queue), Mutex::new(tls));
        Link { id, with, own_ip: None, socket, seat: Seat::new(), queue, tls, cipher }
    }

    /// As it is, with the address of its end, which may get lost while the link is up.
    pub(crate) fn leaving_this_machine(mut self) -> Link {
        self.own_ip = self.socket.local_addr().ok().map(|own| own.ip().to_canonical());
        self
    }

    /// The address of this end, if the other one is elsewhere.
    pub(crate) fn own_ip(&self) -> Option<IpAddr> {
        self.own_ip
    }

    /// Queues plain bytes. Only under the shard lock, which orders them; then flush without it.
    pub(crate) fn append(&self, parts: Parts) {
        let mut queue = self.queue.lock();
        parts.into_iter().for_each(|part| queue.outbox.push(part));
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
            let is_done = cipher.is_sent() && queue.outbox.is_empty();
            let say_goodbye = is_done && queue.hang_up && !cipher.goodbye;
            if is_done && !say_goodbye {
                break queue.stop(cipher.goodbye);
            }
            if batches == BATCHES_PER_VISIT {
                queue.owner = Owner::Engine;
                break Next::AskEngine;
            }
            batches += 1;
            if cipher.is_sent() {
                queue.outbox.move_into(&mut cipher.batch, BATCH_BYTES);
            }
            let record_bytes = queue.pace.record_bytes();
            let send = || self.send_batch(&mut cipher, say_goodbye, record_bytes);
            let sent = MutexGuard::unlocked(&mut queue, send);
            if queue.owner == Owner::Gone {
                break Next::Nothing;
            }
            match sent {
                Ok(Some(plain)) => {
                    // A little took no time.
                    let now = if plain < RECORD_BYTES_MAX { now } else { clock::now() };
                    if queue.pace.note_left(plain, now) {
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
        queue.owner == Owner::Nobody && queue.outbox.is_empty() && !queue.hang_up
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
        say_goodbye: bool,
        record_bytes: usize,
    ) -> Result<Option<usize>> {
        if cipher.is_sent() {
            cipher.plain = cipher.batch.len();
            cipher.buffer = self.encrypt(&cipher.batch, say_goodbye, record_bytes)?;
            cipher.at = 0;
            cipher.goodbye |= say_goodbye;
            cipher.batch.clear();
        }
        self.send(cipher)
    }

    /// Encrypts in even records, at most 16 KiB per hold of the lock.
    fn encrypt(&self, batch: &Outbox, say_goodbye: bool, record_bytes: usize) -> Result<Vec<u8>> {
        let total = batch.len();
        let size = total.div_ceil(total.div_ceil(record_bytes).max(1)).max(1);
        let mut tls = self.tls.lock();
        tls.lend_output(SPARE.take());
        encrypt_records(&mut tls, batch, size)?;
        if say_goodbye {
            tls.shutdown();
        }
        Ok(tls.take_output())
    }

    fn send(&self, cipher: &mut Cipher) -> Result<Option<usize>> {
        while !cipher.is_sent() {
            match SockRef::from(&self.socket)
                .send_with_flags(&cipher.buffer[cipher.at..], descriptor::NO_WAIT)
            {
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

    /// One receive and its decryption; `cipher` is a buffer for it, `plain` collects. Only by whoever has the seat.
    pub(crate) fn receive(&self, cipher: &mut Vec<u8>, plain: &mut BytesMut, how: Receive) -> Received {
        let mut more = false;
        empty(cipher);
        if how != Receive::Nothing {
            match descriptor::receive(self.socket.as_fd(), cipher, how == Receive::Waiting) {
                Ok(size) => more = size > 0 && cipher.len() == cipher.capacity(),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Received::Nothing,
                Err(error) if error.kind() == ErrorKind::Interrupted => {
                    return Received::Bytes { bytes: BytesMut::new(), more: true };
                }
                Err(error) => return Received::Ended { bytes: BytesMut::new(), why: self.failed(&error) },
            }
        }
        let size = cipher.len();
        let mut tls = self.tls.lock();
        if how != Receive::Nothing && size == 0 {
            tls.feed_end();
        } else {
            tls.feed_lent(std::mem::take(cipher));
        }
        let result = decrypt(&mut tls, plain);
        *cipher = tls.take_spent();
        drop(tls);
        let bytes = plain.split();
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
        let _ = SockRef::from(&self.socket).send_with_flags(&words, descriptor::NO_WAIT);
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
            match descriptor::receive(self.socket.as_fd(), buffer, false) {
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

/// Encrypts in even records of this size, one per hold of the lock.
fn encrypt_records(tls: &mut MutexGuard<'_, TlsLink>, batch: &Outbox, size: usize) -> Result<()> {
    let mut pieces: Vec<&[u8]> = Vec::new();
    let mut gathered = 0;
    for mut rest in batch.slices() {
        if pieces.is_empty() && rest.len() == size {
            // Most batches are one small message.
            tls.write(&[rest])?;
            continue;
        }
        while !rest.is_empty() {
            let (next, tail) = rest.split_at(rest.len().min(size - gathered));
            pieces.push(next);
            gathered += next.len();
            rest = tail;
            if gathered == size {
                tls.write(&pieces)?;
                pieces.clear();
                gathered = 0;
                MutexGuard::bump(tls);
            }
        }
    }
    tls.write(&pieces)
}

/// Decrypts all that was fed; true when the peer said goodbye.
fn decrypt(tls: &mut MutexGuard<'_, TlsLink>, plain: &mut BytesMut) -> Result<bool> {
    if plain.capacity() < RECORD_BYTES_MAX {
        // Much at once: what lies behind each other is put together again without a copy.
        plain.reserve(RECEIVE_BYTES);
    }
    loop {
        match tls.read_record(plain)? {
            ReadState::Drained => return Ok(false),
            ReadState::Closed => return Ok(true),
            ReadState::More => MutexGuard::bump(tls),
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
        let is_empty = self.outbox.is_empty() && !self.hang_up;
        match (self.owner, by) {
            (Owner::Nobody, _) if is_empty => Some(Next::Nothing),
            (Owner::Nobody, By::Caller) if self.outbox.len() < BATCH_BYTES && !self.take_token(now) => {
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
        self.outbox.clear();
    }
}
