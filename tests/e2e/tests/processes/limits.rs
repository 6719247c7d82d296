//! Limits and misuse: a clear error, and everything else goes on.

use crate::support::{Pair, STEADY};
use clerver_proto::error::Code;
use std::net::TcpListener;

#[test]
fn a_message_of_the_limit_passes_and_one_byte_more_does_not() {
    let pair = Pair::connected(&format!("{STEADY} message_bytes_max=100000"));
    pair.channel("c", "messages");
    pair.client.ok("send-big c 100000 10000");
    assert_eq!(pair.server.ok("check c 1 100000 10000"), "100000");
    let refusal = pair.client.err("send-big c 100001 10000", Code::Size);
    assert!(refusal.message.contains("100000"), "it names the limit: {refusal:?}");
    assert_eq!(pair.client.ok("call-big s echo 100000 10000"), "same");
    pair.client.err("call-big s echo 100001 10000", Code::Size);
    // The channel and the session go on, and nothing of the refused message arrived.
    pair.client.ok("send c after 10000");
    assert_eq!(pair.server.ok("recv c 10000"), "after");
    pair.echo("well");
}

#[test]
fn a_full_queue_says_again_and_loses_nothing() {
    let pair = Pair::connected(STEADY);
    pair.channel("c", "messages");
    let stuffed = pair.client.ok("stuff c 50000");
    let (sent, refusal) = stuffed.split_once(' ').unwrap();
    assert!(refusal.starts_with("AGAIN again "), "{stuffed}");
    let refusal = pair.client.err("send c one-more 200", Code::Timeout);
    assert!(!refusal.remedy.is_empty());
    pair.echo("well");
    assert_eq!(pair.server.ok(&format!("check c 2 {sent} 10000")), sent);
    pair.client.ok("send c after 10000");
    assert_eq!(pair.server.ok("recv c 10000"), "after");
}

#[test]
fn an_unknown_service_is_named_and_was_not_run() {
    let pair = Pair::connected(STEADY);
    let refusal = pair.client.err("call s nonsense x 10000", Code::NoService);
    assert!(refusal.message.contains("nonsense"), "{refusal:?}");
    pair.client.ok("call-start s call nonsense x 10000");
    let refusal = pair.client.err("call-take call 10000", Code::NoService);
    assert!(refusal.message.contains("outcome NotRun"), "{refusal:?}");
    pair.echo("well");
}

#[test]
fn a_handler_that_fails_or_panics_costs_only_its_own_call() {
    let pair = Pair::connected(STEADY);
    pair.server.ok("serve n fails fail:no-more-cake");
    pair.server.ok("serve n panics panic");
    for _ in 0..10 {
        let refusal = pair.client.err("call s fails x 10000", Code::CallFailed);
        assert!(refusal.message.contains("no-more-cake"), "{refusal:?}");
        pair.client.err("call s panics x 10000", Code::CallFailed);
    }
    pair.echo("well");
}

#[test]
fn replies_in_parts_come_in_order() {
    let pair = Pair::connected(STEADY);
    pair.server.ok("serve n counts parts:5");
    pair.client.ok("call-start s call counts x 10000");
    for part in ["0", "1", "2", "3", "4", "last"] {
        pair.proxy.cut_all();
        assert_eq!(pair.client.ok("call-take call 10000"), format!("part {part}"));
    }
    assert_eq!(pair.client.ok("call-take call 10000"), "over Reply");
}

#[test]
fn more_channels_than_allowed_are_refused_until_one_is_over() {
    let pair = Pair::connected(&format!("{STEADY} channels_max=4"));
    for channel in ["a", "b", "c", "d"] {
        pair.channel(channel, "messages");
    }
    pair.client.err("channel s e e messages now", Code::Channels);
    pair.client.err("channel s e e messages 100", Code::Timeout);
    for peer in [&pair.client, &pair.server] {
        peer.ok("end a");
    }
    pair.client.err("recv a 10000", Code::End);
    pair.server.err("recv a 10000", Code::End);
    // It counts until both have let it go.
    for peer in [&pair.client, &pair.server] {
        peer.ok("drop a");
    }
    pair.channel("f", "messages");
    pair.client.ok("send f hello 10000");
    assert_eq!(pair.server.ok("recv f 10000"), "hello");
}

#[test]
fn a_port_in_use_is_named_with_the_way_to_its_owner() {
    let pair = Pair::connected(STEADY);
    let taken = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let _holder = TcpListener::bind(taken).unwrap();
    let refusal = pair.server.err(&format!("listen n {taken}"), Code::InUse);
    assert!(
        refusal.message.contains(&taken.to_string()) && refusal.remedy.contains("ss -ltnp"),
        "{refusal:?}"
    );
    pair.echo("well");
    pair.server.ok("listen n 127.0.0.1:0");
}

#[test]
fn addresses_that_cannot_be_are_refused_at_once() {
    let pair = Pair::connected(STEADY);
    for address in ["", "http://a:1", "127.0.0.1:99999", "clv://NOTANID@127.0.0.1:1", "a%sb:1", "[::1:1"] {
        let quoted = if address.is_empty() { "%-" } else { address };
        pair.client.err(&format!("connect n s2 {quoted} 10000"), Code::Argument);
    }
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let refusal = pair.client.err(&format!("connect n s2 {closed} 500"), Code::Timeout);
    assert!(refusal.message.contains("refused"), "the last failure is told: {refusal:?}");
    pair.client.ask("connect n s2 no-such-host.invalid:1 500").unwrap_err();
    pair.echo("well");
}

#[test]
fn options_that_do_not_fit_are_named() {
    let pair = Pair::connected(STEADY);
    for (options, name) in [
        ("beat_ms=1", "beat_ms"),
        ("nonsense=1", "nonsense"),
        ("session_budget_bytes=70000", "session_budget_bytes"),
        ("ttl_ms=200000", "ttl_max_ms"),
        ("caller_driven=maybe", "caller_driven"),
    ] {
        let refusal = pair.client.err(&format!("open m {options}"), Code::Config);
        assert!(refusal.message.contains(name), "{refusal:?}");
    }
    pair.echo("well");
}
