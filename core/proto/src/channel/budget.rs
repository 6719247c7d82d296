//! A session's byte budget in one direction (X4): a base for every channel, a pool that windows may grow
//! into, and one whole message at a time, first come first served.
//!
//! Knows charges, not bytes: its callers say what they hold. Invariant: what is charged never exceeds the
//! pool, and at most one channel holds the message slot.

use crate::id::ChannelId;
use std::collections::VecDeque;

/// What is charged against one session's budget.
#[derive(Debug, Clone)]
pub struct Budget {
    pool: u64,
    used: u64,
    message: Option<ChannelId>,
    waiting: VecDeque<ChannelId>,
}

impl Budget {
    /// A budget whose channels may grow into `pool` bytes beyond their bases.
    pub fn new(pool: u64) -> Budget {
        Budget { pool, used: 0, message: None, waiting: VecDeque::new() }
    }

    /// Bytes of the pool that are free.
    pub fn free(&self) -> u64 {
        self.pool - self.used
    }

    /// Moves a channel's charge to `want`, or as near to it as the pool allows; returns the new charge.
    pub fn charge(&mut self, charge: &mut u64, want: u64) -> u64 {
        let granted = want.min(*charge + self.free());
        self.used = self.used - *charge + granted;
        *charge = granted;
        granted
    }

    /// Takes the message slot, or stands in line for it.
    pub fn take_message(&mut self, channel: ChannelId) -> bool {
        let first = self.waiting.front().is_none_or(|&front| front == channel);
        if self.message.is_none() && first {
            self.waiting.pop_front();
            self.message = Some(channel);
            return true;
        }
        if self.message != Some(channel) && !self.waiting.contains(&channel) {
            self.waiting.push_back(channel);
        }
        false
    }

    /// Takes the message slot if it is free and nobody stands in line; never stands in line.
    pub fn try_message(&mut self, channel: ChannelId) -> bool {
        self.message_is_free() && self.take_message(channel)
    }

    /// Gives the message slot back; returns who is first in line now.
    pub fn release_message(&mut self, channel: ChannelId) -> Option<ChannelId> {
        self.waiting.retain(|&waiting| waiting != channel);
        if self.message == Some(channel) {
            self.message = None;
            return self.waiting.front().copied();
        }
        None
    }

    /// Who is first in line, while nobody holds the slot.
    pub fn first_waiting(&self) -> Option<ChannelId> {
        if self.message.is_none() { self.waiting.front().copied() } else { None }
    }

    /// Whether nobody holds the slot or stands in line.
    pub fn message_is_free(&self) -> bool {
        self.message.is_none() && self.waiting.is_empty()
    }

    /// Leaves the line.
    pub fn give_up_turn(&mut self, channel: ChannelId) {
        self.waiting.retain(|&waiting| waiting != channel);
    }

    /// Who holds the message slot.
    pub fn message_holder(&self) -> Option<ChannelId> {
        self.message
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn charges_stop_at_the_pool() {
        let mut budget = Budget::new(100);
        let (mut a, mut b) = (0, 0);
        assert_eq!(budget.charge(&mut a, 70), 70);
        assert_eq!(budget.charge(&mut b, 70), 30, "as near as the pool allows");
        assert_eq!(budget.free(), 0);
        assert_eq!(budget.charge(&mut a, 10), 10);
        assert_eq!(budget.charge(&mut b, 70), 70);
    }

    #[test]
    fn the_message_slot_goes_first_come_first_served() {
        let mut budget = Budget::new(0);
        let [a, b, c] = [1, 2, 3].map(ChannelId);
        assert!(budget.take_message(a));
        assert!(!budget.take_message(b));
        assert!(!budget.take_message(c));
        assert_eq!(budget.release_message(a), Some(b));
        assert!(!budget.take_message(c), "b is first in line");
        assert!(budget.take_message(b));
        assert_eq!(budget.release_message(b), Some(c));
        assert_eq!(budget.release_message(c), None, "who only waited leaves the line");
        assert!(budget.try_message(a));
    }
}
