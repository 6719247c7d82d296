//! What a user relies on, with real processes, real sockets and a proxy that breaks them.
//!
//! Every test has its own processes, homes and ports, and waits for events only. Where the promise speaks of a minute
//! the test takes a multiple of the TTL instead, and says so.

#![expect(clippy::unwrap_used, reason = "clippy knows test functions, not what they call")]

mod breaks;
mod closing;
mod deaths;
mod embalming;
mod garbage;
mod holes;
#[path = "../../../hosts/mod.rs"]
mod hosts;
mod identity;
mod limits;
mod refusals;
mod restarts;
mod support;
mod transfer;
