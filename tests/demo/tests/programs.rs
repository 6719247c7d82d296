//! The two C programs of the demo compile without a warning, and the director believes nothing but them.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn project() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

#[test]
fn the_c_programs_are_c99_without_a_warning() {
    for name in ["demo_keeper", "demo_sender"] {
        let compiler = std::env::var("CC").unwrap_or_else(|_| "cc".into());
        let mut command = Command::new(compiler);
        command.args([
            "-std=c99",
            "-O2",
            "-Wall",
            "-Wextra",
            "-Wpedantic",
            "-Werror",
            "-c",
            "-o",
            "/dev/null",
        ]);
        command.arg("-I").arg(project().join("include"));
        command.arg(project().join(format!("examples/c/{name}.c")));
        let Output { status, stderr, .. } = command.output().unwrap();
        assert!(status.success(), "{name}: {}", String::from_utf8_lossy(&stderr));
    }
}

/// Runs the director with scripts in place of the C programs, and answers what it said when it failed.
fn failure_with(keeper: &str, sender: &str) -> String {
    let dir = tempfile::tempdir().unwrap();
    for (name, script) in [("demo_keeper", keeper), ("demo_sender", sender)] {
        let program = dir.path().join(name);
        std::fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).unwrap();
    }
    let file = dir.path().join("file");
    std::fs::write(&file, "a few bytes").unwrap();
    let mut director = Command::new(env!("CARGO_BIN_EXE_clerver-demo"));
    let output = director.arg("--programs").arg(dir.path()).arg("--file").arg(file).output().unwrap();
    assert!(!output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn an_actor_that_fails_or_ends_fails_the_demo() {
    let listens = "echo listening address=127.0.0.1:9; read -r line";
    let cases = [
        ("echo failed to listen: no port", "", "keeper: failed to listen: no port"),
        ("exit 0", "", "keeper ended before its time"),
        (listens, "echo failed to begin: nobody answers", "sender: failed to begin: nobody answers"),
        (listens, "exit 0", "sender ended before its time"),
    ];
    for (keeper, sender, said) in cases {
        let failure = failure_with(keeper, sender);
        assert!(failure.contains(said), "{failure}");
    }
}
