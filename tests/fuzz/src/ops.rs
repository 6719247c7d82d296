//! The steps of a script, as calls on the nodes.

use crate::app::pick;
use crate::script::{Op, side};
use crate::world::{KIND, SERVICE, World, trust};
use bytes::{Bytes, BytesMut};
use clerver_proto::error::{Code, Error};
use clerver_proto::id::{AttemptId, ChannelId, ConnectorId, LinkId, ObjectId, SessionId};
use clerver_proto::node::{CallOptions, ChannelOptions, ConnectOptions, Input, ObjectAction, OwnAddress};
use std::time::Duration;

fn ms(span: u16) -> Duration {
    Duration::from_millis(span.into())
}

impl World {
    pub fn apply(&mut self, op: &Op) {
        let disturbs = matches!(
            op,
            Op::Cut { .. }
                | Op::BlackHole { .. }
                | Op::Jump { .. }
                | Op::Pass { settle: false, .. }
                | Op::Dial { works: false, .. }
                | Op::Block { .. }
                | Op::SweepAll { .. }
        );
        self.is_undisturbed &= !disturbs;
        self.apply_world(op);
        self.apply_channels(op);
        self.apply_calls(op);
        self.apply_objects(op);
        self.apply_sessions(op);
        self.apply_hostile(op);
    }

    fn wire(&self, at: u8) -> Option<LinkId> {
        let links: Vec<LinkId> = self.wires.keys().copied().collect();
        pick(&links, at)
    }

    fn apply_world(&mut self, op: &Op) {
        match *op {
            Op::Dial { who, works } => self.dial(side(who), works),
            Op::Deliver { pick, to, bytes } => {
                if let Some(link) = self.wire(pick) {
                    self.deliver(link, side(to), bytes.into());
                }
            }
            Op::Grant { pick, to, bytes } => {
                if let Some(link) = self.wire(pick) {
                    self.grant(side(to), link, bytes.into());
                }
            }
            Op::Settle => self.settle(),
            Op::Cut { pick } => {
                if let Some(link) = self.wire(pick) {
                    self.cut(link);
                }
            }
            Op::BlackHole { pick, to } => {
                if let Some(wire) = self.wire(pick).and_then(|link| self.wires.get_mut(&link)) {
                    wire.is_hole[side(to)] = true;
                    wire.coming[side(to)].clear();
                    wire.ends[side(to)] = false;
                }
            }
            Op::Pass { ms: span, settle } => self.pass(ms(span % 5000), settle, |_| {}),
            Op::Jump { ms: span } => self.now = self.now + ms(span),
            Op::Tick { who } => self.give(side(who), Input::Tick),
            Op::Stale { who, kind, pick } => self.stale(side(who), kind, pick),
            Op::Undrained { who } => self.undrained(side(who)),
            _ => {}
        }
    }

    fn apply_sessions(&mut self, op: &Op) {
        match *op {
            Op::Connect { who, bulk, any_node, timeout } => {
                let timeout = timeout.then(|| Duration::from_secs(3));
                let options =
                    ConnectOptions { bulk_links: bulk % 4, any_node, timeout, ..ConnectOptions::to("peer") };
                let (standby_links, race) = (bulk / 4 % 3, bulk > 200);
                let options = ConnectOptions { standby_links, race, ..options };
                let options = ConnectOptions { addresses: vec!["a:1".into(), "b:2".into()], ..options };
                let who = side(who);
                if self.ends[who].app.connectors.len() < 3
                    && let Ok(connector) = self.command(who, |node, now| node.connect(now, options))
                {
                    self.ends[who].app.connectors.push(connector);
                }
            }
            Op::ConnectCancel { who, pick: at } => {
                let who = side(who);
                if let Some(connector) = pick(&self.ends[who].app.connectors, at) {
                    self.ends[who].app.connectors.retain(|&known| known != connector);
                    let _ = self.command(who, |node, now| node.connect_cancel(now, connector));
                }
            }
            Op::Close { who, pick: at, ms: span } => {
                if let Some(session) = pick(&self.ends[side(who)].app.sessions, at) {
                    self.close(side(who), session, ms(span));
                }
            }
            Op::Forget { who, pick: at } => {
                if let Some(session) = pick(&self.ends[side(who)].app.sessions, at) {
                    let _ = self.command(side(who), |node, now| node.session_forget(now, session));
                }
            }
            Op::Drain { who } => {
                self.was_drained = true;
                let _ = self.command(side(who), |node, now| node.drain(now));
            }
            Op::Announce { who, count } => self.announce(side(who), count),
            Op::Move { who, pick: at, by_peer, to } => {
                let address = ["", "a:1", "c:3"].get(usize::from(to)).copied();
                if let Some(session) = pick(&self.ends[side(who)].app.sessions, at) {
                    let _ = self.command(side(who), |node, now| match by_peer {
                        true => node.session_goto(now, session, address),
                        false => node.session_roam(now, session, address),
                    });
                }
            }
            Op::Network { who, pick: at, doubts } => {
                let links: Vec<_> = self.ends[side(who)].room.keys().copied().collect();
                match pick(&links, at).filter(|_| doubts) {
                    Some(link) => self.give(side(who), Input::LinkDoubted { link }),
                    None => self.give(side(who), Input::NetworkChanged),
                }
            }
            Op::SweepAll { who } => drop(self.command(side(who), |node, now| node.sweep_all(now))),
            Op::Block { who, blocked } => {
                let blocked = blocked.then(|| self.ends[1 - side(who)].node.id().host);
                let _ = self.command(side(who), |node, now| node.set_trust(now, trust(blocked)));
            }
            Op::Nonsense { who, kind, session, channel } => {
                self.nonsense(side(who), kind, SessionId(session.into()), ChannelId(channel.into()));
            }
            _ => {}
        }
    }

    fn announce(&mut self, who: usize, count: u8) {
        let own = |at| OwnAddress {
            address: format!("{}:{at}", char::from(b'a' + at % 4)).into(),
            is_local: at % 3 == 0,
        };
        let addresses = (0..count % 70).map(own).collect();
        let _ = self.command(who, |node, now| node.set_addresses(now, addresses));
    }

    pub fn close(&mut self, who: usize, session: SessionId, wait: Duration) {
        let _ = self.command(who, |node, now| node.session_close(now, session, wait));
        let Some(sid) = self.vetted_sid(who, session) else { return };
        for ((of, _, writer), flow) in &mut self.ledger.flows {
            // Whoever closes reads no more; replies that were not given yet are broken off.
            if *of == sid {
                flow.reader_gone |= *writer != who;
                flow.may_be_missing = true;
            }
        }
    }

    // ---- channels ----

    fn apply_channels(&mut self, op: &Op) {
        match *op {
            Op::Open { who, pick: at, bytes, bulk } => {
                let who = side(who);
                let Some(session) = pick(&self.ends[who].app.sessions, at) else { return };
                let options = ChannelOptions { name: "channel".into(), bytes, bulk, stored: false };
                if let Ok(channel) = self.command(who, |node, now| node.channel_open(now, session, options)) {
                    self.ends[who].app.channels.push((session, channel));
                    if let Some(sid) = self.vetted_sid(who, session) {
                        for writer in [0, 1] {
                            self.ledger.flow(sid, channel, writer).is_bytes = bytes;
                        }
                    }
                }
            }
            Op::Accept { who, pick: at } => {
                if let Some(session) = pick(&self.ends[side(who)].app.sessions, at) {
                    self.accept(side(who), session);
                }
            }
            Op::Send { who, pick: at, len } => {
                if let Some((session, channel)) = pick(&self.ends[side(who)].app.channels, at) {
                    let len = usize::from(len) % (self.limits.message_bytes_max as usize * 5 / 4 + 2);
                    self.write(side(who), session, channel, len, |node, now, data| {
                        node.channel_send(now, session, channel, data)
                    });
                }
            }
            Op::Receive { who, pick: at, max } => {
                if let Some((session, channel)) = pick(&self.ends[side(who)].app.channels, at) {
                    self.receive(side(who), session, channel, max.into());
                }
            }
            Op::End { who, pick: at } => {
                if let Some((session, channel)) = pick(&self.ends[side(who)].app.channels, at) {
                    let _ = self.command(side(who), |node, now| node.channel_end(now, session, channel));
                }
            }
            Op::Reset { who, pick: at } => {
                if let Some((session, channel)) = pick(&self.ends[side(who)].app.channels, at) {
                    let why = Error::new(Code::Cancelled, "enough");
                    let _ =
                        self.command(side(who), |node, now| node.channel_reset(now, session, channel, why));
                    self.gone(side(who), session, channel, true, false);
                }
            }
            Op::Stop { who, pick: at } => {
                if let Some((session, channel)) = pick(&self.ends[side(who)].app.channels, at) {
                    let _ = self.command(side(who), |node, now| node.channel_stop(now, session, channel));
                    self.gone(side(who), session, channel, false, true);
                }
            }
            Op::Release { who, pick: at } => {
                if let Some((session, channel)) = pick(&self.ends[side(who)].app.channels, at) {
                    self.release(side(who), session, channel);
                }
            }
            _ => {}
        }
    }

    pub fn accept(&mut self, who: usize, session: SessionId) -> bool {
        let incoming = self.command(who, |node, now| node.channel_accept(now, session));
        if let Ok(incoming) = &incoming {
            self.ends[who].app.channels.push((session, incoming.channel));
        }
        incoming.is_ok()
    }

    fn write(
        &mut self,
        who: usize,
        session: SessionId,
        channel: ChannelId,
        len: usize,
        each: impl FnOnce(
            &mut clerver_proto::node::Node,
            clerver_proto::time::Instant,
            Bytes,
        ) -> clerver_proto::error::Result<usize>,
    ) {
        let data = self.ledger.content(len);
        let sid = self.vetted_sid(who, session);
        let answer = self.command(who, |node, now| each(node, now, data.clone()));
        if let (Ok(written), Some(sid)) = (answer, sid) {
            let flow = self.ledger.flow(sid, channel, who);
            if written > 0 || !flow.is_bytes {
                flow.expected.push_back(data.slice(..written));
            }
        }
    }

    /// Takes what is next; answers whether there may be more.
    pub fn receive(&mut self, who: usize, session: SessionId, channel: ChannelId, max: usize) -> bool {
        let taken = self.command(who, |node, now| node.channel_receive(now, session, channel, max));
        let Some(sid) = self.vetted_sid(who, session) else { return matches!(taken, Ok(Some(_))) };
        match &taken {
            Ok(None) => {}
            Ok(Some(data)) => self.ledger.taken(sid, channel, 1 - who, data),
            Err(error) if error.code == Code::End => self.ledger.ended(sid, channel, 1 - who),
            Err(_) => {}
        }
        matches!(taken, Ok(Some(_)))
    }

    /// This end gave up writing or reading.
    pub fn gone(&mut self, who: usize, session: SessionId, channel: ChannelId, writes: bool, reads: bool) {
        if let Some(sid) = self.vetted_sid(who, session) {
            self.ledger.flow(sid, channel, who).may_be_missing |= writes;
            self.ledger.flow(sid, channel, 1 - who).reader_gone |= reads;
        }
    }

    pub fn release(&mut self, who: usize, session: SessionId, channel: ChannelId) {
        let _ = self.command(who, |node, now| node.channel_release(now, session, channel));
        self.ends[who].app.channels.retain(|&known| known != (session, channel));
        self.gone(who, session, channel, false, true);
    }

    // ---- calls ----

    fn apply_calls(&mut self, op: &Op) {
        match *op {
            Op::Call { who, pick: at, len, deadline, service } => {
                if let Some(session) = pick(&self.ends[side(who)].app.sessions, at) {
                    let deadline = (deadline > 0).then(|| ms(u16::from(deadline) * 20));
                    self.call(side(who), session, len.into(), deadline, service);
                }
            }
            Op::CallCancel { who, pick: at } => {
                if let Some((session, call)) = pick(&self.ends[side(who)].app.channels, at) {
                    let _ = self.command(side(who), |node, now| node.call_cancel(now, session, call));
                    if let Some(sid) = self.vetted_sid(side(who), session) {
                        self.ledger.both_gone(sid, call, side(who));
                    }
                }
            }
            Op::Reply { who, pick: at, len, last } => {
                if let Some((session, call)) = pick(&self.ends[side(who)].app.running, at) {
                    self.reply(side(who), session, call, usize::from(len) % 5000, last);
                }
            }
            Op::CallFail { who, pick: at } => {
                if let Some((session, call)) = pick(&self.ends[side(who)].app.running, at) {
                    let why = Error::new(Code::CallFailed, "it did not work");
                    let _ = self.command(side(who), |node, now| node.call_fail(now, session, call, why));
                    self.gone(side(who), session, call, true, false);
                }
            }
            Op::CallFinished { who, pick: at } => {
                if let Some((session, call)) = pick(&self.ends[side(who)].app.running, at) {
                    self.finish_call(side(who), session, call);
                }
            }
            _ => {}
        }
    }

    fn call(&mut self, who: usize, session: SessionId, len: usize, deadline: Option<Duration>, known: bool) {
        let request = self.ledger.content(len % (self.limits.message_bytes_max as usize + 2));
        let service = if known { SERVICE } else { "unknown" };
        let (sid, sent) = (self.vetted_sid(who, session), request.clone());
        let options = CallOptions { deadline };
        // The request may be handed out before this returns to the script, but not before it is delivered.
        let call = self.command(who, |node, now| node.call_start(now, session, service, request, options));
        let Ok(call) = call else { return };
        self.ends[who].app.channels.push((session, call));
        if let Some(sid) = sid {
            let flow = self.ledger.flow(sid, call, who);
            flow.expected.push_back(sent);
            flow.may_be_missing = true;
            self.ledger.flow(sid, call, 1 - who).may_be_missing = deadline.is_some();
        }
    }

    pub fn reply(&mut self, who: usize, session: SessionId, call: ChannelId, len: usize, last: bool) {
        let len = len.min(self.limits.message_bytes_max as usize);
        self.write(who, session, call, len, |node, now, data| {
            let size = data.len();
            node.call_reply(now, session, call, data, last).map(|()| size)
        });
    }

    pub fn finish_call(&mut self, who: usize, session: SessionId, call: ChannelId) {
        let _ = self.command(who, |node, now| node.call_finished(now, session, call));
        self.ends[who].app.running.retain(|&known| known != (session, call));
        self.gone(who, session, call, true, true);
    }

    // ---- objects ----

    fn apply_objects(&mut self, op: &Op) {
        match *op {
            Op::Attach { who, pick: at, ttl } => {
                let Some(session) = pick(&self.ends[side(who)].app.sessions, at) else { return };
                let ttl = (ttl > 0).then(|| ms(u16::from(ttl) * 50));
                let object = self.command(side(who), |node, now| node.object_attach(now, session, KIND, ttl));
                self.ends[side(who)].app.held.extend(object.ok().map(|object| (session, object)));
            }
            Op::ObjectDone { who, pick: at, ok } => {
                if let Some(action) = pick(&self.ends[side(who)].app.actions, at) {
                    self.answer(side(who), action, ok);
                }
            }
            Op::ObjectEnd { who, pick: at } => {
                if let Some((session, object)) = pick(&self.ends[side(who)].app.held, at) {
                    let _ = self.command(side(who), |node, now| node.object_end(now, session, object));
                }
            }
            Op::ObjectEnter { who, pick: at } => {
                let Some((session, object)) = pick(&self.ends[side(who)].app.held, at) else { return };
                if self.command(side(who), |node, now| node.object_enter(now, session, object)).is_ok() {
                    self.ends[side(who)].app.entered.push((session, object));
                }
            }
            Op::ObjectLeave { who, pick: at } => {
                if let Some((session, object)) = pick(&self.ends[side(who)].app.entered, at) {
                    self.leave(side(who), session, object);
                }
            }
            Op::ObjectRevive { who, pick: at, to } => {
                let app = &self.ends[side(who)].app;
                if let (Some((from, object)), Some(to)) = (pick(&app.held, at), pick(&app.sessions, to)) {
                    let _ = self.command(side(who), |node, now| node.object_revive(now, from, object, to));
                }
            }
            Op::Touch { who, pick: at } => {
                if let Some((session, object)) = pick(&self.ends[side(who)].app.owned, at) {
                    let _ = self.command(side(who), |node, now| node.object_touch(now, session, object));
                }
            }
            Op::Update { who, pick: at, len } => {
                let Some((session, object)) = pick(&self.ends[side(who)].app.owned, at) else { return };
                let data = self.ledger.content(usize::from(len) % 17_000);
                let _ = self.command(side(who), |node, now| node.object_update(now, session, object, data));
            }
            Op::ObjectRelease { who, pick: at } => {
                if let Some((session, object)) = pick(&self.ends[side(who)].app.owned, at) {
                    let _ = self.command(side(who), |node, now| node.object_release(now, session, object));
                }
            }
            _ => {}
        }
    }

    pub fn leave(&mut self, who: usize, session: SessionId, object: ObjectId) {
        let entered = &mut self.ends[who].app.entered;
        if let Some(at) = entered.iter().position(|&known| known == (session, object)) {
            entered.swap_remove(at);
        }
        let _ = self.command(who, |node, now| node.object_leave(now, session, object));
    }

    pub fn answer(&mut self, who: usize, action: (SessionId, ObjectId, ObjectAction), ok: bool) {
        let actions = &mut self.ends[who].app.actions;
        if let Some(at) = actions.iter().position(|known| *known == action) {
            actions.swap_remove(at);
        }
        let (session, object, action) = action;
        let _ = self.command(who, |node, now| {
            node.object_done(now, session, object, action, ok.then(|| Bytes::from_static(b"kept")))
        });
    }

    // ---- what should change nothing ----

    fn stale(&mut self, who: usize, kind: u8, at: u8) {
        self.give(who, Input::Tick);
        let end = &self.ends[who];
        let link = pick(&end.old_links, at).filter(|_| kind & 8 == 0).unwrap_or(LinkId(1 << 60));
        let attempt = AttemptId(1 << 60);
        let why = Error::new(Code::LinkFailed, "stale");
        let input = match kind & 7 {
            0 => Input::Bytes { link, bytes: BytesMut::from(&b"\x13\x00"[..]) },
            1 => Input::Writable { link, bytes: 1000 },
            2 => Input::LinkDown { link, why },
            _ => Input::DialFailed { attempt, why },
        };
        let before = end.node.fingerprint();
        let text = self.is_traced.then(|| format!("{:?}", end.node));
        self.give(who, input);
        if let Some(text) = text {
            eprintln!("BEFORE {text}\nAFTER  {:?}", self.ends[who].node);
        }
        assert_eq!(self.ends[who].node.fingerprint(), before, "stale input changed something");
    }

    fn undrained(&mut self, who: usize) {
        let now = self.now;
        let node = &mut self.ends[who].node;
        node.handle(now, Input::Tick).expect("a drained node takes every input");
        let before = node.fingerprint();
        let code = node.handle(now, Input::Tick).map_err(|error| error.code);
        assert_eq!(code, Err(Code::NotDrained));
        let code = node.drain(now).map_err(|error| error.code);
        assert_eq!(code, Err(Code::NotDrained));
        assert_eq!(node.fingerprint(), before, "a refused call changed something");
        self.drain(who);
    }

    fn nonsense(&mut self, who: usize, kind: u8, session: SessionId, channel: ChannelId) {
        let object = ObjectId(channel.0);
        // These would really end something of an honest session, which is not nonsense.
        if self.ends[who].app.sessions.contains(&session) && kind % 8 < 3 {
            return;
        }
        let data = Bytes::from_static(b"x");
        let error = Error::new(Code::Cancelled, "nonsense");
        let _ = self.command(who, |node, now| match kind % 8 {
            0 => node.channel_release(now, session, channel),
            1 => node.channel_send(now, session, channel, data).map(drop),
            2 => node.channel_reset(now, session, channel, error),
            3 => node.call_finished(now, session, ChannelId(1 << 50)),
            4 => node.object_done(now, session, object, ObjectAction::Revive, Some(Bytes::new())),
            5 => node.connect_cancel(now, ConnectorId(1 << 50)),
            6 => node.object_leave(now, session, ObjectId(1 << 50)),
            _ => node.handle(now, Input::Done { operation: 1 }),
        });
    }
}
