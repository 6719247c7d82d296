//! The stage: what the actors say, as it comes.

use crate::Failure;
use crate::lines::Line;
use crate::report::seconds;
use clerver_proxy::Stopwatch;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

/// Lines of all actors, in the order in which they came.
pub(crate) struct Stage {
    lines: Receiver<Line>,
    /// Who may end.
    doomed: Option<&'static str>,
}

impl Stage {
    /// Nobody may end yet.
    pub(crate) fn new(lines: Receiver<Line>) -> Stage {
        Stage { lines, doomed: None }
    }

    /// What this actor says from now on is not heard, and it may end.
    pub(crate) fn doom(&mut self, actor: &'static str) {
        self.doomed = Some(actor);
    }

    /// The next line within `wait`; an actor that fails or ends unasked ends the demo.
    pub(crate) fn next(&mut self, wait: Duration) -> Result<Option<Line>, Failure> {
        let watch = Stopwatch::start();
        loop {
            return match self.lines.recv_timeout(watch.left_of(wait)) {
                Ok(line) if self.doomed == Some(line.from) => continue,
                Ok(line) if line.word == "failed" => Err(format!("{}: {}", line.from, line.text).into()),
                Ok(line) if line.word.is_empty() => {
                    Err(format!("{} ended before its time", line.from).into())
                }
                Ok(line) => Ok(Some(line)),
                Err(RecvTimeoutError::Timeout) => Ok(None),
                Err(RecvTimeoutError::Disconnected) => Err("all actors have ended".into()),
            };
        }
    }

    /// The next line with this word.
    pub(crate) fn wait_for(&mut self, word: &str, wait: Duration) -> Result<Line, Failure> {
        let watch = Stopwatch::start();
        while let Some(line) = self.next(watch.left_of(wait))? {
            if line.word == word {
                return Ok(line);
            }
        }
        Err(format!("waited {} for \"{word}\" in vain", seconds(wait)).into())
    }
}
