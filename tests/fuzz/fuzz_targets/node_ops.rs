//! Sequences of operations on two real nodes, a network that cuts, and a peer that lies. See the library for the rules.
#![no_main]

use clerver_fuzz::{Script, run};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| run(&Script::new(data)));
