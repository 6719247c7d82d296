//! Connections that are cut, left half-open, or hard to make: the session goes on and nothing is lost or doubled.

use crate::support::{LONG, Pair, Peer, STEADY};
use clerver_proxy::{Proxy, Stopwatch};
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

#[test]
fn a_reset_is_not_noticed() {
    let pair = Pair::connected(STEADY);
    pair.channel("c", "messages");
    for number in 0..20 {
        pair.client.ok(&format!("send c message-{number} 10000"));
        pair.proxy.cut_all();
        assert_eq!(pair.server.ok("recv c 10000"), format!("message-{number}"));
        pair.server.ok(&format!("send c reply-{number} 10000"));
        assert_eq!(pair.client.ok("recv c 10000"), format!("reply-{number}"));
    }
    pair.expect_live();
}

/// Ten sessions with a hundred attaches each, at the same time: each redial waits for up to 100 ms, so that a thousand
/// of one session would take a minute.
#[test]
fn a_thousand_attaches_in_a_row() {
    let pair = Pair::new(STEADY);
    let watch = Stopwatch::start();
    std::thread::scope(|scope| {
        for node in 0..10 {
            let pair = &pair;
            scope.spawn(move || a_hundred_attaches(pair, node));
        }
    });
    assert!(watch.elapsed() < Duration::from_secs(20), "1000 attaches took {:?}", watch.elapsed());
    let counters = pair.server.ok("counters n");
    assert!(counters.contains("sessions=10 "), "nothing is left of dead links: {counters}");
}

fn a_hundred_attaches(pair: &Pair, node: usize) {
    let proxy = Proxy::start(pair.direct.parse().unwrap()).unwrap();
    let address = format!("clv://{}@{}", pair.server.home.host_id(), proxy.address());
    pair.client.ok(&format!("open n{node} {STEADY}"));
    pair.client.ok(&format!("connect n{node} s{node} {address} 20000"));
    for number in 0..100 {
        let mark = pair.client.mark();
        proxy.cut_all();
        pair.client.see_after(mark, &format!("! s{node} attached"));
        // It works, so it counts as a good one, and the next redial comes soon.
        assert_eq!(pair.client.ok(&format!("call s{node} echo {number} 10000")), number.to_string());
    }
    let info = pair.client.ok(&format!("info s{node}"));
    assert!(info.contains("state=live links=1 "), "{info}");
    assert_eq!(pair.client.said(&format!("! s{node} lost")), [""; 0]);
}

/// The session is attached anew before anything was said on it.
#[test]
fn attach_before_the_first_message() {
    let pair = Pair::connected(STEADY);
    for _ in 0..3 {
        let (client, server) = (pair.client.mark(), pair.server.mark());
        pair.proxy.cut_all();
        pair.client.see_after(client, "! s attached");
        pair.server.see_after(server, "! s attached");
    }
    pair.channel("c", "messages");
    pair.client.ok("send c first 10000");
    assert_eq!(pair.server.ok("recv c 10000"), "first");
    pair.expect_live();
}

#[test]
fn a_half_open_connection_is_found_out_and_replaced() {
    let pair = Pair::connected(STEADY);
    pair.channel("c", "messages");
    pair.echo("before");
    let mark = pair.client.mark();
    assert!(pair.proxy.half_open_newest());
    for number in 0..50 {
        pair.client.ok(&format!("send c {number} 10000"));
    }
    pair.client.see_after(mark, "! s attached");
    for number in 0..50 {
        assert_eq!(pair.server.ok("recv c 10000"), number.to_string());
    }
    pair.echo("after");
    pair.expect_live();
}

/// What waits on a half-open connection must also survive the quick death of the one that replaces it.
#[test]
fn a_half_open_connection_then_short_lived_ones() {
    let pair = Pair::connected(STEADY);
    pair.channel("c", "messages");
    pair.echo("before");
    let before = pair.proxy.counters().connections;
    pair.proxy.half_open_newest();
    // Its handshake is about 3 KiB: the next connection dies with a part of what it is given of this.
    pair.proxy.reset_after(Some(6 * 1024));
    pair.client.ok("write c 3 20000 1000 10000");
    assert!(pair.proxy.wait_until(|counters| counters.connections >= before + 2, LONG));
    pair.proxy.reset_after(None);
    let watch = Stopwatch::start();
    assert_eq!(pair.server.ok("check c 3 20000 20000"), "20000");
    assert!(watch.elapsed() < Duration::from_secs(2), "it took {:?}, a third of a TTL", watch.elapsed());
    pair.expect_live();
}

/// Connections that each live for less than a beat, for longer than a TTL, are still a sign of life.
#[test]
fn connections_shorter_than_a_beat_keep_the_session() {
    let pair = Pair::connected("beat_ms=500 ttl_ms=2000");
    pair.channel("c", "messages");
    let watch = Stopwatch::start();
    let mut number = 0;
    while watch.elapsed() < Duration::from_secs(5) {
        let mark = pair.client.mark();
        pair.proxy.cut_all();
        pair.client.see_after(mark, "! s attached");
        pair.client.ok(&format!("send c {number} 10000"));
        assert_eq!(pair.server.ok("recv c 10000"), number.to_string());
        number += 1;
    }
    pair.expect_live();
}

#[test]
fn both_dial_at_once_and_share_one_session() {
    let pair = Pair::new(STEADY);
    let (left, right) = (&pair.server, &pair.client);
    for round in 0..10 {
        let node = format!("n{round}");
        for peer in [left, right] {
            peer.ok(&format!("open {node} {STEADY}"));
        }
        let at_left = left.ok(&format!("listen {node} 127.0.0.1:0"));
        let at_right = right.ok(&format!("listen {node} 127.0.0.1:0"));
        let one =
            left.begin(&format!("connect {node} s{round} clv://{}@{at_right} 20000", right.home.host_id()));
        let two =
            right.begin(&format!("connect {node} s{round} clv://{}@{at_left} 20000", left.home.host_id()));
        one.ok();
        two.ok();
        let sid = |peer: &Peer| {
            let info = peer.ok(&format!("info s{round}"));
            info.split_whitespace().find(|pair| pair.starts_with("sid=")).unwrap().to_owned()
        };
        assert_eq!(sid(left), sid(right));
        left.ok(&format!("channel s{round} c{round} c messages 10000"));
        right.ok(&format!("take s{round} c{round} 10000"));
        left.ok(&format!("send c{round} hello 10000"));
        assert_eq!(right.ok(&format!("recv c{round} 10000")), "hello");
        for peer in [left, right] {
            assert!(peer.ok(&format!("counters {node}")).contains("sessions=1 "));
            peer.begin(&format!("close-node {node} 2000"));
        }
    }
}

/// The first of two addresses is dead; the second is found within `wait`, and at once for each further link.
fn a_dead_address_first(dead: SocketAddr, wait: Duration) {
    let pair = Pair::new(STEADY);
    let watch = Stopwatch::start();
    pair.client.ok(&format!("connect-with n s 20000 - {dead} {}", pair.address()));
    pair.server.ok("accept n s 20000");
    pair.echo("there");
    assert!(watch.elapsed() < wait, "{:?}", watch.elapsed());
    for _ in 0..3 {
        let again = Stopwatch::start();
        pair.proxy.cut_all();
        pair.echo("again");
        assert!(again.elapsed() < Duration::from_secs(2), "{:?}", again.elapsed());
    }
    pair.expect_live();
}

#[test]
fn an_address_that_refuses_first() {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    a_dead_address_first(closed, Duration::from_secs(2));
}

/// It accepts and never says a word. A dial has 10 s.
#[test]
fn an_address_that_is_mute_first() {
    let mute = TcpListener::bind("127.0.0.1:0").unwrap();
    a_dead_address_first(mute.local_addr().unwrap(), Duration::from_secs(13));
}

/// The server is away for a while; no time is long as long as it is less than the lease.
#[test]
fn refused_connections_are_tried_again() {
    let pair = Pair::connected(STEADY);
    pair.proxy.refuse(true);
    pair.proxy.cut_all();
    let before = pair.proxy.counters().refused;
    assert!(pair.proxy.wait_until(|counters| counters.refused >= before + 3, LONG));
    pair.proxy.refuse(false);
    pair.echo("back");
    pair.expect_live();
}
