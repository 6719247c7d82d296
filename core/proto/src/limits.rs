//! Every bound of the protocol, with its reason. A bound that a user may want to change is a field of
//! [`crate::node::NodeOptions`] or of the negotiated [`SessionLimits`]; the others are constants here.

use crate::error::{Code, Error, Result};
use std::time::Duration;

/// Oldest and newest protocol version that this build speaks.
pub const VERSION_MIN: u16 = 1;
/// See [`VERSION_MIN`].
pub const VERSION_MAX: u16 = 1;

/// Body of one frame; large enough for 66 KiB of data, or the table of 2,049 channels, and never more than a
/// receiver must buffer for a peer that is not proven yet.
pub const FRAME_BYTES_MAX: usize = 72 * 1024;
const _: () =
    assert!((2 * 1024 + 1) * 4 * 8 + 128 <= FRAME_BYTES_MAX, "the table of all channels fits a frame");
/// Body of a frame on a link that is not attached; HELLO, REFUSE and small tables need far less.
pub const FRAME_BYTES_MAX_BEFORE_HELLO: usize = 4 * 1024;
/// Data carried by one DATA frame: one system call's worth. A message of 64 KiB fits with its length, so that its
/// reader gets it in one piece.
pub const DATA_BYTES_MAX: usize = 66 * 1024;
/// Received data below this is copied, so that a small message never pins a large read buffer.
pub const SLICE_BYTES_MIN: usize = 4 * 1024;
/// Text in a frame (names, reasons).
pub const TEXT_BYTES_MAX: usize = 255;

/// Credit that every open channel keeps per direction, and that a new channel starts with (X4).
pub const CHANNEL_BASE_BYTES: u64 = 4 * 1024;
/// Window that one channel may grow to beyond its base while the session budget has room.
pub const CHANNEL_WINDOW_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// Window of channel 0, outside the session budget.
pub const CONTROL_WINDOW_BYTES: u64 = 64 * 1024;
/// The length before a message, at most.
pub const MESSAGE_PREFIX_BYTES_MAX: u64 = 8;

/// Of a restart point: it is written anew with each record of its channel.
pub const RESTART_POINT_BYTES_MAX: usize = 64 * 1024;

/// Bytes of a stored channel that its reader may have taken without being done with them: so much comes again at most
/// after its process died, and is in memory then. The peer pauses when it is reached.
pub const UNDONE_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// A link has this long from LinkUp to an accepted HELLO, and again to ATTACH (S4).
pub const ATTACH_TIMEOUT: Duration = Duration::from_secs(10);
/// Ended sids and the highest n of an arbiter are kept this long (S4).
pub const TOMBSTONE_TIME: Duration = Duration::from_secs(60);
/// Ended sessions remembered at most, whatever their age.
pub const TOMBSTONES_MAX: usize = 4096;
/// Links of one session at once; a further one is refused.
pub const LINKS_PER_SESSION_MAX: usize = 16;
/// Link names kept in a session's DEAD set (L2); older ones are dead by their counter.
pub const DEAD_LINKS_MAX: usize = 64;
/// Links that have not attached, per node.
pub const PENDING_LINKS_MAX: usize = 4096;
/// Counted frames that may wait for one LACK before one is sent at once.
pub const LACK_FRAMES: u64 = 32;
/// Bytes that may wait for one LACK before one is sent at once.
pub const LACK_BYTES: u64 = 128 * 1024;
/// A frame with so much data is LACKed at once, while a link is new: the LACKs tell how fast it is.
pub const LACK_AT_ONCE_BYTES: u64 = 1024;
/// .. that is until it gave this.
pub const LACK_AT_ONCE_UNTIL_BYTES: u64 = 1024 * 1024;
/// A LACK waits at most this long for company.
pub const LACK_DELAY: Duration = Duration::from_millis(20);
/// Stream and state frames in flight on one link; more waits for a LACK.
pub const IN_FLIGHT_FRAMES_MAX: usize = 16 * 1024;
/// Bytes handed out in one `Send`: a whole DATA frame and the small ones before it.
pub const SEND_BYTES_MAX: usize = 68 * 1024;
/// Links are renewed after this time or number of records (L6).
pub const RENEW_AFTER: Duration = Duration::from_secs(3600);
/// See [`RENEW_AFTER`].
pub const RENEW_RECORDS: u64 = 1 << 23;
/// How long a retired or ended link may linger to flush.
pub const LINGER: Duration = Duration::from_secs(5);
/// Shortest heartbeat interval.
pub const BEAT_MS_MIN: u64 = 50;
/// Share of the TTL after which an owner stops believing (T2): 80 per cent.
pub const LEASE_PERCENT: u32 = 80;
/// What each session adds to the TTL floor that a node announces: within a lease, 80 per cent of that, all must attach
/// again. A handshake takes a core about 0.7 ms at each end, and both ends may share one.
pub const TTL_FLOOR_PER_SESSION: Duration = Duration::from_millis(4);
/// Longest redial delay, and first step of its doubling, unless the node says otherwise.
pub const REDIAL_MAX: Duration = Duration::from_secs(30);
/// See [`REDIAL_MAX`].
pub const REDIAL_FIRST: Duration = Duration::from_millis(100);
/// A link that was well for a beat is redialled within this time at first.
pub const REDIAL_SOON: Duration = Duration::from_millis(1);
/// Objects of one session.
pub const OBJECTS_MAX: usize = 65_536;
/// What this end itself may have waiting on channel 0; beyond, new objects are refused with `AGAIN`.
pub const CONTROL_BACKLOG_BYTES_MAX: u64 = 1024 * 1024;
/// Tasks kept in a session's history (O1); the oldest are forgotten and counted.
pub const HISTORY_MAX: usize = 256;
/// Data that an owner may leave in an object for its holder.
pub const OBJECT_DATA_BYTES_MAX: usize = 16 * 1024;
/// How long a session is embalmed, unless the node says otherwise.
pub const EMBALM_TIME: Duration = Duration::from_secs(86_400);
/// Embalmed sessions of a node, unless it says otherwise.
pub const EMBALMED_SESSIONS_MAX: usize = 1000;
/// Bytes of all embalmed sessions of a node, unless it says otherwise.
pub const EMBALMED_TOTAL_BYTES_MAX: u64 = 256 * 1024 * 1024;
/// What an object may be embalmed as.
pub const EMBALMED_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Sessions of one node, live or ending.
pub const SESSIONS_MAX: usize = 1_000_000;
/// Addresses of one connector, and addresses that a node announces.
pub const ADDRESSES_MAX: usize = 64;
/// Bulk links that a connector keeps.
pub const BULK_LINKS_MAX: u8 = 8;
/// Standby links that a connector keeps.
pub const STANDBY_LINKS_MAX: u8 = 4;
/// Services, and object kinds, of one node.
pub const SERVICES_MAX: usize = 4096;

/// Limits that an end announces in HELLO and its peer keeps to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionLimits {
    /// Largest message that this end takes.
    pub message_bytes_max: u64,
    /// Bytes that this end buffers for all channels of the session together.
    pub budget_bytes: u64,
    /// Channels that the peer may have open at once.
    pub channels_max: u64,
}

impl Default for SessionLimits {
    fn default() -> Self {
        SessionLimits { message_bytes_max: 16 << 20, budget_bytes: 32 << 20, channels_max: 1024 }
    }
}

impl SessionLimits {
    /// The smallest budget for these limits: one whole message, and the base window of every channel of both
    /// ends.
    pub fn budget_bytes_min(&self) -> u64 {
        self.message_bytes_max.saturating_add(self.channels_max.saturating_mul(2 * CHANNEL_BASE_BYTES))
    }

    /// Budget left for windows beyond the base.
    pub fn elastic_bytes(&self) -> u64 {
        self.budget_bytes.saturating_sub(self.budget_bytes_min())
    }

    /// Checks that the limits are possible together.
    ///
    /// # Errors
    /// `CONFIG` naming the value that does not fit.
    pub fn check(&self) -> Result<()> {
        let bad = |what: String| Err(Error::new(Code::Config, what));
        if !(1..=1 << 32).contains(&self.message_bytes_max) {
            return bad(format!(
                "message_bytes_max is {}, allowed are 1 to 4294967296",
                self.message_bytes_max
            ));
        }
        if !(1..=1024).contains(&self.channels_max) {
            return bad(format!("channels_max is {}, allowed are 1 to 1024", self.channels_max));
        }
        if self.budget_bytes < self.budget_bytes_min() {
            return bad(format!(
                "session_budget_bytes is {}, but message_bytes_max {} and {} channels need at least {}",
                self.budget_bytes,
                self.message_bytes_max,
                self.channels_max,
                self.budget_bytes_min()
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smallest_budget_passes_and_one_byte_less_does_not() {
        let mut limits = SessionLimits { message_bytes_max: 100, budget_bytes: 0, channels_max: 3 };
        limits.budget_bytes = 100 + 2 * 3 * 4096;
        assert!(limits.check().is_ok());
        assert_eq!(limits.elastic_bytes(), 0);
        limits.budget_bytes -= 1;
        assert_eq!(limits.check().unwrap_err().code, Code::Config);
    }
}
