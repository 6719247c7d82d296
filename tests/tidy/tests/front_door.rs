//! The sum that `make test` prints, with a stand-in for cargo: each failure must show in the last line.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A directory with a `cargo` that answers as the script says; `$*` holds its arguments.
fn stand_in(name: &str, script: &str) -> PathBuf {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::create_dir_all(&dir).expect("a directory for the stand-in");
    let body = format!(
        "#!/bin/sh\ncase \"$*\" in *--version*) exit 0;; esac\n{script}\ncase \"$*\" in\n\
         test*) echo 'test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out';;\n\
         run*) echo 'sim: 10 passed, 0 failed, 0 skipped';;\nesac\n"
    );
    let cargo = dir.join("cargo");
    std::fs::write(&cargo, body).expect("the stand-in");
    let made = Command::new("chmod").arg("+x").arg(&cargo).status().expect("chmod");
    assert!(made.success());
    dir
}

fn run(name: &str, script: &str) -> (bool, String) {
    let dir = stand_in(name, script);
    let path = format!("{}:{}", dir.display(), std::env::var("PATH").unwrap_or_default());
    let test =
        Path::new(&std::env::var("CARGO_MANIFEST_DIR").expect("run it by cargo")).join("../tools/test.sh");
    let Output { status, stdout, .. } =
        Command::new(test).env("PATH", path).env("CLERVER_NO_INSTALL", "1").output().expect("test.sh runs");
    let last = String::from_utf8_lossy(&stdout).lines().last().unwrap_or_default().to_string();
    (status.success(), last)
}

// Parts: format, clippy and the fuzzer's build 1 each,
// two test runs 3 each and 1 ignored each, three simulator runs 10 each.
#[test]
fn all_parts_are_summed() {
    assert_eq!(run("good", ""), (true, "39 passed, 0 failed, 2 skipped".into()));
}

#[test]
fn every_failure_shows() {
    let cases = [
        ("format", "case \"$*\" in fmt*) exit 1;; esac", "38 passed, 1 failed, 2 skipped"),
        (
            "no-build",
            "case \"$*\" in *--workspace*--exclude*) exit 101;; esac",
            "36 passed, 1 failed, 1 skipped",
        ),
        (
            "tests",
            "case \"$*\" in *--exclude*) echo 'test result: FAILED. 1 passed; 2 failed; 0 ignored; 0 measured'; exit 101;; esac",
            "37 passed, 2 failed, 1 skipped",
        ),
        ("silent-sim", "case \"$*\" in *--canaries*) exit 0;; esac", "29 passed, 1 failed, 2 skipped"),
        (
            "seed",
            "case \"$*\" in *--seeds*) echo 'progress 5 passed, 0 failed'; echo '1998 passed, 2 failed'; exit 1;; esac",
            "2027 passed, 2 failed, 2 skipped",
        ),
        (
            "lying-sim",
            "case \"$*\" in *--scenarios*) echo '9 passed, 0 failed, 0 skipped'; exit 1;; esac",
            "38 passed, 1 failed, 2 skipped",
        ),
    ];
    for (name, script, last) in cases {
        assert_eq!(run(name, script), (false, last.to_string()), "{name}");
    }
}

#[test]
fn a_skipped_test_is_not_a_passed_one() {
    let script = "case \"$*\" in *--exclude*) echo 'hosts: needs root' >>\"$SKIPPED_TESTS_FILE\";; esac";
    assert_eq!(run("skips", script), (true, "38 passed, 0 failed, 3 skipped".into()));
}
