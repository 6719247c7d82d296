//! F10: from nothing to the first reply. A node is opened for each, while the raw client keeps its context.

use crate::figure::{Entry, Figure, Goal, Name, Sample, figures};
use crate::machine::Regime;
use crate::pair::{Bench, Kind, Times};

/// Measures on one CPU: what counts is the work, not where it is done.
///
/// # Errors
/// What a program said when it failed.
pub(crate) fn measure(bench: &Bench, rounds: usize, slice_ms: u64) -> Result<Vec<Figure>, String> {
    let mut raw = bench.pair(Kind::Raw, Regime::OneCpu)?;
    let mut session = bench.pair(Kind::Session, Regime::OneCpu)?;
    let mut round = |ms: u64| -> Result<Vec<Entry>, String> {
        let command = format!("connect {ms}");
        let (base, ours) = (raw.times(&command)?, session.times(&command)?);
        let sample = |times: Times| Sample { value: times.p50_us / 1e3, cpu_us: Some(times.cost.cpu_us) };
        let title = "node, connect, first call, p50 ms";
        let name = Name { id: "F10", key: "connect_p50_ms", title, against: "raw TLS" };
        let goal = Goal::ratio_at_most(1.2, Some(1.05));
        Ok(vec![Entry { name, goal, base: Some(sample(base)), session: sample(ours) }])
    };
    round(slice_ms / 8 + 1)?;
    let rounds: Result<Vec<_>, String> = (0..rounds.max(1)).map(|_| round(slice_ms)).collect();
    Ok(figures(&rounds?))
}
