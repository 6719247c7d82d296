//! Programs of the bench as processes, and a client with its server.

use crate::machine::Regime;
use clerver_programs::{Process, Runner};
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// Where a server listens, unless somebody wants it elsewhere: at any free port.
pub(crate) const ANY_PORT: &str = "127.0.0.1:0";

/// The program, and a host directory for its nodes.
pub(crate) struct Bench {
    program: PathBuf,
    home: TempDir,
    /// Options that were wished and that this library does not have.
    missing: RefCell<BTreeSet<String>>,
}

/// What a pair is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// TLS and nothing else.
    Raw,
    /// Sessions as users get them.
    Session,
    /// Sessions whose callers never read the link themselves: the plain inline-send design.
    Plain,
    /// Sessions in which every send leaves at once.
    Ungathered,
}

impl Kind {
    /// Options of both its nodes.
    fn wishes(self) -> &'static [&'static str] {
        match self {
            Kind::Raw | Kind::Session => &[],
            Kind::Plain => &["?callers_read=false"],
            Kind::Ungathered => &["?gather=false"],
        }
    }
}

/// Use of the machine by a process since its start.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stat {
    pub(crate) resident_bytes: f64,
    pub(crate) cpu_us: f64,
    pub(crate) switches: f64,
}

/// What both processes together did for one of something.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cost {
    pub(crate) cpu_us: f64,
    /// Voluntary context switches.
    pub(crate) switches: f64,
}

/// Percentiles of something that was timed again and again.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Times {
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
    pub(crate) count: f64,
    pub(crate) cost: Cost,
}

/// How many of something in a second.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rate {
    pub(crate) per_s: f64,
    pub(crate) cost: Cost,
}

/// What came of calls with pauses between them.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Pace {
    Kept(Paced),
    /// A call failed after so long, most likely because the session was lost.
    Failed {
        after_s: f64,
    },
}

/// Delays of calls with pauses between them; `c/load.c` says what they are.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Paced {
    pub(crate) trip_p99_ms: f64,
    pub(crate) way_p50_ms: f64,
    pub(crate) way_p99_ms: f64,
    /// What the peer held of the bulk beside them.
    pub(crate) bulk_bytes_per_s: f64,
    /// The longest that the session itself told meanwhile.
    pub(crate) round_trip_max_ms: f64,
}

/// A client and a server that are connected.
pub(crate) struct Pair {
    pub(crate) client: Process,
    pub(crate) server: Process,
    pub(crate) address: String,
}

impl Bench {
    pub(crate) fn new(program: PathBuf) -> Result<Bench, String> {
        Ok(Bench { program, home: directory()?, missing: RefCell::default() })
    }

    /// Starts one of the programs; answers what it says behind `ready`.
    pub(crate) fn start(&self, arguments: &[&str]) -> Result<(Process, String), String> {
        self.start_by(&[], self.home.path(), arguments)
    }

    /// As `start`, with a command before the program's, and another host directory.
    pub(crate) fn start_by(
        &self,
        before: &[&str],
        home: &Path,
        arguments: &[&str],
    ) -> Result<(Process, String), String> {
        let mut command: Vec<PathBuf> = before.iter().map(PathBuf::from).collect();
        command.push(self.program.clone());
        command.extend(arguments.iter().map(PathBuf::from));
        let mut process = Process::start(&Runner { name: "bench", command }, home)?;
        let said = process.answer()?;
        let rest = said.strip_prefix("ready").ok_or_else(|| format!("{arguments:?} said {said}"))?;
        let (rest, missing) = rest.split_once(" missing ").unwrap_or((rest, ""));
        self.missing.borrow_mut().extend(missing.split_whitespace().map(String::from));
        Ok((process, rest.trim().to_owned()))
    }

    /// A pair in the places that a regime has for it.
    pub(crate) fn pair(&self, kind: Kind, regime: Regime) -> Result<Pair, String> {
        self.pair_with(kind, regime, &[])
    }

    /// A pair with further options for both nodes.
    pub(crate) fn pair_with(&self, kind: Kind, regime: Regime, options: &[&str]) -> Result<Pair, String> {
        let (client_cpu, server_cpu) = regime.cpus();
        let (serve, client) = match kind {
            Kind::Raw => ("raw-serve", "raw-client"),
            _ => ("session-serve", "session-client"),
        };
        let wishes = [kind.wishes(), options].concat();
        let (server, address) = self.start(&[&[serve, server_cpu, ANY_PORT], &wishes[..]].concat())?;
        let (client, _) = self.start(&[&[client, client_cpu, &address], &wishes[..]].concat())?;
        Ok(Pair { client, server, address })
    }

    /// Options that this library does not have, so that what was to differ by them did not.
    pub(crate) fn missing(&self) -> Vec<String> {
        self.missing.borrow().iter().cloned().collect()
    }
}

/// A directory of its own for one run.
pub(crate) fn directory() -> Result<TempDir, String> {
    let made = tempfile::Builder::new().prefix("clerver-bench-").tempdir();
    made.map_err(|error| format!("make a directory: {error}"))
}

/// The numbers of the next answer, which begins with `verb`; lines that tell of progress are passed over.
pub(crate) fn told(process: &mut Process, verb: &str) -> Result<Vec<f64>, String> {
    let said = loop {
        let said = process.answer()?;
        if said != "made" {
            break said;
        }
    };
    let mut words = said.split(' ');
    if words.next() != Some(verb) {
        return Err(format!("the answer \"{said}\" does not begin with \"{verb}\""));
    }
    words.map(|word| word.parse().map_err(|_| format!("no number in \"{said}\""))).collect()
}

/// Gives a command; the numbers of its answer.
pub(crate) fn ask(process: &mut Process, command: &str, verb: &str) -> Result<Vec<f64>, String> {
    process.tell(command);
    told(process, verb).map_err(|why| format!("{command}: {why}"))
}

pub(crate) fn stat(process: &mut Process) -> Result<Stat, String> {
    match ask(process, "stat", "stat")?[..] {
        [resident_bytes, cpu_us, switches] => Ok(Stat { resident_bytes, cpu_us, switches }),
        _ => Err("stat has three numbers".into()),
    }
}

/// How many, and in which time.
pub(crate) fn rate(process: &mut Process, command: &str) -> Result<(f64, f64), String> {
    match ask(process, command, "rate")?[..] {
        [count, ns] => Ok((count, ns)),
        _ => Err("rate has two numbers".into()),
    }
}

/// Asks for calls every so often, beside messages of a size unless that is 0.
pub(crate) fn begin_pace(client: &mut Process, ms: u64, period_us: u64, bulk_bytes: usize) {
    client.tell(&format!("pace {ms} {period_us} {bulk_bytes}"));
}

/// What came of it.
pub(crate) fn end_pace(client: &mut Process) -> Result<Pace, String> {
    let ms = |ns: f64| ns / 1e6;
    match told(client, "paced")?[..] {
        [trip_p99, way_p50, way_p99, _, bulk_bytes_per_s, round_trip_max_us] => Ok(Pace::Kept(Paced {
            trip_p99_ms: ms(trip_p99),
            way_p50_ms: ms(way_p50),
            way_p99_ms: ms(way_p99),
            bulk_bytes_per_s,
            round_trip_max_ms: round_trip_max_us / 1e3,
        })),
        [failed_after_ms] => Ok(Pace::Failed { after_s: failed_after_ms / 1e3 }),
        _ => Err("paced has six numbers, or one".into()),
    }
}

impl Pair {
    fn used(&mut self) -> Result<Cost, String> {
        let (client, server) = (stat(&mut self.client)?, stat(&mut self.server)?);
        Ok(Cost { cpu_us: client.cpu_us + server.cpu_us, switches: client.switches + server.switches })
    }

    fn cost_since(&mut self, before: Cost, count: f64) -> Result<Cost, String> {
        let now = self.used()?;
        let each = |before: f64, now: f64| (now - before) / count;
        Ok(Cost { cpu_us: each(before.cpu_us, now.cpu_us), switches: each(before.switches, now.switches) })
    }

    /// Gives the client a command that answers percentiles.
    pub(crate) fn times(&mut self, command: &str) -> Result<Times, String> {
        let before = self.used()?;
        let answer = ask(&mut self.client, command, "times")?;
        let [p50, p99, count] = answer[..] else { return Err("times has three numbers".into()) };
        let cost = self.cost_since(before, count)?;
        Ok(Times { p50_us: p50 / 1000.0, p99_us: p99 / 1000.0, count, cost })
    }

    /// Gives the client a command that answers a number and its time.
    pub(crate) fn rate(&mut self, command: &str) -> Result<Rate, String> {
        let before = self.used()?;
        let (count, ns) = rate(&mut self.client, command)?;
        Ok(Rate { per_s: count / ns * 1e9, cost: self.cost_since(before, count)? })
    }

    /// Calls a service for so long.
    pub(crate) fn calls(&mut self, service: &str, slice_ms: u64) -> Result<Times, String> {
        self.times(&format!("call {service} {slice_ms}"))
    }
}
