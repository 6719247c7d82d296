//! Reading the clock, for measurements only: how long something took, never what to do next.

use std::time::{Duration, Instant};

/// Runs from the moment it was made.
#[derive(Debug, Clone, Copy)]
pub struct Stopwatch(Instant);

impl Stopwatch {
    /// Begins to run.
    #[expect(clippy::disallowed_methods, reason = "the demo and the tests measure real programs")]
    pub fn start() -> Stopwatch {
        Stopwatch(Instant::now())
    }

    /// Time since it was made.
    pub fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }

    /// What is left of `time`, zero when it is over.
    pub fn left_of(&self, time: Duration) -> Duration {
        time.saturating_sub(self.elapsed())
    }
}
