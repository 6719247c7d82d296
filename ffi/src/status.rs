//! Status numbers, and what can be asked about one.
//!
//! The numbers are those of the error table of the protocol, negated; a test compares them.

use crate::boundary::{c_text, last_texts, value_or};
use clerver::{Class, Code};
use std::collections::BTreeMap;
use std::ffi::{CString, c_char};
use std::sync::OnceLock;

/// Result of a function: 0 is success, everything else is one of the CLV_E_ numbers, all negative.
///
/// A number is never reused. Programs decide by the number or by its class (`clv_status_class`); people read
/// `clv_last_error` and `clv_last_remedy`.
pub type clv_status = i32;

/// Success.
pub const CLV_OK: clv_status = 0;
/// The time allowed ran out; the operation may still take effect. Class retry.
pub const CLV_E_TIMEOUT: clv_status = -1;
/// Would block: no room, or nothing there yet. Class again.
pub const CLV_E_AGAIN: clv_status = -2;
/// No address of the peer could be reached. Class retry.
pub const CLV_E_UNREACHABLE: clv_status = -3;
/// A host name could not be resolved. Class retry.
pub const CLV_E_RESOLVE: clv_status = -4;
/// The peer is too busy to take this on. Class retry.
pub const CLV_E_BUSY: clv_status = -5;
/// The node is draining and takes no new work. Class retry.
pub const CLV_E_DRAINING: clv_status = -6;
/// A link broke; the session itself may live on. Class retry.
pub const CLV_E_LINK_FAILED: clv_status = -7;
/// The call was certainly not run by the peer. Class retry.
pub const CLV_E_NOT_RUN: clv_status = -8;
/// The operation was cancelled by its caller. Class retry.
pub const CLV_E_CANCELLED: clv_status = -9;
/// The wait was interrupted by a signal. Class retry.
pub const CLV_E_INTERRUPTED: clv_status = -10;
/// It is queued, and not known to be stored yet: it must not be sent again. Class retry.
pub const CLV_E_UNCONFIRMED: clv_status = -11;
/// The store cannot take anything now: its disk is full or fails. Class retry.
pub const CLV_E_STORE: clv_status = -12;
/// The peer's host id is not trusted here. Class denied.
pub const CLV_E_DENIED: clv_status = -20;
/// The peer's host id is on the block list. Class denied.
pub const CLV_E_BLOCKED: clv_status = -21;
/// The peer is not who it should be: its key changed or is not the one asked for. Class denied.
pub const CLV_E_WRONG_IDENTITY: clv_status = -22;
/// Another node answers at this address. Class denied.
pub const CLV_E_WRONG_NODE: clv_status = -23;
/// The proof that an end belongs to a session is wrong. Class denied.
pub const CLV_E_BAD_PROOF: clv_status = -24;
/// The two sides speak no common version. Class denied.
pub const CLV_E_VERSION: clv_status = -25;
/// The peer's level is below what the service, object kind or listener asks. Class denied.
pub const CLV_E_LEVEL: clv_status = -26;
/// A key or trust file cannot be used as it is. Class denied.
pub const CLV_E_KEY_FILE: clv_status = -27;
/// The clocks differ by more than max_skew allows. Class denied.
pub const CLV_E_SKEW: clv_status = -28;
/// A HELLO was replayed from another link. Class denied.
pub const CLV_E_REPLAYED: clv_status = -29;
/// Continuity is broken: the peer is gone or forgot the session. Class lost.
pub const CLV_E_LOST: clv_status = -40;
/// The object was closed in good order. Class lost.
pub const CLV_E_CLOSED: clv_status = -41;
/// The peer ended this direction before its end. Class lost.
pub const CLV_E_RESET: clv_status = -42;
/// The peers' counts do not fit each other: data is missing. Class lost.
pub const CLV_E_DISCONTINUITY: clv_status = -43;
/// It cannot be known whether the call was run. Class lost.
pub const CLV_E_UNKNOWN: clv_status = -44;
/// A newer epoch of the same end took over. Class lost.
pub const CLV_E_FENCED: clv_status = -45;
/// The channel has no more data: the peer ended it. Class lost.
pub const CLV_E_END: clv_status = -46;
/// The peer stopped reading this channel. Class lost.
pub const CLV_E_STOPPED: clv_status = -47;
/// The call ran and its handler reported a failure. Class lost.
pub const CLV_E_CALL_FAILED: clv_status = -48;
/// The session was replaced by a newer one of the same host and name. Class lost.
pub const CLV_E_REPLACED: clv_status = -49;
/// No such handle, or one that has ended. Class misuse.
pub const CLV_E_HANDLE: clv_status = -60;
/// An argument is not valid. Class misuse.
pub const CLV_E_ARG: clv_status = -61;
/// A node cannot pair with itself. Class misuse.
pub const CLV_E_SELF: clv_status = -62;
/// The address, store or name is in use by another process. Class misuse.
pub const CLV_E_IN_USE: clv_status = -63;
/// Not possible in this state. Class misuse.
pub const CLV_E_STATE: clv_status = -64;
/// The peer offers no such service. Class misuse.
pub const CLV_E_NO_SERVICE: clv_status = -65;
/// A blocking call from inside a callback, or on a driving thread. Class misuse.
pub const CLV_E_IN_CALLBACK: clv_status = -66;
/// The handle belongs to the process before fork. Class misuse.
pub const CLV_E_FORKED: clv_status = -67;
/// A configuration value is not valid. Class misuse.
pub const CLV_E_CONFIG: clv_status = -68;
/// Text is not valid UTF-8. Class misuse.
pub const CLV_E_ENCODING: clv_status = -69;
/// The options differ from those of the session that is shared. Class misuse.
pub const CLV_E_MISMATCH: clv_status = -70;
/// This feature is parsed but not built yet. Class misuse.
pub const CLV_E_UNSUPPORTED: clv_status = -71;
/// `handle` was called before `poll` answered `None`. Class misuse.
pub const CLV_E_NOT_DRAINED: clv_status = -72;
/// The object is poisoned or dead. Class misuse.
pub const CLV_E_POISONED: clv_status = -73;
/// A message or frame is larger than its limit. Class limit.
pub const CLV_E_SIZE: clv_status = -80;
/// A stated limit is reached. Class limit.
pub const CLV_E_LIMIT: clv_status = -81;
/// The peer takes no further channel now. Class limit.
pub const CLV_E_CHANNELS: clv_status = -82;
/// A peer was admitted too often or too slowly. Class limit.
pub const CLV_E_ADMISSION: clv_status = -83;
/// The peer broke the protocol. Class bug.
pub const CLV_E_PROTOCOL: clv_status = -100;
/// A defect in Clerver. Class bug.
pub const CLV_E_BUG: clv_status = -101;
/// The operating system refused something it should not. Class bug.
pub const CLV_E_SYSTEM: clv_status = -102;

/// What a program should do about a status. 0 for CLV_OK and for numbers that this version does not know.
pub type clv_class = i32;

/// The same request may work later; nothing is lost.
pub const CLV_CLASS_RETRY: clv_class = 1;
/// Would block: wait for the event that says there is room, or data, then ask again.
pub const CLV_CLASS_AGAIN: clv_class = 2;
/// Somebody decided against it: trust, identity or authority.
pub const CLV_CLASS_DENIED: clv_class = 3;
/// Continuity is broken; what may be missing is reported.
pub const CLV_CLASS_LOST: clv_class = 4;
/// The request was wrong for this object or moment.
pub const CLV_CLASS_MISUSE: clv_class = 5;
/// A stated limit is reached.
pub const CLV_CLASS_LIMIT: clv_class = 6;
/// A defect in Clerver or in the peer's implementation.
pub const CLV_CLASS_BUG: clv_class = 7;

/// Major, minor and patch version of this header.
pub const CLV_VERSION_MAJOR: u32 = 0;
/// See CLV_VERSION_MAJOR.
pub const CLV_VERSION_MINOR: u32 = 1;
/// See CLV_VERSION_MAJOR.
pub const CLV_VERSION_PATCH: u32 = 0;

fn code_of(status: clv_status) -> Option<Code> {
    u16::try_from(status.checked_neg()?).ok().and_then(Code::from_number)
}

/// One line about a status, such as "TIMEOUT: allow more time, or ..". Never NULL.
///
/// The text is static. Any thread; does not block. For what happened, with whom and why, see
/// `clv_last_error`.
#[unsafe(no_mangle)]
pub extern "C" fn clv_strerror(status: clv_status) -> *const c_char {
    static TEXTS: OnceLock<BTreeMap<u16, CString>> = OnceLock::new();
    value_or(c"unknown status".as_ptr(), || {
        let texts = TEXTS.get_or_init(|| {
            let text = |code: &Code| (*code as u16, c_text(&format!("{}: {}", code.name(), code.remedy())));
            Code::ALL.iter().map(text).collect()
        });
        match code_of(status) {
            Some(code) => texts[&(code as u16)].as_ptr(),
            None if status == CLV_OK => c"OK".as_ptr(),
            None => c"unknown status".as_ptr(),
        }
    })
}

/// The class of a status, one of CLV_CLASS_..; 0 for CLV_OK and unknown numbers. Any thread; does not block.
#[unsafe(no_mangle)]
pub extern "C" fn clv_status_class(status: clv_status) -> clv_class {
    match code_of(status).map(Code::class) {
        None => 0,
        Some(Class::Retry) => CLV_CLASS_RETRY,
        Some(Class::Again) => CLV_CLASS_AGAIN,
        Some(Class::Denied) => CLV_CLASS_DENIED,
        Some(Class::Lost) => CLV_CLASS_LOST,
        Some(Class::Misuse) => CLV_CLASS_MISUSE,
        Some(Class::Limit) => CLV_CLASS_LIMIT,
        Some(Class::Bug) => CLV_CLASS_BUG,
    }
}

/// What the last function that failed on this thread was doing, with whom, and what happened. Never NULL; ""
/// before the first failure.
///
/// The text belongs to the library and is valid until the next function fails on this thread. Does not block.
#[unsafe(no_mangle)]
pub extern "C" fn clv_last_error() -> *const c_char {
    last_texts().0
}

/// What a person can do about the last failure on this thread. Never NULL. Lifetime as of `clv_last_error`.
#[unsafe(no_mangle)]
pub extern "C" fn clv_last_remedy() -> *const c_char {
    last_texts().1
}

/// Version of the library that runs: major * 1000000 + minor * 1000 + patch. Compare it with the
/// CLV_VERSION_.. of the header. Any thread; does not block.
#[unsafe(no_mangle)]
pub extern "C" fn clv_version_number() -> u32 {
    CLV_VERSION_MAJOR * 1_000_000 + CLV_VERSION_MINOR * 1_000 + CLV_VERSION_PATCH
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Names and numbers of the constants above, as this file says them.
    fn constants() -> BTreeMap<String, i32> {
        let lines = include_str!("status.rs").lines();
        let parse = |line: &str| {
            let rest = line.strip_prefix("pub const CLV_E_")?;
            let (name, rest) = rest.split_once(": clv_status = ")?;
            Some((name.to_owned(), rest.trim_end_matches(';').parse().ok()?))
        };
        lines.filter_map(parse).collect()
    }

    #[test]
    fn the_constants_are_those_of_the_table() {
        let table = Code::ALL.iter().map(|code| (code.name().to_owned(), -(*code as i32))).collect();
        assert_eq!(constants(), table);
    }

    #[test]
    fn every_status_has_a_text_and_a_class_and_strange_numbers_too() {
        // SAFETY: the texts are static.
        let text = |status| unsafe { std::ffi::CStr::from_ptr(clv_strerror(status)) }.to_str().unwrap();
        for code in Code::ALL {
            let status = -(*code as i32);
            assert!(text(status).starts_with(code.name()) && clv_status_class(status) != 0);
        }
        assert_eq!((text(CLV_OK), clv_status_class(CLV_OK)), ("OK", 0));
        for strange in [1, -9999, i32::MIN, i32::MAX] {
            assert_eq!((text(strange), clv_status_class(strange)), ("unknown status", 0));
        }
    }

    #[test]
    fn the_version_is_that_of_the_package() {
        let package = env!("CARGO_PKG_VERSION");
        assert_eq!(package, format!("{CLV_VERSION_MAJOR}.{CLV_VERSION_MINOR}.{CLV_VERSION_PATCH}"));
    }
}
