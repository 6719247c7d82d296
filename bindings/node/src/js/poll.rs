//! The events of a node in the poll of an environment: one descriptor, no thread.
//!
//! Invariants: the handle is closed before its node goes; events are taken on the environment's thread alone.

use super::uv::{self, Handle};
use crate::error::{self, Failure};
use crate::event;
use crate::js::value::Value;
use clerver::{Code, Error, Node, NodeEvent};
use napi::Env;
use napi::bindgen_prelude::{Function, JsValue, ToNapiValue, sys};
use std::cell::Cell;
use std::ffi::{c_int, c_void};
use std::os::fd::AsRawFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::null_mut;
use std::rc::Rc;
use std::time::Duration;

/// Events in one turn: what is left comes in the next one, so other work of the program is not starved.
const EVENTS_MAX: usize = 512;
/// What a node gets to say good-bye when its environment ends.
const LAST_WORD: Duration = Duration::from_millis(500);

struct Watch {
    env: sys::napi_env,
    tell: sys::napi_ref,
    node: Node,
    mailbox: crate::js::post::Mailbox,
    cleanup: sys::napi_async_cleanup_hook_handle,
    /// Nothing once it is closed.
    place: Rc<Cell<Option<Handle>>>,
}

/// The place of a node in its environment's poll.
pub(crate) struct Poll(Rc<Cell<Option<Handle>>>);

impl Poll {
    /// Ready tokens and events go to `tell(tokens, events)`; a token is doubled, and odd where there is room to write.
    pub(crate) fn start(
        env: Env,
        node: &Node,
        mailbox: crate::js::post::Mailbox,
        tell: Function<'_>,
    ) -> Result<Poll, Failure> {
        let descriptor = node.event_descriptor().map_err(error::failure)?.as_raw_fd();
        let handle = uv::allocate(uv::POLL);
        let mut of = null_mut();
        let place = Rc::new(Cell::new(Some(handle)));
        let mut watch = Box::new(Watch {
            env: env.raw(),
            tell: null_mut(),
            node: node.clone(),
            mailbox,
            cleanup: null_mut(),
            place: Rc::clone(&place),
        });
        // SAFETY: all of these are of this thread and environment; the handle is new, and freed when it is closed.
        unsafe {
            if sys::napi_get_uv_event_loop(env.raw(), &raw mut of) != sys::Status::napi_ok
                || sys::napi_create_reference(env.raw(), tell.raw(), 1, &raw mut watch.tell)
                    != sys::Status::napi_ok
                || uv::uv_poll_init(of, handle, descriptor) != 0
            {
                uv::free(handle, uv::POLL);
                return Err(error::failure(Error::new(
                    Code::System,
                    "poll the node's events: libuv refuses",
                )));
            }
            let watch: *mut Watch = Box::into_raw(watch);
            uv::uv_handle_set_data(handle, watch.cast());
            uv::uv_poll_start(handle, uv::READABLE, on_readable);
            uv::uv_unref(handle);
            sys::napi_add_async_cleanup_hook(env.raw(), Some(on_end), handle, &raw mut (*watch).cleanup);
        }
        Ok(Poll(place))
    }

    /// Whether it keeps the process alive.
    pub(crate) fn set_held(&self, is_held: bool) {
        let Some(handle) = self.0.get() else { return };
        // SAFETY: of this thread, and open as long as it stands there.
        unsafe { if is_held { uv::uv_ref(handle) } else { uv::uv_unref(handle) } }
    }
}

impl Drop for Poll {
    fn drop(&mut self) {
        close(&self.0);
    }
}

/// Once; its memory goes when libuv is done with it.
fn close(place: &Cell<Option<Handle>>) {
    if let Some(handle) = place.take() {
        // SAFETY: of this thread, and open as long as it stood there.
        unsafe { uv::uv_close(handle, on_closed) };
    }
}

fn take(node: &Node) -> (Vec<f64>, Vec<Value>) {
    let (mut tokens, mut events) = (Vec::new(), Vec::new());
    while tokens.len() + events.len() < EVENTS_MAX {
        match node.try_next_event() {
            Some(NodeEvent::Readable { token } | NodeEvent::SessionReady { token }) => {
                tokens.push((token * 2) as f64);
            }
            Some(NodeEvent::Writable { token }) => tokens.push((token * 2 + 1) as f64),
            Some(event) => events.push(event::of_node(&event)),
            None => break,
        }
    }
    (tokens, events)
}

unsafe extern "C" fn on_readable(handle: Handle, _status: c_int, _events: c_int) {
    // SAFETY: set when it was made, and freed after it is closed.
    let watch = unsafe { &*uv::uv_handle_get_data(handle).cast::<Watch>() };
    let (env, tell) = (watch.env, watch.tell);
    let deliver = || {
        let (tokens, events) = take(&watch.node);
        if tokens.is_empty() && events.is_empty() {
            return;
        }
        // SAFETY: libuv calls this on the thread of the environment.
        unsafe {
            uv::call_in_scope(env, tell, || {
                let events = match events.is_empty() {
                    true => Value::Nothing,
                    false => Value::List(events),
                };
                Ok(vec![Vec::to_napi_value(env, tokens)?, Value::to_napi_value(env, events)?])
            });
        }
    };
    // Nothing is left to do about a panic but to go on.
    let _ = catch_unwind(AssertUnwindSafe(deliver));
}

/// The environment ends with its node open.
unsafe extern "C" fn on_end(_hook: sys::napi_async_cleanup_hook_handle, handle: *mut c_void) {
    // SAFETY: set when it was made, and freed after it is closed.
    let (node, mailbox, place) = unsafe {
        let watch = &*uv::uv_handle_get_data(handle).cast::<Watch>();
        (watch.node.clone(), watch.mailbox.clone(), Rc::clone(&watch.place))
    };
    close(&place);
    let last_word = || {
        mailbox.silence();
        // An error means that it is closed already.
        let _ = node.close(LAST_WORD);
    };
    // Nothing is left to do about a panic but to go on.
    let _ = catch_unwind(AssertUnwindSafe(last_word));
}

unsafe extern "C" fn on_closed(handle: Handle) {
    // SAFETY: libuv is done with it, and this is the last use of both.
    unsafe {
        let watch = Box::from_raw(uv::uv_handle_get_data(handle).cast::<Watch>());
        sys::napi_delete_reference(watch.env, watch.tell);
        sys::napi_remove_async_cleanup_hook(watch.cleanup);
        drop(watch);
        uv::free(handle, uv::POLL);
    }
}
