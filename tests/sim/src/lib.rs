//! The deterministic simulator of Clerver: whole nodes, a virtual clock, seeded faults, an all-knowing checker.
//!
//! It drives the same `Node` as the engine does. A run is a [`plan::Plan`]: nodes, a network, goals, faults; it comes
//! from a named scenario or from a seed of the swarm. It has two phases: first things go wrong, then all is healed and
//! everything wanted must come to pass; at last all is closed, and nothing may be left. The checker holds every event
//! against a ledger of all that was written, read, called, attached and destroyed (INVARIANTS.md, by number).
//!
//! Processes that die and come back with their stores have a smaller world of their own (`restarts`). Not here:
//! sockets, threads and TLS, which `tests/e2e` runs for real. A seed gives the same bytes on every run, so a failure
//! is a number:
//!
//! ```text
//! make sim SEEDS=100000        many seeds          make sim SEED=7        one seed again, with a trace
//! ```
#![forbid(unsafe_code)]

mod app;
mod canaries;
mod checker;
mod cli;
mod clock;
mod plan;
mod recipe;
mod restarts;
mod rng;
mod scenarios;
mod swarm;
mod toy;
mod world;

pub use cli::main;
