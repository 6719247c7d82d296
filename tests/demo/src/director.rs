//! The director: starts the actors, breaks their connections, kills the sender, and checks what was promised.

use crate::actor::Actor;
use crate::janitor::Janitor;
use crate::lines::Line;
use crate::report::{Report, Screen, ratio, seconds};
use crate::sleeper::Sleeper;
use crate::stage::Stage;
use crate::{Failure, TTL, source};
use clerver::identity::HostKey;
use clerver::trust::TrustStore;
use clerver_proxy::{Proxy, Stopwatch};
use std::path::{Path, PathBuf};
use std::sync::mpsc::channel;
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
/// Nothing moves for so long: the demo has failed.
const STUCK: Duration = Duration::from_secs(20);

/// Everything that is on the stage; dropped in this order.
struct Scene {
    report: Report,
    stage: Stage,
    screen: Screen,
    sleeper: Option<Sleeper>,
    sender: Actor,
    keeper: Actor,
    proxy: Proxy,
    janitor: Janitor,
    file: PathBuf,
    hash: String,
    delivered: PathBuf,
    _dir: tempfile::TempDir,
}

/// Runs the demo with the programs of a directory; an error if anything was not as promised.
pub(crate) fn run(programs: &Path, file: Option<&Path>) -> Result<(), Failure> {
    let watch = Stopwatch::start();
    let mut scene = Scene::build(programs, file)?;
    let result = scene.play();
    let Scene { report, .. } = scene;
    result?;
    report.print(watch.elapsed())
}

impl Scene {
    fn build(programs: &Path, file: Option<&Path>) -> Result<Scene, Failure> {
        let mut janitor = Janitor::start()?;
        let dir = tempfile::Builder::new().prefix("clerver-demo-").tempdir()?;
        janitor.note("dir", &dir.path().display().to_string());
        let file = source::given_or_made(file, dir.path())?;
        let hash = source::hash_of(&file)?;
        let (keeper_home, sender_home) = (dir.path().join("keeper"), dir.path().join("sender"));
        let keeper_key = HostKey::load_or_create(&keeper_home)?;
        let sender_key = HostKey::load_or_create(&sender_home)?;
        TrustStore::load(&keeper_home)?.authorize(sender_key.host_id(), 1, "sender")?;
        TrustStore::load(&sender_home)?.authorize(keeper_key.host_id(), 1, "keeper")?;
        let (sender_lines, lines) = channel();
        // As the system will name it among the keeper's open files.
        let delivered = dir.path().canonicalize()?.join("delivered");
        let keeper = Actor::start(programs, "keeper", &keeper_home, &[text(&delivered)?], &sender_lines)?;
        let mut stage = Stage::new(lines);
        let listening = stage.wait_for(&["listening"], STUCK)?;
        let proxy = Proxy::start(listening.value("address").parse()?)?;
        proxy.reset_after(Some(RESET_BYTES));
        let address = format!("clv://{}@{}", keeper_key.host_id(), proxy.address());
        let words = [address.as_str(), text(&file)?];
        let sender = Actor::start(programs, "sender", &sender_home, &words, &sender_lines)?;
        let (report, screen, sleeper) = (Report::default(), Screen::new(), None);
        Ok(Scene {
            report,
            stage,
            screen,
            sleeper,
            sender,
            keeper,
            proxy,
            janitor,
            file,
            hash,
            delivered,
            _dir: dir,
        })
    }

    fn play(&mut self) -> Result<(), Failure> {
        let (holds, _) = self.stage.wait_for_both("holds", "connected", STUCK)?;
        self.janitor.note("sleeper", holds.value("process"));
        self.sleeper = Some(Sleeper(holds.value("process").into()));
        self.transfer()?;
        self.sender.tell("finish")?;
        let (sent, received) = self.stage.wait_for_both("sent", "received", STUCK)?;
        self.screen.finish();
        self.judge_transfer(&sent, &received);
        self.kill_sender()?;
        let delivered = source::hash_of(&self.delivered)?;
        if delivered != self.hash && source::hash_of(&self.file)? != self.hash {
            return Err(format!("{}: it was changed while it was sent", self.file.display()).into());
        }
        self.report.hashes(&self.hash, &delivered);
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
            self.screen.show(&format!(
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

    /// The sender dies without a word; its objects at the keeper end by their destructors.
    fn kill_sender(&mut self) -> Result<(), Failure> {
        let descriptors = Path::new("/proc").join(self.keeper.process().to_string()).join("fd");
        let alive = |sleeper: &Option<Sleeper>| sleeper.as_ref().is_some_and(Sleeper::is_alive);
        let (was_open, was_alive) = (is_open(&descriptors, &self.delivered), alive(&self.sleeper));
        self.report.check("objects held before", was_open && was_alive, "an open file, a child process");
        println!("killing the sender (SIGKILL); TTL is {}", seconds(TTL));
        let watch = Stopwatch::start();
        self.stage.doom("sender");
        self.sender.kill()?;
        let mut ended = Vec::new();
        while ended.len() < 2 {
            let line = self.stage.wait_for(&["destroyed"], watch.left_of(TTL * 4))?;
            let after = watch.elapsed();
            println!("{:>7} after its death: destructor of the {}", seconds(after), line.value("kind"));
            ended.push((line.value("kind").to_owned(), after));
        }
        let order: Vec<&str> = ended.iter().map(|(kind, _)| kind.as_str()).collect();
        self.report.check("order of the destructors", order == ["process", "file"], &order.join(", "));
        let last = ended.iter().map(|(_, after)| *after).max().unwrap_or_default();
        // The hold ends one TTL after the last sign of life, which was at most two beats before the death.
        let in_time = last <= TTL + Duration::from_secs(1) && last + crate::BEAT * 2 >= TTL;
        let text = format!("{} (TTL {})", seconds(last), seconds(TTL));
        self.report.check("from death to destructor", in_time, &text);
        let closed = !is_open(&descriptors, &self.delivered);
        self.report.check("file closed", closed, if closed { "yes" } else { "no" });
        let ended = !alive(&self.sleeper);
        self.report.check("child process ended", ended, if ended { "yes" } else { "no" });
        Ok(())
    }
}

fn text(path: &Path) -> Result<&str, Failure> {
    path.to_str().ok_or_else(|| format!("{}: the path is not UTF-8", path.display()).into())
}

/// Whether a process has this file open.
fn is_open(descriptors: &Path, file: &Path) -> bool {
    let entries = std::fs::read_dir(descriptors).into_iter().flatten().flatten();
    let mut open = entries.filter_map(|entry| std::fs::read_link(entry.path()).ok());
    open.any(|target| target == file)
}
