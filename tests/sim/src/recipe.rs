//! Ready-made parts of plans: ordinary nodes, an ordinary network, goals in a word.

use crate::clock::Clock;
use crate::plan::{
    Connect, Expect, Fault, Goal, Kind, MS, Messages, NetPlan, NodePlan, Objects, Plan, Route, SEC, Service,
    Span, Trusts, What,
};
use clerver_proto::limits::SessionLimits;
use clerver_proto::node::NodeOptions;
use std::time::Duration;

/// An ordinary node: a key of its own, default options, a quick application.
pub(crate) fn node(index: usize) -> NodePlan {
    let limits = SessionLimits { message_bytes_max: 1 << 20, budget_bytes: 4 << 20, channels_max: 64 };
    let options = NodeOptions {
        host_name: format!("host{index}"),
        node_name: format!("node{index}"),
        limits,
        grace: Duration::from_secs(5),
        ..NodeOptions::default()
    };
    NodePlan {
        host: (index as u8).wrapping_add(1),
        options,
        clock: Clock { start: 1_000_000_000_000 * (index as u64 + 1), ppm: 100 * index as i64 },
        trusts: Trusts::All(1),
        think: Span(0, 2 * MS),
        handler: Span(MS, 50 * MS),
        destructor: Span(0, 20 * MS),
        embalm_fails: 0,
        revives: 0,
        read_pause: 0,
        addresses: Vec::new(),
    }
}

/// Nodes on a good network with nothing to do.
pub(crate) fn plan(name: &str, nodes: usize) -> Plan {
    Plan {
        name: name.into(),
        nodes: (0..nodes).map(node).collect(),
        net: NetPlan {
            delay: Span(MS, 20 * MS),
            jitter: 2 * MS,
            rate: None,
            piece: 64 << 10,
            buffer: 64 << 10,
            depth: 2048,
            dial: Span(5 * MS, 30 * MS),
            dial_timeout: 5 * SEC,
            local: true,
        },
        routes: Vec::new(),
        goals: Vec::new(),
        faults: Vec::new(),
        fault_time: 10 * SEC,
        lossless: true,
        expects: Vec::new(),
    }
}

impl Plan {
    pub(crate) fn goal(mut self, from: usize, to: usize, what: What) -> Plan {
        self.goals.push(Goal { from, to, start: 0, what });
        self
    }

    pub(crate) fn goal_at(mut self, start: u64, from: usize, to: usize, what: What) -> Plan {
        self.goals.push(Goal { from, to, start, what });
        self
    }

    pub(crate) fn fault(mut self, at: u64, fault: Fault) -> Plan {
        self.faults.push((at, fault));
        self
    }

    pub(crate) fn lasting(mut self, time: u64) -> Plan {
        self.fault_time = time;
        self
    }

    /// The node can be reached at these addresses too, and says so.
    pub(crate) fn at(mut self, node: usize, addresses: &[&str]) -> Plan {
        for address in addresses {
            self.routes.push((address.to_string(), Route::Node(node)));
            self.nodes[node].addresses.push(address.to_string());
        }
        self
    }

    /// Sessions may be lost in this plan.
    pub(crate) fn lossy(mut self) -> Plan {
        self.lossless = false;
        self
    }

    /// At least so many of this tally at this node.
    pub(crate) fn expect(self, node: usize, tally: &'static str, least: u64) -> Plan {
        self.expect_between(node, tally, least, u64::MAX)
    }

    pub(crate) fn expect_between(mut self, node: usize, tally: &'static str, least: u64, most: u64) -> Plan {
        self.expects.push(Expect { node, tally, least, most });
        self
    }

    /// Changes every node.
    pub(crate) fn each(mut self, change: impl Fn(usize, &mut NodePlan)) -> Plan {
        self.nodes.iter_mut().enumerate().for_each(|(index, node)| change(index, node));
        self
    }

    pub(crate) fn net(mut self, change: impl Fn(&mut NetPlan)) -> Plan {
        change(&mut self.net);
        self
    }

    /// Beat and TTL of every node.
    pub(crate) fn timing(self, beat: u64, ttl: u64) -> Plan {
        self.each(|_, node| {
            node.options.beat = Duration::from_nanos(beat);
            node.options.ttl = Duration::from_nanos(ttl);
            node.options.ttl_max = node.options.ttl_max.max(node.options.ttl);
        })
    }
}

/// Be connected, and again after a loss.
pub(crate) fn connect(addresses: &[&str]) -> What {
    connect_as(addresses, |_| ())
}

/// As `connect`, with something else about it.
pub(crate) fn connect_as(addresses: &[&str], change: impl Fn(&mut Connect)) -> What {
    let addresses = addresses.iter().map(|address| address.to_string()).collect();
    let mut connect = Connect { addresses, again: true, ..Connect::default() };
    change(&mut connect);
    What::Connect(connect)
}

/// Connect with links of role bulk beside the primary one.
pub(crate) fn connect_bulk(address: &str, bulk_links: u8) -> What {
    connect_as(&[address], |connect| connect.bulk_links = bulk_links)
}

/// Connect once, and see how it fails.
pub(crate) fn connect_once(address: &str, timeout: u64) -> What {
    connect_as(&[address], |connect| (connect.again, connect.timeout) = (false, Some(timeout)))
}

/// Messages of up to so many bytes, both ways.
pub(crate) fn messages(count: u32, back: u32, size: u64) -> What {
    What::Messages(Messages { count, back, size: Span(0, size), bulk: false, pace: 0, park: 0, bound: None })
}

/// Small messages, one way, with a pause after each.
pub(crate) fn paced(count: u32, pace: u64) -> What {
    What::Messages(Messages {
        count,
        back: count,
        size: Span(1, 300),
        bulk: false,
        pace,
        park: 0,
        bound: None,
    })
}

/// A stream of bytes each way.
pub(crate) fn stream(bytes: u64, back: u64, bulk: bool) -> What {
    What::Stream { bytes, back, bulk, piece: 100_000 }
}

/// Calls, four at a time, with requests of up to 2,000 bytes.
pub(crate) fn calls(count: u32, service: Service) -> What {
    What::Calls { count, together: 4, service, size: Span(0, 2000), deadline: None, cancel: false }
}

/// Objects of a kind that live as long as their session, some of them in use now and then.
pub(crate) fn objects(count: u32, kind: Kind) -> What {
    What::Objects(Objects {
        count,
        kind,
        ttl: None,
        touch: false,
        update: 30,
        release: 0,
        end: 0,
        enter: 30,
        stay: 500 * MS,
    })
}
