//! Threads for what only has a blocking form, none of which waits for a peer's program: opening and closing a node, the
//! resolver, the disk, and callbacks of objects. It may take long, so it must not take one of libuv's few threads.
//!
//! Invariants: a job never waits for another one; its answer goes out once, whatever happens to it.

use crate::js::post::Mailbox;
use crate::js::value::Value;
use clerver::{Code, Error, Result};
use parking_lot::{Condvar, Mutex};
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

/// An idle thread ends after this time.
const IDLE: Duration = Duration::from_secs(10);

type Job = Box<dyn FnOnce() + Send>;

struct State {
    jobs: VecDeque<Job>,
    idle: usize,
}

static STATE: Mutex<State> = Mutex::new(State { jobs: VecDeque::new(), idle: 0 });
static WORK: Condvar = Condvar::new();

/// Runs `job` on a thread, which answers to a ticket.
pub(crate) fn run(mailbox: Mailbox, ticket: u64, job: impl FnOnce() -> Result<Value> + Send + 'static) {
    let own = mailbox.clone();
    let job = Box::new(move || {
        let result = catch_unwind(AssertUnwindSafe(job));
        let panicked = |_| Err(Error::new(Code::Bug, "an operation of Clerver panicked"));
        own.answer(ticket, result.unwrap_or_else(panicked));
    });
    let mut state = STATE.lock();
    state.jobs.push_back(job);
    if state.idle >= state.jobs.len() {
        drop(state);
        WORK.notify_one();
        return;
    }
    drop(state);
    if let Err(why) = std::thread::Builder::new().name("clerver-wait".into()).spawn(work) {
        // Its own job may have gone to another thread; then that one's answer is the one that counts.
        let what = format!("start a thread: {why}");
        let taken = STATE.lock().jobs.pop_back();
        if taken.is_some() {
            mailbox.answer(ticket, Err(Error::new(Code::System, what)));
        }
    }
}

fn work() {
    let mut state = STATE.lock();
    loop {
        if let Some(job) = state.jobs.pop_front() {
            drop(state);
            job();
            state = STATE.lock();
            continue;
        }
        state.idle += 1;
        let is_over = WORK.wait_for(&mut state, IDLE).timed_out();
        state.idle -= 1;
        if is_over && state.jobs.is_empty() {
            return;
        }
    }
}
