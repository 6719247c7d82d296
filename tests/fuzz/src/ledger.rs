//! What was written and not taken yet, of every direction of every channel between the two honest nodes.

use bytes::{Bytes, BytesMut};
use clerver_proto::id::{ChannelId, Sid};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// One direction of one channel.
#[derive(Debug, Default)]
pub struct Flow {
    /// Written and not taken.
    pub expected: VecDeque<Bytes>,
    pub is_bytes: bool,
    /// The reader gave up on it.
    pub reader_gone: bool,
    /// The writer broke it off, or nobody promises that it arrives.
    pub may_be_missing: bool,
}

#[derive(Debug, Default)]
pub struct Ledger {
    pub flows: BTreeMap<(Sid, ChannelId, usize), Flow>,
    /// Requests that were handed out.
    ran: BTreeSet<(Sid, ChannelId)>,
    stamp: u64,
}

impl Ledger {
    /// Bytes that no other write has.
    pub fn content(&mut self, len: usize) -> Bytes {
        self.stamp += 1;
        let stamp = self.stamp.to_be_bytes();
        (0..len).map(|at| stamp[7 - at % 8] ^ (at / 8) as u8).collect::<Vec<u8>>().into()
    }

    pub fn flow(&mut self, sid: Sid, channel: ChannelId, writer: usize) -> &mut Flow {
        self.flows.entry((sid, channel, writer)).or_default()
    }

    /// Something was taken: it must be what was written next.
    pub fn taken(&mut self, sid: Sid, channel: ChannelId, writer: usize, taken: &Bytes) {
        let flow = self.flow(sid, channel, writer);
        if !flow.is_bytes {
            let next = flow.expected.pop_front();
            assert!(next.as_ref() == Some(taken), "channel {channel}: {taken:?} came, {next:?} was written");
            return;
        }
        let mut next = BytesMut::new();
        while next.len() < taken.len() {
            let mut piece = flow.expected.pop_front().expect("more bytes came than were written");
            let part = piece.split_to(piece.len().min(taken.len() - next.len()));
            next.extend_from_slice(&part);
            if !piece.is_empty() {
                flow.expected.push_front(piece);
            }
        }
        assert!(next == taken, "channel {channel}: other bytes came than were written");
    }

    /// The reader was told that there is no more.
    pub fn ended(&mut self, sid: Sid, channel: ChannelId, writer: usize) {
        let flow = self.flow(sid, channel, writer);
        assert!(
            flow.expected.is_empty() || flow.reader_gone,
            "channel {channel} ended before everything was taken"
        );
    }

    /// A request was handed to a handler.
    pub fn ran(&mut self, sid: Sid, call: ChannelId, caller: usize, request: &Bytes) {
        assert!(self.ran.insert((sid, call)), "call {call} was run twice");
        self.taken(sid, call, caller, request);
    }

    pub fn both_gone(&mut self, sid: Sid, channel: ChannelId, who: usize) {
        self.flow(sid, channel, who).may_be_missing = true;
        self.flow(sid, channel, 1 - who).reader_gone = true;
    }
}
