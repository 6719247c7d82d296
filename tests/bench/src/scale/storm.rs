//! F11: all sessions of a server come at once: after its death, without a store, so that all register again; and after
//! all links broke, so that all attach again. The yardstick is how many TLS handshakes with certificates of both sides
//! the same machine makes in the same run, by as many threads.

use super::Plan;
use super::crowd::Crowd;
use crate::figure::{Figure, Goal, Name};
use crate::pair::{ANY_PORT, Bench, ask, rate};
use crate::report::Report;
use clerver_programs::Process;

/// Connections of raw TLS that are made again and again.
struct Handshakes {
    server: Process,
    client: Process,
    address: String,
}

impl Handshakes {
    fn start(bench: &Bench, count: u64) -> Result<Handshakes, String> {
        let (server, address) = bench.start(&["raw-many-serve", "-1", ANY_PORT])?;
        let (mut client, _) = bench.start(&["raw-storm", "-1", &address, &count.to_string()])?;
        // The first time for nothing, as sessions are there before their storm.
        rate(&mut client, "go")?;
        Ok(Handshakes { server, client, address })
    }

    /// How many in a second, with a fresh server.
    fn storm(&mut self, bench: &Bench) -> Result<f64, String> {
        self.server.kill();
        self.server = bench.start(&["raw-many-serve", "-1", &self.address])?.0;
        let (count, ns) = rate(&mut self.client, "go")?;
        Ok(count / ns * 1e9)
    }
}

/// Measures.
pub(super) fn measure(bench: &Bench, plan: &Plan, report: &mut Report) -> Result<(), String> {
    let mut crowd = Crowd::start(bench, plan.storm)?;
    let sessions = crowd.room(bench, plan.storm, report)?;
    let mut raw = Handshakes::start(bench, sessions)?;
    crowd.grow(sessions)?;
    let before = raw.storm(bench)?;
    let registered_per_s = crowd.restart(bench)?;
    let live = crowd.live()?;
    let answer = ask(&mut crowd.client, "cut", "cut")?;
    let [attached, lost, half_ns, last_ns] = answer[..] else { return Err("cut has four numbers".into()) };
    // Before and after, for the machine is not the same all the time.
    let base = (before + raw.storm(bench)?) / 2.0;
    let against_raw = |key, title, value: f64| {
        let name = Name { id: "F11", key, title, against: "raw TLS" };
        Figure::once(name, Goal::ratio_at_least(0.6, Some(0.9)), Some(base), value)
    };
    let alone = |key, title, goal, value| {
        Figure::once(Name { id: "F11", key, title, against: "" }, goal, None, value)
    };
    let heading = format!("storm: {sessions} sessions at once, against handshakes of raw TLS");
    let attached_per_s = attached / last_ns * 1e9;
    let live_goal = Goal::at_least(sessions as f64, None);
    report.table(
        "storm",
        &heading,
        &[
            against_raw("registered_per_s", "server killed: registered again, 1/s", registered_per_s),
            alone("registered_live", "live after that", live_goal, live),
            against_raw("attached_per_s", "links cut: attached again, 1/s", attached_per_s),
            alone("cut_lost_share", "share lost, TTL 10 s", Goal::at_most(0.0, None), lost / sessions as f64),
            alone("cut_half_s", "half of those that came back, s", None, half_ns / 1e9),
            alone("cut_last_s", "the last of them, s", None, last_ns / 1e9),
        ],
    );
    Ok(())
}
