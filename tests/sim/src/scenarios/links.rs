//! Links that come up in odd ways, break, lie, or come too late; no session may be lost by it.

use crate::plan::{Fault, Forgery, MS, Messages, Plan, Route, SEC, Service, Span, What};
use crate::recipe::{calls, connect, connect_bulk, messages, paced, plan, stream};

pub(super) fn all() -> Vec<Plan> {
    vec![
        both_dial_at_once(),
        dead_address_first(),
        wrong_node_first(),
        half_open(),
        resets_all_day(),
        short_partitions(),
        hello_after_birth(),
        late_session_frame(),
        replayed_hello(),
        forged("forged_proofs", Forgery::Proof),
        forged("forged_refusals", Forgery::Refuse),
        forged("forged_gone", Forgery::Gone),
        garbage(),
        stale_inputs(),
        shared_connect(),
        slow_path_with_deep_queue(),
    ]
}

fn both_dial_at_once() -> Plan {
    plan("both_dial_at_once", 2)
        .goal(0, 1, connect(&["n1"]))
        .goal(1, 0, connect(&["n0"]))
        .goal(0, 1, messages(100, 100, 3000))
        .goal(1, 0, calls(20, Service::Echo))
        .expect(0, "connected", 1)
        .expect(1, "connected", 1)
}

fn dead_address_first() -> Plan {
    plan("dead_address_first", 2)
        .goal(0, 1, connect(&["dead", "hole", "n1"]))
        .goal(0, 1, messages(20, 20, 1000))
        .fault(20 * SEC, Fault::Cut { a: 0, b: 1 })
        .timing(SEC, 20 * SEC)
        .lasting(40 * SEC)
}

fn wrong_node_first() -> Plan {
    let mut plan = plan("wrong_node_first", 3)
        .goal(0, 1, connect(&["x", "n1"]))
        .goal(0, 1, paced(50, 100 * MS))
        .fault(SEC, Fault::Reroute { address: "x".into(), to: Route::Node(2) })
        .fault(2 * SEC, Fault::Cut { a: 0, b: 1 })
        .expect_between(2, "accepted", 0, 0);
    plan.routes.push(("x".into(), Route::Node(1)));
    plan
}

fn half_open() -> Plan {
    plan("half_open", 2)
        .goal(0, 1, connect(&["n1"]))
        .goal(0, 1, paced(300, 100 * MS))
        .goal(1, 0, calls(40, Service::Echo))
        .fault(2 * SEC, Fault::HalfOpen { a: 0, b: 1 })
        .fault(12 * SEC, Fault::HalfOpen { a: 1, b: 0 })
        .lasting(30 * SEC)
        .expect_between(0, "attached", 2, 10)
        .expect_between(1, "attached", 2, 10)
}

fn resets_all_day() -> Plan {
    let mut plan = plan("resets_all_day", 2)
        .timing(200 * MS, 5 * SEC)
        .goal(0, 1, connect(&["n1"]))
        .goal(0, 1, paced(400, 50 * MS))
        .goal(0, 1, stream(500_000, 500_000, false))
        .goal(1, 0, calls(200, Service::Many))
        .lasting(30 * SEC);
    for step in 1..60 {
        plan = plan.fault(step * 450 * MS, Fault::Cut { a: 0, b: 1 });
    }
    plan
}

fn short_partitions() -> Plan {
    plan("short_partitions", 3)
        .goal(0, 1, connect(&["n1"]))
        .goal(2, 1, connect(&["n1"]))
        .goal(0, 1, paced(200, 100 * MS))
        .goal(1, 2, paced(200, 100 * MS))
        .fault(2 * SEC, Fault::Partition { a: 0, b: 1, span: 3 * SEC })
        .fault(3 * SEC, Fault::Hole { a: 2, b: 1, span: 3 * SEC })
        .fault(12 * SEC, Fault::Hole { a: 1, b: 2, span: 3 * SEC })
        .fault(13 * SEC, Fault::Stop { node: 0, span: 3 * SEC })
        .lasting(25 * SEC)
}

fn hello_after_birth() -> Plan {
    plan("hello_after_birth", 2)
        .goal(0, 1, connect(&["n1"]))
        .goal_at(100 * MS, 1, 0, connect(&["n0"]))
        .goal(0, 1, messages(100, 100, 3000))
        .fault(0, Fault::Lag { a: 0, b: 1, by: 4 * SEC, links: 1 })
        .lasting(15 * SEC)
}

/// The arbiter's first SESSION comes when that session is lost, and the next one lives (S3, S4).
fn late_session_frame() -> Plan {
    plan("late_session_frame", 2)
        .timing(200 * MS, 2 * SEC)
        .goal(0, 1, connect(&["n1"]))
        .goal_at(300 * MS, 1, 0, connect(&["n0"]))
        .goal(1, 0, paced(60, 100 * MS))
        .fault(0, Fault::Lag { a: 0, b: 1, by: 7 * SEC, links: 1 })
        .fault(SEC, Fault::Partition { a: 0, b: 1, span: 3 * SEC })
        .lossy()
        .lasting(12 * SEC)
        .expect_between(0, "lost", 1, 1)
        .expect_between(1, "lost", 1, 1)
}

fn replayed_hello() -> Plan {
    let mut plan = plan("replayed_hello", 2)
        .goal(0, 1, connect(&["n1"]))
        .goal(0, 1, paced(150, 100 * MS))
        .lasting(20 * SEC)
        .expect(0, "refused:REPLAYED", 1)
        .expect(1, "refused:REPLAYED", 1);
    for step in 1..6 {
        plan = plan
            .fault(step * 2 * SEC, Fault::Cut { a: 0, b: 1 })
            .fault(step * 2 * SEC + SEC, Fault::Replay { a: 0, b: 1 })
            .fault(step * 2 * SEC + 1200 * MS, Fault::Replay { a: 1, b: 0 });
    }
    plan
}

fn forged(name: &str, how: Forgery) -> Plan {
    let mut plan = plan(name, 2)
        .goal(0, 1, connect_bulk("n1", 2))
        .goal(0, 1, paced(150, 100 * MS))
        .goal(0, 1, stream(600_000, 600_000, true))
        .lasting(20 * SEC);
    for step in 1..6 {
        plan = plan
            .fault(step * 3 * SEC, Fault::Forge { a: 0, b: 1, how, links: 1 })
            .fault(step * 3 * SEC + MS, Fault::CutOne { a: 0, b: 1 });
    }
    plan
}

fn garbage() -> Plan {
    let mut plan =
        plan("garbage", 2).goal(0, 1, connect(&["n1"])).goal(0, 1, paced(100, 100 * MS)).lasting(15 * SEC);
    for step in 1..30 {
        plan = plan.fault(step * 300 * MS, Fault::Garbage { node: (step % 2) as usize });
    }
    plan
}

fn stale_inputs() -> Plan {
    let mut plan = plan("stale_inputs", 2)
        .goal(0, 1, connect(&["n1"]))
        .goal(0, 1, paced(100, 100 * MS))
        .lasting(15 * SEC);
    for step in 1..20 {
        plan = plan
            .fault(step * 500 * MS, Fault::Cut { a: 0, b: 1 })
            .fault(step * 500 * MS + 30 * MS, Fault::Stale { node: 0 })
            .fault(step * 500 * MS + 200 * MS, Fault::Stale { node: 1 });
    }
    plan
}

/// Two wishes for one node share its session.
fn shared_connect() -> Plan {
    plan("shared_connect", 2)
        .goal(0, 1, connect(&["n1"]))
        .goal_at(SEC, 0, 1, connect(&["n1"]))
        .goal_at(2 * SEC, 1, 0, connect(&["n0"]))
        .goal(0, 1, paced(60, 100 * MS))
        .goal_at(8 * SEC, 0, 1, What::Close { timeout: 5 * SEC })
        .expect_between(0, "live", 1, 2)
}

/// 100 kbit/s whose queue takes 20 s of bulk: beats and messages come through while it runs both ways.
fn slow_path_with_deep_queue() -> Plan {
    let (size, bound) = (Span(1, 300), Some(3 * SEC));
    let beside = Messages { count: 60, back: 0, size, bulk: false, pace: 500 * MS, park: 0, bound };
    plan("slow_path_with_deep_queue", 2)
        .net(|net| (net.rate, net.piece, net.buffer, net.depth) = (Some(12_500), 512, 256 << 10, 256 << 10))
        .goal(0, 1, connect(&["n1"]))
        .goal(0, 1, stream(500_000, 250_000, false))
        .goal(0, 1, What::Messages(beside))
        .expect_between(0, "attached", 1, 1)
        .expect_between(0, "suspended", 0, 0)
        .lasting(50 * SEC)
}
