//! The turns of an event loop: one thread at a time waits for all sockets, the timer and the mail of its nodes.
//!
//! What it owns nobody else touches: listeners, dials, handshakes, and the reading side of links, each with the
//! node that it belongs to. Work per wake-up is bounded for each source; what is left over waits until all others
//! had their turn.
//!
//! Invariants: a token is never used twice, and a link's id is its token (L1); `LinkDown` is said once per
//! link, when its source is taken out of the table; the alarm is set again at the end of each turn; what a turn
//! costs depends on what happened, and not on how many nodes or sources there are.

use super::accept::Door;
use super::alarm::NodeNumber;
use super::command::Command;
use super::dial::{Dial, HeldDials};
use super::event_loop::EventLoop;
use super::inline::Inline;
use super::link::{By, Discarded, Link, RECEIVE_BYTES};
use super::network::Network;
use super::seat::GRACE;
use super::service::IncomingCall;
use super::sources::{Source, Sources};
use super::{Engine, clock};
use bytes::BytesMut;
use clerver_proto::error::{Code, Error};
use clerver_proto::id::{AttemptId, LinkId};
use clerver_proto::limits::LINGER;
use clerver_proto::node::Input;
use clerver_proto::time::{Deadlines, Instant};
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use std::collections::{BTreeMap, VecDeque};
use std::io::{self, ErrorKind};
use std::os::fd::{AsRawFd, RawFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

const WAKER: usize = 0;
const TIMER: usize = 1;
pub(super) const NETWORK: usize = 2;
const FIRST_TOKEN: usize = 3;
/// Events taken from the system at once.
const EVENTS_MAX: usize = 1024;
/// Turns that one burst of messages is sent in before others get theirs.
const GATHER_ROUNDS: usize = 8;
/// Turns that one link may read in before the others.
const READS_PER_TURN: usize = 4;
/// Steps of handshakes made in one turn: some 10 ms, so that no link waits for thousands of them in a storm.
const HANDSHAKES_PER_TURN: usize = 16;
/// Dialled connections that wait for their peer's part of the handshake before further dials wait themselves.
const DIALS_SHAKING_MAX: usize = 512;
/// Nodes whose deadline has come that are called in one turn.
const DUE_PER_TURN: usize = 1024;

/// Deadlines of the driver itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Timer {
    /// The next address, or the end of the patience, of a dial.
    Dial(DialKey),
    /// A handshake takes too long.
    Handshake(usize),
    /// A hang-up takes too long.
    HangUp(usize),
    /// The peer does not close.
    Linger(usize),
    /// The listeners of a node may accept again.
    Accept(NodeNumber),
}

/// A dial of a node.
pub(super) type DialKey = (NodeNumber, AttemptId);

#[derive(Debug, Clone, Copy)]
pub(super) struct Happened {
    pub(super) token: usize,
    readable: bool,
    writable: bool,
    /// The peer sends no more, or the connection failed: the end has to be read too, for no event will come for it.
    is_ended: bool,
}

impl Happened {
    /// A place for a connection that spoke.
    pub(super) fn turn_of(token: usize) -> Happened {
        Happened { token, readable: true, writable: false, is_ended: false }
    }
}

/// See the module.
pub(crate) struct Driver {
    pub(super) poll: Poll,
    events: Events,
    happened: Vec<Happened>,
    /// Empty between turns.
    mail: VecDeque<(Arc<Engine>, Command)>,
    /// Connections on their way to a link to which something happened: they wait behind links, and behind them those
    /// that did not begin yet, so that what was begun is finished before its peer loses patience.
    pub(super) shaking: VecDeque<Happened>,
    starting: VecDeque<Happened>,
    pub(super) held_dials: HeldDials,
    pub(super) sources: Sources,
    pub(super) dials: BTreeMap<DialKey, Dial>,
    pub(super) timers: Deadlines<Timer>,
    /// Links that their callers left unarmed.
    ticking: Vec<(Arc<Engine>, Arc<Link>)>,
    /// Links that may have more to read, and whether the end is among it.
    pub(super) unread: VecDeque<(usize, bool)>,
    /// Of nodes that listen.
    pub(super) doors: BTreeMap<NodeNumber, Door>,
    due: Vec<(Instant, NodeNumber)>,
    pub(super) cipher: Vec<u8>,
    pub(super) plain: BytesMut,
    /// For what bridges read.
    pub(super) piece: Vec<u8>,
    /// Once a socket leaves this machine.
    pub(super) network: Option<Network>,
}

impl Driver {
    /// `alarm` is watched for as long as the driver lives.
    pub(super) fn new(poll: Poll, alarm: &impl AsRawFd) -> io::Result<Driver> {
        poll.registry().register(&mut SourceFd(&alarm.as_raw_fd()), Token(TIMER), Interest::READABLE)?;
        Ok(Driver {
            poll,
            events: Events::with_capacity(EVENTS_MAX),
            happened: Vec::new(),
            mail: VecDeque::new(),
            shaking: VecDeque::new(),
            starting: VecDeque::new(),
            held_dials: HeldDials::default(),
            sources: Sources::new(FIRST_TOKEN),
            dials: BTreeMap::new(),
            timers: Deadlines::default(),
            ticking: Vec::new(),
            unread: VecDeque::new(),
            doors: BTreeMap::new(),
            due: Vec::new(),
            cipher: Vec::with_capacity(RECEIVE_BYTES),
            plain: BytesMut::with_capacity(RECEIVE_BYTES),
            piece: Vec::new(),
            network: None,
        })
    }

    /// The token of the waker.
    pub(super) const WAKER: Token = Token(WAKER);

    /// Waits for something to happen, at most for `wait`, and does what has to be done. `may_run` tells
    /// whether inline handlers may run; otherwise they wait with the ordinary ones.
    pub(super) fn turn(&mut self, event_loop: &EventLoop, wait: Option<Duration>, may_run: bool) {
        event_loop.set_awake(false);
        let is_busy = self.has_work() || event_loop.has_mail();
        let wait = match (is_busy, self.ticking.is_empty()) {
            (true, _) => Some(Duration::ZERO),
            (false, true) => wait,
            (false, false) => Some(wait.map_or(GRACE, |wait| wait.min(GRACE))),
        };
        match self.poll.poll(&mut self.events, wait) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => event_loop.complain("wait for sockets", &error),
        }
        // Mail that comes from here on is read below or makes the next wait short.
        event_loop.set_awake(true);
        {
            let _inline = Inline::enter();
            self.serve(event_loop, may_run);
        }
        if event_loop.is_forked() {
            return;
        }
        event_loop.alarm.wake_driver_at(self.timers.next().unwrap_or(Instant::NEVER));
        if let Err(error) = event_loop.alarm.rearm() {
            event_loop.complain("set the timer", &error);
        }
        event_loop.set_awake(false);
        if self.has_work() || event_loop.has_mail() {
            event_loop.wake_program();
        }
    }

    /// Something was left over for the next turn.
    fn has_work(&self) -> bool {
        let is_dialling = self.may_dial() && !self.held_dials.is_empty();
        !(self.unread.is_empty() && self.shaking.is_empty() && self.starting.is_empty()) || is_dialling
    }

    /// Whether this thread keeps up with the connections that it made, for whoever dials has to speak soon, and their
    /// peers with their answers: what waits there for too long was dialled for nothing.
    pub(super) fn may_dial(&self) -> bool {
        self.shaking.len() + self.starting.len() < 4 * HANDSHAKES_PER_TURN
            && self.sources.dials_shaking() < DIALS_SHAKING_MAX
    }

    fn serve(&mut self, event_loop: &EventLoop, may_run: bool) {
        let mut happened = std::mem::take(&mut self.happened);
        happened.extend(self.events.iter().map(|event| Happened {
            token: event.token().0,
            readable: event.is_readable() || event.is_read_closed() || event.is_error(),
            is_ended: event.is_read_closed() || event.is_error(),
            writable: event.is_writable() || event.is_write_closed() || event.is_error(),
        }));
        let unread = std::mem::take(&mut self.unread);
        for event in happened.drain(..) {
            match event.token {
                WAKER => {}
                TIMER => event_loop.alarm.acknowledge(),
                NETWORK => self.network_changed(event_loop),
                token => match self.sources.get(token) {
                    Some(Source::Handshake(handshake)) if handshake.has_begun() => {
                        self.shaking.push_back(event);
                    }
                    Some(Source::Connecting(_) | Source::Handshake(_)) => self.starting.push_back(event),
                    _ => self.serve_source(event),
                },
            }
        }
        self.happened = happened;
        for _ in 0..HANDSHAKES_PER_TURN {
            let Some(event) = self.shaking.pop_front().or_else(|| self.starting.pop_front()) else { break };
            self.serve_source(event);
        }
        for (token, is_ended) in unread {
            let Some(engine) = self.sources.node_of(token) else { continue };
            match self.sources.get(token) {
                Some(Source::Lingering(_)) => self.linger(token),
                _ => self.read_link(&engine, token, READS_PER_TURN, is_ended),
            }
        }
        let mut mail = std::mem::take(&mut self.mail);
        event_loop.take_mail(&mut mail);
        for (engine, command) in mail.drain(..) {
            if !engine.has_left() {
                self.obey(&engine, command, may_run);
            }
            if event_loop.is_forked() {
                // A handler came back in a child, to which none of this belongs.
                return;
            }
        }
        self.mail = mail;
        self.begin_held_dials(HANDSHAKES_PER_TURN);
        self.run_timers(event_loop);
        if !self.ticking.is_empty() {
            let now = clock::now();
            self.ticking.retain(|(engine, link)| link.tick(engine, now));
        }
        self.call_due(event_loop);
    }

    fn serve_source(&mut self, event: Happened) {
        // It may have been closed by an earlier event of the same turn.
        let Some(engine) = self.sources.node_of(event.token) else { return };
        match self.sources.get(event.token) {
            Some(Source::Listener(_)) => self.accept(&engine, event.token),
            Some(Source::Connecting(_)) => self.connected(&engine, event.token),
            Some(Source::Handshake(_)) => self.shake(&engine, event.token, event.is_ended),
            Some(Source::Link(link)) => {
                if event.writable {
                    let link = Arc::clone(link);
                    link.note_room();
                    engine.flush_as(&link, By::Writable);
                }
                if event.readable {
                    self.read_link(&engine, event.token, READS_PER_TURN, event.is_ended);
                }
            }
            Some(Source::Lingering(_)) => self.linger(event.token),
            Some(Source::Bridge(_)) => self.pump(&engine, event.token),
            None => {}
        }
    }

    /// Lets the nodes look whose deadline has come; the others are not touched.
    fn call_due(&mut self, event_loop: &EventLoop) {
        event_loop.alarm.pop_due(clock::now(), DUE_PER_TURN, &mut self.due);
        for (at, node) in self.due.drain(..) {
            if let Some(engine) = event_loop.member(node) {
                engine.with_shard(|shard, _, _| shard.rang(at));
            }
        }
    }

    fn obey(&mut self, engine: &Arc<Engine>, command: Command, may_run: bool) {
        match command {
            Command::Dial { attempt, address, expected } => {
                self.hold_dial(engine, attempt, address, expected);
            }
            Command::Resolved { attempt, result } => self.resolved(engine, attempt, result),
            Command::CancelDial(attempt) => self.cancel_dial((engine.number, attempt)),
            Command::Listen { listener, level_min } => self.listen(engine, listener, level_min),
            Command::WatchNetwork => self.watch_network(engine),
            Command::StopListening => self.stop_listening(engine),
            Command::Flush(link) => engine.send_gathered(&link),
            Command::Tick(link) => self.ticking.push((Arc::clone(engine), link)),
            Command::HangUp(link) => {
                let token = token_of(link);
                if self.sources.get(token).is_some() {
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
            Command::Leave => self.leave(engine),
            #[cfg(test)]
            Command::Panic => panic!("as the test wants"),
        }
    }

    fn run_timers(&mut self, event_loop: &EventLoop) {
        let now = clock::now();
        while let Some(timer) = self.timers.pop_due(now) {
            match timer {
                Timer::Dial((node, attempt)) => {
                    if let Some(engine) = event_loop.member(node) {
                        self.dial_due(&engine, attempt);
                    }
                }
                Timer::Handshake(token) => self.handshake_due(token),
                Timer::HangUp(token) => {
                    let Some(engine) = self.sources.node_of(token) else { continue };
                    let what = "hang-up: the peer did not take what was left in time";
                    self.close_link(&engine, token, Error::new(Code::LinkFailed, what));
                }
                Timer::Linger(token) => drop(self.remove(token)),
                Timer::Accept(node) => {
                    if let Some(engine) = event_loop.member(node) {
                        self.accept_all(&engine);
                    }
                }
            }
        }
    }

    pub(super) fn watch(&self, fd: RawFd, token: usize, interest: Interest) -> io::Result<()> {
        self.poll.registry().register(&mut SourceFd(&fd), Token(token), interest)
    }

    /// Takes a source out; it is closed when its last user lets go.
    pub(super) fn remove(&mut self, token: usize) -> Option<Source> {
        let (engine, source) = self.sources.remove(token)?;
        if matches!(source, Source::Lingering(_)) {
            // Under the lock: a close that waits for it has either seen it go or hears the bell.
            let mut shard = engine.shard.lock();
            shard.lingering -= 1;
            drop(shard);
            engine.event_bell.ring();
        }
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
        let Some(Source::Link(link)) = self.sources.get(token) else { return };
        let link = Arc::clone(link);
        link.close_sending();
        self.timers.clear(Timer::HangUp(token));
        self.timers.set(Timer::Linger(token), clock::now() + LINGER);
        engine.shard.lock().lingering += 1;
        self.sources.insert(engine, token, Source::Lingering(Arc::clone(&link)));
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
        if !matches!(self.sources.get(token), Some(Source::Link(_))) {
            return;
        }
        if let Some(Source::Link(link)) = self.remove(token) {
            link.end();
            link.cut();
            engine.link_down(link.id, why);
        }
    }

    fn linger(&mut self, token: usize) {
        let Some(Source::Lingering(link)) = self.sources.get(token) else { return };
        match link.discard(&mut self.cipher) {
            Discarded::All => {}
            Discarded::Some => self.unread.push_back((token, false)),
            Discarded::End => drop(self.remove(token)),
        }
    }

    /// Closes a source without a word.
    fn cut(&mut self, token: usize) {
        match self.remove(token) {
            Some(Source::Link(link)) => {
                link.end();
                link.cut();
            }
            Some(Source::Bridge(bridge)) => bridge.cut(),
            _ => {}
        }
    }

    /// The node closes: all that it has here goes without a word, and nothing of the others.
    fn leave(&mut self, engine: &Arc<Engine>) {
        for token in self.sources.of(engine.number) {
            self.cut(token);
        }
        let dials = (engine.number, AttemptId(0))..=(engine.number, AttemptId(u64::MAX));
        for key in self.dials.range(dials).map(|(&key, _)| key).collect::<Vec<_>>() {
            self.cancel_dial(key);
        }
        self.held_dials.forget_node(engine.number);
        self.ticking.retain(|(owner, _)| !Arc::ptr_eq(owner, engine));
        self.doors.remove(&engine.number);
        self.timers.clear(Timer::Accept(engine.number));
        engine.release();
    }

    /// The loop ends: everything goes, the memory that the turns used too.
    pub(super) fn clear(&mut self) {
        for token in self.sources.all() {
            self.cut(token);
        }
        self.doors.clear();
        self.unread.clear();
        self.shaking.clear();
        self.starting.clear();
        self.held_dials = HeldDials::default();
        self.ticking.clear();
        self.dials.clear();
        self.timers = Deadlines::default();
        self.network = None;
        (self.cipher, self.plain, self.piece) = (Vec::new(), BytesMut::new(), Vec::new());
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

    /// Sends what a burst of small messages left to the driver. While it does, threads only write; what they wrote is
    /// drained here, so that many messages cost one drain, one record and one system call.
    fn send_gathered(self: &Arc<Self>, link: &Arc<Link>) {
        if !self.settings.gather {
            return self.flush_as(link, By::Asked);
        }
        for _ in 0..GATHER_ROUNDS {
            self.with_shard(|shard, _, _| {
                shard.is_gathering = true;
                shard.asked = shard.asked.filter(|&asked| asked != link.id);
            });
            self.flush_as(link, By::Asked);
            if self.shard.lock().stop_gathering() {
                return;
            }
        }
        // Others get their turn.
        self.with_shard(|shard, _, _| shard.is_gathering = false);
        self.post(Command::Flush(Arc::clone(link)));
    }

    fn link_down(self: &Arc<Self>, link: LinkId, why: Error) {
        self.with_shard(|shard, now, batch| {
            shard.links.remove(&link);
            shard.input(now, Input::LinkDown { link, why }, batch);
            if shard.endings.is_some() {
                // The close may wait for nothing else.
                batch.bells.push(shard.event_bell.clone());
            }
        });
    }

    /// An inline handler that must wait, because the program is inside a blocking call.
    fn defer_call(&self, call: Arc<IncomingCall>) {
        let name = format!("service \"{}\"", call.request.service);
        // Refused only when the node has closed, and then nobody waits for the reply.
        let _ = self.workers.submit(super::workers::Task::chore(name, move || call.run()));
    }
}
