//! Where a thread waits for what JavaScript says of an object.

use parking_lot::{Condvar, Mutex};
use std::collections::VecDeque;
use std::time::Duration;

/// How often one who waits looks whether it still makes sense.
pub(crate) const TURN: Duration = Duration::from_millis(50);

/// A queue with one reader.
pub(crate) struct Slot<T> {
    said: Mutex<VecDeque<T>>,
    bell: Condvar,
}

impl<T> Slot<T> {
    pub(crate) fn new() -> Slot<T> {
        Slot { said: Mutex::default(), bell: Condvar::new() }
    }

    pub(crate) fn say(&self, what: T) {
        self.said.lock().push_back(what);
        self.bell.notify_one();
    }

    /// What was said, or nothing within a turn.
    pub(crate) fn hear(&self) -> Option<T> {
        let mut said = self.said.lock();
        if said.is_empty() {
            self.bell.wait_for(&mut said, TURN);
        }
        said.pop_front()
    }
}
