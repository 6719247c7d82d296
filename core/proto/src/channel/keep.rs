//! What a stored channel knows beside its halves: how much of it is stored, and what its application is done with (D1).
//!
//! Numbers only; what is stored, and when, is decided by the session (`session::keeping`). Invariant: `done` is at most
//! what was taken or restored, and `held` at most what the store has.

use super::ReceiveHalf;
use bytes::Bytes;
use std::collections::VecDeque;

/// How far a stored channel is.
#[derive(Debug, Clone, Default)]
pub struct Keep {
    /// Bytes of the peer that the application is done with: they are not delivered again.
    pub done: u64,
    /// Bytes of the peer that are stored.
    pub held: u64,
    /// Bytes written here that are stored.
    pub written: u64,
    /// How the peer ended it is stored.
    pub ending_stored: bool,
    /// Of `done`, what is stored.
    pub done_stored: u64,
    /// What lies before this may have been delivered by an earlier process.
    pub redelivered_until: u64,
    /// How far the reader is with the first message that it is not done with, in its own words.
    pub restart_point: Bytes,
    /// How often it said so in this process.
    pub points: u64,
    /// As `points`, of what is stored.
    pub points_stored: u64,
    /// What the store was asked to keep last.
    pub saved: Saved,
    /// Where messages end that were taken and are not done with.
    ends: VecDeque<u64>,
}

/// What was asked to be stored.
#[derive(Debug, Clone, Default)]
pub struct Saved {
    /// Outgoing bytes up to here.
    pub written: u64,
    /// Incoming bytes up to here.
    pub held: u64,
    /// Outgoing bytes from here on.
    pub kept: u64,
    /// Incoming bytes from here on.
    pub done: u64,
    /// The record of the channel itself.
    pub record: Vec<u8>,
}

impl Keep {
    /// Of a channel of whose bytes the first ones are its header, which was taken.
    pub fn new(taken: u64) -> Keep {
        let saved = Saved { held: taken, done: taken, ..Saved::default() };
        Keep { done: taken, saved, ..Keep::default() }
    }

    /// As it was stored: outgoing bytes from where to where, and incoming ones.
    pub fn restored((kept, written): (u64, u64), (done, held): (u64, u64)) -> Keep {
        Keep {
            done,
            held,
            written,
            done_stored: done,
            redelivered_until: held,
            saved: Saved { written, held, kept, done, record: Vec::new() },
            ..Keep::default()
        }
    }

    /// A message was taken that ends here.
    pub fn took_message(&mut self, end: u64) {
        self.ends.push_back(end);
    }

    /// The application is done with all before this; of messages with whole ones.
    pub fn is_done_to(&mut self, offset: u64, is_bytes: bool) {
        let before = self.done;
        if is_bytes {
            self.done = self.done.max(offset);
            self.ends.clear();
        }
        while self.ends.front().is_some_and(|&end| end <= offset) {
            self.done = self.ends.pop_front().unwrap_or(self.done);
        }
        if self.done > before {
            self.restart_point = Bytes::new();
        }
    }

    /// Whether the application is done with all that came, or wants none of it.
    pub fn is_done(&self, receive: &ReceiveHalf) -> bool {
        receive.is_discarded() || self.done >= receive.useful()
    }
}
