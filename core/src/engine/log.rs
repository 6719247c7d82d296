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
    /// The node has closed.
    is_closed: bool,
}

/// See the module.
#[derive(Clone, Default)]
pub(crate) struct Log(Arc<Mutex<State>>);

impl Log {
    /// Lines of this level and more important ones go to `sink` from now on.
    pub(crate) fn set(&self, level: LogLevel, sink: Sink) {
        let mut state = self.0.lock();
        let old = if state.is_closed { Some((level, sink)) } else { state.sink.replace((level, sink)) };
        drop(state);
        // What it owns is the program's, so it goes here, where no lock is held.
        drop(old);
    }

    /// Takes no more lines, and lets the sink go once the last ones are out. `may_drain` tells whether anybody
    /// is left to take them there.
    pub(crate) fn close(&self, may_drain: bool) {
        let mut state = self.0.lock();
        state.is_closed = true;
        let old = if state.is_draining && may_drain { None } else { state.sink.take() };
        drop(state);
        drop(old);
    }

    /// Queues a line. Not with the shard lock held.
    pub(crate) fn write(&self, workers: &Arc<Workers>, level: LogLevel, line: impl FnOnce() -> String) {
        let mut state = self.0.lock();
        if state.is_closed || state.sink.as_ref().is_none_or(|(wanted, _)| level > *wanted) {
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
        let task = Task::chore(String::new(), move || log.drain());
        if workers.submit(task).is_err() {
            self.0.lock().is_draining = false;
        }
    }

    fn drain(&self) {
        loop {
            let mut state = self.0.lock();
            let line = match std::mem::take(&mut state.lost) {
                0 => state.lines.pop_front(),
                lost => Some((LogLevel::Warn, format!("{lost} log lines were dropped: the log is too slow"))),
            };
            let sink = state.sink.as_ref().map(|(_, sink)| Arc::clone(sink));
            let (Some((level, text)), Some(sink)) = (line, sink.clone()) else {
                state.is_draining = false;
                let old = if state.is_closed { state.sink.take() } else { None };
                drop(state);
                // Either may be the last one, so they go here, where no lock is held.
                return drop((old, sink));
            };
            drop(state);
            // A log that panics loses its line, and not the lines after it.
            let _ = catch_unwind(AssertUnwindSafe(|| sink(level, &text)));
        }
    }
}
