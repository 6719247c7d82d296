//! What the shard lock covers: the protocol, the links it speaks on, and what applications wait for.
//!
//! A shard never does I/O and never calls user code: it collects what has to be done in a [`Batch`], which is
//! carried out after the lock is free. One shard is built; sessions are given to a shard for life, and what
//! shards would tell each other is answered with an error line.
//!
//! Invariants: every change of the protocol is drained before the next; nothing here blocks.

use super::alarm::NodeAlarm;
use super::bell::Bell;
use super::command::Command;
use super::connecting::PendingConnect;
use super::draining::Draining;
use super::event::{EventQueue, LogLevel, NodeEvent, SessionEvent};
use super::link::Link;
use super::object::{KindCallbacks, SharedPayload};
use super::service::{Running, Service};
use super::store::Store;
use super::tasks::object_task;
use super::watch::{ReadyQueue, Waiting, Watcher};
use super::workers::ObjectKey;
use bytes::Bytes;
use clerver_proto::channel::Piece;
use clerver_proto::error::{Code, Error, Result};
use clerver_proto::id::{ChannelId, ConnectorId, LinkId, NodeId, ObjectId, SessionId};
use clerver_proto::node::{CallRequest, Input, LossReport, Node, ObjectAction, Output, SessionState};
use clerver_proto::small_map::SmallMap;
use clerver_proto::time::Instant;
use smallvec::SmallVec;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

/// Up to this many links of a batch are compared one by one, which costs less than a set.
const LINKS_COMPARED: usize = 16;

/// What applications know of one session.
pub(crate) struct Hub {
    pub(crate) peer: Option<NodeId>,
    pub(crate) state: SessionState,
    pub(crate) report: Option<Box<LossReport>>,
    pub(crate) events: EventQueue<SessionEvent>,
    pub(crate) bell: Bell,
    /// Threads that wait for its channels.
    pub(super) waiting: Vec<Waiting>,
    /// Who else is told of channels.
    pub(super) watchers: BTreeMap<ChannelId, Watcher>,
    /// Handles that the application holds, clones counted once.
    pub(crate) handles: usize,
    /// Of them, bridges to plain descriptors.
    pub(super) bridges: usize,
    /// Token of the program's events about it.
    pub(super) watched: Option<u64>,
    /// The protocol has no trace of it left.
    pub(crate) is_forgotten: bool,
    /// Bytes of requests that wait for their handlers.
    pub(crate) waiting_bytes: Arc<AtomicU64>,
}

/// A call that a peer made, to be run.
pub(crate) struct CallWork {
    pub(crate) service: Arc<Service>,
    pub(crate) session: SessionId,
    pub(crate) peer: Option<NodeId>,
    /// Of the session.
    pub(crate) bell: Bell,
    pub(crate) request: Box<CallRequest>,
    pub(crate) running: Arc<Running>,
}

/// An object callback to be run.
pub(crate) struct ObjectWork {
    pub(crate) session: SessionId,
    pub(crate) object: ObjectId,
    pub(crate) kind: Option<Arc<KindCallbacks>>,
    pub(crate) kind_name: String,
    pub(crate) action: ObjectAction,
    /// What the object was embalmed as.
    pub(crate) kept: Bytes,
}

/// What has to be done after the shard lock is free.
#[derive(Default)]
pub(crate) struct Batch {
    /// Most batches have one.
    links: SmallVec<[Arc<Link>; 1]>,
    /// Of `links`, once they are many.
    touched: BTreeSet<LinkId>,
    /// Somebody waits for the answer to what is sent.
    pub(crate) is_urgent: bool,
    pub(crate) bells: SmallVec<[Bell; 1]>,
    pub(crate) commands: Vec<Command>,
    pub(crate) calls: Vec<CallWork>,
    pub(crate) objects: Vec<ObjectWork>,
    pub(crate) lines: Vec<(LogLevel, String)>,
    /// The queue of node events changed.
    pub(crate) has_events: bool,
}

impl Batch {
    /// Whether a waiting thread has to let go of the lock before it sleeps.
    pub(crate) fn is_empty(&self) -> bool {
        self.links.is_empty() && !self.has_news()
    }

    /// Whether something happened for somebody else than the owner of this bell.
    pub(super) fn concerns_others(&self, own: &Bell) -> bool {
        self.bells.iter().any(|bell| !bell.is(own))
            || !self.calls.is_empty()
            || !self.objects.is_empty()
            || self.has_events
    }

    /// Notes once that there is something to send. A few links are compared, many are looked up.
    pub(super) fn touch(&mut self, link: &Arc<Link>) {
        let is_known = if self.links.len() < LINKS_COMPARED {
            self.links.iter().any(|known| Arc::ptr_eq(known, link))
        } else {
            if self.touched.is_empty() {
                self.touched.extend(self.links.iter().map(|known| known.id));
            }
            !self.touched.insert(link.id)
        };
        if !is_known {
            self.links.push(Arc::clone(link));
        }
    }

    /// The links to flush; from here on they are noted anew.
    pub(super) fn take_links(&mut self) -> SmallVec<[Arc<Link>; 1]> {
        self.touched.clear();
        std::mem::take(&mut self.links)
    }

    /// Whether there is anything to tell but to the links.
    pub(super) fn has_news(&self) -> bool {
        !(self.bells.is_empty()
            && self.commands.is_empty()
            && self.calls.is_empty()
            && self.objects.is_empty()
            && self.lines.is_empty()
            && !self.has_events)
    }
}

/// See the module.
pub(crate) struct Shard {
    pub(crate) node: Node,
    pub(super) store: Option<Arc<Store>>,
    alarm: NodeAlarm,
    /// The driver sends what is written now, and looks again before it stops: nobody else need do more than write.
    pub(super) is_gathering: bool,
    /// Of this link nobody but the driver sends, which was asked to come and drains first.
    pub(super) asked: Option<LinkId>,
    /// Something was written and not drained.
    is_undrained: bool,
    wake: Instant,
    pub(crate) links: SmallMap<LinkId, Arc<Link>>,
    /// Links that the protocol is done with, and that wait for their peer's goodbye.
    pub(super) lingering: usize,
    /// Boxed, as all that is large in a table that may have room for more.
    pub(crate) hubs: SmallMap<SessionId, Box<Hub>>,
    pub(crate) connecting: SmallMap<ConnectorId, Box<PendingConnect>>,
    /// Since somebody drained the node.
    pub(super) draining: Option<Draining>,
    pub(crate) accepted: VecDeque<SessionId>,
    pub(crate) accept_bell: Bell,
    pub(crate) events: EventQueue<NodeEvent>,
    pub(super) ready: ReadyQueue,
    pub(crate) event_bell: Bell,
    events_max: usize,
    /// Bytes of requests of one session that may wait for their handlers.
    pub(super) waiting_bytes_max: u64,
    pub(crate) services: BTreeMap<String, Arc<Service>>,
    pub(crate) kinds: HashMap<String, Arc<KindCallbacks>>,
    pub(crate) payloads: BTreeMap<ObjectKey, SharedPayload>,
    pub(crate) running: BTreeMap<(SessionId, ChannelId), Arc<Running>>,
    /// Whole replies for which there was no room, of calls that still count as running; they go when there is.
    pub(super) answers: BTreeMap<(SessionId, ChannelId), Bytes>,
    /// A caller-driven program blocks on this session, and runs no handlers meanwhile.
    pub(crate) blocked_on: Option<SessionId>,
    pub(super) chores: VecDeque<Chore>,
    /// Why nothing works any more.
    pub(crate) closed: Option<Box<Error>>,
    /// The protocol panicked, and is not asked again.
    pub(super) is_broken: bool,
    /// What sessions left while the node closes.
    pub(crate) endings: Option<Vec<(SessionId, Option<NodeId>, LossReport)>>,
}

/// What the shard itself asks of the protocol, one at a time and drained like everything else.
pub(super) enum Chore {
    /// Nobody can read from this ended session any more.
    Forget(SessionId),
    /// This call cannot be run.
    Refuse(SessionId, ChannelId, Error),
    /// There may be room for the reply that waits for it.
    Answer(SessionId, ChannelId),
}

impl Shard {
    pub(super) fn new(
        node: Node,
        alarm: NodeAlarm,
        events_max: usize,
        waiting_bytes_max: u64,
        bells: (Bell, Bell),
    ) -> Shard {
        let (accept_bell, event_bell) = bells;
        Shard {
            node,
            store: None,
            alarm,
            is_gathering: false,
            asked: None,
            is_undrained: false,
            wake: Instant::NEVER,
            links: SmallMap::default(),
            lingering: 0,
            hubs: SmallMap::default(),
            connecting: SmallMap::default(),
            draining: None,
            accepted: VecDeque::new(),
            accept_bell,
            events: EventQueue::new(events_max),
            ready: ReadyQueue::new(event_bell.clone()),
            event_bell,
            events_max,
            waiting_bytes_max,
            services: BTreeMap::new(),
            kinds: HashMap::new(),
            payloads: BTreeMap::new(),
            running: BTreeMap::new(),
            answers: BTreeMap::new(),
            blocked_on: None,
            chores: VecDeque::new(),
            closed: None,
            is_broken: false,
            endings: None,
        }
    }

    /// Advances timers to now, so that a thread that slept uses no dead lease (T1).
    ///
    /// Everything that an application asks begins with this: what was gathered is drained first.
    pub(crate) fn advance(&mut self, now: Instant, batch: &mut Batch) {
        if self.is_undrained {
            self.drain(now, batch);
        }
        if now >= self.wake && !self.is_broken {
            self.input(now, Input::Tick, batch);
        }
    }

    /// The entry for `at` in the loop's table of deadlines is used up; called after `advance`.
    pub(super) fn rang(&mut self, at: Instant) {
        self.alarm.rang(at, self.wake);
    }

    /// The node is not driven any more. Answers its links, to be dropped without the lock.
    pub(super) fn leave(&mut self) -> SmallMap<LinkId, Arc<Link>> {
        self.alarm.leave();
        std::mem::take(&mut self.links)
    }

    /// Whether what a session writes is drained by the driver before it sleeps.
    pub(super) fn gathers(&self, session: SessionId) -> bool {
        self.is_gathering || self.asked.is_some_and(|link| self.node.lone_link(session) == Some(link))
    }

    /// Whether a thread in a hurry has to take the ordinary way: a deadline has come, or all is over.
    fn has_other_work(&self, now: Instant) -> bool {
        self.is_broken || self.closed.is_some() || now >= self.wake
    }

    /// Writes while the driver gathers.
    pub(super) fn gather(
        &mut self,
        now: Instant,
        session: SessionId,
        channel: ChannelId,
        data: Piece<'_>,
    ) -> Option<usize> {
        if self.has_other_work(now) {
            return None;
        }
        self.is_undrained = true;
        // Whatever is wrong is said to whoever tries in the ordinary way.
        self.node.channel_send(now, session, channel, data).ok()
    }

    /// Takes what lies ready, unless time or other threads left something to do before. A drain follows.
    pub(super) fn take_at_once(
        &mut self,
        now: Instant,
        session: SessionId,
        channel: ChannelId,
        bytes_max: usize,
    ) -> Option<Result<Bytes>> {
        if self.is_undrained || self.has_other_work(now) {
            return None;
        }
        self.node.channel_receive(now, session, channel, bytes_max).transpose()
    }

    /// Whether nothing was written since the last drain; then the driver gathers no more.
    pub(super) fn stop_gathering(&mut self) -> bool {
        self.is_gathering = self.is_undrained;
        !self.is_undrained
    }

    /// Something happened in the world.
    pub(crate) fn input(&mut self, now: Instant, input: Input, batch: &mut Batch) {
        self.input_undrained(now, input, batch);
        self.drain(now, batch);
    }

    /// As `input`; a command that only takes may follow, and then the drain.
    pub(super) fn input_undrained(&mut self, now: Instant, input: Input, batch: &mut Batch) {
        // Otherwise the protocol refuses it, and a grant that is refused is gone for good.
        if self.is_undrained {
            self.drain(now, batch);
        }
        if self.is_broken {
            return;
        }
        if let Err(error) = self.node.handle(now, input) {
            batch.lines.push((LogLevel::Error, format!("the protocol refused an input: {error}")));
        }
    }

    /// Takes everything that the protocol has to say. Call it after every change.
    pub(crate) fn drain(&mut self, now: Instant, batch: &mut Batch) {
        self.is_undrained = false;
        if self.is_broken {
            return;
        }
        loop {
            while let Some(output) = self.node.poll(now) {
                self.output(output, batch);
            }
            if let Some(chore) = self.chores.pop_front() {
                self.do_chore(now, chore);
            } else if self.drain_may_be_over() {
                self.look_at_drain(now, batch);
            } else {
                return;
            }
        }
    }

    fn do_chore(&mut self, now: Instant, chore: Chore) {
        // An error means that the session ended meanwhile, and then there is nothing left to do.
        match chore {
            Chore::Forget(session) => drop(self.node.session_forget(now, session)),
            Chore::Answer(session, call) => self.answer_waiting(now, session, call),
            Chore::Refuse(session, call, why) => {
                let _ = self.node.call_refuse(now, session, call, why);
            }
        }
    }

    fn output(&mut self, output: Output, batch: &mut Batch) {
        match output {
            Output::Send { link, parts } => {
                if let Some(link) = self.links.get(&link) {
                    link.append(parts);
                    batch.touch(link);
                }
            }
            Output::Dial { attempt, address, expected, rung: _ } => {
                batch.commands.push(Command::Dial { attempt, address, expected });
            }
            Output::CancelDial { attempt } => batch.commands.push(Command::CancelDial(attempt)),
            Output::Hangup { link, why } => {
                if let Some(found) = self.links.get(&link) {
                    found.hang_up();
                    batch.touch(found);
                    batch.lines.push((LogLevel::Debug, format!("hang up on {}: {why}", found.with)));
                    batch.commands.push(Command::HangUp(link));
                }
            }
            Output::Event(event) => self.note(event, batch),
            Output::Wake(at) => {
                self.wake = at;
                self.alarm.wake_at(at);
            }
            Output::Store { operation, changes } => match &self.store {
                // It never blocks, and under the lock the batches keep their order.
                Some(store) => store.submit(operation, changes),
                None => Self::unbuilt("a store", batch),
            },
            Output::HandOff { .. } | Output::ToShard(_) => Self::unbuilt("several shards", batch),
        }
    }

    fn unbuilt(what: &str, batch: &mut Batch) {
        let line = format!("the protocol asks for {what}, which this version does not have");
        batch.lines.push((LogLevel::Error, line));
    }

    /// What is known of a session, made when it is first heard of.
    pub(crate) fn hub(&mut self, session: SessionId) -> &mut Hub {
        let events_max = self.events_max;
        self.hubs.get_or_insert_with(session, || {
            Box::new(Hub {
                peer: None,
                state: SessionState::Registering,
                report: None,
                events: EventQueue::new(events_max),
                bell: Bell::default(),
                waiting: Vec::new(),
                watchers: BTreeMap::new(),
                handles: 0,
                bridges: 0,
                watched: None,
                is_forgotten: false,
                waiting_bytes: Arc::default(),
            })
        })
    }

    /// The link of a session that has exactly one.
    pub(super) fn lone_link(&self, session: SessionId) -> Option<&Arc<Link>> {
        self.links.get(&self.node.lone_link(session)?)
    }

    /// A link of the session that nobody reads and nobody watches.
    pub(super) fn unwatched_link(&self, session: SessionId) -> Option<&Arc<Link>> {
        self.node.links_of(session).filter_map(|id| self.links.get(&id)).find(|link| link.is_unwatched())
    }

    /// Nobody can ask for this session any more; ends it in the protocol too, and drops it once that has
    /// forgotten it.
    pub(crate) fn drop_if_unused(&mut self, session: SessionId) {
        let Some(hub) = self.hubs.get(&session) else { return };
        if hub.handles > 0 || !hub.state.is_final() || self.accepted.contains(&session) {
            return;
        }
        if self.connecting.values().any(|connecting| connecting.offers(session)) {
            return;
        }
        if hub.is_forgotten {
            self.hubs.remove(&session);
        } else {
            self.chores.push_back(Chore::Forget(session));
        }
    }

    /// The error for everything after the end.
    pub(crate) fn check_open(&self) -> Result<()> {
        match &self.closed {
            Some(why) => Err((**why).clone()),
            None => Ok(()),
        }
    }

    /// What the destructors of the objects that are left are called in reports.
    pub(crate) fn destructors(&self) -> BTreeMap<ObjectKey, String> {
        let mut names = BTreeMap::new();
        let (mut known, mut kinds) = (None, HashMap::new());
        for &(session, object) in self.payloads.keys() {
            if known.replace(session) != Some(session) {
                let infos = self.node.objects(session).unwrap_or_default();
                kinds = infos.into_iter().map(|info| (info.object, info.kind)).collect();
            }
            let kind = kinds.get(&object).map_or("", String::as_str);
            names.insert((session, object), object_task(ObjectAction::Destroy, kind));
        }
        names
    }

    /// Ends everything that waits or will be asked. Answers the handlers and kinds, to be dropped without the
    /// lock.
    pub(crate) fn close(&mut self, why: Error, batch: &mut Batch) -> impl Sized + use<> {
        self.closed = Some(Box::new(why));
        batch.bells.extend([self.accept_bell.clone(), self.event_bell.clone()]);
        batch.bells.extend(self.connecting.values().map(|connecting| connecting.bell.clone()));
        for (session, hub) in self.hubs.iter() {
            hub.ring_all(session, &mut self.ready, batch);
        }
        for (_, payload) in std::mem::take(&mut self.payloads) {
            // Its destructor did not run in time and may yet begin, or something still uses it: better leaked
            // than freed.
            std::mem::forget(payload);
        }
        (std::mem::take(&mut self.services), std::mem::take(&mut self.kinds))
    }
}

/// The error of a call that cannot be run here.
pub(super) fn not_run(service: &str, code: Code, why: &str) -> Error {
    Error::new(code, format!("call of service \"{service}\": {why}"))
}
