//! Living objects: attached early and often, used, expired, embalmed, and swept when their owner is gone.

use crate::plan::{Fault, Kind, MS, Objects, Plan, SEC, Service, What};
use crate::recipe::{calls, connect, messages, objects, paced, plan};
use std::time::Duration;

pub(super) fn all() -> Vec<Plan> {
    vec![
        attach_before_first_message(),
        thousand_attaches(),
        owner_crash_destroys_objects("owner_crash_destroys_objects", false),
        owner_crash_destroys_objects("owner_power_failure_destroys_objects", true),
        released_and_ended(),
        object_ttl_runs_out(),
        long_object_ttl(),
        stuck_handler(),
        stuck_user(),
        embalm_and_discard(),
        embalm_fails(),
        embalm_and_revive(),
        spare_is_revived_and_destroyed(),
    ]
}

fn with(change: impl Fn(&mut Objects), count: u32, kind: Kind) -> What {
    match objects(count, kind) {
        What::Objects(mut wish) => {
            change(&mut wish);
            What::Objects(wish)
        }
        other => other,
    }
}

fn attach_before_first_message() -> Plan {
    plan("attach_before_first_message", 2)
        .each(|_, node| node.think = crate::plan::Span(0, 0))
        .goal(0, 1, connect(&["n1"]))
        .goal(1, 0, objects(5, Kind::Plain))
        .goal(0, 1, objects(5, Kind::Plain))
        .goal_at(3 * SEC, 0, 1, messages(5, 5, 100))
        .expect(0, "destroy", 5)
        .expect(1, "destroy", 5)
}

fn thousand_attaches() -> Plan {
    plan("thousand_attaches", 2)
        .goal(0, 1, connect(&["n1"]))
        .goal(1, 0, objects(1000, Kind::Plain))
        .fault(50 * MS, Fault::Cut { a: 0, b: 1 })
        .fault(300 * MS, Fault::Cut { a: 0, b: 1 })
        .expect(1, "destroy", 1000)
}

fn owner_crash_destroys_objects(name: &str, silent: bool) -> Plan {
    plan(name, 2)
        .goal(0, 1, connect(&["n1"]))
        .goal(0, 1, objects(50, Kind::Plain))
        .fault(3 * SEC, Fault::Crash { node: 1, silent, restart: None })
        .lossy()
        .lasting(40 * SEC)
        .expect(0, "destroy", 50)
}

fn released_and_ended() -> Plan {
    let some = |wish: &mut Objects| (wish.release, wish.end, wish.update) = (50, 30, 80);
    plan("released_and_ended", 2)
        .goal(0, 1, connect(&["n1"]))
        .goal(0, 1, with(some, 60, Kind::Plain))
        .goal(1, 0, with(some, 60, Kind::Kept))
        .fault(SEC, Fault::Cut { a: 0, b: 1 })
        .fault(2 * SEC, Fault::Cut { a: 0, b: 1 })
        .expect(0, "destroy", 60)
        .expect(1, "destroy", 60)
}

/// Objects with a TTL of their own, which nobody touches, in a session that lives on (O5).
fn object_ttl_runs_out() -> Plan {
    plan("object_ttl_runs_out", 2)
        .goal(0, 1, connect(&["n1"]))
        .goal(0, 1, with(|wish| wish.ttl = Some(2 * SEC), 20, Kind::Plain))
        .goal(1, 0, with(|wish| wish.ttl = Some(1500 * MS), 20, Kind::Plain))
        .goal(0, 1, paced(100, 100 * MS))
        .fault(1200 * MS, Fault::Partition { a: 0, b: 1, span: 2 * SEC })
        .lasting(20 * SEC)
        .expect(0, "destroy", 20)
        .expect(1, "destroy", 20)
}

fn long_object_ttl() -> Plan {
    let touched = |wish: &mut Objects| (wish.ttl, wish.touch) = (Some(30 * SEC), true);
    plan("long_object_ttl", 2)
        .goal(0, 1, connect(&["n1"]))
        .goal(0, 1, with(touched, 10, Kind::Plain))
        .goal(1, 0, with(|wish| wish.ttl = Some(100 * SEC), 10, Kind::Plain))
        .fault(20 * SEC, Fault::Cut { a: 0, b: 1 })
        .fault(50 * SEC, Fault::Partition { a: 0, b: 1, span: 3 * SEC })
        .lasting(200 * SEC)
        .expect(1, "destroy", 10)
}

fn stuck_handler() -> Plan {
    plan("stuck_handler", 2)
        .each(|_, node| node.options.grace = Duration::from_secs(2))
        .goal(0, 1, connect(&["n1"]))
        .goal(0, 1, calls(3, Service::Stuck))
        .goal(1, 0, objects(5, Kind::Plain))
        .fault(3 * SEC, Fault::Crash { node: 0, silent: false, restart: Some(20 * SEC) })
        .lossy()
        .lasting(60 * SEC)
        .expect(1, "destroy", 5)
        .expect(1, "stuck", 1)
}

/// A user of an object does not leave within the grace.
fn stuck_user() -> Plan {
    let used = |wish: &mut Objects| (wish.enter, wish.stay) = (100, 20 * SEC);
    plan("stuck_user", 2)
        .each(|_, node| node.options.grace = Duration::from_secs(2))
        .goal(0, 1, connect(&["n1"]))
        .goal(1, 0, with(used, 6, Kind::Plain))
        .fault(3 * SEC, Fault::Crash { node: 0, silent: true, restart: Some(20 * SEC) })
        .lossy()
        .lasting(60 * SEC)
        .expect(1, "destroy", 6)
        .expect(1, "abandon", 1)
        .expect(1, "stuck", 1)
}

fn embalm_and_discard() -> Plan {
    plan("embalm_and_discard", 2)
        .goal(0, 1, connect(&["n1"]))
        .goal(1, 0, objects(8, Kind::Kept))
        .fault(3 * SEC, Fault::Crash { node: 0, silent: true, restart: None })
        .lossy()
        .lasting(60 * SEC)
        .expect(1, "embalm", 8)
        .expect(1, "discard", 8)
        .expect_between(1, "revive", 0, 0)
}

fn embalm_fails() -> Plan {
    plan("embalm_fails", 2)
        .each(|_, node| node.embalm_fails = 60)
        .goal(0, 1, connect(&["n1"]))
        .goal(1, 0, objects(20, Kind::Kept))
        .fault(3 * SEC, Fault::Crash { node: 0, silent: true, restart: None })
        .lossy()
        .lasting(60 * SEC)
        .expect(1, "embalm", 20)
        .expect(1, "destroy", 3)
}

fn embalm_and_revive() -> Plan {
    plan("embalm_and_revive", 2)
        .each(|_, node| node.revives = 70)
        .goal(0, 1, connect(&["n1"]))
        .goal(1, 0, objects(12, Kind::Kept))
        .goal(1, 0, objects(12, Kind::Spare))
        .fault(3 * SEC, Fault::Crash { node: 0, silent: true, restart: Some(15 * SEC) })
        .lossy()
        .lasting(80 * SEC)
        .expect(1, "embalm", 24)
        .expect(1, "revived", 6)
}

/// At the deadline, a kind without discard is revived and destroyed (O4).
fn spare_is_revived_and_destroyed() -> Plan {
    plan("spare_is_revived_and_destroyed", 2)
        .goal(0, 1, connect(&["n1"]))
        .goal(1, 0, objects(8, Kind::Spare))
        .fault(3 * SEC, Fault::Crash { node: 0, silent: true, restart: None })
        .lossy()
        .lasting(60 * SEC)
        .expect(1, "revive", 8)
        .expect(1, "destroy", 8)
}
