//! Where nodes can be reached, and sessions that move from one address to another.

use crate::boundary::enter;
use crate::node::node_of;
use crate::noun::{clv_node, clv_session};
use crate::raw::{self, bad};
use crate::session::session_of;
use crate::status::clv_status;
use clerver::{AddressOrigin, MoveCause, Result};
use std::ffi::{CString, c_char, c_void};

/// Who named an address, one of CLV_ADDRESS_...
pub type clv_address_origin = i32;

/// This node: it can be reached there.
pub const CLV_ADDRESS_OWN: clv_address_origin = 1;
/// The program, with a connect.
pub const CLV_ADDRESS_GIVEN: clv_address_origin = 2;
/// The peer announced it.
pub const CLV_ADDRESS_ANNOUNCED: clv_address_origin = 3;
/// Whoever moved the session there; it was neither given nor announced.
pub const CLV_ADDRESS_MOVED: clv_address_origin = 4;

/// Why a session moves, one of CLV_MOVE_...
pub type clv_move_cause = i32;

/// A program wanted it: clv_session_roam.
pub const CLV_MOVE_ASKED: clv_move_cause = 1;
/// The other end asked for it: clv_session_goto.
pub const CLV_MOVE_GOTO: clv_move_cause = 2;
/// The path is congested, and another one is not.
pub const CLV_MOVE_CONGESTION: clv_move_cause = 3;

pub(crate) fn cause_number(cause: MoveCause) -> clv_move_cause {
    match cause {
        MoveCause::Asked => CLV_MOVE_ASKED,
        MoveCause::GoTo => CLV_MOVE_GOTO,
        MoveCause::Congestion => CLV_MOVE_CONGESTION,
    }
}

/// One address of a node. Valid until the function that sees it returns.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct clv_address {
    /// sizeof(clv_address), set by the library.
    pub struct_size: usize,
    /// "host:port", or as the program gave it.
    pub address: *const c_char,
    /// Who named it.
    pub origin: clv_address_origin,
    /// Not 0: a connection of the session uses it.
    pub in_use: i32,
    /// Not 0: it failed in the round of attempts that goes on.
    pub failed: i32,
    /// Always 0.
    pub reserved: i32,
}

/// Sees one address; it is valid until it returns.
pub type clv_address_visit = Option<unsafe extern "C" fn(user: *mut c_void, address: *const clv_address)>;

/// Shows one address.
unsafe fn show(
    each: unsafe extern "C" fn(*mut c_void, *const clv_address),
    user: *mut c_void,
    text: &str,
    (origin, in_use, failed): (clv_address_origin, bool, bool),
) {
    let text = CString::new(text.replace('\0', "")).unwrap_or_default();
    let address = clv_address {
        struct_size: size_of::<clv_address>(),
        address: text.as_ptr(),
        origin,
        in_use: i32::from(in_use),
        failed: i32::from(failed),
        reserved: 0,
    };
    // SAFETY: the caller's function, with an address that lives as long as the call.
    unsafe { each(user, &address) };
}

/// Tells the peers where the node can be reached, from now on and instead of what the library finds out itself: the
/// addresses at which it listens, on each interface that is up. Behind a port forwarding that is the only way.
///
/// `addresses` are `count` texts "host:port", at most 64, none for 0; NULL lets the library find out again. Any
/// thread; does not block. Errors: CLV_E_ARG, and then nothing changes; CLV_E_HANDLE; CLV_E_CLOSED; CLV_E_FORKED.
///
/// # Safety
/// `addresses` is NULL or has `count` texts that end with a zero byte.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn clv_node_announce(
    node: clv_node,
    addresses: *const *const c_char,
    count: usize,
) -> clv_status {
    enter(|| {
        let node = node_of(node)?;
        if addresses.is_null() {
            return node.announce(None);
        }
        if count > 64 {
            return Err(bad("count", &format!("is {count}: at most 64 addresses are allowed")));
        }
        // SAFETY: the caller's part: there are as many.
        let text = |at| unsafe { raw::text(addresses.add(at).read(), "addresses") };
        let list: Vec<&str> = (0..count).map(text).collect::<Result<_>>()?;
        node.announce(Some(&list))
    })
}

/// Shows `each` every address that the node announces, on this thread. Any thread; does not block. Errors:
/// CLV_E_ARG; CLV_E_HANDLE; CLV_E_CLOSED; CLV_E_FORKED.
///
/// # Safety
/// `each` may be called with `user`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn clv_node_addresses(
    node: clv_node,
    each: clv_address_visit,
    user: *mut c_void,
) -> clv_status {
    enter(|| {
        let node = node_of(node)?;
        let each = each.ok_or_else(|| bad("each", "is NULL"))?;
        for address in node.addresses()? {
            // SAFETY: the caller's part.
            unsafe { show(each, user, &address, (CLV_ADDRESS_OWN, false, false)) };
        }
        Ok(())
    })
}

/// Shows `each` every address of the session's peer, on this thread: those that were given with a connect, then those
/// that the peer announced. When connections fail, they are dialled in this order, beginning with the one that was
/// reached last.
///
/// Any thread; does not block. Errors: CLV_E_ARG; CLV_E_HANDLE, also when it is over and forgotten.
///
/// # Safety
/// `each` may be called with `user`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn clv_session_addresses(
    session: clv_session,
    each: clv_address_visit,
    user: *mut c_void,
) -> clv_status {
    enter(|| {
        let session = session_of(session)?;
        let each = each.ok_or_else(|| bad("each", "is NULL"))?;
        for row in session.addresses()? {
            let origin = match row.origin {
                AddressOrigin::Given => CLV_ADDRESS_GIVEN,
                AddressOrigin::Announced => CLV_ADDRESS_ANNOUNCED,
                AddressOrigin::Moved => CLV_ADDRESS_MOVED,
            };
            // SAFETY: the caller's part.
            unsafe { show(each, user, &row.address, (origin, row.is_in_use, row.has_failed)) };
        }
        Ok(())
    })
}

/// Moves the session to another connection: to `address` of the peer first, or (NULL) to any that no connection uses.
/// If nobody answers there, the next one is taken. The old connection goes when the new one is proven; nothing is
/// lost by it, and nothing waits for it.
///
/// Any thread; does not block: CLV_EVENT_MOVE_BEGAN and then CLV_EVENT_LINK_ATTACHED or CLV_EVENT_MOVE_FAILED of the
/// session tell how it went. Errors: CLV_E_STATE this end knows no address of the peer; CLV_E_ARG; CLV_E_LOST,
/// CLV_E_CLOSED; CLV_E_HANDLE.
///
/// # Safety
/// `address` is NULL or ends with a zero byte.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn clv_session_roam(session: clv_session, address: *const c_char) -> clv_status {
    enter(|| {
        // SAFETY: the caller's part.
        let (session, address) = unsafe { (session_of(session)?, optional(address)?) };
        session.roam(address)
    })
}

/// Asks the peer, whose part it is to connect, to move the session to `address` of this node first, or (NULL) to any
/// other that it knows. If nobody answers there it takes the next one.
///
/// Any thread; does not block. Errors: CLV_E_ARG; CLV_E_AGAIN no room now; CLV_E_LOST, CLV_E_CLOSED; CLV_E_HANDLE.
///
/// # Safety
/// `address` is NULL or ends with a zero byte.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn clv_session_goto(session: clv_session, address: *const c_char) -> clv_status {
    enter(|| {
        // SAFETY: the caller's part.
        let (session, address) = unsafe { (session_of(session)?, optional(address)?) };
        session.go_to(address)
    })
}

unsafe fn optional<'a>(address: *const c_char) -> Result<Option<&'a str>> {
    if address.is_null() {
        return Ok(None);
    }
    // SAFETY: the caller's part.
    unsafe { raw::text(address, "address") }.map(Some)
}
