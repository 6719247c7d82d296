//! What a program gives along with its callbacks.

use std::ffi::c_void;

/// Frees what a program gave along with callbacks; NULL when there is nothing to free.
pub type clv_drop = Option<unsafe extern "C" fn(user: *mut c_void)>;

/// The program's pointer, whose `drop` runs exactly once: when the last callback that may see it is gone.
pub(crate) struct User {
    pointer: *mut c_void,
    drop: clv_drop,
}

// SAFETY: the library only hands the pointer back. The header says that callbacks run on threads of the
// library, beside each other.
unsafe impl Send for User {}
// SAFETY: as above.
unsafe impl Sync for User {}

impl User {
    pub(crate) fn new(pointer: *mut c_void, drop: clv_drop) -> User {
        User { pointer, drop }
    }

    pub(crate) fn pointer(&self) -> *mut c_void {
        self.pointer
    }
}

impl Drop for User {
    fn drop(&mut self) {
        if let Some(drop) = self.drop.take() {
            // SAFETY: the program gave both for this.
            unsafe { drop(self.pointer) };
        }
    }
}
