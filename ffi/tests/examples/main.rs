//! Every example is compiled with warnings as errors against the library that cargo just built, run as processes
//! with a home of their own, and must say what it should. What the README shows of them is what they are.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod c;
mod cpp;
mod legacy;
#[path = "../library/mod.rs"]
mod library;
mod readme;
mod support;
