//! Two processes with stores, and what happens to them: links with delays that are cut, disks that are slow, crashes
//! that keep any prefix of what was not on the disk, and restarts.

use crate::restarts::app::{Reader, Writer};
use crate::rng::Rng;
use crate::toy::ToyHash;
use bytes::{Bytes, BytesMut};
use clerver_proto::error::{Code, Error};
use clerver_proto::id::{AttemptId, HostId, LinkId};
use clerver_proto::node::{
    Canary, ConnectOptions, Embalming, Event, Input, LinkInfo, Node, NodeOptions, Output, SessionEvent, Trust,
};
use clerver_proto::store::Change;
use clerver_proto::time::Instant;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

/// What a disk has, and what it was asked to have.
#[derive(Debug, Clone, Default)]
pub(crate) struct Disk {
    pub(crate) synced: BTreeMap<Vec<u8>, Vec<u8>>,
    asked: VecDeque<(u64, Vec<Change>)>,
}

impl Disk {
    fn apply(&mut self, changes: Vec<Change>) {
        changes.into_iter().for_each(|change| change.apply(&mut self.synced));
    }

    /// Writes one batch; its number.
    fn sync_one(&mut self) -> Option<u64> {
        let (operation, changes) = self.asked.pop_front()?;
        self.apply(changes);
        Some(operation)
    }
}

/// A process.
pub(crate) struct Process {
    pub(crate) node: Node,
    pub(crate) writer: Writer,
    pub(crate) reader: Reader,
    /// Its session is over, for this reason.
    pub(crate) lost: Option<Error>,
}

/// A machine: its disk outlives its process.
pub(crate) struct Machine {
    pub(crate) process: Option<Process>,
    pub(crate) disk: Disk,
    pub(crate) has_store: bool,
    pub(crate) starts: u8,
}

/// One end's words on their way.
struct Parcel {
    to: usize,
    link: LinkId,
    at: u64,
    what: What,
}

enum What {
    Bytes(Bytes),
    Down,
}

pub(crate) struct World {
    pub(crate) now: Instant,
    pub(crate) machines: [Machine; 2],
    /// Links by number, with whether each end has it.
    links: BTreeMap<LinkId, [bool; 2]>,
    parcels: VecDeque<Parcel>,
    next_link: u64,
    pub(crate) rng: Rng,
    pub(crate) canary: Option<Canary>,
    is_swapped: bool,
    /// Dials find nobody.
    pub(crate) is_cut_off: bool,
}

/// The writer dials, the reader listens.
pub(crate) const WRITER: usize = 0;
pub(crate) const READER: usize = 1;

/// The lower host is the arbiter.
fn host(who: usize, is_swapped: bool) -> HostId {
    HostId([if (who == WRITER) == is_swapped { 2 } else { 1 }; 32])
}

impl World {
    pub(crate) fn new(seed: u64, has_store: [bool; 2], canary: Option<Canary>) -> World {
        let machine = |has_store| Machine { process: None, disk: Disk::default(), has_store, starts: 0 };
        let mut world = World {
            now: Instant(1_000_000_000),
            machines: has_store.map(machine),
            links: BTreeMap::new(),
            parcels: VecDeque::new(),
            next_link: 0,
            rng: Rng::new(seed),
            canary,
            is_swapped: seed & 1 == 1,
            is_cut_off: false,
        };
        world.start(READER).start(WRITER);
        let options = ConnectOptions { timeout: None, ..ConnectOptions::to("reader:1") };
        let _ = world.command(WRITER, |node, now| node.connect(now, options).map(drop));
        world
    }

    pub(crate) fn start(&mut self, who: usize) -> &mut World {
        let machine = &mut self.machines[who];
        machine.starts += 1;
        let mut options = NodeOptions {
            beat: Duration::from_millis(100),
            ttl: Duration::from_secs(1),
            has_store: machine.has_store,
            canary: self.canary,
            embalming: Embalming { span: Duration::from_secs(60), ..Embalming::default() },
            ..NodeOptions::default()
        };
        options.trust =
            Trust { levels: (1..=2).map(|id| (HostId([id; 32]), 5)).collect(), ..Trust::default() };
        let seed = [machine.starts * 2 + who as u8; 32];
        let id = host(who, self.is_swapped);
        let Ok(mut node) = Node::new(options, id, Arc::new(ToyHash), seed, self.now, 77) else { return self };
        if machine.has_store {
            let records = machine.disk.synced.clone().into_iter().collect();
            if let Ok(restored) = node.restore(self.now, records, &[]) {
                machine.disk.apply(restored.changes);
            }
        }
        let (writer, reader) = (Writer::default(), Reader::default());
        machine.process = Some(Process { node, writer, reader, lost: None });
        self.drain(who);
        self
    }

    /// The process dies; of what the disk was asked and did not do, any number of batches is there all the same.
    pub(crate) fn kill(&mut self, who: usize) {
        let asked = self.machines[who].disk.asked.len() as u64;
        for _ in 0..self.rng.below(asked + 1) {
            self.machines[who].disk.sync_one();
        }
        self.machines[who].disk.asked.clear();
        self.machines[who].process = None;
        for link in self.links.keys().copied().collect::<Vec<_>>() {
            self.links.entry(link).and_modify(|ends| ends[who] = false);
            // A peer of a machine that crashed may not hear of it.
            if self.rng.percent(80) {
                self.post(1 - who, link, What::Down);
            }
        }
    }

    pub(crate) fn cut_all(&mut self) {
        for link in self.links.keys().copied().collect::<Vec<_>>() {
            self.post(0, link, What::Down);
            self.post(1, link, What::Down);
        }
    }

    fn post(&mut self, to: usize, link: LinkId, what: What) {
        let at = self.now.0 + self.rng.range(100_000, 5_000_000);
        // A link keeps the order of what it carries.
        let after =
            self.parcels.iter().filter(|other| other.link == link && other.to == to).map(|other| other.at);
        let at = at.max(after.max().unwrap_or(0));
        self.parcels.push_back(Parcel { to, link, at, what });
    }

    pub(crate) fn command<T>(&mut self, who: usize, each: impl FnOnce(&mut Node, Instant) -> T) -> Option<T> {
        let now = self.now;
        let answer = each(&mut self.machines[who].process.as_mut()?.node, now);
        self.drain(who);
        Some(answer)
    }

    fn handle(&mut self, who: usize, input: Input) {
        let _ = self.command(who, |node, now| node.handle(now, input));
    }

    fn drain(&mut self, who: usize) {
        let mut outputs = Vec::new();
        if let Some(process) = &mut self.machines[who].process {
            while let Some(output) = process.node.poll(self.now) {
                outputs.push(output);
            }
        }
        outputs.into_iter().for_each(|output| self.apply(who, output));
    }

    fn apply(&mut self, who: usize, output: Output) {
        match output {
            Output::Send { link, parts } => {
                let bytes = Bytes::from(parts.concat());
                self.handle(who, Input::Writable { link, bytes: bytes.len() });
                self.post(1 - who, link, What::Bytes(bytes));
            }
            Output::Dial { attempt, .. } if !self.is_cut_off && self.machines[1 - who].process.is_some() => {
                self.link_up(who, attempt);
            }
            Output::Dial { attempt, .. } => {
                let why = Error::new(Code::Unreachable, "nobody there");
                self.handle(who, Input::DialFailed { attempt, why });
            }
            Output::Hangup { link, why } => {
                self.post(1 - who, link, What::Down);
                self.down(who, link, why);
            }
            Output::Store { operation, changes } => {
                self.machines[who].disk.asked.push_back((operation, changes));
            }
            Output::Event(event) => self.on_event(who, event),
            _ => {}
        }
    }

    fn down(&mut self, who: usize, link: LinkId, why: Error) {
        let ends = self.links.entry(link).or_default();
        if std::mem::take(&mut ends[who]) {
            self.handle(who, Input::LinkDown { link, why });
        }
    }

    fn link_up(&mut self, who: usize, attempt: AttemptId) {
        self.next_link += 1;
        let link = LinkId(self.next_link);
        self.links.insert(link, [true; 2]);
        for (side, dialled) in [(who, Some(attempt)), (1 - who, None)] {
            let info = LinkInfo {
                dialled,
                peer: host(1 - side, self.is_swapped),
                exporter: [self.next_link as u8; 32],
                place: None,
                peer_is_local: true,
                pinned: dialled.is_some(),
                level_min: 0,
            };
            self.handle(side, Input::LinkUp { link, info: Box::new(info) });
        }
        for side in [0, 1] {
            self.handle(side, Input::Writable { link, bytes: 1 << 20 });
        }
    }

    fn on_event(&mut self, who: usize, event: Event) {
        let Some(process) = &mut self.machines[who].process else { return };
        match event {
            Event::Connected { session, .. }
            | Event::Accepted { session, .. }
            | Event::Restored { session, .. } => {
                process.writer.session = Some(session);
                process.reader.session = Some(session);
            }
            Event::Session { event: SessionEvent::Stored(_), .. } => process.writer.is_told = true,
            Event::Session { event: SessionEvent::Lost(report), .. } => process.lost = Some(report.cause),
            _ => {}
        }
    }

    /// Lets a moment pass: what is due comes, disks write, and timers run.
    pub(crate) fn step(&mut self) {
        self.now = self.now + Duration::from_micros(self.rng.range(200, 3_000));
        let due = |parcel: &Parcel, now: Instant| parcel.at <= now.0;
        while let Some(at) = self.parcels.iter().position(|parcel| due(parcel, self.now)) {
            let Some(parcel) = self.parcels.remove(at) else { break };
            let is_there = self.links.get(&parcel.link).is_some_and(|ends| ends[parcel.to]);
            match parcel.what {
                What::Bytes(bytes) if is_there => {
                    self.handle(
                        parcel.to,
                        Input::Bytes { link: parcel.link, bytes: BytesMut::from(&bytes[..]) },
                    );
                }
                What::Down if is_there => {
                    self.down(parcel.to, parcel.link, Error::new(Code::LinkFailed, "cut"));
                }
                _ => {}
            }
        }
        for who in [WRITER, READER] {
            if self.rng.percent(40) {
                let operation = self.machines[who].disk.sync_one();
                operation.into_iter().for_each(|operation| self.handle(who, Input::Done { operation }));
            }
            self.handle(who, Input::Tick);
        }
        self.links.retain(|_, ends| ends[0] || ends[1]);
    }
}
