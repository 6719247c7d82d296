//! The native half of the npm package `clerver`: handles, and answers without waiting. What waits, and what people
//! write programs against, is JavaScript in `lib`.
//!
//! Three ways lead into an environment of JavaScript. Whoever waits for a peer (a channel, call, session, connect, or
//! the end of a drain) is told by its node's queue of events, whose descriptor stands in the environment's own poll
//! (`js::poll`). Rare things that only have a blocking form run on threads (`pool`) and answer by mail (`js::post`).
//! Workers of the node send mail too: requests, whose answers come later (`request`), and callbacks of objects, for
//! whose answers they wait (`kind`).
//!
//! Invariants: nothing here waits on the thread of JavaScript, but for a lock that is held shortly; no panic leaves a
//! function that JavaScript or libuv calls; when an environment ends, nobody waits for it any more.

pub mod call;
pub mod channel;
pub mod connecting;
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
