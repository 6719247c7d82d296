//! A session whose end at one side is another process now (S6, S9, D1).
//!
//! The process that died left its stored channels in its store. They go on; every other channel ends with `LOST`, and
//! channel 0 begins anew. Both ends do the same with the other one's table, so each is left with the same channels.
//! Invariants: nothing of an old link counts afterwards; what a restored end says of its channels is what was
//! restored, before any new write.

use super::keeping::Keeping;
use super::link::Value;
use super::streams::Streams;
use super::{Birth, Session};
use crate::channel::{Channel, Delivery};
use crate::error::{Code, Error, Result};
use crate::id::{CONTROL, ChannelId, LinkId};
use crate::io::{SessionEvent, SessionState};
use crate::limits::{CHANNEL_BASE_BYTES, CONTROL_WINDOW_BYTES};
use crate::store::record::SessionRecord;
use crate::time::Instant;
use crate::wire::control::Control;
use crate::wire::header::HEADER_BYTES_MAX;
use crate::wire::{Hello, Table, TableRow};

fn is_stored(channel: &Channel) -> bool {
    channel.header.as_ref().is_some_and(|header| header.stored)
}

fn broken(id: ChannelId, what: &str) -> Error {
    Error::new(Code::Discontinuity, format!("compare stored channel {id} with the peer: {what}"))
}

impl Session {
    /// An end as its store has it, without a link.
    pub(crate) fn restored(
        now: Instant,
        birth: Birth<'_>,
        record: &SessionRecord,
        channels: Vec<Channel>,
    ) -> Session {
        let embalmed = birth.options.embalming.span;
        let mut session = Session::new(now, birth);
        let ids: Vec<ChannelId> = channels.iter().map(|channel| channel.id).collect();
        session.keeping = Some(Box::new(Keeping::restored(record, ids.iter().copied())));
        session.attached = true;
        session.shares = 1;
        (session.epoch, session.peer_epoch) = (record.epoch + 1, record.peer_epoch);
        session.announced = Some(record.ways.iter().cloned().collect());
        session.incoming.extend(ids);
        session.streams.restore(record, channels);
        if record.is_over {
            session.state = SessionState::Closed;
            let what = format!("the session with {} was closed", session.peer);
            session.ended = Some(Box::new(Error::new(Code::Closed, what)));
            session.sweep(now, Code::Closed, false);
        } else {
            session.state = SessionState::Embalmed;
            session.is_unrevived = true;
            session.embalmed_until = Some(now + embalmed.min(session.liveness.span));
            session.objects.put_aside(now);
        }
        session
    }

    /// What this end has of its stored channels.
    pub(crate) fn kept_table(&self) -> Table {
        let row = |channel: &Channel| {
            // Of a restored end that is what was restored, before any new write.
            let written = if self.is_unrevived { channel.send.reach() } else { channel.send.written() };
            let (kept, held) = (channel.send.kept().min(written), self.streams.held_for_good(channel));
            TableRow { channel: channel.id, kept, written, held }
        };
        // One whose header did not come may be a stored one.
        let may_be = |channel: &&Channel| is_stored(channel) || self.streams.unread.contains(&channel.id);
        let rows = self.streams.iter().filter(may_be).map(row).collect();
        Table { opened: self.streams.opened_here(), seen: self.streams.opened_by_peer(), rows }
    }

    /// Whether the two ends can go on, of which at least one is restored (S9).
    ///
    /// # Errors
    /// `DISCONTINUITY`.
    pub(crate) fn check_kept(&self, table: &Table) -> Result<()> {
        self.check_counts(table)?;
        let find =
            |id| table.rows.binary_search_by_key(&id, |row| row.channel).ok().map(|at| &table.rows[at]);
        for channel in self.streams.iter().filter(|channel| is_stored(channel)) {
            match find(channel.id) {
                Some(row) => self.check_row(channel, row)?,
                None => check_absence(channel, table)?,
            }
        }
        for row in table.rows.iter().filter(|row| self.streams.get(row.channel).is_none()) {
            let (counter, by_arbiter) = (row.channel.counter(), row.channel.is_by_arbiter());
            // Of channels that are not stored a restored end does not know how many it opened.
            let came = row.held >= HEADER_BYTES_MAX as u64 || row.written > 0;
            if by_arbiter == self.is_arbiter && counter > self.streams.opened_here() && came {
                return Err(broken(row.channel, "it has one that was never opened here"));
            }
            let is_new = by_arbiter != self.is_arbiter && counter > self.streams.opened_by_peer();
            if is_new && row.kept > 0 {
                return Err(broken(row.channel, "it forgot bytes of one that never came here"));
            }
        }
        Ok(())
    }

    /// A peer that lies must not make this end open channels.
    fn check_counts(&self, table: &Table) -> Result<()> {
        let is_the_peers =
            |row: &&TableRow| row.channel.is_by_arbiter() != self.is_arbiter && row.channel != CONTROL;
        let unseen = table.rows.iter().filter(is_the_peers);
        let unseen = unseen.filter(|row| row.channel.counter() > self.streams.opened_by_peer());
        let (mut count, mut highest) = (0, 0);
        unseen.for_each(|row| (count, highest) = (count + 1, row.channel.counter()));
        let knows_too_much = !self.is_unrevived && table.seen > self.streams.opened_here();
        if count > self.streams.mine.channels_max || highest > table.opened || knows_too_much {
            let what = format!("compare stored channels with {}: its table makes no sense", self.peer);
            return Err(Error::new(Code::Discontinuity, what));
        }
        Ok(())
    }

    fn check_row(&self, channel: &Channel, row: &TableRow) -> Result<()> {
        let reach = channel.send.reach();
        if row.held > reach {
            let what = format!("it holds {} bytes, this end knows of {reach}", row.held);
            return Err(broken(channel.id, &what));
        }
        let kept = channel.send.kept();
        if row.held < kept && channel.send.reset_info().is_none() {
            let what = format!("it holds {} bytes, and this end forgot those before {kept}", row.held);
            return Err(broken(channel.id, &what));
        }
        let held = self.streams.held_for_good(channel);
        if row.kept > held && !channel.receive.is_complete() {
            let what = format!("it keeps bytes from {} on, held here are {held}", row.kept);
            return Err(broken(channel.id, &what));
        }
        Ok(())
    }

    /// The peer's end is another process now, which proved it.
    pub(crate) fn is_taken_over(&mut self, peer: &Hello, epoch: u64, table: &Table) {
        let why = Error::new(
            Code::Lost,
            format!("session with {}: process {} has the peer's end now", self.peer, peer.node),
        );
        let links: Vec<LinkId> = self.links.keys().collect();
        links.into_iter().for_each(|id| self.drop_link(id, why.clone(), true));
        self.peer_epoch = epoch;
        self.meet(peer, table, &why);
        self.event(SessionEvent::PeerRevived { peer: peer.node });
    }

    /// The peer took this restored end for the one that it knew.
    pub(crate) fn is_revived(&mut self, peer: &Hello, table: &Table) {
        let why = Error::new(Code::Lost, format!("session with {}: its process died", self.peer));
        self.is_unrevived = false;
        self.meet(peer, table, &why);
    }

    fn meet(&mut self, peer: &Hello, table: &Table, why: &Error) {
        self.peer = peer.node;
        (self.about.host_name, self.about.node_name) = (peer.host_name.clone(), peer.node_name.clone());
        self.streams.peer = peer.limits;
        if let Some(keeping) = &mut self.keeping {
            keeping.note_peer(peer);
        }
        self.dead.clear();
        self.highest_link = [0; 2];
        self.peer_drains = false;
        (self.successor, self.wish) = (None, None);
        for object in self.owned.ids() {
            if self.owned.remove(object) {
                self.event(SessionEvent::ObjectEnded { object, code: Code::Lost });
            }
        }
        self.owned.clear();
        for id in self.streams.without_future(table) {
            self.lose_channel(id, why);
        }
        self.streams.meet(table);
        self.say_again();
    }

    /// Nobody is there any more at the other end of a channel.
    fn lose_channel(&mut self, id: ChannelId, why: &Error) {
        if self.calls.running.get(id).is_some() {
            self.on_stopped(id);
        }
        self.streams.lose(id, why);
    }

    /// What the peer knew from the old channel 0.
    fn say_again(&mut self) {
        if self.draining {
            self.say(&Control::Drain);
        }
        for (object, kind, ttl) in self.objects.of_the_peer() {
            let ttl_ms = ttl.map_or(0, |ttl| u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX));
            self.say(&Control::Attached { object, kind, ttl_ms });
        }
        if let Some(closing) = &mut self.closing {
            closing.forget_answer();
            let channels = self.streams.opened_here();
            self.say(&Control::Close { code: Code::Closed as u16, channels, text: "said again".into() });
            if let Some(control) = self.streams.get_mut(CONTROL) {
                control.send.finish();
            }
            self.streams.touch(CONTROL);
        }
    }
}

/// The peer has no row for a stored channel: it is over there, or it never came.
fn check_absence(channel: &Channel, table: &Table) -> Result<()> {
    let counter = channel.id.counter();
    let known = if channel.opened_here { table.seen } else { table.opened };
    if counter <= known {
        if channel.receive.is_final() {
            return Ok(());
        }
        return Err(broken(channel.id, "it is over there, and not here"));
    }
    if !channel.opened_here {
        return Err(broken(channel.id, "the peer does not know that it opened it"));
    }
    if channel.send.kept() > 0 || channel.receive.held() > 0 {
        return Err(broken(channel.id, "it is not there, although some of it was"));
    }
    Ok(())
}

impl Streams {
    /// Channels as they were stored.
    fn restore(&mut self, record: &SessionRecord, channels: Vec<Channel>) {
        (self.opened_here, self.opened_by_peer) = (record.opened_here, record.opened_by_peer);
        self.may_open = record.opened_here;
        for channel in channels {
            let id = channel.id;
            self.open_here += u64::from(channel.opened_here);
            self.kept.insert(id);
            self.channels.insert(id, Box::new(channel));
        }
        for &id in &record.unread {
            self.insert_unread(id);
        }
    }

    fn insert_unread(&mut self, id: ChannelId) {
        let channel = Channel::new(id, false, CHANNEL_BASE_BYTES, self.mine.message_bytes_max);
        self.channels.insert(id, Box::new(channel));
        self.unread.insert(id);
    }

    /// Channels that do not go on with this peer.
    fn without_future(&self, table: &Table) -> Vec<ChannelId> {
        let has_row = |id: ChannelId| table.rows.binary_search_by_key(&id, |row| row.channel).is_ok();
        let goes_on = |channel: &Channel| {
            is_stored(channel) || (channel.header.is_none() && !channel.opened_here && has_row(channel.id))
        };
        let lost = self.iter().filter(|channel| channel.id != CONTROL && !goes_on(channel));
        lost.map(|channel| channel.id).collect()
    }

    fn lose(&mut self, id: ChannelId, why: &Error) {
        let Some(channel) = self.get_mut(id) else { return };
        channel.give_up(why);
        channel.released |= channel.header.is_none();
        for value in [Value::Credit(id), Value::Reset(id), Value::Stop(id)] {
            self.values.remove(&value);
        }
        self.room_wanted.remove(&id);
        self.changes.push_back(super::Change::Came(id));
        self.changes.push_back(super::Change::Room(id));
        self.settle_sent(id);
        self.settle_taken(id);
        self.retire_if_over(id);
    }

    /// Both ends are left with the same channels; all that was on its way is sent again.
    fn meet(&mut self, table: &Table) {
        self.empty_queues();
        let control = Channel::new(CONTROL, true, CONTROL_WINDOW_BYTES, CONTROL_WINDOW_BYTES);
        self.channels.insert(CONTROL, Box::new(control));
        self.values.clear();
        let unseen = |row: &&TableRow| {
            row.channel.is_by_arbiter() != self.is_arbiter && row.channel.counter() > self.opened_by_peer
        };
        let new: Vec<ChannelId> = table.rows.iter().filter(unseen).map(|row| row.channel).collect();
        new.into_iter().for_each(|id| self.insert_unread(id));
        self.opened_by_peer = self.opened_by_peer.max(table.opened);
        self.opened_here = self.opened_here.max(table.seen);
        self.may_open = self.may_open.max(self.opened_here);
        for id in self.ids().into_iter().filter(|&id| id != CONTROL) {
            let at = table.rows.binary_search_by_key(&id, |row| row.channel);
            let held = at.map_or(0, |at| table.rows[at].held);
            let Some(channel) = self.get_mut(id) else { continue };
            if !is_stored(channel) && channel.header.is_some() {
                continue;
            }
            let over = at.is_err() && channel.receive.is_final();
            channel.send.forget_links(if over { channel.send.written() } else { held });
            channel.receive.forget_links();
            if let Some((_, delivery @ Delivery::InFlight)) = &mut channel.stop {
                *delivery = Delivery::Wanted;
            }
            channel.credit_dirty = true;
            self.settle_sent(id);
            self.settle_taken(id);
        }
        let of_peer = self.iter().filter(|channel| !channel.opened_here).count() as u64;
        self.granted =
            self.granted.max((self.opened_by_peer + self.mine.channels_max).saturating_sub(of_peer));
        self.announced = self.granted;
        self.want_value(Value::ChannelCredit);
    }
}
