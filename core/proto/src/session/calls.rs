//! Calls (C1): what this end asked of the peer, and what it runs for the peer.
//!
//! A call is a channel; this module keeps what a channel does not know: deadlines, outcomes, and which
//! requests are with a handler. It never runs anything. Invariant: a request is handed out at most once per
//! call id.

use crate::error::{Code, Error};
use crate::id::ChannelId;
use crate::io::Outcome;
use crate::sorted::Sorted;
use crate::time::Instant;
use std::sync::Arc;

/// A call that this end made.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked {
    pub(crate) outcome: Option<Outcome>,
    /// When it is given up.
    deadline: Instant,
}

/// A call that this end runs, or will run once its request is whole.
#[derive(Debug, Clone)]
pub(crate) struct Running {
    pub(crate) service: Arc<str>,
    /// Handed to a handler.
    pub(crate) started: bool,
    pub(crate) cancelled: bool,
    pub(crate) replied: bool,
}

#[derive(Debug, Clone)]
pub(crate) struct Calls {
    pub(crate) asked: Sorted<ChannelId, Asked>,
    pub(crate) running: Sorted<ChannelId, Running>,
    /// No call is to be given up before this: most are answered long before, and then cost no timer.
    earliest: Instant,
}

impl Default for Calls {
    fn default() -> Calls {
        Calls { asked: Sorted::default(), running: Sorted::default(), earliest: Instant::NEVER }
    }
}

impl Calls {
    /// A call was made; it is given up at `deadline`.
    pub(crate) fn ask(&mut self, id: ChannelId, deadline: Instant) {
        self.asked.insert(id, Asked { outcome: None, deadline });
        self.earliest = self.earliest.min(deadline);
    }

    /// Sets the outcome, the first time only.
    pub(crate) fn settle(&mut self, id: ChannelId, outcome: Outcome) {
        if let Some(asked) = self.asked.get_mut(id) {
            asked.deadline = Instant::NEVER;
            asked.outcome.get_or_insert(outcome);
        }
    }

    pub(crate) fn forget(&mut self, id: ChannelId) {
        self.asked.remove(id);
    }

    /// When to ask for calls whose time has come; there may be none then.
    pub(crate) fn next_deadline(&self) -> Instant {
        self.earliest
    }

    pub(crate) fn pop_due(&mut self, now: Instant) -> Option<ChannelId> {
        if self.earliest > now {
            return None;
        }
        let due = self.asked.iter_mut().find(|(_, asked)| asked.deadline <= now);
        if let Some((id, asked)) = due {
            asked.deadline = Instant::NEVER;
            return Some(id);
        }
        self.earliest = self.asked.values().map(|asked| asked.deadline).fold(Instant::NEVER, Instant::min);
        None
    }

    pub(crate) fn timers(&self) -> usize {
        self.asked.values().filter(|asked| asked.deadline != Instant::NEVER).count()
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
