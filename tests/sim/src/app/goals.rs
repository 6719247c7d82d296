//! Goals: which are open, where they run, and how sessions come and go for them.

use super::{Job, Sess};
use crate::checker::Verdict;
use crate::plan::{Connect, MS, Plan, SEC, What};
use crate::world::{Phase, Pid, World};
use clerver_proto::error::Code;
use clerver_proto::id::{ConnectorId, SessionId};
use clerver_proto::node::{ConnectOptions, OwnAddress};
use std::collections::BTreeMap;
use std::time::Duration;

/// An address that a node announces; it is of use everywhere.
pub(crate) fn own_address(address: &str) -> OwnAddress {
    OwnAddress { address: address.into(), is_local: false }
}

/// Where a goal stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Status {
    /// Needs a session.
    #[default]
    Waiting,
    Running {
        pid: Pid,
        session: SessionId,
    },
    Done,
    /// Not wanted any more.
    Void,
}

/// One goal in this run.
#[derive(Debug, Clone, Default)]
pub(crate) struct GoalRun {
    pub status: Status,
    /// Rises with each new start; what an earlier start left behind does not count.
    pub run: u32,
    /// Directions, or ends, that are through.
    pub bits: u8,
    /// Calls or objects begun, and those that are left to finish.
    pub begun: u32,
    pub left: u32,
}

impl GoalRun {
    pub(crate) fn is_open(&self) -> bool {
        matches!(self.status, Status::Waiting | Status::Running { .. })
    }

    /// What was done so far is lost: it has to be done again.
    pub(crate) fn again(&mut self) {
        if matches!(self.status, Status::Running { .. }) {
            *self = GoalRun { status: Status::Waiting, run: self.run + 1, ..GoalRun::default() };
        }
    }

    /// Wanted again although it was reached.
    pub(crate) fn reopen(&mut self) {
        if self.status != Status::Void {
            *self = GoalRun { run: self.run + 1, ..GoalRun::default() };
        }
    }

    /// A part is through; with all of them the goal is reached.
    pub(crate) fn finish(&mut self, run: u32, bit: u8) {
        if run == self.run && self.is_open() {
            self.bits |= bit;
            if self.bits == 3 {
                self.status = Status::Done;
            }
        }
    }

    /// One of several is through; true when another may begin.
    pub(crate) fn one_less(&mut self, run: u32) -> bool {
        if run != self.run || !self.is_open() {
            return false;
        }
        self.left = self.left.saturating_sub(1);
        if self.left == 0 {
            self.status = Status::Done;
        }
        self.left > 0
    }
}

impl World {
    pub(super) fn do_connect(&mut self, pid: Pid, goal: usize) -> Verdict {
        let wish = self.plan.goals[goal].clone();
        let What::Connect(connect) = wish.what else { return Ok(()) };
        let addresses = connect.addresses;
        let slot = self.procs[pid].slot;
        let pair = (wish.from.min(wish.to), wish.from.max(wish.to));
        let unwanted = self.apart.contains(&pair) || self.phase == Phase::Closing;
        if unwanted || self.slots[slot].current != Some(pid) || !self.goals[goal].is_open() {
            return Ok(());
        }
        let expected = (addresses.len() == 1 && self.procs[pid].rng.percent(50) && wish.from != wish.to)
            .then(|| self.slots[wish.to].host);
        let options = ConnectOptions {
            addresses,
            race: connect.race,
            expected,
            any_node: connect.any_node,
            timeout: connect.timeout.map(Duration::from_nanos),
            bulk_links: connect.bulk_links,
            standby_links: connect.standby_links,
        };
        // The node may reach the session within the call, so the connector's number must be known before its events.
        match self.api(pid, "connect", |node, now| node.connect(now, options))? {
            Ok(connector) => {
                self.procs[pid].app.connectors.insert(connector, goal);
                if self.is_connected(pid, wish.to) {
                    self.goals[goal].status = Status::Done;
                }
            }
            Err(error) => {
                self.tally(slot, Plan::tally_of("connect_failed", error.code));
                self.goals[goal].status = Status::Done;
            }
        }
        Ok(())
    }

    /// Whether this application has a live session with the node at this address.
    fn is_connected(&self, pid: Pid, peer: usize) -> bool {
        self.procs[pid].app.sessions.values().any(|known| known.slot == peer && known.begun && !known.over)
    }

    pub(super) fn connected(&mut self, pid: Pid, connector: ConnectorId) {
        let Some(&goal) = self.procs[pid].app.connectors.get(&connector) else { return };
        if self.has_its_address(pid) && self.goals[goal].is_open() {
            self.goals[goal].status = Status::Done;
        }
    }

    /// The wishes of a process that lost its address are its successor's.
    fn has_its_address(&self, pid: Pid) -> bool {
        self.slots[self.procs[pid].slot].current == Some(pid)
    }

    pub(super) fn connect_failed(&mut self, pid: Pid, connector: ConnectorId) {
        let Some(goal) = self.procs[pid].app.connectors.remove(&connector) else { return };
        let What::Connect(Connect { again, .. }) = self.plan.goals[goal].what else { return };
        if !self.has_its_address(pid) {
            return;
        }
        if again && self.goals[goal].status != Status::Void {
            self.goals[goal].reopen();
            self.job(pid, SEC, Job::Connect(goal));
        } else if self.goals[goal].is_open() {
            self.goals[goal].status = Status::Done;
        }
    }

    /// The application hears of a session for the first time.
    pub(super) fn know(&mut self, pid: Pid, session: SessionId) {
        if self.procs[pid].app.sessions.contains_key(&session) {
            return;
        }
        let Some(view) = self.check.sessions.get(pid, session) else { return };
        if view.is_over() {
            return;
        }
        let peer = self.ids.get(&view.peer).and_then(|pids| pids.last().copied());
        let Some(peer) = peer else { return };
        let known = Sess {
            slot: self.procs[peer].slot,
            sid: view.sid,
            arbiter: view.arbiter,
            handles: 0,
            begun: false,
            frozen: false,
            closing: false,
            over: false,
            channels: BTreeMap::new(),
            calls: BTreeMap::new(),
            running: BTreeMap::new(),
            held: BTreeMap::new(),
            waiting: Vec::new(),
            asks_delivered: false,
        };
        self.procs[pid].app.sessions.insert(session, known);
        self.check.objects.registration(pid, session);
    }

    /// The session can be used: goals that waited for it start.
    pub(super) fn begin(&mut self, pid: Pid, session: SessionId) {
        let Some(known) = self.sess(pid, session) else { return };
        if known.begun || known.frozen || known.over {
            return;
        }
        known.begun = true;
        self.assign_goals();
        self.revive_for(pid, session);
    }

    /// Gives every goal that waits a session, if there is one.
    pub(crate) fn assign_goals(&mut self) {
        for index in 0..self.plan.goals.len() {
            let goal = &self.plan.goals[index];
            let other = goal.what.is_act() || matches!(goal.what, What::Connect(_));
            if other || self.goals[index].status != Status::Waiting {
                continue;
            }
            let (after, from, to) = (goal.start, goal.from, goal.to);
            if let Some((pid, session)) = self.session_for(from, to) {
                self.goals[index].status = Status::Running { pid, session };
                self.job(pid, after, Job::Start(index, session));
            }
        }
    }

    /// A session that a goal between these two places can use; the newest process there has the first word.
    fn session_for(&self, from: usize, to: usize) -> Option<(Pid, SessionId)> {
        let fits =
            |known: &Sess| known.slot == to && known.begun && !known.over && !known.closing && !known.frozen;
        let living = (0..self.procs.len()).rev();
        living.filter(|&pid| self.procs[pid].slot == from && self.procs[pid].node.is_some()).find_map(|pid| {
            let mut sessions = self.procs[pid].app.sessions.iter();
            sessions.find(|(_, known)| fits(known)).map(|(session, _)| (pid, *session))
        })
    }

    /// A snapshot's session found its peer again and was not found out: it is as good as the original.
    pub(super) fn thaw(&mut self, pid: Pid, session: SessionId) {
        let Some(known) = self.sess(pid, session) else { return };
        if !known.frozen {
            return;
        }
        (known.frozen, known.begun) = (false, false);
        let writing: Vec<_> = known.channels.keys().copied().collect();
        writing.into_iter().for_each(|channel| self.soon(pid, Job::Write(session, channel)));
        self.begin(pid, session);
    }

    pub(super) fn do_start(&mut self, pid: Pid, goal: usize, session: SessionId) -> Verdict {
        if self.goals[goal].status != (Status::Running { pid, session }) {
            return Ok(());
        }
        match self.plan.goals[goal].what.clone() {
            What::Messages(_) | What::Stream { .. } | What::Broken { .. } => {
                self.open_channel(pid, goal, session)
            }
            What::Oversize => self.try_oversize(pid, goal, session),
            What::Calls { count, together, .. } => {
                let run = &mut self.goals[goal];
                (run.begun, run.left) = (0, count);
                (0..together.min(count)).for_each(|_| self.soon(pid, Job::StartCall(goal, session)));
                Ok(())
            }
            What::Objects(objects) => {
                let run = &mut self.goals[goal];
                (run.begun, run.left) = (0, objects.count);
                self.do_attach(pid, goal, session)
            }
            What::Connect(_)
            | What::Close { .. }
            | What::Drain
            | What::Move { .. }
            | What::Announce { .. } => Ok(()),
        }
    }

    /// A session has ended: what was not reached needs another one.
    pub(super) fn session_over(&mut self, pid: Pid, session: SessionId) {
        let own = self.procs[pid].slot;
        let Some(known) = self.sess(pid, session) else { return };
        if std::mem::replace(&mut known.over, true) {
            return;
        }
        let peer = known.slot;
        self.wake_handlers(pid, session);
        for run in &mut self.goals {
            if run.status == (Status::Running { pid, session }) {
                run.again();
            }
        }
        self.assign_goals();
        let pair = (own.min(peer), own.max(peer));
        if self.slots[own].current == Some(pid)
            && !self.apart.contains(&pair)
            && !self.is_connected(pid, peer)
        {
            for index in 0..self.plan.goals.len() {
                let goal = &self.plan.goals[index];
                let again = matches!(goal.what, What::Connect(Connect { again: true, .. }));
                if again && (goal.from, goal.to) == (own, peer) && self.goals[index].status == Status::Done {
                    self.goals[index].reopen();
                    let after = self.procs[pid].rng.below(SEC);
                    self.job(pid, after, Job::Connect(index));
                }
            }
        }
        self.job(pid, 1000 * MS, Job::WindDown(session));
    }

    /// Close, drain and moves, when their time has come.
    pub(crate) fn act(&mut self, goal: usize) -> Verdict {
        let wish = self.plan.goals[goal].clone();
        if self.phase == Phase::Closing || self.goals[goal].status == Status::Void {
            return Ok(());
        }
        self.goals[goal].status = Status::Done;
        let Some(pid) = self.slots[wish.from].current else { return Ok(()) };
        match wish.what {
            What::Drain => {
                self.drained.insert(wish.from);
                for other in 0..self.slots.len() {
                    self.void_goals_between(wish.from, other);
                }
                self.api(pid, "drain", |node, now| node.drain(now))?.ok();
            }
            What::Close { timeout } => {
                self.apart.insert((wish.from.min(wish.to), wish.from.max(wish.to)));
                self.void_goals_between(wish.from, wish.to);
                let with_peer = self.sessions_with(pid, wish.to);
                with_peer.into_iter().for_each(|session| self.job(pid, 0, Job::Close(session, timeout)));
                for slot in [wish.from, wish.to] {
                    self.cancel_connectors(slot, wish.from, wish.to)?;
                }
            }
            What::Move { address, ask_peer } => {
                let to = address.as_deref();
                for session in self.sessions_with(pid, wish.to) {
                    let name = if ask_peer { "session_goto" } else { "session_roam" };
                    self.api(pid, name, |node, now| match ask_peer {
                        true => node.session_goto(now, session, to),
                        false => node.session_roam(now, session, to),
                    })?
                    .ok();
                }
            }
            What::Announce { addresses } => {
                let addresses = addresses.iter().map(|address| own_address(address)).collect();
                self.api(pid, "set_addresses", |node, now| node.set_addresses(now, addresses))?.ok();
            }
            _ => {}
        }
        Ok(())
    }

    /// Sessions of this process with the node at this place that are not over.
    fn sessions_with(&self, pid: Pid, peer: usize) -> Vec<SessionId> {
        let sessions = &self.procs[pid].app.sessions;
        let with_peer = sessions.iter().filter(|(_, known)| known.slot == peer && !known.over);
        with_peer.map(|(session, _)| *session).collect()
    }

    /// Connectors between two places are not wanted any more.
    fn cancel_connectors(&mut self, slot: usize, a: usize, b: usize) -> Verdict {
        let Some(pid) = self.slots[slot].current.filter(|&pid| !self.is_stopped(pid)) else { return Ok(()) };
        let goals = &self.plan.goals;
        let between = |goal: usize| {
            let goal = &goals[goal];
            (goal.from, goal.to) == (a, b) || (goal.from, goal.to) == (b, a)
        };
        let connectors = &self.procs[pid].app.connectors;
        let of_pair: Vec<ConnectorId> =
            connectors.iter().filter(|(_, goal)| between(**goal)).map(|(connector, _)| *connector).collect();
        for connector in of_pair {
            self.procs[pid].app.connectors.remove(&connector);
            let answer = self.api(pid, "connect_cancel", |node, now| node.connect_cancel(now, connector))?;
            if let Err(error) = answer {
                self.note(pid, || format!("connector {connector} was over: {}", error.code));
            }
        }
        Ok(())
    }

    pub(crate) fn void_goals_between(&mut self, a: usize, b: usize) {
        for (goal, run) in self.plan.goals.iter().zip(&mut self.goals) {
            if !goal.what.is_act() && ((goal.from, goal.to) == (a, b) || (goal.from, goal.to) == (b, a)) {
                run.status = Status::Void;
            }
        }
    }

    pub(crate) fn revive_goals_between(&mut self, a: usize, b: usize) {
        for index in 0..self.plan.goals.len() {
            let goal = &self.plan.goals[index];
            let between = (goal.from, goal.to) == (a, b) || (goal.from, goal.to) == (b, a);
            if !between || self.goals[index].status != Status::Void {
                continue;
            }
            let from = goal.from;
            self.goals[index] = GoalRun { run: self.goals[index].run + 1, ..GoalRun::default() };
            if matches!(self.plan.goals[index].what, What::Connect(_))
                && let Some(pid) = self.slots[from].current
            {
                self.job(pid, SEC, Job::Connect(index));
            }
        }
    }

    /// A goal cannot be reached, and that is right.
    pub(super) fn give_up(&mut self, goal: usize, code: Code) {
        if code == Code::Draining {
            self.goals[goal].status = Status::Void;
        }
    }
}
