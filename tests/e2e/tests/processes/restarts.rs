//! Processes that die by SIGKILL and come back with their stores: the promise of stored channels, cell by cell.
//!
//! Messages are numbered. The test remembers what the writer was told is stored and what the reader said it is done
//! with, as the world outside of two programs would. When which process dies is drawn from a seed, which is printed.

use crate::support::{LONG, Peer};
use clerver_programs::skip;
use clerver_proto::error::Code;
use clerver_proxy::Stopwatch;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

const OPTIONS: &str = "beat_ms=50 ttl_ms=400 redial_max_ms=100 announce=false";
/// Messages of one run.
const MESSAGES: u64 = 400;
/// The reader is done with messages in groups of so many.
const DONE_EVERY: u64 = 7;

/// A small generator of random numbers, so that a failure has a seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

/// Writer and reader, what each of them said in all its lives, and where the reader listens.
struct Run {
    writer: Peer,
    reader: Peer,
    address: String,
    stores: bool,
    /// Highest number of what was confirmed, taken and acknowledged, plus one.
    confirmed: u64,
    taken: u64,
    acked: u64,
    /// Takings said in this life of the reader that were looked at.
    looked: usize,
    expected: Option<u64>,
    again: u64,
}

fn open(peer: &Peer, store: &str, has_store: bool) {
    let store = peer.home.path().with_file_name(store);
    let store = if has_store { format!("store_dir={}", store.display()) } else { String::new() };
    peer.ok(&format!("open n {OPTIONS} {store}"));
}

fn number(line: &str, word: usize) -> u64 {
    line.split_whitespace().nth(word).unwrap().parse().unwrap()
}

/// A peer that listens and one that dials, which know each other and run no node yet.
fn acquainted(listener: &'static str, dialler: &'static str) -> (Peer, Peer) {
    let (listener, dialler) = (Peer::start(listener), Peer::start(dialler));
    listener.home.authorize(dialler.home.host_id());
    dialler.home.authorize(listener.home.host_id());
    (listener, dialler)
}

/// Both nodes run; they get a session `s`. Answers where the one listens.
fn meet(listener: &Peer, dialler: &Peer) -> String {
    let address = listener.ok("listen n 127.0.0.1:0");
    dialler.ok(&format!("connect n s clv://{}@{address} 20000", listener.home.host_id()));
    listener.ok("accept n s 20000");
    address
}

impl Run {
    /// Both run, and the reader has the first message.
    fn begin(reader_stores: bool) -> Run {
        let (reader, writer) = acquainted("reader", "writer");
        open(&reader, "store", reader_stores);
        open(&writer, "store", true);
        let address = meet(&reader, &writer);
        writer.ok("channel s c jobs stored 10000");
        writer.begin(&format!("produce c 0 {MESSAGES} 60000"));
        reader.ok("take s c 20000");
        reader.begin(&format!("consume c {DONE_EVERY} 60000"));
        reader.see("! took 0 ");
        let (confirmed, taken, acked, looked, expected, again) = (0, 0, 0, 0, None, 0);
        let stores = reader_stores;
        Run { writer, reader, address, stores, confirmed, taken, acked, looked, expected, again }
    }

    /// Reads what both said since, and holds it against what was promised.
    fn look(&mut self) {
        for line in self.writer.said("! confirmed ") {
            self.confirmed = self.confirmed.max(number(&line, 2) + 1);
        }
        let took = self.reader.said("! took ");
        for line in &took[self.looked..] {
            let (got, is_again) = (number(line, 2), line.ends_with("again"));
            match self.expected {
                Some(expected) => assert_eq!(got, expected, "in order, each once in one life"),
                None => assert!(
                    got >= self.acked && got <= self.taken,
                    "{got} came first, {} were taken before, {} are done with",
                    self.taken,
                    self.acked
                ),
            }
            if got < self.taken {
                assert!(is_again, "{got} came again and did not say so");
                self.again += 1;
            }
            self.expected = Some(got + 1);
            self.taken = self.taken.max(got + 1);
        }
        self.looked = took.len();
        for line in self.reader.said("! acked ") {
            self.acked = self.acked.max(number(&line, 2) + 1);
        }
    }

    fn kill_the_reader(&mut self) {
        self.reader.kill();
        self.look();
        self.reader = Peer::start_in("reader", Arc::clone(&self.reader.home));
        (self.looked, self.expected) = (0, None);
        open(&self.reader, "store", self.stores);
        self.reader.ok(&format!("listen n {}", self.address));
        self.reader.ok("accept n s 20000");
        self.reader.ok("take s c 20000");
        self.reader.begin(&format!("consume c {DONE_EVERY} 60000"));
    }

    fn kill_the_writer(&mut self) {
        self.writer.kill();
        self.look();
        self.writer = Peer::start_in("writer", Arc::clone(&self.writer.home));
        open(&self.writer, "store", true);
        self.writer.ok("accept n s 20000");
        self.writer.ok("take s c 20000");
        let produced: u64 = self.writer.ok("produced c").parse().unwrap();
        assert!(produced >= self.confirmed, "{produced} are left, {} were confirmed", self.confirmed);
        self.writer.begin(&format!("produce c {produced} {MESSAGES} 60000"));
    }

    /// Kills again and again, each time after something was said, and then lets everything come to its end.
    fn go(mut self, dies: [bool; 2], seed: u64) {
        println!("seed {seed}");
        let mut dice = Dice(seed);
        for _ in 0..6 {
            let who = if dies[0] && (!dies[1] || dice.below(2) == 0) { 0 } else { 1 };
            let mark = if who == 0 { self.writer.mark() } else { self.reader.mark() };
            let some = dice.below(25) + 1;
            let (peer, what) =
                if who == 0 { (&self.writer, "! confirmed ") } else { (&self.reader, "! took ") };
            if self.confirmed + 30 < MESSAGES && self.taken + 30 < MESSAGES {
                let mut from = mark;
                for _ in 0..some {
                    peer.see_after(from, what);
                    from = peer.mark();
                }
            }
            self.look();
            if who == 0 { self.kill_the_writer() } else { self.kill_the_reader() }
        }
        let last = format!("! confirmed {}", MESSAGES - 1);
        if self.writer.ok("produced c") != MESSAGES.to_string() {
            self.writer.see_where(0, LONG, &last, |line| line == last);
        }
        self.writer.ok("end c");
        let end = format!("! took {} ", MESSAGES - 1);
        self.reader.see(&end);
        self.look();
        assert_eq!((self.taken, self.expected), (MESSAGES, Some(MESSAGES)));
        if !dies[1] {
            assert_eq!(self.again, 0, "the reader lived");
        }
        for peer in [&self.writer, &self.reader] {
            assert_eq!(peer.said("! s lost"), [""; 0]);
        }
    }
}

#[test]
fn the_writer_is_killed_again_and_again() {
    for seed in [1, 2] {
        Run::begin(true).go([true, false], seed);
    }
}

#[test]
fn the_reader_is_killed_again_and_again() {
    for seed in [3, 4] {
        Run::begin(true).go([false, true], seed);
    }
}

#[test]
fn both_are_killed_again_and_again() {
    for seed in [5, 6] {
        Run::begin(true).go([true, true], seed);
    }
}

#[test]
fn the_writer_is_killed_and_the_reader_has_no_store() {
    Run::begin(false).go([true, false], 7);
}

/// Nobody can go on with a reader that forgot everything; the writer learns it when the time to wait is over.
#[test]
fn a_reader_without_a_store_is_killed() {
    let mut run = Run::begin(false);
    run.reader.see("! took 20 ");
    run.reader.kill();
    run.look();
    run.writer.see("! s state suspended embalmed");
    let heir = Peer::start_in("heir", Arc::clone(&run.reader.home));
    open(&heir, "store", false);
    heir.ok(&format!("listen n {}", run.address));
    // It is another node, which the session does not take for its peer.
    run.writer.see("! n dial-retry WRONG_NODE");
    // Not everything was delivered, so this is no close in good order.
    let _ = run.writer.ask("close s 500");
    run.writer.see("! s lost");
    let loss = run.writer.ok("loss s");
    assert!(loss.contains("cause=TIMEOUT") && loss.contains('/'), "the report names the channel: {loss}");
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

/// An old backup in the place of the store: the peer knows more than it does, and nothing goes on.
#[test]
fn a_backup_of_the_writer_is_restored_under_a_living_reader() {
    let mut run = Run::begin(true);
    let store = run.writer.home.path().with_file_name("store");
    let backup = store.with_file_name("backup");
    run.reader.see("! took 30 ");
    run.writer.kill();
    copy(&store, &backup);
    run.writer = Peer::start_in("writer", Arc::clone(&run.writer.home));
    open(&run.writer, "store", true);
    run.writer.ok("accept n s 20000");
    run.writer.ok("take s c 20000");
    let produced: u64 = run.writer.ok("produced c").parse().unwrap();
    run.writer.ok(&format!("produce c {produced} {} 60000", produced + 50));
    run.reader.see(&format!("! took {} ", produced + 49));
    run.look();
    run.writer.kill();
    std::fs::remove_dir_all(&store).unwrap();
    copy(&backup, &store);
    run.writer = Peer::start_in("writer", Arc::clone(&run.writer.home));
    open(&run.writer, "store", true);
    // Its epoch is one that the reader saw already, so it is fenced before anything is compared.
    run.writer.ok("accept n s 20000");
    run.writer.see("! s lost FENCED");
    run.look();
    assert_eq!(run.again, 0);
}

/// A long job goes on where the process before was, and the next one begins anew.
#[test]
fn a_long_job_is_restarted_from_its_restart_point() {
    let (reader, writer) = acquainted("reader", "writer");
    open(&reader, "store", true);
    open(&writer, "store", true);
    meet(&reader, &writer);
    writer.ok("channel s c jobs stored 10000");
    writer.ok("send c long 10000");
    writer.ok("send c next 10000");
    reader.ok("take s c 20000");
    assert!(reader.ok("take-one c 20000").starts_with("long "));
    reader.ok("restart-point c row-1000 10000");
    reader.ok("restart-point c row-2000 10000");
    reader.kill();
    let heir = Peer::start_in("heir", Arc::clone(&reader.home));
    open(&heir, "store", true);
    heir.ok("accept n s 20000");
    heir.ok("take s c 20000");
    let again = heir.ok("take-one c 20000");
    let words: Vec<&str> = again.split(' ').collect();
    assert_eq!([words[0], words[2], words[3]], ["long", "true", "at=row-2000"]);
    assert!(heir.ok("take-one c 20000").ends_with("at="), "it was for the first job");
    heir.ok(&format!("ack c {} 10000", words[1]));
    heir.kill();
    let last = Peer::start_in("last", Arc::clone(&reader.home));
    open(&last, "store", true);
    last.ok("accept n s 20000");
    last.ok("take s c 20000");
    let next = last.ok("take-one c 20000");
    assert!(next.starts_with("next ") && next.ends_with("true at="), "{next}");
}

/// Its peer is away for longer than the TTL when the channel is opened: what was confirmed arrives all the same.
#[test]
fn a_channel_that_is_opened_while_the_peer_is_away() {
    let (reader, writer) = acquainted("reader", "writer");
    open(&reader, "store", false);
    open(&writer, "store", true);
    meet(&reader, &writer);
    reader.signal("STOP");
    writer.see("! s state suspended embalmed");
    writer.ok("channel s c jobs stored 10000");
    writer.ok("send c kept 10000");
    reader.signal("CONT");
    reader.ok("take s c 20000");
    assert_eq!(reader.ok("recv c 20000"), "kept");
}

/// What was embalmed outlives the process as bytes, and the next one ends it.
#[test]
fn what_was_embalmed_is_discarded_after_the_process_died() {
    let (holder, owner) = acquainted("holder", "owner");
    open(&holder, "store", true);
    holder.ok("discarded-kind n seat");
    holder.ok("serve n keep keep:seat");
    owner.ok(&format!("open n {OPTIONS} volatile=true"));
    meet(&holder, &owner);
    owner.ok("call s keep Ada 10000");
    holder.ok("channel s c jobs stored 10000");
    owner.signal("STOP");
    holder.see("! embalmed seat Ada");
    let watch = Stopwatch::start();
    while !holder.ok("print s").to_lowercase().contains("embalmed") {
        assert!(!watch.left_of(LONG).is_zero(), "{}", holder.ok("print s"));
    }
    // What is stored later is stored behind it.
    holder.ok("send c x 20000");
    holder.kill();
    assert_eq!(holder.said("! discarded"), [""; 0]);
    let heir = Peer::start_in("heir", Arc::clone(&holder.home));
    open(&heir, "store", true);
    heir.ok("discarded-kind n seat");
    heir.see("! discarded seat Ada");
    owner.signal("CONT");
}

/// One process has a store.
#[test]
fn a_store_that_is_in_use_and_one_that_is_none() {
    let (first, second) = (Peer::start("first"), Peer::start("second"));
    let store = first.home.path().with_file_name("store");
    first.ok(&format!("open n {OPTIONS} store_dir={}", store.display()));
    let refusal = second.err(&format!("open n {OPTIONS} store_dir={}", store.display()), Code::InUse);
    assert!(refusal.message.contains(store.to_str().unwrap()), "{refusal:?}");
    first.kill();
    second.ok(&format!("open n {OPTIONS} store_dir={}", store.display()));
    let file = first.home.key_file();
    second.err(&format!("open m {OPTIONS} store_dir={}", file.display()), Code::Config);
    second.ok(&format!("open m {OPTIONS} announce=false"));
}

/// A small disk in memory, which goes with this.
struct Disk(tempfile::TempDir);

impl Disk {
    fn mount(options: &str, place: &Path) -> bool {
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(place).stderr(Stdio::null());
        mount.status().is_ok_and(|status| status.success())
    }

    /// `None` without the right to mount one.
    fn new(options: &str) -> Option<Disk> {
        let place = tempfile::tempdir().unwrap();
        Disk::mount(options, place.path()).then(|| Disk(place))
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

/// A full disk is said, holds up what depends on it, and is over when there is room.
#[test]
fn the_disk_of_the_writer_is_full_for_a_while() {
    let Some(disk) = Disk::new("size=400k") else {
        return skip("the_disk_of_the_writer_is_full_for_a_while", "to mount a small disk needs root");
    };
    let (reader, writer) = acquainted("reader", "writer");
    reader.ok(&format!("open n {OPTIONS}"));
    writer.ok(&format!("open n {OPTIONS} store_dir={}", disk.0.path().join("store").display()));
    meet(&reader, &writer);
    writer.ok("channel s c jobs stored 10000");
    reader.ok("take s c 20000");
    reader.begin("consume c 1000 60000");
    let producing = writer.begin("produce c 0 3 60000");
    producing.ok();
    std::fs::write(disk.0.path().join("ballast"), vec![0; 1 << 20]).unwrap_err();
    let waiting = writer.begin(&format!("produce c 3 {MESSAGES} 60000"));
    writer.see_where(0, LONG, "that its disk is full", |line| line.contains("nothing%scan%sbe%sstored"));
    assert!(!waiting.is_answered(), "what is not stored is not confirmed");
    assert_eq!(writer.said("! s lost"), [""; 0]);
    std::fs::remove_file(disk.0.path().join("ballast")).unwrap();
    assert!(Disk::mount("remount,size=20m", disk.0.path()));
    assert_eq!(waiting.ok(), MESSAGES.to_string());
    reader.see(&format!("! took {} ", MESSAGES - 1));
    assert_eq!(reader.said("! took ").len() as u64, MESSAGES);
}

/// Random bytes where the store should be: the node says so, and touches nothing.
#[test]
fn a_store_that_is_damaged_is_refused_and_kept() {
    let peer = Peer::start("peer");
    let store = peer.home.path().with_file_name("store");
    peer.ok(&format!("open n {OPTIONS} store_dir={}", store.display()));
    peer.kill();
    let file = store.join("clerver.db");
    let noise: Vec<u8> = (0..20_000u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    std::fs::write(&file, &noise).unwrap();
    for rest in ["clerver.db-wal", "clerver.db-journal"] {
        let _ = std::fs::remove_file(store.join(rest));
    }
    let heir = Peer::start_in("heir", Arc::clone(&peer.home));
    let refusal = heir.err(&format!("open n {OPTIONS} store_dir={}", store.display()), Code::Config);
    assert!(refusal.message.contains("clerver.db"), "{refusal:?}");
    assert_eq!(std::fs::read(&file).unwrap(), noise);
}
