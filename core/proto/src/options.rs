//! What a node is told at its start, and what a connect, channel, call, service or object kind may ask for.

use crate::error::{Code, Error, Result};
use crate::id::HostId;
use crate::limits::{
    ADDRESSES_MAX, BULK_LINKS_MAX, EMBALM_TIME, EMBALMED_SESSIONS_MAX, EMBALMED_TOTAL_BYTES_MAX,
    REDIAL_FIRST, REDIAL_MAX, STANDBY_LINKS_MAX, SessionLimits, TEXT_BYTES_MAX,
};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Deliberate bugs behind a test switch; the simulator must catch each by name (INVARIANTS.md).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Canary {
    /// On DEAD, drop the newest link instead of the dead one.
    EvictNewestLink,
    /// Any traffic renews the owner's lease.
    LeaseByAnyTraffic,
    /// Sweep the peer's objects when the own lease ends.
    SweepAtLeaseEnd,
    /// One window for the whole session instead of one per channel.
    SessionWideWindow,
    /// Destroy at the end of the grace although a handler runs.
    DestroyAtGraceEnd,
    /// Do not compare tables at attach.
    IgnoreTable,
    /// State frames of a dead link are not repeated.
    DropStateFrames,
    /// Adopt any fresh session, whatever its n.
    IgnoreN,
    /// LACK what is not stored yet.
    LackBeforeStore,
}

impl Canary {
    /// Every canary.
    pub const ALL: &'static [Canary] = &[
        Canary::EvictNewestLink,
        Canary::LeaseByAnyTraffic,
        Canary::SweepAtLeaseEnd,
        Canary::SessionWideWindow,
        Canary::DestroyAtGraceEnd,
        Canary::IgnoreTable,
        Canary::DropStateFrames,
        Canary::IgnoreN,
        Canary::LackBeforeStore,
    ];
}

/// Who may do what: an immutable snapshot, replaced as a whole.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Trust {
    /// Level of each known host; 0 refuses.
    pub levels: BTreeMap<HostId, u8>,
    /// Refused before anything else.
    pub blocked: BTreeSet<HostId>,
}

/// What a node is told at its start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeOptions {
    /// What people call the machine.
    pub host_name: String,
    /// What people call the node.
    pub node_name: String,
    /// Where people can look at it, or empty.
    pub web_address: String,
    /// Heartbeat interval, 50 ms to hours.
    pub beat: Duration,
    /// TTL asked for.
    pub ttl: Duration,
    /// Never more than this.
    pub ttl_max: Duration,
    /// Never less than this; a server raises it with its load.
    pub ttl_floor: Duration,
    /// Time that a poisoned object's handlers have before `abandon`.
    pub grace: Duration,
    /// Limits announced to peers.
    pub limits: SessionLimits,
    /// The node expects to come and go: its sessions are embalmed when contact is lost (C5).
    pub volatile: bool,
    /// The node has a store, which carries out [`crate::io::Output::Store`].
    pub has_store: bool,
    /// How long, and how much of, what is embalmed is kept.
    pub embalming: Embalming,
    /// When and how often a session dials again (R3).
    pub redial: Redial,
    /// Whether a session leaves a congested path by itself when it knows another one (R4).
    pub roams: bool,
    /// Refuse peers whose wall clock differs by more; `None` only reports.
    pub skew_max: Option<Duration>,
    /// Trust at the start.
    pub trust: Trust,
    /// A deliberate bug, for the simulator only; ignored unless built with the feature `canary`.
    pub canary: Option<Canary>,
}

impl Default for NodeOptions {
    fn default() -> Self {
        NodeOptions {
            host_name: String::new(),
            node_name: String::new(),
            web_address: String::new(),
            beat: Duration::from_secs(1),
            ttl: Duration::from_secs(10),
            ttl_max: Duration::from_secs(120),
            ttl_floor: Duration::ZERO,
            grace: Duration::from_secs(10),
            limits: SessionLimits::default(),
            volatile: false,
            has_store: false,
            embalming: Embalming::default(),
            redial: Redial::default(),
            roams: true,
            skew_max: None,
            trust: Trust::default(),
            canary: None,
        }
    }
}

impl NodeOptions {
    /// Checks every value and their relations.
    ///
    /// # Errors
    /// `CONFIG` naming the option, its value and what is allowed.
    pub fn check(&self) -> Result<()> {
        let bad = |what: String| Err(Error::new(Code::Config, what));
        self.limits.check()?;
        if !(Duration::from_millis(50)..=Duration::from_secs(86_400)).contains(&self.beat) {
            return bad(format!("beat_ms is {}, allowed are 50 to 86400000", self.beat.as_millis()));
        }
        if self.ttl_max < self.beat * 4 {
            let (max, beat) = (self.ttl_max.as_millis(), self.beat.as_millis());
            return bad(format!("ttl_max_ms is {max}, but beat_ms {beat} needs at least {}", beat * 4));
        }
        if self.ttl > self.ttl_max || self.ttl_floor > self.ttl_max {
            return bad(format!(
                "ttl_ms {} and the floor {} must not exceed ttl_max_ms {}",
                self.ttl.as_millis(),
                self.ttl_floor.as_millis(),
                self.ttl_max.as_millis()
            ));
        }
        if self.redial.first.is_zero() || self.redial.first > self.redial.max {
            let (first, max) = (self.redial.first.as_millis(), self.redial.max.as_millis());
            return bad(format!("redial_ms is {first}, allowed are 1 to redial_max_ms, which is {max}"));
        }
        for (name, text) in [
            ("host_name", &self.host_name),
            ("node_name", &self.node_name),
            ("web_address", &self.web_address),
        ] {
            check_text(name, text)?;
        }
        Ok(())
    }
}

/// What is kept of sessions past their TTL, if one of their ends is volatile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Embalming {
    /// How long a session is kept without contact; the shorter time of both ends counts. Zero: not at all.
    pub span: Duration,
    /// Embalmed sessions of this node; the one that was embalmed first is lost when there are more.
    pub sessions_max: usize,
    /// Bytes of all embalmed sessions, in their channels and objects; as before.
    pub bytes_max: u64,
}

impl Default for Embalming {
    fn default() -> Self {
        Embalming {
            span: EMBALM_TIME,
            sessions_max: EMBALMED_SESSIONS_MAX,
            bytes_max: EMBALMED_TOTAL_BYTES_MAX,
        }
    }
}

/// Checks that a name fits its frame.
pub(crate) fn check_text(name: &str, text: &str) -> Result<()> {
    if text.len() > TEXT_BYTES_MAX {
        let what = format!("{name} has {} bytes, at most {TEXT_BYTES_MAX} are allowed", text.len());
        return Err(Error::new(Code::Argument, what));
    }
    Ok(())
}

/// When a session, or a connect, dials again after all addresses failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Redial {
    /// The longest pause after the first failure; it doubles with each further one.
    pub first: Duration,
    /// No pause is longer.
    pub max: Duration,
    /// After so many rounds that failed a connect gives up, and a session without a link is lost; `None` is never, and
    /// then the lease decides.
    pub attempts: Option<u32>,
}

impl Default for Redial {
    fn default() -> Self {
        Redial { first: REDIAL_FIRST, max: REDIAL_MAX, attempts: None }
    }
}

/// Where and how to connect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectOptions {
    /// Addresses of one node, in the order in which they are tried.
    pub addresses: Vec<String>,
    /// All addresses are dialled at once, and the fastest link is taken.
    pub race: bool,
    /// The host that must answer; `None` pins on first use under the name given.
    pub expected: Option<HostId>,
    /// Accept a session with another node at these addresses when the first is gone (S10).
    pub any_node: bool,
    /// Give up if there is no session by then; `None` tries until cancelled.
    pub timeout: Option<Duration>,
    /// Further links of role bulk that are kept beside the primary one, 0 to 8.
    pub bulk_links: u8,
    /// Links that are kept ready to take over, 0 to 4; to addresses that no other link uses, if there are any.
    pub standby_links: u8,
}

impl ConnectOptions {
    /// One address, everything else by default.
    pub fn to(address: impl Into<String>) -> ConnectOptions {
        ConnectOptions {
            addresses: vec![address.into()],
            race: false,
            expected: None,
            any_node: false,
            timeout: None,
            bulk_links: 0,
            standby_links: 0,
        }
    }

    pub(crate) fn check(&self) -> Result<()> {
        if self.addresses.is_empty() || self.addresses.len() > ADDRESSES_MAX {
            let what = format!(
                "connect: {} addresses given, 1 to {ADDRESSES_MAX} are allowed",
                self.addresses.len()
            );
            return Err(Error::new(Code::Argument, what));
        }
        for (name, count, max) in [
            ("bulk_links", self.bulk_links, BULK_LINKS_MAX),
            ("standby_links", self.standby_links, STANDBY_LINKS_MAX),
        ] {
            if count > max {
                let what = format!("connect: {name} is {count}, at most {max} are allowed");
                return Err(Error::new(Code::Argument, what));
            }
        }
        Ok(())
    }
}

/// What a channel carries.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ChannelOptions {
    /// Tells the peer what it is for; may be empty.
    pub name: String,
    /// A stream of bytes instead of messages.
    pub bytes: bool,
    /// Yields to everything else, and may use bulk links.
    pub bulk: bool,
    /// Outlives the process: nothing leaves before it is stored, and what came is delivered again until the reader is
    /// done with it (D1). The node needs a store.
    pub stored: bool,
}

/// How a call is made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CallOptions {
    /// The caller gives up after this time.
    pub deadline: Option<Duration>,
}

/// Who may call a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServiceOptions {
    /// Level that a caller needs; 1 is every authorised peer.
    pub level_min: u8,
}

impl Default for ServiceOptions {
    fn default() -> Self {
        ServiceOptions { level_min: 1 }
    }
}

/// What the node must know of an object kind; its callbacks stay with the engine.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct KindOptions {
    /// Level that an owner needs.
    pub level_min: u8,
    /// The kind can be put aside when contact is lost, for this long.
    pub embalm_for: Option<Duration>,
    /// The kind has `discard`: what was put aside is freed by it, not by revive and destroy.
    pub has_discard: bool,
}
