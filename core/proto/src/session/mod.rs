//! The session: one end of the virtual connection between two nodes.
//!
//! This file only routes: frames to the part that knows them, time to the parts that wait for it, and what
//! they say to the node. The parts are `streams` (channels), `link`, `attach`, `moves`, `transmit`, `liveness`,
//! `calls`, `control` (channel 0 and objects), `embalming`, `closing` and `app` (what the application asks for); they
//! never call each other except through here.

mod app;
mod attach;
mod calls;
mod closing;
mod control;
mod crowding;
mod embalming;
mod flight;
mod keeping;
mod link;
mod liveness;
mod moves;
mod owned;
mod revival;
mod streams;
mod table;
mod transmit;
mod values;

pub(crate) use attach::{Claim, Joining, proof};

use crate::error::{Code, Error, Result};
use crate::id::{ChannelId, ConnectorId, LinkId, LinkName, NodeId, ObjectId, SessionId, Sid};
use crate::io::{SessionEvent, SessionState};
use crate::object::{KindRules, Objects};
use crate::options::{Canary, NodeOptions, ServiceOptions};
use crate::sorted::Sorted;
use crate::time::Instant;
use crate::wire::{Frame, Hello, Role};
use bytes::Bytes;
use calls::Calls;
use closing::Closing;
use crowding::Crowding;
use keeping::Keeping;
use link::{Link, Pace, Suspicion};
use liveness::{Liveness, agree};
use moves::Successor;
use owned::Owned;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use streams::{Change, Streams};

/// What a session wants the node to do.
#[derive(Debug, Clone)]
pub(crate) enum Effect {
    Event(SessionEvent),
    Hangup(LinkId, Error),
    /// Say GONE on this link, then hang up.
    Gone(LinkId, Code, Error),
}

/// Who the other end is, as its HELLO said.
#[derive(Debug, Clone)]
pub(crate) struct Peer {
    pub(crate) host_name: String,
    pub(crate) node_name: String,
    pub(crate) level: u8,
    /// It is, or was, on this machine.
    pub(crate) is_local: bool,
}

#[derive(Debug, Clone)]
pub(crate) struct Session {
    pub(crate) id: SessionId,
    pub(crate) sid: Sid,
    pub(crate) secret: [u8; 32],
    pub(crate) n: u64,
    pub(crate) is_arbiter: bool,
    pub(crate) peer: NodeId,
    pub(crate) about: Peer,
    pub(crate) state: SessionState,
    /// A link was attached at some time.
    pub(crate) attached: bool,
    /// Handles of the application that share it.
    pub(crate) shares: u32,
    /// The application forgets it once it is over.
    pub(crate) forgotten: bool,
    pub(crate) links: Sorted<LinkId, Box<Link>>,
    pub(crate) links_total: u64,
    pub(crate) liveness: Liveness,
    pub(crate) objects: Objects,
    pub(crate) bytes_sent: u64,
    pub(crate) peer_drains: bool,
    pub(crate) effects: VecDeque<Effect>,
    /// Links of role bulk, and such that stand by, that this end keeps.
    pub(crate) bulk_wanted: u8,
    pub(crate) standby_wanted: u8,
    /// The link that ended last had lived for more than a beat.
    pub(crate) was_well: bool,
    /// Where the link was dialled that carried last.
    pub(crate) last_way: Option<Arc<str>>,
    /// Where the peer can be reached, as it said.
    pub(crate) announced: Option<Arc<[Arc<str>]>>,
    /// Where this end can be reached, until the peer is told.
    unsaid: Option<Arc<[Arc<str>]>>,
    has_announced: bool,
    /// A link may share its way with another one, although there are more ways.
    pub(crate) may_spread: bool,
    crowding: Crowding,
    roams: bool,
    /// Links that became primary so far.
    primaries: u64,
    /// Where the peer wants it to go, and before when that is not followed.
    wish: Option<Option<Arc<str>>>,
    stays_until: Instant,
    /// Something new of this end was held since it was asked last: redials need not slow down.
    pub(crate) progress: bool,
    /// Wishes that redial for it, the one to dial next first.
    pub(crate) connectors: Vec<ConnectorId>,
    /// When the node looks at it next at the latest; what is due later moves it only then.
    pub(crate) watched_until: Instant,
    streams: Streams,
    calls: Calls,
    /// Links that are dead, the latest last.
    dead: VecDeque<LinkName>,
    /// Highest link counter of the other end and of the arbiter that was attached.
    highest_link: [u64; 2],
    incoming: VecDeque<ChannelId>,
    owned: Owned,
    /// Objects that were brought back for another session: which, kind, rules, TTL, data.
    pub(crate) revived: VecDeque<(ObjectId, String, KindRules, Option<Duration>, Bytes)>,
    /// A link shall be followed by another one, which has not attached yet.
    successor: Option<Successor>,
    closing: Option<Closing>,
    ended: Option<Box<Error>>,
    swept: bool,
    /// When it is lost that was embalmed, until contact is back.
    embalmed_until: Option<Instant>,
    draining: bool,
    /// Somebody waits until the peer holds everything.
    is_delivery_asked: bool,
    /// How often this end, and the peer's, was taken over by another process (S6).
    pub(crate) epoch: u64,
    pub(crate) peer_epoch: u64,
    /// It comes from the store, and the peer does not know yet.
    pub(crate) is_unrevived: bool,
    /// The link on which it says so.
    pub(crate) reviving_on: Option<LinkId>,
    pub(crate) keeping: Option<Box<Keeping>>,
    canary: Option<Canary>,
}

/// What a new session starts from.
#[derive(Debug)]
pub(crate) struct Birth<'a> {
    pub(crate) id: SessionId,
    pub(crate) sid: Sid,
    pub(crate) secret: [u8; 32],
    pub(crate) n: u64,
    pub(crate) is_arbiter: bool,
    pub(crate) level: u8,
    pub(crate) mine: &'a Hello,
    pub(crate) peer: &'a Hello,
    pub(crate) options: &'a NodeOptions,
}

impl Session {
    pub(crate) fn new(now: Instant, birth: Birth<'_>) -> Session {
        let canary = if cfg!(feature = "canary") { birth.options.canary } else { None };
        let mut streams = Streams::new(birth.is_arbiter, birth.mine.limits, birth.peer.limits);
        streams.keeps = birth.options.has_store;
        streams.one_window = canary == Some(Canary::SessionWideWindow);
        Session {
            id: birth.id,
            sid: birth.sid,
            secret: birth.secret,
            n: birth.n,
            is_arbiter: birth.is_arbiter,
            peer: birth.peer.node,
            about: Peer {
                host_name: birth.peer.host_name.clone(),
                node_name: birth.peer.node_name.clone(),
                level: birth.level,
                is_local: false,
            },
            state: SessionState::Registering,
            attached: false,
            shares: 0,
            forgotten: false,
            links: Sorted::default(),
            links_total: 0,
            liveness: Liveness::new(now, agree(birth.mine, birth.peer)),
            objects: Objects::new(birth.options.grace, canary == Some(Canary::DestroyAtGraceEnd)),
            bytes_sent: 0,
            peer_drains: false,
            effects: VecDeque::new(),
            bulk_wanted: 0,
            standby_wanted: 0,
            was_well: false,
            last_way: None,
            announced: None,
            unsaid: None,
            has_announced: false,
            may_spread: false,
            crowding: Crowding::default(),
            roams: birth.options.roams,
            primaries: 0,
            wish: None,
            stays_until: now,
            progress: false,
            connectors: Vec::new(),
            watched_until: Instant::NEVER,
            streams,
            calls: Calls::default(),
            dead: VecDeque::new(),
            highest_link: [0; 2],
            incoming: VecDeque::new(),
            owned: Owned::default(),
            revived: VecDeque::new(),
            successor: None,
            closing: None,
            ended: None,
            swept: false,
            embalmed_until: None,
            draining: false,
            is_delivery_asked: false,
            epoch: 1,
            peer_epoch: 1,
            is_unrevived: false,
            reviving_on: None,
            keeping: birth.options.has_store.then(|| Box::new(Keeping::new(birth.peer))),
            canary,
        }
    }

    fn pace(&self) -> Pace {
        Pace { beat: self.liveness.beat, ttl: self.liveness.ttl }
    }

    fn event(&mut self, event: SessionEvent) {
        self.effects.push_back(Effect::Event(event));
    }

    /// Bytes came on an attached link; their frames follow by [`Session::on_frame`].
    pub(crate) fn on_record(&mut self, now: Instant, id: LinkId) {
        let Some(link) = self.links.get_mut(id) else { return };
        let recovered = link.on_record(now);
        let ttl = link.ttl;
        self.liveness.on_record(now);
        if self.canary == Some(Canary::LeaseByAnyTraffic) {
            self.liveness.on_echo(now, ttl);
        }
        if recovered {
            self.requeue_suspects();
        }
        self.update_state("a sign of life came");
    }

    /// One frame of an attached link.
    ///
    /// # Errors
    /// Breaking the protocol; the link has to be closed, the session lives on.
    pub(crate) fn on_frame(
        &mut self,
        now: Instant,
        id: LinkId,
        frame: Frame,
        services: &Services,
    ) -> Result<()> {
        if frame.is_counted()
            && let Some(link) = self.links.get_mut(id)
        {
            let bytes = match &frame {
                Frame::Data { bytes, .. } | Frame::Rest { bytes, .. } => bytes.len() as u64,
                _ => 0,
            };
            link.on_counted(now, bytes);
        }
        match frame {
            Frame::Lack { count } => self.on_lack(now, id, count)?,
            Frame::Beat { number, echo, echo_delay_us, ttl_ms } => {
                self.liveness.hear_ttl(Duration::from_millis(ttl_ms));
                self.on_beat(now, id, number, echo, Duration::from_micros(echo_delay_us));
            }
            Frame::Dead { links } => self.on_dead(&links),
            Frame::Retire => self.on_retire(now, id),
            Frame::Role { role } => self.on_role(id, role)?,
            Frame::Credit { channel, limit } => self.streams.on_credit(channel, limit)?,
            Frame::Reset { channel, size, code, text } => {
                self.streams.on_reset(channel, size, code, &text)?
            }
            Frame::Stop { channel, code } => self.streams.on_stop(channel, code)?,
            Frame::ChannelCredit { count } => self.streams.on_channel_credit(count),
            Frame::Data { channel, offset, bytes } => self.streams.on_data(channel, offset, bytes, false)?,
            Frame::Rest { channel, offset, bytes } => self.streams.on_data(channel, offset, bytes, true)?,
            Frame::End { channel, size } => self.streams.on_end(channel, size)?,
            Frame::Done { .. } | Frame::Hop { .. } | Frame::Rekey { .. } | Frame::Shard { .. } => {
                self.not_built(id, frame.name());
            }
            other => {
                let what = format!("{} on a link that is attached", other.name());
                return Err(crate::wire::codec::malformed(what));
            }
        }
        self.settle(now, services)
    }

    /// Parsed, and refused politely until its issue comes: the peer is told, nothing else changes.
    fn not_built(&mut self, id: LinkId, name: &str) {
        if let Some(link) = self.links.get_mut(id).filter(|link| !link.noticed) {
            link.noticed = true;
            let text = format!("{name} is not supported by this version and was ignored");
            Frame::Notice { code: Code::Unsupported as u16, text }.encode(&mut link.prelude);
        }
    }

    fn on_lack(&mut self, now: Instant, id: LinkId, count: u64) -> Result<()> {
        let beat = self.liveness.beat;
        let Some(link) = self.links.get_mut(id) else { return Ok(()) };
        for sent in link.on_lack(now, count, beat)? {
            self.streams.on_held(sent);
        }
        self.finish_retirements();
        Ok(())
    }

    fn on_beat(&mut self, now: Instant, id: LinkId, number: u64, echo: u64, delay: Duration) {
        let Some(link) = self.links.get_mut(id) else { return };
        if let Some(sent_at) = link.on_beat(now, (number, echo), delay, self.liveness.beat) {
            self.liveness.on_echo(sent_at, link.ttl);
            self.watch_crowding(now);
        }
        self.retire_older_links();
    }

    fn on_role(&mut self, id: LinkId, role: Role) -> Result<()> {
        if role == Role::Hop {
            self.not_built(id, "role HOP");
            return Ok(());
        }
        match self.links.get_mut(id) {
            Some(link) if !link.dialled_here => {
                if role == Role::Primary && link.role != role {
                    self.primaries += 1;
                    link.primary_since = self.primaries;
                }
                link.role = role;
            }
            _ => {
                return Err(crate::wire::codec::malformed("ROLE from the end that accepted the link".into()));
            }
        }
        Ok(())
    }

    /// Acts on what the channels said, until nothing is left to act on.
    pub(crate) fn settle(&mut self, now: Instant, services: &Services) -> Result<()> {
        while let Some(change) = self.streams.changes.pop_front() {
            match change {
                Change::Came(crate::id::CONTROL) => self.read_control(now)?,
                Change::Came(id) => self.on_came(now, id, services)?,
                Change::Room(id) => self.on_room(id),
                Change::Stopped(id) => self.on_stopped(id),
                Change::Openable if self.state.is_final() => {}
                Change::Openable => self.event(SessionEvent::Openable),
            }
        }
        self.settle_objects();
        self.settle_touches(now);
        if self.unsaid.is_some() {
            self.say_addresses();
        }
        if self.wish.is_some() {
            self.follow_wish(now);
        }
        self.check_closed(now);
        self.note_delivered();
        Ok(())
    }

    /// Memory of queues that are empty now. Somebody busy makes it anew once per beat, and somebody idle not.
    fn let_go(&mut self) {
        self.effects.shrink_to_fit();
        self.streams.changes.shrink_to_fit();
        for link in self.links.values_mut().filter(|link| link.in_flight.is_empty()) {
            link.in_flight.shrink_to_fit();
        }
    }

    /// Acts on everything whose time has come.
    pub(crate) fn tick(&mut self, now: Instant, services: &Services) {
        self.let_go();
        if !self.state.is_final() {
            self.watch_links(now);
            self.note_age(now);
            self.finish_retirements();
            self.update_state("time passed");
            self.expire_calls(now);
            self.expire_owned(now);
        }
        self.check_embalming(now);
        self.check_lease(now);
        self.check_hold(now);
        self.objects.tick(now);
        // A frame that breaks the protocol has its own link to answer for; time has none.
        let _ = self.settle(now, services);
    }

    /// When [`Session::tick`] has something to do next.
    pub(crate) fn next_deadline(&self) -> Instant {
        let mut next = self.objects.next_deadline();
        next = next.min(self.hold_due());
        if self.state.is_final() {
            return next;
        }
        let pace = self.pace();
        next = self.links.values().map(|link| link.next_deadline(pace)).fold(next, Instant::min);
        next = next
            .min(self.contact_needed_by())
            .min(self.calls.next_deadline())
            .min(self.owned.next_deadline())
            .min(self.wish_due());
        self.closing.as_ref().map_or(next, |closing| next.min(closing.deadline))
    }

    /// Whether what was taken or written left something to do or to say.
    pub(crate) fn has_news(&self) -> bool {
        !self.effects.is_empty()
            || !self.streams.changes.is_empty()
            || self.streams.has_work(false)
            // What was written there has to be stored first.
            || !self.streams.kept.is_empty()
    }

    /// Links that this end dialled are renewed when they are old (L6).
    fn note_age(&mut self, now: Instant) {
        for link in self.links.values_mut() {
            if link.dialled_here && !link.renewing && link.is_old(now) {
                link.renewing = true;
                // The primary gets its successor first; the others are missed by nobody meanwhile.
                if link.role == Role::Primary {
                    self.successor.get_or_insert(Successor::Age);
                } else {
                    link.retirement.wanted = true;
                }
            }
        }
    }

    /// Whether some link gave a record within three beats; follows it with the state.
    fn update_state(&mut self, why: &str) {
        let live = self.links.values().any(|link| link.suspicion < Suspicion::Silent);
        let next = match (self.state, live) {
            (SessionState::Registering | SessionState::Suspended, true) => SessionState::Live,
            (SessionState::Live, false) => SessionState::Suspended,
            (SessionState::Reviving, _) if !self.objects.is_returning() => SessionState::Live,
            _ => return,
        };
        self.set_state(next, why);
        if next == SessionState::Live && !live {
            self.update_state(why);
        }
    }

    fn set_state(&mut self, to: SessionState, why: &str) {
        let from = std::mem::replace(&mut self.state, to);
        let deadline = match to {
            SessionState::Suspended => Some(self.liveness.lease_end()),
            SessionState::Embalmed => self.embalmed_until,
            _ => None,
        };
        let (why, buffered) = (why.to_owned(), self.buffered());
        self.event(SessionEvent::State { from, to, why, buffered, deadline });
    }

    /// Bytes kept for sending and for reading.
    pub(crate) fn buffered(&self) -> u64 {
        self.streams.buffered()
    }

    /// Bytes that the peer may still send, and that wait to be taken (I6).
    pub(crate) fn outstanding(&self) -> u64 {
        self.streams.outstanding()
    }

    /// Bytes repeated and received twice so far.
    pub(crate) fn waste(&self) -> (u64, u64) {
        (self.streams.repeated, self.streams.duplicate)
    }

    /// Timers that stand.
    pub(crate) fn timers(&self) -> usize {
        self.calls.timers()
            + self.owned.timers()
            + usize::from(self.objects.next_deadline() != Instant::NEVER)
    }

    /// Smoothed round trip of the link that carries most.
    pub(crate) fn round_trip(&self) -> Option<Duration> {
        self.carrier().and_then(|id| self.links.get(id)).and_then(|link| link.round_trip)
    }

    /// Row of what this end has of its channels (S9).
    pub(crate) fn table(&self) -> crate::wire::Table {
        self.streams.table()
    }
}

/// A service as the node knows it; its handler stays with the engine.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Service {
    pub(crate) options: ServiceOptions,
}

/// What the node tells a session about the services that it may run.
#[derive(Debug, Clone, Default)]
pub(crate) struct Services {
    pub(crate) by_name: BTreeMap<Arc<str>, Service>,
    pub(crate) draining: bool,
}
