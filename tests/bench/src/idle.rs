//! Memory of sessions that do nothing: many of one server, each with a node of its own at the client.

use crate::figure::{Figure, Name};
use crate::pair::{ANY_PORT, Bench, stat};
use clerver_programs::Process;

/// Beats come so seldom that the client's nodes, which have no threads, need not be driven while others connect.
const OPTIONS: [&str; 3] = ["beat_ms=20000", "ttl_ms=100000", "max_gap_ms=20000"];

/// Measures so many.
///
/// # Errors
/// What a program said when it failed.
pub(crate) fn measure(bench: &Bench, count: u64) -> Result<Vec<Figure>, String> {
    let raw = growth(bench, ("raw-many-serve", &[]), ("raw-idle", &[]), count)?;
    let client = [&OPTIONS[..], &["caller_driven=true"]].concat();
    let session = growth(bench, ("many-serve", &OPTIONS), ("session-idle", &client), count)?;
    let figure = |key, title, raw, session| {
        let name = Name { id: "", key, title, against: "raw TLS" };
        Figure::once(name, None, Some(raw / 1024.0), session / 1024.0)
    };
    Ok(vec![
        figure("idle_server_kib", "server, one node, KiB each", raw.0, session.0),
        figure("idle_client_kib", "client, a node for each, KiB each", raw.1, session.1),
    ])
}

/// How much server and client, programs with options, grow by each of so many connections, behind the first few.
fn growth(
    bench: &Bench,
    (serve, serve_options): (&str, &[&str]),
    (client, client_options): (&str, &[&str]),
    count: u64,
) -> Result<(f64, f64), String> {
    let (mut server, address) = bench.start(&[&[serve, "-1", ANY_PORT], serve_options].concat())?;
    let wanted = count.to_string();
    let (mut client, _) = bench.start(&[&[client, "-1", &address, &wanted], client_options].concat())?;
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
