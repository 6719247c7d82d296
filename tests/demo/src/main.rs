//! The demo: a transfer that survives its connections, and what happens to living objects when their owner dies.
//!
//! One process is the director: it holds the fault proxy and starts two children, which are this program again with the
//! words `receive` and `send`. They talk to each other by Clerver through the proxy, and to the director by lines on
//! their standard input and output. The exit status is 0 only if everything that is promised was seen.

mod director;
mod janitor;
mod lines;
mod receive;
mod report;
mod send;
mod source;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// Anything that ends the demo early.
type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Heartbeat of both children: faster than the default, so that the demo ends soon.
const BEAT: Duration = Duration::from_millis(200);
/// TTL of both children: longer than the black hole, for the session has to live through it.
const TTL: Duration = Duration::from_secs(5);

const USAGE: &str = "usage: clerver-demo [--file PATH]

Sends a file (64 MiB of noise, or yours) and numbered orders from one process to another,
through a proxy that breaks every connection it can. Takes about 20 s, asks nothing,
leaves nothing behind. Exit status 0: nothing was lost or doubled.";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let result = match words.as_slice() {
        [] => director::run(None),
        ["--file", path] => director::run(Some(PathBuf::from(path))),
        ["receive", home] => receive::run(home.as_ref()),
        ["send", home, address, file] => send::run(home.as_ref(), address, file.as_ref()),
        ["janitor"] => janitor::run(),
        ["--help" | "-h"] => {
            println!("{USAGE}");
            return ExitCode::SUCCESS;
        }
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
