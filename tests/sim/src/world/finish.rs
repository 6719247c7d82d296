//! The second phase and the end: all must converge (I2), both ends agree (I4), and nothing be left (I18).

use super::{Phase, World};
use crate::app::Job;
use crate::app::goals::Status;
use crate::checker::sessions::View;
use crate::checker::{Invariant, Verdict, broken, ensure};
use crate::plan::{SEC, Service, What};
use clerver_proto::node::SessionState;
use std::cmp::Reverse;

/// Longer than ended sessions are remembered (S4), on the slowest clock.
const FORGETTING: u64 = 70 * SEC;

impl World {
    /// Runs until everything wanted is done and every session is live or over.
    pub(super) fn converge(&mut self) -> Verdict {
        let deadline = self.now + self.patience();
        loop {
            self.run_until_quiet(deadline)?;
            let beat =
                self.plan.nodes.iter().map(|node| node.options.beat.as_nanos() as u64).max().unwrap_or(0);
            self.run_until(self.now + 4 * beat + SEC)?;
            // A link that was long on its way may have stirred things up again.
            if self.is_quiet() {
                return self.agree();
            }
        }
    }

    fn run_until_quiet(&mut self, deadline: u64) -> Verdict {
        while !(self.open_goals() == 0 && self.is_quiet()) {
            self.assign_goals();
            if self.heap.peek().is_none_or(|Reverse(entry)| entry.at > deadline) {
                return self.does_not_converge(deadline);
            }
            for _ in 0..50 {
                if self.heap.peek().is_some_and(|Reverse(entry)| entry.at <= deadline) {
                    self.step()?;
                }
            }
        }
        Ok(())
    }

    /// How long healing may take: detection and loss, redials, graces, and what is to be sent at the plan's rate.
    fn patience(&self) -> u64 {
        let bytes: u64 = self.plan.goals.iter().map(|goal| goal.what.bytes()).sum();
        let sending =
            bytes.saturating_mul(4).saturating_mul(SEC) / self.plan.net.rate.unwrap_or(1 << 24).max(1);
        let thinking: u64 = self.plan.goals.iter().map(|goal| goal.what.time()).sum();
        let calls: u64 = self.plan.nodes.iter().map(|node| node.handler.1).max().unwrap_or(0);
        120 * SEC
            + 4 * self.plan.ttl_most()
            + 4 * self.plan.grace_most()
            + self.plan.embalmed_most()
            + sending
            + 2 * thinking
            + 100 * calls
    }

    fn does_not_converge(&self, deadline: u64) -> Verdict {
        let open: Vec<String> = self
            .goals
            .iter()
            .enumerate()
            .filter(|(_, run)| run.is_open())
            .map(|(index, run)| format!("goal {index} {:?}: {run:?}", self.plan.goals[index].what))
            .collect();
        let sessions: Vec<String> = (0..self.procs.len())
            .filter(|&pid| self.procs[pid].node.is_some())
            .flat_map(|pid| self.check.sessions.of(pid).map(move |(session, view)| (pid, session, view)))
            .filter(|(_, _, view)| !view.state.is_final())
            .map(|(pid, session, view)| format!("p{pid} session {session} {}", view.state.name()))
            .collect();
        broken(
            Invariant::I2,
            format!(
                "not converged after {} virtual seconds: {open:?}; {sessions:?}",
                (deadline - self.now) / SEC
            ),
        )
    }

    pub(super) fn open_goals(&self) -> usize {
        let wanted = |index: &usize| {
            let goal = &self.plan.goals[*index];
            self.goals[*index].is_open() && !self.is_gone(goal.from) && !self.is_gone(goal.to)
        };
        (0..self.goals.len()).filter(wanted).count()
    }

    /// Every session of every living process is live at both ends, or over.
    fn is_quiet(&self) -> bool {
        let live = |view: &View| view.state == SessionState::Live && self.has_other_end(view);
        (0..self.procs.len())
            .filter(|&pid| self.procs[pid].node.is_some())
            .all(|pid| self.check.sessions.of(pid).all(|(_, view)| view.is_over() || live(view)))
    }

    /// Whether a living process has the other end, and it is not over there.
    fn has_other_end(&self, view: &View) -> bool {
        self.check.sessions.others(view.sid, view.arbiter).iter().any(|&(other, theirs)| {
            let known = self.check.sessions.get(other, theirs);
            self.procs[other].node.is_some() && known.is_some_and(|view| !view.state.is_final())
        })
    }

    /// Both ends of each live session know it (I4).
    fn agree(&self) -> Verdict {
        for pid in 0..self.procs.len() {
            if self.procs[pid].node.is_none() {
                continue;
            }
            for (session, view) in self.check.sessions.of(pid).filter(|(_, view)| !view.state.is_final()) {
                ensure!(
                    self.has_other_end(view),
                    I4,
                    "session {session} of process {pid} is {} and its other end does not know it",
                    view.state.name()
                );
                ensure!(
                    !self.was_not_told(pid, session),
                    I2,
                    "process {pid} waits to hear that session {session} is delivered, and it is"
                );
            }
        }
        Ok(())
    }

    /// Closes everything, waits until it is forgotten, and looks for what is left.
    pub(super) fn close_all(&mut self) -> Verdict {
        self.phase = Phase::Closing;
        self.note(0, || "CLOSING".into());
        self.goals.iter_mut().for_each(|run| run.status = Status::Void);
        self.to_close = (0..self.procs.len())
            .flat_map(|pid| self.check.sessions.of(pid).map(move |(session, view)| (pid, session, view)))
            .filter(|(_, _, view)| !view.state.is_final())
            .map(|(pid, session, _)| (pid, session))
            .collect();
        for pid in 0..self.procs.len() {
            if self.procs[pid].node.is_none() {
                continue;
            }
            let connectors: Vec<_> = self.procs[pid].app.connectors.keys().copied().collect();
            for connector in connectors {
                self.api(pid, "connect_cancel", |node, now| node.connect_cancel(now, connector))?.ok();
            }
            let sessions: Vec<_> = self.procs[pid].app.sessions.keys().copied().collect();
            for session in sessions {
                let after = self.rng.below(2 * SEC);
                self.job(pid, after, Job::Close(session, 10 * SEC));
            }
        }
        let deadline = self.now + 200 * SEC + 2 * self.plan.ttl_most() + 2 * self.plan.grace_most();
        while !self.is_all_closed() {
            ensure!(
                self.heap.peek().is_some_and(|Reverse(entry)| entry.at <= deadline),
                I2,
                "closing everything does not end: {}",
                self.what_is_open()
            );
            self.step()?;
        }
        self.run_until(self.now + FORGETTING + 2 * self.plan.ttl_most())?;
        self.nothing_left()
    }

    fn is_all_closed(&self) -> bool {
        self.procs.iter().all(|process| process.node.is_none() || process.app.sessions.is_empty())
    }

    fn what_is_open(&self) -> String {
        let mut open = Vec::new();
        for (pid, process) in self.procs.iter().enumerate().filter(|(_, process)| process.node.is_some()) {
            for (session, known) in &process.app.sessions {
                let state =
                    self.check.sessions.get(pid, *session).map_or("unknown", |view| view.state.name());
                open.push(format!(
                    "p{pid} session {session} {state}: {} channels, {} handlers, {} calls, {} objects",
                    known.channels.len(),
                    known.running.len(),
                    known.calls.len(),
                    self.check.objects.living(pid, *session)
                ));
            }
        }
        open.join("; ")
    }

    fn nothing_left(&self) -> Verdict {
        self.check.objects.all_ended()?;
        for (pid, process) in self.procs.iter().enumerate() {
            let Some(node) = process.node.as_ref() else { continue };
            let left = node.counters();
            let nothing = [left.sessions, left.links, left.objects, left.timers, left.buffered];
            ensure!(
                nothing == [0; 5],
                I18,
                "process {pid} has {} sessions, {} links, {} objects, {} timers, {} bytes left after all was closed",
                left.sessions,
                left.links,
                left.objects,
                left.timers,
                left.buffered
            );
        }
        Ok(())
    }

    /// What the plan declares must have come of it.
    pub(super) fn expectations(&self) -> Verdict {
        for expect in &self.plan.expects {
            let found = self.tallies.get(&(expect.node, expect.tally.to_string())).copied().unwrap_or(0);
            ensure!(
                (expect.least..=expect.most).contains(&found),
                Scenario,
                "n{} has {} times \"{}\", expected are {} to {}",
                expect.node,
                found,
                expect.tally,
                expect.least,
                expect.most
            );
        }
        Ok(())
    }
}

impl What {
    /// Payload that the goal moves, roughly.
    fn bytes(&self) -> u64 {
        match self {
            What::Messages(wish) => u64::from(wish.count + wish.back) * (wish.size.1 + 16),
            What::Stream { bytes, back, .. } => bytes + back,
            What::Broken { count, .. } => u64::from(*count) * 4096,
            What::Calls { count, size, .. } => u64::from(*count) * (size.1 + 64) * 8,
            What::Objects(objects) => u64::from(objects.count) * 200,
            What::Oversize => 1 << 20,
            What::Connect(_)
            | What::Close { .. }
            | What::Drain
            | What::Move { .. }
            | What::Announce { .. } => 0,
        }
    }

    /// Time that the goal takes by its own wish, roughly.
    fn time(&self) -> u64 {
        match self {
            What::Messages(wish) => u64::from(wish.count.max(wish.back)) * wish.pace + wish.park,
            What::Calls { count, service: Service::Stuck, .. } => u64::from(*count) * 40 * SEC,
            _ => 0,
        }
    }
}
