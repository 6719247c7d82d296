//! The bench compiles, and a tiny round of everything runs. What it measures is nobody's business here.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::process::Command;
use std::sync::{Mutex, PoisonError};

/// One run at a time: each compiles the programs anew, to the same place.
static RUN: Mutex<()> = Mutex::new(());

/// What a quick run with these arguments said, and its JSON.
fn quick(arguments: &[&str]) -> (String, String) {
    let _run = RUN.lock().unwrap_or_else(PoisonError::into_inner);
    let json = tempfile::NamedTempFile::new().unwrap();
    let mut bench = Command::new(env!("CARGO_BIN_EXE_clerver-bench"));
    let done = bench.arg("--quick").args(arguments).arg("--json").arg(json.path()).output().unwrap();
    let said = String::from_utf8_lossy(&done.stdout).into_owned();
    assert!(done.status.success(), "{said}\n{}", String::from_utf8_lossy(&done.stderr));
    (said, std::fs::read_to_string(json.path()).unwrap())
}

/// The object of a figure in the JSON, from its title on.
fn figure<'a>(json: &'a str, key: &str) -> &'a str {
    let row = json.lines().find(|line| line.trim_start().starts_with(&format!("\"{key}\": {{")));
    row.unwrap_or_else(|| panic!("no {key} in {json}"))
}

fn number(row: &str, field: &str) -> f64 {
    let rest = row.split_once(&format!("\"{field}\": ")).unwrap_or_else(|| panic!("no {field} in {row}")).1;
    let end = rest.find([',', '}']).unwrap();
    rest[..end].parse().unwrap_or_else(|_| panic!("{field} is no number in {row}"))
}

/// All of them are there and more than nothing, each with its base.
fn assert_measured(json: &str, keys: &[&str]) {
    for key in keys {
        let row = figure(json, key);
        for field in ["session", "base", "ratio"] {
            assert!(number(row, field) > 0.0, "{field} of {row}");
        }
    }
}

#[test]
fn a_quick_round_has_every_figure() {
    let (said, json) = quick(&[]);
    assert_measured(
        &json,
        &[
            "call_inline_p50_us",
            "call_inline_p99_us",
            "call_worker_p50_us",
            "call_worker_p99_us",
            "callers_8_k_per_s",
            "push_p99_us",
            "stream_64k_mb_per_s",
            "stream_64k_handed_mb_per_s",
            "stream_64b_m_per_s",
            "lone_p50_us",
            "fair_same_session_p99_ms",
            "fair_other_session_p99_ms",
            "connect_p50_ms",
            "call_worker_cpu_us",
            "call_worker_switches",
            "idle_server_kib",
        ],
    );
    let call = figure(&json, "call_inline_p50_us");
    assert!(call.contains("\"must\": 1.25, \"aim\": 1.1, \"reached\": "), "{call}");
    assert!(number(call, "session_cpu_us") > 0.0, "{call}");
    assert!(said.contains("<= 1.25x (1.1x): "), "{said}");
    assert!(said.contains("system calls"), "counted, or why not: {said}");
    assert!(!json.contains("NaN") && !json.contains("inf"), "{json}");
}

#[test]
fn a_wrong_argument_is_told() {
    let done = Command::new(env!("CARGO_BIN_EXE_clerver-bench")).arg("--rounds").output().unwrap();
    assert!(!done.status.success());
    assert!(String::from_utf8_lossy(&done.stderr).contains("--rounds wants a value"));
}
