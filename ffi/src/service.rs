//! Services: functions of the program that peers call by name.

use crate::boundary::{enter, status_of};
use crate::handle::{find, remove, tables};
use crate::node::node_of;
use crate::noun::{clv_node, clv_request, clv_session};
use crate::raw::{self, Out, SizedOut, Versioned};
use crate::session::keep;
use crate::status::{CLV_OK, clv_status};
use crate::user::{User, clv_drop};
use clerver::{CallContext, Code, DeferredReply, Error, Result, ServiceOptions};
use parking_lot::Mutex;
use std::ffi::{c_char, c_void};
use std::sync::Arc;

/// Runs one call of a service: reads `request`, answers with `clv_reply`, and returns CLV_OK.
///
/// Any other answer is the caller's CLV_E_CALL_FAILED, with the text of `clv_reply_error`; CLV_E_NOT_RUN,
/// CLV_E_BUSY and CLV_E_DENIED reach the caller as they are. It runs on a thread of the library, beside other
/// handlers, with no lock held; in a caller-driven node inside `clv_node_run_once`. It must not throw and
/// must not leave by longjmp.
pub type clv_handler = Option<unsafe extern "C" fn(user: *mut c_void, request: clv_request) -> clv_status>;

/// How a service is offered, for clv_serve.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct clv_service_options {
    /// sizeof(clv_service_options): begin with CLV_SERVICE_OPTIONS_INIT.
    pub struct_size: usize,
    /// Not 0: run the handler on the thread of the node: fastest, but it must never block
    /// (CLV_E_IN_CALLBACK), and everything else of the node waits for it.
    pub run_inline: i32,
    /// Level that a caller needs; 1 is every authorised peer.
    pub level_min: i32,
}

// SAFETY: numbers alone, the size first.
unsafe impl Versioned for clv_service_options {}

#[derive(Default)]
struct Answer {
    reply: Option<Vec<u8>>,
    error: Option<String>,
    /// The session that the handler asked for.
    session: Option<clv_session>,
    /// It outlives its handler.
    is_deferred: bool,
    /// Its handler returned without that.
    is_over: bool,
    /// Until it is answered.
    deferred: Option<DeferredReply>,
}

impl Answer {
    /// What the caller gets for this status.
    fn result(&mut self, status: clv_status) -> Result<Vec<u8>> {
        if status == CLV_OK {
            return Ok(self.reply.take().unwrap_or_default());
        }
        let says_not_run = [Code::NotRun, Code::Busy, Code::Denied];
        let code = says_not_run.into_iter().find(|&code| status_of(code) == status);
        let text = self.error.take().unwrap_or_else(|| format!("the handler answered {status}"));
        Err(Error::new(code.unwrap_or(Code::CallFailed), text))
    }
}

/// What a request stands for.
#[derive(Clone)]
pub(crate) struct Request {
    call: CallContext,
    answer: Arc<Mutex<Answer>>,
}

fn request_of(request: clv_request) -> Result<Request> {
    find(|tables| &tables.requests, "request", request.id)
}

/// Ends the handles of a request: when its handler has returned, however, or when it is finished.
struct Running {
    id: u64,
    answer: Arc<Mutex<Answer>>,
    /// It was left for later.
    goes_on: bool,
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.goes_on {
            return;
        }
        // An error means that a child of a fork came here, or that it was finished before its handler returned.
        let _ = remove(|tables| &tables.requests, "request", self.id);
        let session = self.answer.lock().session.take();
        if let Some(session) = session {
            drop(remove(|tables| &tables.sessions, "session", session.id));
        }
    }
}

fn run(
    handler: unsafe extern "C" fn(*mut c_void, clv_request) -> clv_status,
    user: &User,
    call: &CallContext,
) -> Result<Vec<u8>> {
    let answer = Arc::<Mutex<Answer>>::default();
    let request = Request { call: call.clone(), answer: Arc::clone(&answer) };
    let mut running = Running { id: tables().requests.insert(request), answer, goes_on: false };
    // SAFETY: the program gave both for this.
    let status = unsafe { handler(user.pointer(), clv_request { id: running.id }) };
    let goes_on = {
        let mut answer = running.answer.lock();
        answer.is_over = !answer.is_deferred;
        answer.is_deferred && status == CLV_OK
    };
    running.goes_on = goes_on;
    if goes_on {
        return Ok(Vec::new());
    }
    running.answer.lock().result(status)
}

/// Offers a service to peers under a name of at most 255 bytes. `options` may be NULL.
///
/// `user` is handed to the handler. `drop` (may be NULL) frees it, exactly once, when the service is
/// withdrawn and its last handler has returned, or when this function fails. Any thread; does not block.
/// Errors: CLV_E_IN_USE the name is taken; CLV_E_LIMIT; CLV_E_UNSUPPORTED; CLV_E_ENCODING; CLV_E_ARG;
/// CLV_E_HANDLE; CLV_E_CLOSED.
///
/// # Safety
/// `name` is NULL or ends with a zero byte; `options` is NULL or begins with CLV_SERVICE_OPTIONS_INIT; the
/// functions may be called on any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn clv_serve(
    node: clv_node,
    name: *const c_char,
    options: *const clv_service_options,
    handler: clv_handler,
    user: *mut c_void,
    drop: clv_drop,
) -> clv_status {
    let user = User::new(user, drop);
    enter(move || {
        let node = node_of(node)?;
        let default = clv_service_options {
            struct_size: size_of::<clv_service_options>(),
            run_inline: 0,
            level_min: 1,
        };
        // SAFETY: the caller's part.
        let (name, options) =
            unsafe { (raw::text(name, "name")?, raw::read_sized(options, default, "options")?) };
        let handler = handler.ok_or_else(|| raw::bad("handler", "is NULL"))?;
        let options = ServiceOptions {
            inline: options.run_inline != 0,
            level_min: raw::level(options.level_min, "options.level_min")?,
            ..ServiceOptions::default()
        };
        node.serve(name, options, move |call| run(handler, &user, call))
    })
}

/// Offers a service no more; calls that run go on. Any thread; does not block. Errors: CLV_E_NO_SERVICE;
/// CLV_E_ENCODING; CLV_E_ARG; CLV_E_HANDLE; CLV_E_CLOSED.
///
/// # Safety
/// `name` is NULL or ends with a zero byte.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn clv_unserve(node: clv_node, name: *const c_char) -> clv_status {
    enter(|| {
        let node = node_of(node)?;
        // SAFETY: the caller's part.
        node.unserve(unsafe { raw::text(name, "name") }?)
    })
}

/// The request. The bytes belong to the library as long as the handle is good, and do not end with a zero byte.
///
/// Any thread; does not block. Errors: CLV_E_ARG; CLV_E_HANDLE.
///
/// # Safety
/// `data` and `size` are NULL or have room.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn clv_request_data(
    request: clv_request,
    data: *mut *const c_void,
    size: *mut usize,
) -> clv_status {
    enter(|| {
        let request = request_of(request)?;
        // SAFETY: the caller's part.
        let (data, size) = unsafe { (Out::new(data, "data")?, Out::new(size, "size")?) };
        data.write(request.call.request().as_ptr().cast());
        size.write(request.call.request().len());
        Ok(())
    })
}

/// The caller's session, for attaching objects and the like. The handle is good as long as that of the request,
/// does not keep the session open, and need not be closed.
///
/// Any thread; does not block. Errors: CLV_E_ARG; CLV_E_HANDLE.
///
/// # Safety
/// `out` is NULL or has room.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn clv_request_session(request: clv_request, out: *mut clv_session) -> clv_status {
    enter(|| {
        let request = request_of(request)?;
        // SAFETY: the caller's part.
        let out = unsafe { Out::new(out, "out") }?;
        let mut answer = request.answer.lock();
        let session = *answer.session.get_or_insert_with(|| keep(request.call.session().clone()));
        out.write(session);
        Ok(())
    })
}

/// Names the call between both ends, for logs and for making its effects unique. 64 bytes are room enough.
/// Any thread; does not block. Errors: CLV_E_SIZE; CLV_E_ARG; CLV_E_HANDLE.
///
/// # Safety
/// `out` is NULL or has room for `capacity` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn clv_request_call_id(
    request: clv_request,
    out: *mut c_char,
    capacity: usize,
) -> clv_status {
    enter(|| {
        let (sid, channel) = request_of(request)?.call.call_id();
        // SAFETY: the caller's part.
        unsafe { raw::fill(&format!("{sid}/{channel}"), out, capacity, "out") }
    })
}

/// What a handler may want to know of its call.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct clv_request_info {
    /// sizeof(clv_request_info): begin with CLV_REQUEST_INFO_INIT.
    pub struct_size: usize,
    /// The caller's level.
    pub caller_level: i32,
    /// Not 0: the caller gave up, or its session ended; nobody waits for the reply.
    pub is_cancelled: i32,
    /// Milliseconds until the caller gives up; -1 when it waits for ever.
    pub remaining_ms: i64,
}

// SAFETY: numbers alone, the size first.
unsafe impl Versioned for clv_request_info {}

/// Level, patience and presence of the caller, as of now. Any thread; does not block. Errors: CLV_E_ARG;
/// CLV_E_HANDLE.
///
/// # Safety
/// `out` is NULL or begins with CLV_REQUEST_INFO_INIT.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn clv_request_get_info(
    request: clv_request,
    out: *mut clv_request_info,
) -> clv_status {
    enter(|| {
        let call = request_of(request)?.call;
        let remaining = call.remaining().map(|span| i64::try_from(span.as_millis()).unwrap_or(i64::MAX));
        let info = clv_request_info {
            struct_size: size_of::<clv_request_info>(),
            caller_level: i32::from(call.caller_level()),
            is_cancelled: i32::from(call.is_cancelled()),
            remaining_ms: remaining.unwrap_or(-1),
        };
        // SAFETY: the caller's part.
        unsafe { SizedOut::new(out, "out") }?.write(info);
        Ok(())
    })
}

/// Sets the reply, or the last part of a streamed one, by copy; it is sent when the handler returns CLV_OK,
/// or with `clv_request_finish`. Without it the reply is empty.
///
/// Any thread; does not block. Errors: CLV_E_STATE it was set before; CLV_E_ARG; CLV_E_HANDLE.
///
/// # Safety
/// `data` is NULL or has `size` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn clv_reply(request: clv_request, data: *const c_void, size: usize) -> clv_status {
    enter(|| {
        let request = request_of(request)?;
        // SAFETY: the caller's part.
        let data = unsafe { raw::bytes(data.cast(), size, "data") }?;
        let mut answer = request.answer.lock();
        if answer.reply.is_some() {
            let error = Error::new(Code::State, "reply to a call: it has its reply already");
            return Err(error.with_remedy("stream with clv_reply_part, and end with clv_reply"));
        }
        answer.reply = Some(data.to_vec());
        Ok(())
    })
}

/// Sends one part of a streamed reply, by copy. What `clv_reply` sets is the last part.
///
/// Any thread; blocks until there is room, without end but for the session's. Errors: CLV_E_STOPPED the
/// caller gave up; CLV_E_LOST, CLV_E_CLOSED its session ended; CLV_E_AGAIN no room, in an inline handler or
/// once it is deferred; CLV_E_SIZE; CLV_E_ARG; CLV_E_HANDLE.
///
/// # Safety
/// `data` is NULL or has `size` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn clv_reply_part(
    request: clv_request,
    data: *const c_void,
    size: usize,
) -> clv_status {
    enter(|| {
        let request = request_of(request)?;
        // SAFETY: the caller's part.
        request.call.reply_part(unsafe { raw::bytes(data.cast(), size, "data") }?)
    })
}

/// Says why the call failed, for a handler that will not return CLV_OK, or a `clv_request_finish` without it. At most
/// 255 bytes reach the caller.
///
/// Any thread; does not block. Errors: CLV_E_ENCODING; CLV_E_ARG; CLV_E_HANDLE.
///
/// # Safety
/// `text` is NULL or ends with a zero byte.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn clv_reply_error(request: clv_request, text: *const c_char) -> clv_status {
    enter(|| {
        let request = request_of(request)?;
        // SAFETY: the caller's part.
        let text = unsafe { raw::text(text, "text") }?.to_owned();
        request.answer.lock().error = Some(text);
        Ok(())
    })
}

/// In a handler: leaves the answer for later, to any thread, which gives it with `clv_request_finish`. The handler then
/// returns CLV_OK, and no thread waits; any other status answers the call at once. The handle is good until then.
///
/// The request counts as one that waits until it is answered: when those of a session are more than
/// session_budget_bytes, further calls are answered CLV_E_BUSY. A close of the node waits for it, and names the service
/// when it waited in vain. Any thread; does not block. Errors: CLV_E_STATE it is deferred already; CLV_E_HANDLE.
#[unsafe(no_mangle)]
pub extern "C" fn clv_request_defer(request: clv_request) -> clv_status {
    enter(|| {
        let request = request_of(request)?;
        let mut answer = request.answer.lock();
        if answer.is_over {
            return Err(Error::new(Code::State, "defer a request: its handler has returned"));
        }
        let deferred = request.call.defer()?;
        answer.is_deferred = true;
        answer.deferred = Some(deferred);
        Ok(())
    })
}

/// From now on the node's event CLV_EVENT_READABLE with this token tells that the caller of a deferred request gave up
/// (`clv_request_get_info`), and CLV_EVENT_WRITABLE that there is room for `clv_reply_part` after CLV_E_AGAIN. Both
/// come once at once.
///
/// Any thread; does not block. Errors: CLV_E_STATE it is not deferred; CLV_E_HANDLE, also when its session is over and
/// forgotten; CLV_E_CLOSED.
#[unsafe(no_mangle)]
pub extern "C" fn clv_request_watch(request: clv_request, token: u64) -> clv_status {
    enter(|| {
        let request = request_of(request)?;
        let answer = request.answer.lock();
        answer.deferred.as_ref().ok_or_else(not_deferred)?.watch(token)
    })
}

/// Answers a deferred request: `status` is what the handler would have returned. Ends the handle, also when the caller
/// is gone.
///
/// Any thread; does not block: what has no room yet is sent when there is. Errors: CLV_E_STATE it is not deferred;
/// CLV_E_HANDLE.
#[unsafe(no_mangle)]
pub extern "C" fn clv_request_finish(request: clv_request, status: clv_status) -> clv_status {
    enter(|| {
        let Request { answer, .. } = request_of(request)?;
        let (deferred, result) = {
            let mut answer = answer.lock();
            let deferred = answer.deferred.take().ok_or_else(not_deferred)?;
            (deferred, answer.result(status))
        };
        drop(Running { id: request.id, answer, goes_on: false });
        deferred.finish(result);
        Ok(())
    })
}

fn not_deferred() -> Error {
    Error::new(Code::State, "answer a request later: it is not deferred")
        .with_remedy("clv_request_defer, in its handler")
}
