//! Errors of the library as exceptions of the package, and exceptions of callbacks as errors.

use clerver::{Code, Error};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;

/// `clerver.errors.make`, which knows the class of each code.
static MAKE: PyOnceLock<Py<PyAny>> = PyOnceLock::new();

/// Name, number, class and remedy of every code.
pub(crate) fn codes() -> Vec<(&'static str, u16, &'static str, &'static str)> {
    let row = |code: &Code| (code.name(), *code as u16, code.class().name(), code.remedy());
    Code::ALL.iter().map(row).collect()
}

/// The exception for an error.
pub(crate) fn raise(py: Python<'_>, error: &Error) -> PyErr {
    let make = || {
        let make = MAKE
            .get_or_try_init(py, || Ok::<_, PyErr>(py.import("clerver.errors")?.getattr("make")?.unbind()))?;
        make.call1(py, (error.code.name(), error.message.as_str(), error.remedy()))
    };
    match make() {
        Ok(exception) => PyErr::from_value(exception.into_bound(py)),
        Err(why) => why,
    }
}

/// The same for a result.
pub(crate) fn check<T>(py: Python<'_>, result: clerver::Result<T>) -> PyResult<T> {
    result.map_err(|error| raise(py, &error))
}

/// What the peer is told of an exception in a callback: its type and text, of a `CallFailed` the text alone. Codes that
/// say that the call was not run stay.
pub(crate) fn of_exception(py: Python<'_>, exception: &PyErr) -> Error {
    let value = exception.value(py);
    let name = value.get_type().qualname().map_or_else(|_| "Exception".to_owned(), |name| name.to_string());
    let text = value.str().map_or_else(|_| String::new(), |text| text.to_string_lossy().into_owned());
    let code = value.getattr("code").and_then(|code| code.extract::<String>()).ok();
    let kept = [Code::CallFailed, Code::NotRun, Code::Busy, Code::Denied];
    match kept.into_iter().find(|kept| code.as_deref() == Some(kept.name())) {
        Some(code) => Error::new(code, text),
        None if text.is_empty() => Error::new(Code::CallFailed, name),
        None => Error::new(Code::CallFailed, format!("{name}: {text}")),
    }
}

/// The error of a callback that cannot run any more.
pub(crate) fn interpreter_ended() -> Error {
    Error::new(Code::NotRun, "the Python interpreter of this process has ended")
}
