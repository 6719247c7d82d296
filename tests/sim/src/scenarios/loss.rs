//! Contact lost for longer than a session lives, processes that die, sleep or come twice.

use crate::clock::{Clock, PPM_MAX};
use crate::plan::{Fault, Kind, MS, Plan, SEC, Service, Span};
use crate::recipe::{calls, connect, connect_as, connect_bulk, messages, objects, paced, plan};
use std::time::Duration;

pub(super) fn all() -> Vec<Plan> {
    vec![
        black_hole("black_hole_to_the_accepting_side", 0, 1),
        black_hole("black_hole_to_the_dialling_side", 1, 0),
        black_hole_that_closes("black_hole_closes_for_the_dialler", 0, 1),
        black_hole_that_closes("black_hole_closes_for_the_acceptor", 1, 0),
        partition_with_odd_clocks("partition_fast_holder", PPM_MAX, -PPM_MAX),
        partition_with_odd_clocks("partition_slow_holder", -PPM_MAX, PPM_MAX),
        sigstop_longer_than_ttl(),
        destructors_longer_than_ttl("destructors_of_the_other_end_longer_than_ttl", 1),
        destructors_longer_than_ttl("destructors_of_the_arbiter_longer_than_ttl", 0),
        holder_crash(),
        restart_while_old_is_stopped(),
        snapshot_clone_is_found_out("snapshot_clone_of_the_dialler", 0),
        snapshot_clone_is_found_out("snapshot_clone_of_the_acceptor", 1),
        any_node(),
        clock_jump(),
        silent_machine(),
        many_crashes(),
    ]
}

/// Everything that two nodes do for each other.
fn busy(name: &str) -> Plan {
    plan(name, 2)
        .goal(0, 1, connect(&["n1"]))
        .goal(0, 1, paced(100, 150 * MS))
        .goal(0, 1, objects(10, Kind::Plain))
        .goal(1, 0, objects(10, Kind::Plain))
        .goal(1, 0, calls(30, Service::Echo))
        .lossy()
        .lasting(60 * SEC)
}

fn black_hole(name: &str, a: usize, b: usize) -> Plan {
    busy(name)
        .fault(5 * SEC, Fault::Hole { a, b, span: 30 * SEC })
        .expect(0, "lost", 1)
        .expect(1, "lost", 1)
        .expect(0, "destroy", 10)
        .expect(1, "destroy", 10)
}

/// First nothing passes one way; then, before the other end can say that it gives up, nothing passes at all. What `a`
/// still heard meanwhile must not have made it believe in its objects any longer (T2).
fn black_hole_that_closes(name: &str, a: usize, b: usize) -> Plan {
    busy(name)
        .fault(5 * SEC, Fault::Hole { a, b, span: 30 * SEC })
        .fault(5 * SEC + 6500 * MS, Fault::Hole { a: b, b: a, span: 20 * SEC })
        .expect(0, "lost", 1)
        .expect(1, "lost", 1)
        .expect(0, "destroy", 10)
        .expect(1, "destroy", 10)
}

fn partition_with_odd_clocks(name: &str, one: i64, two: i64) -> Plan {
    let mut plan = busy(name)
        .each(|index, node| {
            let near_end = u64::MAX - 1_000_000_000_000_000;
            node.clock = Clock { start: near_end, ppm: if index == 0 { one } else { two } };
        })
        .fault(25 * SEC, Fault::Hole { a: 0, b: 1, span: 20 * SEC })
        .fault(55 * SEC, Fault::Hole { a: 1, b: 0, span: 20 * SEC })
        .lasting(90 * SEC)
        .expect(0, "lost", 2)
        .expect(1, "lost", 2);
    plan = plan.fault(5 * SEC, Fault::Partition { a: 0, b: 1, span: 15 * SEC });
    plan
}

fn sigstop_longer_than_ttl() -> Plan {
    busy("sigstop_longer_than_ttl")
        .fault(5 * SEC, Fault::Stop { node: 1, span: 20 * SEC })
        .fault(40 * SEC, Fault::Stop { node: 0, span: 15 * SEC })
        .expect(0, "lost", 2)
        .expect(1, "lost", 2)
}

/// A new session waits for the old one's destructors (T4), however long they take; then it lives.
fn destructors_longer_than_ttl(name: &str, holder: usize) -> Plan {
    plan(name, 2)
        .timing(50 * MS, SEC)
        .each(|_, node| {
            node.destructor = Span(150 * MS, 200 * MS);
            node.options.grace = Duration::from_secs(8);
        })
        .goal(1, 0, connect(&["n0"]))
        .goal(holder, 1 - holder, objects(30, Kind::Plain))
        .goal_at(20 * SEC, 0, 1, paced(10, 50 * MS))
        .fault(3 * SEC, Fault::Partition { a: 0, b: 1, span: 2 * SEC })
        .lossy()
        .lasting(30 * SEC)
        .expect_between(0, "lost", 1, 2)
        .expect_between(1, "lost", 1, 2)
}

fn holder_crash() -> Plan {
    busy("holder_crash")
        .fault(5 * SEC, Fault::Crash { node: 0, silent: false, restart: Some(2 * SEC) })
        .fault(35 * SEC, Fault::Crash { node: 1, silent: false, restart: Some(100 * MS) })
        .expect(0, "connected", 3)
}

fn restart_while_old_is_stopped() -> Plan {
    busy("restart_while_old_is_stopped")
        .fault(5 * SEC, Fault::Usurp { node: 1, span: 25 * SEC })
        .fault(40 * SEC, Fault::Usurp { node: 0, span: 5 * SEC })
        .expect(0, "lost", 1)
}

fn snapshot_clone_is_found_out(name: &str, node: usize) -> Plan {
    plan(name, 2)
        .timing(SEC, 60 * SEC)
        .goal(0, 1, connect(&["n1"]))
        .goal(0, 1, paced(300, 50 * MS))
        .goal(1, 0, paced(300, 50 * MS))
        .fault(3 * SEC, Fault::Clone { node, span: 2 * SEC })
        .fault(30 * SEC, Fault::Clone { node, span: 500 * MS })
        .lossy()
        .lasting(60 * SEC)
        .expect(node, "cloned", 2)
        .expect(1 - node, "lost:DISCONTINUITY", 1)
}

/// With `any_node` another process at the address is as good as the first, at once (S10).
fn any_node() -> Plan {
    let anyone = connect_as(&["n1"], |connect| connect.any_node = true);
    plan("any_node", 2)
        .timing(SEC, 100 * SEC)
        .goal(0, 1, anyone)
        .goal(0, 1, paced(200, 50 * MS))
        .fault(3 * SEC, Fault::Crash { node: 1, silent: false, restart: Some(SEC) })
        .lossy()
        .lasting(20 * SEC)
        .expect(0, "lost", 1)
        .expect(0, "live", 2)
}

fn clock_jump() -> Plan {
    busy("clock_jump")
        .fault(5 * SEC, Fault::Jump { node: 0, by: 3 * SEC })
        .fault(15 * SEC, Fault::Jump { node: 1, by: 60 * SEC })
        .fault(35 * SEC, Fault::Jump { node: 0, by: 3600 * SEC })
}

fn silent_machine() -> Plan {
    plan("silent_machine", 3)
        .goal(0, 1, connect_bulk("n1", 1))
        .goal(2, 0, connect(&["n0"]))
        .goal(0, 1, paced(100, 100 * MS))
        .goal(2, 0, paced(100, 100 * MS))
        .goal(0, 1, objects(10, Kind::Plain))
        .fault(5 * SEC, Fault::Crash { node: 1, silent: true, restart: Some(20 * SEC) })
        .lossy()
        .lasting(40 * SEC)
        .expect(0, "destroy", 10)
}

fn many_crashes() -> Plan {
    let mut plan = plan("many_crashes", 3)
        .timing(100 * MS, SEC)
        .goal(0, 1, connect(&["n1"]))
        .goal(1, 2, connect(&["n2"]))
        .goal(2, 0, connect(&["n0"]))
        .goal(0, 1, messages(300, 300, 2000))
        .goal(1, 2, objects(30, Kind::Plain))
        .goal(2, 0, calls(100, Service::Echo))
        .lossy()
        .lasting(60 * SEC);
    for step in 1..25u64 {
        let node = (step % 3) as usize;
        let silent = step % 4 == 0;
        let restart = Some(step * 50 * MS);
        plan = plan.fault(step * 2 * SEC, Fault::Crash { node, silent, restart });
    }
    plan
}
