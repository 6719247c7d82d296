//! The calls that this end runs for the peer: which run now, in what order they began, and the last ones that
//! ended.
//!
//! It is not a scheduler and knows no objects. Invariants: a call runs once at a time; start numbers rise by
//! one and are never reused, so "every call that ran then has ended" is one comparison; records are bounded.

use super::TaskRecord;
use crate::error::{Code, Error, Result};
use crate::id::ChannelId;
use crate::limits::HISTORY_MAX;
use crate::sorted::Sorted;
use crate::time::Instant;
use std::collections::VecDeque;
use std::sync::Arc;

/// Running calls and the bounded record of past ones.
#[derive(Debug, Clone, Default)]
pub(super) struct History {
    /// The newest records, oldest first; the record of start number `n` is at `n - forgotten`.
    records: VecDeque<TaskRecord>,
    /// Start number of the next call.
    started: u64,
    /// Start number of each running call.
    running: Sorted<ChannelId, u64>,
    /// Start numbers of the running calls.
    order: Sorted<u64, ()>,
}

impl History {
    /// Records that a handler took this call.
    ///
    /// # Errors
    /// `STATE` when this call runs already.
    pub(super) fn start(&mut self, now: Instant, call: ChannelId, service: Arc<str>) -> Result<()> {
        if self.running.contains(call) {
            let what = format!("start a handler for call {call} of service {service:?}: one runs already");
            return Err(Error::new(Code::State, what));
        }
        self.running.insert(call, self.started);
        self.order.insert(self.started, ());
        self.started += 1;
        if self.records.len() == HISTORY_MAX {
            self.records.pop_front();
        }
        self.records.push_back(TaskRecord { call, service, started: now, finished: None, replied: false });
        Ok(())
    }

    /// Records that the handler of this call returned.
    ///
    /// # Errors
    /// `STATE` when no handler runs for it.
    pub(super) fn finish(&mut self, now: Instant, call: ChannelId, replied: bool) -> Result<()> {
        let Some(number) = self.running.remove(call) else {
            let what = format!("finish the handler of call {call}: none runs");
            return Err(Error::new(Code::State, what));
        };
        self.order.remove(number);
        let place = number.checked_sub(self.forgotten()).and_then(|at| usize::try_from(at).ok());
        if let Some(record) = place.and_then(|at| self.records.get_mut(at)) {
            record.finished = Some(now);
            record.replied = replied;
        }
        Ok(())
    }

    /// Calls that run now.
    pub(super) fn running(&self) -> usize {
        self.running.len()
    }

    /// The start number that the next call will get: all calls below it have begun.
    pub(super) fn started(&self) -> u64 {
        self.started
    }

    /// Every call with a start number below this one has ended.
    pub(super) fn ended_below(&self) -> u64 {
        self.order.keys().next().unwrap_or(u64::MAX)
    }

    /// Records that made room for newer ones.
    pub(super) fn forgotten(&self) -> u64 {
        self.started - self.records.len() as u64
    }

    /// The records, oldest first.
    pub(super) fn records(&self) -> Vec<TaskRecord> {
        self.records.iter().cloned().collect()
    }
}
