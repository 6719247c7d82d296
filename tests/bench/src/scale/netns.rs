//! Two network namespaces with a slow path between them, which are gone when it is dropped.
//!
//! All of it is inside of the namespaces: the network of this machine is not touched.

use std::os::unix::fs::MetadataExt;
use std::process::{Command, Stdio};

/// See the module.
pub(super) struct Path {
    client: String,
    server: String,
}

/// Names of namespaces are this, the process that made them, and the end.
const PREFIX: &str = "clvbench";
/// How long the path's own queue is, in time: what waits there nobody can overtake.
const QUEUE_MS: u64 = 50;
/// The queue has room for so many packets at least.
const QUEUE_PACKETS_MIN: u64 = 4;

/// Why it cannot be made here, if so.
pub(super) fn may_make() -> Result<(), String> {
    let owner = std::fs::metadata("/proc/self").map_err(|error| error.to_string())?.uid();
    if owner != 0 {
        return Err("it makes network namespaces, and that needs root".into());
    }
    for tool in ["ip", "tc"] {
        let found = Command::new(tool).arg("-V").stdout(Stdio::null()).stderr(Stdio::null()).status();
        found.map_err(|error| format!("there is no {tool} ({error}); Debian has it in iproute2"))?;
    }
    Ok(())
}

impl Path {
    const NETWORK: &str = "192.0.2.0/24";
    const CLIENT_ADDRESS: &str = "192.0.2.1";
    /// Where the server is to listen.
    pub(super) const SERVER_ADDRESS: &str = "192.0.2.2";

    /// A path of so many kbit/s, each way.
    pub(super) fn make(kbit_per_s: u64) -> Result<Path, String> {
        sweep();
        let process = std::process::id();
        let path = Path { client: format!("{PREFIX}{process}c"), server: format!("{PREFIX}{process}s") };
        run(&["ip", "netns", "add", &path.client])?;
        run(&["ip", "netns", "add", &path.server])?;
        let (client, server) = (path.client.as_str(), path.server.as_str());
        run(&[
            "ip", "-n", client, "link", "add", "path", "type", "veth", "peer", "name", "path", "netns",
            server,
        ])?;
        // Small packets on a slow path, as such paths have them: one of 1,500 bytes takes 120 ms of 100 kbit/s.
        let packet_bytes: u64 = if kbit_per_s < 1_000 { 576 } else { 1_500 };
        let queue_bytes = (kbit_per_s * QUEUE_MS / 8).max(QUEUE_PACKETS_MIN * packet_bytes);
        let mtu = packet_bytes.to_string();
        let shape = [format!("{kbit_per_s}kbit"), (packet_bytes + 64).to_string(), queue_bytes.to_string()];
        for (namespace, address) in [(client, Path::CLIENT_ADDRESS), (server, Path::SERVER_ADDRESS)] {
            let with_prefix = format!("{address}/24");
            run(&["ip", "-n", namespace, "address", "add", &with_prefix, "dev", "path"])?;
            run(&["ip", "-n", namespace, "link", "set", "path", "mtu", &mtu, "up"])?;
            // The one congestion control that every Linux lets namespaces use, so that machines do not differ by it.
            let route =
                ["ip", "-n", namespace, "route", "replace", Path::NETWORK, "dev", "path", "congctl", "reno"];
            run(&route)?;
            let shaper = ["tc", "-n", namespace, "qdisc", "add", "dev", "path", "root", "tbf"];
            let [rate, burst, limit] = &shape;
            run(&[&shaper[..], &["rate", rate, "burst", burst, "limit", limit]].concat())?;
        }
        Ok(path)
    }

    /// What runs a command at the client's end.
    pub(super) fn in_client(&self) -> [&str; 4] {
        ["ip", "netns", "exec", &self.client]
    }

    /// What runs a command at the server's end.
    pub(super) fn in_server(&self) -> [&str; 4] {
        ["ip", "netns", "exec", &self.server]
    }
}

impl Drop for Path {
    fn drop(&mut self) {
        for namespace in [&self.client, &self.server] {
            // It may not have come so far.
            let _ = run(&["ip", "netns", "del", namespace]);
        }
    }
}

/// Removes what runs left that were killed.
fn sweep() {
    let listed = Command::new("ip").args(["netns", "list"]).stdin(Stdio::null()).output();
    let listed = listed.map(|done| String::from_utf8_lossy(&done.stdout).into_owned()).unwrap_or_default();
    for name in listed.lines().filter_map(|line| line.split_whitespace().next()) {
        let process = name.strip_prefix(PREFIX).map(|rest| rest.trim_end_matches(['c', 's']));
        if process.is_some_and(|process| !std::path::Path::new("/proc").join(process).exists()) {
            // Another run may be faster.
            let _ = run(&["ip", "netns", "del", name]);
        }
    }
}

fn run(command: &[&str]) -> Result<(), String> {
    let [program, arguments @ ..] = command else { return Err("no command".into()) };
    let done = Command::new(program).args(arguments).stdin(Stdio::null()).output();
    let done = done.map_err(|error| format!("{program}: {error}"))?;
    if done.status.success() {
        return Ok(());
    }
    Err(format!("{}: {}", command.join(" "), String::from_utf8_lossy(&done.stderr).trim()))
}
