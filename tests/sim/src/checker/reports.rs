//! I3 and I5: the numbers that a node reports of its channels, against the ledger, against the other end, and against
//! what it said before.
//!
//! Offsets of the wire contain the channel's header and the messages' lengths, so that written and taken are compared
//! with the ledger's payload within that overhead; everything else is compared exactly.

use super::flows::FlowKey;
use super::{Verdict, ensure};
use crate::world::Pid;
use clerver_proto::id::ChannelId;
use clerver_proto::node::ChannelReport;
use clerver_proto::wire::header::HEADER_BYTES_MAX;
use std::collections::BTreeMap;

/// Bytes that a message takes on the wire beyond its own.
const PER_MESSAGE: u64 = 16;

/// What was reported last.
#[derive(Debug, Default)]
pub(crate) struct Reports {
    last: BTreeMap<(Pid, FlowKey), ChannelReport>,
    /// Comparisons made.
    pub compared: u64,
}

/// Payload and number of messages, or pieces, that the ledger has.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Known {
    pub written: (u64, u64),
    pub taken: u64,
}

impl Reports {
    /// One report against itself, its predecessor and the ledger; `key` is the direction that the end writes.
    pub(crate) fn check(&mut self, pid: Pid, key: FlowKey, report: &ChannelReport, known: Known) -> Verdict {
        self.compared += 1;
        let ChannelReport { written, sent, held, received, taken, .. } = *report;
        ensure!(
            written >= sent && sent >= held && received >= taken,
            I3,
            "process {pid} reports numbers out of order: {report:?}"
        );
        let (payload, messages) = known.written;
        let most = payload + messages * PER_MESSAGE + HEADER_BYTES_MAX as u64;
        ensure!(
            (payload..=most).contains(&written),
            I3,
            "process {pid} wrote {payload} bytes in {messages} messages to channel {} and reports {report:?}",
            key.channel
        );
        ensure!(
            taken >= known.taken,
            I3,
            "process {pid} took {} bytes from channel {} and reports {report:?}",
            known.taken,
            key.channel
        );
        if let Some(last) = self.last.get(&(pid, key)) {
            let monotone = written >= last.written
                && sent >= last.sent
                && held >= last.held
                && received >= last.received
                && taken >= last.taken;
            ensure!(monotone, I3, "process {pid} reports {report:?} after {last:?}");
        }
        self.last.insert((pid, key), *report);
        Ok(())
    }

    /// The reports of the two ends of a channel, taken at the same moment.
    pub(crate) fn compare(channel: ChannelId, sender: &ChannelReport, receiver: &ChannelReport) -> Verdict {
        ensure!(
            receiver.received <= sender.sent,
            I3,
            "channel {channel}: {} bytes were received of {} sent",
            receiver.received,
            sender.sent
        );
        ensure!(
            sender.held <= receiver.received,
            I5,
            "channel {channel}: the sender forgot {} bytes, the receiver holds {}",
            sender.held,
            receiver.received
        );
        Ok(())
    }
}
