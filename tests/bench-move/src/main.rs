//! How long a session stands still when its path breaks, and how much of two paths it uses, beside kernel MPTCP.
//!
//! Without arguments: makes two hosts in network namespaces, runs this program again on both, and prints what it saw.
//! `receive KIND` and `send KIND ADDRESS WISH` are the two ends. Needs root, and Linux 5.6 or later for MPTCP.

mod carrier;
mod driver;
mod ends;
mod report;

use std::process::ExitCode;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let done = match words[..] {
        [] => driver::run(),
        ["receive", kind] => ends::receive(kind),
        ["send", kind, address, wish] => ends::send(kind, address, wish),
        _ => Err("clerver-bench-move, without arguments".into()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("bench-move: {why}");
            ExitCode::from(2)
        }
    }
}
