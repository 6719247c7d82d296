//! The few functions of libuv that are needed. Node itself exports them, and keeps their layout since libuv 1.0.

use napi::bindgen_prelude::sys;
use std::ffi::{c_int, c_void};

/// `UV_ASYNC` of `uv_handle_type`.
pub(crate) const ASYNC: c_int = 1;
/// `UV_POLL` of `uv_handle_type`.
pub(crate) const POLL: c_int = 8;
/// `UV_READABLE` of `uv_poll_event`.
pub(crate) const READABLE: c_int = 1;

/// A handle of any type, as large as `uv_handle_size` says.
pub(crate) type Handle = *mut c_void;

unsafe extern "C" {
    pub(crate) fn uv_handle_size(kind: c_int) -> usize;
    pub(crate) fn uv_handle_set_data(handle: Handle, data: *mut c_void);
    pub(crate) fn uv_handle_get_data(handle: Handle) -> *mut c_void;
    pub(crate) fn uv_async_init(
        of: *mut sys::uv_loop_s,
        handle: Handle,
        run: unsafe extern "C" fn(Handle),
    ) -> c_int;
    pub(crate) fn uv_async_send(handle: Handle) -> c_int;
    pub(crate) fn uv_poll_init(of: *mut sys::uv_loop_s, handle: Handle, descriptor: c_int) -> c_int;
    pub(crate) fn uv_poll_start(
        handle: Handle,
        events: c_int,
        run: unsafe extern "C" fn(Handle, c_int, c_int),
    ) -> c_int;
    pub(crate) fn uv_close(handle: Handle, closed: unsafe extern "C" fn(Handle));
    pub(crate) fn uv_ref(handle: Handle);
    pub(crate) fn uv_unref(handle: Handle);
}

/// Memory for a handle, in words so that it is aligned; given back by `free`.
pub(crate) fn allocate(kind: c_int) -> Handle {
    // SAFETY: it only looks the size up.
    let size = unsafe { uv_handle_size(kind) };
    let words: Box<[u64]> = vec![0; size.div_ceil(8)].into();
    Box::into_raw(words).cast()
}

/// # Safety
/// The handle is from `allocate` of this kind, was closed or never begun, and is used no more.
pub(crate) unsafe fn free(handle: Handle, kind: c_int) {
    // SAFETY: it only looks the size up.
    let words = unsafe { uv_handle_size(kind) }.div_ceil(8);
    // SAFETY: as allocated, which the caller promises.
    drop(unsafe { Box::from_raw(std::ptr::slice_from_raw_parts_mut(handle.cast::<u64>(), words)) });
}

/// Makes values in a scope, and calls a function of JavaScript with them. What that throws is an uncaught exception, as
/// anywhere else in a program.
///
/// # Safety
/// The environment and the reference are of this thread.
pub(crate) unsafe fn call_in_scope(
    env: sys::napi_env,
    function: sys::napi_ref,
    arguments: impl FnOnce() -> napi::Result<Vec<sys::napi_value>>,
) -> bool {
    use std::ptr::null_mut;
    let mut scope = null_mut();
    // SAFETY: all of these are of this thread, as the caller promises; values live until the scope is closed.
    unsafe {
        if sys::napi_open_handle_scope(env, &raw mut scope) != sys::Status::napi_ok {
            return false;
        }
        let (mut callee, mut this, mut answer) = (null_mut(), null_mut(), null_mut());
        sys::napi_get_reference_value(env, function, &raw mut callee);
        sys::napi_get_global(env, &raw mut this);
        let mut status = sys::Status::napi_generic_failure;
        if let Ok(values) = arguments()
            && !callee.is_null()
        {
            let at = values.as_ptr();
            status =
                sys::napi_make_callback(env, null_mut(), this, callee, values.len(), at, &raw mut answer);
            if status == sys::Status::napi_pending_exception {
                let mut thrown = null_mut();
                if sys::napi_get_and_clear_last_exception(env, &raw mut thrown) == sys::Status::napi_ok {
                    sys::napi_fatal_exception(env, thrown);
                }
            }
        }
        sys::napi_close_handle_scope(env, scope);
        status == sys::Status::napi_ok
    }
}
