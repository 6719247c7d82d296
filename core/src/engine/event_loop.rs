//! What drives sockets: one `Poll`, one timer and one mailbox for any number of nodes, with a thread or without.
//!
//! A node joins a loop when it starts and leaves it when it closes; the loop ends with the last one that leaves.
//! With the option `engine = shared` the nodes of a process join the same loop, otherwise each has its own. What
//! a turn does is the driver's, what a node is the engine's.
//!
//! Invariants: nodes of a loop share nothing but the time that its turns take; once a node has left, the loop holds
//! nothing of it; nobody joins a loop that is ending; a process never joins a loop of its parent.

use super::alarm::{Alarm, NodeNumber};
use super::command::Command;
use super::driver::Driver;
use super::inline::Inline;
use super::workers::Workers;
use super::{Engine, clock, descriptor, panic_text, system};
use crate::options::Settings;
use clerver_proto::error::{Code, Error, Result};
use mio::{Poll, Registry, Waker};
use parking_lot::{Condvar, Mutex};
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

/// How long the thread may run before another is due: it often sleeps and seldom has much to do, and beats must not be
/// late (decision 0015).
const TURNS: descriptor::Turns = descriptor::Turns(300_000);
/// Threads that look names up.
const RESOLVERS: usize = 4;
/// Memory for more mail than this is given back.
const MAIL_KEPT: usize = 64;
/// A loop gets this long to let a node go, or to end by itself.
pub(super) const LAST_TURN: Duration = Duration::from_millis(500);

/// The loop of all nodes of this process that share one.
static SHARED: Mutex<Weak<EventLoop>> = Mutex::new(Weak::new());

/// Who is on a loop.
#[derive(Default)]
struct Members {
    by_number: BTreeMap<NodeNumber, Weak<Engine>>,
    last: u64,
    /// Nobody may join any more.
    is_over: bool,
}

/// What other threads ask of the driver, and for which node.
#[derive(Default)]
struct Mail {
    queue: VecDeque<(Arc<Engine>, Command)>,
    /// Nobody reads it any more.
    is_closed: bool,
}

/// See the module.
pub(crate) struct EventLoop {
    process_mark: u64,
    is_caller_driven: bool,
    /// Held by whoever waits for the sockets.
    pub(super) driver: Mutex<Driver>,
    mail: Mutex<Mail>,
    /// The driver will look at its mail before it sleeps.
    is_awake: AtomicBool,
    waker: Waker,
    pub(super) registry: Registry,
    pub(super) alarm: Arc<Alarm>,
    pub(super) resolvers: Arc<Workers>,
    members: Mutex<Members>,
    is_stopping: AtomicBool,
    thread: Mutex<Option<JoinHandle<()>>>,
    has_ended: Mutex<bool>,
    /// Rings when a node has left, and when the thread has ended.
    left_bell: Condvar,
}

impl EventLoop {
    /// A loop for one more node, as its settings ask for, and the node's number there.
    pub(super) fn enter(settings: &Settings) -> Result<(Arc<EventLoop>, NodeNumber)> {
        if settings.engine != "shared" {
            return EventLoop::start(settings.caller_driven);
        }
        let mut shared = SHARED.lock();
        if let Some(known) = shared.upgrade().filter(|known| !known.is_forked())
            && let Some(number) = known.reserve()
        {
            return Ok((known, number));
        }
        let (fresh, number) = EventLoop::start(false)?;
        *shared = Arc::downgrade(&fresh);
        Ok((fresh, number))
    }

    fn start(is_caller_driven: bool) -> Result<(Arc<EventLoop>, NodeNumber)> {
        let fresh = EventLoop::new(is_caller_driven).map_err(|error| system("start a node", &error))?;
        let fresh = Arc::new(fresh);
        let number = fresh.reserve().ok_or_else(|| Error::new(Code::Bug, "a fresh loop is over"))?;
        if !is_caller_driven {
            let run = Arc::clone(&fresh);
            let started = std::thread::Builder::new().name("clerver".into()).spawn(move || run.run());
            let thread = started.map_err(|error| system("start the thread of a node", &error))?;
            *fresh.thread.lock() = Some(thread);
        }
        Ok((fresh, number))
    }

    fn new(is_caller_driven: bool) -> io::Result<EventLoop> {
        let poll = Poll::new()?;
        let registry = poll.registry().try_clone()?;
        let waker = Waker::new(&registry, Driver::WAKER)?;
        let alarm = Arc::new(Alarm::new()?);
        Ok(EventLoop {
            process_mark: descriptor::process_mark(),
            is_caller_driven,
            driver: Mutex::new(Driver::new(poll, &*alarm)?),
            mail: Mutex::default(),
            is_awake: AtomicBool::new(false),
            waker,
            registry,
            alarm,
            resolvers: Workers::new(RESOLVERS),
            members: Mutex::default(),
            is_stopping: AtomicBool::new(false),
            thread: Mutex::default(),
            has_ended: Mutex::new(false),
            left_bell: Condvar::new(),
        })
    }

    /// Whether this is a child of the process that made it.
    pub(super) fn is_forked(&self) -> bool {
        descriptor::process_mark() != self.process_mark
    }

    /// A place for a node that is about to start; `None` when the loop is ending.
    fn reserve(&self) -> Option<NodeNumber> {
        let mut members = self.members.lock();
        if members.is_over {
            return None;
        }
        members.last += 1;
        let number = NodeNumber(members.last);
        members.by_number.insert(number, Weak::new());
        Some(number)
    }

    /// The node takes its place. An error means that the loop panicked meanwhile.
    pub(super) fn join(&self, engine: &Arc<Engine>) -> Result<()> {
        match self.members.lock().by_number.get_mut(&engine.number) {
            Some(place) => *place = Arc::downgrade(engine),
            None => return Err(Error::new(Code::Bug, "start a node: the loop of its process panicked")),
        }
        Ok(())
    }

    pub(super) fn member(&self, number: NodeNumber) -> Option<Arc<Engine>> {
        self.members.lock().by_number.get(&number).and_then(Weak::upgrade)
    }

    pub(super) fn members(&self) -> Vec<Arc<Engine>> {
        self.members.lock().by_number.values().filter_map(Weak::upgrade).collect()
    }

    /// Leaves mail for the driver and wakes it if it may sleep.
    pub(super) fn post(&self, engine: &Arc<Engine>, command: Command) {
        let mut mail = self.mail.lock();
        if mail.is_closed || engine.has_left() {
            return drop(mail);
        }
        mail.queue.push_back((Arc::clone(engine), command));
        drop(mail);
        self.wake();
    }

    pub(super) fn wake(&self) {
        if !self.is_awake.swap(true, Ordering::SeqCst) {
            // It fails only when the counter is full, and then the driver is woken anyway.
            let _ = self.waker.wake();
        }
    }

    /// The driver says whether it looks at its mail again by itself.
    pub(super) fn set_awake(&self, is_awake: bool) {
        self.is_awake.store(is_awake, Ordering::SeqCst);
    }

    pub(super) fn has_mail(&self) -> bool {
        !self.mail.lock().queue.is_empty()
    }

    /// Exchanges the mail for an empty queue, whose memory is used for what comes next.
    pub(super) fn take_mail(&self, emptied: &mut VecDeque<(Arc<Engine>, Command)>) {
        if emptied.capacity() > MAIL_KEPT {
            *emptied = VecDeque::new();
        }
        std::mem::swap(&mut self.mail.lock().queue, emptied);
    }

    /// For a program that waits on the descriptor between its turns.
    pub(super) fn wake_program(&self) {
        if self.is_caller_driven {
            self.wake();
        }
    }

    /// Says to every node's log that the system is broken.
    pub(super) fn complain(&self, action: &str, error: &io::Error) {
        for engine in self.members() {
            engine.log(super::LogLevel::Error, || system(action, error).to_string());
        }
    }

    /// One turn. A panic in it is a bug, after which nothing of its nodes is used any more.
    pub(super) fn turn(&self, driver: &mut Driver, wait: Option<Duration>, may_run: bool) {
        let Err(panic) = catch_unwind(AssertUnwindSafe(|| driver.turn(self, wait, may_run))) else { return };
        let text = panic_text(&*panic);
        let members = self.members();
        self.strike_out(|members| members.by_number.clear());
        for engine in members {
            engine.break_down(&text);
        }
        self.resolvers.stop();
        driver.clear();
        self.close_mail();
    }

    /// The thread of the loop.
    fn run(self: Arc<Self>) {
        let _inline = Inline::enter();
        // Handlers of the program's signals run on threads of the program.
        descriptor::SignalMask::all().apply();
        descriptor::Turns::current().min(TURNS).apply();
        let mut driver = self.driver.lock();
        while !self.is_stopping.load(Ordering::Acquire) {
            self.turn(&mut driver, None, true);
            if self.is_forked() {
                // An inline handler came back in a child, where all this belongs to the parent.
                return std::mem::forget((Arc::clone(&self), driver));
            }
        }
        driver.clear();
        drop(driver);
        self.close_mail();
        *self.has_ended.lock() = true;
        self.left_bell.notify_all();
    }

    /// Takes members off the list; with the last one the loop ends. Answers whether it does.
    fn strike_out(&self, strike: impl FnOnce(&mut Members)) -> bool {
        let mut members = self.members.lock();
        strike(&mut members);
        members.is_over |= members.by_number.is_empty();
        if members.is_over {
            self.is_stopping.store(true, Ordering::Release);
        }
        members.is_over
    }

    /// Nobody reads the mail any more; nodes that wait to be let go are gone.
    fn close_mail(&self) {
        let mut mail = self.mail.lock();
        mail.is_closed = true;
        let left = std::mem::take(&mut mail.queue);
        drop(mail);
        // What it owns may be the program's, so it goes here, where no lock is held.
        for (engine, _) in left {
            engine.release();
        }
    }

    /// Mail of a node that has left goes.
    pub(super) fn drop_mail_of(&self, engine: &Arc<Engine>) {
        let mut mail = self.mail.lock();
        let (own, others) =
            std::mem::take(&mut mail.queue).into_iter().partition(|(node, _)| Arc::ptr_eq(node, engine));
        mail.queue = others;
        drop(mail);
        let own: VecDeque<_> = own;
        // What it owns may be the program's, so it goes here, where no lock is held.
        drop(own);
    }

    /// Says to whoever closes a node that it has left.
    pub(super) fn note_left(&self) {
        // Under the lock, so that nobody falls asleep between his look and this.
        let _has_ended = self.has_ended.lock();
        self.left_bell.notify_all();
    }

    /// The node is not driven any more, and with the last one the loop ends. With `may_wait` the loop holds
    /// nothing of the node afterwards, unless a handler of the program hangs in it.
    pub(super) fn leave(&self, engine: &Arc<Engine>, may_wait: bool) {
        self.post(engine, Command::Leave);
        let is_last = self.strike_out(|members| drop(members.by_number.remove(&engine.number)));
        if is_last {
            self.resolvers.stop();
            self.wake();
            if may_wait {
                self.resolvers.wait_for_idle_threads(LAST_TURN);
            }
        }
        if self.is_caller_driven {
            // Another thread may be at the sockets still.
            let wait = if may_wait { LAST_TURN } else { Duration::ZERO };
            if let Some(mut driver) = self.driver.try_lock_for(wait) {
                driver.clear();
                drop(driver);
                self.close_mail();
            }
        } else if may_wait {
            self.wait_for_end(engine, is_last);
        }
    }

    fn wait_for_end(&self, engine: &Engine, is_last: bool) {
        let until = clock::deadline(Some(LAST_TURN));
        let mut has_ended = self.has_ended.lock();
        while !*has_ended && (is_last || !engine.has_left()) && clock::now() < until {
            // An inline handler that hangs must not hang the program too.
            self.left_bell.wait_for(&mut has_ended, until.since(clock::now()));
        }
        let has_ended = *has_ended;
        if !is_last {
            return;
        }
        let thread = self.thread.lock().take();
        if let Some(thread) = thread.filter(|_| has_ended) {
            // Only a few steps are left to it, but they must not run beside the exit handlers of a program that
            // returns from main now: those of OpenSSL free what every thread uses.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::Options;
    use clerver_proto::error::Code;

    /// The loop belongs to the process: one test at a time.
    static ALONE: Mutex<()> = Mutex::new(());

    fn open(home: &tempfile::TempDir, engine: &str) -> Arc<Engine> {
        Engine::start(Options::new().home(home.path()).engine(engine).resolve().unwrap()).unwrap()
    }

    fn code_of(engine: &Arc<Engine>) -> Option<Code> {
        engine.change(|_, _| Ok(())).err().map(|error| error.code)
    }

    #[test]
    fn nodes_share_a_loop_only_if_both_say_so_and_never_one_that_has_ended() {
        let _alone = ALONE.lock();
        let home = tempfile::tempdir().unwrap();
        let (own, first, second) = (open(&home, "own"), open(&home, "shared"), open(&home, "shared"));
        assert!(Arc::ptr_eq(&first.event_loop, &second.event_loop));
        assert!(!Arc::ptr_eq(&first.event_loop, &own.event_loop));
        let close = |engine: &Arc<Engine>| drop(engine.close(Duration::from_secs(1)).unwrap());
        close(&first);
        assert!(first.has_left() && !second.has_left() && code_of(&second).is_none());
        close(&second);
        assert!(second.has_left() && *second.event_loop.has_ended.lock());
        // Its handles keep the loop, which nobody joins any more.
        let third = open(&home, "shared");
        assert!(!Arc::ptr_eq(&third.event_loop, &second.event_loop));
        close(&third);
        close(&own);
    }

    #[test]
    fn a_panic_of_a_shared_loop_ends_all_its_nodes_and_no_others() {
        let _alone = ALONE.lock();
        let home = tempfile::tempdir().unwrap();
        let (own, first, second) = (open(&home, "own"), open(&home, "shared"), open(&home, "shared"));
        second.listen("127.0.0.1:0", 1).unwrap();
        first.post(Command::Panic);
        let until = clock::deadline(Some(Duration::from_secs(10)));
        let mut has_ended = first.event_loop.has_ended.lock();
        while !*has_ended && clock::now() < until {
            first.event_loop.left_bell.wait_for(&mut has_ended, Duration::from_secs(10));
        }
        drop(has_ended);
        assert_eq!([&first, &second, &own].map(code_of), [Some(Code::Bug), Some(Code::Bug), None]);
        assert!(first.has_left() && second.has_left());
        let third = open(&home, "shared");
        assert_eq!(code_of(&third), None);
        for engine in [first, second, third, own] {
            engine.close(Duration::from_secs(1)).unwrap();
        }
    }

    #[test]
    fn a_child_is_refused_with_nodes_of_a_shared_loop_and_the_parent_goes_on() {
        let _alone = ALONE.lock();
        let home = tempfile::tempdir().unwrap();
        let (first, second) = (open(&home, "shared"), open(&home, "shared"));
        assert!(descriptor::in_forked_child(|| {
            let refused = |result: Result<()>| result.is_err_and(|error| error.code == Code::Forked);
            let settings = Options::new().home(home.path()).engine("shared").resolve().unwrap();
            first.event_loop.is_forked()
                && refused(first.change(|_, _| Ok(())))
                && refused(second.close(Duration::from_secs(1)).map(drop))
                && refused(Engine::start(settings).map(drop))
        }));
        assert_eq!([&first, &second].map(code_of), [None, None]);
        for engine in [first, second] {
            assert!(engine.close(Duration::from_secs(1)).unwrap().stuck.is_empty());
        }
    }
}
