//! A link from TLS to its session: trust, HELLO, REFUSE, and its frames after that (S2, 3.5b).
//!
//! Knows one link at a time; which session it joins is decided in `pair`. Invariant: a link that was hung up
//! is forgotten at once, so whatever still comes from it changes nothing (L1).

use super::pair::Waiting;
use super::revival::{NO_SESSION, Revival};
use super::{Event, LinkInfo, Node, Output, Timer};
use crate::error::{Code, Error, Result};
use crate::id::{AttemptId, ConnectorId, LinkId, LinkName, NodeId, SessionId, Sid};
use crate::limits::{
    ATTACH_TIMEOUT, FRAME_BYTES_MAX, FRAME_BYTES_MAX_BEFORE_HELLO, LINGER, PENDING_LINKS_MAX, SEND_BYTES_MAX,
    VERSION_MAX, VERSION_MIN,
};
use crate::session::{Claim, proof};
use crate::time::Instant;
use crate::wire::codec::malformed;
use crate::wire::{Decoder, Frame, Hello, Role};
use bytes::BytesMut;
use smallvec::smallvec;
use std::time::Duration;

/// How far a link is.
#[derive(Debug, Clone)]
pub(super) enum Phase {
    /// HELLO is expected.
    Hello,
    /// Both HELLOs are there; SESSION or ATTACH is expected.
    Pairing(Waiting),
    /// It carries frames of this session.
    Attached(SessionId),
    /// What is written goes out, then it is closed.
    Leaving(Error),
}

/// One link of the node, attached or not.
#[derive(Debug, Clone)]
pub(super) struct Link {
    pub(super) info: LinkInfo,
    pub(super) phase: Phase,
    pub(super) connector: Option<ConnectorId>,
    pub(super) attempt: Option<AttemptId>,
    pub(super) level: u8,
    /// This end's HELLO, until the link is attached.
    pub(super) mine: Option<Box<Hello>>,
    /// The peer's, from when it came until the link is attached.
    pub(super) peer: Option<Box<Hello>>,
    pub(super) out: BytesMut,
    pub(super) allowance: usize,
    /// When this end said what the peer's next word answers: HELLO, and the arbiter's SESSION.
    pub(super) said_at: Instant,
    /// The session that this end, as arbiter, offered last on it.
    pub(super) offered: Option<Sid>,
    /// Another node answered than that of the session it was dialled for, and that one will do (S10).
    pub(super) moved: bool,
    pub(super) revival: Revival,
    decoder: Decoder,
    notices: u32,
}

/// Notices of the peer that reach the log; the rest is dropped with it.
const NOTICES_PER_LINK_MAX: u32 = 8;

impl Link {
    pub(super) fn dialled_here(&self) -> bool {
        self.info.dialled.is_some()
    }

    pub(super) fn peer_node(&self) -> Option<NodeId> {
        self.peer.as_ref().map(|hello| hello.node)
    }

    /// Whether it was dialled here for a session that existed then.
    pub(super) fn is_for_session(&self) -> bool {
        self.mine.as_ref().is_some_and(|hello| hello.for_session.is_some())
    }

    /// The session that it carries.
    pub(super) fn session(&self) -> Option<SessionId> {
        if let Phase::Attached(session) = self.phase { Some(session) } else { None }
    }

    /// The HELLO of the end that dialled, as long as it is kept.
    fn hello_of_dialler(&self) -> Option<&Hello> {
        if self.dialled_here() { self.mine.as_deref() } else { self.peer.as_deref() }
    }

    /// The role that its dialler wants.
    pub(super) fn role(&self) -> Role {
        self.hello_of_dialler().map_or(Role::Primary, |hello| hello.role)
    }

    /// Its name at both ends, when this node is the arbiter or not.
    pub(super) fn name(&self, is_arbiter: bool) -> LinkName {
        let counter = self.hello_of_dialler().map_or(0, |hello| hello.link_counter);
        LinkName { by_arbiter: self.dialled_here() == is_arbiter, counter }
    }
}

impl Node {
    /// The level of a host on this link (3.5b), or why it is refused.
    pub(super) fn level_of(&self, info: &LinkInfo) -> Result<u8> {
        let host = info.peer;
        let refuse = |code, what: &str| {
            let how = if info.dialled.is_some() { "dialled" } else { "accepted" };
            Err(Error::new(code, format!("link {how} with host {host}: {what}")))
        };
        if self.trust().blocked.contains(&host) {
            return refuse(Code::Blocked, "it is on the block list");
        }
        let listed = self.trust().levels.get(&host).copied();
        let level = match listed {
            _ if host == self.id.host && info.peer_is_local => 255,
            Some(0) => return refuse(Code::Denied, "its level is 0"),
            Some(level) => level,
            None if info.dialled.is_some() && info.pinned => 1,
            None => {
                return Err(Error::new(
                    Code::Denied,
                    format!("accept a link from host {host}: it is not authorized"),
                )
                .with_remedy(format!("clerver trust add {host}")));
            }
        };
        if level < info.level_min {
            return refuse(
                Code::Level,
                &format!("its level is {level}, this listener asks for {}", info.level_min),
            );
        }
        Ok(level)
    }

    pub(super) fn on_link_up(&mut self, id: LinkId, info: LinkInfo) {
        if self.links.contains_key(&id) {
            return;
        }
        let connector = match info.dialled {
            None => None,
            Some(attempt) => match self.attempts.get(&attempt) {
                Some(&connector) => Some(connector),
                None => return self.close_unknown(id, "its dial is not wanted any more"),
            },
        };
        if self.pending.len() >= PENDING_LINKS_MAX {
            self.close_unknown(id, "too many links wait for their handshake");
            if let Some(attempt) = info.dialled {
                self.attempt_failed(
                    attempt,
                    Error::new(Code::Busy, "too many links wait for their handshake"),
                );
            }
            return;
        }
        let level = self.level_of(&info);
        let (role, session) = self.purpose_of(info.dialled, connector);
        let mut mine = Box::new(self.hello(&info, role, session));
        mine.revive = self.may_revive(info.peer);
        let link = Link {
            attempt: info.dialled,
            phase: Phase::Hello,
            connector,
            level: *level.as_ref().unwrap_or(&0),
            mine: Some(mine.clone()),
            peer: None,
            out: BytesMut::new(),
            allowance: 0,
            said_at: self.now,
            offered: None,
            moved: false,
            revival: Revival::default(),
            decoder: Decoder::default(),
            notices: 0,
            info,
        };
        if link.info.peer == self.id.host && !link.info.peer_is_local {
            self.event(Event::OwnIdElsewhere { link: id });
        }
        let hello = Frame::Hello(mine);
        self.links.insert(id, Box::new(link));
        self.pending.insert(id, ());
        match level {
            Ok(_) => {
                self.timers.set(Timer::Link(id), self.now + ATTACH_TIMEOUT);
                self.say(id, &hello);
            }
            Err(why) => self.refuse(id, why),
        }
    }

    fn close_unknown(&mut self, link: LinkId, why: &str) {
        self.out.push_back(Output::Hangup { link, why: Error::new(Code::Cancelled, why) });
    }

    pub(super) fn hello(&mut self, info: &LinkInfo, role: Role, for_session: Option<Sid>) -> Hello {
        let link_counter = if info.dialled.is_some() {
            self.next_link_counter += 1;
            self.next_link_counter
        } else {
            0
        };
        let binding = self.binding(&info.exporter, info.dialled.is_some());
        self.hello_with(binding, link_counter, role, for_session)
    }

    /// What this node says of itself.
    pub(super) fn hello_with(
        &self,
        binding: [u8; 16],
        link_counter: u64,
        role: Role,
        for_session: Option<Sid>,
    ) -> Hello {
        let ms = |span: Duration| u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
        Hello {
            version_min: VERSION_MIN,
            version_max: VERSION_MAX,
            node: self.id,
            binding,
            link_counter,
            role,
            revive: false,
            volatile: self.options.volatile || self.options.has_store,
            for_session,
            limits: self.options.limits,
            beat_ms: ms(self.options.beat),
            ttl_ms: ms(self.options.ttl),
            ttl_floor_ms: ms(self.ttl_floor()),
            ttl_max_ms: ms(self.options.ttl_max),
            embalm_ms: ms(self.options.embalming.span),
            wall_ms: self.wall_ms(),
            host_name: self.options.host_name.clone(),
            node_name: self.options.node_name.clone(),
            web_address: self.options.web_address.clone(),
        }
    }

    /// What ties a HELLO to one link and one direction of it.
    pub(super) fn binding(&self, exporter: &[u8; 32], from_dialler: bool) -> [u8; 16] {
        let who: &[u8] = if from_dialler { b"dialler" } else { b"acceptor" };
        let wide = self.hash.keyed_hash(exporter, &[b"clerver hello", who]);
        std::array::from_fn(|index| wide[index])
    }

    /// Writes a frame of the handshake, and flushes what the link takes.
    pub(super) fn say(&mut self, id: LinkId, frame: &Frame) {
        let Some(link) = self.links.get_mut(&id) else { return };
        if link.out.len() > FRAME_BYTES_MAX {
            let what = format!("link with host {}: it asks and does not read the answers", link.info.peer);
            return self.hang_up(id, Error::new(Code::Admission, what));
        }
        frame.encode(&mut link.out);
        self.flush_link(id);
    }

    /// Hands out what the handshake wrote; closes a link that was only waiting for that.
    fn flush_link(&mut self, id: LinkId) {
        let Some(link) = self.links.get_mut(&id) else { return };
        while !link.out.is_empty() && link.allowance > 0 {
            let room = link.allowance.min(SEND_BYTES_MAX);
            // What goes as a whole leaves no empty rest behind that would keep its memory.
            let part =
                if link.out.len() <= room { std::mem::take(&mut link.out) } else { link.out.split_to(room) };
            let part = part.freeze();
            link.allowance -= part.len();
            self.counters.bytes_sent += part.len() as u64;
            self.out.push_back(Output::Send { link: id, parts: smallvec![part] });
        }
        if link.out.is_empty()
            && let Phase::Leaving(why) = &link.phase
        {
            let why = why.clone();
            self.hang_up(id, why);
        }
    }

    /// Closes a link now and forgets it.
    pub(super) fn hang_up(&mut self, id: LinkId, why: Error) {
        if let Some(link) = self.links.remove(&id) {
            self.pending.remove(&id);
            self.timers.clear(Timer::Link(id));
            self.link_is_over(&link, &why);
            self.out.push_back(Output::Hangup { link: id, why });
        }
    }

    /// The link ended before or after it was attached: its attempt is over.
    fn link_is_over(&mut self, link: &Link, why: &Error) {
        if let Some(node) = link.peer_node()
            && let Some(pair) = self.pairs.get_mut(&node)
        {
            pair.waiting.retain(|waiting| self.links.contains_key(waiting));
        }
        if let Some(attempt) = link.attempt {
            self.attempt_failed(attempt, why.clone());
        }
    }

    /// Refuses a link: tells the peer why, then closes.
    pub(super) fn refuse(&mut self, id: LinkId, why: Error) {
        let Some(link) = self.links.get(&id) else { return };
        self.counters.refused += 1;
        let (peer, text) = (link.info.peer, why.message.clone());
        self.event(Event::Refused { peer, why: why.clone() });
        self.leave_after(id, &Frame::Refuse { code: why.code as u16, text }, why);
    }

    /// Says a last frame, then closes.
    pub(super) fn leave_after(&mut self, id: LinkId, frame: &Frame, why: Error) {
        if let Some(link) = self.links.get_mut(&id) {
            link.phase = Phase::Leaving(why);
            self.timers.set(Timer::Link(id), self.now + LINGER);
        }
        self.say(id, frame);
    }

    /// A session lets a link go; with a code, GONE is said first.
    pub(super) fn leave(&mut self, id: SessionId, link_id: LinkId, gone: Option<Code>, why: Error) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        let (sid, secret, is_arbiter) = (session.sid, session.secret, session.is_arbiter);
        let carried = session.links.remove(link_id);
        let Some(link) = self.links.get_mut(&link_id) else { return };
        if let Some(carried) = carried {
            link.allowance = carried.allowance;
            link.out = carried.prelude;
        }
        match gone {
            None => self.hang_up(link_id, why),
            Some(code) => {
                let proof =
                    Some(proof(self.hash.as_ref(), Claim::Had, &secret, &link.info.exporter, is_arbiter));
                self.leave_after(link_id, &Frame::Gone { sid, code: code as u16, proof }, why);
            }
        }
    }

    pub(super) fn on_writable(&mut self, id: LinkId, bytes: usize) {
        let Some(link) = self.links.get_mut(&id) else { return };
        if let Phase::Attached(session_id) = link.phase {
            if let Some(session) = self.sessions.get_mut(&session_id)
                && let Some(carried) = session.links.get_mut(id)
            {
                carried.allowance = carried.allowance.saturating_add(bytes);
                self.dirty.insert(session_id);
            }
            return;
        }
        link.allowance = link.allowance.saturating_add(bytes);
        self.flush_link(id);
    }

    pub(super) fn on_link_down(&mut self, id: LinkId, why: Error) {
        // What a timer said to it in this very call is said to nobody.
        self.out.retain(|output| match output {
            Output::Send { link, .. } | Output::Hangup { link, .. } => *link != id,
            _ => true,
        });
        let Some(link) = self.links.remove(&id) else { return };
        self.pending.remove(&id);
        self.timers.clear(Timer::Link(id));
        if let Phase::Attached(session_id) = link.phase
            && let Some(session) = self.sessions.get_mut(&session_id)
        {
            session.drop_link(id, why.clone(), false);
            self.dirty.insert(session_id);
        }
        self.link_is_over(&link, &why);
    }

    /// The engine knows that a link leads nowhere now.
    pub(super) fn on_link_doubted(&mut self, id: LinkId) {
        let session = self.links.get(&id).and_then(|link| link.session());
        if let Some((id_of_session, session)) = session.and_then(|of| Some((of, self.sessions.get_mut(&of)?)))
        {
            session.doubt(id);
            self.dirty.insert(id_of_session);
        }
    }

    pub(super) fn on_link_timeout(&mut self, id: LinkId) {
        let Some(link) = self.links.get(&id) else { return };
        match &link.phase {
            Phase::Attached(_) => {}
            Phase::Leaving(why) => {
                let why = why.clone();
                self.hang_up(id, why);
            }
            Phase::Hello | Phase::Pairing(_) => {
                let what = format!(
                    "link with host {}: it did not attach within {} s",
                    link.info.peer,
                    ATTACH_TIMEOUT.as_secs()
                );
                self.refuse(id, Error::new(Code::Timeout, what));
            }
        }
    }

    /// Authenticated bytes came.
    pub(super) fn on_bytes(&mut self, id: LinkId, bytes: BytesMut) {
        let Some(link) = self.links.get_mut(&id) else { return };
        self.counters.bytes_received += bytes.len() as u64;
        let mut decoder = std::mem::take(&mut link.decoder);
        decoder.push(bytes);
        if let Phase::Attached(session) = link.phase {
            self.sign_of_life(session, id);
        }
        loop {
            let Some(link) = self.links.get(&id) else { return };
            let max = match link.phase {
                Phase::Hello => FRAME_BYTES_MAX_BEFORE_HELLO,
                Phase::Leaving(_) => return,
                Phase::Pairing(_) | Phase::Attached(_) => FRAME_BYTES_MAX,
            };
            let session = if let Phase::Attached(session) = link.phase { Some(session) } else { None };
            let done = match (decoder.next(max), session) {
                (Err(error), _) => Err(error),
                (Ok(None), _) => break,
                (Ok(Some(Frame::Notice { text, .. })), _) => {
                    let text = format!("host {} says: {text}", link.info.peer);
                    self.note(id, text);
                    Ok(())
                }
                (Ok(Some(Frame::Refuse { code, text })), _) => {
                    self.on_refused(id, code, &text);
                    return;
                }
                (Ok(Some(frame)), Some(session)) => self.on_session_frame(session, id, frame),
                (Ok(Some(frame)), None) => self.on_handshake_frame(id, frame),
            };
            if let Err(error) = done {
                return self.on_bad_frame(id, error);
            }
        }
        if let Some(link) = self.links.get_mut(&id) {
            link.decoder = decoder;
        }
    }

    /// What a peer says for the log, so often and no more.
    fn note(&mut self, id: LinkId, text: String) {
        if let Some(link) = self.links.get_mut(&id).filter(|link| link.notices < NOTICES_PER_LINK_MAX) {
            link.notices += 1;
            self.event(Event::Notice { text });
        }
    }

    fn sign_of_life(&mut self, session_id: SessionId, id: LinkId) {
        if let Some(session) = self.sessions.get_mut(&session_id) {
            session.on_record(self.now, id);
            self.dirty.insert(session_id);
        }
    }

    fn on_session_frame(&mut self, session_id: SessionId, id: LinkId, frame: Frame) -> Result<()> {
        let Some(session) = self.sessions.get_mut(&session_id) else { return Ok(()) };
        // A link that the session let go may have more in its buffer: it changes nothing any more (L1).
        if !session.links.contains(id) || session.state.is_final() {
            return Ok(());
        }
        self.dirty.insert(session_id);
        match frame {
            Frame::Gone { sid, code, .. } if sid == session.sid => {
                // Said on a proven link, inside its TLS: that is proof.
                let code = Code::from_number(code).unwrap_or(Code::Lost);
                session.on_gone(self.now, code);
                Ok(())
            }
            Frame::Gone { .. } => Ok(()),
            frame => session.on_frame(self.now, id, frame, &self.services),
        }
    }

    /// The peer broke the protocol on this link: the link ends, its session does not.
    fn on_bad_frame(&mut self, id: LinkId, why: Error) {
        let Some(link) = self.links.get_mut(&id) else { return };
        let host = link.info.peer;
        let why = Error { message: format!("link with host {host}: {}", why.message), ..why };
        if let Phase::Attached(session_id) = link.phase
            && let Some(session) = self.sessions.get_mut(&session_id)
        {
            if let Some(carried) = session.links.get_mut(id) {
                link.allowance = carried.allowance;
                link.out = std::mem::take(&mut carried.prelude);
            }
            session.drop_link(id, why.clone(), false);
            self.dirty.insert(session_id);
        }
        self.refuse(id, why);
    }

    fn on_refused(&mut self, id: LinkId, code: u16, text: &str) {
        let Some(link) = self.links.get(&id) else { return };
        let peer = link.info.peer;
        let attached = if let Phase::Attached(session) = link.phase { Some(session) } else { None };
        let code = Code::from_number(code).unwrap_or(Code::Denied);
        let why = Error::new(code, format!("link with host {peer}: the peer refused it: {text}"));
        self.counters.refused += 1;
        self.event(Event::Refused { peer, why: why.clone() });
        if let Some(session_id) = attached
            && let Some(session) = self.sessions.get_mut(&session_id)
        {
            session.drop_link(id, why.clone(), false);
            self.dirty.insert(session_id);
        }
        self.hang_up(id, why);
    }

    fn on_handshake_frame(&mut self, id: LinkId, frame: Frame) -> Result<()> {
        let Some(link) = self.links.get(&id) else { return Ok(()) };
        match (&link.phase, frame) {
            (Phase::Hello, Frame::Hello(hello)) => self.on_hello(id, hello),
            (Phase::Pairing(_), Frame::Session { .. }) if link.awaits_revival() || link.revives() => {
                return Err(malformed("SESSION came where REVIVE or its answer should".into()));
            }
            (Phase::Pairing(_), Frame::Session { sid, n, offer }) => self.on_session(id, sid, n, offer),
            (Phase::Pairing(_), Frame::Attach { sid, table, proof }) => {
                self.on_attach(id, sid, &table, &proof)
            }
            (Phase::Pairing(_), Frame::Gone { sid, .. }) if sid == NO_SESSION => self.on_no_revival(id),
            (Phase::Pairing(_), Frame::Gone { sid, code, proof }) => {
                self.on_gone(id, sid, code, proof.as_ref())
            }
            (Phase::Pairing(_), Frame::Revive { sid, epoch, table, proof }) => {
                self.on_revive(id, sid, epoch, &table, &proof)
            }
            (_, frame) => return Err(malformed(format!("{} came where it cannot come", frame.name()))),
        }
        Ok(())
    }

    fn on_hello(&mut self, id: LinkId, hello: Box<Hello>) {
        let Some(link) = self.links.get(&id) else { return };
        // Trust may have changed since the link came up.
        let admitted = self.check_hello(link, &hello).and_then(|()| self.level_of(&link.info));
        let level = match admitted {
            Ok(level) => level,
            Err(why) => return self.refuse(id, why),
        };
        let peer = hello.node;
        if let Some(link) = self.links.get_mut(&id) {
            link.peer = Some(hello);
            link.level = level;
            link.phase = Phase::Pairing(Waiting::Answer);
        }
        if let Err(why) = self.check_destination(id, peer) {
            return self.refuse(id, why);
        }
        self.begin_pairing(id);
    }

    fn check_hello(&self, link: &Link, hello: &Hello) -> Result<()> {
        let host = link.info.peer;
        let refuse = |code, what: String| Err(Error::new(code, format!("HELLO from host {host}: {what}")));
        if hello.node.host != host {
            return refuse(Code::WrongIdentity, format!("it says to be host {}", hello.node.host));
        }
        if hello.binding != self.binding(&link.info.exporter, !link.dialled_here()) {
            return refuse(Code::Replayed, "it was made for another link".into());
        }
        if hello.node == self.id {
            return refuse(Code::SelfPair, "it is this node itself".into());
        }
        if hello.role == Role::Hop {
            return refuse(Code::Unsupported, "hop links are not built yet".into());
        }
        if let Some(max) = self.options.skew_max {
            let skew = hello.wall_ms.abs_diff(self.wall_ms());
            if u128::from(skew) > max.as_millis() {
                return refuse(
                    Code::Skew,
                    format!("the wall clocks differ by {skew} ms, max_skew is {} ms", max.as_millis()),
                );
            }
        }
        Ok(())
    }

    /// A session's states in which a link may still join.
    pub(super) fn may_join(&self, id: SessionId) -> bool {
        self.sessions.get(&id).is_some_and(|session| !session.state.is_final() && !session.is_unrevived)
    }
}
