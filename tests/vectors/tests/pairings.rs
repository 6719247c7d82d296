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

/// Those of the languages whose packages `make test` installs: it names the interpreters that have them.
fn installed(name: &'static str, variable: &str, program: &str) -> Option<Runner> {
    let Some(interpreter) = std::env::var_os(variable) else {
        clerver_programs::skip(
            &format!("vectors with {name}"),
            &format!("{variable} is not set, as `make test` does"),
        );
        return None;
    };
    Some(Runner { name, command: vec![interpreter.into(), cases::directory().join(program)] })
}

fn python() -> Option<Runner> {
    installed("Python", "TEST_PYTHON", "python/runner.py")
}

fn node() -> Option<Runner> {
    installed("Node", "TEST_NODE", "../../bindings/node/test/runner.mjs")
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

/// Both ways, where both are there.
fn play_both_ways(one: Option<Runner>, other: Option<Runner>) {
    if let (Some(one), Some(other)) = (one, other) {
        play_all(&one, &other);
        play_all(&other, &one);
    }
}

#[test]
fn python_to_python() {
    if let Some(python) = python() {
        play_all(&python, &python);
    }
}

#[test]
fn node_to_node() {
    if let Some(node) = node() {
        play_all(&node, &node);
    }
}

#[test]
fn python_to_rust_and_back() {
    play_both_ways(python(), Some(rust()));
}

#[test]
fn python_to_c_and_back() {
    play_both_ways(python(), Some(C.clone()));
}

#[test]
fn python_to_node_and_back() {
    play_both_ways(python(), node());
}

#[test]
fn node_to_rust_and_back() {
    play_both_ways(node(), Some(rust()));
}

#[test]
fn node_to_c_and_back() {
    play_both_ways(node(), Some(C.clone()));
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
