//! How far channels and calls are, or were when their session ended: plain numbers.

use crate::error::Error;
use crate::id::{ChannelId, ObjectId};
use bytes::Bytes;

/// Counts of one channel when its session ended (X6); written >= sent >= held >= taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChannelReport {
    /// Which.
    pub channel: ChannelId,
    /// Bytes that the local application wrote.
    pub written: u64,
    /// Of them, handed to some link.
    pub sent: u64,
    /// Of them, known to be held by the peer.
    pub held: u64,
    /// Bytes of the peer held here, without a gap.
    pub received: u64,
    /// Of them, taken by the local application.
    pub taken: u64,
}

/// How far a stored channel is at this end (D1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredChannel {
    /// Bytes that the application wrote.
    pub written: u64,
    /// Of them, stored.
    pub written_stored: u64,
    /// Bytes that the application took.
    pub taken: u64,
    /// Of them, such as it is done with.
    pub done: u64,
    /// Of them, such as the store knows of.
    pub done_stored: u64,
    /// What was taken and ends before this may have been delivered to an earlier process.
    pub redelivered_until: u64,
    /// How often a restart point was set in this process.
    pub points: u64,
    /// Of them, stored.
    pub points_stored: u64,
    /// The latest; empty for none, and when the application is done with the message that it was for.
    pub restart_point: Bytes,
}

/// Whether a call was run (C1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Outcome {
    /// The whole reply came.
    Reply,
    /// Certainly not run.
    NotRun,
    /// Run or not: it cannot be known here.
    Unknown,
}

impl Outcome {
    /// Lower-case name.
    pub fn name(self) -> &'static str {
        match self {
            Outcome::Reply => "reply",
            Outcome::NotRun => "not-run",
            Outcome::Unknown => "unknown",
        }
    }
}

/// What was lost with a session, or is left at its close (X6).
#[derive(Debug, Clone)]
pub struct LossReport {
    /// Why.
    pub cause: Error,
    /// Epoch of this end.
    pub epoch: u64,
    /// Every channel that was not finished.
    pub channels: Vec<ChannelReport>,
    /// Calls of this end that had no outcome yet.
    pub calls: Vec<(ChannelId, Outcome)>,
    /// Objects of this end at the peer, which the peer will end.
    pub objects: Vec<ObjectId>,
}
