//! `make bench`: what a session costs from C, beside raw TLS 1.3 by the same program, in two processes each.
//!
//! `c/` has the programs that measure; this is their director. It starts a client and a server of both kinds for each
//! regime, lets them measure in turns for some rounds, and prints medians. A ratio is the median of the ratios of the
//! rounds: what else the machine does in a round hits both.

mod idle;
mod machine;
mod pair;
mod report;
mod rounds;
mod syscalls;

use clerver_programs::{Library, Profile};
use machine::Regime;
use pair::Bench;
use report::Report;

const USAGE: &str = "clerver-bench [--quick] [--rounds N] [--json FILE]
  --quick   one tiny round with the debug library: does it run at all?
  --json    writes the figures to this file too; so does BENCH_JSON=FILE";

/// What a run is to do.
struct Plan {
    profile: Profile,
    regimes: Vec<Regime>,
    rounds: usize,
    /// How long one measurement takes.
    slice_ms: u64,
    /// How many idle sessions.
    sessions: u64,
    json: Option<String>,
}

fn plan() -> Result<Plan, String> {
    let mut plan = Plan {
        profile: Profile::Release,
        regimes: Regime::possible(),
        rounds: 5,
        slice_ms: 400,
        sessions: 2000,
        json: std::env::var("BENCH_JSON").ok().filter(|path| !path.is_empty()),
    };
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or_else(|| format!("{argument} wants a value\n{USAGE}"));
        match &*argument {
            "--quick" => {
                plan.profile = Profile::Debug;
                plan.regimes = vec![Regime::Free];
                (plan.rounds, plan.slice_ms, plan.sessions) = (1, 30, 20);
            }
            "--rounds" => plan.rounds = value()?.parse().map_err(|_| USAGE.to_owned())?,
            "--json" => plan.json = Some(value()?),
            _ => return Err(USAGE.into()),
        }
    }
    Ok(plan)
}

fn run() -> Result<(), String> {
    let plan = plan()?;
    let library = Library::build(plan.profile, "bench").map_err(|error| error.to_string())?;
    let sources = ["tests/bench/c/bench.c", "tests/bench/c/raw.c", "tests/bench/c/session.c"];
    let program = library.compile(&sources, &["-lssl", "-lcrypto"]).map_err(|error| error.to_string())?;
    let bench = Bench::new(program)?;
    let mut report = Report::default();
    report.begin(&machine::describe(), plan.rounds, plan.profile == Profile::Release);
    for &regime in &plan.regimes {
        report.regime(regime, &rounds::measure(&bench, regime, plan.rounds, plan.slice_ms)?);
    }
    report.idle(&idle::measure(&bench, plan.sessions)?);
    report.syscalls(&syscalls::measure(&bench, plan.slice_ms)?);
    if let Some(path) = plan.json {
        std::fs::write(&path, report.json()).map_err(|error| format!("{path}: {error}"))?;
    }
    Ok(())
}

fn main() -> std::process::ExitCode {
    match run() {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("bench: {why}");
            std::process::ExitCode::FAILURE
        }
    }
}
