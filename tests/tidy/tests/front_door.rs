//! The sum that `make test` prints, with stand-ins for cargo and the tools of the packages: each failure must show in
//! the last line.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A directory with a `cargo` and tools of the packages that answer as the script says; `$*` holds their arguments.
fn stand_in(name: &str, script: &str) -> PathBuf {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::create_dir_all(&dir).expect("a directory for the stand-in");
    let body = format!(
        "#!/bin/sh\ncase \"$*\" in *--version*) exit 0;; esac\n{script}\ncase \"$*\" in\n\
         test*) echo 'test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out';;\n\
         run*) echo 'sim: 10 passed, 0 failed, 0 skipped';;\nesac\n"
    );
    let package = format!("#!/bin/sh\n{script}\ncase \"$*\" in test) cat \"$0.said\";; esac\n");
    let node = "tests 6\npass 4\nfail 0\ncancelled 0\nskipped 2\n";
    for (tool, said) in [("python-package", "4 passed, 1 skipped in 0.10s\n"), ("node-package", node)] {
        std::fs::write(dir.join(format!("{tool}.said")), said).expect("what the tests say");
    }
    for (tool, body) in [("cargo", &body), ("python-package", &package), ("node-package", &package)] {
        let tool = dir.join(tool);
        std::fs::write(&tool, body).expect("the stand-in");
        let made = Command::new("chmod").arg("+x").arg(&tool).status().expect("chmod");
        assert!(made.success());
    }
    dir
}

fn run(name: &str, script: &str) -> (bool, String) {
    let dir = stand_in(name, script);
    let path = format!("{}:{}", dir.display(), std::env::var("PATH").unwrap_or_default());
    let test =
        Path::new(&std::env::var("CARGO_MANIFEST_DIR").expect("run it by cargo")).join("../tools/test.sh");
    let mut test = Command::new(test);
    test.env("PATH", path)
        .env("CLERVER_NO_INSTALL", "1")
        .env("PYTHON_PACKAGE_TOOL", dir.join("python-package"))
        .env("NODE_PACKAGE_TOOL", dir.join("node-package"));
    let Output { status, stdout, .. } = test.output().expect("test.sh runs");
    let last = String::from_utf8_lossy(&stdout).lines().last().unwrap_or_default().to_string();
    (status.success(), last)
}

// Parts: format, clippy and the fuzzer's build 1 each, the Python package 1 and its tests 4 with 1 skipped, the Node
// package 1 and its tests 4 with 2 skipped, two test runs 3 each and 1 ignored each, three simulator runs 10 each.
#[test]
fn all_parts_are_summed() {
    assert_eq!(run("good", ""), (true, "49 passed, 0 failed, 5 skipped".into()));
}

#[test]
fn every_failure_shows() {
    let cases = [
        ("format", "case \"$*\" in fmt*) exit 1;; esac", "48 passed, 1 failed, 5 skipped"),
        (
            "no-build",
            "case \"$*\" in *--workspace*--exclude*) exit 101;; esac",
            "46 passed, 1 failed, 4 skipped",
        ),
        (
            "tests",
            "case \"$*\" in *--exclude*) echo 'test result: FAILED. 1 passed; 2 failed; 0 ignored; 0 measured'; exit 101;; esac",
            "47 passed, 2 failed, 4 skipped",
        ),
        (
            "pytest",
            "case \"$0 $*\" in *python-package\\ test) echo '1 failed, 2 passed, 1 error in 2.00s'; exit 1;; esac",
            "47 passed, 2 failed, 4 skipped",
        ),
        (
            "no-package",
            "case \"$0 $*\" in *python-package\\ install) exit 1;; esac",
            "48 passed, 1 failed, 5 skipped",
        ),
        (
            "silent-pytest",
            "case \"$0 $*\" in *python-package\\ test) exit 0;; esac",
            "45 passed, 1 failed, 4 skipped",
        ),
        (
            "silent-node",
            "case \"$0 $*\" in *node-package\\ test) exit 0;; esac",
            "45 passed, 1 failed, 3 skipped",
        ),
        (
            "node",
            "case \"$0 $*\" in *node-package\\ test) printf 'tests 3\\npass 1\\nfail 1\\ncancelled 1\\n'; exit 1;; esac",
            "46 passed, 2 failed, 3 skipped",
        ),
        ("silent-sim", "case \"$*\" in *--canaries*) exit 0;; esac", "39 passed, 1 failed, 5 skipped"),
        (
            "seed",
            "case \"$*\" in *--seeds*) echo 'progress 5 passed, 0 failed'; echo '1998 passed, 2 failed'; exit 1;; esac",
            "2037 passed, 2 failed, 5 skipped",
        ),
        (
            "lying-sim",
            "case \"$*\" in *--scenarios*) echo '9 passed, 0 failed, 0 skipped'; exit 1;; esac",
            "48 passed, 1 failed, 5 skipped",
        ),
    ];
    for (name, script, last) in cases {
        assert_eq!(run(name, script), (false, last.to_string()), "{name}");
    }
}

#[test]
fn a_skipped_test_is_not_a_passed_one() {
    let script = "case \"$*\" in *--exclude*) echo 'hosts: needs root' >>\"$SKIPPED_TESTS_FILE\";; esac";
    assert_eq!(run("skips", script), (true, "48 passed, 0 failed, 6 skipped".into()));
}
