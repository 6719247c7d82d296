//! Channels: ordered, reliable, flow-controlled, two-way sequences of messages or bytes inside a session.

use super::{DescriptorKind, SHARED_BYTES_MIN, Session, Wait, timed_out};
use crate::engine::{Place, Ready, deadline, now};
use bytes::Bytes;
use clerver_proto::channel::Piece;
use clerver_proto::error::{Code, Error, Result};
use clerver_proto::id::ChannelId;
use clerver_proto::node::{ChannelReport, StoredChannel};
use clerver_proto::time::Instant;
use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Bytes that `receive` takes from a channel of bytes at once.
const RECEIVE_BYTES: usize = 64 * 1024;

struct Inner {
    session: Session,
    id: ChannelId,
    name: String,
    is_bytes: bool,
    /// This end stores it.
    is_stored: bool,
    /// A bridge has the channel now, and releases it.
    is_bridged: AtomicBool,
}

/// What was taken of a stored channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// The message, or some bytes.
    pub data: Bytes,
    /// Where it ends in the channel: for [`Channel::ack`]. With the session's sid and the channel's number it names
    /// the message for good, across processes.
    pub end: u64,
    /// An earlier process may have taken it, and was not done with it.
    pub redelivered: bool,
    /// What that process set last by [`Channel::set_restart_point`] while this was the first message that it was not
    /// done with; empty for nothing.
    pub restart_point: Bytes,
}

impl Delivery {
    /// `before` is where the channel stood before it was taken.
    fn new(data: Bytes, stored: Option<StoredChannel>, before: u64) -> Delivery {
        let Some(stored) = stored else {
            return Delivery { data, end: 0, redelivered: false, restart_point: Bytes::new() };
        };
        let redelivered = stored.taken <= stored.redelivered_until;
        // It is about the first message after what is done with.
        let is_first = redelivered && before <= stored.done;
        let restart_point = if is_first { stored.restart_point } else { Bytes::new() };
        Delivery { data, end: stored.taken, redelivered, restart_point }
    }
}

/// How far a program is with a stored channel: what it sent, is done with and noted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoredMark {
    written: u64,
    done: u64,
    points: u64,
}

/// One channel of a session. Clones are the same channel; dropping the last one releases it: what was written
/// is still delivered, what was not read is dropped. A channel keeps its session open.
///
/// A channel of bytes is also `io::Read` and `io::Write`, which wait for ever.
#[derive(Clone)]
pub struct Channel(Arc<Inner>);

impl fmt::Debug for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Channel").field("id", &self.0.id).field("name", &self.0.name).finish()
    }
}

impl Channel {
    pub(super) fn new(
        session: Session,
        id: ChannelId,
        name: String,
        is_bytes: bool,
        is_stored: bool,
    ) -> Channel {
        let is_bridged = AtomicBool::new(false);
        let is_stored = is_stored && session.engine().has_store();
        Channel(Arc::new(Inner { session, id, name, is_bytes, is_stored, is_bridged }))
    }

    /// The channel's number within its session, the same at both ends.
    pub fn id(&self) -> ChannelId {
        self.0.id
    }

    /// What it is for, as the end that opened it said.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Whether it is a stream of bytes rather than a sequence of messages.
    pub fn is_bytes(&self) -> bool {
        self.0.is_bytes
    }

    /// Whether this end stores it: whatever `send` confirmed outlives this process, and what came is delivered again
    /// until [`Channel::ack`].
    pub fn is_stored(&self) -> bool {
        self.0.is_stored
    }

    /// The session that it belongs to.
    pub fn session(&self) -> &Session {
        &self.0.session
    }

    /// Sends one message, or all of the bytes, by copy. Blocks while the peer reads too slowly, for at most
    /// `wait`; of bytes a part may have been sent then, which [`Channel::report`] tells.
    ///
    /// On a channel that this end stores it also waits until everything is on the disk, and so confirms it. When that
    /// takes too long the answer is `UNCONFIRMED`: the message is queued, and must not be sent again by this process.
    ///
    /// Errors: `SIZE` a message above the limit; `STOPPED` the peer reads no more; `CLOSED` after `end`, or
    /// the session closed; `LOST`; `TIMEOUT`.
    pub fn send(&self, data: &[u8], wait: Wait) -> Result<()> {
        if self.0.is_stored {
            return self.send_bytes(Bytes::copy_from_slice(data), wait);
        }
        if data.len() >= SHARED_BYTES_MIN {
            // Copied here, where no lock is held.
            return self.send_bytes(Bytes::copy_from_slice(data), wait);
        }
        let written = self.0.session.engine().gather(self.0.session.id(), self.0.id, data);
        match written {
            Some(written) if !self.0.is_bytes || written == data.len() => Ok(()),
            written => self.send_pieces(wait, data.len(), written.unwrap_or(0), |at| data[at..].into()),
        }
    }

    /// As [`Channel::send`], without a copy: the bytes are kept until the peer holds them.
    pub fn send_bytes(&self, data: Bytes, wait: Wait) -> Result<()> {
        // An ordinary send does not ask for the time.
        let until = self.0.is_stored.then(|| deadline(wait));
        self.send_pieces(wait, data.len(), 0, |at| data.slice(at..).into())?;
        until.map_or(Ok(()), |until| self.confirm(wait.map(|_| until.since(now()))))
    }

    /// Waits until everything that was sent, acknowledged and noted here so far is on the disk; at once when this end
    /// does not store the channel.
    ///
    /// Errors: `UNCONFIRMED`; `HANDLE`; `CLOSED`.
    pub fn confirm(&self, wait: Wait) -> Result<()> {
        self.stored_mark()?.map_or(Ok(()), |mark| self.confirm_mark(mark, wait))
    }

    /// How far the program is with a stored channel; `None` when this end does not store it. Does not block.
    ///
    /// Errors: `HANDLE`; `CLOSED`.
    pub fn stored_mark(&self) -> Result<Option<StoredMark>> {
        let (engine, key) = (self.0.session.engine(), (self.0.session.id(), self.0.id));
        let stored = engine.change(|shard, _| shard.node.channel_stored(key.0, key.1))?;
        Ok(stored.map(|stored| StoredMark {
            written: stored.written,
            done: stored.done,
            points: stored.points,
        }))
    }

    /// Waits until the program's work is on the disk as far as it was then. With a wait of zero it looks only, and
    /// [`super::NodeEvent::Writable`] of a channel that is watched tells to look again.
    ///
    /// Errors: as [`Channel::confirm`].
    pub fn confirm_mark(&self, mark: StoredMark, wait: Wait) -> Result<()> {
        let unconfirmed = || {
            let what = format!("{}: what was sent is queued, and not on the disk yet", self.doing("send on"));
            Error::new(Code::Unconfirmed, what)
        };
        let key = (self.0.session.id(), self.0.id);
        self.0.session.engine().wait_stored(key, wait, unconfirmed, move |now| {
            now.written_stored >= mark.written
                && now.done_stored >= mark.done
                && now.points_stored >= mark.points
        })
    }

    /// Takes the next message, or some bytes, of a stored channel, with what is needed to be done with it:
    /// [`Delivery`]. Otherwise as [`Channel::receive`].
    pub fn take(&self, wait: Wait) -> Result<Delivery> {
        let (engine, session, id) = (self.0.session.engine(), self.0.session.id(), self.0.id);
        engine.block(
            wait,
            || self.place(Ready::Readable(id)),
            || timed_out(&self.doing("receive on"), wait),
            |shard, now, _| {
                let before = shard.node.channel_stored(session, id).ok().flatten();
                let before = before.map_or(0, |stored| stored.taken);
                let data = match shard.node.channel_receive(now, session, id, RECEIVE_BYTES).transpose()? {
                    Ok(data) => data,
                    Err(why) => return Some(Err(why)),
                };
                let stored = shard.node.channel_stored(session, id).ok().flatten();
                Some(Ok(Delivery::new(data, stored, before)))
            },
        )
    }

    /// Notes how far the work on the first message is that was not acknowledged, in at most 64 KiB: if this process
    /// dies, the next one gets it with that message ([`Delivery::restart_point`]), and goes on from there. A later one
    /// takes its place; an `ack` of the message ends it. Waits until it is on the disk.
    ///
    /// Errors: `STATE` the channel is not a stored one; `SIZE`; `UNCONFIRMED` it is not on the disk yet; `HANDLE`;
    /// `CLOSED`.
    pub fn set_restart_point(&self, point: &[u8], wait: Wait) -> Result<()> {
        let (engine, key) = (self.0.session.engine(), (self.0.session.id(), self.0.id));
        let point = Bytes::copy_from_slice(point);
        let number = engine.change(|shard, now| {
            shard.node.channel_restart_point(now, key.0, key.1, point)?;
            Ok(shard.node.channel_stored(key.0, key.1)?.map(|stored| stored.points))
        })?;
        let unconfirmed = || {
            let what =
                format!("{}: the restart point is not on the disk yet", self.doing("set a restart point of"));
            Error::new(Code::Unconfirmed, what)
        };
        engine.wait_stored(key, wait, unconfirmed, move |now| Some(now.points_stored) >= number)
    }

    /// The application is done with everything that it took before `end` of a [`Delivery`]: it is not delivered again.
    /// Waits until that is on the disk.
    ///
    /// Errors: `STATE` the channel is not a stored one; `ARG` beyond what was taken; `UNCONFIRMED` it is not on
    /// the disk yet; `HANDLE`; `CLOSED`.
    pub fn ack(&self, end: u64, wait: Wait) -> Result<()> {
        let (engine, key) = (self.0.session.engine(), (self.0.session.id(), self.0.id));
        let done = engine.change(|shard, now| {
            shard.node.channel_done(now, key.0, key.1, end)?;
            Ok(shard.node.channel_stored(key.0, key.1)?.map(|stored| stored.done))
        })?;
        let unconfirmed = || {
            let what = format!("{}: that it is done is not on the disk yet", self.doing("acknowledge on"));
            Error::new(Code::Unconfirmed, what).with_remedy("acknowledge it again, which does no harm")
        };
        engine.wait_stored(key, wait, unconfirmed, move |now| Some(now.done_stored) >= done)
    }

    /// Sends what `from` answers for an offset, until all is sent.
    fn send_pieces<'a>(
        &self,
        wait: Wait,
        len: usize,
        mut at: usize,
        from: impl Fn(usize) -> Piece<'a>,
    ) -> Result<()> {
        let (session, channel) = (self.0.session.id(), self.0.id);
        let mut until = None;
        loop {
            // The clock is asked again for the second piece only.
            let left = match (wait, until) {
                (Some(_), Some(until)) => Some(Instant::since(until, now())),
                (Some(wait), None) => {
                    until = self.0.is_bytes.then(|| deadline(Some(wait)));
                    Some(wait)
                }
                (None, _) => None,
            };
            let sent = self.0.session.engine().block(
                left,
                || self.place(Ready::Writable(channel)),
                || timed_out(&self.doing("send on"), wait),
                |shard, now, _| {
                    let result = shard.node.channel_send(now, session, channel, from(at));
                    if is_again(&result) { None } else { Some(result) }
                },
            )?;
            at += sent;
            if !self.0.is_bytes || at >= len {
                return Ok(());
            }
        }
    }

    /// Sends a message if there is room for it, or as many of the bytes as there is room for, at least one.
    /// Answers how many bytes it took. Never blocks.
    ///
    /// Errors: `AGAIN` no room; otherwise as [`Channel::send`].
    pub fn try_send(&self, data: &[u8]) -> Result<usize> {
        let engine = self.0.session.engine();
        engine.change(|shard, now| shard.node.channel_send(now, self.0.session.id(), self.0.id, data))
    }

    /// Takes the next message, or some bytes (at most 64 KiB). Blocks until there are any, for at most
    /// `wait`. The result may share memory with the library; keep it only as long as it is used.
    ///
    /// Errors: `END` after the last message or byte; `RESET`, or the code that the peer gave, where it broke
    /// off; `LOST`, `CLOSED` when the session ended before the end; `TIMEOUT`.
    pub fn receive(&self, wait: Wait) -> Result<Bytes> {
        self.receive_up_to(RECEIVE_BYTES, wait)
    }

    /// As [`Channel::receive`], with at most `bytes_max` of a channel of bytes; messages come whole.
    pub fn receive_up_to(&self, bytes_max: usize, wait: Wait) -> Result<Bytes> {
        let engine = self.0.session.engine();
        if let Some(taken) = engine.take_at_once(self.0.session.id(), self.0.id, bytes_max) {
            return taken;
        }
        engine.block(
            wait,
            || self.place(Ready::Readable(self.0.id)),
            || timed_out(&self.doing("receive on"), wait),
            |shard, now, _| {
                shard.node.channel_receive(now, self.0.session.id(), self.0.id, bytes_max).transpose()
            },
        )
    }

    /// Takes the next message, or some bytes, if there are any. Never blocks.
    ///
    /// Errors: `AGAIN` nothing is there yet; otherwise as [`Channel::receive`].
    pub fn try_receive(&self) -> Result<Bytes> {
        self.try_receive_up_to(RECEIVE_BYTES)
    }

    /// As [`Channel::try_receive`], with at most `bytes_max` of a channel of bytes; messages come whole.
    pub fn try_receive_up_to(&self, bytes_max: usize) -> Result<Bytes> {
        let engine = self.0.session.engine();
        let (session, id) = (self.0.session.id(), self.0.id);
        let taken = engine.change(|shard, now| shard.node.channel_receive(now, session, id, bytes_max))?;
        taken.ok_or_else(|| {
            Error::new(Code::Again, format!("{}: nothing there yet", self.doing("receive on")))
        })
    }

    /// From now on events of the node, [`crate::api::NodeEvent::Readable`] and `Writable` with this token, tell
    /// when something changed here; the first ones come at once. Take, or send, until `AGAIN` after each: the
    /// next event comes only then. For programs that wait for everything at the node's event descriptor.
    ///
    /// Errors: `HANDLE` when the session is over and forgotten.
    pub fn watch(&self, token: u64) -> Result<()> {
        self.0.session.watch_channel(self.0.id, token)
    }

    /// Gives the channel back now, for all clones of the handle: threads that wait on it get `HANDLE`.
    pub fn close(&self) {
        let session = self.0.session.id();
        if self.0.session.engine().is_forked() || self.0.is_bridged.load(Ordering::Acquire) {
            return;
        }
        self.0.session.engine().with_shard(|shard, now, batch| {
            // An error means that the session has forgotten the channel already.
            let _ = shard.node.channel_release(now, session, self.0.id);
            shard.ring_channel(session, self.0.id, batch);
        });
    }

    /// Turns a channel of bytes into one end of a plain connected socket, for code that knows only
    /// descriptors: read, write, poll and stdio work on it, closing it ends the channel, and shutting its
    /// writing side down ends this direction only. It blocks until the program says otherwise, and is closed on
    /// exec. When the session is lost or the peer breaks off, its reader gets `ECONNRESET`, never a clean end.
    ///
    /// The descriptor keeps the session open, as a handle does; other handles of this channel are of no use
    /// any more. A caller-driven node carries its bytes in `run_once` alone.
    ///
    /// Errors: `STATE` a channel of messages, or one that is stored; `SYSTEM` no more descriptors; `HANDLE`.
    pub fn into_descriptor(self, kind: DescriptorKind) -> Result<OwnedFd> {
        if !self.0.is_bytes || self.0.is_bridged.load(Ordering::Acquire) {
            let what =
                format!("{} as a descriptor: it carries messages, or is one already", self.doing("use"));
            return Err(Error::new(Code::State, what).with_remedy("open it with bytes: true"));
        }
        if self.0.is_stored {
            // A descriptor cannot say what its reader is done with.
            let what = format!("{} as a descriptor: it is stored", self.doing("use"));
            return Err(Error::new(Code::State, what).with_remedy("use one that is not stored"));
        }
        let made = self.0.session.engine().bridge(self.0.session.id(), self.0.id, kind)?;
        self.0.is_bridged.store(true, Ordering::Release);
        Ok(made)
    }

    /// This end sends no more: the peer reads the rest and then `END`. Reading goes on. Does not block.
    ///
    /// Errors: `HANDLE` when the session is over.
    pub fn end(&self) -> Result<()> {
        self.0
            .session
            .engine()
            .change(|shard, now| shard.node.channel_end(now, self.0.session.id(), self.0.id))
    }

    /// This end breaks off: what was not sent yet is dropped, and the peer's reads end with `RESET` and this
    /// reason (at most 255 bytes of it). Reading goes on. Does not block.
    ///
    /// Errors: `HANDLE` when the session is over.
    pub fn reset(&self, why: &str) -> Result<()> {
        let why = Error::new(Code::Reset, why);
        let engine = self.0.session.engine();
        engine.change(|shard, now| shard.node.channel_reset(now, self.0.session.id(), self.0.id, why))
    }

    /// This end reads no more: the peer's sends end with `STOPPED`. Does not block; without effect after the
    /// end.
    pub fn stop(&self) {
        let engine = self.0.session.engine();
        // An error means that the session is over, and then nothing is read anyway.
        let _ = engine.change(|shard, now| shard.node.channel_stop(now, self.0.session.id(), self.0.id));
    }

    /// How many bytes were written, sent, held by the peer, received and taken so far. Does not block.
    ///
    /// Errors: `HANDLE` when the session is over and forgotten.
    pub fn report(&self) -> Result<ChannelReport> {
        let engine = self.0.session.engine();
        engine.change(|shard, _| shard.node.channel_report(self.0.session.id(), self.0.id))
    }

    fn place(&self, ready: Ready) -> Place {
        Place::Channel(self.0.session.id(), ready)
    }

    fn doing(&self, what: &str) -> String {
        format!("{what} channel \"{}\" with {}", self.0.name, self.0.session.peer())
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if self.session.engine().is_forked() || self.is_bridged.load(Ordering::Acquire) {
            return;
        }
        let session = self.session.id();
        self.session.engine().with_shard(|shard, now, _| {
            // An error means that the session has forgotten the channel already.
            let _ = shard.node.channel_release(now, session, self.id);
            shard.unwatch(session, self.id);
        });
    }
}

fn is_again<T>(result: &Result<T>) -> bool {
    result.as_ref().is_err_and(|error| error.code == Code::Again)
}

/// The kin of an error in `std::io`, for code that knows only that.
fn io_error(error: Error) -> io::Error {
    let kind = match error.code {
        Code::Timeout => io::ErrorKind::TimedOut,
        Code::Again => io::ErrorKind::WouldBlock,
        Code::Stopped => io::ErrorKind::BrokenPipe,
        Code::Reset | Code::Lost | Code::Discontinuity | Code::Fenced => io::ErrorKind::ConnectionReset,
        Code::Closed => io::ErrorKind::NotConnected,
        Code::Argument | Code::Size => io::ErrorKind::InvalidInput,
        _ => io::ErrorKind::Other,
    };
    io::Error::new(kind, error)
}

impl Channel {
    fn check_bytes(&self) -> io::Result<()> {
        if self.0.is_bytes {
            return Ok(());
        }
        let what = format!("{} as a stream: it carries messages", self.doing("use"));
        Err(io_error(Error::new(Code::State, what).with_remedy("open it with bytes: true")))
    }
}

impl io::Read for &Channel {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.check_bytes()?;
        if into.is_empty() {
            return Ok(0);
        }
        match self.receive_up_to(into.len(), None) {
            Ok(bytes) => {
                into[..bytes.len()].copy_from_slice(&bytes);
                Ok(bytes.len())
            }
            Err(error) if error.code == Code::End => Ok(0),
            Err(error) => Err(io_error(error)),
        }
    }
}

impl io::Write for &Channel {
    fn write(&mut self, from: &[u8]) -> io::Result<usize> {
        self.check_bytes()?;
        self.send(from, None).map(|()| from.len()).map_err(io_error)
    }

    /// Nothing is kept back, so there is nothing to do.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl io::Read for Channel {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        (&*self).read(into)
    }
}

impl io::Write for Channel {
    fn write(&mut self, from: &[u8]) -> io::Result<usize> {
        (&*self).write(from)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
