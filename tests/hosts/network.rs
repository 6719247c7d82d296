//! Two network namespaces and two paths between them, made and removed by the test that uses them.

use std::process::{Command, Output};
use std::sync::atomic::{AtomicU64, Ordering};

/// Paths between the two hosts.
const PATHS: usize = 2;

/// One of the two hosts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Client,
    Server,
}

/// See the module. Dropping it removes both, with everything in them.
pub(super) struct Hosts {
    names: [String; 2],
}

fn run(words: &[&str]) -> std::io::Result<Output> {
    Command::new(words[0]).args(&words[1..]).output()
}

/// Runs a tool that has to work.
fn must(words: &[&str]) {
    let output = run(words).unwrap_or_else(|error| panic!("{words:?}: {error}"));
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
}

fn has_tool(tool: &str) -> bool {
    run(&[tool, "-V"]).is_ok_and(|output| output.status.success())
}

impl Hosts {
    /// Both hosts with both paths up, or `None` where that is impossible; then the test counts as skipped.
    pub(super) fn new(test: &str) -> Option<Hosts> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = |side| format!("clv-{}-{number}-{side}", std::process::id());
        let hosts = Hosts { names: [name("client"), name("server")] };
        let made = ["ip", "tc"].iter().all(|tool| has_tool(tool))
            && hosts
                .names
                .iter()
                .all(|name| run(&["ip", "netns", "add", name]).is_ok_and(|output| output.status.success()));
        if !made {
            clerver_programs::skip(test, "network namespaces need root, ip and tc");
            return None;
        }
        let [client, server] = &hosts.names;
        for path in 0..PATHS {
            let device = device(path);
            must(&[
                "ip", "link", "add", &device, "netns", client, "type", "veth", "peer", "name", &device,
                "netns", server,
            ]);
        }
        for side in [Side::Client, Side::Server] {
            must(&["ip", "-n", hosts.name(side), "link", "set", "lo", "up"]);
            for path in 0..PATHS {
                hosts.give_address(side, path);
                hosts.set_link(side, path, "up");
            }
        }
        Some(hosts)
    }

    fn name(&self, side: Side) -> &str {
        &self.names[side as usize]
    }

    /// What a command has to begin with to run on this host.
    pub(super) fn inside(&self, side: Side) -> [String; 4] {
        ["ip", "netns", "exec", self.name(side)].map(str::to_owned)
    }

    fn ip(side: Side, path: usize) -> String {
        format!("10.91.{path}.{}", 1 + side as usize)
    }

    /// Where a node of this host is reached that listens on the port of the tests.
    pub(super) fn address(side: Side, path: usize) -> String {
        format!("{}:7400", Hosts::ip(side, path))
    }

    /// Takes an interface `up` or `down`.
    pub(super) fn set_link(&self, side: Side, path: usize, state: &str) {
        must(&["ip", "-n", self.name(side), "link", "set", &device(path), state]);
    }

    pub(super) fn give_address(&self, side: Side, path: usize) {
        self.change_address(side, path, "add", &Hosts::ip(side, path));
    }

    pub(super) fn take_address(&self, side: Side, path: usize) {
        self.change_address(side, path, "del", &Hosts::ip(side, path));
    }

    /// An address that nobody was told.
    pub(super) fn give_other_address(&self, side: Side, path: usize) {
        self.change_address(side, path, "add", &format!("10.91.{path}.{}", 11 + side as usize));
    }

    fn change_address(&self, side: Side, path: usize, verb: &str, ip: &str) {
        must(&["ip", "-n", self.name(side), "address", verb, &format!("{ip}/24"), "dev", &device(path)]);
    }

    /// Lets nothing through any more, and tells nobody; or lets everything through again.
    pub(super) fn black_hole(&self, path: usize, is_on: bool) {
        for side in [Side::Client, Side::Server] {
            let (name, device) = (self.name(side), device(path));
            if is_on {
                // No packet is as small as its bucket.
                let rate = ["rate", "8bit", "burst", "10", "limit", "10"];
                let words = ["tc", "-n", name, "qdisc", "add", "dev", &device, "root", "tbf"];
                must(&[&words[..], &rate[..]].concat());
            } else {
                must(&["tc", "-n", name, "qdisc", "del", "dev", &device, "root"]);
            }
        }
    }
}

fn device(path: usize) -> String {
    format!("p{path}")
}

impl Drop for Hosts {
    fn drop(&mut self) {
        for name in &self.names {
            // One that was not made cannot be removed.
            let _ = run(&["ip", "netns", "del", name]);
        }
    }
}
