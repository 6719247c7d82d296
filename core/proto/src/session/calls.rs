//! Calls (C1): what this end asked of the peer, and what it runs for the peer.
//!
//! A call is a channel; this module keeps what a channel does not know: deadlines, outcomes, and which
//! requests are with a handler. It never runs anything. Invariant: a request is handed out at most once per
//! call id.

use crate::error::{Code, Error};
use crate::id::ChannelId;
use crate::io::Outcome;
use crate::time::{Deadlines, Instant};
use std::collections::BTreeMap;

/// A call that this end made.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked {
    pub(crate) outcome: Option<Outcome>,
}

/// A call that this end runs, or will run once its request is whole.
#[derive(Debug, Clone)]
pub(crate) struct Running {
    pub(crate) service: String,
    /// Handed to a handler.
    pub(crate) started: bool,
    pub(crate) cancelled: bool,
    pub(crate) replied: bool,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Calls {
    pub(crate) asked: BTreeMap<ChannelId, Asked>,
    pub(crate) running: BTreeMap<ChannelId, Running>,
    deadlines: Deadlines<ChannelId>,
}

impl Calls {
    pub(crate) fn ask(&mut self, id: ChannelId, deadline: Option<Instant>) {
        self.asked.insert(id, Asked { outcome: None });
        self.deadlines.set(id, deadline.unwrap_or(Instant::NEVER));
    }

    /// Sets the outcome, the first time only.
    pub(crate) fn settle(&mut self, id: ChannelId, outcome: Outcome) {
        self.deadlines.clear(id);
        if let Some(asked) = self.asked.get_mut(&id) {
            asked.outcome.get_or_insert(outcome);
        }
    }

    pub(crate) fn forget(&mut self, id: ChannelId) {
        self.deadlines.clear(id);
        self.asked.remove(&id);
    }

    pub(crate) fn next_deadline(&self) -> Instant {
        self.deadlines.next().unwrap_or(Instant::NEVER)
    }

    pub(crate) fn pop_due(&mut self, now: Instant) -> Option<ChannelId> {
        self.deadlines.pop_due(now)
    }

    pub(crate) fn timers(&self) -> usize {
        self.deadlines.len()
    }
}

/// What an error at the caller's reading side says about the call, given whether its whole request had been
/// sent.
pub(crate) fn outcome_of(error: &Error, request_sent: bool) -> Outcome {
    match error.code {
        Code::End | Code::CallFailed => Outcome::Reply,
        Code::NotRun
        | Code::NoService
        | Code::Level
        | Code::Denied
        | Code::Draining
        | Code::Busy
        | Code::Size
        | Code::Unsupported => Outcome::NotRun,
        _ if !request_sent => Outcome::NotRun,
        _ => Outcome::Unknown,
    }
}
