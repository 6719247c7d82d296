//! The native half of the Python package `clerver`: handles, waits and callbacks, one to one as in the Rust API.
//!
//! What a Python programmer writes against is in `python/clerver`, which wraps these classes. Invariants: nothing waits
//! with the interpreter attached; no panic and no Python exception of a callback goes further than its caller; whatever
//! is dropped here takes no lock that waits for the interpreter.

mod call;
mod channel;
mod data;
mod error;
mod event;
mod node;
mod object;
mod session;
mod wait;

use pyo3::prelude::*;

#[pymodule]
fn _clerver(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    module.add("OPENSSL_VERSION", openssl::version::version())?;
    module.add("EMBALMED_BYTES_MAX", clerver::EMBALMED_BYTES_MAX)?;
    module.add("CODES", error::codes())?;
    module.add_class::<node::Node>()?;
    module.add_class::<node::Connecting>()?;
    module.add_class::<session::Session>()?;
    module.add_class::<channel::Channel>()?;
    module.add_class::<channel::StoredMark>()?;
    module.add_class::<call::Call>()?;
    module.add_class::<call::CallContext>()?;
    module.add_class::<call::DeferredReply>()?;
    module.add_class::<data::Data>()?;
    Ok(())
}
