//! What an idle session costs at both ends, in resident memory, threads and descriptors:
//! `cargo run --release -p clerver --example idle_memory -- 2000 shared`.
//!
//! The server is a process of its own; this one opens so many nodes, each with one session. Both warm up with some
//! sessions first, so that what is paid once does not count.

use clerver::{Node, Options, Result, Session};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

const WARM_UP: usize = 50;
const SOON: Option<Duration> = Some(Duration::from_secs(60));
/// Beats go back and forth, and what the handshakes left is let go.
const SETTLE: Duration = Duration::from_secs(4);

fn of_status(key: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(key)).unwrap_or_default();
    line.split_whitespace().next().and_then(|number| number.parse().ok()).unwrap_or(0)
}

fn settle() {
    let (_nobody, never) = mpsc::channel::<()>();
    let _ = never.recv_timeout(SETTLE);
}

fn report(who: &str, before_kib: u64, sessions: usize) -> String {
    settle();
    let grown_kib = of_status("VmRSS:").saturating_sub(before_kib) as f64 / sessions as f64;
    let descriptors = std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
    let threads = of_status("Threads:");
    format!("{who}: {grown_kib:.1} KiB per session; {threads} threads, {descriptors} descriptors in all")
}

fn serve(home: &Path, sessions: usize) -> Result<()> {
    let node = Node::open(Options::new().home(home))?;
    println!("{}", node.listen("127.0.0.1:0")?);
    let accept = |count| (0..count).map(|_| node.accept(None)).collect::<Result<Vec<Session>>>();
    let _warm = accept(WARM_UP)?;
    settle();
    let before_kib = of_status("VmRSS:");
    let _idle = accept(sessions)?;
    println!("{}", report("server", before_kib, sessions));
    // Until the clients are done.
    let _ = std::io::stdin().lock().read_line(&mut String::new());
    Ok(())
}

fn connect(home: &Path, engine: &str, address: &str, count: usize) -> Result<Vec<(Node, Session)>> {
    let open = |_| {
        let node = Node::open(Options::new().home(home).engine(engine))?;
        let session = node.connect(address, SOON)?;
        Ok((node, session))
    };
    (0..count).map(open).collect()
}

fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().collect();
    let sessions: usize = arguments.get(1).map_or(Ok(2000), |count| count.parse())?;
    let engine = arguments.get(2).map_or("shared", String::as_str);
    if let Some(home) = arguments.get(3) {
        return Ok(serve(Path::new(home), sessions)?);
    }
    let home = std::env::temp_dir().join(format!("clerver-idle-memory-{}", std::process::id()));
    let mut server = Command::new(std::env::current_exe()?)
        .args([&sessions.to_string(), engine])
        .arg(&home)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut said = BufReader::new(server.stdout.take().ok_or("the server has no output")?).lines();
    let mut next = || said.next().ok_or("the server ended")?.map_err(Box::<dyn std::error::Error>::from);
    let address = next()?;
    let warm = connect(&home, engine, &address, WARM_UP)?;
    settle();
    settle();
    let before_kib = of_status("VmRSS:");
    let idle = connect(&home, engine, &address, sessions)?;
    println!("{}", report("client", before_kib, sessions));
    println!("{}", next()?);
    for (node, _) in warm.iter().chain(&idle) {
        node.close(Duration::from_secs(1))?;
    }
    writeln!(server.stdin.take().ok_or("the server has no input")?)?;
    server.wait()?;
    std::fs::remove_dir_all(&home)?;
    Ok(())
}
