//! Lines for the program's log, in order, on a worker thread.
//!
//! Not an event queue: a line is for people, and is lost when no log is set.

use super::event::LogLevel;
use super::workers::{Task, Workers};
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

/// Lines that wait for a slow log; then the oldest go.
const LINES_MAX: usize = 1024;

/// The program's log.
pub(crate) type Sink = Arc<dyn Fn(LogLevel, &str) + Send + Sync>;

#[derive(Default)]
struct State {
    sink: Option<(LogLevel, Sink)>,
    lines: VecDeque<(LogLevel, String)>,
    lost: u64,
    /// A task is queued or running that takes all lines; one at a time keeps them in order.
    is_draining: bool,
}

/// See the module.
#[derive(Clone, Default)]
pub(crate) struct Log(Arc<Mutex<State>>);

impl Log {
    /// Lines of this level and more important ones go to `sink` from now on.
    pub(crate) fn set(&self, level: LogLevel, sink: Sink) {
        self.0.lock().sink = Some((level, sink));
    }

    /// Queues a line. Not with the shard lock held.
    pub(crate) fn write(&self, workers: &Arc<Workers>, level: LogLevel, line: impl FnOnce() -> String) {
        let mut state = self.0.lock();
        if state.sink.as_ref().is_none_or(|(wanted, _)| level > *wanted) {
            return;
        }
        if state.lines.len() == LINES_MAX {
            state.lines.pop_front();
            state.lost += 1;
        }
        state.lines.push_back((level, line()));
        if std::mem::replace(&mut state.is_draining, true) {
            return;
        }
        drop(state);
        let log = self.clone();
        let task = Task { name: String::new(), is_call: false, run: Box::new(move || log.drain()) };
        if workers.submit(task).is_err() {
            self.0.lock().is_draining = false;
        }
    }

    fn drain(&self) {
        loop {
            let mut state = self.0.lock();
            let Some((_, sink)) = state.sink.clone() else { break state.is_draining = false };
            let line = match std::mem::take(&mut state.lost) {
                0 => state.lines.pop_front(),
                lost => Some((LogLevel::Warn, format!("{lost} log lines were dropped: the log is too slow"))),
            };
            let Some((level, text)) = line else { break state.is_draining = false };
            drop(state);
            // A log that panics loses its line, and not the lines after it.
            let _ = catch_unwind(AssertUnwindSafe(|| sink(level, &text)));
        }
    }
}
