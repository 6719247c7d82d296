//! Sessions: the virtual connection with one peer, which outlives every link it runs on.

use super::{Call, Channel, DescriptorKind, SHARED_BYTES_MIN, SessionEvent, Wait, timed_out};
use crate::engine::{Batch, Bell, Engine, IncomingCall, Place, Ready, Shard, deadline, is_inline, now};
use bytes::Bytes;
use clerver_proto::channel::Piece;
use clerver_proto::error::{Code, Error, Result};
use clerver_proto::id::{ChannelId, NodeId, SessionId, Sid};
use clerver_proto::node::{CallOptions, ChannelOptions, LossReport, Parts, SessionInfo, SessionState};
use clerver_proto::object::TaskRecord;
use clerver_proto::time::Instant;
use clerver_proto::wire::header::Purpose;
use std::cell::Cell;
use std::fmt;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// A session whose handle is dropped without `close` gets this long to deliver what was written.
const DROP_TIME: Duration = Duration::from_secs(10);
/// `close` waits this much longer than the protocol, whose answer says what was left.
const LAST_WORD: Duration = Duration::from_secs(1);

struct Inner {
    engine: Arc<Engine>,
    id: SessionId,
    sid: Sid,
    peer: Option<NodeId>,
    bell: Bell,
    /// One of the handles that keep the session open.
    is_counted: bool,
    is_closed: AtomicBool,
    /// A close that was started, and for which nobody waited yet.
    is_ending: AtomicBool,
}

/// A session with one peer. Clones are the same handle; dropping the last one closes it as [`Session::close`]
/// does, but without waiting. Several connects to one peer share the session, which ends with the last of
/// their handles.
#[derive(Clone)]
pub struct Session(Arc<Inner>);

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("id", &self.0.id).field("sid", &self.0.sid).finish_non_exhaustive()
    }
}

impl Session {
    /// A handle that keeps the session open. Under the shard lock.
    pub(super) fn counted(engine: &Arc<Engine>, shard: &mut Shard, id: SessionId) -> Result<Session> {
        let info = shard.node.session_info(id)?;
        let hub = shard.hub(id);
        hub.handles += 1;
        let bell = hub.bell.clone();
        Ok(Session(Arc::new(Inner {
            engine: Arc::clone(engine),
            id,
            sid: info.sid,
            peer: Some(info.peer),
            bell,
            is_counted: true,
            is_closed: AtomicBool::new(false),
            is_ending: AtomicBool::new(false),
        })))
    }

    /// A handle for a handler, which does not keep the session open.
    pub(super) fn borrowed(call: &IncomingCall) -> Session {
        Session(Arc::new(Inner {
            engine: Arc::clone(&call.engine),
            id: call.session,
            sid: call.request.sid,
            peer: call.peer,
            bell: call.bell.clone(),
            is_counted: false,
            is_closed: AtomicBool::new(false),
            is_ending: AtomicBool::new(false),
        }))
    }

    pub(super) fn engine(&self) -> &Arc<Engine> {
        &self.0.engine
    }

    pub(super) fn change<R>(&self, change: impl FnOnce(&mut Shard, Instant) -> Result<R>) -> Result<R> {
        self.0.engine.change(change)
    }

    /// A wait that goes on when its handle is closed ends then, even if other handles keep the session open.
    fn block<R>(
        &self,
        what: &str,
        wait: Wait,
        mut attempt: impl FnMut(&mut Shard, Instant, &mut Batch) -> Option<Result<R>>,
    ) -> Result<R> {
        let doing = || format!("{what} with {}", self.peer());
        let was_closed = self.0.is_closed.load(Ordering::Acquire);
        self.0.engine.block(
            wait,
            || Place::At(self.0.bell.clone(), Some(self.0.id)),
            || timed_out(&doing(), wait),
            |shard, now, batch| {
                let answer = attempt(shard, now, batch);
                if answer.is_some() || was_closed || !self.0.is_closed.load(Ordering::Acquire) {
                    return answer;
                }
                let goes_on = !matches!(state_of(shard, self.0.id), SessionState::Closing);
                let closed = || Error::new(Code::Handle, format!("{}: the handle was closed", doing()));
                goes_on.then(|| Err(closed()))
            },
        )
    }

    /// The session's number in this process.
    pub fn id(&self) -> SessionId {
        self.0.id
    }

    /// The session's name on the wire, the same at both ends.
    pub fn sid(&self) -> Sid {
        self.0.sid
    }

    /// State now; `closed` for one that is over and forgotten.
    pub fn state(&self) -> SessionState {
        if self.0.engine.is_forked() {
            return SessionState::Lost;
        }
        let id = self.0.id;
        self.0.engine.with_shard(|shard, _, _| state_of(shard, id))
    }

    /// What is known of the session and its peer.
    ///
    /// Errors: `HANDLE` when it is over and forgotten.
    pub fn info(&self) -> Result<SessionInfo> {
        self.change(|shard, _| shard.node.session_info(self.0.id))
    }

    /// With whom; the zero id in the handler of a call whose session was over before it began.
    pub fn peer(&self) -> NodeId {
        use clerver_proto::id::{HostId, ProcessId};
        self.0.peer.unwrap_or(NodeId { host: HostId([0; 32]), process: ProcessId([0; 16]) })
    }

    /// Waits until `f` holds for the state, for at most `wait`, and answers that state. `f` runs on this
    /// thread.
    ///
    /// Errors: `TIMEOUT`; `LOST`, `CLOSED` when the session ended in a state for which `f` does not hold.
    pub fn wait_state(&self, f: impl Fn(SessionState) -> bool, wait: Wait) -> Result<SessionState> {
        let until = deadline(wait);
        let mut last = None;
        loop {
            let left = wait.map(|_| until.since(now()));
            let state = self.block("wait for a state of the session", left, |shard, _, _| {
                let state = state_of(shard, self.0.id);
                (last != Some(state)).then_some(Ok(state))
            })?;
            if f(state) {
                return Ok(state);
            }
            if state.is_final() {
                return Err(self.end_error(state));
            }
            last = Some(state);
        }
    }

    fn end_error(&self, state: SessionState) -> Error {
        match self.loss_report() {
            Some(report) => report.cause,
            None if state == SessionState::Closed => {
                Error::new(Code::Closed, format!("session with {}: it was closed", self.peer()))
            }
            None => Error::new(Code::Lost, format!("session with {}: it is lost", self.peer())),
        }
    }

    /// What was lost, or left at the close; `None` before the end. Does not block.
    pub fn loss_report(&self) -> Option<LossReport> {
        if self.0.engine.is_forked() {
            return None;
        }
        let id = self.0.id;
        self.0
            .engine
            .with_shard(|shard, _, _| shard.hubs.get(&id).and_then(|hub| hub.report.as_deref().cloned()))
    }

    /// Takes the next event of this session. Blocks until there is one, for at most `wait`. The queue is
    /// bounded (`events_max`): when it is full the oldest event is dropped and counted in
    /// `SessionEvent::Dropped`.
    ///
    /// Errors: `TIMEOUT`; `END` after the last event of a session that is over.
    pub fn next_event(&self, wait: Wait) -> Result<SessionEvent> {
        let id = self.0.id;
        self.block("wait for an event of the session", wait, |shard, _, _| {
            let hub = shard.hubs.get_mut(&id);
            let is_over = hub.as_ref().is_none_or(|hub| hub.state.is_final());
            match hub.and_then(|hub| hub.events.pop()) {
                Some(event) => Some(Ok(event)),
                None if is_over => {
                    Some(Err(Error::new(Code::End, format!("next event of session {id}: it is over"))))
                }
                None => None,
            }
        })
    }

    /// Opens a channel of messages. Does not block; the peer hears of it at once.
    ///
    /// Errors: `CHANNELS` too many are open; `DRAINING`; `LOST`, `CLOSED`; `ARG` a name above 255 bytes.
    pub fn open(&self, name: &str) -> Result<Channel> {
        self.open_now(ChannelOptions { name: name.to_owned(), ..ChannelOptions::default() })
    }

    fn open_now(&self, options: ChannelOptions) -> Result<Channel> {
        let channel = self.change(|shard, now| shard.node.channel_open(now, self.0.id, options.clone()))?;
        Ok(Channel::new(self.clone(), channel, options.name, options.bytes, options.stored))
    }

    pub(super) fn watch_channel(&self, channel: ChannelId, token: u64) -> Result<()> {
        let id = self.0.id;
        self.0.engine.check_process()?;
        self.0.engine.with_shard(|shard, _, batch| {
            shard.check_open()?;
            shard.watch_channel(id, channel, token, batch)
        })
    }

    /// From now on [`crate::api::NodeEvent::SessionReady`] with this token tells that the session has events, a
    /// channel to accept, or its end; the first one comes at once. Take all of them each time. For programs
    /// that wait for everything at the node's event descriptor.
    ///
    /// Errors: `HANDLE` when it is over and forgotten.
    pub fn watch(&self, token: u64) -> Result<()> {
        let id = self.0.id;
        self.0.engine.check_process()?;
        self.0.engine.with_shard(|shard, _, batch| {
            shard.check_open()?;
            shard.watch_session(id, token, batch)
        })
    }

    /// Opens a channel of bytes and makes a plain descriptor of it; see [`Channel::into_descriptor`].
    ///
    /// Errors: as [`Session::open`] and [`Channel::into_descriptor`].
    pub fn dial_descriptor(&self, name: &str, kind: DescriptorKind) -> Result<OwnedFd> {
        let options =
            ChannelOptions { name: name.to_owned(), bytes: true, bulk: false, ..ChannelOptions::default() };
        self.open_now(options)?.into_descriptor(kind)
    }

    /// Waits until the peer holds everything that was written here so far, for at most `wait`. After `TIMEOUT`,
    /// [`super::NodeEvent::SessionReady`] tells of that too, if the session is watched.
    ///
    /// Errors: `TIMEOUT`; `LOST`, `CLOSED`.
    pub fn drain(&self, wait: Wait) -> Result<()> {
        let (id, left) = (self.0.id, Cell::new(0));
        let what = || format!("drain session {id}: {} channels are not delivered", left.get());
        self.0.engine.block(
            wait,
            || Place::At(self.0.bell.clone(), Some(id)),
            || Error::new(Code::Timeout, what()),
            |shard, now, _| {
                let delivered = shard.node.session_drain(now, id);
                if !matches!(delivered, Ok(false)) {
                    return Some(delivered.map(drop));
                }
                left.set(shard.node.undelivered(id).map_or(0, |left| left.len()));
                state_of(shard, id).is_final().then(|| Err(Error::new(Code::Lost, what())))
            },
        )
    }

    /// Opens a channel. Blocks for at most `wait` while too many are open.
    ///
    /// Errors: as [`Session::open`]; `TIMEOUT` instead of `CHANNELS`.
    pub fn open_with(&self, options: ChannelOptions, wait: Wait) -> Result<Channel> {
        let id = self.0.id;
        let channel = self.block("open a channel", wait, |shard, now, _| {
            match shard.node.channel_open(now, id, options.clone()) {
                Err(error) if error.code == Code::Channels => None,
                opened => Some(opened),
            }
        })?;
        Ok(Channel::new(self.clone(), channel, options.name, options.bytes, options.stored))
    }

    /// Takes the next channel that the peer opened. Blocks until there is one, for at most `wait`.
    ///
    /// Errors: `LOST`, `CLOSED` when none will come; `TIMEOUT`.
    pub fn accept_channel(&self, wait: Wait) -> Result<Channel> {
        let id = self.0.id;
        let incoming =
            self.block("accept a channel", wait, |shard, now, _| match shard.node.channel_accept(now, id) {
                Err(error) if error.code == Code::Again => None,
                accepted => Some(accepted),
            })?;
        let is_bytes = incoming.header.purpose == Purpose::Bytes;
        Ok(Channel::new(
            self.clone(),
            incoming.channel,
            incoming.header.name,
            is_bytes,
            incoming.header.stored,
        ))
    }

    /// Calls a service of the peer and waits for its whole reply; parts of a streamed one are joined. `wait`
    /// is the deadline, which the handler sees too.
    ///
    /// Errors: as [`Call::receive`] and [`Session::call_start`].
    pub fn call(&self, service: &str, request: &[u8], wait: Wait) -> Result<Bytes> {
        self.check_may_wait(wait)?;
        let until = deadline(wait);
        // Copied here, where no lock is held, unless it is small.
        let request = match request.len() {
            ..SHARED_BYTES_MIN => Piece::Borrowed(request),
            _ => Piece::Shared(Bytes::copy_from_slice(request)),
        };
        let (session, started, mut parts) = (self.0.id, Cell::new(None), Parts::new());
        // Until there is room for the call every event of the session is worth a look, `Openable` above all.
        let place = || match started.get() {
            Some(call) => Place::Channel(session, Ready::Readable(call)),
            None => Place::At(self.0.bell.clone(), Some(session)),
        };
        // The protocol's own deadline comes first, and tells the peer; ours is only for a clock that stands still.
        let last = wait.map(|wait| wait.saturating_add(LAST_WORD));
        let what = || format!("call service \"{service}\" of {}", self.peer());
        let called = self.0.engine.block(
            last,
            place,
            || timed_out(&what(), wait),
            |shard, now, batch| {
                let Some(call) = started.get() else {
                    batch.is_urgent = true;
                    let options = CallOptions { deadline: wait.map(|_| until.since(now)) };
                    return match shard.node.call_start(now, session, service, request.clone(), options) {
                        Ok(call) => {
                            started.set(Some(call));
                            None
                        }
                        Err(error) if matches!(error.code, Code::Again | Code::Channels) && now < until => {
                            None
                        }
                        Err(error) => Some(Err(error)),
                    };
                };
                match shard.node.call_take(now, session, call, &mut parts) {
                    Ok(is_whole) => is_whole.then_some(Ok(())),
                    Err(error) => {
                        started.set(None);
                        let message = format!("{}: {}", what(), error.message);
                        Some(Err(Error { code: error.code, message, remedy: error.remedy }))
                    }
                }
            },
        );
        if let (Err(_), Some(call)) = (&called, started.get()) {
            self.give_up(call);
        }
        called?;
        Ok(join(parts))
    }

    /// Nobody waits for this call any more.
    fn give_up(&self, call: ChannelId) {
        let session = self.0.id;
        self.0.engine.with_shard(|shard, now, batch| {
            // Errors mean that the session has forgotten the call already.
            let _ = shard.node.call_cancel(now, session, call);
            shard.drain(now, batch);
            let _ = shard.node.channel_release(now, session, call);
        });
    }

    fn check_may_wait(&self, wait: Wait) -> Result<()> {
        if is_inline() && wait != Some(Duration::ZERO) {
            return Err(Error::new(Code::InCallback, "wait for a peer in an inline handler"));
        }
        Ok(())
    }

    /// Starts a call and does not wait for it. When nothing came after `deadline`, it is given up.
    ///
    /// Errors: `AGAIN` no room for the request, `CHANNELS` too many calls and channels are open; `SIZE`;
    /// `DRAINING`; `LOST`, `CLOSED`. Then nothing was sent.
    pub fn call_start(&self, service: &str, request: &[u8], deadline: Wait) -> Result<Call> {
        self.call_begin(service, Bytes::copy_from_slice(request), deadline)
    }

    fn call_begin(&self, service: &str, request: Bytes, deadline: Wait) -> Result<Call> {
        let id = self.0.id;
        let call = self.change(|shard, now| {
            shard.node.call_start(now, id, service, request, CallOptions { deadline })
        })?;
        Ok(Call::new(self.clone(), service, call))
    }

    /// Calls that were run here for the peer, oldest first; the last 256 are kept. Does not block.
    ///
    /// Errors: `HANDLE`.
    pub fn history(&self) -> Result<Vec<TaskRecord>> {
        self.change(|shard, _| shard.node.history(self.0.id))
    }

    /// Closes this handle. With the last handle of a session, descriptors included, the session ends with its
    /// channels and calls: what was written is delivered first, what was not read is dropped. Blocks until that
    /// is done, for at most `wait`; with zero it is delivered meanwhile, for at most 10 s and as long as the node
    /// lives. The second close does nothing, nor does that of a handler's handle, which keeps nothing open.
    ///
    /// Errors: `TIMEOUT` or `LOST` when not everything was delivered; [`Session::loss_report`] says what.
    pub fn close(&self, wait: Duration) -> Result<()> {
        self.0.engine.check_process()?;
        self.check_may_wait(Some(wait))?;
        self.begin_close(if wait.is_zero() { DROP_TIME } else { wait })?;
        if wait.is_zero() || !self.0.is_ending.swap(false, Ordering::AcqRel) {
            return Ok(());
        }
        let id = self.0.id;
        let wait = wait.saturating_add(LAST_WORD);
        let ended = self.block("close the session", Some(wait), |shard, _, _| {
            let state = state_of(shard, id);
            (state != SessionState::Closing).then_some(Ok(state))
        });
        // Who waits again is answered by its end, and not because somebody waited before.
        let goes_on = ended.as_ref().is_err_and(|error| error.code == Code::Timeout);
        self.0.is_ending.store(goes_on, Ordering::Release);
        let state = ended?;
        if state == SessionState::Lost { Err(self.end_error(state)) } else { Ok(()) }
    }

    /// As [`Session::close`], and does not wait: what was written is delivered meanwhile, for at most `time` and as
    /// long as the node lives. [`Session::state`] tells when that is over, and [`Session::watch`] tells to look; a
    /// [`Session::close`] after it waits for it. Does not block.
    ///
    /// Errors: `CLOSED` the node was closed.
    pub fn close_start(&self, time: Duration) -> Result<()> {
        self.0.engine.check_process()?;
        self.begin_close(time)
    }

    /// Gives this handle up, the first time.
    fn begin_close(&self, time: Duration) -> Result<()> {
        if self.0.is_closed.swap(true, Ordering::AcqRel) || !self.0.is_counted {
            return Ok(());
        }
        let closed = self.0.engine.with_shard(|shard, now, batch| {
            shard.check_open()?;
            // For those who wait on this handle.
            batch.bells.push(self.0.bell.clone());
            shard.node.session_close(now, self.0.id, time)
        });
        match closed {
            // It was over already.
            Err(error) if error.code == Code::Handle => Ok(()),
            result => {
                self.0.is_ending.store(result.is_ok(), Ordering::Release);
                result
            }
        }
    }
}

fn state_of(shard: &Shard, id: SessionId) -> SessionState {
    shard.hubs.get(&id).map_or(SessionState::Closed, |hub| hub.state)
}

/// Parts of a reply as one; a single one is not copied.
fn join(mut parts: Parts) -> Bytes {
    match parts.len() {
        0 | 1 => parts.pop().unwrap_or_default(),
        _ => parts.concat().into(),
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if self.engine.is_forked() {
            // The child runs no destructor of the parent's things.
            std::mem::forget(Arc::clone(&self.engine));
            return;
        }
        if !self.is_counted {
            return;
        }
        let (id, is_closed) = (self.id, self.is_closed.load(Ordering::Acquire));
        self.engine.with_shard(|shard, now, batch| {
            if !is_closed {
                // An error means that it is over already.
                let _ = shard.node.session_close(now, id, DROP_TIME);
                shard.drain(now, batch);
            }
            if let Some(hub) = shard.hubs.get_mut(&id) {
                hub.handles = hub.handles.saturating_sub(1);
            }
            shard.drop_if_unused(id);
        });
    }
}
