//! Channels: opening, accepting, writing until there is no room, reading until there is nothing.

use super::{Chan, Job, Writer};
use crate::checker::flows::FlowKey;
use crate::checker::{Invariant, Verdict, broken, ensure};
use crate::plan::{MS, Messages, What};
use crate::toy;
use crate::world::{Pid, World};
use clerver_proto::error::{Code, Error};
use clerver_proto::id::{ChannelId, SessionId};
use clerver_proto::node::ChannelOptions;
use clerver_proto::wire::header::Purpose;

/// Size of the messages of a channel that breaks off.
const BROKEN_MESSAGE: usize = 4096;

impl World {
    /// The flow that this end writes, and the one that it reads.
    pub(super) fn flows(
        &mut self,
        pid: Pid,
        session: SessionId,
        channel: ChannelId,
    ) -> Option<(FlowKey, FlowKey)> {
        let known = self.sess(pid, session)?;
        let mine = FlowKey { sid: known.sid, channel, by_arbiter: known.arbiter };
        Some((mine, FlowKey { by_arbiter: !known.arbiter, ..mine }))
    }

    pub(super) fn open_channel(&mut self, pid: Pid, goal: usize, session: SessionId) -> Verdict {
        let (bytes, bulk, left) = match &self.plan.goals[goal].what {
            What::Messages(wish) => (false, wish.bulk, u64::from(wish.count)),
            What::Stream { bytes, bulk, .. } => (true, *bulk, *bytes),
            What::Broken { count, .. } => (false, false, u64::from(*count)),
            _ => return Ok(()),
        };
        let run = self.goals[goal].run;
        let options = ChannelOptions { name: format!("g{goal}.{run}"), bytes, bulk, ..Default::default() };
        match self.api(pid, "channel_open", |node, now| node.channel_open(now, session, options))? {
            Ok(channel) => {
                let write = Some(Writer { left, next: None });
                self.add_channel(pid, session, channel, goal, run, true, write);
            }
            Err(error) if error.code == Code::Channels => {
                if let Some(known) = self.sess(pid, session) {
                    known.waiting.push(Job::Start(goal, session));
                }
            }
            Err(error) => self.give_up(goal, error.code),
        }
        Ok(())
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "one call site at each end; a struct would only repeat Chan"
    )]
    fn add_channel(
        &mut self,
        pid: Pid,
        session: SessionId,
        channel: ChannelId,
        goal: usize,
        run: u32,
        opener: bool,
        write: Option<Writer>,
    ) {
        let stream = matches!(self.plan.goals[goal].what, What::Stream { .. });
        let not_before = match &self.plan.goals[goal].what {
            What::Messages(wish) if !opener && wish.park > 0 => self.now + wish.park,
            _ => 0,
        };
        let chan = Chan {
            goal,
            run,
            opener,
            stream,
            write,
            reading: true,
            read_soon: true,
            parked: false,
            not_before,
        };
        if let Some(known) = self.sess(pid, session) {
            known.channels.insert(channel, chan);
            self.job(pid, 0, Job::Write(session, channel));
            self.soon(pid, Job::Read(session, channel));
        }
    }

    pub(super) fn do_accept(&mut self, pid: Pid, session: SessionId) -> Verdict {
        let incoming = match self.api(pid, "channel_accept", |node, now| node.channel_accept(now, session))? {
            Ok(incoming) => incoming,
            Err(_) => return Ok(()),
        };
        if self.sess(pid, session).is_none_or(|known| known.closing) {
            let channel = incoming.channel;
            self.api(pid, "channel_release", |node, now| node.channel_release(now, session, channel))?.ok();
            return Ok(());
        }
        let numbers = incoming.header.name.strip_prefix('g').and_then(|rest| rest.split_once('.'));
        let parsed = numbers.and_then(|(goal, run)| Some((goal.parse().ok()?, run.parse().ok()?)));
        let Some((goal, run)) = parsed.filter(|(goal, _): &(usize, u32)| *goal < self.plan.goals.len())
        else {
            return broken(
                Invariant::I1,
                format!("process {pid} accepts a channel named {:?}", incoming.header.name),
            );
        };
        let what = &self.plan.goals[goal].what;
        let stream = incoming.header.purpose == Purpose::Bytes;
        ensure!(
            stream == matches!(what, What::Stream { .. }),
            I1,
            "process {pid} accepts channel {} as {:?}",
            incoming.channel,
            incoming.header.purpose
        );
        let back = match what {
            What::Messages(wish) => u64::from(wish.back),
            What::Stream { back, .. } => *back,
            _ => 0,
        };
        self.add_channel(
            pid,
            session,
            incoming.channel,
            goal,
            run,
            false,
            Some(Writer { left: back, next: None }),
        );
        Ok(())
    }

    pub(super) fn readable(&mut self, pid: Pid, session: SessionId, channel: ChannelId) {
        let Some(known) = self.sess(pid, session) else { return };
        if known.calls.contains_key(&channel) {
            return self.soon(pid, Job::ReadCall(session, channel));
        }
        let Some(chan) = known.channels.get_mut(&channel) else { return };
        if chan.reading && !std::mem::replace(&mut chan.read_soon, true) {
            self.soon(pid, Job::Read(session, channel));
        }
    }

    pub(super) fn writable(&mut self, pid: Pid, session: SessionId, channel: ChannelId) {
        let Some(known) = self.sess(pid, session) else { return };
        if known.running.contains_key(&channel) {
            self.soon(pid, Job::Reply(session, channel));
        } else if known.channels.contains_key(&channel) {
            self.soon(pid, Job::Write(session, channel));
        }
    }

    /// The next thing to write: content position, length, and since when it is wanted.
    fn next_write(&mut self, pid: Pid, goal: usize, stream: bool, left: u64) -> (usize, usize, u64) {
        let rng = &mut self.procs[pid].rng;
        let at = rng.below(toy::POOL as u64) as usize;
        let len = match &self.plan.goals[goal].what {
            What::Messages(wish) => wish.size.draw(rng) as usize,
            What::Stream { piece, .. } => rng.range(1, *piece) as usize,
            _ => BROKEN_MESSAGE,
        };
        (at, if stream { len.min(left as usize) } else { len }, self.now)
    }

    pub(super) fn do_write(&mut self, pid: Pid, session: SessionId, channel: ChannelId) -> Verdict {
        let Some((mine, _)) = self.flows(pid, session, channel) else { return Ok(()) };
        loop {
            let Some(known) = self.sess(pid, session) else { return Ok(()) };
            if known.frozen || known.closing {
                return Ok(());
            }
            let Some(chan) = known.channels.get_mut(&channel) else { return Ok(()) };
            let (goal, stream) = (chan.goal, chan.stream);
            let Some(writer) = chan.write.clone() else { return Ok(()) };
            if writer.left == 0 {
                return self.end_writing(pid, session, channel, mine);
            }
            if self.breaks_off(pid, session, channel, &writer)? {
                return Ok(());
            }
            let (at, len, wanted) =
                writer.next.unwrap_or_else(|| self.next_write(pid, goal, stream, writer.left));
            let data = toy::content(at, len);
            let answer =
                self.api(pid, "channel_send", |node, now| node.channel_send(now, session, channel, data))?;
            let sent = match answer {
                Ok(sent) => sent,
                Err(error) => return self.write_failed(pid, session, channel, (at, len, wanted), error),
            };
            let whole = sent == len || stream && (1..=len).contains(&sent);
            ensure!(whole, I3, "channel_send of {len} bytes by process {pid} answered {sent}");
            self.check.flows.wrote(mine, pid, at, sent, wanted);
            let Some(chan) = self.chan(pid, session, channel) else { return Ok(()) };
            let Some(writer) = chan.write.as_mut() else { return Ok(()) };
            writer.left -= if stream { sent as u64 } else { 1 };
            writer.next = (sent < len).then_some((at + sent, len - sent, wanted));
            if let What::Messages(Messages { pace: pace @ 1.., .. }) = self.plan.goals[goal].what {
                self.job(pid, pace, Job::Write(session, channel));
                return Ok(());
            }
        }
    }

    fn end_writing(&mut self, pid: Pid, session: SessionId, channel: ChannelId, mine: FlowKey) -> Verdict {
        self.check.flows.ended(mine, pid);
        self.api(pid, "channel_end", |node, now| node.channel_end(now, session, channel))?.ok();
        let Some(chan) = self.chan(pid, session, channel) else { return Ok(()) };
        chan.write = None;
        let (goal, run, opener) = (chan.goal, chan.run, chan.opener);
        if opener && matches!(self.plan.goals[goal].what, What::Broken { by_writer: false, .. }) {
            // Everything fitted before the reader stopped: the writer need not hear of it any more.
            self.goals[goal].finish(run, 1);
        }
        self.ask_delivered(pid, session)?;
        self.maybe_release(pid, session, channel);
        Ok(())
    }

    /// Asks to be told when the peer holds everything.
    fn ask_delivered(&mut self, pid: Pid, session: SessionId) -> Verdict {
        let Ok(is_delivered) =
            self.api(pid, "session_drain", |node, now| node.session_drain(now, session))?
        else {
            return Ok(());
        };
        let left = self.api(pid, "undelivered", |node, _| node.undelivered(session))?.unwrap_or_default();
        ensure!(
            is_delivered == left.is_empty(),
            I3,
            "process {pid} drains session {session}: {is_delivered}, and {} channels are not delivered",
            left.len()
        );
        if let Some(known) = self.sess(pid, session) {
            // Who asked before is told even if it is delivered now.
            known.asks_delivered |= !is_delivered;
        }
        Ok(())
    }

    /// It was told so, which it asked for.
    pub(super) fn delivered(&mut self, pid: Pid, session: SessionId) -> Verdict {
        let asked = self.sess(pid, session).map(|known| std::mem::take(&mut known.asks_delivered));
        ensure!(
            asked != Some(false),
            I3,
            "process {pid} is told that session {session} is delivered, unasked"
        );
        Ok(())
    }

    /// Whether somebody waits to be told of a session, of which nothing is undelivered.
    pub(crate) fn was_not_told(&self, pid: Pid, session: SessionId) -> bool {
        let asks = self.procs[pid].app.sessions.get(&session).is_some_and(|known| known.asks_delivered);
        let node = self.procs[pid].node.as_ref();
        asks && node.is_some_and(|node| node.undelivered(session).is_ok_and(|left| left.is_empty()))
    }

    /// The writer of a broken channel gives up in the middle.
    fn breaks_off(
        &mut self,
        pid: Pid,
        session: SessionId,
        channel: ChannelId,
        writer: &Writer,
    ) -> Verdict<bool> {
        let Some(&mut Chan { goal, opener, .. }) = self.chan(pid, session, channel) else { return Ok(false) };
        let What::Broken { count, by_writer: true } = self.plan.goals[goal].what else { return Ok(false) };
        if !opener || writer.left > u64::from(count) / 2 {
            return Ok(false);
        }
        let Some((mine, _)) = self.flows(pid, session, channel) else { return Ok(false) };
        self.check.flows.broke(mine);
        let why = Error::new(Code::Cancelled, "the writer gave up");
        self.api(pid, "channel_reset", |node, now| node.channel_reset(now, session, channel, why))?.ok();
        if let Some(chan) = self.chan(pid, session, channel) {
            chan.write = None;
        }
        self.maybe_release(pid, session, channel);
        Ok(true)
    }

    fn write_failed(
        &mut self,
        pid: Pid,
        session: SessionId,
        channel: ChannelId,
        next: (usize, usize, u64),
        error: Error,
    ) -> Verdict {
        let Some((mine, _)) = self.flows(pid, session, channel) else { return Ok(()) };
        let may_end = self.may_end(pid, session);
        let broken_off = self.check.flows.is_broken(mine);
        let Some(chan) = self.chan(pid, session, channel) else { return Ok(()) };
        if error.code == Code::Again {
            if let Some(writer) = chan.write.as_mut() {
                writer.next = Some(next);
            }
            return Ok(());
        }
        let (goal, run) = (chan.goal, chan.run);
        chan.write = None;
        ensure!(
            may_end || broken_off,
            I10,
            "channel_send of process {pid} to channel {channel} of a living session: {error}"
        );
        if error.code == Code::Stopped {
            self.goals[goal].finish(run, 1);
        }
        self.check.flows.broke(mine);
        self.maybe_release(pid, session, channel);
        Ok(())
    }

    /// Whether operations on this session may fail because it is over or about to be, or an end drains.
    pub(super) fn may_end(&mut self, pid: Pid, session: SessionId) -> bool {
        let (own, peer) = (self.procs[pid].slot, self.sess(pid, session).map(|known| known.slot));
        if self.drained.contains(&own) || peer.is_some_and(|peer| self.drained.contains(&peer)) {
            return true;
        }
        let view = self.check.sessions.get(pid, session);
        let ending = view.is_none_or(|view| view.knew_at.is_some() || view.closed_here);
        ending || self.sess(pid, session).is_none_or(|known| known.over || known.closing)
    }

    /// Whether the application at the other end closed the session.
    pub(super) fn closed_there(&self, pid: Pid, session: SessionId) -> bool {
        let Some(view) = self.check.sessions.get(pid, session) else { return false };
        let ends = self.check.sessions.others(view.sid, view.arbiter);
        ends.iter().any(|&(other, theirs)| {
            self.check.sessions.get(other, theirs).is_some_and(|view| view.closed_here)
        })
    }

    pub(super) fn do_read(&mut self, pid: Pid, session: SessionId, channel: ChannelId) -> Verdict {
        let Some((_, theirs)) = self.flows(pid, session, channel) else { return Ok(()) };
        let paused = self.procs[pid].app.paused > 0;
        let (pause, now) = (self.plan.nodes[self.procs[pid].slot].read_pause, self.now);
        loop {
            let Some(known) = self.sess(pid, session) else { return Ok(()) };
            if known.closing {
                return Ok(());
            }
            let Some(chan) = known.channels.get_mut(&channel) else { return Ok(()) };
            (chan.read_soon, chan.parked) = (false, paused);
            if !chan.reading || paused {
                return Ok(());
            }
            let (goal, opener, stream) = (chan.goal, chan.opener, chan.stream);
            let wait = chan.not_before;
            if wait > now {
                chan.read_soon = true;
                self.job(pid, wait - now, Job::Read(session, channel));
                return Ok(());
            }
            let most = self.procs[pid].rng.magnitude(1, 1 << 20) as usize;
            let answer = self
                .api(pid, "channel_receive", |node, now| node.channel_receive(now, session, channel, most))?;
            let bytes = match answer {
                Ok(Some(bytes)) => bytes,
                Ok(None) => {
                    let error = Error::new(Code::Again, "nothing there yet");
                    return self.read_failed(pid, session, channel, error);
                }
                Err(error) => return self.read_failed(pid, session, channel, error),
            };
            if stream {
                ensure!(
                    (1..=most).contains(&bytes.len()),
                    I1,
                    "channel_receive of up to {most} bytes answered {}",
                    bytes.len()
                );
                self.check.flows.took_bytes(theirs, pid, &bytes)?;
            } else {
                let bound = match &self.plan.goals[goal].what {
                    What::Messages(wish) => wish.bound,
                    _ => None,
                };
                self.check.flows.took_message(theirs, pid, &bytes, self.now, bound)?;
            }
            let stops = matches!(self.plan.goals[goal].what, What::Broken { by_writer: false, .. });
            if stops && !opener {
                return self.stop_reading(pid, session, channel, theirs);
            }
            if pause > 0 {
                if let Some(chan) = self.chan(pid, session, channel) {
                    chan.read_soon = true;
                }
                self.job(pid, pause, Job::Read(session, channel));
                return Ok(());
            }
        }
    }

    fn stop_reading(&mut self, pid: Pid, session: SessionId, channel: ChannelId, theirs: FlowKey) -> Verdict {
        self.check.flows.broke(theirs);
        self.api(pid, "channel_stop", |node, now| node.channel_stop(now, session, channel))?.ok();
        if let Some(chan) = self.chan(pid, session, channel) {
            chan.reading = false;
        }
        self.maybe_release(pid, session, channel);
        Ok(())
    }

    fn read_failed(&mut self, pid: Pid, session: SessionId, channel: ChannelId, error: Error) -> Verdict {
        let Some((mine, theirs)) = self.flows(pid, session, channel) else { return Ok(()) };
        let may_end = self.may_end(pid, session);
        // A channel that was reset before its header came is reset in return.
        let given_up = self.check.flows.is_broken(mine);
        let broken_off = self.check.flows.is_broken(theirs) || given_up;
        let Some(known) = self.sess(pid, session) else { return Ok(()) };
        let over = known.over;
        let Some(chan) = known.channels.get_mut(&channel) else { return Ok(()) };
        let (goal, run, opener) = (chan.goal, chan.run, chan.opener);
        if error.code == Code::Again {
            ensure!(!over, I10, "channel {channel} of an ended session of process {pid} says AGAIN");
            return Ok(());
        }
        chan.reading = false;
        // Whose channel was reset before its header came, will hear nothing else of it.
        let bit = match opener {
            true if given_up && error.code != Code::End => 3,
            true => 2,
            false => 1,
        };
        match error.code {
            Code::End => {
                let closed = self.closed_there(pid, session);
                self.check.flows.took_end(theirs, pid, closed)?;
                self.goals[goal].finish(run, bit);
            }
            Code::Reset => {
                ensure!(
                    broken_off || may_end,
                    I1,
                    "channel {channel} says RESET, and its writer did not: {error}"
                );
                self.goals[goal].finish(run, bit);
            }
            // The reader sees the code that the writer gave.
            _ if broken_off => self.goals[goal].finish(run, bit),
            _ => ensure!(
                may_end,
                I10,
                "channel_receive of process {pid} from channel {channel} of a living session: {error}"
            ),
        }
        self.maybe_release(pid, session, channel);
        Ok(())
    }

    /// Both directions are through: the application forgets the channel.
    fn maybe_release(&mut self, pid: Pid, session: SessionId, channel: ChannelId) {
        let through = |chan: &mut Chan| chan.write.is_none() && !chan.reading;
        if self.chan(pid, session, channel).is_some_and(through) {
            self.soon(pid, Job::Release(session, channel));
        }
    }

    pub(super) fn do_release(&mut self, pid: Pid, session: SessionId, channel: ChannelId) -> Verdict {
        let Some(known) = self.sess(pid, session) else { return Ok(()) };
        if known.channels.remove(&channel).is_some() {
            self.api(pid, "channel_release", |node, now| node.channel_release(now, session, channel))?.ok();
        }
        Ok(())
    }

    /// One byte more than the peer takes is refused; exactly as many are taken.
    pub(super) fn try_oversize(&mut self, pid: Pid, goal: usize, session: SessionId) -> Verdict {
        let limit = |slot: usize| self.plan.nodes[slot].options.limits.message_bytes_max;
        let (from, to) = (limit(self.plan.goals[goal].from), limit(self.plan.goals[goal].to));
        let options =
            ChannelOptions { name: format!("g{goal}.{}", self.goals[goal].run), ..Default::default() };
        let opened = self.api(pid, "channel_open", |node, now| node.channel_open(now, session, options))?;
        let channel = match opened {
            Ok(channel) => channel,
            Err(error) if error.code == Code::Channels => {
                self.job(pid, 100 * MS, Job::Start(goal, session));
                return Ok(());
            }
            Err(error) => {
                self.give_up(goal, error.code);
                return Ok(());
            }
        };
        let big = toy::content(5, from.max(to) as usize + 1);
        let answer =
            self.api(pid, "channel_send", |node, now| node.channel_send(now, session, channel, big))?;
        let refused = matches!(&answer, Err(error) if error.code == Code::Size);
        let ended = self.may_end(pid, session);
        ensure!(refused || ended, I6, "a message over the limit by one byte was answered {answer:?}");
        let at = self.procs[pid].rng.below(toy::POOL as u64) as usize;
        let next = Some((at, from.min(to) as usize, self.now));
        let run = self.goals[goal].run;
        self.add_channel(pid, session, channel, goal, run, true, Some(Writer { left: 1, next }));
        Ok(())
    }
}
