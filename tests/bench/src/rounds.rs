//! The rounds of one regime: raw TLS, sessions and their variants in turns.

use crate::figure::{Entry, Figure, Goal, Name, Sample, figures};
use crate::machine::Regime;
use crate::pair::{Bench, Kind, Pace, Paced, Pair, Rate, Times, begin_pace, end_pace};
use clerver_programs::Process;

/// Bytes of the messages of the bulk measurement.
const BULK_BYTES: usize = 65_536;
/// Bytes of the small ones.
const SMALL_BYTES: usize = 64;
/// Threads that call on one session.
const CALLERS: usize = 8;
/// How often calls are made beside bulk: no more often than a call may take, or they would wait for each other.
const PACE_US: u64 = 2_000;

const RAW: &str = "raw TLS";
const PLAIN: &str = "plain";
const INLINE: &str = "inline";
const QUIET: &str = "no bulk";

/// Names that a figure has in no other place.
macro_rules! name {
    ($id:literal, $key:literal, $title:literal, $against:expr) => {
        Name { id: $id, key: $key, title: $title, against: $against }
    };
}

/// What takes part. The variants are there only where runs may be compared.
struct Cast {
    raw: Pair,
    session: Pair,
    variants: Option<Variants>,
}

struct Variants {
    plain: Pair,
    ungathered: Pair,
    /// A process with a session of its own, of the same server as `session`.
    other: Process,
}

impl Cast {
    fn start(bench: &Bench, regime: Regime) -> Result<Cast, String> {
        let raw = bench.pair(Kind::Raw, regime)?;
        let session = bench.pair(Kind::Session, regime)?;
        let variants = if regime.is_stable() {
            let (other, _) = bench.start(&["session-client", regime.cpus().0, &session.address])?;
            let plain = bench.pair(Kind::Plain, regime)?;
            Some(Variants { plain, ungathered: bench.pair(Kind::Ungathered, regime)?, other })
        } else {
            None
        };
        Ok(Cast { raw, session, variants })
    }
}

/// Measures some rounds; in a regime that is for orientation only, what users meet most.
///
/// # Errors
/// What a program said when it failed.
pub(crate) fn measure(
    bench: &Bench,
    regime: Regime,
    rounds: usize,
    slice_ms: u64,
) -> Result<Vec<Figure>, String> {
    let _spinners = regime.spinners(bench)?;
    let turns = [Turn::BaseFirst, Turn::OursFirst].into_iter().cycle();
    let measured = turns.take(rounds.max(1)).map(|turn| {
        // Where the system puts a program decides how fast it is for as long as it lives, so each round has fresh ones.
        let mut cast = Cast::start(bench, regime)?;
        // Once for nothing: caches, pools and the first growth of buffers.
        round(&mut cast, regime, Turn::BaseFirst, slice_ms / 8 + 1)?;
        round(&mut cast, regime, turn, slice_ms)
    });
    Ok(figures(&measured.collect::<Result<Vec<Vec<Entry>>, String>>()?))
}

/// Which of two variants is measured first, in turns: they differ by little, and a machine that slows down or warms up
/// must not decide.
#[derive(Debug, Clone, Copy)]
enum Turn {
    BaseFirst,
    OursFirst,
}

impl Turn {
    fn both<T>(
        self,
        base: impl FnOnce() -> Result<T, String>,
        ours: impl FnOnce() -> Result<T, String>,
    ) -> Result<(T, T), String> {
        match self {
            Turn::BaseFirst => {
                let base = base()?;
                Ok((base, ours()?))
            }
            Turn::OursFirst => {
                let ours = ours()?;
                Ok((base()?, ours))
            }
        }
    }
}

fn round(cast: &mut Cast, regime: Regime, turn: Turn, slice_ms: u64) -> Result<Vec<Entry>, String> {
    let Cast { raw, session, variants } = cast;
    let mut entries = calls(raw, session, regime, slice_ms)?;
    if let Some(Variants { plain, .. }) = variants {
        entries.push(many_callers(session, plain, turn, slice_ms)?);
        entries.push(pushes(session, plain, turn, slice_ms)?);
    }
    entries.extend(bulk(raw, session, variants.as_mut().map(|variants| &mut variants.plain), slice_ms)?);
    entries.push(small(raw, session, slice_ms)?);
    if let Some(Variants { ungathered, other, .. }) = variants {
        entries.push(lone(session, ungathered, turn, slice_ms)?);
        entries.extend(fairness(&mut session.client, other, slice_ms)?);
    }
    if !regime.is_stable() {
        entries.iter_mut().for_each(|entry| entry.goal = None);
    }
    Ok(entries)
}

fn p50(times: Times) -> Sample {
    Sample { value: times.p50_us, cpu_us: Some(times.cost.cpu_us) }
}

fn p99(times: Times) -> Sample {
    Sample { value: times.p99_us, cpu_us: Some(times.cost.cpu_us) }
}

fn rate(rate: Rate, unit: f64) -> Sample {
    Sample { value: rate.per_s / unit, cpu_us: Some(rate.cost.cpu_us) }
}

fn entry(name: Name, goal: Option<Goal>, base: Sample, session: Sample) -> Entry {
    Entry { name, goal, base: Some(base), session }
}

/// F1 and F1w: one thread calls.
fn calls(raw: &mut Pair, session: &mut Pair, regime: Regime, ms: u64) -> Result<Vec<Entry>, String> {
    let base = raw.calls("echo", ms)?;
    let inline = session.calls("inline", ms)?;
    let worker = session.calls("worker", ms)?;
    // One CPU shows what is done, two that never sleep mostly how often they wake each other.
    let (goal, worker_goal) = match regime {
        Regime::OneCpu => (Goal::ratio_at_most(1.25, Some(1.10)), Goal::ratio_at_most(1.40, Some(1.30))),
        _ => (Goal::ratio_at_most(1.10, Some(1.02)), Goal::ratio_at_most(1.15, Some(1.05))),
    };
    let call_inline_p50 = name!("F1", "call_inline_p50_us", "64 B call, inline, p50 us", RAW);
    let call_inline_p99 = name!("", "call_inline_p99_us", "64 B call, inline, p99 us", RAW);
    let call_worker_p50 = name!("F1w", "call_worker_p50_us", "64 B call, worker, p50 us", RAW);
    let call_worker_p99 = name!("", "call_worker_p99_us", "64 B call, worker, p99 us", RAW);
    Ok(vec![
        entry(call_inline_p50, goal, p50(base), p50(inline)),
        entry(call_inline_p99, None, p99(base), p99(inline)),
        entry(call_worker_p50, worker_goal, p50(base), p50(worker)),
        entry(call_worker_p99, None, p99(base), p99(worker)),
    ])
}

/// F1b: several threads call on one session.
fn many_callers(session: &mut Pair, plain: &mut Pair, turn: Turn, ms: u64) -> Result<Entry, String> {
    let command = format!("callers {CALLERS} inline {ms}");
    let (base, ours) = turn.both(|| plain.rate(&command), || session.rate(&command))?;
    let name = name!("F1b", "callers_8_k_per_s", "8 threads, one session, k calls/s", PLAIN);
    Ok(entry(name, Goal::ratio_at_least(0.9, Some(1.0)), rate(base, 1e3), rate(ours, 1e3)))
}

/// F1p: what the peer pushes during bursts of calls.
fn pushes(session: &mut Pair, plain: &mut Pair, turn: Turn, ms: u64) -> Result<Entry, String> {
    let command = format!("push {ms}");
    let (base, ours) = turn.both(|| plain.times(&command), || session.times(&command))?;
    let name = name!("F1p", "push_p99_us", "push during bursts of calls, p99 us", PLAIN);
    Ok(entry(name, Goal::ratio_at_most(2.0, Some(1.0)), p99(base), p99(ours)))
}

/// F2: 64 KiB messages; with `plain`, also handed from the engine's thread to that of the program.
fn bulk(raw: &mut Pair, session: &mut Pair, plain: Option<&mut Pair>, ms: u64) -> Result<Vec<Entry>, String> {
    let command = format!("stream {ms} {BULK_BYTES}");
    let unit = 1e6 / BULK_BYTES as f64;
    let base = rate(raw.rate(&command)?, unit);
    let ours = rate(session.rate(&command)?, unit);
    let in_place = name!("F2", "stream_64k_mb_per_s", "64 KiB messages one way, MB/s", RAW);
    let mut entries = vec![entry(in_place, Goal::ratio_at_least(1.0, Some(1.2)), base, ours)];
    if let Some(plain) = plain {
        let handed = name!("F2", "stream_64k_handed_mb_per_s", "the same, handed to a thread, MB/s", RAW);
        let ours = rate(plain.rate(&command)?, unit);
        entries.push(entry(handed, Goal::ratio_at_least(0.9, Some(1.0)), base, ours));
    }
    Ok(entries)
}

/// F3: 64 B messages in a tight loop.
fn small(raw: &mut Pair, session: &mut Pair, ms: u64) -> Result<Entry, String> {
    let command = format!("stream {ms} {SMALL_BYTES}");
    let base = rate(raw.rate(&command)?, 1e6);
    let ours = rate(session.rate(&command)?, 1e6);
    let name = name!("F3", "stream_64b_m_per_s", "64 B messages one way, M/s", RAW);
    Ok(entry(name, Goal::at_least(3.0, Some(10.0)), base, ours))
}

/// F3: a message that is alone.
fn lone(session: &mut Pair, ungathered: &mut Pair, turn: Turn, ms: u64) -> Result<Entry, String> {
    let command = format!("lone {ms}");
    let (base, ours) = turn.both(|| ungathered.times(&command), || session.times(&command))?;
    let name = name!("F3", "lone_p50_us", "a lone 64 B message, one way, p50 us", INLINE);
    Ok(entry(name, Goal::ratio_at_most(1.05, None), p50(base), p50(ours)))
}

/// Calls while one channel carries what the link can: on the same session, and on one of another process. A call of
/// the latter takes the way of its beats through the server, and comes behind them: no beat is later than it.
fn fairness(client: &mut Process, other: &mut Process, ms: u64) -> Result<Vec<Entry>, String> {
    let mut both = |ms: u64, bulk_bytes: usize| -> Result<(Paced, Paced), String> {
        begin_pace(client, ms, PACE_US, bulk_bytes);
        begin_pace(other, ms, PACE_US, 0);
        let kept = |process: &mut Process| match end_pace(process)? {
            Pace::Kept(paced) => Ok(paced),
            Pace::Failed { after_s } => Err(format!("a call beside bulk failed after {after_s} s")),
        };
        Ok((kept(client)?, kept(other)?))
    };
    let (quiet, quiet_other) = both(ms, 0)?;
    // Twice as long, for these are the ones that matter.
    let (same, other) = both(2 * ms, BULK_BYTES)?;
    let goal = Goal::at_most(2.0, None);
    let p99 = |paced: Paced| Sample::of(paced.trip_p99_ms);
    let of_session =
        name!("fair", "fair_same_session_p99_ms", "call beside bulk, same session, p99 ms", QUIET);
    let of_other = name!("fair", "fair_other_session_p99_ms", "the same, other session, p99 ms", QUIET);
    Ok(vec![
        entry(of_session, goal, p99(quiet), p99(same)),
        entry(of_other, goal, p99(quiet_other), p99(other)),
    ])
}
