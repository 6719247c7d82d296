//! Nodes, links and time. A link between the two nodes has the same number at both ends.

use crate::app::App;
use crate::hostile::Hostile;
use crate::ledger::Ledger;
use crate::script::Setup;
use crate::toy::Toy;
use bytes::Bytes;
use clerver_proto::error::{Code, Error};
use clerver_proto::id::{AttemptId, HostId, LinkId, Sid};
use clerver_proto::limits::SessionLimits;
use clerver_proto::node::{
    Embalming, Input, KindOptions, LinkInfo, Node, NodeOptions, Output, ServiceOptions, Trust,
};
use clerver_proto::time::Instant;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

/// Outputs that one input may bring.
const OUTPUTS_MAX: usize = 50_000;
pub const SERVICE: &str = "service";
pub const KIND: &str = "kind";

/// One node and what its engine would know.
pub struct End {
    pub node: Node,
    /// Links that are up here, and what may still be sent on each.
    pub room: BTreeMap<LinkId, usize>,
    pub dials: VecDeque<AttemptId>,
    pub old_links: Vec<LinkId>,
    pub old_attempts: Vec<AttemptId>,
    pub wake: Instant,
    pub app: App,
}

/// What is on the way to each end of a link between the two.
#[derive(Default)]
pub struct Wire {
    pub coming: [VecDeque<Bytes>; 2],
    pub is_hole: [bool; 2],
    /// The other end closed it: after what is coming, it is down.
    pub ends: [bool; 2],
}

pub struct World {
    pub now: Instant,
    pub ends: [End; 2],
    pub wires: BTreeMap<LinkId, Wire>,
    pub hostile: BTreeMap<LinkId, Hostile>,
    pub ledger: Ledger,
    pub limits: SessionLimits,
    /// What is granted at once.
    pub grant: usize,
    pub ttl: Duration,
    /// Somebody with the key of an honest node was there; sessions made since then prove nothing.
    pub twin_seen: bool,
    pub vetted: BTreeSet<Sid>,
    pub was_drained: bool,
    /// Nothing but time and lies came between the two nodes.
    pub is_undisturbed: bool,
    /// Steps and events are printed (`TRACE=1`).
    pub is_traced: bool,
    next_link: u64,
}

fn beat(setup: &Setup) -> Duration {
    Duration::from_millis([200, 500, 1000, 1000][usize::from(setup.beat % 4)])
}

fn ttl(setup: &Setup) -> Duration {
    beat(setup) * (4 + u32::from(setup.ttl % 8))
}

fn limits(setup: &Setup) -> SessionLimits {
    let mut limits = SessionLimits {
        message_bytes_max: [64, 3000, 20_000, 100_000][usize::from(setup.message % 4)],
        budget_bytes: 0,
        channels_max: u64::from(setup.channels % 8) + 1,
    };
    limits.budget_bytes =
        limits.budget_bytes_min() + [0, 5000, 50_000, 200_000][usize::from(setup.spare % 4)];
    limits
}

/// Everybody but strangers.
pub fn trust(blocked: Option<HostId>) -> Trust {
    let levels = (0..4).map(|host| (HostId([host; 32]), 5)).collect();
    Trust { levels, blocked: blocked.into_iter().collect() }
}

impl End {
    fn new(setup: &Setup, host: u8, limits: SessionLimits, now: Instant) -> End {
        let beat = beat(setup);
        let options = NodeOptions {
            beat,
            ttl: ttl(setup),
            grace: Duration::from_secs(2),
            limits,
            volatile: setup.volatile,
            embalming: Embalming {
                span: Duration::from_millis(250) * u32::from(setup.embalm_span),
                sessions_max: usize::from(setup.embalmed),
                bytes_max: u64::from(setup.embalmed) * 1024,
            },
            trust: trust(None),
            ..NodeOptions::default()
        };
        let host_id = HostId([host; 32]);
        let mut node =
            Node::new(options, host_id, Arc::new(Toy), [host; 32], now, 77).expect("the options are valid");
        while node.poll(now).is_some() {}
        node.service_register(now, SERVICE, ServiceOptions::default()).expect("register a service");
        while node.poll(now).is_some() {}
        let embalm_for = setup.embalm.then(|| Duration::from_secs(3));
        let kind = KindOptions { level_min: 0, embalm_for, has_discard: setup.discard };
        node.kind_register(now, KIND, kind).expect("register a kind");
        while node.poll(now).is_some() {}
        End {
            node,
            room: BTreeMap::new(),
            dials: VecDeque::new(),
            old_links: vec![],
            old_attempts: vec![],
            wake: Instant::NEVER,
            app: App::default(),
        }
    }
}

impl World {
    pub fn new(setup: &Setup) -> World {
        let (now, limits) = (Instant(1_000_000), limits(setup));
        let hosts = if setup.swapped { [2, 1] } else { [1, 2] };
        World {
            now,
            ends: hosts.map(|host| End::new(setup, host, limits, now)),
            wires: BTreeMap::new(),
            hostile: BTreeMap::new(),
            ledger: Ledger::default(),
            limits,
            grant: [700, 5000, 64_000, 64_000][usize::from(setup.room % 4)],
            ttl: ttl(setup),
            twin_seen: false,
            vetted: BTreeSet::new(),
            was_drained: false,
            is_undisturbed: setup.settle_every % 8 != 0,
            is_traced: std::env::var_os("TRACE").is_some(),
            next_link: 0,
        }
    }

    pub fn new_link(&mut self) -> (LinkId, [u8; 32]) {
        self.next_link += 1;
        let mut exporter = [9; 32];
        exporter[..8].copy_from_slice(&self.next_link.to_be_bytes());
        (LinkId(self.next_link), exporter)
    }

    /// An input and everything that comes of it.
    pub fn give(&mut self, who: usize, input: Input) {
        self.ends[who].node.handle(self.now, input).expect("a drained node takes every input");
        self.drain(who);
    }

    /// A command and everything that comes of it.
    pub fn command<T>(&mut self, who: usize, each: impl FnOnce(&mut Node, Instant) -> T) -> T {
        let answer = each(&mut self.ends[who].node, self.now);
        self.drain(who);
        answer
    }

    pub fn drain(&mut self, who: usize) {
        let mut outputs = Vec::new();
        let mut wake = None;
        while let Some(output) = self.ends[who].node.poll(self.now) {
            assert!(wake.is_none(), "{output:?} came after Wake");
            match output {
                Output::Wake(at) => wake = Some(at),
                other => outputs.push(other),
            }
            assert!(outputs.len() < OUTPUTS_MAX, "one input brings more than {OUTPUTS_MAX} outputs");
        }
        // What changes nothing says nothing.
        assert!(wake.is_some() || outputs.is_empty(), "Wake is the last output of each drain");
        if let Some(wake) = wake {
            assert!(wake > self.now, "Wake is not later than now");
            self.ends[who].wake = wake;
        }
        for output in outputs {
            self.output(who, output);
        }
    }

    fn output(&mut self, who: usize, output: Output) {
        match output {
            Output::Send { link, parts } => self.send(who, link, parts.into_vec()),
            Output::Dial { attempt, .. } => self.ends[who].dials.push_back(attempt),
            Output::CancelDial { attempt } => {
                // A dial that just ended may be cancelled: the engine tells of it after time has moved on.
                let end = &mut self.ends[who];
                let is_known = end.dials.contains(&attempt) || end.old_attempts.contains(&attempt);
                assert!(is_known, "a dial that was never asked for is cancelled");
                end.dials.retain(|&dial| dial != attempt);
                self.ends[who].old_attempts.push(attempt);
            }
            Output::Hangup { link, .. } => self.is_down(who, link),
            Output::Event(event) => self.event(who, event),
            Output::Wake(_) => {}
            Output::Store { .. } | Output::HandOff { .. } | Output::ToShard(_) => {
                panic!("{output:?} is not built")
            }
        }
    }

    fn send(&mut self, who: usize, link: LinkId, parts: Vec<Bytes>) {
        let size: usize = parts.iter().map(Bytes::len).sum();
        let room = self.ends[who].room.get_mut(&link).expect("Send on a link that is gone");
        assert!(size > 0 && size <= *room, "Send of {size} bytes where {room} were granted");
        *room -= size;
        if let Some(hostile) = self.hostile.get_mut(&link) {
            hostile.hear(parts);
        } else if let Some(wire) = self.wires.get_mut(&link)
            && !wire.is_hole[1 - who]
            && self.ends[1 - who].room.contains_key(&link)
        {
            wire.coming[1 - who].extend(parts);
        }
    }

    /// The link is over at this end.
    fn is_down(&mut self, who: usize, link: LinkId) {
        self.ends[who].room.remove(&link);
        self.ends[who].old_links.push(link);
        self.hostile.remove(&link);
        if let Some(wire) = self.wires.get_mut(&link) {
            wire.coming[who].clear();
            wire.ends[1 - who] = !wire.is_hole[1 - who];
            if !self.ends[1 - who].room.contains_key(&link) {
                self.wires.remove(&link);
            }
        }
    }

    // ---- links ----

    pub fn dial(&mut self, who: usize, works: bool) {
        let Some(attempt) = self.ends[who].dials.pop_front() else { return };
        self.ends[who].old_attempts.push(attempt);
        if !works {
            let why = Error::new(Code::Unreachable, "dial: nobody there");
            return self.give(who, Input::DialFailed { attempt, why });
        }
        let (link, exporter) = self.new_link();
        self.wires.insert(link, Wire::default());
        for (end, dialled) in [(who, Some(attempt)), (1 - who, None)] {
            let peer = self.ends[1 - end].node.id().host;
            let pinned = dialled.is_some();
            let info =
                LinkInfo { dialled, peer, exporter, peer_is_local: false, pinned, level_min: 0, place: None };
            self.ends[end].room.insert(link, 0);
            self.give(end, Input::LinkUp { link, info: Box::new(info) });
        }
    }

    pub fn grant(&mut self, who: usize, link: LinkId, bytes: usize) {
        if let Some(room) = self.ends[who].room.get_mut(&link) {
            *room += bytes;
            self.give(who, Input::Writable { link, bytes });
        }
    }

    /// Up to so many bytes arrive, or the end of the link. Answers whether anything did.
    pub fn deliver(&mut self, link: LinkId, to: usize, bytes: usize) -> bool {
        if !self.ends[to].room.contains_key(&link) {
            return false;
        }
        let Some(wire) = self.wires.get_mut(&link) else { return false };
        if let Some(mut piece) = wire.coming[to].pop_front() {
            let rest = piece.split_off(piece.len().min(bytes.max(1)));
            if !rest.is_empty() {
                wire.coming[to].push_front(rest);
            }
            if self.is_traced {
                eprintln!("        link {link} to {to}: {:02x?}", &piece[..piece.len().min(48)]);
            }
            self.give(to, Input::Bytes { link, bytes: piece.into() });
            return true;
        }
        if wire.ends[to] {
            self.link_down(to, link);
            return true;
        }
        false
    }

    pub fn link_down(&mut self, who: usize, link: LinkId) {
        if self.ends[who].room.contains_key(&link) {
            // What is due before this instant may still be said on it.
            let why = Error::new(Code::LinkFailed, "the link broke");
            self.give(who, Input::LinkDown { link, why });
        }
        if self.ends[who].room.contains_key(&link) {
            self.is_down(who, link);
        }
    }

    pub fn cut(&mut self, link: LinkId) {
        for who in [0, 1] {
            self.link_down(who, link);
        }
    }

    /// Everything granted and delivered until nothing moves.
    pub fn settle(&mut self) {
        for _ in 0..5000 {
            let mut moved = false;
            for link in self.wires.keys().copied().collect::<Vec<_>>() {
                for who in [0, 1] {
                    if self.ends[who].room.get(&link).is_some_and(|&room| room < self.grant / 2) {
                        self.grant(who, link, self.grant);
                        moved |= self.ends[who].room.get(&link).is_some_and(|&room| room < self.grant);
                    }
                    while self.deliver(link, who, usize::MAX) {
                        moved = true;
                    }
                }
            }
            if !moved {
                return;
            }
        }
        panic!("the two nodes talk without end");
    }

    // ---- time ----

    /// Time passes; both nodes are woken when they asked for it.
    pub fn pass(&mut self, span: Duration, settle: bool, mut each: impl FnMut(&mut World)) {
        let end = self.now + span;
        for _ in 0..4000 {
            if settle {
                self.settle();
                each(self);
            }
            let next = self.ends[0].wake.min(self.ends[1].wake);
            if next > end {
                break;
            }
            self.now = self.now.max(next);
            for who in [0, 1] {
                self.give(who, Input::Tick);
            }
        }
        self.now = self.now.max(end);
    }
}
