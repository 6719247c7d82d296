//! Every case in all pairings of the runners.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use clerver_programs::{Library, Profile, Runner};
use clerver_vectors::cases::{self, Step};
use clerver_vectors::director::Stage;
use std::collections::BTreeSet;
use std::sync::LazyLock;

static C: LazyLock<Runner> = LazyLock::new(|| {
    let library = Library::build(Profile::Debug, "vectors").unwrap();
    Runner { name: "C", command: vec![library.compile(&["tests/vectors/c/runner.c"], &[]).unwrap()] }
});

fn rust() -> Runner {
    Runner { name: "Rust", command: vec![env!("CARGO_BIN_EXE_clerver-vectors-runner").into()] }
}

fn node() -> Runner {
    let runner = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../bindings/node/test/runner.mjs");
    Runner { name: "Node", command: vec!["node".into(), runner] }
}

/// Cases that are played at the same time: most of them wait for the network or a TTL.
const LANES: usize = 3;

/// Plays all cases; VECTORS_CASE=name plays one.
fn play_all(client: &Runner, server: &Runner) {
    let only = std::env::var("VECTORS_CASE").ok();
    let mut cases = cases::load(&cases::directory()).unwrap();
    cases.retain(|case| only.as_ref().is_none_or(|only| *only == case.name));
    assert!(!cases.is_empty(), "no such case");
    let play_lane = |lane: usize| {
        let mut stage = Stage::new(client, server).unwrap();
        let cases = cases.iter().skip(lane).step_by(LANES);
        cases.filter_map(|case| stage.play(case).err()).collect::<Vec<String>>()
    };
    let failures: Vec<String> = std::thread::scope(|scope| {
        let lanes: Vec<_> = (0..LANES)
            .map(|lane| {
                scope.spawn({
                    let play_lane = &play_lane;
                    move || play_lane(lane)
                })
            })
            .collect();
        lanes.into_iter().flat_map(|lane| lane.join().unwrap()).collect()
    });
    let (failed, all) = (failures.len(), cases.len());
    assert!(failures.is_empty(), "{failed} of {all} cases failed:\n{}", failures.join("\n"));
}

#[test]
fn rust_to_rust() {
    play_all(&rust(), &rust());
}

#[test]
fn rust_to_c() {
    play_all(&rust(), &C);
}

#[test]
fn c_to_rust() {
    play_all(&C, &rust());
}

#[test]
fn c_to_c() {
    play_all(&C, &C);
}

#[test]
fn node_to_node() {
    play_all(&node(), &node());
}

#[test]
fn node_to_rust() {
    play_all(&node(), &rust());
}

#[test]
fn rust_to_node() {
    play_all(&rust(), &node());
}

#[test]
fn node_to_c() {
    play_all(&node(), &C);
}

#[test]
fn c_to_node() {
    play_all(&C, &node());
}

/// The first column of the tables of the README.
fn vocabulary() -> BTreeSet<String> {
    let page = std::fs::read_to_string(cases::directory().join("README.md")).unwrap();
    let verbs = page.lines().filter_map(|line| line.strip_prefix("| `"));
    verbs.map(|line| line.split([' ', '`']).next().unwrap().to_owned()).collect()
}

#[test]
fn the_vocabulary_is_closed_and_used() {
    let cases = cases::load(&cases::directory()).unwrap();
    let names: BTreeSet<&str> = cases.iter().map(|case| &case.name[..]).collect();
    assert_eq!(names.len(), cases.len(), "two cases have one name");
    let steps = cases.iter().flat_map(|case| &case.steps).map(|text| Step::read(text).unwrap());
    let mut used: BTreeSet<String> =
        steps.map(|step| step.command.split(' ').next().unwrap().to_owned()).collect();
    // The director's own.
    used.extend(["listen", "open"].map(str::to_owned));
    assert_eq!(used, vocabulary(), "what the cases use is what the README describes");
}
