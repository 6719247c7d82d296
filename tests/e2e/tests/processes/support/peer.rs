//! A helper process: commands in, answers and events out, and everything it said so far when a test fails.

use super::{Home, LONG};
use clerver_e2e::words::unquote;
use clerver_proto::error::Code;
use clerver_proxy::Stopwatch;
use parking_lot::{Condvar, Mutex};
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Lines of a log that are printed when a test fails.
const SHOWN_LINES: usize = 120;

/// Everything that was said to and by a helper, with the time since its start.
struct Log {
    lines: Mutex<Vec<(Duration, String)>>,
    bell: Condvar,
    watch: Stopwatch,
}

impl Log {
    fn add(&self, line: String) {
        self.lines.lock().push((self.watch.elapsed(), line));
        self.bell.notify_all();
    }
}

/// An error that a helper got, as a user reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) code: String,
    pub(crate) class: String,
    pub(crate) message: String,
    pub(crate) remedy: String,
}

impl Refusal {
    /// Reads `CODE class MESSAGE REMEDY`.
    pub(crate) fn read(words: &str) -> Refusal {
        let mut words = words.split_whitespace().map(unquote);
        let mut next = || words.next().unwrap_or_default();
        Refusal { code: next(), class: next(), message: next(), remedy: next() }
    }

    /// Whether it is this code, of its class, and says what happened and what to do.
    pub(crate) fn is(&self, code: Code) -> bool {
        let whole = !self.message.is_empty() && !self.remedy.is_empty();
        self.code == code.name() && self.class == code.class().name() && whole
    }
}

/// See the module. Dropping it ends the process.
pub(crate) struct Peer {
    pub(crate) home: Arc<Home>,
    name: &'static str,
    child: Mutex<Child>,
    input: Mutex<Option<ChildStdin>>,
    log: Arc<Log>,
    next: AtomicU64,
}

/// A command that was given and is not answered yet.
pub(crate) struct Asked<'a> {
    peer: &'a Peer,
    number: u64,
    command: String,
}

impl Peer {
    /// A helper with a host key of its own.
    pub(crate) fn start(name: &'static str) -> Peer {
        Peer::start_in(name, Arc::new(Home::new()))
    }

    /// A helper with the host key of this home.
    pub(crate) fn start_in(name: &'static str, home: Arc<Home>) -> Peer {
        Peer::run(name, home, Command::new(env!("CARGO_BIN_EXE_clerver-e2e-peer")))
    }

    /// A helper with a host key of its own, started by another program.
    pub(crate) fn start_by(name: &'static str, starter: &[String]) -> Peer {
        let mut command = Command::new(&starter[0]);
        command.args(&starter[1..]).arg(env!("CARGO_BIN_EXE_clerver-e2e-peer"));
        Peer::run(name, Arc::new(Home::new()), command)
    }

    fn run(name: &'static str, home: Arc<Home>, mut command: Command) -> Peer {
        for (variable, _) in
            std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("CLERVER_"))
        {
            command.env_remove(variable);
        }
        command.env("CLERVER_HOME", home.path()).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let (input, output) = (child.stdin.take(), child.stdout.take().unwrap());
        let log = Arc::new(Log { lines: Mutex::default(), bell: Condvar::new(), watch: Stopwatch::start() });
        let reader = Arc::clone(&log);
        std::thread::spawn(move || {
            BufReader::new(output).lines().map_while(Result::ok).for_each(|line| reader.add(line));
            reader.add("! ended".into());
        });
        Peer { home, name, child: Mutex::new(child), input: Mutex::new(input), log, next: AtomicU64::new(1) }
    }

    // ---- commands ----

    /// Gives a command; it runs beside others.
    pub(crate) fn begin(&self, command: &str) -> Asked<'_> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        self.log.add(format!("> {number} {command}"));
        if let Some(input) = &mut *self.input.lock() {
            // A process that is dead does not read; the wait for its answer will tell.
            let _ = writeln!(input, "{number} {command}");
        }
        Asked { peer: self, number, command: command.into() }
    }

    /// Gives a command and waits for its answer.
    pub(crate) fn ask(&self, command: &str) -> Result<String, Refusal> {
        self.begin(command).answer()
    }

    /// Gives a command that has to work.
    pub(crate) fn ok(&self, command: &str) -> String {
        self.begin(command).ok()
    }

    /// Gives a command that has to fail with this code.
    pub(crate) fn err(&self, command: &str, code: Code) -> Refusal {
        self.begin(command).err(code)
    }

    /// Waits until what a node announces is as wanted.
    pub(crate) fn see_addresses(&self, node: &str, wanted: impl Fn(&str) -> bool) {
        let watch = Stopwatch::start();
        while !wanted(&self.ok(&format!("addresses {node}"))) {
            assert!(!watch.left_of(LONG).is_zero(), "{}", self.ok(&format!("addresses {node}")));
        }
    }

    // ---- what it says ----

    /// Lines that were said so far.
    pub(crate) fn mark(&self) -> usize {
        self.log.lines.lock().len()
    }

    /// Waits for a line after `mark` for which `wanted` holds; answers when it came, and the line.
    pub(crate) fn see_where(
        &self,
        mark: usize,
        wait: Duration,
        what: &str,
        wanted: impl Fn(&str) -> bool,
    ) -> (Duration, String) {
        let (_, time, line) = self.see_at(mark, wait, what, wanted);
        (time, line)
    }

    /// As `see_where`, with the number of the line.
    fn see_at(
        &self,
        mark: usize,
        wait: Duration,
        what: &str,
        wanted: impl Fn(&str) -> bool,
    ) -> (usize, Duration, String) {
        let watch = Stopwatch::start();
        let mut lines = self.log.lines.lock();
        let mut looked = mark;
        loop {
            if let Some(index) = lines[looked..].iter().position(|(_, line)| wanted(line)) {
                let (time, line) = lines[looked + index].clone();
                return (looked + index, time, line);
            }
            looked = lines.len();
            let left = watch.left_of(wait);
            let is_over = lines.last().is_some_and(|(_, line)| line == "! ended");
            if left.is_zero() || is_over {
                drop(lines);
                let why = if is_over { "but it ended" } else { "in vain" };
                panic!("waited {wait:?} for {} to say {what}, {why}", self.name);
            }
            self.log.bell.wait_for(&mut lines, left);
        }
    }

    /// Waits for a line that starts so, said at any time.
    pub(crate) fn see(&self, start: &str) -> String {
        self.see_after(0, start)
    }

    /// Waits for a line that starts so, said after `mark`.
    pub(crate) fn see_after(&self, mark: usize, start: &str) -> String {
        self.see_where(mark, LONG, &format!("\"{start}\""), |line| line.starts_with(start)).1
    }

    /// Waits until so many lines that start so were said.
    pub(crate) fn see_times(&self, times: usize, start: &str) {
        let mut mark = 0;
        for number in 1..=times {
            let what = format!("\"{start}\" for the {number}th time of {times}");
            mark = self.see_at(mark, LONG, &what, |line| line.starts_with(start)).0 + 1;
        }
    }

    /// Waits for an error event that starts so.
    pub(crate) fn see_refusal(&self, start: &str) -> Refusal {
        Refusal::read(&self.see(start)[start.len()..])
    }

    /// Lines said so far that start so.
    pub(crate) fn said(&self, start: &str) -> Vec<String> {
        let lines = self.log.lines.lock();
        lines.iter().map(|(_, line)| line).filter(|line| line.starts_with(start)).cloned().collect()
    }

    // ---- its life ----

    /// Sends a signal, such as STOP.
    pub(crate) fn signal(&self, signal: &str) {
        self.log.add(format!("> signal {signal}"));
        let process = self.child.lock().id().to_string();
        let status = Command::new("kill").args(["-s", signal, &process]).status().unwrap();
        assert!(status.success(), "kill -s {signal} {process}: {status}");
    }

    /// SIGKILL, and waits until it is dead.
    pub(crate) fn kill(&self) {
        self.log.add("> SIGKILL".into());
        let mut child = self.child.lock();
        // It may have ended by itself.
        let _ = child.kill();
        let _ = child.wait();
    }
}

impl Asked<'_> {
    /// Waits for the answer.
    pub(crate) fn answer(self) -> Result<String, Refusal> {
        self.answer_within(LONG)
    }

    pub(crate) fn answer_within(self, wait: Duration) -> Result<String, Refusal> {
        let start = format!("= {} ", self.number);
        let what = format!("the answer to \"{}\"", self.command);
        let (_, line) = self.peer.see_where(0, wait, &what, |line| line.starts_with(&start));
        let rest = &line[start.len()..];
        match rest.split_once(' ') {
            Some(("err", error)) => Err(Refusal::read(error)),
            Some((_, text)) => Ok(unquote(text)),
            None => Ok(String::new()),
        }
    }

    /// The answer of a command that has to work.
    pub(crate) fn ok(self) -> String {
        self.ok_within(LONG)
    }

    pub(crate) fn ok_within(self, wait: Duration) -> String {
        let (name, command) = (self.peer.name, self.command.clone());
        let answer = self.answer_within(wait);
        answer.unwrap_or_else(|refusal| panic!("{name} failed at \"{command}\": {refusal:#?}"))
    }

    /// The error of a command that has to fail with this code, its class, a message and a remedy.
    pub(crate) fn err(self, code: Code) -> Refusal {
        let (name, command) = (self.peer.name, self.command.clone());
        match self.answer() {
            Err(refusal) if refusal.is(code) => refusal,
            other => panic!("{name} at \"{command}\": wanted a whole error {code}, got {other:#?}"),
        }
    }

    /// Whether it is answered already.
    pub(crate) fn is_answered(&self) -> bool {
        !self.peer.said(&format!("= {} ", self.number)).is_empty()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            let lines = self.log.lines.lock();
            let skipped = lines.len().saturating_sub(SHOWN_LINES);
            println!("---- {} (the last {SHOWN_LINES} lines of {})", self.name, lines.len());
            for (time, line) in &lines[skipped..] {
                println!("{:8.3} {}", time.as_secs_f64(), line.chars().take(400).collect::<String>());
            }
        }
    }
}
