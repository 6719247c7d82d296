//! Handlers of calls: how one call is run and answered.
//!
//! A handler runs with no lock held, on a worker, or on the driving thread when its service is `inline`.
//! Invariants: every call that was handed out is finished exactly once, whatever its handler does; a panic of
//! a handler is the caller's CALL_FAILED and a log line here.

use super::bell::Bell;
use super::event::LogLevel;
use super::shard::{Batch, CallWork, Chore, Shard};
use super::watch::Ready;
use super::{Engine, Place, clock};
use bytes::Bytes;
use clerver_proto::error::{Code, Error, Result};
use clerver_proto::id::{ChannelId, NodeId, SessionId};
use clerver_proto::node::CallRequest;
use clerver_proto::time::Instant;
use std::ops::RangeInclusive;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// The user's part of a service.
pub(crate) type Handler = Box<dyn Fn(&Arc<IncomingCall>) -> Result<Vec<u8>> + Send + Sync>;

/// A service that is offered.
pub(crate) struct Service {
    pub(crate) handler: Handler,
    pub(crate) is_inline: bool,
}

/// What a running call has to know of the world.
#[derive(Debug)]
pub(crate) struct Running {
    service: Arc<str>,
    pub(crate) is_inline: bool,
    is_cancelled: AtomicBool,
    /// Its handler left the answer for later.
    is_deferred: AtomicBool,
    /// Bytes of its request.
    bytes: u64,
    /// The same, while that waits for its handler, or for the answer that was left for later.
    waiting_bytes: AtomicU64,
    /// Of them all in its session.
    waiting_in_session: Arc<AtomicU64>,
}

impl Running {
    pub(crate) fn new(
        service: &Arc<str>,
        is_inline: bool,
        bytes: u64,
        in_session: &Arc<AtomicU64>,
    ) -> Running {
        in_session.fetch_add(bytes, Ordering::AcqRel);
        Running {
            service: Arc::clone(service),
            is_inline,
            is_cancelled: AtomicBool::new(false),
            is_deferred: AtomicBool::new(false),
            bytes,
            waiting_bytes: AtomicU64::new(bytes),
            waiting_in_session: Arc::clone(in_session),
        }
    }

    /// For the report of what is stuck.
    pub(crate) fn name(&self) -> String {
        format!("service \"{}\"", self.service)
    }

    pub(crate) fn is_deferred(&self) -> bool {
        self.is_deferred.load(Ordering::Acquire)
    }

    /// No worker is busy with it from now on, so it counts as one that waits. False the second time.
    fn defer(&self) -> bool {
        let is_first = !self.is_deferred.swap(true, Ordering::AcqRel);
        if is_first {
            self.waiting_bytes.store(self.bytes, Ordering::Release);
            self.waiting_in_session.fetch_add(self.bytes, Ordering::AcqRel);
        }
        is_first
    }

    /// Its request waits no more.
    fn begin(&self) {
        let bytes = self.waiting_bytes.swap(0, Ordering::AcqRel);
        self.waiting_in_session.fetch_sub(bytes, Ordering::AcqRel);
    }

    pub(crate) fn cancel(&self) {
        self.is_cancelled.store(true, Ordering::Release);
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        self.is_cancelled.load(Ordering::Acquire)
    }
}

/// One call of a peer, on its way through a handler.
pub(crate) struct IncomingCall {
    pub(crate) engine: Arc<Engine>,
    pub(crate) session: SessionId,
    pub(crate) request: Box<CallRequest>,
    /// What the handler's view of the session needs.
    pub(crate) peer: Option<NodeId>,
    pub(crate) bell: Bell,
    service: Arc<Service>,
    running: Arc<Running>,
    is_answered: AtomicBool,
}

impl IncomingCall {
    pub(crate) fn new(engine: Arc<Engine>, work: CallWork) -> IncomingCall {
        let CallWork { service, session, peer, bell, request, running } = work;
        let is_answered = AtomicBool::new(false);
        IncomingCall { engine, session, request, peer, bell, service, running, is_answered }
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        self.running.is_cancelled()
    }

    pub(crate) fn remaining(&self) -> Option<Duration> {
        self.request.deadline.map(|deadline| deadline.since(clock::now()))
    }

    /// The answer comes later, and not from the handler. False the second time.
    pub(crate) fn defer(&self) -> bool {
        self.running.defer()
    }

    pub(crate) fn call(&self) -> ChannelId {
        self.request.channel
    }

    /// Sends one part of the reply, and waits for room where waiting is possible.
    pub(crate) fn reply_part(&self, part: Bytes) -> Result<()> {
        let (session, call) = (self.session, self.call());
        self.when_there_is_room(self.patience(), |shard, now, _| {
            shard.node.call_reply(now, session, call, part.clone(), false)
        })
    }

    /// Sends the whole reply, or the rest of it: the call is over with that. For who cannot wait it goes when there is
    /// room.
    fn reply_last(&self, reply: &Bytes) -> Result<()> {
        let (session, call, may_wait) = (self.session, self.call(), self.patience().is_none());
        self.when_there_is_room(self.patience(), |shard, now, _| {
            match shard.answer_call(now, session, call, reply.clone()) {
                Err(error) if error.code == Code::Again && !may_wait => {
                    shard.answers.insert((session, call), reply.clone());
                    Ok(())
                }
                answered => answered,
            }
        })
    }

    /// The driving thread must not wait: an inline handler gets AGAIN, and so does who answers later.
    fn patience(&self) -> Option<Duration> {
        (super::is_inline() || self.running.is_deferred()).then_some(Duration::ZERO)
    }

    fn when_there_is_room(
        &self,
        wait: Option<Duration>,
        mut attempt: impl FnMut(&mut Shard, Instant, &mut Batch) -> Result<()>,
    ) -> Result<()> {
        let no_room = || {
            let what = format!("reply to a call of service \"{}\": no room", self.request.service);
            Error::new(Code::Again, what)
        };
        let place = || Place::Channel(self.session, Ready::Writable(self.call()));
        self.engine.block(wait, place, no_room, |shard, now, batch| {
            batch.is_urgent = true;
            match attempt(shard, now, batch) {
                Err(error) if error.code == Code::Again => None,
                result => Some(result),
            }
        })
    }

    /// Runs the handler and answers the caller.
    pub(crate) fn run(self: Arc<Self>) {
        self.running.begin();
        let result = catch_unwind(AssertUnwindSafe(|| (self.service.handler)(&self)));
        let result = result.unwrap_or_else(|panic| Err(self.note_panic(&*panic)));
        if result.is_err() || !self.running.is_deferred() {
            self.answer(result);
        }
    }

    fn note_panic(&self, panic: &(dyn std::any::Any + Send)) -> Error {
        let text = super::panic_text(panic);
        let service = &self.request.service;
        self.engine.log(LogLevel::Error, || format!("the handler of service \"{service}\" panicked: {text}"));
        Error::new(Code::CallFailed, format!("the handler of service \"{service}\" panicked: {text}"))
    }

    /// Ends the call. The first answer counts. Blocks where `patience` has no end.
    pub(crate) fn answer(self: Arc<Self>, result: Result<Vec<u8>>) {
        if self.is_answered.swap(true, Ordering::AcqRel) {
            return;
        }
        self.running.begin();
        match result {
            Ok(reply) => {
                // An error means that the node has closed.
                let _ = self.reply_last(&Bytes::from(reply));
            }
            Err(why) if says_not_run(&why) => self.refuse(why),
            Err(why) => {
                let (session, call) = (self.session, self.call());
                let why = Error { code: Code::CallFailed, message: why.message, remedy: why.remedy };
                // An error means that the caller is gone.
                let _ = self.engine.change(|shard, now| shard.node.call_fail(now, session, call, why));
                self.finish();
            }
        }
    }

    fn finish(&self) {
        let (session, call) = (self.session, self.call());
        let _ = self.engine.change(|shard, now| {
            shard.running.remove(&(session, call));
            shard.unwatch(session, call);
            shard.node.call_finished(now, session, call)
        });
    }

    /// The pool took no more; the caller may try again.
    pub(crate) fn refuse_busy(&self) {
        let what = format!("call of service \"{}\": too many calls wait for a worker", self.request.service);
        self.refuse(Error::new(Code::Busy, what));
    }

    /// Nothing was run; for the protocol that finishes the call too.
    fn refuse(&self, why: Error) {
        self.running.begin();
        let (session, call) = (self.session, self.call());
        // An error means that the caller is gone.
        let _ = self.engine.change(|shard, now| {
            shard.running.remove(&(session, call));
            shard.unwatch(session, call);
            shard.node.call_refuse(now, session, call, why)
        });
    }
}

impl Shard {
    /// Sends the whole reply of a call that runs, or the rest of it.
    ///
    /// Errors: `AGAIN` no room, and nothing happened.
    fn answer_call(&mut self, now: Instant, session: SessionId, call: ChannelId, reply: Bytes) -> Result<()> {
        let answered = self.node.call_answer(now, session, call, reply);
        if !answered.as_ref().is_err_and(|error| error.code == Code::Again) {
            self.running.remove(&(session, call));
            self.unwatch(session, call);
        }
        answered.map(drop)
    }

    /// Replies that wait for room may have it, or will never have it.
    pub(super) fn note_room(&mut self, session: SessionId, calls: RangeInclusive<ChannelId>) {
        let calls = (session, *calls.start())..=(session, *calls.end());
        let waiting = self.answers.range(calls).map(|(&(session, call), _)| Chore::Answer(session, call));
        self.chores.extend(waiting);
    }

    pub(super) fn answer_waiting(&mut self, now: Instant, session: SessionId, call: ChannelId) {
        let Some(reply) = self.answers.get(&(session, call)).cloned() else { return };
        let answered = self.answer_call(now, session, call, reply);
        if !answered.is_err_and(|error| error.code == Code::Again) {
            self.answers.remove(&(session, call));
        }
    }

    /// Whether no reply waits for room.
    pub(super) fn is_answered(&self) -> bool {
        self.answers.is_empty()
    }
}

/// A handler's error is the caller's CALL_FAILED, unless it says that nothing was run.
fn says_not_run(why: &Error) -> bool {
    matches!(why.code, Code::NotRun | Code::Busy | Code::Denied)
}
