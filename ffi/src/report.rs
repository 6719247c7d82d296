//! Structs that tell what was counted or left: plain numbers, made larger only at their end.

use crate::raw::{Versioned, fixed};
use crate::status::clv_status;
use clerver::{ChannelReport, Counters, Undelivered};
use std::ffi::c_char;

/// Counts of one channel, in bytes: written >= sent >= held. A message counts a few bytes more than its own.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct clv_channel_report {
    /// sizeof(clv_channel_report), set by whoever made the struct.
    pub struct_size: usize,
    /// The channel's number, the same at both ends.
    pub channel: u64,
    /// Written here.
    pub written: u64,
    /// Of them, handed to some connection.
    pub sent: u64,
    /// Of them, known to be held by the peer.
    pub held: u64,
    /// Of the peer, held here without a gap.
    pub received: u64,
    /// Of them, taken by the program.
    pub taken: u64,
}

// SAFETY: numbers alone, the size first.
unsafe impl Versioned for clv_channel_report {}

impl From<&ChannelReport> for clv_channel_report {
    fn from(report: &ChannelReport) -> clv_channel_report {
        clv_channel_report {
            struct_size: size_of::<clv_channel_report>(),
            channel: report.channel.0,
            written: report.written,
            sent: report.sent,
            held: report.held,
            received: report.received,
            taken: report.taken,
        }
    }
}

/// What was lost with a session, or left at its close.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct clv_loss {
    /// sizeof(clv_loss): begin with CLV_LOSS_INIT.
    pub struct_size: usize,
    /// Why it ended: CLV_E_CLOSED in good order.
    pub cause: clv_status,
    /// Always 0.
    pub reserved: i32,
    /// Channels that were not finished.
    pub channels: u64,
    /// Calls of this end without an outcome before, that had run.
    pub calls_run: u64,
    /// Such calls that certainly had not run.
    pub calls_not_run: u64,
    /// Such calls of which it cannot be known.
    pub calls_unknown: u64,
    /// Objects of this end at the peer, which the peer ends.
    pub objects: u64,
    /// The cause for people, cut to fit.
    pub text: [c_char; 512],
}

// SAFETY: numbers alone, the size first.
unsafe impl Versioned for clv_loss {}

/// What was left when a drain or close ended.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct clv_leftovers {
    /// sizeof(clv_leftovers): begin with CLV_LEFTOVERS_INIT.
    pub struct_size: usize,
    /// Channels with data that the peer does not hold.
    pub channels: u64,
    /// Bytes of them that the peer does not hold.
    pub bytes: u64,
    /// Handlers and callbacks that had not returned. What they use is leaked, not freed.
    pub running: u64,
    /// Their names for people, with commas, cut to fit.
    pub text: [c_char; 512],
}

// SAFETY: numbers alone, the size first.
unsafe impl Versioned for clv_leftovers {}

impl clv_leftovers {
    pub(crate) fn new(undelivered: &[Undelivered], running: &[String]) -> clv_leftovers {
        let missing = |left: &Undelivered| left.channel.written.saturating_sub(left.channel.held);
        clv_leftovers {
            struct_size: size_of::<clv_leftovers>(),
            channels: undelivered.len() as u64,
            bytes: undelivered.iter().map(missing).sum(),
            running: running.len() as u64,
            text: fixed(&running.join(", ")),
        }
    }
}

/// Counts of a node since its start, and gauges of now.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct clv_counters {
    /// sizeof(clv_counters): begin with CLV_COUNTERS_INIT.
    pub struct_size: usize,
    /// Sessions not forgotten.
    pub sessions: u64,
    /// Connections, attached to a session or not.
    pub links: u64,
    /// Connections refused, by either side.
    pub refused: u64,
    /// Bytes handed to connections.
    pub bytes_sent: u64,
    /// Bytes that came from connections.
    pub bytes_received: u64,
    /// Bytes handed to a connection a second time.
    pub bytes_repeated: u64,
    /// Bytes that came twice and were dropped.
    pub bytes_duplicate: u64,
    /// Objects that exist here.
    pub objects: u64,
    /// Timers that stand.
    pub timers: u64,
    /// Bytes kept for sending and for reading.
    pub buffered: u64,
}

// SAFETY: numbers alone, the size first.
unsafe impl Versioned for clv_counters {}

impl From<&Counters> for clv_counters {
    fn from(counters: &Counters) -> clv_counters {
        clv_counters {
            struct_size: size_of::<clv_counters>(),
            sessions: counters.sessions,
            links: counters.links,
            refused: counters.refused,
            bytes_sent: counters.bytes_sent,
            bytes_received: counters.bytes_received,
            bytes_repeated: counters.bytes_repeated,
            bytes_duplicate: counters.bytes_duplicate,
            objects: counters.objects,
            timers: counters.timers,
            buffered: counters.buffered,
        }
    }
}
