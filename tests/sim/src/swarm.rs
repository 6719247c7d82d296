//! The swarm: a seed draws everything, nodes, clocks, limits, network, work and faults, into one plan.
//!
//! About a third of the plans are calm: their faults are of the kind that no session may be lost by, and the checker
//! is told so.

use crate::app::STUCK;
use crate::clock::{Clock, PPM_MAX};
use crate::plan::{
    Connect, Fault, Forgery, Goal, Kind, MS, Messages, NetPlan, NodePlan, Objects, Plan, Route, SEC, Service,
    Span, What,
};
use crate::recipe;
use crate::rng::Rng;
use clerver_proto::limits::SessionLimits;
use std::time::Duration;

/// Bytes that one goal moves at most.
const GOAL_BYTES: u64 = 300_000;
/// Beats of the first phase at most, so that a seed stays cheap.
const BEATS_MAX: u64 = 250;

/// What the parts of a plan must know of each other.
#[derive(Debug, Clone, Copy)]
struct Frame {
    beat: u64,
    ttl: u64,
    time: u64,
    calm: bool,
    /// Bytes that a goal may move in this network.
    bytes: u64,
}

/// The plan of a seed.
pub(crate) fn plan(seed: u64) -> Plan {
    let rng = &mut Rng::new(seed ^ 0x7377_6172_6d21_7377);
    let count = rng.pick(&[2, 2, 2, 2, 3, 3, 4]);
    let mut plan = recipe::plan("swarm", count);
    let calm = rng.percent(35);
    plan.net = draw_net(rng);
    let slowest = slowest_round_trip(&plan.net);
    let beat = rng.magnitude(50 * MS, 3 * SEC).max(if calm { slowest / 2 } else { slowest / 8 });
    let beats = if calm { rng.range(14, 30) } else { rng.magnitude(4, 30) };
    let ttl = (beat * beats).max(8 * slowest).min(100 * SEC).max(4 * beat);
    let time = (ttl * rng.range(1, 5)).max(2 * SEC).min(BEATS_MAX * beat);
    let per_goal = plan.net.rate.map_or(GOAL_BYTES, |rate| GOAL_BYTES.min(rate * 15));
    let frame = Frame { beat, ttl, time, calm, bytes: per_goal };
    plan.nodes = draw_nodes(rng, count, frame);
    plan.fault_time = time;
    plan.lossless = calm;
    draw_addresses(rng, &mut plan);
    draw_goals(rng, &mut plan, frame);
    draw_faults(rng, &mut plan, frame);
    plan
}

fn draw_net(rng: &mut Rng) -> NetPlan {
    let delay = rng.magnitude(MS / 10, 200 * MS);
    let rate = rng.percent(35).then(|| rng.magnitude(1000, 20_000_000));
    NetPlan {
        delay: Span(delay / 4, delay),
        jitter: rng.magnitude(1, delay),
        rate,
        piece: rng.magnitude(16, 64 << 10) as usize,
        buffer: rng.magnitude(4 << 10, 64 << 10) as usize,
        depth: 2048,
        dial: Span(MS, MS + delay),
        dial_timeout: rng.range(SEC, 8 * SEC),
        local: true,
    }
}

/// From a write to the answer, through full buffers at the drawn rate, and with a dial before.
fn slowest_round_trip(net: &NetPlan) -> u64 {
    let drain = net.rate.map_or(0, |rate| 8192 * SEC / rate);
    4 * (net.delay.1 + net.jitter) + 2 * drain + net.dial.1
}

fn draw_nodes(rng: &mut Rng, count: usize, frame: Frame) -> Vec<NodePlan> {
    let first = rng.below(20) as u8;
    let shared = rng.percent(15);
    let drifts = rng.percent(50);
    let up = rng.percent(50);
    let limits = draw_limits(rng);
    let grace = Duration::from_nanos(rng.magnitude(200 * MS, 8 * SEC));
    let ttl_max = frame.ttl * rng.range(1, 3);
    let mut nodes = Vec::new();
    for index in 0..count {
        let mut node = recipe::node(index);
        let place = if up { index } else { count - index } as u8;
        node.host = if shared && index < 2 { first } else { first + 1 + place };
        let start = rng.pick(&[0, 1_000_000_000_000, u64::MAX - 1_000_000_000_000_000]);
        let ppm = if drifts { rng.range(0, 2 * PPM_MAX as u64) as i64 - PPM_MAX } else { 0 };
        node.clock = Clock { start, ppm };
        node.options.limits = if rng.percent(80) { limits } else { draw_limits(rng) };
        node.options.beat = Duration::from_nanos(frame.beat);
        node.options.ttl = Duration::from_nanos(frame.ttl);
        node.options.ttl_max = Duration::from_nanos(ttl_max);
        node.options.grace = grace;
        if rng.percent(10) && !frame.calm {
            node.options.beat = (node.options.beat / 2).max(Duration::from_millis(50));
        }
        node.think = Span(0, rng.magnitude(1, 20 * MS));
        node.handler = Span(0, rng.magnitude(MS, 2 * SEC));
        node.destructor = Span(0, rng.magnitude(MS, SEC));
        node.embalm_fails = rng.pick(&[0, 0, 30]);
        node.revives = rng.pick(&[0, 50, 100]);
        if rng.percent(15) {
            node.options.volatile = true;
        }
        let embalming = &mut node.options.embalming;
        embalming.span = Duration::from_nanos(rng.pick(&[0, 2, 5, 20]) * frame.ttl);
        embalming.sessions_max = rng.pick(&[1, 3, 1000]);
        embalming.bytes_max = rng.pick(&[1000, 1 << 20, 1 << 28]);
        node.read_pause = if rng.percent(10) { rng.magnitude(MS, 50 * MS) } else { 0 };
        nodes.push(node);
    }
    nodes
}

/// Some nodes have more than one address, of which they announce some.
fn draw_addresses(rng: &mut Rng, plan: &mut Plan) {
    for node in 0..plan.nodes.len() {
        for letter in ["a", "b"] {
            if rng.percent(25) {
                let address = format!("n{node}{letter}");
                plan.routes.push((address.clone(), Route::Node(node)));
                if rng.percent(75) {
                    plan.nodes[node].addresses.push(address);
                }
            }
        }
        if rng.percent(5) {
            plan.nodes[node].addresses.push(rng.pick(&["dead", "hole"]).into());
        }
        plan.nodes[node].options.roams = rng.percent(80);
    }
}

/// All addresses that lead to a node.
fn addresses_of(plan: &Plan, node: usize) -> Vec<String> {
    let more = plan.routes.iter().filter(|(_, route)| *route == Route::Node(node));
    std::iter::once(format!("n{node}")).chain(more.map(|(address, _)| address.clone())).collect()
}

/// Moves, asked for by either end, and announcements.
fn draw_move(rng: &mut Rng, plan: &mut Plan, frame: Frame) {
    let (from, to) = draw_pair(rng, plan);
    let named = addresses_of(plan, rng.pick(&[from, to]));
    let address = rng.percent(50).then(|| rng.pick(&named));
    let start = rng.below(frame.time);
    let what = match rng.below(4) {
        0 => What::Announce { addresses: addresses_of(plan, from).split_off(rng.below(2) as usize) },
        kind => What::Move { address, ask_peer: kind == 1 },
    };
    plan.goals.push(Goal { from, to, start, what });
}

fn draw_limits(rng: &mut Rng) -> SessionLimits {
    let limits = SessionLimits {
        message_bytes_max: rng.magnitude(64, 256 << 10),
        budget_bytes: 0,
        channels_max: rng.magnitude(2, 64),
    };
    let spare = if rng.percent(40) { 0 } else { rng.magnitude(1, 2 << 20) };
    SessionLimits { budget_bytes: limits.budget_bytes_min() + spare, ..limits }
}

fn draw_goals(rng: &mut Rng, plan: &mut Plan, frame: Frame) {
    let count = plan.nodes.len();
    for index in 1..count {
        let other = rng.below(index as u64) as usize;
        let (from, to) = if rng.percent(50) { (index, other) } else { (other, index) };
        let start = if rng.percent(30) { rng.below(frame.time / 4) } else { 0 };
        add_connect(rng, plan, frame, (from, to), start);
        if rng.percent(30) {
            let start = if rng.percent(60) { start } else { rng.below(frame.time / 2) };
            add_connect(rng, plan, frame, (to, from), start);
        }
        for _ in 0..rng.range(1, 4) {
            let (from, to) = if rng.percent(50) { (from, to) } else { (to, from) };
            let what = draw_work(rng, plan, frame, (from, to));
            let start = if rng.percent(50) { 0 } else { rng.below(frame.time / 2) };
            plan.goals.push(Goal { from, to, start, what });
        }
        if rng.percent(6) {
            let timeout = frame.ttl * 2 + 10 * SEC;
            let start = rng.range(frame.time / 3, frame.time);
            plan.goals.push(Goal { from, to, start, what: What::Close { timeout } });
            plan.lossless = false;
        }
    }
    for _ in 0..rng.below(3) {
        draw_move(rng, plan, frame);
    }
    if rng.percent(4) {
        let from = rng.below(count as u64) as usize;
        let start = rng.range(frame.time / 3, frame.time);
        plan.goals.push(Goal { from, to: from, start, what: What::Drain });
    }
}

fn add_connect(rng: &mut Rng, plan: &mut Plan, frame: Frame, (from, to): (usize, usize), start: u64) {
    let mut addresses = addresses_of(plan, to);
    addresses.truncate(rng.range(1, 3) as usize);
    if rng.percent(12) && !frame.calm {
        let wrong = rng.pick(&["dead", "hole"]);
        addresses.insert(rng.below(2) as usize, wrong.into());
    }
    let bulk_links = if rng.percent(25) { rng.range(1, 3) as u8 } else { 0 };
    let (any_node, mut connect) = (rng.percent(10), Connect { addresses, bulk_links, ..Connect::default() });
    (connect.any_node, connect.again) = (any_node, true);
    connect.standby_links = if rng.percent(20) { rng.range(1, 2) as u8 } else { 0 };
    connect.race = rng.percent(15);
    let what = What::Connect(connect);
    plan.goals.push(Goal { from, to, start, what });
}

fn draw_work(rng: &mut Rng, plan: &Plan, frame: Frame, (from, to): (usize, usize)) -> What {
    let limit = |slot: usize| plan.nodes[slot].options.limits.message_bytes_max;
    let largest = limit(from).min(limit(to));
    match rng.below(10) {
        0..3 => {
            let size = rng.magnitude(1, largest).min(frame.bytes);
            let most = (frame.bytes / size).clamp(1, 400);
            let pace = if rng.percent(40) { rng.below(frame.time / (4 * most) + 1) } else { 0 };
            What::Messages(Messages {
                count: rng.range(1, most) as u32,
                back: rng.below(most) as u32,
                size: Span(0, size),
                bulk: rng.percent(25),
                pace,
                park: if rng.percent(10) { rng.below(frame.time) } else { 0 },
                bound: None,
            })
        }
        3 | 4 => What::Stream {
            bytes: rng.magnitude(1, frame.bytes),
            back: rng.below(frame.bytes),
            bulk: rng.percent(40),
            piece: rng.magnitude(16, 64 << 10).max(frame.bytes / 500),
        },
        5 | 6 => draw_calls(rng, frame, largest),
        7 | 8 => draw_objects(rng, frame),
        _ if largest * 4 < frame.bytes && rng.percent(50) => What::Oversize,
        _ if largest >= 4096 => {
            What::Broken { count: (frame.bytes / 4096).clamp(2, 300) as u32, by_writer: rng.percent(50) }
        }
        _ => draw_calls(rng, frame, largest),
    }
}

fn draw_calls(rng: &mut Rng, frame: Frame, largest: u64) -> What {
    let service = match rng.below(12) {
        0..5 => Service::Echo,
        5..8 => Service::Many,
        8 => Service::Fails,
        9 => Service::Above,
        10 => Service::Missing,
        _ => Service::Stuck,
    };
    let size = rng.magnitude(1, largest.min(20_000)).min(frame.bytes / 4 + 1);
    let count = if service == Service::Stuck { 2 } else { rng.range(1, 30).min(frame.bytes / size + 1) };
    let deadline = rng.percent(25).then(|| rng.magnitude(MS, STUCK.1));
    What::Calls {
        count: count as u32,
        together: rng.range(1, 5) as u32,
        service,
        size: Span(0, size),
        deadline,
        cancel: rng.percent(20),
    }
}

fn draw_objects(rng: &mut Rng, frame: Frame) -> What {
    What::Objects(Objects {
        count: rng.magnitude(1, 40) as u32,
        kind: rng.pick(&Kind::ALL),
        ttl: rng.percent(25).then(|| rng.magnitude(4 * frame.beat, 2 * frame.ttl)),
        touch: rng.percent(60),
        update: rng.pick(&[0, 50]),
        release: rng.pick(&[0, 0, 40]),
        end: rng.pick(&[0, 0, 40]),
        enter: rng.pick(&[0, 30, 100]),
        stay: rng.magnitude(MS, frame.ttl),
    })
}

fn draw_faults(rng: &mut Rng, plan: &mut Plan, frame: Frame) {
    if rng.percent(25) {
        let (a, b) = draw_pair(rng, plan);
        // An attach with its table and a full buffer behind it must fit, or no link ever lives.
        let least = if frame.calm { 100_000 } else { 8192 };
        let bytes = rng.magnitude(least, 400_000).max(plan.net.rate.unwrap_or(0) * 2 * frame.beat / SEC);
        plan.faults.push((0, Fault::CutEvery { a, b, bytes }));
    }
    if rng.percent(15) {
        let (a, b) = draw_pair(rng, plan);
        let by = rng.below(if frame.calm { frame.beat } else { 8 * SEC });
        plan.faults.push((0, Fault::Lag { a, b, by, links: rng.range(1, 2) as u32 }));
    }
    for _ in 0..rng.below(9) {
        let at = rng.below(frame.time);
        let fault =
            if frame.calm { draw_calm_fault(rng, plan, frame) } else { draw_rough_fault(rng, plan, frame) };
        plan.faults.push((at, fault));
    }
}

/// Two different places.
fn draw_pair(rng: &mut Rng, plan: &Plan) -> (usize, usize) {
    let count = plan.nodes.len() as u64;
    let a = rng.below(count);
    let b = (a + 1 + rng.below(count - 1)) % count;
    (a as usize, b as usize)
}

/// Faults that no session may be lost by.
fn draw_calm_fault(rng: &mut Rng, plan: &Plan, frame: Frame) -> Fault {
    let (a, b) = draw_pair(rng, plan);
    let span = rng.below(frame.beat * 2);
    let address = rng.pick(&addresses_of(plan, b));
    match rng.below(16) {
        11 => Fault::CutAt { address },
        12 => Fault::HoleAt { address, span },
        13 => Fault::CrowdAt { address, by: rng.below(frame.beat / 4), span: rng.below(frame.time) },
        14 => Fault::Doubt { node: a },
        15 => Fault::NewNetwork { node: a },
        0..3 => Fault::Cut { a, b },
        3 | 4 => Fault::CutOne { a, b },
        5 => Fault::Stale { node: a },
        6 => Fault::Replay { a, b },
        7 => Fault::Garbage { node: a },
        8 => Fault::Stop { node: a, span },
        9 => Fault::StopReading { node: a, span: rng.below(frame.time) },
        _ => Fault::Hole { a, b, span },
    }
}

fn draw_rough_fault(rng: &mut Rng, plan: &Plan, frame: Frame) -> Fault {
    let (a, b) = draw_pair(rng, plan);
    let span = rng.magnitude(frame.ttl / 20, 3 * frame.ttl);
    let address = rng.pick(&addresses_of(plan, b));
    match rng.below(37) {
        30 => Fault::CutAt { address },
        31 | 32 => Fault::HoleAt { address, span },
        33 => Fault::CrowdAt { address, by: rng.below(frame.ttl / 4), span: rng.below(frame.time) },
        34 => Fault::Doubt { node: a },
        35 => Fault::NewNetwork { node: a },
        36 => {
            // A new connect, or one that takes any node, would be content with another one for good.
            let takes_any = |goal: &Goal| matches!(&goal.what, What::Connect(connect) if connect.any_node);
            let is_given = |goal: &Goal| match &goal.what {
                What::Connect(connect) => connect.addresses.contains(&address),
                _ => false,
            };
            let must_lead_there = plan.goals.iter().any(|goal| takes_any(goal) || is_given(goal));
            let nodes = if must_lead_there { [b, b] } else { [a, b] }.map(Route::Node);
            let to = rng.pick(&[Route::Nothing, Route::BlackHole, nodes[0], nodes[1]]);
            Fault::Reroute { address, to }
        }
        0..3 => Fault::Cut { a, b },
        3 => Fault::CutOne { a, b },
        4..7 => Fault::HalfOpen { a, b },
        7..10 => Fault::Hole { a, b, span },
        10 | 11 => Fault::Partition { a, b, span },
        12 => Fault::Slow { a, b, rate: rng.magnitude(1000, 100_000), span },
        13 => Fault::Lag { a, b, by: rng.below(2 * frame.ttl), links: rng.range(1, 3) as u32 },
        14..17 => Fault::Stop { node: a, span },
        17..20 => {
            let restart = rng.percent(85).then(|| rng.below(frame.ttl * 2));
            Fault::Crash { node: a, silent: rng.percent(40), restart }
        }
        20 => Fault::Usurp { node: a, span },
        // Two named scenarios are all about clones; here they are rare, because what the ledger may ask of an
        // application that lives twice is little.
        21 if rng.percent(25) => Fault::Clone { node: a, span: rng.below(frame.ttl) },
        21 => Fault::Cut { a, b },
        22 => Fault::Jump { node: a, by: rng.below(2 * frame.ttl) },
        23 => Fault::StopReading { node: a, span },
        24 => Fault::Stale { node: a },
        25 => Fault::Replay { a, b },
        26 => Fault::Garbage { node: a },
        27 => Fault::Forge { a, b, how: rng.pick(&[Forgery::Proof, Forgery::Refuse]), links: 1 },
        28 => Fault::Block { node: a, peer: b, on: true },
        _ => Fault::Cut { a, b },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_always_gives_the_same_plan_and_every_plan_can_be_opened() {
        for seed in 0..300 {
            let plan = plan(seed);
            assert_eq!(format!("{plan:?}"), format!("{:?}", super::plan(seed)));
            for node in &plan.nodes {
                assert!(node.options.check().is_ok(), "{seed}: {:?}", node.options.check());
            }
        }
    }
}
