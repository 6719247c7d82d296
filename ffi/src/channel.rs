//! Channels: messages or bytes in order, both ways.

use crate::boundary::enter;
use crate::buffer::{clv_buffer, held};
use crate::handle::{find, remove, tables};
use crate::node::looked;
use crate::noun::{clv_channel, clv_session};
use crate::raw::{self, Out, SizedOut, Versioned};
use crate::report::clv_channel_report;
use crate::session::session_of;
use crate::status::{CLV_E_SIZE, clv_status};
use bytes::Bytes;
use clerver::api::Wait;
use clerver::{ChannelOptions, Code, Error, Result};
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::ffi::{c_char, c_void};
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// What a handle stands for: a channel, and messages that did not fit where they were to go.
pub(crate) struct Channel {
    pub(crate) channel: clerver::Channel,
    too_long: Mutex<VecDeque<Bytes>>,
    /// Changed under its lock; most calls look no further.
    has_too_long: AtomicBool,
}

impl Channel {
    fn take(&self, bytes_max: usize, wait: Wait) -> Result<Bytes> {
        if self.has_too_long.load(Ordering::Acquire) {
            let mut too_long = self.too_long.lock();
            let first = too_long.pop_front();
            self.has_too_long.store(!too_long.is_empty(), Ordering::Release);
            if let Some(message) = first {
                return Ok(message);
            }
        }
        match wait {
            Some(Duration::ZERO) => self.channel.try_receive_up_to(bytes_max),
            _ => self.channel.receive_up_to(bytes_max, wait),
        }
    }

    /// A message that did not fit: the next take gets it.
    fn put_back(&self, message: Bytes) {
        let mut too_long = self.too_long.lock();
        too_long.push_front(message);
        self.has_too_long.store(true, Ordering::Release);
    }
}

pub(crate) fn channel_of(channel: clv_channel) -> Result<Arc<Channel>> {
    find(|tables| &tables.channels, "channel", channel.id)
}

pub(crate) fn keep(channel: clerver::Channel) -> clv_channel {
    let channel = Channel { channel, too_long: Mutex::default(), has_too_long: AtomicBool::new(false) };
    clv_channel { id: tables().channels.insert(Arc::new(channel)) }
}

/// What a channel carries, for clv_channel_open.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct clv_channel_options {
    /// sizeof(clv_channel_options): begin with CLV_CHANNEL_OPTIONS_INIT.
    pub struct_size: usize,
    /// Not 0: a stream of bytes instead of messages.
    pub bytes: i32,
    /// Not 0: yields to everything else, and may use the bulk connections of a session.
    pub bulk: i32,
}

// SAFETY: numbers alone, the size first.
unsafe impl Versioned for clv_channel_options {}

/// Opens a channel, by default of messages. `name` tells the peer what it is for, at most 255 bytes;
/// `options` may be NULL. The peer hears of it at once.
///
/// `*out` is yours until `clv_channel_close`. Any thread; blocks while too many are open, but for 0. Errors:
/// CLV_E_CHANNELS too many are open, for 0; CLV_E_TIMEOUT; CLV_E_DRAINING; CLV_E_LOST, CLV_E_CLOSED;
/// CLV_E_IN_CALLBACK; CLV_E_UNSUPPORTED; CLV_E_ENCODING; CLV_E_ARG; CLV_E_HANDLE.
///
/// # Safety
/// `name` is NULL or ends with a zero byte; `options` is NULL or begins with CLV_CHANNEL_OPTIONS_INIT; `out`
/// is NULL or has room.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn clv_channel_open(
    session: clv_session,
    name: *const c_char,
    options: *const clv_channel_options,
    timeout_ms: i64,
    out: *mut clv_channel,
) -> clv_status {
    enter(|| {
        let (session, wait) = (session_of(session)?, raw::wait(timeout_ms)?);
        let default =
            clv_channel_options { struct_size: size_of::<clv_channel_options>(), bytes: 0, bulk: 0 };
        // SAFETY: the caller's part.
        let (name, options, out) = unsafe {
            (
                raw::text(name, "name")?.to_owned(),
                raw::read_sized(options, default, "options")?,
                Out::new(out, "out")?,
            )
        };
        let options = ChannelOptions { name, bytes: options.bytes != 0, bulk: options.bulk != 0 };
        let opened = session.open_with(options, wait).map_err(|error| match error.code {
            Code::Timeout if wait == Some(Duration::ZERO) => {
                Error { code: Code::Channels, remedy: None, ..error }
            }
            _ => error,
        });
        out.write(keep(opened?));
        Ok(())
    })
}

/// Takes the next channel that the peer opened.
///
/// `*out` is yours until `clv_channel_close`. Any thread; blocks, but for 0. Errors: CLV_E_AGAIN none now,
/// for 0; CLV_E_TIMEOUT; CLV_E_LOST, CLV_E_CLOSED none will come; CLV_E_IN_CALLBACK; CLV_E_ARG; CLV_E_HANDLE.
///
/// # Safety
/// `out` is NULL or has room.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn clv_channel_accept(
    session: clv_session,
    timeout_ms: i64,
    out: *mut clv_channel,
) -> clv_status {
    enter(|| {
        let (session, wait) = (session_of(session)?, raw::wait(timeout_ms)?);
        // SAFETY: the caller's part.
        let out = unsafe { Out::new(out, "out") }?;
        out.write(keep(looked(wait, session.accept_channel(wait))?));
        Ok(())
    })
}

/// What the channel is for, as the end that opened it said. 256 bytes are room enough. Any thread; does not
/// block. Errors: CLV_E_SIZE; CLV_E_ARG; CLV_E_HANDLE.
///
/// # Safety
/// `out` is NULL or has room for `capacity` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn clv_channel_name(
    channel: clv_channel,
    out: *mut c_char,
    capacity: usize,
) -> clv_status {
    enter(|| {
        let channel = channel_of(channel)?;
        // SAFETY: the caller's part.
        unsafe { raw::fill(channel.channel.name(), out, capacity, "out") }
    })
}

/// Whether it is a stream of bytes (1) or a sequence of messages (0). Any thread; does not block. Errors:
/// CLV_E_ARG; CLV_E_HANDLE.
///
/// # Safety
/// `out` is NULL or has room.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn clv_channel_is_bytes(channel: clv_channel, out: *mut i32) -> clv_status {
    enter(|| {
        // SAFETY: the caller's part.
        let out = unsafe { Out::new(out, "out") }?;
        out.write(i32::from(channel_of(channel)?.channel.is_bytes()));
        Ok(())
    })
}

/// Sends one message, or all of the bytes, by copy: the memory is yours again at once. A message may be
/// empty.
///
/// Any thread; blocks while the peer reads too slowly. With 0 it does not block and answers CLV_E_AGAIN when
/// there is no room; of a stream of bytes a part may have been sent by then and after CLV_E_TIMEOUT, so use
/// `clv_channel_try_send` there. Errors: CLV_E_SIZE a message above the limit; CLV_E_STOPPED the peer reads
/// no more; CLV_E_CLOSED after `clv_channel_end`, or the session closed; CLV_E_LOST; CLV_E_TIMEOUT;
/// CLV_E_IN_CALLBACK; CLV_E_ARG; CLV_E_HANDLE.
///
/// # Safety
/// `data` is NULL or has `size` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn clv_channel_send(
    channel: clv_channel,
    data: *const c_void,
    size: usize,
    timeout_ms: i64,
) -> clv_status {
    enter(|| {
        let (channel, wait) = (channel_of(channel)?, raw::wait(timeout_ms)?);
        // SAFETY: the caller's part.
        let data = unsafe { raw::bytes(data.cast(), size, "data") }?;
        looked(wait, channel.channel.send(data, wait))
    })
}

/// Sends a message if there is room for it, or as many of the bytes as there is room for, at least one.
///
/// `sent` (may be NULL) gets how many bytes were taken. Any thread; never blocks. Errors: CLV_E_AGAIN no
/// room: an event of `clv_channel_watch` will tell; otherwise as `clv_channel_send`.
///
/// # Safety
/// `data` is NULL or has `size` bytes; `sent` is NULL or has room.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn clv_channel_try_send(
    channel: clv_channel,
    data: *const c_void,
    size: usize,
    sent: *mut usize,
) -> clv_status {
    enter(|| {
        let channel = channel_of(channel)?;
        // SAFETY: the caller's part.
        let data = unsafe { raw::bytes(data.cast(), size, "data") }?;
        let taken = channel.channel.try_send(data)?;
        // SAFETY: as above.
        unsafe { raw::write_optional(sent, taken) };
        Ok(())
    })
}

/// Takes the next message, or some bytes, into memory of yours.
///
/// `*received` gets their number. A message that does not fit stays: the answer is then CLV_E_SIZE, and
/// `*received` the room that it needs. Any thread; blocks until there is something, but for 0. Errors:
/// CLV_E_END after the last message or byte; CLV_E_RESET, or the number that the peer gave, where it broke
/// off; CLV_E_LOST, CLV_E_CLOSED when the session ended before the end; CLV_E_AGAIN nothing now, for 0;
/// CLV_E_TIMEOUT; CLV_E_IN_CALLBACK; CLV_E_ARG; CLV_E_HANDLE.
///
/// # Safety
/// `data` is NULL or has room for `capacity` bytes; `received` is NULL or has room.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn clv_channel_recv(
    channel: clv_channel,
    data: *mut c_void,
    capacity: usize,
    timeout_ms: i64,
    received: *mut usize,
) -> clv_status {
    let mut needed = None;
    let status = enter(|| {
        let (channel, wait) = (channel_of(channel)?, raw::wait(timeout_ms)?);
        // SAFETY: the caller's part.
        let out = unsafe { Out::new(received, "received") }?;
        if data.is_null() && capacity > 0 {
            return Err(raw::bad("data", "is NULL, but its capacity is not 0"));
        }
        if capacity == 0 && channel.channel.is_bytes() {
            return Err(raw::bad("capacity", "is 0: give room for at least one byte"));
        }
        let taken = channel.take(capacity, wait)?;
        if taken.len() > capacity {
            let why = format!("receive {} bytes into room for {capacity}", taken.len());
            needed = Some(taken.len());
            channel.put_back(taken);
            return Err(Error::new(Code::Size, why).with_remedy("give more room: the message is still there"));
        }
        if !taken.is_empty() {
            // SAFETY: there is room for `capacity` bytes, and what was taken is ours alone.
            unsafe { ptr::copy_nonoverlapping(taken.as_ptr(), data.cast(), taken.len()) };
        }
        out.write(taken.len());
        Ok(())
    });
    if let (CLV_E_SIZE, Some(needed)) = (status, needed) {
        // SAFETY: the caller's part.
        unsafe { raw::write_optional(received, needed) };
    }
    status
}

/// Takes the next message, or some bytes (at most 64 KiB), without a copy.
///
/// `*out` belongs to you: `clv_buffer_free`. Any thread; blocks until there is something, but for 0. Errors:
/// as `clv_channel_recv`, but for CLV_E_SIZE.
///
/// # Safety
/// `out` is NULL or has room for a pointer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn clv_channel_recv_buffer(
    channel: clv_channel,
    timeout_ms: i64,
    out: *mut *mut clv_buffer,
) -> clv_status {
    enter(|| {
        let (channel, wait) = (channel_of(channel)?, raw::wait(timeout_ms)?);
        // SAFETY: the caller's part.
        let out = unsafe { Out::new(out, "out") }?;
        out.write(held(channel.take(64 * 1024, wait)?));
        Ok(())
    })
}

/// This end sends no more: the peer takes the rest and then gets CLV_E_END. Taking goes on here. Any thread;
/// does not block. Errors: CLV_E_HANDLE, also when the session is over.
#[unsafe(no_mangle)]
pub extern "C" fn clv_channel_end(channel: clv_channel) -> clv_status {
    enter(|| channel_of(channel)?.channel.end())
}

/// This end breaks off: what was not sent yet is dropped, and the peer gets CLV_E_RESET with `why` (at most
/// 255 bytes of it). Taking goes on here. Any thread; does not block. Errors: CLV_E_HANDLE, also when the
/// session is over; CLV_E_ARG.
///
/// # Safety
/// `why` is NULL or ends with a zero byte.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn clv_channel_reset(channel: clv_channel, why: *const c_char) -> clv_status {
    enter(|| {
        let channel = channel_of(channel)?;
        // SAFETY: the caller's part.
        channel.channel.reset(unsafe { raw::text(why, "why") }?)
    })
}

/// This end takes no more: sends of the peer end with CLV_E_STOPPED. Any thread; does not block. Without
/// effect after the end. Errors: CLV_E_HANDLE.
#[unsafe(no_mangle)]
pub extern "C" fn clv_channel_stop(channel: clv_channel) -> clv_status {
    enter(|| {
        channel_of(channel)?.channel.stop();
        Ok(())
    })
}

/// Counts of the channel. Any thread; does not block. Errors: CLV_E_HANDLE, also when the session is over and
/// forgotten; CLV_E_ARG.
///
/// # Safety
/// `out` is NULL or begins with CLV_CHANNEL_REPORT_INIT.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn clv_channel_get_report(
    channel: clv_channel,
    out: *mut clv_channel_report,
) -> clv_status {
    enter(|| {
        let report = channel_of(channel)?.channel.report()?;
        // SAFETY: the caller's part.
        unsafe { SizedOut::new(out, "out") }?.write((&report).into());
        Ok(())
    })
}

/// From now on the node's events CLV_EVENT_READABLE and CLV_EVENT_WRITABLE with this token tell when
/// something changed here; the first ones come at once. Take, or send, until CLV_E_AGAIN after each: like an
/// edge-triggered poll, the next event comes only then. For programs that wait for everything at
/// `clv_node_fd`.
///
/// Any thread; does not block. Errors: CLV_E_HANDLE, also when the session is over and forgotten.
#[unsafe(no_mangle)]
pub extern "C" fn clv_channel_watch(channel: clv_channel, token: u64) -> clv_status {
    enter(|| channel_of(channel)?.channel.watch(token))
}

/// Ends the handle: what was written is still delivered, what was not taken is dropped. Threads that wait on
/// the channel get CLV_E_HANDLE.
///
/// Any thread; does not block. Errors: CLV_E_HANDLE.
#[unsafe(no_mangle)]
pub extern "C" fn clv_channel_close(channel: clv_channel) -> clv_status {
    enter(|| {
        let channel = remove(|tables| &tables.channels, "channel", channel.id)?;
        channel.channel.close();
        Ok(())
    })
}
