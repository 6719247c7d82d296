//! Makes the hosts, breaks their paths, and asks the receiver what it saw.

use crate::carrier::{BEAT_MS, Result};
use crate::report::{Line, Report, median};
use clerver::identity::HostKey;
use clerver::trust::TrustStore;
use clerver_programs::hosts::{Hosts, Side};
use clerver_programs::{Process, Runner};
use clerver_proxy::Stopwatch;
use std::path::PathBuf;
use std::time::Duration;
use tempfile::TempDir;

const ROUNDS: usize = 5;
const ROUNDS_SHORT: usize = 9;
/// What flows before the path breaks, and how long its end is waited for.
const BEFORE: Duration = Duration::from_millis(700);
const AFTER: Duration = Duration::from_millis(2500);
const AFTER_SHORT: Duration = Duration::from_millis(100);
/// How long bulk runs: first until the windows are as large as they become, then to be measured.
const GROWING: Duration = Duration::from_secs(2);
const MEASURED: Duration = Duration::from_secs(4);

/// What goes wrong on the first path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Break {
    /// What pauses there are anyway.
    Nothing,
    Reset,
    LinkDown,
    BlackHole,
}

impl Break {
    /// Whether the pause is looked for among those that the scheduler makes: more rounds tell them apart, and less
    /// time, for the longest pause of seconds is the scheduler's.
    fn is_short(self) -> bool {
        matches!(self, Break::Nothing | Break::Reset)
    }

    fn rounds(self) -> usize {
        if self.is_short() { ROUNDS_SHORT } else { ROUNDS }
    }

    fn after(self) -> Duration {
        if self.is_short() { AFTER_SHORT } else { AFTER }
    }
}

/// What is measured: a kind of carrier, and what is wished of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Variant {
    name: &'static str,
    kind: &'static str,
    wish: &'static str,
}

const SESSION: Variant = Variant { name: "session", kind: "session", wish: "plain" };
const STANDBY: Variant = Variant { name: "session, standby link", kind: "session", wish: "standby" };
const BULK: Variant = Variant { name: "session, bulk link", kind: "session", wish: "bulk" };
const MPTCP: Variant = Variant { name: "kernel MPTCP", kind: "mptcp", wish: "plain" };

/// Two hosts with a program on each.
struct Stage {
    hosts: Hosts,
    receiver: Process,
    sender: Process,
    _homes: [TempDir; 2],
}

impl Stage {
    fn new(variant: Variant, rates: Option<[u32; 2]>) -> Result<Stage> {
        let hosts = Hosts::open().ok_or("network namespaces need root, and the tools ip, tc and ss")?;
        for (path, mbit) in rates.into_iter().flatten().enumerate() {
            hosts.limit(path, mbit);
        }
        if variant.kind == "mptcp" {
            hosts.allow_mptcp();
        }
        let homes = [TempDir::new()?, TempDir::new()?];
        let keys = [HostKey::load_or_create(homes[0].path())?, HostKey::load_or_create(homes[1].path())?];
        for (home, other) in [(0, 1), (1, 0)] {
            TrustStore::load(homes[home].path())?.authorize(keys[other].host_id(), 1, "bench")?;
        }
        let mut receiver = start(&hosts, Side::Server, &["receive", variant.kind], &homes[1])?;
        receiver.answer()?;
        let place = Hosts::address(Side::Server, 0);
        let address = match variant.kind {
            "mptcp" => place,
            _ => format!("clv://{}@{place}", keys[1].host_id()),
        };
        let mut sender =
            start(&hosts, Side::Client, &["send", variant.kind, &address, variant.wish], &homes[0])?;
        sender.answer()?;
        Ok(Stage { hosts, receiver, sender, _homes: homes })
    }

    fn ask(process: &mut Process, command: &str) -> Result<String> {
        process.tell(command);
        Ok(process.answer()?)
    }

    /// Waits until the session has as many links as were wished.
    fn await_links(&mut self, wanted: usize) -> Result<()> {
        for _ in 0..1000 {
            if Stage::ask(&mut self.sender, "links")?.parse::<usize>()? >= wanted {
                return Ok(());
            }
            pause(Duration::from_millis(5));
        }
        Err(format!("the session did not get {wanted} links").into())
    }

    /// Waits until it uses both paths, as far as it was wished to.
    fn await_paths(&mut self, variant: Variant) -> Result<()> {
        match variant {
            SESSION => Ok(()),
            MPTCP => self.await_subflows(),
            _ => self.await_links(2),
        }
    }

    /// Waits until kernel MPTCP has a connection on each path.
    fn await_subflows(&self) -> Result<()> {
        for _ in 0..200 {
            if self.hosts.connections(Side::Client)? >= 2 {
                return Ok(());
            }
            pause(Duration::from_millis(5));
        }
        Err(NO_SUBFLOW.into())
    }

    /// The longest pause, in milliseconds, and bytes in a second, since the mark.
    fn report(&mut self) -> Result<(f64, f64)> {
        let said = Stage::ask(&mut self.receiver, "report")?;
        let (longest, rate) = said.split_once(' ').ok_or("a report without figures")?;
        Ok((longest.parse::<f64>()? / 1000.0, rate.parse()?))
    }
}

fn start(hosts: &Hosts, side: Side, words: &[&str], home: &TempDir) -> Result<Process> {
    let program = std::env::current_exe()?;
    let inside = hosts.inside(side).into_iter().map(PathBuf::from);
    let command = inside.chain([program]).chain(words.iter().map(PathBuf::from)).collect();
    Ok(Process::start(&Runner { name: "bench-move", command }, home.path())?)
}

/// What is measured takes its time.
pub(crate) fn pause(span: Duration) {
    let watch = Stopwatch::start();
    while !watch.left_of(span).is_zero() {
        std::thread::park_timeout(watch.left_of(span));
    }
}

/// The longest pause that the receiver sees when the path breaks.
fn stall(variant: Variant, how: Break) -> Result<f64> {
    let mut stage = Stage::new(variant, None)?;
    Stage::ask(&mut stage.sender, "paced")?;
    stage.await_paths(variant)?;
    let mut resetter = stage.hosts.resetter(Side::Client, 0)?;
    pause(BEFORE);
    Stage::ask(&mut stage.receiver, "mark")?;
    match how {
        Break::Reset => resetter.reset()?,
        Break::Nothing => {}
        Break::LinkDown => stage.hosts.set_link(Side::Client, 0, "down"),
        Break::BlackHole => stage.hosts.black_hole(0, true),
    }
    pause(how.after());
    Ok(stage.report()?.0)
}

/// What part of both paths together bulk gets, in per cent of what the shapers let through.
fn share(variant: Variant, rates: [u32; 2]) -> Result<f64> {
    let mut stage = Stage::new(variant, Some(rates))?;
    Stage::ask(&mut stage.sender, "bulk")?;
    stage.await_paths(variant)?;
    pause(GROWING);
    Stage::ask(&mut stage.receiver, "mark")?;
    pause(MEASURED);
    let (_, bytes_per_s) = stage.report()?;
    let sum = f64::from(rates[0] + rates[1]) * 1e6 / 8.0;
    Ok(bytes_per_s / sum * 100.0)
}

/// All figures, in rounds in which the variants take turns.
pub(crate) fn run() -> Result<()> {
    drop(Hosts::open().ok_or("network namespaces need root, and the tools ip, tc and ss: run it as root")?);
    let mut report = Report::begin(ROUNDS, BEAT_MS);
    let only = std::env::var("ONLY").unwrap_or_default();
    if only != "bulk" {
        stalls(&mut report)?;
    }
    if only != "stall" {
        shares(&mut report)?;
    }
    report.finish()
}

fn stalls(report: &mut Report) -> Result<()> {
    let variants = [SESSION, STANDBY, MPTCP];
    let mut calm = [0.0; 3];
    for (how, name) in [
        (Break::Nothing, "when nothing breaks"),
        (Break::Reset, "after a reset"),
        (Break::LinkDown, "after link down"),
        (Break::BlackHole, "in a black hole"),
    ] {
        let seen = rounds(&variants, how.rounds(), |variant| stall(variant, how))?;
        let medians: Vec<f64> = seen.iter().map(|seen| median(seen)).collect();
        if how == Break::Nothing {
            calm.copy_from_slice(&medians);
        }
        let line = |(at, variant): (usize, &Variant)| Line {
            name: variant.name,
            seen: seen[at].clone(),
            // Nobody stands still for less than he does when nothing breaks.
            must: most(*variant, how).map(|most| most.min(medians[2].max(calm[at]))),
            is_most: true,
        };
        let lines = variants.iter().enumerate().map(line).collect();
        report.table(&format!("longest pause {name}, ms"), lines);
    }
    Ok(())
}

/// How long a variant may stand still, beside what kernel MPTCP takes.
fn most(variant: Variant, how: Break) -> Option<f64> {
    match (variant, how) {
        (MPTCP, _) | (_, Break::Nothing) => None,
        (_, Break::Reset) => Some(10.0),
        (STANDBY, Break::BlackHole) => Some(2.0 * BEAT_MS as f64),
        _ => Some(f64::INFINITY),
    }
}

fn shares(report: &mut Report) -> Result<()> {
    for (rates, must) in [([100, 100], 90.0), ([100, 20], 85.0)] {
        let variants = [BULK, MPTCP];
        let seen = rounds(&variants, ROUNDS, |variant| share(variant, rates))?;
        let lines = variants.iter().zip(&seen).map(|(variant, seen)| Line {
            name: variant.name,
            seen: seen.clone(),
            must: (*variant == BULK).then_some(must),
            is_most: false,
        });
        report
            .table(&format!("bulk over {} and {} Mbit/s, % of the sum", rates[0], rates[1]), lines.collect());
    }
    Ok(())
}

/// Kernel MPTCP does not always get its second connection, and without it there is nothing to compare with.
const NO_SUBFLOW: &str = "kernel MPTCP did not use the second path";
const TRIES: usize = 10;

/// Measures until kernel MPTCP used both paths.
fn again(mut measure: impl FnMut() -> Result<f64>) -> Result<f64> {
    for _ in 1..TRIES {
        match measure() {
            Err(why) if why.to_string() == NO_SUBFLOW => {}
            done => return done,
        }
    }
    measure()
}

/// Figures of each variant, one of each round.
fn rounds(
    variants: &[Variant],
    count: usize,
    mut measure: impl FnMut(Variant) -> Result<f64>,
) -> Result<Vec<Vec<f64>>> {
    let mut seen = vec![Vec::new(); variants.len()];
    for _ in 0..count {
        for (variant, seen) in variants.iter().zip(&mut seen) {
            seen.push(again(|| measure(*variant))?);
        }
    }
    Ok(seen)
}
