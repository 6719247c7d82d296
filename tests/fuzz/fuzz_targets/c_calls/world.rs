//! The callbacks, and the two nodes that one input finds and leaves to the next.

use super::INPUTS_MAX;
use clerver_c_face::{
    address::clv_address, buffer::*, call::*, channel::*, connecting::*, log::*, node::*, noun::*, object::*,
    options::*, report::*, service::*, session::*, state::*, status::*,
};
use std::ffi::{CString, c_char, c_void};
use std::ptr::{null, null_mut};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

pub(crate) static GIVEN: AtomicU64 = AtomicU64::new(0);
pub(crate) static DROPPED: AtomicU64 = AtomicU64::new(0);

pub(crate) unsafe extern "C" fn count_drop(_: *mut c_void) {
    DROPPED.fetch_add(1, Ordering::SeqCst);
}

static DEFERRED: Mutex<Vec<u64>> = Mutex::new(Vec::new());

/// Requests that handlers have left for later, finished or not.
pub(crate) fn deferred() -> MutexGuard<'static, Vec<u64>> {
    DEFERRED.lock().expect("nobody panics with it")
}

/// Everybody gets an answer.
fn finish_all() {
    for id in std::mem::take(&mut *deferred()) {
        // HANDLE: it was finished, or its handler failed.
        let _ = clv_request_finish(clv_request { id }, CLV_OK);
    }
}

pub(crate) unsafe extern "C" fn handler(user: *mut c_void, request: clv_request) -> clv_status {
    let (mut data, mut size) = (null::<c_void>(), 0usize);
    let mut session = clv_session { id: 0 };
    let mut buffer = null_mut();
    // SAFETY: all places have room; the request's bytes are good until the handler returns.
    unsafe {
        assert_eq!(clv_request_data(request, &mut data, &mut size), CLV_OK);
        let _ = clv_request_session(request, &mut session);
        let _ = clv_call(session, c"echo".as_ptr(), null(), 0, 0, &mut buffer);
        clv_buffer_free(buffer);
        if size % 3 == 0 {
            let _ = clv_session_close(session, 0);
        }
        let defers = size == 1 || size == 5000;
        if defers {
            assert_eq!(clv_request_defer(request), CLV_OK);
        }
        let _ = clv_reply_part(request, data, size);
        let _ = clv_reply(request, data, size);
        if defers {
            deferred().push(request.id);
        }
    }
    user.addr() as clv_status
}

pub(crate) unsafe extern "C" fn log(_: *mut c_void, _: clv_log_level, line: *const c_char) {
    assert!(!line.is_null());
}

pub(crate) unsafe extern "C" fn on_object(_: *mut c_void, _: *mut c_void) {}

pub(crate) unsafe extern "C" fn embalm_object(
    _: *mut c_void,
    _: *mut c_void,
    embalming: clv_embalming,
) -> clv_status {
    // SAFETY: there are so many bytes.
    unsafe { clv_embalming_write(embalming, b"kept".as_ptr().cast(), 4) }
}

pub(crate) unsafe extern "C" fn revive_object(
    _: *mut c_void,
    _: *const c_void,
    _: usize,
    object: *mut *mut c_void,
) -> clv_status {
    // SAFETY: there is room for a pointer.
    unsafe { object.write(null_mut()) };
    CLV_OK
}

pub(crate) unsafe extern "C" fn discard_object(_: *mut c_void, _: *const c_void, _: usize) {}

pub(crate) unsafe extern "C" fn print_object(
    _: *mut c_void,
    _: *mut c_void,
    out: *mut c_char,
    capacity: usize,
) {
    // SAFETY: there is room for as many.
    unsafe { out.write_bytes(b'x', capacity) };
}

pub(crate) unsafe extern "C" fn see_object(_: *mut c_void, _: *const clv_object_info) {}
pub(crate) unsafe extern "C" fn see_line(_: *mut c_void, _: *const c_char) {}
pub(crate) unsafe extern "C" fn see_task(_: *mut c_void, _: *const clv_task_info) {}
pub(crate) unsafe extern "C" fn see_address(_: *mut c_void, _: *const clv_address) {}
pub(crate) unsafe extern "C" fn see_channel(_: *mut c_void, _: *const clv_channel_report) {}

/// Two nodes with a session, and every number that was ever a handle in this input.
pub(crate) struct World {
    pub(crate) nodes: [u64; 2],
    pub(crate) sessions: [u64; 2],
    pub(crate) address: CString,
    pub(crate) known: Vec<u64>,
    /// Further nodes of this input.
    pub(crate) opened: usize,
    inputs: u32,
}

impl World {
    pub(crate) fn new() -> World {
        let open = || {
            let mut node = clv_node { id: 0 };
            // SAFETY: the place has room.
            assert_eq!(unsafe { clv_node_open(null(), &mut node) }, CLV_OK);
            node
        };
        let (server, client) = (open(), open());
        let mut bound = [0 as c_char; CLV_ADDRESS_BYTES];
        let (mut ours, mut theirs) = (clv_session { id: 0 }, clv_session { id: 0 });
        // SAFETY: all places have room, and texts end with a zero byte.
        let address = unsafe {
            let listens =
                clv_node_listen(server, c"127.0.0.1:0".as_ptr(), -1, bound.as_mut_ptr(), bound.len());
            assert_eq!(listens, CLV_OK);
            assert_eq!(clv_connect(client, bound.as_ptr(), 20_000, &mut ours), CLV_OK);
            assert_eq!(clv_accept(server, 20_000, &mut theirs), CLV_OK);
            std::ffi::CStr::from_ptr(bound.as_ptr()).to_owned()
        };
        let (nodes, sessions) = ([server.id, client.id], [ours.id, theirs.id]);
        World { nodes, sessions, address, known: Vec::new(), opened: 0, inputs: 0 }
    }

    pub(crate) fn is_good(&self) -> bool {
        let mut state = 0;
        // SAFETY: the place has room.
        let mut asks = |id| unsafe { clv_session_state(clv_session { id }, &mut state) };
        let all = self.sessions.iter().all(|&id| asks(id) == CLV_OK);
        all && state == CLV_STATE_LIVE && self.inputs < INPUTS_MAX && {
            let mut fd = 0;
            // SAFETY: as above.
            self.nodes.iter().all(|&id| unsafe { clv_node_fd(clv_node { id }, &mut fd) } == CLV_OK)
        }
    }

    /// Ends what this input has made.
    pub(crate) fn tidy(&mut self) {
        for id in std::mem::take(&mut self.known) {
            if self.nodes.contains(&id) || self.sessions.contains(&id) {
                continue;
            }
            let _ = clv_call_close(clv_pending_call { id });
            let _ = clv_connecting_close(clv_connecting { id });
            let _ = clv_channel_close(clv_channel { id });
            let _ = clv_session_close(clv_session { id }, 0);
            // SAFETY: NULL is no output.
            let _ = unsafe { clv_node_close(clv_node { id }, 0, null_mut()) };
            clv_buffer_free(std::ptr::without_provenance_mut(id as usize));
            clv_options_free(std::ptr::without_provenance_mut(id as usize));
        }
        finish_all();
        self.opened = 0;
        self.inputs += 1;
    }

    /// After the end of all nodes every `drop` has run.
    pub(crate) fn end(self) {
        for id in self.sessions {
            let _ = clv_session_close(clv_session { id }, 0);
        }
        for id in self.nodes {
            // SAFETY: NULL is no output.
            let _ = unsafe { clv_node_close(clv_node { id }, 1000, null_mut()) };
        }
        for _ in 0..2000 {
            finish_all();
            if DROPPED.load(Ordering::SeqCst) == GIVEN.load(Ordering::SeqCst) {
                return;
            }
            // A handler's thread may have it for a moment still.
            let (_, wait) = std::sync::mpsc::channel::<()>();
            let _ = wait.recv_timeout(Duration::from_millis(5));
            std::thread::park_timeout(Duration::from_millis(5));
        }
        panic!(
            "{} users were given and {} dropped",
            GIVEN.load(Ordering::SeqCst),
            DROPPED.load(Ordering::SeqCst)
        );
    }
}
