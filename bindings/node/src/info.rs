//! What is known of things, as plain objects of JavaScript. Spans are in milliseconds.

use crate::error;
use crate::js::value::Value;
use clerver::{
    ChannelReport, CloseReport, Counters, Delivery, DrainReport, LossReport, NodeId, ObjectInfo, Outcome,
    PeerAddress, SessionInfo, TaskRecord, Undelivered,
};
use std::time::Duration;

pub(crate) fn peer(peer: NodeId) -> Value {
    Value::Record(vec![
        ("node", Value::Text(peer.to_string())),
        ("host", Value::Text(peer.host.to_string())),
        ("process", Value::Text(peer.process.to_string())),
    ])
}

pub(crate) fn session(info: &SessionInfo) -> Value {
    Value::Record(vec![
        ("sid", Value::Text(info.sid.to_string())),
        ("peer", peer(info.peer)),
        ("peerName", Value::text(&info.peer_name)),
        ("peerHostName", Value::text(&info.peer_host_name)),
        ("state", Value::text(info.state.name())),
        ("level", Value::count(u64::from(info.level))),
        ("ttl", Value::span(info.ttl)),
        ("beat", Value::span(info.beat)),
        ("links", Value::count(info.links as u64)),
        ("linksTotal", Value::count(info.links_total)),
        ("roundTrip", Value::maybe(info.round_trip, Value::span)),
        ("peerDrains", Value::Truth(info.peer_drains)),
        ("outstanding", Value::count(info.outstanding)),
        ("channels", Value::count(info.channels as u64)),
    ])
}

pub(crate) fn channel(report: &ChannelReport) -> Value {
    Value::Record(vec![
        ("channel", Value::count(report.channel.0)),
        ("written", Value::count(report.written)),
        ("sent", Value::count(report.sent)),
        ("held", Value::count(report.held)),
        ("received", Value::count(report.received)),
        ("taken", Value::count(report.taken)),
    ])
}

/// As `index.d.ts` has it.
pub(crate) fn outcome(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::NotRun => "notRun",
        other => other.name(),
    }
}

pub(crate) fn loss(report: &LossReport) -> Value {
    let call = |(call, outcome): &(clerver::ChannelId, Outcome)| {
        Value::Record(vec![("call", Value::count(call.0)), ("outcome", Value::text(self::outcome(*outcome)))])
    };
    Value::Record(vec![
        ("cause", error::value(&report.cause)),
        ("epoch", Value::count(report.epoch)),
        ("channels", Value::List(report.channels.iter().map(channel).collect())),
        ("calls", Value::List(report.calls.iter().map(call).collect())),
        ("objects", Value::List(report.objects.iter().map(|object| Value::count(object.0)).collect())),
    ])
}

pub(crate) fn addresses(list: &[PeerAddress]) -> Value {
    let one = |address: &PeerAddress| {
        Value::Record(vec![
            ("address", Value::text(&*address.address)),
            ("origin", Value::text(address.origin.name())),
            ("hasFailed", Value::Truth(address.has_failed)),
            ("isInUse", Value::Truth(address.is_in_use)),
        ])
    };
    Value::List(list.iter().map(one).collect())
}

pub(crate) fn object(info: ObjectInfo) -> Value {
    Value::Record(vec![
        ("object", Value::count(info.object.0)),
        ("kind", Value::Text(info.kind)),
        ("state", Value::text(info.state.name())),
        ("ttl", Value::maybe(info.ttl, Value::span)),
        ("inService", Value::count(u64::from(info.in_service))),
        ("data", Value::Data(info.data)),
    ])
}

pub(crate) fn task(task: &TaskRecord) -> Value {
    let at = |nanoseconds: u64| Value::span(Duration::from_nanos(nanoseconds));
    Value::Record(vec![
        ("call", Value::count(task.call.0)),
        ("service", Value::text(&*task.service)),
        ("started", at(task.started.0)),
        ("finished", Value::maybe(task.finished, |finished| at(finished.0))),
        ("replied", Value::Truth(task.replied)),
    ])
}

pub(crate) fn delivery(taken: Delivery) -> Value {
    Value::Record(vec![
        ("data", Value::Data(taken.data)),
        ("end", Value::count(taken.end)),
        ("redelivered", Value::Truth(taken.redelivered)),
        ("restartPoint", Value::Data(taken.restart_point)),
    ])
}

fn undelivered(list: &[Undelivered]) -> Value {
    let one = |left: &Undelivered| {
        Value::Record(vec![
            ("session", Value::count(left.session.0)),
            ("peer", Value::maybe(left.peer, peer)),
            ("channel", channel(&left.channel)),
        ])
    };
    Value::List(list.iter().map(one).collect())
}

fn texts(list: &[String]) -> Value {
    Value::List(list.iter().map(Value::text).collect())
}

pub(crate) fn drained(report: &DrainReport) -> Value {
    Value::Record(vec![
        ("undelivered", undelivered(&report.undelivered)),
        ("running", texts(&report.running)),
    ])
}

pub(crate) fn closed(report: &CloseReport) -> Value {
    Value::Record(vec![("undelivered", undelivered(&report.undelivered)), ("stuck", texts(&report.stuck))])
}

pub(crate) fn counters(counters: &Counters) -> Value {
    Value::Record(vec![
        ("sessions", Value::count(counters.sessions)),
        ("links", Value::count(counters.links)),
        ("refused", Value::count(counters.refused)),
        ("bytesSent", Value::count(counters.bytes_sent)),
        ("bytesReceived", Value::count(counters.bytes_received)),
        ("bytesRepeated", Value::count(counters.bytes_repeated)),
        ("bytesDuplicate", Value::count(counters.bytes_duplicate)),
        ("objects", Value::count(counters.objects)),
        ("embalmed", Value::count(counters.embalmed)),
        ("embalmedBytes", Value::count(counters.embalmed_bytes)),
        ("timers", Value::count(counters.timers)),
        ("buffered", Value::count(counters.buffered)),
    ])
}
