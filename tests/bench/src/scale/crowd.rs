//! Many sessions between two processes (F5), and whether each costs as much as when there are few (F9).
//!
//! The client has a node for each session, all with one key. How many fit is decided by descriptors, of which a process
//! may have so many and no more.

use super::Plan;
use crate::figure::{Figure, Goal, Name};
use crate::pair::{Bench, ask, rate, stat, told};
use crate::report::Report;
use clerver_programs::Process;

/// Of the server: nothing may hinder that all come at once.
const SERVER_OPTIONS: [&str; 3] = ["source_rate_per_s=1000000", "handshakes_max=256", "handshake_ms=60000"];
/// Of the client: one thread for all nodes. And when another server process answers at the address, that one will do:
/// else a session would wait for the one that is gone until its lease ends.
const CLIENT_OPTIONS: [&str; 3] = ["?engine=shared", "workers=1", "any_node=true"];
/// Sessions that the client makes before it is asked for more.
const WARM_SESSIONS: u64 = 20;
/// Sessions to one port: fewer than a client has ports of its own to one address.
const SESSIONS_PER_PORT: u64 = 20_000;
/// Descriptors for what is no session.
const DESCRIPTORS_SPARE: u64 = 200;
/// Sessions of a client whose nodes have a thread each.
const SESSIONS_WITH_THREADS_MAX: u64 = 2_000;

/// A server process and a client process with some sessions.
pub(super) struct Crowd {
    pub(super) server: Process,
    pub(super) client: Process,
    addresses: String,
    descriptors_each: u64,
}

impl Crowd {
    /// Starts both, for so many sessions.
    pub(super) fn start(bench: &Bench, sessions: u64) -> Result<Crowd, String> {
        let ports = usize::try_from(sessions / SESSIONS_PER_PORT).unwrap_or(usize::MAX).saturating_add(1);
        let (server, addresses) = serve(bench, &vec!["127.0.0.1:0"; ports.min(16)].join(","))?;
        let (client, said) =
            bench.start(&[&["many-client", "-1", &addresses], &CLIENT_OPTIONS[..]].concat())?;
        let descriptors_each = said.parse().map_err(|_| format!("the client said \"{said}\""))?;
        Ok(Crowd { server, client, addresses, descriptors_each })
    }

    /// How many sessions fit of those that are wanted; says in the report why it is not all, and what to set.
    pub(super) fn room(&self, bench: &Bench, wanted: u64, report: &mut Report) -> Result<u64, String> {
        let limit = descriptors_max()?;
        let mut fits = limit.saturating_sub(DESCRIPTORS_SPARE) / self.descriptors_each.max(1);
        let needed = wanted * self.descriptors_each.max(1) + DESCRIPTORS_SPARE;
        let mut why = format!(
            "a process may have {limit} descriptors, and {wanted} sessions need {needed} in the client: \
             set `ulimit -n {needed}` (as root, with `sysctl fs.nr_open={needed}` if that is lower)"
        );
        if bench.missing().iter().any(|option| option == "engine") && fits > SESSIONS_WITH_THREADS_MAX {
            fits = SESSIONS_WITH_THREADS_MAX;
            why = "this library has no option engine, so that each node of the client has a thread".into();
        }
        if fits >= wanted {
            return Ok(wanted);
        }
        report.note(&format!("{fits} sessions instead of {wanted}: {why}"));
        Ok(fits.max(WARM_SESSIONS))
    }

    /// Makes sessions until there are so many: how many in a second.
    pub(super) fn grow(&mut self, sessions: u64) -> Result<f64, String> {
        per_second(rate(&mut self.client, &format!("go {sessions}"))?)
    }

    /// Kills the server, starts another one at its addresses, and lets the client register all sessions again: how many
    /// in a second.
    pub(super) fn restart(&mut self, bench: &Bench) -> Result<f64, String> {
        self.server.kill();
        self.server = serve(bench, &self.addresses)?.0;
        per_second(rate(&mut self.client, "again")?)
    }

    /// How many are live.
    pub(super) fn live(&mut self) -> Result<f64, String> {
        ask(&mut self.client, "live", "live")?.first().copied().ok_or_else(|| "live has a number".into())
    }

    /// Leaves both alone for a while: the cores that server and client used.
    fn rest(&mut self, ms: u64) -> Result<(f64, f64), String> {
        let command = format!("rest {ms}");
        self.server.tell(&command);
        self.client.tell(&command);
        let cores = |process: &mut Process| match told(process, "rest")?[..] {
            [cpu_us, ns] => Ok(cpu_us * 1e3 / ns),
            _ => Err("rest has two numbers".to_owned()),
        };
        Ok((cores(&mut self.server)?, cores(&mut self.client)?))
    }
}

fn serve(bench: &Bench, addresses: &str) -> Result<(Process, String), String> {
    bench.start(&[&["many-serve", "-1", addresses], &SERVER_OPTIONS[..]].concat())
}

fn per_second((count, ns): (f64, f64)) -> Result<f64, String> {
    Ok(count / ns * 1e9)
}

/// How many descriptors a process may have when it raises its limit as far as it goes.
fn descriptors_max() -> Result<u64, String> {
    let limits = std::fs::read_to_string("/proc/self/limits").map_err(|error| error.to_string())?;
    let row = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
    let hard = row.and_then(|row| row.split_whitespace().nth(1)?.parse().ok());
    hard.ok_or_else(|| "/proc/self/limits does not tell the limit of descriptors".into())
}

/// What there was to see when there were so many sessions.
struct Step {
    sessions: f64,
    made_us: f64,
    server_kib: f64,
    client_kib: f64,
    server_cores: f64,
    client_cores: f64,
    live: f64,
}

/// F5, and F9 for sessions.
pub(super) fn measure(bench: &Bench, plan: &Plan, report: &mut Report) -> Result<(), String> {
    let mut crowd = Crowd::start(bench, plan.sessions)?;
    let sessions = crowd.room(bench, plan.sessions, report)?;
    let server_bytes = stat(&mut crowd.server)?.resident_bytes;
    let client_bytes = stat(&mut crowd.client)?.resident_bytes;
    let mut steps = Vec::new();
    for sessions in steps_to(sessions) {
        let per_s = crowd.grow(sessions)?;
        let (server_cores, client_cores) = crowd.rest(plan.rest_ms)?;
        let beyond = (sessions - WARM_SESSIONS) as f64 * 1024.0;
        steps.push(Step {
            sessions: sessions as f64,
            made_us: 1e6 / per_s,
            server_kib: (stat(&mut crowd.server)?.resident_bytes - server_bytes) / beyond,
            client_kib: (stat(&mut crowd.client)?.resident_bytes - client_bytes) / beyond,
            server_cores,
            client_cores,
            live: crowd.live()?,
        });
    }
    let [first, .., last] = &steps[..] else { return Err("no steps".into()) };
    let heading = format!("sessions: {sessions} live ones between two processes, beats each second");
    report.table("sessions", &heading, &live_figures(last, plan.rest_ms));
    let heading = format!("growth of sessions: each of {} against each of {}", last.sessions, first.sessions);
    report.table("growth_sessions", &heading, &growth_figures(first, last));
    Ok(())
}

/// A hundredth, a tenth, and all; and at the least two that differ.
fn steps_to(sessions: u64) -> Vec<u64> {
    let first = WARM_SESSIONS + 10;
    let last = sessions.max(first + 10);
    let mut steps = vec![(sessions / 100).max(first), (sessions / 10).max(first), last];
    steps.dedup();
    steps
}

fn live_figures(step: &Step, rest_ms: u64) -> Vec<Figure> {
    let figure =
        |key, title, goal, value| Figure::once(Name { id: "F5", key, title, against: "" }, goal, None, value);
    let memory = Goal::at_most(26.0, Some(20.0));
    let per_100k = |cores: f64| cores * 100_000.0 / step.sessions;
    let cores = Goal::at_most(1.0, Some(0.5));
    let live = Goal::at_least(step.sessions, None);
    let title =
        if rest_ms < 10_000 { "server, cores for 100,000" } else { "server, cores for 100,000, over 10 s" };
    vec![
        figure("session_server_kib", "server, resident KiB for each", memory, step.server_kib),
        figure("session_client_kib", "client, a node for each, KiB", memory, step.client_kib),
        figure("server_cores_per_100k", title, cores, per_100k(step.server_cores)),
        figure("client_cores_per_100k", "client, cores for 100,000", None, per_100k(step.client_cores)),
        figure("sessions_live", "live after that", live, step.live),
        figure("session_made_us", "time to make one, us", None, step.made_us),
    ]
}

fn growth_figures(first: &Step, last: &Step) -> Vec<Figure> {
    let figure = |key, title, first: f64, last: f64| {
        let name = Name { id: "F9", key, title, against: "few" };
        Figure::once(name, Goal::ratio_at_most(1.2, None), Some(first), last)
    };
    let cpu = |cores: f64, step: &Step| cores * 1e6 / step.sessions;
    vec![
        figure("session_server_kib", "server, resident KiB", first.server_kib, last.server_kib),
        figure("session_client_kib", "client, resident KiB", first.client_kib, last.client_kib),
        figure(
            "session_server_cpu_us_per_s",
            "server, CPU us each second",
            cpu(first.server_cores, first),
            cpu(last.server_cores, last),
        ),
        figure(
            "session_client_cpu_us_per_s",
            "client, CPU us each second",
            cpu(first.client_cores, first),
            cpu(last.client_cores, last),
        ),
        figure("session_made_us", "time to make one, us", first.made_us, last.made_us),
    ]
}

#[cfg(test)]
mod tests {
    use super::steps_to;

    #[test]
    fn steps_rise_to_what_is_wanted() {
        assert_eq!(steps_to(100_000), [1_000, 10_000, 100_000]);
        assert_eq!(steps_to(60), [30, 60]);
        assert_eq!(steps_to(20), [30, 40], "there is no growth without two steps");
    }
}
