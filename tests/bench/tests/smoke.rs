//! The bench compiles and runs a tiny round. What it measures is nobody's business here.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::process::Command;

#[test]
fn a_quick_round_runs_and_has_every_figure() {
    let json = tempfile::NamedTempFile::new().unwrap();
    let mut bench = Command::new(env!("CARGO_BIN_EXE_clerver-bench"));
    let done = bench.args(["--quick", "--json"]).arg(json.path()).output().unwrap();
    let said = String::from_utf8_lossy(&done.stdout);
    assert!(done.status.success(), "{said}\n{}", String::from_utf8_lossy(&done.stderr));
    let json = std::fs::read_to_string(json.path()).unwrap();
    for key in ["call_inline_p50_us", "call_worker_p99_us", "stream_64k_mb_per_s", "stream_64b_m_per_s"] {
        let (_, line) = json.split_once(&format!("\"{key}\": {{\"raw\": ")).unwrap();
        let figures = line.split(|c: char| !c.is_ascii_digit() && c != '.').filter(|word| !word.is_empty());
        let figures: Vec<f64> = figures.filter_map(|word| word.parse().ok()).take(3).collect();
        assert!(figures.len() == 3 && figures.iter().all(|figure| *figure > 0.0), "{key} in {json}");
    }
    assert!(json.contains("\"idle_bytes\"") && !json.contains("NaN") && !json.contains("inf"), "{json}");
    assert!(said.contains("system calls per 64 B call"), "{said}");
}
