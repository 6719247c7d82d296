//! The channels of a session: their ids, their queues and the two budgets they share (X1, X4).
//!
//! Carries frames between channels and whoever sends them; what a channel means (control, call) is the
//! parent's business. Invariants: a channel that could send stands in its queue; ids rise by one per end; a
//! channel that is gone is never made again.

use super::link::{Sent, Value};
use crate::channel::{Budget, Channel, Class, Delivery, reset_error};
use crate::error::{Code, Error, Result};
use crate::id::{CONTROL, ChannelId};
use crate::limits::{CHANNEL_BASE_BYTES, CHANNEL_WINDOW_BYTES_MAX, CONTROL_WINDOW_BYTES, SessionLimits};
use crate::sorted::Sorted;
use crate::wire::codec::malformed;
use crate::wire::header::Header;
use bytes::Bytes;
use std::collections::{BTreeSet, VecDeque};
use std::ops::RangeInclusive;

/// What a frame or a step changed, for the parent to act on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Change {
    /// Something new may be there to take.
    Came(ChannelId),
    /// There may be room to write.
    Room(ChannelId),
    /// The peer wants no more of this channel.
    Stopped(ChannelId),
    /// There may be room to open a channel.
    Openable,
}

#[derive(Debug, Clone)]
pub(crate) struct Streams {
    pub(super) is_arbiter: bool,
    pub(super) mine: SessionLimits,
    pub(super) peer: SessionLimits,
    pub(super) channels: Sorted<ChannelId, Box<Channel>>,
    sending: Budget,
    receiving: Budget,
    control_budget: Budget,
    pub(super) opened_here: u64,
    pub(super) opened_by_peer: u64,
    pub(super) open_here: u64,
    pub(super) may_open: u64,
    pub(super) granted: u64,
    pub(super) announced: u64,
    /// Channels with something to send, by class; each knows whether it stands in one.
    queues: [VecDeque<ChannelId>; Class::COUNT],
    pub(super) values: BTreeSet<Value>,
    pub(super) room_wanted: BTreeSet<ChannelId>,
    open_wanted: bool,
    /// This end has a store.
    pub(super) keeps: bool,
    /// Channels that this end stores.
    pub(super) kept: BTreeSet<ChannelId>,
    /// Channels of the peer whose header did not come yet.
    pub(super) unread: BTreeSet<ChannelId>,
    pub(crate) changes: VecDeque<Change>,
    pub(crate) repeated: u64,
    pub(crate) duplicate: u64,
    /// Canary: one window for the whole session.
    pub(crate) one_window: bool,
}

impl Streams {
    pub(crate) fn new(is_arbiter: bool, mine: SessionLimits, peer: SessionLimits) -> Streams {
        let control = Channel::new(CONTROL, true, CONTROL_WINDOW_BYTES, CONTROL_WINDOW_BYTES);
        let mut channels = Sorted::default();
        channels.insert(CONTROL, Box::new(control));
        Streams {
            is_arbiter,
            mine,
            peer,
            channels,
            sending: Budget::new(mine.elastic_bytes()),
            receiving: Budget::new(mine.elastic_bytes()),
            control_budget: Budget::new(0),
            opened_here: 0,
            opened_by_peer: 0,
            open_here: 0,
            may_open: peer.channels_max,
            granted: mine.channels_max,
            announced: mine.channels_max,
            queues: Default::default(),
            values: BTreeSet::new(),
            room_wanted: BTreeSet::new(),
            open_wanted: false,
            keeps: false,
            kept: BTreeSet::new(),
            unread: BTreeSet::new(),
            changes: VecDeque::new(),
            repeated: 0,
            duplicate: 0,
            one_window: false,
        }
    }

    pub(crate) fn get(&self, id: ChannelId) -> Option<&Channel> {
        self.channels.get(id).map(|channel| &**channel)
    }

    pub(crate) fn get_mut(&mut self, id: ChannelId) -> Option<&mut Channel> {
        self.channels.get_mut(id).map(|channel| &mut **channel)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Channel> {
        self.channels.values().map(|channel| &**channel)
    }

    pub(crate) fn ids(&self) -> Vec<ChannelId> {
        self.channels.keys().collect()
    }

    /// Channels that this end opened in all.
    pub(crate) fn opened_here(&self) -> u64 {
        self.opened_here
    }

    /// Channels of the peer that came in all.
    pub(crate) fn opened_by_peer(&self) -> u64 {
        self.opened_by_peer
    }

    /// Bytes kept for sending and for reading.
    pub(crate) fn buffered(&self) -> u64 {
        self.channels.values().map(|channel| channel.send.occupied() + channel.receive.buffered()).sum()
    }

    /// Sum of what the peer may still send and what waits to be taken, channel 0 excepted (I6).
    pub(crate) fn outstanding(&self) -> u64 {
        let channels = self.channels.iter().filter(|(id, _)| *id != CONTROL);
        channels.map(|(_, channel)| channel.receive.outstanding()).sum()
    }

    // ---- opening and closing ----

    /// Opens a channel with this header. `touch` it when what goes with the header is written.
    /// `expected` bytes of small pieces will follow the header at once.
    pub(crate) fn open(&mut self, header: Header, expected: usize) -> Result<ChannelId> {
        if self.opened_here >= self.may_open || self.open_here >= self.mine.channels_max {
            self.open_wanted = true;
            let what = format!("open channel \"{}\": {} of this end are open", header.name, self.open_here);
            return Err(Error::new(Code::Channels, what));
        }
        self.opened_here += 1;
        self.open_here += 1;
        let id = ChannelId::nth(self.opened_here, self.is_arbiter);
        let mut channel = Channel::new(id, true, CHANNEL_BASE_BYTES, self.mine.message_bytes_max);
        channel.send.reserve(header.encoded_len() + expected);
        channel.send.write_with(|tail| header.encode(tail));
        channel.header = Some(header);
        self.channels.insert(id, Box::new(channel));
        Ok(id)
    }

    /// The channel of a frame that came; makes it (and those below it) when the peer just opened it. `None`
    /// for one that is over.
    fn find(&mut self, id: ChannelId) -> Result<Option<ChannelId>> {
        if self.channels.contains(id) {
            return Ok(Some(id));
        }
        let (counter, by_arbiter) = (id.counter(), id.is_by_arbiter());
        if by_arbiter == self.is_arbiter || counter == 0 {
            let known = counter != 0 && counter <= self.opened_here;
            return if known {
                Ok(None)
            } else {
                Err(malformed(format!("channel {id} was never opened here")))
            };
        }
        if counter <= self.opened_by_peer {
            return Ok(None);
        }
        if counter > self.announced {
            return Err(malformed(format!("channel {id} is opened beyond the {} granted", self.announced)));
        }
        while self.opened_by_peer < counter {
            self.opened_by_peer += 1;
            let next = ChannelId::nth(self.opened_by_peer, by_arbiter);
            let channel = Channel::new(next, false, CHANNEL_BASE_BYTES, self.mine.message_bytes_max);
            self.channels.insert(next, Box::new(channel));
            self.unread.insert(next);
        }
        self.announce_channels();
        Ok(Some(id))
    }

    /// Forgets a channel that is over, and grants the peer another one.
    pub(crate) fn retire_if_over(&mut self, id: ChannelId) {
        if id == CONTROL || !self.channels.get(id).is_some_and(|channel| channel.is_over()) {
            return;
        }
        if let Some(mut channel) = self.channels.remove(id) {
            let next = channel.uncharge(&mut self.sending, &mut self.receiving);
            self.collect(&mut channel);
            if channel.opened_here {
                self.open_here -= 1;
            } else {
                self.granted += 1;
                self.announce_channels();
            }
            self.room_wanted.remove(&id);
            self.kept.remove(&id);
            self.unread.remove(&id);
            self.settle_next(next);
            self.wake_writers();
        }
    }

    /// Tells the peer how many channels it may open, when it comes near what it was told or much was freed.
    fn announce_channels(&mut self) {
        let max = self.mine.channels_max;
        let is_near = self.announced.saturating_sub(self.opened_by_peer) <= max / 8;
        if self.granted > self.announced && (is_near || self.granted - self.announced >= max / 4) {
            self.announced = self.granted;
            self.want_value(Value::ChannelCredit);
        }
    }

    // ---- writing ----

    /// Whether a new channel could take this many bytes at once; if not, `Openable` follows when it may.
    pub(crate) fn has_room_for_new(&mut self, len: u64) -> bool {
        let fits = len <= CHANNEL_BASE_BYTES
            || len - CHANNEL_BASE_BYTES <= self.sending.free().min(CHANNEL_WINDOW_BYTES_MAX);
        let has_room = fits || self.sending.message_is_free();
        self.open_wanted |= !has_room;
        has_room
    }

    /// Room for a message with its prefix, or for bytes.
    pub(crate) fn make_room(&mut self, id: ChannelId, len: u64) -> u64 {
        let Some(channel) = self.channels.get_mut(id) else { return 0 };
        let budget = if id == CONTROL { &mut self.control_budget } else { &mut self.sending };
        let room = channel.make_room(budget, len);
        if room == 0 {
            self.room_wanted.insert(id);
        }
        room
    }

    /// Largest message that the peer takes.
    pub(crate) fn message_bytes_max(&self) -> u64 {
        self.peer.message_bytes_max.min(self.mine.message_bytes_max)
    }

    /// Puts a channel into its queue when it has something to send.
    pub(crate) fn touch(&mut self, id: ChannelId) {
        let Some(channel) = self.channels.get_mut(id) else { return };
        if std::mem::take(&mut channel.credit_dirty) {
            self.values.insert(Value::Credit(id));
        }
        if channel.send.reset_is_due() {
            self.values.insert(Value::Reset(id));
        }
        if matches!(channel.stop, Some((_, Delivery::Wanted))) {
            self.values.insert(Value::Stop(id));
        }
        if !channel.queued && channel.send.has_stream_work() {
            channel.queued = true;
            self.queues[channel.class() as usize].push_back(id);
        }
    }

    /// Ends a direction early.
    pub(crate) fn reset(&mut self, id: ChannelId, why: &Error) {
        if let Some(channel) = self.channels.get_mut(id) {
            channel.send.reset(why);
        }
        self.settle_sent(id);
        self.touch(id);
    }

    /// The application reads no more.
    pub(crate) fn stop(&mut self, id: ChannelId, code: Code) {
        if let Some(channel) = self.channels.get_mut(id) {
            channel.receive.discard();
            if channel.stop.is_none() && !channel.receive.is_complete() {
                channel.stop = Some((code, Delivery::Wanted));
            }
        }
        self.settle_taken(id);
        self.touch(id);
    }

    // ---- sending ----

    /// Whether a counted frame waits; with `bulk_only`, one of a bulk channel.
    pub(crate) fn has_work(&self, bulk_only: bool) -> bool {
        let first = if bulk_only { Class::Bulk } else { Class::Control };
        self.queues[first as usize..].iter().any(|queue| !queue.is_empty())
            || (!bulk_only && !self.values.is_empty())
    }

    /// The next channel of these classes in the order of L5, out of its queue.
    pub(crate) fn next_channel(&mut self, classes: RangeInclusive<Class>) -> Option<ChannelId> {
        let queues = &mut self.queues[*classes.start() as usize..=*classes.end() as usize];
        let id = queues.iter_mut().find_map(VecDeque::pop_front)?;
        if let Some(channel) = self.channels.get_mut(id) {
            channel.queued = false;
        }
        Some(id)
    }

    /// A stored channel with bytes that were lost: its reader LACKs nothing of what follows before it has them.
    pub(crate) fn next_missing(&self) -> Option<ChannelId> {
        let is_missing = |channel: &&Channel| {
            channel.send.has_lost() && channel.header.as_ref().is_some_and(|header| header.stored)
        };
        self.iter().find(is_missing).map(|channel| channel.id)
    }

    /// Whether a channel stands in its queue.
    pub(crate) fn is_queued(&self, id: ChannelId) -> bool {
        self.channels.get(id).is_some_and(|channel| channel.queued)
    }

    /// Whether channel 0 goes before the state frames.
    pub(crate) fn control_is_next(&self) -> bool {
        !self.queues[Class::Control as usize].is_empty()
    }

    /// Takes every channel out of its queue.
    pub(super) fn empty_queues(&mut self) {
        self.queues.iter_mut().for_each(VecDeque::clear);
        self.channels.values_mut().for_each(|channel| channel.queued = false);
    }

    /// The peer holds a frame.
    pub(crate) fn on_held(&mut self, sent: Sent) {
        let id = match sent {
            Sent::Data(id, range) => {
                if let Some(channel) = self.channels.get_mut(id) {
                    channel.send.on_held(range);
                }
                id
            }
            Sent::Rest(id, range) => {
                if let Some(channel) = self.channels.get_mut(id) {
                    channel.send.on_held(range);
                    channel.send.end_is_held();
                }
                id
            }
            Sent::End(id) => {
                if let Some(channel) = self.channels.get_mut(id) {
                    channel.send.end_is_held();
                }
                id
            }
            Sent::Value(Value::Reset(id)) => {
                if let Some(channel) = self.channels.get_mut(id) {
                    channel.send.reset_delivery = Delivery::Held;
                }
                id
            }
            Sent::Value(Value::Stop(id)) => {
                if let Some((_, delivery)) =
                    self.channels.get_mut(id).and_then(|channel| channel.stop.as_mut())
                {
                    *delivery = Delivery::Held;
                }
                id
            }
            Sent::Value(Value::Credit(_) | Value::ChannelCredit) => return,
        };
        self.settle_sent(id);
        self.retire_if_over(id);
    }

    /// The link that carried a frame is dead or suspect: it has to be sent again.
    pub(crate) fn on_lost(&mut self, sent: &Sent) {
        match sent {
            Sent::Data(id, range) => {
                if let Some(channel) = self.channels.get_mut(*id) {
                    channel.send.on_lost(range.clone());
                }
                self.touch(*id);
            }
            Sent::Rest(id, range) => {
                if let Some(channel) = self.channels.get_mut(*id) {
                    channel.send.on_lost(range.clone());
                    channel.send.end.lost();
                }
                self.touch(*id);
            }
            Sent::End(id) => {
                if let Some(channel) = self.channels.get_mut(*id) {
                    channel.send.end.lost();
                }
                self.touch(*id);
            }
            Sent::Value(value) => {
                let delivery = match value {
                    Value::Reset(id) => {
                        self.channels.get_mut(*id).map(|channel| &mut channel.send.reset_delivery)
                    }
                    Value::Stop(id) => self.channels.get_mut(*id).and_then(|c| Some(&mut c.stop.as_mut()?.1)),
                    Value::Credit(_) | Value::ChannelCredit => return self.want_value(*value),
                };
                if let Some(delivery) = delivery {
                    delivery.lost();
                    if *delivery == Delivery::Wanted {
                        self.want_value(*value);
                    }
                }
            }
        }
    }

    // ---- what came ----

    /// DATA came, or with `is_rest` the last of it.
    pub(crate) fn on_data(&mut self, id: ChannelId, offset: u64, bytes: Bytes, is_rest: bool) -> Result<()> {
        let Some(id) = self.find(id)? else {
            self.duplicate += bytes.len() as u64;
            return Ok(());
        };
        let Some(channel) = self.channels.get_mut(id) else { return Ok(()) };
        let size = offset.saturating_add(bytes.len() as u64);
        let mut more = channel.receive.on_data(offset, bytes)?;
        if is_rest && !channel.receive.is_final() {
            channel.receive.on_end(size)?;
            more = true;
        }
        if more {
            self.changes.push_back(Change::Came(id));
        }
        self.settle_taken(id);
        if is_rest {
            self.retire_if_over(id);
        }
        Ok(())
    }

    pub(crate) fn on_end(&mut self, id: ChannelId, size: u64) -> Result<()> {
        let Some(id) = self.find(id)? else { return Ok(()) };
        if let Some(channel) = self.channels.get_mut(id).filter(|channel| !channel.receive.is_final()) {
            channel.receive.on_end(size)?;
            self.changes.push_back(Change::Came(id));
        }
        self.settle_taken(id);
        self.retire_if_over(id);
        Ok(())
    }

    pub(crate) fn on_reset(&mut self, id: ChannelId, size: u64, code: u16, text: &str) -> Result<()> {
        let Some(id) = self.find(id)? else { return Ok(()) };
        if let Some(channel) = self.channels.get_mut(id) {
            channel.receive.on_reset(size, reset_error(code, text))?;
            self.changes.push_back(Change::Came(id));
        }
        self.settle_taken(id);
        self.retire_if_over(id);
        Ok(())
    }

    pub(crate) fn on_stop(&mut self, id: ChannelId, code: u16) -> Result<()> {
        let Some(id) = self.find(id)? else { return Ok(()) };
        let Some(channel) = self.channels.get_mut(id) else { return Ok(()) };
        if channel.send.stopped.is_none() && !channel.send.is_complete() {
            channel.send.stopped = Some(code);
            self.reset(id, &Error::new(Code::Stopped, "the reader wanted no more"));
            self.changes.push_back(Change::Stopped(id));
            self.room_wanted.remove(&id);
            self.changes.push_back(Change::Room(id));
        }
        Ok(())
    }

    pub(crate) fn on_credit(&mut self, id: ChannelId, limit: u64) -> Result<()> {
        let Some(id) = self.find(id)? else { return Ok(()) };
        if self.channels.get_mut(id).is_some_and(|channel| channel.send.on_credit(limit)) {
            self.touch(id);
        }
        Ok(())
    }

    pub(crate) fn on_channel_credit(&mut self, count: u64) {
        self.may_open = self.may_open.max(count);
        self.wake_openers();
    }

    // ---- settling ----

    /// Bytes of a channel are held: gives back their charge and wakes writers.
    pub(super) fn settle_sent(&mut self, id: ChannelId) {
        let Some(channel) = self.channels.get_mut(id) else { return };
        let budget = if id == CONTROL { &mut self.control_budget } else { &mut self.sending };
        let others = channel.settle_sending(budget);
        self.repeated += channel.send.take_repeated();
        if self.room_wanted.remove(&id) {
            self.changes.push_back(Change::Room(id));
        }
        if others {
            self.wake_writers();
        }
    }

    fn wake_writers(&mut self) {
        for id in std::mem::take(&mut self.room_wanted) {
            self.changes.push_back(Change::Room(id));
        }
        self.wake_openers();
    }

    fn wake_openers(&mut self) {
        if self.open_wanted && self.opened_here < self.may_open {
            self.open_wanted = false;
            self.changes.push_back(Change::Openable);
        }
    }

    /// Bytes of a channel came or were taken: grants what the budget allows.
    pub(crate) fn settle_taken(&mut self, id: ChannelId) {
        let blocked =
            self.one_window && self.channels.values().any(|channel| channel.receive.available() > 2048);
        let Some(channel) = self.channels.get_mut(id) else { return };
        self.duplicate += channel.receive.take_duplicate();
        if blocked && id != CONTROL {
            return;
        }
        let budget = if id == CONTROL { &mut self.control_budget } else { &mut self.receiving };
        let next = channel.settle_receiving(budget);
        self.touch(id);
        self.settle_next(next);
    }

    /// It is this channel's turn for the message slot, and when it does not need it any more, the next one's.
    fn settle_next(&mut self, mut next: Option<ChannelId>) {
        while let Some(id) = next {
            let Some(channel) = self.channels.get_mut(id) else {
                next = self.receiving.release_message(id);
                continue;
            };
            next = channel.settle_receiving(&mut self.receiving);
            let holds = self.receiving.message_holder() == Some(id);
            self.touch(id);
            if !holds && next.is_none() && self.receiving.message_holder().is_none() {
                self.receiving.give_up_turn(id);
                next = self.receiving.first_waiting();
            }
        }
    }

    fn collect(&mut self, channel: &mut Channel) {
        self.repeated += channel.send.take_repeated();
        self.duplicate += channel.receive.take_duplicate();
    }

    /// The session is over: nothing is sent any more, and readers see why after what they have.
    pub(crate) fn break_off(&mut self, why: &Error) {
        for channel in self.channels.values_mut() {
            channel.send.drop_all();
            channel.receive.break_off(why.clone());
        }
        self.empty_queues();
        self.values.clear();
        for id in self.ids() {
            self.changes.push_back(Change::Came(id));
        }
        self.wake_writers();
    }

    /// Forgets everything, unread bytes too.
    pub(crate) fn clear(&mut self) {
        self.channels.clear();
        self.empty_queues();
        self.values.clear();
        self.room_wanted.clear();
        self.kept.clear();
        self.unread.clear();
        self.changes.clear();
    }
}
