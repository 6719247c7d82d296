//! Living objects: what a node keeps for a peer, and the callbacks that end it.

use crate::boundary::enter;
use crate::handle::{find, remove, tables};
use crate::node::node_of;
use crate::noun::{clv_embalming, clv_node, clv_object, clv_session};
use crate::raw::{self, Out, Versioned, fixed};
use crate::session::session_of;
use crate::status::{CLV_OK, clv_status};
use crate::user::{User, clv_drop};
use clerver::{Code, EMBALMED_BYTES_MAX, Error, Kind, ObjectId, ObjectState, Payload, Result};
use parking_lot::Mutex;
use std::any::Any;
use std::ffi::{CStr, c_char, c_void};
use std::sync::Arc;

/// State of an object, one of CLV_OBJECT_...
pub type clv_object_state = i32;

/// In use.
pub const CLV_OBJECT_ALIVE: clv_object_state = 1;
/// Its end has begun: nothing new may use it.
pub const CLV_OBJECT_POISONED: clv_object_state = 2;
/// Its owner is out of contact, and it is kept as the bytes that its embalm wrote.
pub const CLV_OBJECT_EMBALMED: clv_object_state = 3;
/// Over.
pub const CLV_OBJECT_DEAD: clv_object_state = 4;

/// The callbacks of one kind of object, for clv_kind_register. NULL members are as if they were not there.
///
/// They run on threads of the library (in a caller-driven node inside clv_node_run_once), with no lock held,
/// and never beside each other for one object, except abandon. They must not throw and must not leave by
/// longjmp.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct clv_kind {
    /// sizeof(clv_kind): begin with CLV_KIND_INIT.
    pub struct_size: usize,
    /// Ends an object, exactly once, never beside a function that uses it. Must not be NULL.
    pub destroy: Option<unsafe extern "C" fn(user: *mut c_void, object: *mut c_void)>,
    /// Contact with the owner is lost: writes with clv_embalming_write what the object can be made again from,
    /// frees it, and answers CLV_OK. Any other answer means that it is still there; it is destroyed then. With
    /// it goes revive.
    pub embalm: Option<
        unsafe extern "C" fn(user: *mut c_void, object: *mut c_void, embalming: clv_embalming) -> clv_status,
    >,
    /// Makes an object from what embalm wrote: its owner came back, or embalm_ms passed and it is destroyed next.
    /// When it does not answer CLV_OK, the object is ended by discard.
    pub revive: Option<
        unsafe extern "C" fn(
            user: *mut c_void,
            data: *const c_void,
            size: usize,
            object: *mut *mut c_void,
        ) -> clv_status,
    >,
    /// Ends an object that is embalmed, in place of revive and destroy: sees what embalm wrote.
    pub discard: Option<unsafe extern "C" fn(user: *mut c_void, data: *const c_void, size: usize)>,
    /// The grace is over and a function still uses the object: makes that function stop, without freeing
    /// anything. It runs beside that function.
    pub abandon: Option<unsafe extern "C" fn(user: *mut c_void, object: *mut c_void)>,
    /// Writes one line about an object, with its zero byte, for clv_object_print. Runs on the thread that
    /// asks.
    pub print: Option<
        unsafe extern "C" fn(user: *mut c_void, object: *mut c_void, out: *mut c_char, capacity: usize),
    >,
    /// Handed to all of them.
    pub user: *mut c_void,
    /// Frees user, exactly once, when the last callback that may see it has returned, or when
    /// clv_kind_register fails; it is not seen when struct_size is no size of this struct.
    pub drop: clv_drop,
    /// How long an object may be embalmed.
    pub embalm_ms: i64,
    /// Level that an owner needs; 1 is every authorised peer.
    pub level_min: i32,
    /// Always 0.
    pub reserved: i32,
}

// SAFETY: numbers, and pointers for which NULL is a value; the size first.
unsafe impl Versioned for clv_kind {}

/// The program's object.
struct Object(*mut c_void);

// SAFETY: the library only hands the pointer back. The header says on which threads.
unsafe impl Send for Object {}
// SAFETY: as above.
unsafe impl Sync for Object {}

fn pointer(payload: &(dyn Any + Send + Sync)) -> *mut c_void {
    payload.downcast_ref::<Object>().map_or(std::ptr::null_mut(), |object| object.0)
}

fn ender(end: unsafe extern "C" fn(*mut c_void, *mut c_void), user: Arc<User>) -> impl Fn(Payload) {
    move |payload| {
        // SAFETY: the program gave them for this.
        unsafe { end(user.pointer(), pointer(&*payload)) }
    }
}

/// What an embalm callback has written so far.
#[derive(Clone, Default)]
pub(crate) struct Embalming(Arc<Mutex<Vec<u8>>>);

/// Runs an embalm callback, whose handle is good for as long as it runs.
fn embalm(
    callback: unsafe extern "C" fn(*mut c_void, *mut c_void, clv_embalming) -> clv_status,
    user: &User,
    payload: &(dyn Any + Send + Sync),
) -> Result<Vec<u8>> {
    let written = Embalming::default();
    let id = tables().embalmings.insert(written.clone());
    // SAFETY: the program gave them for this.
    let status = unsafe { callback(user.pointer(), pointer(payload), clv_embalming { id }) };
    drop(remove(|tables| &tables.embalmings, "embalming", id));
    if status != CLV_OK {
        return Err(refusal(status));
    }
    Ok(std::mem::take(&mut written.0.lock()))
}

fn revive(
    callback: unsafe extern "C" fn(*mut c_void, *const c_void, usize, *mut *mut c_void) -> clv_status,
    user: &User,
    kept: &[u8],
) -> Result<Payload> {
    let mut object = std::ptr::null_mut();
    // SAFETY: the program gave them for this.
    match unsafe { callback(user.pointer(), kept.as_ptr().cast(), kept.len(), &raw mut object) } {
        CLV_OK => Ok(Box::new(Object(object))),
        status => Err(refusal(status)),
    }
}

fn refusal(status: clv_status) -> Error {
    Error::new(Code::CallFailed, format!("the callback answered {status}"))
}

const LINE_BYTES: usize = 512;

fn kind_of(given: &clv_kind, user: &Arc<User>) -> Result<Kind> {
    let destroy = given.destroy.ok_or_else(|| raw::bad("kind.destroy", "is NULL"))?;
    let mut kind =
        Kind::new(ender(destroy, Arc::clone(user))).level_min(raw::level(given.level_min, "kind.level_min")?);
    match (given.embalm, given.revive) {
        (Some(embalm_one), Some(revive_one)) => {
            let (for_embalm, for_revive) = (Arc::clone(user), Arc::clone(user));
            kind = kind.embalm(
                raw::bounded(given.embalm_ms)?,
                move |payload| embalm(embalm_one, &for_embalm, payload),
                move |kept| revive(revive_one, &for_revive, kept),
            );
        }
        (None, None) => {}
        (Some(_), None) => return Err(raw::bad("kind.revive", "is NULL, but kind.embalm is not")),
        (None, Some(_)) => return Err(raw::bad("kind.embalm", "is NULL, but kind.revive is not")),
    }
    if let Some(discard) = given.discard {
        let user = Arc::clone(user);
        kind = kind.discard(move |kept| {
            // SAFETY: the program gave them for this.
            unsafe { discard(user.pointer(), kept.as_ptr().cast(), kept.len()) }
        });
    }
    if let Some(abandon) = given.abandon {
        let user = Arc::clone(user);
        kind = kind.abandon(move |payload| {
            // SAFETY: the program gave them for this.
            unsafe { abandon(user.pointer(), pointer(payload)) }
        });
    }
    if let Some(print) = given.print {
        let user = Arc::clone(user);
        kind = kind.print(move |payload| {
            let mut line = [0 as c_char; LINE_BYTES];
            // SAFETY: the program gave them for this; the line has the room that it is said to have.
            unsafe { print(user.pointer(), pointer(payload), line.as_mut_ptr(), LINE_BYTES) };
            line[LINE_BYTES - 1] = 0;
            // SAFETY: the last byte is zero.
            unsafe { CStr::from_ptr(line.as_ptr()) }.to_string_lossy().into_owned()
        });
    }
    Ok(kind)
}

/// Makes a kind of objects known, before objects of it are attached. `name` has at most 255 bytes.
///
/// The struct is copied. Any thread; does not block. Errors: CLV_E_IN_USE the name is taken; CLV_E_LIMIT;
/// CLV_E_UNSUPPORTED; CLV_E_ENCODING; CLV_E_ARG; CLV_E_HANDLE; CLV_E_CLOSED.
///
/// # Safety
/// `name` is NULL or ends with a zero byte; `kind` is NULL or begins with CLV_KIND_INIT; the functions may be
/// called on any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn clv_kind_register(
    node: clv_node,
    name: *const c_char,
    kind: *const clv_kind,
) -> clv_status {
    enter(|| {
        let default = clv_kind {
            struct_size: size_of::<clv_kind>(),
            destroy: None,
            embalm: None,
            revive: None,
            discard: None,
            abandon: None,
            print: None,
            user: std::ptr::null_mut(),
            drop: None,
            embalm_ms: 0,
            level_min: 1,
            reserved: 0,
        };
        // SAFETY: the caller's part.
        let given = unsafe { raw::read_known(kind, default, "kind") }?;
        let user = Arc::new(User::new(given.user, given.drop));
        // SAFETY: as above. Only now, for a refusal drops the user, too.
        unsafe { raw::check_rest(kind, "kind") }?;
        let node = node_of(node)?;
        // SAFETY: the caller's part.
        let name = unsafe { raw::text(name, "name") }?;
        node.register_kind(name, kind_of(&given, &user)?)
    })
}

/// Writes what an object can be made again from, by copy, behind what was written before; 16 MiB together.
///
/// Good inside of the embalm callback that was given the handle, on any thread; does not block. Errors: CLV_E_SIZE
/// nothing of it is written; CLV_E_ARG; CLV_E_HANDLE the callback has returned.
///
/// # Safety
/// `data` is NULL or has `size` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn clv_embalming_write(
    embalming: clv_embalming,
    data: *const c_void,
    size: usize,
) -> clv_status {
    enter(|| {
        let written: Embalming = find(|tables| &tables.embalmings, "embalming", embalming.id)?;
        // SAFETY: the caller's part.
        let data = unsafe { raw::bytes(data.cast(), size, "data") }?;
        let mut written = written.0.lock();
        let len = written.len().saturating_add(data.len());
        if len > EMBALMED_BYTES_MAX {
            let what = format!("embalm an object: {len} bytes, at most {EMBALMED_BYTES_MAX} are allowed");
            return Err(Error::new(Code::Size, what));
        }
        written.extend_from_slice(data);
        Ok(())
    })
}

/// Keeps an object of a registered kind here, owned by the peer of the session: it ends when the peer is
/// gone, when `ttl_ms` pass without a touch of the owner (-1: as long as the session), or when either side
/// ends it.
///
/// From success on the object belongs to its kind's callbacks; on an error it is still yours. Any thread;
/// does not block. Errors: CLV_E_POISONED the session is ending; CLV_E_AGAIN it is embalmed; CLV_E_LEVEL; CLV_E_LIMIT;
/// CLV_E_ARG, also an unknown kind; CLV_E_ENCODING; CLV_E_HANDLE; CLV_E_CLOSED.
///
/// # Safety
/// `kind` is NULL or ends with a zero byte; `out` is NULL or has room; the object may be used on any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn clv_object_attach(
    session: clv_session,
    kind: *const c_char,
    object: *mut c_void,
    ttl_ms: i64,
    out: *mut clv_object,
) -> clv_status {
    enter(|| {
        let (session, ttl) = (session_of(session)?, raw::wait(ttl_ms)?);
        // SAFETY: the caller's part.
        let (kind, out) = unsafe { (raw::text(kind, "kind")?, Out::new(out, "out")?) };
        let attached = session.attach(kind, Box::new(Object(object)), ttl);
        out.write(clv_object { id: attached.map_err(|(error, _)| error)?.0 });
        Ok(())
    })
}

/// Takes an object, embalmed in the session `from`, over to another session with the same host, because `from` ended
/// or its peer is another process now: its kind's revive runs, and CLV_EVENT_OBJECT_REVIVED tells its number there.
///
/// Any thread; does not block. Errors: CLV_E_STATE it is not embalmed; CLV_E_DENIED the hosts differ; CLV_E_POISONED
/// `to` is over; CLV_E_AGAIN it is embalmed itself; CLV_E_LIMIT; CLV_E_HANDLE.
#[unsafe(no_mangle)]
pub extern "C" fn clv_object_revive(from: clv_session, object: clv_object, to: clv_session) -> clv_status {
    enter(|| session_of(to)?.revive(&session_of(from)?, ObjectId(object.id)))
}

/// Uses an object: sees the pointer that was attached.
pub type clv_object_fn = Option<unsafe extern "C" fn(user: *mut c_void, object: *mut c_void)>;

/// Runs `each` with an object that is kept here, on this thread; its end waits meanwhile.
///
/// Any thread; blocks as long as `each` does. Errors: CLV_E_POISONED its end has begun, or it is embalmed; CLV_E_HANDLE
/// there is none; CLV_E_ARG.
///
/// # Safety
/// `each` may be called.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn clv_object_use(
    session: clv_session,
    object: clv_object,
    each: clv_object_fn,
    user: *mut c_void,
) -> clv_status {
    enter(|| {
        let session = session_of(session)?;
        let each = each.ok_or_else(|| raw::bad("each", "is NULL"))?;
        // SAFETY: the caller's function and pointer.
        session.with_object(ObjectId(object.id), |payload| unsafe { each(user, pointer(payload)) })
    })
}

/// Ends an object that is kept here, before its owner does. Its destroy runs later. Any thread; does not
/// block. Errors: CLV_E_HANDLE.
#[unsafe(no_mangle)]
pub extern "C" fn clv_object_end(session: clv_session, object: clv_object) -> clv_status {
    enter(|| session_of(session)?.end_object(ObjectId(object.id)))
}

/// A sign of life for one object that the peer keeps for this end. Any thread; does not block. Errors:
/// CLV_E_AGAIN no room now; CLV_E_LOST; CLV_E_HANDLE.
#[unsafe(no_mangle)]
pub extern "C" fn clv_object_touch(session: clv_session, object: clv_object) -> clv_status {
    enter(|| session_of(session)?.touch(ObjectId(object.id)))
}

/// Leaves data, at most 16 KiB, in an object that the peer keeps for this end. Any thread; does not block.
/// Errors: CLV_E_SIZE; CLV_E_AGAIN no room now; CLV_E_LOST; CLV_E_ARG; CLV_E_HANDLE.
///
/// # Safety
/// `data` is NULL or has `size` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn clv_object_update(
    session: clv_session,
    object: clv_object,
    data: *const c_void,
    size: usize,
) -> clv_status {
    enter(|| {
        let session = session_of(session)?;
        // SAFETY: the caller's part.
        session.update(ObjectId(object.id), unsafe { raw::bytes(data.cast(), size, "data") }?)
    })
}

/// An object that the peer keeps for this end is not needed any more. Any thread; does not block. Errors:
/// CLV_E_AGAIN no room now; CLV_E_LOST; CLV_E_HANDLE.
#[unsafe(no_mangle)]
pub extern "C" fn clv_object_release(session: clv_session, object: clv_object) -> clv_status {
    enter(|| session_of(session)?.release(ObjectId(object.id)))
}

/// What is known of an object that is kept here.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct clv_object_info {
    /// sizeof(clv_object_info), set by the library.
    pub struct_size: usize,
    /// Which; 0 is the registration.
    pub object: clv_object,
    /// Its state.
    pub state: clv_object_state,
    /// Uses that have not ended.
    pub in_service: i32,
    /// How long it lives without a touch; -1 for as long as its session.
    pub ttl_ms: i64,
    /// Data that the owner left; valid as long as the struct.
    pub data: *const c_void,
    /// How many bytes.
    pub data_size: usize,
    /// Its kind.
    pub kind: [c_char; 256],
}

// SAFETY: numbers and a pointer, the size first.
unsafe impl Versioned for clv_object_info {}

/// Sees one object; the struct is valid until it returns.
pub type clv_object_visit = Option<unsafe extern "C" fn(user: *mut c_void, info: *const clv_object_info)>;

/// Shows the objects that are kept here for the peer of a session to `each`, the registration (object 0)
/// first, on this thread.
///
/// Any thread; does not block. Errors: CLV_E_ARG; CLV_E_HANDLE.
///
/// # Safety
/// `each` may be called.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn clv_object_list(
    session: clv_session,
    each: clv_object_visit,
    user: *mut c_void,
) -> clv_status {
    enter(|| {
        let session = session_of(session)?;
        let each = each.ok_or_else(|| raw::bad("each", "is NULL"))?;
        for info in session.objects()? {
            let shown = clv_object_info {
                struct_size: size_of::<clv_object_info>(),
                object: clv_object { id: info.object.0 },
                state: match info.state {
                    ObjectState::Alive => CLV_OBJECT_ALIVE,
                    ObjectState::Poisoned => CLV_OBJECT_POISONED,
                    ObjectState::Embalmed => CLV_OBJECT_EMBALMED,
                    ObjectState::Dead => CLV_OBJECT_DEAD,
                },
                in_service: i32::try_from(info.in_service).unwrap_or(i32::MAX),
                ttl_ms: info.ttl.map_or(-1, |ttl| i64::try_from(ttl.as_millis()).unwrap_or(i64::MAX)),
                data: info.data.as_ptr().cast(),
                data_size: info.data.len(),
                kind: fixed(&info.kind),
            };
            // SAFETY: the caller's function, with a struct that lives as long as the call.
            unsafe { each(user, &raw const shown) };
        }
        Ok(())
    })
}

/// Sees one line; it is valid until it returns.
pub type clv_line_visit = Option<unsafe extern "C" fn(user: *mut c_void, line: *const c_char)>;

/// Shows one line for each object that is kept here for the peer to `each`, by the print of its kind where
/// there is one, on this thread.
///
/// Any thread; blocks as long as those functions do. Errors: CLV_E_ARG; CLV_E_HANDLE.
///
/// # Safety
/// `each` may be called.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn clv_object_print(
    session: clv_session,
    each: clv_line_visit,
    user: *mut c_void,
) -> clv_status {
    enter(|| {
        let session = session_of(session)?;
        let each = each.ok_or_else(|| raw::bad("each", "is NULL"))?;
        for line in session.print_objects()? {
            let line = crate::boundary::c_text(&line);
            // SAFETY: the caller's function, with a text that lives as long as the call.
            unsafe { each(user, line.as_ptr()) };
        }
        Ok(())
    })
}

/// One call that was run here for the peer.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct clv_task_info {
    /// sizeof(clv_task_info), set by the library.
    pub struct_size: usize,
    /// The call's channel.
    pub call: u64,
    /// When its handler began, in nanoseconds of CLOCK_BOOTTIME.
    pub started_ns: u64,
    /// When its handler returned; 0 while it runs.
    pub finished_ns: u64,
    /// Not 0: it replied.
    pub replied: i32,
    /// Always 0.
    pub reserved: i32,
    /// Which service.
    pub service: [c_char; 256],
}

// SAFETY: numbers alone, the size first.
unsafe impl Versioned for clv_task_info {}

/// Sees one call; the struct is valid until it returns.
pub type clv_task_visit = Option<unsafe extern "C" fn(user: *mut c_void, info: *const clv_task_info)>;

/// Shows the calls that were run here for the peer to `each`, oldest first, on this thread; the last 256 are
/// kept.
///
/// Any thread; does not block. Errors: CLV_E_ARG; CLV_E_HANDLE.
///
/// # Safety
/// `each` may be called.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn clv_task_list(
    session: clv_session,
    each: clv_task_visit,
    user: *mut c_void,
) -> clv_status {
    enter(|| {
        let session = session_of(session)?;
        let each = each.ok_or_else(|| raw::bad("each", "is NULL"))?;
        for task in session.history()? {
            let shown = clv_task_info {
                struct_size: size_of::<clv_task_info>(),
                call: task.call.0,
                started_ns: task.started.0,
                finished_ns: task.finished.map_or(0, |at| at.0),
                replied: i32::from(task.replied),
                reserved: 0,
                service: fixed(&task.service),
            };
            // SAFETY: the caller's function, with a struct that lives as long as the call.
            unsafe { each(user, &raw const shown) };
        }
        Ok(())
    })
}
