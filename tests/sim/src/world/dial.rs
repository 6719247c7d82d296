//! Dials: from an address to a process, to a refusal, or to nothing at all.

use super::{Happening, Pid, World};
use crate::checker::{Verdict, ensure};
use crate::plan::{Route, SEC};
use clerver_proto::error::{Code, Error};
use clerver_proto::id::{AttemptId, HostId};
use clerver_proto::node::Input;

/// A dial on its way.
#[derive(Debug)]
pub(super) struct Dial {
    address: String,
    expected: Option<HostId>,
    /// When the engine gives up.
    deadline: u64,
    /// The link it became, until it is up.
    link: Option<u64>,
}

impl World {
    pub(super) fn dial(
        &mut self,
        pid: Pid,
        attempt: AttemptId,
        address: String,
        expected: Option<HostId>,
    ) -> Verdict {
        let after = self.plan.net.dial.draw(&mut self.rng);
        let deadline = self.now + self.plan.net.dial_timeout;
        let slot = self.procs[pid].slot;
        self.tally(slot, "dial");
        let dial = Dial { address, expected, deadline, link: None };
        let before = self.procs[pid].dials.insert(attempt, dial);
        let reused = before.is_some() || self.procs[pid].stale_attempts.contains(&attempt);
        ensure!(!reused, I13, "process {pid} dials with attempt {attempt} twice");
        self.schedule(self.now + after, Happening::Dial { pid, attempt });
        Ok(())
    }

    /// The dial reaches its address, or tries again to.
    pub(super) fn dial_step(&mut self, pid: Pid, attempt: AttemptId) {
        let Some(dial) = self.procs[pid].dials.get(&attempt) else { return };
        let (deadline, expected) = (dial.deadline, dial.expected);
        let route = self.routes.get(&dial.address).copied().unwrap_or(Route::Nothing);
        let fail = |at, code, text: &str| (at, Error::new(code, format!("dial {}: {text}", dial.address)));
        let (at, why) = match route {
            Route::Nothing => fail(self.now, Code::Unreachable, "connection refused"),
            Route::BlackHole => fail(deadline, Code::Unreachable, "timed out"),
            Route::Node(to) => {
                let from = self.procs[pid].slot;
                let is_hole = self.ways.get(&dial.address).is_some_and(|way| way.blocks > 0);
                let silent = is_hole
                    || self.is_blocked(from, to)
                    || self.is_blocked(to, from)
                    || self.slots[to].silent;
                let target = self.slots[to].current.filter(|&target| self.procs[target].node.is_some());
                let waiting = silent || target.is_some_and(|target| self.procs[target].stops > 0);
                match target {
                    _ if waiting && self.now < deadline => {
                        let again = (self.now + SEC / 2).min(deadline);
                        return self.schedule(again, Happening::Dial { pid, attempt });
                    }
                    _ if waiting => fail(self.now, Code::Unreachable, "timed out"),
                    None => fail(self.now, Code::Unreachable, "connection refused"),
                    Some(_) if expected.is_some_and(|host| host != self.slots[to].host) => {
                        fail(self.now, Code::WrongIdentity, "another host answers")
                    }
                    Some(target) => {
                        let address = dial.address.clone();
                        let link = self.join(pid, from, Some((attempt, address)), target);
                        if let Some(dial) = self.procs[pid].dials.get_mut(&attempt) {
                            dial.link = Some(link);
                        }
                        return;
                    }
                }
            }
        };
        self.schedule(at, Happening::DialFails { pid, attempt, why });
    }

    pub(super) fn dial_fails(&mut self, pid: Pid, attempt: AttemptId, why: Error) -> Verdict {
        let process = &mut self.procs[pid];
        let had_link = why.code == Code::LinkFailed;
        if process.dials.remove(&attempt).is_none() && !had_link || process.stale_attempts.contains(&attempt)
        {
            return Ok(());
        }
        process.stale_attempts.push(attempt);
        self.give(pid, Input::DialFailed { attempt, why })
    }

    pub(super) fn cancel_dial(&mut self, pid: Pid, attempt: AttemptId) {
        let process = &mut self.procs[pid];
        let Some(dial) = process.dials.remove(&attempt) else { return };
        process.stale_attempts.push(attempt);
        if let Some(link) = dial.link {
            self.cut(link, [false, true]);
        }
    }
}
