//! What people see: the line of progress, and the table at the end with what was not as promised.

use crate::Failure;
use clerver_proxy::Stopwatch;
use std::io::{IsTerminal, Write};
use std::time::Duration;

/// A terminal's line is written anew this often; a file or pipe gets a line each second.
const TERMINAL_EVERY: Duration = Duration::from_millis(100);
const FILE_EVERY: Duration = Duration::from_secs(1);

/// Seconds with one decimal.
pub(crate) fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

/// How much of a whole, for people.
pub(crate) fn ratio(part: u64, whole: u64) -> String {
    let percent = (part * 100).checked_div(whole).unwrap_or(100);
    format!("{percent:>3} % of {:.1} MiB", whole as f64 / f64::from(1 << 20))
}

/// The line of progress.
pub(crate) struct Screen {
    is_terminal: bool,
    shown: Option<Stopwatch>,
}

impl Screen {
    /// Nothing shown yet.
    pub(crate) fn new() -> Screen {
        Screen { is_terminal: std::io::stdout().is_terminal(), shown: None }
    }

    /// Shows a line, unless the last one is too young.
    pub(crate) fn show(&mut self, line: &str) {
        let every = if self.is_terminal { TERMINAL_EVERY } else { FILE_EVERY };
        if self.shown.is_some_and(|shown| shown.elapsed() < every) {
            return;
        }
        self.shown = Some(Stopwatch::start());
        if self.is_terminal {
            print!("\r\x1b[K{line}");
            // A terminal that is gone needs no progress.
            let _ = std::io::stdout().flush();
        } else {
            println!("{line}");
        }
    }

    /// The last line stays.
    pub(crate) fn finish(&self) {
        if self.is_terminal {
            println!();
        }
    }
}

/// What was seen, and whether it is as promised.
#[derive(Debug, Default)]
pub(crate) struct Report {
    rows: Vec<(String, String, bool)>,
}

impl Report {
    /// One thing that was seen.
    pub(crate) fn check(&mut self, what: &str, is_good: bool, seen: &str) {
        self.rows.push((what.into(), seen.into(), is_good));
    }

    /// As much must arrive as was sent, and something.
    pub(crate) fn count(&mut self, what: &str, sent: u64, delivered: u64) {
        let is_good = sent == delivered && (sent > 0 || what == "bytes");
        self.check(&format!("{what} sent, delivered"), is_good, &format!("{sent}, {delivered}"));
    }

    /// This must not happen.
    pub(crate) fn zero(&mut self, what: &str, count: u64) {
        self.check(what, count == 0, &count.to_string());
    }

    /// What was on the disk before, and what is there now on the other side.
    pub(crate) fn hashes(&mut self, sent: &str, received: &str) {
        self.check("SHA-256 sent", true, sent);
        self.check("SHA-256 received", sent == received, received);
    }

    /// The table; an error if a row is not as promised.
    pub(crate) fn print(&self, took: Duration) -> Result<(), Failure> {
        println!();
        for (what, seen, is_good) in &self.rows {
            println!("{} {what:<26} {seen}", if *is_good { "  " } else { "!!" });
        }
        let bad: Vec<&str> = self.rows.iter().filter(|row| !row.2).map(|row| row.0.as_str()).collect();
        println!();
        if bad.is_empty() {
            println!("The connections broke. The programs never noticed. ({})", seconds(took));
            return Ok(());
        }
        Err(format!("not as promised: {}", bad.join(", ")).into())
    }
}
