//! The director: starts the others, breaks their connections, kills the sender, and checks what was promised.

use crate::janitor::Janitor;
use crate::lines::{self, Line};
use crate::report::{Report, Screen, ratio, seconds};
use crate::{Failure, TTL, source};
use clerver::identity::HostKey;
use clerver::trust::TrustStore;
use clerver_proxy::{Proxy, Stopwatch};
use parking_lot::{Condvar, Mutex};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

/// Each connection is reset after so many bytes.
const RESET_BYTES: u64 = 1 << 20;
/// When one connection is left half-open, after the start of the transfer.
const HALF_OPEN_AT: Duration = Duration::from_secs(2);
/// When the black hole begins.
const BLACK_HOLE_AT: Duration = Duration::from_millis(4500);
const BLACK_HOLE: Duration = Duration::from_secs(3);
/// Orders go on for so long after the black hole.
const AFTERMATH: Duration = Duration::from_millis(1500);
/// A child that is told to end has so long.
const GOODBYE: Duration = Duration::from_secs(5);
/// Nothing moves for so long: the demo has failed.
const STUCK: Duration = Duration::from_secs(20);

/// A child process; it does not outlive this value.
struct Actor(Child);

impl Actor {
    fn start(
        role: &'static str,
        home: &Path,
        words: &[&str],
        lines: &Sender<Line>,
    ) -> Result<Actor, Failure> {
        let mut command = Command::new(std::env::current_exe()?);
        // The user's own options are for the user's own programs.
        for (name, _) in
            std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("CLERVER_"))
        {
            command.env_remove(name);
        }
        command.arg(role).arg(home).args(words).env("CLERVER_HOME", home);
        let mut actor = Actor(command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?);
        let output = actor.0.stdout.take().ok_or("a child has no output")?;
        let lines = lines.clone();
        std::thread::Builder::new().name(role.into()).spawn(move || lines::read_all(role, output, &lines))?;
        Ok(actor)
    }

    fn tell(&mut self, line: &str) -> Result<(), Failure> {
        let input = self.0.stdin.as_mut().ok_or("a child has no input")?;
        Ok(writeln!(input, "{line}")?)
    }
}

impl Drop for Actor {
    fn drop(&mut self) {
        // The end of its input lets it end in good order; a killed one has ended already.
        self.0.stdin.take();
        let (watch, pause) = (Stopwatch::start(), (Mutex::new(()), Condvar::new()));
        while matches!(self.0.try_wait(), Ok(None)) && watch.elapsed() < GOODBYE {
            pause.1.wait_for(&mut pause.0.lock(), Duration::from_millis(10));
        }
        // Both fail only when it has ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The process that the receiver keeps for the sender; ended here if its destructor did not.
struct Sleeper(String);

impl Sleeper {
    fn is_alive(&self) -> bool {
        crate::janitor::is_sleeper(&self.0)
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        if self.is_alive() {
            let _ = Command::new("kill").args(["-9", &self.0]).stderr(Stdio::null()).status();
        }
    }
}

/// What the children say, as it comes.
struct Stage {
    lines: Receiver<Line>,
    screen: Screen,
}

impl Stage {
    /// The next line within `wait`; a child that fails or ends unasked ends the demo.
    fn next(&mut self, wait: Duration) -> Result<Option<Line>, Failure> {
        match self.lines.recv_timeout(wait) {
            Ok(line) if line.word == "failed" => Err(format!("{}: {}", line.from, line.text).into()),
            Ok(line) if line.word.is_empty() => Err(format!("{} ended before its time", line.from).into()),
            Ok(line) => Ok(Some(line)),
            Err(RecvTimeoutError::Timeout) => Ok(None),
            Err(RecvTimeoutError::Disconnected) => Err("all children have ended".into()),
        }
    }

    fn wait_for(&mut self, word: &str, wait: Duration) -> Result<Line, Failure> {
        let watch = Stopwatch::start();
        while let Some(line) = self.next(watch.left_of(wait))? {
            if line.word == word {
                return Ok(line);
            }
        }
        Err(format!("waited {} for \"{word}\" in vain", seconds(wait)).into())
    }
}

/// Everything that is on the stage; dropped in this order.
struct Scene {
    report: Report,
    stage: Stage,
    sleeper: Option<Sleeper>,
    sender: Option<Actor>,
    receiver: Actor,
    proxy: Proxy,
    janitor: Janitor,
    file: PathBuf,
    _dir: tempfile::TempDir,
}

/// Runs the demo; an error if anything was not as promised.
pub(crate) fn run(file: Option<PathBuf>) -> Result<(), Failure> {
    let watch = Stopwatch::start();
    let mut scene = Scene::build(file)?;
    let result = scene.play();
    let Scene { report, .. } = scene;
    result?;
    report.print(watch.elapsed())
}

impl Scene {
    fn build(file: Option<PathBuf>) -> Result<Scene, Failure> {
        let mut janitor = Janitor::start()?;
        let dir = tempfile::Builder::new().prefix("clerver-demo-").tempdir()?;
        janitor.note("dir", &dir.path().display().to_string());
        let file = match file {
            Some(file) => {
                let is_file =
                    std::fs::metadata(&file).map_err(|error| format!("{}: {error}", file.display()))?;
                if !is_file.is_file() {
                    return Err(format!("{}: it is not a file", file.display()).into());
                }
                file.canonicalize()?
            }
            None => {
                println!("making a file of {} MiB", source::BYTES >> 20);
                let file = dir.path().join("noise");
                source::make(&file)?;
                file
            }
        };
        let (receiver_home, sender_home) = (dir.path().join("receiver"), dir.path().join("sender"));
        let receiver_key = HostKey::load_or_create(&receiver_home)?;
        let sender_key = HostKey::load_or_create(&sender_home)?;
        TrustStore::load(&receiver_home)?.authorize(sender_key.host_id(), 1, "sender")?;
        TrustStore::load(&sender_home)?.authorize(receiver_key.host_id(), 1, "receiver")?;
        let (sender_lines, lines) = channel();
        let receiver = Actor::start("receive", &receiver_home, &[], &sender_lines)?;
        let mut stage = Stage { lines, screen: Screen::new() };
        let listening = stage.wait_for("listening", STUCK)?;
        let proxy = Proxy::start(listening.value("address").parse()?)?;
        proxy.reset_after(Some(RESET_BYTES));
        let address = format!("clv://{}@{}", receiver_key.host_id(), proxy.address());
        let path = file.to_str().ok_or("the path of the file is not UTF-8")?;
        let sender = Actor::start("send", &sender_home, &[&address, path], &sender_lines)?;
        let (sleeper, sender, report) = (None, Some(sender), Report::default());
        Ok(Scene { report, stage, sleeper, sender, receiver, proxy, janitor, file, _dir: dir })
    }

    fn play(&mut self) -> Result<(), Failure> {
        let holds = self.stage.wait_for("holds", STUCK)?;
        self.janitor.note("sleeper", holds.value("process"));
        self.sleeper = Some(Sleeper(holds.value("process").into()));
        self.stage.wait_for("connected", STUCK)?;
        self.transfer()?;
        self.sender.as_mut().ok_or("there is no sender")?.tell("finish")?;
        let (mut sent, mut received) = (None, None);
        let watch = Stopwatch::start();
        while sent.is_none() || received.is_none() {
            let line =
                self.stage.next(watch.left_of(STUCK))?.ok_or("the ends of the channels did not come")?;
            match line.word.as_str() {
                "sent" => sent = Some(line),
                "received" => received = Some(line),
                _ => {}
            }
        }
        self.stage.screen.finish();
        if let (Some(sent), Some(received)) = (sent, received) {
            self.judge_transfer(&sent, &received);
        }
        self.kill_sender(Path::new(holds.value("file")))?;
        let delivered = source::hash_of(Path::new(holds.value("file")))?;
        self.report.hash_received(&delivered);
        Ok(())
    }

    /// Breaks connections until the whole file is there and all faults had their turn.
    fn transfer(&mut self) -> Result<(), Failure> {
        let watch = Stopwatch::start();
        let size = std::fs::metadata(&self.file)?.len();
        let (mut half_opened, mut hole_begun, mut hole_over) = (false, false, false);
        let mut moved = Stopwatch::start();
        let (mut orders, mut bytes) = (0, 0);
        loop {
            if let Some(line) =
                self.stage.next(Duration::from_millis(50))?.filter(|line| line.word == "progress")
            {
                if line.number("orders") > orders {
                    moved = Stopwatch::start();
                }
                (orders, bytes) = (line.number("orders"), line.number("bytes"));
            }
            let now = watch.elapsed();
            if now >= HALF_OPEN_AT && !half_opened {
                half_opened = self.proxy.half_open_newest();
            }
            if now >= BLACK_HOLE_AT && !hole_begun {
                hole_begun = true;
                self.proxy.stall_both(true);
            }
            if now >= BLACK_HOLE_AT + BLACK_HOLE && !hole_over {
                hole_over = true;
                self.proxy.stall_both(false);
            }
            let fault = match (hole_begun, hole_over) {
                (true, false) => "black hole",
                _ if half_opened => "resets, one half-open",
                _ => "resets",
            };
            let connections = self.proxy.counters().connections;
            self.stage.screen.show(&format!(
                "{:>5}  file {}  orders {orders}  connections {connections}  {fault}",
                seconds(now),
                ratio(bytes, size),
            ));
            if bytes >= size && half_opened && now >= BLACK_HOLE_AT + BLACK_HOLE + AFTERMATH {
                return Ok(());
            }
            if moved.elapsed() > STUCK {
                return Err(format!("nothing arrived for {}", seconds(STUCK)).into());
            }
        }
    }

    fn judge_transfer(&mut self, sent: &Line, received: &Line) {
        let counters = self.proxy.counters();
        let report = &mut self.report;
        report.count("bytes", sent.number("bytes"), received.number("bytes"));
        report.count("orders", sent.number("orders"), received.number("orders"));
        report.count("calls", sent.number("calls"), received.number("calls"));
        let lost = sent.number("orders").saturating_sub(received.number("orders"));
        report.zero("duplicated orders", received.number("duplicated"));
        report.zero("lost orders", lost);
        report.zero("orders out of order", received.number("out_of_order"));
        report.check("last order", received.number("last") == sent.number("orders"), received.value("last"));
        report.hash_sent(sent.value("hash"));
        let links = format!("{} ({} reset by the proxy)", counters.connections, counters.resets);
        // One MiB each, so the file alone needs as many; a tiny file still meets the half-open one.
        let least = (sent.number("bytes") / RESET_BYTES).max(2);
        report.check("connections", counters.connections >= least, &links);
        let pause = Duration::from_millis(received.number("pause_ms"));
        let within = pause < BLACK_HOLE + TTL;
        report.check(
            "longest pause",
            within,
            &format!("{} (black hole: {})", seconds(pause), seconds(BLACK_HOLE)),
        );
    }

    /// The sender dies without a word; its objects at the receiver end by their destructors.
    fn kill_sender(&mut self, file: &Path) -> Result<(), Failure> {
        let descriptors = Path::new("/proc").join(self.receiver.0.id().to_string()).join("fd");
        let alive = |sleeper: &Option<Sleeper>| sleeper.as_ref().is_some_and(Sleeper::is_alive);
        let (was_open, was_alive) = (is_open(&descriptors, file), alive(&self.sleeper));
        self.report.check("objects held before", was_open && was_alive, "an open file, a child process");
        let mut sender = self.sender.take().ok_or("there is no sender")?;
        println!("killing the sender (SIGKILL); TTL is {}", seconds(TTL));
        let watch = Stopwatch::start();
        sender.0.kill()?;
        let mut ended = Vec::new();
        while ended.len() < 2 {
            let line = match self.stage.lines.recv_timeout(watch.left_of(TTL * 4)) {
                Ok(line) if line.from == "send" => continue,
                Ok(line) => line,
                Err(_) => return Err(format!("no destructor ran within {}", seconds(TTL * 4)).into()),
            };
            if line.word == "destroyed" {
                println!(
                    "{:>7} after its death: destructor of the {}",
                    seconds(watch.elapsed()),
                    line.value("kind")
                );
                ended.push((line.value("kind").to_owned(), watch.elapsed()));
            }
        }
        let order: Vec<&str> = ended.iter().map(|(kind, _)| kind.as_str()).collect();
        self.report.check("order of the destructors", order == ["process", "file"], &order.join(", "));
        let last = ended.iter().map(|(_, after)| *after).max().unwrap_or_default();
        // The hold ends one TTL after the last sign of life, which was at most two beats before the death.
        let in_time = last <= TTL + Duration::from_secs(1) && last + crate::BEAT * 2 >= TTL;
        let text = format!("{} (TTL {})", seconds(last), seconds(TTL));
        self.report.check("from death to destructor", in_time, &text);
        let closed = !is_open(&descriptors, file);
        self.report.check("file closed", closed, if closed { "yes" } else { "no" });
        let ended = !alive(&self.sleeper);
        self.report.check("child process ended", ended, if ended { "yes" } else { "no" });
        Ok(())
    }
}

/// Whether a process has this file open.
fn is_open(descriptors: &Path, file: &Path) -> bool {
    let entries = std::fs::read_dir(descriptors).into_iter().flatten().flatten();
    let mut open = entries.filter_map(|entry| std::fs::read_link(entry.path()).ok());
    open.any(|target| target == file)
}
