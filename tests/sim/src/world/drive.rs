//! Driving a node as an engine would: inputs in, `poll` to the end, outputs done; and the contract of both (I13).

use super::{Handle, Happening, Pending, Pid, World};
use crate::checker::{Invariant, Verdict, broken, ensure};
use crate::plan::SEC;
use crate::toy;
use bytes::Bytes;
use clerver_proto::error::{Class, Code, Error, Result};
use clerver_proto::id::LinkId;
use clerver_proto::node::{Input, Node, Output};
use clerver_proto::time::Instant;

/// Outputs that one input may cause.
const OUTPUTS_MAX: u32 = 10_000;
/// Ticks in one virtual second.
const TICKS_MAX: u32 = 20_000;

impl World {
    /// Gives an input to a process now, or when it is scheduled again.
    pub(super) fn give(&mut self, pid: Pid, input: Input) -> Verdict {
        let Some(process) = self.procs.get_mut(pid) else { return Ok(()) };
        if process.node.is_none() {
            return Ok(());
        }
        if process.stops > 0 {
            process.inbox.push_back(Pending::Input(input));
            return Ok(());
        }
        self.hand(pid, input)?;
        self.sample(pid)
    }

    /// A process that was stopped runs again: what waited comes now, in order (T1).
    pub(super) fn catch_up(&mut self, pid: Pid) -> Verdict {
        if self.rng.percent(50) {
            self.hand(pid, Input::Tick)?;
        }
        while let Some(pending) = self.procs[pid].inbox.pop_front() {
            match pending {
                Pending::Input(input) => self.hand(pid, input)?,
                Pending::Job(job) => self.job(pid, 0, job),
            }
        }
        self.hand(pid, Input::Tick)
    }

    /// Gives an input to a node; drops what an engine would not say of a link any more.
    pub(super) fn hand(&mut self, pid: Pid, input: Input) -> Verdict {
        let process = &mut self.procs[pid];
        match &input {
            Input::LinkDown { link, .. } => {
                if process.links.remove(link).is_none() {
                    return Ok(());
                }
                process.stale_links.push(*link);
            }
            Input::Bytes { link, .. } if process.links.get(link).is_none_or(|handle| handle.hung) => {
                return Ok(());
            }
            Input::Writable { link, bytes } => match process.links.get_mut(link) {
                Some(handle) if !handle.hung => handle.granted += *bytes as u64,
                _ => return Ok(()),
            },
            _ => {}
        }
        self.record_input(pid, &input);
        let now = self.local(pid);
        let Some(node) = self.procs[pid].node.as_mut() else { return Ok(()) };
        if let Err(error) = node.handle(now, input) {
            return broken(Invariant::I13, format!("handle of process {pid} answered {error}"));
        }
        self.drain(pid)
    }

    fn record_input(&mut self, pid: Pid, input: &Input) {
        let (kind, number, size) = match input {
            Input::Tick => (1, 0, 0),
            Input::LinkUp { link, .. } => (2, link.0, 0),
            Input::Bytes { link, bytes } => (3, link.0, bytes.len()),
            Input::Writable { link, bytes } => (4, link.0, *bytes),
            Input::LinkDown { link, .. } => (5, link.0, 0),
            Input::DialFailed { attempt, .. } => (6, attempt.0, 0),
            _ => (7, 0, 0),
        };
        self.mix_in(&[pid as u64, self.now, kind, number, size as u64]);
        if !matches!(input, Input::Tick | Input::Writable { .. }) {
            self.note(pid, || match input {
                Input::Bytes { link, bytes } => format!("<- link {link}: {} bytes", bytes.len()),
                Input::LinkUp { link, info } => format!("<- link {link} up, dialled {:?}", info.dialled),
                Input::LinkDown { link, why } => format!("<- link {link} down: {}", why.message),
                other => format!("<- {other:?}"),
            });
        }
    }

    fn mix_in(&mut self, words: &[u64]) {
        self.hash = words
            .iter()
            .fold(self.hash, |hash, word| (hash ^ word).wrapping_mul(0x2545_f491_4f6c_dd1d).rotate_left(31));
    }

    /// Calls a method of a node as its application would, and does what comes of it.
    pub(crate) fn api<T>(
        &mut self,
        pid: Pid,
        name: &'static str,
        call: impl FnOnce(&mut Node, Instant) -> Result<T>,
    ) -> Verdict<Result<T>> {
        let now = self.local(pid);
        self.mix_in(&[pid as u64, self.now, 8, name.len() as u64]);
        let Some(node) = self.procs[pid].node.as_mut() else {
            return Ok(Err(Error::new(Code::State, "the process is dead")));
        };
        let result = call(node, now);
        if let Err(error) = &result {
            self.note(pid, || format!("{name}: {} {}", error.code, error.message));
            let defect = error.class() == Class::Bug || error.code == Code::NotDrained;
            ensure!(!defect, I13, "{name} of process {pid} answered {error}");
        } else {
            self.note(pid, || name.to_string());
        }
        self.drain(pid)?;
        Ok(result)
    }

    /// Asks a node something that changes nothing.
    pub(crate) fn ask<T>(&self, pid: Pid, question: impl FnOnce(&Node) -> Result<T>) -> Option<T> {
        self.procs.get(pid)?.node.as_ref().and_then(|node| question(node).ok())
    }

    /// Polls to the end.
    fn drain(&mut self, pid: Pid) -> Verdict {
        let now = self.local(pid);
        let (mut outputs, mut woke) = (0, false);
        while let Some(output) = self.procs[pid].node.as_mut().and_then(|node| node.poll(now)) {
            outputs += 1;
            ensure!(
                outputs <= OUTPUTS_MAX,
                I13,
                "process {pid} has more than {OUTPUTS_MAX} outputs for one input"
            );
            ensure!(!woke, I13, "process {pid} said {output:?} after Wake");
            if let Output::Wake(at) = output {
                ensure!(at > now, I13, "process {pid} wants to be woken at {at:?}, and it is {now:?}");
                woke = true;
                self.wake(pid, at);
                continue;
            }
            self.output(pid, output)?;
        }
        ensure!(woke || outputs == 0, I13, "process {pid} was polled to the end and did not say Wake");
        Ok(())
    }

    /// Notes when the node wants its tick; an earlier entry on the heap serves a later wish.
    pub(super) fn wake(&mut self, pid: Pid, at: Instant) {
        let clock = self.slots[self.procs[pid].slot].clock;
        let process = &mut self.procs[pid];
        process.wake = at;
        let Some(when) = clock.when(at) else { return };
        let when = when.max(self.now);
        if when < process.ticking {
            process.ticking = when;
            self.schedule(when, Happening::Tick(pid));
        }
    }

    /// A tick from the heap; too early ones are put off, replaced ones are nothing.
    pub(super) fn tick(&mut self, pid: Pid) -> Verdict {
        let now = self.local(pid);
        let process = &mut self.procs[pid];
        if process.ticking != self.now || process.node.is_none() {
            return Ok(());
        }
        process.ticking = u64::MAX;
        if process.stops > 0 {
            return Ok(());
        }
        if process.wake > now {
            let wake = process.wake;
            self.wake(pid, wake);
            return Ok(());
        }
        let second = self.now / SEC;
        if process.ticks.0 != second {
            process.ticks = (second, 0);
        }
        process.ticks.1 += 1;
        let ticks = process.ticks.1;
        ensure!(ticks <= TICKS_MAX, I13, "process {pid} spins: more than {TICKS_MAX} ticks in a second");
        process.wake = Instant::NEVER;
        self.hand(pid, Input::Tick)?;
        self.sample(pid)
    }

    fn output(&mut self, pid: Pid, output: Output) -> Verdict {
        match output {
            Output::Send { link, parts } => self.output_send(pid, link, parts.into_vec()),
            Output::Dial { attempt, address, expected, .. } => {
                self.note(pid, || format!("-> dial {attempt} {address}"));
                self.mix_in(&[pid as u64, 20, attempt.0]);
                self.dial(pid, attempt, address, expected)
            }
            Output::CancelDial { attempt } => {
                self.note(pid, || format!("-> cancel dial {attempt}"));
                self.cancel_dial(pid, attempt);
                Ok(())
            }
            Output::Hangup { link, why } => {
                self.note(pid, || format!("-> hang up link {link}: {} {}", why.code, why.message));
                self.mix_in(&[pid as u64, 21, link.0]);
                self.output_hangup(pid, link, &why)
            }
            Output::Event(event) => {
                self.note(pid, || format!("-> {event:?}"));
                self.hash = toy::fold(self.hash, format!("{event:?}").as_bytes());
                self.event(pid, event)
            }
            other => broken(Invariant::I13, format!("process {pid} must not say {other:?} yet")),
        }
    }

    fn output_send(&mut self, pid: Pid, link: LinkId, parts: Vec<Bytes>) -> Verdict {
        let total: usize = parts.iter().map(Bytes::len).sum();
        let Some(handle) = self.procs[pid].links.get_mut(&link) else {
            return broken(
                Invariant::I13,
                format!("process {pid} sends {total} bytes to link {link}, which is dead"),
            );
        };
        ensure!(!handle.hung, I13, "process {pid} sends {total} bytes to link {link} after its hang-up");
        ensure!(
            total as u64 <= handle.granted,
            I13,
            "process {pid} sends {total} bytes to link {link} with {} granted",
            handle.granted
        );
        ensure!(total > 0, I13, "process {pid} sends nothing to link {link}");
        handle.granted -= total as u64;
        let Handle { key, side, .. } = *handle;
        for part in &parts {
            self.hash = toy::fold(self.hash ^ link.0, part);
        }
        let parts = self.sniff(pid, link, key, side, parts)?;
        self.transmit(key, side, parts);
        Ok(())
    }

    fn output_hangup(&mut self, pid: Pid, link: LinkId, why: &Error) -> Verdict {
        let Some(handle) = self.procs[pid].links.get_mut(&link) else {
            return broken(Invariant::I13, format!("process {pid} hangs up link {link}, which is dead"));
        };
        ensure!(!handle.hung, I13, "process {pid} hangs up link {link} twice");
        handle.hung = true;
        let Handle { key, side, .. } = *handle;
        let innocent = self.links.get(&key).is_some_and(|link| !link.is_tainted());
        ensure!(
            !innocent || why.class() != Class::Bug,
            I13,
            "process {pid} blames an honest peer on link {link}: {why}"
        );
        self.hang_up(key, side);
        Ok(())
    }
}
