//! Bytes in and out.
//!
//! `bytes` objects come in without a copy: the library holds them. Whatever else has a buffer may change while it is
//! sent, and is copied first. Out go `bytes`, by one copy, or a view of the library's own memory.

use bytes::Bytes;
use pyo3::buffer::PyBuffer;
use pyo3::exceptions::{PyBufferError, PyTypeError};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::{PyBytes, PyMemoryView, PyString};
use std::ffi::c_int;

/// Smaller data is copied, which is cheaper than to hold an object.
const HELD_BYTES_MIN: usize = 4 * 1024;

/// What the program gave.
pub(crate) enum Given {
    Held(PyBackedBytes),
    Copied(Vec<u8>),
}

impl Given {
    pub(crate) fn new(given: &Bound<'_, PyAny>) -> PyResult<Given> {
        if let Ok(bytes) = given.cast::<PyBytes>() {
            return Ok(Given::Held(bytes.clone().into()));
        }
        if given.is_instance_of::<PyString>() {
            return Err(PyTypeError::new_err("a bytes-like object is required, not 'str': encode it first"));
        }
        let py = given.py();
        if let Ok(buffer) = PyBuffer::<u8>::get(given) {
            return Ok(Given::Copied(buffer.to_vec(py)?));
        }
        let name = given.get_type().qualname()?;
        let view = PyMemoryView::from(given)
            .map_err(|_| PyTypeError::new_err(format!("a bytes-like object is required, not '{name}'")))?;
        Ok(Given::Copied(view.call_method0("tobytes")?.extract()?))
    }

    pub(crate) fn is_small(&self) -> bool {
        self.as_ref().len() < HELD_BYTES_MIN
    }

    pub(crate) fn into_bytes(self) -> Bytes {
        match self {
            Given::Held(bytes) if bytes.len() < HELD_BYTES_MIN => Bytes::copy_from_slice(&bytes),
            Given::Held(bytes) => Bytes::from_owner(bytes),
            Given::Copied(bytes) => bytes.into(),
        }
    }
}

impl AsRef<[u8]> for Given {
    fn as_ref(&self) -> &[u8] {
        match self {
            Given::Held(bytes) => bytes,
            Given::Copied(bytes) => bytes,
        }
    }
}

/// Memory of the library that Python sees through a `memoryview`, read-only.
#[pyclass(frozen, module = "clerver._clerver")]
pub(crate) struct Data(Bytes);

#[pymethods]
impl Data {
    unsafe fn __getbuffer__(slf: Bound<'_, Self>, view: *mut ffi::Py_buffer, flags: c_int) -> PyResult<()> {
        if flags & ffi::PyBUF_WRITABLE == ffi::PyBUF_WRITABLE {
            return Err(PyBufferError::new_err("received data is read-only"));
        }
        let (data, len) = (slf.get().0.as_ptr(), slf.get().0.len());
        let len = isize::try_from(len).map_err(|_| PyBufferError::new_err("too large"))?;
        // SAFETY: `view` is the interpreter's; the memory lives as long as this object, which the view keeps.
        let filled =
            unsafe { ffi::PyBuffer_FillInfo(view, slf.as_ptr(), data.cast_mut().cast(), len, 1, flags) };
        if filled == 0 { Ok(()) } else { Err(PyErr::fetch(slf.py())) }
    }
}

/// A `memoryview` of received data.
pub(crate) fn view(py: Python<'_>, data: Bytes) -> PyResult<Bound<'_, PyMemoryView>> {
    PyMemoryView::from(Bound::new(py, Data(data))?.as_any())
}
