//! Mail from threads of ours to one environment of JavaScript: the main one, or that of a worker.
//!
//! Invariants: mail is read on the environment's thread, in order; once the environment ends nobody is let in, and
//! its
//! door is gone before libuv is; sending never waits.

use super::uv::{self, Handle};
use crate::error::{self, Failure};
use crate::js::value::Value;
use clerver::{Code, DeferredReply, Error, Result};
use napi::Env;
use napi::bindgen_prelude::{Function, JsValue, ToNapiValue, sys};
use napi_derive::napi;
use parking_lot::Mutex;
use std::collections::{BTreeMap, VecDeque};
use std::ffi::c_void;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::null_mut;
use std::sync::Arc;

/// What a letter is about; `lib/post.js` has the same numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum About {
    /// An operation of the pool is over: its ticket, and [value] or [null, error].
    Done = 0,
    /// A call waits for its handler: the service's number, and the request.
    Call = 1,
    /// A callback of a kind is due: the kind's number, and what is to be done.
    Object = 2,
    /// A line for the log: the node's number, and [level, text].
    Line = 3,
    /// Nothing holds this payload any more.
    Payload = 4,
    /// A use of an object began: its ticket, and the payload's number.
    Entered = 5,
}

struct Letter {
    about: About,
    number: u64,
    value: Value,
}

struct State {
    letters: VecDeque<Letter>,
    /// Answers that JavaScript owes, by the numbers of their requests.
    owed: BTreeMap<u64, DeferredReply>,
    /// `None` once the environment ends.
    door: Option<Handle>,
    is_rung: bool,
    /// Nobody reads any more, though the door is still there.
    is_silent: bool,
}

impl State {
    fn is_over(&self) -> bool {
        self.is_silent || self.door.is_none()
    }
}

/// Of an environment that ended. Where no lock is held.
fn no_answer(reply: DeferredReply) {
    reply.finish(Err(Error::new(Code::CallFailed, "the handler's JavaScript environment ended")));
}

// SAFETY: the only thing that other threads do with the handle is `uv_async_send`, which is made for that, and
// under the
// lock under which it is taken away before it is closed.
unsafe impl Send for State {}

/// The address of an environment, for any thread.
#[derive(Clone)]
pub(crate) struct Mailbox(Arc<Mutex<State>>);

impl Mailbox {
    /// Whether it was let in; it is dropped otherwise.
    pub(crate) fn send(&self, about: About, number: u64, value: Value) -> bool {
        let mut state = self.0.lock();
        let Some(door) = state.door.filter(|_| !state.is_silent) else {
            drop(state);
            // What it held goes here, where no lock is held.
            drop(value);
            return false;
        };
        state.letters.push_back(Letter { about, number, value });
        if !std::mem::replace(&mut state.is_rung, true) {
            // SAFETY: it is not closed while it stands in the state.
            unsafe { uv::uv_async_send(door) };
        }
        true
    }

    /// The answer of an operation.
    pub(crate) fn answer(&self, ticket: u64, result: Result<Value>) {
        let parts = match result {
            Ok(value) => vec![value],
            Err(error) => vec![Value::Nothing, error::value(&error)],
        };
        self.send(About::Done, ticket, Value::List(parts));
    }

    /// JavaScript owes this answer from now on; without JavaScript it is given here.
    pub(crate) fn owe(&self, request: u64, reply: DeferredReply) {
        let mut state = self.0.lock();
        if state.is_over() {
            drop(state);
            no_answer(reply);
        } else {
            state.owed.insert(request, reply);
        }
    }

    /// Takes the duty to answer, if nobody did.
    pub(crate) fn settle(&self, request: u64) -> Option<DeferredReply> {
        self.0.lock().owed.remove(&request)
    }

    pub(crate) fn is_shut(&self) -> bool {
        self.0.lock().is_over()
    }

    /// As `shut`, but for the door itself.
    pub(crate) fn silence(&self) {
        let mut state = self.0.lock();
        state.is_silent = true;
        let owed = std::mem::take(&mut state.owed);
        drop(state);
        owed.into_values().for_each(no_answer);
    }

    /// Lets nobody in any more: whoever waits for an answer stops.
    pub(crate) fn shut(&self) -> Option<Handle> {
        let mut state = self.0.lock();
        let letters = std::mem::take(&mut state.letters);
        let owed = std::mem::take(&mut state.owed);
        let door = state.door.take();
        drop(state);
        owed.into_values().for_each(no_answer);
        drop(letters);
        door
    }
}

/// What the door's handle knows.
struct Reader {
    env: sys::napi_env,
    read: sys::napi_ref,
    mailbox: Mailbox,
    cleanup: sys::napi_async_cleanup_hook_handle,
}

/// The post of one environment.
#[napi]
pub struct Post {
    mailbox: Mailbox,
    door: Handle,
    users: u32,
}

#[napi]
impl Post {
    /// Mail goes to `read(about, number, value)`.
    #[napi(constructor, catch_unwind)]
    pub fn new(env: Env, read: Function<'_>) -> Result<Post, Failure> {
        let failed = |what: &str| error::failure(Error::new(Code::System, format!("open the post: {what}")));
        let mut of = null_mut();
        let door = uv::allocate(uv::ASYNC);
        let state = State {
            letters: VecDeque::new(),
            owed: BTreeMap::new(),
            door: Some(door),
            is_rung: false,
            is_silent: false,
        };
        let mailbox = Mailbox(Arc::new(Mutex::new(state)));
        let mut reader = Box::new(Reader {
            env: env.raw(),
            read: null_mut(),
            mailbox: mailbox.clone(),
            cleanup: null_mut(),
        });
        // SAFETY: all of these are of this thread and environment; the handle is new, and freed when it is closed.
        unsafe {
            if sys::napi_get_uv_event_loop(env.raw(), &raw mut of) != sys::Status::napi_ok
                || sys::napi_create_reference(env.raw(), read.raw(), 1, &raw mut reader.read)
                    != sys::Status::napi_ok
                || uv::uv_async_init(of, door, on_ring) != 0
            {
                mailbox.shut();
                uv::free(door, uv::ASYNC);
                return Err(failed("libuv refuses"));
            }
            let place: *mut Reader = Box::into_raw(reader);
            uv::uv_handle_set_data(door, place.cast());
            uv::uv_unref(door);
            sys::napi_add_async_cleanup_hook(env.raw(), Some(on_end), door, &raw mut (*place).cleanup);
        }
        Ok(Post { mailbox, door, users: 0 })
    }

    /// Something waits for mail: the process stays. Counted.
    #[napi(catch_unwind)]
    pub fn hold(&mut self) {
        self.users += 1;
        if self.users == 1 && !self.mailbox.is_shut() {
            // SAFETY: of this thread, and open.
            unsafe { uv::uv_ref(self.door) };
        }
    }

    /// It waits no more.
    #[napi(catch_unwind)]
    pub fn release(&mut self) {
        self.users = self.users.saturating_sub(1);
        if self.users == 0 && !self.mailbox.is_shut() {
            // SAFETY: of this thread, and open.
            unsafe { uv::uv_unref(self.door) };
        }
    }

    /// The process ends: whoever waits for JavaScript stops waiting, and calls that it has not answered fail.
    #[napi(catch_unwind)]
    pub fn shut(&self) {
        if let Some(door) = self.mailbox.shut() {
            // SAFETY: it is of this thread; nobody rings it any more.
            unsafe { uv::uv_close(door, on_closed) };
        }
    }
}

impl Post {
    pub(crate) fn mailbox(&self) -> Mailbox {
        self.mailbox.clone()
    }
}

unsafe extern "C" fn on_ring(door: Handle) {
    // SAFETY: set when it was made, and freed after it is closed.
    let reader = unsafe { &*uv::uv_handle_get_data(door).cast::<Reader>() };
    let letters = {
        let mut state = reader.mailbox.0.lock();
        state.is_rung = false;
        std::mem::take(&mut state.letters)
    };
    for letter in letters {
        let deliver = || {
            let Letter { about, number, value } = letter;
            // SAFETY: libuv calls this on the thread of the environment.
            unsafe {
                uv::call_in_scope(reader.env, reader.read, || {
                    Ok(vec![
                        f64::to_napi_value(reader.env, f64::from(about as u8))?,
                        f64::to_napi_value(reader.env, number as f64)?,
                        Value::to_napi_value(reader.env, value)?,
                    ])
                })
            }
        };
        // What it panicked about is gone with its letter.
        let _ = catch_unwind(AssertUnwindSafe(deliver));
    }
}

/// The environment ends.
unsafe extern "C" fn on_end(_hook: sys::napi_async_cleanup_hook_handle, door: *mut c_void) {
    // SAFETY: set when it was made, and freed after it is closed.
    let reader = unsafe { &*uv::uv_handle_get_data(door).cast::<Reader>() };
    if let Some(door) = reader.mailbox.shut() {
        // SAFETY: it is of this thread; nobody rings it any more.
        unsafe { uv::uv_close(door, on_closed) };
    }
}

unsafe extern "C" fn on_closed(door: Handle) {
    // SAFETY: libuv is done with it, and this is the last use of both.
    unsafe {
        let reader = Box::from_raw(uv::uv_handle_get_data(door).cast::<Reader>());
        sys::napi_remove_async_cleanup_hook(reader.cleanup);
        drop(reader);
        uv::free(door, uv::ASYNC);
    }
}
