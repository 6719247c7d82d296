//! Links that join and leave a session: proofs, tables, suspicion, retirement (S5, S9, L2, L3).

use super::link::{Link, Sent};
use super::{Effect, Session};
use crate::crypto::{KeyedHash, equal_in_constant_time};
use crate::error::{Code, Error, Result};
use crate::id::{LinkId, LinkName};
use crate::io::SessionEvent;
use crate::limits::{DEAD_LINKS_MAX, LINKS_PER_SESSION_MAX};
use crate::options::Canary;
use crate::time::Instant;
use crate::wire::{Hello, Role, Table};
use bytes::BytesMut;
use std::sync::Arc;

/// What a proof says of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Claim {
    /// The end with this role has it.
    Has,
    /// It had it: what goes with GONE.
    Had,
    /// It has it in the place of another process, for this time (S6).
    Revives(u64),
}

/// A claim of the end with this role, on the link with this exporter (S5).
pub(crate) fn proof(
    hash: &dyn KeyedHash,
    claim: Claim,
    secret: &[u8; 32],
    exporter: &[u8; 32],
    by_arbiter: bool,
) -> [u8; 32] {
    let role: &[u8] = if by_arbiter { b"arbiter" } else { b"other" };
    match claim {
        Claim::Has => hash.keyed_hash(secret, &[b"clerver attach", exporter, role]),
        Claim::Had => hash.keyed_hash(secret, &[b"clerver gone", exporter, role]),
        Claim::Revives(epoch) => {
            hash.keyed_hash(secret, &[b"clerver revive", exporter, role, &epoch.to_be_bytes()])
        }
    }
}

/// A link on its way into a session.
#[derive(Debug)]
pub(crate) struct Joining {
    pub(crate) link: LinkId,
    pub(crate) name: LinkName,
    pub(crate) dialled_here: bool,
    pub(crate) role: Role,
    /// What was dialled for it.
    pub(crate) address: Option<Arc<str>>,
    pub(crate) place: Option<Arc<str>>,
    pub(crate) allowance: usize,
    pub(crate) prelude: BytesMut,
    /// When this end said what the peer answered: HELLO, or the arbiter's SESSION.
    pub(crate) said_at: Instant,
    /// The peer's last word answered what this end said of its terms.
    pub(crate) is_answered: bool,
}

impl Session {
    /// Checks the peer's proof for a link (S5).
    pub(crate) fn check_proof(
        &self,
        hash: &dyn KeyedHash,
        exporter: &[u8; 32],
        given: &[u8; 32],
    ) -> Result<()> {
        if equal_in_constant_time(&proof(hash, Claim::Has, &self.secret, exporter, !self.is_arbiter), given) {
            return Ok(());
        }
        let what = format!("attach a link to the session with {}: the proof is wrong", self.peer);
        Err(Error::new(Code::BadProof, what))
    }

    /// Whether the proof of a GONE is the peer's; none is none.
    pub(crate) fn proves_gone(
        &self,
        hash: &dyn KeyedHash,
        exporter: &[u8; 32],
        given: Option<&[u8; 32]>,
    ) -> bool {
        let right = proof(hash, Claim::Had, &self.secret, exporter, !self.is_arbiter);
        given.is_some_and(|given| equal_in_constant_time(&right, given))
    }

    /// Compares the peer's table with this end (S9).
    pub(crate) fn check_table(&self, table: &Table) -> Result<()> {
        if self.canary == Some(Canary::IgnoreTable) {
            return Ok(());
        }
        self.streams.check_table(table)
    }

    /// Whether another link may join.
    pub(crate) fn check_room_for_link(&self) -> Result<()> {
        if self.links.len() < LINKS_PER_SESSION_MAX {
            return Ok(());
        }
        let what =
            format!("attach a link to the session with {}: it has {LINKS_PER_SESSION_MAX} links", self.peer);
        Err(Error::new(Code::Limit, what))
    }

    /// A proven link joins.
    pub(crate) fn attach(
        &mut self,
        now: Instant,
        joining: Joining,
        table: &Table,
        mine: &Hello,
        peer: &Hello,
    ) {
        let terms = super::liveness::agree(mine, peer);
        self.liveness.renegotiate(terms);
        // The peer answered what was said on this link then: as good as the echo of a beat (T2).
        // SESSION proves that HELLO was heard, not that the arbiter took over these terms; ATTACH proves it.
        let adopted = if joining.is_answered { terms.ttl } else { std::time::Duration::ZERO };
        self.liveness.on_echo(joining.said_at, adopted);
        self.liveness.on_record(now);
        self.progress |= self.streams.apply_table(table);
        let (id, name, role) = (joining.link, joining.name, joining.role);
        let mut link = Link::new(id, name, joining.dialled_here, role, now);
        link.address = joining.address.clone();
        link.place = joining.place;
        link.allowance = joining.allowance;
        link.prelude = joining.prelude;
        link.ttl = terms.ttl;
        if role == Role::Primary {
            self.primaries += 1;
            link.primary_since = self.primaries;
        }
        link.dead_untold = !self.dead.is_empty();
        self.links.insert(id, Box::new(link));
        self.links_total += 1;
        let highest = &mut self.highest_link[usize::from(name.by_arbiter)];
        *highest = name.counter.max(*highest);
        if role == Role::Primary {
            self.succeeded();
        }
        self.attached = true;
        self.event(SessionEvent::LinkAttached { name, link: id, role, address: joining.address });
        self.bring_back(now);
        self.requeue_suspects();
        // It may be the first one that is left.
        self.promote_standby();
        self.update_state("a link attached");
    }

    /// What suspect links have in flight may also go on a link that is not (L2).
    pub(super) fn requeue_suspects(&mut self) {
        if !self.links.values().any(|link| link.is_healthy() && link.is_usable()) {
            return;
        }
        for link in self.links.values_mut().filter(|link| !link.is_healthy() && !link.requeued) {
            link.requeued = true;
            for sent in &link.in_flight {
                self.streams.on_lost(sent);
            }
        }
    }

    /// Looks at the silence of every link.
    pub(super) fn watch_links(&mut self, now: Instant) {
        let pace = self.pace();
        let mut rose = false;
        let mut over = Vec::new();
        for link in self.links.values_mut() {
            let (more, give_up) = link.watch(now, pace);
            rose |= more;
            if more {
                self.was_well = link.lived() >= pace.beat;
            }
            if give_up {
                over.push(link.id);
            }
        }
        for id in over {
            let why = format!("link with {}: no sign of life, or no answer to its end", self.peer);
            self.drop_link(id, Error::new(Code::LinkFailed, why), true);
        }
        if rose {
            self.requeue_suspects();
            self.promote_standby();
        }
    }

    /// The arbiter sends older primary links away once one that became primary later answered two beats (L3, L6).
    pub(super) fn retire_older_links(&mut self) {
        if !self.is_arbiter {
            return;
        }
        let proven = |link: &Link| link.is_usable() && link.role == Role::Primary && link.is_healthy();
        let newest = self.links.values().filter(|link| proven(link)).max_by_key(|link| link.primary_since);
        let Some(newest) = newest.filter(|link| link.echoes >= 2).map(|link| link.primary_since) else {
            return;
        };
        for link in self.links.values_mut() {
            if link.role == Role::Primary && link.primary_since < newest && link.is_usable() {
                link.retirement.wanted = true;
            }
        }
    }

    /// RETIRE came.
    pub(super) fn on_retire(&mut self, now: Instant, id: LinkId) {
        if let Some(link) = self.links.get_mut(id) {
            link.hurry_lack(now);
            if link.retirement.said_until.is_none() {
                link.retirement.wanted = true;
            }
            link.retirement.heard = true;
        }
    }

    /// Closes links whose retirement is complete on both sides.
    pub(super) fn finish_retirements(&mut self) {
        let done = |link: &Link| {
            link.retirement.heard && link.retirement.said_until.is_some() && link.in_flight.is_empty()
        };
        let ids: Vec<LinkId> = self.links.values().filter(|link| done(link)).map(|link| link.id).collect();
        for id in ids {
            self.drop_link(id, Error::new(Code::Closed, format!("link with {}: retired", self.peer)), true);
        }
    }

    /// DEAD came (L2).
    pub(super) fn on_dead(&mut self, names: &[LinkName]) {
        for &name in names {
            let mut victim = self.links.values().find(|link| link.name == name).map(|link| link.id);
            if self.canary == Some(Canary::EvictNewestLink) && victim.is_some() {
                victim = self.links.keys().next_back();
            }
            self.note_dead(name);
            if let Some(id) = victim {
                let why = format!("link with {}: the peer gave it up", self.peer);
                self.drop_link(id, Error::new(Code::LinkFailed, why), true);
            }
        }
    }

    fn note_dead(&mut self, name: LinkName) -> bool {
        if self.dead.contains(&name) {
            return false;
        }
        self.dead.push_back(name);
        if self.dead.len() > DEAD_LINKS_MAX {
            self.dead.pop_front();
        }
        true
    }

    /// A link is over: what it carried and the peer did not LACK has to be sent again.
    pub(crate) fn drop_link(&mut self, id: LinkId, why: Error, hang_up: bool) {
        let Some(link) = self.links.remove(id) else { return };
        for sent in &link.in_flight {
            if self.canary == Some(Canary::DropStateFrames) && matches!(sent, Sent::Value(_)) {
                continue;
            }
            self.streams.on_lost(sent);
        }
        if self.note_dead(link.name) {
            self.links.values_mut().for_each(|other| other.dead_untold = true);
        }
        if !self.state.is_final() {
            self.event(SessionEvent::LinkEnded { name: link.name, link: id, why: why.clone() });
        }
        self.was_well = link.lived() >= self.liveness.beat;
        if link.role == Role::Primary && link.address.is_some() {
            self.last_way.clone_from(&link.address);
        }
        self.promote_standby();
        if hang_up {
            self.effects.push_back(Effect::Hangup(id, why));
        }
        self.update_state("a link ended");
    }

    /// Whether this link name may join: it is neither dead nor attached (L1).
    pub(crate) fn check_link_name(&self, name: LinkName) -> Result<()> {
        // What is too old for the set of the dead is dead by its counter.
        let is_old = name.counter.saturating_add(DEAD_LINKS_MAX as u64)
            <= self.highest_link[usize::from(name.by_arbiter)];
        if is_old || self.dead.contains(&name) || self.links.values().any(|link| link.name == name) {
            let what = format!("attach link {name} to the session with {}: it was used before", self.peer);
            return Err(Error::new(Code::Replayed, what));
        }
        Ok(())
    }
}
