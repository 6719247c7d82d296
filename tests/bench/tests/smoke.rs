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
fn a_handful_of_sessions_has_every_figure_of_scale() {
    let (said, json) = quick(&["--scale", "--only", "f5,f9,f11"]);
    for key in [
        "session_server_kib",
        "session_client_kib",
        "server_cores_per_100k",
        "sessions_live",
        "registered_live",
    ] {
        assert!(number(figure(&json, key), "session") > 0.0, "{key} in {json}");
    }
    assert_measured(&json, &["object_attach_us", "queue_ns_per_byte", "deliver_ns_per_byte"]);
    assert_measured(&json, &["registered_per_s", "attached_per_s"]);
    assert!(number(figure(&json, "cut_lost_share"), "session") < 1.0, "{said}");
    assert!(!json.contains("NaN") && !json.contains("inf"), "{json}");
}

#[test]
fn a_beat_on_a_slow_path_is_measured_where_that_is_possible() {
    let (said, json) = quick(&["--scale", "--only", "f12"]);
    if let Some((_, why)) = said.split_once("F12 is not measured: ") {
        return clerver_programs::skip("a_beat_on_a_slow_path_is_measured", why.lines().next().unwrap());
    }
    assert!(number(figure(&json, "beat_10_mbit_p99_ms"), "session") > 0.0, "{json}");
    // Whether a beat gets through at all is what is measured.
    assert!(figure(&json, "beat_100_kbit_p99_ms").contains("\"must\": 500"), "{json}");
}

#[test]
fn a_wrong_argument_is_told() {
    let done = Command::new(env!("CARGO_BIN_EXE_clerver-bench")).arg("--sessions").output().unwrap();
    assert!(!done.status.success());
    assert!(String::from_utf8_lossy(&done.stderr).contains("--sessions wants a value"));
}
