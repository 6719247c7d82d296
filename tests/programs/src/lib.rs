//! Builds libclerver by cargo and compiles C programs against it and the committed header, for tests and the bench.
//!
//! The programs find the library beside them by the name that its soname says, so that they need no environment.
//! [`Process`] drives a program, in any language, line by line.

pub mod hosts;
mod process;

pub use process::{Process, Runner};

use std::ffi::OsStr;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

/// How the library is built.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Profile {
    /// Quick to build, with checks.
    Debug,
    /// As users have it.
    Release,
}

impl Profile {
    /// What cargo calls it in the target directory.
    pub fn directory(self) -> &'static str {
        match self {
            Profile::Debug => "debug",
            Profile::Release => "release",
        }
    }
}

/// What every C program of the project is compiled with.
const FLAGS: [&str; 7] = ["-std=c99", "-O2", "-g", "-Wall", "-Wextra", "-Wpedantic", "-Werror"];
/// As the build script of the library says it.
const SONAME: &str = "libclerver.so.0";

/// A library that was built, and a directory for programs.
#[derive(Debug, Clone)]
pub struct Library {
    root: PathBuf,
    programs: PathBuf,
}

impl Library {
    /// Builds the library and prepares a directory for the programs of `user`, some package.
    ///
    /// # Errors
    /// What cargo or the system said.
    pub fn build(profile: Profile, user: &str) -> io::Result<Library> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize()?;
        let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
        let target = root.join(target);
        let built = build_library(&root, profile, &target)?;
        let programs = target.join("programs").join(profile.directory()).join(user);
        std::fs::create_dir_all(&programs)?;
        link_library(&built, &programs)?;
        Ok(Library { root, programs })
    }

    /// Compiles source files, named from the root of the project, into a program of the first one's name; `libraries`
    /// are flags such as `-lssl`.
    ///
    /// # Errors
    /// What the compiler or the system said.
    pub fn compile(&self, sources: &[&str], libraries: &[&str]) -> io::Result<PathBuf> {
        let sources: Vec<PathBuf> = sources.iter().map(|source| self.root.join(source)).collect();
        let stem = sources.first().and_then(|source| source.file_stem());
        let program = self.programs.join(stem.unwrap_or_else(|| OsStr::new("program")));
        let mut cc = Command::new(std::env::var_os("CC").unwrap_or_else(|| "cc".into()));
        cc.args(FLAGS).arg("-pthread").arg("-I").arg(self.root.join("include"));
        cc.arg("-o")
            .arg(&program)
            .args(&sources)
            .arg("-L")
            .arg(&self.programs)
            .arg("-lclerver")
            .args(libraries);
        cc.arg("-Wl,-rpath,$ORIGIN");
        run(&mut cc)?;
        Ok(program)
    }
}

/// Builds libclerver of the project at `root` into `target`, for cargo does not make it for a test, and answers the
/// directory of libclerver.so and libclerver.a.
///
/// # Errors
/// What cargo or the system said.
pub fn build_library(root: &Path, profile: Profile, target: &Path) -> io::Result<PathBuf> {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["build", "--quiet", "--locked", "--package", "clerver-ffi", "--target-dir"]).arg(target);
    if profile == Profile::Release {
        cargo.arg("--release");
    }
    run(cargo.current_dir(root))?;
    Ok(target.join(profile.directory()))
}

/// Puts the shared library that was built beside programs, under the names that linker and loader look for.
///
/// # Errors
/// What the system said.
pub fn link_library(built: &Path, programs: &Path) -> io::Result<()> {
    [SONAME, "libclerver.so"]
        .iter()
        .try_for_each(|name| link(&built.join("libclerver.so"), &programs.join(name)))
}

/// Counts a test, or a part of one, as skipped: CONTRIBUTING.md says how.
pub fn skip(test: &str, why: &str) {
    println!("skipped: {test}: {why}");
    let Some(list) = std::env::var_os("SKIPPED_TESTS_FILE") else { return };
    let written = std::fs::OpenOptions::new()
        .append(true)
        .create(true)
        .open(&list)
        .and_then(|mut list| writeln!(list, "{test}: {why}"));
    if let Err(error) = written {
        panic!("count a skipped test in {}: {error}", list.display());
    }
}

/// A symbolic link that replaces what was there.
fn link(to: &Path, at: &Path) -> io::Result<()> {
    match std::fs::remove_file(at) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    std::os::unix::fs::symlink(to, at)
}

fn run(command: &mut Command) -> io::Result<()> {
    let done = command.output()?;
    if done.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    Err(io::Error::other(format!("{command:?}: {}\n{said}", done.status)))
}
