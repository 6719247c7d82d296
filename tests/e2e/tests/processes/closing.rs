//! Ends in good order: last bytes, handlers that hang, bounded time.

use crate::support::{LONG, Pair, STEADY};
use clerver_proto::error::Code;
use clerver_proxy::Stopwatch;
use std::time::Duration;

/// The sender closes right after its last byte, connections break meanwhile, and the reader begins after the close.
#[test]
fn the_final_bytes_arrive_before_the_close() {
    let pair = Pair::connected(STEADY);
    pair.channel("c", "messages");
    for number in 0..10 {
        pair.client.ok(&format!("send c {number} 10000"));
    }
    pair.proxy.cut_all();
    pair.client.ok("send c last 10000");
    pair.client.ok("end c");
    pair.client.begin("close s 20000").ok_within(LONG);
    pair.server.see("! s closed CLOSED");
    assert_eq!(pair.client.ok("state s"), "closed");
    pair.client.kill();
    // What came stays readable after the session is over and its owner is gone.
    for number in 0..10 {
        assert_eq!(pair.server.ok("recv c 1000"), number.to_string());
    }
    assert_eq!(pair.server.ok("recv c 1000"), "last");
    pair.server.err("recv c 1000", Code::End);
}

/// A close waits for the reader, however often the connection breaks.
#[test]
fn bytes_then_end_then_close_node_at_once() {
    let pair = Pair::connected(STEADY);
    pair.proxy.reset_after(Some(300 * 1024));
    pair.channel("c", "bytes");
    let checking = pair.server.begin("check c 6 0 20000");
    pair.client.ok("write c 6 1000000 50000 20000");
    pair.client.ok("end c");
    let report = pair.client.begin("close-node n 10000").ok();
    assert_eq!(report, "undelivered=0 stuck=");
    pair.client.kill();
    assert_eq!(checking.ok(), "1000000");
    pair.server.see("! s closed CLOSED");
    assert_eq!(pair.server.ok("state s"), "closed");
}

#[test]
fn a_stuck_handler_is_named_and_does_not_hold_up_the_close() {
    let pair = Pair::connected(STEADY);
    pair.server.ok("serve n tarpit wait:never");
    pair.client.ok("call-start s call tarpit x 60000");
    pair.server.see("! handler tarpit began");
    let watch = Stopwatch::start();
    let report = pair.server.ok("close-node n 1000");
    let took = watch.elapsed();
    assert!(report.contains("service \"tarpit\""), "{report}");
    assert!(took < Duration::from_secs(4), "close(1 s) took {took:?}");
    assert!(took >= Duration::from_millis(900), "it gave the handler its time: {took:?}");
    pair.server.err("connect n s 127.0.0.1:9 1000", Code::Closed);
    // The other side hears of it, one way or the other.
    pair.client.ok("wait s closed,lost 20000");
}

#[test]
fn an_object_in_use_is_not_freed_by_a_close() {
    let pair = Pair::connected(STEADY);
    let object = pair.client.ok("call s keep treasure 10000");
    let using = pair.server.begin(&format!("enter s {object} never"));
    pair.server.see("! entered treasure");
    let watch = Stopwatch::start();
    pair.server.ok("close-node n 1000");
    assert!(watch.elapsed() < Duration::from_secs(4), "{:?}", watch.elapsed());
    assert!(!using.is_answered());
    assert_eq!(pair.server.said("! destroyed"), [""; 0], "somebody is still using it");
    pair.server.ok("gate never");
    using.ok();
}

#[test]
fn a_drain_waits_for_running_calls_and_takes_no_new_ones() {
    let pair = Pair::connected(STEADY);
    pair.server.ok("serve n slow wait:door");
    pair.client.ok("call-start s call slow x 60000");
    pair.server.see("! handler slow began");
    let draining = pair.server.begin("drain n 20000");
    pair.client.see("! s other PeerDrains");
    let refusal = pair.client.ask("call s echo late 5000").unwrap_err();
    assert!(refusal.is(Code::Draining) || refusal.is(Code::NotRun), "{refusal:?}");
    assert!(!draining.is_answered());
    pair.server.ok("gate door");
    assert_eq!(pair.client.ok("call-take call 10000"), "part waited");
    assert_eq!(draining.ok(), "undelivered=0 running=");
}
