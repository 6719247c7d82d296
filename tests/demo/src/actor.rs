//! An actor: one of the two C programs, as the director sees it.

use crate::lines::{self, Line};
use crate::{BEAT, Failure, TTL};
use clerver_proxy::Stopwatch;
use parking_lot::{Condvar, Mutex};
use std::io::Write;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::Sender;
use std::time::Duration;

/// An actor whose input ended has so long to end itself.
const GOODBYE: Duration = Duration::from_secs(5);

/// A child process; it does not outlive this value.
pub(crate) struct Actor(Child);

impl Actor {
    /// Starts the program `demo_` and `role` with a host directory of its own; what it says goes to `lines`.
    pub(crate) fn start(
        programs: &Path,
        role: &'static str,
        home: &Path,
        words: &[&str],
        lines: &Sender<Line>,
    ) -> Result<Actor, Failure> {
        let program = programs.join(format!("demo_{role}"));
        let mut command = Command::new(&program);
        // The user's own options are for the user's own programs.
        for (name, _) in
            std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("CLERVER_"))
        {
            command.env_remove(name);
        }
        command.args(words).env("CLERVER_HOME", home).env("CLERVER_NODE_NAME", role);
        // Or the receiver's address would be told, and no connection would go through the network that breaks.
        command.env("CLERVER_ANNOUNCE", "false");
        command.env("CLERVER_BEAT_MS", BEAT.as_millis().to_string());
        command.env("CLERVER_TTL_MS", TTL.as_millis().to_string());
        let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut actor = Actor(child.map_err(|error| format!("{}: {error}", program.display()))?);
        let output = actor.0.stdout.take().ok_or("a child has no output")?;
        let lines = lines.clone();
        std::thread::Builder::new().name(role.into()).spawn(move || lines::read_all(role, output, &lines))?;
        Ok(actor)
    }

    /// Number of its process.
    pub(crate) fn process(&self) -> u32 {
        self.0.id()
    }

    /// Says a line to it.
    pub(crate) fn tell(&mut self, line: &str) -> Result<(), Failure> {
        let input = self.0.stdin.as_mut().ok_or("a child has no input")?;
        Ok(writeln!(input, "{line}")?)
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self) -> Result<(), Failure> {
        Ok(self.0.kill()?)
    }
}

impl Drop for Actor {
    fn drop(&mut self) {
        // The end of its input lets it end in good order; a killed one has ended already.
        self.0.stdin.take();
        let (watch, pause) = (Stopwatch::start(), (Mutex::new(()), Condvar::new()));
        while matches!(self.0.try_wait(), Ok(None)) && watch.elapsed() < GOODBYE {
            pause.1.wait_for(&mut pause.0.lock(), Duration::from_millis(10));
        }
        // Both fail only when it has ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
