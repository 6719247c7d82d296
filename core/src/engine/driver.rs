//! The loop of a shard: one thread at a time waits for all sockets, the timer and the mail.
//!
//! What it owns nobody else touches: listeners, dials, handshakes, and the reading side of links. Work per
//! wake-up is bounded for each source; what is left over waits until all others had their turn.
//!
//! Invariants: a token is never used twice, and a link's id is its token (L1); `LinkDown` is said once per
//! link, when its source is taken out of the map; the alarm is set again at the end of each turn.

use super::accept::{Door, Listener, SourceRates};
use super::bridge::Bridge;
use super::command::Command;
use super::dial::{Connecting, Dial};
use super::event::LogLevel;
use super::handshake::Handshake;
use super::link::{By, Discarded, Link, RECEIVE_BYTES};
use super::seat::GRACE;
use super::service::IncomingCall;
use super::{Engine, Inline, clock, system};
use bytes::BytesMut;
use clerver_proto::error::{Code, Error};
use clerver_proto::id::{AttemptId, LinkId};
use clerver_proto::limits::LINGER;
use clerver_proto::node::Input;
use clerver_proto::time::Deadlines;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::io::{self, ErrorKind};
use std::os::fd::{AsRawFd, RawFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

const WAKER: usize = 0;
const TIMER: usize = 1;
const FIRST_TOKEN: usize = 2;
/// Events taken from the system at once.
const EVENTS_MAX: usize = 1024;
/// Turns that one link may read in before the others.
const READS_PER_TURN: usize = 4;

/// What a token stands for.
pub(super) enum Source {
    Listener(Listener),
    Connecting(Connecting),
    Handshake(Box<Handshake>),
    Link(Arc<Link>),
    /// All was sent; the peer's last bytes are thrown away, because closing before they came would cut off
    /// ours.
    Lingering(Arc<Link>),
    /// A local connection of the program, which is carried to and from a channel.
    Bridge(Box<Bridge>),
}

/// Deadlines of the driver itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Timer {
    /// The next address, or the end of the patience, of a dial.
    Dial(AttemptId),
    /// A handshake takes too long.
    Handshake(usize),
    /// A hang-up takes too long.
    HangUp(usize),
    /// The peer does not close.
    Linger(usize),
    /// Listeners may accept again.
    Accept,
}

#[derive(Debug, Clone, Copy)]
struct Happened {
    token: usize,
    readable: bool,
    writable: bool,
    /// The peer sends no more, or the connection failed: the end has to be read too, for no event will come for it.
    is_ended: bool,
}

/// See the module.
pub(crate) struct Driver {
    pub(super) poll: Poll,
    events: Events,
    happened: Vec<Happened>,
    pub(super) sources: HashMap<usize, Source>,
    pub(super) dials: BTreeMap<AttemptId, Dial>,
    pub(super) timers: Deadlines<Timer>,
    /// Links that their callers left unarmed.
    ticking: Vec<Arc<Link>>,
    /// Links that may have more to read, and whether the end is among it.
    pub(super) unread: VecDeque<(usize, bool)>,
    pub(super) rates: SourceRates,
    pub(super) door: Door,
    /// Sources of this kind.
    lingering: usize,
    pub(super) cipher: Vec<u8>,
    pub(super) plain: BytesMut,
    /// For what bridges read.
    pub(super) piece: Vec<u8>,
    next_token: usize,
}

impl Driver {
    /// `alarm` is watched for as long as the driver lives.
    pub(super) fn new(poll: Poll, alarm: &impl AsRawFd) -> io::Result<Driver> {
        poll.registry().register(&mut SourceFd(&alarm.as_raw_fd()), Token(TIMER), Interest::READABLE)?;
        Ok(Driver {
            poll,
            events: Events::with_capacity(EVENTS_MAX),
            happened: Vec::new(),
            sources: HashMap::new(),
            dials: BTreeMap::new(),
            timers: Deadlines::default(),
            ticking: Vec::new(),
            unread: VecDeque::new(),
            rates: SourceRates::default(),
            door: Door::default(),
            lingering: 0,
            cipher: Vec::with_capacity(RECEIVE_BYTES),
            plain: BytesMut::with_capacity(RECEIVE_BYTES),
            piece: Vec::new(),
            next_token: FIRST_TOKEN,
        })
    }

    /// The token of the waker.
    pub(super) const WAKER: Token = Token(WAKER);

    /// Waits for something to happen, at most for `wait`, and does what has to be done. `may_run` tells
    /// whether inline handlers may run; otherwise they wait with the ordinary ones.
    pub(crate) fn turn(&mut self, engine: &Arc<Engine>, wait: Option<Duration>, may_run: bool) {
        engine.is_awake.store(false, std::sync::atomic::Ordering::SeqCst);
        let is_busy = !self.unread.is_empty() || engine.has_mail();
        let wait = match (is_busy, self.ticking.is_empty()) {
            (true, _) => Some(Duration::ZERO),
            (false, true) => wait,
            (false, false) => Some(wait.map_or(GRACE, |wait| wait.min(GRACE))),
        };
        match self.poll.poll(&mut self.events, wait) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => engine.log(LogLevel::Error, || system("wait for sockets", &error).to_string()),
        }
        // Mail that comes from here on is read below or makes the next wait short.
        engine.is_awake.store(true, std::sync::atomic::Ordering::SeqCst);
        {
            let _inline = Inline::enter();
            self.serve(engine, may_run);
        }
        if engine.is_forked() {
            return;
        }
        engine.alarm.wake_driver_at(self.timers.next().unwrap_or(clerver_proto::time::Instant::NEVER));
        if let Err(error) = engine.alarm.rearm() {
            engine.log(LogLevel::Error, || system("set the timer", &error).to_string());
        }
        engine.is_awake.store(false, std::sync::atomic::Ordering::SeqCst);
        if engine.settings.caller_driven && (!self.unread.is_empty() || engine.has_mail()) {
            // For a program that waits on the descriptor between turns.
            engine.wake();
        }
    }

    fn serve(&mut self, engine: &Arc<Engine>, may_run: bool) {
        let mut happened = std::mem::take(&mut self.happened);
        happened.extend(self.events.iter().map(|event| Happened {
            token: event.token().0,
            readable: event.is_readable() || event.is_read_closed() || event.is_error(),
            is_ended: event.is_read_closed() || event.is_error(),
            writable: event.is_writable() || event.is_write_closed() || event.is_error(),
        }));
        let unread = std::mem::take(&mut self.unread);
        for event in happened.drain(..) {
            self.serve_source(engine, event);
        }
        self.happened = happened;
        for (token, is_ended) in unread {
            match self.sources.get(&token) {
                Some(Source::Lingering(_)) => self.linger(token),
                _ => self.read_link(engine, token, READS_PER_TURN, is_ended),
            }
        }
        let mail = std::mem::take(&mut *engine.mail.lock());
        for command in mail {
            self.obey(engine, command, may_run);
            if engine.is_forked() {
                // A handler came back in a child, to which none of this belongs.
                return;
            }
        }
        self.run_timers(engine);
        if !self.ticking.is_empty() {
            let now = clock::now();
            self.ticking.retain(|link| link.tick(engine, now));
        }
        engine.lingering.store(self.lingering, Ordering::Release);
        engine.with_shard(|_, _, _| ());
    }

    fn serve_source(&mut self, engine: &Arc<Engine>, event: Happened) {
        match event.token {
            WAKER => return,
            TIMER => return engine.alarm.acknowledge(),
            _ => {}
        }
        match self.sources.get(&event.token) {
            Some(Source::Listener(_)) => self.accept(engine, event.token),
            Some(Source::Connecting(_)) => self.connected(engine, event.token),
            Some(Source::Handshake(_)) => self.shake(engine, event.token),
            Some(Source::Link(link)) => {
                if event.writable {
                    let link = Arc::clone(link);
                    link.note_room();
                    engine.flush_as(&link, By::Writable);
                }
                if event.readable {
                    self.read_link(engine, event.token, READS_PER_TURN, event.is_ended);
                }
            }
            Some(Source::Lingering(_)) => self.linger(event.token),
            Some(Source::Bridge(_)) => self.pump(engine, event.token),
            // It was closed by an earlier event of the same turn.
            None => {}
        }
    }

    fn obey(&mut self, engine: &Arc<Engine>, command: Command, may_run: bool) {
        match command {
            Command::Dial { attempt, address, expected } => self.dial(engine, attempt, address, expected),
            Command::Resolved { attempt, result } => self.resolved(engine, attempt, result),
            Command::CancelDial(attempt) => self.cancel_dial(attempt),
            Command::Listen { listener, level_min } => self.listen(engine, listener, level_min),
            Command::StopListening => self.stop_listening(),
            Command::Flush(link) => engine.flush_as(&link, By::Asked),
            Command::Tick(link) => self.ticking.push(link),
            Command::HangUp(link) => {
                let token = token_of(link);
                if self.sources.contains_key(&token) {
                    self.timers.set(Timer::HangUp(token), clock::now() + LINGER);
                }
            }
            Command::Checked { token, result } => self.checked(engine, token, result),
            Command::Finished(link) => self.finish_link(engine, token_of(link)),
            Command::Failed(link, why) => self.fail_link(engine, token_of(link), why),
            // It answers for its own panics; what is left is a destructor of the program.
            Command::Run(call) if may_run => drop(catch_unwind(AssertUnwindSafe(|| call.run()))),
            Command::Run(call) => engine.defer_call(call),
            Command::Bridge(bridge) => self.install_bridge(engine, bridge),
            Command::Pump(token) => self.pump(engine, token),
            Command::PumpAll => self.pump_all(engine),
            Command::Look => {}
            #[cfg(test)]
            Command::Panic => panic!("as the test wants"),
        }
    }

    fn run_timers(&mut self, engine: &Arc<Engine>) {
        let now = clock::now();
        while let Some(timer) = self.timers.pop_due(now) {
            match timer {
                Timer::Dial(attempt) => self.dial_due(engine, attempt),
                Timer::Handshake(token) => self.handshake_due(engine, token),
                Timer::HangUp(token) => {
                    let what = "hang-up: the peer did not take what was left in time";
                    self.close_link(engine, token, Error::new(Code::LinkFailed, what));
                }
                Timer::Linger(token) => drop(self.remove(token)),
                Timer::Accept => self.accept_all(engine),
            }
        }
    }

    /// A fresh token, for a source that is registered at once.
    pub(super) fn token(&mut self) -> usize {
        let token = self.next_token;
        self.next_token += 1;
        token
    }

    pub(super) fn watch(&self, fd: RawFd, token: usize, interest: Interest) -> io::Result<()> {
        self.poll.registry().register(&mut SourceFd(&fd), Token(token), interest)
    }

    /// Takes a source out; it is closed when its last user lets go.
    pub(super) fn remove(&mut self, token: usize) -> Option<Source> {
        let source = self.sources.remove(&token)?;
        self.lingering -= usize::from(matches!(source, Source::Lingering(_)));
        for timer in [Timer::Handshake(token), Timer::HangUp(token), Timer::Linger(token)] {
            self.timers.clear(timer);
        }
        // It is registered, and still open: this cannot fail in a way that matters.
        let _ = self.poll.registry().deregister(&mut SourceFd(&source.as_raw_fd()));
        Some(source)
    }

    /// All was sent after a hang-up: the protocol is done with the link, the socket waits for the peer's
    /// goodbye.
    fn finish_link(&mut self, engine: &Arc<Engine>, token: usize) {
        let Some(Source::Link(link)) = self.sources.get(&token) else { return };
        let link = Arc::clone(link);
        link.close_sending();
        self.timers.clear(Timer::HangUp(token));
        self.timers.set(Timer::Linger(token), clock::now() + LINGER);
        self.sources.insert(token, Source::Lingering(Arc::clone(&link)));
        self.lingering += 1;
        engine.lingering.store(self.lingering, Ordering::Release);
        let what = format!("link with {}: hung up", link.with);
        engine.link_down(link.id, Error::new(Code::Closed, what));
        self.linger(token);
    }

    /// Sending failed; what the peer said last may still wait, such as its reason.
    fn fail_link(&mut self, engine: &Arc<Engine>, token: usize, why: Error) {
        self.read_link(engine, token, READS_PER_TURN, true);
        self.close_link(engine, token, why);
    }

    /// The link is over.
    pub(super) fn close_link(&mut self, engine: &Arc<Engine>, token: usize, why: Error) {
        if !matches!(self.sources.get(&token), Some(Source::Link(_))) {
            return;
        }
        if let Some(Source::Link(link)) = self.remove(token) {
            link.end();
            link.cut();
            engine.link_down(link.id, why);
        }
    }

    fn linger(&mut self, token: usize) {
        let Some(Source::Lingering(link)) = self.sources.get(&token) else { return };
        match link.discard(&mut self.cipher) {
            Discarded::All => {}
            Discarded::Some => self.unread.push_back((token, false)),
            Discarded::End => drop(self.remove(token)),
        }
    }

    /// Closes everything without a word; the node has ended.
    pub(super) fn clear(&mut self) {
        let tokens: Vec<usize> = self.sources.keys().copied().collect();
        for token in tokens {
            match self.remove(token) {
                Some(Source::Link(link)) => {
                    link.end();
                    link.cut();
                }
                Some(Source::Bridge(bridge)) => bridge.cut(),
                _ => {}
            }
        }
        self.door = Door::default();
        self.unread.clear();
        self.ticking.clear();
        self.dials.clear();
        self.timers = Deadlines::default();
    }
}

impl AsRawFd for Source {
    fn as_raw_fd(&self) -> RawFd {
        match self {
            Source::Listener(listener) => listener.as_raw_fd(),
            Source::Connecting(connecting) => connecting.as_raw_fd(),
            Source::Handshake(handshake) => handshake.as_raw_fd(),
            Source::Link(link) | Source::Lingering(link) => link.as_raw_fd(),
            Source::Bridge(bridge) => bridge.as_raw_fd(),
        }
    }
}

fn token_of(link: LinkId) -> usize {
    usize::try_from(link.0).unwrap_or(usize::MAX)
}

impl Engine {
    /// The driver's part of sending.
    fn flush_as(self: &Arc<Self>, link: &Arc<Link>, by: By) {
        let flushed = link.flush(by, clock::now());
        self.follow(link, flushed.next);
        if flushed.grant > 0 {
            let input = Input::Writable { link: link.id, bytes: flushed.grant };
            self.with_shard(|shard, now, batch| shard.input(now, input, batch));
        }
    }

    fn link_down(self: &Arc<Self>, link: LinkId, why: Error) {
        self.with_shard(|shard, now, batch| {
            shard.links.remove(&link);
            shard.input(now, Input::LinkDown { link, why }, batch);
        });
    }

    /// An inline handler that must wait, because the program is inside a blocking call.
    fn defer_call(&self, call: Arc<IncomingCall>) {
        let name = format!("service \"{}\"", call.request.service);
        let run = Box::new(move || call.run());
        // Refused only when the node has closed, and then nobody waits for the reply.
        let _ = self.workers.submit(super::workers::Task { name, is_call: false, run });
    }
}
