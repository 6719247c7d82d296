//! The timer of an event loop: one descriptor for the earliest of all deadlines of its nodes.
//!
//! A node keeps at most one entry in an ordered table, and compares with that before it touches anything
//! (`NodeAlarm`). The timer may ring early, because a deadline that moved away is not chased: whoever is rung
//! looks again. It rings late by the length of a slot at most, so that deadlines of one slot are one ring.
//!
//! Invariants: a node's entry is never later than what it waits for; the lock of the table is never held over
//! a system call, so it may be taken under a shard lock; `earliest` is the first entry of the table, and
//! `armed` is reset under the same lock, so that of an entry and a ring at the same time one sees the other.

use super::descriptor::TimerFd;
use clerver_proto::time::Instant;
use parking_lot::Mutex;
use std::collections::BTreeSet;
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A ring is put off to the end of its slot of 2^20 ns, about a millisecond: 20,000 beats a second, each of another
/// node, are a thousand rings.
const SLOT_NANOS: u64 = 1 << 20;

/// A node on its loop: rising, never used twice there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct NodeNumber(pub(super) u64);

/// See the module.
#[derive(Debug)]
pub(super) struct Alarm {
    timer: TimerFd,
    table: Mutex<BTreeSet<(Instant, NodeNumber)>>,
    /// First deadline in the table; stored under its lock.
    earliest: AtomicU64,
    /// First deadline of the loop itself; stored by whoever drives it.
    driver: AtomicU64,
    /// What the descriptor is set to; stored under the lock below.
    armed: AtomicU64,
    /// Held by whoever sets the descriptor.
    setting: Mutex<()>,
}

impl Alarm {
    pub(super) fn new() -> io::Result<Alarm> {
        let never = || AtomicU64::new(Instant::NEVER.0);
        Ok(Alarm {
            timer: TimerFd::new()?,
            table: Mutex::default(),
            earliest: never(),
            driver: never(),
            armed: never(),
            setting: Mutex::new(()),
        })
    }

    /// Moves the entry of a node; `NEVER` is none. Call `rearm` after the shard lock is free again.
    fn change(&self, node: NodeNumber, from: Instant, to: Instant) {
        let mut table = self.table.lock();
        table.remove(&(from, node));
        if to != Instant::NEVER {
            table.insert((to, node));
        }
        self.note_first(&table);
    }

    fn note_first(&self, table: &BTreeSet<(Instant, NodeNumber)>) {
        let first = table.first().map_or(Instant::NEVER, |&(at, _)| at);
        self.earliest.store(first.0, Ordering::Relaxed);
    }

    /// Takes entries that are due out of the table, at most `count`.
    pub(super) fn pop_due(&self, now: Instant, count: usize, due: &mut Vec<(Instant, NodeNumber)>) {
        if self.earliest.load(Ordering::Relaxed) > now.0 {
            return;
        }
        let mut table = self.table.lock();
        while due.len() < count
            && let Some(&(at, node)) = table.first().filter(|(at, _)| *at <= now)
        {
            table.pop_first();
            due.push((at, node));
        }
        self.note_first(&table);
    }

    /// The loop itself wants to be called at this instant.
    pub(super) fn wake_driver_at(&self, at: Instant) {
        self.driver.store(at.0, Ordering::Relaxed);
    }

    /// When it has to ring; never 0, which would clear the descriptor.
    fn slot_end(&self) -> u64 {
        self.earliest.load(Ordering::Relaxed).min(self.driver.load(Ordering::Relaxed)) | (SLOT_NANOS - 1)
    }

    /// Whether the descriptor would ring too late, so that `rearm` is needed.
    pub(super) fn is_late(&self) -> bool {
        self.slot_end() < self.armed.load(Ordering::Relaxed)
    }

    /// Sets the descriptor if it would ring too late. The answer is an error only of a broken system.
    pub(super) fn rearm(&self) -> io::Result<()> {
        if self.is_late() { self.set() } else { Ok(()) }
    }

    fn set(&self) -> io::Result<()> {
        let _setting = self.setting.lock();
        // Read again: of two threads that come together, the later must not set an outdated value.
        let slot_end = self.slot_end();
        if slot_end >= self.armed.load(Ordering::Relaxed) {
            return Ok(());
        }
        self.armed.store(slot_end, Ordering::Relaxed);
        self.timer.set(slot_end)
    }

    /// Takes note that it rang.
    pub(super) fn acknowledge(&self) {
        let _setting = self.setting.lock();
        self.timer.acknowledge();
        // An entry made after this sees it, and the driver sees one made before: it looks into the table next.
        let _table = self.table.lock();
        self.armed.store(Instant::NEVER.0, Ordering::Relaxed);
    }
}

impl AsRawFd for Alarm {
    fn as_raw_fd(&self) -> RawFd {
        self.timer.as_raw_fd()
    }
}

/// The alarm as one node sees it. Covered by the shard lock.
#[derive(Debug)]
pub(super) struct NodeAlarm {
    alarm: Arc<Alarm>,
    node: NodeNumber,
    /// The node's entry in the table; 0, earlier than everything, once it has left.
    entry: Instant,
}

impl NodeAlarm {
    pub(super) fn new(alarm: Arc<Alarm>, node: NodeNumber) -> NodeAlarm {
        NodeAlarm { alarm, node, entry: Instant::NEVER }
    }

    /// The node waits for this instant. Costs nothing while its entry is no later.
    pub(super) fn wake_at(&mut self, at: Instant) {
        if at < self.entry {
            self.alarm.change(self.node, self.entry, at);
            self.entry = at;
        }
    }

    /// The entry for `at` was taken out of the table; the node waits for `next`.
    pub(super) fn rang(&mut self, at: Instant, next: Instant) {
        if self.entry == at {
            self.entry = Instant::NEVER;
        }
        self.wake_at(next);
    }

    /// No entry any more, and none ever again.
    pub(super) fn leave(&mut self) {
        self.alarm.change(self.node, self.entry, Instant::NEVER);
        self.entry = Instant(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn due(alarm: &Alarm, now: u64) -> Vec<(u64, u64)> {
        let mut found = Vec::new();
        alarm.pop_due(Instant(now), 100, &mut found);
        found.into_iter().map(|(at, node)| (at.0, node.0)).collect()
    }

    #[test]
    fn only_who_is_due_is_rung_and_an_early_ring_is_looked_at_again() {
        let alarm = Arc::new(Alarm::new().unwrap());
        let mut nodes: Vec<_> =
            (0..3).map(|number| NodeAlarm::new(Arc::clone(&alarm), NodeNumber(number))).collect();
        for (node, at) in nodes.iter_mut().zip([30, 10, 20]) {
            node.wake_at(Instant(at));
        }
        // Later is not told, earlier is.
        nodes[1].wake_at(Instant(40));
        nodes[2].wake_at(Instant(5));
        assert_eq!((due(&alarm, 4), due(&alarm, 10)), (vec![], vec![(5, 2), (10, 1)]));
        nodes[1].rang(Instant(10), Instant(40));
        nodes[2].rang(Instant(5), Instant::NEVER);
        assert_eq!(due(&alarm, 50), [(30, 0), (40, 1)]);
    }

    #[test]
    fn a_deadline_that_came_while_it_rang_stays() {
        let alarm = Arc::new(Alarm::new().unwrap());
        let mut node = NodeAlarm::new(Arc::clone(&alarm), NodeNumber(7));
        node.wake_at(Instant(20));
        assert_eq!(due(&alarm, 20), [(20, 7)]);
        node.wake_at(Instant(15));
        node.rang(Instant(20), Instant(15));
        assert_eq!(due(&alarm, 20), [(15, 7)]);
        node.rang(Instant(15), Instant(30));
        node.leave();
        node.wake_at(Instant(1));
        assert_eq!(due(&alarm, u64::MAX), []);
    }

    #[test]
    fn the_descriptor_is_set_only_to_earlier_slots() {
        let alarm = Arc::new(Alarm::new().unwrap());
        let mut node = NodeAlarm::new(Arc::clone(&alarm), NodeNumber(1));
        let far = 1 << 60;
        assert!(!alarm.is_late());
        node.wake_at(Instant(far + 7));
        assert!(alarm.is_late());
        alarm.rearm().unwrap();
        assert!(!alarm.is_late());
        alarm.wake_driver_at(Instant(far + SLOT_NANOS));
        node.wake_at(Instant(far + 1));
        assert!(!alarm.is_late(), "it is the same slot");
        node.wake_at(Instant(far - 1));
        assert!(alarm.is_late());
        alarm.rearm().unwrap();
        alarm.acknowledge();
        assert!(alarm.is_late(), "whoever was rung sets it again");
    }
}
