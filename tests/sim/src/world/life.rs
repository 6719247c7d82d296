//! Birth, death, sleep and doubling of processes.

use super::{Happening, NOBODY, Pending, Pid, Proc, World};
use crate::app::goals::{Status, own_address};
use crate::app::{App, Job, Sess};
use crate::checker::flows;
use crate::checker::objects::Object;
use crate::checker::sessions::View;
use crate::checker::{Invariant, Verdict, broken};
use crate::plan::{Kind, MS, SEC, Service, Trusts};
use crate::rng::Rng;
use crate::toy::ToyHash;
use clerver_proto::id::{LinkId, ObjectId, SessionId};
use clerver_proto::node::{Input, KindOptions, Node, ServiceOptions, Trust};
use clerver_proto::time::Instant;
use std::cmp::Reverse;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

/// Level that the service "above" asks for.
const LEVEL_ABOVE: u8 = 200;
/// How long embalmed objects are kept.
const EMBALM_FOR: Duration = Duration::from_secs(20);
/// The wall clocks' common start: 2026.
const WALL_MS: u64 = 1_790_000_000_000;

/// A process as it was at one moment.
#[derive(Debug)]
pub(super) struct Snapshot {
    of: Pid,
    node: Node,
    app: App,
    /// What its application was about to do, and in how long.
    jobs: Vec<(u64, Job)>,
    /// Links, and what each was granted and did not use.
    links: Vec<(LinkId, u64)>,
    next_link: u64,
    flows: flows::Snapshot,
    sessions: BTreeMap<SessionId, View>,
    objects: Vec<(SessionId, ObjectId, Object)>,
}

impl World {
    /// Starts a process at an address, with its services and kinds, and with the wish to connect.
    pub(super) fn start_process(&mut self, slot: usize) -> Verdict {
        let plan = &self.plan.nodes[slot];
        let mut options = plan.options.clone();
        options.trust = self.trust_of(slot, &[]);
        options.canary = self.canary;
        let now = self.slots[slot].clock.local(self.now);
        let seed = self.rng.bytes32();
        let wall = WALL_MS + self.now / MS;
        let node = match Node::new(options, self.slots[slot].host, Arc::new(ToyHash), seed, now, wall) {
            Ok(node) => node,
            Err(error) => return broken(Invariant::Scenario, format!("Node::new for n{slot}: {error}")),
        };
        let rng = self.rng.fork();
        let pid = self.add_process(slot, node, App::default(), rng);
        self.note(pid, || "starts".into());
        self.api(pid, "tick", |node, now| node.handle(now, Input::Tick))?.ok();
        for service in Service::REGISTERED {
            let level_min = if service == Service::Above { LEVEL_ABOVE } else { 1 };
            let options = ServiceOptions { level_min };
            self.must(pid, "service_register", |node, now| {
                node.service_register(now, service.name(), options)
            })?;
        }
        for kind in Kind::ALL {
            let embalm_for = (kind != Kind::Plain).then_some(EMBALM_FOR);
            let options = KindOptions { level_min: 1, embalm_for, has_discard: kind == Kind::Kept };
            self.must(pid, "kind_register", |node, now| node.kind_register(now, kind.name(), options))?;
        }
        let addresses = self.plan.nodes[slot].addresses.iter().map(|address| own_address(address)).collect();
        self.must(pid, "set_addresses", |node, now| node.set_addresses(now, addresses))?;
        self.want_connections(pid);
        Ok(())
    }

    fn must<T>(
        &mut self,
        pid: Pid,
        name: &'static str,
        call: impl FnOnce(&mut Node, Instant) -> clerver_proto::error::Result<T>,
    ) -> Verdict<T> {
        match self.api(pid, name, call)? {
            Ok(value) => Ok(value),
            Err(error) => broken(Invariant::I13, format!("{name} of process {pid} answered {error}")),
        }
    }

    fn add_process(&mut self, slot: usize, node: Node, app: App, rng: Rng) -> Pid {
        let pid = self.procs.len();
        let id = node.id();
        self.ids.entry(id).or_default().push(pid);
        self.slots[slot].current = Some(pid);
        self.slots[slot].silent = false;
        self.procs.push(Proc {
            slot,
            node: Some(node),
            id,
            stops: 0,
            inbox: VecDeque::new(),
            wake: Instant::NEVER,
            ticking: u64::MAX,
            links: BTreeMap::new(),
            next_link: 0,
            dials: BTreeMap::new(),
            stale_links: Vec::new(),
            stale_attempts: Vec::new(),
            sessions_of_links: BTreeMap::new(),
            ticks: (0, 0),
            app,
            rng,
        });
        pid
    }

    /// The trust of a node, with these nodes' hosts blocked.
    pub(super) fn trust_of(&self, slot: usize, blocked: &[usize]) -> Trust {
        let host = |index: usize| self.slots[index].host;
        let levels = match &self.plan.nodes[slot].trusts {
            Trusts::All(level) => self.slots.iter().map(|slot| (slot.host, *level)).collect(),
            Trusts::Only(other) => BTreeMap::from([(host(*other), 1)]),
            Trusts::Levels(levels) => levels.iter().map(|(other, level)| (host(*other), *level)).collect(),
        };
        Trust { levels, blocked: blocked.iter().map(|&other| host(other)).collect() }
    }

    /// SIGKILL, or the end of the machine's power (`silent`: nobody is told).
    pub(super) fn crash(&mut self, pid: Pid, silent: bool) {
        if self.procs[pid].node.take().is_none() {
            return;
        }
        self.note(pid, || format!("dies{}", if silent { " silently" } else { "" }));
        let slot = self.procs[pid].slot;
        if self.slots[slot].current == Some(pid) {
            self.slots[slot].current = None;
            self.slots[slot].silent = silent;
        }
        let ends = |link: &super::net::Link| [link.ends[0].pid == pid, link.ends[1].pid == pid];
        let links: Vec<(u64, [bool; 2])> = self.links.iter().map(|(key, link)| (*key, ends(link))).collect();
        for (key, mine) in links {
            if mine[0] || mine[1] {
                self.cut(key, [!mine[0] && !silent, !mine[1] && !silent]);
            }
        }
        self.check.objects.process_died(pid);
        self.give_goals_back(pid);
    }

    /// Goals that this process was at must be done by its successor.
    fn give_goals_back(&mut self, pid: Pid) {
        for index in 0..self.goals.len() {
            if matches!(self.goals[index].status, Status::Running { pid: at, .. } if at == pid) {
                self.goals[index].again();
            }
        }
    }

    pub(crate) fn is_stopped(&self, pid: Pid) -> bool {
        self.procs[pid].stops > 0
    }

    pub(super) fn stop(&mut self, pid: Pid) {
        self.note(pid, || "is stopped".into());
        self.procs[pid].stops += 1;
    }

    pub(super) fn resume(&mut self, pid: Pid) -> Verdict {
        let process = &mut self.procs[pid];
        process.stops = process.stops.saturating_sub(1);
        if process.stops > 0 || process.node.is_none() {
            return Ok(());
        }
        self.note(pid, || "continues".into());
        self.catch_up(pid)
    }

    /// What this node believes of time is not within 10 per cent of the truth.
    pub(super) fn disturb(&mut self, slot: usize) {
        self.slots[slot].disturbed = Some(self.now);
    }

    /// Whether a node's clock could be believed for this long.
    pub(super) fn is_steady(&self, slot: usize, for_time: u64) -> bool {
        self.slots[slot].disturbed.is_none_or(|at| at + for_time < self.now)
    }

    /// Takes a snapshot, as a virtual machine's host does; answers its number.
    pub(super) fn take_snapshot(&mut self, pid: Pid) -> Option<usize> {
        let jobs = self.jobs_of(pid);
        let process = &self.procs[pid];
        let node = process.node.clone()?;
        self.note(pid, || "snapshot taken".into());
        self.snapshots.push(Snapshot {
            of: pid,
            node,
            app: process.app.clone(),
            jobs,
            links: process.links.iter().map(|(id, handle)| (*id, handle.granted)).collect(),
            next_link: process.next_link,
            flows: self.check.flows.snapshot(pid),
            sessions: self.check.sessions.snapshot(pid),
            objects: self.check.objects.snapshot(pid),
        });
        Some(self.snapshots.len() - 1)
    }

    /// The process is gone; its snapshot goes on in its place, with all links dead and an idle application.
    pub(super) fn start_snapshot(&mut self, number: usize) -> Verdict {
        let Some(snapshot) = self.snapshots.get(number) else { return Ok(()) };
        let (of, slot) = (snapshot.of, self.procs[snapshot.of].slot);
        let (node, mut app) = (snapshot.node.clone(), snapshot.app.clone());
        app.freeze();
        let id = self.procs[of].id;
        for same in 0..self.procs.len() {
            if self.procs[same].id == id {
                self.crash(same, false);
                self.check.calls.forked(same);
            }
        }
        let rng = self.rng.fork();
        let pid = self.add_process(slot, node, app, rng);
        self.note(pid, || format!("goes on from the snapshot of process {of}"));
        self.tally(slot, "cloned");
        self.disturb(slot);
        let snapshot = &self.snapshots[number];
        self.check.flows.fork(of, pid, &snapshot.flows);
        self.check.sessions.fork(snapshot.sessions.clone(), pid);
        self.check.objects.fork(snapshot.objects.clone(), pid);
        let (links, jobs) = (snapshot.links.clone(), snapshot.jobs.clone());
        self.procs[pid].next_link = snapshot.next_link;
        for (link, granted) in links {
            self.ghost_link(pid, link, granted);
        }
        for (after, job) in jobs {
            self.job(pid, after, job);
        }
        let running = |(session, known): (&SessionId, &Sess)| {
            known.running.keys().map(|call| Job::Finish(*session, *call)).collect::<Vec<_>>()
        };
        let handlers: Vec<Job> = self.procs[pid].app.sessions.iter().flat_map(running).collect();
        handlers.into_iter().for_each(|job| self.job(pid, SEC, job));
        self.hand(pid, Input::Tick)?;
        self.want_connections(pid);
        Ok(())
    }

    /// Whether this process goes on from a snapshot of another one.
    pub(crate) fn is_clone(&self, pid: Pid) -> bool {
        self.ids.get(&self.procs[pid].id).is_some_and(|pids| pids.first() != Some(&pid))
    }

    /// Whether some process of this run is, or will be, doubled.
    pub(crate) fn has_clones(&self) -> bool {
        !self.snapshots.is_empty()
    }

    /// What is on the heap for an application, as far as an idle one does it too; handlers only return.
    fn jobs_of(&self, pid: Pid) -> Vec<(u64, Job)> {
        let on_heap = self.heap.iter().filter_map(|Reverse(entry)| match &entry.what {
            Happening::Job { pid: of, job } if *of == pid => Some((entry.at, entry.number, job.clone())),
            _ => None,
        });
        let put_off = self.procs[pid].inbox.iter().filter_map(|pending| match pending {
            Pending::Job(job) => Some((self.now, 0, job.clone())),
            Pending::Input(_) => None,
        });
        let mut jobs: Vec<(u64, u64, Job)> = put_off.chain(on_heap).collect();
        jobs.sort_by_key(|(at, number, _)| (*at, *number));
        let passive = jobs.into_iter().filter(|(_, _, job)| job.is_passive());
        passive.map(|(at, _, job)| (at - self.now, job)).collect()
    }

    /// A link that only the snapshot remembers: it breaks soon.
    fn ghost_link(&mut self, pid: Pid, id: LinkId, granted: u64) {
        let key = self.next_link;
        let slot = self.procs[pid].slot;
        self.join(NOBODY, slot, None, pid);
        if let Some(link) = self.links.get_mut(&key) {
            link.ends[1].id = Some(id);
        }
        self.procs[pid].links.insert(id, super::Handle { key, side: 1, granted, hung: false });
        self.cut(key, [false, true]);
    }

    /// Wishes of a new process: every connect goal of its address.
    fn want_connections(&mut self, pid: Pid) {
        let slot = self.procs[pid].slot;
        for index in 0..self.plan.goals.len() {
            let goal = &self.plan.goals[index];
            if goal.from == slot && matches!(goal.what, crate::plan::What::Connect(_)) {
                self.goals[index].reopen();
                let after = goal.start.saturating_sub(self.now);
                self.job(pid, after, Job::Connect(index));
            }
        }
    }
}
