//! The simulator's command; `--help` lists what it does.

use std::process::ExitCode;

fn main() -> ExitCode {
    clerver_sim::main(std::env::args().skip(1))
}
