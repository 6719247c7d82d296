//! Sessions that move: address tables, failover, standby links, roaming and go-to. The ladder diagrams of the seed
//! (figures 10, 12, 13 and 14) stand here by their numbers.

use crate::plan::{Fault, MS, Messages, Plan, Route, SEC, Service, Span, What};
use crate::recipe::{calls, connect, connect_as, paced, plan, stream};

pub(super) fn all() -> Vec<Plan> {
    vec![
        figure_10_announcements(),
        figure_12_failover(),
        failover_after_resets(),
        figure_13_roaming(),
        figure_14_go_to("figure_14_go_to_a_named_address", Some("d1"), "attached d1"),
        figure_14_go_to("go_to_nowhere_takes_the_next", Some("dead"), "attached d1"),
        figure_14_go_to("go_to_anywhere_else", None, "attached d1"),
        roam_on_command(),
        nowhere_to_roam(),
        standby_takes_over(),
        standby_of_a_failing_path(),
        accepting_end_dials_back(),
        server_moves_to_another_address(),
        drain_sends_any_node_elsewhere(),
        redial_attempts_are_counted(),
        race_past_a_black_hole(),
        doubts_and_new_networks(),
        paths_that_are_crowded_in_turn(),
    ]
}

/// A connect to a static address that fails and one that works, and an announcement that changes.
fn figure_10_announcements() -> Plan {
    let addresses = ["d1", "d2"].map(String::from).to_vec();
    plan("figure_10_announcements", 2)
        .at(1, &["d1"])
        .goal(0, 1, connect(&["hole", "n1"]))
        .goal(0, 1, paced(100, 100 * MS))
        .goal_at(10 * SEC, 1, 0, What::Announce { addresses })
        .lasting(20 * SEC)
        .expect_between(0, "attached n1", 1, 1)
        .expect_between(0, "peer addresses", 2, 2)
        .expect_between(1, "peer addresses", 0, 0)
}

/// The address in use becomes a black hole in the middle of a transfer; the session goes on at an announced one.
fn figure_12_failover() -> Plan {
    plan("figure_12_failover", 2)
        .at(1, &["d1"])
        .goal(0, 1, connect(&["dead", "n1"]))
        .goal(0, 1, paced(300, 50 * MS))
        .goal(0, 1, stream(400_000, 400_000, false))
        .goal(1, 0, calls(40, Service::Echo))
        .fault(5 * SEC, Fault::HoleAt { address: "n1".into(), span: 30 * SEC })
        .lasting(30 * SEC)
        .expect_between(0, "attached d1", 1, 1)
        .expect_between(0, "connected", 1, 1)
}

/// As before, with resets: each time the address that was good before refuses.
fn failover_after_resets() -> Plan {
    let mut plan = plan("failover_after_resets", 2)
        .at(1, &["d1", "d2"])
        .goal(0, 1, connect(&["n1"]))
        .goal(0, 1, paced(200, 50 * MS))
        .lasting(20 * SEC)
        .expect(0, "attached d1", 1)
        .expect(0, "attached d2", 1);
    for (step, (closed, opened)) in [("n1", "d2"), ("d1", "n1"), ("d2", "d1")].into_iter().enumerate() {
        let at = (2 + 4 * step as u64) * SEC;
        plan = plan
            .fault(at, Fault::Reroute { address: opened.into(), to: Route::Node(1) })
            .fault(at, Fault::Reroute { address: closed.into(), to: Route::Nothing })
            .fault(at, Fault::CutAt { address: closed.into() });
    }
    plan
}

/// The client finds its path congested and moves, with a word to the peer, once.
fn figure_13_roaming() -> Plan {
    plan("figure_13_roaming", 2)
        .at(1, &["d1"])
        .goal(0, 1, connect(&["n1"]))
        .goal(0, 1, paced(300, 100 * MS))
        .goal(1, 0, stream(300_000, 300_000, false))
        .fault(5 * SEC, Fault::CrowdAt { address: "n1".into(), by: 400 * MS, span: 300 * SEC })
        .lasting(90 * SEC)
        .expect_between(0, "moves Congestion", 1, 1)
        .expect_between(1, "peer moves Congestion", 1, 1)
        .expect_between(0, "attached d1", 1, 1)
        .expect_between(0, "suspended", 0, 0)
}

/// The server sends its client to another address.
fn figure_14_go_to(name: &str, address: Option<&str>, came: &'static str) -> Plan {
    let what = What::Move { address: address.map(String::from), ask_peer: true };
    plan(name, 2)
        .at(1, &["d1"])
        .goal(0, 1, connect(&["n1"]))
        .goal(0, 1, paced(200, 50 * MS))
        .goal(1, 0, stream(300_000, 300_000, false))
        .goal_at(5 * SEC, 1, 0, what)
        .lasting(20 * SEC)
        .expect_between(0, "moves GoTo", 1, 1)
        .expect_between(0, came, 1, 1)
        .expect_between(0, "move failed", 0, 0)
        .expect_between(0, "suspended", 0, 0)
}

fn roam_on_command() -> Plan {
    let to = |address: Option<&str>| What::Move { address: address.map(String::from), ask_peer: false };
    plan("roam_on_command", 2)
        .at(1, &["d1", "d2"])
        .goal(0, 1, connect(&["n1"]))
        .goal(0, 1, paced(300, 50 * MS))
        .goal(1, 0, calls(60, Service::Many))
        .goal_at(5 * SEC, 0, 1, to(Some("d2")))
        .goal_at(12 * SEC, 0, 1, to(None))
        .goal_at(12 * SEC, 0, 1, to(None))
        .lasting(25 * SEC)
        .expect_between(0, "attached d2", 1, 1)
        .expect_between(0, "attached", 3, 3)
        .expect_between(1, "peer moves Asked", 3, 3)
        .expect_between(0, "suspended", 0, 0)
}

/// Who knows no other address dials the one that it has; when that is closed to newcomers, the session stays.
fn nowhere_to_roam() -> Plan {
    plan("nowhere_to_roam", 2)
        .goal(0, 1, connect(&["n1"]))
        .goal(0, 1, paced(150, 100 * MS))
        .fault(4 * SEC, Fault::Reroute { address: "n1".into(), to: Route::Nothing })
        .goal_at(5 * SEC, 0, 1, What::Move { address: None, ask_peer: false })
        .goal_at(8 * SEC, 0, 1, What::Move { address: Some("nowhere".into()), ask_peer: false })
        .goal_at(10 * SEC, 1, 0, What::Move { address: None, ask_peer: false })
        .lasting(20 * SEC)
        .expect_between(0, "move failed", 2, 2)
        .expect_between(0, "attached", 1, 1)
}

/// With a link that stands by, a black hole delays nothing by more than it takes to suspect one.
fn standby_takes_over() -> Plan {
    let (count, size, bound) = (400, Span(1, 300), Some(110 * MS));
    let messages = Messages { count, back: count, size, bulk: false, pace: 20 * MS, park: 0, bound };
    plan("standby_takes_over", 2)
        .timing(50 * MS, 2 * SEC)
        .net(|net| (net.delay, net.jitter) = (Span(MS / 10, MS), MS / 10))
        .each(|_, node| node.think = Span(0, 0))
        .at(1, &["d1"])
        .goal(0, 1, connect_as(&["n1"], |connect| connect.standby_links = 1))
        .goal_at(3 * SEC, 0, 1, What::Messages(messages))
        .fault(5 * SEC, Fault::HoleAt { address: "n1".into(), span: 20 * SEC })
        .fault(8 * SEC, Fault::CutAt { address: "d1".into() })
        .lasting(15 * SEC)
        .expect(0, "attached d1", 1)
        .expect_between(0, "suspended", 0, 1)
}

/// The path of the link that stands by fails all the time: the one that carries does not care.
fn standby_of_a_failing_path() -> Plan {
    let mut plan = plan("standby_of_a_failing_path", 2)
        .at(1, &["d1"])
        .goal(0, 1, connect_as(&["n1"], |connect| (connect.standby_links, connect.bulk_links) = (1, 1)))
        .goal(0, 1, paced(300, 50 * MS))
        .goal(0, 1, stream(600_000, 600_000, true))
        .lasting(25 * SEC)
        .expect_between(0, "suspended", 0, 0);
    for step in 1..20 {
        plan = plan.fault(step * SEC, Fault::CutAt { address: "d1".into() });
    }
    plan.fault(10 * SEC, Fault::Reroute { address: "d1".into(), to: Route::BlackHole })
}

/// Both ends announce where they are: when the server cannot be reached any more, it dials its client (R6).
fn accepting_end_dials_back() -> Plan {
    let mut plan = plan("accepting_end_dials_back", 2)
        .at(0, &["d0"])
        .goal(0, 1, connect(&["n1"]))
        .goal(0, 1, paced(300, 50 * MS))
        .goal(1, 0, calls(30, Service::Echo))
        .lasting(20 * SEC)
        .expect(1, "attached d0", 2)
        .expect_between(1, "connected", 0, 0);
    plan = plan.fault(4 * SEC, Fault::Reroute { address: "n1".into(), to: Route::Nothing });
    for step in 1..4 {
        plan = plan.fault(step * 5 * SEC, Fault::Cut { a: 0, b: 1 });
    }
    plan
}

fn server_moves_to_another_address() -> Plan {
    let addresses = vec!["d2".to_string()];
    let mut plan = plan("server_moves_to_another_address", 2)
        .at(1, &["d1"])
        .goal(0, 1, connect(&["n1"]))
        .goal(0, 1, paced(300, 50 * MS))
        .goal_at(5 * SEC, 1, 0, What::Announce { addresses })
        .lasting(20 * SEC)
        .expect_between(0, "attached d2", 1, 2);
    plan.routes.push(("d2".into(), Route::Node(1)));
    for closed in ["n1", "d1"] {
        plan = plan
            .fault(6 * SEC, Fault::Reroute { address: closed.into(), to: Route::Nothing })
            .fault(6 * SEC, Fault::CutAt { address: closed.into() });
    }
    plan
}

/// A node that drains is left by those to whom any node will do; the old session ends when it is closed.
fn drain_sends_any_node_elsewhere() -> Plan {
    plan("drain_sends_any_node_elsewhere", 3)
        .goal(0, 1, connect_as(&["n1", "n2"], |connect| connect.any_node = true))
        .goal(0, 1, paced(20, 50 * MS))
        .goal_at(5 * SEC, 1, 1, What::Drain)
        .lasting(20 * SEC)
        .expect_between(0, "peer drains", 1, 1)
        .expect_between(2, "accepted", 1, 1)
        .expect_between(0, "connected", 2, 2)
        .expect_between(0, "lost", 0, 0)
}

/// After so many rounds a session is given up, long before its lease ends.
fn redial_attempts_are_counted() -> Plan {
    plan("redial_attempts_are_counted", 2)
        .timing(SEC, 60 * SEC)
        .each(|_, node| node.options.redial.attempts = Some(3))
        .goal(0, 1, connect(&["n1", "dead"]))
        .goal(0, 1, paced(50, 100 * MS))
        .fault(8 * SEC, Fault::Reroute { address: "n1".into(), to: Route::Nothing })
        .fault(8 * SEC, Fault::Cut { a: 0, b: 1 })
        .lossy()
        .lasting(15 * SEC)
        .expect(0, "lost:UNREACHABLE", 1)
}

fn race_past_a_black_hole() -> Plan {
    let race = |connect: &mut crate::plan::Connect| {
        (connect.race, connect.again, connect.timeout) = (true, false, Some(2 * SEC));
    };
    plan("race_past_a_black_hole", 2)
        .goal(0, 1, connect_as(&["hole", "dead", "n1"], race))
        .goal(0, 1, paced(20, 50 * MS))
        .expect_between(0, "connected", 1, 1)
        .expect_between(0, "attached", 1, 1)
}

/// What systems say of their networks, right or wrong, costs no session anything.
fn doubts_and_new_networks() -> Plan {
    let mut plan = plan("doubts_and_new_networks", 2)
        .at(1, &["d1"])
        .at(0, &["d0"])
        .goal(0, 1, connect_as(&["n1"], |connect| (connect.standby_links, connect.bulk_links) = (1, 1)))
        .goal(0, 1, paced(400, 50 * MS))
        .goal(0, 1, stream(500_000, 500_000, true))
        .lasting(25 * SEC);
    for step in 1..40 {
        let node = step % 2;
        plan = plan
            .fault(step as u64 * 500 * MS, Fault::Doubt { node })
            .fault(step as u64 * 530 * MS, Fault::NewNetwork { node });
    }
    plan
}

/// Two paths, of which one is always crowded, in turn: the session moves, and ever more seldom.
fn paths_that_are_crowded_in_turn() -> Plan {
    let mut plan = plan("paths_that_are_crowded_in_turn", 2)
        .timing(200 * MS, 10 * SEC)
        .at(1, &["d1"])
        .goal(0, 1, connect(&["n1"]))
        .goal(0, 1, paced(1000, 100 * MS))
        .lasting(120 * SEC)
        .expect_between(0, "moves Congestion", 2, 6)
        .expect_between(0, "suspended", 0, 4);
    for step in 0..12 {
        let address = if step % 2 == 0 { "n1" } else { "d1" };
        let fault = Fault::CrowdAt { address: address.into(), by: 200 * MS, span: 10 * SEC };
        plan = plan.fault((2 + step * 10) * SEC - SEC, fault);
    }
    plan
}
