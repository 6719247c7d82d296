//! The C face of Clerver. The reference is the header, `include/clerver.h`, which is made from this crate.
//!
//! One file per noun, and in each of them conversions and nothing else: a C function reads its arguments
//! (`raw`), finds what its handle stands for (`handle`), asks the Rust API, and writes its outputs.
//!
//! Invariants: every entry runs inside `boundary::enter`, which catches panics and keeps the error for
//! `clv_last_error`; outputs are written on success only; no handle is ever dereferenced, it is looked up; no
//! user code runs while a lock of this crate is held.
#![allow(non_camel_case_types, reason = "the names are those of the C header")]

pub mod address;
mod boundary;
pub mod buffer;
pub mod call;
pub mod channel;
pub mod connecting;
pub mod descriptor;
pub mod event;
mod handle;
pub mod log;
pub mod node;
pub mod noun;
pub mod object;
pub mod options;
mod raw;
pub mod report;
pub mod service;
pub mod session;
pub mod state;
pub mod status;
pub mod user;
