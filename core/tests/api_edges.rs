//! What a review found: user code under locks, strangers at the door, and reports at the end.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod api_support;

use api_support::{Home, Pair, SOON};
use clerver::api::{ConnectOptions, Kind, LogLevel, Node, ServiceOptions, SessionEvent, SessionState};
use clerver::options::Options;
use clerver_proto::error::Code;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use parking_lot::{Condvar, Mutex};
use std::collections::BTreeSet;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

/// Runs it on a thread of its own, so that one that hangs fails the test.
fn within<T: Send + 'static>(wait: Duration, run: impl FnOnce() -> T + Send + 'static) -> T {
    let (send, receive) = mpsc::channel();
    std::thread::spawn(move || drop(send.send(run())));
    receive.recv_timeout(wait).unwrap()
}

fn pause(wait: Duration) {
    let (_send, receive) = mpsc::channel::<()>();
    let _ = receive.recv_timeout(wait);
}

const LONG: Duration = Duration::from_secs(10);

#[test]
fn a_refused_handler_or_kind_is_dropped_where_no_lock_is_held() {
    let pair = Pair::new();
    let (ours, _theirs) = pair.session();
    pair.client.serve("x", ServiceOptions::default(), |_| Ok(vec![])).unwrap();
    pair.client.register_kind("k", Kind::new(drop)).unwrap();
    let (node, channel, other) = (pair.client.clone(), ours.open("c").unwrap(), ours.open("d").unwrap());
    let codes = within(LONG, move || {
        let handler = move |_: &_| channel.send(b"", None).map(|()| Vec::new());
        let kind = Kind::new(move |_| other.stop());
        [node.serve("x", ServiceOptions::default(), handler), node.register_kind("k", kind)]
            .map(|result| result.unwrap_err().code)
    });
    assert_eq!(codes, [Code::InUse; 2]);
    pair.client.close(Duration::ZERO).unwrap();
    let (node, channel) = (pair.client.clone(), ours.clone());
    let late = within(LONG, move || {
        node.serve("y", ServiceOptions::default(), move |_| channel.call("z", b"", None).map(|b| b.to_vec()))
    });
    assert_eq!(late.unwrap_err().code, Code::Closed);
}

#[test]
fn a_close_may_wait_for_ever() {
    let pair = Pair::new();
    let (ours, _theirs) = pair.session();
    within(LONG, move || ours.close(Duration::MAX)).unwrap();
    let server = pair.server.clone();
    within(LONG, move || server.close(Duration::MAX)).unwrap();
}

#[test]
fn silent_connections_keep_nobody_out() {
    let pair = Pair::with(|options| options.handshakes_max(2), |options| options);
    let _silent: Vec<_> = (0..300).map(|_| TcpStream::connect(&pair.address).unwrap()).collect();
    let (client, address) = (pair.client.clone(), pair.address.clone());
    within(Duration::from_secs(3), move || client.connect(&address, SOON)).unwrap();
}

#[test]
fn connections_from_one_source_that_speak_soon_are_never_closed_for_want_of_places() {
    let pair = Pair::new();
    let all: Vec<_> = (0..700).map(|_| TcpStream::connect(&pair.address).unwrap()).collect();
    all[699].set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    assert!((&all[699]).read(&mut [0]).is_err(), "nothing is said or closed meanwhile");
    let is_open = |socket: &&TcpStream| {
        socket.set_nonblocking(true).unwrap();
        socket.peek(&mut [0]).is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock)
    };
    assert_eq!(all.iter().filter(is_open).count(), 700);
    let (client, address) = (pair.client.clone(), pair.address.clone());
    within(Duration::from_secs(4), move || client.connect(&address, SOON)).unwrap();
}

#[test]
fn more_peers_than_handshakes_all_get_in() {
    let server = Home::new();
    let homes: Vec<Home> = (0..12).map(|_| Home::new()).collect();
    homes.iter().for_each(|home| server.trust(home));
    let node = Node::open(server.options().handshakes_max(1)).unwrap();
    let address = node.listen("127.0.0.1:0").unwrap().to_string();
    std::thread::scope(|scope| {
        for home in &homes {
            let address = &address;
            scope.spawn(move || home.open().connect(address, SOON).unwrap());
        }
    });
}

#[test]
fn an_error_that_a_handler_left_in_openssl_ends_no_link() {
    let pair = Pair::new();
    let inline = ServiceOptions { inline: true, ..ServiceOptions::default() };
    let bad = |_: &_| {
        openssl::pkey::PKey::private_key_from_pem(b"junk").unwrap_err().put();
        Ok(vec![])
    };
    pair.server.serve("bad", inline, bad).unwrap();
    let (ours, theirs) = pair.session();
    ours.call("bad", b"", SOON).unwrap();
    let near = ours.open("bulk").unwrap();
    near.send(b"", SOON).unwrap();
    let far = theirs.accept_channel(SOON).unwrap();
    std::thread::spawn(move || while far.receive(SOON).is_ok() {});
    for _ in 0..200 {
        near.send(&[0; 60_000], SOON).unwrap();
    }
    while let Ok(event) = theirs.next_event(Some(Duration::ZERO)) {
        assert!(!matches!(event, SessionEvent::LinkEnded { .. }), "{event:?}");
    }
}

#[test]
fn requests_that_wait_beyond_the_budget_are_answered_busy() {
    let pair = Pair::with(|options| options.workers(1), |options| options);
    let (release, wait) = mpsc::channel::<()>();
    let wait = Mutex::new(wait);
    pair.server
        .serve("stuck", ServiceOptions::default(), move |_| {
            let _ = wait.lock().recv();
            Ok(vec![])
        })
        .unwrap();
    let (ours, _theirs) = pair.session();
    let body = vec![7; 4 << 20];
    // 32 MiB may wait, beside the one that runs.
    let mut codes = Vec::new();
    let calls: Vec<_> = (0..14)
        .map(|_| {
            let (ours, body) = (ours.clone(), body.clone());
            std::thread::spawn(move || ours.call("stuck", &body, SOON).map_err(|error| error.code))
        })
        .collect();
    pause(Duration::from_secs(2));
    drop(release);
    for call in calls {
        codes.push(call.join().unwrap().err());
    }
    let busy = codes.iter().filter(|code| **code == Some(Code::Busy)).count();
    let good = codes.iter().filter(|code| code.is_none()).count();
    assert!((4..=6).contains(&busy) && busy + good == codes.len(), "{codes:?}");
}

#[test]
fn a_connect_whose_session_ends_at_once_answers_the_session_and_leaks_nothing() {
    let pair = Pair::new();
    let server = pair.server.clone();
    std::thread::spawn(move || {
        while let Ok(session) = server.accept(SOON) {
            let _ = session.close(Duration::ZERO);
        }
    });
    let mut codes = BTreeSet::new();
    for _ in 0..60 {
        match pair.client.connect(&pair.address, SOON) {
            Ok(session) => drop(session.close(Duration::ZERO)),
            Err(error) => drop(codes.insert(error.code.name())),
        }
    }
    assert!(!codes.contains("HANDLE"), "{codes:?}");
}

#[test]
fn destructors_that_a_short_close_skipped_are_reported() {
    let pair = Pair::new();
    let ended = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&ended);
    let kind = Kind::new(move |_| {
        pause(Duration::from_millis(20));
        count.fetch_add(1, Ordering::SeqCst);
    });
    pair.server.register_kind("k", kind).unwrap();
    let (_ours, theirs) = pair.session();
    for _ in 0..10 {
        theirs.attach("k", Box::new(1u8), None).map_err(|(error, _)| error).unwrap();
    }
    let report = pair.server.close(Duration::ZERO).unwrap();
    pause(Duration::from_millis(500));
    let ended = ended.load(Ordering::SeqCst);
    assert!(report.stuck.len() as u64 + ended >= 10, "{ended} ended, {:?}", report.stuck);
    assert!(report.stuck.len() <= 10, "{:?}", report.stuck);
    assert!(report.stuck.iter().all(|name| name == "destroy of an object of kind \"k\""), "{report:?}");
}

#[test]
fn a_log_is_dropped_where_no_lock_is_held_and_at_the_close() {
    struct Owner(Node, mpsc::Sender<()>);
    impl Drop for Owner {
        fn drop(&mut self) {
            self.0.set_log(LogLevel::Error, |_, _| ());
            let _ = self.1.send(());
        }
    }
    let (send, dropped) = mpsc::channel();
    let home = Home::new();
    let node = home.open();
    let sink = |send: &mpsc::Sender<()>| {
        let owner = Owner(node.clone(), send.clone());
        move |_: LogLevel, _: &str| {
            let _ = &owner;
        }
    };
    node.set_log(LogLevel::Debug, sink(&send));
    let (other, second) = (node.clone(), sink(&send));
    within(LONG, move || other.set_log(LogLevel::Debug, second));
    dropped.recv_timeout(LONG).unwrap();
    node.close(Duration::ZERO).unwrap();
    dropped.recv_timeout(LONG).unwrap();
}

/// A relay whose target can change, whose connections can be cut, and which can stand still.
struct Relay {
    address: String,
    target: Arc<Mutex<String>>,
    live: Arc<Mutex<Vec<TcpStream>>>,
    stands_still: Arc<(Mutex<bool>, Condvar)>,
    /// What the ends of connections were, other than in good order.
    failures: Arc<Mutex<Vec<ErrorKind>>>,
}

impl Relay {
    fn new(target: &str) -> Relay {
        Relay::slow(target, Duration::ZERO)
    }

    /// Each 4 KiB take `delay` longer.
    fn slow(target: &str, delay: Duration) -> Relay {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let relay = Relay {
            address: listener.local_addr().unwrap().to_string(),
            target: Arc::new(Mutex::new(target.to_owned())),
            live: Arc::default(),
            stands_still: Arc::default(),
            failures: Arc::default(),
        };
        let failures = Arc::clone(&relay.failures);
        let (target, live, still) =
            (Arc::clone(&relay.target), Arc::clone(&relay.live), Arc::clone(&relay.stands_still));
        std::thread::spawn(move || {
            for near in listener.incoming() {
                let (near, far) = (near.unwrap(), TcpStream::connect(target.lock().as_str()).unwrap());
                let (back, forth) = (near.try_clone().unwrap(), far.try_clone().unwrap());
                live.lock().extend([near.try_clone().unwrap(), far.try_clone().unwrap()]);
                for (from, to) in [(near, forth), (far, back)] {
                    let (still, failures) = (Arc::clone(&still), Arc::clone(&failures));
                    std::thread::spawn(move || match Relay::copy(from, to, &still, delay) {
                        Ok(()) => {}
                        Err(error) => failures.lock().push(error.kind()),
                    });
                }
            }
        });
        relay
    }

    fn copy(
        mut from: TcpStream,
        mut to: TcpStream,
        still: &(Mutex<bool>, Condvar),
        delay: Duration,
    ) -> io::Result<()> {
        let mut buffer = [0; 4096];
        loop {
            let size = from.read(&mut buffer)?;
            let mut stands = still.0.lock();
            while *stands {
                still.1.wait(&mut stands);
            }
            drop(stands);
            if size == 0 {
                // Meanwhile the other end goes on as if nothing had happened.
                pause(delay * 100);
                return to.shutdown(Shutdown::Write);
            }
            if !delay.is_zero() {
                pause(delay);
            }
            to.write_all(&buffer[..size])?;
        }
    }

    fn stand_still(&self, stands: bool) {
        *self.stands_still.0.lock() = stands;
        self.stands_still.1.notify_all();
    }

    fn cut(&self) {
        for socket in self.live.lock().drain(..) {
            let _ = socket.shutdown(Shutdown::Both);
        }
    }
}

#[test]
fn a_session_that_any_node_made_again_is_given_out_by_accept() {
    let homes = (Home::new(), Home::new());
    homes.0.trust(&homes.1);
    homes.1.trust(&homes.0);
    let (first, second, client) = (homes.0.open(), homes.0.open(), homes.1.open());
    let relay = Relay::new(&first.listen("127.0.0.1:0").unwrap().to_string());
    let addresses = vec![relay.address.clone()];
    let options = ConnectOptions { addresses, any_node: true, ..ConnectOptions::default() };
    let ours = client.connect_with(options, SOON).unwrap();
    *relay.target.lock() = second.listen("127.0.0.1:0").unwrap().to_string();
    relay.cut();
    let theirs = second.accept(SOON).unwrap();
    let again = client.accept(SOON).unwrap();
    assert_eq!((again.peer(), theirs.peer()), (second.id(), client.id()));
    assert!(ours.wait_state(SessionState::is_final, SOON).unwrap().is_final());
    again.close(LONG).unwrap();
    assert_eq!(theirs.wait_state(SessionState::is_final, SOON).unwrap(), SessionState::Closed);
}

#[test]
fn a_drain_reports_what_a_released_channel_has_not_delivered() {
    let pair = Pair::new();
    let relay = Relay::new(&pair.address);
    let ours = pair.client.connect(&relay.address, SOON).unwrap();
    relay.stand_still(true);
    let channel = ours.open("c").unwrap();
    channel.send(&[1; 50_000], SOON).unwrap();
    drop(channel);
    let report = pair.client.drain(Some(Duration::from_millis(300))).unwrap();
    assert_eq!(report.undelivered.len(), 1, "{report:?}");
    assert!(report.undelivered[0].channel.written >= 50_000 && report.running.is_empty(), "{report:?}");
    relay.stand_still(false);
    let report = pair.client.drain(SOON).unwrap();
    assert!(report.undelivered.is_empty(), "{report:?}");
}

#[test]
fn a_drain_names_an_inline_handler_that_runs() {
    let pair = Pair::new();
    let (release, wait) = mpsc::channel::<()>();
    let (send, runs) = mpsc::channel();
    let (wait, send) = (Mutex::new(wait), Mutex::new(send));
    let options = ServiceOptions { inline: true, ..ServiceOptions::default() };
    let handler = move |_: &_| {
        let _ = (send.lock().send(()), wait.lock().recv());
        Ok(vec![])
    };
    pair.server.serve("slow", options, handler).unwrap();
    let (ours, _theirs) = pair.session();
    let call = ours.call_start("slow", b"", None).unwrap();
    runs.recv_timeout(LONG).unwrap();
    let report = pair.server.drain(Some(Duration::from_millis(50))).unwrap();
    assert_eq!(report.running, ["service \"slow\""]);
    drop(release);
    assert_eq!(call.receive(SOON).unwrap().unwrap(), "");
    assert!(pair.server.drain(SOON).unwrap().running.is_empty());
}

#[test]
fn a_close_waits_for_peers_that_still_send() {
    let pair = Pair::new();
    let relay = Relay::slow(&pair.address, Duration::from_millis(2));
    let ours = pair.client.connect(&relay.address, SOON).unwrap();
    let theirs = pair.server.accept(SOON).unwrap();
    let up = ours.open("up").unwrap();
    up.send(b"1", SOON).unwrap();
    let down = theirs.accept_channel(SOON).unwrap();
    std::thread::spawn(move || while up.send(&[0; 30_000], SOON).is_ok() {});
    std::thread::spawn(move || while down.receive(SOON).is_ok() {});
    pause(Duration::from_millis(100));
    pair.server.close(LONG).unwrap();
    assert_eq!(ours.wait_state(SessionState::is_final, SOON).unwrap(), SessionState::Closed);
    assert!(relay.failures.lock().is_empty(), "{:?}", relay.failures.lock());
}

#[test]
fn a_close_ends_a_connect_that_still_waits() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap().to_string();
    let home = Home::new();
    let node = home.open();
    let (other, (send, result)) = (node.clone(), mpsc::channel());
    std::thread::spawn(move || send.send(other.connect(&address, None).map(drop)));
    drop(silent.accept().unwrap());
    node.close(LONG).unwrap();
    assert_eq!(result.recv_timeout(LONG).unwrap().unwrap_err().code, Code::Closed);
}

#[test]
fn an_event_wakes_the_thread_that_drives_the_node_for_it() {
    let slow = |options: Options| options.ttl_ms(40_000).beat_ms(8000);
    let pair = Pair::with(slow, |o| slow(o).caller_driven(true).max_gap_ms(10_000));
    let relay = Relay::new(&pair.address);
    let ours = pair.client.connect(&relay.address, SOON).unwrap();
    for _ in 0..4 {
        while pair.client.try_next_event().is_some() {}
        pair.client.run_once(Some(Duration::from_millis(50))).unwrap();
    }
    // From here on nothing comes from outside.
    relay.stand_still(true);
    let (node, (send, heard)) = (pair.client.clone(), mpsc::channel());
    std::thread::spawn(move || send.send(node.next_event(Some(Duration::from_secs(6))).is_ok()));
    pause(Duration::from_millis(200));
    std::thread::spawn(move || ours.close(LONG));
    assert!(heard.recv_timeout(Duration::from_secs(2)).unwrap());
    relay.stand_still(false);
}

#[test]
fn the_descriptor_tells_of_a_handler_that_came_during_a_blocking_call() {
    let slow = |options: Options| options.ttl_ms(40_000).beat_ms(8000);
    let pair = Pair::with(slow, |o| slow(o).caller_driven(true).max_gap_ms(10_000));
    let third = Home::new();
    third.trust(&pair.homes.1);
    pair.homes.1.trust(&third);
    pair.client.reload_trust().unwrap();
    let third = Node::open(slow(third.options())).unwrap();
    let address = third.listen("127.0.0.1:0").unwrap().to_string();
    let (send, ran) = mpsc::channel();
    let send = Mutex::new(send);
    let handler = move |_: &_| {
        let _ = send.lock().send(());
        Ok(vec![])
    };
    pair.client.serve("late", ServiceOptions::default(), handler).unwrap();
    let slow = |_: &_| {
        pause(Duration::from_millis(300));
        Ok(vec![])
    };
    pair.server.serve("slow", ServiceOptions::default(), slow).unwrap();
    let first = pair.client.connect(&pair.address, SOON).unwrap();
    let _second = pair.client.connect(&address, SOON).unwrap();
    let theirs = third.accept(SOON).unwrap();
    let call = theirs.call_start("late", b"", SOON).unwrap();
    first.call("slow", b"", SOON).unwrap();
    assert!(ran.try_recv().is_err(), "a blocking call runs no handlers");
    // As a program does that has a loop of its own.
    let mut poll = Poll::new().unwrap();
    let descriptor = pair.client.event_descriptor().unwrap().as_raw_fd();
    poll.registry().register(&mut SourceFd(&descriptor), Token(0), Interest::READABLE).unwrap();
    let mut events = Events::with_capacity(4);
    poll.poll(&mut events, Some(Duration::from_millis(100))).unwrap();
    assert!(!events.is_empty(), "the descriptor is readable");
    pair.client.run_once(Some(Duration::ZERO)).unwrap();
    ran.recv_timeout(Duration::from_millis(100)).unwrap();
    pair.client.run_once(Some(Duration::ZERO)).unwrap();
    assert_eq!(call.receive(SOON).unwrap().unwrap(), "");
}

/// Time of the processor that this thread has had.
fn processor_time() -> Duration {
    let told = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(told.split(' ').next().unwrap().parse().unwrap())
}

/// A service whose handlers stay until the answer is dropped, and tell when they begin.
fn serve_held(node: &Node, inline: bool) -> (mpsc::Sender<()>, mpsc::Receiver<()>) {
    let (release, held) = mpsc::channel::<()>();
    let (begin, begun) = mpsc::channel();
    let held = Mutex::new(held);
    let options = ServiceOptions { inline, ..ServiceOptions::default() };
    let handler = move |_: &clerver::api::CallContext| {
        let _ = begin.send(());
        let _ = held.lock().recv();
        Ok(vec![])
    };
    node.serve("held", options, handler).unwrap();
    (release, begun)
}

#[test]
fn to_wait_for_a_handler_at_the_close_takes_no_processor() {
    let pair = Pair::new();
    let (release, begun) = serve_held(&pair.server, false);
    let (ours, theirs) = pair.session();
    std::thread::scope(|scope| {
        scope.spawn(move || drop(ours.call("held", b"", SOON)));
        begun.recv().unwrap();
        drop(theirs);
        let before = processor_time();
        let report = pair.server.close(Duration::from_secs(1)).unwrap();
        let took = processor_time() - before;
        drop(release);
        assert_eq!(report.stuck.len(), 1, "{:?}", report.stuck);
        assert!(took < Duration::from_millis(500), "{took:?}");
    });
}

#[test]
fn a_burst_to_one_session_holds_up_no_message_to_another() {
    let pair = Pair::new();
    let third = Home::new();
    third.trust(&pair.homes.0);
    pair.homes.0.trust(&third);
    pair.server.reload_trust().unwrap();
    let other = third.open();
    let (release, begun) = serve_held(&pair.server, true);
    let (first, to_first) = pair.session();
    let second = other.connect(&pair.address, SOON).unwrap();
    let to_second = pair.server.accept(SOON).unwrap();
    let (burst, lone) = (to_first.open("burst").unwrap(), to_second.open("lone").unwrap());
    lone.send(b"before", SOON).unwrap();
    let received = second.accept_channel(SOON).unwrap();
    assert_eq!(received.receive(SOON).unwrap(), "before");
    std::thread::scope(|scope| {
        scope.spawn(move || drop(first.call("held", b"", SOON)));
        // From here on the server's thread is in the handler.
        begun.recv().unwrap();
        (0..100).for_each(|_| burst.send(b"burst", SOON).unwrap());
        lone.send(b"alone", SOON).unwrap();
        assert_eq!(received.receive(Some(LONG / 5)).unwrap(), "alone");
        drop(release);
    });
}
