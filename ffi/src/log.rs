//! The log of a node.

use crate::boundary::{c_text, enter};
use crate::node::node_of;
use crate::noun::clv_node;
use crate::raw;
use crate::status::clv_status;
use crate::user::{User, clv_drop};
use clerver::LogLevel;
use std::ffi::{c_char, c_void};

/// How important a log line is; a lower number is more important.
pub type clv_log_level = i32;

/// Something failed and will not mend itself.
pub const CLV_LOG_ERROR: clv_log_level = 1;
/// Somebody should look at it.
pub const CLV_LOG_WARN: clv_log_level = 2;
/// What an operator wants to see.
pub const CLV_LOG_INFO: clv_log_level = 3;
/// What a developer wants to see.
pub const CLV_LOG_DEBUG: clv_log_level = 4;

/// Gets one line, without a newline; it is valid until the function returns.
pub type clv_log_fn =
    Option<unsafe extern "C" fn(user: *mut c_void, level: clv_log_level, line: *const c_char)>;

fn level_of(level: clv_log_level) -> Option<LogLevel> {
    Some(match level {
        CLV_LOG_ERROR => LogLevel::Error,
        CLV_LOG_WARN => LogLevel::Warn,
        CLV_LOG_INFO => LogLevel::Info,
        CLV_LOG_DEBUG => LogLevel::Debug,
        _ => return None,
    })
}

fn number_of(level: LogLevel) -> clv_log_level {
    match level {
        LogLevel::Error => CLV_LOG_ERROR,
        LogLevel::Warn => CLV_LOG_WARN,
        LogLevel::Info => CLV_LOG_INFO,
        LogLevel::Debug => CLV_LOG_DEBUG,
    }
}

/// Sends log lines of this level and more important ones to `log`, in order and one at a time, on a thread of
/// the library; replaces the function set before. Lines beyond 1,024 waiting ones are dropped and counted.
///
/// `drop` (may be NULL) frees `user`, exactly once, when the function is replaced, the node is closed, or
/// this function fails. Any thread; does not block. Errors: CLV_E_ARG; CLV_E_HANDLE.
///
/// # Safety
/// The functions may be called on any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn clv_log_set(
    node: clv_node,
    level: clv_log_level,
    log: clv_log_fn,
    user: *mut c_void,
    drop: clv_drop,
) -> clv_status {
    let user = User::new(user, drop);
    enter(move || {
        let node = node_of(node)?;
        let log = log.ok_or_else(|| raw::bad("log", "is NULL"))?;
        let level = level_of(level).ok_or_else(|| raw::bad("level", "is none of CLV_LOG_.."))?;
        node.set_log(level, move |level, line| {
            let line = c_text(line);
            // SAFETY: the program gave them for this; the line lives as long as the call.
            unsafe { log(user.pointer(), number_of(level), line.as_ptr()) }
        });
        Ok(())
    })
}
