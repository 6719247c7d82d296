//! Sessions: state, information, events, drain and close.

use crate::boundary::{enter, status_of};
use crate::event::clv_event;
use crate::handle::{find, remove, tables};
use crate::node::looked;
use crate::noun::clv_session;
use crate::raw::{self, Out, SizedOut, Versioned, fixed};
use crate::report::{clv_channel_report, clv_loss};
use crate::state::{clv_state, state_number};
use crate::status::clv_status;
use clerver::{Code, Error, LossReport, Outcome, Result, Session, SessionInfo};
use std::ffi::{c_char, c_void};

pub(crate) fn session_of(session: clv_session) -> Result<Session> {
    find(|tables| &tables.sessions, "session", session.id)
}

/// Gives a session a handle of the program.
pub(crate) fn keep(session: Session) -> clv_session {
    clv_session { id: tables().sessions.insert(session) }
}

/// What is known of a session and its peer.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct clv_session_info {
    /// sizeof(clv_session_info): begin with CLV_SESSION_INFO_INIT.
    pub struct_size: usize,
    /// The session's number in this process, as in events.
    pub number: u64,
    /// State now.
    pub state: clv_state,
    /// The peer's level.
    pub level: i32,
    /// Without a sign of life for this long, the peer counts as gone.
    pub ttl_ms: u64,
    /// Time between signs of life.
    pub beat_ms: u64,
    /// Connections that carry it now.
    pub links: u64,
    /// Connections that carried it so far.
    pub links_total: u64,
    /// Smoothed round trip in microseconds; 0 while it is unknown.
    pub round_trip_us: u64,
    /// Bytes that the peer may still send or that wait to be taken.
    pub outstanding_bytes: u64,
    /// Channels open, one of the library's own included.
    pub channels: u64,
    /// Not 0: the peer drains.
    pub peer_drains: i32,
    /// Always 0.
    pub reserved: i32,
    /// The session's name, the same at both ends.
    pub sid: [c_char; 40],
    /// Host id of the peer.
    pub peer_host: [c_char; 80],
    /// What people call the peer's machine.
    pub peer_host_name: [c_char; 256],
    /// What people call the peer.
    pub peer_name: [c_char; 256],
}

// SAFETY: numbers alone, the size first.
unsafe impl Versioned for clv_session_info {}

impl clv_session_info {
    fn new(session: &Session, info: &SessionInfo) -> clv_session_info {
        let ms = |span: std::time::Duration| u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
        clv_session_info {
            struct_size: size_of::<clv_session_info>(),
            number: session.id().0,
            state: state_number(info.state),
            level: i32::from(info.level),
            ttl_ms: ms(info.ttl),
            beat_ms: ms(info.beat),
            links: info.links as u64,
            links_total: info.links_total,
            round_trip_us: info.round_trip.map_or(0, |span| span.as_micros() as u64),
            outstanding_bytes: info.outstanding,
            channels: info.channels as u64,
            peer_drains: i32::from(info.peer_drains),
            reserved: 0,
            sid: fixed(&info.sid.to_string()),
            peer_host: fixed(&info.peer.host.to_string()),
            peer_host_name: fixed(&info.peer_host_name),
            peer_name: fixed(&info.peer_name),
        }
    }
}

/// State now; CLV_STATE_CLOSED for a session that is over and forgotten.
///
/// Any thread; does not block. Errors: CLV_E_HANDLE; CLV_E_ARG; CLV_E_FORKED.
///
/// # Safety
/// `out` is NULL or has room.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn clv_session_state(session: clv_session, out: *mut clv_state) -> clv_status {
    enter(|| {
        // SAFETY: the caller's part.
        let out = unsafe { Out::new(out, "out") }?;
        out.write(state_number(session_of(session)?.state()));
        Ok(())
    })
}

/// Waits until the session is in one of the states of `mask`, in which the state n is the bit 1 << n.
///
/// `out` (may be NULL) gets the state. Any thread; blocks. Errors: CLV_E_TIMEOUT; CLV_E_LOST, CLV_E_CLOSED
/// and the like when the session ended in another state; CLV_E_IN_CALLBACK; CLV_E_ARG; CLV_E_HANDLE.
///
/// # Safety
/// `out` is NULL or has room.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn clv_session_wait_state(
    session: clv_session,
    mask: u32,
    timeout_ms: i64,
    out: *mut clv_state,
) -> clv_status {
    enter(|| {
        let (session, wait) = (session_of(session)?, raw::wait(timeout_ms)?);
        let state = session.wait_state(|state| mask & (1 << state_number(state)) != 0, wait)?;
        // SAFETY: the caller's part.
        unsafe { raw::write_optional(out, state_number(state)) };
        Ok(())
    })
}

/// Host id of the peer, as text. CLV_HOST_ID_BYTES are room enough. Any thread; does not block. Errors:
/// CLV_E_SIZE; CLV_E_ARG; CLV_E_HANDLE.
///
/// # Safety
/// `out` is NULL or has room for `capacity` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn clv_session_peer(
    session: clv_session,
    out: *mut c_char,
    capacity: usize,
) -> clv_status {
    enter(|| {
        let text = session_of(session)?.peer().host.to_string();
        // SAFETY: the caller's part.
        unsafe { raw::fill(&text, out, capacity, "out") }
    })
}

/// What is known of the session and its peer. Any thread; does not block. Errors: CLV_E_HANDLE, also when it
/// is over and forgotten; CLV_E_ARG.
///
/// # Safety
/// `out` is NULL or begins with CLV_SESSION_INFO_INIT.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn clv_session_get_info(
    session: clv_session,
    out: *mut clv_session_info,
) -> clv_status {
    enter(|| {
        let session = session_of(session)?;
        let info = session.info()?;
        // SAFETY: the caller's part.
        unsafe { SizedOut::new(out, "out") }?.write(clv_session_info::new(&session, &info));
        Ok(())
    })
}

/// Takes the next event of the session. The queue is bounded as that of the node.
///
/// Any thread; blocks, but for 0. Errors: CLV_E_END after the last event of a session that is over;
/// CLV_E_AGAIN none now, for 0; CLV_E_TIMEOUT; CLV_E_IN_CALLBACK; CLV_E_ARG; CLV_E_HANDLE; CLV_E_CLOSED.
///
/// # Safety
/// `out` is NULL or begins with CLV_EVENT_INIT.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn clv_session_next_event(
    session: clv_session,
    timeout_ms: i64,
    out: *mut clv_event,
) -> clv_status {
    enter(|| {
        let (session, wait) = (session_of(session)?, raw::wait(timeout_ms)?);
        // SAFETY: the caller's part.
        let out = unsafe { SizedOut::new(out, "out") }?;
        let event = looked(wait, session.next_event(wait))?;
        out.write(clv_event { session: session.id().0, ..event.into() });
        Ok(())
    })
}

/// From now on the node's event CLV_EVENT_SESSION_READY with this token tells that the session has events, a
/// channel to accept, or its end; the first one comes at once. Take all of them each time, until CLV_E_AGAIN:
/// like an edge-triggered poll, it says that something changed. For programs that wait for everything at
/// `clv_node_fd`.
///
/// Any thread; does not block. Errors: CLV_E_HANDLE.
#[unsafe(no_mangle)]
pub extern "C" fn clv_session_watch(session: clv_session, token: u64) -> clv_status {
    enter(|| session_of(session)?.watch(token))
}

/// Waits until the peer holds everything that was written here so far. After CLV_E_TIMEOUT a session that is watched
/// gets CLV_EVENT_SESSION_READY for that, too: ask again with 0 then.
///
/// Any thread; blocks, but for 0. Errors: CLV_E_TIMEOUT; CLV_E_LOST; CLV_E_IN_CALLBACK; CLV_E_ARG; CLV_E_HANDLE.
#[unsafe(no_mangle)]
pub extern "C" fn clv_session_drain(session: clv_session, timeout_ms: i64) -> clv_status {
    enter(|| session_of(session)?.drain(raw::wait(timeout_ms)?))
}

/// Ends the handle. With the last handle of a session, descriptors of `clv_dial_fd` included, the session
/// ends with its channels and calls: what was written is delivered first, what was not read is dropped. That holds
/// for stored channels, too: who wants them to go on in another process closes the node alone.
///
/// Any thread; blocks until that is done, for at most `timeout_ms`. 0 does not wait: it is delivered
/// meanwhile, for at most 10 s and as long as the node lives. The handle is gone whatever the answer. Errors:
/// CLV_E_TIMEOUT, CLV_E_LOST not everything was delivered; CLV_E_IN_CALLBACK; CLV_E_ARG; CLV_E_HANDLE.
#[unsafe(no_mangle)]
pub extern "C" fn clv_session_close(session: clv_session, timeout_ms: i64) -> clv_status {
    enter(|| {
        let wait = raw::bounded(timeout_ms)?;
        remove(|tables| &tables.sessions, "session", session.id)?.close(wait)
    })
}

/// Begins to end the session, as `clv_session_close` does, and does not wait: what was written is delivered meanwhile,
/// for at most `timeout_ms` and as long as the node lives. `clv_session_state` tells how far it is, and
/// CLV_EVENT_SESSION_READY of a session that is watched tells to look: CLV_STATE_CLOSING, then CLV_STATE_CLOSED or
/// CLV_STATE_LOST. A session that has other handles does not end.
///
/// The handle is yours until `clv_session_close`. Any thread; does not block. Errors: CLV_E_CLOSED the node was closed;
/// CLV_E_ARG; CLV_E_HANDLE.
#[unsafe(no_mangle)]
pub extern "C" fn clv_session_close_start(session: clv_session, timeout_ms: i64) -> clv_status {
    enter(|| session_of(session)?.close_start(raw::bounded(timeout_ms)?))
}

/// Sees one channel; the report is valid until it returns.
pub type clv_channel_visit =
    Option<unsafe extern "C" fn(user: *mut c_void, report: *const clv_channel_report)>;

/// What was lost with a session, or left at its close. `each` (may be NULL) sees every channel that was not
/// finished, on this thread.
///
/// Any thread; does not block. Errors: CLV_E_STATE the session is not over; CLV_E_ARG; CLV_E_HANDLE.
///
/// # Safety
/// `out` is NULL or begins with CLV_LOSS_INIT.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn clv_session_loss(
    session: clv_session,
    out: *mut clv_loss,
    each: clv_channel_visit,
    user: *mut c_void,
) -> clv_status {
    enter(|| {
        let session = session_of(session)?;
        let report = session.loss_report().ok_or_else(|| {
            Error::new(Code::State, format!("loss of session {}: it is not over", session.id()))
        })?;
        // SAFETY: the caller's part.
        unsafe { SizedOut::new(out, "out") }?.write(loss_of(&report));
        for channel in &report.channels {
            if let Some(each) = each {
                // SAFETY: the caller's function, with a report that lives as long as the call.
                unsafe { each(user, &clv_channel_report::from(channel)) };
            }
        }
        Ok(())
    })
}

fn loss_of(report: &LossReport) -> clv_loss {
    let calls = |wanted| report.calls.iter().filter(|(_, outcome)| *outcome == wanted).count() as u64;
    clv_loss {
        struct_size: size_of::<clv_loss>(),
        cause: status_of(report.cause.code),
        reserved: 0,
        channels: report.channels.len() as u64,
        calls_run: calls(Outcome::Reply),
        calls_not_run: calls(Outcome::NotRun),
        calls_unknown: calls(Outcome::Unknown),
        objects: report.objects.len() as u64,
        text: fixed(&report.cause.message),
    }
}
