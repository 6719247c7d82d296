//! Waits that something else can end: a signal, for a program whose language handles signals on the thread that waits.
//!
//! Not here: what a signal is. A binding knows, and says it with a function for the thread that waits.
//!
//! Invariants: the function runs without any lock of ours held; a wait that is over, or answered, does not ask it.

use super::clock;
use clerver_proto::error::{Code, Error, Result};
use clerver_proto::time::Instant;
use std::cell::Cell;
use std::time::Duration;

/// A thread that waits asks this often.
const PERIOD: Duration = Duration::from_millis(50);

thread_local! {
    static CHECK: Cell<Option<fn() -> bool>> = const { Cell::new(None) };
}

/// From now on every wait of this thread in Clerver asks `check` at least every 100 ms, with no lock held, and ends
/// with `INTERRUPTED` when it answers true; nothing is lost then, as after a time-out. `None` ends that. For bindings
/// to languages in which signals are handled between instructions of the program.
pub fn set_interrupt_check(check: Option<fn() -> bool>) {
    CHECK.set(check);
}

/// When the wait of this thread, which lasts until `until`, has to look up.
pub(super) fn next_look(now: Instant, until: Instant) -> Instant {
    if CHECK.get().is_some() { until.min(now + PERIOD) } else { until }
}

/// Looks up, if it is time.
///
/// Errors: `INTERRUPTED`.
pub(super) fn look(next_look: Instant, until: Instant) -> Result<()> {
    match CHECK.get() {
        Some(check) if next_look < until && clock::now() >= next_look && check() => {
            Err(Error::new(Code::Interrupted, "wait: the program was interrupted by a signal"))
        }
        _ => Ok(()),
    }
}
