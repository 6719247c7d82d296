//! Processes that die and come back with their stores (S6, D1): the promise of stored channels, cell by cell.
//!
//! A world of its own, smaller than the other one: two processes, one stored channel, and a checker that knows what was
//! written, confirmed, read and done with (I1, I9, I11 as far as an application can tell).

mod app;
mod world;

use app::Ledger;
use clerver_proto::error::{Code, Error};
use clerver_proto::node::Canary;
use std::time::Duration;
use world::{READER, WRITER, World};

/// Who dies, and who has a store.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    has_store: [bool; 2],
    dies: [bool; 2],
    /// In the end the session is lost, and nothing else happened.
    is_lost: Option<Code>,
    /// An old copy of this disk comes back in the place of the newest one.
    backup: Option<usize>,
}

const BOTH: [bool; 2] = [true; 2];
const PLAIN: Scenario = Scenario { name: "", has_store: BOTH, dies: [false; 2], is_lost: None, backup: None };

const ALL: &[Scenario] = &[
    Scenario { name: "stored_nobody_dies", ..PLAIN },
    Scenario { name: "stored_reader_dies", dies: [false, true], ..PLAIN },
    Scenario { name: "stored_writer_dies", dies: [true, false], ..PLAIN },
    Scenario { name: "stored_both_die", dies: BOTH, ..PLAIN },
    Scenario {
        name: "stored_writer_dies_reader_without_store",
        has_store: [true, false],
        dies: [true, false],
        ..PLAIN
    },
    Scenario {
        name: "stored_reader_dies_without_store",
        has_store: [true, false],
        dies: [false, true],
        is_lost: Some(Code::Lost),
        ..PLAIN
    },
    Scenario { name: "stored_backup_of_the_writer", dies: [true, false], backup: Some(WRITER), ..PLAIN },
    Scenario { name: "stored_backup_of_the_reader", dies: [false, true], backup: Some(READER), ..PLAIN },
];

/// Messages of one run.
const MESSAGES: u64 = 60;
/// Steps in which things go wrong.
const TROUBLE: u64 = 1500;
/// Steps after which everything must have come to pass.
const PATIENCE: u64 = 60_000;
/// Seeds of one scenario.
pub(crate) const SEEDS: u64 = 100;

pub(crate) fn all() -> &'static [Scenario] {
    ALL
}

pub(crate) fn by_name(name: &str) -> Option<&'static Scenario> {
    ALL.iter().find(|scenario| scenario.name == name)
}

/// Runs one seed of a scenario.
pub(crate) fn run(scenario: &Scenario, seed: u64, canary: Option<Canary>) -> Result<(), String> {
    let mut world = World::new(seed, scenario.has_store, canary);
    let mut ledger = Ledger::default();
    let mut copy = None;
    let copied_at = world.rng.range(TROUBLE / 4, TROUBLE / 2);
    let is_eager = world.rng.percent(50);
    for step in 0..TROUBLE + PATIENCE {
        world.step();
        for who in [WRITER, READER].into_iter().filter(|_| step < TROUBLE) {
            let is_up = world.machines[who].process.is_some();
            // Before it is stored that there is a session, nobody was promised anything.
            let is_known = !scenario.has_store[who] || !world.machines[who].disk.synced.is_empty();
            if scenario.dies[who] && is_up && is_known && world.rng.below(250) == 0 {
                world.kill(who);
            } else if !is_up && world.rng.percent(2) {
                world.start(who);
            }
        }
        if step < TROUBLE && world.rng.below(150) == 0 {
            world.cut_all();
        }
        if let Some(who) = scenario.backup {
            if step == copied_at {
                copy = Some(world.machines[who].disk.clone());
            } else if step == TROUBLE {
                world.kill(who);
                world.machines[who].disk = copy.take().unwrap_or_default();
            }
        }
        if step == TROUBLE {
            for who in [WRITER, READER] {
                if world.machines[who].process.is_none() {
                    world.start(who);
                }
            }
        }
        let lost = world
            .machines
            .iter()
            .flat_map(|machine| &machine.process)
            .find_map(|process| process.lost.clone());
        if let Some(why) = lost {
            if world.was_never_promised(&ledger) {
                continue;
            }
            return after_loss(scenario, &why, step);
        }
        if step % 3 == 0 {
            let result = world.write(&mut ledger, MESSAGES);
            forgive(scenario, step, result)?;
        }
        let result = world.read(&mut ledger, MESSAGES, is_eager);
        forgive(scenario, step, result)?;
        if world.is_read(&ledger, MESSAGES) && step > TROUBLE {
            return if scenario.is_lost.is_some() { Err("nothing was lost".into()) } else { Ok(()) };
        }
    }
    let spent = Duration::from_nanos(world.now.0);
    Err(format!("after {spent:?} not everything was read: {}", world.tell(&ledger)))
}

/// A backup takes promises back; that must be told as a loss, and never as other bytes.
fn forgive(scenario: &Scenario, step: u64, result: Result<(), String>) -> Result<(), String> {
    match result {
        Err(what) if scenario.backup.is_some() && step >= TROUBLE && !what.contains("other bytes") => {
            let is_knowledge = what.contains("were confirmed")
                || what.contains("are done with")
                || what.contains("nothing is left")
                || what.contains("did not say so");
            if is_knowledge { Ok(()) } else { Err(what) }
        }
        other => other,
    }
}

fn after_loss(scenario: &Scenario, why: &Error, step: u64) -> Result<(), String> {
    let is_backup = scenario.backup.is_some() && step >= TROUBLE;
    let code = why.code;
    match scenario.is_lost {
        Some(wanted) if wanted == code => Ok(()),
        None if is_backup && matches!(code, Code::Discontinuity | Code::Fenced | Code::Lost) => Ok(()),
        _ => Err(format!("step {step}: the session was lost: {why}")),
    }
}
