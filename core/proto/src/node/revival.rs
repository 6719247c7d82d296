//! Sessions from the store: how they are found there, and how a process takes over the end of one that died (S6).
//!
//! A restored session says REVIVE on one link at a time, to the node that has the other end. Who hears it checks proof,
//! epoch and table, and answers ATTACH, or REVIVE if it is restored itself, or GONE. Invariants: an epoch is stored
//! before it is said; whoever said in HELLO that it has restored sessions says REVIVE, or that none is for this link,
//! before anything else happens there.

use super::handshake::{Link, Phase};
use super::pair::Waiting;
use super::{Event, Node, ObjectAction, Output, SessionEvent};
use crate::crypto::equal_in_constant_time;
use crate::error::{Code, Error, Result};
use crate::id::{HostId, LinkId, NodeId, ObjectId, SessionId, Sid};
use crate::session::{Birth, Claim, Session, proof};
use crate::store::record::{OBJECT, Parts, decode_object, sid_of};
use crate::store::{Change, Record};
use crate::time::Instant;
use crate::wire::{Frame, Table};
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};

/// The sid of no session: nothing is revived on this link.
pub(super) const NO_SESSION: Sid = Sid([0; 16]);

/// How far a link is that may revive a session.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Revival {
    /// What this end said REVIVE of.
    said: Option<Sid>,
    /// The peer said that it revives nothing here.
    heard_none: bool,
}

/// What a node found in its store.
#[derive(Debug, Default)]
pub struct Restored {
    /// What has to be stored before the node does anything else.
    pub changes: Vec<Change>,
    /// Sessions that cannot be read, and why. Their records belong out of the way; nothing of them is changed.
    pub unreadable: Vec<(Sid, Error)>,
    /// Keys of embalmed objects that cannot be read, and why. As above.
    pub unreadable_objects: Vec<(Vec<u8>, Error)>,
}

/// An object that was embalmed by an earlier process: its kind's `discard` ends it, once that is registered (O4).
#[derive(Debug, Clone)]
pub(super) struct Relic {
    key: Vec<u8>,
    kind: String,
    kept: Bytes,
}

/// The session that relics are of, as far as their callbacks are told.
const RELICS: SessionId = SessionId(0);

impl Node {
    /// Takes over what an earlier process left in the store; `damaged` are keys of records that cannot be read.
    /// Once, before anything else. The sessions are announced by [`Event::Restored`].
    ///
    /// # Errors
    /// `NOT_DRAINED`; `STATE` without a store, or when there are sessions.
    pub fn restore(&mut self, now: Instant, records: Vec<Record>, damaged: &[Vec<u8>]) -> Result<Restored> {
        self.enter(now)?;
        if !self.options.has_store || self.next_session > 0 {
            return Err(Error::new(Code::State, "restore sessions: not here, or not now"));
        }
        let mut restored = Restored::default();
        let mut sessions: BTreeMap<Sid, Result<Parts>> = BTreeMap::new();
        for damaged in damaged {
            let what = Error::new(Code::Protocol, "a record of it is damaged");
            if damaged.first() == Some(&OBJECT) {
                restored.unreadable_objects.push((damaged.clone(), what));
            } else {
                sessions.insert(sid_of(damaged).unwrap_or(NO_SESSION), Err(what));
            }
        }
        for (key, value) in records {
            if key.first() == Some(&OBJECT) {
                match decode_object(value) {
                    Ok((kind, kept)) => self.relics.push(Relic { key, kind, kept }),
                    Err(why) => restored.unreadable_objects.push((key, why)),
                }
                continue;
            }
            let parts =
                sessions.entry(sid_of(&key).unwrap_or(NO_SESSION)).or_insert_with(|| Ok(Parts::default()));
            if let Ok(known) = parts
                && let Err(why) = known.add(&key, value)
            {
                *parts = Err(why);
            }
        }
        for (sid, parts) in sessions {
            match parts.and_then(|parts| self.restore_session(sid, parts)) {
                Ok(changes) => restored.changes.extend(changes),
                Err(why) => restored.unreadable.push((sid, why)),
            }
        }
        Ok(restored)
    }

    fn restore_session(&mut self, sid: Sid, parts: Parts) -> Result<Vec<Change>> {
        let (record, channels) = parts.read(self.options.limits.message_bytes_max)?;
        self.next_session += 1;
        let id = SessionId(self.next_session);
        let mine = self.hello_with([0; 16], 0, crate::wire::Role::Primary, None);
        let birth = Birth {
            id,
            sid,
            secret: record.secret,
            n: record.n,
            is_arbiter: record.is_arbiter,
            level: 1,
            mine: &mine,
            peer: &record.peer,
            options: &self.options,
        };
        let mut session = Box::new(Session::restored(self.now, birth, &record, channels));
        let changes = session.keep();
        session.is_asked(0);
        session.is_stored(0);
        let peer = session.peer;
        self.sessions.insert(id, session);
        self.dirty.insert(id);
        self.event(Event::Restored { session: id, peer });
        if !record.is_over {
            self.pair(peer).current = Some(id);
        }
        Ok(changes)
    }

    /// What an earlier process embalmed of this kind is ended.
    pub(super) fn discard_relics(&mut self, kind: &str, has_discard: bool) {
        for number in 0..self.relics.len() {
            let Relic { kind: of, kept, .. } = &self.relics[number];
            if of != kind {
                continue;
            }
            let (object, kept) = (ObjectId(number as u64), kept.clone());
            if has_discard {
                let (kind, action) = (kind.to_owned(), ObjectAction::Discard);
                let event = SessionEvent::ObjectAction { object, kind, action, kept };
                self.event(Event::Session { session: RELICS, event });
            } else {
                self.forget_relic(object);
            }
        }
    }

    /// The callback of a relic is over; answers whether it was one.
    pub(super) fn relic_is_done(&mut self, session: SessionId, object: ObjectId) -> bool {
        if session == RELICS {
            self.forget_relic(object);
        }
        session == RELICS
    }

    fn forget_relic(&mut self, object: ObjectId) {
        let relic = usize::try_from(object.0).ok().and_then(|number| self.relics.get(number));
        if let Some(prefix) = relic.map(|relic| relic.key.clone()) {
            self.next_operation += 1;
            let (operation, changes) = (self.next_operation, vec![Change::Delete { prefix }]);
            self.out.push_back(Output::Store { operation, changes });
        }
    }

    /// Whether the session outlives this process.
    pub fn is_kept(&self, id: SessionId) -> bool {
        self.sessions.get(&id).is_some_and(|session| !session.state.is_final() && session.is_kept())
    }

    /// A batch of the store is done.
    pub(super) fn on_stored(&mut self, operation: u64) {
        while let Some(&(number, id)) = self.operations.front().filter(|(number, _)| *number <= operation) {
            self.operations.pop_front();
            if let Some(session) = self.sessions.get_mut(&id) {
                session.is_stored(number);
                self.dirty.insert(id);
            }
        }
    }

    /// Whether sessions with this host wait to be revived.
    pub(super) fn may_revive(&self, host: HostId) -> bool {
        self.unrevived(host).next().is_some()
    }

    fn unrevived(&self, host: HostId) -> impl Iterator<Item = &Session> {
        let sessions = self.sessions.values().map(|session| &**session);
        sessions.filter(move |session| {
            session.is_unrevived && session.peer.host == host && !session.state.is_final()
        })
    }

    /// The session that a link may revive, whether or not it does on another one. Both HELLOs are there.
    fn session_for(&self, link: &Link) -> Option<SessionId> {
        let (mine, peer) = (link.mine.as_ref()?, link.peer.as_ref()?);
        let find = |fits: &dyn Fn(&Session) -> bool| {
            self.unrevived(peer.node.host).find(|session| fits(session)).map(|session| session.id)
        };
        if let Some(sid) = mine.for_session.or(peer.for_session) {
            return find(&|session| session.sid == sid);
        }
        let exact = find(&|session| session.peer == peer.node);
        let is_the_only_one = || peer.revive && self.unrevived(peer.node.host).count() == 1;
        exact.or_else(|| if is_the_only_one() { find(&|_| true) } else { None })
    }

    /// Whether the session speaks on another link.
    fn is_busy(&self, id: SessionId) -> bool {
        let link = self.sessions.get(&id).and_then(|session| session.reviving_on);
        link.is_some_and(|link| self.links.contains_key(&link))
    }

    /// Both HELLOs of a link are there: whoever has restored sessions speaks first.
    pub(super) fn begin_pairing(&mut self, id: LinkId) {
        let Some(link) = self.links.get(&id) else { return };
        if link.mine.as_ref().is_some_and(|mine| mine.revive) {
            match self.session_for(link) {
                Some(session) if self.is_busy(session) => {
                    let what = "revive a session: another link does it";
                    return self.hang_up(id, Error::new(Code::Busy, what));
                }
                Some(session) => self.say_revive(id, session),
                None => self.say(id, &Frame::Gone { sid: NO_SESSION, code: Code::Lost as u16, proof: None }),
            }
        }
        self.go_on_pairing(id);
    }

    /// As soon as nobody revives anything on this link, it is one like any other.
    fn go_on_pairing(&mut self, id: LinkId) {
        let Some(link) = self.links.get(&id) else { return };
        let Some(peer) = link.peer.as_ref() else { return };
        if link.revives() || link.awaits_revival() || !matches!(link.phase, Phase::Pairing(Waiting::Answer)) {
            return;
        }
        let node = peer.node;
        if let Err(why) = self.check_destination(id, node) {
            return self.refuse(id, why);
        }
        if self.id < node {
            self.offer_session(id);
        }
    }

    fn say_revive(&mut self, id: LinkId, session_id: SessionId) {
        let now = self.now;
        let (Some(session), Some(link)) = (self.sessions.get_mut(&session_id), self.links.get_mut(&id))
        else {
            return;
        };
        session.reviving_on = Some(id);
        link.revival.said = Some(session.sid);
        link.said_at = now;
        let claim = Claim::Revives(session.epoch);
        let proof =
            proof(self.hash.as_ref(), claim, &session.secret, &link.info.exporter, session.is_arbiter);
        let frame =
            Frame::Revive { sid: session.sid, epoch: session.epoch, table: session.kept_table(), proof };
        self.say(id, &frame);
    }

    /// The peer revives nothing on this link.
    pub(super) fn on_no_revival(&mut self, id: LinkId) {
        if let Some(link) = self.links.get_mut(&id) {
            link.revival.heard_none = true;
        }
        self.go_on_pairing(id);
    }

    /// The session that this end revives on a link, if the frame is about it.
    fn revived_on(&self, id: LinkId, sid: Sid) -> Option<SessionId> {
        self.links.get(&id).filter(|link| link.revival.said == Some(sid))?;
        self.with_sid(sid)
    }

    pub(super) fn with_sid(&self, sid: Sid) -> Option<SessionId> {
        self.sessions
            .values()
            .find(|session| session.sid == sid && !session.state.is_final())
            .map(|known| known.id)
    }

    /// REVIVE came: another process of the peer's host has the other end of a session now.
    pub(super) fn on_revive(&mut self, id: LinkId, sid: Sid, epoch: u64, table: &Table, given: &[u8; 32]) {
        let Some((node, exporter)) = self.link_facts(id) else { return };
        let host = node.host;
        let known =
            self.with_sid(sid).filter(|known| self.session(*known).is_ok_and(|s| s.peer.host == host));
        let Some(session_id) = known else {
            // The link is as good as any other for these two.
            self.answer_gone(id, sid, false);
            return self.on_no_revival(id);
        };
        let Some(session) = self.sessions.get(&session_id) else { return };
        let claim = Claim::Revives(epoch);
        let right = proof(self.hash.as_ref(), claim, &session.secret, &exporter, !session.is_arbiter);
        if !equal_in_constant_time(&right, given) {
            let what = format!("REVIVE from {node}: the proof is wrong");
            return self.refuse(id, Error::new(Code::BadProof, what));
        }
        let is_unrevived = session.is_unrevived;
        if is_unrevived && self.revived_on(id, sid).is_none() {
            // This end could not know which session was meant.
            if self.is_busy(session_id) {
                let what = format!("REVIVE from {node}: another link does it");
                return self.refuse(id, Error::new(Code::Busy, what));
            }
            self.say_revive(id, session_id);
        }
        let Some(session) = self.sessions.get(&session_id) else { return };
        if epoch < session.peer_epoch || (epoch == session.peer_epoch && node != session.peer) {
            let what = format!("revive the session with {}: a later process has it", session.peer);
            return self.leave(session_id, id, Some(Code::Fenced), Error::new(Code::Fenced, what));
        }
        let other = self.current_session(node).filter(|&current| current != session_id);
        let is_older = epoch == session.peer_epoch && !session.links.is_empty();
        if is_older || other.is_some_and(|other| self.may_join(other)) {
            let what = format!("REVIVE from {node}: the pair has a session with a link");
            return self.refuse(id, Error::new(Code::Busy, what));
        }
        if let Err(why) = session.check_kept(table) {
            return self.refuse_revival(id, session_id, why);
        }
        self.take_over(id, session_id, epoch, table);
    }

    /// The two ends do not fit together: both are lost.
    fn refuse_revival(&mut self, id: LinkId, session_id: SessionId, why: Error) {
        let Some(session) = self.sessions.get_mut(&session_id) else { return };
        let node = session.peer;
        session.lose(why.clone());
        self.dirty.insert(session_id);
        self.note_end(node, session_id);
        self.leave(session_id, id, Some(why.code), why);
    }

    fn take_over(&mut self, id: LinkId, session_id: SessionId, epoch: u64, table: &Table) {
        let Some((node, exporter)) = self.link_facts(id) else { return };
        let is_mutual = self.links.get(&id).is_some_and(|link| link.revives());
        let (Some(session), Some(peer)) =
            (self.sessions.get_mut(&session_id), self.links.get(&id).and_then(|link| link.peer.clone()))
        else {
            return;
        };
        let before = session.peer;
        session.is_taken_over(&peer, epoch, table);
        session.is_unrevived = false;
        let (sid, secret, by_arbiter) = (session.sid, session.secret, session.is_arbiter);
        let kept = session.kept_table();
        self.dirty.insert(session_id);
        self.move_session(session_id, before, node);
        // Links of the process before go first.
        self.flush_session(session_id);
        if !is_mutual {
            let proof = proof(self.hash.as_ref(), Claim::Has, &secret, &exporter, by_arbiter);
            self.say(id, &Frame::Attach { sid, table: kept, proof });
        }
        self.attach_revived(session_id, id);
    }

    /// The other end took this one for what it says.
    pub(super) fn on_revived(&mut self, id: LinkId, sid: Sid, table: &Table, given: &[u8; 32]) -> bool {
        let Some(session_id) = self.revived_on(id, sid) else { return false };
        let Some((node, exporter)) = self.link_facts(id) else { return true };
        let checked = self.sessions.get(&session_id).map(|session| {
            session.check_proof(self.hash.as_ref(), &exporter, given).map_err(|why| (true, why))?;
            session.check_kept(table).map_err(|why| (false, why))
        });
        match checked {
            Some(Err((true, why))) => self.refuse(id, why),
            Some(Err((false, why))) => self.refuse_revival(id, session_id, why),
            Some(Ok(())) => {
                let peer = self.links.get(&id).and_then(|link| link.peer.clone());
                let (Some(session), Some(peer)) = (self.sessions.get_mut(&session_id), peer) else {
                    return true;
                };
                let before = session.peer;
                session.is_revived(&peer, table);
                self.dirty.insert(session_id);
                self.move_session(session_id, before, node);
                self.attach_revived(session_id, id);
            }
            None => {}
        }
        true
    }

    fn attach_revived(&mut self, session_id: SessionId, id: LinkId) {
        // What it holds was compared and taken over already.
        self.attach(session_id, id, &Table::default());
        let Some(session) = self.sessions.get(&session_id) else { return };
        let is_local = session.about.is_local;
        self.announce_to(session_id, is_local);
    }

    /// The session is one with another node now.
    fn move_session(&mut self, id: SessionId, before: NodeId, now: NodeId) {
        if before != now {
            let old = self.pair(before);
            if old.current == Some(id) {
                old.current = None;
            }
            self.note_fenced(before, id);
        }
        self.pair(now).current = Some(id);
    }

    /// GONE came on a link on which this end said REVIVE.
    pub(super) fn on_revival_refused(
        &mut self,
        id: LinkId,
        sid: Sid,
        code: Code,
        given: Option<&[u8; 32]>,
    ) -> bool {
        let Some(session_id) = self.revived_on(id, sid) else { return false };
        let Some((node, exporter)) = self.link_facts(id) else { return true };
        let Some(session) = self.sessions.get_mut(&session_id) else { return true };
        let is_proven = session.proves_gone(self.hash.as_ref(), &exporter, given);
        // Who never heard of it may not be the one that has it.
        let has_it = is_proven || session.peer == node;
        let why = Error::new(code, format!("revive the session with {}: the peer refused it", session.peer));
        if !has_it {
            session.reviving_on = None;
            if let Some(link) = self.links.get_mut(&id).filter(|link| !link.is_for_session()) {
                link.revival.said = None;
                self.go_on_pairing(id);
                return true;
            }
        } else {
            let before = session.peer;
            if !(is_proven && code == Code::Closed && session.was_closed(self.now)) {
                session.lose(why.clone());
            }
            self.dirty.insert(session_id);
            self.note_end(before, session_id);
        }
        self.hang_up(id, why);
        true
    }

    /// Where a peer was found is written down for the next process.
    pub(super) fn note_ways(&mut self, id: SessionId) {
        if !self.options.has_store {
            return;
        }
        let mut ways: BTreeSet<std::sync::Arc<str>> = BTreeSet::new();
        if let Ok(addresses) = self.session_addresses(id) {
            ways.extend(addresses.into_iter().map(|way| way.address));
        }
        if let Some(keeping) = self.sessions.get_mut(&id).and_then(|session| session.keeping.as_mut()) {
            keeping.note_ways(ways.into_iter().collect());
        }
    }
}

impl Link {
    /// The peer has restored sessions, and did not say yet which one this is for.
    pub(super) fn awaits_revival(&self) -> bool {
        self.peer.as_ref().is_some_and(|peer| peer.revive) && !self.revival.heard_none
    }

    /// This end said REVIVE on it.
    pub(super) fn revives(&self) -> bool {
        self.revival.said.is_some()
    }
}
