//! The sans-IO heart of Clerver: wire format and state machines.
#![forbid(unsafe_code)]

mod address;
pub mod channel;
pub mod crypto;
pub mod error;
pub mod id;
pub mod io;
pub mod limits;
pub mod node;
pub mod object;
pub mod options;
mod session;
pub mod small_map;
mod sorted;
pub mod store;
pub mod time;
pub mod wire;
