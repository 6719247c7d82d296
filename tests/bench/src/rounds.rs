//! The rounds of one regime: raw TLS and sessions in turns.

use crate::machine::Regime;
use crate::pair::{Bench, Kind, Pair};

/// Bytes of the messages of the bulk measurement.
const BULK_BYTES: usize = 65_536;
/// Bytes of the small ones.
const SMALL_BYTES: usize = 64;

/// One figure: medians of the rounds.
#[derive(Debug, Clone)]
pub(crate) struct Figure {
    /// For machines.
    pub(crate) key: &'static str,
    /// For people, with its unit.
    pub(crate) title: &'static str,
    pub(crate) raw: f64,
    pub(crate) session: f64,
    /// Median of the ratios, session to raw, of the rounds.
    pub(crate) ratio: f64,
    /// The smallest and the largest of them.
    pub(crate) ratio_range: (f64, f64),
}

/// Names of the figures of a round, in its order.
const FIGURES: [(&str, &str); 8] = [
    ("call_inline_p50_us", "64 B call, inline handler, p50 us"),
    ("call_inline_p99_us", "64 B call, inline handler, p99 us"),
    ("call_worker_p50_us", "64 B call, worker handler, p50 us"),
    ("call_worker_p99_us", "64 B call, worker handler, p99 us"),
    ("call_inline_cpu_us", "CPU of both sides per call, us"),
    ("call_worker_cpu_us", "the same, worker handler, us"),
    ("stream_64k_mb_per_s", "64 KiB messages one way, MB/s"),
    ("stream_64b_m_per_s", "64 B messages one way, millions/s"),
];

/// Raw and session of each figure.
type Round = [(f64, f64); FIGURES.len()];

/// Measures some rounds.
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
    let mut raw = bench.pair(Kind::Raw, regime)?;
    let mut session = bench.pair(Kind::Session, regime)?;
    // Once for nothing: caches, pools and the first growth of buffers.
    round(&mut raw, &mut session, slice_ms / 8 + 1)?;
    let rounds: Result<Vec<Round>, String> =
        (0..rounds.max(1)).map(|_| round(&mut raw, &mut session, slice_ms)).collect();
    Ok(figures(&rounds?))
}

fn round(raw: &mut Pair, session: &mut Pair, slice_ms: u64) -> Result<Round, String> {
    let calls = raw.calls("echo", slice_ms)?;
    let inline = session.calls("inline", slice_ms)?;
    let worker = session.calls("worker", slice_ms)?;
    let bulk = (raw.stream(BULK_BYTES, slice_ms)?, session.stream(BULK_BYTES, slice_ms)?);
    let small = (raw.stream(SMALL_BYTES, slice_ms)?, session.stream(SMALL_BYTES, slice_ms)?);
    let megabytes = |per_second: f64| per_second * BULK_BYTES as f64 / 1e6;
    Ok([
        (calls.p50_us, inline.p50_us),
        (calls.p99_us, inline.p99_us),
        (calls.p50_us, worker.p50_us),
        (calls.p99_us, worker.p99_us),
        (calls.cpu_us, inline.cpu_us),
        (calls.cpu_us, worker.cpu_us),
        (megabytes(bulk.0), megabytes(bulk.1)),
        (small.0 / 1e6, small.1 / 1e6),
    ])
}

fn figures(rounds: &[Round]) -> Vec<Figure> {
    let figure = |(index, &(key, title)): (usize, &(&'static str, &'static str))| {
        let column = |pick: fn((f64, f64)) -> f64| sorted(rounds.iter().map(|round| pick(round[index])));
        let ratios = column(|(raw, session)| session / raw);
        Figure {
            key,
            title,
            raw: median(&column(|(raw, _)| raw)),
            session: median(&column(|(_, session)| session)),
            ratio: median(&ratios),
            ratio_range: (ratios[0], ratios[ratios.len() - 1]),
        }
    };
    FIGURES.iter().enumerate().map(figure).collect()
}

fn sorted(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values
}

/// Of values in order.
fn median(values: &[f64]) -> f64 {
    let middle = values.len() / 2;
    if values.len() % 2 == 1 { values[middle] } else { (values[middle - 1] + values[middle]) / 2.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ratio_is_the_median_of_the_rounds_ratios() {
        let round = |raw: f64, session: f64| [(raw, session); FIGURES.len()];
        let figures = figures(&[round(10.0, 20.0), round(100.0, 110.0), round(20.0, 60.0)]);
        let figure = &figures[0];
        assert_eq!((figure.raw, figure.session, figure.ratio), (20.0, 60.0, 2.0));
        assert_eq!(figure.ratio_range, (1.1, 3.0));
        assert_eq!(median(&[1.0, 3.0]), 2.0);
    }
}
