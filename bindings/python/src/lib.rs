//! The native half of the Python package `clerver`.

use pyo3::prelude::*;

#[pymodule]
fn _clerver(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("__version__", env!("CARGO_PKG_VERSION"))
}
