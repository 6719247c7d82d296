//! What of a session is stored, and what waits for it (D1, S6).
//!
//! Stored channels are compared with what the store was asked to keep, and the difference goes out as one batch; so
//! nobody who changes a channel has to think of the store. Invariants: of a stored channel nothing leaves that is not
//! stored; no frame is LACKed before what it brought is stored; what is missing in the middle is not LACKed at all,
//! so that what a peer may forget is always a prefix of what is here.

use super::Session;
use crate::channel::{Channel, Ending, Keep};
use crate::error::{Code, Error, Result};
use crate::id::{ChannelId, LinkId, ObjectId};
use crate::io::{SessionEvent, SessionState, StoredChannel};
use crate::limits::RESTART_POINT_BYTES_MAX;
use crate::options::Canary;
use crate::store::Change;
use crate::store::record::{
    CHANNEL, INCOMING, OUTGOING, SESSION, SessionRecord, encode_channel, encode_object, key, object_key,
};
use crate::wire::Hello;
use bytes::Bytes;
use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

/// So many outgoing bytes may be in the store although the peer holds them, before that alone is a reason to write.
const STALE_BYTES_MAX: u64 = 256 * 1024;

/// A session that may be stored, because its node has a store.
#[derive(Debug, Clone)]
pub(crate) struct Keeping {
    /// What the peer said of itself last.
    pub(crate) peer: Box<Hello>,
    /// Addresses of the peer, for the next process.
    ways: Vec<Arc<str>>,
    /// What the record of the session in the store says, beside what changes with every channel; `None` for no record.
    known: Option<Known>,
    /// Rises with what the peer said of itself and where it was found.
    version: u64,
    /// Channels that the store has.
    saved: BTreeSet<ChannelId>,
    /// Embalmed objects that the store has.
    objects: BTreeSet<ObjectId>,
    /// What has to be stored, and was noted before it went out of memory.
    early: Vec<Change>,
    waiting: VecDeque<Waiting>,
}

/// Of a record, what is a reason to write it anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Known {
    epochs: [u64; 2],
    is_over: bool,
    version: u64,
}

/// A batch that is not done.
#[derive(Debug, Clone)]
struct Waiting {
    operation: u64,
    marks: Vec<Mark>,
    /// How many frames of a link may be LACKed after it.
    lacks: Vec<(LinkId, u64)>,
}

/// What a batch stores of a channel.
#[derive(Debug, Clone)]
struct Mark {
    channel: ChannelId,
    written: u64,
    ending: Ending,
    held: u64,
    done: u64,
    points: u64,
    is_ended: bool,
}

impl Mark {
    fn of(channel: &Channel, keep: &Keep) -> Mark {
        Mark {
            channel: channel.id,
            written: channel.send.written(),
            ending: channel.send.ending(),
            held: channel.receive.held(),
            done: keep.done,
            points: keep.points,
            is_ended: channel.receive.ending().is_some(),
        }
    }
}

impl Keeping {
    /// Where the peer was found, for the next process.
    pub(crate) fn note_ways(&mut self, ways: Vec<Arc<str>>) {
        if self.ways != ways {
            self.ways = ways;
            self.version += 1;
        }
    }

    /// The peer is this node now.
    pub(super) fn note_peer(&mut self, peer: &Hello) {
        *self.peer = peer.clone();
        self.version += 1;
    }

    pub(crate) fn new(peer: &Hello) -> Keeping {
        Keeping {
            peer: Box::new(peer.clone()),
            ways: Vec::new(),
            known: None,
            version: 0,
            saved: BTreeSet::new(),
            objects: BTreeSet::new(),
            early: Vec::new(),
            waiting: VecDeque::new(),
        }
    }

    /// As it was stored.
    pub(super) fn restored(record: &SessionRecord, channels: impl Iterator<Item = ChannelId>) -> Keeping {
        Keeping {
            ways: record.ways.clone(),
            known: Some(Known {
                epochs: [record.epoch, record.peer_epoch],
                is_over: record.is_over,
                version: 0,
            }),
            saved: channels.collect(),
            ..Keeping::new(&record.peer)
        }
    }
}

/// A batch in the making.
#[derive(Debug, Default)]
struct Batch {
    changes: Vec<Change>,
    marks: Vec<Mark>,
}

impl Session {
    /// From now on this channel is stored, if this end has a store.
    pub(super) fn begin_keeping(&mut self, id: ChannelId) {
        if self.keeping.is_none() {
            return;
        }
        if let Some(channel) = self.streams.get_mut(id) {
            // Of a channel that the peer opened the header was taken.
            channel.keep = Some(Box::new(Keep::new(channel.receive.consumed())));
            channel.send.waits_for_store();
            self.streams.kept.insert(id);
        }
    }

    /// Whether this end can store a channel.
    ///
    /// # Errors
    /// `UNSUPPORTED`.
    pub(super) fn check_may_keep(&self) -> Result<()> {
        if self.keeping.is_some() {
            return Ok(());
        }
        let what = format!("open a stored channel with {}: this node has no store", self.peer);
        Err(Error::new(Code::Unsupported, what).with_remedy("open the node with store_dir"))
    }

    /// Notes what came on a stored channel before somebody takes it out of memory.
    pub(super) fn keep_what_came(&mut self, id: ChannelId) {
        let sid = self.sid;
        let Some(keeping) = self.keeping.as_mut() else { return };
        let Some(channel) = self.streams.get_mut(id) else { return };
        let Some(mut keep) = channel.keep.take() else { return };
        let held = channel.receive.to_store();
        if held > keep.saved.held {
            if !channel.receive.is_discarded() {
                let key = key(INCOMING, sid, Some(id), Some(keep.saved.held));
                let value = channel.receive.copy_from(keep.saved.held);
                keeping.early.push(Change::Put { key, value });
            }
            keep.saved.held = held;
        }
        channel.keep = Some(keep);
    }

    /// What has to be stored now. With changes, [`Session::is_asked`] follows.
    pub(crate) fn keep(&mut self) -> Vec<Change> {
        if self.keeping.is_none() || !self.attached {
            return Vec::new();
        }
        let mut batch = Batch::default();
        if self.is_worth_keeping() {
            let ids: Vec<ChannelId> = self.streams.kept.iter().copied().collect();
            ids.iter().for_each(|&id| self.keep_what_came(id));
            if let Some(keeping) = self.keeping.as_mut() {
                batch.changes.append(&mut keeping.early);
            }
            ids.into_iter().for_each(|id| self.keep_channel(id, &mut batch));
            self.keep_record(&mut batch);
        } else {
            self.forget_records(&mut batch);
        }
        self.keep_objects(&mut batch);
        if let Some(keeping) = self.keeping.as_mut().filter(|_| !batch.changes.is_empty()) {
            keeping.waiting.push_back(Waiting { operation: 0, marks: batch.marks, lacks: Vec::new() });
        }
        self.hold_back_lacks();
        batch.changes
    }

    /// Whether the next process could do anything with it.
    fn is_worth_keeping(&self) -> bool {
        let is_unread = |id: &ChannelId| {
            let channel = self.streams.get(*id);
            channel.is_some_and(|channel| {
                channel.keep.as_ref().is_some_and(|keep| !keep.is_done(&channel.receive))
            })
        };
        match self.state {
            SessionState::Lost => false,
            SessionState::Closed => !self.forgotten && self.streams.kept.iter().any(is_unread),
            _ => true,
        }
    }

    fn keep_channel(&mut self, id: ChannelId, batch: &mut Batch) {
        let sid = self.sid;
        let (Some(keeping), Some(channel)) = (self.keeping.as_mut(), self.streams.get_mut(id)) else {
            return;
        };
        let Some(mut keep) = channel.keep.take() else { return };
        let before = batch.changes.len();
        let (written, kept) = (channel.send.written(), channel.send.kept());
        let ending = channel.send.ending();
        if written > keep.saved.written && !matches!(ending, Ending::Reset(_)) {
            let first = keep.saved.written.max(kept);
            let mut value = Vec::with_capacity((written - first) as usize);
            channel.send.slices(first..written, |slice| value.extend_from_slice(slice.bytes()));
            batch.changes.push(Change::Put { key: key(OUTGOING, sid, Some(id), Some(first)), value });
            keep.saved.written = written;
        }
        let is_new = encode_channel(channel, &keep, keep.saved.kept) != keep.saved.record;
        let is_stale = kept - keep.saved.kept >= STALE_BYTES_MAX;
        if is_new || is_stale || batch.changes.len() > before {
            prune(sid, channel, &mut keep, batch);
            let value = encode_channel(channel, &keep, kept);
            keep.saved.record.clone_from(&value);
            batch.changes.push(Change::Put { key: key(CHANNEL, sid, Some(id), None), value });
            keeping.saved.insert(id);
            batch.marks.push(Mark::of(channel, &keep));
        }
        channel.keep = Some(keep);
    }

    fn keep_record(&mut self, batch: &mut Batch) {
        let sid = self.sid;
        let Some(keeping) = self.keeping.as_mut() else { return };
        let over: Vec<ChannelId> =
            keeping.saved.iter().filter(|id| !self.streams.kept.contains(id)).copied().collect();
        for id in over {
            keeping.saved.remove(&id);
            for kind in [CHANNEL, INCOMING, OUTGOING] {
                batch.changes.push(Change::Delete { prefix: key(kind, sid, Some(id), None) });
            }
        }
        let is_over = self.state.is_final();
        let known = Known { epochs: [self.epoch, self.peer_epoch], is_over, version: keeping.version };
        // What is opened beside stored channels is no reason to write.
        if batch.changes.is_empty() && keeping.known == Some(known) {
            return;
        }
        keeping.known = Some(known);
        let record = SessionRecord {
            secret: self.secret,
            n: self.n,
            is_arbiter: self.is_arbiter,
            is_over,
            epoch: self.epoch,
            peer_epoch: self.peer_epoch,
            opened_here: self.streams.opened_here(),
            opened_by_peer: self.streams.opened_by_peer(),
            unread: self.streams.unread.iter().copied().collect(),
            peer: keeping.peer.clone(),
            ways: keeping.ways.clone(),
        };
        batch.changes.push(Change::Put { key: key(SESSION, sid, None, None), value: record.encode() });
    }

    /// Embalmed objects outlive their session, for another one of the same host; and the process, to be discarded.
    fn keep_objects(&mut self, batch: &mut Batch) {
        let sid = self.sid;
        let Some(keeping) = self.keeping.as_mut() else { return };
        if self.objects.kept_bytes() == 0 && keeping.objects.is_empty() {
            return;
        }
        let mut over = std::mem::take(&mut keeping.objects);
        for (id, kind, kept) in self.objects.embalmed() {
            keeping.objects.insert(id);
            if !over.remove(&id) {
                let value = encode_object(kind, kept);
                batch.changes.push(Change::Put { key: object_key(sid, id), value });
            }
        }
        batch.changes.extend(over.into_iter().map(|id| Change::Delete { prefix: object_key(sid, id) }));
    }

    fn forget_records(&mut self, batch: &mut Batch) {
        let sid = self.sid;
        let Some(keeping) = self.keeping.as_mut() else { return };
        keeping.early.clear();
        if keeping.known.take().is_none() {
            return;
        }
        keeping.saved.clear();
        // Whoever waits for an answer about them gets it: there is nothing more to keep.
        for channel in self.streams.kept.iter().filter_map(|id| self.streams.get(*id)) {
            let Some(keep) = &channel.keep else { continue };
            // Nothing leaves any more.
            batch.marks.push(Mark { ending: Ending::Open, ..Mark::of(channel, keep) });
        }
        for kind in [SESSION, CHANNEL, INCOMING, OUTGOING] {
            batch.changes.push(Change::Delete { prefix: key(kind, sid, None, None) });
        }
    }

    /// Whether the store has it, with channels that go on.
    pub(crate) fn is_kept(&self) -> bool {
        self.keeping.as_ref().is_some_and(|keeping| keeping.known.is_some()) && !self.streams.kept.is_empty()
    }

    /// Whether all that the peer said on stored channels is on the disk: before that it must not take this end's word
    /// that everything came.
    pub(super) fn has_stored_all(&self) -> bool {
        let is_stored = |id: &ChannelId| {
            self.streams.get(*id).is_none_or(|channel| {
                let useful = channel.receive.useful();
                channel.keep.as_ref().is_none_or(|keep| keep.held >= useful && keep.ending_stored)
            })
        };
        self.streams.kept.iter().all(is_stored)
    }

    /// The batch that [`Session::keep`] gave has this number.
    pub(crate) fn is_asked(&mut self, operation: u64) {
        if let Some(waiting) = self.keeping.as_mut().and_then(|keeping| keeping.waiting.back_mut()) {
            waiting.operation = operation;
        }
    }

    /// LACK says that this end will never ask for it again: not before it is stored.
    fn hold_back_lacks(&mut self) {
        let Some(keeping) = self.keeping.as_mut() else { return };
        let has_gap = |id: &ChannelId| self.streams.get(*id).is_some_and(|channel| channel.receive.has_gap());
        let is_open =
            |id: &ChannelId| self.streams.get(*id).is_some_and(|channel| channel.receive.held() > 0);
        let is_missing = self.streams.kept.iter().any(has_gap)
            || self.streams.unread.iter().any(|id| is_open(id) || has_gap(id));
        for (id, link) in self.links.iter_mut() {
            let received = link.received();
            if self.canary == Some(Canary::LackBeforeStore) {
                link.lack_all();
            } else if is_missing {
                link.hold_lacks();
            } else if let Some(last) = keeping.waiting.back_mut() {
                link.hold_lacks();
                last.lacks.retain(|(known, _)| *known != id);
                last.lacks.push((id, received));
            } else {
                link.lack_all();
            }
        }
    }

    /// All batches up to this one are stored.
    pub(crate) fn is_stored(&mut self, operation: u64) {
        let mut done = Vec::new();
        if let Some(keeping) = self.keeping.as_mut() {
            while keeping.waiting.front().is_some_and(|waiting| waiting.operation <= operation) {
                done.extend(keeping.waiting.pop_front());
            }
        }
        for waiting in done {
            for mark in waiting.marks {
                self.mark_stored(&mark);
            }
            for (id, count) in waiting.lacks {
                if let Some(link) = self.links.get_mut(id) {
                    link.lack_at_most(count);
                }
            }
        }
    }

    fn mark_stored(&mut self, mark: &Mark) {
        let Some(channel) = self.streams.get_mut(mark.channel) else { return };
        let is_ended = mark.ending != Ending::Open && channel.send.ending() == mark.ending;
        channel.send.is_stored_to(mark.written, is_ended);
        if let Some(keep) = channel.keep.as_mut() {
            keep.held = keep.held.max(mark.held);
            keep.done_stored = keep.done_stored.max(mark.done);
            keep.points_stored = keep.points_stored.max(mark.points);
            keep.ending_stored |= mark.is_ended;
            keep.written = keep.written.max(mark.written);
        }
        self.event(SessionEvent::Stored(mark.channel));
        self.streams.touch(mark.channel);
        // What is stored may be read from now on.
        self.streams.changes.push_back(super::Change::Came(mark.channel));
    }

    /// The application is done with what it took of a stored channel up to here.
    ///
    /// # Errors
    /// `HANDLE`; `ARG` beyond what was taken; `STATE` when the channel is not a stored one.
    pub(crate) fn done(&mut self, id: ChannelId, offset: u64) -> Result<()> {
        if let Some(why) = self.ended.as_ref().filter(|_| self.state == SessionState::Lost) {
            return Err(Error::new(why.code, format!("note what is done on channel {id}: {}", why.message)));
        }
        let known = self.streams.get_mut(id).filter(|channel| !channel.released);
        let channel = known.ok_or_else(|| super::app::no_channel(id))?;
        let taken = channel.receive.taken();
        if channel.keep.is_none() {
            if channel.header.as_ref().is_some_and(|header| header.stored) {
                // Without a store here there is nothing to note: programs need not know.
                return Ok(());
            }
            let what = format!("be done with what came on channel {id}: this end does not store it");
            return Err(Error::new(Code::State, what));
        }
        if offset > taken {
            let what = format!("be done with channel {id} up to {offset}: {taken} bytes were taken");
            return Err(Error::new(Code::Argument, what));
        }
        let is_bytes = channel.is_bytes();
        if let Some(keep) = channel.keep.as_mut() {
            keep.is_done_to(offset, is_bytes);
        }
        self.streams.settle_taken(id);
        self.streams.retire_if_over(id);
        Ok(())
    }

    /// How far the application is with the first message that it is not done with: it gets this back with the message
    /// when that is delivered again. Forgotten once it is done with it.
    ///
    /// # Errors
    /// `HANDLE`; `SIZE`; `STATE` when the channel is not a stored one.
    pub(crate) fn set_restart_point(&mut self, id: ChannelId, point: Bytes) -> Result<()> {
        if point.len() > RESTART_POINT_BYTES_MAX {
            let what = format!(
                "set a restart point on channel {id}: {} bytes, at most {RESTART_POINT_BYTES_MAX} are allowed",
                point.len()
            );
            return Err(Error::new(Code::Size, what));
        }
        self.done(id, 0)?;
        if let Some(keep) = self.streams.get_mut(id).and_then(|channel| channel.keep.as_mut()) {
            keep.restart_point = point;
            keep.points += 1;
        }
        Ok(())
    }

    /// How far a stored channel is; `None` when this end does not store it.
    pub(crate) fn stored(&self, id: ChannelId) -> Option<StoredChannel> {
        let channel = self.streams.get(id)?;
        let keep = channel.keep.as_ref()?;
        Some(StoredChannel {
            written: channel.send.written(),
            written_stored: keep.written,
            taken: channel.receive.taken(),
            done: keep.done,
            done_stored: keep.done_stored,
            redelivered_until: keep.redelivered_until,
            points: keep.points,
            points_stored: keep.points_stored,
            restart_point: keep.restart_point.clone(),
        })
    }
}

/// What the peer holds and what the application is done with need not be kept.
fn prune(sid: crate::id::Sid, channel: &Channel, keep: &mut Keep, batch: &mut Batch) {
    let id = Some(channel.id);
    let parts = [(OUTGOING, channel.send.kept(), keep.saved.kept), (INCOMING, keep.done, keep.saved.done)];
    for (kind, now, before) in parts {
        if now > before {
            let (first, last) = (key(kind, sid, id, Some(0)), key(kind, sid, id, Some(now)));
            batch.changes.push(Change::Prune { first, last });
        }
    }
    (keep.saved.kept, keep.saved.done) = (channel.send.kept(), keep.done);
}
