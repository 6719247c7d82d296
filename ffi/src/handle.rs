//! Handles: numbers that stand for what the library keeps.
//!
//! A handle is looked up and never dereferenced, and its number is never used again, so a stale, foreign or
//! made-up one answers `HANDLE`. Opaque pointers (options and buffers) are such numbers too.
//!
//! A number begins with the mark of the process that made it. The child of a fork thus refuses the parent's
//! handles before it touches a lock that a thread of the parent may have held, and has tables of its own.

use crate::buffer::Held;
use crate::call::PendingCall;
use crate::object::Embalming;
use crate::service::Request;
use clerver::{Code, Connecting, Error, Node, Options, Result, Session};
use parking_lot::RwLock;
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering};

#[cfg(not(target_pointer_width = "64"))]
compile_error!("opaque pointers hold 64-bit handle numbers");

/// Bits of the number behind the mark.
const NUMBER_BITS: u32 = 48;
/// Locks per table, so that threads that use different handles do not meet.
const PARTS: usize = 16;

/// The numbers rise, so they spread well as they are.
#[derive(Default)]
struct AsItIs(u64);

impl Hasher for AsItIs {
    fn finish(&self) -> u64 {
        // The table looks at the highest bits, too.
        self.0.wrapping_mul(0x9E37_79B9_7F4A_7C15)
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|&byte| self.0 = (self.0 << 8) | u64::from(byte));
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = number;
    }
}

type Part<T> = RwLock<HashMap<u64, T, BuildHasherDefault<AsItIs>>>;

/// Everything of one type that has a handle.
pub(crate) struct Table<T> {
    parts: [Part<T>; PARTS],
}

impl<T> Default for Table<T> {
    fn default() -> Table<T> {
        Table { parts: std::array::from_fn(|_| Part::default()) }
    }
}

impl<T: Clone> Table<T> {
    fn part(&self, handle: u64) -> &Part<T> {
        &self.parts[handle as usize % PARTS]
    }

    /// Keeps a value under a new handle.
    pub(crate) fn insert(&self, value: T) -> u64 {
        let handle = next_handle();
        self.part(handle).write().insert(handle, value);
        handle
    }

    /// What the handle stands for.
    pub(crate) fn find(&self, handle: u64) -> Option<T> {
        self.part(handle).read().get(&handle).cloned()
    }

    /// Ends the handle. The caller drops the value, when no lock is held.
    pub(crate) fn remove(&self, handle: u64) -> Option<T> {
        self.part(handle).write().remove(&handle)
    }
}

/// The tables of one process.
#[derive(Default)]
pub(crate) struct Tables {
    mark: u64,
    pub(crate) nodes: Table<Node>,
    pub(crate) connecting: Table<Connecting>,
    pub(crate) sessions: Table<Session>,
    pub(crate) channels: Table<Arc<crate::channel::Channel>>,
    pub(crate) calls: Table<PendingCall>,
    pub(crate) requests: Table<Request>,
    pub(crate) embalmings: Table<Embalming>,
    pub(crate) options: Table<Arc<parking_lot::Mutex<Options>>>,
    pub(crate) buffers: Table<Held>,
}

fn mark() -> u64 {
    clerver::process_mark() & ((1 << (64 - NUMBER_BITS)) - 1)
}

fn next_handle() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    (mark() << NUMBER_BITS) | (NEXT.fetch_add(1, Ordering::Relaxed) & ((1 << NUMBER_BITS) - 1))
}

/// The tables of this process. Those of a parent are left alone for ever.
pub(crate) fn tables() -> &'static Tables {
    static CURRENT: AtomicPtr<Tables> = AtomicPtr::new(std::ptr::null_mut());
    let mark = mark();
    loop {
        let current = CURRENT.load(Ordering::Acquire);
        // SAFETY: the pointer is null or comes from `Box::leak` below, so it is valid for ever.
        if let Some(tables) = unsafe { current.as_ref() }
            && tables.mark == mark
        {
            return tables;
        }
        let fresh = Box::into_raw(Box::new(Tables { mark, ..Tables::default() }));
        if CURRENT.compare_exchange(current, fresh, Ordering::AcqRel, Ordering::Acquire).is_err() {
            // SAFETY: nobody else has seen it.
            drop(unsafe { Box::from_raw(fresh) });
        }
    }
}

/// The error for a handle that stands for nothing here. Touches no lock.
pub(crate) fn unknown(what: &str, handle: u64) -> Error {
    let (of, own) = (handle >> NUMBER_BITS, mark());
    if of != 0 && of < own {
        let text = format!("use {what} {handle:#x} in a child process: it belongs to the parent");
        return Error::new(Code::Forked, text);
    }
    Error::new(Code::Handle, format!("use {what} {handle:#x}: there is none, or it was closed"))
}

/// Refuses a parent's handle before its table, whose locks may be held for ever, is asked.
fn check_mark(what: &str, handle: u64) -> Result<()> {
    if handle >> NUMBER_BITS == mark() { Ok(()) } else { Err(unknown(what, handle)) }
}

/// What a handle stands for.
pub(crate) fn find<T: Clone + 'static>(
    table: impl FnOnce(&'static Tables) -> &'static Table<T>,
    what: &str,
    handle: u64,
) -> Result<T> {
    check_mark(what, handle)?;
    table(tables()).find(handle).ok_or_else(|| unknown(what, handle))
}

/// Ends a handle and answers what it stood for.
pub(crate) fn remove<T: Clone + 'static>(
    table: impl FnOnce(&'static Tables) -> &'static Table<T>,
    what: &str,
    handle: u64,
) -> Result<T> {
    check_mark(what, handle)?;
    table(tables()).remove(handle).ok_or_else(|| unknown(what, handle))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handle_is_good_until_it_is_removed_and_never_again() {
        let table = Table::<u32>::default();
        let (first, second) = (table.insert(1), table.insert(2));
        assert!(first != second && first != 0);
        assert_eq!((table.find(first), table.find(second)), (Some(1), Some(2)));
        assert_eq!(table.remove(first), Some(1));
        assert_eq!((table.find(first), table.remove(first)), (None, None));
        assert_eq!(table.find(second), Some(2));
    }

    #[test]
    fn made_up_handles_are_refused() {
        for handle in [0, 1, u64::MAX, 0xDEAD_BEEF] {
            let error = find(|tables| &tables.nodes, "node", handle).unwrap_err();
            assert_eq!(error.code, Code::Handle, "{error}");
        }
    }
}
