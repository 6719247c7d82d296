//! The proxy against plain sockets.

use super::*;
use std::io::{ErrorKind, Read, Write};

const LONG: Duration = Duration::from_secs(20);

struct Pair {
    proxy: Proxy,
    server: TcpListener,
}

impl Pair {
    fn new() -> Pair {
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let proxy = Proxy::start(server.local_addr().unwrap()).unwrap();
        Pair { proxy, server }
    }

    fn connect(&self) -> (TcpStream, TcpStream) {
        let client = TcpStream::connect(self.proxy.address()).unwrap();
        let (server, _) = self.server.accept().unwrap();
        for stream in [&client, &server] {
            stream.set_read_timeout(Some(LONG)).unwrap();
        }
        (client, server)
    }
}

fn is_silent(stream: &mut TcpStream) -> bool {
    stream.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    let result = stream.read(&mut [0]);
    stream.set_read_timeout(Some(LONG)).unwrap();
    matches!(result.map_err(|error| error.kind()), Err(ErrorKind::WouldBlock | ErrorKind::TimedOut))
}

#[test]
fn bytes_and_ends_pass_both_ways() {
    let pair = Pair::new();
    let (mut client, mut server) = pair.connect();
    client.write_all(b"up").unwrap();
    server.write_all(b"down").unwrap();
    let mut buffer = [0; 4];
    server.read_exact(&mut buffer[..2]).unwrap();
    assert_eq!(&buffer[..2], b"up");
    client.read_exact(&mut buffer).unwrap();
    assert_eq!(&buffer, b"down");
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(server.read(&mut buffer).unwrap(), 0, "an end, not a reset");
    server.write_all(b"late").unwrap();
    client.read_exact(&mut buffer).unwrap();
    drop(server);
    assert!(pair.proxy.wait_until(|counters| counters.open == 0, LONG));
    let counters = pair.proxy.counters();
    assert_eq!((counters.connections, counters.bytes_up, counters.bytes_down), (1, 2, 8));
    assert_eq!(counters.resets, 0);
}

#[test]
fn a_reset_comes_after_exactly_that_many_bytes() {
    let pair = Pair::new();
    pair.proxy.reset_after(Some(100_000));
    let (mut client, mut server) = pair.connect();
    let writer = std::thread::spawn(move || {
        let error = loop {
            if let Err(error) = client.write_all(&[7; 4096]) {
                break error;
            }
        };
        (client, error.kind())
    });
    let mut received = 0;
    let mut buffer = [0; 4096];
    let error = loop {
        match server.read(&mut buffer) {
            Ok(0) => panic!("an end instead of a reset"),
            Ok(size) => received += size,
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    assert!(received <= 100_000, "{received}");
    let (_client, kind) = writer.join().unwrap();
    assert!(matches!(kind, ErrorKind::ConnectionReset | ErrorKind::BrokenPipe), "{kind:?}");
    assert!(pair.proxy.wait_until(|counters| counters.open == 0, LONG));
    assert_eq!((pair.proxy.counters().resets, pair.proxy.counters().bytes_up), (1, 100_000));
}

#[test]
fn a_black_hole_holds_back_and_loses_nothing() {
    let pair = Pair::new();
    let (mut client, mut server) = pair.connect();
    pair.proxy.stall(Direction::Up, true);
    client.write_all(b"later").unwrap();
    assert!(is_silent(&mut server));
    server.write_all(b"now").unwrap();
    let mut buffer = [0; 5];
    client.read_exact(&mut buffer[..3]).unwrap();
    pair.proxy.stall(Direction::Up, false);
    server.read_exact(&mut buffer).unwrap();
    assert_eq!(&buffer, b"later");
}

#[test]
fn a_half_open_connection_tells_nobody() {
    let pair = Pair::new();
    let (mut client, mut server) = pair.connect();
    assert!(pair.proxy.half_open_newest());
    client.write_all(b"lost").unwrap();
    assert!(is_silent(&mut server));
    drop(server);
    assert!(is_silent(&mut client));
    let (mut other, mut other_server) = pair.connect();
    other.write_all(b"x").unwrap();
    assert_eq!(other_server.read(&mut [0]).unwrap(), 1, "other connections are well");
    pair.proxy.cut_all();
    assert_eq!(client.read(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionReset);
}

#[test]
fn new_connections_are_refused_and_the_upstream_can_change() {
    let pair = Pair::new();
    pair.proxy.refuse(true);
    let mut refused = TcpStream::connect(pair.proxy.address()).unwrap();
    refused.set_read_timeout(Some(LONG)).unwrap();
    assert_eq!(refused.read(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionReset);
    pair.proxy.refuse(false);
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    pair.proxy.set_upstream(other.local_addr().unwrap());
    let mut client = TcpStream::connect(pair.proxy.address()).unwrap();
    let (mut server, _) = other.accept().unwrap();
    client.write_all(b"x").unwrap();
    assert_eq!(server.read(&mut [0]).unwrap(), 1);
    assert_eq!(pair.proxy.counters().refused, 1);
}

#[test]
fn a_delay_delays() {
    let pair = Pair::new();
    pair.proxy.delay(Duration::from_millis(100));
    let (mut client, mut server) = pair.connect();
    let watch = Stopwatch::start();
    client.write_all(b"x").unwrap();
    assert_eq!(server.read(&mut [0]).unwrap(), 1);
    assert!(watch.elapsed() >= Duration::from_millis(100));
}

#[test]
fn dropping_it_ends_everything() {
    let pair = Pair::new();
    let (mut client, _server) = pair.connect();
    pair.proxy.half_open_newest();
    drop(pair.proxy);
    assert_eq!(client.read(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionReset);
}
