//! Cleans up when the director could not: it waits for the end of its standard input, however that comes.
//!
//! It runs in a process group of its own, so that Ctrl-C at the terminal does not end it too.

use crate::sleeper::Sleeper;
use crate::{Failure, lines};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

/// The janitor process, as the director sees it.
#[derive(Debug)]
pub(crate) struct Janitor(Child);

impl Janitor {
    /// Starts it.
    pub(crate) fn start() -> Result<Janitor, Failure> {
        let program = std::env::current_exe()?;
        let mut command = Command::new(program);
        command.arg("janitor").process_group(0).stdin(Stdio::piped()).stdout(Stdio::null());
        Ok(Janitor(command.spawn()?))
    }

    /// A directory to remove, or (`sleeper`) a process to end, when the director is gone.
    pub(crate) fn note(&mut self, what: &str, which: &str) {
        use std::io::Write;
        if let Some(input) = &mut self.0.stdin {
            // Without a janitor the director still cleans up at an orderly end.
            let _ = writeln!(input, "{what} {which}");
        }
    }
}

impl Drop for Janitor {
    fn drop(&mut self) {
        self.0.stdin.take();
        let _ = self.0.wait();
    }
}

/// The janitor process itself.
pub(crate) fn run() -> Result<(), Failure> {
    let mut notes = Vec::new();
    while let Some(line) = lines::heard() {
        notes.push(line);
    }
    for (what, which) in notes.iter().filter_map(|note| note.split_once(' ')) {
        match what {
            "sleeper" => drop(Sleeper(which.into())),
            "dir" => {
                let _ = std::fs::remove_dir_all(which);
            }
            _ => {}
        }
    }
    Ok(())
}
