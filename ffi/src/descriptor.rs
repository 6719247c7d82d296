//! Plain descriptors whose other end is a channel, for programs that know only sockets.

use crate::boundary::enter;
use crate::channel::channel_of;
use crate::handle::remove;
use crate::node::looked;
use crate::noun::{clv_channel, clv_session};
use crate::raw::{self, Out};
use crate::session::session_of;
use crate::status::clv_status;
use clerver::{DescriptorKind, Result};
use std::ffi::{c_char, c_int};
use std::os::fd::IntoRawFd;

/// For descriptors: a pair of Unix sockets instead of TCP over loopback. Cheaper, and without ports; but its
/// reader cannot tell a loss from the end.
pub const CLV_FD_UNIX: u32 = 1;

fn kind_of(flags: u32) -> Result<DescriptorKind> {
    match flags {
        0 => Ok(DescriptorKind::Tcp),
        CLV_FD_UNIX => Ok(DescriptorKind::Unix),
        _ => Err(raw::bad("flags", &format!("are {flags:#x}: 0 or CLV_FD_UNIX"))),
    }
}

/// Opens a channel of bytes and gives a plain connected descriptor whose other end it is: read, write,
/// select, poll, stdio, half-close and TCP_NODELAY work on it, and it outlives the connections of the
/// session. `name` tells the peer what it is for; the peer takes it by `clv_accept_fd`, or as a channel.
///
/// `*fd` is yours: close it as any descriptor. It blocks until you say otherwise, is closed on exec, and
/// keeps the session open as a handle does. When the session is lost or the peer breaks off, reading fails
/// with ECONNRESET and never ends as if all had come. The node must have its own thread, or run meanwhile.
/// Any thread; does not wait for the peer. Errors: CLV_E_CHANNELS; CLV_E_DRAINING; CLV_E_SYSTEM no more
/// descriptors; CLV_E_LOST, CLV_E_CLOSED; CLV_E_ENCODING; CLV_E_ARG; CLV_E_HANDLE.
///
/// # Safety
/// `name` is NULL or ends with a zero byte; `fd` is NULL or has room.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn clv_dial_fd(
    session: clv_session,
    name: *const c_char,
    flags: u32,
    fd: *mut c_int,
) -> clv_status {
    enter(|| {
        let (session, kind) = (session_of(session)?, kind_of(flags)?);
        // SAFETY: the caller's part.
        let (name, out) = unsafe { (raw::text(name, "name")?, Out::new(fd, "fd")?) };
        out.write(session.dial_descriptor(name, kind)?.into_raw_fd());
        Ok(())
    })
}

/// Takes the next channel that the peer opened, and gives a plain connected descriptor for it; see
/// `clv_dial_fd`. To look at its name first, use `clv_channel_accept`, `clv_channel_name` and
/// `clv_channel_into_fd`.
///
/// `*fd` is yours: close it as any descriptor. Any thread; blocks, but for 0. Errors: CLV_E_AGAIN none now,
/// for 0; CLV_E_TIMEOUT; CLV_E_STATE the channel carries messages, and was given back; CLV_E_SYSTEM;
/// CLV_E_LOST, CLV_E_CLOSED; CLV_E_IN_CALLBACK; CLV_E_ARG; CLV_E_HANDLE.
///
/// # Safety
/// `fd` is NULL or has room.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn clv_accept_fd(
    session: clv_session,
    timeout_ms: i64,
    flags: u32,
    fd: *mut c_int,
) -> clv_status {
    enter(|| {
        let (session, kind, wait) = (session_of(session)?, kind_of(flags)?, raw::wait(timeout_ms)?);
        // SAFETY: the caller's part.
        let out = unsafe { Out::new(fd, "fd") }?;
        let channel = looked(wait, session.accept_channel(wait))?;
        out.write(channel.into_descriptor(kind)?.into_raw_fd());
        Ok(())
    })
}

/// Turns a channel of bytes into a plain connected descriptor; see `clv_dial_fd`. On success the handle of
/// the channel is gone, on an error it stays.
///
/// `*fd` is yours: close it as any descriptor. Any thread; does not block. Errors: CLV_E_STATE the channel
/// carries messages; CLV_E_SYSTEM; CLV_E_ARG; CLV_E_HANDLE.
///
/// # Safety
/// `fd` is NULL or has room.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn clv_channel_into_fd(channel: clv_channel, flags: u32, fd: *mut c_int) -> clv_status {
    enter(|| {
        let (known, kind) = (channel_of(channel)?, kind_of(flags)?);
        // SAFETY: the caller's part.
        let out = unsafe { Out::new(fd, "fd") }?;
        let made = known.channel.clone().into_descriptor(kind)?;
        // An error means that another thread closed it meanwhile; the descriptor has the channel.
        let _ = remove(|tables| &tables.channels, "channel", channel.id);
        out.write(made.into_raw_fd());
        Ok(())
    })
}
