//! What should change nothing: stale inputs (I12), replayed HELLOs, garbage, and false handshakes (I16).

use super::{Happening, NOBODY, Pid, World};
use crate::checker::{Invariant, Verdict, broken, ensure};
use crate::plan::MS;
use bytes::{Bytes, BytesMut};
use clerver_proto::error::{Code, Error};
use clerver_proto::id::{AttemptId, LinkId};
use clerver_proto::limits::FRAME_BYTES_MAX;
use clerver_proto::node::{Input, Output};
use clerver_proto::wire::Frame;

impl World {
    /// Gives bytes that nobody honest wrote; no session may end by them.
    pub(super) fn give_hostile(&mut self, pid: Pid, input: Input) -> Verdict {
        if self.procs[pid].stops > 0 {
            return self.give(pid, input);
        }
        let before = self.check.sessions.states(pid);
        self.give(pid, input)?;
        self.check.sessions.untouched(pid, &before)
    }

    /// Inputs for what is dead or was never there: the state's hash stays, and nothing comes out.
    pub(super) fn stale(&mut self, slot: usize) -> Verdict {
        let Some(pid) = self.slots[slot].current else { return Ok(()) };
        if self.procs[pid].node.is_none() || self.procs[pid].stops > 0 {
            return Ok(());
        }
        self.hand(pid, Input::Tick)?;
        for _ in 0..4 {
            let process = &self.procs[pid];
            let link = match process.stale_links.as_slice() {
                [] => LinkId(u64::MAX - 7),
                dead if self.rng.percent(80) => self.rng.pick(dead),
                _ => LinkId(u64::MAX - 7),
            };
            let attempt = match process.stale_attempts.as_slice() {
                [] => AttemptId(u64::MAX - 9),
                old => self.rng.pick(old),
            };
            let why = Error::new(Code::LinkFailed, "stale");
            let input = match self.rng.below(6) {
                0 => Input::Bytes { link, bytes: self.noise(100).into() },
                1 => Input::Writable { link, bytes: 1000 },
                2 => Input::LinkDown { link, why },
                3 => Input::DialFailed { attempt, why },
                4 => Input::Done { operation: 3 },
                _ => {
                    let mut bytes = BytesMut::new();
                    Frame::Retire.encode(&mut bytes);
                    Input::Bytes { link, bytes }
                }
            };
            self.changes_nothing(pid, input)?;
        }
        self.tally(slot, "stale");
        Ok(())
    }

    fn changes_nothing(&mut self, pid: Pid, input: Input) -> Verdict {
        let now = self.local(pid);
        let what = format!("{input:?}");
        self.note(pid, || format!("<- stale {what}"));
        let Some(node) = self.procs[pid].node.as_mut() else { return Ok(()) };
        let before = node.fingerprint();
        let answer = node.handle(now, input);
        if let Err(error) = &answer {
            ensure!(error.code != Code::NotDrained, I13, "{what} to process {pid}: {error}");
        }
        while let Some(output) = node.poll(now) {
            if !matches!(output, Output::Wake(_)) {
                return broken(
                    Invariant::I12,
                    format!("process {pid} answers the stale {what} with {output:?}"),
                );
            }
        }
        let after = node.fingerprint();
        ensure!(before == after, I12, "the stale {what} changed the state of process {pid}");
        Ok(())
    }

    fn noise(&mut self, most: u64) -> Bytes {
        let len = self.rng.range(1, most);
        (0..len).map(|_| self.rng.next() as u8).collect::<Vec<u8>>().into()
    }

    /// A link of a trusted host over which the simulator itself speaks; answers its key.
    fn hostile_link(&mut self, from: usize, to: usize) -> Option<u64> {
        let target = self.slots[to].current.filter(|&pid| self.procs[pid].node.is_some())?;
        Some(self.join(NOBODY, from, None, target))
    }

    /// The first bytes of an old link from `a` to `b` come to `b` on a new one.
    pub(super) fn replay(&mut self, a: usize, b: usize) {
        let known: Vec<Bytes> = self
            .recorded
            .iter()
            .filter(|(from, to, _)| (*from, *to) == (a, b))
            .map(|(_, _, bytes)| bytes.clone())
            .collect();
        if known.is_empty() {
            return;
        }
        let bytes = self.rng.pick(&(0..known.len()).collect::<Vec<_>>());
        if let Some(link) = self.hostile_link(a, b) {
            self.tally(b, "replayed");
            self.schedule(self.now + 500 * MS, Happening::Inject { link, bytes: known[bytes].clone() });
        }
    }

    /// Bytes that follow no rule: noise, a frame cut off, a frame too long, one that has no place here.
    pub(super) fn garbage(&mut self, to: usize) {
        let from = if to == 0 { self.slots.len() - 1 } else { 0 };
        let mut bytes = BytesMut::new();
        match self.rng.below(4) {
            0 => bytes.extend_from_slice(&self.noise(2000)),
            1 => Frame::Beat { number: 1, echo: 0, echo_delay_us: 0, ttl_ms: 0 }.encode(&mut bytes),
            2 => {
                bytes.extend_from_slice(&[1, 0x80]);
                bytes.extend_from_slice(&(FRAME_BYTES_MAX as u32).to_be_bytes()[1..]);
            }
            _ => Frame::Refuse { code: 9999, text: "no".into() }.encode(&mut bytes),
        }
        if let Some(link) = self.hostile_link(from, to) {
            self.tally(to, "garbage");
            self.schedule(self.now + 500 * MS, Happening::Inject { link, bytes: bytes.freeze() });
        }
    }

    /// The simulator writes to its link; what is not refused is cut off later.
    pub(super) fn inject(&mut self, link: u64, bytes: Bytes) {
        self.transmit(link, 0, vec![bytes]);
    }
}
