//! F9: whether an object, and a queued byte, costs as much when there are many as when there are few.
//!
//! Each number is measured in fresh processes, for memory that was used once is not given back.

use super::Plan;
use crate::figure::{Figure, Goal, Name, median_of};
use crate::machine::Regime;
use crate::pair::{Bench, Kind, Pair, rate, stat};
use crate::report::Report;

/// Bytes of a message that is queued.
const MESSAGE_BYTES: u64 = 256;
/// So many first, for what the first ones cost others do not.
const WARM: u64 = 50;
/// Room for all that is queued, and events that nobody takes are few.
const OPTIONS: [&str; 2] = ["session_budget_bytes=536870912", "events_max=16"];

/// What one of something costs.
#[derive(Debug, Clone, Copy)]
struct Unit {
    /// How many there were.
    count: f64,
    /// To put it there, and to take it out where that is measured.
    in_ns: f64,
    out_ns: f64,
    client_bytes: f64,
    server_bytes: f64,
}

impl Unit {
    /// Of both sides.
    fn bytes(&self) -> f64 {
        self.client_bytes + self.server_bytes
    }
}

type Measure = fn(&Bench, u64) -> Result<Unit, String>;

/// Measures both.
pub(super) fn measure(bench: &Bench, plan: &Plan, report: &mut Report) -> Result<(), String> {
    let pair = |measure: Measure| -> Result<(Unit, Unit), String> {
        Ok((median_unit(bench, plan, measure, plan.few)?, median_unit(bench, plan, measure, plan.many)?))
    };
    let (few, many) = pair(objects)?;
    let heading =
        format!("growth of objects of a session: each of {} against each of {}", many.count, few.count);
    report.table(
        "growth_objects",
        &heading,
        &[
            figure(("object_attach_us", "time to attach, us"), few.in_ns / 1e3, many.in_ns / 1e3),
            figure(("object_keeper_bytes", "where it is kept, bytes"), few.client_bytes, many.client_bytes),
            figure(("object_owner_bytes", "at its owner, bytes"), few.server_bytes, many.server_bytes),
        ],
    );
    if many.count < plan.many as f64 {
        report.note(&format!("a session has at most {} objects, not {}", many.count, plan.many));
    }
    let (few, many) = pair(queued)?;
    let heading = format!("growth of queued bytes: each of {} against each of {}", many.count, few.count);
    report.table(
        "growth_queued",
        &heading,
        &[
            figure(("queue_ns_per_byte", "time to queue, ns"), few.in_ns, many.in_ns),
            figure(("deliver_ns_per_byte", "time to deliver later, ns"), few.out_ns, many.out_ns),
            figure(("queue_memory_bytes", "memory of both sides, bytes"), few.bytes(), many.bytes()),
        ],
    );
    Ok(())
}

fn figure((key, title): (&'static str, &'static str), few: f64, many: f64) -> Figure {
    let name = Name { id: "F9", key, title, against: "few" };
    Figure::once(name, Goal::ratio_at_most(1.2, None), Some(few), many)
}

fn median_unit(bench: &Bench, plan: &Plan, measure: Measure, count: u64) -> Result<Unit, String> {
    let units: Result<Vec<Unit>, String> = (0..plan.rounds.max(1)).map(|_| measure(bench, count)).collect();
    let units = units?;
    let median = |pick: fn(&Unit) -> f64| median_of(units.iter().map(pick));
    Ok(Unit {
        count: median(|unit| unit.count),
        in_ns: median(|unit| unit.in_ns),
        out_ns: median(|unit| unit.out_ns),
        client_bytes: median(|unit| unit.client_bytes),
        server_bytes: median(|unit| unit.server_bytes),
    })
}

fn resident(pair: &mut Pair) -> Result<(f64, f64), String> {
    Ok((stat(&mut pair.client)?.resident_bytes, stat(&mut pair.server)?.resident_bytes))
}

fn objects(bench: &Bench, count: u64) -> Result<Unit, String> {
    let mut pair = bench.pair_with(Kind::Session, Regime::OneCpu, &OPTIONS)?;
    rate(&mut pair.client, &format!("objects {WARM}"))?;
    let before = resident(&mut pair)?;
    let (made, ns) = rate(&mut pair.client, &format!("objects {count}"))?;
    let after = resident(&mut pair)?;
    Ok(Unit {
        count: made,
        in_ns: ns / made,
        out_ns: 0.0,
        client_bytes: (after.0 - before.0) / made,
        server_bytes: (after.1 - before.1) / made,
    })
}

fn queued(bench: &Bench, count: u64) -> Result<Unit, String> {
    let mut pair = bench.pair_with(Kind::Session, Regime::OneCpu, &OPTIONS)?;
    rate(&mut pair.client, &format!("queue {WARM} {MESSAGE_BYTES}"))?;
    rate(&mut pair.client, "deliver")?;
    let before = resident(&mut pair)?;
    let (sent, in_ns) = rate(&mut pair.client, &format!("queue {count} {MESSAGE_BYTES}"))?;
    let after = resident(&mut pair)?;
    let (_, out_ns) = rate(&mut pair.client, "deliver")?;
    let bytes = sent * MESSAGE_BYTES as f64;
    Ok(Unit {
        count: bytes,
        in_ns: in_ns / bytes,
        out_ns: out_ns / bytes,
        client_bytes: (after.0 - before.0) / bytes,
        server_bytes: (after.1 - before.1) / bytes,
    })
}
