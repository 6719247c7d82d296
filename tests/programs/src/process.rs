//! A runner as a process: a line in, a line out.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::Duration;

/// Longer than any wait of a runner.
const ANSWER_TIME: Duration = Duration::from_secs(40);

/// How to start a runner: a program with its arguments, in any language.
#[derive(Debug, Clone)]
pub struct Runner {
    /// What it is called in messages, such as `C`.
    pub name: &'static str,
    /// Program and arguments.
    pub command: Vec<PathBuf>,
}

/// A runner that runs. Dropping it kills it.
#[derive(Debug)]
pub struct Process {
    child: Child,
    input: Option<ChildStdin>,
    answers: Receiver<String>,
}

impl Process {
    /// Starts a runner with a host directory of its own.
    ///
    /// # Errors
    /// Why it does not start.
    pub fn start(runner: &Runner, home: &Path) -> Result<Process, String> {
        let why = |error: std::io::Error| format!("start the {} runner: {error}", runner.name);
        let [program, arguments @ ..] = &runner.command[..] else {
            return Err("a runner without a program".into());
        };
        let mut command = Command::new(program);
        for (variable, _) in
            std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("CLERVER_"))
        {
            command.env_remove(variable);
        }
        // Or a runner would find the way around the network that a test breaks.
        command.env("CLERVER_ANNOUNCE", "false");
        command.args(arguments).env("CLERVER_HOME", home).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().map_err(why)?;
        let input = child.stdin.take();
        let output = child.stdout.take();
        let (send, answers) = mpsc::channel();
        std::thread::spawn(move || {
            let lines = output.into_iter().flat_map(|output| BufReader::new(output).lines());
            // An error means that nobody waits for answers any more.
            let _ = lines.map_while(Result::ok).try_for_each(|line| send.send(line));
        });
        Ok(Process { child, input, answers })
    }

    /// The number of the process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Gives a command.
    pub fn tell(&mut self, command: &str) {
        if let Some(input) = &mut self.input {
            // A process that is dead does not read; the wait for its answer tells.
            let _ = writeln!(input, "{command}");
        }
    }

    /// Takes the next answer.
    ///
    /// # Errors
    /// None came: the process ended, or hangs.
    pub fn answer(&mut self) -> Result<String, String> {
        self.answers.recv_timeout(ANSWER_TIME).map_err(|error| match error {
            RecvTimeoutError::Timeout => format!("no answer within {ANSWER_TIME:?}"),
            RecvTimeoutError::Disconnected => match self.child.wait() {
                Ok(status) => format!("the runner ended: {status}"),
                Err(error) => format!("the runner ended: {error}"),
            },
        })
    }

    /// Kills it without a warning, and waits until it is dead.
    pub fn kill(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Ends its input, upon which it ends its node and itself.
    ///
    /// # Errors
    /// It did not end, or not well.
    pub fn finish(&mut self) -> Result<(), String> {
        self.input = None;
        match self.answers.recv_timeout(ANSWER_TIME) {
            Ok(line) => Err(format!("said without being asked: {line}")),
            Err(RecvTimeoutError::Timeout) => Err(format!("did not end within {ANSWER_TIME:?}")),
            Err(RecvTimeoutError::Disconnected) => match self.child.wait() {
                Ok(status) if status.success() => Ok(()),
                Ok(status) => Err(format!("ended badly: {status}")),
                Err(error) => Err(format!("ended badly: {error}")),
            },
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}
