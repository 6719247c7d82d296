//! Wakes threads that wait for something under the shard lock.
//!
//! A thread waits at a condition variable, or in `poll` when it reads a link itself meanwhile (`seat`); there a
//! descriptor wakes it. Invariants: a bell is rung after the shard lock is free; a ring that was decided under the
//! lock after `begin_polling` makes the next poll return.

use super::descriptor::EventFd;
use parking_lot::{Condvar, MutexGuard};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

thread_local! {
    static OF_THREAD: Bell = Bell::default();
}

#[derive(Default)]
struct Inner {
    condvar: Condvar,
    /// Changed under the shard lock.
    is_polling: AtomicBool,
    kick: OnceLock<EventFd>,
}

/// See the module. Clones are the same bell.
#[derive(Clone, Default)]
pub(crate) struct Bell(Arc<Inner>);

impl Bell {
    /// The bell at which this thread waits for channels; it waits for one at a time.
    pub(super) fn of_thread() -> Bell {
        // A thread that is ending may still wait, at a bell of its own.
        OF_THREAD.try_with(Bell::clone).unwrap_or_default()
    }

    /// Wakes everybody who waits.
    pub(crate) fn ring(&self) {
        self.0.condvar.notify_all();
        if self.0.is_polling.load(Ordering::Acquire)
            && let Some(kick) = self.0.kick.get()
        {
            kick.raise();
        }
    }

    /// Sleeps until it rings, or a little longer than `left`.
    pub(super) fn wait_for<T>(&self, guard: &mut MutexGuard<'_, T>, left: Duration) {
        self.0.condvar.wait_for(guard, left);
    }

    pub(super) fn is(&self, other: &Bell) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// What becomes readable when it rings for a thread that polls.
    pub(super) fn descriptor(&self) -> io::Result<BorrowedFd<'_>> {
        if self.0.kick.get().is_none() {
            // Another thread with this bell may have been faster.
            let _ = self.0.kick.set(EventFd::new()?);
        }
        self.0.kick.get().map(AsFd::as_fd).ok_or_else(|| io::ErrorKind::Other.into())
    }

    /// From here on a ring makes the descriptor readable. Only under the shard lock.
    pub(super) fn begin_polling(&self) {
        self.0.is_polling.store(true, Ordering::Release);
    }

    /// No more. Only under the shard lock.
    pub(super) fn end_polling(&self) {
        self.0.is_polling.store(false, Ordering::Release);
    }

    /// A ring made the descriptor readable: it is not any more.
    pub(super) fn acknowledge(&self) {
        if let Some(kick) = self.0.kick.get() {
            kick.lower();
        }
    }
}
