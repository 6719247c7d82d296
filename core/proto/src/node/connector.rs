//! A standing wish to be connected somewhere, and how far it is.
//!
//! A connector seeks until a session is there, and then redials for it until it ends. The end that accepted a session
//! makes a *backup* of its own once the peer has announced addresses and is missed. What is dialled when is decided in
//! `redial` and `company`; this is what they remember.

use super::routes::Routes;
use super::{AddressOrigin, ConnectOptions, Node};
use crate::address::place_of;
use crate::error::{Code, Error, Result};
use crate::id::{AttemptId, LinkId, NodeId, SessionId};
use crate::session::Session;
use crate::time::Instant;
use crate::wire::Role;
use std::collections::BTreeMap;
use std::sync::Arc;

/// An address with this rank or a higher one is being dialled now.
pub(super) const RANK_FLYING: u8 = 2;

/// A dial under way, or a link that did not attach yet.
#[derive(Debug, Clone)]
pub(super) struct Flying {
    pub(super) role: Role,
    pub(super) address: Arc<str>,
    /// There is such a link already; this one would be on a way of its own.
    pub(super) is_better: bool,
}

#[derive(Debug, Clone)]
pub(super) struct Connector {
    /// Its addresses are in `routes`.
    pub(super) options: ConnectOptions,
    pub(super) routes: Routes,
    pub(super) session: Option<SessionId>,
    /// Nobody wished it: it dials only when the peer, whose part that is, did not come back by itself.
    pub(super) is_backup: bool,
    pub(super) flying: BTreeMap<AttemptId, Flying>,
    pub(super) all_denied: bool,
    /// Whether all addresses of this round led to other nodes, and how many rounds in a row did before.
    pub(super) all_elsewhere: bool,
    pub(super) elsewhere: u32,
    pub(super) failures: u32,
    /// Rounds that failed since a link attached.
    pub(super) rounds: u32,
    pub(super) redial_at: Option<Instant>,
    /// As failures and time, for links beside the one that carries.
    pub(super) company_failures: u32,
    pub(super) company_at: Option<Instant>,
    /// When a way of its own is sought again for a link that shares one.
    pub(super) spread_at: Option<Instant>,
    /// When a dial for a session has been out so long that another one goes beside it.
    pub(super) patience_until: Option<Instant>,
    pub(super) deadline: Option<Instant>,
    pub(super) last_error: Option<Box<Error>>,
    /// The node that said it drains: it is not what is sought.
    pub(super) shunned: Option<Box<NodeId>>,
}

impl Connector {
    pub(super) fn new(mut options: ConnectOptions, deadline: Option<Instant>) -> Connector {
        Connector {
            routes: Routes::new(std::mem::take(&mut options.addresses)),
            options,
            session: None,
            is_backup: false,
            flying: BTreeMap::new(),
            all_denied: true,
            all_elsewhere: true,
            elsewhere: 0,
            failures: 0,
            rounds: 0,
            redial_at: None,
            company_failures: 0,
            company_at: None,
            spread_at: None,
            patience_until: None,
            deadline,
            last_error: None,
            shunned: None,
        }
    }

    pub(super) fn backup(session: SessionId) -> Connector {
        let options = ConnectOptions { addresses: Vec::new(), ..ConnectOptions::to("") };
        Connector { session: Some(session), is_backup: true, ..Connector::new(options, None) }
    }

    /// Who redials for its session once it looks for another one; only the same node will do.
    pub(super) fn heir(&self) -> Connector {
        let options = ConnectOptions { any_node: false, ..self.options.clone() };
        let (routes, session) = (self.routes.clone(), self.session);
        Connector { routes, session, ..Connector::new(options, None) }
    }

    /// Nothing is known yet of the addresses of this round.
    pub(super) fn begin_round(&mut self) {
        self.routes.begin_round();
        (self.all_denied, self.all_elsewhere) = (true, true);
    }

    /// Whether this node is not what it seeks.
    pub(super) fn shuns(&self, node: NodeId) -> bool {
        self.session.is_none() && self.shunned.as_deref() == Some(&node)
    }

    /// Its session is lost, or its node drains, and another node will do (S10).
    pub(super) fn seek_again(&mut self, now: Instant) {
        self.session = None;
        // Where nobody is expected, nobody but the application says where to look.
        self.routes.forget_peer();
        self.deadline = self.options.timeout.map(|timeout| now + timeout);
    }

    /// Whether another node will do where this attempt leads: the application has to say so, and to have named the
    /// address itself.
    pub(super) fn takes_any_node(&self, attempt: Option<AttemptId>) -> bool {
        let flying = attempt.and_then(|attempt| self.flying.get(&attempt));
        let is_given = |flying: &Flying| self.routes.origin_of(&flying.address) == Some(AddressOrigin::Given);
        self.options.any_node && flying.is_some_and(is_given)
    }

    pub(super) fn is_flying(&self, role: Role) -> bool {
        self.flying.values().any(|flying| flying.role == role)
    }

    /// In which order addresses are chosen for a link of this role: first those that nobody uses, last those that are
    /// being dialled; what is dialled for others does not count where it is about the link that carries.
    pub(super) fn rank(&self, session: Option<&Session>, role: Role, address: &str) -> u8 {
        let counts = |flying: &Flying| role != Role::Primary || flying.role == Role::Primary;
        let is_flying = self
            .flying
            .values()
            .any(|flying| place_of(&flying.address) == place_of(address) && counts(flying));
        let is_used = session.is_some_and(|session| session.uses(address));
        RANK_FLYING * u8::from(is_flying) + u8::from(is_used)
    }

    pub(super) fn next_deadline(&self) -> Instant {
        let deadline = self.deadline.filter(|_| self.session.is_none());
        let patience = self.patience_until.filter(|_| self.session.is_some());
        let beside = self.company_at.into_iter().chain(self.spread_at);
        let all = deadline.into_iter().chain(self.redial_at).chain(beside).chain(patience);
        all.fold(Instant::NEVER, Instant::min)
    }
}

impl Node {
    /// S10: a link that was dialled for a session must reach its node.
    pub(super) fn check_destination(&mut self, id: LinkId, peer: NodeId) -> Result<()> {
        let Some(connector) = self.links.get(&id).and_then(|link| link.connector) else { return Ok(()) };
        if self.connectors.get(&connector).is_some_and(|connector| connector.shuns(peer)) {
            let what = format!("connect elsewhere: node {peer} answered, which drains");
            return Err(Error::new(Code::WrongNode, what));
        }
        let Some(session_id) = self.connectors.get(&connector).and_then(|connector| connector.session) else {
            return Ok(());
        };
        let Some(session) = self.sessions.get_mut(&session_id).filter(|session| session.peer != peer) else {
            return Ok(());
        };
        // Another process of its host may have the session now, and says so next.
        let link = self.links.get(&id);
        let may_revive = link.is_some_and(|link| link.awaits_revival()) || session.is_unrevived;
        if may_revive && session.peer.host == peer.host {
            return Ok(());
        }
        let why = Error::new(
            Code::WrongNode,
            format!("redial {}: node {peer} answered at its address", session.peer),
        );
        let attempt = self.links.get(&id).and_then(|link| link.attempt);
        let may_move =
            self.connectors.get(&connector).is_some_and(|connector| connector.takes_any_node(attempt));
        if !may_move || session.has_carrier() {
            return Err(why);
        }
        session.lose(why);
        self.dirty.insert(session_id);
        if let Some(connector) = self.connectors.get_mut(&connector) {
            connector.seek_again(self.now);
        }
        if let Some(link) = self.links.get_mut(&id) {
            link.moved = true;
        }
        Ok(())
    }
}
