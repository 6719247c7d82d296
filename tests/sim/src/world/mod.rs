//! The world: processes, machines with clocks, a network, and the heap of what happens next.
//!
//! One thread, one virtual clock, one seed. Everything that happens is an entry of the heap, ordered by time and then
//! by number, so that a seed gives the same bytes on every run (I17). The world knows no rule of the protocol: rules
//! are checked in `checker`, applications act in `app`.

mod dial;
mod drive;
mod faults;
mod finish;
mod hostile;
mod life;
mod net;
mod sniff;
mod watch;

use crate::app::goals::GoalRun;
use crate::app::{App, Job};
use crate::checker::{Checker, Failure, Invariant, Verdict, ensure};
use crate::clock::Clock;
use crate::plan::{Plan, Route, SEC};
use crate::rng::Rng;
use crate::toy;
use clerver_proto::error::Error;
use clerver_proto::id::{AttemptId, HostId, LinkId, NodeId};
use clerver_proto::node::{Canary, Input, Node};
use clerver_proto::time::Instant;
use std::cell::{Cell, RefCell};
use std::cmp::{Ordering, Reverse};
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// A process, by order of its start in the run.
pub(crate) type Pid = usize;
/// The simulator itself at one end of a link.
pub(crate) const NOBODY: Pid = usize::MAX;
/// A run that needs more steps than this does not converge.
const STEPS_MAX: u64 = 20_000_000;

/// Characters of a line of the trace.
const LINE: usize = 400;

/// What comes of a run.
#[derive(Debug, Clone)]
pub(crate) struct Outcome {
    pub failure: Option<Failure>,
    pub steps: u64,
    /// Virtual time, in nanoseconds.
    pub time: u64,
    /// Hash of everything that went in and came out.
    pub hash: u64,
    pub tallies: BTreeMap<String, u64>,
}

/// What is on the heap.
#[derive(Debug)]
pub(crate) enum Happening {
    /// A node's timer is due.
    Tick(Pid),
    /// A dial reaches its address, or tries again to.
    Dial { pid: Pid, attempt: AttemptId },
    /// A dial is over without a link.
    DialFails { pid: Pid, attempt: AttemptId, why: Error },
    /// A link passed its handshake at one end.
    Up { link: u64, side: usize },
    /// More room in the buffer of one end.
    Grant { link: u64, side: usize, bytes: usize },
    /// A piece leaves the buffer.
    Leave { link: u64, dir: usize },
    /// What is first on the way arrives.
    Arrive { link: u64, dir: usize },
    /// A hang-up has waited long enough for the flush.
    Linger { link: u64, side: usize },
    /// The simulator writes to a link of its own.
    Inject { link: u64, bytes: bytes::Bytes },
    /// An application does something.
    Job { pid: Pid, job: Job },
    /// A goal with a time of its own (close, drain) is due.
    Act(usize),
    /// A fault of the plan begins.
    Fault(usize),
    /// A fault ends.
    Undo(faults::Undo),
}

#[derive(Debug)]
struct Entry {
    at: u64,
    number: u64,
    what: Happening,
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
    }
}
impl Eq for Entry {}
impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Entry {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}

/// What waits for a stopped process.
#[derive(Debug)]
enum Pending {
    Input(Input),
    Job(Job),
}

/// A link as a process knows it.
#[derive(Debug, Clone, Copy)]
struct Handle {
    key: u64,
    side: usize,
    granted: u64,
    hung: bool,
}

/// One process.
#[derive(Debug)]
pub(crate) struct Proc {
    pub slot: usize,
    /// `None` once it died.
    pub node: Option<Node>,
    pub id: NodeId,
    /// How many faults keep it stopped.
    stops: u32,
    inbox: VecDeque<Pending>,
    /// When the node wants its tick, and the earliest tick on the heap (true time).
    wake: Instant,
    ticking: u64,
    links: BTreeMap<LinkId, Handle>,
    next_link: u64,
    dials: BTreeMap<AttemptId, dial::Dial>,
    stale_links: Vec<LinkId>,
    stale_attempts: Vec<AttemptId>,
    sessions_of_links: BTreeMap<LinkId, clerver_proto::id::SessionId>,
    /// Ticks in the running virtual second, against spinning.
    ticks: (u64, u32),
    pub app: App,
    pub rng: Rng,
}

/// One address with its machine's clock.
#[derive(Debug)]
pub(crate) struct Slot {
    pub host: HostId,
    pub clock: Clock,
    /// The process that accepts links here now.
    pub current: Option<Pid>,
    /// The machine is down: nobody answers, not even with a refusal.
    silent: bool,
    /// When its clock last jumped, or a snapshot was started on it.
    disturbed: Option<u64>,
}

/// What the phases of a run are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    /// Faults come.
    Faults,
    /// All is healed; it must converge.
    Healed,
    /// Everything is being closed.
    Closing,
}

/// The whole run.
#[derive(Debug)]
pub(crate) struct World {
    pub plan: Plan,
    pub now: u64,
    number: u64,
    heap: BinaryHeap<Reverse<Entry>>,
    /// For network and faults; each process has its own.
    rng: Rng,
    /// For what the checker samples.
    sampling: Rng,
    pub procs: Vec<Proc>,
    pub slots: Vec<Slot>,
    links: BTreeMap<u64, net::Link>,
    next_link: u64,
    paths: BTreeMap<(usize, usize), net::Path>,
    /// What is wrong on the way to an address.
    ways: BTreeMap<String, net::Way>,
    routes: BTreeMap<String, Route>,
    /// First bytes of links, for replay: (from, to, bytes).
    recorded: Vec<(usize, usize, bytes::Bytes)>,
    snapshots: Vec<life::Snapshot>,
    pub check: Checker,
    pub goals: Vec<GoalRun>,
    /// Pairs that shall not be connected any more.
    pub apart: BTreeSet<(usize, usize)>,
    /// Places whose node was told to drain.
    pub drained: BTreeSet<usize>,
    pub phase: Phase,
    /// From now on nothing may be lost any more.
    settled: u64,
    /// Sessions that were live when everything was to be closed.
    to_close: BTreeSet<(Pid, clerver_proto::id::SessionId)>,
    steps: u64,
    canary: Option<Canary>,
    trace: bool,
    hash: u64,
    pub tallies: BTreeMap<(usize, String), u64>,
    pub ids: BTreeMap<NodeId, Vec<Pid>>,
}

thread_local! {
    /// Where and why the last panic of this thread was.
    static PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
    static RUNNING: Cell<bool> = const { Cell::new(false) };
}

/// Keeps panics of nodes from the terminal: they become failures with a seed.
pub(crate) fn catch_panics() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if !RUNNING.get() {
            return usual(info);
        }
        let text = info.to_string().replace('\n', " ");
        PANIC.with(|panic| *panic.borrow_mut() = Some(text));
    }));
}

/// Runs a plan with a seed to its end.
pub(crate) fn run(plan: &Plan, seed: u64, canary: Option<Canary>, trace: bool) -> Outcome {
    let mut world = World::new(plan.clone(), seed, canary, trace);
    RUNNING.set(true);
    let verdict = catch_unwind(AssertUnwindSafe(|| world.live()));
    RUNNING.set(false);
    let failure = match verdict {
        Ok(Ok(())) => None,
        Ok(Err(failure)) => Some(failure),
        Err(_) => {
            let what = format!("panic: {}", PANIC.with(RefCell::take).unwrap_or_default());
            Some(Failure { invariant: Invariant::I13, what })
        }
    };
    Outcome { failure, steps: world.steps, time: world.now, hash: world.hash, tallies: world.total_tallies() }
}

impl World {
    fn new(plan: Plan, seed: u64, canary: Option<Canary>, trace: bool) -> World {
        let mut rng = Rng::new(seed);
        let sampling = rng.fork();
        let slot = |node: &crate::plan::NodePlan| Slot {
            host: host_id(node.host),
            clock: node.clock,
            current: None,
            silent: false,
            disturbed: None,
        };
        let mut routes: BTreeMap<String, Route> =
            (0..plan.nodes.len()).map(|index| (format!("n{index}"), Route::Node(index))).collect();
        routes.insert("dead".into(), Route::Nothing);
        routes.insert("hole".into(), Route::BlackHole);
        routes.extend(plan.routes.iter().cloned());
        World {
            slots: plan.nodes.iter().map(slot).collect(),
            goals: plan.goals.iter().map(|_| GoalRun::default()).collect(),
            now: 0,
            number: 0,
            heap: BinaryHeap::new(),
            rng,
            sampling,
            procs: Vec::new(),
            links: BTreeMap::new(),
            next_link: 0,
            paths: BTreeMap::new(),
            ways: BTreeMap::new(),
            routes,
            recorded: Vec::new(),
            snapshots: Vec::new(),
            check: Checker::default(),
            apart: BTreeSet::new(),
            drained: BTreeSet::new(),
            phase: Phase::Faults,
            settled: u64::MAX,
            to_close: BTreeSet::new(),
            steps: 0,
            canary,
            trace,
            hash: toy::fold(seed, plan.name.as_bytes()),
            tallies: BTreeMap::new(),
            ids: BTreeMap::new(),
            plan,
        }
    }

    /// The three phases.
    fn live(&mut self) -> Verdict {
        for slot in 0..self.slots.len() {
            self.start_process(slot)?;
        }
        for index in 0..self.plan.faults.len() {
            let at = self.plan.faults[index].0;
            self.schedule(at, Happening::Fault(index));
        }
        for index in 0..self.plan.goals.len() {
            if self.plan.goals[index].what.is_act() {
                self.schedule(self.plan.goals[index].start, Happening::Act(index));
            }
        }
        self.run_until(self.plan.fault_time)?;
        self.heal()?;
        self.converge()?;
        self.close_all()?;
        self.expectations()
    }

    /// Puts something on the heap.
    pub(crate) fn schedule(&mut self, at: u64, what: Happening) {
        self.number += 1;
        self.heap.push(Reverse(Entry { at: at.max(self.now), number: self.number, what }));
    }

    /// Lets an application do something after a while.
    pub(crate) fn job(&mut self, pid: Pid, after: u64, job: Job) {
        self.schedule(self.now + after, Happening::Job { pid, job });
    }

    /// Runs everything that happens up to a time, and stands there.
    fn run_until(&mut self, until: u64) -> Verdict {
        while self.heap.peek().is_some_and(|Reverse(entry)| entry.at <= until) {
            self.step()?;
        }
        self.now = self.now.max(until);
        Ok(())
    }

    /// Takes one entry off the heap; false when it is empty.
    fn step(&mut self) -> Verdict<bool> {
        let Some(Reverse(entry)) = self.heap.pop() else { return Ok(false) };
        self.now = entry.at;
        self.steps += 1;
        ensure!(self.steps < STEPS_MAX, I2, "no end after {STEPS_MAX} steps");
        match entry.what {
            Happening::Tick(pid) => self.tick(pid)?,
            Happening::Dial { pid, attempt } => self.dial_step(pid, attempt),
            Happening::DialFails { pid, attempt, why } => self.dial_fails(pid, attempt, why)?,
            Happening::Up { link, side } => self.link_up(link, side)?,
            Happening::Grant { link, side, bytes } => self.grant(link, side, bytes)?,
            Happening::Leave { link, dir } => self.leave(link, dir)?,
            Happening::Arrive { link, dir } => self.arrive(link, dir)?,
            Happening::Linger { link, side } => self.linger(link, side),
            Happening::Inject { link, bytes } => self.inject(link, bytes),
            Happening::Job { pid, job } => self.do_job(pid, job)?,
            Happening::Act(goal) => self.act(goal)?,
            Happening::Fault(index) => self.fault(index)?,
            Happening::Undo(undo) => self.undo(undo)?,
        }
        Ok(true)
    }

    fn do_job(&mut self, pid: Pid, job: Job) -> Verdict {
        if self.procs[pid].node.is_none() {
            return Ok(());
        }
        if self.procs[pid].stops > 0 {
            self.procs[pid].inbox.push_back(Pending::Job(job));
            return Ok(());
        }
        self.perform(pid, job)?;
        self.sample(pid)
    }

    /// What the clock of this process shows.
    pub(crate) fn local(&self, pid: Pid) -> Instant {
        self.slots[self.procs[pid].slot].clock.local(self.now)
    }

    /// A line of the trace, made only if somebody reads it.
    pub(crate) fn note(&self, pid: Pid, text: impl FnOnce() -> String) {
        if self.trace {
            let place = self.procs.get(pid).map_or(0, |process| process.slot);
            let line: String = text().chars().take(LINE).collect();
            println!("{:>12.6} n{place}/p{pid} {line}", self.now as f64 / SEC as f64);
        }
    }

    /// Counts something at a node, for expectations and for the summary.
    pub(crate) fn tally(&mut self, slot: usize, name: impl Into<String>) {
        *self.tallies.entry((slot, name.into())).or_default() += 1;
    }

    fn total_tallies(&self) -> BTreeMap<String, u64> {
        let mut total = BTreeMap::new();
        for ((_, name), count) in &self.tallies {
            *total.entry(name.clone()).or_default() += count;
        }
        for (name, count) in [
            ("taken", self.check.flows.taken),
            ("destroyed", self.check.objects.destroyed),
            ("reports compared", self.check.reports.compared),
            ("calls answered", self.check.calls.outcomes[0]),
            ("calls not run", self.check.calls.outcomes[1]),
            ("calls unknown", self.check.calls.outcomes[2]),
            ("slowest message ms", self.check.flows.slowest / 1_000_000),
        ] {
            total.insert(name.into(), count);
        }
        total
    }
}

/// The host id of a key of the plan; the order of the numbers is the order of the ids, and so decides who is arbiter.
pub(crate) fn host_id(host: u8) -> HostId {
    let mut id = [0x5a; 32];
    id[0] = host;
    HostId(id)
}
