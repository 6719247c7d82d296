//! The process that the keeper keeps for the sender.

use std::path::Path;
use std::process::{Command, Stdio};

/// Its number; it is ended with this value if its destructor did not.
pub(crate) struct Sleeper(pub(crate) String);

impl Sleeper {
    /// Whether this process is still the one that the keeper started: numbers are used again.
    pub(crate) fn is_alive(&self) -> bool {
        let command = std::fs::read(Path::new("/proc").join(&self.0).join("cmdline"));
        command.is_ok_and(|words| words.starts_with(b"sleep\0"))
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        if self.is_alive() {
            // It may end by itself at this very moment.
            let _ = Command::new("kill").args(["-9", &self.0]).stderr(Stdio::null()).status();
        }
    }
}
