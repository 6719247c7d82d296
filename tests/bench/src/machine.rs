//! The machine: where processes are placed, and what is known of it.

use crate::pair::Bench;
use clerver_programs::Process;

/// Where client and server run. Where they sleep and wake decides more than what they do, so each regime is a table of
/// its own; only `1cpu` and `noidle` are stable enough to compare runs by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Regime {
    /// Both on one CPU.
    OneCpu,
    /// One CPU each, which a spinner of the lowest priority keeps awake.
    NoIdle,
    /// One CPU each, which sleep when they have nothing to do.
    Split,
    /// Wherever the system puts them.
    Free,
}

impl Regime {
    /// Those that this machine has the CPUs for.
    pub(crate) fn possible() -> Vec<Regime> {
        if cpus() < 2 {
            return vec![Regime::OneCpu];
        }
        vec![Regime::OneCpu, Regime::NoIdle, Regime::Split, Regime::Free]
    }

    /// Whether runs may be compared by it.
    pub(crate) fn is_stable(self) -> bool {
        matches!(self, Regime::OneCpu | Regime::NoIdle)
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Regime::OneCpu => "1cpu",
            Regime::NoIdle => "noidle",
            Regime::Split => "split",
            Regime::Free => "free",
        }
    }

    pub(crate) fn about(self) -> &'static str {
        match self {
            Regime::OneCpu => "both processes on one CPU",
            Regime::NoIdle => "a CPU each, kept awake by a SCHED_IDLE spinner",
            Regime::Split => "a CPU each, which may sleep; for orientation",
            Regime::Free => "not pinned; for orientation",
        }
    }

    /// CPUs of client and server, as the programs want them said.
    pub(crate) fn cpus(self) -> (&'static str, &'static str) {
        match self {
            Regime::OneCpu => ("0", "0"),
            Regime::NoIdle | Regime::Split => ("0", "1"),
            Regime::Free => ("-1", "-1"),
        }
    }

    /// What keeps the CPUs awake for as long as it is kept.
    pub(crate) fn spinners(self, bench: &Bench) -> Result<Vec<Process>, String> {
        let cpus: &[&str] = if self == Regime::NoIdle { &["0", "1"] } else { &[] };
        cpus.iter().map(|cpu| bench.start(&["spin", cpu]).map(|(process, _)| process)).collect()
    }
}

fn cpus() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// A line about the machine, and how busy it is: with other work the ratios still say something, the rest does not.
pub(crate) fn describe() -> String {
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split(' ').next().unwrap_or("?");
    format!("{} CPUs, load average {load} before the run", cpus())
}
