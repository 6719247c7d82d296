//! The test programs of `tests/c`, each built as C and as C++ against the header and the shared library,
//! and run with a home of its own.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod library;

use library::{root, skip};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use tempfile::TempDir;

/// How a program is compiled and run.
#[derive(Clone, Copy)]
struct Way {
    name: &'static str,
    compiler: &'static str,
    language: &'static [&'static str],
    flags: &'static [&'static str],
    /// What runs it, before its path.
    runner: &'static [&'static str],
    environment: &'static [(&'static str, &'static str)],
    is_run: bool,
}

const C: Way = Way {
    name: "C",
    compiler: "gcc",
    language: &["-std=c99"],
    flags: &[],
    runner: &[],
    environment: &[],
    is_run: true,
};

const CPP: Way =
    Way { name: "C++", compiler: "g++", language: &["-x", "c++", "-std=c++11"], flags: &[], ..C };

/// For programs that take long, and do nothing else in C++.
const BUILT_AS_CPP: Way = Way { is_run: false, ..CPP };

/// The library is built without it; what it does with the program's memory is seen all the same, and so is
/// what it allocates and leaks.
const ASAN: Way = Way {
    name: "C with ASAN and UBSAN",
    flags: &["-fsanitize=address,undefined", "-fno-sanitize-recover=all"],
    environment: &[("ASAN_OPTIONS", "detect_leaks=1")],
    ..C
};

const VALGRIND: Way = Way {
    name: "C under valgrind",
    runner: &[
        "valgrind",
        "--quiet",
        "--fair-sched=yes",
        "--leak-check=full",
        "--errors-for-leak-kinds=definite",
        "--error-exitcode=99",
    ],
    ..C
};

const WARNINGS: &[&str] = &["-Wall", "-Wextra", "-Wpedantic", "-Werror"];

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Builds one program, or says why not.
fn build(source: &Path, way: Way, directory: &Path) -> Result<PathBuf, String> {
    let root = root();
    let program = directory.join("program");
    let output = Command::new(way.compiler)
        .args(way.language)
        .args(WARNINGS)
        .args(["-g", "-O1", "-pthread", "-I"])
        .arg(root.join("include"))
        .args(way.flags)
        .arg(source)
        .arg("-o")
        .arg(&program)
        .arg("-L")
        .arg(directory)
        .arg(format!("-Wl,-rpath,{}", directory.display()))
        .arg("-lclerver")
        .output()
        .map_err(|error| format!("{}: {error}", way.compiler))?;
    if output.status.success() { Ok(program) } else { Err(text(&output)) }
}

/// Runs one program of `tests/c` one way.
fn check(name: &str, way: Way) -> Result<(), String> {
    let (directory, home) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    library::link_into(directory.path());
    let source = root().join("tests/c").join(format!("{name}.c"));
    let failed = |what: &str, said: String| format!("{name} as {}: {what}\n{said}\n", way.name);
    let program = build(&source, way, directory.path()).map_err(|said| failed("does not compile", said))?;
    if !way.is_run {
        return Ok(());
    }
    let mut words = way.runner.iter().map(std::ffi::OsStr::new).chain([program.as_os_str()]);
    let output = Command::new(words.next().unwrap())
        .args(words)
        .env("CLERVER_HOME", home.path())
        .envs(way.environment.iter().copied())
        .current_dir(home.path())
        .output()
        .map_err(|error| failed("does not start", error.to_string()))?;
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        if let Some(why) = line.strip_prefix("SKIPPED ") {
            skip(&format!("{name} as {}", way.name), why);
        }
    }
    if output.status.success() { Ok(()) } else { Err(failed(&output.status.to_string(), text(&output))) }
}

fn check_all(name: &str, ways: &[Way]) {
    let mut said = String::new();
    for way in ways {
        if let Err(failed) = check(name, *way) {
            write!(said, "\n{failed}").unwrap();
        }
    }
    assert!(said.is_empty(), "{said}");
}

macro_rules! programs {
    ($($name:ident: $ways:expr;)*) => {
        const PROGRAMS: &[&str] = &[$(stringify!($name)),*];
        $(
            #[test]
            fn $name() {
                check_all(stringify!($name), &$ways);
            }
        )*
    };
}

// Those that count and measure what ASAN would change run without it.
programs! {
    arguments: [C, CPP, ASAN];
    calls: [C, CPP, ASAN];
    channels: [C, CPP, ASAN];
    deferred: [C, CPP, ASAN];
    descriptors: [C, CPP, ASAN];
    embalming: [C, CPP, ASAN];
    forks: [C, CPP];
    handles: [C, CPP, ASAN];
    later: [C, CPP, ASAN];
    loops: [C, CPP, ASAN];
    many: [C, BUILT_AS_CPP];
    memory: [C, BUILT_AS_CPP];
    moves: [C, CPP, ASAN];
    objects: [C, CPP, ASAN];
    stored: [C, CPP, ASAN];
    threads: [C, CPP, ASAN];
}

#[test]
fn every_program_is_a_test() {
    let mut found: Vec<String> = std::fs::read_dir(root().join("tests/c"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "c"))
        .map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned())
        .collect();
    found.sort();
    assert_eq!(found, PROGRAMS);
}

#[test]
fn every_function_of_the_header_is_called_by_a_program() {
    let header = std::fs::read_to_string(root().join("include/clerver.h")).unwrap();
    let declared = header.lines().filter_map(|line| {
        if line.starts_with([' ', '#', '/', '}', 't']) {
            return None;
        }
        let (before, _) = line.split_once('(')?;
        let name = before.rsplit([' ', '*']).next()?;
        name.starts_with("clv_").then(|| name.to_owned())
    });
    let mut sources = String::new();
    for entry in std::fs::read_dir(root().join("tests/c")).unwrap() {
        sources += &std::fs::read_to_string(entry.unwrap().path()).unwrap();
    }
    let (declared, missing): (Vec<String>, Vec<String>) =
        declared.partition(|name| sources.contains(&format!("{name}(")));
    assert!(missing.is_empty(), "no program calls {missing:?}");
    assert!(declared.len() > 60, "only {} functions found: is this the header?", declared.len());
}

#[test]
fn valgrind_finds_no_error_and_no_leak() {
    if Command::new("valgrind").arg("--version").output().is_err() {
        return skip("valgrind_finds_no_error_and_no_leak", "valgrind is not installed");
    }
    check_all("calls", &[VALGRIND]);
}
