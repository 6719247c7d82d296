//! Compiling and running C and C++ programs.

use crate::library;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread::JoinHandle;
use std::time::Duration;
use tempfile::TempDir;

/// Long enough for any machine; nothing waits this long when all is well.
const SOON: Duration = Duration::from_secs(20);

const WARNINGS: [&str; 5] = ["-Wall", "-Wextra", "-Wpedantic", "-Werror", "-pthread"];

/// A path from the root of the project.
pub(crate) fn root(path: &str) -> PathBuf {
    library::root().join(path)
}

pub(crate) fn read(path: &str) -> String {
    std::fs::read_to_string(root(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// True when a program can be run here.
pub(crate) fn has(program: &str) -> bool {
    Command::new(program).arg("--version").output().is_ok_and(|output| output.status.success())
}

/// What pkg-config says about another library, or nothing when it is not there.
pub(crate) fn package(name: &str) -> Option<Vec<String>> {
    let output = Command::new("pkg-config").args(["--cflags", "--libs", name]).output().ok()?;
    let words = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| words.split_whitespace().map(str::to_owned).collect())
}

/// An address of this machine that no other test, and no other run of the tests, uses.
pub(crate) fn address() -> (String, u16) {
    static NEXT: AtomicU16 = AtomicU16::new(4000);
    let [_, _, high, low] = std::process::id().to_be_bytes();
    (format!("127.64.{high}.{low}"), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// The same as one word.
pub(crate) fn place() -> String {
    let (host, port) = address();
    format!("{host}:{port}")
}

/// A directory with the library, programs made against it, and their home.
pub(crate) struct Workshop {
    directory: TempDir,
    is_impatient: bool,
}

impl Workshop {
    pub(crate) fn new() -> Workshop {
        let directory = tempfile::tempdir().unwrap();
        library::link_into(directory.path());
        std::fs::create_dir(directory.path().join("home")).unwrap();
        Workshop { directory, is_impatient: false }
    }

    /// For programs that are killed: their peers count them as gone soon.
    pub(crate) fn impatient() -> Workshop {
        Workshop { is_impatient: true, ..Workshop::new() }
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Compiles a source of the project with all warnings as errors, and links it.
    pub(crate) fn compile(&self, compiler: &str, standard: &str, source: &str, more: &[String]) -> PathBuf {
        let program = self.path().join(source.replace(['/', '.'], "_"));
        let directory = self.path().display();
        let mut command = Self::compiler(compiler, standard, source);
        command.arg("-o").arg(&program).args(more);
        command.args([format!("-L{directory}"), "-lclerver".into(), format!("-Wl,-rpath,{directory}")]);
        Self::run_compiler(&mut command, source);
        program
    }

    /// Only asks whether a compiler takes a source.
    pub(crate) fn check(compiler: &str, standard: &str, source: &str, more: &[String]) {
        let mut command = Self::compiler(compiler, standard, source);
        // Nothing is linked, and clang warns of what it does not use.
        command.arg("-fsyntax-only").args(more.iter().filter(|word| !word.starts_with("-l")));
        Self::run_compiler(&mut command, source);
    }

    fn compiler(compiler: &str, standard: &str, source: &str) -> Command {
        let mut command = Command::new(compiler);
        command
            .arg(format!("-std={standard}"))
            .args(WARNINGS)
            .arg("-I")
            .arg(root("include"))
            .arg(root(source));
        command
    }

    fn run_compiler(command: &mut Command, source: &str) {
        let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        assert!(
            output.status.success(),
            "{source}\n{command:?}\n{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }

    /// Starts a program in the home of this workshop.
    pub(crate) fn start<'a>(&self, program: &Path, words: impl IntoIterator<Item = &'a str>) -> Program {
        let mut command = Command::new(program);
        // The options of whoever runs the tests are not for the tests.
        for (name, _) in
            std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("CLERVER_"))
        {
            command.env_remove(name);
        }
        if self.is_impatient {
            command.env("CLERVER_BEAT_MS", "500").env("CLERVER_TTL_MS", "4000");
            // Or it would find the way around the network that the test breaks.
            command.env("CLERVER_ANNOUNCE", "false");
        }
        command.env("CLERVER_HOME", self.path().join("home")).args(words);
        Program::start(command)
    }
}

/// A running program; it does not outlive this value.
pub(crate) struct Program {
    name: String,
    child: Child,
    input: Option<ChildStdin>,
    lines: Receiver<String>,
    complaints: Option<JoinHandle<String>>,
}

impl Program {
    fn start(mut command: Command) -> Program {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let (sender, lines) = channel();
        let output = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || {
            // Nobody listens any more once the test is over.
            output.lines().map_while(Result::ok).all(|line| sender.send(line).is_ok())
        });
        let mut errors = child.stderr.take().unwrap();
        let complaints = Some(std::thread::spawn(move || {
            let mut text = String::new();
            errors.read_to_string(&mut text).unwrap_or_default();
            text
        }));
        let input = child.stdin.take();
        Program { name: format!("{command:?}"), child, input, lines, complaints }
    }

    /// Writes a line to its standard input.
    pub(crate) fn tell(&mut self, line: &str) {
        writeln!(self.input.as_mut().unwrap(), "{line}").unwrap();
    }

    /// Ends its standard input.
    pub(crate) fn finish_input(&mut self) {
        self.input = None;
    }

    /// The next line of its output; nothing after the last one.
    pub(crate) fn line(&mut self) -> Option<String> {
        match self.lines.recv_timeout(SOON) {
            Ok(line) => Some(line),
            Err(RecvTimeoutError::Disconnected) => None,
            Err(RecvTimeoutError::Timeout) => self.fail("it says nothing"),
        }
    }

    /// The next line must be this one.
    pub(crate) fn says(&mut self, wanted: &str) {
        let line = self.line();
        if line.as_deref() != Some(wanted) {
            self.fail(&format!("it said {line:?} instead of {wanted:?}"));
        }
    }

    /// Some later line must be this one; those before it are passed over.
    pub(crate) fn says_later(&mut self, wanted: &str) {
        while let Some(line) = self.line() {
            if line == wanted {
                return;
            }
        }
        self.fail(&format!("it never said {wanted:?}"));
    }

    /// The next line must begin like this; answers the rest up to a semicolon.
    pub(crate) fn says_rest_of(&mut self, wanted: &str) -> String {
        let line = self.line().unwrap_or_default();
        let Some(rest) = line.strip_prefix(wanted) else {
            self.fail(&format!("it said {line:?} instead of {wanted:?}"))
        };
        rest.split(';').next().unwrap().to_owned()
    }

    /// All lines up to its end, which must come by itself, its status, and what it wrote to standard error.
    pub(crate) fn rest(mut self) -> (Vec<String>, ExitStatus, String) {
        let lines = std::iter::from_fn(|| self.line()).collect();
        let status = self.child.wait().unwrap();
        (lines, status, self.complaints.take().unwrap().join().unwrap())
    }

    /// As `rest`, of a program that must be content.
    pub(crate) fn good_rest(self) -> Vec<String> {
        let name = self.name.clone();
        let (lines, status, complaints) = self.rest();
        assert!(status.success(), "{name}: {status}\n{}\n{complaints}", lines.join("\n"));
        lines
    }

    /// Asks it to end.
    pub(crate) fn terminate(&self) {
        let done = Command::new("kill").arg(self.child.id().to_string()).status().unwrap();
        assert!(done.success());
    }

    /// Ends it at once, as a crash would.
    pub(crate) fn kill(mut self) {
        self.end();
    }

    fn fail(&mut self, what: &str) -> ! {
        let complaints = self.end();
        panic!("{}: {what}\n{complaints}", self.name)
    }

    /// Ends it; what it wrote to standard error.
    fn end(&mut self) -> String {
        // Both fail only when it has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
        self.complaints.take().map_or_else(String::new, |complaints| complaints.join().unwrap_or_default())
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.end();
    }
}
