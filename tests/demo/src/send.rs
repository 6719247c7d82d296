//! The sender: a file on one channel, numbered orders on another, and calls, all at once.

use crate::lines::heard;
use crate::{BEAT, Failure, TTL, source};
use clerver::api::{Channel, Node, Session};
use clerver::options::Options;
use clerver_proto::node::ChannelOptions;
use openssl::sha::Sha256;
use parking_lot::{Condvar, Mutex};
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

/// The file is cut into so many pieces, one each [`PIECE_EVERY`]: unbroken connections would need about 8 s.
const PIECES: u64 = 256;
const PIECE_BYTES_MIN: u64 = 64 * 1024;
const PIECE_EVERY: Duration = Duration::from_millis(30);
const ORDER_EVERY: Duration = Duration::from_millis(4);
const CALL_EVERY: Duration = Duration::from_millis(50);

/// Says when the threads shall stop, and lets them wait for that or for their next turn.
#[derive(Debug, Default)]
struct Finish {
    is_due: Mutex<bool>,
    bell: Condvar,
}

impl Finish {
    fn call(&self) {
        *self.is_due.lock() = true;
        self.bell.notify_all();
    }

    /// Waits for the next turn; true when it is time to stop.
    fn wait(&self, turn: Duration) -> bool {
        let mut is_due = self.is_due.lock();
        if !*is_due {
            self.bell.wait_for(&mut is_due, turn);
        }
        *is_due
    }
}

/// Runs until it is killed, or the director has ended.
pub(crate) fn run(home: &Path, address: &str, file: &Path) -> Result<(), Failure> {
    let options = Options::new().home(home).node_name("sender");
    let node = Node::open(options.beat_ms(BEAT.as_millis() as u64).ttl_ms(TTL.as_millis() as u64))?;
    let session = node.connect(address, Some(Duration::from_secs(20)))?;
    let object = String::from_utf8(session.call("prepare", b"", Some(TTL))?.to_vec())?;
    let bytes = ChannelOptions { name: object, bytes: true, ..ChannelOptions::default() };
    let file_channel = session.open_with(bytes, Some(TTL))?;
    let order_channel = session.open("orders")?;
    println!("connected");
    let finish = Arc::new(Finish::default());
    let orders = start("orders", {
        let finish = Arc::clone(&finish);
        move || send_orders(&order_channel, &finish)
    })?;
    let calls = start("calls", {
        let (finish, session) = (Arc::clone(&finish), session.clone());
        move || make_calls(&session, &finish)
    })?;
    let file = start("file", {
        let file = File::open(file)?;
        move || send_file(&file_channel, file)
    })?;
    while heard().ok_or("the director has ended")? != "finish" {}
    let (hash, bytes) = join(file)?;
    finish.call();
    let (orders, calls) = (join(orders)?, join(calls)?);
    println!(
        "sent bytes={bytes} hash={hash} orders={orders} calls={calls} links={}",
        session.info()?.links_total
    );
    while heard().is_some() {}
    Ok(())
}

fn start<T: Send + 'static>(
    name: &str,
    run: impl FnOnce() -> Result<T, Failure> + Send + 'static,
) -> Result<JoinHandle<Result<T, Failure>>, Failure> {
    let named = name.to_owned();
    let run = move || {
        run().inspect_err(|failure| {
            println!("failed at={named} why={}", failure.to_string().replace(' ', "_"))
        })
    };
    Ok(std::thread::Builder::new().name(name.into()).spawn(run)?)
}

fn join<T>(thread: JoinHandle<Result<T, Failure>>) -> Result<T, Failure> {
    thread.join().unwrap_or_else(|_| Err("a thread of the sender panicked".into()))
}

fn send_file(channel: &Channel, mut file: File) -> Result<(String, u64), Failure> {
    let piece_bytes = (file.metadata()?.len() / PIECES).max(PIECE_BYTES_MIN);
    let mut piece = vec![0; usize::try_from(piece_bytes)?];
    let (mut hash, mut sent) = (Sha256::new(), 0);
    let pace = Finish::default();
    loop {
        let size = file.read(&mut piece)?;
        if size == 0 {
            channel.end()?;
            return Ok((source::hex(hash), sent));
        }
        hash.update(&piece[..size]);
        channel.send(&piece[..size], None)?;
        sent += size as u64;
        pace.wait(PIECE_EVERY);
    }
}

fn send_orders(channel: &Channel, finish: &Finish) -> Result<u64, Failure> {
    let mut number = 0;
    while !finish.wait(ORDER_EVERY) {
        number += 1;
        channel.send(format!("{number} pieces of cake").as_bytes(), None)?;
    }
    channel.end()?;
    Ok(number)
}

/// Each call waits out the breaks; its reply must be the one to its own request.
fn make_calls(session: &Session, finish: &Finish) -> Result<u64, Failure> {
    let mut number = 0u64;
    while !finish.wait(CALL_EVERY) {
        number += 1;
        let reply = session.call("double", number.to_string().as_bytes(), Some(Duration::from_secs(30)))?;
        if reply != (number * 2).to_string().as_bytes() {
            return Err(format!("call {number} was answered {reply:?}").into());
        }
    }
    Ok(number)
}
