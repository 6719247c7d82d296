//! The native half of the npm package `clerver`.

use napi_derive::napi;

/// Version of the library.
#[napi]
pub fn version() -> &'static str {
    env!("CARGO_PKG_VERSION")
}
