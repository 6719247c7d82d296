//! What a 64-byte call costs both processes: CPU time, voluntary context switches, and system calls, which strace
//! counts where it is there.

use crate::figure::{Entry, Figure, Name, Sample, figures};
use crate::machine::Regime;
use crate::pair::{Bench, Kind, Pair};
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

/// The figures, and why system calls are not among them, if they are not.
pub(crate) type Costs = (Vec<Figure>, Option<String>);

/// What is called, where raw TLS has but one service.
const SERVICES: [&str; 2] = ["inline", "worker"];

/// Names of a cost for each of the services.
const CPU: [(&str, &str); 2] =
    [("call_inline_cpu_us", "CPU us, inline handler"), ("call_worker_cpu_us", "CPU us, worker handler")];
const SWITCHES: [(&str, &str); 2] = [
    ("call_inline_switches", "voluntary switches, inline handler"),
    ("call_worker_switches", "voluntary switches, worker handler"),
];
const SYSCALLS: [(&str, &str); 2] = [
    ("call_inline_syscalls", "system calls, inline handler"),
    ("call_worker_syscalls", "system calls, worker handler"),
];

fn name((key, title): (&'static str, &'static str)) -> Name {
    Name { id: "cost", key, title, against: "raw TLS" }
}

/// Measures on one CPU, where nothing is spent on waking another one.
///
/// # Errors
/// What a program of the bench said when it failed.
pub(crate) fn measure(bench: &Bench, rounds: usize, slice_ms: u64) -> Result<Costs, String> {
    let mut raw = bench.pair(Kind::Raw, Regime::OneCpu)?;
    let mut session = bench.pair(Kind::Session, Regime::OneCpu)?;
    let mut round = |ms: u64| -> Result<Vec<Entry>, String> {
        let base = raw.calls("echo", ms)?.cost;
        let mut entries = Vec::new();
        for (index, service) in SERVICES.iter().enumerate() {
            let cost = session.calls(service, ms)?.cost;
            let pairs = [(CPU, base.cpu_us, cost.cpu_us), (SWITCHES, base.switches, cost.switches)];
            entries.extend(pairs.map(|(names, base, ours)| Entry {
                name: name(names[index]),
                goal: None,
                base: Some(Sample::of(base)),
                session: Sample::of(ours),
            }));
        }
        Ok(entries)
    };
    round(slice_ms / 8 + 1)?;
    let rounds: Result<Vec<_>, String> = (0..rounds.max(1)).map(|_| round(slice_ms)).collect();
    let mut all = figures(&rounds?);
    match syscalls(&mut raw, &mut session, slice_ms) {
        Ok(counted) => all.extend(counted),
        Err(why) => return Ok((all, Some(why))),
    }
    Ok((all, None))
}

/// What strace counts; an error where it cannot.
fn syscalls(raw: &mut Pair, session: &mut Pair, slice_ms: u64) -> Result<[Figure; 2], String> {
    let base = counted(raw, "echo", slice_ms)?;
    let mut figure = |index: usize| -> Result<Figure, String> {
        let ours = counted(session, SERVICES[index], slice_ms)?;
        Ok(Figure::once(name(SYSCALLS[index]), None, Some(base), ours))
    };
    Ok([figure(0)?, figure(1)?])
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
