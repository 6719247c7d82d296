//! The command line: which runs, how many, and what is printed of them.
//!
//! Each mode ends with a line `N passed, N failed` for the script that adds them up. A failure prints one line with
//! its seed, and how to run it again.

use crate::checker::{Failure, Invariant};
use crate::plan::{Plan, SEC};
use crate::rng::mix;
use crate::world::{self, Outcome};
use crate::{canaries, restarts, scenarios, swarm};
use clerver_proto::node::Canary;
use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

/// Every so many seeds are run twice, to see the same bytes (I17).
const TWICE: u64 = 64;
/// The seed of a named scenario, unless another one is asked for.
const SCENARIO_SEED: u64 = 1;

const HELP: &str = "\
clerver-sim: the deterministic simulator

  --seeds N [--from S]          N seeds of the swarm, the i-th being mix(S + i); stops at the first failure
      --keep-going              and does not stop
  --seed N [--trace]            one seed again
  --scenarios                   every named scenario
  --scenario NAME [--seed N] [--trace]
      --canary NAME             of one seed or scenario: with this deliberate bug
  --canaries                    every deliberate bug must be caught
  --list                        names of scenarios and canaries";

#[derive(Debug, Default)]
struct Arguments {
    modes: Vec<&'static str>,
    seeds: u64,
    from: u64,
    seed: Option<u64>,
    scenario: Option<String>,
    trace: bool,
    canary: Option<Canary>,
    keep_going: bool,
}

/// Runs the command; `arguments` are those after the program's name.
pub fn main(arguments: impl Iterator<Item = String>) -> ExitCode {
    world::catch_panics();
    let arguments = match parse(arguments) {
        Ok(arguments) => arguments,
        Err(what) => {
            eprintln!("clerver-sim: {what}\n\n{HELP}");
            return ExitCode::from(2);
        }
    };
    let fine = match (arguments.modes.as_slice(), &arguments.scenario, arguments.seed) {
        (["list"], _, _) => list(),
        (["scenarios"], _, _) => all_scenarios(),
        (["canaries"], _, _) => canaries::run(),
        (["seeds"], _, _) => seeds(&arguments),
        ([], Some(name), seed) => match scenarios::by_name(name) {
            Some(plan) => replay(&plan, seed.unwrap_or(SCENARIO_SEED), &arguments),
            None if restarts::by_name(name).is_some() => restarts::by_name(name)
                .is_some_and(|scenario| replay_restarts(scenario, seed.unwrap_or(0), arguments.canary)),
            None => {
                eprintln!("clerver-sim: no scenario \"{name}\"; see --list");
                return ExitCode::from(2);
            }
        },
        ([], None, Some(seed)) => replay(&swarm::plan(seed), seed, &arguments),
        _ => {
            eprintln!("{HELP}");
            return ExitCode::from(2);
        }
    };
    if fine { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn parse(mut given: impl Iterator<Item = String>) -> Result<Arguments, String> {
    let mut arguments = Arguments::default();
    while let Some(word) = given.next() {
        let mut number = || -> Result<u64, String> {
            let text = given.next().ok_or(format!("{word} needs a number"))?;
            text.parse().map_err(|_| format!("{word} needs a number, not \"{text}\""))
        };
        match word.as_str() {
            "--list" => arguments.modes.push("list"),
            "--scenarios" => arguments.modes.push("scenarios"),
            "--canaries" => arguments.modes.push("canaries"),
            "--seeds" => {
                arguments.modes.push("seeds");
                arguments.seeds = number()?;
            }
            "--from" => arguments.from = number()?,
            "--seed" => arguments.seed = Some(number()?),
            "--scenario" => arguments.scenario = Some(given.next().ok_or("--scenario needs a name")?),
            "--keep-going" => arguments.keep_going = true,
            "--canary" => {
                let name = given.next().ok_or("--canary needs a name")?;
                arguments.canary = Some(canaries::by_name(&name).ok_or(format!("no canary \"{name}\""))?);
            }
            "--trace" => arguments.trace = true,
            other => return Err(format!("what is \"{other}\"?")),
        }
    }
    Ok(arguments)
}

/// The result of all modes, in the words that the test script reads.
pub(crate) fn summary(passed: u64, failed: u64) -> bool {
    println!("{passed} passed, {failed} failed");
    failed == 0
}

fn list() -> bool {
    scenarios::all().iter().for_each(|plan| println!("scenario {}", plan.name));
    restarts::all().iter().for_each(|scenario| println!("scenario {}", scenario.name));
    canaries::names().iter().for_each(|name| println!("canary {name}"));
    true
}

/// One line about a failure, and how to see it again.
pub(crate) fn report(what: &str, again: &str, outcome: &Outcome) {
    if let Some(failure) = &outcome.failure {
        let time = outcome.time as f64 / SEC as f64;
        println!("FAIL {what} steps={} time={time:.6} {failure}", outcome.steps);
        println!("     again: {again}");
    }
}

/// A run, and the same again: its bytes must be the same (I17).
fn run_twice(plan: &Plan, seed: u64) -> Outcome {
    let mut first = world::run(plan, seed, None, false);
    let second = world::run(plan, seed, None, false);
    if first.failure.is_none() && (first.hash, first.steps) != (second.hash, second.steps) {
        let what = format!("two runs differ: {:016x} and {:016x}", first.hash, second.hash);
        first.failure = Some(Failure { invariant: Invariant::I17, what });
    }
    first
}

fn all_scenarios() -> bool {
    let (mut passed, mut failed) = (0, 0);
    for plan in scenarios::all() {
        let outcome = run_twice(&plan, SCENARIO_SEED);
        if outcome.failure.is_none() {
            passed += 1;
            let time = outcome.time / SEC;
            println!("ok   {:44} {:>8} steps {time:>4} virtual seconds", plan.name, outcome.steps);
        } else {
            failed += 1;
            let again = format!("clerver-sim --scenario {} --trace", plan.name);
            report(&format!("scenario={} seed={SCENARIO_SEED}", plan.name), &again, &outcome);
        }
    }
    for scenario in restarts::all() {
        let (good, bad) = all_seeds_of(scenario);
        (passed, failed) = (passed + good, failed + bad);
    }
    summary(passed, failed)
}

/// A scenario of restarts, with all its seeds.
fn all_seeds_of(scenario: &restarts::Scenario) -> (u64, u64) {
    let failure =
        (0..restarts::SEEDS).find_map(|seed| Some((seed, restarts::run(scenario, seed, None).err()?)));
    let Some((seed, what)) = failure else {
        println!("ok   {:44} {:>8} seeds", scenario.name, restarts::SEEDS);
        return (1, 0);
    };
    println!("FAIL scenario={} seed={seed} {what}", scenario.name);
    println!("     again: clerver-sim --scenario {} --seed {seed}", scenario.name);
    (0, 1)
}

fn replay_restarts(scenario: &restarts::Scenario, seed: u64, canary: Option<Canary>) -> bool {
    let result = restarts::run(scenario, seed, canary);
    if let Err(what) = &result {
        println!("FAIL scenario={} seed={seed} {what}", scenario.name);
    }
    summary(u64::from(result.is_ok()), u64::from(result.is_err()))
}

fn replay(plan: &Plan, seed: u64, arguments: &Arguments) -> bool {
    if arguments.trace {
        println!("{plan:#?}");
    }
    let outcome = world::run(plan, seed, arguments.canary, arguments.trace);
    println!("seed={seed} steps={} hash={:016x}", outcome.steps, outcome.hash);
    print_tallies(&outcome.tallies);
    report(&format!("seed={seed}"), &format!("make sim SEED={seed}"), &outcome);
    let failed = u64::from(outcome.failure.is_some());
    summary(1 - failed, failed)
}

fn print_tallies(tallies: &BTreeMap<String, u64>) {
    let words: Vec<String> = tallies.iter().map(|(name, count)| format!("{name} {count}")).collect();
    println!("{}", words.join(", "));
}

/// What the threads of `seeds` share.
#[derive(Debug, Default)]
struct Progress {
    next: AtomicU64,
    done: AtomicU64,
    steps: AtomicU64,
    stop: AtomicBool,
    /// Failures by number, with their seeds.
    failed: Mutex<BTreeMap<u64, (u64, Outcome)>>,
    tallies: Mutex<BTreeMap<String, u64>>,
}

#[expect(clippy::disallowed_methods, reason = "the progress line tells real seconds; no run reads them")]
fn seeds(arguments: &Arguments) -> bool {
    let count = arguments.seeds;
    let progress = Progress::default();
    let started = Instant::now();
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| work(&progress, arguments));
        }
        let mut told = 0;
        while progress.done.load(Ordering::Relaxed) < count && !progress.stop.load(Ordering::Relaxed) {
            std::thread::park_timeout(std::time::Duration::from_millis(200));
            let seconds = started.elapsed().as_secs();
            if seconds >= told + 5 {
                told = seconds;
                let done = progress.done.load(Ordering::Relaxed);
                println!(
                    "{done} of {count} seeds, {:.0} a second",
                    done as f64 / started.elapsed().as_secs_f64()
                );
            }
        }
    });
    let (seconds, done) = (started.elapsed().as_secs_f64(), progress.done.load(Ordering::Relaxed));
    let failed = progress.failed.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner());
    let tallies = progress.tallies.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner());
    print_tallies(&tallies);
    let steps = progress.steps.load(Ordering::Relaxed);
    println!("{done} seeds, {steps} steps, {seconds:.1} s, {:.0} seeds a second", done as f64 / seconds);
    let shown = if arguments.keep_going { failed.len() } else { 1 };
    for (seed, outcome) in failed.values().take(shown) {
        report(&format!("seed={seed}"), &format!("make sim SEED={seed}"), outcome);
    }
    summary(done.saturating_sub(failed.len() as u64), failed.len() as u64)
}

/// Runs seeds until there are none left, or one failed somewhere.
fn work(progress: &Progress, arguments: &Arguments) {
    loop {
        let index = progress.next.fetch_add(1, Ordering::Relaxed);
        if index >= arguments.seeds || progress.stop.load(Ordering::Relaxed) {
            return;
        }
        let seed = mix(arguments.from.wrapping_add(index));
        let plan = swarm::plan(seed);
        let outcome = if index.is_multiple_of(TWICE) {
            run_twice(&plan, seed)
        } else {
            world::run(&plan, seed, None, false)
        };
        progress.done.fetch_add(1, Ordering::Relaxed);
        progress.steps.fetch_add(outcome.steps, Ordering::Relaxed);
        if let Ok(mut tallies) = progress.tallies.lock() {
            for (name, count) in &outcome.tallies {
                let sum = tallies.entry(name.clone()).or_insert(0);
                *sum = if name.starts_with("slowest") { (*sum).max(*count) } else { *sum + count };
            }
        }
        if outcome.failure.is_some() {
            progress.stop.store(!arguments.keep_going, Ordering::Relaxed);
            if let Ok(mut failed) = progress.failed.lock() {
                failed.insert(index, (seed, outcome));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Result<Arguments, String> {
        parse(text.split_whitespace().map(String::from))
    }

    #[test]
    fn arguments_are_read_or_refused() {
        let arguments = words("--seeds 20 --from 7").expect("both are known");
        assert_eq!((arguments.seeds, arguments.from), (20, 7));
        assert!(words("--seeds many").is_err());
        assert!(words("--seed").is_err());
        assert!(words("--frobnicate").is_err());
    }

    #[test]
    fn a_scenario_gives_the_same_bytes_twice() {
        let plan = scenarios::by_name("resets_all_day").expect("it is listed");
        let hashes = [0, 1].map(|_| world::run(&plan, 3, None, false).hash);
        assert_eq!(hashes[0], hashes[1]);
    }
}
