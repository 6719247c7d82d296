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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::Node;
    use crate::options::Options;
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

    static IS_SIGNALLED: AtomicBool = AtomicBool::new(false);
    static ASKED: AtomicUsize = AtomicUsize::new(0);

    fn check() -> bool {
        ASKED.fetch_add(1, Ordering::Relaxed);
        IS_SIGNALLED.load(Ordering::Relaxed)
    }

    #[test]
    fn a_wait_of_a_thread_that_has_a_check_ends_with_interrupted_and_loses_nothing() {
        let home = tempfile::tempdir().unwrap();
        let open = || Node::open(Options::new().home(home.path()).beat_ms(200).ttl_ms(2000)).unwrap();
        let soon = Some(Duration::from_secs(20));
        let (server, client) = (open(), open());
        let address = server.listen("127.0.0.1:0").unwrap().to_string();
        let ours = client.connect(&address, soon).unwrap();
        let theirs = server.accept(soon).unwrap();
        let channel = ours.open("x").unwrap();
        channel.send(b"first", soon).unwrap();
        let other = theirs.accept_channel(soon).unwrap();
        assert_eq!(other.receive(soon).unwrap(), "first");

        set_interrupt_check(Some(check));
        // A reader in the link's seat, a caller of a service that does not answer, one who waits for a peer.
        let code = |error: Error| error.code;
        let short = Some(Duration::from_millis(120));
        assert_eq!(other.receive(short).map_err(code), Err(Code::Timeout));
        assert!(ASKED.load(Ordering::Relaxed) > 0);
        IS_SIGNALLED.store(true, Ordering::Relaxed);
        assert_eq!(other.receive(None).map_err(code), Err(Code::Interrupted));
        assert_eq!(server.accept(None).map_err(code).err(), Some(Code::Interrupted));
        assert_eq!(client.connect("127.0.0.1:1", None).map_err(code).err(), Some(Code::Interrupted));
        set_interrupt_check(None);

        channel.send(b"second", soon).unwrap();
        assert_eq!(other.receive(soon).unwrap(), "second");
    }
}
