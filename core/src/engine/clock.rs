//! The only reader of time in Clerver: a clock that counts sleep, and the wall clock.
//!
//! Not a timer: waiting is done by the timer descriptor of a shard and by condition variables, and both look
//! here again afterwards, because their own clocks may stand still while the machine sleeps.

use super::descriptor;
use clerver_proto::time::Instant;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Now, on the clock that counts sleep (CLOCK_BOOTTIME).
pub(crate) fn now() -> Instant {
    Instant(descriptor::boot_time_nanos())
}

/// The wall clock in milliseconds since 1970; 0 before that.
pub(crate) fn wall_ms() -> u64 {
    #[expect(clippy::disallowed_methods, reason = "this is the one place that reads the wall clock")]
    let now = SystemTime::now();
    now.duration_since(UNIX_EPOCH).map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// When a wait that begins now ends; never for `None`.
pub(crate) fn deadline(wait: Option<Duration>) -> Instant {
    wait.map_or(Instant::NEVER, |wait| now() + wait)
}
