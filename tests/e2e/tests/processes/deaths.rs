//! Processes that die without a word.

use crate::support::{Pair, Peer, SWIFT};
use clerver_proto::error::Code;
use clerver_proxy::Stopwatch;
use std::time::Duration;

#[test]
fn the_owner_dies_and_what_it_owned_is_destroyed_once_in_reverse_order() {
    let pair = Pair::connected(SWIFT);
    for name in ["first", "second", "third"] {
        pair.client.ok(&format!("call s keep {name} 10000"));
    }
    let printed = pair.server.ok("print s");
    assert!(["first", "second", "third"].iter().all(|name| printed.contains(name)), "{printed}");
    let watch = Stopwatch::start();
    pair.client.kill();
    pair.server.see("! destroyed thing first");
    let took = watch.elapsed();
    let destroyed = pair.server.said("! destroyed");
    let order = ["third", "second", "first"].map(|name| format!("! destroyed thing {name}"));
    assert_eq!(destroyed, order);
    assert!(took > Duration::from_millis(1500), "not before the hold ended: {took:?}");
    assert!(took < Duration::from_millis(3500), "TTL is 2 s: {took:?}");
    pair.server.see("! s lost LOST lost");
    assert_eq!(pair.server.ok("state s"), "lost");
    // The node goes on.
    let other = Peer::start_in("successor", std::sync::Arc::clone(&pair.client.home));
    other.ok(&format!("open n {SWIFT}"));
    other.ok(&format!("connect n s {} 20000", pair.address()));
    assert_eq!(other.ok("call s echo hello 10000"), "hello");
    assert_eq!(pair.server.said("! destroyed").len(), 3);
}

#[test]
fn the_holder_dies_and_the_owner_learns_it_with_the_fate_of_its_calls() {
    let pair = Pair::connected(SWIFT);
    pair.server.ok("serve n slow wait:never");
    pair.channel("c", "messages");
    pair.client.ok("call-start s running slow x 60000");
    pair.server.see("! handler slow began");
    pair.server.kill();
    // Nobody can know whether this call had its effect, and the library does not pretend to.
    let refusal = pair.client.err("call-take running 20000", Code::Lost);
    assert!(refusal.message.contains("outcome Unknown"), "{refusal:?}");
    pair.client.see("! s lost LOST lost");
    pair.client.err("send c more 1000", Code::Lost);
    pair.client.err("recv c 1000", Code::Lost);
    let loss = pair.client.ok("loss s");
    assert!(loss.contains("cause=LOST") && loss.contains("calls=1"), "{loss}");
}

#[test]
fn a_new_process_at_the_old_address_is_a_new_node() {
    let pair = Pair::connected(SWIFT);
    pair.channel("c", "messages");
    pair.client.ok("send c kept 10000");
    pair.server.kill();
    let heir = Peer::start_in("heir", std::sync::Arc::clone(&pair.server.home));
    heir.ok(&format!("open n {SWIFT}"));
    heir.ok("serve n echo echo");
    let address = heir.ok("listen n 127.0.0.1:0");
    pair.proxy.set_upstream(address.parse().unwrap());
    pair.proxy.cut_all();
    // The session was with the process that is gone: it ends by its lease, and never continues with another.
    pair.client.see("! s lost LOST lost");
    pair.client.ok(&format!("connect n s2 {} 20000", pair.address()));
    assert_eq!(pair.client.ok("call s2 echo hello 10000"), "hello");
}

/// With `any_node` another process that answers at the address is taken, in a new session.
#[test]
fn any_node_takes_the_successor() {
    let pair = Pair::new(SWIFT);
    pair.client.ok(&format!("connect-with n s 20000 any {}", pair.address()));
    pair.server.ok("accept n s 20000");
    pair.server.kill();
    let heir = Peer::start_in("heir", std::sync::Arc::clone(&pair.server.home));
    heir.ok(&format!("open n {SWIFT}"));
    let address = heir.ok("listen n 127.0.0.1:0");
    pair.proxy.set_upstream(address.parse().unwrap());
    pair.proxy.cut_all();
    pair.client.see("! s lost");
    heir.ok("accept n s 20000");
    assert_eq!(heir.ok("wait s live 20000"), "live");
}
