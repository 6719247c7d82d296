//! Time: black holes, readers that stop, processes that stand still. The owner always knows first.

use crate::support::{LONG, Pair, SWIFT};
use clerver_proto::error::Code;
use clerver_proxy::{Direction, Stopwatch};
use std::time::Duration;

/// When a line that starts so was said, on the clock of its peer.
fn when(peer: &crate::support::Peer, start: &str) -> Duration {
    peer.see_where(0, LONG, start, |line| line.starts_with(start)).0
}

fn one_way_black_hole(direction: Direction) {
    let pair = Pair::connected(SWIFT);
    pair.client.ok("call s keep treasure 10000");
    pair.client.see("! s object-attached");
    // The two clocks started at different moments: both are read once, now.
    let (client_zero, server_zero) = (clock_of(&pair.client), clock_of(&pair.server));
    pair.proxy.stall(direction, true);
    let lost = when(&pair.client, "! s lost") - client_zero;
    let destroyed = when(&pair.server, "! destroyed thing treasure") - server_zero;
    // A holder that learned it of the owner cannot have known first, and did so within less than the clocks differ.
    let told = "the peer does not have it any more";
    let was_told = pair.server.see("! s lost").contains(&told.replace(' ', "%s"));
    assert!(was_told || lost < destroyed, "the owner knew at {lost:?}, the holder swept at {destroyed:?}");
    // The owner goes on beating until its lease ends, after 0.8 TTL; then the hold lasts for a whole one.
    assert!(destroyed < Duration::from_millis(1600 + 2000 + 1000), "{destroyed:?}");
    assert_eq!(pair.server.said("! destroyed").len(), 1);
    // Its own lease told it, or the other side's word that came just before.
    let refusal = pair.client.err("call s echo x 1000", Code::Lost);
    let causes = ["no sign of life came back", told];
    assert!(causes.iter().any(|cause| refusal.message.contains(cause)), "{refusal:?}");
    // The next session is as good as the first.
    pair.proxy.stall(direction, false);
    pair.client.ok(&format!("connect n s2 {} 20000", pair.address()));
    assert_eq!(pair.client.ok("call s2 echo again 20000"), "again");
}

/// Reading on a peer's own clock what time it is: a command and its answer.
fn clock_of(peer: &crate::support::Peer) -> Duration {
    let mark = peer.mark();
    peer.ok("id n");
    peer.see_where(mark, LONG, "an answer", |line| line.starts_with("= ")).0
}

#[test]
fn a_black_hole_towards_the_holder() {
    one_way_black_hole(Direction::Up);
}

#[test]
fn a_black_hole_towards_the_owner() {
    one_way_black_hole(Direction::Down);
}

#[test]
fn a_black_hole_shorter_than_the_lease_is_not_noticed() {
    let pair = Pair::connected("beat_ms=200 ttl_ms=6000");
    pair.channel("c", "messages");
    pair.client.ok("call s keep treasure 10000");
    let mark = pair.client.mark();
    pair.proxy.stall_both(true);
    pair.client.ok("send c inside 10000");
    // The state says so, but the session and what it owns live on.
    pair.client.see_after(mark, "! s state live suspended");
    pair.proxy.stall_both(false);
    assert_eq!(pair.server.ok("recv c 10000"), "inside");
    pair.expect_live();
    assert_eq!(pair.server.said("! destroyed"), [""; 0]);
}

/// The promise is a minute; here it is 10 s, which is five times the TTL.
#[test]
fn a_reader_that_stands_still_holds_up_nobody_else() {
    let pair = Pair::connected(SWIFT);
    for channel in ["slow", "quick"] {
        pair.channel(channel, "messages");
    }
    let stuffed = pair.client.ok("stuff slow 100000");
    let (sent, refusal) = stuffed.split_once(' ').unwrap();
    assert!(refusal.starts_with("AGAIN again"), "{stuffed}");
    let waiting = pair.client.begin("send slow last 60000");
    let watch = Stopwatch::start();
    let mut number = 0;
    while watch.elapsed() < Duration::from_secs(10) {
        let turn = Stopwatch::start();
        pair.client.ok(&format!("send quick {number} 5000"));
        assert_eq!(pair.server.ok("recv quick 5000"), number.to_string());
        pair.echo("x");
        assert!(turn.elapsed() < Duration::from_secs(2), "held up for {:?}", turn.elapsed());
        number += 1;
    }
    assert!(!waiting.is_answered(), "there was no room");
    // Beats went on, on the same connection all the time.
    assert_eq!(pair.client.said("! s state live suspended"), [""; 0]);
    assert_eq!(pair.proxy.counters().connections, 1);
    assert_eq!(pair.server.begin(&format!("check slow 2 {sent} 20000")).ok(), sent);
    waiting.ok();
    assert_eq!(pair.server.ok("recv slow 20000"), "last");
    pair.expect_live();
}

/// The owner sleeps through its TTL: when it wakes it must hear that it lost everything before it acts on it.
#[test]
fn a_stopped_owner_learns_that_it_is_lost_before_it_acts() {
    let pair = Pair::connected(SWIFT);
    pair.channel("c", "messages");
    pair.client.ok("call s keep treasure 10000");
    let using = pair.client.begin("use s c");
    pair.client.see("! used 20");
    pair.client.signal("STOP");
    pair.server.see("! destroyed thing treasure");
    let used = pair.client.said("! used").len();
    let mark = pair.client.mark();
    let stale = pair.client.begin("send c stale 10000");
    let call = pair.client.begin("call s echo stale 10000");
    pair.client.signal("CONT");
    stale.err(Code::Lost);
    call.err(Code::Lost);
    assert!(using.answer().is_err(), "the user of the lease was told");
    pair.client.see_after(mark, "! s lost");
    // One line may have been on its way when the process was stopped.
    let after = pair.client.said("! used").len();
    assert!(after <= used + 1, "a lease that was over was used {} times", after - used);
    assert_eq!(pair.client.ok("state s"), "lost");
    pair.client.ok(&format!("connect n s2 {} 20000", pair.address()));
    assert_eq!(pair.client.ok("call s2 echo again 20000"), "again");
}

#[test]
fn a_stopped_holder_sweeps_when_it_wakes() {
    let pair = Pair::connected(SWIFT);
    pair.client.ok("call s keep treasure 10000");
    pair.server.signal("STOP");
    pair.client.see("! s lost");
    assert_eq!(pair.server.said("! destroyed"), [""; 0], "it stands still");
    pair.server.signal("CONT");
    pair.server.see("! destroyed thing treasure");
    pair.client.ok(&format!("connect n s2 {} 20000", pair.address()));
    assert_eq!(pair.client.ok("call s2 echo again 20000"), "again");
    assert_eq!(pair.server.said("! destroyed").len(), 1);
}

/// A stop that is shorter than the lease costs nothing.
#[test]
fn a_short_stop_is_survived() {
    let pair = Pair::connected("beat_ms=100 ttl_ms=8000");
    pair.channel("c", "messages");
    let mark = pair.server.mark();
    pair.client.signal("STOP");
    pair.server.see_after(mark, "! s state live suspended");
    pair.client.signal("CONT");
    pair.client.ok("send c awake 10000");
    assert_eq!(pair.server.ok("recv c 10000"), "awake");
    pair.expect_live();
}
