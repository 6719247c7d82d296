//! A third peer: it has a key of its own, or the key of an honest node, and says what it likes. It never gets a secret
//! that was not given to it.

use crate::app::pick;
use crate::script::{Lie, Op, side};
use crate::toy::Toy;
use crate::world::{SERVICE, World};
use bytes::{BufMut, Bytes, BytesMut};
use clerver_proto::crypto::KeyedHash;
use clerver_proto::id::{ChannelId, HostId, LinkId, LinkName, NodeId, ObjectId, ProcessId, Sid};
use clerver_proto::limits::{FRAME_BYTES_MAX, SessionLimits};
use clerver_proto::node::{Input, LinkInfo};
use clerver_proto::wire::codec::{put_bytes, put_varint};
use clerver_proto::wire::control::Control;
use clerver_proto::wire::header::{Header, Purpose};
use clerver_proto::wire::{Decoder, Frame, Hello, Offer, Role, Table, TableRow};

/// A link of the peer that lies.
#[derive(Debug)]
pub struct Hostile {
    /// To whom.
    who: usize,
    /// Who it says to be.
    node: NodeId,
    to: NodeId,
    exporter: [u8; 32],
    is_dialler: bool,
    decoder: Decoder,
    /// The session that it was offered or made up.
    session: (Sid, [u8; 32]),
    /// A session of the two honest nodes, when it poses as one of them.
    coveted: Option<Sid>,
    control_at: u64,
    heard: usize,
}

impl Hostile {
    /// Takes what the node sends, and learns from it what an honest peer would learn.
    pub fn hear(&mut self, parts: Vec<Bytes>) {
        self.heard += parts.iter().map(Bytes::len).sum::<usize>();
        for part in parts {
            self.decoder.push(part.into());
        }
        while let Some(frame) = self.decoder.next(FRAME_BYTES_MAX).expect("a node writes what can be read") {
            if let Frame::Session { sid, offer, .. } = frame {
                self.session.0 = sid;
                if let Offer::Fresh { secret } = offer {
                    self.session.1 = secret;
                }
            }
        }
    }

    fn binding(&self, right: bool) -> [u8; 16] {
        let who: &[u8] = if self.is_dialler == right { b"dialler" } else { b"acceptor" };
        let wide = Toy.keyed_hash(&self.exporter, &[b"clerver hello", who]);
        std::array::from_fn(|index| wide[index])
    }

    fn proof(&self, label: &[u8], right: bool) -> [u8; 32] {
        let role: &[u8] = if (self.node < self.to) == right { b"arbiter" } else { b"other" };
        Toy.keyed_hash(&self.session.1, &[label, &self.exporter, role])
    }

    fn sid(&self, right: bool) -> Sid {
        match self.coveted {
            Some(sid) if !right => sid,
            _ if right => self.session.0,
            _ => Sid([0xee; 16]),
        }
    }

    fn hello(&self) -> Hello {
        Hello {
            version_min: 1,
            version_max: 1,
            node: self.node,
            binding: self.binding(true),
            link_counter: 1,
            role: Role::Primary,
            revive: false,
            volatile: false,
            for_session: None,
            limits: SessionLimits { message_bytes_max: 1000, budget_bytes: 100_000, channels_max: 8 },
            beat_ms: 1000,
            ttl_ms: 4000,
            ttl_floor_ms: 0,
            ttl_max_ms: 120_000,
            embalm_ms: 0,
            wall_ms: 77,
            host_name: String::new(),
            node_name: String::new(),
            web_address: String::new(),
        }
    }

    fn frame(&mut self, lie: &Lie) -> Frame {
        match lie.clone() {
            Lie::Hello { version, right_binding, role, counter, for_session, beat_ms, limits } => {
                let mut hello = self.hello();
                hello.version_max = 1 + u16::from(version % 3);
                hello.binding = self.binding(right_binding);
                hello.role = [Role::Primary, Role::Standby, Role::Bulk, Role::Hop][usize::from(role % 4)];
                hello.link_counter = counter.into();
                hello.for_session = for_session.then(|| self.sid(counter & 1 == 1));
                // A long beat would keep the session for as long (T5 as built), past the end of every script.
                hello.beat_ms = u64::from(beat_ms % 2000);
                let [message, spare, channels] = limits.map(u64::from);
                let mut taken = SessionLimits {
                    message_bytes_max: message,
                    budget_bytes: 0,
                    channels_max: channels % 1026,
                };
                taken.budget_bytes = taken.budget_bytes_min() + spare;
                hello.limits = taken;
                Frame::Hello(Box::new(hello))
            }
            Lie::Session { right_sid, n, fresh, right, table } => {
                let (sid, n) = (self.sid(right_sid), n.into());
                if fresh {
                    let secret = if right { self.session.1 } else { [0xdd; 32] };
                    return Frame::Session { sid, n, offer: Offer::Fresh { secret } };
                }
                let proof = self.proof(b"clerver attach", right);
                Frame::Session { sid, n, offer: Offer::Existing { table: rows(&table), proof } }
            }
            Lie::Attach { right_sid, right, table } => {
                let proof = self.proof(b"clerver attach", right);
                Frame::Attach { sid: self.sid(right_sid), table: rows(&table), proof }
            }
            Lie::Gone { right_sid, code, proof } => {
                let given = match proof % 4 {
                    0 => None,
                    1 => Some([0; 32]),
                    right => Some(self.proof(b"clerver gone", right == 2)),
                };
                Frame::Gone { sid: self.sid(right_sid), code: code.into(), proof: given }
            }
            Lie::Control { kind, object, len } => self.control(kind, ObjectId(object.into()), len),
            other => plain(other),
        }
    }

    fn control(&mut self, kind: u8, object: ObjectId, len: u16) -> Frame {
        let control = match kind % 7 {
            0 => Control::Touch(object),
            1 => Control::Release(object),
            2 => Control::Update(object, vec![1; usize::from(len) % 16_384].into()),
            3 => Control::Attached { object, kind: "k".into(), ttl_ms: len.into() },
            4 => Control::Ended { object, code: len },
            5 => Control::Drain,
            _ => Control::Close { code: len, channels: u64::from(len), text: String::new() },
        };
        let mut bytes = BytesMut::new();
        put_bytes(&mut bytes, &control.encode());
        let offset = self.control_at;
        self.control_at += bytes.len() as u64;
        Frame::Data { channel: ChannelId(0), offset, bytes: bytes.freeze() }
    }
}

fn rows(table: &[[u16; 4]]) -> Table {
    let row = |&[channel, kept, written, held]: &[u16; 4]| TableRow {
        channel: ChannelId(u64::from(channel % 64)),
        kept: kept.into(),
        written: written.into(),
        held: held.into(),
    };
    let counts = table.first().map_or([0; 4], |first| *first);
    Table { opened: counts[0].into(), seen: counts[1].into(), rows: table.iter().map(row).collect() }
}

/// Frames that need to know nothing.
fn plain(lie: Lie) -> Frame {
    let id = |channel: u8| ChannelId(channel.into());
    match lie {
        Lie::Lack(count) => Frame::Lack { count: count.into() },
        Lie::Beat(number, echo, delay) => Frame::Beat {
            number: number.into(),
            echo: echo.into(),
            echo_delay_us: delay.into(),
            ttl_ms: delay.into(),
        },
        Lie::Dead(links) => {
            let name = |(by_arbiter, counter): (bool, u8)| LinkName { by_arbiter, counter: counter.into() };
            Frame::Dead { links: links.into_iter().map(name).collect() }
        }
        Lie::Retire => Frame::Retire,
        Lie::Role(role) => {
            Frame::Role { role: [Role::Primary, Role::Standby, Role::Bulk, Role::Hop][usize::from(role % 4)] }
        }
        Lie::Hop => Frame::Hop { transfer: 1, portion: 2, bytes: 3 },
        Lie::Rekey => Frame::Rekey { record: Bytes::from_static(b"key") },
        Lie::Shard => Frame::Shard { shard: 1, body: Bytes::from_static(b"body") },
        Lie::Credit(channel, limit) => Frame::Credit { channel: id(channel), limit: limit.into() },
        Lie::Reset(channel, size, code) => {
            Frame::Reset { channel: id(channel), size: size.into(), code: code.into(), text: "why".into() }
        }
        Lie::Stop(channel, code) => Frame::Stop { channel: id(channel), code: code.into() },
        Lie::ChannelCredit(count) => Frame::ChannelCredit { count: count.into() },
        Lie::Done(channel, offset) => Frame::Done { channel: id(channel), offset: offset.into() },
        Lie::Data { channel, offset, len } => {
            let bytes = vec![2; usize::from(len).max(1)].into();
            Frame::Data { channel: id(channel), offset: offset.into(), bytes }
        }
        Lie::Open { channel, kind, flags, service, len } => {
            let purpose =
                [Purpose::Messages, Purpose::Bytes, Purpose::Call { deadline_ms: u64::from(flags) }]
                    [usize::from(kind % 3)]
                .clone();
            let name = if service { SERVICE } else { "name" }.into();
            let header = Header { purpose, bulk: flags & 1 != 0, stored: flags & 2 != 0, name };
            let mut bytes = BytesMut::new();
            header.encode(&mut bytes);
            put_varint(&mut bytes, len.into());
            bytes.put_bytes(3, len.into());
            Frame::Data { channel: id(channel), offset: 0, bytes: bytes.freeze() }
        }
        Lie::End(channel, size) => Frame::End { channel: id(channel), size: size.into() },
        Lie::Refuse(code) => Frame::Refuse { code: code.into(), text: "no".into() },
        _ => Frame::Notice { code: 1, text: "hello".into() },
    }
}

impl World {
    pub fn apply_hostile(&mut self, op: &Op) {
        match op {
            &Op::HostileUp { who, as_who, answers_dial, hello, room } => {
                self.hostile_up(side(who), as_who, answers_dial, hello, room.into());
            }
            Op::HostileSays { pick: at, lie, times } => {
                let Some(link) = self.hostile_link(*at) else { return };
                for _ in 0..=times % 32 {
                    let Some(hostile) = self.hostile.get_mut(&link) else { return };
                    let mut bytes = BytesMut::new();
                    hostile.frame(lie).encode(&mut bytes);
                    self.hostile_gives(link, bytes.freeze());
                }
            }
            Op::HostileBytes { pick: at, bytes } => {
                if let Some(link) = self.hostile_link(*at) {
                    self.hostile_gives(link, Bytes::copy_from_slice(bytes));
                }
            }
            Op::HostileDown { pick: at } => {
                if let Some(link) = self.hostile_link(*at) {
                    self.end_lie(link);
                }
            }
            _ => {}
        }
    }

    fn hostile_link(&self, at: u8) -> Option<LinkId> {
        let links: Vec<LinkId> = self.hostile.keys().copied().collect();
        pick(&links, at)
    }

    fn hostile_up(&mut self, who: usize, as_who: u8, answers_dial: bool, hello: bool, room: usize) {
        let to = self.ends[who].node.id();
        let other = self.ends[1 - who].node.id();
        let node = match as_who % 4 {
            0 => NodeId { host: HostId([0; 32]), process: ProcessId([1; 16]) },
            1 | 2 => NodeId { host: HostId([3; 32]), process: ProcessId([1; 16]) },
            _ => other,
        };
        // Posing as a node before its session is there, it would simply be that node.
        let coveted = self.ends[who].app.sessions.iter().find_map(|&session| {
            let sid = self.vetted_sid(who, session)?;
            self.is_live(who, session).then_some(sid)
        });
        if node == other && coveted.is_none() {
            return;
        }
        self.twin_seen |= node == other;
        let dialled = if answers_dial { self.ends[who].dials.pop_front() } else { None };
        self.ends[who].old_attempts.extend(dialled);
        let (link, exporter) = self.new_link();
        let hostile = Hostile {
            who,
            node,
            to,
            exporter,
            is_dialler: dialled.is_none(),
            decoder: Decoder::default(),
            session: (Sid([0xcc; 16]), [0xcc; 32]),
            coveted,
            control_at: 0,
            heard: 0,
        };
        let first = Frame::Hello(Box::new(hostile.hello()));
        self.hostile.insert(link, hostile);
        self.ends[who].room.insert(link, 0);
        let pinned = dialled.is_some();
        let info = LinkInfo {
            dialled,
            peer: node.host,
            exporter,
            peer_is_local: false,
            pinned,
            level_min: 0,
            place: None,
        };
        self.give(who, Input::LinkUp { link, info: Box::new(info) });
        self.grant(who, link, room);
        if hello {
            let mut bytes = BytesMut::new();
            first.encode(&mut bytes);
            self.hostile_gives(link, bytes.freeze());
        }
    }

    fn hostile_gives(&mut self, link: LinkId, bytes: Bytes) {
        if let Some(hostile) = self.hostile.get(&link) {
            self.give(hostile.who, Input::Bytes { link, bytes: bytes.into() });
        }
    }

    /// The peer reads everything at last: a node never keeps more for it than it may.
    fn end_lie(&mut self, link: LinkId) {
        let Some(hostile) = self.hostile.get(&link) else { return };
        let (who, before) = (hostile.who, hostile.heard);
        let most = 2 * self.limits.budget_bytes as usize + 128 * 1024;
        for _ in 0..4 {
            self.grant(who, link, most);
        }
        if let Some(hostile) = self.hostile.get(&link) {
            let kept = hostile.heard - before;
            if self.is_traced {
                eprintln!("        {kept} bytes waited for the peer that lies");
            }
            assert!(kept <= most, "{kept} bytes waited for a peer that did not read");
        }
        self.link_down(who, link);
    }

    pub fn end_lies(&mut self) {
        for link in self.hostile.keys().copied().collect::<Vec<_>>() {
            self.end_lie(link);
        }
    }
}
