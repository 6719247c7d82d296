//! Nodes: opening, listening, events, the caller-driven loop, drain and close.

use crate::boundary::enter;
use crate::event::clv_event;
use crate::handle::{find, remove, tables};
use crate::noun::{clv_node, clv_session};
use crate::options::{clv_options, options_of};
use crate::raw::{self, Out, SizedOut, Versioned};
use crate::report::{clv_counters, clv_leftovers};
use crate::session::keep;
use crate::status::clv_status;
use clerver::api::Wait;
use clerver::{Code, ConnectOptions, Error, ListenOptions, Node, Result};
use std::ffi::{c_char, c_int};
use std::os::fd::AsRawFd;
use std::time::Duration;

/// Room for the text form of a host id, with its zero byte.
pub const CLV_HOST_ID_BYTES: usize = 80;
/// Room for an address as text, with its zero byte.
pub const CLV_ADDRESS_BYTES: usize = 64;

pub(crate) fn node_of(node: clv_node) -> Result<Node> {
    find(|tables| &tables.nodes, "node", node.id)
}

/// Asked to look once, an empty-handed answer is not a time-out but CLV_E_AGAIN.
pub(crate) fn looked<T>(wait: Wait, result: Result<T>) -> Result<T> {
    result.map_err(|error| match error.code {
        Code::Timeout if wait == Some(Duration::ZERO) => Error { code: Code::Again, remedy: None, ..error },
        _ => error,
    })
}

/// Starts a node, and its thread unless the option caller_driven is on, or nodes share one (option engine).
/// What `options` leaves open comes from the CLERVER_* environment, then from the configuration file, then
/// from the defaults; NULL leaves everything open. Makes the host key on first use.
///
/// With the option store_dir, sessions outlive the process, and of their channels the stored ones: a node that is
/// opened with the same directory finds them there, and CLV_EVENT_RESTORED tells of each.
///
/// `*out` is yours until `clv_node_close`. Any thread; blocks for the disk. Several nodes in one process are
/// normal. Errors: CLV_E_CONFIG naming option, value and source, or a store that is damaged or cannot be written;
/// CLV_E_IN_USE another node has the store_dir; CLV_E_VERSION a newer version wrote it; CLV_E_STORE; CLV_E_KEY_FILE;
/// CLV_E_SYSTEM; CLV_E_FORKED in a child whose parent had nodes open when it forked; CLV_E_ARG; CLV_E_HANDLE.
///
/// # Safety
/// `out` is NULL or has room.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn clv_node_open(options: *const clv_options, out: *mut clv_node) -> clv_status {
    enter(|| {
        // SAFETY: the caller's part.
        let out = unsafe { Out::new(out, "out") }?;
        let node = Node::open(options_of(options)?)?;
        out.write(clv_node { id: tables().nodes.insert(node) });
        Ok(())
    })
}

/// Ends all sessions in good order, then the node with its threads and objects, and the handle. Sessions,
/// channels and calls of it answer CLV_E_CLOSED from then on; their handles are still to be closed. A session with
/// stored channels does not end: it waits in the store_dir for the next node.
///
/// `out` (may be NULL) tells what was left. Returns within `timeout_ms` and about half a second, whatever
/// hangs. In a callback it does not wait. Any thread. Errors: CLV_E_HANDLE, also for the second close;
/// CLV_E_FORKED; CLV_E_ARG.
///
/// # Safety
/// `out` is NULL or begins with CLV_LEFTOVERS_INIT.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn clv_node_close(
    node: clv_node,
    timeout_ms: i64,
    out: *mut clv_leftovers,
) -> clv_status {
    enter(|| {
        let wait = raw::bounded(timeout_ms)?;
        // SAFETY: the caller's part.
        let out = unsafe { SizedOut::optional(out, "out") }?;
        let closed = remove(|tables| &tables.nodes, "node", node.id)?.close(wait)?;
        if let Some(out) = out {
            out.write(clv_leftovers::new(&closed.undelivered, &closed.stuck));
        }
        Ok(())
    })
}

/// Takes no new sessions, channels and calls from now on, tells the peers, and waits until everything that
/// was written is with them and all handlers have returned.
///
/// Meanwhile the node's events CLV_EVENT_DRAINING tell how far it is. Peers that take any node (any_node) and know
/// another one make a session there, and keep this one until they close it.
///
/// `out` (may be NULL) tells what was left when the time was over. Any thread; blocks. Errors:
/// CLV_E_IN_CALLBACK; CLV_E_HANDLE; CLV_E_ARG; CLV_E_CLOSED.
///
/// # Safety
/// `out` is NULL or begins with CLV_LEFTOVERS_INIT.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn clv_node_drain(
    node: clv_node,
    timeout_ms: i64,
    out: *mut clv_leftovers,
) -> clv_status {
    enter(|| {
        let wait = raw::wait(timeout_ms)?;
        // SAFETY: the caller's part.
        let out = unsafe { SizedOut::optional(out, "out") }?;
        let drained = node_of(node)?.drain(wait)?;
        if let Some(out) = out {
            out.write(clv_leftovers::new(&drained.undelivered, &drained.running));
        }
        Ok(())
    })
}

/// The id of the key that the node runs under, which peers authorise, as text. CLV_HOST_ID_BYTES are room
/// enough.
///
/// Any thread; does not block. Errors: CLV_E_SIZE too little room; CLV_E_HANDLE; CLV_E_ARG.
///
/// # Safety
/// `out` is NULL or has room for `capacity` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn clv_node_id(node: clv_node, out: *mut c_char, capacity: usize) -> clv_status {
    enter(|| {
        let text = node_of(node)?.host_id().to_string();
        // SAFETY: the caller's part.
        unsafe { raw::fill(&text, out, capacity, "out") }
    })
}

/// Accepts connections of authorised peers at "host:port"; port 0 takes a free one.
///
/// `level_min` is the level that a peer needs, -1 the one of the option listener_level. `bound` (may be NULL)
/// gets the address that was taken; CLV_ADDRESS_BYTES are room enough. Any thread; blocks for the resolver
/// when the host is a name. Errors: CLV_E_IN_USE with the way to find the process that has the port;
/// CLV_E_RESOLVE; CLV_E_SYSTEM; CLV_E_SIZE; CLV_E_ARG; CLV_E_HANDLE.
///
/// # Safety
/// `address` is NULL or ends with a zero byte; `bound` is NULL or has room for `capacity` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn clv_node_listen(
    node: clv_node,
    address: *const c_char,
    level_min: i32,
    bound: *mut c_char,
    capacity: usize,
) -> clv_status {
    enter(|| {
        let node = node_of(node)?;
        // SAFETY: the caller's part.
        let address = unsafe { raw::text(address, "address") }?;
        if !bound.is_null() && capacity < CLV_ADDRESS_BYTES {
            let text = format!("bound has room for {capacity} bytes, give {CLV_ADDRESS_BYTES}");
            return Err(Error::new(Code::Size, text));
        }
        let taken = match level_min {
            -1 => node.listen(address)?,
            level => {
                let level_min = raw::level(level, "level_min")?;
                node.listen_with(address, ListenOptions { level_min })?
            }
        };
        if bound.is_null() {
            return Ok(());
        }
        // SAFETY: the caller's part.
        unsafe { raw::fill(&taken.to_string(), bound, capacity, "bound") }
    })
}

/// Where and how to connect, for clv_connect_with and clv_connect_start.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct clv_connect_options {
    /// sizeof(clv_connect_options): begin with CLV_CONNECT_OPTIONS_INIT.
    pub struct_size: usize,
    /// Addresses of one node, in the order in which they are tried; 1 to 64. Those that the peer announces are tried
    /// after them.
    pub addresses: *const *const c_char,
    /// How many there are.
    pub addresses_count: usize,
    /// Not 0: accept a session with another node at these addresses when the first is gone.
    pub any_node: i32,
    /// Further connections for bulk channels beside the primary one, 0 to 8, on ways of their own if there are any.
    pub bulk_links: i32,
    /// Connections that are kept ready, 0 to 4, on ways of their own if there are any: when the primary one fails,
    /// such a one goes on at once.
    pub standby_links: i32,
    /// Not 0: all addresses are tried at once, and the fastest is taken.
    pub race: i32,
}

// SAFETY: numbers and a pointer, the size first.
unsafe impl Versioned for clv_connect_options {}

/// Connects to the node at "host:port" or "clv://HOSTID@host:port/name" and answers the session, which is
/// shared when there is one with that node already. Dials again until it works, for at most `timeout_ms`.
///
/// `*out` is yours until `clv_session_close`. Any thread; blocks. Errors: CLV_E_TIMEOUT with the last
/// failure; CLV_E_WRONG_IDENTITY, CLV_E_DENIED, CLV_E_BLOCKED and CLV_E_VERSION at once; CLV_E_SELF;
/// CLV_E_IN_CALLBACK; CLV_E_ARG; CLV_E_HANDLE; CLV_E_CLOSED.
///
/// # Safety
/// `address` is NULL or ends with a zero byte; `out` is NULL or has room.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn clv_connect(
    node: clv_node,
    address: *const c_char,
    timeout_ms: i64,
    out: *mut clv_session,
) -> clv_status {
    enter(|| {
        let (node, wait) = (node_of(node)?, raw::wait(timeout_ms)?);
        // SAFETY: the caller's part.
        let (address, out) = unsafe { (raw::text(address, "address")?, Out::new(out, "out")?) };
        out.write(keep(node.connect(address, wait)?));
        Ok(())
    })
}

/// As `clv_connect`, with several addresses of one node, and options. Errors also: CLV_E_MISMATCH when the
/// session is shared and its options are others.
///
/// # Safety
/// `options` is NULL or begins with CLV_CONNECT_OPTIONS_INIT, and its addresses are texts; `out` is NULL or
/// has room.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn clv_connect_with(
    node: clv_node,
    options: *const clv_connect_options,
    timeout_ms: i64,
    out: *mut clv_session,
) -> clv_status {
    enter(|| {
        let (node, wait) = (node_of(node)?, raw::wait(timeout_ms)?);
        // SAFETY: the caller's part.
        let (options, out) = unsafe { (connect_options(options)?, Out::new(out, "out")?) };
        out.write(keep(node.connect_with(options, wait)?));
        Ok(())
    })
}

pub(crate) unsafe fn connect_options(options: *const clv_connect_options) -> Result<ConnectOptions> {
    let default = clv_connect_options {
        struct_size: size_of::<clv_connect_options>(),
        addresses: std::ptr::null(),
        addresses_count: 0,
        any_node: 0,
        bulk_links: 0,
        standby_links: 0,
        race: 0,
    };
    // SAFETY: the caller's part.
    let options = unsafe { raw::read_sized(options, default, "options") }?;
    if options.addresses.is_null() || !(1..=64).contains(&options.addresses_count) {
        return Err(raw::bad("options.addresses", "must be 1 to 64 addresses"));
    }
    let mut addresses = Vec::new();
    for at in 0..options.addresses_count {
        // SAFETY: the caller's part: there are as many.
        let address = unsafe { raw::text(options.addresses.add(at).read(), "options.addresses") }?;
        addresses.push(address.to_owned());
    }
    let bulk_links = raw::level(options.bulk_links, "options.bulk_links")?;
    let standby_links = raw::level(options.standby_links, "options.standby_links")?;
    let (any_node, race) = (options.any_node != 0, options.race != 0);
    Ok(ConnectOptions { addresses, race, any_node, bulk_links, standby_links })
}

/// Takes the next session that a peer made with this node, or that was found in its store. Its calls are served
/// whether it is taken or not.
///
/// `*out` is yours until `clv_session_close`. Any thread; blocks, but for 0. Errors: CLV_E_AGAIN none now,
/// for 0; CLV_E_TIMEOUT; CLV_E_IN_CALLBACK; CLV_E_ARG; CLV_E_HANDLE; CLV_E_CLOSED.
///
/// # Safety
/// `out` is NULL or has room.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn clv_accept(node: clv_node, timeout_ms: i64, out: *mut clv_session) -> clv_status {
    enter(|| {
        let (node, wait) = (node_of(node)?, raw::wait(timeout_ms)?);
        // SAFETY: the caller's part.
        let out = unsafe { Out::new(out, "out") }?;
        out.write(keep(looked(wait, node.accept(wait))?));
        Ok(())
    })
}

/// Takes the next event of the node. The queue is bounded (option events_max): when it is full the oldest
/// event is dropped, and the next one taken is CLV_EVENT_DROPPED. Events of what is watched are never
/// dropped.
///
/// Any thread; blocks, but for 0. Errors: CLV_E_AGAIN none now, for 0; CLV_E_TIMEOUT; CLV_E_IN_CALLBACK;
/// CLV_E_ARG; CLV_E_HANDLE; CLV_E_CLOSED.
///
/// # Safety
/// `out` is NULL or begins with CLV_EVENT_INIT.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn clv_node_next_event(
    node: clv_node,
    timeout_ms: i64,
    out: *mut clv_event,
) -> clv_status {
    enter(|| {
        let (node, wait) = (node_of(node)?, raw::wait(timeout_ms)?);
        // SAFETY: the caller's part.
        let out = unsafe { SizedOut::new(out, "out") }?;
        out.write(looked(wait, node.next_event(wait))?.into());
        Ok(())
    })
}

/// A descriptor for select, poll, epoll and the loops built on them, level-triggered: readable while events
/// of the node wait or, for a caller-driven node, while `clv_node_run_once` has work.
///
/// It belongs to the node: do not read or close it, and take it out of your loop before `clv_node_close`. The
/// first call makes it; a node that is never asked has none. Any thread; does not block. Errors: CLV_E_SYSTEM
/// the process has no more descriptors; CLV_E_HANDLE; CLV_E_FORKED; CLV_E_ARG.
///
/// # Safety
/// `out` is NULL or has room.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn clv_node_fd(node: clv_node, out: *mut c_int) -> clv_status {
    enter(|| {
        // SAFETY: the caller's part.
        let out = unsafe { Out::new(out, "out") }?;
        out.write(node_of(node)?.event_descriptor()?.as_raw_fd());
        Ok(())
    })
}

/// For a caller-driven node: waits for sockets and timers, at most `timeout_ms`, does what there is to do,
/// and runs handlers and object callbacks on this thread. To be called at least every max_gap_ms (an option).
///
/// One thread at a time; blocks. Errors: CLV_E_STATE the node has its own thread, or another thread is in
/// here; CLV_E_ARG; CLV_E_HANDLE; CLV_E_CLOSED.
#[unsafe(no_mangle)]
pub extern "C" fn clv_node_run_once(node: clv_node, timeout_ms: i64) -> clv_status {
    enter(|| node_of(node)?.run_once(raw::wait(timeout_ms)?))
}

/// Counts since the start, and gauges of now. Any thread; does not block. Errors: CLV_E_ARG; CLV_E_HANDLE.
///
/// # Safety
/// `out` is NULL or begins with CLV_COUNTERS_INIT.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn clv_node_counters(node: clv_node, out: *mut clv_counters) -> clv_status {
    enter(|| {
        let counters = node_of(node)?.counters();
        // SAFETY: the caller's part.
        unsafe { SizedOut::new(out, "out") }?.write((&counters).into());
        Ok(())
    })
}

/// Reads the trust files again; sessions with hosts that are refused now end. Any thread; blocks for the
/// disk. Errors: CLV_E_KEY_FILE with file and line, and then everything stays as it was; CLV_E_HANDLE.
#[unsafe(no_mangle)]
pub extern "C" fn clv_node_reload_trust(node: clv_node) -> clv_status {
    enter(|| node_of(node)?.reload_trust())
}
