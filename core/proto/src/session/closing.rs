//! How a session ends (X5, X6, T2, T3): closed in good order, or lost with a report.
//!
//! Closing says what is still to go, and waits until all of it is held on both sides. Losing is immediate.
//! Neither touches the peer's objects unless it is the peer's word: those end when the hold ends.

use super::app::report;
use super::calls::outcome_of;
use super::{Effect, Session};
use crate::error::{Code, Error};
use crate::id::{CONTROL, LinkId};
use crate::io::{LossReport, Outcome, SessionEvent, SessionState};
use crate::options::Canary;
use crate::time::Instant;
use crate::wire::control::Control;
use std::time::Duration;

/// A close that is under way.
#[derive(Debug, Clone)]
pub(crate) struct Closing {
    /// When it turns into a loss.
    pub(crate) deadline: Instant,
    /// This end asked for it, so nobody reads here any more.
    pub(super) asked_here: bool,
    /// The peer closes too, having opened so many channels in all.
    heard: Option<u64>,
}

impl Closing {
    /// The peer that answered is another process now, and has to be asked again.
    pub(super) fn forget_answer(&mut self) {
        self.heard = None;
    }
}

impl Session {
    /// The application closes the session.
    pub(crate) fn close(&mut self, now: Instant, timeout: Duration) {
        if self.state.is_final() {
            return;
        }
        if let Some(closing) = &mut self.closing {
            closing.deadline = closing.deadline.min(now + timeout);
            if closing.asked_here {
                return;
            }
            closing.asked_here = true;
            return self.stop_reading();
        }
        self.begin_closing(now + timeout, None, "the application closes it");
        self.stop_reading();
    }

    /// Ends every channel where it stands, and says so.
    fn begin_closing(&mut self, deadline: Instant, heard: Option<u64>, why: &str) {
        self.closing = Some(Closing { deadline, asked_here: heard.is_none(), heard });
        for id in self.streams.ids() {
            if id == CONTROL {
                continue;
            }
            if self.calls.running.get(id).is_some_and(|running| !running.replied) {
                self.streams.reset(id, &Error::new(Code::Closed, "the session closed before the reply"));
                self.on_stopped(id);
            } else if self.streams.get(id).is_some_and(|channel| channel.header.is_none()) {
                // It may be a call, which must not look answered.
                self.streams.reset(
                    id,
                    &Error::new(Code::Closed, "the session closed before the channel's header came"),
                );
            } else if let Some(channel) = self.streams.get_mut(id) {
                channel.send.finish();
            }
            self.streams.touch(id);
        }
        let channels = self.streams.opened_here();
        self.say(&Control::Close { code: Code::Closed as u16, channels, text: why.to_owned() });
        if let Some(control) = self.streams.get_mut(CONTROL) {
            control.send.finish();
        }
        self.streams.touch(CONTROL);
        self.set_state(SessionState::Closing, why);
    }

    /// Nobody reads here any more: what still comes is dropped, so that it can come.
    fn stop_reading(&mut self) {
        for id in self.streams.ids() {
            if id != CONTROL {
                self.streams.stop(id, Code::Closed);
            }
        }
    }

    /// CLOSE came: the peer writes and reads no more.
    pub(super) fn on_close(&mut self, now: Instant, channels: u64, text: &str) {
        self.sweep(now, Code::Closed, false);
        match &mut self.closing {
            Some(closing) => closing.heard = Some(channels),
            None if !self.state.is_final() => {
                let deadline = now + self.liveness.close_wait();
                self.begin_closing(deadline, Some(channels), &format!("the peer closes it: {text}"));
            }
            None => {}
        }
    }

    /// Closed when all of mine is held there, and all of the peer's final sizes here.
    pub(super) fn check_closed(&mut self, now: Instant) {
        let Some(closing) = &self.closing else { return };
        if self.state.is_final() {
            return;
        }
        let complete = |id| {
            self.streams
                .get(id)
                .is_none_or(|channel| channel.send.is_complete() && channel.receive.is_final())
        };
        let all_came = closing.heard.is_some_and(|channels| self.streams.opened_by_peer() >= channels);
        if all_came && self.streams.ids().into_iter().all(complete) && self.has_stored_all() {
            return self.end_closed(now);
        }
        if closing.deadline <= now {
            let what = format!("close the session with {}: not everything was delivered in time", self.peer);
            self.lose(Error::new(Code::Timeout, what));
        }
    }

    fn end_closed(&mut self, now: Instant) {
        let why = Error::new(Code::Closed, format!("the session with {} was closed", self.peer));
        let report = self.report(&why);
        self.settle_calls(&report);
        self.cancel_running();
        self.owned.clear();
        self.set_state(SessionState::Closed, "everything was delivered");
        self.ended = Some(Box::new(why.clone()));
        self.event(SessionEvent::Closed(Box::new(report)));
        for id in self.streams.ids() {
            self.streams.changes.push_back(super::Change::Came(id));
        }
        let ids: Vec<LinkId> = self.links.keys().collect();
        for id in ids {
            if let Some(link) = self.links.get_mut(id) {
                link.hurry_lack(now);
            }
            // Behind the last LACK: a peer that still waits for a LACK of what does not matter any more is closed too.
            self.effects.push_back(Effect::Gone(id, Code::Closed, why.clone()));
        }
    }

    fn settle_calls(&mut self, report: &LossReport) {
        for (call, outcome) in &report.calls {
            self.calls.settle(*call, *outcome);
        }
    }

    /// The peer answered GONE on a proven link: it closed in good order, or it forgot.
    pub(crate) fn on_gone(&mut self, now: Instant, code: Code) {
        self.sweep(now, Code::Lost, false);
        if self.state.is_final() {
            return;
        }
        // The peer closed when it held all of this end and this end had LACKed all of it: what is missing here
        // then is not on its way, but gone (a restored snapshot, for one).
        let holds_all = self.streams.iter().all(|channel| channel.receive.is_final());
        if code == Code::Closed && self.closing.is_some() && holds_all {
            return self.end_closed(now);
        }
        let code = if matches!(code, Code::Discontinuity | Code::Fenced) { code } else { Code::Lost };
        self.lose(Error::new(
            code,
            format!("session with {}: the peer does not have it any more", self.peer),
        ));
    }

    /// The peer had it closed in good order before this end's process died; answers whether all of it is here.
    pub(crate) fn was_closed(&mut self, now: Instant) -> bool {
        let holds_all =
            self.streams.iter().all(|channel| channel.id == CONTROL || channel.receive.is_final());
        if holds_all {
            self.sweep(now, Code::Closed, false);
            self.set_state(SessionState::Closing, "the peer closed it");
            self.end_closed(now);
        }
        holds_all
    }

    /// A newer session of the same pair exists (S4).
    pub(crate) fn superseded(&mut self, now: Instant) {
        self.sweep(now, Code::Lost, false);
        if !self.state.is_final() {
            let what = format!("session with {}: the peer forgot it and made a new one", self.peer);
            self.lose(Error::new(Code::Lost, what));
        }
    }

    /// This end's lease ended (T2).
    pub(super) fn check_lease(&mut self, now: Instant) {
        if self.state.is_final() || self.embalmed_until.is_some() || self.liveness.lease_end() > now {
            return;
        }
        if self.may_be_embalmed() {
            return self.embalm(now);
        }
        let ttl = self.liveness.ttl.as_millis();
        let what =
            format!("session with {}: no sign of life came back for 80 % of its TTL of {ttl} ms", self.peer);
        self.lose(Error::new(Code::Lost, what));
        if self.canary == Some(Canary::SweepAtLeaseEnd) {
            self.sweep(now, Code::Lost, true);
        }
    }

    /// The hold on the peer's objects ended (T2, T3).
    pub(super) fn check_hold(&mut self, now: Instant) {
        if self.hold_due() > now {
            return;
        }
        if self.embalmed_until.is_some() && !self.state.is_final() {
            self.objects.put_aside(now);
            return self.settle_objects();
        }
        // What was put aside for the return of this session waits for nothing any more.
        let contact_lost = !self.objects.is_aside();
        self.sweep(now, Code::Lost, contact_lost);
    }

    /// Ends the peer's objects.
    pub(crate) fn sweep(&mut self, now: Instant, code: Code, contact_lost: bool) {
        if !self.swept {
            self.swept = true;
            self.objects.sweep(now, code, contact_lost);
            self.settle_objects();
        }
    }

    /// Whether the pair may have a new session (T4).
    pub(crate) fn is_settled(&self) -> bool {
        self.state.is_final() && (!self.attached || self.swept && self.objects.settled())
    }

    /// Whether nothing is left of it that anybody could ask for.
    pub(crate) fn is_over(&self) -> bool {
        self.state.is_final() && (!self.attached || self.swept && self.objects.is_over())
    }

    /// Continuity is broken.
    pub(crate) fn lose(&mut self, cause: Error) {
        if self.state.is_final() {
            return;
        }
        let report = self.report(&cause);
        self.settle_calls(&report);
        self.cancel_running();
        self.owned.clear();
        self.set_state(SessionState::Lost, &cause.message);
        let code = if cause.code == Code::Discontinuity { cause.code } else { Code::Lost };
        let why = Error::new(code, cause.message.clone());
        self.ended = Some(Box::new(why.clone()));
        self.streams.break_off(&why);
        self.event(SessionEvent::Lost(Box::new(report)));
        let ids: Vec<LinkId> = self.links.keys().collect();
        for id in ids {
            self.effects.push_back(Effect::Gone(id, cause.code, cause.clone()));
        }
        self.closing = None;
    }

    fn cancel_running(&mut self) {
        let mut cancelled = Vec::new();
        for (id, running) in self.calls.running.iter_mut() {
            if running.started && !running.cancelled {
                running.cancelled = true;
                cancelled.push(id);
            }
        }
        self.calls.running.retain(|_, running| running.started);
        for id in cancelled {
            self.event(SessionEvent::CallCancelled(id));
        }
    }

    fn report(&self, cause: &Error) -> LossReport {
        let unfinished = |channel: &&crate::channel::Channel| {
            channel.id != CONTROL && !(channel.send.is_complete() && channel.receive.is_at_end())
        };
        let pending = self.calls.asked.iter().filter(|(_, asked)| asked.outcome.is_none());
        let calls = pending.map(|(id, _)| {
            let outcome = match self.streams.get(id).map(|channel| (channel, &channel.receive)) {
                // What came and was not read yet counts as said.
                Some((channel, receive)) if receive.is_final() => match receive.reset_error() {
                    Some(why) => outcome_of(why, channel.send.is_sent()),
                    None => Outcome::Reply,
                },
                Some((channel, _)) if !channel.send.is_sent() => Outcome::NotRun,
                _ => Outcome::Unknown,
            };
            (id, outcome)
        });
        LossReport {
            cause: cause.clone(),
            epoch: self.epoch,
            channels: self.streams.iter().filter(unfinished).map(report).collect(),
            calls: calls.collect(),
            objects: self.owned.ids(),
        }
    }

    /// Channels that the peer does not hold whole.
    pub(crate) fn undelivered(&self) -> Vec<crate::io::ChannelReport> {
        self.streams.iter().filter(|channel| is_undelivered(channel)).map(report).collect()
    }

    /// Whether the peer holds everything. If not, an event says so once it does.
    pub(crate) fn ask_delivered(&mut self) -> bool {
        let is_left = self.streams.iter().any(is_undelivered);
        // Who asked before is told, whoever asks now; the end of a session answers for itself.
        if std::mem::replace(&mut self.is_delivery_asked, is_left) && !is_left && !self.state.is_final() {
            self.event(SessionEvent::Delivered);
        }
        !is_left
    }

    /// Answers whoever asked, when the time has come.
    pub(super) fn note_delivered(&mut self) {
        if self.is_delivery_asked {
            self.ask_delivered();
        }
    }

    /// The application forgets the session: unread bytes go.
    pub(crate) fn forget(&mut self) {
        self.forgotten = true;
        self.streams.clear();
    }

    /// Why it ended.
    pub(crate) fn end_code(&self) -> Code {
        match (&self.ended, self.state) {
            (_, SessionState::Closed) => Code::Closed,
            (Some(why), _) => why.code,
            (None, _) => Code::Lost,
        }
    }
}

fn is_undelivered(channel: &crate::channel::Channel) -> bool {
    channel.id != CONTROL
        && channel.send.reset_info().is_none()
        && channel.send.kept() < channel.send.written()
}
