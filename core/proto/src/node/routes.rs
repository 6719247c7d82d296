//! Where the other end of a session may be reached: the addresses that the application gave, those that the peer
//! announced, and which of them failed in this round (R1, R2).
//!
//! Data only; when to dial, and for what, is `connector`'s. Invariants: an address stands here once; the first round
//! begins without marks, and so does each one after it.

use super::{AddressOrigin, PeerAddress};
use crate::address::place_of;
use std::sync::Arc;

#[derive(Debug, Clone)]
struct Route {
    address: Arc<str>,
    origin: AddressOrigin,
    /// It failed in this round.
    has_failed: bool,
}

/// See the module.
#[derive(Debug, Clone, Default)]
pub(super) struct Routes {
    known: Vec<Route>,
    /// The one that a round begins with.
    preferred: usize,
}

impl Routes {
    /// The addresses of a connect, in their order.
    pub(super) fn new(given: Vec<String>) -> Routes {
        let mut routes = Routes::default();
        routes.known.reserve_exact(given.len());
        given.into_iter().for_each(|address| routes.add(address.into(), AddressOrigin::Given));
        routes
    }

    fn add(&mut self, address: Arc<str>, origin: AddressOrigin) {
        if !self.known.iter().any(|route| place_of(&route.address) == place_of(&address)) {
            self.known.push(Route { address, origin, has_failed: false });
        }
    }

    /// Another connect that shares the session knows these.
    pub(super) fn learn(&mut self, other: &Routes) {
        for route in other.known.iter().filter(|route| route.origin == AddressOrigin::Given) {
            let is_same = |known: &&mut Route| place_of(&known.address) == place_of(&route.address);
            match self.known.iter_mut().find(is_same) {
                Some(known) => known.origin = AddressOrigin::Given,
                None => self.add(Arc::clone(&route.address), AddressOrigin::Given),
            }
        }
    }

    /// The peer is to be found at these, and where the application said.
    pub(super) fn announce(&mut self, announced: &[Arc<str>]) {
        let preferred = self.known.get(self.preferred).map(|route| Arc::clone(&route.address));
        let stays =
            |route: &Route| route.origin != AddressOrigin::Announced || announced.contains(&route.address);
        self.known.retain(stays);
        announced.iter().for_each(|address| self.add(Arc::clone(address), AddressOrigin::Announced));
        self.preferred = preferred.and_then(|address| self.find(&address)).unwrap_or(0);
    }

    fn find(&self, address: &str) -> Option<usize> {
        self.known.iter().position(|route| place_of(&route.address) == place_of(address))
    }

    /// Marks are for one round.
    pub(super) fn begin_round(&mut self) {
        self.known.iter_mut().for_each(|route| route.has_failed = false);
    }

    /// A dial of this address failed.
    pub(super) fn failed(&mut self, address: &str) {
        if let Some(place) = self.find(address) {
            self.known[place].has_failed = true;
        }
    }

    /// The session is carried there: the next round knows it, whoever named it. Of such addresses that are in neither
    /// table one is kept.
    pub(super) fn keep(&mut self, address: &Arc<str>) {
        if self.find(address).is_none() {
            self.known.retain(|route| route.origin != AddressOrigin::Moved);
            self.add(Arc::clone(address), AddressOrigin::Moved);
        }
        self.prefer(address);
    }

    /// Only what the application gave is left.
    pub(super) fn forget_peer(&mut self) {
        self.known.retain(|route| route.origin == AddressOrigin::Given);
        self.preferred = 0;
    }

    /// A link was, or is, there: the next round begins with it.
    pub(super) fn prefer(&mut self, address: &str) {
        self.preferred = self.find(address).unwrap_or(self.preferred);
    }

    /// Of the addresses that did not fail in this round: the first of those with the lowest rank, beginning with the
    /// preferred one.
    pub(super) fn next(&self, rank: impl Fn(&str) -> u8) -> Option<Arc<str>> {
        self.choose(|route| !route.has_failed, rank)
    }

    /// As `next`, of all addresses.
    pub(super) fn any(&self, rank: impl Fn(&str) -> u8) -> Option<Arc<str>> {
        self.choose(|_| true, rank)
    }

    fn choose(&self, may_be: impl Fn(&Route) -> bool, rank: impl Fn(&str) -> u8) -> Option<Arc<str>> {
        let (before, from) = self.known.split_at(self.preferred.min(self.known.len()));
        let candidates = from.iter().chain(before).filter(|route| may_be(route));
        candidates.min_by_key(|route| rank(&route.address)).map(|route| Arc::clone(&route.address))
    }

    /// Whether every address failed in this round.
    pub(super) fn is_over(&self) -> bool {
        self.known.iter().all(|route| route.has_failed)
    }

    /// Who named this address; `None` for one that is not in the tables.
    pub(super) fn origin_of(&self, address: &str) -> Option<AddressOrigin> {
        self.find(address).map(|place| self.known[place].origin)
    }

    /// For people.
    pub(super) fn text(&self) -> String {
        self.known.iter().map(|route| &*route.address).collect::<Vec<_>>().join(", ")
    }

    /// Both tables, the application's addresses first.
    pub(super) fn rows(&self) -> impl Iterator<Item = PeerAddress> {
        self.known.iter().map(|route| PeerAddress {
            address: Arc::clone(&route.address),
            origin: route.origin,
            has_failed: route.has_failed,
            is_in_use: false,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn routes(given: &[&str]) -> Routes {
        Routes::new(given.iter().map(|address| address.to_string()).collect())
    }

    fn list(addresses: &[&str]) -> Vec<Arc<str>> {
        addresses.iter().map(|&address| address.into()).collect()
    }

    /// The order of a round in which everything fails.
    fn round(routes: &mut Routes, rank: impl Fn(&str) -> u8) -> Vec<String> {
        let mut order = Vec::new();
        while let Some(address) = routes.next(&rank) {
            routes.failed(&address);
            order.push(address.to_string());
        }
        order
    }

    #[test]
    fn a_round_tries_each_address_once_and_the_next_one_all_of_them_again() {
        let mut routes = routes(&["a", "b", "c", "b"]);
        assert_eq!(round(&mut routes, |_| 0), ["a", "b", "c"]);
        assert_eq!(routes.next(|_| 0), None);
        routes.begin_round();
        assert_eq!(round(&mut routes, |_| 0), ["a", "b", "c"]);
        assert_eq!(routes.any(|_| 0).as_deref(), Some("a"));
    }

    #[test]
    fn a_round_begins_where_a_link_attached_last_and_what_is_in_use_comes_later() {
        let mut routes = routes(&["a", "b", "c"]);
        routes.prefer("b");
        assert_eq!(round(&mut routes, |_| 0), ["b", "c", "a"]);
        routes.begin_round();
        assert_eq!(round(&mut routes, |address| u8::from(address == "b")), ["c", "a", "b"]);
    }

    #[test]
    fn an_announcement_replaces_the_one_before_and_nothing_that_was_given() {
        let mut routes = routes(&["a", "b"]);
        routes.prefer("b");
        routes.announce(&list(&["c", "a"]));
        assert_eq!(round(&mut routes, |_| 0), ["b", "c", "a"]);
        routes.begin_round();
        routes.prefer("c");
        routes.announce(&list(&["d"]));
        let origins: Vec<_> = routes.rows().map(|row| (row.address.to_string(), row.origin)).collect();
        let [given, announced] = [AddressOrigin::Given, AddressOrigin::Announced];
        assert_eq!(origins, [("a".into(), given), ("b".into(), given), ("d".into(), announced)]);
        assert_eq!(round(&mut routes, |_| 0), ["a", "b", "d"]);
    }

    #[test]
    fn where_a_session_moved_is_kept_until_it_moves_on() {
        let mut routes = routes(&["a"]);
        routes.keep(&"x".into());
        routes.announce(&list(&["b"]));
        assert_eq!(round(&mut routes, |_| 0), ["x", "b", "a"]);
        routes.begin_round();
        routes.keep(&"y".into());
        assert_eq!(round(&mut routes, |_| 0), ["y", "a", "b"]);
        routes.forget_peer();
        routes.begin_round();
        assert_eq!(round(&mut routes, |_| 0), ["a"]);
    }

    #[test]
    fn an_address_is_the_same_with_a_host_id_and_a_name() {
        let mut routes = routes(&["clv://AAAA@a:1/till"]);
        routes.announce(&list(&["a:1", "b:1"]));
        assert_eq!(round(&mut routes, |_| 0), ["clv://AAAA@a:1/till", "b:1"]);
    }

    #[test]
    fn what_another_connect_knows_stays_when_it_is_announced_no_more() {
        let mut mine = routes(&["a"]);
        mine.announce(&list(&["b"]));
        mine.learn(&routes(&["b", "c"]));
        mine.announce(&[]);
        assert_eq!(round(&mut mine, |_| 0), ["a", "b", "c"]);
    }
}
