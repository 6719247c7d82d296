//! What goes wrong, when its time has come; and how each fault ends.

use super::{Happening, Phase, Pid, World};
use crate::app::Job;
use crate::checker::Verdict;
use crate::plan::{Fault, Route, SEC};
use clerver_proto::id::LinkId;
use clerver_proto::node::Input;

/// The end of a fault.
#[derive(Debug, Clone)]
pub(crate) enum Undo {
    Unblock(usize, usize),
    UnblockAt(String),
    UncrowdAt(String),
    Unslow(usize, usize),
    Resume(Pid),
    Restart(usize),
    StartSnapshot(usize),
    Read(Pid),
}

impl World {
    pub(super) fn fault(&mut self, index: usize) -> Verdict {
        if self.phase != Phase::Faults {
            return Ok(());
        }
        let fault = self.plan.faults[index].1.clone();
        self.note(0, || format!("FAULT {fault:?}"));
        match fault {
            Fault::Cut { a, b } => {
                self.links_between(a, b).iter().for_each(|&key| self.cut(key, [true, true]))
            }
            Fault::CutOne { a, b } => self.cut_one(a, b, None),
            Fault::HalfOpen { a, b } => self.cut_one(a, b, Some(a)),
            Fault::CutEvery { a, b, bytes } => {
                self.path_mut(a, b).cut_every = bytes;
                self.path_mut(b, a).cut_every = bytes;
            }
            Fault::Hole { a, b, span } => self.block(a, b, span),
            Fault::Partition { a, b, span } => {
                self.block(a, b, span);
                self.block(b, a, span);
            }
            Fault::Slow { a, b, rate, span } => {
                for (from, to) in [(a, b), (b, a)] {
                    self.path_mut(from, to).rate = Some(rate);
                    self.schedule(self.now + span, Happening::Undo(Undo::Unslow(from, to)));
                }
            }
            Fault::Lag { a, b, by, links } => self.path_mut(a, b).lag = (by, links),
            Fault::Forge { a, b, how, links } => {
                self.path_mut(a, b).forge = Some((how, links));
                self.path_mut(b, a).forge = Some((how, links));
            }
            Fault::Jump { node, by } => self.jump(node, by),
            Fault::Stale { node } => return self.stale(node),
            Fault::Replay { a, b } => self.replay(a, b),
            Fault::Garbage { node } => self.garbage(node),
            Fault::HoleAt { address, span } => {
                self.ways.entry(address.clone()).or_default().blocks += 1;
                self.schedule(self.now + span, Happening::Undo(Undo::UnblockAt(address)));
            }
            Fault::CrowdAt { address, by, span } => {
                self.ways.entry(address.clone()).or_default().longer = by;
                self.schedule(self.now + span, Happening::Undo(Undo::UncrowdAt(address)));
            }
            Fault::CutAt { address } => {
                let there =
                    |link: &super::net::Link| !link.dead && !link.is_tainted() && link.address == address;
                let keys: Vec<u64> =
                    self.links.iter().filter(|(_, link)| there(link)).map(|(key, _)| *key).collect();
                keys.into_iter().for_each(|key| self.cut(key, [true, true]));
            }
            Fault::Doubt { node } => return self.doubt_a_link(node),
            Fault::NewNetwork { node } => {
                if let Some(pid) = self.slots[node].current {
                    return self.give(pid, Input::NetworkChanged);
                }
            }
            Fault::Reroute { address, to } => {
                self.routes.insert(address, to);
            }
            Fault::Block { node, peer, on } => return self.block_host(node, peer, on),
            of_process => return self.fault_of_process(of_process),
        }
        Ok(())
    }

    fn fault_of_process(&mut self, fault: Fault) -> Verdict {
        let (Fault::Stop { node, .. }
        | Fault::Crash { node, .. }
        | Fault::Usurp { node, .. }
        | Fault::Clone { node, .. }
        | Fault::StopReading { node, .. }) = fault
        else {
            return Ok(());
        };
        let Some(pid) = self.slots[node].current else { return Ok(()) };
        match fault {
            Fault::Stop { span, .. } => {
                self.stop(pid);
                self.schedule(self.now + span, Happening::Undo(Undo::Resume(pid)));
            }
            Fault::Crash { silent, restart, .. } => {
                self.crash(pid, silent);
                if let Some(after) = restart {
                    self.schedule(self.now + after, Happening::Undo(Undo::Restart(node)));
                }
            }
            Fault::Usurp { span, .. } => {
                self.stop(pid);
                self.schedule(self.now + span, Happening::Undo(Undo::Resume(pid)));
                return self.start_process(node);
            }
            Fault::Clone { span, .. } => {
                if let Some(number) = self.take_snapshot(pid) {
                    self.schedule(self.now + span, Happening::Undo(Undo::StartSnapshot(number)));
                }
            }
            Fault::StopReading { span, .. } => {
                self.procs[pid].app.paused += 1;
                self.schedule(self.now + span, Happening::Undo(Undo::Read(pid)));
            }
            _ => {}
        }
        Ok(())
    }

    pub(super) fn undo(&mut self, undo: Undo) -> Verdict {
        self.note(0, || format!("END OF {undo:?}"));
        match undo {
            Undo::Unblock(a, b) => {
                let path = self.path_mut(a, b);
                path.blocks = path.blocks.saturating_sub(1);
                if path.blocks == 0 {
                    self.pump_all();
                }
            }
            Undo::UnblockAt(address) => {
                let way = self.ways.entry(address).or_default();
                way.blocks = way.blocks.saturating_sub(1);
                if way.blocks == 0 {
                    self.pump_all();
                }
            }
            Undo::UncrowdAt(address) => self.ways.entry(address).or_default().longer = 0,
            Undo::Unslow(a, b) => self.path_mut(a, b).rate = None,
            Undo::Resume(pid) => return self.resume(pid),
            Undo::Restart(slot) => {
                if self.slots[slot].current.is_none() {
                    return self.start_process(slot);
                }
            }
            Undo::StartSnapshot(number) if self.phase == Phase::Faults => return self.start_snapshot(number),
            Undo::StartSnapshot(_) => {}
            Undo::Read(pid) => self.read_again(pid),
        }
        Ok(())
    }

    pub(super) fn read_again(&mut self, pid: Pid) {
        let app = &mut self.procs[pid].app;
        app.paused = app.paused.saturating_sub(1);
        if app.paused > 0 {
            return;
        }
        let waiting: Vec<_> = app.unread().collect();
        for (session, channel) in waiting {
            self.job(pid, 0, Job::Read(session, channel));
        }
    }

    fn links_between(&self, a: usize, b: usize) -> Vec<u64> {
        let between = |link: &super::net::Link| !link.dead && !link.is_tainted() && link.joins(a, b);
        self.links.iter().filter(|(_, link)| between(link)).map(|(key, _)| *key).collect()
    }

    /// Cuts one link between two places; with `only`, its end there alone learns of it.
    fn cut_one(&mut self, a: usize, b: usize, only: Option<usize>) {
        let keys = self.links_between(a, b);
        if keys.is_empty() {
            return;
        }
        let key = self.rng.pick(&keys);
        let learn = self.links[&key].ends.each_ref().map(|end| only.is_none_or(|slot| end.slot == slot));
        self.cut(key, learn);
    }

    /// Says of one link of a node that it leads nowhere.
    fn doubt_a_link(&mut self, node: usize) -> Verdict {
        let Some(pid) = self.slots[node].current else { return Ok(()) };
        let known: Vec<LinkId> = self.procs[pid].links.keys().copied().collect();
        if known.is_empty() {
            return Ok(());
        }
        let link = self.rng.pick(&known);
        self.give(pid, Input::LinkDoubted { link })
    }

    fn block(&mut self, a: usize, b: usize, span: u64) {
        self.path_mut(a, b).blocks += 1;
        self.schedule(self.now + span, Happening::Undo(Undo::Unblock(a, b)));
    }

    /// The clock of a machine jumps: every process there wants its timers moved.
    fn jump(&mut self, slot: usize, by: u64) {
        self.slots[slot].clock.jump(by);
        self.disturb(slot);
        for pid in 0..self.procs.len() {
            if self.procs[pid].slot == slot {
                let wake = self.procs[pid].wake;
                self.wake(pid, wake);
            }
        }
    }

    fn block_host(&mut self, node: usize, peer: usize, on: bool) -> Verdict {
        let blocked = if on { vec![peer] } else { Vec::new() };
        let trust = self.trust_of(node, &blocked);
        let host = self.slots[peer].host;
        for other in 0..self.slots.len() {
            if self.slots[other].host != host {
                continue;
            }
            let pair = (node.min(other), node.max(other));
            if on {
                self.apart.insert(pair);
                self.void_goals_between(node, other);
            } else {
                self.apart.remove(&pair);
                self.revive_goals_between(node, other);
            }
        }
        let Some(pid) = self.slots[node].current else { return Ok(()) };
        if self.procs[pid].stops > 0 {
            return Ok(());
        }
        self.api(pid, "set_trust", |node, now| node.set_trust(now, trust))?.ok();
        Ok(())
    }

    /// Ends every fault that is still there; crashed processes stay dead, but stopped ones go on.
    pub(super) fn heal(&mut self) -> Verdict {
        self.phase = Phase::Healed;
        self.settled = self.now + 2 * self.plan.ttl_most() + self.plan.embalmed_most() + 60 * SEC;
        self.note(0, || "HEALED".into());
        self.paths.clear();
        self.ways.clear();
        self.links.values_mut().for_each(|link| link.cut_after = 0);
        self.pump_all();
        for slot in 0..self.slots.len() {
            let home = format!("n{slot}");
            if self.routes.get(&home) != Some(&Route::Node(slot)) {
                self.routes.insert(home, Route::Node(slot));
            }
            if self.slots[slot].current.is_none() && self.is_to_restart(slot) {
                self.start_process(slot)?;
            }
        }
        for pid in 0..self.procs.len() {
            if self.procs[pid].stops > 0 {
                self.procs[pid].stops = 1;
                self.resume(pid)?;
            }
            if self.procs[pid].app.paused > 0 {
                self.procs[pid].app.paused = 1;
                self.read_again(pid);
            }
        }
        Ok(())
    }

    /// A node that crashed for good is not waited for.
    fn is_to_restart(&self, slot: usize) -> bool {
        let for_good =
            |fault: &Fault| matches!(fault, Fault::Crash { node, restart: None, .. } if *node == slot);
        !self.plan.faults.iter().any(|(_, fault)| for_good(fault))
    }

    /// Whether this address has nobody any more, and will not have.
    pub(crate) fn is_gone(&self, slot: usize) -> bool {
        self.slots[slot].current.is_none() && !self.is_to_restart(slot)
    }
}
