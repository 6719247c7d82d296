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
            self.wait(self.bytes);
        }
        is_first
    }

    /// So much of it waits from now on, of its request or of its reply.
    fn wait(&self, bytes: u64) {
        self.waiting_in_session.fetch_add(bytes, Ordering::AcqRel);
        self.waiting_bytes.fetch_add(bytes, Ordering::AcqRel);
    }

    /// Nothing of it waits any more.
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
    /// One of both is over: the handler, or the wish to answer later. The other one decides what the answer is.
    is_half_over: AtomicBool,
}

impl IncomingCall {
    pub(crate) fn new(engine: Arc<Engine>, work: CallWork) -> IncomingCall {
        let CallWork { service, session, peer, bell, request, running } = work;
        let (is_answered, is_half_over) = (AtomicBool::new(false), AtomicBool::new(false));
        IncomingCall { engine, session, request, peer, bell, service, running, is_answered, is_half_over }
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        self.running.is_cancelled()
    }

    pub(crate) fn remaining(&self) -> Option<Duration> {
        self.request.deadline.map(|deadline| deadline.since(clock::now()))
    }

    /// The answer comes later, and not from the handler. False the second time, and after the answer.
    pub(crate) fn defer(&self) -> bool {
        let is_first = self.running.defer();
        if self.is_answered.load(Ordering::Acquire) {
            // Too late; the answer may have been counted before.
            self.running.begin();
            return false;
        }
        is_first
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

    /// Sends the whole reply, or the rest of it: the call is over with that. Who must not wait leaves it with the shard
    /// until there is room.
    fn reply_last(&self, reply: &Bytes) -> Result<()> {
        let (key, wait) = ((self.session, self.call()), self.patience());
        self.when_there_is_room(wait, |shard, now, _| {
            let answered = shard.answer_call(now, key, reply);
            if wait.is_some() && answered.as_ref().is_err_and(|error| error.code == Code::Again) {
                self.running.wait(reply.len() as u64);
                shard.unsent.insert(key, reply.clone());
                return Ok(());
            }
            answered
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
        } else {
            self.leave();
        }
    }

    /// Nobody will answer it from here: the handler has returned, or who was to answer later is gone. An error that the
    /// handler may still return says more than that nobody answers.
    pub(crate) fn leave(self: Arc<Self>) {
        if self.is_half_over.swap(true, Ordering::AcqRel) {
            let what = "the handler of service \"".to_owned() + &self.request.service + "\" gave no answer";
            self.answer(Err(Error::new(Code::CallFailed, what)));
        }
    }

    fn note_panic(&self, panic: &(dyn std::any::Any + Send)) -> Error {
        let text = super::panic_text(panic);
        let service = &self.request.service;
        self.engine.log(LogLevel::Error, || format!("the handler of service \"{service}\" panicked: {text}"));
        Error::new(Code::CallFailed, format!("the handler of service \"{service}\" panicked: {text}"))
    }

    /// Ends the call. The first answer counts. Does not block where `patience` is none.
    pub(crate) fn answer(self: Arc<Self>, result: Result<Vec<u8>>) {
        let is_late = self.is_answered.swap(true, Ordering::AcqRel);
        self.running.begin();
        if is_late {
            return;
        }
        match result {
            // An error means that the node has closed.
            Ok(reply) => drop(self.reply_last(&Bytes::from(reply))),
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
            shard.end_call((session, call));
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
            shard.end_call((session, call));
            shard.node.call_refuse(now, session, call, why)
        });
    }
}

impl Shard {
    /// Sends the last part of a reply.
    ///
    /// Errors: `AGAIN` no room; any other one means that nobody waits for it.
    fn answer_call(&mut self, now: Instant, key: (SessionId, ChannelId), reply: &Bytes) -> Result<()> {
        let answered = self.node.call_answer(now, key.0, key.1, reply.clone());
        if !answered.as_ref().is_err_and(|error| error.code == Code::Again) {
            self.end_call(key);
        }
        answered.map(drop)
    }

    /// There is room for a reply that was left here.
    pub(super) fn send_left_reply(&mut self, now: Instant, key: (SessionId, ChannelId)) {
        let Some(reply) = self.unsent.remove(&key) else { return };
        if self.answer_call(now, key, &reply).is_err_and(|error| error.code == Code::Again) {
            self.unsent.insert(key, reply);
        }
    }

    /// The session is over: nobody waits for what was left for it.
    pub(super) fn drop_left_replies(&mut self, session: SessionId) {
        let calls = (session, ChannelId(0))..=(session, ChannelId(u64::MAX));
        let left = self.unsent.range(calls).map(|(&(session, call), _)| Chore::Answer(session, call));
        // The protocol still has to hear that their handlers have returned: objects wait for that.
        self.chores.extend(left);
    }

    fn end_call(&mut self, (session, call): (SessionId, ChannelId)) {
        if let Some(running) = self.running.remove(&(session, call)) {
            running.begin();
        }
        self.unwatch(session, call);
    }
}

/// A handler's error is the caller's CALL_FAILED, unless it says that nothing was run.
fn says_not_run(why: &Error) -> bool {
    matches!(why.code, Code::NotRun | Code::Busy | Code::Denied)
}
