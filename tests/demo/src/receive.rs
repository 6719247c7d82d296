//! The receiver: keeps an open file and a running process for the sender, as living objects.

use crate::lines::heard;
use crate::{BEAT, Failure, TTL};
use clerver::api::{CallContext, Channel, Kind, Node, ServiceOptions, Session};
use clerver::options::Options;
use clerver_proto::error::{Code, Error};
use clerver_proto::id::ObjectId;
use clerver_proxy::Stopwatch;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// A progress line comes this often.
const REPORT_EVERY: Duration = Duration::from_millis(100);

/// What came so far.
#[derive(Debug, Default)]
struct Received {
    bytes: AtomicU64,
    calls: AtomicU64,
    orders: Mutex<Orders>,
}

/// Which orders came, and how evenly.
#[derive(Debug, Default)]
struct Orders {
    times_seen: BTreeMap<u64, u64>,
    out_of_order: u64,
    last: Option<(u64, Stopwatch)>,
    longest_pause: Duration,
}

impl Orders {
    fn take(&mut self, number: u64) {
        *self.times_seen.entry(number).or_default() += 1;
        if let Some((last, watch)) = self.last.replace((number, Stopwatch::start())) {
            self.out_of_order += u64::from(number <= last);
            self.longest_pause = self.longest_pause.max(watch.elapsed());
        }
    }

    fn duplicated(&self) -> u64 {
        self.times_seen.values().map(|times| times - 1).sum()
    }
}

/// Runs until the director has ended.
pub(crate) fn run(home: &Path) -> Result<(), Failure> {
    let options = Options::new().home(home).node_name("receiver");
    let node = Node::open(options.beat_ms(BEAT.as_millis() as u64).ttl_ms(TTL.as_millis() as u64))?;
    let received = Arc::new(Received::default());
    register_kinds(&node)?;
    serve(&node, home, &received)?;
    println!("listening address={}", node.listen("127.0.0.1:0")?);
    let acceptor = node.clone();
    std::thread::Builder::new().name("receive".into()).spawn(move || {
        if let Err(failure) = receive(&acceptor, &received) {
            println!("failed why={}", failure.to_string().replace(' ', "_"));
        }
    })?;
    while heard().is_some() {}
    node.close(Duration::from_secs(1))?;
    Ok(())
}

/// The two kinds of living objects: what their destructors do is what the demo is about.
fn register_kinds(node: &Node) -> Result<(), Failure> {
    node.register_kind(
        "open file",
        Kind::new(|payload| {
            drop(payload);
            println!("destroyed kind=file");
        }),
    )?;
    node.register_kind(
        "child process",
        Kind::new(|payload| {
            if let Ok(child) = payload.downcast::<Mutex<Child>>() {
                let mut child = child.lock();
                // Both fail only when it has ended by itself.
                let _ = child.kill();
                let _ = child.wait();
            }
            println!("destroyed kind=process");
        }),
    )?;
    Ok(())
}

fn serve(node: &Node, home: &Path, received: &Arc<Received>) -> Result<(), Failure> {
    let output = home.join("received");
    node.serve("prepare", ServiceOptions::default(), move |call| prepare(call, &output))?;
    let received = Arc::clone(received);
    node.serve("double", ServiceOptions::default(), move |call| {
        received.calls.fetch_add(1, Ordering::Relaxed);
        let number = number_in(call.request())?;
        Ok((number * 2).to_string().into_bytes())
    })?;
    Ok(())
}

fn number_in(bytes: &[u8]) -> Result<u64, Error> {
    let text = std::str::from_utf8(bytes).ok();
    let number = text.and_then(|text| text.split_whitespace().next()?.parse().ok());
    number.ok_or_else(|| Error::new(Code::Argument, "read a number: there is none"))
}

/// Opens a file and starts a process, and keeps both for the caller for as long as it lives.
fn prepare(call: &CallContext, output: &PathBuf) -> Result<Vec<u8>, Error> {
    let system = |what: &str, error: std::io::Error| Error::new(Code::System, format!("{what}: {error}"));
    let session = call.session();
    let file = File::create(output).map_err(|error| system("open the file", error))?;
    let attach = |kind, payload| session.attach(kind, payload, None).map_err(|(error, _)| error);
    let file = attach("open file", Box::new(Mutex::new(file)))?;
    let child = Command::new("sleep").arg("1000").stdin(Stdio::null()).stdout(Stdio::null()).spawn();
    let child = child.map_err(|error| system("start a process", error))?;
    println!("holds file={} process={}", output.display(), child.id());
    attach("child process", Box::new(Mutex::new(child)))?;
    Ok(file.0.to_string().into_bytes())
}

fn receive(node: &Node, received: &Arc<Received>) -> Result<(), Failure> {
    let session = node.accept(None)?;
    let mut threads = Vec::new();
    for _ in 0..2 {
        let channel = session.accept_channel(None)?;
        let (session, received) = (session.clone(), Arc::clone(received));
        let run = move || match channel.is_bytes() {
            true => take_file(&session, &channel, &received),
            false => take_orders(&channel, &received),
        };
        threads.push(std::thread::Builder::new().name("take".into()).spawn(run)?);
    }
    for thread in threads {
        match thread.join() {
            Ok(result) => result?,
            Err(_) => return Err("a thread of the receiver panicked".into()),
        }
    }
    let orders = received.orders.lock();
    println!(
        "received bytes={} orders={} duplicated={} out_of_order={} last={} pause_ms={} calls={}",
        received.bytes.load(Ordering::Relaxed),
        orders.times_seen.len(),
        orders.duplicated(),
        orders.out_of_order,
        orders.last.map_or(0, |(number, _)| number),
        orders.longest_pause.as_millis(),
        received.calls.load(Ordering::Relaxed),
    );
    drop(orders);
    let state = session.wait_state(|state| state.is_final(), None)?;
    println!("session state={}", state.name());
    Ok(())
}

/// Writes what comes into the living object; its number is the channel's name.
fn take_file(session: &Session, channel: &Channel, received: &Received) -> Result<(), Failure> {
    let object = ObjectId(channel.name().parse()?);
    loop {
        let bytes = match channel.receive(None) {
            Err(error) if error.code == Code::End => return Ok(()),
            result => result?,
        };
        let written = session.with_object(object, |payload| {
            let file = payload.downcast_ref::<Mutex<File>>();
            file.map_or(Ok(()), |file| file.lock().write_all(&bytes))
        })?;
        written?;
        received.bytes.fetch_add(bytes.len() as u64, Ordering::Relaxed);
    }
}

fn take_orders(channel: &Channel, received: &Received) -> Result<(), Failure> {
    let mut watch = Stopwatch::start();
    loop {
        let order = match channel.receive(None) {
            Err(error) if error.code == Code::End => return Ok(()),
            result => result?,
        };
        let mut orders = received.orders.lock();
        orders.take(number_in(&order)?);
        if watch.elapsed() >= REPORT_EVERY {
            watch = Stopwatch::start();
            let bytes = received.bytes.load(Ordering::Relaxed);
            println!("progress orders={} bytes={bytes}", orders.times_seen.len());
        }
    }
}
