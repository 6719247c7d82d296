//! The two applications: one writes numbered messages, the other reads them and says which it is done with. Each knows
//! what it was promised, and a crash takes that knowledge only from the process, not from the test.

use super::world::{READER, WRITER, World};
use crate::toy::content;
use bytes::{Bytes, BytesMut};
use clerver_proto::error::Code;
use clerver_proto::id::{ChannelId, SessionId};
use clerver_proto::node::ChannelOptions;

/// What the writing process knows.
#[derive(Debug, Default)]
pub(crate) struct Writer {
    pub(crate) session: Option<SessionId>,
    channel: Option<ChannelId>,
    is_ended: bool,
    /// How much was stored when it looked last, and whether it was told since that there is more.
    stored: Option<u64>,
    pub(crate) is_told: bool,
}

/// What the reading process knows.
#[derive(Debug, Default)]
pub(crate) struct Reader {
    pub(crate) session: Option<SessionId>,
    channel: Option<ChannelId>,
    /// The next message in this life.
    next: Option<u64>,
    pub(crate) has_end: bool,
}

/// What the test knows for good.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    /// Where each message ends in the channel.
    ends: Vec<u64>,
    /// Messages that the writer was told are stored.
    confirmed: u64,
    /// Messages that were read at some time.
    read: u64,
    /// Messages that the reader said it is done with, and such that it was told are stored.
    done_said: u64,
    done_stored: u64,
    pub(crate) redelivered: u64,
}

fn message(number: u64) -> Bytes {
    let mut bytes = BytesMut::from(&number.to_be_bytes()[..]);
    bytes.extend_from_slice(&content(number as usize * 31, (number * 7919 % 3000) as usize));
    bytes.freeze()
}

impl World {
    /// The writer writes, up to so many messages in all, and then ends the channel.
    pub(crate) fn write(&mut self, ledger: &mut Ledger, most: u64) -> Result<(), String> {
        let Some(process) = &self.machines[WRITER].process else { return Ok(()) };
        let Some(session) = process.writer.session.filter(|_| process.lost.is_none()) else { return Ok(()) };
        let is_ended = process.writer.is_ended;
        let channel = match process.writer.channel {
            Some(channel) => channel,
            None => match self.take_up(session, ledger)? {
                Some(channel) => channel,
                None => return Ok(()),
            },
        };
        self.confirm(session, channel, ledger)?;
        if is_ended {
            return Ok(());
        }
        // Afterwards it may have been ended by an earlier process, and goes with its handle.
        if (ledger.ends.len() as u64) < most && self.rng.percent(1) {
            self.let_go(WRITER, session, channel);
            return Ok(());
        }
        let number = ledger.ends.len() as u64;
        if number >= most {
            let ended = self.command(WRITER, |node, now| node.channel_end(now, session, channel));
            if let (Some(Ok(())), Some(process)) = (ended, &mut self.machines[WRITER].process) {
                process.writer.is_ended = true;
            }
            return Ok(());
        }
        let sent =
            self.command(WRITER, |node, now| node.channel_send(now, session, channel, message(number)));
        match sent {
            Some(Ok(_)) => {
                let stored =
                    self.stored(WRITER, session, channel).ok_or("the writer's channel is not stored")?;
                ledger.ends.push(stored.written);
                Ok(())
            }
            Some(Err(why)) if !matches!(why.code, Code::Again | Code::Lost | Code::Closed) => {
                Err(why.to_string())
            }
            _ => Ok(()),
        }
    }

    /// Opens the channel, or goes on with what an earlier process left.
    fn take_up(&mut self, session: SessionId, ledger: &mut Ledger) -> Result<Option<ChannelId>, String> {
        let has_left = self.command(WRITER, |node, now| node.channel_accept(now, session));
        let channel = match has_left {
            Some(Ok(incoming)) => {
                let stored =
                    self.stored(WRITER, session, incoming.channel).ok_or("what was left is not stored")?;
                let written = ledger.ends.iter().take_while(|&&end| end <= stored.written).count() as u64;
                if written < ledger.confirmed {
                    return Err(format!("{written} messages are left, {} were confirmed", ledger.confirmed));
                }
                // What was not confirmed was never written, as far as anybody knows.
                ledger.ends.truncate(written as usize);
                incoming.channel
            }
            Some(Err(why)) if why.code == Code::Again => {
                if ledger.confirmed > 0 && self.machines[WRITER].starts > 1 {
                    return Err(format!("nothing is left of {} confirmed messages", ledger.confirmed));
                }
                let options =
                    ChannelOptions { name: "jobs".into(), stored: true, ..ChannelOptions::default() };
                ledger.ends.clear();
                match self.command(WRITER, |node, now| node.channel_open(now, session, options)) {
                    Some(Ok(channel)) => channel,
                    _ => return Ok(None),
                }
            }
            _ => return Ok(None),
        };
        if let Some(process) = &mut self.machines[WRITER].process {
            process.writer.channel = Some(channel);
        }
        Ok(Some(channel))
    }

    fn stored(
        &self,
        who: usize,
        session: SessionId,
        channel: ChannelId,
    ) -> Option<clerver_proto::node::StoredChannel> {
        self.machines[who].process.as_ref()?.node.channel_stored(session, channel).ok()?
    }

    /// What is stored is confirmed; who waits for that is told.
    fn confirm(&mut self, session: SessionId, channel: ChannelId, ledger: &mut Ledger) -> Result<(), String> {
        let Some(stored) = self.stored(WRITER, session, channel) else { return Ok(()) };
        let confirmed = ledger.ends.iter().take_while(|&&end| end <= stored.written_stored).count() as u64;
        ledger.confirmed = ledger.confirmed.max(confirmed);
        if let Some(process) = &mut self.machines[WRITER].process {
            let before = process.writer.stored.replace(stored.written_stored);
            let is_told = std::mem::take(&mut process.writer.is_told);
            if before.is_some_and(|before| before < stored.written_stored) && !is_told {
                return Err(format!("{} bytes are stored, of which nobody was told", stored.written_stored));
            }
        }
        Ok(())
    }

    /// The reader takes what is there, and is done with it sooner or later.
    pub(crate) fn read(&mut self, ledger: &mut Ledger, most: u64, is_eager: bool) -> Result<(), String> {
        let Some(process) = &self.machines[READER].process else { return Ok(()) };
        let Some(session) = process.reader.session else { return Ok(()) };
        let channel = match process.reader.channel {
            Some(channel) => channel,
            None => match self.command(READER, |node, now| node.channel_accept(now, session)) {
                Some(Ok(incoming)) => incoming.channel,
                _ => return Ok(()),
            },
        };
        if let Some(process) = &mut self.machines[READER].process {
            process.reader.channel = Some(channel);
        }
        self.note_done(session, channel, ledger);
        let taken = self.command(READER, |node, now| node.channel_receive(now, session, channel, 1 << 20));
        match taken {
            Some(Ok(Some(bytes))) => self.check(session, channel, &bytes, ledger)?,
            Some(Err(why)) if why.code == Code::End => {
                if let Some(process) = &mut self.machines[READER].process {
                    process.reader.has_end = true;
                }
            }
            _ => {}
        }
        if is_eager || self.rng.percent(10) {
            self.be_done(session, channel, ledger);
        }
        // Later it could be over, and gone with its handle.
        if self.machines[READER].has_store && ledger.read + 2 < most && self.rng.percent(1) {
            self.let_go(READER, session, channel);
        }
        Ok(())
    }

    /// Closes the handle of a channel; whoever accepts it next goes on.
    fn let_go(&mut self, who: usize, session: SessionId, channel: ChannelId) {
        let _ = self.command(who, |node, now| node.channel_release(now, session, channel));
        if let Some(process) = &mut self.machines[who].process {
            let place = if who == WRITER { &mut process.writer.channel } else { &mut process.reader.channel };
            *place = None;
        }
    }

    fn check(
        &mut self,
        session: SessionId,
        channel: ChannelId,
        bytes: &Bytes,
        ledger: &mut Ledger,
    ) -> Result<(), String> {
        let number = bytes.get(..8).and_then(|first| first.try_into().ok()).map(u64::from_be_bytes);
        let number = number.ok_or("a message without a number")?;
        if *bytes != message(number) {
            return Err(format!("message {number} has other bytes"));
        }
        let stored = self.stored(READER, session, channel);
        let Some(process) = &mut self.machines[READER].process else { return Ok(()) };
        match process.reader.next {
            Some(next) if next != number => return Err(format!("message {number} came in place of {next}")),
            None if number < ledger.done_stored => {
                return Err(format!("message {number} came again, and {} are done with", ledger.done_stored));
            }
            None if number > ledger.read || number > ledger.done_said => {
                return Err(format!("message {number} came first, {} were done with", ledger.done_said));
            }
            _ => {}
        }
        process.reader.next = Some(number + 1);
        if number < ledger.read {
            ledger.redelivered += 1;
            if stored.is_some_and(|stored| stored.taken > stored.redelivered_until) {
                return Err(format!("message {number} came again and did not say so"));
            }
        }
        ledger.read = ledger.read.max(number + 1);
        Ok(())
    }

    fn be_done(&mut self, session: SessionId, channel: ChannelId, ledger: &mut Ledger) {
        let Some(next) = self.machines[READER].process.as_ref().and_then(|process| process.reader.next)
        else {
            return;
        };
        let Some(stored) = self.stored(READER, session, channel) else { return };
        let done = self.command(READER, |node, now| node.channel_done(now, session, channel, stored.taken));
        if let Some(Ok(())) = done {
            ledger.done_said = ledger.done_said.max(next);
        }
        self.note_done(session, channel, ledger);
    }

    fn note_done(&mut self, session: SessionId, channel: ChannelId, ledger: &mut Ledger) {
        let Some(next) = self.machines[READER].process.as_ref().and_then(|process| process.reader.next)
        else {
            return;
        };
        if self.stored(READER, session, channel).is_some_and(|stored| stored.done_stored == stored.taken) {
            ledger.done_stored = ledger.done_stored.max(next);
        }
    }

    /// A reader that stored its session before the writer had it is told that there is none: then nothing was written,
    /// and they make another one.
    pub(crate) fn was_never_promised(&mut self, ledger: &Ledger) -> bool {
        let is_the_readers =
            self.machines[WRITER].process.as_ref().is_some_and(|writer| writer.lost.is_none());
        let is_nothing = is_the_readers && ledger.ends.is_empty() && ledger.read == 0;
        if let Some(process) = self.machines[READER].process.as_mut().filter(|_| is_nothing) {
            process.lost = None;
        }
        is_nothing
    }

    /// How far all are, for a person.
    pub(crate) fn tell(&self, ledger: &Ledger) -> String {
        let end = |who: usize| {
            let process = self.machines[who].process.as_ref()?;
            let session = process.reader.session?;
            let info = process.node.session_info(session).ok()?;
            let channel = if who == WRITER { process.writer.channel } else { process.reader.channel };
            let report = channel.and_then(|channel| process.node.channel_report(session, channel).ok());
            let stored = channel.and_then(|channel| process.node.channel_stored(session, channel).ok());
            Some(format!("{:?} {report:?} {stored:?}", info.state))
        };
        let Ledger { ends, confirmed, read, done_said, done_stored, redelivered } = ledger;
        format!(
            "written {} confirmed {confirmed} read {read} done {done_said} stored {done_stored} again {redelivered}; \
             writer {:?}; reader {:?}",
            ends.len(),
            end(WRITER),
            end(READER)
        )
    }

    /// Whether all that was written was read to its end.
    pub(crate) fn is_read(&self, ledger: &Ledger, most: u64) -> bool {
        let has_end = self.machines[READER].process.as_ref().is_some_and(|process| process.reader.has_end);
        has_end && ledger.read == most
    }
}
