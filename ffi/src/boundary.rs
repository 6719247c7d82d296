//! The edge between C and Rust: what every entry goes through, and the last error of each thread.

use crate::status::{CLV_E_BUG, CLV_OK, clv_status};
use clerver::{Code, Error, Result};
use std::cell::RefCell;
use std::ffi::{CString, c_char};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Texts of the last failure on this thread.
#[derive(Default)]
struct LastError {
    message: CString,
    remedy: CString,
}

thread_local! {
    static LAST: RefCell<LastError> = RefCell::default();
}

/// Text for C: what it cannot hold is left out.
pub(crate) fn c_text(text: &str) -> CString {
    CString::new(text.replace('\0', "")).unwrap_or_default()
}

/// The number that C sees.
pub(crate) fn status_of(code: Code) -> clv_status {
    -clv_status::from(code as u16)
}

/// Keeps an error for `clv_last_error` and answers its number.
pub(crate) fn fail(error: &Error) -> clv_status {
    let (message, remedy) = (c_text(&error.message), c_text(error.remedy()));
    // A thread that is ending has no last error any more.
    let _ = LAST.try_with(|last| *last.borrow_mut() = LastError { message, remedy });
    status_of(error.code)
}

/// Runs the body of an entry: a panic in it is a bug of ours, and never leaves this function.
pub(crate) fn enter(body: impl FnOnce() -> Result<()>) -> clv_status {
    match catch_unwind(AssertUnwindSafe(body)) {
        Ok(Ok(())) => CLV_OK,
        Ok(Err(error)) => fail(&error),
        Err(panic) => {
            let text = panic.downcast_ref::<&str>().map(ToString::to_string);
            let text = text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
            let error = Error::new(Code::Bug, format!("a panic inside Clerver: {text}"));
            let status = fail(&error);
            debug_assert_eq!(status, CLV_E_BUG);
            status
        }
    }
}

/// As `enter`, for entries that answer a value.
pub(crate) fn value_or<T>(fallback: T, body: impl FnOnce() -> T) -> T {
    catch_unwind(AssertUnwindSafe(body)).unwrap_or(fallback)
}

/// The message and remedy of the last failure.
pub(crate) fn last_texts() -> (*const c_char, *const c_char) {
    let texts = LAST.try_with(|last| {
        let last = last.borrow();
        (last.message.as_ptr(), last.remedy.as_ptr())
    });
    texts.unwrap_or((c"".as_ptr(), c"".as_ptr()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_the_bug_status_and_its_text_is_kept() {
        assert_eq!(enter(|| panic!("as the test wants")), CLV_E_BUG);
        let (message, _) = last_texts();
        // SAFETY: the text is this thread's and lives until its next failure.
        let message = unsafe { std::ffi::CStr::from_ptr(message) }.to_str().unwrap().to_owned();
        assert!(message.contains("as the test wants"), "{message}");
    }

    #[test]
    fn a_text_with_a_null_inside_is_still_a_text() {
        fail(&Error::new(Code::Argument, "a\0b"));
        // SAFETY: as above.
        let message = unsafe { std::ffi::CStr::from_ptr(last_texts().0) };
        assert_eq!(message, c"ab");
    }
}
