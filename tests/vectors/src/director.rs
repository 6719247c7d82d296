//! Plays one case: tells two runners line by line what to do, breaks the network between them, compares answers.

use crate::cases::{Case, Step};
use crate::words;
use clerver::identity::HostKey;
use clerver::trust::TrustStore;
use clerver_programs::{Process, Runner};
use clerver_proxy::{Direction, Proxy};
use std::fmt::Write;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::time::Duration;
use tempfile::TempDir;

/// What every node is opened with; a case may say otherwise.
const OPTIONS: &str = "beat_ms=200 ttl_ms=6000";
/// How long the network may take to get where a step wants it.
const NETWORK_TIME: Duration = Duration::from_secs(20);

/// One end: where its key is, and the process when there is one.
struct End {
    home: PathBuf,
    host: String,
    process: Option<Process>,
    /// Command and answer of a step whose answer was not looked at yet.
    beside: Option<(String, String)>,
}

/// A stage for cases: two hosts that trust each other at level 1, and their runners. Keys are made once for all cases.
pub struct Stage {
    runners: [Runner; 2],
    ends: [End; 2],
    network: Option<Network>,
    /// Lines of the case that is played, for the report of a failure.
    transcript: String,
    _dir: TempDir,
}

struct Network {
    proxy: Proxy,
    nobody: SocketAddr,
}

fn because(error: impl std::fmt::Display) -> String {
    error.to_string()
}

impl Stage {
    /// Makes hosts for a runner that is the client and one that is the server.
    ///
    /// # Errors
    /// What the system says when it has no room for keys.
    pub fn new(client: &Runner, server: &Runner) -> Result<Stage, String> {
        let dir = tempfile::Builder::new().prefix("clerver-vectors-").tempdir().map_err(because)?;
        let homes = [dir.path().join("client"), dir.path().join("server")];
        let mut hosts = Vec::new();
        for home in &homes {
            hosts.push(HostKey::load_or_create(home).map_err(because)?.host_id());
        }
        for (home, other) in homes.iter().zip([hosts[1], hosts[0]]) {
            TrustStore::load(home)
                .and_then(|mut trust| trust.authorize(other, 1, "vectors"))
                .map_err(because)?;
        }
        let mut hosts = hosts.into_iter().map(|host| host.to_string());
        let ends = homes.map(|home| {
            let host = hosts.next().unwrap_or_default();
            End { home, host, process: None, beside: None }
        });
        let runners = [client.clone(), server.clone()];
        Ok(Stage { runners, ends, network: None, transcript: String::new(), _dir: dir })
    }

    /// Plays a case to its end.
    ///
    /// # Errors
    /// The first step whose answer was another, with everything that was said before.
    pub fn play(&mut self, case: &Case) -> Result<(), String> {
        self.transcript.clear();
        let result = self.play_steps(case);
        self.network = None;
        for end in &mut self.ends {
            (end.process, end.beside) = (None, None);
        }
        let [client, server] = &self.runners;
        let who = format!("{} (client {}, server {})", case.name, client.name, server.name);
        result.map_err(|why| format!("{who}: {}\n{}  {why}\n", case.says, self.transcript))
    }

    fn play_steps(&mut self, case: &Case) -> Result<(), String> {
        self.prologue(case)?;
        for text in &case.steps {
            let step = Step::read(text)?;
            let command = self.filled(step.command);
            match step.who {
                "network" => self.change_network(&command).map_err(|why| format!("{text}: {why}"))?,
                who => self.act(usize::from(who == "server"), &command, &step, &case.options)?,
            }
        }
        for index in [0, 1] {
            self.join(index)?;
            if let Some(process) = &mut self.ends[index].process {
                process.finish().map_err(|why| format!("{}: {why}", name(index)))?;
            }
        }
        Ok(())
    }

    /// Both run, the server listens behind the proxy, and they have a session.
    fn prologue(&mut self, case: &Case) -> Result<(), String> {
        for index in [0, 1] {
            self.start(index)?;
            self.ask(index, &format!("open {OPTIONS} node_name={} {}", name(index), case.options), "ok *")?;
        }
        let bound = self.ask(1, "listen 127.0.0.1:0", "ok *")?;
        let upstream = bound.trim_start_matches("ok ").parse().map_err(because)?;
        let nobody = TcpListener::bind("127.0.0.1:0").and_then(|it| it.local_addr()).map_err(because)?;
        self.network = Some(Network { proxy: Proxy::start(upstream).map_err(because)?, nobody });
        let address = self.filled("{server}");
        self.ask(0, &format!("connect {address}"), "ok")?;
        self.ask(1, "accept", "ok").map(drop)
    }

    fn start(&mut self, index: usize) -> Result<(), String> {
        let end = &mut self.ends[index];
        end.process = Some(Process::start(&self.runners[index], &end.home)?);
        Ok(())
    }

    /// The text with addresses in place of their names.
    fn filled(&self, text: &str) -> String {
        let Some(network) = &self.network else { return text.to_owned() };
        let at = network.proxy.address();
        let [client, server] = &self.ends;
        text.replace("{server}", &format!("clv://{}@{at}", server.host))
            .replace("{wrong-key}", &format!("clv://{}@{at}", client.host))
            .replace("{plain}", &at.to_string())
            .replace("{nobody}", &network.nobody.to_string())
    }

    fn act(&mut self, index: usize, command: &str, step: &Step<'_>, options: &str) -> Result<(), String> {
        self.join(index)?;
        match command {
            "kill" => {
                writeln!(self.transcript, "  {}: kill", name(index)).map_err(because)?;
                if let Some(mut process) = self.ends[index].process.take() {
                    process.kill();
                }
                Ok(())
            }
            "start" => {
                self.start(index)?;
                self.ask(index, &format!("open {OPTIONS} node_name={} {options}", name(index)), "ok *")
                    .map(drop)
            }
            _ if step.is_beside => {
                self.tell(index, command)?;
                self.ends[index].beside = Some((command.to_owned(), step.answer.unwrap_or("ok").to_owned()));
                Ok(())
            }
            _ => self.ask(index, command, step.answer.unwrap_or("ok")).map(drop),
        }
    }

    /// Looks at the answer of a step that ran beside others.
    fn join(&mut self, index: usize) -> Result<(), String> {
        match self.ends[index].beside.take() {
            Some((command, wanted)) => self.expect(index, &command, &wanted).map(drop),
            None => Ok(()),
        }
    }

    fn tell(&mut self, index: usize, command: &str) -> Result<(), String> {
        writeln!(self.transcript, "  {}: {command}", name(index)).map_err(because)?;
        let process = self.ends[index].process.as_mut();
        process.ok_or_else(|| format!("the {} does not run", name(index)))?.tell(command);
        Ok(())
    }

    fn ask(&mut self, index: usize, command: &str, wanted: &str) -> Result<String, String> {
        self.tell(index, command)?;
        self.expect(index, command, wanted)
    }

    fn expect(&mut self, index: usize, command: &str, wanted: &str) -> Result<String, String> {
        let process = self.ends[index].process.as_mut();
        let answer = process.ok_or_else(|| format!("the {} does not run", name(index)))?.answer();
        let answer = answer.map_err(|why| format!("{}: {command}: {why}", name(index)))?;
        writeln!(self.transcript, "  {}:   -> {answer}", name(index)).map_err(because)?;
        if fits(&answer, wanted) {
            return Ok(answer);
        }
        Err(format!("{}: {command}: wanted \"{wanted}\", got \"{answer}\"", name(index)))
    }

    fn change_network(&mut self, command: &str) -> Result<(), String> {
        writeln!(self.transcript, "  network: {command}").map_err(because)?;
        let proxy = &self.network.as_ref().ok_or("there is no network yet")?.proxy;
        let words: Vec<&str> = command.split(' ').collect();
        let count = words.get(1).and_then(|word| word.parse::<u64>().ok());
        match (words[0], count) {
            ("cut", None) => proxy.cut_all(),
            ("cut-after", Some(bytes)) => proxy.reset_after(Some(bytes)),
            ("heal", None) => {
                proxy.reset_after(None);
                proxy.refuse(false);
                proxy.stall(Direction::Up, false);
                proxy.stall(Direction::Down, false);
            }
            ("refuse", None) => proxy.refuse(true),
            ("stall", None) => proxy.stall_both(true),
            ("resets", Some(count)) => {
                if !proxy.wait_until(|counters| counters.resets >= count, NETWORK_TIME) {
                    return Err(format!("only {:?}", proxy.counters()));
                }
            }
            _ => return Err("no such command".into()),
        }
        Ok(())
    }
}

fn name(index: usize) -> &'static str {
    ["client", "server"][index]
}

/// Whether an answer is the one that is wanted: the same words, where `*` is any word. The text of an error need only
/// hold what is wanted, and need not be said.
fn fits(answer: &str, wanted: &str) -> bool {
    let (answer, wanted): (Vec<&str>, Vec<&str>) = (answer.split(' ').collect(), wanted.split(' ').collect());
    if wanted[0] == "error" {
        let text = |words: &[&str]| words.get(2).map(|word| words::text(word)).unwrap_or_default();
        return answer[..2.min(answer.len())] == wanted[..2.min(wanted.len())]
            && text(&answer).contains(&text(&wanted));
    }
    answer.len() == wanted.len()
        && answer.iter().zip(&wanted).all(|(word, wanted)| word == wanted || *wanted == "*")
}

#[cfg(test)]
mod tests {
    use super::fits;

    #[test]
    fn an_answer_fits_or_does_not() {
        assert!(
            fits("ok", "ok") && fits("ok 1 a", "ok * a") && fits("error RESET no%20more", "error RESET more")
        );
        assert!(fits("error END at%20all", "error END"));
        for (answer, wanted) in [
            ("ok", "ok 1"),
            ("ok 1", "ok"),
            ("ok 2", "ok 1"),
            ("error END x", "ok"),
            ("error END x", "error RESET"),
            ("error END x", "error END y"),
            ("ok END", "error END"),
        ] {
            assert!(!fits(answer, wanted), "{answer} and {wanted}");
        }
    }
}
