//! Calls: one request, its reply in one part or several, and whether it was run.

use crate::boundary::enter;
use crate::buffer::{clv_buffer, held};
use crate::handle::{find, remove, tables};
use crate::noun::{clv_pending_call, clv_session};
use crate::raw::{self, Out};
use crate::session::session_of;
use crate::status::clv_status;
use clerver::{Call, Code, Error, Outcome, Result};
use std::ffi::{c_char, c_void};
use std::time::Duration;

/// What such a handle stands for.
pub(crate) type PendingCall = Call;

/// Whether a call was run, one of CLV_OUTCOME_...
pub type clv_outcome = i32;

/// It was run, and what came back is its answer: the whole reply, or the failure of its handler.
pub const CLV_OUTCOME_REPLY: clv_outcome = 1;
/// It was certainly not run: it is safe to call again.
pub const CLV_OUTCOME_NOT_RUN: clv_outcome = 2;
/// It was run or not: that cannot be known here.
pub const CLV_OUTCOME_UNKNOWN: clv_outcome = 3;

fn call_of(call: clv_pending_call) -> Result<PendingCall> {
    find(|tables| &tables.calls, "call", call.id)
}

/// Calls a service of the peer and waits for its whole reply; parts of a streamed one are joined.
/// `timeout_ms` is the deadline, which the handler sees too. The memory of the request is yours again at
/// once.
///
/// `*reply` belongs to you: `clv_buffer_free`. Any thread; blocks. Errors: what the peer answered, such as
/// CLV_E_NO_SERVICE, CLV_E_LEVEL, CLV_E_BUSY and CLV_E_CALL_FAILED with the handler's text; CLV_E_TIMEOUT;
/// CLV_E_SIZE; CLV_E_DRAINING; CLV_E_LOST, CLV_E_CLOSED; CLV_E_IN_CALLBACK; CLV_E_ENCODING; CLV_E_ARG;
/// CLV_E_HANDLE. To learn after a failure whether it was run, use `clv_call_start` and `clv_call_outcome`.
///
/// # Safety
/// `service` is NULL or ends with a zero byte; `request` is NULL or has `size` bytes; `reply` is NULL or has
/// room.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn clv_call(
    session: clv_session,
    service: *const c_char,
    request: *const c_void,
    size: usize,
    timeout_ms: i64,
    reply: *mut *mut clv_buffer,
) -> clv_status {
    enter(|| {
        let (session, wait) = (session_of(session)?, raw::wait(timeout_ms)?);
        // SAFETY: the caller's part.
        let (service, request, out) = unsafe {
            (
                raw::text(service, "service")?,
                raw::bytes(request.cast(), size, "request")?,
                Out::new(reply, "reply")?,
            )
        };
        out.write(held(session.call(service, request, wait)?));
        Ok(())
    })
}

/// Starts a call and does not wait for it. When nothing came after `deadline_ms` (-1: never), it is given up.
///
/// `*out` is yours until `clv_call_close`. Any thread; does not block. Errors: CLV_E_AGAIN no room for the
/// request; CLV_E_CHANNELS too many calls and channels are open; CLV_E_SIZE; CLV_E_DRAINING; CLV_E_LOST,
/// CLV_E_CLOSED; CLV_E_ENCODING; CLV_E_ARG; CLV_E_HANDLE. Then nothing was sent.
///
/// # Safety
/// `service` is NULL or ends with a zero byte; `request` is NULL or has `size` bytes; `out` is NULL or has
/// room.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn clv_call_start(
    session: clv_session,
    service: *const c_char,
    request: *const c_void,
    size: usize,
    deadline_ms: i64,
    out: *mut clv_pending_call,
) -> clv_status {
    enter(|| {
        let (session, deadline) = (session_of(session)?, raw::wait(deadline_ms)?);
        // SAFETY: the caller's part.
        let (service, request, out) = unsafe {
            (
                raw::text(service, "service")?,
                raw::bytes(request.cast(), size, "request")?,
                Out::new(out, "out")?,
            )
        };
        let call = session.call_start(service, request, deadline)?;
        out.write(clv_pending_call { id: tables().calls.insert(call) });
        Ok(())
    })
}

/// Takes the next part of the reply; CLV_E_END once the reply is whole.
///
/// `*part` belongs to you: `clv_buffer_free`. Any thread; blocks, but for 0. Errors: CLV_E_AGAIN nothing now,
/// for 0; CLV_E_CANCELLED; otherwise as `clv_call`. Except after CLV_E_AGAIN and a wait that is over,
/// `clv_call_outcome` then tells whether it was run.
///
/// # Safety
/// `part` is NULL or has room for a pointer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn clv_call_receive(
    call: clv_pending_call,
    timeout_ms: i64,
    part: *mut *mut clv_buffer,
) -> clv_status {
    enter(|| {
        let (call, wait) = (call_of(call)?, raw::wait(timeout_ms)?);
        // SAFETY: the caller's part.
        let out = unsafe { Out::new(part, "part") }?;
        // What is not there yet must not look like the deadline of the call, which is over for good.
        let looks = wait == Some(Duration::ZERO);
        match if looks { call.try_receive() } else { call.receive(wait) }? {
            Some(part) => out.write(held(part)),
            None => return Err(Error::new(Code::End, "receive a reply: it is whole")),
        }
        Ok(())
    })
}

/// From now on the node's event CLV_EVENT_READABLE with this token tells when a part of the reply, or its
/// end, came; the first one comes at once. Receive with 0 until CLV_E_AGAIN after each.
///
/// Any thread; does not block. Errors: CLV_E_HANDLE, also when the session is over and forgotten.
#[unsafe(no_mangle)]
pub extern "C" fn clv_call_watch(call: clv_pending_call, token: u64) -> clv_status {
    enter(|| call_of(call)?.watch(token))
}

/// Gives up: the handler is told, and `clv_call_receive` answers CLV_E_CANCELLED. Any thread; does not block;
/// without effect after the end. Errors: CLV_E_HANDLE.
#[unsafe(no_mangle)]
pub extern "C" fn clv_call_cancel(call: clv_pending_call) -> clv_status {
    enter(|| {
        call_of(call)?.cancel();
        Ok(())
    })
}

/// Whether the call was run, once `clv_call_receive` came to an end; CLV_OUTCOME_UNKNOWN before. Any thread;
/// does not block. Errors: CLV_E_ARG; CLV_E_HANDLE.
///
/// # Safety
/// `out` is NULL or has room.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn clv_call_outcome(call: clv_pending_call, out: *mut clv_outcome) -> clv_status {
    enter(|| {
        // SAFETY: the caller's part.
        let out = unsafe { Out::new(out, "out") }?;
        out.write(match call_of(call)?.outcome() {
            Outcome::Reply => CLV_OUTCOME_REPLY,
            Outcome::NotRun => CLV_OUTCOME_NOT_RUN,
            Outcome::Unknown => CLV_OUTCOME_UNKNOWN,
        });
        Ok(())
    })
}

/// Names the call between both ends, as `clv_request_call_id` does there. 64 bytes are room enough. Any
/// thread; does not block. Errors: CLV_E_SIZE; CLV_E_ARG; CLV_E_HANDLE.
///
/// # Safety
/// `out` is NULL or has room for `capacity` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn clv_call_id(
    call: clv_pending_call,
    out: *mut c_char,
    capacity: usize,
) -> clv_status {
    enter(|| {
        let (sid, channel) = call_of(call)?.id();
        // SAFETY: the caller's part.
        unsafe { raw::fill(&format!("{sid}/{channel}"), out, capacity, "out") }
    })
}

/// Ends the handle; a call whose reply is not whole is cancelled. Any thread; does not block. Errors:
/// CLV_E_HANDLE.
#[unsafe(no_mangle)]
pub extern "C" fn clv_call_close(call: clv_pending_call) -> clv_status {
    enter(|| {
        let call = remove(|tables| &tables.calls, "call", call.id)?;
        // A thread that waits for the reply must not wait on for ever.
        call.cancel();
        Ok(())
    })
}
