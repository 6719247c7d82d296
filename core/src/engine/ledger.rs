//! What the events of the protocol mean to those who wait: the part of a shard that applications see.
//!
//! Invariant: events are queued under the shard lock, so every queue has the order of the protocol; whoever
//! waits is woken after the lock is free, and looks again under it.

use super::clock;
use super::event::{LogLevel, NodeEvent, SessionEvent};
use super::service::Running;
use super::shard::{Batch, CallWork, Chore, ObjectWork, Shard, not_run};
use super::watch::Ready;
use clerver_proto::error::Code;
use clerver_proto::id::{ChannelId, LinkId, NodeId, SessionId};
use clerver_proto::node::{CallRequest, Event, LossReport, SessionEvent as Told, SessionState};
use clerver_proto::time::Instant;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Ended sessions that wait for `accept`; then the oldest go unread.
const ENDED_WAITING_MAX: usize = 256;

impl Shard {
    pub(super) fn note(&mut self, event: Event, batch: &mut Batch) {
        match event {
            Event::Connected { connector, session, shared } => {
                let peer = self.meet(session);
                if self.connecting.get(&connector).is_some_and(|connecting| connecting.is_awaited()) {
                    self.settle_connect(connector, Ok(session), batch);
                } else {
                    // A connect that was answered long ago reached another node: nobody has a handle yet.
                    self.offer(session, batch);
                }
                if let Some(peer) = peer {
                    self.tell(NodeEvent::Connected { session, peer, shared }, batch);
                }
            }
            Event::ConnectFailed { connector, why } => {
                self.settle_connect(connector, Err(why.clone()), batch);
                let address = self.connecting.get(&connector).map(|connecting| connecting.address.clone());
                let address = address.unwrap_or_default();
                self.tell(NodeEvent::ConnectFailed { address, why }, batch);
            }
            Event::AddressFailed { connector, address, why } => {
                if let Some(connecting) = self.connecting.get_mut(&connector) {
                    connecting.last_failure = Some(Box::new(why.clone()));
                }
                batch.lines.push((
                    LogLevel::Info,
                    format!("dial of {address} failed, the next one is tried: {why}"),
                ));
                self.tell(NodeEvent::AddressFailed { address: address.to_string(), why }, batch);
            }
            Event::DialRetry { connector, why, after } => {
                let address = match self.connecting.get_mut(&connector) {
                    Some(connecting) => {
                        connecting.last_failure = Some(Box::new(why.clone()));
                        connecting.address.clone()
                    }
                    None => String::new(),
                };
                let line = format!("dial of {address} failed, again after {} ms: {why}", after.as_millis());
                batch.lines.push((LogLevel::Info, line));
                self.tell(NodeEvent::DialRetry { address, why, after }, batch);
            }
            Event::Accepted { session, peer } => {
                self.meet(session);
                self.hub(session).peer = Some(peer);
                self.offer(session, batch);
                self.tell(NodeEvent::Accepted { session, peer }, batch);
            }
            Event::Restored { session, peer } => self.note_restored(session, peer, batch),
            Event::Refused { peer, why } => {
                batch.lines.push((LogLevel::Warn, format!("a link with host {peer} was refused: {why}")));
                self.tell(NodeEvent::Refused { peer, why }, batch);
            }
            Event::OwnIdElsewhere { link } => self.note_own_id_elsewhere(link, batch),
            Event::Session { session, event } => self.note_session(session, event, batch),
            Event::Forgotten { session } => self.note_forgotten(session),
            Event::Notice { text } => {
                batch.lines.push((LogLevel::Info, text.clone()));
                self.tell(NodeEvent::Notice { text }, batch);
            }
        }
    }

    /// `accept` will give it out.
    fn offer(&mut self, session: SessionId, batch: &mut Batch) {
        if !self.accepted.contains(&session) {
            self.accepted.push_back(session);
        }
        batch.bells.push(self.accept_bell.clone());
    }

    /// Queues an event of the node.
    pub(crate) fn tell(&mut self, event: NodeEvent, batch: &mut Batch) {
        self.events.push(event);
        batch.has_events = true;
        batch.bells.push(self.event_bell.clone());
    }

    fn meet(&mut self, session: SessionId) -> Option<NodeId> {
        let peer = self.node.session_info(session).ok().map(|info| (info.peer, info.state));
        let hub = self.hub(session);
        if let Some((peer, state)) = peer {
            hub.peer = Some(peer);
            hub.state = state;
        }
        hub.peer
    }

    fn note_own_id_elsewhere(&mut self, link: LinkId, batch: &mut Batch) {
        let address = self.links.get(&link).map_or_else(String::new, |link| link.with.clone());
        let line = format!("the own host id was used from {address}, another machine: is the key copied?");
        batch.lines.push((LogLevel::Warn, line));
        self.tell(NodeEvent::OwnIdElsewhere { address }, batch);
    }

    fn note_restored(&mut self, session: SessionId, peer: NodeId, batch: &mut Batch) {
        self.meet(session);
        self.hub(session).peer = Some(peer);
        self.offer(session, batch);
        batch.lines.push((LogLevel::Info, format!("session {session} with {peer} was in the store")));
        self.tell(NodeEvent::Restored { session, peer }, batch);
    }

    fn note_revived(&mut self, session: SessionId, peer: NodeId, batch: &mut Batch) {
        self.hub(session).peer = Some(peer);
        let line = format!("session {session}: its peer is another process now, {peer}");
        batch.lines.push((LogLevel::Info, line));
        self.tell_session(session, SessionEvent::PeerRevived { peer }, batch);
    }

    fn note_forgotten(&mut self, session: SessionId) {
        self.note_drained(session);
        self.accepted.retain(|&waiting| waiting != session);
        if let Some(hub) = self.hubs.get_mut(&session) {
            hub.is_forgotten = true;
            if !hub.state.is_final() {
                hub.state = SessionState::Closed;
            }
        }
        self.drop_if_unused(session);
    }

    fn note_session(&mut self, session: SessionId, event: Told, batch: &mut Batch) {
        match event {
            Told::State { from, to, why, buffered, deadline } => {
                self.note_state(session, (from, to, why), buffered, deadline, batch);
            }
            Told::Lost(report) => {
                self.keep_report(session, &report);
                self.tell_session(session, SessionEvent::Lost(report), batch);
            }
            Told::Closed(report) => {
                self.keep_report(session, &report);
                self.tell_session(session, SessionEvent::Closed(report), batch);
            }
            Told::LinkAttached { name, link, role, address } => {
                let with = self.links.get(&link).map(|link| link.with.clone());
                let address = with.or_else(|| address.map(|address| address.to_string())).unwrap_or_default();
                self.tell_session(session, SessionEvent::LinkAttached { name, role, address }, batch);
            }
            Told::PeerAddresses(_)
            | Told::MoveBegan { .. }
            | Told::MoveFailed { .. }
            | Told::PeerMoves { .. } => self.note_move(session, event, batch),
            Told::LinkEnded { name, link: _, why } => {
                self.tell_session(session, SessionEvent::LinkEnded { name, why }, batch);
            }
            Told::Skew { milliseconds } => {
                self.tell_session(session, SessionEvent::Skew { milliseconds }, batch);
            }
            Told::PeerDrains => self.tell_session(session, SessionEvent::PeerDrains, batch),
            Told::Opened(channel) => self.tell_session(session, SessionEvent::Opened(channel), batch),
            Told::Openable => self.tell_session(session, SessionEvent::Openable, batch),
            Told::Delivered => {
                self.note_drained(session);
                self.ring(session, Ready::Session, batch);
            }
            Told::Readable(channel) => self.ring(session, Ready::Readable(channel), batch),
            // Who waits for the disk looks as one who waits for room.
            Told::Writable(channel) | Told::Stored(channel) => {
                if self.unsent.contains_key(&(session, channel)) {
                    self.chores.push_back(Chore::Answer(session, channel));
                }
                self.ring(session, Ready::Writable(channel), batch);
            }
            Told::Call(request) => self.note_call(session, request, batch),
            Told::CallCancelled(call) => self.note_cancelled(session, call, batch),
            Told::PeerRevived { peer } => self.note_revived(session, peer, batch),
            Told::ObjectAttached { .. }
            | Told::ObjectEnded { .. }
            | Told::ObjectUpdated { .. }
            | Told::ObjectAction { .. }
            | Told::ObjectRevived { .. }
            | Told::ObjectStuck { .. } => self.note_object(session, event, batch),
        }
    }

    /// What became of an object.
    fn note_object(&mut self, session: SessionId, event: Told, batch: &mut Batch) {
        match event {
            Told::ObjectAttached { object, kind } => {
                self.tell_session(session, SessionEvent::ObjectAttached { object, kind }, batch);
            }
            Told::ObjectEnded { object, code } => {
                self.tell_session(session, SessionEvent::ObjectEnded { object, code }, batch);
            }
            Told::ObjectUpdated { object, data } => {
                self.tell_session(session, SessionEvent::ObjectUpdated { object, data }, batch);
            }
            Told::ObjectAction { object, kind: kind_name, action, kept } => {
                let kind = self.kinds.get(&kind_name).cloned();
                batch.objects.push(ObjectWork { session, object, kind, kind_name, action, kept });
            }
            Told::ObjectRevived { object, from, was } => {
                if let Some(payload) = self.payloads.remove(&(from, was)) {
                    self.payloads.insert((session, object), payload);
                }
                self.tell_session(session, SessionEvent::ObjectRevived { object, from, was }, batch);
            }
            Told::ObjectStuck { object } => {
                let line =
                    format!("object {object} of session {session} waits for a handler beyond its grace");
                batch.lines.push((LogLevel::Warn, line));
                self.tell_session(session, SessionEvent::ObjectStuck { object }, batch);
            }
            _ => {}
        }
    }

    /// The caller of a call that runs here gave up.
    fn note_cancelled(&mut self, session: SessionId, call: ChannelId, batch: &mut Batch) {
        if let Some(running) = self.running.get(&(session, call)) {
            running.cancel();
            self.ring(session, Ready::Readable(call), batch);
        }
    }

    /// Where the peer is, and where the session goes.
    fn note_move(&mut self, session: SessionId, event: Told, batch: &mut Batch) {
        let event = match event {
            Told::PeerAddresses(addresses) => {
                SessionEvent::PeerAddresses(addresses.iter().map(|address| address.to_string()).collect())
            }
            Told::MoveBegan { to, cause } => {
                batch.lines.push((LogLevel::Info, format!("session {session} moves: {}", cause.text())));
                SessionEvent::MoveBegan { to: to.map(|to| to.to_string()), cause }
            }
            Told::MoveFailed { why } => SessionEvent::MoveFailed { why },
            Told::PeerMoves { cause } => SessionEvent::PeerMoves { cause },
            _ => return,
        };
        self.tell_session(session, event, batch);
    }

    fn note_state(
        &mut self,
        session: SessionId,
        (from, to, why): (SessionState, SessionState, String),
        buffered_bytes: u64,
        deadline: Option<Instant>,
        batch: &mut Batch,
    ) {
        self.hub(session).state = to;
        if to.is_final()
            && let Some(hub) = self.hubs.get(&session)
        {
            hub.ring_all(session, &mut self.ready, batch);
        }
        let line = format!("session {session}: {} -> {}: {why}", from.name(), to.name());
        let left = deadline.map(|deadline| deadline.since(clock::now()));
        batch.lines.push((LogLevel::Info, line));
        self.tell_session(
            session,
            SessionEvent::State { from, to, why: why.clone(), buffered_bytes, left },
            batch,
        );
        self.tell(NodeEvent::SessionState { session, from, to, why }, batch);
        if to.is_final() {
            self.note_drained(session);
            self.drop_left_replies(session);
            let calls = (session, ChannelId(0))..=(session, ChannelId(u64::MAX));
            self.running.range(calls).for_each(|(_, running)| running.cancel());
            self.connecting.retain(|_, connecting| connecting.session != Some(session));
            self.bound_accepted();
            self.drop_if_unused(session);
        }
    }

    /// A node that never asks for its sessions must not keep all that ever ended.
    fn bound_accepted(&mut self) {
        let ended = |shard: &Shard, session: SessionId| {
            shard.hubs.get(&session).is_none_or(|hub| hub.state.is_final())
        };
        let waiting: Vec<SessionId> =
            self.accepted.iter().copied().filter(|&session| ended(self, session)).collect();
        for &session in waiting.iter().take(waiting.len().saturating_sub(ENDED_WAITING_MAX)) {
            self.accepted.retain(|&known| known != session);
            self.drop_if_unused(session);
        }
    }

    fn keep_report(&mut self, session: SessionId, report: &LossReport) {
        let hub = self.hub(session);
        hub.report = Some(Box::new(report.clone()));
        let peer = hub.peer;
        if let Some(endings) = &mut self.endings {
            endings.push((session, peer, report.clone()));
        }
    }

    fn tell_session(&mut self, session: SessionId, event: SessionEvent, batch: &mut Batch) {
        self.hub(session).events.push(event);
        self.ring(session, Ready::Session, batch);
    }

    fn note_call(&mut self, session: SessionId, request: Box<CallRequest>, batch: &mut Batch) {
        let (call, name) = (request.channel, &request.service);
        let Some(service) = self.services.get(&**name).cloned() else {
            let why = not_run(name, Code::NoService, "it was withdrawn");
            self.chores.push_back(Chore::Refuse(session, call, why));
            return;
        };
        if self.blocked_on == Some(session) {
            let why = not_run(
                name,
                Code::Busy,
                "the node waits for the caller itself, and has no thread to run it",
            );
            self.chores.push_back(Chore::Refuse(session, call, why));
            return;
        }
        let bytes = request.request.len() as u64;
        let hub = self.hub(session);
        let (peer, bell, waiting) = (hub.peer, hub.bell.clone(), Arc::clone(&hub.waiting_bytes));
        let before = waiting.load(Ordering::Acquire);
        if before > 0 && before + bytes > self.waiting_bytes_max {
            let why = not_run(name, Code::Busy, "the requests that wait are more than the session's budget");
            self.chores.push_back(Chore::Refuse(session, call, why));
            return;
        }
        let running = Arc::new(Running::new(name, service.is_inline, bytes, &waiting));
        self.running.insert((session, call), Arc::clone(&running));
        batch.calls.push(CallWork { service, session, peer, bell, request, running });
    }
}
