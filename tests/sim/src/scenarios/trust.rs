//! Who may speak with whom.

use crate::plan::{Fault, MS, Plan, SEC, Service, Trusts};
use crate::recipe::{calls, connect, connect_once, messages, paced, plan};

pub(super) fn all() -> Vec<Plan> {
    vec![
        trust_denied("trust_denied", Vec::new()),
        trust_denied("trust_level_zero", vec![(0, 0)]),
        self_connect(),
        two_nodes_one_key(),
        own_key_from_elsewhere(),
        blocked_on_reload(),
        levels(),
    ]
}

fn trust_denied(name: &str, levels: Vec<(usize, u8)>) -> Plan {
    let mut plan = plan(name, 2)
        .goal(0, 1, connect_once("n1", 20 * SEC))
        .lasting(30 * SEC)
        .expect(1, "refused:DENIED", 1)
        .expect_between(1, "accepted", 0, 0)
        .expect_between(0, "connected", 0, 0)
        .expect(0, "connect_failed:DENIED", 1);
    plan.nodes[1].trusts = Trusts::Levels(levels);
    plan
}

fn self_connect() -> Plan {
    plan("self_connect", 2)
        .goal(0, 0, connect_once("n0", 20 * SEC))
        .goal(0, 1, connect(&["n1"]))
        .goal(0, 1, messages(20, 20, 500))
        .lasting(25 * SEC)
        .expect(0, "connect_failed:SELF", 1)
}

fn two_nodes_one_key() -> Plan {
    plan("two_nodes_one_key", 3)
        .each(|index, node| node.host = if index < 2 { 7 } else { 3 })
        .goal(0, 1, connect(&["n1"]))
        .goal(2, 0, connect(&["n0"]))
        .goal(2, 1, connect(&["n1"]))
        .goal(0, 1, paced(60, 100 * MS))
        .goal(2, 0, paced(60, 100 * MS))
        .goal(2, 1, paced(60, 100 * MS))
        .fault(2 * SEC, Fault::Cut { a: 0, b: 2 })
        .fault(3 * SEC, Fault::Cut { a: 0, b: 1 })
        .expect(2, "connected", 2)
}

/// Our own host id from another machine needs an entry, and is told (3.5b).
fn own_key_from_elsewhere() -> Plan {
    let mut plan = plan("own_key_from_elsewhere", 2)
        .each(|_, node| node.host = 7)
        .net(|net| net.local = false)
        .goal(0, 1, connect_once("n1", 20 * SEC))
        .lasting(30 * SEC)
        .expect(1, "own_id_elsewhere", 1)
        .expect_between(1, "accepted", 0, 0);
    plan.nodes[1].trusts = Trusts::Levels(Vec::new());
    plan
}

fn blocked_on_reload() -> Plan {
    plan("blocked_on_reload", 3)
        .goal(0, 1, connect(&["n1"]))
        .goal(2, 1, connect(&["n1"]))
        .goal(0, 1, paced(100, 100 * MS))
        .goal(2, 1, paced(100, 100 * MS))
        .fault(3 * SEC, Fault::Block { node: 1, peer: 0, on: true })
        .fault(20 * SEC, Fault::Block { node: 1, peer: 0, on: false })
        .lossy()
        .lasting(30 * SEC)
        .expect(1, "lost:BLOCKED", 1)
        .expect_between(2, "lost", 0, 0)
        .expect(0, "live", 2)
}

/// A service above the peer's level is refused by the service, not by the node.
fn levels() -> Plan {
    plan("levels", 2)
        .goal(0, 1, connect(&["n1"]))
        .goal(0, 1, calls(10, Service::Above))
        .goal(0, 1, calls(10, Service::Echo))
        .goal(1, 0, calls(10, Service::Missing))
        .expect(0, "call:LEVEL", 10)
        .expect(1, "call:NO_SERVICE", 10)
}
