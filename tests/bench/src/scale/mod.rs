//! `make bench-scale`: what many sessions cost, what a storm of them does, and what a slow path does to a beat.
//!
//! Each part stands alone; one that fails does not stop the others.

mod crowd;
mod growth;
mod netns;
mod slow;
mod storm;

use crate::pair::Bench;
use crate::report::Report;

/// How large everything is.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    /// Live sessions (F5, F9).
    pub(crate) sessions: u64,
    /// How often what is quick is measured.
    pub(crate) rounds: usize,
    /// For how long sessions are left alone while their CPU time is measured.
    pub(crate) rest_ms: u64,
    /// Objects of a session, and messages that are queued (F9): the fewest and the most.
    pub(crate) few: u64,
    pub(crate) many: u64,
    /// Sessions in a storm (F11).
    pub(crate) storm: u64,
    /// How long bulk runs through a slow path (F12).
    pub(crate) slow_ms: u64,
    /// Which parts are wanted; all when it is empty.
    pub(crate) only: Vec<String>,
}

impl Plan {
    /// What the table of goals asks for.
    pub(crate) fn whole() -> Plan {
        Plan {
            sessions: 100_000,
            rounds: 3,
            rest_ms: 10_000,
            few: 1_000,
            many: 100_000,
            storm: 10_000,
            slow_ms: 60_000,
            only: Vec::new(),
        }
    }

    /// A handful of each: does it run at all?
    pub(crate) fn quick(self) -> Plan {
        Plan {
            sessions: 60,
            rounds: 1,
            rest_ms: 100,
            few: 10,
            many: 100,
            storm: 30,
            slow_ms: 1_500,
            only: self.only,
        }
    }

    fn wants(&self, ids: &[&str]) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| ids.contains(&only.as_str()))
    }
}

/// A part, by the ids that it is wanted by.
type Part = (&'static [&'static str], fn(&Bench, &Plan, &mut Report) -> Result<(), String>);

const PARTS: [Part; 4] = [
    (&["F9"], growth::measure),
    (&["F12"], slow::measure),
    (&["F11"], storm::measure),
    (&["F5", "F9"], crowd::measure),
];

/// Measures what is wanted.
///
/// # Errors
/// What the parts said that failed; the others were measured.
pub(crate) fn measure(bench: &Bench, plan: &Plan, report: &mut Report) -> Result<(), String> {
    let mut failed = Vec::new();
    for (ids, part) in PARTS.iter().filter(|(ids, _)| plan.wants(ids)) {
        if let Err(why) = part(bench, plan, report) {
            report.note(&format!("{} failed: {why}", ids.join(" and ")));
            failed.push(ids.join(" and "));
        }
    }
    if failed.is_empty() { Ok(()) } else { Err(format!("{} failed", failed.join(", "))) }
}
