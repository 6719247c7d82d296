//! The bounded pool of threads that run user code: handlers, object callbacks and log lines.
//!
//! It knows tasks by what they are called only. In caller-driven mode it has no threads, and its queue is
//! emptied by the program's own turns of the loop.
//!
//! Invariants: at most `size` threads run calls outside our blocking calls, and at most four times as many
//! threads exist; what is not a call never waits behind calls, or a stuck handler could keep `abandon` from
//! running; no lock is held while a task runs; a panic ends the task and not the thread.

use super::clock::{deadline, now};
use super::descriptor::{SignalMask, Turns, process_mark};
use clerver_proto::id::{ObjectId, SessionId};
use parking_lot::{Condvar, Mutex};
use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

/// Threads exist at most this many times the size of the pool, spares for blocked ones included.
const SPARES_FACTOR: usize = 4;
/// Calls that wait for a worker; a further one is answered BUSY.
const CALLS_WAITING_MAX: usize = 4096;
/// An idle thread ends after this time.
const IDLE: Duration = Duration::from_secs(30);

thread_local! {
    static POOL: RefCell<Option<Arc<Workers>>> = const { RefCell::new(None) };
}

/// Something to run.
pub(crate) struct Task {
    /// For the report of what is stuck, such as `service "echo"`.
    pub(crate) name: String,
    /// A peer waits for it, and can be told BUSY; anything else is never refused.
    pub(crate) is_call: bool,
    /// The object that is gone once it has run, so that a report counts it once.
    pub(crate) destroys: Option<ObjectKey>,
    pub(crate) run: Box<dyn FnOnce() + Send>,
}

/// An object of a node.
pub(crate) type ObjectKey = (SessionId, ObjectId);

impl Task {
    pub(crate) fn call(name: String, run: impl FnOnce() + Send + 'static) -> Task {
        Task { name, is_call: true, destroys: None, run: Box::new(run) }
    }

    pub(crate) fn chore(name: String, run: impl FnOnce() + Send + 'static) -> Task {
        Task { name, is_call: false, destroys: None, run: Box::new(run) }
    }
}

#[derive(Default)]
struct State {
    calls: VecDeque<Task>,
    chores: VecDeque<Task>,
    threads: usize,
    idle: usize,
    blocked: usize,
    running: BTreeMap<u64, (String, Option<ObjectKey>)>,
    next_number: u64,
    /// Of all threads that were not waited for, and those of them that take their last steps.
    handles: BTreeMap<u64, JoinHandle<()>>,
    ended: Vec<u64>,
    is_stopped: bool,
}

/// See the module.
pub(crate) struct Workers {
    state: Mutex<State>,
    work: Condvar,
    /// 0 without threads of ours.
    size: usize,
    /// Of the thread that opened the node: whoever starts another thread, user code sees the same.
    signals: SignalMask,
    turns: Turns,
}

impl Workers {
    pub(crate) fn new(size: usize) -> Arc<Workers> {
        let (signals, turns) = (SignalMask::current(), Turns::current());
        Arc::new(Workers { state: Mutex::default(), work: Condvar::new(), size, signals, turns })
    }

    /// Queues a task and sees to it that a thread runs it. Gives a call back when too many wait, or the pool
    /// has stopped.
    pub(crate) fn submit(self: &Arc<Self>, task: Task) -> Result<(), Task> {
        let mut state = self.state.lock();
        if state.is_stopped || (task.is_call && state.calls.len() >= CALLS_WAITING_MAX) {
            return Err(task);
        }
        if task.is_call {
            state.calls.push_back(task);
        } else {
            state.chores.push_back(task);
        }
        let wants_thread = state.wants_thread(self.size);
        state.threads += usize::from(wants_thread);
        drop(state);
        if wants_thread {
            self.spawn();
        } else {
            self.work.notify_one();
        }
        Ok(())
    }

    fn spawn(self: &Arc<Self>) {
        let (pool, number) = (Arc::clone(self), self.state.lock().take_number());
        let started = std::thread::Builder::new().name("clerver-work".into());
        let started = started.spawn(move || pool.work(number));
        let mut state = self.state.lock();
        match started {
            Ok(handle) => drop(state.handles.insert(number, handle)),
            // The task stays queued for the other threads; the next submit tries again.
            Err(_) => state.threads -= 1,
        }
        // Those that ended while nobody waited need no handle any more.
        let ended = state.take_ended();
        drop(state);
        drop(ended);
    }

    fn work(self: Arc<Self>, own_number: u64) {
        POOL.set(Some(Arc::clone(&self)));
        self.signals.apply();
        self.turns.apply();
        let process = process_mark();
        let mut state = self.state.lock();
        loop {
            // One more than the bound is here for a chore, or because a blocked one came back.
            let is_spare = state.threads - state.blocked > self.size;
            let Some(task) = state.pop(!is_spare) else {
                if state.is_stopped || is_spare {
                    break;
                }
                state.idle += 1;
                let is_over = self.work.wait_for(&mut state, IDLE).timed_out();
                state.idle -= 1;
                if is_over && state.is_empty() {
                    break;
                }
                continue;
            };
            let number = state.begin(&task);
            drop(state);
            run(task);
            if process_mark() != process {
                // The task came back in a child, where the rest belongs to the parent.
                return std::mem::forget(self);
            }
            state = self.state.lock();
            state.running.remove(&number);
        }
        state.threads -= 1;
        state.ended.push(own_number);
        let is_needed = state.wants_thread(self.size);
        state.threads += usize::from(is_needed);
        let is_stopped = state.is_stopped;
        drop(state);
        POOL.set(None);
        if is_stopped {
            // The close waits for this.
            self.work.notify_all();
        }
        if is_needed {
            self.spawn();
        }
    }

    /// Runs one queued task on this thread, if there is one; for programs that drive the loop themselves.
    pub(crate) fn run_one(&self) -> bool {
        let mut state = self.state.lock();
        let Some(task) = state.pop(true) else { return false };
        let number = state.begin(&task);
        drop(state);
        run(task);
        self.state.lock().running.remove(&number);
        true
    }

    /// Whether a task waits.
    pub(crate) fn has_work(&self) -> bool {
        !self.state.lock().is_empty()
    }

    /// After `stop`: waits until the threads that run nothing have ended, at most for `time`.
    pub(crate) fn wait_for_idle_threads(&self, time: Duration) {
        let until = deadline(Some(time));
        let mut state = self.state.lock();
        while state.threads > state.running.len() && now() < until {
            self.work.wait_for(&mut state, until.since(now()));
        }
        let ended = state.take_ended();
        drop(state);
        for thread in ended {
            // Only a few steps are left to it, but they must not run beside the exit handlers of a program that
            // returns from main now: those of OpenSSL free what every thread uses.
            let _ = thread.join();
        }
    }

    /// What runs or waits now, by name and the object it destroys; log lines left out.
    pub(crate) fn busy(&self) -> Vec<(String, Option<ObjectKey>)> {
        let state = self.state.lock();
        let waiting = state.chores.iter().chain(&state.calls).map(|task| (task.name.clone(), task.destroys));
        state.running.values().cloned().chain(waiting).filter(|(name, _)| !name.is_empty()).collect()
    }

    /// Takes no more tasks and drops the calls that wait; threads end when the other tasks are done, and
    /// without threads those are dropped too. Does not wait.
    pub(crate) fn stop(&self) {
        let mut state = self.state.lock();
        state.is_stopped = true;
        let calls = std::mem::take(&mut state.calls);
        let chores = if self.size == 0 { std::mem::take(&mut state.chores) } else { VecDeque::new() };
        drop(state);
        // What they own is the program's, so it goes here, where no lock is held.
        drop((calls, chores));
        self.work.notify_all();
    }
}

impl State {
    fn is_empty(&self) -> bool {
        self.calls.is_empty() && self.chores.is_empty()
    }

    fn pop(&mut self, may_call: bool) -> Option<Task> {
        let chore = self.chores.pop_front();
        if may_call { chore.or_else(|| self.calls.pop_front()) } else { chore }
    }

    fn begin(&mut self, task: &Task) -> u64 {
        let number = self.take_number();
        self.running.insert(number, (task.name.clone(), task.destroys));
        number
    }

    fn take_number(&mut self) -> u64 {
        self.next_number += 1;
        self.next_number
    }

    /// Handles of threads that have ended or are about to. One that ended before its handle was here stays.
    fn take_ended(&mut self) -> Vec<JoinHandle<()>> {
        let (handles, mut found) = (&mut self.handles, Vec::new());
        self.ended.retain(|number| handles.remove(number).map(|handle| found.push(handle)).is_none());
        found
    }

    fn wants_thread(&self, size: usize) -> bool {
        let may_call = self.threads - self.blocked < size;
        let waiting = self.chores.len() + if may_call { self.calls.len() } else { 0 };
        waiting > self.idle && self.threads < size.saturating_mul(SPARES_FACTOR)
    }
}

fn run(task: Task) {
    // Handlers catch their own panics, to answer the peer; this is for everything else.
    let _ = catch_unwind(AssertUnwindSafe(task.run));
}

/// Says, until it is dropped, that this thread blocks inside one of our calls; another may work in its place.
pub(crate) struct Blocked(Option<Arc<Workers>>);

impl Blocked {
    pub(crate) fn enter() -> Blocked {
        let pool = POOL.with_borrow(Clone::clone);
        if let Some(pool) = &pool {
            let mut state = pool.state.lock();
            state.blocked += 1;
            let wants_thread = state.wants_thread(pool.size);
            state.threads += usize::from(wants_thread);
            drop(state);
            if wants_thread {
                pool.spawn();
            }
        }
        Blocked(pool)
    }
}

impl Drop for Blocked {
    fn drop(&mut self) {
        if let Some(pool) = &self.0 {
            pool.state.lock().blocked -= 1;
        }
    }
}

/// Whether this thread belongs to a pool.
pub(crate) fn is_worker() -> bool {
    POOL.with_borrow(Option::is_some)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    fn task(run: impl FnOnce() + Send + 'static) -> Task {
        Task::call("test".into(), run)
    }

    fn give(pool: &Arc<Workers>, run: impl FnOnce() + Send + 'static) {
        assert!(pool.submit(task(run)).is_ok());
    }

    #[test]
    fn a_blocked_worker_does_not_count_against_the_bound() {
        let pool = Workers::new(1);
        let (send, receive) = mpsc::channel();
        let (release, wait) = mpsc::channel::<()>();
        give(&pool, move || {
            let _blocked = Blocked::enter();
            let _ = wait.recv();
        });
        give(&pool, move || send.send(1).unwrap());
        assert_eq!(receive.recv().unwrap(), 1, "a spare ran it while the first blocks");
        release.send(()).unwrap();
        pool.stop();
    }

    #[test]
    fn what_is_no_call_runs_beside_a_stuck_one() {
        let pool = Workers::new(1);
        let (send, receive) = mpsc::channel();
        let (release, wait) = mpsc::channel::<()>();
        let stuck = send.clone();
        give(&pool, move || {
            stuck.send(1).unwrap();
            let _ = wait.recv();
        });
        assert_eq!(receive.recv().unwrap(), 1);
        let late = send.clone();
        give(&pool, move || late.send(3).unwrap());
        let chore = Task::chore("chore".into(), move || send.send(2).unwrap());
        assert!(pool.submit(chore).is_ok());
        assert_eq!(receive.recv().unwrap(), 2);
        assert!(receive.recv_timeout(Duration::from_millis(20)).is_err(), "the bound holds for calls");
        release.send(()).unwrap();
        assert_eq!(receive.recv().unwrap(), 3);
    }

    #[test]
    fn a_panic_ends_the_task_and_not_the_pool() {
        let pool = Workers::new(1);
        let (send, receive) = mpsc::channel();
        give(&pool, || panic!("as the test wants"));
        give(&pool, move || send.send(2).unwrap());
        assert_eq!(receive.recv().unwrap(), 2);
        pool.stop();
        assert!(pool.submit(task(|| ())).is_err());
    }

    #[test]
    fn without_threads_the_program_runs_the_tasks() {
        let pool = Workers::new(0);
        let (send, receive) = mpsc::channel();
        give(&pool, move || send.send(3).unwrap());
        assert!(pool.has_work() && receive.try_recv().is_err());
        assert!(pool.run_one() && !pool.run_one());
        assert_eq!(receive.recv().unwrap(), 3);
    }
}
