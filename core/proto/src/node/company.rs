//! Links beside the one that carries: such that stand by, such for bulk, and such that are only compared (R3, R4).
//!
//! They are dialled where no other link is, as far as there are addresses; and when one of them shares its way with
//! another link although there are more ways, a better one is dialled, which then takes its place. Invariant: what
//! happens to them delays no dial for the link that carries.

use super::connector::Flying;
use super::{Event, Node};
use crate::error::Error;
use crate::id::{ConnectorId, LinkId, SessionId};
use crate::wire::Role;
use std::sync::Arc;

impl Node {
    /// Dials for the links that are wanted, one of each role at a time.
    pub(super) fn dial_company(&mut self, id: ConnectorId) {
        let wanted = self.session_of_connector(id).map(|session| session.wanted()).unwrap_or_default();
        for (role, is_wanted) in [(Role::Standby, wanted.standby), (Role::Bulk, wanted.bulk)] {
            let Some(connector) = self.connectors.get(&id) else { return };
            if is_wanted && connector.company_at.is_none() && !connector.is_flying(role) {
                self.dial_round(id, role);
            }
        }
        let is_out = self.connectors.get(&id).is_some_and(|connector| connector.is_flying(Role::Standby));
        if wanted.probe && !is_out {
            self.dial_probe(id);
        }
    }

    /// Dials for a link to compare with the one that carries; on the same way it would tell nothing.
    fn dial_probe(&mut self, id: ConnectorId) {
        self.learn_announced(id);
        if let Some(address) = self.unused_address(id) {
            return self.dial_as(id, Flying { role: Role::Standby, address, is_better: true });
        }
        self.seek_ways_later(id);
        let session = self.connectors.get(&id).and_then(|connector| connector.session);
        if let Some(session) = session.and_then(|session| self.sessions.get_mut(&session)) {
            session.no_probe();
        }
    }

    /// Addresses that failed may be tried again after the longest pause.
    fn seek_ways_later(&mut self, id: ConnectorId) {
        let at = self.now + self.options.redial.max;
        let Some(connector) = self.connectors.get_mut(&id) else { return };
        if connector.routes.rows().any(|row| row.has_failed) {
            connector.spread_at.get_or_insert(at);
            self.arm_connector(id);
        }
    }

    /// A link of a connector attached: what it was dialled instead of can go, unless it turned out to be on the same
    /// way.
    pub(super) fn settle_company(
        &mut self,
        id: ConnectorId,
        session_id: SessionId,
        link: LinkId,
        flying: Option<Flying>,
    ) {
        let Some(session) = self.sessions.get_mut(&session_id) else { return };
        if let Some(flying) = flying.filter(|flying| flying.is_better && session.shares(link)) {
            session.retire(Some(link));
            if let Some(connector) = self.connectors.get_mut(&id) {
                connector.routes.failed(&flying.address);
            }
            return self.seek_ways_later(id);
        }
        session.leave_shared_ways();
    }

    /// An address that no link uses, that nobody dials now and that did not fail in this round.
    fn unused_address(&self, id: ConnectorId) -> Option<Arc<str>> {
        let (connector, session) = (self.connectors.get(&id)?, self.session_of_connector(id));
        let rank = |address: &str| connector.rank(session, Role::Bulk, address);
        connector.routes.next(rank).filter(|address| rank(address) == 0)
    }

    /// All addresses failed.
    pub(super) fn company_failed(&mut self, id: ConnectorId, why: Error) {
        let redial = self.options.redial;
        let Some(connector) = self.connectors.get_mut(&id) else { return };
        connector.begin_round();
        connector.company_failures = connector.company_failures.saturating_add(1);
        let step = redial.first.saturating_mul(1u32 << connector.company_failures.min(12)).min(redial.max);
        let after = step / 2 + self.up_to(step / 2);
        let company_at = self.now + after;
        if let Some(connector) = self.connectors.get_mut(&id) {
            connector.company_at = Some(company_at);
        }
        self.event(Event::DialRetry { connector: id, why, after });
        self.arm_connector(id);
    }

    /// The pause after that is over.
    pub(super) fn retry_company(&mut self, id: ConnectorId) {
        let Some(connector) = self.connectors.get_mut(&id) else { return };
        connector.routes.begin_round();
        if let Some((of, session)) = connector.session.and_then(|of| Some((of, self.sessions.get_mut(&of)?)))
        {
            session.may_spread = true;
            self.dirty.insert(of);
        }
        self.dial_company(id);
    }

    /// Looks for a way of its own for a link that shares one.
    pub(super) fn spread_links(&mut self, session_id: SessionId) {
        let Some(session) = self.sessions.get_mut(&session_id) else { return };
        // Until another link or address comes, or what failed may be tried again.
        session.may_spread = false;
        let (Some(&id), Some(role)) = (session.connectors.first(), session.shares_its_way()) else { return };
        self.learn_announced(id);
        let Some(connector) = self.connectors.get(&id) else { return };
        if connector.is_backup || connector.is_flying(role) {
            return;
        }
        if let Some(address) = self.unused_address(id) {
            return self.dial_as(id, Flying { role, address, is_better: true });
        }
        self.seek_ways_later(id);
    }
}
