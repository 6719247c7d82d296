//! The timer of a shard: one descriptor for the earliest of all deadlines.
//!
//! It may ring early (a deadline that moved away is not chased with a system call) and never late.

use super::descriptor::TimerFd;
use clerver_proto::time::Instant;
use parking_lot::Mutex;
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::atomic::{AtomicU64, Ordering};

/// Earliest deadlines of the protocol and of the loop, and the descriptor that is set to the earlier.
#[derive(Debug)]
pub(crate) struct Alarm {
    timer: TimerFd,
    /// Stored under the shard lock.
    node: AtomicU64,
    /// Stored by whoever drives the loop.
    driver: AtomicU64,
    /// What the descriptor is set to.
    armed: Mutex<Instant>,
}

impl Alarm {
    pub(crate) fn new() -> io::Result<Alarm> {
        let never = Instant::NEVER.0;
        Ok(Alarm {
            timer: TimerFd::new()?,
            node: AtomicU64::new(never),
            driver: AtomicU64::new(never),
            armed: Mutex::new(Instant::NEVER),
        })
    }

    /// The protocol wants to be called at this instant. Call `rearm` after the shard lock is free again.
    pub(crate) fn wake_node_at(&self, at: Instant) {
        self.node.store(at.0, Ordering::Release);
    }

    /// The loop wants to be called at this instant.
    pub(crate) fn wake_driver_at(&self, at: Instant) {
        self.driver.store(at.0, Ordering::Release);
    }

    fn earliest(&self) -> Instant {
        Instant(self.node.load(Ordering::Acquire).min(self.driver.load(Ordering::Acquire)))
    }

    /// Whether the descriptor would ring too late, so that `rearm` is needed.
    pub(crate) fn is_late(&self) -> bool {
        self.earliest() < *self.armed.lock()
    }

    /// Sets the descriptor if it would ring too late. The answer is an error only of a broken system.
    pub(crate) fn rearm(&self) -> io::Result<()> {
        // Read again under the lock: of two threads that come together, the later must not set an outdated
        // value.
        if self.earliest() == Instant::NEVER {
            return Ok(());
        }
        let mut armed = self.armed.lock();
        let earliest = self.earliest();
        if earliest < *armed {
            *armed = earliest;
            // 0 would clear it.
            self.timer.set(earliest.0.max(1))?;
        }
        Ok(())
    }

    /// Takes note that it rang.
    pub(crate) fn acknowledge(&self) {
        let mut armed = self.armed.lock();
        self.timer.acknowledge();
        *armed = Instant::NEVER;
    }
}

impl AsRawFd for Alarm {
    fn as_raw_fd(&self) -> RawFd {
        self.timer.as_raw_fd()
    }
}
