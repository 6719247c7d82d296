//! Waiting without the interpreter, and with Ctrl-C.
//!
//! Signals are handled by the main thread alone, between its instructions: there a wait looks up now and then
//! (`clerver::set_interrupt_check`), and what the handler of the signal raised comes out of the wait.

use crate::error::raise;
use clerver::{Code, Result, Wait, set_interrupt_check};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use std::cell::{Cell, RefCell};
use std::time::Duration;

thread_local! {
    static IS_KNOWN: Cell<bool> = const { Cell::new(false) };
    /// What the handler of a signal raised.
    static RAISED: RefCell<Option<PyErr>> = const { RefCell::new(None) };
}

fn has_raised() -> bool {
    Python::try_attach(|py| match py.check_signals() {
        Ok(()) => false,
        Err(why) => {
            RAISED.set(Some(why));
            true
        }
    })
    .unwrap_or(true)
}

fn know_thread(py: Python<'_>) -> PyResult<()> {
    if !IS_KNOWN.replace(true) {
        let threading = py.import("threading")?;
        let main: u64 = threading.call_method0("main_thread")?.getattr("ident")?.extract()?;
        let this: u64 = threading.call_method0("get_ident")?.extract()?;
        set_interrupt_check((main == this).then_some(has_raised as fn() -> bool));
    }
    Ok(())
}

/// Runs what may wait, with the interpreter free for other threads.
pub(crate) fn detached<T: Send>(py: Python<'_>, run: impl Send + FnOnce() -> Result<T>) -> PyResult<T> {
    know_thread(py)?;
    py.detach(run).map_err(|error| match RAISED.take() {
        Some(raised) if error.code == Code::Interrupted => raised,
        _ => raise(py, &error),
    })
}

/// The same for what answers `AGAIN`, and its kin for waits of zero: that is `None`.
pub(crate) fn unless_again<T: Send>(
    py: Python<'_>,
    again: Code,
    run: impl Send + FnOnce() -> Result<T>,
) -> PyResult<Option<T>> {
    detached(py, || match run() {
        Err(error) if error.code == again => Ok(None),
        done => done.map(Some),
    })
}

/// Seconds as a wait; none is for ever.
pub(crate) fn seconds(timeout: Option<f64>) -> PyResult<Wait> {
    let Some(timeout) = timeout else { return Ok(None) };
    if timeout.is_nan() || timeout < 0.0 {
        return Err(PyValueError::new_err(format!("timeout has to be 0 or more seconds, not {timeout}")));
    }
    // What is too long for the type is for ever.
    Ok(Duration::try_from_secs_f64(timeout).ok())
}

/// As `seconds`, where for ever is not allowed: `None` is a day.
pub(crate) fn at_most(timeout: Option<f64>) -> PyResult<Duration> {
    Ok(seconds(timeout)?.unwrap_or(Duration::from_secs(86_400)))
}
