//! Connects that were started, for programs that must not wait.

use crate::boundary::enter;
use crate::handle::{find, remove, tables};
use crate::node::{clv_connect_options, connect_options, node_of};
use crate::noun::{clv_connecting, clv_node, clv_session};
use crate::raw::{self, Out};
use crate::session::keep;
use crate::status::clv_status;
use clerver::{Connecting, Result};
use std::time::Duration;

fn connecting_of(connecting: clv_connecting) -> Result<Connecting> {
    find(|tables| &tables.connecting, "connecting", connecting.id)
}

/// Starts to connect, as `clv_connect_with` does, and does not wait for it. It dials until it works, for at most
/// `timeout_ms` (-1: until it is cancelled).
///
/// `*out` is yours until `clv_connecting_close`. Any thread; does not block. Errors: CLV_E_DRAINING; CLV_E_ENCODING;
/// CLV_E_ARG; CLV_E_HANDLE; CLV_E_CLOSED. All others come from `clv_connecting_take`.
///
/// # Safety
/// `options` is NULL or begins with CLV_CONNECT_OPTIONS_INIT, and its addresses are texts; `out` is NULL or has room.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn clv_connect_start(
    node: clv_node,
    options: *const clv_connect_options,
    timeout_ms: i64,
    out: *mut clv_connecting,
) -> clv_status {
    enter(|| {
        let (node, wait) = (node_of(node)?, raw::wait(timeout_ms)?);
        // SAFETY: the caller's part.
        let (options, out) = unsafe { (connect_options(options)?, Out::new(out, "out")?) };
        let connecting = node.connect_start(options, wait)?;
        out.write(clv_connecting { id: tables().connecting.insert(connecting) });
        Ok(())
    })
}

/// Takes the session of a connect. Waits for at most `timeout_ms`; the connect goes on after that.
///
/// `*out` is yours until `clv_session_close`; it can be taken once. Any thread; blocks, but for 0. Errors: CLV_E_AGAIN
/// it goes on, for 0; CLV_E_TIMEOUT the wait is over, or the time that the connect had; CLV_E_CANCELLED; CLV_E_STATE it
/// was taken already; otherwise as `clv_connect_with`.
///
/// # Safety
/// `out` is NULL or has room.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn clv_connecting_take(
    connecting: clv_connecting,
    timeout_ms: i64,
    out: *mut clv_session,
) -> clv_status {
    enter(|| {
        let (connecting, wait) = (connecting_of(connecting)?, raw::wait(timeout_ms)?);
        // SAFETY: the caller's part.
        let out = unsafe { Out::new(out, "out") }?;
        // What goes on must not look like the time-out of the connect, which is over for good.
        let looks = wait == Some(Duration::ZERO);
        out.write(keep(if looks { connecting.try_take() } else { connecting.take(wait) }?));
        Ok(())
    })
}

/// From now on the node's event CLV_EVENT_READABLE with this token tells when the connect came to an end; at once if it
/// did already. Take with 0 then.
///
/// Any thread; does not block. Errors: CLV_E_HANDLE, also when its end was taken; CLV_E_CLOSED.
#[unsafe(no_mangle)]
pub extern "C" fn clv_connecting_watch(connecting: clv_connecting, token: u64) -> clv_status {
    enter(|| connecting_of(connecting)?.watch(token))
}

/// Gives up: `clv_connecting_take` answers CLV_E_CANCELLED. Any thread; does not block; without effect once it came to
/// an end. Errors: CLV_E_HANDLE.
#[unsafe(no_mangle)]
pub extern "C" fn clv_connecting_cancel(connecting: clv_connecting) -> clv_status {
    enter(|| {
        connecting_of(connecting)?.cancel();
        Ok(())
    })
}

/// Ends the handle; a connect whose session was not taken is given up. Any thread; does not block. Errors:
/// CLV_E_HANDLE.
#[unsafe(no_mangle)]
pub extern "C" fn clv_connecting_close(connecting: clv_connecting) -> clv_status {
    enter(|| {
        let connecting = remove(|tables| &tables.connecting, "connecting", connecting.id)?;
        // A thread that waits for it must not wait on for ever.
        connecting.cancel();
        Ok(())
    })
}
