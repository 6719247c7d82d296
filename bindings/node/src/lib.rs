//! The native half of the npm package `clerver`: handles, and answers without waiting. What waits, and what people
//! write programs against, is JavaScript in `lib`.
//!
//! Three ways lead into an environment of JavaScript. Whoever waits for a channel, call or session is told by its
//! node's
//! queue of events, whose descriptor stands in the environment's own poll (`js::poll`). Rare things that only have
//! a blocking
//! form run on threads (`pool`) and answer by mail (`js::post`). Handlers run on workers of the node, which send
//! mail and
//! wait for the answer (`request`, `kind`).
//!
//! Invariants: nothing here waits on the thread of JavaScript, but for a lock that is held shortly; no panic leaves a
//! function that JavaScript or libuv calls; when an environment ends, nobody waits for it any more.

pub mod call;
pub mod channel;
pub mod error;
mod event;
mod info;
pub mod js;
pub mod kind;
pub mod node;
mod pool;
pub mod request;
pub mod session;
mod slot;
