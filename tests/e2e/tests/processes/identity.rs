//! Who is who: keys, trust, pins.

use crate::support::{Home, Pair, Peer, Refusal, STEADY};
use clerver_proto::error::Code;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

/// Two processes of one user, with one key, are two nodes: each has its own session with a third.
#[test]
fn two_processes_with_one_host_key() {
    let pair = Pair::connected(STEADY);
    let twin = Peer::start_in("twin", Arc::clone(&pair.client.home));
    twin.ok(&format!("open n {STEADY}"));
    twin.ok(&format!("connect n s {} 20000", pair.address()));
    pair.server.ok("accept n s-twin 20000");
    assert_eq!(twin.ok("call s echo twin 10000"), "twin");
    pair.echo("first");
    assert!(pair.server.ok("counters n").contains("sessions=2 "));
    // One dies; the other's session does not care.
    twin.kill();
    pair.echo("still");
    pair.expect_live();
}

/// Nobody authorised it: the own host id, from this machine, is enough.
#[test]
fn the_own_id_is_trusted_from_a_local_address() {
    let home = Arc::new(Home::new());
    let (left, right) = (Peer::start_in("left", Arc::clone(&home)), Peer::start_in("right", home));
    left.ok(&format!("open n {STEADY}"));
    right.ok(&format!("open n {STEADY}"));
    left.ok("serve n echo echo");
    let address = left.ok("listen n 127.0.0.1:0 255");
    right.ok(&format!("connect n s clv://{}@{address} 20000", right.home.host_id()));
    left.ok("accept n s 10000");
    assert_eq!(right.ok("call s echo self 10000"), "self");
    assert!(left.ok("info s").contains("level=255 "), "the own user");
}

#[test]
fn a_node_does_not_pair_with_itself() {
    let peer = Peer::start("peer");
    peer.ok(&format!("open n {STEADY}"));
    let address = peer.ok("listen n 127.0.0.1:0");
    peer.err(&format!("connect n s {address} 10000"), Code::SelfPair);
}

#[test]
fn another_host_than_the_one_asked_for_is_refused() {
    let pair = Pair::connected(STEADY);
    let other = Home::new().host_id();
    let command = format!("connect n s2 clv://{other}@{} 10000", pair.direct);
    let refusal = pair.client.err(&command, Code::WrongIdentity);
    assert!(refusal.message.contains(&pair.direct), "it says with whom: {refusal:?}");
    pair.echo("well");
}

/// A list of addresses: a name that nobody knows, one where another host answers than was asked for, and the right one.
#[test]
fn what_is_wrong_with_an_address_is_told_and_the_next_one_is_taken() {
    let pair = Pair::new(STEADY);
    let (other, server) = (Home::new().host_id(), pair.server.home.host_id());
    let wrong = format!("clv://{other}@{}", pair.proxy.address());
    let right = format!("clv://{server}@{}", pair.direct);
    pair.client.ok(&format!("connect-with n s 30000 - nowhere.invalid:1 {wrong} {right}"));
    pair.client.see("! n address-failed nowhere.invalid:1 RESOLVE ");
    pair.client.see(&format!("! n address-failed {wrong} WRONG_IDENTITY "));
    assert_eq!(pair.client.ok("call s echo well 20000"), "well");
    let known = pair.client.ok("addresses-of s");
    assert!(known.contains(&right) && known.contains("*"), "{known}");
}

/// The answer to the unknown one says that it is denied; the log of the other has the line that would let it in.
#[test]
fn an_unknown_host_is_refused_with_the_command_that_would_let_it_in() {
    let pair = Pair::connected(STEADY);
    let stranger = Peer::start("stranger");
    stranger.ok(&format!("open n {STEADY}"));
    let refusal = stranger.err(&format!("connect n s {} 10000", pair.address()), Code::Denied);
    assert!(!refusal.message.is_empty());
    let seen = pair.server.see(&format!("! n refused {} ", stranger.home.host_id()));
    let refusal = Refusal::read(seen.splitn(5, ' ').nth(4).unwrap());
    assert!(refusal.is(Code::Denied), "{refusal:?}");
    let line = format!("clerver trust add {}", stranger.home.host_id());
    assert!(refusal.remedy.contains(&line), "{refusal:?}");
    pair.echo("well");
}

#[test]
fn a_name_is_pinned_on_first_use_and_a_changed_key_is_refused() {
    let pair = Pair::connected(STEADY);
    // The proxy's address without a host id: first use.
    let address = pair.proxy.address();
    pair.client.ok(&format!("connect n s1 {address} 10000"));
    pair.client.see("! n pinned");
    // Somebody else answers there now.
    let (stranger, home) = (Peer::start("stranger"), pair.client.home.host_id());
    stranger.home.authorize(home);
    stranger.ok(&format!("open n {STEADY}"));
    let elsewhere = stranger.ok("listen n 127.0.0.1:0");
    pair.proxy.set_upstream(elsewhere.parse().unwrap());
    let refusal = pair.client.err(&format!("connect n s2 {address} 10000"), Code::WrongIdentity);
    assert!(refusal.remedy.contains("known_hosts"), "{refusal:?}");
    assert!(!stranger.ok("counters n").contains("sessions=1"));
    pair.echo("well");
}

#[test]
fn a_key_file_that_others_can_read_is_refused_with_the_command_that_helps() {
    let peer = Peer::start("peer");
    let file = peer.home.key_file();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
    let refusal = peer.err("open n", Code::KeyFile);
    assert!(refusal.message.contains("0644") && refusal.message.contains("host.key"), "{refusal:?}");
    assert!(refusal.remedy.contains("chmod 600"), "{refusal:?}");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    peer.ok("open n");
}

/// As root no mode keeps a file from being read, so the file is one that nobody can read: a directory.
#[test]
fn a_key_file_that_cannot_be_read_is_refused_and_kept() {
    let peer = Peer::start("peer");
    let file = peer.home.key_file();
    std::fs::remove_file(&file).unwrap();
    std::fs::create_dir(&file).unwrap();
    let refusal = peer.err("open n", Code::KeyFile);
    assert!(refusal.message.contains("host.key"), "{refusal:?}");
    assert!(file.is_dir());
    std::fs::remove_dir(&file).unwrap();
    std::fs::write(&file, "not a key").unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    peer.err("open n", Code::KeyFile);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "not a key");
}
