//! I1, I2 and I14: what was written to each direction of each channel, and what was taken from it.
//!
//! A flow has one writer, or several *lineages* of one after a snapshot of its process was started as a second one:
//! then what is taken must be a prefix of one of them, the same one all along.

use super::{Invariant, Verdict, broken, ensure};
use crate::toy;
use crate::world::Pid;
use bytes::Bytes;
use clerver_proto::id::{ChannelId, Sid};
use std::collections::{BTreeMap, BTreeSet};

/// One direction of one channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct FlowKey {
    pub sid: Sid,
    pub channel: ChannelId,
    /// The end that writes is the arbiter of the session.
    pub by_arbiter: bool,
}

#[derive(Debug, Clone, Copy)]
struct Write {
    /// Position of the content in the pool.
    at: usize,
    len: usize,
    /// When the application first wanted to write it.
    wanted: u64,
}

#[derive(Debug, Clone)]
struct Lineage {
    writer: Pid,
    writes: Vec<Write>,
    bytes: u64,
    ended: bool,
}

/// How far a reader is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reading {
    next: usize,
    inside: usize,
    /// Payload taken.
    pub bytes: u64,
    /// Bit mask of the lineages of which this is still a prefix.
    fits: u64,
    /// The end was read.
    pub ended: bool,
}

impl Default for Reading {
    fn default() -> Self {
        Reading { next: 0, inside: 0, bytes: 0, fits: u64::MAX, ended: false }
    }
}

/// Every flow and every reader of the run.
#[derive(Debug, Default)]
pub(crate) struct Flows {
    flows: BTreeMap<FlowKey, Vec<Lineage>>,
    readings: BTreeMap<(FlowKey, Pid), Reading>,
    broken: BTreeSet<FlowKey>,
    /// Longest time from the wish to write to the taking, of flows that have a bound.
    pub slowest: u64,
    /// Messages and pieces of streams taken.
    pub taken: u64,
}

impl Flows {
    fn lineage(&mut self, key: FlowKey, writer: Pid) -> &mut Lineage {
        let lineages = self.flows.entry(key).or_default();
        let index = match lineages.iter().position(|lineage| lineage.writer == writer) {
            Some(index) => index,
            None => {
                lineages.push(Lineage { writer, writes: Vec::new(), bytes: 0, ended: false });
                lineages.len() - 1
            }
        };
        &mut lineages[index]
    }

    /// The node took this message, or piece of a stream, from its application.
    pub(crate) fn wrote(&mut self, key: FlowKey, writer: Pid, at: usize, len: usize, wanted: u64) {
        let lineage = self.lineage(key, writer);
        lineage.writes.push(Write { at, len, wanted });
        lineage.bytes += len as u64;
    }

    /// The application said that this was all.
    pub(crate) fn ended(&mut self, key: FlowKey, writer: Pid) {
        self.lineage(key, writer).ended = true;
    }

    /// Its writer or its reader gave this flow up: it need not come to its end.
    pub(crate) fn broke(&mut self, key: FlowKey) {
        self.broken.insert(key);
    }

    /// Whether anybody gave this flow up.
    pub(crate) fn is_broken(&self, key: FlowKey) -> bool {
        self.broken.contains(&key)
    }

    /// Whether a writer said that this was all.
    pub(crate) fn is_ended(&self, key: FlowKey) -> bool {
        self.flows.get(&key).is_some_and(|lineages| lineages.iter().any(|lineage| lineage.ended))
    }

    /// Payload that this process wrote.
    pub(crate) fn written(&self, key: FlowKey, writer: Pid) -> (u64, u64) {
        let lineages = self.flows.get(&key).into_iter().flatten();
        lineages
            .filter(|lineage| lineage.writer == writer)
            .fold((0, 0), |_, lineage| (lineage.bytes, lineage.writes.len() as u64))
    }

    /// How far this process has read.
    pub(crate) fn reading(&self, key: FlowKey, reader: Pid) -> Reading {
        self.readings.get(&(key, reader)).copied().unwrap_or_default()
    }

    /// A message came out of `channel_receive` (or with a `Call`).
    pub(crate) fn took_message(
        &mut self,
        key: FlowKey,
        reader: Pid,
        message: &Bytes,
        now: u64,
        bound: Option<u64>,
    ) -> Verdict {
        let reading = self.readings.entry((key, reader)).or_default();
        let (index, mut fits, mut wanted) = (reading.next, 0u64, now);
        let lineages = self.flows.get(&key).map(Vec::as_slice).unwrap_or_default();
        for (bit, lineage) in lineages.iter().enumerate() {
            let Some(write) = lineage.writes.get(index) else { continue };
            if write.len == message.len() && toy::is_content(write.at, message) {
                fits |= 1 << bit;
                wanted = wanted.min(write.wanted);
            }
        }
        if reading.fits & fits == 0 {
            return broken(Invariant::I1, describe(key, reader, reading, lineages, message.len()));
        }
        reading.fits &= fits;
        reading.next += 1;
        reading.bytes += message.len() as u64;
        self.taken += 1;
        let Some(bound) = bound else { return Ok(()) };
        let delay = now - wanted;
        self.slowest = self.slowest.max(delay);
        ensure!(
            delay <= bound,
            I14,
            "message {index} of channel {} took {} ms, at most {} ms are allowed beside a stopped reader",
            key.channel,
            delay / 1_000_000,
            bound / 1_000_000
        );
        Ok(())
    }

    /// Bytes of a stream came out of `channel_receive`; their borders need not be those of the writes.
    pub(crate) fn took_bytes(&mut self, key: FlowKey, reader: Pid, bytes: &Bytes) -> Verdict {
        let reading = self.readings.entry((key, reader)).or_default();
        let lineages = self.flows.get(&key).map(Vec::as_slice).unwrap_or_default();
        let (mut fits, mut after) = (0u64, (reading.next, reading.inside));
        for (bit, lineage) in lineages.iter().enumerate() {
            if reading.fits & (1 << bit) != 0
                && let Some(end) = follow(lineage, (reading.next, reading.inside), bytes)
            {
                fits |= 1 << bit;
                after = end;
            }
        }
        if reading.fits & fits == 0 {
            return broken(Invariant::I1, describe(key, reader, reading, lineages, bytes.len()));
        }
        reading.fits &= fits;
        (reading.next, reading.inside) = after;
        reading.bytes += bytes.len() as u64;
        self.taken += 1;
        Ok(())
    }

    /// The reader was told that this was all. To close a session is to end every channel where it stands.
    pub(crate) fn took_end(&mut self, key: FlowKey, reader: Pid, closed: bool) -> Verdict {
        let reading = self.readings.entry((key, reader)).or_default();
        let lineages = self.flows.get(&key).map(Vec::as_slice).unwrap_or_default();
        let whole = lineages.iter().enumerate().any(|(bit, lineage)| {
            reading.fits & (1 << bit) != 0 && (lineage.ended || closed) && lineage.bytes == reading.bytes
        });
        let whole = whole || closed && lineages.is_empty();
        ensure!(
            whole,
            I1,
            "channel {} of {} said END to process {reader} after {} bytes; written: {:?}",
            key.channel,
            key.sid,
            reading.bytes,
            lineages.iter().map(|lineage| (lineage.writer, lineage.bytes, lineage.ended)).collect::<Vec<_>>()
        );
        reading.ended = true;
        Ok(())
    }

    /// A snapshot of process `of` lives on as process `clone`.
    pub(crate) fn fork(&mut self, of: Pid, clone: Pid, taken_then: &Snapshot) {
        for (key, (bytes, writes)) in &taken_then.written {
            let Some(lineages) = self.flows.get_mut(key) else { continue };
            let Some(bit) = lineages.iter().position(|lineage| lineage.writer == of) else { continue };
            let mut copy = lineages[bit].clone();
            copy.writer = clone;
            copy.writes.truncate(*writes as usize);
            copy.bytes = *bytes;
            let forked = 1u64 << lineages.len();
            lineages.push(copy);
            // Who has read no further than the snapshot may go on with either.
            for ((_, _), reading) in self.readings.range_mut((*key, 0)..=(*key, Pid::MAX)) {
                let both = reading.fits & (1 << bit) != 0 && reading.bytes <= *bytes;
                reading.fits = if both { reading.fits | forked } else { reading.fits & !forked };
            }
        }
        for (key, reading) in &taken_then.readings {
            self.readings.insert((*key, clone), *reading);
        }
    }

    /// What a process had written and read at this moment.
    pub(crate) fn snapshot(&self, of: Pid) -> Snapshot {
        let mut snapshot = Snapshot::default();
        for (key, lineages) in &self.flows {
            for lineage in lineages.iter().filter(|lineage| lineage.writer == of) {
                snapshot.written.insert(*key, (lineage.bytes, lineage.writes.len() as u64));
            }
        }
        for ((key, pid), reading) in &self.readings {
            if *pid == of {
                snapshot.readings.insert(*key, *reading);
            }
        }
        snapshot
    }

    /// Flows of this session that this end wrote to and the reader did not take whole: (key, written, taken).
    pub(crate) fn unread(&self, sid: Sid, by_arbiter: bool, reader: Pid) -> Vec<(FlowKey, u64, u64)> {
        let low = FlowKey { sid, channel: ChannelId(0), by_arbiter: false };
        let high = FlowKey { sid, channel: ChannelId(u64::MAX), by_arbiter: true };
        let of_end = self.flows.range(low..=high).filter(|(key, _)| key.by_arbiter == by_arbiter);
        of_end
            .filter(|(key, lineages)| lineages.len() == 1 && !self.broken.contains(key))
            .map(|(key, lineages)| (*key, lineages[0].bytes, self.reading(*key, reader).bytes))
            .filter(|(_, written, taken)| taken < written)
            .collect()
    }
}

/// What a process had written and read when its snapshot was taken.
#[derive(Debug, Default, Clone)]
pub(crate) struct Snapshot {
    written: BTreeMap<FlowKey, (u64, u64)>,
    readings: BTreeMap<FlowKey, Reading>,
}

/// Where a reader is after these bytes, when they are what was written.
fn follow(lineage: &Lineage, from: (usize, usize), bytes: &[u8]) -> Option<(usize, usize)> {
    let (mut next, mut inside, mut rest) = (from.0, from.1, bytes);
    while !rest.is_empty() {
        let write = lineage.writes.get(next)?;
        // The reader may stand within a longer write of another lineage.
        let piece = rest.len().min(write.len.checked_sub(inside)?);
        if !toy::is_content(write.at + inside, &rest[..piece]) {
            return None;
        }
        rest = &rest[piece..];
        inside += piece;
        if inside == write.len {
            (next, inside) = (next + 1, 0);
        }
    }
    Some((next, inside))
}

fn describe(key: FlowKey, reader: Pid, reading: &Reading, lineages: &[Lineage], len: usize) -> String {
    let written: Vec<_> = lineages
        .iter()
        .map(|lineage| (lineage.writer, lineage.bytes, lineage.writes.get(reading.next).map(|w| w.len)))
        .collect();
    format!(
        "process {reader} took {len} bytes from channel {} of {} that were not written there: position {}, byte \
         {}; (writer, bytes, length there): {written:?}",
        key.channel, key.sid, reading.next, reading.bytes
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: FlowKey = FlowKey { sid: Sid([1; 16]), channel: ChannelId(2), by_arbiter: true };

    #[test]
    fn a_prefix_passes_and_a_gap_or_a_repetition_does_not() {
        let mut flows = Flows::default();
        flows.wrote(KEY, 0, 10, 100, 0);
        flows.wrote(KEY, 0, 999, 50, 0);
        assert!(flows.took_message(KEY, 1, &toy::content(999, 50), 0, None).is_err());
        assert!(flows.took_message(KEY, 1, &toy::content(10, 100), 0, None).is_ok());
        assert!(flows.took_message(KEY, 1, &toy::content(10, 100), 0, None).is_err());
        assert!(flows.took_end(KEY, 1, false).is_err());
        assert!(flows.took_message(KEY, 1, &toy::content(999, 50), 0, None).is_ok());
        flows.ended(KEY, 0);
        assert!(flows.took_end(KEY, 1, false).is_ok());
    }

    #[test]
    fn a_stream_may_be_cut_anywhere() {
        let mut flows = Flows::default();
        flows.wrote(KEY, 0, 10, 100, 0);
        flows.wrote(KEY, 0, 500, 100, 0);
        let whole = [toy::content(10, 100), toy::content(500, 100)].concat();
        for piece in whole.chunks(37) {
            assert!(flows.took_bytes(KEY, 1, &Bytes::copy_from_slice(piece)).is_ok());
        }
        assert!(flows.took_bytes(KEY, 1, &toy::content(0, 1)).is_err());
    }

    #[test]
    fn two_lineages_must_not_be_mixed() {
        let mut flows = Flows::default();
        flows.wrote(KEY, 0, 10, 100, 0);
        let then = flows.snapshot(0);
        assert!(flows.took_message(KEY, 2, &toy::content(10, 100), 0, None).is_ok());
        flows.wrote(KEY, 0, 20, 100, 0);
        flows.wrote(KEY, 0, 30, 100, 0);
        flows.fork(0, 7, &then);
        flows.wrote(KEY, 7, 40, 100, 0);
        flows.wrote(KEY, 7, 50, 100, 0);
        assert!(flows.took_message(KEY, 1, &toy::content(10, 100), 0, None).is_ok());
        assert!(flows.took_message(KEY, 1, &toy::content(20, 100), 0, None).is_ok());
        assert!(flows.took_message(KEY, 1, &toy::content(50, 100), 0, None).is_err());
        assert!(flows.took_message(KEY, 2, &toy::content(40, 100), 0, None).is_ok());
        assert!(flows.took_message(KEY, 2, &toy::content(30, 100), 0, None).is_err());
    }
}
