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
//! a thread that waits without a seat (a crowd, or a session with several links) never waits for a tick;
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

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct State {
    /// Somebody reads.
    is_taken: bool,
    /// The engine's poll tells when there is something to read.
    is_armed: bool,
    /// .. and when there is room to write, until then.
    wants_room: bool,
    /// The engine was told of something to read while somebody else read: it has to be told again.
    is_missed: bool,
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

impl State {
    fn take(&mut self, now: Instant) -> bool {
        let was_free = !std::mem::replace(&mut self.is_taken, true);
        if was_free {
            self.taken_at = now;
        }
        was_free
    }
}

/// What becomes of a seat that the engine looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Look {
    Again,
    Over,
    Arm,
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
            is_missed: false,
            is_ticking: false,
            taken_at: long_ago,
            left_at: long_ago,
            unasked_at: long_ago,
        }))
    }

    /// Takes the seat if it is free.
    fn take(&self, now: Instant) -> bool {
        self.0.lock().take(now)
    }

    /// As `take`, for the engine that was told of something to read: it will be told again if the seat is not free.
    pub(super) fn take_or_miss(&self, now: Instant) -> bool {
        let mut state = self.0.lock();
        let is_ours = state.take(now);
        state.is_missed |= !is_ours;
        is_ours
    }

    /// The engine's thread has read what there was. Whether the link has to be armed for somebody who came meanwhile.
    fn leave_read(&self) -> bool {
        let mut state = self.0.lock();
        state.is_taken = false;
        state.is_missed && !state.is_armed
    }

    fn leave(&self, now: Instant, is_crowd: bool) -> Leave {
        let mut state = self.0.lock();
        let is_burst = state.taken_at.since(state.left_at) < BURST && now.since(state.unasked_at) > UNASKED;
        state.is_taken = false;
        state.left_at = now;
        match (is_burst && !is_crowd && !state.is_missed, state.is_ticking) {
            (true, true) => Leave::Nothing,
            (true, false) => {
                state.is_ticking = true;
                Leave::Tick
            }
            (false, _) => Leave::Arm,
        }
    }

    /// Somebody goes to wait for the engine: whether the link has to be armed for him. Whoever
    /// reads it arms it at the end.
    fn is_unwatched(&self) -> bool {
        let mut state = self.0.lock();
        state.is_missed |= state.is_taken && !state.is_armed;
        !state.is_taken && !state.is_armed
    }

    /// Whether the engine looks after an unarmed link once more; if not, and nobody reads, it has to be armed.
    fn look(&self, now: Instant) -> Look {
        let mut state = self.0.lock();
        let idle_since = if state.is_taken { state.taken_at } else { state.left_at };
        let patience = if state.is_taken { GRACE * 3 } else { GRACE };
        if now.since(idle_since) < patience && (!state.is_armed || state.is_missed) {
            return Look::Again;
        }
        state.is_ticking = false;
        // Who reads it arms it, or makes it tick, at the end.
        if state.is_taken { Look::Over } else { Look::Arm }
    }

    /// Something came that nobody had asked for.
    fn note_unasked(&self, now: Instant) {
        self.0.lock().unasked_at = now;
    }

    /// Changes what is watched, and tells the system with `apply(reading, writing)` if anything changed. Under the
    /// lock, so that of two threads the later counts.
    fn watch(&self, change: impl FnOnce(&mut State) -> bool, apply: impl FnOnce(bool, bool)) {
        let mut state = self.0.lock();
        if change(&mut state) {
            apply(state.is_armed, state.wants_room);
        }
    }

    fn arm(&self, apply: impl FnOnce(bool, bool)) {
        let arm = |state: &mut State| {
            let was_missed = std::mem::take(&mut state.is_missed);
            !std::mem::replace(&mut state.is_armed, true) || was_missed
        };
        self.watch(arm, apply);
    }

    fn disarm(&self, apply: impl FnOnce(bool, bool)) {
        self.watch(|state| std::mem::replace(&mut state.is_armed, false), apply);
    }
}

impl Link {
    /// Takes the link's seat for a caller, if it is free.
    pub(super) fn take_seat(&self, now: Instant) -> bool {
        self.seat.take(now)
    }

    /// Tells the engine's poll what to watch this link for. The system looks at the socket again meanwhile.
    fn tell_poll(&self, engine: &Engine, reading: bool, writing: bool) {
        let result = descriptor::watch(engine.registry(), self.as_raw_fd(), self.id.0, reading, writing);
        if let Err(error) = result {
            // A link that is over is not watched any more.
            engine.log(LogLevel::Debug, || {
                system(&format!("watch the link with {}", self.with), &error).to_string()
            });
        }
    }

    /// The engine's thread has read what there was.
    pub(super) fn leave_read(&self, engine: &Engine) {
        if self.seat.leave_read() {
            self.arm(engine);
        }
    }

    /// Whether a thread that is about to wait for the engine has to arm it.
    pub(super) fn is_unwatched(&self) -> bool {
        self.seat.is_unwatched()
    }

    pub(super) fn arm(&self, engine: &Engine) {
        self.seat.arm(|reading, writing| self.tell_poll(engine, reading, writing));
    }

    fn disarm(&self, engine: &Engine) {
        self.seat.disarm(|reading, writing| self.tell_poll(engine, reading, writing));
    }

    /// The engine shall hear when the socket takes more.
    pub(super) fn await_room(&self, engine: &Engine) {
        let want = |state: &mut State| {
            state.wants_room = true;
            true
        };
        self.seat.watch(want, |reading, writing| self.tell_poll(engine, reading, writing));
    }

    /// It did; the next change stops watching for it.
    pub(super) fn note_room(&self) {
        self.seat.0.lock().wants_room = false;
    }

    /// Looks after a link that its caller left unarmed; answers whether to look again.
    pub(super) fn tick(&self, engine: &Engine, now: Instant) -> bool {
        match self.seat.look(now) {
            Look::Again => return true,
            Look::Over => {}
            Look::Arm => self.arm(engine),
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

#[cfg(test)]
mod tests {
    //! Every order in which a caller, the engine and the peer can take their steps. A step is what happens under the
    //! seat's lock, or one system call.

    use super::*;
    use std::collections::HashSet;

    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
    enum Caller {
        Idle {
            calls_left: u8,
        },
        Seated {
            calls_left: u8,
        },
        /// Its poll ended: with what was there, or because its time was over.
        Leaving {
            calls_left: u8,
        },
        Arming {
            calls_left: u8,
        },
        /// It waits for the engine to read for it.
        Standing {
            calls_left: u8,
            since: u8,
        },
    }

    #[derive(Debug, Clone, PartialEq, Eq, Hash)]
    struct World {
        seat: State,
        now: Instant,
        callers: [Caller; 2],
        unsent: u8,
        unread: u8,
        delivered: u8,
        is_watched: bool,
        /// The engine's poll has something to tell.
        has_edge: bool,
        engine_reads: bool,
        ticks: bool,
        /// The session has no other link; only then a caller may sit.
        is_lone: bool,
    }

    impl World {
        fn with_seat<R>(&mut self, act: impl FnOnce(&Seat, &mut World) -> R) -> R {
            let seat = Seat(Mutex::new(self.seat.clone()));
            let result = act(&seat, self);
            self.seat = seat.0.into_inner();
            result
        }

        fn watch(&mut self, reading: bool) {
            self.is_watched = reading;
            self.has_edge |= reading && self.unread > 0;
        }

        fn arm(&mut self) {
            self.with_seat(|seat, world| seat.arm(|reading, _| world.watch(reading)));
        }

        fn caller_steps(&self, who: usize, next: &mut Vec<World>) {
            let mut world = self.clone();
            world.callers[who] = match self.callers[who] {
                Caller::Idle { calls_left: 0 } => return,
                Caller::Idle { calls_left }
                    if self.is_lone && world.with_seat(|seat, world| seat.take(world.now)) =>
                {
                    world.with_seat(|seat, world| seat.disarm(|reading, _| world.watch(reading)));
                    Caller::Seated { calls_left: calls_left - 1 }
                }
                Caller::Idle { calls_left } if world.with_seat(|seat, _| seat.is_unwatched()) => {
                    Caller::Arming { calls_left }
                }
                Caller::Idle { calls_left } => {
                    Caller::Standing { calls_left: calls_left - 1, since: self.delivered }
                }
                Caller::Seated { calls_left } => {
                    // It may give up before it reads.
                    let mut gave_up = self.clone();
                    gave_up.callers[who] = Caller::Leaving { calls_left };
                    next.push(gave_up);
                    if world.unread == 0 {
                        return;
                    }
                    world.delivered += std::mem::take(&mut world.unread);
                    Caller::Leaving { calls_left }
                }
                Caller::Leaving { calls_left } => {
                    let is_crowd = matches!(self.callers[1 - who], Caller::Standing { .. });
                    match world.with_seat(|seat, world| seat.leave(world.now, is_crowd)) {
                        Leave::Nothing => Caller::Idle { calls_left },
                        Leave::Arm => Caller::Arming { calls_left },
                        Leave::Tick => {
                            world.ticks = true;
                            Caller::Idle { calls_left }
                        }
                    }
                }
                Caller::Arming { calls_left } => {
                    world.arm();
                    Caller::Idle { calls_left }
                }
                Caller::Standing { calls_left, since } if self.delivered > since => {
                    Caller::Idle { calls_left }
                }
                Caller::Standing { .. } => return,
            };
            next.push(world);
        }

        fn engine_steps(&self, next: &mut Vec<World>) {
            let mut world = self.clone();
            if self.engine_reads {
                world.delivered += std::mem::take(&mut world.unread);
                world.engine_reads = false;
                if world.with_seat(|seat, _| seat.leave_read()) {
                    world.arm();
                }
                next.push(world);
            } else if self.has_edge {
                world.has_edge = false;
                world.engine_reads = world.with_seat(|seat, world| seat.take_or_miss(world.now));
                next.push(world);
            }
            if self.ticks && !self.engine_reads {
                let mut world = self.clone();
                world.now = world.now + GRACE;
                match world.with_seat(|seat, world| seat.look(world.now)) {
                    Look::Again => {}
                    Look::Over => world.ticks = false,
                    Look::Arm => {
                        world.ticks = false;
                        world.arm();
                    }
                }
                next.push(world);
            }
        }

        fn steps(&self) -> Vec<World> {
            let mut next = Vec::new();
            self.caller_steps(0, &mut next);
            self.caller_steps(1, &mut next);
            self.engine_steps(&mut next);
            if self.is_lone {
                next.push(World { is_lone: false, ..self.clone() });
            }
            if self.unsent > 0 {
                let mut world = self.clone();
                world.unsent -= 1;
                world.unread += 1;
                world.has_edge |= world.is_watched;
                next.push(world);
            }
            next
        }

        /// Somebody waits for what is there, and only the next tick would bring it.
        fn waits_for_tick(&self) -> bool {
            let waits = |caller: &Caller| matches!(caller, Caller::Standing { since, .. } if self.delivered <= *since);
            let acts = |caller: &Caller| {
                matches!(caller, Caller::Seated { .. } | Caller::Leaving { .. } | Caller::Arming { .. })
            };
            self.unread > 0
                && !(self.has_edge || self.engine_reads)
                && self.callers.iter().any(waits)
                && !self.callers.iter().any(acts)
        }
    }

    #[test]
    fn whatever_the_order_of_their_steps_everything_that_came_is_read() {
        let seat = Seat::new().0.into_inner();
        // Late enough for a burst.
        let now = Instant(60_000_000_000);
        let seat = State { left_at: now, ..seat };
        let first = World {
            seat,
            now,
            callers: [Caller::Idle { calls_left: 3 }, Caller::Idle { calls_left: 2 }],
            unsent: 4,
            unread: 0,
            delivered: 0,
            is_watched: true,
            has_edge: false,
            engine_reads: false,
            ticks: false,
            is_lone: true,
        };
        let (mut open, mut seen, mut ends) = (vec![first], HashSet::new(), 0);
        while let Some(world) = open.pop() {
            if !seen.insert(world.clone()) {
                continue;
            }
            assert!(!world.waits_for_tick(), "{world:?}");
            let next = world.steps();
            if next.is_empty() {
                ends += 1;
                assert_eq!((world.unread, world.delivered), (0, 4), "{world:?}");
            }
            open.extend(next);
        }
        assert!(ends > 10 && seen.len() > 10_000, "{ends} ends, {} states", seen.len());
    }
}
