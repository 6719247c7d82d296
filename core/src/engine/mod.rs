//! The engine: sockets, threads, clocks and locks around the sans-IO protocol.
//!
//! An [`Engine`] is one node on one shard. Its sockets are driven by an `EventLoop`, which it has for itself or
//! shares with other nodes of the process: one thread that waits in one `Poll` for all sockets, a timer and mail
//! (`driver`). Every other thread that needs something takes the shard lock, changes the protocol, drains it into
//! a batch, lets go, and then sends what it caused itself (`carry_out`). In caller-driven mode there is no
//! thread: the program calls `run_once`, and a blocking call drives the sockets.
//!
//! It is not the public API (that is `api`), it decides nothing that both ends must agree on (that is the
//! protocol).
//!
//! Invariants: the shard lock is never held over a system call, an SSL call or user code; user code runs on
//! workers, or on the driving thread after all locks are free; time is read in `clock` alone, and `unsafe`
//! stands in `descriptor` alone; after a fork the child is refused before any lock is touched.

mod accept;
mod alarm;
mod bell;
mod bridge;
mod clock;
mod closing;
mod command;
mod connecting;
mod descriptor;
mod dial;
mod draining;
mod driver;
mod event;
mod event_loop;
mod handshake;
mod inline;
mod interrupt;
mod keeping;
mod ledger;
mod link;
mod local_pair;
mod log;
mod network;
mod object;
mod outbox;
mod pace;
mod presence;
mod reading;
mod seat;
mod service;
mod shard;
mod sources;
mod start;
mod store;
mod tasks;
mod watch;
mod workers;

pub(crate) use bell::Bell;
pub(crate) use clock::{deadline, now};
pub(crate) use closing::Leftover;
pub(crate) use connecting::PendingConnect;
#[cfg(test)]
pub(crate) use descriptor::in_forked_child;
pub use descriptor::process_mark;
pub use event::{LogLevel, NodeEvent, SessionEvent};
pub(crate) use inline::is_inline;
pub use interrupt::set_interrupt_check;
pub use local_pair::DescriptorKind;
pub(crate) use network::own_address;
pub(crate) use object::KindCallbacks;
pub use object::Payload;
pub(crate) use service::{IncomingCall, Service};
pub(crate) use shard::{Batch, Shard};
pub(crate) use watch::Ready;

use crate::options::Settings;
use crate::tls::TlsContext;
use crate::trust::TrustStore;
use alarm::{Alarm, NodeNumber};
use bytes::Bytes;
use clerver_proto::error::{Code, Error, Result};
use clerver_proto::id::{ChannelId, HostId, LinkId, NodeId, SessionId};
use clerver_proto::node::Input;
use clerver_proto::time::Instant;
use command::Command;
use descriptor::EventFd;
use event_loop::EventLoop;
use link::{By, Link, Next};
use mio::Registry;
use parking_lot::{Mutex, MutexGuard};
use seat::Sat;
use smallvec::SmallVec;
use std::any::Any;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use workers::{Blocked, Workers};

/// Rounds of sending after one change; then the driver goes on, when everybody else had a turn.
const ROUNDS_MAX: usize = 4;
/// Larger messages are sent by those who write them.
const GATHERED_BYTES_MAX: usize = 4 * 1024;
/// A blocked call that cannot drive, because another thread does, looks again after this time.
const OTHER_DRIVES: Duration = Duration::from_millis(10);

/// What a panic said.
pub(crate) fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(ToString::to_string);
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no message".into())
}

/// Where a thread waits.
#[derive(Clone)]
pub(crate) enum Place {
    /// At a bell that rings when it is worth looking again; of a session, if for one.
    At(Bell, Option<SessionId>),
    /// For a channel of a session.
    Channel(SessionId, Ready),
}

impl Place {
    fn session(&self) -> Option<SessionId> {
        match self {
            Place::At(_, session) => *session,
            Place::Channel(session, _) => Some(*session),
        }
    }
}

/// Forgets, when it is dropped, whom the program waits for.
struct BlockedOn<'a>(&'a Engine);

impl Drop for BlockedOn<'_> {
    fn drop(&mut self) {
        self.0.shard.lock().blocked_on = None;
    }
}

/// One running node. Shared by all handles and by the loop that drives it.
pub(crate) struct Engine {
    process_mark: u64,
    pub(crate) id: NodeId,
    pub(crate) settings: Arc<Settings>,
    tls: TlsContext,
    trust: Mutex<TrustStore>,
    shard: Mutex<Shard>,
    accept_bell: Bell,
    event_bell: Bell,
    /// Who drives its sockets.
    event_loop: Arc<EventLoop>,
    /// Its place there.
    number: NodeNumber,
    alarm: Arc<Alarm>,
    /// Made when it is asked for.
    event_fd: OnceLock<EventFd>,
    /// What `event_fd` shows; the lock makes the last change count.
    event_fd_raised: Mutex<bool>,
    pub(crate) workers: Arc<Workers>,
    log: log::Log,
    /// Where it listens, and what its peers are told of it.
    announcing: Mutex<network::Announcing>,
    /// It is not driven any more, and takes no mail.
    has_left: AtomicBool,
    /// How far the close has come, for bridges.
    closing: AtomicU8,
    /// Until the close.
    presence: Mutex<Option<presence::Presence>>,
}

impl Engine {
    /// Refuses the child of a fork, before anything else is touched.
    pub(crate) fn check_process(&self) -> Result<()> {
        if self.is_forked() {
            let what = format!("use node {} in a child process: it belongs to the parent", self.id);
            return Err(Error::new(Code::Forked, what));
        }
        Ok(())
    }

    /// Whether this is a child of the process that opened the node.
    pub(crate) fn is_forked(&self) -> bool {
        descriptor::process_mark() != self.process_mark
    }

    pub(crate) fn host_id(&self) -> HostId {
        self.id.host
    }

    /// Looks at or changes what the shard lock covers, and carries out what came of it. `change` must not
    /// block, and drains between changes of the protocol if it makes several.
    pub(crate) fn with_shard<R>(
        self: &Arc<Self>,
        change: impl FnOnce(&mut Shard, Instant, &mut Batch) -> R,
    ) -> R {
        let mut batch = Batch::default();
        let mut shard = self.shard.lock();
        let now = clock::now();
        shard.advance(now, &mut batch);
        let result = change(&mut shard, now, &mut batch);
        shard.drain(now, &mut batch);
        drop(shard);
        let by = self.flusher(&batch);
        self.carry_out(batch, by, now);
        result
    }

    /// Writes a small message or a few bytes while the driver gathers them; answers how much. `None` when it does not
    /// gather, or nothing fits.
    pub(crate) fn gather(&self, session: SessionId, channel: ChannelId, data: &[u8]) -> Option<usize> {
        if data.len() >= GATHERED_BYTES_MAX || self.is_forked() {
            return None;
        }
        let mut shard = self.shard.lock();
        if shard.gathers(session) { shard.gather(clock::now(), session, channel, data.into()) } else { None }
    }

    /// Takes what lies ready on a channel. `None`: nothing does, or it has to be taken in the ordinary way.
    pub(crate) fn take_at_once(
        self: &Arc<Self>,
        session: SessionId,
        channel: ChannelId,
        bytes_max: usize,
    ) -> Option<Result<Bytes>> {
        // Programs without a thread of ours and inline handlers have rules of their own for waiting.
        if self.settings.caller_driven || self.is_forked() || is_inline() {
            return None;
        }
        let mut shard = self.shard.lock();
        let now = clock::now();
        let taken = shard.take_at_once(now, session, channel, bytes_max);
        if shard.node.has_output() {
            let mut batch = Batch::default();
            shard.drain(now, &mut batch);
            drop(shard);
            self.carry_out_own(batch, now);
        }
        taken
    }

    /// As `with_shard`, for one change of an open node.
    pub(crate) fn change<R>(
        self: &Arc<Self>,
        change: impl FnOnce(&mut Shard, Instant) -> Result<R>,
    ) -> Result<R> {
        self.check_process()?;
        // Outside of the lock, for what it owns may be the program's.
        let mut change = Some(change);
        self.with_shard(|shard, now, _| {
            shard.check_open()?;
            match change.take() {
                Some(change) => change(shard, now),
                None => Err(Error::new(Code::Bug, "a change was made twice")),
            }
        })
    }

    /// Tries until `attempt` answers, the time is over (`timed_out`; `None` for ever, zero to look once), or the
    /// node closes. `attempt` runs under the shard lock, must not block, and makes at most one change of the
    /// protocol; after it `place` says where to wait.
    ///
    /// Errors: `IN_CALLBACK` where waiting is impossible; `FORKED`; `CLOSED`.
    pub(crate) fn block<R>(
        self: &Arc<Self>,
        wait: Option<Duration>,
        place: impl Fn() -> Place,
        timed_out: impl FnOnce() -> Error,
        mut attempt: impl FnMut(&mut Shard, Instant, &mut Batch) -> Option<Result<R>>,
    ) -> Result<R> {
        self.check_process()?;
        let may_wait = wait != Some(Duration::ZERO);
        if may_wait && is_inline() {
            let what = "wait on the engine's thread: an inline handler must not block";
            return Err(Error::new(Code::InCallback, what));
        }
        let until = clock::deadline(wait);
        let mut blocked = None;
        loop {
            let mut batch = Batch::default();
            let mut shard = self.shard.lock();
            let now = clock::now();
            shard.advance(now, &mut batch);
            let result = match shard.check_open() {
                Ok(()) => attempt(&mut shard, now, &mut batch),
                Err(error) => Some(Err(error)),
            };
            shard.drain(now, &mut batch);
            if result.is_some() || now >= until {
                drop(shard);
                self.carry_out_own(batch, now);
                // The turns of the loop here ran no handlers.
                self.say_deferred();
                return result.unwrap_or_else(|| Err(timed_out()));
            }
            if blocked.is_none() && workers::is_worker() {
                // It may start a thread in this one's place.
                drop(shard);
                self.carry_out_own(batch, now);
                blocked = Some(Blocked::enter());
                continue;
            }
            let place = place();
            let next_look = interrupt::next_look(now, until);
            if let Some((link, wanted, bell)) = self.take_seat(&mut shard, &place, now) {
                drop(shard);
                self.carry_out_own(batch, now);
                match self.sit(&link, wanted, &bell, next_look, now, &mut attempt) {
                    Sat::Answer(result) => return result,
                    Sat::Left => interrupt::look(next_look, until)?,
                }
                continue;
            }
            if !batch.is_empty() {
                drop(shard);
                self.carry_out_own(batch, now);
                // What was carried out may have brought the answer.
                continue;
            }
            if self.alarm.is_late() {
                // A system call; what happens meanwhile is seen by the next attempt.
                drop(shard);
                self.alarm.rearm().map_err(|error| system("set the timer", &error))?;
                continue;
            }
            self.wait(shard, &place, next_look);
            interrupt::look(next_look, until)?;
        }
    }

    /// Sleeps until the bell rings or `until`; without a thread of ours, drives the sockets meanwhile. Where nobody
    /// watches for what it waits for, it changes that instead.
    fn wait(self: &Arc<Self>, mut shard: MutexGuard<'_, Shard>, place: &Place, until: Instant) {
        if let Some(link) = place.session().and_then(|session| shard.unwatched_link(session)).cloned() {
            drop(shard);
            return link.arm(self);
        }
        let left = until.since(clock::now()).min(Duration::from_secs(3600));
        if self.settings.caller_driven
            && let Some(mut driver) = self.event_loop.driver.try_lock()
        {
            shard.blocked_on = place.session();
            drop(shard);
            let _blocked_on = BlockedOn(self);
            return self.event_loop.turn(&mut driver, Some(left), false);
        }
        let left = if self.settings.caller_driven { left.min(OTHER_DRIVES) } else { left };
        match place {
            Place::At(bell, _) => bell.wait_for(&mut shard, left),
            Place::Channel(session, ready) => {
                let bell = Bell::of_thread();
                shard.put_up(*session, *ready, &bell);
                bell.wait_for(&mut shard, left);
                shard.take_down(*session, &bell);
            }
        }
    }

    /// A lone thread that waits for a channel may read the session's link itself: takes the seat, and puts the
    /// thread's bell up.
    fn take_seat(
        &self,
        shard: &mut Shard,
        place: &Place,
        now: Instant,
    ) -> Option<(Arc<Link>, (SessionId, Ready), Bell)> {
        let Place::Channel(session, ready) = *place else { return None };
        if self.settings.caller_driven || !self.settings.callers_read {
            return None;
        }
        let bell = Bell::of_thread();
        if shard.others_wait(session, &bell) || bell.descriptor().is_err() {
            return None;
        }
        let link = Arc::clone(shard.lone_link(session).filter(|link| link.take_seat(now))?);
        shard.put_up(session, ready, &bell);
        bell.begin_polling();
        Some((link, (session, ready), bell))
    }

    /// As `carry_out`, on the thread whose change it was.
    fn carry_out_own(self: &Arc<Self>, batch: Batch, now: Instant) {
        let by = self.flusher(&batch);
        self.carry_out(batch, by, now);
    }

    /// Of the poll that the driver waits in.
    fn registry(&self) -> &Registry {
        &self.event_loop.registry
    }

    /// Rings when a session waits to be accepted.
    pub(crate) fn accept_bell(&self) -> Bell {
        self.accept_bell.clone()
    }

    /// Rings when an event of the node waits.
    pub(crate) fn event_bell(&self) -> Bell {
        self.event_bell.clone()
    }

    fn flusher(&self, batch: &Batch) -> By {
        match (is_inline(), batch.is_urgent || !self.settings.gather) {
            (true, _) => By::Engine,
            (false, true) => By::Urgent,
            (false, false) => By::Caller,
        }
    }

    /// Does what the shard lock forbids: wakes those who wait, hands work out, and sends.
    fn carry_out(self: &Arc<Self>, mut batch: Batch, by: By, mut now: Instant) {
        for round in 0.. {
            if batch.is_empty() {
                break;
            }
            if batch.has_news() {
                self.announce(&mut batch);
            }
            let mut grants = SmallVec::<[(LinkId, usize); 1]>::new();
            for link in batch.take_links() {
                if round >= ROUNDS_MAX {
                    self.post(Command::Flush(link));
                    continue;
                }
                let flushed = link.flush(by, now);
                self.follow(&link, flushed.next);
                if flushed.grant > 0 {
                    grants.push((link.id, flushed.grant));
                }
            }
            if grants.is_empty() {
                break;
            }
            let mut shard = self.shard.lock();
            now = clock::now();
            for (link, bytes) in grants {
                shard.input(now, Input::Writable { link, bytes }, &mut batch);
            }
        }
        if let Err(error) = self.alarm.rearm() {
            self.log(LogLevel::Error, || system("set the timer", &error).to_string());
        }
    }

    /// What a flush left to do.
    fn follow(self: &Arc<Self>, link: &Arc<Link>, next: Next) {
        match next {
            Next::Nothing => {}
            Next::AskEngine => {
                if self.settings.gather {
                    // It drains when it comes: until then writing is all that others on this link need do, too.
                    self.shard.lock().asked = Some(link.id);
                }
                self.post(Command::Flush(Arc::clone(link)));
            }
            Next::AwaitRoom => link.await_room(self),
            Next::Finished => self.post(Command::Finished(link.id)),
            Next::Failed(why) => self.post(Command::Failed(link.id, why)),
        }
    }

    fn announce(self: &Arc<Self>, batch: &mut Batch) {
        if self.settings.caller_driven && !batch.bells.is_empty() && self.event_loop.driver.is_locked() {
            // Who waits may be at the sockets, in the place of a thread of ours.
            self.wake();
        }
        for bell in batch.bells.drain(..) {
            bell.ring();
        }
        for command in batch.commands.drain(..) {
            self.post(command);
        }
        for call in batch.calls.drain(..) {
            self.hand_out_call(call);
        }
        for object in batch.objects.drain(..) {
            self.hand_out_object(object);
        }
        for (level, line) in batch.lines.drain(..) {
            self.log(level, || line);
        }
        if std::mem::take(&mut batch.has_events) {
            self.show_events();
        }
    }

    /// Leaves mail for the driver and wakes it if it may sleep.
    fn post(self: &Arc<Self>, command: Command) {
        self.event_loop.post(self, command);
    }

    fn wake(&self) {
        self.event_loop.wake();
    }

    /// Whether the loop is done with this node.
    fn has_left(&self) -> bool {
        self.has_left.load(Ordering::Acquire)
    }

    /// Makes the event descriptor, if there is one, show whether node events wait.
    pub(crate) fn show_events(&self) {
        // Whoever makes it looks for events afterwards.
        let Some(event_fd) = self.event_fd.get() else { return };
        // The state is read inside this lock, so of two threads the later shows what is true last.
        let mut raised = self.event_fd_raised.lock();
        let has_events = self.shard.lock().has_events();
        if has_events != *raised {
            *raised = has_events;
            if has_events { event_fd.raise() } else { event_fd.lower() }
        }
    }

    /// The descriptor to wait on: events with our thread, work for `run_once` without. The first call makes it.
    ///
    /// Errors: `SYSTEM` when there are no more descriptors; `FORKED`.
    pub(crate) fn event_descriptor(&self) -> Result<BorrowedFd<'_>> {
        self.check_process()?;
        if self.settings.caller_driven {
            return Ok(descriptor::borrow(&self.event_loop.registry));
        }
        if self.event_fd.get().is_none() {
            let fresh = EventFd::new().map_err(|error| system("make a descriptor for events", &error))?;
            // Another thread may have been faster.
            let _ = self.event_fd.set(fresh);
        }
        self.show_events();
        let made = self.event_fd.get().map(AsFd::as_fd);
        made.ok_or_else(|| Error::new(Code::Bug, "the descriptor for events was not kept"))
    }

    /// One turn of the loop, with the handlers that it brings. Only in caller-driven mode.
    pub(crate) fn run_once(self: &Arc<Self>, wait: Option<Duration>) -> Result<()> {
        self.check_process()?;
        if !self.settings.caller_driven {
            let what = "run_once on a node that has its own thread";
            return Err(Error::new(Code::State, what).with_remedy("open the node with caller_driven(true)"));
        }
        self.with_shard(|shard, _, _| shard.check_open())?;
        let wait = if self.workers.has_work() { Some(Duration::ZERO) } else { wait };
        match self.event_loop.driver.try_lock() {
            Some(mut driver) => self.event_loop.turn(&mut driver, wait, true),
            None => return Err(Error::new(Code::State, "run_once: another thread drives this node now")),
        }
        self.check_process()?;
        self.run_deferred();
        Ok(())
    }

    /// Runs what waits for a worker, in a program without workers. Bounded, so that sockets get their turn.
    fn run_deferred(&self) {
        for _ in 0..64 {
            if !self.workers.run_one() || self.is_forked() {
                return;
            }
        }
        self.wake();
    }

    /// Queues a line for the program's log. Not with the shard lock held.
    pub(crate) fn log(&self, level: LogLevel, line: impl FnOnce() -> String) {
        if self.is_forked() {
            return;
        }
        self.log.write(&self.workers, level, line);
    }

    /// Where log lines go from now on.
    pub(crate) fn set_log(&self, level: LogLevel, sink: log::Sink) {
        self.log.set(level, sink);
    }

    /// Reads the trust files again; sessions whose peer lost its trust end.
    pub(crate) fn reload_trust(self: &Arc<Self>) -> Result<()> {
        self.check_process()?;
        // Held to the end: of two that reload at once, the later must not be overtaken.
        let mut store = self.trust.lock();
        store.reload()?;
        let trust = start::protocol_trust(&store.snapshot());
        self.change(|shard, now| shard.node.set_trust(now, trust))
    }
}

/// An error of the operating system that should not happen.
fn system(action: &str, error: &std::io::Error) -> Error {
    Error::new(Code::System, format!("{action}: {error}"))
}
