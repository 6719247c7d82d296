//! Programs of the bench as processes, and a client with its server.

use crate::machine::Regime;
use clerver_programs::{Process, Runner};
use std::path::PathBuf;
use tempfile::TempDir;

/// The program, and a host directory for its nodes.
pub(crate) struct Bench {
    program: PathBuf,
    home: TempDir,
}

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Raw,
    Session,
}

/// Use of the machine by a process since its start.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stat {
    pub(crate) resident_bytes: f64,
    pub(crate) cpu_us: f64,
}

/// Percentiles of calls, and what both processes together did for one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Calls {
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
    pub(crate) cpu_us: f64,
    pub(crate) count: f64,
}

/// A client and a server that are connected.
pub(crate) struct Pair {
    pub(crate) client: Process,
    pub(crate) server: Process,
}

impl Bench {
    pub(crate) fn new(program: PathBuf) -> Result<Bench, String> {
        let home = tempfile::Builder::new().prefix("clerver-bench-").tempdir();
        Ok(Bench { program, home: home.map_err(|error| error.to_string())? })
    }

    /// Starts one of the programs; answers what it says behind `ready`.
    pub(crate) fn start(&self, arguments: &[&str]) -> Result<(Process, String), String> {
        let mut command = vec![self.program.clone()];
        command.extend(arguments.iter().map(PathBuf::from));
        let mut process = Process::start(&Runner { name: "bench", command }, self.home.path())?;
        let said = process.answer()?;
        let rest = said.strip_prefix("ready").ok_or_else(|| format!("{arguments:?} said {said}"))?;
        let rest = rest.trim().to_owned();
        Ok((process, rest))
    }

    /// A pair in the places that a regime has for it.
    pub(crate) fn pair(&self, kind: Kind, regime: Regime) -> Result<Pair, String> {
        let (client_cpu, server_cpu) = regime.cpus();
        let (serve, client) = match kind {
            Kind::Raw => ("raw-serve", "raw-client"),
            Kind::Session => ("session-serve", "session-client"),
        };
        let (server, address) = self.start(&[serve, server_cpu])?;
        let (client, _) = self.start(&[client, client_cpu, &address])?;
        Ok(Pair { client, server })
    }
}

/// Gives a command; the numbers of the answer, which begins with `verb`.
pub(crate) fn ask(process: &mut Process, command: &str, verb: &str) -> Result<Vec<f64>, String> {
    process.tell(command);
    let said = process.answer()?;
    let mut words = said.split(' ');
    if words.next() != Some(verb) {
        return Err(format!("\"{command}\" was answered \"{said}\""));
    }
    words.map(|word| word.parse().map_err(|_| format!("no number in \"{said}\""))).collect()
}

pub(crate) fn stat(process: &mut Process) -> Result<Stat, String> {
    match ask(process, "stat", "stat")?[..] {
        [resident_bytes, cpu_us, _switches] => Ok(Stat { resident_bytes, cpu_us }),
        _ => Err("stat has three numbers".into()),
    }
}

impl Pair {
    fn cpu_us(&mut self) -> Result<f64, String> {
        Ok(stat(&mut self.client)?.cpu_us + stat(&mut self.server)?.cpu_us)
    }

    /// Calls a service for so long.
    pub(crate) fn calls(&mut self, service: &str, slice_ms: u64) -> Result<Calls, String> {
        let before = self.cpu_us()?;
        let answer = ask(&mut self.client, &format!("call {service} {slice_ms}"), "call")?;
        let [p50, p99, count] = answer[..] else { return Err("call has three numbers".into()) };
        let cpu_us = (self.cpu_us()? - before) / count;
        Ok(Calls { p50_us: p50 / 1000.0, p99_us: p99 / 1000.0, cpu_us, count })
    }

    /// Sends messages of a size one way for so long: messages per second.
    pub(crate) fn stream(&mut self, size: usize, slice_ms: u64) -> Result<f64, String> {
        match ask(&mut self.client, &format!("stream {slice_ms} {size}"), "stream")?[..] {
            [count, ns] => Ok(count / ns * 1e9),
            _ => Err("stream has two numbers".into()),
        }
    }
}
