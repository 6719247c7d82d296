//! Many nodes of one process on one loop (`engine = shared`): what they share, and what they do not.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod api_support;

use api_support::{Home, SOON};
use clerver::api::{CallContext, DescriptorKind, Node, ServiceOptions, Session};
use clerver::options::Options;
use clerver_proto::error::{Code, Result};
use clerver_proto::node::SessionState;
use parking_lot::Mutex;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpListener;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::Duration;

/// The loop belongs to the process, and so do the counts of threads and descriptors: one test at a time.
static ALONE: Mutex<()> = Mutex::new(());

const NODES: usize = 200;

const INLINE: ServiceOptions = ServiceOptions { inline: true, level_min: 1, idempotent: false };

fn echo(call: &CallContext) -> Result<Vec<u8>> {
    Ok(call.request().to_vec())
}

fn shared(home: &Home) -> Options {
    home.options().engine("shared")
}

fn open(options: Options) -> Node {
    Node::open(options).unwrap()
}

/// Loops that run now; a thread takes its name only once it runs.
fn loops(wanted: usize) {
    becomes(&format!("{wanted} loops, not {}", threads("clerver")), || threads("clerver") == wanted);
}

/// Threads of this process with this name.
fn threads(name: &str) -> usize {
    let named = |task: std::io::Result<std::fs::DirEntry>| {
        // A thread may end while it is looked at.
        let found = std::fs::read_to_string(task.unwrap().path().join("comm")).unwrap_or_default();
        found.trim() == name
    };
    std::fs::read_dir("/proc/self/task").unwrap().map(named).filter(|is_named| *is_named).count()
}

fn descriptors() -> usize {
    // Without the one that looks.
    std::fs::read_dir("/proc/self/fd").unwrap().count() - 1
}

/// Waits until something holds that no bell tells of.
fn becomes(what: &str, holds: impl Fn() -> bool) {
    let (_keep, wait) = mpsc::channel::<()>();
    for _ in 0..4000 {
        if holds() {
            return;
        }
        let _ = wait.recv_timeout(Duration::from_millis(5));
    }
    panic!("it does not become true: {what}");
}

fn serve_echo(node: &Node) -> String {
    node.serve("echo", ServiceOptions::default(), echo).unwrap();
    node.serve("inline", INLINE, echo).unwrap();
    node.listen("127.0.0.1:0").unwrap().to_string()
}

fn calls(session: &Session, text: &str) {
    for service in ["echo", "inline"] {
        assert_eq!(session.call(service, text.as_bytes(), SOON).unwrap(), text);
    }
}

#[test]
fn two_hundred_nodes_cost_one_thread_and_one_descriptor_each() {
    let _alone = ALONE.lock();
    let home = Home::new();
    let server = open(home.options());
    let address = serve_echo(&server);
    loops(1);
    let first = open(shared(&home));
    let mut clients = vec![(first.connect(&address, SOON).unwrap(), first)];
    loops(2);
    let before = descriptors();
    for _ in 1..NODES {
        let node = open(shared(&home));
        clients.push((node.connect(&address, SOON).unwrap(), node));
    }
    loops(2);
    // Four look names up and write pins down.
    assert!(threads("clerver-work") <= 4, "{} threads work", threads("clerver-work"));
    // The other half is the server's.
    becomes("one descriptor for each node", || descriptors() == before + 2 * (NODES - 1));
    for (number, (session, _)) in clients.iter().enumerate() {
        calls(session, &number.to_string());
    }
    // Closing some leaves the others alone.
    let (closing, staying): (Vec<_>, Vec<_>) =
        clients.into_iter().enumerate().partition(|(number, _)| number % 2 == 0);
    for (_, (session, node)) in closing {
        assert_eq!(node.close(Duration::from_secs(10)).unwrap().stuck, [""; 0]);
        assert_eq!(session.call("echo", b"", SOON).unwrap_err().code, Code::Closed);
    }
    loops(2);
    for (number, (session, _)) in &staying {
        calls(session, &number.to_string());
    }
    // The last one ends the thread, and all that the loop has open.
    for (_, (_, node)) in &staying {
        loops(2);
        node.close(Duration::from_secs(10)).unwrap();
    }
    loops(1);
    server.close(Duration::from_secs(10)).unwrap();
    loops(0);
    // And the next one begins anew.
    let node = open(shared(&home));
    loops(1);
    drop(node);
    loops(0);
}

#[test]
fn a_node_has_a_descriptor_for_events_only_once_it_was_asked_for() {
    let _alone = ALONE.lock();
    let home = Home::new();
    let (_first, second) = (open(shared(&home)), open(shared(&home)));
    let before = descriptors();
    let third = open(shared(&home));
    assert_eq!(descriptors(), before);
    second.event_descriptor().unwrap();
    second.event_descriptor().unwrap();
    assert_eq!(descriptors(), before + 1);
    third.close(Duration::ZERO).unwrap();
    assert_eq!(descriptors(), before + 1);
}

#[test]
fn nodes_of_one_loop_call_each_other() {
    let _alone = ALONE.lock();
    let home = Home::new();
    let (server, client) = (open(shared(&home)), open(shared(&home)));
    let address = serve_echo(&server);
    client.serve("echo", ServiceOptions::default(), echo).unwrap();
    // A worker of one node that waits for the other, on the loop of both.
    let back = |call: &CallContext| Ok(call.session().call("echo", call.request(), SOON)?.to_vec());
    server.serve("back", ServiceOptions::default(), back).unwrap();
    let waits = |call: &CallContext| match call.session().call("echo", b"", SOON) {
        Err(error) => Ok(error.code.name().as_bytes().to_vec()),
        Ok(_) => Ok(b"an inline handler waited".to_vec()),
    };
    server.serve("waits", INLINE, waits).unwrap();
    let session = client.connect(&address, SOON).unwrap();
    loops(1);
    for round in 0..50 {
        calls(&session, &format!("round {round}"));
    }
    assert_eq!(session.call("back", b"there and back", SOON).unwrap(), "there and back");
    assert_eq!(session.call("waits", b"", SOON).unwrap(), Code::InCallback.name());
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let session = &session;
            scope.spawn(move || (0..50).for_each(|number| calls(session, &format!("{thread} {number}"))));
        }
    });
}

#[test]
fn beats_of_idle_nodes_go_on_and_the_loss_of_one_peer_is_noticed_by_its_node_alone() {
    let _alone = ALONE.lock();
    let home = Home::new();
    let server = open(home.options().ttl_ms(1000));
    let address = serve_echo(&server);
    // It falls silent when nobody drives it any more, and its connections stay open.
    let silent = open(home.options().ttl_ms(1000).caller_driven(true).max_gap_ms(250));
    let silent_address = silent.listen("127.0.0.1:0").unwrap().to_string();
    let is_over = AtomicBool::new(false);
    let nodes: Vec<Node> = (0..20).map(|_| open(shared(&home).ttl_ms(1000).beat_ms(100))).collect();
    let sessions: Vec<Session> = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Ordering::Acquire) {
                silent.run_once(Some(Duration::from_millis(20))).unwrap();
            }
        });
        let to = |number| if number == 7 { &silent_address } else { &address };
        let connect = |(number, node): (usize, &Node)| node.connect(to(number), SOON).unwrap();
        let sessions = nodes.iter().enumerate().map(connect).collect();
        is_over.store(true, Ordering::Release);
        sessions
    });
    let error = sessions[7].wait_state(|_| false, SOON).unwrap_err();
    assert_eq!(error.code, Code::Lost, "{error}");
    for (number, session) in sessions.iter().enumerate().filter(|(number, _)| *number != 7) {
        let info = session.info().unwrap();
        assert_eq!((info.state, info.links_total), (SessionState::Live, 1), "node {number}");
        assert!(info.round_trip.is_some(), "its beats came back");
    }
}

#[test]
fn a_node_that_closes_takes_its_dials_handshakes_and_bridges_along_and_no_others() {
    let _alone = ALONE.lock();
    let home = Home::new();
    let (server, leaving, staying) = (open(shared(&home)), open(shared(&home)), open(shared(&home)));
    let address = serve_echo(&server);
    let bridge = |node: &Node| {
        let session = node.connect(&address, SOON).unwrap();
        let theirs = server.accept(SOON).unwrap();
        let near = session.dial_descriptor("bytes", DescriptorKind::Tcp).unwrap();
        let far = theirs.accept_channel(SOON).unwrap();
        (session, std::net::TcpStream::from(near), far)
    };
    let (mut gone, mut kept) = (bridge(&leaving), bridge(&staying));
    // Somebody who accepts connections and says nothing.
    let mute = TcpListener::bind("127.0.0.1:0").unwrap();
    let mute_address = mute.local_addr().unwrap().to_string();
    std::thread::scope(|scope| {
        let dialling = scope.spawn(|| leaving.connect(&mute_address, SOON).unwrap_err().code);
        let (mut connection, _) = mute.accept().unwrap();
        leaving.close(Duration::from_millis(100)).unwrap();
        assert_eq!(dialling.join().unwrap(), Code::Closed);
        let mut said = Vec::new();
        connection.set_read_timeout(SOON).unwrap();
        match connection.read_to_end(&mut said) {
            Ok(_) => {}
            Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
        }
    });
    gone.1.set_read_timeout(SOON).unwrap();
    assert_eq!(gone.1.read(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionReset);
    kept.1.write_all(b"still").unwrap();
    assert_eq!(kept.2.receive(SOON).unwrap(), "still");
    kept.2.send(b"here", SOON).unwrap();
    let mut answer = [0; 4];
    kept.1.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"here");
    calls(&kept.0, "too");
}

#[test]
fn nodes_that_open_and_close_at_once_never_meet_a_loop_that_ends() {
    let _alone = ALONE.lock();
    let home = Home::new();
    let server = open(home.options());
    let address = serve_echo(&server);
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (home, address) = (&home, &address);
            scope.spawn(move || {
                for round in 0..25 {
                    let node = open(shared(home));
                    if round % 5 == thread {
                        calls(&node.connect(address, SOON).unwrap(), "x");
                    }
                    node.close(Duration::from_secs(5)).unwrap();
                }
            });
        }
    });
    loops(1);
}

#[test]
fn an_inline_handler_closes_its_own_node_and_the_others_go_on() {
    let _alone = ALONE.lock();
    let home = Home::new();
    let (server, other, client) = (open(shared(&home)), open(shared(&home)), open(shared(&home)));
    let (address, other_address) = (serve_echo(&server), serve_echo(&other));
    let (closed, was_closed) = mpsc::channel();
    let own = server.clone();
    let close = move |_: &CallContext| {
        closed.send(own.close(Duration::from_secs(5)).is_ok()).unwrap();
        Ok(Vec::new())
    };
    server.serve("close", INLINE, close).unwrap();
    let (session, live) =
        (client.connect(&address, SOON).unwrap(), client.connect(&other_address, SOON).unwrap());
    let _call = session.call_start("close", b"", SOON).unwrap();
    assert!(was_closed.recv_timeout(Duration::from_secs(10)).unwrap());
    calls(&live, "on");
    loops(1);
}

#[test]
fn a_handler_that_hangs_in_the_loop_delays_the_others_and_hangs_no_close() {
    let _alone = ALONE.lock();
    let home = Home::new();
    let (server, other, client) = (open(shared(&home)), open(shared(&home)), open(home.options()));
    let (address, other_address) = (serve_echo(&server), serve_echo(&other));
    let (entered, inside) = mpsc::channel();
    let (release, wait) = mpsc::channel::<()>();
    let wait = Mutex::new(wait);
    let hang = move |_: &CallContext| {
        entered.send(()).unwrap();
        let _ = wait.lock().recv();
        Ok(b"late".to_vec())
    };
    server.serve("hang", INLINE, hang).unwrap();
    let session = client.connect(&address, SOON).unwrap();
    let live = client.connect(&other_address, SOON).unwrap();
    let late = session.call_start("hang", b"", SOON).unwrap();
    inside.recv().unwrap();
    assert_eq!(live.call("inline", b"", Some(Duration::from_millis(50))).unwrap_err().code, Code::Timeout);
    // It returns, although the loop cannot let the node go yet.
    other.close(Duration::from_millis(100)).unwrap();
    loops(2);
    release.send(()).unwrap();
    assert_eq!(late.receive(SOON).unwrap().unwrap(), "late");
    calls(&session, "on");
    server.close(Duration::from_secs(10)).unwrap();
    loops(1);
}
