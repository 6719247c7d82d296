//! The two programs that the driver runs: a receiver that knows how long nothing came, and a sender.

use crate::carrier::{Carrier, Result};
use crate::driver::pause;
use clerver_proxy::Stopwatch;
use parking_lot::Mutex;
use std::io::BufRead;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

/// What a sender that paces itself sends at once, and how often.
const PIECE: [u8; 1000] = [7; 1000];
const PACE: Duration = Duration::from_millis(1);
/// What one that does not sends at once.
const BULK_BYTES: usize = 64 * 1024;

const PAUSED: u8 = 0;
const PACED: u8 = 1;
const BULK: u8 = 2;

/// What came since the last `mark`.
#[derive(Debug, Clone, Copy, Default)]
struct Seen {
    bytes: u64,
    last: Duration,
    longest: Duration,
    marked: Duration,
}

fn say(line: &str) {
    println!("{line}");
}

/// Commands: `mark` begins to look, `report` says the longest pause in microseconds since, and bytes per second.
pub(crate) fn receive(kind: &str) -> Result<()> {
    let watch = Stopwatch::start();
    let mut carrier = Carrier::accept(kind, || say("listening"))?;
    let seen = Arc::new(Mutex::new(Seen::default()));
    let noted = Arc::clone(&seen);
    std::thread::spawn(move || {
        let mut buffer = vec![0; 256 * 1024];
        while let Ok(size) = carrier.receive(&mut buffer) {
            if size == 0 {
                return;
            }
            let mut seen = noted.lock();
            let now = watch.elapsed();
            seen.longest = seen.longest.max(now.saturating_sub(seen.last));
            (seen.last, seen.bytes) = (now, seen.bytes + size as u64);
        }
    });
    for line in std::io::stdin().lock().lines() {
        let now = watch.elapsed();
        let mut seen = seen.lock();
        match &*line? {
            "mark" => {
                *seen = Seen { last: now, marked: now, ..Seen::default() };
                say("marked");
            }
            _ => {
                let longest = seen.longest.max(now.saturating_sub(seen.last));
                let rate = seen.bytes as f64 / now.saturating_sub(seen.marked).as_secs_f64();
                say(&format!("{} {rate:.0}", longest.as_micros()));
            }
        }
    }
    Ok(())
}

/// Commands: `paced` and `bulk` begin to send, `pause` stops, `links` says how many there are.
pub(crate) fn send(kind: &str, address: &str, wish: &str) -> Result<()> {
    let mut carrier = Carrier::connect(kind, address, wish)?;
    let mode = Arc::new(AtomicU8::new(PAUSED));
    let links = Arc::new(Mutex::new(0));
    let (told, counted) = (Arc::clone(&mode), Arc::clone(&links));
    std::thread::spawn(move || {
        let bulk = vec![7; BULK_BYTES];
        loop {
            *counted.lock() = carrier.links();
            let done = match told.load(Ordering::Relaxed) {
                BULK => carrier.send(&bulk),
                PACED => carrier.send(&PIECE),
                _ => Ok(()),
            };
            if done.is_err() {
                return;
            }
            if told.load(Ordering::Relaxed) != BULK {
                pause(PACE);
            }
        }
    });
    say("connected");
    for line in std::io::stdin().lock().lines() {
        match &*line? {
            "paced" => mode.store(PACED, Ordering::Relaxed),
            "bulk" => mode.store(BULK, Ordering::Relaxed),
            "pause" => mode.store(PAUSED, Ordering::Relaxed),
            _ => {
                say(&links.lock().to_string());
                continue;
            }
        }
        say("done");
    }
    Ok(())
}
