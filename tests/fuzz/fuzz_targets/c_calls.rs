//! The functions of the C face in any order with any arguments: handles that are good, stale, of another kind or made
//! up, sizes of structs, texts, waits. Pointers are NULL or good, as the header asks.
//!
//! No crash and no leak (both by the sanitizer), no defect, nothing written on failure, every `drop` once.
#![no_main]

#[path = "c_calls/later.rs"]
mod later;
#[path = "c_calls/world.rs"]
mod world;

use arbitrary::{Result, Unstructured};
use clerver_c_face::{
    address::*, buffer::*, call::*, channel::*, connecting::*, descriptor::*, event::*, log::*, node::*,
    noun::*, object::*, options::*, report::*, service::*, session::*, status::*,
};
use later::{finish_deferred, on_connects};
use libfuzzer_sys::fuzz_target;
use std::ffi::{CString, c_char, c_int, c_void};
use std::os::fd::{FromRawFd, OwnedFd};
use std::ptr::{null, null_mut};
use std::sync::atomic::Ordering;
use std::sync::{Mutex, OnceLock};
use world::*;

/// Larger than every struct, and as large as one may say that it is.
const STRUCT_WORDS: usize = 512;
const OPS_MAX: usize = 60;
/// Inputs that one pair of nodes lives through.
const INPUTS_MAX: u32 = 300;
const UNWRITTEN: u64 = 0x5A5A_5A5A_5A5A_5A5A;

/// Arguments from the input.
struct Arguments<'a, 'b> {
    input: &'a mut Unstructured<'b>,
    world: &'a mut World,
}

/// A struct of the program: its size as it says, and enough room.
type Struct = [u64; STRUCT_WORDS];

impl Arguments<'_, '_> {
    fn handle(&mut self) -> Result<u64> {
        let world = &self.world;
        Ok(match self.input.int_in_range(0..=15u8)? {
            0 => 0,
            1 => self.input.arbitrary()?,
            2 | 3 => world.nodes[0],
            4 => world.nodes[1],
            5..=7 => world.sessions[0],
            8 | 9 => world.sessions[1],
            _ if world.known.is_empty() => world.sessions[0],
            _ => *self.input.choose(&world.known)?,
        })
    }

    /// Short, wrong, or for functions that only keep it.
    fn wait(&mut self) -> Result<i64> {
        Ok(*self.input.choose(&[0, 0, 0, 1, 3, -2, i64::MIN])?)
    }

    fn text(&mut self) -> Result<Option<CString>> {
        let long = |size| CString::new(vec![b'n'; size]).ok();
        Ok(match self.input.int_in_range(0..=9u8)? {
            0 => None,
            1 => long(255),
            2 => long(256),
            3 => CString::new(&b"\xC3\x28"[..]).ok(),
            4 => CString::new("").ok(),
            5 => CString::new("kind").ok(),
            _ => CString::new("echo").ok(),
        })
    }

    fn address(&mut self) -> Result<Option<CString>> {
        let all = [Some(self.world.address.clone()), None, Some(c"127.0.0.1:1".into()), Some(c"[::1".into())];
        Ok(self.input.choose(&all)?.clone())
    }

    /// NULL, or so many bytes.
    fn data(&mut self) -> Result<Vec<u8>> {
        let size = *self.input.choose(&[0usize, 1, 100, 5000, 70_000])?;
        Ok(vec![7; size])
    }

    /// A struct whose first members are these; it says some size.
    fn sized<T: Copy>(&mut self, first: T) -> Result<Box<Struct>> {
        let mut room = Box::new([0; STRUCT_WORDS]);
        // SAFETY: it has room for every struct of the header, and is aligned.
        unsafe { (&raw mut *room).cast::<T>().write(first) };
        let sizes = [size_of::<T>(), size_of::<T>(), size_of::<T>(), 0, 8, 16, 64, 4096, 4097, usize::MAX];
        room[0] = *self.input.choose(&sizes)? as u64;
        if self.input.ratio(1u8, 8u8)? {
            room[STRUCT_WORDS - 1] = self.input.arbitrary()?;
        }
        Ok(room)
    }

    /// As `sized`, for an output: nothing is in it.
    fn output<T>(&mut self) -> Result<Box<Struct>> {
        let mut room = Box::new([UNWRITTEN; STRUCT_WORDS]);
        room[0] = *self.input.choose(&[size_of::<T>(), size_of::<T>(), 0, 8, 12, 4096, 4097])? as u64;
        Ok(room)
    }

    fn user(&mut self) -> Result<*mut c_void> {
        GIVEN.fetch_add(1, Ordering::SeqCst);
        let answer = *self.input.choose(&[0usize, 0, 0, 1, 77])?;
        Ok(std::ptr::without_provenance_mut(answer))
    }

    /// A new handle, unless the call failed, and then nothing was written.
    fn made(&mut self, status: clv_status, id: u64) {
        if status == CLV_OK {
            self.world.known.push(id);
        } else {
            assert_eq!(id, UNWRITTEN, "written on failure");
        }
    }
}

fn pointer<T>(text: &Option<CString>) -> *const T {
    text.as_ref().map_or(null(), |text| text.as_ptr().cast())
}

fn place<T>(room: &mut Struct, is_null: bool) -> *mut T {
    if is_null { null_mut() } else { room.as_mut_ptr().cast() }
}

fn bytes(data: &[u8]) -> *const c_void {
    if data.is_empty() { null() } else { data.as_ptr().cast() }
}

fn check(status: clv_status) -> clv_status {
    assert!(status == CLV_OK || clv_status_class(status) != 0, "an unknown status {status}");
    // SAFETY: the text is good until the next failure on this thread.
    let why = unsafe { std::ffi::CStr::from_ptr(clv_last_error()) };
    assert!(status != CLV_E_BUG, "{why:?}");
    status
}

fn on_nodes(a: &mut Arguments<'_, '_>) -> Result<()> {
    let (node, wait, is_null) = (clv_node { id: a.handle()? }, a.wait()?, a.input.ratio(1u8, 10u8)?);
    let mut session = clv_session { id: UNWRITTEN };
    let mut text = [0 as c_char; 100];
    let capacity = a.input.int_in_range(0..=100usize)?;
    // SAFETY: pointers are NULL or good, as are sizes; texts end with a zero byte.
    unsafe {
        match a.input.int_in_range(0..=15u8)? {
            0 if a.world.opened < 3 => {
                let options = std::ptr::without_provenance(a.handle()? as usize);
                let mut made = clv_node { id: UNWRITTEN };
                let status = check(clv_node_open(if is_null { null() } else { options }, &mut made));
                a.made(status, made.id);
                a.world.opened += 1;
            }
            1 if a.input.ratio(1u8, 4u8)? => {
                let mut out = a.output::<clv_leftovers>()?;
                check(clv_node_close(node, wait, place(&mut out, is_null)));
            }
            2 => {
                let mut out = a.output::<clv_leftovers>()?;
                // A base node that drains would refuse everything that follows.
                if !a.world.nodes.contains(&node.id) {
                    check(clv_node_drain(node, wait, place(&mut out, is_null)));
                }
            }
            3 => drop(check(clv_node_id(node, text.as_mut_ptr(), capacity))),
            4 => {
                let level = *a.input.choose(&[-1, 0, 1, 255, 256, i32::MIN])?;
                let bound = if is_null { null_mut() } else { text.as_mut_ptr() };
                check(clv_node_listen(node, c"127.0.0.1:0".as_ptr(), level, bound, capacity));
            }
            5 => {
                let address = a.address()?;
                let status = check(clv_connect(node, pointer(&address), wait, &mut session));
                a.made(status, session.id);
            }
            6 => {
                let addresses = [pointer(&a.address()?.filter(|_| false)), a.world.address.as_ptr()];
                let options = clv_connect_options {
                    struct_size: 0,
                    addresses: addresses.as_ptr(),
                    addresses_count: a.input.int_in_range(0..=2)?,
                    any_node: a.input.arbitrary()?,
                    bulk_links: a.input.int_in_range(-1..=9)?,
                    standby_links: a.input.int_in_range(-1..=5)?,
                    race: a.input.arbitrary()?,
                };
                let mut options = a.sized(options)?;
                let options = place(&mut options, is_null);
                if a.input.arbitrary()? {
                    let mut connecting = clv_connecting { id: UNWRITTEN };
                    let status = check(clv_connect_start(node, options, wait, &mut connecting));
                    a.made(status, connecting.id);
                } else {
                    let status = check(clv_connect_with(node, options, wait, &mut session));
                    a.made(status, session.id);
                }
            }
            7 => {
                let status = check(clv_accept(node, wait, &mut session));
                a.made(status, session.id);
            }
            8..=11 => on_driving(a, node, wait, is_null)?,
            12 => on_connects(a, wait, is_null)?,
            _ => on_options(a)?,
        }
    }
    Ok(())
}

fn on_driving(a: &mut Arguments<'_, '_>, node: clv_node, wait: i64, is_null: bool) -> Result<()> {
    // SAFETY: as above.
    unsafe {
        match a.input.int_in_range(0..=7u8)? {
            0 | 1 => {
                let mut out = a.output::<clv_event>()?;
                if check(clv_node_next_event(node, wait, place(&mut out, is_null))) == CLV_OK {
                    free_data(&out);
                }
            }
            2 => drop(check(clv_node_run_once(node, wait))),
            3 => {
                let mut out = a.output::<clv_counters>()?;
                check(clv_node_counters(node, place(&mut out, is_null)));
            }
            4 => drop(check(clv_node_reload_trust(node))),
            5 => {
                let address = a.address()?;
                let list = [pointer(&address), a.world.address.as_ptr()];
                let list = if is_null { null() } else { list.as_ptr() };
                check(clv_node_announce(node, list, a.input.int_in_range(0..=2)?));
            }
            6 => {
                let each: clv_address_visit = if is_null { None } else { Some(see_address) };
                check(clv_node_addresses(node, each, null_mut()));
            }
            _ => {
                let mut fd: c_int = -1;
                check(clv_node_fd(node, if is_null { null_mut() } else { &mut fd }));
            }
        }
    }
    Ok(())
}

/// An event may carry a buffer, which is the program's.
fn free_data(event: &Struct) {
    let at = std::mem::offset_of!(clv_event, data);
    if event[0] as usize >= at + 8 {
        clv_buffer_free(std::ptr::without_provenance_mut(event[at / 8] as usize));
    }
}

fn on_options(a: &mut Arguments<'_, '_>) -> Result<()> {
    let options: *mut clv_options = std::ptr::without_provenance_mut(a.handle()? as usize);
    let names =
        [c"beat_ms", c"caller_driven", c"channels_max", c"node_name", c"events_max", c"nothing", c"\xC3\x28"];
    let values = [c"500", c"true", c"16", c"", c"-1", c"99999999999999999999", c"\xC3\x28"];
    let files = [c"/dev/null", c"/nowhere", c"/"];
    // SAFETY: as above.
    unsafe {
        match a.input.int_in_range(0..=3u8)? {
            0 => {
                let mut made = std::ptr::without_provenance_mut(UNWRITTEN as usize);
                let status = check(clv_options_new(&mut made));
                a.made(status, made.addr() as u64);
            }
            1 => {
                let (name, value) = (a.input.choose(&names)?.as_ptr(), a.input.choose(&values)?.as_ptr());
                check(clv_options_set(options, name, value));
            }
            2 => drop(check(clv_options_load_file(options, a.input.choose(&files)?.as_ptr()))),
            _ => clv_options_free(options),
        }
    }
    Ok(())
}

fn on_callbacks(a: &mut Arguments<'_, '_>) -> Result<()> {
    let (node, name, is_null) = (clv_node { id: a.handle()? }, a.text()?, a.input.ratio(1u8, 10u8)?);
    // SAFETY: as above.
    unsafe {
        match a.input.int_in_range(0..=4u8)? {
            0 => drop(check(clv_unserve(node, pointer(&name)))),
            1 => {
                let level = *a.input.choose(&[1, 2, 3, 4, 0, 5, -1])?;
                let log = if is_null { None } else { Some(log as unsafe extern "C" fn(_, _, _)) };
                check(clv_log_set(node, level, log, a.user()?, Some(count_drop)));
            }
            2 => {
                let kind = clv_kind {
                    struct_size: 0,
                    destroy: if is_null { None } else { Some(on_object) },
                    embalm: a.input.arbitrary::<bool>()?.then_some(embalm_object as _),
                    revive: a.input.arbitrary::<bool>()?.then_some(revive_object as _),
                    discard: a.input.arbitrary::<bool>()?.then_some(discard_object as _),
                    abandon: a.input.arbitrary::<bool>()?.then_some(on_object as _),
                    print: a.input.arbitrary::<bool>()?.then_some(print_object as _),
                    user: null_mut(),
                    drop: Some(count_drop),
                    embalm_ms: a.wait()?,
                    level_min: *a.input.choose(&[1, 1, 0, 255, 256, -1])?,
                    reserved: 0,
                };
                let mut kind = a.sized(kind)?;
                // Of a struct that ends before it, and of one that is refused by its size, drop is not seen.
                let size = kind[0] as usize;
                let is_seen = size >= std::mem::offset_of!(clv_kind, drop) + 8 && size <= 4096;
                if is_seen {
                    GIVEN.fetch_add(1, Ordering::SeqCst);
                }
                check(clv_kind_register(node, pointer(&name), place(&mut kind, false)));
            }
            _ => {
                let options = clv_service_options {
                    struct_size: 0,
                    run_inline: a.input.int_in_range(0..=1)?,
                    level_min: *a.input.choose(&[1, 1, 0, 255, 256, -1])?,
                };
                let mut options = a.sized(options)?;
                let is_default = a.input.arbitrary()?;
                let handler = if is_null { None } else { Some(handler as unsafe extern "C" fn(_, _) -> _) };
                let options = place(&mut options, is_default);
                check(clv_serve(node, pointer(&name), options, handler, a.user()?, Some(count_drop)));
            }
        }
    }
    Ok(())
}

fn on_sessions(a: &mut Arguments<'_, '_>) -> Result<()> {
    let (session, wait, is_null) = (clv_session { id: a.handle()? }, a.wait()?, a.input.ratio(1u8, 10u8)?);
    let (name, data) = (a.text()?, a.data()?);
    let mut text = [0 as c_char; 100];
    // SAFETY: as above.
    unsafe {
        match a.input.int_in_range(0..=17u8)? {
            0 => {
                let mut state = 0;
                check(clv_session_state(session, if is_null { null_mut() } else { &mut state }));
            }
            1 => drop(check(clv_session_wait_state(session, a.input.arbitrary()?, wait, null_mut()))),
            2 => drop(check(clv_session_peer(session, text.as_mut_ptr(), a.input.int_in_range(0..=100)?))),
            3 => {
                let mut out = a.output::<clv_session_info>()?;
                check(clv_session_get_info(session, place(&mut out, is_null)));
            }
            4 => {
                let mut out = a.output::<clv_event>()?;
                if check(clv_session_next_event(session, wait, place(&mut out, is_null))) == CLV_OK {
                    free_data(&out);
                }
            }
            5 => drop(check(clv_session_watch(session, a.input.arbitrary()?))),
            6 => drop(check(clv_session_drain(session, wait))),
            7 if a.input.ratio(1u8, 4u8)? => drop(check(clv_session_close(session, wait))),
            8 => {
                let mut out = a.output::<clv_loss>()?;
                check(clv_session_loss(session, place(&mut out, is_null), Some(see_channel), null_mut()));
            }
            9 => {
                let mut call = clv_pending_call { id: UNWRITTEN };
                let data = (bytes(&data), data.len());
                let status = check(clv_call_start(session, pointer(&name), data.0, data.1, wait, &mut call));
                a.made(status, call.id);
            }
            17 if a.input.ratio(1u8, 4u8)? => drop(check(clv_session_close_start(session, wait))),
            12 => drop(check(clv_session_roam(session, pointer(&a.address()?)))),
            13 => drop(check(clv_session_goto(session, pointer(&a.address()?)))),
            14 => drop(check(clv_session_addresses(
                session,
                if is_null { None } else { Some(see_address) },
                null_mut(),
            ))),
            10 | 11 => {
                let mut reply = std::ptr::without_provenance_mut(UNWRITTEN as usize);
                let status =
                    check(clv_call(session, pointer(&name), bytes(&data), data.len(), wait, &mut reply));
                a.made(status, reply.addr() as u64);
            }
            _ => on_objects(a, session, &name, &data)?,
        }
    }
    Ok(())
}

fn on_objects(
    a: &mut Arguments<'_, '_>,
    session: clv_session,
    name: &Option<CString>,
    data: &[u8],
) -> Result<()> {
    let object = clv_object { id: a.input.int_in_range(0..=20)? };
    let each = a.input.ratio(9u8, 10u8)?;
    // SAFETY: as above.
    unsafe {
        match a.input.int_in_range(0..=11u8)? {
            0..=2 => {
                let mut made = clv_object { id: UNWRITTEN };
                let ttl = *a.input.choose(&[-1, 0, 1, 100, i64::MAX, -2])?;
                let status = check(clv_object_attach(session, pointer(name), null_mut(), ttl, &mut made));
                assert_eq!(status == CLV_OK, made.id != UNWRITTEN);
            }
            3 => drop(check(clv_object_use(session, object, each.then_some(on_object as _), null_mut()))),
            4 => drop(check(clv_object_end(session, object))),
            5 => drop(check(clv_object_touch(session, object))),
            6 => drop(check(clv_object_update(session, object, bytes(data), data.len()))),
            7 => drop(check(clv_object_release(session, object))),
            8 => {
                check(clv_object_list(session, each.then_some(see_object as _), null_mut()));
                check(clv_task_list(session, each.then_some(see_task as _), null_mut()));
            }
            9 => {
                let to = clv_session { id: a.handle()? };
                check(clv_object_revive(session, object, to));
            }
            10 => {
                let embalming = clv_embalming { id: a.handle()? };
                check(clv_embalming_write(embalming, bytes(data), data.len()));
            }
            _ => drop(check(clv_object_print(session, each.then_some(see_line as _), null_mut()))),
        }
    }
    Ok(())
}

fn on_channels(a: &mut Arguments<'_, '_>) -> Result<()> {
    let id = a.handle()?;
    let (channel, session, wait) = (clv_channel { id }, clv_session { id }, a.wait()?);
    let (name, data, is_null) = (a.text()?, a.data()?, a.input.ratio(1u8, 10u8)?);
    let (mut made, mut size, mut fd) = (clv_channel { id: UNWRITTEN }, 0usize, -1);
    let mut room = vec![0u8; a.input.int_in_range(0..=200)?];
    // SAFETY: as above.
    unsafe {
        match a.input.int_in_range(0..=17u8)? {
            0 | 1 => {
                let (bytes, bulk) = (a.input.int_in_range(0..=1)?, a.input.int_in_range(0..=1)?);
                let (stored, reserved) = (a.input.int_in_range(0..=1)?, 0);
                let options = clv_channel_options { struct_size: 0, bytes, bulk, stored, reserved };
                let mut options = a.sized(options)?;
                let options = place(&mut options, is_null);
                let status = check(clv_channel_open(session, pointer(&name), options, wait, &mut made));
                a.made(status, made.id);
            }
            2 => {
                let status = check(clv_channel_accept(session, wait, &mut made));
                a.made(status, made.id);
            }
            3 => drop(check(clv_channel_name(channel, room.as_mut_ptr().cast(), room.len()))),
            4 | 5 => drop(check(clv_channel_send(channel, bytes(&data), data.len(), wait))),
            6 => drop(check(clv_channel_try_send(channel, bytes(&data), data.len(), &mut size))),
            7 | 8 => {
                let into = if is_null { null_mut() } else { room.as_mut_ptr().cast() };
                check(clv_channel_recv(channel, into, room.len(), wait, &mut size));
            }
            9 => {
                let mut buffer = std::ptr::without_provenance_mut(UNWRITTEN as usize);
                let status = check(clv_channel_recv_buffer(channel, wait, &mut buffer));
                a.made(status, buffer.addr() as u64);
            }
            10 => drop(check(clv_channel_end(channel))),
            11 => drop(check(clv_channel_reset(channel, pointer(&name)))),
            12 => drop(check(clv_channel_stop(channel))),
            13 => {
                let mut out = a.output::<clv_channel_report>()?;
                check(clv_channel_get_report(channel, place(&mut out, is_null)));
                check(clv_channel_watch(channel, a.input.arbitrary()?));
            }
            14 => drop(check(clv_channel_close(channel))),
            15 => {
                let mut buffer = std::ptr::without_provenance_mut(UNWRITTEN as usize);
                let mut delivery = a.output::<clv_delivery>()?;
                let status =
                    check(clv_channel_take(channel, wait, &mut buffer, place(&mut delivery, is_null)));
                a.made(status, buffer.addr() as u64);
                check(clv_channel_confirm(channel, wait));
                check(clv_ack(channel, a.input.int_in_range(0..=100)?, wait));
                check(clv_restart_point(channel, bytes(&data), data.len(), wait));
            }
            _ => {
                let flags = *a.input.choose(&[0, CLV_FD_UNIX, 2, u32::MAX])?;
                let status = match a.input.int_in_range(0..=2u8)? {
                    0 => clv_dial_fd(session, pointer(&name), flags, &mut fd),
                    1 => clv_accept_fd(session, wait, flags, &mut fd),
                    _ => clv_channel_into_fd(channel, flags, &mut fd),
                };
                assert_eq!(check(status) == CLV_OK, fd >= 0);
                if fd >= 0 {
                    drop(OwnedFd::from_raw_fd(fd));
                }
            }
        }
    }
    Ok(())
}

fn on_calls(a: &mut Arguments<'_, '_>) -> Result<()> {
    let id = a.handle()?;
    let (call, request, wait) = (clv_pending_call { id }, clv_request { id }, a.wait()?);
    let buffer: *mut clv_buffer = std::ptr::without_provenance_mut(id as usize);
    let mut text = [0 as c_char; 100];
    let mut outcome = 0;
    // SAFETY: as above.
    unsafe {
        match a.input.int_in_range(0..=11u8)? {
            0..=2 => {
                let mut part = std::ptr::without_provenance_mut(UNWRITTEN as usize);
                let status = check(clv_call_receive(call, wait, &mut part));
                a.made(status, part.addr() as u64);
            }
            3 => drop(check(clv_call_watch(call, a.input.arbitrary()?))),
            4 => drop(check(clv_call_cancel(call))),
            5 => drop(check(clv_call_outcome(call, &mut outcome))),
            6 => drop(check(clv_call_id(call, text.as_mut_ptr(), a.input.int_in_range(0..=100)?))),
            7 => drop(check(clv_call_close(call))),
            8 => {
                let (data, size) = (clv_buffer_data(buffer), clv_buffer_size(buffer));
                assert!(size == 0 || !data.is_null());
                let all = if size == 0 { &[][..] } else { std::slice::from_raw_parts(data, size) };
                assert!(all.iter().map(|&byte| u64::from(byte)).sum::<u64>() < u64::MAX);
                clv_buffer_free(buffer);
            }
            9 => {
                let mut info = a.output::<clv_request_info>()?;
                // No handler has shown its request.
                assert_ne!(check(clv_request_get_info(request, place(&mut info, false))), CLV_OK);
                assert_ne!(check(clv_reply_error(request, text.as_ptr())), CLV_OK);
                assert_ne!(check(clv_request_call_id(request, text.as_mut_ptr(), 100)), CLV_OK);
                assert_ne!(check(clv_request_defer(request)), CLV_OK);
                assert_ne!(check(clv_request_watch(request, a.input.arbitrary()?)), CLV_OK);
                assert_ne!(check(clv_request_finish(request, wait as clv_status)), CLV_OK);
            }
            _ => finish_deferred(a)?,
        }
    }
    Ok(())
}

fn run(a: &mut Arguments<'_, '_>) -> Result<()> {
    for _ in 0..OPS_MAX {
        if a.input.is_empty() {
            break;
        }
        match a.input.int_in_range(0..=11u8)? {
            0 | 1 => on_nodes(a)?,
            2 | 3 => on_callbacks(a)?,
            4..=6 => on_sessions(a)?,
            7..=9 => on_channels(a)?,
            _ => on_calls(a)?,
        }
    }
    Ok(())
}

fn current() -> &'static Mutex<Option<World>> {
    static WORLD: OnceLock<Mutex<Option<World>>> = OnceLock::new();
    WORLD.get_or_init(|| {
        let home = tempfile::tempdir().expect("a directory");
        // SAFETY: no other thread runs yet.
        unsafe { std::env::set_var("CLERVER_HOME", home.keep()) };
        Mutex::default()
    })
}

fuzz_target!(|data: &[u8]| {
    let mut slot = current().lock().expect("one thread");
    if !slot.as_ref().is_some_and(World::is_good)
        && let Some(old) = slot.take()
    {
        old.end();
    }
    let world = slot.get_or_insert_with(World::new);
    // An error means that the input is at its end.
    let _ = run(&mut Arguments { input: &mut Unstructured::new(data), world });
    world.tidy();
    assert!(DROPPED.load(Ordering::SeqCst) <= GIVEN.load(Ordering::SeqCst), "a drop ran twice");
});
