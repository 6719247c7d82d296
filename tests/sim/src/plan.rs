//! What a run is made of, as data: nodes, network, goals, faults, and what must have come of it.
//!
//! A named scenario and a seed of the swarm are both a [`Plan`]; nothing here acts.

use crate::clock::Clock;
use crate::rng::Rng;
use clerver_proto::error::Code;
use clerver_proto::node::NodeOptions;

/// Nanoseconds of a millisecond.
pub(crate) const MS: u64 = 1_000_000;
/// Nanoseconds of a second.
pub(crate) const SEC: u64 = 1_000_000_000;

/// A number to be drawn, bounds included.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Span(pub u64, pub u64);

impl Span {
    pub(crate) fn draw(self, rng: &mut Rng) -> u64 {
        rng.range(self.0, self.1)
    }
}

/// Whom a node trusts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Trusts {
    /// Every host of the plan, at this level.
    All(u8),
    /// The host of this node only (a thousand clients need not know each other).
    Only(usize),
    /// These nodes' hosts, at these levels.
    Levels(Vec<(usize, u8)>),
}

/// One address of the plan and the process that runs there.
#[derive(Debug, Clone)]
pub(crate) struct NodePlan {
    /// Which key it runs under; two nodes may share one.
    pub host: u8,
    pub options: NodeOptions,
    pub clock: Clock,
    pub trusts: Trusts,
    /// How long the application takes to react.
    pub think: Span,
    /// How long a service's handler runs.
    pub handler: Span,
    /// How long a destructor (embalmer, reviver) runs.
    pub destructor: Span,
    /// Of a hundred embalmings, so many fail.
    pub embalm_fails: u64,
    /// Of a hundred embalmed objects, so many are revived when a session with the same host comes.
    pub revives: u64,
    /// Pause after each message read; 0 reads everything that is there.
    pub read_pause: u64,
    /// What it announces to its peers from the start.
    pub addresses: Vec<String>,
}

/// How links behave when nothing is wrong with them.
#[derive(Debug, Clone)]
pub(crate) struct NetPlan {
    /// One-way delay of a link, drawn once per link and direction.
    pub delay: Span,
    /// Added to the delay of each piece, without changing the order.
    pub jitter: u64,
    /// Bytes a second, each way; `None` is as fast as wanted.
    pub rate: Option<u64>,
    /// Largest piece that leaves at once; pieces are cut at random sizes up to it.
    pub piece: usize,
    /// Bytes that a link's end takes before it must wait: the socket's buffer.
    pub buffer: usize,
    /// It takes so many at least, however slow the link: what the system and the path queue.
    pub depth: usize,
    /// Time that resolving, connecting and TLS take beyond the delays.
    pub dial: Span,
    /// Time until a black-holed dial is given up.
    pub dial_timeout: u64,
    /// Nodes with the same host id are on one machine (3.5b).
    pub local: bool,
}

/// What applications are to do.
#[derive(Debug, Clone)]
pub(crate) struct Goal {
    /// Who does it.
    pub from: usize,
    /// With whom.
    pub to: usize,
    /// Not before this time (for connect and close), or so long after the session came (for all others).
    pub start: u64,
    pub what: What,
}

/// The kinds of goal.
#[derive(Debug, Clone)]
pub(crate) enum What {
    /// Be connected, until the pair is closed.
    Connect(Connect),
    /// `from` moves its sessions with `to`, to this address first; or asks the peer to.
    Move { address: Option<String>, ask_peer: bool },
    /// `from` can be reached at these addresses from now on.
    Announce { addresses: Vec<String> },
    /// Messages one way and `back` the other way, on one channel; all must be taken, in order, then the end.
    Messages(Messages),
    /// A stream of bytes, and `back` bytes the other way.
    Stream { bytes: u64, back: u64, bulk: bool, piece: u64 },
    /// One message over the limit, which must be refused with SIZE, and one of exactly the limit.
    Oversize,
    /// A channel whose writer gives up in the middle (RESET), or whose reader does (STOP).
    Broken { count: u32, by_writer: bool },
    /// Calls, so many at once.
    Calls { count: u32, together: u32, service: Service, size: Span, deadline: Option<u64>, cancel: bool },
    /// Objects that `from` holds for `to`.
    Objects(Objects),
    /// `from` closes the session; the pair stays apart then.
    Close { timeout: u64 },
    /// `from` drains.
    Drain,
}

/// How to connect.
#[derive(Debug, Clone, Default)]
pub(crate) struct Connect {
    pub addresses: Vec<String>,
    pub race: bool,
    pub bulk_links: u8,
    pub standby_links: u8,
    pub any_node: bool,
    pub again: bool,
    pub timeout: Option<u64>,
}

impl What {
    /// What happens at a time of its own, and needs no session.
    pub(crate) fn is_act(&self) -> bool {
        matches!(self, What::Close { .. } | What::Drain | What::Move { .. } | What::Announce { .. })
    }
}

/// Messages one way, and fewer or more the other way.
#[derive(Debug, Clone)]
pub(crate) struct Messages {
    pub count: u32,
    pub back: u32,
    pub size: Span,
    pub bulk: bool,
    /// Pause between two messages.
    pub pace: u64,
    /// The accepting side reads nothing for so long.
    pub park: u64,
    /// From the wish to send until it is taken, at most (I14).
    pub bound: Option<u64>,
}

/// What a goal does with objects.
#[derive(Debug, Clone)]
pub(crate) struct Objects {
    pub count: u32,
    pub kind: Kind,
    /// Life without a touch; `None` as long as the session.
    pub ttl: Option<u64>,
    /// The owner touches it in time until the faults are over.
    pub touch: bool,
    /// Of a hundred, so many get data from their owner, are released by it, are ended by their holder.
    pub update: u64,
    pub release: u64,
    pub end: u64,
    /// Of a hundred, so many are in use (entered) for `stay`, again and again.
    pub enter: u64,
    pub stay: u64,
}

/// The object kinds that every node registers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// Destroyed when its owner is gone.
    Plain,
    /// Embalmed, and discarded at the deadline.
    Kept,
    /// Embalmed, and revived and destroyed at the deadline.
    Spare,
}

impl Kind {
    pub(crate) const ALL: [Kind; 3] = [Kind::Plain, Kind::Kept, Kind::Spare];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::Plain => "plain",
            Kind::Kept => "kept",
            Kind::Spare => "spare",
        }
    }
}

/// The services that every node registers, and one that none has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Service {
    /// One reply as long as the request.
    Echo,
    /// Several replies.
    Many,
    /// Fails.
    Fails,
    /// Runs for very long and does not look at cancellation.
    Stuck,
    /// Asks for a level that nobody has.
    Above,
    /// Is not there.
    Missing,
}

impl Service {
    pub(crate) const REGISTERED: [Service; 5] =
        [Service::Echo, Service::Many, Service::Fails, Service::Stuck, Service::Above];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Service::Echo => "echo",
            Service::Many => "many",
            Service::Fails => "fails",
            Service::Stuck => "stuck",
            Service::Above => "above",
            Service::Missing => "missing",
        }
    }

    pub(crate) fn by_name(name: &str) -> Option<Service> {
        Service::REGISTERED.into_iter().find(|service| service.name() == name)
    }
}

/// What goes wrong. Places are indices of nodes; times are spans.
#[derive(Debug, Clone)]
pub(crate) enum Fault {
    /// Every link between them is reset; bytes on the way are cut anywhere.
    Cut { a: usize, b: usize },
    /// One link between them is reset.
    CutOne { a: usize, b: usize },
    /// One link between them dies and only `a` learns of it.
    HalfOpen { a: usize, b: usize },
    /// From now on each link between them is reset after so many bytes; 0 ends it.
    CutEvery { a: usize, b: usize, bytes: u64 },
    /// Nothing passes from `a` to `b`.
    Hole { a: usize, b: usize, span: u64 },
    /// Nothing passes either way.
    Partition { a: usize, b: usize, span: u64 },
    /// Links from `a` to `b`, and back, have this rate.
    Slow { a: usize, b: usize, rate: u64, span: u64 },
    /// The next links' bytes from `a` to `b` come so much later.
    Lag { a: usize, b: usize, by: u64, links: u32 },
    /// The process is not scheduled (SIGSTOP).
    Stop { node: usize, span: u64 },
    /// The process dies; `silent` means that its machine does too, and nobody is told. Another one starts later.
    Crash { node: usize, silent: bool, restart: Option<u64> },
    /// The process is stopped, and another one takes its address; the old one comes back later.
    Usurp { node: usize, span: u64 },
    /// A snapshot of the process is taken; after `span` the process is killed and the snapshot started.
    Clone { node: usize, span: u64 },
    /// The node's clock jumps forward.
    Jump { node: usize, by: u64 },
    /// The application stops reading.
    StopReading { node: usize, span: u64 },
    /// Inputs for dead links, unknown links and old attempts (I12).
    Stale { node: usize },
    /// The first bytes that `a` once sent on a link to `b` come to `b` on another link.
    Replay { a: usize, b: usize },
    /// Bytes that follow no rule come to the node on a link of a trusted host.
    Garbage { node: usize },
    /// The proofs on the next links between them are wrong (S5).
    Forge { a: usize, b: usize, how: Forgery, links: u32 },
    /// The address leads to another node from now on.
    Reroute { address: String, to: Route },
    /// Nothing passes on links that were dialled there, nor on new ones.
    HoleAt { address: String, span: u64 },
    /// Links that were dialled there are reset.
    CutAt { address: String },
    /// What passes on links that were dialled there takes so much longer.
    CrowdAt { address: String, by: u64, span: u64 },
    /// The system of this node says of one of its links that it leads nowhere; it may be wrong.
    Doubt { node: usize },
    /// The system of this node says that the network changed.
    NewNetwork { node: usize },
    /// `node` puts the host of `peer` on its block list, or takes it off.
    Block { node: usize, peer: usize, on: bool },
}

/// How a link's handshake is falsified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Forgery {
    /// A byte of each proof is flipped.
    Proof,
    /// REFUSE comes instead of what answers HELLO.
    Refuse,
    /// GONE without a proof comes instead of what answers HELLO; only while another link of the session lives.
    Gone,
}

/// Where an address leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Route {
    Node(usize),
    /// Connection refused.
    Nothing,
    /// No answer at all.
    BlackHole,
}

/// What must be so at the end: so many of these tallies at this node.
#[derive(Debug, Clone)]
pub(crate) struct Expect {
    pub node: usize,
    /// Name of a tally, such as `lost:DISCONTINUITY`, `destroy`, `suspended`.
    pub tally: &'static str,
    pub least: u64,
    pub most: u64,
}

/// A whole run.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub name: String,
    pub nodes: Vec<NodePlan>,
    pub net: NetPlan,
    /// Addresses beyond `n0`, `n1`, .. (which lead to the nodes), `dead` and `hole`.
    pub routes: Vec<(String, Route)>,
    pub goals: Vec<Goal>,
    /// When, and what.
    pub faults: Vec<(u64, Fault)>,
    /// Length of the first phase: faults are healed after it.
    pub fault_time: u64,
    /// No session may be lost: everything that happens is within what a session must survive.
    pub lossless: bool,
    pub expects: Vec<Expect>,
}

impl Plan {
    /// TTL that sessions of this plan have at most, in true nanoseconds.
    pub(crate) fn ttl_most(&self) -> u64 {
        let ttl = |node: &NodePlan| {
            let options = &node.options;
            options.ttl.max(options.ttl_floor).max(options.beat * 4).min(options.ttl_max)
        };
        self.nodes.iter().map(|node| ttl(node).as_nanos() as u64).max().unwrap_or(0) / 9 * 10
    }

    /// How long sessions are embalmed at most, in true nanoseconds.
    pub(crate) fn embalmed_most(&self) -> u64 {
        if !self.nodes.iter().any(|node| node.options.volatile) {
            return 0;
        }
        let span = |node: &NodePlan| node.options.embalming.span.as_nanos() as u64;
        self.nodes.iter().map(span).max().unwrap_or(0) / 9 * 10
    }

    /// Longest grace of any node.
    pub(crate) fn grace_most(&self) -> u64 {
        self.nodes.iter().map(|node| node.options.grace.as_nanos() as u64).max().unwrap_or(0) / 9 * 10
    }

    /// The code of a loss as a tally's name.
    pub(crate) fn tally_of(prefix: &str, code: Code) -> String {
        format!("{prefix}:{}", code.name())
    }
}
