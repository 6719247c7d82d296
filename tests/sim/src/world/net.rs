//! Links: bytes in order, with delay, jitter, a rate and a bounded buffer; cut, half open, black-holed.
//!
//! A link is what is left of TCP and TLS: whole or dead, its bytes never wrong. A blocked path keeps bytes in the
//! sender's buffer, as TCP would, and lets them go when it is healed, unless the link was cut before.

use super::{Happening, NOBODY, Pid, World};
use crate::checker::Verdict;
use crate::plan::{Forgery, MS, SEC};
use bytes::{Bytes, BytesMut};
use clerver_proto::error::{Code, Error};
use clerver_proto::id::{AttemptId, LinkId};
use clerver_proto::node::{Input, LinkInfo};
use clerver_proto::wire::Decoder;
use std::collections::{BTreeMap, VecDeque};

/// Time that a hang-up may take for its flush.
const LINGER: u64 = 5 * SEC;
/// Bytes of each link that are kept for replays.
const RECORDED: usize = 600;

/// What is wrong between two places, one way.
#[derive(Debug, Default, Clone)]
pub(super) struct Path {
    /// How many faults block it.
    pub blocks: u32,
    /// Rate instead of the plan's.
    pub rate: Option<u64>,
    /// So many next links get this much delay before their first byte.
    pub lag: (u64, u32),
    /// Each link is reset after so many bytes, both ways together; 0 is never.
    pub cut_every: u64,
    /// So many next links are falsified.
    pub forge: Option<(Forgery, u32)>,
}

/// What is wrong on the way to one address.
#[derive(Debug, Default, Clone)]
pub(super) struct Way {
    /// How many faults block it.
    pub blocks: u32,
    /// What passes takes so much longer.
    pub longer: u64,
}

/// One end of a link.
#[derive(Debug)]
pub(super) struct End {
    pub pid: Pid,
    pub slot: usize,
    pub id: Option<LinkId>,
    /// The process hung up; bytes for it are dropped.
    pub hung: bool,
    /// Its LinkDown was given.
    pub down: bool,
}

#[derive(Debug)]
enum Flight {
    Piece(Bytes),
    /// The other end closed.
    End,
    /// The link broke.
    Reset,
}

/// One direction of a link.
#[derive(Debug)]
pub(super) struct Dir {
    queue: VecDeque<Bytes>,
    queued: usize,
    /// Size of the piece that is just leaving.
    leaving: usize,
    flight: VecDeque<(u64, Flight)>,
    /// Nothing arrives before what was sent before.
    last: u64,
    delay: u64,
    pub sniffer: Decoder,
    /// Some of its bytes were falsified.
    pub altered: bool,
    /// The sender said by itself that a session is over: it may end then.
    pub genuine_gone: bool,
    pub forger: Decoder,
    first: BytesMut,
}

/// One link; direction `n` goes from end `n` to the other.
#[derive(Debug)]
pub(super) struct Link {
    pub ends: [End; 2],
    pub dirs: [Dir; 2],
    pub dead: bool,
    passed: u64,
    pub cut_after: u64,
    exporter: [u8; 32],
    attempt: Option<AttemptId>,
    /// Where it was dialled.
    pub address: String,
    pub forgery: Option<Forgery>,
    /// The forger has said its word; nothing more gets through.
    pub muted: bool,
    /// One end is the simulator.
    injected: bool,
}

impl Link {
    /// What comes of it says nothing about honest nodes.
    pub(super) fn is_tainted(&self) -> bool {
        self.injected || self.dirs.iter().any(|dir| dir.altered)
    }

    /// Whether it joins these two places, in either order.
    pub(super) fn joins(&self, a: usize, b: usize) -> bool {
        let (one, two) = (self.ends[0].slot, self.ends[1].slot);
        (one, two) == (a, b) || (one, two) == (b, a)
    }
}

impl World {
    pub(super) fn path(&self, from: usize, to: usize) -> Path {
        self.paths.get(&(from, to)).cloned().unwrap_or_default()
    }

    pub(super) fn path_mut(&mut self, from: usize, to: usize) -> &mut Path {
        self.paths.entry((from, to)).or_default()
    }

    pub(super) fn is_blocked(&self, from: usize, to: usize) -> bool {
        self.paths.get(&(from, to)).is_some_and(|path| path.blocks > 0)
    }

    fn new_dir(&mut self, from: usize, to: usize, up_at: u64) -> Dir {
        let lag = match self.paths.get_mut(&(from, to)) {
            Some(path) if path.lag.1 > 0 => {
                path.lag.1 -= 1;
                path.lag.0
            }
            _ => 0,
        };
        Dir {
            queue: VecDeque::new(),
            queued: 0,
            leaving: 0,
            flight: VecDeque::new(),
            last: up_at + lag,
            delay: self.plan.net.delay.draw(&mut self.rng),
            sniffer: Decoder::default(),
            altered: false,
            genuine_gone: false,
            forger: Decoder::default(),
            first: BytesMut::new(),
        }
    }

    /// Joins a dialler (or the simulator, with no attempt) to an accepting process; both learn it a little later.
    pub(super) fn join(
        &mut self,
        dialler: Pid,
        slot: usize,
        dial: Option<(AttemptId, String)>,
        acceptor: Pid,
    ) -> u64 {
        let (attempt, address) = dial.map_or((None, String::new()), |(attempt, to)| (Some(attempt), to));
        let key = self.next_link;
        self.next_link += 1;
        let to = self.procs[acceptor].slot;
        let delay = self.plan.net.delay;
        let first = self.now + delay.draw(&mut self.rng);
        let second = self.now + delay.draw(&mut self.rng);
        let dirs = [self.new_dir(slot, to, second), self.new_dir(to, slot, first)];
        let forgery = match self.paths.get_mut(&(slot, to)).and_then(|path| path.forge.as_mut()) {
            Some((how, left)) if *left > 0 && dialler != NOBODY => {
                *left -= 1;
                Some(*how)
            }
            _ => None,
        };
        let end = |pid, slot| End { pid, slot, id: None, hung: false, down: pid == NOBODY };
        let cut_every = self.path(slot, to).cut_every;
        let link = Link {
            ends: [end(dialler, slot), end(acceptor, to)],
            dirs,
            dead: false,
            passed: 0,
            cut_after: if cut_every == 0 { 0 } else { self.rng.range(cut_every / 2, cut_every) },
            exporter: self.rng.bytes32(),
            attempt,
            address,
            injected: dialler == NOBODY,
            forgery,
            muted: false,
        };
        self.links.insert(key, link);
        self.schedule(first, Happening::Up { link: key, side: 0 });
        self.schedule(second, Happening::Up { link: key, side: 1 });
        key
    }

    /// TLS is through at one end.
    pub(super) fn link_up(&mut self, key: u64, side: usize) -> Verdict {
        let Some(link) = self.links.get_mut(&key) else { return Ok(()) };
        let (pid, attempt) = (link.ends[side].pid, link.attempt.filter(|_| side == 0));
        if pid == NOBODY {
            return Ok(());
        }
        if let Some(attempt) = attempt {
            self.procs[pid].dials.remove(&attempt);
        }
        let ending = link.dirs[1 - side].flight.iter().any(|(_, flight)| matches!(flight, Flight::End));
        if link.dead && !ending {
            link.ends[side].down = true;
            let why = Error::new(Code::LinkFailed, "connection reset during the handshake");
            return match attempt {
                Some(attempt) => self.dial_fails(pid, attempt, why),
                None => Ok(()),
            };
        }
        let (slot, other) = (link.ends[side].slot, link.ends[1 - side].slot);
        let same_machine = self.plan.nodes[slot].host == self.plan.nodes[other].host;
        let info = LinkInfo {
            dialled: attempt,
            peer: self.slots[other].host,
            exporter: link.exporter,
            peer_is_local: same_machine && self.plan.net.local,
            pinned: attempt.is_some(),
            level_min: u8::from(attempt.is_none()),
            place: None,
        };
        let process = &mut self.procs[pid];
        process.next_link += 1;
        let id = LinkId(process.next_link);
        link.ends[side].id = Some(id);
        process.links.insert(id, super::Handle { key, side, granted: 0, hung: false });
        if let Some(attempt) = attempt {
            process.stale_attempts.push(attempt);
        }
        self.give(pid, Input::LinkUp { link: id, info: Box::new(info) })?;
        let buffer = self.buffer(slot, other);
        let first = if self.rng.percent(75) { buffer } else { self.rng.range(1, buffer as u64) as usize };
        if first < buffer {
            let later = self.now + self.rng.below(5 * MS);
            self.schedule(later, Happening::Grant { link: key, side, bytes: buffer - first });
        }
        self.grant(key, side, first)
    }

    /// A socket's buffer, small where the rate is low, as TCP_NOTSENT_LOWAT makes it (L5).
    fn buffer(&self, from: usize, to: usize) -> usize {
        let rate = self.path(from, to).rate.or(self.plan.net.rate).unwrap_or(u64::MAX);
        let beat = self.plan.nodes[from].options.beat.as_millis() as u64;
        let wanted = (u128::from(rate) * u128::from(beat) / 4000).min(1 << 30) as usize;
        let depth = self.plan.net.depth;
        wanted.clamp(depth, self.plan.net.buffer.max(depth))
    }

    pub(super) fn grant(&mut self, key: u64, side: usize, bytes: usize) -> Verdict {
        let Some(link) = self.links.get(&key) else { return Ok(()) };
        let end = &link.ends[side];
        let Some(id) = end.id.filter(|_| !end.down && !end.hung && !link.dead) else { return Ok(()) };
        let pid = end.pid;
        self.give(pid, Input::Writable { link: id, bytes })
    }

    /// Bytes go into the buffer of one end.
    pub(super) fn transmit(&mut self, key: u64, dir: usize, parts: Vec<Bytes>) {
        let Some(link) = self.links.get_mut(&key) else { return };
        if link.dead {
            return;
        }
        let way = &mut link.dirs[dir];
        for part in parts {
            if way.first.len() < RECORDED {
                let room = RECORDED - way.first.len();
                way.first.extend_from_slice(&part[..part.len().min(room)]);
            }
            way.queued += part.len();
            way.queue.push_back(part);
        }
        self.pump(key, dir);
    }

    /// Starts to send the next piece, unless one is leaving already or the path is blocked.
    pub(super) fn pump(&mut self, key: u64, dir: usize) {
        let Some(link) = self.links.get_mut(&key) else { return };
        let (from, to) = (link.ends[dir].slot, link.ends[1 - dir].slot);
        let way = &mut link.dirs[dir];
        if link.dead || way.leaving > 0 || way.queued == 0 {
            return;
        }
        if is_stuck(&self.paths, &self.ways, (from, to), &link.address) {
            return;
        }
        let most = self.rng.range(1, self.plan.net.piece as u64) as usize;
        way.leaving = if self.rng.percent(30) { most } else { self.plan.net.piece }.min(way.queued);
        let size = way.leaving as u64;
        let rate = self.paths.get(&(from, to)).and_then(|path| path.rate).or(self.plan.net.rate);
        let time = rate.map_or(0, |rate| (u128::from(size) * u128::from(SEC) / u128::from(rate)) as u64);
        self.schedule(self.now + time, Happening::Leave { link: key, dir });
    }

    /// A piece has left the buffer: it is on its way, and there is room for more.
    pub(super) fn leave(&mut self, key: u64, dir: usize) -> Verdict {
        let jitter = self.rng.below(self.plan.net.jitter + 1);
        let Some(link) = self.links.get_mut(&key) else { return Ok(()) };
        let (from, to) = (link.ends[dir].slot, link.ends[1 - dir].slot);
        let way = &mut link.dirs[dir];
        let size = std::mem::take(&mut way.leaving);
        let blocked = is_stuck(&self.paths, &self.ways, (from, to), &link.address);
        if link.dead || blocked || size == 0 {
            return Ok(());
        }
        let piece = take(&mut way.queue, size);
        way.queued -= size;
        let longer = self.ways.get(&link.address).map_or(0, |way| way.longer);
        way.last = way.last.max(self.now + way.delay + longer + jitter);
        let at = way.last;
        way.flight.push_back((at, Flight::Piece(piece)));
        link.passed += size as u64;
        let cut = link.cut_after > 0 && link.passed >= link.cut_after;
        let flushed = link.ends[dir].hung && way.queued == 0;
        self.schedule(at, Happening::Arrive { link: key, dir });
        if cut {
            self.cut(key, [true, true]);
            return Ok(());
        }
        if flushed {
            self.close_end(key, dir);
            return Ok(());
        }
        self.pump(key, dir);
        self.grant(key, dir, size)
    }

    /// What is first on the way reaches the other end.
    pub(super) fn arrive(&mut self, key: u64, dir: usize) -> Verdict {
        let Some(link) = self.links.get_mut(&key) else { return Ok(()) };
        if link.dirs[dir].flight.front().is_none_or(|(at, _)| *at > self.now) {
            return Ok(());
        }
        let Some((_, flight)) = link.dirs[dir].flight.pop_front() else { return Ok(()) };
        let tainted = link.injected || (link.dirs[dir].altered && !link.dirs[dir].genuine_gone);
        let end = &mut link.ends[1 - dir];
        let (pid, id) = (end.pid, end.id);
        let Some(id) = id.filter(|_| !end.down) else { return Ok(()) };
        let why = match flight {
            Flight::Piece(_) if end.hung => return Ok(()),
            Flight::Piece(bytes) if tainted => {
                return self.give_hostile(pid, Input::Bytes { link: id, bytes: bytes.into() });
            }
            Flight::Piece(bytes) => return self.give(pid, Input::Bytes { link: id, bytes: bytes.into() }),
            Flight::End => "closed by the peer",
            Flight::Reset if end.hung => "closed",
            Flight::Reset => "connection reset",
        };
        end.down = true;
        if link.ends.iter().all(|end| end.down) {
            self.forget_link(key);
        }
        self.give(pid, Input::LinkDown { link: id, why: Error::new(Code::LinkFailed, why) })
    }

    fn forget_link(&mut self, key: u64) {
        let Some(link) = self.links.remove(&key) else { return };
        let slots = [link.ends[0].slot, link.ends[1].slot];
        for (dir, way) in link.dirs.into_iter().enumerate() {
            if !way.first.is_empty() && link.ends[dir].pid != NOBODY && self.recorded.len() < 64 {
                self.recorded.push((slots[dir], slots[1 - dir], way.first.freeze()));
            }
        }
    }

    /// The link breaks; what is on the way is cut anywhere, and only the ends that `learn` hear of it.
    pub(super) fn cut(&mut self, key: u64, learn: [bool; 2]) {
        let Some(link) = self.links.get_mut(&key) else { return };
        if link.dead {
            return;
        }
        link.dead = true;
        let mut news = Vec::new();
        for (dir, way) in link.dirs.iter_mut().enumerate() {
            way.queue.clear();
            (way.queued, way.leaving) = (0, 0);
            way.flight.truncate(self.rng.below(way.flight.len() as u64 + 1) as usize);
            if let Some((_, Flight::Piece(piece))) = way.flight.back_mut() {
                piece.truncate(self.rng.range(1, piece.len() as u64) as usize);
            }
            if learn[1 - dir] {
                let last = way.flight.back().map_or(0, |(at, _)| *at);
                let at = last.max(self.now + self.rng.below(way.delay + 1));
                way.flight.push_back((at, Flight::Reset));
                news.push((at, dir));
            }
        }
        for (at, dir) in news {
            self.schedule(at, Happening::Arrive { link: key, dir });
        }
    }

    /// A process hangs up: what it sent is flushed, then both ends learn it.
    pub(super) fn hang_up(&mut self, key: u64, side: usize) {
        let Some(link) = self.links.get_mut(&key) else { return };
        link.ends[side].hung = true;
        if link.dead {
            link.dirs[1 - side].flight.clear();
            link.dirs[1 - side].flight.push_back((self.now, Flight::Reset));
            self.schedule(self.now, Happening::Arrive { link: key, dir: 1 - side });
        } else if link.dirs[side].queued == 0 {
            self.close_end(key, side);
        } else {
            self.schedule(self.now + LINGER, Happening::Linger { link: key, side });
        }
    }

    /// Everything is flushed: the end of the stream goes out, and the process hears that its link is down.
    fn close_end(&mut self, key: u64, side: usize) {
        let Some(link) = self.links.get_mut(&key) else { return };
        link.dead = true;
        let (from, to) = (link.ends[side].slot, link.ends[1 - side].slot);
        let way = &mut link.dirs[side];
        way.last = way.last.max(self.now + way.delay);
        let arrival = way.last;
        let blocked = is_stuck(&self.paths, &self.ways, (from, to), &link.address);
        if !blocked {
            way.flight.push_back((arrival, Flight::End));
        }
        let back = &mut link.dirs[1 - side];
        back.queue.clear();
        (back.queued, back.leaving) = (0, 0);
        back.flight.clear();
        back.flight.push_back((self.now, Flight::Reset));
        self.schedule(arrival, Happening::Arrive { link: key, dir: side });
        self.schedule(self.now, Happening::Arrive { link: key, dir: 1 - side });
    }

    pub(super) fn linger(&mut self, key: u64, side: usize) {
        let Some(link) = self.links.get(&key) else { return };
        let (from, to) = (link.ends[side].slot, link.ends[1 - side].slot);
        let mut learn = [!is_stuck(&self.paths, &self.ways, (from, to), &link.address); 2];
        learn[side] = true;
        self.cut(key, learn);
    }

    /// Lets go what waited for a path.
    pub(super) fn pump_all(&mut self) {
        let keys: Vec<u64> = self.links.keys().copied().collect();
        for key in keys {
            self.pump(key, 0);
            self.pump(key, 1);
        }
    }
}

type Paths = BTreeMap<(usize, usize), Path>;

/// Whether nothing passes this way on a link to this address.
fn is_stuck(paths: &Paths, ways: &BTreeMap<String, Way>, path: (usize, usize), address: &str) -> bool {
    paths.get(&path).is_some_and(|path| path.blocks > 0)
        || ways.get(address).is_some_and(|way| way.blocks > 0)
}

/// Takes so many bytes off the front.
fn take(queue: &mut VecDeque<Bytes>, size: usize) -> Bytes {
    let Some(first) = queue.front_mut() else { return Bytes::new() };
    if first.len() > size {
        return first.split_to(size);
    }
    if first.len() == size {
        return queue.pop_front().unwrap_or_default();
    }
    let mut whole = BytesMut::with_capacity(size);
    while whole.len() < size {
        let Some(mut part) = queue.pop_front() else { break };
        let piece = part.split_to(part.len().min(size - whole.len()));
        whole.extend_from_slice(&piece);
        if !part.is_empty() {
            queue.push_front(part);
        }
    }
    whole.freeze()
}
