//! Where a session goes: which links it wants, links that stand by, and moves from one address to another (R3 to R5).
//!
//! It says what is wanted and which link takes over; `node::connector` finds the addresses. Invariants: a move never
//! gives up the link that carries before its successor attached; a link changes its role only at the end that dialled
//! it.

use super::Session;
use super::crowding::Verdict;
use super::link::{Link, Suspicion};
use crate::address::{named_place, place_of};
use crate::error::{Code, Error, Result};
use crate::id::{CONTROL, LinkId};
use crate::io::{MoveCause, SessionEvent};
use crate::limits::{ADDRESSES_MAX, CONTROL_WINDOW_BYTES, TEXT_BYTES_MAX};
use crate::time::Instant;
use crate::wire::Role;
use crate::wire::control::Control;
use std::cmp::Reverse;
use std::sync::Arc;

/// Beats between two moves that the peer asks for, at least; what it asks for sooner waits.
const GO_TO_BEATS: u32 = 4;

/// Why a link is dialled that shall take the place of the one that carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Successor {
    /// That one is old (L6).
    Age,
    /// The session moves, to this address first.
    Move(Option<Arc<str>>),
}

/// Links that a session would like to have and has not.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// One that carries everything.
    pub(crate) carrier: bool,
    /// One that takes over at once.
    pub(crate) standby: bool,
    /// One more for bulk.
    pub(crate) bulk: bool,
    /// One on another way, to compare it with the one that carries.
    pub(crate) probe: bool,
}

impl Wanted {
    pub(crate) fn any(self) -> bool {
        self.carrier || self.standby || self.bulk || self.probe
    }
}

impl Session {
    /// What the node shall dial for.
    pub(crate) fn wanted(&self) -> Wanted {
        if self.state.is_final() || !self.attached {
            return Wanted::default();
        }
        let too_few = |role, wanted: u8| wanted > 0 && self.serving(role).count() < usize::from(wanted);
        let standby = too_few(Role::Standby, self.standby_wanted);
        Wanted {
            carrier: self.successor.is_some() || !self.has_carrier(),
            standby,
            bulk: too_few(Role::Bulk, self.bulk_wanted),
            probe: self.crowding.wants_probe() && !standby && self.standing_by().next().is_none(),
        }
    }

    /// Whether some link carries, or is about to: one that this end may tell to.
    pub(crate) fn has_carrier(&self) -> bool {
        let may =
            |link: &Link| link.role == Role::Primary || (link.role == Role::Standby && link.dialled_here);
        self.links.values().any(|link| may(link) && serves(link))
    }

    /// Whether a link that was dialled at this address is attached.
    pub(crate) fn uses(&self, address: &str) -> bool {
        let place = place_of(address);
        self.links().any(|link| {
            link.address.as_deref().map(place_of) == Some(place) || link.place.as_deref() == Some(place)
        })
    }

    // ---- addresses ----

    /// This node can be reached at these addresses: the peer is told as soon as there is room. At first no list is as
    /// good as an empty one.
    pub(crate) fn announce(&mut self, addresses: Vec<Arc<str>>) {
        if self.has_announced || !addresses.is_empty() {
            self.unsaid = Some(addresses.into());
        }
    }

    /// Only the latest list waits, so a peer that reads nothing makes nothing grow. The first one goes after the first
    /// echo, for before it would be in the way of the first call.
    pub(super) fn say_addresses(&mut self) {
        if !self.has_announced && !self.links().any(|link| link.echoes > 0) {
            return;
        }
        let occupied = self.streams.get(CONTROL).map_or(0, |control| control.send.occupied());
        if occupied > CONTROL_WINDOW_BYTES || self.state.is_final() {
            return;
        }
        if let Some(addresses) = self.unsaid.take() {
            self.has_announced = true;
            self.say(&Control::Addresses(addresses.to_vec()));
        }
    }

    /// The peer can be reached at these.
    pub(super) fn on_addresses(&mut self, addresses: Vec<Arc<str>>) {
        debug_assert!(addresses.len() <= ADDRESSES_MAX);
        // A peer says where it is, and not who is there.
        let named = addresses.iter().filter_map(|address| named_place(address)).map(Arc::from);
        let addresses: Arc<[Arc<str>]> = named.collect();
        if self.announced.as_ref() == Some(&addresses) {
            return;
        }
        self.announced = Some(Arc::clone(&addresses));
        self.may_spread = true;
        self.event(SessionEvent::PeerAddresses(addresses));
    }

    /// Whether there is an address of the peer that the peer itself, or the application since, has named.
    pub(crate) fn knows_where(&self) -> bool {
        let is_announced = self.announced.as_ref().is_some_and(|list| !list.is_empty());
        is_announced || self.last_way.is_some() || self.target().is_some()
    }

    // ---- moves ----

    /// Whether a move is under way.
    pub(crate) fn is_moving(&self) -> bool {
        matches!(self.successor, Some(Successor::Move(_)))
    }

    /// The address that a move goes to first.
    pub(crate) fn target(&self) -> Option<Arc<str>> {
        if let Some(Successor::Move(to)) = &self.successor { to.clone() } else { None }
    }

    /// Nobody answered there: any other address will do.
    pub(crate) fn target_failed(&mut self, address: &str) {
        if let Some(Successor::Move(to)) = &mut self.successor
            && to.as_deref() == Some(address)
        {
            *to = None;
        }
    }

    /// The application of this end moves the session, to this address first (R4).
    pub(crate) fn roam(&mut self, to: Option<&str>) -> Result<()> {
        self.check_move("move", to)?;
        if to.is_none() && self.connectors.is_empty() && !self.knows_where() {
            let what = format!("move the session with {}: this end knows no address of it", self.peer);
            return Err(Error::new(Code::State, what).with_remedy("name one, or ask the peer to go: goto"));
        }
        self.begin_move(to.map(Arc::from), MoveCause::Asked);
        Ok(())
    }

    /// The application of this end asks the peer, which dials, to move the session (R5).
    pub(crate) fn go_to(&mut self, to: Option<&str>) -> Result<()> {
        self.check_move("send", to)?;
        self.say_for_application(
            "send the session to another address",
            &Control::GoTo(to.unwrap_or("").into()),
        )
    }

    fn check_move(&self, doing: &str, to: Option<&str>) -> Result<()> {
        if let Some(why) = &self.ended {
            let what = format!("{doing} the session with {}: it ended", self.peer);
            return Err(Error::new(why.code, what));
        }
        let len = to.map_or(1, str::len);
        if len == 0 || len > TEXT_BYTES_MAX {
            let what = format!(
                "{doing} the session with {}: the address has {len} bytes, allowed are 1 to {TEXT_BYTES_MAX}",
                self.peer
            );
            return Err(Error::new(Code::Argument, what));
        }
        Ok(())
    }

    pub(super) fn begin_move(&mut self, to: Option<Arc<str>>, cause: MoveCause) {
        self.tell_move(cause);
        self.event(SessionEvent::MoveBegan { to: to.clone(), cause });
        self.successor = Some(Successor::Move(to));
    }

    /// The peer hears of a move, unless it reads nothing of what it is told: it is for its log.
    fn tell_move(&mut self, cause: MoveCause) {
        let occupied = self.streams.get(CONTROL).map_or(0, |control| control.send.occupied());
        if occupied <= CONTROL_WINDOW_BYTES {
            self.say(&Control::Roam(cause.number()));
        }
    }

    /// GO TO came: the latest wish counts, and is followed at once or after a pause.
    pub(super) fn on_go_to(&mut self, now: Instant, address: &str) {
        self.wish = Some(named_place(address).map(Arc::from));
        self.follow_wish(now);
    }

    /// Nobody is sent about without a pause, and no move is broken off. Who knows no address and got none cannot go
    /// anywhere.
    pub(super) fn follow_wish(&mut self, now: Instant) {
        if self.wish.is_none() || self.is_moving() || now < self.stays_until || self.state.is_final() {
            return;
        }
        let Some(to) = self.wish.take() else { return };
        self.stays_until = now + self.liveness.beat * GO_TO_BEATS;
        if to.is_none() && self.connectors.is_empty() && !self.knows_where() {
            let why =
                format!("the peer {} asks to go elsewhere, and no address of it is known here", self.peer);
            return self.event(SessionEvent::MoveFailed { why: Error::new(Code::Unreachable, why) });
        }
        self.begin_move(to, MoveCause::GoTo);
    }

    /// When a wish of the peer is due that had to wait.
    pub(super) fn wish_due(&self) -> Instant {
        if self.wish.is_some() && !self.is_moving() { self.stays_until } else { Instant::NEVER }
    }

    /// No address is left that the session could move to.
    pub(crate) fn move_failed(&mut self, why: Error) {
        self.successor = None;
        // One that is old is still to be followed.
        self.links.values_mut().for_each(|link| link.renewing = false);
        if self.state.is_final() {
            return;
        }
        self.event(SessionEvent::MoveFailed { why });
    }

    /// A primary link attached: it is what was dialled for.
    pub(super) fn succeeded(&mut self) {
        self.successor = None;
    }

    // ---- links that stand by ----

    /// The role of a link beside the one that carries that shares its address with another link, and so its fate.
    pub(crate) fn shares_its_way(&self) -> Option<Role> {
        self.sharing().next().map(|link| link.role)
    }

    fn sharing(&self) -> impl Iterator<Item = &Link> {
        let is_shared = |link: &&Link| {
            let mut others = self.links().filter(|other| other.id != link.id && serves(other));
            others.any(|other| is_same_place(link, other))
        };
        let company = |link: &&Link| link.role != Role::Primary && link.dialled_here && serves(link);
        self.links().filter(company).filter(is_shared)
    }

    /// Whether this link shares its way.
    pub(crate) fn shares(&self, id: LinkId) -> bool {
        self.sharing().any(|link| link.id == id)
    }

    /// A link came that is on a way of its own: one that is not can go, if they are more than wanted.
    pub(crate) fn leave_shared_ways(&mut self) {
        self.may_spread = true;
        let probes = u8::from(self.crowding.wants_probe());
        for (role, wanted) in [(Role::Standby, self.standby_wanted + probes), (Role::Bulk, self.bulk_wanted)]
        {
            if self.serving(role).count() > usize::from(wanted) {
                let shared = self.sharing().find(|link| link.role == role).map(|link| link.id);
                self.retire(shared);
            }
        }
    }

    fn links(&self) -> impl Iterator<Item = &Link> {
        self.links.values().map(|link| &**link)
    }

    fn serving(&self, role: Role) -> impl Iterator<Item = &Link> {
        self.links().filter(move |link| link.role == role && serves(link))
    }

    /// Links that this end may tell to carry.
    fn standing_by(&self) -> impl Iterator<Item = &Link> {
        self.serving(Role::Standby).filter(|link| link.dialled_here)
    }

    pub(crate) fn retire(&mut self, id: Option<LinkId>) {
        if let Some(link) = id.and_then(|id| self.links.get_mut(id)) {
            link.retirement.wanted = true;
        }
    }

    /// The link that carried is gone or silent: one that stands by takes over (R3).
    pub(super) fn promote_standby(&mut self) {
        if self.state.is_final() || self.serving(Role::Primary).next().is_some() {
            return;
        }
        let best = self.standing_by().max_by_key(|link| (link.is_healthy(), Reverse(link.round_trip)));
        if let Some(best) = best.map(|link| link.id) {
            self.make_primary(best);
        }
    }

    /// A link of this end carries from now on.
    fn make_primary(&mut self, id: LinkId) {
        self.primaries += 1;
        if let Some(link) = self.links.get_mut(id) {
            link.take_role(Role::Primary);
            link.primary_since = self.primaries;
        }
    }

    /// The engine knows that a link leads nowhere now.
    pub(crate) fn doubt(&mut self, id: LinkId) {
        let beat = self.liveness.beat;
        let Some(link) = self.links.get_mut(id) else { return };
        link.doubt();
        self.was_well = link.lived() >= beat;
        self.requeue_suspects();
        self.promote_standby();
        self.update_state("the local address of its link is gone");
    }

    // ---- congestion ----

    /// An echo came on a link: time to look whether the session is better off elsewhere (R4).
    pub(super) fn watch_crowding(&mut self, now: Instant) {
        if !self.roams || self.state.is_final() || self.is_moving() {
            return;
        }
        let Some(carrier) = self.carrier().and_then(|id| self.links.get(id)) else { return };
        if !carrier.dialled_here {
            return;
        }
        let (id, times) = (carrier.id, (carrier.round_trip, carrier.flight.base()));
        let probe = self.standing_by().filter(|link| link.id != id).min_by_key(|link| link.round_trip);
        let probe = probe.map(|link| (link.id, (link.echoes, link.round_trip)));
        match self.crowding.judge(now, self.liveness.beat, times, probe.map(|(_, seen)| seen)) {
            Verdict::Stay => {}
            Verdict::Wait => self.drop_probe(),
            Verdict::Move => {
                let Some((probe, _)) = probe else { return };
                self.tell_move(MoveCause::Congestion);
                let to = self.links.get(probe).and_then(|link| link.address.clone());
                self.event(SessionEvent::MoveBegan { to, cause: MoveCause::Congestion });
                self.make_primary(probe);
                self.retire(Some(id));
            }
        }
    }

    /// There is no address for a link to compare with.
    pub(crate) fn no_probe(&mut self) {
        self.crowding.no_probe();
    }

    /// A link that was only dialled to be compared goes again.
    fn drop_probe(&mut self) {
        if self.standing_by().count() > usize::from(self.standby_wanted) {
            let newest = self.standing_by().map(|link| link.id).max();
            self.retire(newest);
        }
    }
}

/// Whether two links lead to one address of the peer.
fn is_same_place(one: &Link, other: &Link) -> bool {
    let place = |link: &Link| link.place.clone().or_else(|| link.address.clone());
    match (place(one), place(other)) {
        (Some(one), Some(other)) => place_of(&one) == place_of(&other),
        _ => false,
    }
}

/// Whether a link can do what its role says.
fn serves(link: &Link) -> bool {
    link.is_usable() && link.suspicion < Suspicion::Silent && !link.mute
}
