//! Sessions past their TTL, with real processes: one that may come and go is embalmed, and continues at the exact
//! byte when its peer is back. An ordinary one is lost (`holes`).

use crate::support::{LONG, Pair, SWIFT};
use clerver_proto::error::Code;

/// Connected through the proxy, with one object that can be embalmed and one that cannot.
fn visit(more: &str) -> Pair {
    let pair = Pair::new(&format!("{SWIFT} {more}"));
    pair.server.ok("lasting-kind n lasting");
    pair.server.ok("serve n keep-lasting keep:lasting");
    pair.connect();
    pair.client.ok("call s keep-lasting treasure 10000");
    pair.client.ok("call s keep bauble 10000");
    pair
}

/// Both ends let their objects go and keep the session.
fn is_embalmed(pair: &Pair) {
    pair.server.see("! embalmed lasting treasure");
    pair.server.see("! destroyed thing bauble");
    pair.server.see("! s state suspended embalmed");
}

fn is_back(pair: &Pair) {
    pair.server.see("! revived lasting treasure");
    pair.client.begin("wait s live 20000").ok_within(LONG);
    pair.echo("back");
    pair.expect_live();
    assert_eq!(pair.server.said("! destroyed lasting"), [""; 0]);
    assert_eq!(pair.server.said("! embalmed").len(), 1);
    // The end of the other object is told to its owner.
    pair.client.see("! s object-ended 2");
}

#[test]
fn a_black_hole_longer_than_the_ttl() {
    let pair = visit("volatile=true");
    pair.channel("c", "messages");
    pair.channel("b", "bytes");
    pair.proxy.stall_both(true);
    let bytes = pair.client.begin("write b 7 3000000 70000 60000");
    pair.client.ok("send c inside 10000");
    is_embalmed(&pair);
    pair.client.see("! s state suspended embalmed");
    let call = pair.client.begin("call s echo across 60000");
    pair.proxy.stall_both(false);
    assert_eq!(call.ok(), "across");
    assert_eq!(pair.server.ok("recv c 10000"), "inside");
    assert_eq!(pair.server.begin("check b 7 3000000 60000").ok(), "3000000");
    bytes.ok();
    is_back(&pair);
}

#[test]
fn a_peer_that_stands_still_longer_than_the_ttl() {
    let pair = visit("volatile=true");
    pair.channel("c", "messages");
    pair.client.ok("send c one 10000");
    pair.client.signal("STOP");
    is_embalmed(&pair);
    pair.server.ok("send c two 10000");
    pair.client.signal("CONT");
    assert_eq!(pair.client.ok("recv c 20000"), "two");
    assert_eq!(pair.server.ok("recv c 20000"), "one");
    is_back(&pair);
}

/// The time for which it is kept ends too: then it is lost, at both ends.
#[test]
fn nobody_comes_back() {
    let pair = visit("volatile=true embalm_ms=1000");
    pair.proxy.stall_both(true);
    is_embalmed(&pair);
    pair.server.see("! s state embalmed lost");
    pair.server.see("! revived lasting treasure");
    pair.server.see("! destroyed lasting treasure");
    pair.client.see("! s lost");
    pair.proxy.stall_both(false);
    pair.client.err("call s echo x 10000", Code::Lost);
    pair.client.ok(&format!("connect n s2 {} 20000", pair.address()));
    assert_eq!(pair.client.ok("call s2 echo again 20000"), "again");
}

/// One more than the node keeps: the one that was embalmed first is lost, and its peer learns it.
#[test]
fn the_oldest_goes_when_there_are_too_many() {
    let pair = visit("volatile=true embalm_sessions_max=0");
    pair.proxy.stall_both(true);
    pair.server.see("! s state embalmed lost");
    pair.server.see("! s lost LIMIT");
    // What the object was is kept for the host's next session.
    pair.server.see("! embalmed lasting treasure");
    pair.proxy.stall_both(false);
    pair.client.see("! s lost");
}
