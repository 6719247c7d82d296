//! Two nodes and a wire in memory: what each rule of the handshake and of a session does, without faults
//! that the simulator has better.
//!
//! This file is the harness: a [`World`] carries every output of one node to the other at once, unless a
//! test holds the bytes back, drops them, or leaves a link without room. The files beside it hold the tests,
//! by what they are about. A test may look into a node and set the room of its links; what it does otherwise
//! comes from outside.

mod calls;
mod channels;
mod connectors;
mod endings;
mod hostile;
mod links;
mod liveness;
mod sessions;
mod stores;
mod stores_in_trouble;
mod trust;

use super::*;
use crate::id::{ChannelId, HostId};
use crate::wire::Frame;
use bytes::{Bytes, BytesMut};

#[derive(Debug)]
struct Toy;

impl KeyedHash for Toy {
    fn keyed_hash(&self, key: &[u8; 32], parts: &[&[u8]]) -> [u8; 32] {
        let mut out = [0; 32];
        for (index, byte) in out.iter_mut().enumerate() {
            let mut hasher = DefaultHasher::new();
            (key, parts, index).hash(&mut hasher);
            *byte = hasher.finish() as u8;
        }
        out
    }
}

/// Two nodes; links between them have the same number at both ends.
struct World {
    now: Instant,
    nodes: [Node; 2],
    links: BTreeMap<LinkId, [bool; 2]>,
    events: [Vec<Event>; 2],
    next_link: u64,
    /// Whether a dial brings a link.
    reachable: bool,
    /// Bytes of both ends get lost.
    cut_bytes: bool,
    /// Bytes that were handed out wait here until [`World::deliver`]: to whom, on which link, what.
    held: Option<Vec<(usize, LinkId, Bytes)>>,
    /// No link gets its room back: the sockets stay full.
    full: bool,
    /// Dials that brought a link.
    dials: usize,
    /// All dials: the address, and the host that was expected there.
    dialled: Vec<(String, Option<HostId>)>,
    /// Links that a node hung up: who, which, why.
    hangups: Vec<(usize, LinkId, Error)>,
    /// What the store of each node has; it stores at once.
    disks: [BTreeMap<Vec<u8>, Vec<u8>>; 2],
    /// Of a slow one what it was asked waits until [`stores::sync`].
    is_slow: [bool; 2],
    asked: [Vec<(u64, Vec<crate::store::Change>)>; 2],
    /// Links that are black holes.
    holes: BTreeSet<LinkId>,
}

fn node(host: u8, seed: u8, change: impl FnOnce(&mut NodeOptions)) -> Node {
    let mut options = NodeOptions::default();
    options.trust.levels = (0..4).map(|host| (HostId([host; 32]), 5)).collect();
    change(&mut options);
    Node::new(options, HostId([host; 32]), Arc::new(Toy), [seed; 32], Instant(1_000_000), 77).unwrap()
}

impl World {
    fn new(a: Node, b: Node) -> World {
        World {
            now: Instant(1_000_000),
            nodes: [a, b],
            links: BTreeMap::new(),
            events: [vec![], vec![]],
            next_link: 0,
            reachable: true,
            cut_bytes: false,
            held: None,
            full: false,
            dials: 0,
            dialled: vec![],
            hangups: vec![],
            disks: Default::default(),
            is_slow: [false; 2],
            asked: Default::default(),
            holes: BTreeSet::new(),
        }
    }

    fn handle(&mut self, who: usize, input: Input) {
        self.nodes[who].handle(self.now, input).unwrap();
        self.drain(who);
    }

    fn drain(&mut self, who: usize) {
        let mut outputs = vec![];
        while let Some(output) = self.nodes[who].poll(self.now) {
            outputs.push(output);
        }
        for output in outputs {
            self.apply(who, output);
        }
    }

    fn apply(&mut self, who: usize, output: Output) {
        if let Output::Dial { address, expected, .. } = &output {
            self.dialled.push((address.clone(), *expected));
        }
        match output {
            Output::Send { link, parts } => {
                let bytes = parts.concat();
                if self.holes.contains(&link) {
                    return;
                }
                if !self.full {
                    self.handle(who, Input::Writable { link, bytes: bytes.len() });
                }
                if let Some(held) = &mut self.held {
                    held.push((1 - who, link, bytes.into()));
                } else if !self.cut_bytes && self.links.contains_key(&link) {
                    self.handle(1 - who, Input::Bytes { link, bytes: BytesMut::from(&bytes[..]) });
                }
            }
            Output::Dial { attempt, .. } if self.reachable => {
                self.dials += 1;
                self.link_up(who, Some(attempt));
            }
            Output::Dial { attempt, address, .. } => {
                let why = Error::new(Code::Unreachable, format!("dial {address}: nobody there"));
                self.handle(who, Input::DialFailed { attempt, why });
            }
            Output::Hangup { link, why } => {
                self.hangups.push((who, link, why));
                self.cut(link);
            }
            Output::Event(event) => self.events[who].push(event),
            Output::Wake(at) => assert!(at > self.now),
            Output::CancelDial { .. } => {}
            Output::Store { operation, changes } if self.is_slow[who] => {
                self.asked[who].push((operation, changes));
            }
            Output::Store { operation, changes } => {
                stores::apply(&mut self.disks[who], changes);
                self.handle(who, Input::Done { operation });
            }
            other => panic!("{other:?}"),
        }
    }

    fn link_up(&mut self, who: usize, attempt: Option<AttemptId>) {
        self.next_link += 1;
        let link = LinkId(self.next_link);
        self.links.insert(link, [true; 2]);
        for (side, dialled) in [(who, attempt), (1 - who, None)] {
            let mut info = accepted(self.nodes[1 - side].id().host, [self.next_link as u8; 32]);
            (info.dialled, info.pinned) = (dialled, dialled.is_some());
            self.handle(side, Input::LinkUp { link, info });
        }
        for side in [0, 1] {
            self.handle(side, Input::Writable { link, bytes: 1 << 20 });
        }
    }

    fn cut(&mut self, link: LinkId) {
        if self.links.remove(&link).is_some() {
            for side in [0, 1] {
                let why = Error::new(Code::LinkFailed, "cut");
                self.handle(side, Input::LinkDown { link, why });
            }
        }
    }

    /// Hands on what was held back, and holds nothing back any more.
    fn deliver(&mut self) {
        for (to, link, bytes) in self.held.take().unwrap_or_default() {
            if self.links.contains_key(&link) {
                self.handle(to, Input::Bytes { link, bytes: bytes.into() });
            }
        }
    }

    /// Frames that the other node never wrote come in on a link.
    fn inject(&mut self, to: usize, link: LinkId, frames: &[Frame]) {
        self.handle(to, Input::Bytes { link, bytes: encoded(frames).into() });
    }

    fn cut_all(&mut self) {
        for link in self.links.keys().copied().collect::<Vec<_>>() {
            self.cut(link);
        }
    }

    /// Lets time pass, waking both nodes when they want.
    fn pass(&mut self, span: Duration) {
        let end = self.now + span;
        loop {
            let next = self.nodes.iter().map(Node::next_timer).min().unwrap_or(Instant::NEVER);
            if next > end {
                break;
            }
            self.now = next.max(self.now);
            self.handle(0, Input::Tick);
            self.handle(1, Input::Tick);
        }
        self.now = end;
    }

    fn connect(&mut self) -> [SessionId; 2] {
        self.nodes[0].connect(self.now, ConnectOptions::to("b:1")).unwrap();
        self.drain(0);
        [self.nodes[0].sessions()[0], self.nodes[1].sessions()[0]]
    }

    fn command<T>(&mut self, who: usize, each: impl FnOnce(&mut Node, Instant) -> T) -> T {
        let now = self.now;
        let answer = each(&mut self.nodes[who], now);
        self.drain(who);
        answer
    }

    fn send(&mut self, who: usize, session: SessionId, channel: ChannelId, text: &str) {
        let data = Bytes::copy_from_slice(text.as_bytes());
        self.command(who, |node, now| node.channel_send(now, session, channel, data)).unwrap();
    }

    fn receive(&mut self, who: usize, session: SessionId, channel: ChannelId) -> Result<String> {
        let bytes = self.command(who, |node, now| node.channel_receive(now, session, channel, 1000))?;
        let bytes = bytes.ok_or_else(|| Error::new(Code::Again, "nothing there yet"))?;
        Ok(String::from_utf8(bytes.to_vec()).unwrap())
    }

    fn open(&mut self, who: usize, session: SessionId) -> Result<ChannelId> {
        self.command(who, |node, now| node.channel_open(now, session, ChannelOptions::default()))
    }

    fn try_send(
        &mut self,
        who: usize,
        session: SessionId,
        channel: ChannelId,
        data: &Bytes,
    ) -> Result<usize> {
        self.command(who, |node, now| node.channel_send(now, session, channel, data.clone()))
    }

    fn release(&mut self, who: usize, session: SessionId, channel: ChannelId) {
        self.command(who, |node, now| node.channel_release(now, session, channel)).unwrap();
    }

    /// A node offers the service `echo`; the test is its handler.
    fn offer_echo(&mut self, who: usize) {
        let options = ServiceOptions::default();
        self.command(who, |node, now| node.service_register(now, "echo", options)).unwrap();
    }

    fn call_echo(&mut self, who: usize, session: SessionId) -> ChannelId {
        let (request, options) = (Bytes::from_static(b"hi"), CallOptions::default());
        self.command(who, |node, now| node.call_start(now, session, "echo", request, options)).unwrap()
    }

    fn reply(&mut self, who: usize, session: SessionId, call: ChannelId, text: &'static str) {
        let reply = Bytes::from_static(text.as_bytes());
        self.command(who, |node, now| node.call_reply(now, session, call, reply, true)).unwrap();
    }

    fn finish_call(&mut self, who: usize, session: SessionId, call: ChannelId) {
        self.command(who, |node, now| node.call_finished(now, session, call)).unwrap();
    }

    fn info(&self, who: usize, session: SessionId) -> SessionInfo {
        self.nodes[who].session_info(session).unwrap()
    }

    /// Leaves so many bytes of room on an attached link.
    fn set_room(&mut self, who: usize, link: LinkId, bytes: usize) {
        let mut sessions = self.nodes[who].sessions.values_mut();
        sessions.find_map(|session| session.links.get_mut(link)).expect("an attached link").allowance = bytes;
    }

    fn first_link(&self) -> LinkId {
        *self.links.keys().next().expect("a link is up")
    }

    fn state(&self, who: usize, session: SessionId) -> SessionState {
        self.nodes[who].session_info(session).unwrap().state
    }

    fn session_events(&self, who: usize) -> Vec<SessionEvent> {
        let of_session = |event: &Event| match event {
            Event::Session { event, .. } => Some(event.clone()),
            _ => None,
        };
        self.events[who].iter().filter_map(of_session).collect()
    }
}

/// What TLS tells of a link that was accepted.
fn accepted(peer: HostId, exporter: [u8; 32]) -> Box<LinkInfo> {
    Box::new(LinkInfo {
        dialled: None,
        peer,
        exporter,
        peer_is_local: true,
        pinned: false,
        level_min: 0,
        place: None,
    })
}

fn encoded(frames: &[Frame]) -> Bytes {
    let mut bytes = BytesMut::new();
    for frame in frames {
        frame.encode(&mut bytes);
    }
    bytes.freeze()
}

/// Message of so many MiB.
fn mebibytes(count: usize) -> Bytes {
    Bytes::from(vec![7; count << 20])
}

fn world() -> World {
    World::new(node(1, 1, |_| {}), node(2, 2, |_| {}))
}

/// Connects with one bulk link beside the primary.
fn connect_with_bulk_link(world: &mut World) -> [SessionId; 2] {
    let options = ConnectOptions { bulk_links: 1, ..ConnectOptions::to("b:1") };
    world.command(0, |node, now| node.connect(now, options)).unwrap();
    [world.nodes[0].sessions()[0], world.nodes[1].sessions()[0]]
}

fn bulk_channel(world: &mut World, session: SessionId) -> ChannelId {
    let options = ChannelOptions { bytes: true, bulk: true, ..Default::default() };
    world.command(0, |node, now| node.channel_open(now, session, options)).unwrap()
}

fn open_pair(world: &mut World) -> ([SessionId; 2], ChannelId) {
    let [a, b] = world.connect();
    let channel = world
        .command(0, |node, now| {
            node.channel_open(now, a, ChannelOptions { name: "x".into(), ..Default::default() })
        })
        .unwrap();
    assert_eq!(world.command(1, |node, now| node.channel_accept(now, b)).unwrap().channel, channel);
    ([a, b], channel)
}
