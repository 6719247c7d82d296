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

    /// The next line with one of these words; others are dropped.
    pub(crate) fn wait_for(&mut self, words: &[&str], wait: Duration) -> Result<Line, Failure> {
        let watch = Stopwatch::start();
        while let Some(line) = self.next(watch.left_of(wait))? {
            if words.contains(&line.word.as_str()) {
                return Ok(line);
            }
        }
        Err(format!("waited {} for \"{}\" in vain", seconds(wait), words.join("\" or \"")).into())
    }

    /// The next line with the one word and the next with the other: two actors say them, so either may be first.
    pub(crate) fn wait_for_both(
        &mut self,
        one: &str,
        other: &str,
        wait: Duration,
    ) -> Result<(Line, Line), Failure> {
        let watch = Stopwatch::start();
        let first = self.wait_for(&[one, other], wait)?;
        if first.word == one {
            let second = self.wait_for(&[other], watch.left_of(wait))?;
            return Ok((first, second));
        }
        let second = self.wait_for(&[one], watch.left_of(wait))?;
        Ok((second, first))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;
    use std::sync::mpsc::channel;

    const WAIT: Duration = Duration::from_secs(20);

    #[test]
    fn two_actors_may_speak_in_any_order() {
        for order in [["holds", "connected"], ["connected", "holds"]] {
            let (say, lines) = channel();
            for word in order {
                say.send(Line::read("keeper", word.into())).unwrap();
            }
            let (holds, connected) = Stage::new(lines).wait_for_both("holds", "connected", WAIT).unwrap();
            assert_eq!((holds.word.as_str(), connected.word.as_str()), ("holds", "connected"));
        }
    }

    #[test]
    fn only_a_doomed_actor_may_fail_or_end() {
        for text in ["", "failed to go on"] {
            let (say, lines) = channel();
            let mut stage = Stage::new(lines);
            say.send(Line::read("sender", text.into())).unwrap();
            assert!(stage.next(WAIT).is_err());
            stage.doom("sender");
            say.send(Line::read("sender", text.into())).unwrap();
            say.send(Line::read("keeper", "destroyed kind=file".into())).unwrap();
            assert_eq!(stage.next(WAIT).unwrap().unwrap().value("kind"), "file");
        }
    }
}
