//! One running clerver without its sockets: what the engine and the simulator drive.
//!
//! A [`Node`] has four kinds of method. *World*: [`Node::handle`] takes what happened outside. *Commands*:
//! the typed methods are what the application asks for. *Drain*: [`Node::poll`] says what shall happen
//! outside. *Questions* change nothing. The law: after every world input and every command, call `poll` until
//! it answers `None`; otherwise the next one answers `NOT_DRAINED`. Only what takes (`channel_receive`,
//! `call_take`) and `channel_send` may come before the drain, so that one drain does for several of them. The
//! instant of each call advances timers first (T1); it never goes back.
//!
//! This file keeps the maps and routes between links (`handshake`), pairs of nodes (`pair`), wishes to be
//! connected (`connector`) and sessions. Invariant: input from a link, attempt or operation that is not known
//! changes nothing (L1).

mod commands;
mod company;
mod connector;
mod handshake;
mod objects;
mod pair;
mod redial;
mod revival;
mod routes;
mod shelf;
mod stored;

pub use crate::io::*;
pub use crate::options::*;
pub use revival::Restored;

use revival::Relic;

use crate::crypto::{KeyedHash, Random};
use crate::error::{Code, Error, Result};
use crate::id::{AttemptId, ConnectorId, HostId, LinkId, NodeId, ObjectId, ProcessId, SessionId, Sid};
use crate::limits::TTL_FLOOR_PER_SESSION;
use crate::session::{Effect, Services, Session};
use crate::small_map::SmallMap;
use crate::time::{Deadlines, Instant};
use bytes::{Bytes, BytesMut};
use connector::Connector;
use handshake::Link;
use pair::Pair;
use shelf::Shelf;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

/// Counters of a node.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Sessions not forgotten.
    pub sessions: u64,
    /// Links known, attached or not.
    pub links: u64,
    /// Links refused, by either side.
    pub refused: u64,
    /// Bytes handed to links.
    pub bytes_sent: u64,
    /// Bytes that came from links.
    pub bytes_received: u64,
    /// Bytes handed to a link a second time.
    pub bytes_repeated: u64,
    /// Bytes that came twice and were dropped.
    pub bytes_duplicate: u64,
    /// Objects that exist here.
    pub objects: u64,
    /// Sessions that are embalmed.
    pub embalmed: u64,
    /// Bytes that they are kept as.
    pub embalmed_bytes: u64,
    /// Timers that stand.
    pub timers: u64,
    /// Bytes kept for sending and for reading.
    pub buffered: u64,
}

/// Outputs for which an idle node has room: that of a beat.
const OUTPUTS_KEPT: usize = 1;

/// What is known of a session.
#[derive(Debug, Clone)]
pub struct SessionInfo {
    /// Its name on the wire.
    pub sid: Sid,
    /// With whom.
    pub peer: NodeId,
    /// What people call the peer's machine.
    pub peer_host_name: String,
    /// What people call the peer.
    pub peer_name: String,
    /// State as the application sees it.
    pub state: SessionState,
    /// The peer's level.
    pub level: u8,
    /// Effective TTL (T5).
    pub ttl: Duration,
    /// Effective beat.
    pub beat: Duration,
    /// Links attached now.
    pub links: usize,
    /// Links attached in all.
    pub links_total: u64,
    /// Smoothed round trip of the best link.
    pub round_trip: Option<Duration>,
    /// The peer said that it drains.
    pub peer_drains: bool,
    /// Bytes that the peer may still send or that wait to be taken; at most the session budget (I6).
    pub outstanding: u64,
    /// Channels known at this end, channel 0 included.
    pub channels: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    Link(LinkId),
    Session(SessionId),
    Connector(ConnectorId),
    Shelf,
}

/// Sessions that have to be looked at before the node is drained, each once. Mostly it is one.
#[derive(Debug, Clone, Default)]
struct Dirty {
    first: Option<SessionId>,
    others: BTreeSet<SessionId>,
}

impl Dirty {
    fn insert(&mut self, id: SessionId) {
        match self.first {
            Some(first) if first == id => {}
            None if self.others.is_empty() => self.first = Some(id),
            _ => drop(self.others.insert(id)),
        }
    }

    fn pop(&mut self) -> Option<SessionId> {
        self.first.take().or_else(|| if self.others.is_empty() { None } else { self.others.pop_first() })
    }
}

/// A running clerver without its sockets.
#[derive(Debug, Clone)]
pub struct Node {
    id: NodeId,
    options: Arc<NodeOptions>,
    /// In the place of that in the options, once it was replaced.
    new_trust: Option<Box<Trust>>,
    hash: Arc<dyn KeyedHash>,
    random: Random,
    services: Services,
    kinds: BTreeMap<String, KindOptions>,
    links: SmallMap<LinkId, Box<Link>>,
    /// Links that are not attached.
    pending: SmallMap<LinkId, ()>,
    pairs: SmallMap<NodeId, Box<Pair>>,
    sessions: SmallMap<SessionId, Box<Session>>,
    connectors: SmallMap<ConnectorId, Box<Connector>>,
    attempts: SmallMap<AttemptId, ConnectorId>,
    /// Sessions that are embalmed.
    shelf: Shelf,
    /// Embalmed objects on their way to another session: from, object, to.
    reviving: BTreeMap<(SessionId, ObjectId), SessionId>,
    /// Revived objects whose new session ended meanwhile: they are destroyed under their old name.
    orphans: BTreeSet<(SessionId, ObjectId)>,
    /// Batches that are with the store, and whose they are.
    operations: VecDeque<(u64, SessionId)>,
    next_operation: u64,
    relics: Vec<Relic>,
    next_session: u64,
    next_connector: u64,
    next_attempt: u64,
    /// Where this node can be reached, which its peers are told.
    addresses: Vec<OwnAddress>,
    /// The TTL floor that the sessions were last told of.
    ttl_floor_told: Duration,
    next_link_counter: u64,
    next_n: u64,
    timers: Deadlines<Timer>,
    /// Of pairs without a session. In a table of their own, because their long keys would make every timer large.
    pair_timers: Deadlines<NodeId>,
    out: VecDeque<Output>,
    dirty: Dirty,
    /// For small frames on their way out.
    head: BytesMut,
    now: Instant,
    started: Instant,
    started_wall_ms: u64,
    drained: bool,
    wake_due: bool,
    counters: Counters,
}

impl Node {
    /// A node that runs under this host's key; nodes may share their options. `seed` is 32 secret random bytes,
    /// from which the process id and all secrets are drawn; `wall_ms` is the wall clock, in milliseconds since
    /// 1970, at `now`.
    ///
    /// # Errors
    /// `CONFIG` naming the option that is out of range.
    pub fn new(
        options: impl Into<Arc<NodeOptions>>,
        host: HostId,
        hash: Arc<dyn KeyedHash>,
        seed: [u8; 32],
        now: Instant,
        wall_ms: u64,
    ) -> Result<Node> {
        let options = options.into();
        options.check()?;
        let mut random = Random::new(hash.clone(), seed);
        let process = ProcessId(random.bytes16());
        Ok(Node {
            id: NodeId { host, process },
            options,
            new_trust: None,
            hash,
            random,
            services: Services::default(),
            kinds: BTreeMap::new(),
            links: SmallMap::default(),
            pending: SmallMap::default(),
            pairs: SmallMap::default(),
            sessions: SmallMap::default(),
            connectors: SmallMap::default(),
            attempts: SmallMap::default(),
            shelf: Shelf::default(),
            reviving: BTreeMap::new(),
            orphans: BTreeSet::new(),
            operations: VecDeque::new(),
            next_operation: 0,
            relics: Vec::new(),
            next_session: 0,
            next_connector: 0,
            next_attempt: 0,
            addresses: Vec::new(),
            ttl_floor_told: Duration::ZERO,
            next_link_counter: 0,
            next_n: 0,
            timers: Deadlines::default(),
            pair_timers: Deadlines::default(),
            out: VecDeque::new(),
            dirty: Dirty::default(),
            head: BytesMut::new(),
            now,
            started: now,
            started_wall_ms: wall_ms,
            drained: true,
            wake_due: true,
            counters: Counters::default(),
        })
    }

    /// Who this node is.
    pub fn id(&self) -> NodeId {
        self.id
    }

    fn trust(&self) -> &Trust {
        self.new_trust.as_deref().unwrap_or(&self.options.trust)
    }

    /// Counters since the start, and gauges of now.
    pub fn counters(&self) -> Counters {
        let sum =
            |each: fn(&Session) -> u64| self.sessions.values().map(|session| each(session)).sum::<u64>();
        Counters {
            sessions: self.sessions.len() as u64,
            links: self.links.len() as u64,
            bytes_sent: self.counters.bytes_sent + sum(|session| session.bytes_sent),
            bytes_repeated: self.counters.bytes_repeated + sum(|session| session.waste().0),
            bytes_duplicate: self.counters.bytes_duplicate + sum(|session| session.waste().1),
            objects: sum(|session| session.objects.len() as u64),
            timers: (self.timers.len()
                + self.pair_timers.len()
                + self.sessions.values().map(|session| session.timers()).sum::<usize>())
                as u64,
            buffered: sum(Session::buffered),
            embalmed: self.shelf.len() as u64,
            embalmed_bytes: self.shelf.bytes(),
            ..self.counters
        }
    }

    /// A hash of everything that this node knows, for tests: equal states have equal fingerprints.
    pub fn fingerprint(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        format!(
            "{:?}{:?}{:?}{:?}{:?}{:?}{:?}{:?}",
            self.links,
            self.pairs,
            self.sessions,
            self.connectors,
            self.attempts,
            self.timers,
            self.pair_timers,
            self.random
        )
        .hash(&mut hasher);
        hasher.finish()
    }

    /// Takes what happened outside.
    ///
    /// # Errors
    /// `NOT_DRAINED` when `poll` was not called until `None` before; `UNSUPPORTED` for inputs that are not
    /// built yet.
    pub fn handle(&mut self, now: Instant, input: Input) -> Result<()> {
        self.enter(now)?;
        match input {
            Input::Tick => self.out.shrink_to(OUTPUTS_KEPT),
            Input::LinkUp { link, info } => self.on_link_up(link, *info),
            Input::Bytes { link, bytes } => self.on_bytes(link, bytes),
            Input::Writable { link, bytes } => self.on_writable(link, bytes),
            Input::LinkDown { link, why } => self.on_link_down(link, why),
            Input::LinkDoubted { link } => self.on_link_doubted(link),
            Input::NetworkChanged => self.on_network_changed(),
            Input::DialAnswered { attempt } => self.on_dial_answered(attempt),
            Input::DialFailed { attempt, why } => self.on_dial_failed(attempt, why),
            Input::Done { operation } => self.on_stored(operation),
            Input::FromShard(message) => {
                let what = format!("message from shard {}: several shards are not built yet", message.from);
                return Err(Error::new(Code::Unsupported, what));
            }
        }
        Ok(())
    }

    /// Whether [`Node::poll`] has to be called before the next input or command.
    pub fn has_output(&self) -> bool {
        !self.drained
    }

    /// What shall happen outside, one thing at a time; `None` when drained.
    pub fn poll(&mut self, now: Instant) -> Option<Output> {
        if self.drained {
            return None;
        }
        self.now = self.now.max(now);
        for _ in 0..1_000_000 {
            if let Some(output) = self.out.pop_front() {
                return Some(output);
            }
            if let Some(id) = self.dirty.pop() {
                self.flush_session(id);
            } else if self.wake_due {
                let next = self.next_timer();
                if next <= self.now {
                    self.advance();
                    continue;
                }
                self.wake_due = false;
                return Some(Output::Wake(next));
            } else {
                self.drained = true;
                return None;
            }
        }
        // Something is due again and again: rather late than never.
        debug_assert!(false, "the node has work that never ends");
        self.drained = true;
        Some(Output::Wake(self.now + Duration::from_millis(1)))
    }

    /// Every call begins here: the drain law, then timers (T1).
    fn enter(&mut self, now: Instant) -> Result<()> {
        if !self.drained {
            return Err(Error::new(Code::NotDrained, "the node was asked before it was drained"));
        }
        self.enter_undrained(now);
        Ok(())
    }

    /// As `enter`, for a call that may come before the drain.
    fn enter_undrained(&mut self, now: Instant) {
        self.drained = false;
        self.wake_due = true;
        self.now = self.now.max(now);
        self.advance();
    }

    /// Acts on everything whose time has come.
    fn advance(&mut self) {
        while let Some(timer) = self.timers.pop_due(self.now) {
            match timer {
                Timer::Link(link) => self.on_link_timeout(link),
                Timer::Session(id) => {
                    if let Some(session) = self.sessions.get_mut(&id) {
                        session.watched_until = Instant::NEVER;
                        session.tick(self.now, &self.services);
                        self.dirty.insert(id);
                    }
                }
                Timer::Connector(id) => self.on_connector_timer(id),
                Timer::Shelf => self.clear_shelf(),
            }
        }
        while let Some(peer) = self.pair_timers.pop_due(self.now) {
            self.on_pair_timer(peer);
        }
    }

    /// When something is due next.
    fn next_timer(&self) -> Instant {
        let next = |at: Option<Instant>| at.unwrap_or(Instant::NEVER);
        next(self.timers.next()).min(next(self.pair_timers.next()))
    }

    /// A busy node needs longer to hear from everybody again after a cut of all links (T5).
    pub(super) fn ttl_floor(&self) -> Duration {
        let sessions = u32::try_from(self.sessions.len()).unwrap_or(u32::MAX);
        let by_load = TTL_FLOOR_PER_SESSION.saturating_mul(sessions);
        self.options.ttl_floor.max(by_load).min(self.options.ttl_max)
    }

    /// Sessions from the time when the node had few hear of a floor that rose with their next beat, or they were lost
    /// first in a storm. That is looked after when it rose by an eighth, so that each costs a few steps in all.
    pub(super) fn spread_ttl_floor(&mut self) {
        let floor = self.ttl_floor();
        let told = self.ttl_floor_told;
        if floor < told / 2 {
            self.ttl_floor_told = floor;
        }
        if floor > told + told / 8 {
            self.ttl_floor_told = floor;
            self.sessions.values_mut().for_each(|session| session.liveness.raise_ttl(floor));
        }
    }

    fn wall_ms(&self) -> u64 {
        let since = self.now.since(self.started).as_millis();
        self.started_wall_ms.saturating_add(u64::try_from(since).unwrap_or(u64::MAX))
    }

    fn event(&mut self, event: Event) {
        self.out.push_back(Output::Event(event));
    }

    /// Carries out what a session asked for, hands out what it may send, and looks when it is due next.
    fn flush_session(&mut self, id: SessionId) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        // What ended something may have left its readers and writers unsaid.
        while session.settle(self.now, &self.services).is_err() {}
        let mut leaving = Vec::new();
        let silent = !session.attached;
        let mut ways_changed = false;
        while let Some(effect) = session.effects.pop_front() {
            ways_changed |= matches!(effect, Effect::Event(SessionEvent::PeerAddresses(_)));
            match effect {
                Effect::Event(_) if silent => {}
                Effect::Event(event) => {
                    self.out.push_back(Output::Event(Event::Session { session: id, event }))
                }
                other => leaving.push(other),
            }
        }
        if ways_changed {
            self.note_ways(id);
        }
        let Some(session) = self.sessions.get_mut(&id) else { return };
        let changes = session.keep();
        if !changes.is_empty() {
            self.next_operation += 1;
            session.is_asked(self.next_operation);
            self.operations.push_back((self.next_operation, id));
            self.out.push_back(Output::Store { operation: self.next_operation, changes });
        }
        session.transmit(self.now, &mut self.head, &mut |output| self.out.push_back(output));
        for effect in leaving {
            match effect {
                Effect::Hangup(link, why) => self.leave(id, link, None, why),
                Effect::Gone(link, code, why) => self.leave(id, link, Some(code), why),
                Effect::Event(_) => {}
            }
        }
        self.move_revived(id);
        self.look_after(id);
    }

    /// Whoever waits for what became of a session.
    fn look_after(&mut self, id: SessionId) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        let next = session.next_deadline();
        if next < session.watched_until {
            session.watched_until = next;
            self.timers.set(Timer::Session(id), next);
        }
        // One that comes from the store is not given up before its peer could come.
        let is_put_by = session.state == SessionState::Embalmed && !session.is_unrevived;
        if is_put_by || self.shelf.has(id) {
            self.watch_shelf(id);
        }
        let Some(session) = self.sessions.get_mut(&id) else { return };
        if !session.state.is_final() {
            let (may_leave, may_dial) = (session.peer_drains, session.knows_where());
            let may_spread = session.may_spread;
            if !session.connectors.is_empty() || may_dial {
                if may_leave {
                    self.leave_draining_peer(id);
                }
                self.serve_connectors(id);
                if may_spread {
                    self.spread_links(id);
                }
            }
            return;
        }
        let over = session.is_over() && (session.forgotten || !session.attached);
        let (peer, settled) = (session.peer, session.is_settled());
        self.end_connectors_of(id);
        self.note_end(peer, id);
        if settled {
            self.wake_waiting_links(peer);
        }
        if over {
            self.forget_session(id);
        }
    }

    fn forget_session(&mut self, id: SessionId) {
        let Some(session) = self.sessions.remove(&id) else { return };
        self.timers.clear(Timer::Session(id));
        self.shelf.note(id, None);
        self.reviving.retain(|(from, _), to| *from != id && *to != id);
        self.counters.bytes_sent += session.bytes_sent;
        self.counters.bytes_repeated += session.waste().0;
        self.counters.bytes_duplicate += session.waste().1;
        for link in session.links.keys() {
            self.hang_up(link, Error::new(Code::Closed, "its session is over"));
        }
        if session.attached {
            self.event(Event::Forgotten { session: id });
        }
        self.wake_waiting_links(session.peer);
    }

    /// Embalmed objects that are alive again join the session that they were revived for.
    fn move_revived(&mut self, from: SessionId) {
        while let Some((was, kind, rules, ttl, data)) =
            self.sessions.get_mut(&from).and_then(|session| session.revived.pop_front())
        {
            let to = self.reviving.remove(&(from, was));
            let joined = to.and_then(|to| self.sessions.get_mut(&to)).and_then(|session| {
                let object = session.object_attach(self.now, &kind, rules, ttl).ok()?;
                // It fitted its old session, so it fits this one.
                let _ = session.objects.update(object, data);
                session.effects.push_back(Effect::Event(SessionEvent::ObjectRevived { object, from, was }));
                Some(())
            });
            if joined.is_none() {
                // Its new session ended meanwhile: what was brought back is freed under its old name.
                let event = {
                    let (action, kept) = (ObjectAction::Destroy, Bytes::new());
                    SessionEvent::ObjectAction { object: was, kind, action, kept }
                };
                self.orphans.insert((from, was));
                self.event(Event::Session { session: from, event });
            }
            to.into_iter().for_each(|to| self.dirty.insert(to));
        }
    }
}

#[cfg(test)]
mod tests;
