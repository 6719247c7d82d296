//! What the application asks of a session: channels and calls.

use super::calls::{Running, outcome_of};
use super::{Services, Session};
use crate::channel::{Channel, Ending, Piece};
use crate::error::{Code, Error, Result};
use crate::id::ChannelId;
use crate::io::{CallRequest, ChannelReport, Incoming, Outcome, Parts, SessionEvent, SessionState};
use crate::limits::SLICE_BYTES_MIN;
use crate::options::{CallOptions, ChannelOptions, check_text};
use crate::time::Instant;
use crate::wire::codec::varint_len;
use crate::wire::header::{Header, Purpose};
use bytes::Bytes;
use std::sync::Arc;

impl Session {
    fn check_open(&self, doing: &str) -> Result<()> {
        if let Some(why) = &self.ended {
            return Err(Error::new(
                why.code,
                format!("{doing} with {}: the session ended: {}", self.peer, why.message),
            ));
        }
        if self.closing.is_some() {
            return Err(Error::new(
                Code::Closed,
                format!("{doing} with {}: the session is closing", self.peer),
            ));
        }
        Ok(())
    }

    fn channel(&self, id: ChannelId) -> Result<&Channel> {
        self.streams.get(id).filter(|channel| !channel.released).ok_or_else(|| no_channel(id))
    }

    fn channel_mut(&mut self, id: ChannelId) -> Result<&mut Channel> {
        self.streams.get_mut(id).filter(|channel| !channel.released).ok_or_else(|| no_channel(id))
    }

    // ---- channels ----

    pub(crate) fn open(&mut self, options: ChannelOptions) -> Result<ChannelId> {
        self.check_open("open a channel")?;
        self.check_peer_takes("open a channel")?;
        check_text("channel name", &options.name)?;
        if options.stored {
            self.check_may_keep()?;
        }
        let purpose = if options.bytes { Purpose::Bytes } else { Purpose::Messages };
        let id = self
            .streams
            .open(Header { purpose, bulk: options.bulk, stored: options.stored, name: options.name }, 0)?;
        if options.stored {
            self.begin_keeping(id);
        }
        self.streams.touch(id);
        Ok(id)
    }

    fn check_peer_takes(&self, doing: &str) -> Result<()> {
        if self.peer_drains || self.draining {
            let who = if self.draining { "this node" } else { "the peer" };
            return Err(Error::new(Code::Draining, format!("{doing} with {}: {who} drains", self.peer)));
        }
        Ok(())
    }

    pub(crate) fn accept(&mut self) -> Result<Incoming> {
        while let Some(channel) = self.incoming.pop_front() {
            if let Some(header) = self.streams.get(channel).and_then(|channel| channel.header.clone()) {
                return Ok(Incoming { channel, header });
            }
        }
        self.check_open("accept a channel")?;
        Err(Error::new(Code::Again, format!("accept a channel from {}: none came yet", self.peer)))
    }

    pub(crate) fn send(&mut self, id: ChannelId, mut data: Piece<'_>) -> Result<usize> {
        let message_max = self.streams.message_bytes_max();
        let channel = self.channel(id)?;
        if let Some(why) = &self.ended {
            return Err(Error::new(
                why.code,
                format!("send on channel {id}: the session ended: {}", why.message),
            ));
        }
        if !channel.send.is_open() {
            let code = if channel.send.stopped.is_some() { Code::Stopped } else { Code::Closed };
            return Err(Error::new(code, format!("send on channel {id} to {}: it takes no more", self.peer)));
        }
        let len = data.len() as u64;
        if channel.is_bytes() {
            if len == 0 {
                return Ok(0);
            }
            let room = self.streams.make_room(id, len);
            if room == 0 {
                return Err(again(id));
            }
            if let Some(channel) = self.streams.get_mut(id) {
                data.truncate(room as usize);
                channel.send.write(data);
            }
            self.streams.touch(id);
            return Ok(room as usize);
        }
        if len > message_max {
            let what = format!(
                "send on channel {id}: the message has {len} bytes, at most {message_max} are allowed"
            );
            return Err(Error::new(Code::Size, what));
        }
        if self.streams.make_room(id, len + varint_len(len) as u64) == 0 {
            return Err(again(id));
        }
        if let Some(channel) = self.streams.get_mut(id) {
            channel.write_message(data);
        }
        self.streams.touch(id);
        Ok(len as usize)
    }

    pub(crate) fn receive(&mut self, id: ChannelId, bytes_max: usize) -> Result<Option<Bytes>> {
        self.keep_what_came(id);
        let channel = self.channel_mut(id)?;
        let taken = channel.take(bytes_max);
        match &taken {
            Ok(Some(_)) => {
                let end = channel.receive.taken();
                if let Some(keep) = channel.keep.as_mut() {
                    keep.took_message(end);
                }
                self.streams.settle_taken(id);
            }
            Ok(None) => channel.readable_told = false,
            Err(error) if error.code == Code::Size => {
                // A peer that sends more than it was told breaks its channel, not the session.
                let why = error.clone();
                self.streams.stop(id, Code::Size);
                if let Some(channel) = self.streams.get_mut(id) {
                    channel.receive.break_off(why);
                }
                self.calls.settle(id, Outcome::Unknown);
            }
            Err(error) => {
                let outcome = outcome_of(error, self.request_was_sent(id));
                self.calls.settle(id, outcome);
            }
        }
        taken
    }

    fn request_was_sent(&self, id: ChannelId) -> bool {
        self.streams.get(id).is_some_and(|channel| channel.send.is_sent())
    }

    pub(crate) fn finish(&mut self, id: ChannelId) -> Result<()> {
        self.channel_mut(id)?.send.finish();
        self.streams.touch(id);
        Ok(())
    }

    pub(crate) fn reset(&mut self, id: ChannelId, why: &Error) -> Result<()> {
        self.channel(id)?;
        self.streams.reset(id, why);
        Ok(())
    }

    pub(crate) fn stop(&mut self, id: ChannelId, code: Code) -> Result<()> {
        self.channel(id)?;
        self.streams.stop(id, code);
        Ok(())
    }

    /// The application forgets a channel: what it wrote still goes, what it did not read is dropped.
    pub(crate) fn release(&mut self, id: ChannelId) -> Result<()> {
        let channel = self.channel(id)?;
        if let Some(keep) = channel.keep.as_ref().filter(|_| self.state != SessionState::Lost) {
            let is_ended = channel.send.ending() != Ending::Open || channel.receive.is_final();
            if !(is_ended && keep.is_done(&channel.receive)) {
                return self.put_back(id);
            }
        }
        self.channel_mut(id)?.send.finish();
        self.streams.stop(id, Code::Stopped);
        if let Some(channel) = self.streams.get_mut(id) {
            channel.released = true;
        }
        self.incoming.retain(|&waiting| waiting != id);
        self.calls.forget(id);
        self.streams.touch(id);
        self.streams.retire_if_over(id);
        Ok(())
    }

    /// Of a stored channel nothing goes because nobody looks: whoever accepts it next goes on.
    fn put_back(&mut self, id: ChannelId) -> Result<()> {
        self.channel_mut(id)?.released = true;
        self.streams.retire_if_over(id);
        if let Some(channel) = self.streams.get_mut(id) {
            (channel.released, channel.readable_told) = (false, false);
            self.incoming.retain(|&waiting| waiting != id);
            self.incoming.push_back(id);
        }
        Ok(())
    }

    pub(crate) fn report_of(&self, id: ChannelId) -> Result<ChannelReport> {
        self.channel(id).map(report)
    }

    // ---- calls ----

    pub(crate) fn call(
        &mut self,
        now: Instant,
        service: &str,
        request: Piece<'_>,
        options: CallOptions,
    ) -> Result<ChannelId> {
        self.check_open("call")?;
        self.check_peer_takes("call")?;
        check_text("service name", service)?;
        let (len, max) = (request.len() as u64, self.streams.message_bytes_max());
        if len > max {
            let what = format!("call {service}: the request has {len} bytes, at most {max} are allowed");
            return Err(Error::new(Code::Size, what));
        }
        let deadline_ms =
            options.deadline.map_or(0, |span| u64::try_from(span.as_millis()).unwrap_or(u64::MAX).max(1));
        let purpose = Purpose::Call { deadline_ms };
        let header = Header { purpose, bulk: false, stored: false, name: service.to_owned() };
        let whole = len + varint_len(len) as u64;
        if !self.streams.has_room_for_new(header.encoded_len() as u64 + whole) {
            return Err(Error::new(Code::Again, format!("call {service}: no room for {len} bytes")));
        }
        let expected = if whole < SLICE_BYTES_MIN as u64 { whole as usize } else { 0 };
        let id = self.streams.open(header, expected)?;
        self.streams.make_room(id, whole);
        if let Some(channel) = self.streams.get_mut(id) {
            channel.write_message(request);
            channel.send.finish();
        }
        self.streams.touch(id);
        self.calls.ask(id, options.deadline.map_or(Instant::NEVER, |span| now + span));
        Ok(id)
    }

    /// Takes what there is of a reply; answers whether that was the rest. Then, and after an error, the call is
    /// forgotten.
    pub(crate) fn take_reply(&mut self, id: ChannelId, parts: &mut Parts) -> Result<bool> {
        let end = loop {
            if self.channel_mut(id)?.receive.is_at_end() {
                self.calls.settle(id, Outcome::Reply);
                break Ok(true);
            }
            match self.receive(id, usize::MAX) {
                Ok(Some(part)) => parts.push(part),
                Ok(None) => return Ok(false),
                Err(error) => break Err(error),
            }
        };
        // An error means that the call is not known here, and there is nothing to forget.
        let _ = self.release(id);
        end
    }

    pub(crate) fn cancel(&mut self, id: ChannelId, why: Error) -> Result<()> {
        let sent = self.request_was_sent(id);
        let channel = self.channel_mut(id)?;
        if channel.receive.is_complete() {
            return Ok(());
        }
        let outcome = if sent { Outcome::Unknown } else { Outcome::NotRun };
        channel.receive.break_off(why.clone());
        if channel.stop.is_none() {
            channel.stop = Some((why.code, crate::channel::Delivery::Wanted));
        }
        self.calls.settle(id, outcome);
        self.streams.reset(id, &why);
        self.streams.settle_taken(id);
        self.streams.changes.push_back(super::Change::Came(id));
        Ok(())
    }

    pub(crate) fn outcome(&self, id: ChannelId) -> Result<Outcome> {
        let asked = self.calls.asked.get(id).ok_or_else(|| no_channel(id))?;
        asked
            .outcome
            .ok_or_else(|| Error::new(Code::Again, format!("outcome of call {id}: it is not known yet")))
    }

    /// Calls whose deadline came are given up.
    pub(super) fn expire_calls(&mut self, now: Instant) {
        while let Some(id) = self.calls.pop_due(now) {
            let what = format!("call {id} to {}: no reply within its deadline", self.peer);
            let _ = self.cancel(id, Error::new(Code::Timeout, what));
        }
    }

    pub(crate) fn reply(&mut self, id: ChannelId, reply: Bytes, last: bool) -> Result<()> {
        self.running(id)?;
        self.send(id, reply.into())?;
        if last {
            self.finish(id)?;
            if let Some(running) = self.calls.running.get_mut(id) {
                running.replied = true;
            }
        }
        Ok(())
    }

    /// The whole reply of a call that ran, whose handler returned. `AGAIN` changes nothing. Answers false when the
    /// caller takes no reply any more.
    pub(crate) fn answer(&mut self, now: Instant, id: ChannelId, reply: Bytes) -> Result<bool> {
        let replied = match self.reply(id, reply, true) {
            Err(error) if error.code == Code::Again => return Err(error),
            replied => replied.is_ok(),
        };
        self.handler_finished(now, id)?;
        Ok(replied)
    }

    /// A call that ran failed: whatever its code, the caller must not take it for one that did not run (I15).
    pub(crate) fn fail_call(&mut self, id: ChannelId, why: &Error) -> Result<()> {
        self.running(id)?;
        if outcome_of(why, true) == Outcome::NotRun {
            let what = format!("{} [{}]", why.message, why.code.name());
            self.streams.reset(id, &Error::new(Code::CallFailed, what));
        } else {
            self.streams.reset(id, why);
        }
        Ok(())
    }

    /// A call that was handed out will not be run.
    pub(crate) fn refuse_call(&mut self, now: Instant, id: ChannelId, why: &Error) -> Result<()> {
        self.running(id)?;
        let code = if outcome_of(why, true) == Outcome::NotRun { why.code } else { Code::NotRun };
        self.streams.reset(id, &Error::new(code, why.message.clone()));
        self.handler_finished(now, id)
    }

    fn running(&mut self, id: ChannelId) -> Result<&mut Running> {
        self.calls.running.get_mut(id).filter(|running| running.started).ok_or_else(|| no_channel(id))
    }

    /// The handler returned.
    pub(crate) fn handler_finished(&mut self, now: Instant, id: ChannelId) -> Result<()> {
        self.running(id)?;
        let Some(running) = self.calls.running.remove(id) else { return Ok(()) };
        self.objects.handler_finished(now, id, running.replied)?;
        if !running.replied {
            self.streams.reset(id, &Error::new(Code::CallFailed, "the handler ended without a reply"));
        }
        let _ = self.release(id);
        Ok(())
    }

    // ---- what came ----

    /// Something new may be there to take on a channel.
    pub(super) fn on_came(&mut self, now: Instant, id: ChannelId, services: &Services) -> Result<()> {
        let Some(channel) = self.streams.get_mut(id) else { return Ok(()) };
        let opened = match channel.read_header() {
            Ok(opened) => opened,
            Err(error) => {
                self.refuse(id, error);
                return Ok(());
            }
        };
        if channel.header.is_none() && !channel.opened_here && channel.receive.is_complete() {
            self.refuse(id, Error::new(Code::Reset, "the channel ended before it began"));
            return Ok(());
        }
        let is_call = channel.is_call() && !channel.opened_here;
        if opened {
            self.streams.unread.remove(&id);
            self.streams.settle_taken(id);
            self.on_opened(id, is_call, services);
        }
        if is_call {
            return self.on_call_came(now, id, services);
        }
        if self.state.is_final() && self.forgotten {
            return Ok(());
        }
        let Some(channel) = self.streams.get_mut(id) else { return Ok(()) };
        if channel.header.is_some() && !channel.released && !channel.readable_told && channel.is_readable() {
            channel.readable_told = true;
            self.event(SessionEvent::Readable(id));
        }
        Ok(())
    }

    fn on_opened(&mut self, id: ChannelId, is_call: bool, services: &Services) {
        let Some(header) = self.streams.get(id).and_then(|channel| channel.header.as_ref()) else { return };
        // What was confirmed there waits for the next process.
        if services.draining && !(header.stored && self.keeping.is_some()) {
            return self.refuse(id, Error::new(Code::Draining, "this node drains"));
        }
        let leaving = self.closing.as_ref().is_some_and(|closing| is_call || closing.asked_here);
        if leaving || self.state.is_final() {
            let code = if is_call { Code::NotRun } else { Code::Closed };
            return self.refuse(id, Error::new(code, "the session is closing"));
        }
        if !is_call {
            if header.stored {
                self.begin_keeping(id);
            }
            self.incoming.push_back(id);
            return self.event(SessionEvent::Opened(id));
        }
        match services.by_name.get_key_value(&*header.name) {
            None => {
                let what = format!("call {}: {} offers no such service", header.name, "the peer");
                self.refuse(id, Error::new(Code::NoService, what));
            }
            Some((_, service)) if service.options.level_min > self.about.level => {
                let (has, needs) = (self.about.level, service.options.level_min);
                let what = format!("call {}: level {has}, but it needs {needs}", header.name);
                self.refuse(id, Error::new(Code::Level, what));
            }
            Some((name, _)) => {
                let running =
                    Running { service: name.clone(), started: false, cancelled: false, replied: false };
                self.calls.running.insert(id, running);
            }
        }
    }

    /// Ends a channel of the peer that is not wanted, both ways.
    fn refuse(&mut self, id: ChannelId, why: Error) {
        let code = why.code;
        self.streams.unread.remove(&id);
        self.streams.reset(id, &why);
        self.streams.stop(id, code);
        if let Some(channel) = self.streams.get_mut(id) {
            channel.released = true;
        }
        self.streams.retire_if_over(id);
    }

    /// The request of a call may be whole, or its caller may have given up.
    fn on_call_came(&mut self, now: Instant, id: ChannelId, services: &Services) -> Result<()> {
        let Some(channel) = self.streams.get_mut(id) else { return Ok(()) };
        let Some(running) = self.calls.running.get_mut(id).filter(|running| !running.cancelled) else {
            return Ok(());
        };
        if channel.receive.reset_error().is_some() {
            running.cancelled = true;
            if running.started {
                self.event(SessionEvent::CallCancelled(id));
            } else {
                self.calls.running.remove(id);
                self.refuse(id, Error::new(Code::NotRun, "cancelled before it ran"));
            }
            return Ok(());
        }
        if running.started || self.state.is_final() {
            return Ok(());
        }
        let deadline_ms = match channel.header.as_ref().map(|header| &header.purpose) {
            Some(Purpose::Call { deadline_ms }) => *deadline_ms,
            _ => 0,
        };
        let request = match channel.take(0) {
            Ok(Some(request)) => request,
            Ok(None) => return Ok(()),
            Err(error) => {
                self.calls.running.remove(id);
                let what = format!("the request cannot be read: {}", error.message);
                self.refuse(
                    id,
                    Error::new(if error.code == Code::Size { Code::Size } else { Code::NotRun }, what),
                );
                return Ok(());
            }
        };
        let service = running.service.clone();
        self.streams.settle_taken(id);
        let started = if services.draining {
            Err(Error::new(Code::Draining, "this node drains"))
        } else {
            self.objects.handler_started(now, id, Arc::clone(&service))
        };
        if let Err(error) = started {
            self.calls.running.remove(id);
            self.refuse(id, Error::new(Code::NotRun, error.message));
            return Ok(());
        }
        if let Some(running) = self.calls.running.get_mut(id) {
            running.started = true;
        }
        let deadline = (deadline_ms > 0).then(|| now + std::time::Duration::from_millis(deadline_ms));
        let level = self.about.level;
        let call = CallRequest { channel: id, sid: self.sid, service, request, deadline, level };
        self.event(SessionEvent::Call(Box::new(call)));
        Ok(())
    }

    /// The peer wants no more of a channel.
    pub(super) fn on_stopped(&mut self, id: ChannelId) {
        if let Some(running) = self.calls.running.get_mut(id)
            && running.started
            && !running.cancelled
        {
            running.cancelled = true;
            self.event(SessionEvent::CallCancelled(id));
        }
    }

    pub(super) fn on_room(&mut self, id: ChannelId) {
        if !self.state.is_final() && self.streams.get(id).is_some_and(|channel| !channel.released) {
            self.event(SessionEvent::Writable(id));
        }
    }
}

fn again(id: ChannelId) -> Error {
    Error::new(Code::Again, format!("send on channel {id}: no room now"))
}

pub(super) fn no_channel(id: ChannelId) -> Error {
    Error::new(Code::Handle, format!("channel {id} is not open here"))
}

/// The counts of a channel (X6).
pub(super) fn report(channel: &Channel) -> ChannelReport {
    let written = channel.send.written();
    let sent = channel.send.sent().min(written);
    ChannelReport {
        channel: channel.id,
        written,
        sent,
        held: channel.send.kept().min(sent),
        received: channel.receive.held(),
        taken: channel.receive.taken(),
    }
}
