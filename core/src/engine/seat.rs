//! Who reads a link: the engine's thread, or the one thread that waits for something from it.
//!
//! A lone blocked caller takes the link's socket out of the engine's poll and waits for it by itself, which saves two
//! switches between threads. A crowd of callers is served by the engine, and nobody ever passes a seat on. A caller
//! that leaves hands the socket back at once, or, when call follows call, leaves it and the engine looks after it a
//! little later (`GRACE`).
//!
//! Not here: what is read (`link`, `reading`), and timers, which never depend on a caller.
//!
//! Invariants: at most one thread reads a link; whenever nobody does, the socket is armed or the engine ticks for it;
//! arming looks at the socket again, so what came meanwhile is not missed; a caller never runs code of the program.

use super::bell::Bell;
use super::command::Command;
use super::link::{Link, Receive, Received};
use super::shard::{Batch, Shard};
use super::watch::Ready;
use super::{Engine, LogLevel, clock, descriptor, system};
use bytes::BytesMut;
use clerver_proto::error::{Error, Result};
use clerver_proto::id::SessionId;
use clerver_proto::node::Input;
use clerver_proto::time::Instant;
use parking_lot::Mutex;
use std::cell::RefCell;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::Arc;
use std::time::Duration;

/// A link that was left unarmed is armed again after this time. Shorter ticks cost a busy caller more than they
/// bring: at 1 ms one call in sixty meets one.
pub(super) const GRACE: Duration = Duration::from_millis(5);
/// A caller first waits this long in a receive that nothing but the link ends: most replies come within it.
pub(super) const SLICE: Duration = Duration::from_millis(8);
/// Only a caller that comes back this soon leaves its link unarmed.
const BURST: Duration = GRACE;
/// For this long after something came that nobody had asked for, a link is always armed at once.
const UNASKED: Duration = Duration::from_secs(1);

thread_local! {
    /// What a caller reads with: ciphertext and plain bytes.
    static BUFFERS: RefCell<(Vec<u8>, BytesMut)> = RefCell::default();
}

#[derive(Debug)]
struct State {
    /// Somebody reads.
    is_taken: bool,
    /// The engine's poll tells when there is something to read.
    is_armed: bool,
    /// .. and when there is room to write, until then.
    wants_room: bool,
    /// The engine looks at this seat now and then.
    is_ticking: bool,
    taken_at: Instant,
    left_at: Instant,
    unasked_at: Instant,
}

/// The place of the reader of one link.
#[derive(Debug)]
pub(super) struct Seat(Mutex<State>);

/// What a caller that leaves asks of the engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Leave {
    Nothing,
    Arm,
    Tick,
}

/// What came of sitting.
pub(super) enum Sat<R> {
    /// What was waited for.
    Answer(Result<R>),
    /// Nothing yet: the time is over, the link has ended, or others wait too.
    Left,
}

impl Seat {
    /// Of a link that is registered for reading.
    pub(super) fn new() -> Seat {
        let long_ago = Instant(0);
        Seat(Mutex::new(State {
            is_taken: false,
            is_armed: true,
            wants_room: false,
            is_ticking: false,
            taken_at: long_ago,
            left_at: long_ago,
            unasked_at: long_ago,
        }))
    }

    /// Takes the seat if it is free.
    pub(super) fn take(&self, now: Instant) -> bool {
        let mut state = self.0.lock();
        let was_free = !std::mem::replace(&mut state.is_taken, true);
        if was_free {
            state.taken_at = now;
        }
        was_free
    }

    /// The engine's thread has read what there was.
    pub(super) fn leave_armed(&self) {
        self.0.lock().is_taken = false;
    }

    fn leave(&self, now: Instant, is_crowd: bool) -> Leave {
        let mut state = self.0.lock();
        let is_burst = state.taken_at.since(state.left_at) < BURST && now.since(state.unasked_at) > UNASKED;
        state.is_taken = false;
        state.left_at = now;
        match (is_burst && !is_crowd, state.is_ticking) {
            (true, true) => Leave::Nothing,
            (true, false) => {
                state.is_ticking = true;
                Leave::Tick
            }
            (false, _) => Leave::Arm,
        }
    }

    /// Something came that nobody had asked for.
    fn note_unasked(&self, now: Instant) {
        self.0.lock().unasked_at = now;
    }
}

impl Link {
    /// Tells the engine's poll what to watch this link for, if that changed. The system looks at the socket again
    /// meanwhile.
    fn watch(&self, engine: &Engine, change: impl FnOnce(&mut State) -> bool) {
        let mut state = self.seat.0.lock();
        if !change(&mut state) {
            return;
        }
        let (reading, writing) = (state.is_armed, state.wants_room);
        // Under the seat's lock, so that of two threads the later counts.
        let result = descriptor::watch(engine.registry(), self.as_raw_fd(), self.id.0, reading, writing);
        drop(state);
        if let Err(error) = result {
            // A link that is over is not watched any more.
            engine.log(LogLevel::Debug, || {
                system(&format!("watch the link with {}", self.with), &error).to_string()
            });
        }
    }

    fn arm(&self, engine: &Engine) {
        self.watch(engine, |state| !std::mem::replace(&mut state.is_armed, true));
    }

    fn disarm(&self, engine: &Engine) {
        self.watch(engine, |state| std::mem::replace(&mut state.is_armed, false));
    }

    /// The engine shall hear when the socket takes more.
    pub(super) fn await_room(&self, engine: &Engine) {
        self.watch(engine, |state| {
            state.wants_room = true;
            true
        });
    }

    /// It did; the next change stops watching for it.
    pub(super) fn note_room(&self) {
        self.seat.0.lock().wants_room = false;
    }

    /// Looks after a link that its caller left unarmed; answers whether to look again.
    pub(super) fn tick(&self, engine: &Engine, now: Instant) -> bool {
        let mut state = self.seat.0.lock();
        let idle_since = if state.is_taken { state.taken_at } else { state.left_at };
        let patience = if state.is_taken { GRACE * 3 } else { GRACE };
        if now.since(idle_since) < patience && !state.is_armed {
            return true;
        }
        state.is_ticking = false;
        let is_free = !state.is_taken;
        drop(state);
        if is_free {
            self.arm(engine);
        }
        false
    }
}

/// Waits until the link is readable, the bell rings, or the time is over; reads.
fn wait_and_read(link: &Link, bell: &Bell, until: Instant, now: Instant, is_first: bool) -> Received {
    let left = until.since(now);
    if is_first && left > SLICE * 2 {
        // One system call instead of two. A bell that rings meanwhile is heard at the end of the slice.
        return BUFFERS.with_borrow_mut(|(cipher, plain)| link.receive(cipher, plain, Receive::Waiting));
    }
    let Ok(kick) = bell.descriptor() else { return Received::Nothing };
    let (is_readable, is_rung) = descriptor::wait_for_either(link.as_fd(), kick, left);
    if is_rung {
        bell.acknowledge();
    }
    if !is_readable {
        return Received::Nothing;
    }
    BUFFERS.with_borrow_mut(|(cipher, plain)| link.receive(cipher, plain, Receive::Now))
}

impl Engine {
    /// Waits in the seat of `link`, which was taken, for what `attempt` looks for. The bell was put up, and polls.
    pub(super) fn sit<R>(
        self: &Arc<Self>,
        link: &Arc<Link>,
        (session, ready): (SessionId, Ready),
        bell: &Bell,
        until: Instant,
        now: Instant,
        attempt: &mut impl FnMut(&mut Shard, Instant, &mut Batch) -> Option<Result<R>>,
    ) -> Sat<R> {
        link.disarm(self);
        let (mut now, mut is_first) = (now, true);
        loop {
            let received = wait_and_read(link, bell, until, now, std::mem::take(&mut is_first));
            let (bytes, end) = match received {
                Received::Nothing => (BytesMut::new(), None),
                Received::Bytes { bytes, .. } => (bytes, None),
                Received::Ended { bytes, why } => (bytes, Some(why)),
            };
            let mut batch = Batch::default();
            let mut shard = self.shard.lock();
            bell.end_polling();
            now = clock::now();
            shard.advance(now, &mut batch);
            if !bytes.is_empty() {
                shard.input_undrained(now, Input::Bytes { link: link.id, bytes }, &mut batch);
                if !matches!(ready, Ready::Readable(_)) {
                    shard.drain(now, &mut batch);
                }
            }
            let result = match shard.check_open() {
                Ok(()) => attempt(&mut shard, now, &mut batch),
                Err(error) => Some(Err(error)),
            };
            shard.drain(now, &mut batch);
            let is_crowd = shard.others_wait(session, bell);
            let stays = result.is_none()
                && now < until
                && end.is_none()
                && !is_crowd
                && shard.lone_link(session).is_some_and(|lone| Arc::ptr_eq(lone, link));
            if stays {
                bell.begin_polling();
            } else {
                shard.take_down(session, bell);
            }
            drop(shard);
            if batch.concerns_others(bell) {
                link.seat.note_unasked(now);
            }
            let by = self.flusher(&batch);
            self.carry_out(batch, by, now);
            if !stays {
                self.leave_seat(link, now, is_crowd, end);
                return result.map_or(Sat::Left, Sat::Answer);
            }
        }
    }

    fn leave_seat(self: &Arc<Self>, link: &Arc<Link>, now: Instant, is_crowd: bool, end: Option<Error>) {
        match link.seat.leave(now, is_crowd) {
            Leave::Nothing => {}
            Leave::Arm => link.arm(self),
            Leave::Tick => self.post(Command::Tick(Arc::clone(link))),
        }
        if let Some(why) = end {
            self.post(Command::Failed(link.id, why));
        }
    }
}
