//! Who is told when a channel or session is ready: threads by bells, programs by events, bridges by mail.
//!
//! A thread puts its bell up under the shard lock before it waits, and takes it down afterwards.
//!
//! A program that waits in one place for everything gives a token to `watch` and gets it back in an event of
//! the node. Like an edge-triggered poll, an event comes when something changed, so its receiver takes until
//! there is nothing left.
//!
//! Invariant: the queue holds each watched thing at most once for each direction, so it is bounded by what is
//! watched, and nothing of it is ever dropped.

use super::bell::Bell;
use super::command::Command;
use super::event::NodeEvent;
use super::shard::{Batch, Hub, Shard};
use clerver_proto::error::{Code, Error, Result};
use clerver_proto::id::{ChannelId, ConnectorId, SessionId};
use std::collections::{BTreeSet, VecDeque};

/// Who, besides blocked threads, is told of a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Watcher {
    /// The program, by an event with this token.
    Program(u64),
    /// The driver, which pumps the bridge of this token.
    Bridge(usize),
}

/// What became ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Ready {
    Readable(ChannelId),
    Writable(ChannelId),
    Session,
}

/// What a program is told of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Item {
    Of(SessionId, Ready),
    Connect(ConnectorId),
}

/// Watched things that are ready, in the order in which they became so.
pub(crate) struct ReadyQueue {
    queue: VecDeque<Item>,
    queued: BTreeSet<Item>,
    /// Of those who wait for an event of the node.
    bell: Bell,
}

impl ReadyQueue {
    pub(super) fn new(bell: Bell) -> ReadyQueue {
        ReadyQueue { queue: VecDeque::new(), queued: BTreeSet::new(), bell }
    }

    fn push(&mut self, item: Item, batch: &mut Batch) {
        if self.queued.insert(item) {
            self.queue.push_back(item);
            batch.has_events = true;
            batch.bells.push(self.bell.clone());
        }
    }

    fn pop(&mut self) -> Option<Item> {
        let first = self.queue.pop_front()?;
        self.queued.remove(&first);
        Some(first)
    }
}

/// A thread that waits for a channel.
pub(super) struct Waiting {
    ready: Ready,
    bell: Bell,
}

impl Watcher {
    fn tell(self, session: SessionId, ready: Ready, queue: &mut ReadyQueue, batch: &mut Batch) {
        match self {
            Watcher::Program(_) => queue.push(Item::Of(session, ready), batch),
            Watcher::Bridge(token) => batch.commands.push(Command::Pump(token)),
        }
    }
}

impl Hub {
    /// Wakes everybody who waits for the session or one of its channels.
    pub(super) fn ring_all(&self, session: SessionId, queue: &mut ReadyQueue, batch: &mut Batch) {
        batch.bells.push(self.bell.clone());
        batch.bells.extend(self.waiting.iter().map(|waiting| waiting.bell.clone()));
        for (&channel, watcher) in &self.watchers {
            watcher.tell(session, Ready::Readable(channel), queue, batch);
            watcher.tell(session, Ready::Writable(channel), queue, batch);
        }
        if self.watched.is_some() {
            queue.push(Item::Of(session, Ready::Session), batch);
        }
    }

    /// The event that tells the program of this.
    fn event(&self, ready: Ready) -> Option<NodeEvent> {
        let token = match ready {
            Ready::Session => self.watched?,
            Ready::Readable(channel) | Ready::Writable(channel) => match self.watchers.get(&channel)? {
                &Watcher::Program(token) => token,
                Watcher::Bridge(_) => return None,
            },
        };
        Some(match ready {
            Ready::Session => NodeEvent::SessionReady { token },
            Ready::Readable(_) => NodeEvent::Readable { token },
            Ready::Writable(_) => NodeEvent::Writable { token },
        })
    }
}

impl Shard {
    /// A channel became ready: wakes those who wait for it.
    pub(super) fn ring(&mut self, session: SessionId, ready: Ready, batch: &mut Batch) {
        let Some(hub) = self.hubs.get(&session) else { return };
        match ready {
            Ready::Readable(channel) | Ready::Writable(channel) => {
                let here = hub.waiting.iter().filter(|waiting| waiting.ready == ready);
                batch.bells.extend(here.map(|waiting| waiting.bell.clone()));
                if let Some(watcher) = hub.watchers.get(&channel) {
                    watcher.tell(session, ready, &mut self.ready, batch);
                }
            }
            Ready::Session => {
                batch.bells.push(hub.bell.clone());
                if hub.watched.is_some() {
                    self.ready.push(Item::Of(session, ready), batch);
                }
            }
        }
    }

    /// What became of a connect is known: wakes those who wait for it.
    pub(super) fn ring_connect(&mut self, connector: ConnectorId, batch: &mut Batch) {
        let Some(connecting) = self.connecting.get(&connector) else { return };
        batch.bells.push(connecting.bell.clone());
        if connecting.watched.is_some() {
            self.ready.push(Item::Connect(connector), batch);
        }
    }

    /// Wakes those who wait for a channel, whatever for.
    pub(crate) fn ring_channel(&mut self, session: SessionId, channel: ChannelId, batch: &mut Batch) {
        self.ring(session, Ready::Readable(channel), batch);
        self.ring(session, Ready::Writable(channel), batch);
    }

    /// Puts a bell up for a channel. Only until the lock is free again nothing is missed, so look before.
    pub(super) fn put_up(&mut self, session: SessionId, ready: Ready, bell: &Bell) {
        // Of a session that is not known nothing is to be heard, and whoever asks is told so at once.
        if let Some(hub) = self.hubs.get_mut(&session) {
            hub.waiting.push(Waiting { ready, bell: bell.clone() });
        }
    }

    /// Takes a bell down.
    pub(super) fn take_down(&mut self, session: SessionId, bell: &Bell) {
        if let Some(hub) = self.hubs.get_mut(&session) {
            hub.waiting.retain(|waiting| !waiting.bell.is(bell));
        }
    }

    /// Whether threads with other bells wait for channels of this session.
    pub(super) fn others_wait(&self, session: SessionId, bell: &Bell) -> bool {
        self.hubs.get(&session).is_some_and(|hub| hub.waiting.iter().any(|waiting| !waiting.bell.is(bell)))
    }

    /// The application gave back a channel or call: nobody watches it any more.
    pub(crate) fn unwatch(&mut self, session: SessionId, channel: ChannelId) {
        if let Some(hub) = self.hubs.get_mut(&session) {
            hub.watchers.remove(&channel);
        }
    }

    /// From now on this one is told of a channel, besides threads that wait.
    pub(super) fn set_watcher(&mut self, session: SessionId, channel: ChannelId, watcher: Watcher) {
        if let Some(hub) = self.hubs.get_mut(&session) {
            hub.watchers.insert(channel, watcher);
        }
    }

    /// From now on the program is told of this channel or call by events; what is ready now is told at once.
    pub(crate) fn watch_channel(
        &mut self,
        session: SessionId,
        channel: ChannelId,
        token: u64,
        batch: &mut Batch,
    ) -> Result<()> {
        self.node.channel_report(session, channel).map_err(|_| gone(&format!("channel {channel}")))?;
        self.set_watcher(session, channel, Watcher::Program(token));
        self.ring_channel(session, channel, batch);
        Ok(())
    }

    /// From now on the program is told of this session by events; what is ready now is told at once.
    pub(crate) fn watch_session(&mut self, session: SessionId, token: u64, batch: &mut Batch) -> Result<()> {
        let hub = self.hubs.get_mut(&session).ok_or_else(|| gone(&format!("session {session}")))?;
        hub.watched = Some(token);
        self.ring(session, Ready::Session, batch);
        Ok(())
    }

    /// The next event of the node: what is ready goes first, because it is never dropped.
    pub(crate) fn next_event(&mut self, batch: &mut Batch) -> Option<NodeEvent> {
        let event = self.next_ready().or_else(|| self.events.pop());
        batch.has_events |= event.is_some();
        event
    }

    fn next_ready(&mut self) -> Option<NodeEvent> {
        while let Some(item) = self.ready.pop() {
            let event = match item {
                Item::Of(session, ready) => self.hubs.get(&session).and_then(|hub| hub.event(ready)),
                Item::Connect(connector) => {
                    let watched = self.connecting.get(&connector).and_then(|connecting| connecting.watched);
                    watched.map(|token| NodeEvent::Readable { token })
                }
            };
            // Nobody watches any more what has none.
            if event.is_some() {
                return event;
            }
        }
        None
    }

    /// Whether the descriptor of the node has something to show.
    pub(super) fn has_events(&self) -> bool {
        !self.events.is_empty() || !self.ready.queue.is_empty()
    }
}

fn gone(what: &str) -> Error {
    Error::new(Code::Handle, format!("watch {what}: it is over"))
}
