//! Two hosts, as far as one machine has them: network namespaces with two paths between them, made and removed by
//! whoever uses them. Needs root, `ip` and `tc`.

use std::io::Write;
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};

/// Paths between the two hosts.
const PATHS: usize = 2;

/// One of the two hosts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The one that dials.
    Client,
    /// The one that listens.
    Server,
}

/// See the module. Dropping it removes both, with everything in them.
#[derive(Debug)]
pub struct Hosts {
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
    /// Both hosts with both paths up, or `None` where that is impossible; then `test` counts as skipped.
    pub fn new(test: &str) -> Option<Hosts> {
        let hosts = Hosts::open();
        if hosts.is_none() {
            crate::skip(test, "network namespaces need root, ip and tc");
        }
        hosts
    }

    /// As `new`, without a word.
    pub fn open() -> Option<Hosts> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = |side| format!("clv-{}-{number}-{side}", std::process::id());
        let hosts = Hosts { names: [name("client"), name("server")] };
        let is_done = |output: std::io::Result<Output>| output.is_ok_and(|output| output.status.success());
        let made = ["ip", "tc"].iter().all(|tool| has_tool(tool))
            && hosts.names.iter().all(|name| is_done(run(&["ip", "netns", "add", name])));
        if !made {
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

    /// The name of its namespace.
    pub fn name(&self, side: Side) -> &str {
        &self.names[side as usize]
    }

    /// What a command has to begin with to run on this host.
    pub fn inside(&self, side: Side) -> [String; 4] {
        ["ip", "netns", "exec", self.name(side)].map(str::to_owned)
    }

    fn ip(side: Side, path: usize) -> String {
        format!("10.91.{path}.{}", 1 + side as usize)
    }

    /// Where a node of this host is reached that listens on the port of the tests.
    pub fn address(side: Side, path: usize) -> String {
        format!("{}:7400", Hosts::ip(side, path))
    }

    /// Takes an interface `up` or `down`.
    pub fn set_link(&self, side: Side, path: usize, state: &str) {
        must(&["ip", "-n", self.name(side), "link", "set", &device(path), state]);
    }

    /// Gives a host its address on a path.
    pub fn give_address(&self, side: Side, path: usize) {
        self.change_address(side, path, "add", &Hosts::ip(side, path));
    }

    /// Takes it away again.
    pub fn take_address(&self, side: Side, path: usize) {
        self.change_address(side, path, "del", &Hosts::ip(side, path));
    }

    /// An address that nobody was told.
    pub fn give_other_address(&self, side: Side, path: usize) {
        self.change_address(side, path, "add", &format!("10.91.{path}.{}", 11 + side as usize));
    }

    fn change_address(&self, side: Side, path: usize, verb: &str, ip: &str) {
        must(&["ip", "-n", self.name(side), "address", verb, &format!("{ip}/24"), "dev", &device(path)]);
    }

    /// Lets only so much through, both ways.
    pub fn limit(&self, path: usize, mbit: u32) {
        for side in [Side::Client, Side::Server] {
            let (name, device, rate) = (self.name(side), device(path), format!("{mbit}mbit"));
            let words = ["tc", "-n", name, "qdisc", "add", "dev", &device, "root", "tbf"];
            must(&[&words[..], &["rate", &rate, "burst", "32kb", "latency", "50ms"]].concat());
        }
    }

    /// Whoever can break the connections of this host that lead over a path, without a stir before.
    ///
    /// # Errors
    /// What the system said.
    pub fn resetter(&self, side: Side, path: usize) -> std::io::Result<Resetter> {
        let other = if side == Side::Client { Side::Server } else { Side::Client };
        let mut shell = Command::new("ip");
        shell
            .args(["netns", "exec", self.name(side), "sh", "-s"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null());
        Ok(Resetter { shell: shell.spawn()?, to: Hosts::ip(other, path) })
    }

    /// TCP connections of a host that are established, those of MPTCP included.
    ///
    /// # Errors
    /// What the system said.
    pub fn connections(&self, side: Side) -> std::io::Result<usize> {
        let words = ["ip", "netns", "exec", self.name(side), "ss", "-Htn", "state", "established"];
        Ok(String::from_utf8_lossy(&run(&words)?.stdout).lines().count())
    }

    /// Lets kernel MPTCP use both paths: the server signals its second address, which the client accepts.
    pub fn allow_mptcp(&self) {
        for side in [Side::Client, Side::Server] {
            let limits = ["limits", "set", "subflow", "4", "add_addr_accepted", "4"];
            must(&[&["ip", "-n", self.name(side), "mptcp"][..], &limits].concat());
        }
        let (name, ip, device) = (self.name(Side::Server), Hosts::ip(Side::Server, 1), device(1));
        must(&["ip", "-n", name, "mptcp", "endpoint", "add", &ip, "dev", &device, "signal"]);
    }

    /// Lets nothing through any more, and tells nobody; or lets everything through again.
    pub fn black_hole(&self, path: usize, is_on: bool) {
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

/// A shell that waits inside a host. Dropping it ends it.
#[derive(Debug)]
pub struct Resetter {
    shell: Child,
    to: String,
}

impl Resetter {
    /// Breaks the connections; both ends are told by a reset.
    ///
    /// # Errors
    /// What the system said.
    pub fn reset(&mut self) -> std::io::Result<()> {
        let Some(input) = &mut self.shell.stdin else { return Ok(()) };
        writeln!(input, "ss -K dst {}", self.to)
    }
}

impl Drop for Resetter {
    fn drop(&mut self) {
        // Its input ends, and so does it.
        drop(self.shell.stdin.take());
        let _ = self.shell.wait();
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
