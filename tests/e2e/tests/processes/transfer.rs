//! Much data in both directions while connections break: byte-exact, and never a deadlock.

use crate::support::Pair;
use std::time::Duration;

const MIB: u64 = 1 << 20;
const TIME: Duration = Duration::from_secs(60);
/// The smallest budget that four channels and messages of 16 MiB allow.
const SMALLEST: &str =
    "beat_ms=200 ttl_ms=8000 message_bytes_max=16777216 channels_max=8 session_budget_bytes=16842752";

/// 8 MiB in each direction at once, on one channel.
fn both_ways(pair: &Pair, kind: &str, piece: u64) {
    pair.channel("c", kind);
    let bytes = 8 * MIB;
    let up = pair.client.begin(&format!("write c 11 {bytes} {piece} -"));
    let down = pair.server.begin(&format!("write c 12 {bytes} {piece} -"));
    let at_server = pair.server.begin(&format!("check c 11 {bytes} 30000"));
    let at_client = pair.client.begin(&format!("check c 12 {bytes} 30000"));
    for done in [up, down, at_server, at_client] {
        assert_eq!(done.ok_within(TIME), bytes.to_string());
    }
    for peer in [&pair.client, &pair.server] {
        peer.ok("end c");
    }
    pair.expect_live();
}

#[test]
fn bytes_both_ways_with_a_reset_each_256_kib() {
    let pair = Pair::connected("beat_ms=200 ttl_ms=8000");
    pair.proxy.reset_after(Some(MIB / 4));
    both_ways(&pair, "bytes", 100_000);
    assert!(pair.proxy.counters().resets >= 64, "{:?}", pair.proxy.counters());
}

#[test]
fn messages_both_ways_with_a_reset_each_256_kib() {
    let pair = Pair::connected("beat_ms=200 ttl_ms=8000");
    pair.proxy.reset_after(Some(MIB / 4));
    both_ways(&pair, "messages", 65_536);
}

#[test]
fn bytes_both_ways_with_the_smallest_budget() {
    let pair = Pair::connected(SMALLEST);
    pair.proxy.reset_after(Some(MIB / 4));
    both_ways(&pair, "bytes", 100_000);
}

/// Each message takes the whole budget, so they have to take turns.
#[test]
fn four_messages_of_16_mib_at_once_with_the_smallest_budget() {
    let pair = Pair::connected(SMALLEST);
    let names = ["a", "b", "c", "d"];
    for name in names {
        pair.channel(name, "messages");
    }
    pair.proxy.reset_after(Some(2 * MIB));
    let sends = names.map(|name| pair.client.begin(&format!("send-big {name} 16777216 -")));
    let checks = names.map(|name| pair.server.begin(&format!("check {name} 1 16777216 -")));
    for check in checks {
        assert_eq!(check.ok_within(TIME), "16777216");
    }
    for send in sends {
        send.ok_within(TIME);
    }
    assert!(pair.proxy.counters().resets >= 32, "{:?}", pair.proxy.counters());
    pair.expect_live();
}

#[test]
fn bulk_links_carry_and_break_too() {
    let pair = Pair::new("beat_ms=200 ttl_ms=8000");
    pair.client.ok(&format!("connect-with n s 20000 bulk=2 {}", pair.address()));
    pair.server.ok("accept n s 20000");
    pair.client.see_where(0, TIME, "a bulk link", |line| {
        line.starts_with("! s attached") && line.contains(" Bulk ")
    });
    pair.proxy.reset_after(Some(MIB / 2));
    both_ways(&pair, "bulk", 100_000);
}
