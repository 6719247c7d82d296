//! A standing wish to be connected somewhere: which address is dialled when, and for what (S10, storms).
//!
//! A connector seeks until a session is there, and then redials for it until it ends. It never touches a
//! session: a failed dial changes nothing but its own schedule.

use super::{ConnectOptions, Event, Node, Output, Rung, Timer};
use crate::error::{Class, Code, Error};
use crate::id::{AttemptId, ConnectorId, LinkId, SessionId, Sid};
use crate::limits::{REDIAL_FIRST, REDIAL_MAX};
use crate::time::Instant;
use crate::wire::Role;
use std::collections::BTreeMap;
use std::time::Duration;

/// Dials of one connector that may be out at once.
const FLYING_MAX: usize = 12;
/// A dial is given at least this long before another one goes beside it.
const PATIENCE_MIN: Duration = Duration::from_millis(200);

#[derive(Debug, Clone)]
pub(super) struct Connector {
    pub(super) options: ConnectOptions,
    session: Option<SessionId>,
    /// Dials under way, and links that did not attach yet, with the role that they are for.
    flying: BTreeMap<AttemptId, Role>,
    next_address: usize,
    tried: usize,
    all_denied: bool,
    /// Whether all addresses of this round led to other nodes, and how many rounds in a row did before.
    all_elsewhere: bool,
    elsewhere: u32,
    failures: u32,
    redial_at: Option<Instant>,
    /// When a dial for a session has been out so long that another one goes beside it.
    patience_until: Option<Instant>,
    deadline: Option<Instant>,
    last_error: Option<Box<Error>>,
}

impl Connector {
    pub(super) fn new(options: ConnectOptions, deadline: Option<Instant>) -> Connector {
        Connector {
            options,
            session: None,
            flying: BTreeMap::new(),
            next_address: 0,
            tried: 0,
            all_denied: true,
            all_elsewhere: true,
            elsewhere: 0,
            failures: 0,
            redial_at: None,
            patience_until: None,
            deadline,
            last_error: None,
        }
    }

    /// Nothing is known yet of the addresses of this round.
    fn begin_round(&mut self) {
        (self.tried, self.all_denied, self.all_elsewhere) = (0, true, true);
    }

    /// The session that it redials for.
    pub(super) fn session(&self) -> Option<SessionId> {
        self.session
    }

    /// Its session is lost and another node will do (S10).
    pub(super) fn seek_again(&mut self, now: Instant) {
        self.session = None;
        self.deadline = self.options.timeout.map(|timeout| now + timeout);
    }

    fn next_deadline(&self) -> Instant {
        let deadline = self.deadline.filter(|_| self.session.is_none());
        let patience = self.patience_until.filter(|_| self.session.is_some());
        deadline.into_iter().chain(self.redial_at).chain(patience).fold(Instant::NEVER, Instant::min)
    }
}

impl Node {
    pub(super) fn start_connector(&mut self, options: ConnectOptions) -> ConnectorId {
        self.next_connector += 1;
        let id = ConnectorId(self.next_connector);
        let deadline = options.timeout.map(|timeout| self.now + timeout);
        self.connectors.insert(id, Box::new(Connector::new(options, deadline)));
        self.dial(id, Role::Primary);
        id
    }

    /// What a link of this attempt is for: role, and the session when there is one.
    pub(super) fn purpose_of(
        &self,
        attempt: Option<AttemptId>,
        connector: Option<ConnectorId>,
    ) -> (Role, Option<Sid>) {
        let connector = connector.and_then(|id| self.connectors.get(&id));
        let role = attempt.and_then(|attempt| connector?.flying.get(&attempt).copied());
        let session = connector.and_then(|connector| self.sessions.get(&connector.session?));
        (role.unwrap_or(Role::Primary), session.map(|session| session.sid))
    }

    fn dial(&mut self, id: ConnectorId, role: Role) {
        let Some(connector) = self.connectors.get_mut(&id) else { return };
        self.next_attempt += 1;
        let attempt = AttemptId(self.next_attempt);
        let address =
            connector.options.addresses[connector.next_address % connector.options.addresses.len()].clone();
        connector.redial_at = None;
        connector.flying.insert(attempt, role);
        let expected = connector
            .session
            .and_then(|session| self.sessions.get(&session))
            .filter(|_| !connector.options.any_node)
            .map(|session| session.peer.host)
            .or(connector.options.expected);
        let lease = connector.session.and_then(|session| self.sessions.get(&session));
        connector.patience_until = lease.map(|session| {
            let left = session.liveness.lease_end().since(self.now);
            self.now + (left / 3).max(PATIENCE_MIN)
        });
        self.attempts.insert(attempt, id);
        self.out.push_back(Output::Dial { attempt, address, expected, rung: Rung::Direct });
        self.arm_connector(id);
    }

    /// Somebody took the connection of this dial, so the way there is no black hole: that may be a server that is
    /// asked by many at once, and another dial would only make its queue longer.
    pub(super) fn on_dial_answered(&mut self, attempt: AttemptId) {
        let Some(&id) = self.attempts.get(&attempt) else { return };
        let Some(connector) = self.connectors.get_mut(&id) else { return };
        let session = connector.session.and_then(|session| self.sessions.get(&session));
        if let (Some(session), Some(_)) = (session, connector.patience_until) {
            let left = session.liveness.lease_end().since(self.now);
            connector.patience_until = Some(self.now + (left / 3 * 2).max(PATIENCE_MIN));
            self.arm_connector(id);
        }
    }

    fn arm_connector(&mut self, id: ConnectorId) {
        if let Some(connector) = self.connectors.get(&id) {
            self.timers.set(Timer::Connector(id), connector.next_deadline());
        }
    }

    pub(super) fn on_dial_failed(&mut self, attempt: AttemptId, why: Error) {
        self.out.retain(|output| !matches!(output, Output::CancelDial { attempt: over } if *over == attempt));
        // Once its link is up, a dial cannot fail any more: the link can.
        if self.link_of(attempt).is_none() {
            self.attempt_failed(attempt, why);
        }
    }

    /// The link that a dial made, until that is attached.
    fn link_of(&self, attempt: AttemptId) -> Option<LinkId> {
        let is_its = |link: &LinkId| self.links.get(link).is_some_and(|link| link.attempt == Some(attempt));
        self.pending.keys().find(is_its)
    }

    /// A dial, or the link that came of it, ended before it was attached.
    pub(super) fn attempt_failed(&mut self, attempt: AttemptId, why: Error) {
        let Some(id) = self.attempts.remove(&attempt) else { return };
        let Some(connector) = self.connectors.get_mut(&id) else { return };
        let Some(role) = connector.flying.remove(&attempt) else { return };
        connector.all_denied &= why.class() == Class::Denied || why.code == Code::SelfPair;
        connector.all_elsewhere &= why.code == Code::WrongNode;
        connector.last_error = Some(Box::new(why.clone()));
        connector.next_address += 1;
        connector.tried += 1;
        if connector.tried < connector.options.addresses.len() {
            return self.dial(id, role);
        }
        if connector.session.is_none() && connector.all_denied {
            return self.give_up(id, why);
        }
        connector.elsewhere = if connector.all_elsewhere { connector.elsewhere.saturating_add(1) } else { 0 };
        connector.begin_round();
        connector.failures = connector.failures.saturating_add(1);
        if let Some(session) = connector.session.and_then(|session| self.sessions.get_mut(&session)) {
            // Another wish for the same session may know a better address.
            session.connectors.rotate_left(1);
        }
        let after = self.redial_delay(id);
        let redial_at = self.now + after;
        if let Some(connector) = self.connectors.get_mut(&id) {
            connector.redial_at = Some(redial_at);
        }
        self.event(Event::DialRetry { connector: id, why, after });
        self.arm_connector(id);
    }

    /// Uniform in zero to the doubled step, and never so long that the rest of the lease would pass meanwhile. Where
    /// other nodes answer, such as after a restart, the one that is sought hardly comes back, and each dial costs them
    /// a handshake: there it is the upper half of the step, whatever is left of the lease.
    fn redial_delay(&mut self, id: ConnectorId) -> Duration {
        let Some(connector) = self.connectors.get(&id) else { return REDIAL_FIRST };
        let left = connector
            .session
            .and_then(|session| self.sessions.get(&session))
            .map(|session| session.liveness.lease_end().since(self.now));
        let elsewhere = connector.elsewhere;
        let cap = match left {
            Some(left) if elsewhere == 0 => REDIAL_MAX.min(left / 3).max(REDIAL_FIRST),
            _ => REDIAL_MAX,
        };
        let failures = if elsewhere == 0 { connector.failures } else { elsewhere };
        let step = REDIAL_FIRST.saturating_mul(1u32 << failures.min(12)).min(cap);
        let micros = u64::try_from(step.as_micros()).unwrap_or(u64::MAX);
        if elsewhere > 0 {
            return Duration::from_micros(micros / 2 + self.random.up_to(micros / 2));
        }
        Duration::from_micros(self.random.up_to(micros).max(1000))
    }

    fn give_up(&mut self, id: ConnectorId, why: Error) {
        if let Some(connector) = self.connectors.remove(&id) {
            self.drop_attempts(id, *connector);
            self.event(Event::ConnectFailed { connector: id, why });
        }
    }

    fn drop_attempts(&mut self, id: ConnectorId, connector: Connector) {
        self.timers.clear(Timer::Connector(id));
        connector.flying.into_keys().for_each(|attempt| self.drop_attempt(attempt));
    }

    fn drop_attempt(&mut self, attempt: AttemptId) {
        self.attempts.remove(&attempt);
        match self.link_of(attempt) {
            Some(link) => self.hang_up(link, Error::new(Code::Cancelled, "the dial is not wanted any more")),
            None => self.out.push_back(Output::CancelDial { attempt }),
        }
    }

    /// What was dialled beside the one that attached would only take the time of a server that has none.
    fn drop_rivals(&mut self, id: ConnectorId) {
        let Some(connector) = self.connectors.get_mut(&id) else { return };
        let flying = std::mem::take(&mut connector.flying);
        let (rivals, others): (BTreeMap<_, _>, _) =
            flying.into_iter().partition(|(_, role)| *role == Role::Primary);
        connector.flying = others;
        rivals.into_keys().for_each(|attempt| self.drop_attempt(attempt));
    }

    /// The application does not want it any more.
    pub(super) fn cancel_connector(&mut self, id: ConnectorId) -> bool {
        let Some(connector) = self.connectors.remove(&id) else { return false };
        if let Some(session) = connector.session.and_then(|session| self.sessions.get_mut(&session)) {
            session.connectors.retain(|&bound| bound != id);
        }
        self.drop_attempts(id, *connector);
        true
    }

    pub(super) fn on_connector_timer(&mut self, id: ConnectorId) {
        let Some(connector) = self.connectors.get_mut(&id) else { return };
        if connector.session.is_none() && connector.deadline.is_some_and(|deadline| deadline <= self.now) {
            let addresses = connector.options.addresses.join(", ");
            let last = connector
                .last_error
                .as_ref()
                .map_or("no answer yet".to_owned(), |error| error.message.clone());
            return self.give_up(id, Error::new(Code::Timeout, format!("connect to {addresses}: {last}")));
        }
        if connector.redial_at.is_some_and(|at| at <= self.now) {
            connector.redial_at = None;
            match connector.session {
                None => self.dial(id, Role::Primary),
                Some(session) => self.redial(id, session),
            }
        }
        self.dial_beside(id);
        self.arm_connector(id);
    }

    /// A link of this connector attached. Answers whether that is what it was seeking.
    pub(super) fn connected(
        &mut self,
        id: ConnectorId,
        attempt: Option<AttemptId>,
        session_id: SessionId,
        shared: bool,
    ) -> bool {
        let Some(connector) = self.connectors.get_mut(&id) else { return false };
        let role = attempt.and_then(|attempt| connector.flying.remove(&attempt));
        connector.elsewhere = 0;
        connector.begin_round();
        let sought = connector.session.is_none();
        connector.session = Some(session_id);
        if sought && let Some(session) = self.sessions.get_mut(&session_id) {
            session.shares += 1;
            session.connectors.push(id);
            session.bulk_wanted = session.bulk_wanted.max(connector.options.bulk_links);
            self.event(Event::Connected { connector: id, session: session_id, shared });
        }
        if role == Some(Role::Primary) {
            self.drop_rivals(id);
        }
        self.arm_connector(id);
        sought
    }

    /// Dials for a session that wants a link; the oldest connector of the session does it.
    pub(super) fn serve_connectors(&mut self, session_id: SessionId) {
        let Some(session) = self.sessions.get_mut(&session_id) else { return };
        let is_proven =
            std::mem::take(&mut session.progress) || session.links.values().any(|link| link.is_proven());
        let wanted = session.wants_link();
        let Some(&id) = session.connectors.first() else { return };
        let Some(connector) = self.connectors.get_mut(&id) else { return };
        if is_proven {
            connector.failures = 0;
        }
        let Some(role) = wanted else { return };
        if connector.redial_at.is_some() || connector.flying.values().any(|&flying| flying == role) {
            return;
        }
        if role != Role::Primary {
            return self.dial(id, role);
        }
        // Everybody's link may have died at the same moment: nobody redials at once.
        let redial_at = self.now + self.redial_delay(id);
        if let Some(connector) = self.connectors.get_mut(&id) {
            connector.failures = connector.failures.saturating_add(1);
            connector.redial_at = Some(redial_at);
        }
        self.arm_connector(id);
    }

    /// A dial may be lost in a black hole that is over long before its time-out: after a third of what is left of the
    /// lease another one goes beside it, and whichever attaches first carries on. Once somebody took the connection, it
    /// has two thirds.
    fn dial_beside(&mut self, id: ConnectorId) {
        let Some(connector) = self.connectors.get_mut(&id) else { return };
        if connector.patience_until.is_none_or(|until| until > self.now) {
            return;
        }
        connector.patience_until = None;
        let is_out = connector.flying.values().any(|&role| role == Role::Primary);
        let session = connector.session.and_then(|session| self.sessions.get(&session));
        let is_wanted = session.is_some_and(|session| session.wants_link() == Some(Role::Primary));
        if is_out && is_wanted && connector.flying.len() < FLYING_MAX {
            connector.next_address += 1;
            self.dial(id, Role::Primary);
        }
    }

    /// The time to redial for a session has come: dial for what it wants now.
    fn redial(&mut self, id: ConnectorId, session_id: SessionId) {
        let wanted = self.sessions.get(&session_id).and_then(|session| session.wants_link());
        let Some(role) = wanted else { return };
        let is_flying = |connector: &Connector| connector.flying.values().any(|&flying| flying == role);
        if self.connectors.get(&id).is_some_and(|connector| !is_flying(connector)) {
            self.dial(id, role);
        }
    }

    /// A session is over: so are the wishes to redial for it.
    pub(super) fn end_connectors_of(&mut self, session_id: SessionId) {
        let Some(session) = self.sessions.get_mut(&session_id) else { return };
        for id in std::mem::take(&mut session.connectors) {
            if self.connectors.get(&id).is_some_and(|connector| connector.session == Some(session_id)) {
                self.cancel_connector(id);
            }
        }
    }
}
