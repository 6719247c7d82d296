//! `make bench` and `make bench-scale`: what sessions cost from C, beside raw TLS 1.3 by the same program in the same
//! run. docs/bench.md says what the figures mean.
//!
//! `c/` has the programs that measure; this is their director. It starts clients and servers of both kinds, lets them
//! measure in turns for some rounds, and prints medians. A ratio is the median of the ratios of the rounds: what else
//! the machine does in a round hits both. It judges nothing: a goal that is not reached is printed, and that is all.

mod connect;
mod cost;
mod figure;
mod idle;
mod machine;
mod pair;
mod report;
mod rounds;
mod scale;

use clerver_programs::{Library, Profile};
use machine::Regime;
use pair::Bench;
use report::Report;

const USAGE: &str =
    "clerver-bench [--scale] [--quick] [--rounds N] [--sessions N] [--only ID,..] [--json FILE]
  --scale      many sessions and slow paths, minutes; else calls and streams, 2 minutes
  --quick      one tiny round with the debug library: does it run at all?
  --rounds     how often everything is measured (5)
  --sessions   how many live sessions --scale makes (100000), and at most in a storm (10000)
  --only       of --scale only these of F5, F9, F11, F12
  --json       writes the figures to this file too; so does BENCH_JSON=FILE";

/// What a run is to do.
struct Plan {
    profile: Profile,
    is_quick: bool,
    rounds: usize,
    /// How long one measurement takes.
    slice_ms: u64,
    /// How many idle sessions.
    idle_sessions: u64,
    /// What of the large is wanted; nothing of it when it is not there.
    scale: Option<scale::Plan>,
    json: Option<String>,
}

fn plan() -> Result<Plan, String> {
    let mut plan = Plan {
        profile: Profile::Release,
        is_quick: false,
        rounds: 5,
        slice_ms: 350,
        idle_sessions: 2000,
        scale: None,
        json: std::env::var("BENCH_JSON").ok().filter(|path| !path.is_empty()),
    };
    let mut scale = scale::Plan::whole();
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or_else(|| format!("{argument} wants a value\n{USAGE}"));
        match &*argument {
            "--scale" => plan.scale = Some(scale.clone()),
            "--quick" => {
                (plan.profile, plan.is_quick) = (Profile::Debug, true);
                (plan.rounds, plan.slice_ms, plan.idle_sessions) = (1, 30, 20);
                scale = scale.quick();
            }
            "--rounds" => plan.rounds = number(&value()?)?,
            "--sessions" => {
                scale.sessions = number(&value()?)?;
                scale.storm = scale.storm.min(scale.sessions);
            }
            "--only" => scale.only = value()?.split(',').map(str::to_uppercase).collect(),
            "--json" => plan.json = Some(value()?),
            _ => return Err(USAGE.into()),
        }
    }
    plan.scale = plan.scale.map(|_| scale);
    Ok(plan)
}

fn number<T: std::str::FromStr>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("\"{text}\" is no number\n{USAGE}"))
}

/// What `make bench` measures.
fn measure(bench: &Bench, plan: &Plan, report: &mut Report) -> Result<(), String> {
    let regimes = if plan.is_quick { vec![Regime::OneCpu] } else { Regime::possible() };
    for regime in regimes {
        let figures = rounds::measure(bench, regime, plan.rounds, plan.slice_ms)?;
        report.table(regime.name(), &format!("{}: {}", regime.name(), regime.about()), &figures);
    }
    let connect = connect::measure(bench, plan.rounds, plan.slice_ms)?;
    report.table("connect", "connect: from nothing to the first reply, 1cpu", &connect);
    let (cost, why) = cost::measure(bench, plan.rounds, plan.slice_ms / 2)?;
    report.table("cost", "cost: of a 64 B call, both processes, 1cpu", &cost);
    if let Some(why) = why {
        report.note(&format!("system calls are not counted: {why}"));
    }
    let count = plan.idle_sessions;
    let heading = format!("memory: resident for each of {count} idle connections, beyond the first few");
    report.table("memory", &heading, &idle::measure(bench, count)?);
    Ok(())
}

fn run() -> Result<(), String> {
    let plan = plan()?;
    let library = Library::build(plan.profile, "bench").map_err(|error| error.to_string())?;
    let sources = SOURCES.map(|name| format!("tests/bench/c/{name}.c"));
    let sources: Vec<&str> = sources.iter().map(String::as_str).collect();
    let program = library.compile(&sources, &["-lssl", "-lcrypto"]).map_err(|error| error.to_string())?;
    let bench = Bench::new(program)?;
    let mut report = Report::default();
    let is_release = plan.profile == Profile::Release;
    match &plan.scale {
        None => {
            let what = "from C beside raw OpenSSL TLS 1.3 over TCP, two processes each";
            report.begin(what, &machine::describe(), plan.rounds, is_release);
            measure(&bench, &plan, &mut report)?;
        }
        Some(scale) => {
            let what = "from C: many sessions, storms and slow paths";
            report.begin(what, &machine::describe(), scale.rounds, is_release);
            scale::measure(&bench, scale, &mut report)?;
        }
    }
    report.missing(&bench.missing());
    if let Some(path) = plan.json {
        std::fs::write(&path, report.json()).map_err(|error| format!("{path}: {error}"))?;
    }
    Ok(())
}

/// The programs in C; the first one gives them its name.
const SOURCES: [&str; 14] = [
    "bench", "calls", "common", "connect", "held", "idle", "load", "lone", "many", "push", "raw", "raw_many",
    "session", "stream",
];

fn main() -> std::process::ExitCode {
    match run() {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("bench: {why}");
            std::process::ExitCode::FAILURE
        }
    }
}
