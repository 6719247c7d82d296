//! F12: how late a beat is while bulk runs through a slow path.
//!
//! What is measured is the way of a small call, twice for each beat: from when it is sent until its handler runs at the
//! other end. It goes into the link before the data of channels and behind beats, so no beat is later than it. Both
//! processes read the same clock, for only their networks differ. Beside it stands the longest round trip that the
//! session told of its beats; that is smoothed.

use super::Plan;
use super::netns::{Path, may_make};
use crate::figure::{Figure, Goal, Name};
use crate::pair::{Bench, Pace, Paced, begin_pace, directory, end_pace};
use crate::report::Report;
use std::path::Path as Directory;

const BEAT_MS: u64 = 1_000;
const BULK_BYTES: usize = 65_536;

/// What a path is called in figures.
struct Rate {
    kbit_per_s: u64,
    about: &'static str,
    way_p99: (&'static str, &'static str),
    way_p50: (&'static str, &'static str),
    round_trip: (&'static str, &'static str),
    bulk: (&'static str, &'static str),
}

const RATES: [Rate; 2] = [
    Rate {
        kbit_per_s: 10_000,
        about: "10 Mbit/s",
        way_p99: ("beat_10_mbit_p99_ms", "10 Mbit/s: way of a beat, p99 ms"),
        way_p50: ("beat_10_mbit_p50_ms", "10 Mbit/s: the same, p50 ms"),
        round_trip: ("round_trip_10_mbit_ms", "10 Mbit/s: round trip told, most, ms"),
        bulk: ("bulk_10_mbit_kbit_per_s", "10 Mbit/s: bulk, kbit/s"),
    },
    Rate {
        kbit_per_s: 100,
        about: "100 kbit/s",
        way_p99: ("beat_100_kbit_p99_ms", "100 kbit/s: way of a beat, p99 ms"),
        way_p50: ("beat_100_kbit_p50_ms", "100 kbit/s: the same, p50 ms"),
        round_trip: ("round_trip_100_kbit_ms", "100 kbit/s: round trip told, most, ms"),
        bulk: ("bulk_100_kbit_kbit_per_s", "100 kbit/s: bulk, kbit/s"),
    },
];

/// Measures, where namespaces can be made.
pub(super) fn measure(bench: &Bench, plan: &Plan, report: &mut Report) -> Result<(), String> {
    if let Err(why) = may_make() {
        report.note(&format!("F12 is not measured: {why}"));
        return Ok(());
    }
    let mut all = Vec::new();
    let mut notes = Vec::new();
    for rate in &RATES {
        match through(bench, rate.kbit_per_s, plan.slow_ms)? {
            Pace::Kept(paced) => all.extend(figures(rate, paced)),
            Pace::Failed { after_s } => {
                let endless = |key| Figure::once(key, GOAL, None, f64::INFINITY);
                all.push(endless(name(rate.way_p99)));
                notes.push(format!("{}: a call failed after {after_s:.0} s of bulk", rate.about));
            }
        }
    }
    report.table("slow", "slow: beats of 1 s while 64 KiB messages run through a slow path", &all);
    notes.iter().for_each(|note| report.note(note));
    Ok(())
}

/// Half a beat, and a quarter.
const GOAL: Option<Goal> = Goal::at_most(BEAT_MS as f64 / 2.0, Some(BEAT_MS as f64 / 4.0));

fn name((key, title): (&'static str, &'static str)) -> Name {
    Name { id: "F12", key, title, against: "" }
}

fn figures(rate: &Rate, paced: Paced) -> [Figure; 4] {
    let figure = |of, goal, value| Figure::once(name(of), goal, None, value);
    [
        figure(rate.way_p99, GOAL, paced.way_p99_ms),
        figure(rate.way_p50, None, paced.way_p50_ms),
        figure(rate.round_trip, None, paced.round_trip_max_ms),
        figure(rate.bulk, None, paced.bulk_bytes_per_s * 8.0 / 1e3),
    ]
}

/// A client and a server with such a path between them, which to them are two machines.
fn through(bench: &Bench, kbit_per_s: u64, ms: u64) -> Result<Pace, String> {
    let path = Path::make(kbit_per_s)?;
    let (client_home, server_home) = (directory()?, directory()?);
    let client_id = host_id(bench, client_home.path())?;
    let authorized = server_home.path().join("authorized");
    std::fs::write(&authorized, format!("{client_id}\n")).map_err(|error| error.to_string())?;
    let beat = format!("beat_ms={BEAT_MS}");
    let at = format!("{}:0", Path::SERVER_ADDRESS);
    let serve = ["session-serve", "-1", &at, &beat];
    let (_server, address) = bench.start_by(&path.in_server(), server_home.path(), &serve)?;
    let connect = ["session-client", "-1", &address, &beat];
    let (mut client, _) = bench.start_by(&path.in_client(), client_home.path(), &connect)?;
    begin_pace(&mut client, ms, BEAT_MS * 1000 / 2, BULK_BYTES);
    end_pace(&mut client)
}

/// The id of the key in a host directory, which is made on first use.
fn host_id(bench: &Bench, home: &Directory) -> Result<String, String> {
    Ok(bench.start_by(&[], home, &["host-id", "-1"])?.1)
}
