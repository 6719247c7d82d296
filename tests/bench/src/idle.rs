//! Memory of sessions that do nothing: many of one server, each with a node of its own at the client.

use crate::pair::{Bench, stat};
use clerver_programs::Process;

/// Resident bytes per idle connection at each side.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Idle {
    pub(crate) count: f64,
    pub(crate) raw_server: f64,
    pub(crate) raw_client: f64,
    pub(crate) session_server: f64,
    /// With a node for each session, as a session belongs to a pair of nodes.
    pub(crate) session_client: f64,
}

/// Measures so many.
///
/// # Errors
/// What a program said when it failed.
pub(crate) fn measure(bench: &Bench, count: u64) -> Result<Idle, String> {
    let (raw_server, raw_client) = growth(bench, "raw-serve", "raw-idle", count)?;
    let (session_server, session_client) = growth(bench, "session-serve", "session-idle", count)?;
    Ok(Idle { count: count as f64, raw_server, raw_client, session_server, session_client })
}

/// How much server and client grow by each of so many connections, behind the first few.
fn growth(bench: &Bench, serve: &str, client: &str, count: u64) -> Result<(f64, f64), String> {
    let (mut server, address) = bench.start(&[serve, "-1", "idle"])?;
    let (mut client, _) = bench.start(&[client, "-1", &address, &count.to_string()])?;
    let before = (resident(&mut server)?, resident(&mut client)?);
    client.tell("go");
    while !client.answer()?.starts_with("ready") {}
    let after = (resident(&mut server)?, resident(&mut client)?);
    let each = |before: f64, after: f64| (after - before) / count as f64;
    Ok((each(before.0, after.0), each(before.1, after.1)))
}

fn resident(process: &mut Process) -> Result<f64, String> {
    Ok(stat(process)?.resident_bytes)
}
