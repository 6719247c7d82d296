//! Sessions that outlive their TTL because one of their ends comes and goes: embalmed, and brought back or given up.

use crate::plan::{Fault, Kind, MS, Plan, SEC, Service, Span, What};
use crate::recipe::{calls, connect, messages, objects, paced, plan, stream};
use std::time::Duration;

pub(super) fn all() -> Vec<Plan> {
    vec![
        embalmed_and_back(),
        embalmed_until_its_deadline(),
        embalmed_in_one_direction(),
        stopped_for_longer_than_the_ttl("stopped_client_is_embalmed", 0),
        stopped_for_longer_than_the_ttl("stopped_server_is_embalmed", 1),
        stopped_for_longer_than_the_ttl_and_not_volatile(),
        embalmed_sessions_are_bounded(),
        embalmed_bytes_are_bounded(),
        embalmed_and_its_peer_is_another_process(),
        closed_while_embalmed(),
        embalmed_again_and_again(),
        back_before_the_hold_ends(),
        back_while_it_is_embalmed(),
        embalmed_for_as_long_as_both_ends_allow(),
    ]
}

/// Two nodes of which the client comes and goes.
fn volatile(name: &str) -> Plan {
    volatile_of(name, 2).goal(0, 1, connect(&["n1"]))
}

fn volatile_of(name: &str, nodes: usize) -> Plan {
    let redial = |node: &mut crate::plan::NodePlan| node.options.redial.max = Duration::from_secs(2);
    let mut plan = plan(name, nodes).each(|_, node| redial(node));
    plan.nodes[0].options.volatile = true;
    plan
}

/// Contact is away for three times the TTL, in the middle of everything; every byte comes, and objects come back.
fn embalmed_and_back() -> Plan {
    volatile("embalmed_and_back")
        .goal(0, 1, paced(600, 100 * MS))
        .goal(1, 0, stream(800_000, 800_000, false))
        .goal(0, 1, calls(60, Service::Many))
        .goal(1, 0, objects(20, Kind::Kept))
        .goal(0, 1, objects(20, Kind::Spare))
        .goal(1, 0, objects(10, Kind::Plain))
        .fault(5 * SEC, Fault::Partition { a: 0, b: 1, span: 25 * SEC })
        .lasting(60 * SEC)
        .expect_between(0, "embalmed", 1, 1)
        .expect_between(1, "embalmed", 1, 1)
        .expect_between(0, "reviving", 1, 1)
        .expect(0, "embalm", 1)
        .expect(0, "revive", 20)
        .expect(1, "revive", 20)
        .expect(0, "object_ended:LOST", 10)
        .expect_between(0, "lost", 0, 0)
}

fn embalmed_until_its_deadline() -> Plan {
    volatile("embalmed_until_its_deadline")
        .each(|_, node| node.options.embalming.span = Duration::from_secs(15))
        .goal(0, 1, paced(100, 100 * MS))
        .goal(1, 0, objects(20, Kind::Kept))
        .fault(5 * SEC, Fault::Partition { a: 0, b: 1, span: 60 * SEC })
        .lossy()
        .lasting(70 * SEC)
        .expect(0, "embalmed", 1)
        .expect(0, "lost:LOST", 1)
        .expect(1, "lost:LOST", 1)
        .expect(1, "discard", 20)
        .expect_between(1, "revive", 0, 0)
}

/// Nothing passes one way: the other end hears everything until this one gives its links up.
fn embalmed_in_one_direction() -> Plan {
    volatile("embalmed_in_one_direction")
        .goal(0, 1, paced(300, 100 * MS))
        .goal(1, 0, objects(10, Kind::Kept))
        .fault(5 * SEC, Fault::Hole { a: 1, b: 0, span: 40 * SEC })
        .lasting(60 * SEC)
        .expect(0, "embalmed", 1)
        .expect_between(0, "lost", 0, 0)
}

fn stopped_for_longer_than_the_ttl(name: &str, node: usize) -> Plan {
    volatile(name)
        .goal(0, 1, paced(300, 100 * MS))
        .goal(1, 0, stream(300_000, 300_000, false))
        .goal(1, 0, objects(10, Kind::Kept))
        .fault(5 * SEC, Fault::Stop { node, span: 40 * SEC })
        .lasting(60 * SEC)
        .expect(0, "embalmed", 1)
        .expect(1, "embalmed", 1)
        .expect_between(0, "lost", 0, 0)
}

/// The same without the option is the end.
fn stopped_for_longer_than_the_ttl_and_not_volatile() -> Plan {
    let mut plan = stopped_for_longer_than_the_ttl("stopped_and_not_volatile_is_lost", 0).lossy();
    plan.nodes[0].options.volatile = false;
    plan.expects.clear();
    plan.expect(0, "lost", 1).expect(1, "lost", 1).expect_between(0, "embalmed", 0, 0)
}

/// A server with room for two embalmed sessions and four clients that are away: the oldest two are given up.
fn embalmed_sessions_are_bounded() -> Plan {
    let mut plan = volatile_of("embalmed_sessions_are_bounded", 5).each(|index, node| {
        node.options.volatile = index != 0;
        if index == 0 {
            node.options.embalming.sessions_max = 2;
        }
    });
    for client in 1..5 {
        plan = plan
            .goal(client, 0, connect(&["n0"]))
            .goal(client, 0, paced(50, 100 * MS))
            .fault((4 + 2 * client as u64) * SEC, Fault::Partition { a: 0, b: client, span: 40 * SEC });
    }
    plan.lossy()
        .lasting(70 * SEC)
        .expect_between(0, "embalmed", 4, 4)
        .expect_between(0, "lost:LIMIT", 2, 2)
        .expect_between(0, "reviving", 2, 2)
        .expect(1, "lost:LOST", 1)
        .expect(2, "lost:LOST", 1)
        .expect_between(3, "lost", 0, 0)
        .expect_between(4, "lost", 0, 0)
}

/// What waits in channels and what objects are kept as counts; a session that alone has too much is given up.
fn embalmed_bytes_are_bounded() -> Plan {
    volatile("embalmed_bytes_are_bounded")
        .each(|index, node| {
            if index == 1 {
                node.options.embalming.bytes_max = 500;
            }
        })
        .goal(1, 0, objects(20, Kind::Kept))
        .goal(0, 1, paced(20, 100 * MS))
        .fault(5 * SEC, Fault::Partition { a: 0, b: 1, span: 30 * SEC })
        .lossy()
        .lasting(50 * SEC)
        .expect(1, "embalmed", 1)
        .expect(1, "lost:LIMIT", 1)
        .expect(1, "discard", 1)
}

/// The client died and started anew: its old session stays embalmed for its time, and its objects can be taken over.
fn embalmed_and_its_peer_is_another_process() -> Plan {
    let mut plan = volatile("embalmed_and_its_peer_is_another_process")
        .each(|_, node| (node.revives, node.options.embalming.span) = (100, Duration::from_secs(60)))
        .goal(1, 0, objects(16, Kind::Kept))
        .goal(0, 1, messages(5, 5, 100))
        .fault(3 * SEC, Fault::Crash { node: 0, silent: true, restart: Some(20 * SEC) })
        .lossy()
        .lasting(40 * SEC)
        .expect(1, "embalmed", 1)
        .expect(1, "revived", 4);
    plan.nodes[1].destructor = Span(0, 5 * MS);
    plan
}

/// Nobody is there to be told: it ends here when the close times out, and there when its time is over.
fn closed_while_embalmed() -> Plan {
    volatile("closed_while_embalmed")
        .each(|_, node| node.options.embalming.span = Duration::from_secs(60))
        .goal(0, 1, paced(100, 100 * MS))
        .goal(0, 1, objects(5, Kind::Kept))
        .fault(5 * SEC, Fault::Partition { a: 0, b: 1, span: 25 * SEC })
        .goal_at(22 * SEC, 0, 1, What::Close { timeout: 30 * SEC })
        .lossy()
        .lasting(50 * SEC)
        .expect(0, "embalmed", 1)
        .expect(0, "lost:TIMEOUT", 1)
        .expect(1, "lost:LOST", 1)
        .expect(0, "discard", 5)
}

/// Away, back for a moment, away again, with objects that take their time to be embalmed and revived.
fn embalmed_again_and_again() -> Plan {
    let mut plan = volatile("embalmed_again_and_again")
        .each(|_, node| node.destructor = Span(10 * MS, 3 * SEC))
        .goal(0, 1, paced(300, 100 * MS))
        .goal(1, 0, objects(8, Kind::Kept))
        .goal(0, 1, objects(8, Kind::Spare))
        .lasting(150 * SEC)
        .expect(0, "embalmed", 3)
        .expect_between(0, "lost", 0, 0);
    for step in 0..5 {
        let at = (5 + 25 * step) * SEC;
        plan = plan
            .fault(at, Fault::Partition { a: 0, b: 1, span: 15 * SEC })
            .fault(at + 15 * SEC + 100 * MS, Fault::NewNetwork { node: 0 });
    }
    plan
}

/// The owner gave up believing and the holder had not yet: nothing was put aside.
fn back_before_the_hold_ends() -> Plan {
    volatile("back_before_the_hold_ends")
        .net(|net| (net.delay, net.jitter) = (Span(MS, MS), 0))
        .goal(1, 0, objects(10, Kind::Plain))
        .goal(0, 1, paced(150, 100 * MS))
        .fault(5 * SEC, Fault::Partition { a: 0, b: 1, span: 8500 * MS })
        .fault(13_510 * MS, Fault::NewNetwork { node: 0 })
        .lasting(30 * SEC)
        .expect_between(0, "embalmed", 1, 1)
        .expect_between(0, "object_ended:LOST", 0, 0)
}

/// Contact is back while most objects are not embalmed yet.
fn back_while_it_is_embalmed() -> Plan {
    volatile("back_while_it_is_embalmed")
        .each(|_, node| node.destructor = Span(SEC, 2 * SEC))
        .goal(1, 0, objects(20, Kind::Kept))
        .goal(0, 1, paced(250, 100 * MS))
        .fault(5 * SEC, Fault::Partition { a: 0, b: 1, span: 14 * SEC })
        .fault(19_100 * MS, Fault::NewNetwork { node: 0 })
        .lasting(60 * SEC)
        .expect_between(1, "embalm", 2, 12)
        .expect(1, "revive", 1)
}

/// An end that keeps nothing is an end that loses, whatever the other one is.
fn embalmed_for_as_long_as_both_ends_allow() -> Plan {
    volatile("embalmed_for_as_long_as_both_ends_allow")
        .each(|index, node| {
            if index == 1 {
                node.options.embalming.span = Duration::ZERO;
            }
        })
        .goal(0, 1, paced(100, 100 * MS))
        .fault(5 * SEC, Fault::Partition { a: 0, b: 1, span: 30 * SEC })
        .lossy()
        .lasting(50 * SEC)
        .expect(0, "lost:LOST", 1)
        .expect_between(0, "embalmed", 0, 0)
        .expect_between(1, "embalmed", 0, 0)
}
