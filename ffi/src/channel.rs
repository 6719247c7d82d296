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
use std::mem::offset_of;
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// A message, or some bytes, and what is known of it on a stored channel.
struct Taken {
    data: Bytes,
    end: u64,
    redelivered: bool,
    restart_point: Bytes,
}

/// What a handle stands for: a channel, and messages that did not fit where they were to go.
pub(crate) struct Channel {
    pub(crate) channel: clerver::Channel,
    too_long: Mutex<VecDeque<Taken>>,
    /// Changed under its lock; most calls look no further.
    has_too_long: AtomicBool,
}

impl Channel {
    fn receive(&self, bytes_max: usize, wait: Wait) -> Result<Taken> {
        // One that does not fit is put back with all that a later take wants to know of it.
        if self.channel.is_stored() && !self.channel.is_bytes() {
            return self.take(wait);
        }
        if let Some(message) = self.first_too_long() {
            return Ok(message);
        }
        let data = match wait {
            Some(Duration::ZERO) => self.channel.try_receive_up_to(bytes_max)?,
            _ => self.channel.receive_up_to(bytes_max, wait)?,
        };
        Ok(Taken { data, end: 0, redelivered: false, restart_point: Bytes::new() })
    }

    fn take(&self, wait: Wait) -> Result<Taken> {
        if let Some(message) = self.first_too_long() {
            return Ok(message);
        }
        let taken = looked(wait, self.channel.take(wait))?;
        let clerver::Delivery { data, end, redelivered, restart_point } = taken;
        Ok(Taken { data, end, redelivered, restart_point })
    }

    fn first_too_long(&self) -> Option<Taken> {
        if !self.has_too_long.load(Ordering::Acquire) {
            return None;
        }
        let mut too_long = self.too_long.lock();
        let first = too_long.pop_front();
        self.has_too_long.store(!too_long.is_empty(), Ordering::Release);
        first
    }

    /// A message that did not fit: the next take gets it.
    fn put_back(&self, message: Taken) {
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
///
/// With `stored` it outlives the processes at its ends, and what was sent arrives in order and
///
/// sender                     receiver
/// lives                      lives                      exactly once
/// lives                      dies                       at least once since the last clv_ack (*)
/// dies                       lives                      exactly once, if clv_channel_send confirmed it
/// dies                       dies                       if confirmed, at least once since the last clv_ack (*)
/// lives, or dies             dies without a store_dir   lost, as the session reports
/// dies without a store_dir   lives, or dies             a first part of it, and the receiver is told
/// dies without a store_dir   dies without a store_dir   not at all
///
/// where who dies comes back with the store_dir that it had. (*) Exactly once, if the program stores the id of a
/// message together with its effect: the sid of the session, the number of the channel and clv_delivery.end.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct clv_channel_options {
    /// sizeof(clv_channel_options): begin with CLV_CHANNEL_OPTIONS_INIT.
    pub struct_size: usize,
    /// Not 0: a stream of bytes instead of messages.
    pub bytes: i32,
    /// Not 0: yields to everything else, and may use the bulk connections of a session.
    pub bulk: i32,
    /// Not 0: outlives the process, as said above. Each end needs the option store_dir, a directory, to keep its half;
    /// the end that opens the channel must have it. What came and is not acknowledged (clv_ack) is at most 16 MiB: then
    /// the peer pauses.
    pub stored: i32,
    /// Always 0.
    pub reserved: i32,
}

// SAFETY: numbers alone, the size first.
unsafe impl Versioned for clv_channel_options {}

/// What is to be known of a message, or of some bytes, that clv_channel_take answers.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct clv_delivery {
    /// sizeof(clv_delivery): begin with CLV_DELIVERY_INIT.
    pub struct_size: usize,
    /// Where it ends in the channel, for clv_ack; the same after a restart, and larger with each one. 0 when this end
    /// does not store the channel.
    pub end: u64,
    /// Not 0: an earlier process may have taken it, and did not acknowledge it.
    pub redelivered: i32,
    /// Always 0.
    pub reserved: i32,
    /// What that process said last with clv_restart_point while this was the first message that it had not
    /// acknowledged; NULL for nothing. Yours: clv_buffer_free.
    pub restart_point: *mut clv_buffer,
}

// SAFETY: numbers and a pointer, the size first.
unsafe impl Versioned for clv_delivery {}

/// Opens a channel, by default of messages. `name` tells the peer what it is for, at most 255 bytes;
/// `options` may be NULL. The peer hears of it at once; of a stored one as soon as it is on the disk.
///
/// What a stored channel promises stands at clv_channel_options. After a restart with the same store_dir `clv_accept`
/// gives its session out, and `clv_channel_accept` the channel itself, whichever end opened it.
///
/// `*out` is yours until `clv_channel_close`. Any thread; blocks while too many are open, but for 0. Errors:
/// CLV_E_CHANNELS too many are open, for 0; CLV_E_TIMEOUT; CLV_E_DRAINING; CLV_E_LOST, CLV_E_CLOSED;
/// CLV_E_IN_CALLBACK; CLV_E_UNSUPPORTED, also for a stored one without store_dir; CLV_E_ENCODING; CLV_E_ARG;
/// CLV_E_HANDLE.
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
        let struct_size = size_of::<clv_channel_options>();
        let default = clv_channel_options { struct_size, bytes: 0, bulk: 0, stored: 0, reserved: 0 };
        // SAFETY: the caller's part.
        let (name, options, out) = unsafe {
            (
                raw::text(name, "name")?.to_owned(),
                raw::read_sized(options, default, "options")?,
                Out::new(out, "out")?,
            )
        };
        let (bytes, bulk, stored) = (options.bytes != 0, options.bulk != 0, options.stored != 0);
        let options = ChannelOptions { name, bytes, bulk, stored };
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

/// Takes the next channel that the peer opened, or a stored one, of either end, that is without a handle: because an
/// earlier process had it, or because its handle was closed.
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
/// On a channel that this end stores it waits until all of it is on the disk, and so confirms it. If that takes
/// longer the answer is CLV_E_UNCONFIRMED: it is queued, must not be sent again, and `clv_channel_confirm` waits for
/// it. With 0 that is the usual answer.
///
/// Any thread; blocks while the peer reads too slowly. With 0 it does not block and answers CLV_E_AGAIN when
/// there is no room; of a stream of bytes a part may have been sent by then and after CLV_E_TIMEOUT, so use
/// `clv_channel_try_send` there. Errors: CLV_E_SIZE a message above the limit; CLV_E_STOPPED the peer reads
/// no more; CLV_E_CLOSED after `clv_channel_end`, or the session closed; CLV_E_LOST; CLV_E_TIMEOUT;
/// CLV_E_UNCONFIRMED; CLV_E_IN_CALLBACK; CLV_E_ARG; CLV_E_HANDLE.
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

/// Waits until everything that was sent on the channel is on the disk: it arrives then, even if this process dies.
/// At once on a channel that this end does not store.
///
/// Any thread; blocks, but for 0. Errors: CLV_E_UNCONFIRMED not yet; CLV_E_LOST, CLV_E_CLOSED; CLV_E_IN_CALLBACK;
/// CLV_E_ARG; CLV_E_HANDLE.
#[unsafe(no_mangle)]
pub extern "C" fn clv_channel_confirm(channel: clv_channel, timeout_ms: i64) -> clv_status {
    enter(|| channel_of(channel)?.channel.confirm(raw::wait(timeout_ms)?))
}

/// Sends a message if there is room for it, or as many of the bytes as there is room for, at least one.
/// Nothing of it is confirmed.
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
        let message = channel.receive(capacity, wait)?;
        let size = message.data.len();
        if size > capacity {
            let why = format!("receive {size} bytes into room for {capacity}");
            needed = Some(size);
            channel.put_back(message);
            return Err(Error::new(Code::Size, why).with_remedy("give more room: the message is still there"));
        }
        if size > 0 {
            // SAFETY: there is room for `capacity` bytes, and what was taken is ours alone.
            unsafe { ptr::copy_nonoverlapping(message.data.as_ptr(), data.cast(), size) };
        }
        out.write(size);
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
        out.write(held(channel.receive(64 * 1024, wait)?.data));
        Ok(())
    })
}

/// As `clv_channel_recv_buffer`, and answers in `*delivery` what `clv_ack` needs to be done with it. For stored
/// channels: what is taken in another way comes again after a restart, too, unless something after it is acknowledged.
///
/// `*out` belongs to you: `clv_buffer_free`. Any thread; blocks until there is something, but for 0. Errors:
/// as `clv_channel_recv`, but for CLV_E_SIZE.
///
/// # Safety
/// `out` is NULL or has room for a pointer; `delivery` is NULL or begins with CLV_DELIVERY_INIT.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn clv_channel_take(
    channel: clv_channel,
    timeout_ms: i64,
    out: *mut *mut clv_buffer,
    delivery: *mut clv_delivery,
) -> clv_status {
    enter(|| {
        let (channel, wait) = (channel_of(channel)?, raw::wait(timeout_ms)?);
        // SAFETY: the caller's part.
        let (out, about) = unsafe { (Out::new(out, "out")?, SizedOut::new(delivery, "delivery")?) };
        let taken = channel.take(wait)?;
        let is_known = about.reaches(offset_of!(clv_delivery, restart_point) + size_of::<*mut clv_buffer>());
        let has_point = is_known && !taken.restart_point.is_empty();
        about.write(clv_delivery {
            struct_size: size_of::<clv_delivery>(),
            end: taken.end,
            redelivered: i32::from(taken.redelivered),
            reserved: 0,
            restart_point: if has_point { held(taken.restart_point) } else { ptr::null_mut() },
        });
        out.write(held(taken.data));
        Ok(())
    })
}

/// The program is done with everything that it took of a stored channel up to `end` of a clv_delivery: no process gets
/// it again. Waits until that is on the disk.
///
/// To be done with less than before changes nothing, nor does it at an end without store_dir. Any thread; blocks, but
/// for 0. Errors: CLV_E_UNCONFIRMED it is noted, and not on the disk yet; CLV_E_STATE the channel is not a stored one;
/// CLV_E_LOST, CLV_E_CLOSED; CLV_E_IN_CALLBACK; CLV_E_ARG, also for more than was taken; CLV_E_HANDLE.
#[unsafe(no_mangle)]
pub extern "C" fn clv_ack(channel: clv_channel, end: u64, timeout_ms: i64) -> clv_status {
    enter(|| channel_of(channel)?.channel.ack(end, raw::wait(timeout_ms)?))
}

/// Notes how far the work is on the first message of a stored channel that was not acknowledged: at most 64 KiB that
/// mean something to this program, copied. If this process dies the next one gets them with that message, in
/// clv_delivery.restart_point, and need not begin anew. The next call takes their place; clv_ack of the message ends
/// them. Waits until they are on the disk.
///
/// Any thread; blocks, but for 0. Errors: CLV_E_UNCONFIRMED noted, and not on the disk yet; CLV_E_SIZE; CLV_E_STATE
/// the channel is not a stored one; CLV_E_LOST, CLV_E_CLOSED; CLV_E_IN_CALLBACK; CLV_E_ARG; CLV_E_HANDLE.
///
/// # Safety
/// `data` is NULL, with `size` 0, or has so many bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn clv_restart_point(
    channel: clv_channel,
    data: *const c_void,
    size: usize,
    timeout_ms: i64,
) -> clv_status {
    enter(|| {
        let (channel, wait) = (channel_of(channel)?, raw::wait(timeout_ms)?);
        // SAFETY: the caller's part.
        channel.channel.set_restart_point(unsafe { raw::bytes(data.cast(), size, "data") }?, wait)
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
/// the channel get CLV_E_HANDLE. A stored channel goes on until both ends ended it: `clv_channel_accept` gives it out
/// again, and there what this handle took counts as taken.
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
