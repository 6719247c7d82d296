//! Hosts with several addresses: two network namespaces joined by two paths, of which one breaks while data flows.
//!
//! Part of the tests of `tests/e2e`, whose helper processes run inside the namespaces. They need root and the tools
//! `ip` and `tc`; without them each says so and counts as skipped.

use crate::support::{LONG, Peer};
use clerver_programs::hosts::{Hosts, Side};
use std::time::Duration;

const MB: u64 = 1_000_000;
/// Of an unoptimised build on a busy machine.
const TIME: Duration = Duration::from_secs(120);
/// So much is on its way when the path breaks.
const BEGUN: u64 = 10 * MB;
const OPTIONS: &str = "beat_ms=100 ttl_ms=8000";

/// Two hosts, a helper on each with a node `n`; the server listens on all its addresses.
struct Pair {
    hosts: Hosts,
    server: Peer,
    client: Peer,
}

impl Pair {
    /// `None`: it cannot be here, and that was said.
    fn new(test: &str) -> Option<Pair> {
        let hosts = Hosts::new(test)?;
        let server = Peer::start_by("server", &hosts.inside(Side::Server));
        let client = Peer::start_by("client", &hosts.inside(Side::Client));
        server.home.authorize(client.home.host_id());
        client.home.authorize(server.home.host_id());
        server.ok(&format!("open n {OPTIONS} node_name=server"));
        client.ok(&format!("open n {OPTIONS} node_name=client"));
        server.ok("listen n 0.0.0.0:7400");
        server.ok("serve n echo echo");
        Some(Pair { hosts, server, client })
    }

    /// Connected over the first path, with these wishes of `connect-with`.
    fn connected(test: &str, wishes: &str) -> Option<Pair> {
        let pair = Pair::new(test)?;
        let address = format!("clv://{}@{}", pair.server.home.host_id(), Hosts::address(Side::Server, 0));
        pair.client.ok(&format!("connect-with n s 20000 {wishes} {address}"));
        pair.server.ok("accept n s 20000");
        Some(pair)
    }

    /// 100 MB flow both ways while `breaks` happens; every byte has to arrive.
    fn carries_on(&self, breaks: impl FnOnce(&Pair)) {
        let (bytes, piece) = (100 * MB, 60_000);
        self.client.ok("channel s c c bytes 10000");
        self.server.ok("take s c 10000");
        let up = self.client.begin(&format!("write c 11 {bytes} {piece} -"));
        let down = self.server.begin(&format!("write c 12 {bytes} {piece} -"));
        let at_server = self.server.begin(&format!("check c 11 {bytes} 60000"));
        let at_client = self.client.begin(&format!("check c 12 {bytes} 60000"));
        while self.taken() < BEGUN {}
        breaks(self);
        assert!(!at_server.is_answered(), "it was over before it broke");
        for done in [up, down, at_server, at_client] {
            assert_eq!(done.ok_within(TIME), bytes.to_string());
        }
        for peer in [&self.client, &self.server] {
            peer.begin("wait s live 20000").ok_within(LONG);
            assert_eq!(peer.said("! s lost"), [""; 0]);
        }
    }

    /// Bytes that the server's application has so far.
    fn taken(&self) -> u64 {
        let report = self.server.ok("report c");
        let taken = report.split("taken=").nth(1).expect("a count of bytes");
        taken.split(' ').next().and_then(|count| count.parse().ok()).expect("a number")
    }

    /// Waits until the client has a link over this path.
    fn sees_link_over(&self, path: usize) {
        let there = Hosts::address(Side::Server, path);
        self.client.see_where(0, LONG, "a link over the path", |line| {
            line.starts_with("! s attached") && line.contains(&there)
        });
    }
}

#[test]
fn link_down() {
    let Some(pair) = Pair::connected("hosts::link_down", "-") else { return };
    pair.carries_on(|pair| pair.hosts.set_link(Side::Client, 0, "down"));
    pair.sees_link_over(1);
}

#[test]
fn link_down_at_the_server() {
    let Some(pair) = Pair::connected("hosts::link_down_at_the_server", "-") else { return };
    pair.carries_on(|pair| pair.hosts.set_link(Side::Server, 0, "down"));
    pair.sees_link_over(1);
}

/// The second path is used as soon as the peer has told of it.
#[test]
fn a_bulk_link_takes_the_other_path() {
    let Some(pair) = Pair::connected("hosts::a_bulk_link_takes_the_other_path", "bulk=1") else { return };
    pair.sees_link_over(1);
    pair.carries_on(|_| ());
}

#[test]
fn black_hole() {
    let Some(pair) = Pair::connected("hosts::black_hole", "-") else { return };
    pair.carries_on(|pair| pair.hosts.black_hole(0, true));
    pair.sees_link_over(1);
}

#[test]
fn black_hole_beside_a_link_that_stands_by() {
    let Some(pair) = Pair::connected("hosts::black_hole_beside_a_link_that_stands_by", "standby=1") else {
        return;
    };
    pair.sees_link_over(1);
    let mark = pair.client.mark();
    pair.carries_on(|pair| pair.hosts.black_hole(0, true));
    // It took over before three beats were over, so contact was never lost.
    let states = pair.client.said("! s state live suspended");
    assert!(states.is_empty(), "{states:?} after line {mark}");
}

#[test]
fn one_path_after_the_other_and_back() {
    let Some(pair) = Pair::connected("hosts::one_path_after_the_other_and_back", "-") else { return };
    pair.carries_on(|pair| {
        pair.hosts.black_hole(0, true);
        pair.sees_link_over(1);
        pair.hosts.black_hole(0, false);
        // What is left of the first link may come back to life, or another one takes its place.
        pair.hosts.set_link(Side::Client, 1, "down");
    });
}

#[test]
fn address_removed() {
    let Some(pair) = Pair::connected("hosts::address_removed", "-") else { return };
    pair.carries_on(|pair| pair.hosts.take_address(Side::Client, 0));
    pair.sees_link_over(1);
}

#[test]
fn address_added_and_needed() {
    let Some(pair) = Pair::new("hosts::address_added_and_needed") else { return };
    pair.hosts.take_address(Side::Server, 1);
    let (first, second) = (Hosts::address(Side::Server, 0), Hosts::address(Side::Server, 1));
    pair.server.see_addresses("n", |list| !list.contains(&second));
    pair.client.ok(&format!("connect n s clv://{}@{first} 20000", pair.server.home.host_id()));
    pair.server.ok("accept n s 20000");
    let mark = pair.client.mark();
    pair.hosts.give_address(Side::Server, 1);
    pair.client.see_where(mark, LONG, "the new address", |line| {
        line.starts_with("! s peer-addresses") && line.contains(&second)
    });
    pair.carries_on(|pair| pair.hosts.set_link(Side::Server, 0, "down"));
    pair.sees_link_over(1);
}

/// The server gets other addresses on both paths. Nobody can tell the client any more, but the server knows where its
/// client listens.
#[test]
fn server_moved_while_both_ends_are_redundant() {
    let Some(pair) = Pair::new("hosts::server_moved_while_both_ends_are_redundant") else { return };
    pair.client.ok("listen n 0.0.0.0:7401");
    let first = Hosts::address(Side::Server, 0);
    pair.client.ok(&format!("connect n s clv://{}@{first} 20000", pair.server.home.host_id()));
    pair.server.ok("accept n s 20000");
    pair.server.see("! s peer-addresses");
    pair.carries_on(|pair| {
        for path in [0, 1] {
            pair.hosts.take_address(Side::Server, path);
            pair.hosts.give_other_address(Side::Server, path);
        }
    });
    let listens = ":7401";
    pair.server.see_where(0, LONG, "a link to the client", |line| {
        line.starts_with("! s attached") && line.contains(listens)
    });
}
