//! Two nodes and their one session (S1, S3, S4, T4): who mints it, who answers, and what is remembered
//! of it.
//!
//! Invariant: at most one session of a pair is not over, and a new one opens only when the old one's
//! destructors ended or their grace passed.

use super::handshake::Phase;
use super::{Canary, Event, Node, SessionEvent, Timer};
use crate::error::{Code, Error, Result};
use crate::id::{LinkId, NodeId, SessionId, Sid};
use crate::limits::{SESSIONS_MAX, TOMBSTONE_TIME, TOMBSTONES_MAX};
use crate::session::{Birth, Claim, Effect, Joining, Session, proof};
use crate::time::Instant;
use crate::wire::{Frame, Hello, Offer, Table};
use std::collections::VecDeque;
use std::sync::Arc;

/// What a link in pairing waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Waiting {
    /// The peer's next frame.
    Answer,
    /// The end of the old session's destructors (T4); with what the arbiter offered, if this end is the other
    /// one.
    Settling(Option<(Sid, u64, [u8; 32])>),
}

/// A session that ended: enough to answer GONE with a proof.
#[derive(Debug, Clone)]
struct Ended {
    sid: Sid,
    secret: [u8; 32],
    is_arbiter: bool,
    code: Code,
    at: Instant,
}

/// What this node knows of its dealings with another one.
#[derive(Debug, Clone, Default)]
pub(super) struct Pair {
    pub(super) current: Option<SessionId>,
    highest_n: u64,
    ended: VecDeque<Ended>,
    /// Links that wait for the old session to settle.
    pub(super) waiting: Vec<LinkId>,
}

impl Pair {
    fn has_ended(&self, sid: Sid) -> bool {
        self.ended.iter().any(|ended| ended.sid == sid)
    }
}

/// Ended sids kept per pair.
const ENDED_PER_PAIR_MAX: usize = 8;

impl Node {
    pub(super) fn pair(&mut self, peer: NodeId) -> &mut Pair {
        self.pairs.get_or_insert_with(peer, Box::default)
    }

    /// The session of a pair that is not over, if any.
    pub(super) fn current_session(&self, peer: NodeId) -> Option<SessionId> {
        self.pairs.get(&peer)?.current.filter(|id| self.sessions.contains_key(id))
    }

    // ---- the arbiter ----

    /// Answers the HELLOs of a link (S3).
    pub(super) fn offer_session(&mut self, id: LinkId) {
        let Some(link) = self.links.get(&id) else { return };
        let (Some(peer), exporter) = (link.peer.clone(), link.info.exporter) else { return };
        let node = peer.node;
        let current = self.current_session(node);
        if let Some(session) =
            current.filter(|&session| self.may_join(session)).and_then(|id| self.sessions.get(&id))
        {
            let offer = if session.attached {
                let (secret, by_arbiter) = (&session.secret, session.is_arbiter);
                let proof = proof(self.hash.as_ref(), Claim::Has, secret, &exporter, by_arbiter);
                Offer::Existing { table: session.table(), proof }
            } else {
                Offer::Fresh { secret: session.secret }
            };
            let sid = session.sid;
            self.note_offer(id, sid);
            let Some(session) = current.and_then(|id| self.sessions.get_mut(&id)) else { return };
            // HELLO came from the very node, inside its TLS: a sign of life, which SESSION echoes (T2).
            session.liveness.on_record(self.now);
            let frame = Frame::Session { sid: session.sid, n: session.n, offer };
            return self.say(id, &frame);
        }
        let has_ended = |sid| self.pairs.get(&node).is_some_and(|pair| pair.has_ended(sid));
        if peer.for_session.is_some_and(|sid| !has_ended(sid) && self.with_sid(sid).is_some()) {
            let what = format!("redial {node}: its session is with another process");
            return self.hang_up(id, Error::new(Code::Busy, what));
        }
        if let Some(sid) = peer.for_session {
            // Who dialled for a session of another node that was here before may take this one on the same link.
            let is_mine = self.pairs.get(&node).is_some_and(|pair| pair.has_ended(sid));
            return self.answer_gone(id, sid, is_mine);
        }
        if !self.wants_new_session(id) {
            return self.hang_up(id, Error::new(Code::Lost, format!("redial {node}: its session is over")));
        }
        if let Some(old) =
            current.and_then(|id| self.sessions.get(&id)).filter(|session| !session.is_settled())
        {
            // The peer may not know yet; its GONE in return is the word that lets its objects go before the
            // hold ends.
            let sid = old.sid;
            self.answer_gone(id, sid, false);
            return self.wait_for_settling(id, node, None);
        }
        match self.mint(id, &peer) {
            Ok(frame) => {
                if let Frame::Session { sid, .. } = frame {
                    self.note_offer(id, sid);
                }
                self.say(id, &frame);
            }
            Err(why) => self.refuse(id, why),
        }
    }

    fn note_offer(&mut self, id: LinkId, sid: Sid) {
        let now = self.now;
        if let Some(link) = self.links.get_mut(&id) {
            link.said_at = now;
            link.offered = Some(sid);
        }
    }

    /// Whether a new session may come of this link: not of one that was dialled for a session that is over.
    fn wants_new_session(&self, id: LinkId) -> bool {
        let Some(link) = self.links.get(&id) else { return false };
        match link.connector {
            None => !link.dialled_here(),
            Some(connector) => {
                (!link.is_for_session() || link.moved)
                    && self.connectors.get(&connector).is_some_and(|c| c.session.is_none())
            }
        }
    }

    fn mint(&mut self, id: LinkId, peer: &Hello) -> Result<Frame> {
        self.check_may_begin(peer.node)?;
        self.next_n += 1;
        let (sid, secret, n) = (Sid(self.random.bytes16()), self.random.bytes32(), self.next_n);
        self.begin_session(id, sid, secret, n, true);
        Ok(Frame::Session { sid, n, offer: Offer::Fresh { secret } })
    }

    fn check_may_begin(&self, peer: NodeId) -> Result<()> {
        if self.services.draining {
            return Err(Error::new(Code::Draining, format!("begin a session with {peer}: this node drains")));
        }
        if self.sessions.len() >= SESSIONS_MAX {
            return Err(Error::new(
                Code::Limit,
                format!("begin a session with {peer}: {SESSIONS_MAX} exist"),
            ));
        }
        Ok(())
    }

    /// Makes this end of a session; it joins its first link when both ends proved themselves.
    fn begin_session(&mut self, link: LinkId, sid: Sid, secret: [u8; 32], n: u64, is_arbiter: bool) {
        let Some(link) = self.links.get(&link) else { return };
        let (Some(mine), Some(peer)) = (link.mine.clone(), link.peer.clone()) else { return };
        self.next_session += 1;
        let id = SessionId(self.next_session);
        let birth = Birth {
            id,
            sid,
            secret,
            n,
            is_arbiter,
            level: link.level,
            mine: &mine,
            peer: &peer,
            options: &self.options,
        };
        let mut session = Box::new(Session::new(self.now, birth));
        session.watched_until = session.next_deadline();
        self.timers.set(Timer::Session(id), session.watched_until);
        self.sessions.insert(id, session);
        let pair = self.pair(peer.node);
        pair.current = Some(id);
        if !is_arbiter {
            pair.highest_n = n;
        }
        self.spread_ttl_floor();
    }

    /// ATTACH came (S4): the other end says that it has the session.
    pub(super) fn on_attach(&mut self, id: LinkId, sid: Sid, table: &Table, given: &[u8; 32]) {
        if self.on_revived(id, sid, table, given) {
            return;
        }
        let Some((node, exporter)) = self.link_facts(id) else { return };
        if self.id > node {
            let what = format!("ATTACH from {node}: it is the arbiter");
            return self.refuse(id, Error::new(Code::Protocol, what));
        }
        // It ended since it was offered: the peer's end of it must not live on by this link.
        let Some(session_id) = self.session_of(node, sid) else { return self.answer_gone(id, sid, true) };
        if let Err(why) = self.check_joining(session_id, id, &exporter, given) {
            return self.refuse(id, why);
        }
        self.join(session_id, id, table);
    }

    /// The pair's current session, if it has this sid and is not over.
    fn session_of(&self, node: NodeId, sid: Sid) -> Option<SessionId> {
        let id = self.current_session(node)?;
        self.sessions.get(&id).filter(|session| session.sid == sid && !session.state.is_final()).map(|_| id)
    }

    pub(super) fn link_facts(&self, id: LinkId) -> Option<(NodeId, [u8; 32])> {
        let link = self.links.get(&id)?;
        Some((link.peer_node()?, link.info.exporter))
    }

    fn check_joining(
        &self,
        session: SessionId,
        link: LinkId,
        exporter: &[u8; 32],
        given: &[u8; 32],
    ) -> Result<()> {
        let (Some(session), Some(link)) = (self.sessions.get(&session), self.links.get(&link)) else {
            return Ok(());
        };
        session.check_proof(self.hash.as_ref(), exporter, given)?;
        session.check_link_name(link.name(session.is_arbiter))?;
        session.check_room_for_link()
    }

    /// A proven link joins its session, unless the tables show that data is missing (S9).
    fn join(&mut self, session_id: SessionId, id: LinkId, table: &Table) {
        let Some(session) = self.sessions.get_mut(&session_id) else { return };
        if let Err(why) = session.check_table(table) {
            let (node, sid) = (session.peer, session.sid);
            session.lose(why.clone());
            self.dirty.insert(session_id);
            self.note_end(node, session_id);
            return self.answer_gone(id, sid, true);
        }
        self.attach(session_id, id, table);
    }

    pub(super) fn attach(&mut self, session_id: SessionId, id: LinkId, table: &Table) {
        let address = self.links.get(&id).and_then(|link| self.address_of(link.attempt, link.connector));
        let (Some(session), Some(link)) = (self.sessions.get_mut(&session_id), self.links.get_mut(&id))
        else {
            return;
        };
        let (name, role) = (link.name(session.is_arbiter), link.role());
        // Once it is attached nobody asks for the HELLOs.
        let (Some(mine), Some(peer)) = (link.mine.take(), link.peer.take()) else { return };
        let is_first = !session.attached;
        let joining = Joining {
            link: id,
            name,
            dialled_here: link.dialled_here(),
            role,
            address,
            place: link.info.place.take(),
            allowance: std::mem::take(&mut link.allowance),
            prelude: std::mem::take(&mut link.out),
            said_at: link.said_at,
            is_answered: link.offered.is_some() || link.revives(),
        };
        session.about.level = link.level;
        let is_local = link.info.peer_is_local;
        session.about.is_local |= is_local;
        link.phase = Phase::Attached(session_id);
        let (connector, attempt) = (link.connector, link.attempt.take());
        session.attach(self.now, joining, table, &mine, &peer);
        self.timers.clear(Timer::Link(id));
        self.pending.remove(&id);
        self.pair(peer.node).waiting.retain(|&waiting| waiting != id);
        self.dirty.insert(session_id);
        if let Some(attempt) = attempt {
            self.attempts.remove(&attempt);
        }
        let connected = connector
            .is_some_and(|connector| self.connected(connector, (attempt, id), session_id, !is_first));
        self.note_ways(session_id);
        if is_first {
            self.announce_to(session_id, is_local);
            self.greet(session_id, &peer, connected);
        }
    }

    /// The peer is told where this node can be reached; a local address is of no use to a peer elsewhere.
    pub(super) fn announce_to(&mut self, session_id: SessionId, is_local: bool) {
        let Some(session) = self.sessions.get_mut(&session_id) else { return };
        let useful = self.addresses.iter().filter(|own| is_local || !own.is_local);
        session.announce(useful.map(|own| Arc::clone(&own.address)).collect());
    }

    fn greet(&mut self, session_id: SessionId, peer: &Hello, connected: bool) {
        if !connected {
            if let Some(session) = self.sessions.get_mut(&session_id) {
                session.shares += 1;
            }
            self.event(Event::Accepted { session: session_id, peer: peer.node });
        }
        let skew = peer.wall_ms as i64 - self.wall_ms() as i64;
        if skew.unsigned_abs() >= 1000
            && let Some(session) = self.sessions.get_mut(&session_id)
        {
            session.effects.push_back(Effect::Event(SessionEvent::Skew { milliseconds: skew }));
        }
    }

    // ---- the other end ----

    /// SESSION came (S4): answer ATTACH or GONE.
    pub(super) fn on_session(&mut self, id: LinkId, sid: Sid, n: u64, offer: Offer) {
        let Some((node, exporter)) = self.link_facts(id) else { return };
        if self.id < node {
            let what = format!("SESSION from {node}: this node is the arbiter");
            return self.refuse(id, Error::new(Code::Protocol, what));
        }
        match (offer, self.session_of(node, sid)) {
            (Offer::Existing { table, proof }, Some(session)) => {
                match self.check_joining(session, id, &exporter, &proof) {
                    Ok(()) => self.accept_offer(session, id, &table),
                    Err(why) => self.refuse(id, why),
                }
            }
            (Offer::Fresh { secret }, Some(session)) => match self.check_same_offer(session, id, &secret) {
                Ok(()) => self.accept_offer(session, id, &Table::default()),
                Err(why) => self.refuse(id, why),
            },
            (Offer::Existing { .. }, None) => self.answer_gone(id, sid, false),
            (Offer::Fresh { secret }, None) => self.on_fresh(id, node, sid, n, secret),
        }
    }

    /// The arbiter offers a session afresh that this end has already: only who minted it knows its secret.
    fn check_same_offer(&self, session: SessionId, link: LinkId, secret: &[u8; 32]) -> Result<()> {
        let (Some(session), Some(link)) = (self.sessions.get(&session), self.links.get(&link)) else {
            return Ok(());
        };
        if !crate::crypto::equal_in_constant_time(&session.secret, secret) {
            let what = format!("SESSION from {}: its secret is not that of the session", session.peer);
            return Err(Error::new(Code::BadProof, what));
        }
        session.check_link_name(link.name(session.is_arbiter))?;
        session.check_room_for_link()
    }

    fn on_fresh(&mut self, id: LinkId, node: NodeId, sid: Sid, n: u64, secret: [u8; 32]) {
        let ignore_n = cfg!(feature = "canary") && self.options.canary == Some(Canary::IgnoreN);
        let is_stale = self.pairs.get(&node).is_some_and(|pair| n <= pair.highest_n || pair.has_ended(sid));
        if is_stale && !ignore_n {
            return self.answer_gone(id, sid, false);
        }
        if let Some(old) = self.current_session(node)
            && let Some(session) = self.sessions.get_mut(&old)
        {
            session.superseded(self.now);
            self.note_end(node, old);
            // The application hears of the end before it hears of the new session.
            self.flush_session(old);
            if !self.sessions.get(&old).is_none_or(|session| session.is_settled()) {
                return self.wait_for_settling(id, node, Some((sid, n, secret)));
            }
        }
        if let Err(why) = self.check_may_begin(node) {
            return self.refuse(id, why);
        }
        self.begin_session(id, sid, secret, n, false);
        if let Some(session) = self.current_session(node) {
            self.accept_offer(session, id, &Table::default());
        }
    }

    /// Attaches a link that the arbiter offered, and says so.
    fn accept_offer(&mut self, session_id: SessionId, id: LinkId, table: &Table) {
        let Some((node, exporter)) = self.link_facts(id) else { return };
        let Some(session) = self.sessions.get_mut(&session_id) else { return };
        if let Err(why) = session.check_table(table) {
            let sid = session.sid;
            session.lose(why);
            self.dirty.insert(session_id);
            self.note_end(node, session_id);
            return self.answer_gone(id, sid, true);
        }
        let by_arbiter = session.is_arbiter;
        let proof = proof(self.hash.as_ref(), Claim::Has, &session.secret, &exporter, by_arbiter);
        let frame = Frame::Attach { sid: session.sid, table: session.table(), proof };
        self.say(id, &frame);
        self.attach(session_id, id, table);
    }

    // ---- GONE ----

    /// Says that a session is not here (any more), with a proof if it was; then, if so, closes the link.
    pub(super) fn answer_gone(&mut self, id: LinkId, sid: Sid, and_leave: bool) {
        let Some((node, exporter)) = self.link_facts(id) else { return };
        let of = |pair: &Pair| pair.ended.iter().find(|ended| ended.sid == sid).cloned();
        let ended = self.pairs.get(&node).and_then(|pair| of(pair)).or_else(|| {
            // A process that revives had another name when it ended.
            let revives = self.links.get(&id).is_some_and(|link| link.awaits_revival());
            let of_host = self.pairs.iter().filter(|(other, _)| revives && other.host == node.host);
            of_host.filter_map(|(_, pair)| of(pair)).next()
        });
        let ended = ended.as_ref();
        let proof = ended
            .map(|ended| proof(self.hash.as_ref(), Claim::Had, &ended.secret, &exporter, ended.is_arbiter));
        let code = ended.map_or(Code::Lost, |ended| ended.code);
        let frame = Frame::Gone { sid, code: code as u16, proof };
        if and_leave {
            let why = Error::new(Code::Lost, format!("attach a link to {node}: the session is over"));
            self.leave_after(id, &frame, why);
        } else {
            self.say(id, &frame);
        }
    }

    /// GONE came on a link that is not attached.
    pub(super) fn on_gone(&mut self, id: LinkId, sid: Sid, code: u16, given: Option<&[u8; 32]>) {
        let Some((node, exporter)) = self.link_facts(id) else { return };
        let code = Code::from_number(code).unwrap_or(Code::Lost);
        if self.on_revival_refused(id, sid, code, given) {
            return;
        }
        let known = self
            .current_session(node)
            .filter(|known| self.sessions.get(known).is_some_and(|s| s.sid == sid && !s.is_unrevived));
        if let Some(session_id) = known {
            if let Err(why) = self.hear_gone(session_id, &exporter, code, given) {
                return self.refuse(id, why);
            }
            self.dirty.insert(session_id);
            self.note_end(node, session_id);
        }
        let Some(link) = self.links.get_mut(&id) else { return };
        let is_settling = matches!(link.phase, Phase::Pairing(Waiting::Settling(_)));
        if is_settling {
            return;
        }
        if let Some(peer) = link.peer.as_mut().filter(|peer| peer.for_session == Some(sid)) {
            // It knows now, and wants a new one.
            peer.for_session = None;
        }
        if (link.is_for_session() && !link.moved) || code == Code::Unsupported {
            let why = Error::new(Code::Lost, format!("attach a link to {node}: its session is over there"));
            self.hang_up(id, why);
        } else if self.id < node {
            // A late word about an older session is no answer to what was offered since.
            if link.offered.is_none_or(|offered| offered == sid) {
                self.offer_session(id);
            }
        } else {
            self.answer_gone(id, sid, false);
        }
    }

    /// The peer says that a session is over, on a link that may prove it (S4).
    fn hear_gone(
        &mut self,
        session: SessionId,
        exporter: &[u8; 32],
        code: Code,
        given: Option<&[u8; 32]>,
    ) -> Result<()> {
        let Some(session) = self.sessions.get_mut(&session) else { return Ok(()) };
        let node = session.peer;
        let proven = session.proves_gone(self.hash.as_ref(), exporter, given);
        if given.is_some() && !proven {
            return Err(Error::new(Code::BadProof, format!("GONE from {node}: the proof is wrong")));
        }
        if !proven && !session.links.is_empty() {
            let what = format!("GONE from {node} without a proof, while a proven link lives");
            return Err(Error::new(Code::BadProof, what));
        }
        session.on_gone(self.now, code);
        Ok(())
    }

    // ---- memory ----

    /// A session of this pair ended: remember it for late answers.
    pub(super) fn note_end(&mut self, peer: NodeId, id: SessionId) {
        let Some(session) = self.sessions.get(&id) else { return };
        let ended = Ended {
            sid: session.sid,
            secret: session.secret,
            is_arbiter: session.is_arbiter,
            code: session.end_code(),
            at: self.now,
        };
        let at = self.now + TOMBSTONE_TIME;
        let pair = self.pair(peer);
        if pair.has_ended(ended.sid) {
            return;
        }
        pair.ended.push_back(ended);
        if pair.ended.len() > ENDED_PER_PAIR_MAX {
            pair.ended.pop_front();
        }
        self.pair_timers.set(peer, at);
        if self.pairs.len() > TOMBSTONES_MAX + self.sessions.len() {
            self.forget_one_pair();
        }
    }

    /// The end of a session that this node had is another node's now.
    pub(super) fn note_fenced(&mut self, peer: NodeId, id: SessionId) {
        self.note_end(peer, id);
        let sid = self.sessions.get(&id).map(|session| session.sid);
        if let Some(ended) = self.pair(peer).ended.iter_mut().find(|ended| Some(ended.sid) == sid) {
            ended.code = Code::Fenced;
        }
    }

    fn forget_one_pair(&mut self) {
        let idle = self.pairs.iter().find(|(_, pair)| {
            pair.waiting.is_empty() && !pair.current.is_some_and(|id| self.sessions.contains_key(&id))
        });
        if let Some((peer, _)) = idle {
            self.pairs.remove(&peer);
            self.pair_timers.clear(peer);
        }
    }

    /// Ended sids are forgotten after their time; the pair with the last of them.
    pub(super) fn on_pair_timer(&mut self, peer: NodeId) {
        let now = self.now;
        let has_session = self.current_session(peer).is_some();
        let Some(pair) = self.pairs.get_mut(&peer) else { return };
        pair.ended.retain(|ended| ended.at + TOMBSTONE_TIME > now);
        if let Some(oldest) = pair.ended.front() {
            let at = oldest.at + TOMBSTONE_TIME;
            self.pair_timers.set(peer, at);
        } else if !has_session && pair.waiting.is_empty() {
            self.pairs.remove(&peer);
        }
    }

    // ---- settling (T4) ----

    fn wait_for_settling(&mut self, id: LinkId, node: NodeId, offer: Option<(Sid, u64, [u8; 32])>) {
        if let Some(link) = self.links.get_mut(&id) {
            link.phase = Phase::Pairing(Waiting::Settling(offer));
        }
        let pair = self.pair(node);
        if !pair.waiting.contains(&id) {
            pair.waiting.push(id);
        }
    }

    /// The old session's destructors ended: links that waited for that go on.
    pub(super) fn wake_waiting_links(&mut self, peer: NodeId) {
        let Some(pair) = self.pairs.get_mut(&peer) else { return };
        for id in std::mem::take(&mut pair.waiting) {
            let Some(link) = self.links.get_mut(&id) else { continue };
            let Phase::Pairing(Waiting::Settling(offer)) =
                std::mem::replace(&mut link.phase, Phase::Pairing(Waiting::Answer))
            else {
                continue;
            };
            match offer {
                None => self.offer_session(id),
                Some((sid, n, secret)) => self.on_session(id, sid, n, Offer::Fresh { secret }),
            }
        }
    }
}
