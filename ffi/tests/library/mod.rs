//! The library as this profile builds it, and the programs that look at it.
#![allow(dead_code, reason = "each test program uses a part of it")]

pub(crate) use clerver_programs::skip;
use clerver_programs::{Profile, build_library, link_library};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

/// That of this test.
pub(crate) const PROFILE: Profile = if cfg!(debug_assertions) { Profile::Debug } else { Profile::Release };

/// The project. Asked at run time, because two clones may share a target directory.
pub(crate) fn root() -> PathBuf {
    let manifest = std::env::var("CARGO_MANIFEST_DIR").expect("run it by cargo");
    Path::new(&manifest).parent().unwrap().to_owned()
}

pub(crate) fn target() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap().to_owned()
}

/// The directory of libclerver.so and libclerver.a, which are built once for all tests of a program.
pub(crate) fn built() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| build_library(&root(), PROFILE, &target()).unwrap())
}

/// The shared library, beside the programs in a directory.
pub(crate) fn link_into(programs: &Path) {
    link_library(built(), programs).unwrap();
}

/// What a program printed; a program that fails, fails the test.
pub(crate) fn output(command: &mut Command) -> String {
    let output = command
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("{:?}: {error}", command.get_program()));
    let (out, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?}: {}\n{out}{errors}", output.status);
    out.into_owned()
}

/// As [`output`], for a program that must fail; answers what it said.
pub(crate) fn failure(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output().expect("a program that can be run");
    let (out, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(!output.status.success(), "{command:?} did not fail:\n{out}{errors}");
    format!("{out}{errors}")
}

/// The C compiler with the warnings that our header must not give.
pub(crate) fn compiler() -> Command {
    let mut compiler = Command::new("gcc");
    compiler.args(["-std=c99", "-Wall", "-Wextra", "-Wpedantic", "-Werror"]);
    compiler
}

/// Whether all programs are there; if not, the test is counted as skipped.
pub(crate) fn have(test: &str, programs: &[&str]) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let is_there = |program: &str| std::env::split_paths(&path).any(|place| place.join(program).is_file());
    let missing: Vec<&str> = programs.iter().copied().filter(|program| !is_there(program)).collect();
    if !missing.is_empty() {
        skip(test, &format!("needs {}", missing.join(", ")));
    }
    missing.is_empty()
}
