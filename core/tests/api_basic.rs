//! Sessions and channels between two nodes of one process, over real sockets.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod api_support;

use api_support::{Home, Pair, SOON};
use clerver::api::{LogLevel, Node, NodeEvent, SessionEvent};
use clerver_proto::error::{Class, Code};
use clerver_proto::node::{ChannelOptions, SessionState};
use std::io::{Read, Write};
use std::sync::mpsc;
use std::time::Duration;

fn bytes(name: &str) -> ChannelOptions {
    ChannelOptions { name: name.into(), bytes: true, bulk: false, stored: false }
}

/// Bytes that repeat nowhere soon.
fn pattern(len: usize) -> Vec<u8> {
    (0..len as u64).map(|at| (at.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as u8).collect()
}

#[test]
fn a_session_is_the_same_at_both_ends_and_carries_messages() {
    let pair = Pair::new();
    let (ours, theirs) = pair.session();
    assert_eq!(ours.sid(), theirs.sid());
    assert_eq!((ours.peer(), theirs.peer()), (pair.server.id(), pair.client.id()));
    let channel = ours.open("orders").unwrap();
    channel.send(b"one", SOON).unwrap();
    channel.send(b"", SOON).unwrap();
    let other = theirs.accept_channel(SOON).unwrap();
    assert_eq!((other.name(), other.is_bytes()), ("orders", false));
    assert_eq!(other.receive(SOON).unwrap(), "one");
    assert_eq!(other.receive(SOON).unwrap(), "");
    other.send(b"answer", SOON).unwrap();
    assert_eq!(channel.receive(SOON).unwrap(), "answer");
}

#[test]
fn a_message_larger_than_every_window_arrives_whole() {
    let pair = Pair::new();
    let (ours, theirs) = pair.session();
    let (channel, message) = (ours.open("big").unwrap(), pattern(1 << 20));
    channel.send(&message, SOON).unwrap();
    let other = theirs.accept_channel(SOON).unwrap();
    assert_eq!(other.receive(SOON).unwrap(), message);
    let too_large = vec![0; (16 << 20) + 1];
    assert_eq!(channel.send(&too_large, SOON).unwrap_err().code, Code::Size);
}

/// Writers, the engine that gathers and readers that answer get into each other's way here at every step.
#[test]
fn a_burst_of_small_messages_arrives_whole_and_nothing_is_refused_within() {
    let pair = Pair::new();
    let (ours, theirs) = pair.session();
    let (faults, seen) = mpsc::channel();
    for node in [&pair.server, &pair.client] {
        let faults = faults.clone();
        node.set_log(LogLevel::Error, move |_, line| drop(faults.send(line.to_owned())));
    }
    let count: u64 = 200_000;
    let writer = std::thread::spawn(move || {
        let channel = ours.open("burst").unwrap();
        (0..count).for_each(|number| channel.send(&number.to_le_bytes().repeat(8), SOON).unwrap());
        assert_eq!(channel.receive(SOON).unwrap(), "all");
    });
    let channel = theirs.accept_channel(SOON).unwrap();
    for number in 0..count {
        let message = channel.receive(SOON).unwrap();
        assert_eq!((message.len(), &message[..8]), (64, &number.to_le_bytes()[..]), "message {number}");
    }
    channel.send(b"all", SOON).unwrap();
    writer.join().unwrap();
    assert_eq!(seen.try_iter().collect::<Vec<String>>(), Vec::<String>::new());
}

#[test]
fn a_channel_of_bytes_is_a_stream_with_an_end() {
    let pair = Pair::new();
    let (ours, theirs) = pair.session();
    let data = pattern(3_000_000);
    let wanted = data.clone();
    let writer = std::thread::spawn(move || {
        let mut channel = ours.open_with(bytes("file"), SOON).unwrap();
        channel.write_all(&data).unwrap();
        channel.end().unwrap();
        let mut answer = String::new();
        channel.read_to_string(&mut answer).unwrap();
        assert_eq!(channel.send(b"more", SOON).unwrap_err().code, Code::Closed);
        answer
    });
    let mut channel = theirs.accept_channel(SOON).unwrap();
    let mut read = Vec::new();
    channel.read_to_end(&mut read).unwrap();
    assert!(read == wanted, "{} bytes came", read.len());
    channel.write_all(b"thanks").unwrap();
    channel.end().unwrap();
    assert_eq!(writer.join().unwrap(), "thanks");
}

#[test]
fn both_directions_at_once_do_not_block_each_other() {
    let pair = Pair::new();
    let (ours, theirs) = pair.session();
    let (near, data) = (ours.open_with(bytes("both"), SOON).unwrap(), pattern(4 << 20));
    near.send(&data[..1], SOON).unwrap();
    let far = theirs.accept_channel(SOON).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| near.send(&data[1..], SOON).unwrap());
        scope.spawn(|| far.send(&data, SOON).unwrap());
        for (channel, len) in [(&near, data.len()), (&far, data.len())] {
            let data = &data;
            scope.spawn(move || {
                let mut read = vec![0; len];
                let mut reader = channel;
                reader.read_exact(&mut read).unwrap();
                assert!(read == *data);
            });
        }
    });
}

#[test]
fn what_would_block_answers_again_and_waits_end_in_time() {
    let pair = Pair::new();
    let (ours, theirs) = pair.session();
    let channel = ours.open_with(bytes("full"), SOON).unwrap();
    assert_eq!(channel.try_receive().unwrap_err().class(), Class::Again);
    let error = channel.receive(Some(Duration::from_millis(20))).unwrap_err();
    assert_eq!(error.code, Code::Timeout);
    assert!(error.message.contains("\"full\""), "{error}");
    let chunk = vec![1; 64 * 1024];
    let mut sent = 0;
    let error = loop {
        match channel.try_send(&chunk) {
            Ok(size) => sent += size,
            Err(error) => break error,
        }
    };
    assert_eq!(error.code, Code::Again);
    assert!(sent > 0);
    assert_eq!(channel.send(&chunk, Some(Duration::from_millis(20))).unwrap_err().code, Code::Timeout);
    let other = theirs.accept_channel(SOON).unwrap();
    let written = channel.report().unwrap().written;
    channel.end().unwrap();
    let mut read = Vec::new();
    (&other).read_to_end(&mut read).unwrap();
    assert!(read.len() >= sent && (read.len() as u64) <= written, "{sent} {} {written}", read.len());
}

#[test]
fn a_reset_and_a_stop_break_off_one_direction() {
    let pair = Pair::new();
    let (ours, theirs) = pair.session();
    let channel = ours.open("talk").unwrap();
    channel.send(b"first", SOON).unwrap();
    let other = theirs.accept_channel(SOON).unwrap();
    assert_eq!(other.receive(SOON).unwrap(), "first");
    channel.reset("changed my mind").unwrap();
    let error = other.receive(SOON).unwrap_err();
    assert_eq!(error.code, Code::Reset);
    assert!(error.message.contains("changed my mind"), "{error}");
    channel.stop();
    let error = loop {
        match other.send(b"still here?", SOON) {
            Ok(()) => std::thread::yield_now(),
            Err(error) => break error,
        }
    };
    assert_eq!(error.code, Code::Stopped);
}

#[test]
fn a_close_delivers_what_was_written_and_tells_both_ends() {
    let pair = Pair::new();
    let (ours, theirs) = pair.session();
    let channel = ours.open("last").unwrap();
    for number in 0..100u8 {
        channel.send(&[number; 1000], SOON).unwrap();
    }
    let other = theirs.accept_channel(SOON).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            ours.close(Duration::from_secs(10)).unwrap();
            assert_eq!(ours.state(), SessionState::Closed);
            ours.close(Duration::from_secs(10)).unwrap();
        });
        for number in 0..100u8 {
            assert_eq!(other.receive(SOON).unwrap(), vec![number; 1000]);
        }
        assert_eq!(other.receive(SOON).unwrap_err().code, Code::End);
    });
    assert_eq!(theirs.wait_state(SessionState::is_final, SOON).unwrap(), SessionState::Closed);
    assert_eq!(theirs.loss_report().unwrap().cause.code, Code::Closed);
    let mut seen = Vec::new();
    while let Ok(event) = theirs.next_event(SOON) {
        if let SessionEvent::State { to, .. } = event {
            seen.push(to);
        }
    }
    assert_eq!(seen, [SessionState::Live, SessionState::Closing, SessionState::Closed]);
}

#[test]
fn two_connects_share_a_session_that_ends_with_the_last_handle() {
    let pair = Pair::new();
    let (ours, theirs) = pair.session();
    let again = pair.client.connect(&pair.address, SOON).unwrap();
    assert_eq!((again.id(), again.sid()), (ours.id(), ours.sid()));
    ours.close(Duration::from_secs(5)).unwrap();
    assert_eq!(again.state(), SessionState::Live);
    drop(again);
    assert_eq!(theirs.wait_state(SessionState::is_final, SOON).unwrap(), SessionState::Closed);
}

#[test]
fn a_new_session_follows_a_closed_one() {
    let pair = Pair::new();
    for _ in 0..20 {
        let (ours, theirs) = pair.session();
        ours.open("x").unwrap().send(b"hello", SOON).unwrap();
        assert_eq!(theirs.accept_channel(SOON).unwrap().receive(SOON).unwrap(), "hello");
        ours.close(Duration::from_secs(5)).unwrap();
    }
}

#[test]
fn an_unknown_peer_is_refused_and_the_log_says_how_to_let_it_in() {
    let (server_home, client_home) = (Home::new(), Home::new());
    let (server, client) = (server_home.open(), client_home.open());
    let (send, lines) = mpsc::channel();
    server.set_log(LogLevel::Warn, move |_, line| drop(send.send(line.to_owned())));
    let address = server.listen("127.0.0.1:0").unwrap().to_string();
    let error = client.connect(&address, SOON).unwrap_err();
    assert_eq!(error.code, Code::Denied, "{error}");
    let wanted = format!("clerver trust add {}", client.host_id());
    let line = lines.recv_timeout(Duration::from_secs(10)).unwrap();
    assert!(line.contains(&wanted), "{line}");
    loop {
        if let NodeEvent::Refused { peer, why } = server.next_event(SOON).unwrap() {
            assert_eq!((peer, why.code), (client.host_id(), Code::Denied));
            return;
        }
    }
}

#[test]
fn another_host_than_the_address_asks_for_is_a_wrong_identity() {
    let pair = Pair::new();
    let text = format!("clv://{}@{}", pair.client.host_id(), pair.address);
    let error = pair.client.connect(&text, SOON).unwrap_err();
    assert_eq!(error.code, Code::WrongIdentity, "{error}");
    let text = format!("clv://{}@{}", pair.server.host_id(), pair.address);
    pair.client.connect(&text, SOON).unwrap();
    assert!(pair.server.accept(SOON).is_ok());
}

#[test]
fn a_port_in_use_and_a_dead_address_say_what_to_do() {
    let pair = Pair::new();
    let error = pair.client.listen(&pair.address).unwrap_err();
    assert_eq!((error.code, error.class()), (Code::InUse, Class::Misuse));
    assert!(error.remedy().contains("ss -ltnp"), "{error}");
    let dead = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let error = pair.client.connect(&dead.to_string(), Some(Duration::from_millis(300))).unwrap_err();
    assert_eq!(error.code, Code::Timeout);
    assert!(error.message.contains(&dead.to_string()) && error.message.contains("refused"), "{error}");
    let options = clerver::api::ConnectOptions {
        addresses: vec![dead.to_string(), pair.address.clone()],
        ..Default::default()
    };
    pair.client.connect_with(options, SOON).unwrap();
}

#[test]
fn a_connect_to_oneself_is_refused() {
    let home = Home::new();
    let node = home.open();
    let address = node.listen("127.0.0.1:0").unwrap().to_string();
    assert_eq!(node.connect(&address, SOON).unwrap_err().code, Code::SelfPair);
}

#[test]
fn two_nodes_of_one_user_on_one_machine_need_no_entry() {
    let home = Home::new();
    let (one, two) = (home.open(), home.open());
    let address = one.listen("127.0.0.1:0").unwrap().to_string();
    let session = two.connect(&address, SOON).unwrap();
    assert_eq!(one.accept(SOON).unwrap().info().unwrap().level, 255);
    drop(session);
}

#[test]
fn strangers_on_the_port_disturb_nobody() {
    let pair = Pair::with(|options| options.handshake_ms(300), |options| options);
    let mut silent = std::net::TcpStream::connect(&pair.address).unwrap();
    for text in ["GET / HTTP/1.1\r\n\r\n", "\x16\x03\x01 nonsense", "\0\0\0\0"] {
        let mut stranger = std::net::TcpStream::connect(&pair.address).unwrap();
        stranger.write_all(text.as_bytes()).unwrap();
        stranger.set_read_timeout(SOON).unwrap();
        // An alert may come first; what counts is that the connection ends.
        let mut sink = Vec::new();
        let _ = stranger.read_to_end(&mut sink);
    }
    let (ours, _theirs) = pair.session();
    assert_eq!(ours.state(), SessionState::Live);
    silent.write_all(b"x").unwrap();
}

#[test]
fn a_node_that_closes_ends_its_sessions_and_refuses_what_follows() {
    let pair = Pair::new();
    let (ours, theirs) = pair.session();
    let channel = ours.open("x").unwrap();
    channel.send(b"bye", SOON).unwrap();
    let report = pair.client.close(Duration::from_secs(10)).unwrap();
    assert!(report.undelivered.is_empty() && report.stuck.is_empty(), "{report:?}");
    assert_eq!(theirs.wait_state(SessionState::is_final, SOON).unwrap(), SessionState::Closed);
    assert_eq!(theirs.accept_channel(SOON).unwrap().receive(SOON).unwrap(), "bye");
    assert_eq!(channel.send(b"more", SOON).unwrap_err().code, Code::Closed);
    assert_eq!(pair.client.connect(&pair.address, SOON).unwrap_err().code, Code::Closed);
    pair.client.close(Duration::from_secs(10)).unwrap();
}

#[test]
fn a_drain_waits_for_what_was_written_and_takes_no_new_work() {
    let pair = Pair::new();
    let (ours, theirs) = pair.session();
    let channel = ours.open_with(bytes("x"), SOON).unwrap();
    channel.send(&pattern(100_000), SOON).unwrap();
    let report = pair.client.drain(Some(Duration::from_millis(50))).unwrap();
    assert_eq!(report.undelivered.len(), 1, "nobody reads");
    let mut reader = theirs.accept_channel(SOON).unwrap();
    let reading = std::thread::spawn(move || reader.read_exact(&mut [0; 100_000]).unwrap());
    let report = pair.client.drain(Some(Duration::from_secs(10))).unwrap();
    assert!(report.undelivered.is_empty(), "{report:?}");
    reading.join().unwrap();
    assert_eq!(ours.open("y").unwrap_err().code, Code::Draining);
    loop {
        if let SessionEvent::PeerDrains = theirs.next_event(SOON).unwrap() {
            break;
        }
    }
}

#[test]
fn a_waiting_thread_is_woken_by_the_close_of_its_node() {
    let pair = Pair::new();
    let server = pair.server.clone();
    let waiting = std::thread::spawn(move || server.accept(None));
    pair.server.close(Duration::from_secs(1)).unwrap();
    assert_eq!(waiting.join().unwrap().unwrap_err().code, Code::Closed);
}

#[test]
fn dropping_a_node_closes_it() {
    let pair = Pair::new();
    let (_ours, theirs) = pair.session();
    let Pair { client, server, homes, .. } = pair;
    let _keep = (server, homes);
    drop::<Node>(client);
    assert!(theirs.wait_state(SessionState::is_final, SOON).is_ok());
}
