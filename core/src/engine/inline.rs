//! Threads that must not wait, because the node waits for them.

use std::cell::Cell;

thread_local! {
    static IS_INLINE: Cell<bool> = const { Cell::new(false) };
}

/// Says, until it is dropped, that this thread must not wait.
pub(super) struct Inline(bool);

impl Inline {
    pub(super) fn enter() -> Inline {
        Inline(IS_INLINE.replace(true))
    }
}

impl Drop for Inline {
    fn drop(&mut self) {
        IS_INLINE.set(self.0);
    }
}

/// Whether this thread must not wait: it drives sockets, or runs a handler in the place of the thread that
/// does.
pub(crate) fn is_inline() -> bool {
    IS_INLINE.get()
}
