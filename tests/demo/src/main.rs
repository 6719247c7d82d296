//! The demo: a transfer that survives its connections, and what happens to living objects when their owner dies.
//!
//! The two programs in between are C: `examples/c/demo_keeper.c` and `examples/c/demo_sender.c`. They talk to each
//! other by Clerver through a fault proxy. This one directs: it makes the file, holds the proxy, starts the two, and
//! reads what they say on their standard output. The exit status is 0 only if everything that is promised was seen.

mod actor;
mod director;
mod janitor;
mod lines;
mod report;
mod sleeper;
mod source;
mod stage;

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

/// Anything that ends the demo early.
type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Heartbeat of both actors: faster than the default, so that the demo ends soon.
const BEAT: Duration = Duration::from_millis(200);
/// TTL of both actors: longer than the black hole, for the session has to live through it.
const TTL: Duration = Duration::from_secs(5);

const USAGE: &str = "usage: clerver-demo --programs DIRECTORY [--file PATH]

Sends a file (64 MiB of noise, or yours) and numbered orders from one process to another,
through a proxy that breaks every connection it can. Takes about 20 s, asks nothing,
leaves nothing behind. Exit status 0: nothing was lost or doubled.
The two are demo_sender and demo_keeper in DIRECTORY; `make demo` builds and starts all.";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let result = match words.as_slice() {
        ["--programs", programs] => director::run(Path::new(programs), None),
        ["--programs", programs, "--file", file] => director::run(Path::new(programs), Some(Path::new(file))),
        ["janitor"] => janitor::run(),
        ["--help" | "-h"] => {
            println!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        [] => Err(USAGE.into()),
        _ => Err(format!("these arguments mean nothing here: {}\n{USAGE}", words.join(" ")).into()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("clerver-demo: {failure}");
            ExitCode::FAILURE
        }
    }
}
