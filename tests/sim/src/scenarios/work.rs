//! Work on a good network, and work that is hard by its size.

use crate::plan::{Fault, MS, Messages, Plan, SEC, Service, Span, What};
use crate::recipe::{calls, connect, connect_bulk, messages, objects, paced, plan, stream};
use clerver_proto::limits::SessionLimits;

pub(super) fn all() -> Vec<Plan> {
    vec![
        plain(),
        limit_and_one_more(),
        broken_channels(),
        calls_that_end_early(),
        many_channels(),
        stopped_reader_a_minute(),
        slow_reader(),
        bulk_over_two_links(),
        reset_every_256k_8mib_both_ways(),
        smallest_budget_and_four_16mib_messages(),
        slow_1kb_link(),
        thousand_node_storm(),
        final_bytes_before_close(),
        opened_and_closed_at_once(),
        simultaneous_close(),
        close_during_work(),
        drain(),
    ]
}

fn plain() -> Plan {
    plan("plain", 2)
        .goal(0, 1, connect(&["n1"]))
        .goal(0, 1, messages(200, 150, 5000))
        .goal(1, 0, messages(50, 0, 100_000))
        .goal(0, 1, stream(1 << 20, 300_000, false))
        .goal(0, 1, calls(50, Service::Echo))
        .goal(1, 0, calls(10, Service::Many))
        .goal(1, 0, calls(5, Service::Fails))
        .goal(0, 1, calls(3, Service::Missing))
        .goal(0, 1, calls(3, Service::Above))
        .goal(0, 1, objects(20, crate::plan::Kind::Plain))
        .expect_between(0, "suspended", 0, 0)
        .expect_between(0, "attached", 1, 1)
        .expect(0, "destroy", 20)
}

fn limit_and_one_more() -> Plan {
    plan("limit_and_one_more", 2)
        .each(|index, node| {
            let message_bytes_max = 100_000 + index as u64;
            let budget_bytes = message_bytes_max + 2 * 4 * 4096;
            node.options.limits = SessionLimits { message_bytes_max, budget_bytes, channels_max: 4 };
        })
        .goal(0, 1, connect(&["n1"]))
        .goal(0, 1, What::Oversize)
        .goal(1, 0, What::Oversize)
}

fn broken_channels() -> Plan {
    plan("broken_channels", 2)
        .goal(0, 1, connect(&["n1"]))
        .goal(0, 1, What::Broken { count: 600, by_writer: true })
        .goal(1, 0, What::Broken { count: 600, by_writer: false })
        .goal(0, 1, What::Broken { count: 600, by_writer: false })
        .goal(0, 1, messages(100, 100, 1000))
        .fault(0, Fault::CutEvery { a: 0, b: 1, bytes: 60_000 })
        .expect(0, "attached", 4)
}

fn calls_that_end_early() -> Plan {
    let hasty = |service, deadline, cancel| What::Calls {
        count: 40,
        together: 8,
        service,
        size: Span(0, 3000),
        deadline,
        cancel,
    };
    plan("calls_that_end_early", 2)
        .goal(0, 1, connect(&["n1"]))
        .goal(0, 1, hasty(Service::Echo, Some(30 * MS), false))
        .goal(1, 0, hasty(Service::Many, None, true))
        .goal(1, 0, hasty(Service::Echo, Some(60 * MS), true))
        .fault(200 * MS, Fault::Cut { a: 0, b: 1 })
        .fault(900 * MS, Fault::Cut { a: 0, b: 1 })
}

fn many_channels() -> Plan {
    let mut plan = plan("many_channels", 2)
        .each(|_, node| {
            let limits = SessionLimits { message_bytes_max: 5000, budget_bytes: 0, channels_max: 8 };
            node.options.limits = SessionLimits { budget_bytes: limits.budget_bytes_min(), ..limits };
        })
        .goal(0, 1, connect(&["n1"]))
        .goal(0, 1, calls(60, Service::Echo))
        .fault(300 * MS, Fault::Cut { a: 0, b: 1 });
    for index in 0..40 {
        plan = plan.goal(index % 2, 1 - index % 2, messages(20, 10, 5000));
    }
    plan
}

fn stopped_reader_a_minute() -> Plan {
    // Two beats, and a round trip of the slowest link.
    let bound = Some(2 * SEC + 50 * MS);
    let urgent = |pace, size| {
        What::Messages(Messages { count: 250, back: 250, size, bulk: false, pace, park: 0, bound })
    };
    let parked = |count, size| {
        What::Messages(Messages { count, back: 0, size, bulk: false, pace: 0, park: 60 * SEC, bound: None })
    };
    plan("stopped_reader_a_minute", 2)
        .goal(0, 1, connect(&["n1"]))
        .goal(0, 1, parked(600, Span(1000, 16_000)))
        .goal(0, 1, parked(20, Span(900_000, 1 << 20)))
        .goal(1, 0, parked(600, Span(1000, 16_000)))
        .goal_at(2 * SEC, 0, 1, urgent(200 * MS, Span(1, 1000)))
        .goal_at(2 * SEC, 1, 0, urgent(150 * MS, Span(100, 3000)))
        .goal_at(2 * SEC, 0, 1, calls(100, Service::Echo))
        .lasting(70 * SEC)
        .expect_between(0, "suspended", 0, 0)
        .expect_between(1, "suspended", 0, 0)
}

fn slow_reader() -> Plan {
    plan("slow_reader", 2)
        .each(|index, node| node.read_pause = index as u64 * 20 * MS)
        .goal(0, 1, connect(&["n1"]))
        .goal(0, 1, messages(600, 50, 10_000))
        .goal(0, 1, stream(400_000, 100_000, false))
        .goal(0, 1, calls(20, Service::Echo))
        .fault(3 * SEC, Fault::Cut { a: 0, b: 1 })
}

fn bulk_over_two_links() -> Plan {
    plan("bulk_over_two_links", 2)
        .net(|net| net.rate = Some(2 << 20))
        .goal(0, 1, connect_bulk("n1", 2))
        .goal(0, 1, stream(8 << 20, 1 << 20, true))
        .goal(1, 0, stream(4 << 20, 0, true))
        .goal(0, 1, paced(60, 100 * MS))
        .fault(1500 * MS, Fault::HalfOpen { a: 0, b: 1 })
        .fault(3 * SEC, Fault::CutOne { a: 0, b: 1 })
        .fault(5 * SEC, Fault::HalfOpen { a: 1, b: 0 })
        .lasting(20 * SEC)
        .expect(0, "attached", 4)
}

fn reset_every_256k_8mib_both_ways() -> Plan {
    plan("reset_every_256k_8mib_both_ways", 2)
        .net(|net| net.delay = Span(MS, 5 * MS))
        .goal(0, 1, connect(&["n1"]))
        .goal(0, 1, stream(8 << 20, 8 << 20, false))
        .goal(0, 1, paced(40, 50 * MS))
        .fault(0, Fault::CutEvery { a: 0, b: 1, bytes: 256 << 10 })
        .lasting(120 * SEC)
        .expect(0, "attached", 60)
}

fn smallest_budget_and_four_16mib_messages() -> Plan {
    let mut plan = plan("smallest_budget_and_four_16mib_messages", 2)
        .each(|_, node| {
            let limits = SessionLimits { message_bytes_max: 16 << 20, budget_bytes: 0, channels_max: 6 };
            node.options.limits = SessionLimits { budget_bytes: limits.budget_bytes_min(), ..limits };
        })
        .goal(0, 1, connect(&["n1"]))
        .fault(0, Fault::CutEvery { a: 0, b: 1, bytes: 4 << 20 })
        .lasting(120 * SEC);
    for index in 0..4 {
        let size = Span(16 << 20, 16 << 20);
        let big = Messages { count: 1, back: 0, size, bulk: false, pace: 0, park: 0, bound: None };
        plan = plan.goal(index % 2, 1 - index % 2, What::Messages(big));
    }
    plan
}

fn slow_1kb_link() -> Plan {
    plan("slow_1kb_link", 2)
        .timing(SEC, 60 * SEC)
        .net(|net| {
            net.rate = Some(1000);
            net.dial = Span(SEC, 2 * SEC);
            net.dial_timeout = 30 * SEC;
        })
        .goal(0, 1, connect(&["n1"]))
        .goal(0, 1, messages(40, 20, 600))
        .goal(1, 0, calls(10, Service::Echo))
        .goal(0, 1, objects(5, crate::plan::Kind::Plain))
        .fault(30 * SEC, Fault::Cut { a: 0, b: 1 })
        .lasting(60 * SEC)
}

fn thousand_node_storm() -> Plan {
    use crate::plan::Trusts;
    let mut plan = plan("thousand_node_storm", 1001);
    for index in 1..=1000 {
        // Two bytes would be needed for a key each: they share 200.
        plan.nodes[index].host = (index % 200) as u8 + 2;
        plan.nodes[index].trusts = Trusts::Only(0);
        plan = plan.goal(index, 0, connect(&["n0"]));
        if index % 20 == 0 {
            plan = plan.goal(index, 0, messages(5, 5, 200));
        }
    }
    plan.lasting(2 * SEC).expect(0, "accepted", 1000)
}

fn final_bytes_before_close() -> Plan {
    plan("final_bytes_before_close", 2)
        .net(|net| net.rate = Some(100_000))
        .goal(0, 1, connect(&["n1"]))
        .goal(0, 1, messages(40, 0, 20_000))
        .goal(0, 1, stream(100_000, 0, false))
        .goal_at(SEC, 0, 1, What::Close { timeout: 30 * SEC })
        .lasting(20 * SEC)
        .expect(0, "closed", 1)
        .expect(1, "closed", 1)
}

/// CLOSE overtakes the header of a channel that was opened and written just before; its bytes must be readable yet.
fn opened_and_closed_at_once() -> Plan {
    let mut plan = plan("opened_and_closed_at_once", 2)
        .timing(SEC, 30 * SEC)
        .net(|net| net.rate = Some(20_000))
        .goal(0, 1, connect(&["n1"]))
        .goal(0, 1, stream(100_000, 0, false))
        .goal_at(2150 * MS, 0, 1, What::Close { timeout: 60 * SEC })
        .lasting(40 * SEC)
        .expect(1, "closed", 1);
    for step in 0..10 {
        plan = plan.goal_at(2 * SEC + step * 10 * MS, 0, 1, messages(3, 0, 500));
    }
    plan
}

fn simultaneous_close() -> Plan {
    plan("simultaneous_close", 2)
        .goal(0, 1, connect(&["n1"]))
        .goal(1, 0, connect(&["n0"]))
        .goal(0, 1, messages(400, 300, 4000))
        .goal(0, 1, objects(10, crate::plan::Kind::Plain))
        .goal(1, 0, objects(10, crate::plan::Kind::Kept))
        .goal_at(500 * MS, 0, 1, What::Close { timeout: 10 * SEC })
        .goal_at(500 * MS, 1, 0, What::Close { timeout: 10 * SEC })
        .expect(0, "destroy", 10)
}

fn close_during_work() -> Plan {
    plan("close_during_work", 2)
        .goal(0, 1, connect(&["n1"]))
        .goal(0, 1, stream(30 << 20, 0, false))
        .goal(1, 0, calls(500, Service::Echo))
        .goal(0, 1, calls(10, Service::Stuck))
        .goal_at(700 * MS, 1, 0, What::Close { timeout: 3 * SEC })
        .lossy()
}

fn drain() -> Plan {
    plan("drain", 3)
        .goal(0, 1, connect(&["n1"]))
        .goal(0, 1, paced(80, 100 * MS))
        .goal_at(4 * SEC, 0, 1, messages(5, 5, 100))
        .goal_at(6 * SEC, 2, 1, connect(&["n1"]))
        .goal_at(3 * SEC, 1, 0, What::Drain)
        .expect(0, "peer drains", 1)
        .expect_between(1, "accepted", 1, 1)
}
