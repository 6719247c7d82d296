//! The checker's own test: every deliberate bug must be caught, by an invariant that fits it, and the same runs must
//! pass without it.

use crate::checker::Invariant::{self, I1, I2, I3, I4, I5, I7, I8, I14, Scenario};
use crate::cli;
use crate::plan::Plan;
use crate::rng::mix;
use crate::world::{self, Outcome};
use crate::{restarts, scenarios, swarm};
use clerver_proto::node::Canary;

/// Seeds that a scenario is run with before it counts as blind.
const TRIES: u64 = 40;

/// Where a bug shows, and as what.
#[derive(Debug)]
struct Trap {
    canary: Canary,
    scenarios: &'static [&'static str],
    invariants: &'static [Invariant],
}

const TRAPS: &[Trap] = &[
    Trap {
        canary: Canary::EvictNewestLink,
        scenarios: &["half_open", "bulk_over_two_links"],
        invariants: &[I2, I14, Scenario],
    },
    Trap {
        canary: Canary::LeaseByAnyTraffic,
        scenarios: &["black_hole_closes_for_the_dialler", "black_hole_closes_for_the_acceptor"],
        invariants: &[I7],
    },
    Trap {
        canary: Canary::SweepAtLeaseEnd,
        scenarios: &["partition_fast_holder", "partition_slow_holder"],
        invariants: &[I7],
    },
    Trap {
        canary: Canary::SessionWideWindow,
        scenarios: &["stopped_reader_a_minute"],
        invariants: &[I14, I2],
    },
    Trap {
        canary: Canary::DestroyAtGraceEnd,
        scenarios: &["stuck_handler", "stuck_user"],
        invariants: &[I8],
    },
    Trap {
        canary: Canary::IgnoreTable,
        scenarios: &["snapshot_clone_of_the_dialler", "snapshot_clone_of_the_acceptor"],
        invariants: &[I1, I2, I3, I5, Scenario],
    },
    Trap {
        canary: Canary::DropStateFrames,
        scenarios: &["reset_every_256k_8mib_both_ways", "broken_channels", "resets_all_day"],
        invariants: &[I2, I14],
    },
    // In the world of restarts, which has a checker of its own.
    Trap { canary: Canary::LackBeforeStore, scenarios: &["stored_reader_dies"], invariants: &[] },
    Trap { canary: Canary::IgnoreN, scenarios: &["late_session_frame"], invariants: &[I2, I3, I4, Scenario] },
];

/// The names of all canaries.
pub(crate) fn names() -> Vec<String> {
    Canary::ALL.iter().map(|canary| format!("{canary:?}")).collect()
}

/// The canary of this name.
pub(crate) fn by_name(name: &str) -> Option<Canary> {
    Canary::ALL.iter().copied().find(|canary| format!("{canary:?}") == name)
}

/// Sets every trap; answers whether all bugs were caught.
pub(crate) fn run() -> bool {
    let (mut passed, mut failed) = (0, 0);
    for &canary in Canary::ALL {
        let caught = TRAPS.iter().find(|trap| trap.canary == canary).is_some_and(spring);
        if caught {
            passed += 1;
        } else {
            failed += 1;
            println!("FAIL canary {canary:?} was not caught");
        }
    }
    cli::summary(passed, failed)
}

/// Runs a trap's scenarios with the bug until one fails in the right way.
fn spring(trap: &Trap) -> bool {
    if let Some(scenario) = trap.scenarios.iter().find_map(|name| restarts::by_name(name)) {
        return spring_with_stores(trap, scenario);
    }
    let mut runs = 0;
    for seed in 1..=TRIES {
        for name in trap.scenarios {
            let Some(plan) = scenarios::by_name(name) else {
                println!("FAIL canary {:?}: no scenario {name}", trap.canary);
                return false;
            };
            runs += 1;
            let Some(outcome) = caught(trap, &plan, seed) else { continue };
            return is_honest(trap, &plan, seed, runs, name, &outcome);
        }
    }
    println!("     canary {:?}: {runs} runs of {:?} saw nothing", trap.canary, trap.scenarios);
    in_swarm(trap)
}

/// In the world of restarts: some seed must fail, and must not without the bug.
fn spring_with_stores(trap: &Trap, scenario: &restarts::Scenario) -> bool {
    let run = |seed| restarts::run(scenario, seed, Some(trap.canary)).err().map(|what| (seed, what));
    let Some((seed, what)) = (1..=TRIES).find_map(run) else {
        println!("FAIL canary {:?}: {} saw nothing", trap.canary, scenario.name);
        return false;
    };
    let short: String = what.chars().take(140).collect();
    println!("ok   {:?}: {}, seed {seed}: {short}", trap.canary, scenario.name);
    restarts::run(scenario, seed, None).is_ok()
}

fn caught(trap: &Trap, plan: &Plan, seed: u64) -> Option<Outcome> {
    let outcome = world::run(plan, seed, Some(trap.canary), false);
    let invariant = outcome.failure.as_ref().map(|failure| failure.invariant)?;
    trap.invariants.contains(&invariant).then_some(outcome)
}

/// The same run must pass without the bug.
fn is_honest(trap: &Trap, plan: &Plan, seed: u64, runs: u64, name: &str, outcome: &Outcome) -> bool {
    let clean = world::run(plan, seed, None, false);
    if clean.failure.is_some() {
        cli::report(
            &format!("canary={:?} off, {name} seed={seed}", trap.canary),
            "without the canary",
            &clean,
        );
        return false;
    }
    let failure = outcome.failure.as_ref().map(ToString::to_string).unwrap_or_default();
    let short: String = failure.chars().take(140).collect();
    println!("ok   {:?}: run {runs} ({name}, seed {seed}): {short}", trap.canary);
    true
}

/// Seeds of the swarm, when no scenario sees the bug.
fn in_swarm(trap: &Trap) -> bool {
    for index in 0..2000 {
        let seed = mix(index);
        let plan = swarm::plan(seed);
        if let Some(outcome) = caught(trap, &plan, seed) {
            return is_honest(trap, &plan, seed, index + 1, "swarm", &outcome);
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_canary_has_a_trap_in_scenarios_that_exist() {
        for canary in Canary::ALL {
            let trap = TRAPS.iter().find(|trap| trap.canary == *canary);
            let scenarios = trap.map(|trap| trap.scenarios).unwrap_or_default();
            assert!(!scenarios.is_empty(), "{canary:?}");
            let is_there =
                |name: &&str| scenarios::by_name(name).is_some() || restarts::by_name(name).is_some();
            assert!(scenarios.iter().all(is_there), "{canary:?}");
        }
    }
}
