//! System calls per call, counted by strace where it is there.

use crate::machine::Regime;
use crate::pair::{Bench, Kind, Pair};
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

/// System calls of both processes per 64-byte call; or why they were not counted.
pub(crate) type Syscalls = Result<[(&'static str, f64); 3], String>;

/// Measures, unless there is no strace or it may not trace.
///
/// # Errors
/// What a program of the bench said when it failed.
pub(crate) fn measure(bench: &Bench, slice_ms: u64) -> Result<Syscalls, String> {
    let mut raw = bench.pair(Kind::Raw, Regime::OneCpu)?;
    let mut session = bench.pair(Kind::Session, Regime::OneCpu)?;
    let count = |pair: &mut Pair, service: &str| {
        // Once without, so that what is counted are calls alone.
        pair.calls(service, slice_ms / 8 + 1).and_then(|_| counted(pair, service, slice_ms))
    };
    let raw = count(&mut raw, "echo");
    let inline = count(&mut session, "inline");
    let worker = count(&mut session, "worker");
    let all = || Ok([("raw", raw?), ("inline", inline?), ("worker", worker?)]);
    Ok(all())
}

/// Traces both processes while calls are made.
fn counted(pair: &mut Pair, service: &str, slice_ms: u64) -> Result<f64, String> {
    let out = tempfile::NamedTempFile::new().map_err(|error| error.to_string())?;
    let mut strace = Command::new("strace");
    strace.args(["-f", "-c", "-o"]).arg(out.path());
    for process in [&pair.client, &pair.server] {
        strace.args(["-p", &process.id().to_string()]);
    }
    let spawned = strace.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn();
    let mut strace = spawned.map_err(|error| format!("strace: {error}"))?;
    let said = BufReader::new(strace.stderr.take().ok_or("strace without its messages")?);
    let mut lines = said.lines().map_while(Result::ok);
    let attached = lines.by_ref().filter(|line| line.contains("attached")).take(2).count();
    if attached < 2 {
        // It ended by itself.
        let _ = strace.wait();
        return Err("strace may not trace here".into());
    }
    let calls = pair.calls(service, slice_ms);
    let stopped = Command::new("kill").args(["-s", "INT", &strace.id().to_string()]).status();
    // Messages of threads that come and go must not fill the pipe.
    lines.for_each(drop);
    let ended = strace.wait();
    stopped.and(ended).map_err(|error| format!("strace: {error}"))?;
    let table = std::fs::read_to_string(out.path()).map_err(|error| error.to_string())?;
    total(&table)
        .map(|total| total / calls.map_or(f64::NAN, |calls| calls.count))
        .ok_or_else(|| "no total".into())
}

/// The fourth column of the row `total`.
fn total(table: &str) -> Option<f64> {
    let row = table.lines().find(|line| line.trim_end().ends_with(" total"))?;
    row.split_whitespace().nth(3)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::total;

    #[test]
    fn the_total_is_found() {
        let table = "% time     seconds  usecs/call     calls    errors syscall\n\
                     ------ ----------- ----------- --------- --------- ----------------\n\
                      60.00    0.000600           3       200        20 read\n\
                      40.00    0.000400           2       100           write\n\
                     ------ ----------- ----------- --------- --------- ----------------\n\
                     100.00    0.001000           3       300        20 total\n";
        assert_eq!(total(table), Some(300.0));
        assert_eq!(total(""), None);
    }
}
