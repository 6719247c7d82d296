//! Which address is dialled when, for a link that carries (R1 to R6, S10, storms).
//!
//! A failed dial changes nothing but schedules, and nothing here touches what a session carries. Invariant: a link
//! beside the carrying one is never waited for when the carrying one is missed; `company` has a schedule of its own.

use super::connector::{Connector, Flying, RANK_FLYING};
use super::routes::Routes;
use super::{AddressOrigin, ConnectOptions, Event, Node, Output, Rung, Timer};
use crate::error::{Class, Code, Error};
use crate::id::{AttemptId, ConnectorId, LinkId, SessionId, Sid};
use crate::limits::REDIAL_SOON;
use crate::session::Session;
use crate::time::Instant;
use crate::wire::Role;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Dials of one connector that may be out at once.
const FLYING_MAX: usize = 12;
/// A dial is given at least this long before another one goes beside it.
const PATIENCE_MIN: Duration = Duration::from_millis(200);
impl Node {
    pub(super) fn start_connector(&mut self, options: ConnectOptions) -> ConnectorId {
        let deadline = options.timeout.map(|timeout| self.now + timeout);
        let id = self.add_connector(Connector::new(options, deadline));
        self.dial_round(id, Role::Primary);
        id
    }

    fn add_connector(&mut self, connector: Connector) -> ConnectorId {
        self.next_connector += 1;
        let id = ConnectorId(self.next_connector);
        self.connectors.insert(id, Box::new(connector));
        id
    }

    /// What a link of this attempt is for: role, and the session when there is one.
    pub(super) fn purpose_of(
        &self,
        attempt: Option<AttemptId>,
        connector: Option<ConnectorId>,
    ) -> (Role, Option<Sid>) {
        let connector = connector.and_then(|id| self.connectors.get(&id));
        let flying = attempt.and_then(|attempt| connector?.flying.get(&attempt));
        let session = connector.and_then(|connector| self.sessions.get(&connector.session?));
        (flying.map_or(Role::Primary, |flying| flying.role), session.map(|session| session.sid))
    }

    /// The address that this attempt dialled.
    pub(super) fn address_of(
        &self,
        attempt: Option<AttemptId>,
        connector: Option<ConnectorId>,
    ) -> Option<Arc<str>> {
        let flying = self.connectors.get(&connector?)?.flying.get(&attempt?)?;
        Some(Arc::clone(&flying.address))
    }

    /// Begins to dial for a link of this role; all addresses at once, if the application wants the fastest.
    pub(super) fn dial_round(&mut self, id: ConnectorId, role: Role) {
        self.learn_announced(id);
        if role == Role::Primary {
            self.begin_round_of(id);
        }
        let target = self
            .session_of_connector(id)
            .and_then(|session| session.target())
            .filter(|_| role == Role::Primary);
        if let Some(target) = target {
            return self.dial(id, role, target);
        }
        let is_race = self.connectors.get(&id).is_some_and(|connector| connector.options.race);
        let Some(address) = self.choose(id, role, false) else { return self.nowhere_to_go(id) };
        self.dial(id, role, address);
        if is_race && role == Role::Primary {
            while let Some(address) = self.choose(id, role, true) {
                self.dial(id, role, address);
            }
        }
    }

    /// There is no address to dial: a move ends before it began.
    fn nowhere_to_go(&mut self, id: ConnectorId) {
        let Some(of) = self.connectors.get(&id).and_then(|connector| connector.session) else { return };
        if let Some(session) = self.sessions.get_mut(&of).filter(|session| session.is_moving()) {
            let what = format!("move the session with {}: no address of it is known here", session.peer);
            session.move_failed(Error::new(Code::Unreachable, what));
            self.dirty.insert(of);
        }
    }

    /// A round for a link that carries begins where the last one was.
    fn begin_round_of(&mut self, id: ConnectorId) {
        let last_way = self.session_of_connector(id).and_then(|session| session.last_way.clone());
        let Some(connector) = self.connectors.get_mut(&id) else { return };
        connector.begin_round();
        if let Some(address) = last_way {
            connector.routes.prefer(&address);
        }
    }

    pub(super) fn session_of_connector(&self, id: ConnectorId) -> Option<&Session> {
        self.sessions.get(&self.connectors.get(&id)?.session?).map(|session| &**session)
    }

    pub(super) fn learn_announced(&mut self, id: ConnectorId) {
        let announced = self.session_of_connector(id).and_then(|session| session.announced.clone());
        if let (Some(announced), Some(connector)) = (announced, self.connectors.get_mut(&id)) {
            connector.routes.announce(&announced);
        }
    }

    /// The address to dial next in this round; not one that is being dialled already, if it is to be `another` one.
    fn choose(&self, id: ConnectorId, role: Role, another: bool) -> Option<Arc<str>> {
        let connector = self.connectors.get(&id)?;
        let session = self.session_of_connector(id);
        let rank = |address: &str| connector.rank(session, role, address);
        if another && connector.flying.len() >= FLYING_MAX {
            return None;
        }
        connector.routes.next(rank).filter(|address| !another || rank(address) < RANK_FLYING)
    }

    fn dial(&mut self, id: ConnectorId, role: Role, address: Arc<str>) {
        self.dial_as(id, Flying { role, address, is_better: false });
    }

    pub(super) fn dial_as(&mut self, id: ConnectorId, flying: Flying) {
        let Some(connector) = self.connectors.get_mut(&id) else { return };
        let (role, address) = (flying.role, &flying.address);
        self.next_attempt += 1;
        let attempt = AttemptId(self.next_attempt);
        let session = connector.session.and_then(|session| self.sessions.get(&session));
        // Where the application did not say itself who is there, nobody else will do.
        let takes_any =
            connector.options.any_node && connector.routes.origin_of(address) == Some(AddressOrigin::Given);
        let expected = session.filter(|_| !takes_any).map(|session| session.peer.host);
        let expected = expected.or(connector.options.expected);
        if role == Role::Primary {
            connector.redial_at = None;
            connector.patience_until = session.map(|session| {
                let left = session.contact_needed_by().since(self.now);
                self.now + (left / 3).max(PATIENCE_MIN)
            });
        } else {
            connector.company_at = None;
        }
        let text = address.to_string();
        connector.flying.insert(attempt, flying);
        self.attempts.insert(attempt, id);
        self.out.push_back(Output::Dial { attempt, address: text, expected, rung: Rung::Direct });
        self.arm_connector(id);
    }

    /// Somebody took the connection of this dial, so the way there is no black hole: that may be a server that is
    /// asked by many at once, and another dial would only make its queue longer.
    pub(super) fn on_dial_answered(&mut self, attempt: AttemptId) {
        let Some(&id) = self.attempts.get(&attempt) else { return };
        let Some(connector) = self.connectors.get_mut(&id) else { return };
        let session = connector.session.and_then(|session| self.sessions.get(&session));
        if let (Some(session), Some(_)) = (session, connector.patience_until) {
            let left = session.contact_needed_by().since(self.now);
            connector.patience_until = Some(self.now + (left / 3 * 2).max(PATIENCE_MIN));
            self.arm_connector(id);
        }
    }

    pub(super) fn arm_connector(&mut self, id: ConnectorId) {
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
        let Some(Flying { role, address, is_better }) = connector.flying.remove(&attempt) else { return };
        // Its session may be over since, and another one is sought.
        let role = if connector.session.is_none() { Role::Primary } else { role };
        connector.all_denied &= why.class() == Class::Denied || why.code == Code::SelfPair;
        connector.all_elsewhere &= why.code == Code::WrongNode;
        connector.last_error = Some(Box::new(why.clone()));
        connector.routes.failed(&address);
        if let Some((of, session)) = connector.session.and_then(|of| Some((of, self.sessions.get_mut(&of)?)))
        {
            session.target_failed(&address);
            session.may_spread |= is_better;
            // Another link may be wanted for which the address was taken.
            self.dirty.insert(of);
        }
        if is_better && self.session_of_connector(id).is_some() {
            return;
        }
        let target = self.session_of_connector(id).and_then(|session| session.target());
        let target = target.filter(|_| role == Role::Primary);
        if let Some(next) = target.or_else(|| self.choose(id, role, true)) {
            self.event(Event::AddressFailed { connector: id, address, why });
            return self.dial(id, role, next);
        }
        let is_over = self.connectors.get(&id).is_some_and(|connector| connector.routes.is_over());
        match role {
            _ if !is_over => {}
            Role::Primary => self.round_failed(id, why),
            _ => self.company_failed(id, why),
        }
    }

    /// All addresses failed for a link that carries.
    fn round_failed(&mut self, id: ConnectorId, why: Error) {
        let redial = self.options.redial;
        let Some(connector) = self.connectors.get_mut(&id) else { return };
        let is_denied = connector.session.is_none() && connector.all_denied;
        connector.elsewhere = if connector.all_elsewhere { connector.elsewhere.saturating_add(1) } else { 0 };
        connector.begin_round();
        connector.failures = connector.failures.saturating_add(1);
        let is_carried = connector
            .session
            .and_then(|of| self.sessions.get(&of))
            .is_some_and(|session| session.has_carrier());
        connector.rounds = connector.rounds.saturating_add(u32::from(!is_carried));
        let is_last = redial.attempts.is_some_and(|most| connector.rounds >= most);
        match connector.session {
            None if is_denied || is_last => return self.give_up(id, why),
            Some(session_id) => {
                let Some(session) = self.sessions.get_mut(&session_id) else { return };
                if session.is_moving() {
                    session.move_failed(why);
                    return self.dirty.insert(session_id);
                }
                if is_last && !session.has_carrier() && !session.may_wait() {
                    let what = format!("{}; that was the last of redial_attempts", why.message);
                    session.lose(Error::new(Code::Unreachable, what));
                    return self.dirty.insert(session_id);
                }
            }
            None => {}
        }
        let after = self.redial_delay(id);
        let redial_at = self.now + after;
        if let Some(connector) = self.connectors.get_mut(&id) {
            connector.redial_at = Some(redial_at);
        }
        self.event(Event::DialRetry { connector: id, why, after });
        self.arm_connector(id);
    }

    pub(super) fn up_to(&mut self, span: Duration) -> Duration {
        let micros = u64::try_from(span.as_micros()).unwrap_or(u64::MAX);
        Duration::from_micros(self.random.up_to(micros))
    }

    /// Uniform in zero to the doubled step, and never so long that the rest of the lease would pass meanwhile. Where
    /// other nodes answer, such as after a restart, the one that is sought hardly comes back, and each dial costs them
    /// a handshake: there it is the upper half of the step, whatever is left of the lease.
    fn redial_delay(&mut self, id: ConnectorId) -> Duration {
        let redial = self.options.redial;
        let Some(connector) = self.connectors.get(&id) else { return redial.first };
        let session = connector.session.and_then(|session| self.sessions.get(&session));
        // A session that is carried can wait.
        let waiting = session.filter(|session| !session.has_carrier());
        let left = waiting.map(|session| session.contact_needed_by().since(self.now));
        let was_well = session.is_some_and(|session| session.was_well) && connector.failures == 0;
        let elsewhere = connector.elsewhere;
        let cap = match left {
            Some(left) if elsewhere == 0 => redial.max.min(left / 3).max(redial.first),
            _ => redial.max,
        };
        let failures = if elsewhere == 0 { connector.failures } else { elsewhere };
        let first = if was_well { REDIAL_SOON.min(redial.first) } else { redial.first };
        let step = first.saturating_mul(1u32 << failures.min(12)).min(cap);
        if elsewhere > 0 {
            return step / 2 + self.up_to(step / 2);
        }
        // The peer, whose part it is to dial, goes first.
        let head_start =
            session.filter(|_| connector.is_backup).map_or(Duration::ZERO, |session| session.liveness.beat);
        head_start + self.up_to(step).max(Duration::from_millis(1))
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
            flying.into_iter().partition(|(_, flying)| flying.role == Role::Primary);
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
            let addresses = connector.routes.text();
            let last = connector
                .last_error
                .as_ref()
                .map_or("no answer yet".to_owned(), |error| error.message.clone());
            return self.give_up(id, Error::new(Code::Timeout, format!("connect to {addresses}: {last}")));
        }
        let is_due = |at: Option<Instant>| at.is_some_and(|at| at <= self.now);
        let (redials, wants_company) = (is_due(connector.redial_at), is_due(connector.company_at));
        let spreads = is_due(connector.spread_at);
        if spreads {
            connector.spread_at = None;
        }
        if redials {
            connector.redial_at = None;
        }
        if wants_company {
            connector.company_at = None;
        }
        match connector.session {
            None if redials => self.dial_round(id, Role::Primary),
            Some(session) if redials => self.redial(id, session),
            _ => {}
        }
        if wants_company || spreads {
            self.retry_company(id);
        }
        self.dial_beside(id);
        self.arm_connector(id);
    }

    /// A link of this connector attached. Answers whether that is what it was seeking.
    pub(super) fn connected(
        &mut self,
        id: ConnectorId,
        (attempt, link): (Option<AttemptId>, LinkId),
        session_id: SessionId,
        shared: bool,
    ) -> bool {
        let Some(connector) = self.connectors.get_mut(&id) else { return false };
        let flying = attempt.and_then(|attempt| connector.flying.remove(&attempt));
        (connector.elsewhere, connector.rounds) = (0, 0);
        (connector.all_denied, connector.all_elsewhere) = (true, true);
        let sought = connector.session.is_none();
        connector.session = Some(session_id);
        match &flying {
            Some(Flying { role: Role::Primary, address, .. }) => {
                connector.routes.begin_round();
                connector.routes.keep(address);
            }
            _ => connector.company_failures = 0,
        }
        if sought {
            self.bind(id, session_id, shared);
        }
        if flying.as_ref().is_some_and(|flying| flying.role == Role::Primary) {
            self.drop_rivals(id);
        }
        self.settle_company(id, session_id, link, flying);
        self.arm_connector(id);
        sought
    }

    /// A wish came true; from now on it redials for the session, and what it knows serves all who share that.
    fn bind(&mut self, id: ConnectorId, session_id: SessionId, shared: bool) {
        let Some(session) = self.sessions.get_mut(&session_id) else { return };
        let Some(connector) = self.connectors.get(&id) else { return };
        session.shares += 1;
        session.bulk_wanted = session.bulk_wanted.max(connector.options.bulk_links);
        session.standby_wanted = session.standby_wanted.max(connector.options.standby_links);
        let first = session.connectors.first().copied();
        session.connectors.push(id);
        let routes = connector.routes.clone();
        match first.and_then(|first| self.connectors.get_mut(&first).map(|connector| (first, connector))) {
            Some((first, backup)) if backup.is_backup => drop(self.cancel_connector(first)),
            Some((_, oldest)) => oldest.routes.learn(&routes),
            None => {}
        }
        self.event(Event::Connected { connector: id, session: session_id, shared });
    }

    /// Dials for a session that wants a link; the oldest connector of the session does it.
    pub(super) fn serve_connectors(&mut self, session_id: SessionId) {
        let Some(session) = self.sessions.get_mut(&session_id) else { return };
        let wanted = session.wanted();
        // While one is missed, an old link that lives says nothing of those that would follow it.
        let is_calm = !wanted.carrier && session.links.values().any(|link| link.has_carried());
        let is_proven = std::mem::take(&mut session.progress) || is_calm;
        let (is_moving, knows_where) = (session.is_moving(), session.knows_where());
        let Some(&id) = session.connectors.first() else {
            if wanted.carrier {
                let backup = self.add_connector(Connector::backup(session_id));
                self.sessions
                    .get_mut(&session_id)
                    .into_iter()
                    .for_each(|session| session.connectors.push(backup));
                self.serve_connectors(session_id);
            }
            return;
        };
        let Some(connector) = self.connectors.get_mut(&id) else { return };
        if is_proven {
            connector.failures = 0;
        }
        // A backup keeps no company, and dials only where the peer says.
        if !wanted.any() || connector.is_backup && !(wanted.carrier && knows_where) {
            return self.nowhere_to_go(id);
        }
        let is_out = connector.redial_at.is_some() || connector.is_flying(Role::Primary);
        if wanted.carrier && !is_out {
            if is_moving {
                return self.dial_round(id, Role::Primary);
            }
            // Everybody's link may have died at the same moment: nobody redials at once.
            let redial_at = self.now + self.redial_delay(id);
            if let Some(connector) = self.connectors.get_mut(&id) {
                connector.failures = connector.failures.saturating_add(1);
                connector.redial_at = Some(redial_at);
            }
            self.arm_connector(id);
        }
        if wanted.standby || wanted.bulk || wanted.probe {
            self.dial_company(id);
        }
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
        let may_dial = connector.is_flying(Role::Primary) && connector.flying.len() < FLYING_MAX;
        let connector = &**connector;
        let session =
            connector.session.and_then(|session| self.sessions.get(&session)).map(|session| &**session);
        if !may_dial || !session.is_some_and(|session| session.wanted().carrier) {
            return;
        }
        let rank = |address: &str| connector.rank(session, Role::Primary, address);
        let address = connector.routes.next(rank).or_else(|| connector.routes.any(rank));
        if let Some(address) = address {
            self.dial(id, Role::Primary, address);
        }
    }

    /// The time to redial for a session has come: dial, if it is still without a link.
    fn redial(&mut self, id: ConnectorId, session_id: SessionId) {
        let is_wanted = self.sessions.get(&session_id).is_some_and(|session| session.wanted().carrier);
        if is_wanted && self.connectors.get(&id).is_some_and(|connector| !connector.is_flying(Role::Primary))
        {
            self.dial_round(id, Role::Primary);
        }
    }

    /// This machine has other addresses than before: what failed may work now, and what is under way may lead nowhere.
    pub(super) fn on_network_changed(&mut self) {
        let ids: Vec<ConnectorId> = self.connectors.keys().collect();
        for id in ids {
            let soon = self.now + self.up_to(REDIAL_SOON);
            let Some(connector) = self.connectors.get_mut(&id) else { continue };
            connector.begin_round();
            (connector.failures, connector.company_failures) = (0, 0);
            for at in [
                &mut connector.redial_at,
                &mut connector.company_at,
                &mut connector.spread_at,
                &mut connector.patience_until,
            ] {
                *at = at.map(|at| at.min(soon));
            }
            self.arm_connector(id);
        }
    }

    /// The peer of a session drains: wishes that any node will do for look for another one. The session goes on as long
    /// as it is used, and somebody else redials for it.
    pub(super) fn leave_draining_peer(&mut self, session_id: SessionId) {
        let Some(session) = self.sessions.get(&session_id) else { return };
        let (peer, ids) = (session.peer, session.connectors.clone());
        for id in ids {
            let Some(connector) = self.connectors.get_mut(&id).filter(|connector| connector.options.any_node)
            else {
                continue;
            };
            let heir = connector.heir();
            connector.seek_again(self.now);
            connector.shunned = Some(Box::new(peer));
            let flying = std::mem::take(&mut connector.flying);
            flying.into_keys().for_each(|attempt| self.drop_attempt(attempt));
            let heir = self.add_connector(heir);
            if let Some(session) = self.sessions.get_mut(&session_id) {
                session.connectors.iter_mut().filter(|bound| **bound == id).for_each(|bound| *bound = heir);
            }
            self.dial_round(id, Role::Primary);
        }
    }

    /// Both address tables of a session's peer, as the next dial would use them.
    pub(super) fn routes_of(&self, session: &Session) -> Routes {
        let connector = session.connectors.first().and_then(|id| self.connectors.get(id));
        let mut routes = connector.map_or_else(Routes::default, |connector| connector.routes.clone());
        if let Some(announced) = &session.announced {
            routes.announce(announced);
        }
        routes
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
