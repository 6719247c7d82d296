//! Channels as plain descriptors: what a program that knows only sockets sees of a session.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod api_support;

use api_support::{Pair, SOON};
use clerver::api::{Channel, ChannelOptions, Code, DescriptorKind, Session};
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixStream;
use std::time::Duration;

fn socket(channel: Channel) -> TcpStream {
    channel.into_descriptor(DescriptorKind::Tcp).unwrap().into()
}

fn dial(session: &Session) -> TcpStream {
    session.dial_descriptor("legacy", DescriptorKind::Tcp).unwrap().into()
}

/// Two programs that each have a plain socket.
fn sockets(pair: &Pair) -> (TcpStream, TcpStream, Session, Session) {
    let (ours, theirs) = pair.session();
    let mut near = dial(&ours);
    near.write_all(b"!").unwrap();
    let mut far = socket(theirs.accept_channel(SOON).unwrap());
    let mut first = [0];
    far.read_exact(&mut first).unwrap();
    (near, far, ours, theirs)
}

fn pattern(size: usize) -> Vec<u8> {
    (0..size).map(|at| (at * 7 + at / 251) as u8).collect()
}

#[test]
fn bytes_go_both_ways_with_half_closes_and_back_pressure() {
    let pair = Pair::new();
    let (near, mut far, _ours, _theirs) = sockets(&pair);
    let sent = pattern(24 << 20);
    let (mut writer, data) = (near.try_clone().unwrap(), sent.clone());
    let writing = std::thread::spawn(move || {
        writer.write_all(&data).unwrap();
        writer.shutdown(Shutdown::Write).unwrap();
    });
    let mut received = Vec::new();
    far.read_to_end(&mut received).unwrap();
    writing.join().unwrap();
    assert!(received == sent, "{} of {} bytes", received.len(), sent.len());

    // The other direction is still open, and ends by a plain close.
    far.write_all(b"answer").unwrap();
    drop(far);
    let mut answer = String::new();
    (&near).read_to_string(&mut answer).unwrap();
    assert_eq!(answer, "answer");
}

#[test]
fn a_legacy_program_may_ask_for_its_peer_and_set_nodelay() {
    let pair = Pair::new();
    let (near, _far, _ours, _theirs) = sockets(&pair);
    assert!(near.peer_addr().unwrap().ip().is_loopback());
    near.set_nodelay(true).unwrap();
}

#[test]
fn what_was_written_before_the_close_of_descriptor_session_and_node_arrives() {
    let pair = Pair::new();
    let (mut near, mut far, ours, _theirs) = sockets(&pair);
    let sent = pattern(3 << 20);
    let data = sent.clone();
    let reading = std::thread::spawn(move || {
        let mut received = Vec::new();
        far.read_to_end(&mut received).map(|_| received)
    });
    near.write_all(&data).unwrap();
    drop(near);
    ours.close(Duration::from_secs(10)).unwrap();
    let report = pair.client.close(Duration::from_secs(20)).unwrap();
    assert!(report.undelivered.is_empty(), "{report:?}");
    assert!(reading.join().unwrap().unwrap() == sent);
}

/// Reads to the end, which must not look clean.
fn reads_a_reset(mut socket: impl Read) {
    let mut buffer = Vec::new();
    let error = socket.read_to_end(&mut buffer).expect_err("a clean end");
    assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{error}");
}

#[test]
fn a_node_that_closes_under_an_open_descriptor_resets_both_ends() {
    let pair = Pair::new();
    let (near, far, _ours, _theirs) = sockets(&pair);
    pair.server.close(Duration::from_secs(5)).unwrap();
    reads_a_reset(near);
    reads_a_reset(far);
}

#[test]
fn a_lost_session_and_a_channel_that_is_broken_off_are_read_as_a_reset() {
    let pair = Pair::new();
    let (ours, theirs) = pair.session();
    let (mut lost, mut reset) = (dial(&ours), dial(&ours));
    for (socket, byte) in [(&mut lost, b"l"), (&mut reset, b"r")] {
        socket.write_all(byte).unwrap();
    }
    let channels = [theirs.accept_channel(SOON).unwrap(), theirs.accept_channel(SOON).unwrap()];
    for channel in &channels {
        if channel.receive(SOON).unwrap() == "r" {
            channel.reset("half of it is missing").unwrap();
        }
    }
    reads_a_reset(reset);
    // The server's own trust ends the session.
    let client = pair.client.host_id();
    let home = pair.homes.0.0.path();
    std::fs::write(home.join("blocked"), format!("{client} gone\n")).unwrap();
    std::fs::set_permissions(home.join("blocked"), std::os::unix::fs::PermissionsExt::from_mode(0o600))
        .unwrap();
    pair.server.reload_trust().unwrap();
    reads_a_reset(lost);
}

#[test]
fn a_program_that_goes_away_before_its_end_is_a_reset_at_the_peer() {
    let pair = Pair::new();
    let (near, far, _ours, _theirs) = sockets(&pair);
    socket2::SockRef::from(&near).set_linger(Some(Duration::ZERO)).unwrap();
    drop(near);
    reads_a_reset(far);
}

#[test]
fn a_unix_pair_works_without_ports_and_messages_are_refused() {
    let pair = Pair::new();
    let (ours, theirs) = pair.session();
    let mut near: UnixStream = ours.dial_descriptor("local", DescriptorKind::Unix).unwrap().into();
    near.write_all(b"hello").unwrap();
    near.shutdown(Shutdown::Write).unwrap();
    let mut far: UnixStream =
        theirs.accept_channel(SOON).unwrap().into_descriptor(DescriptorKind::Unix).unwrap().into();
    let mut text = String::new();
    far.read_to_string(&mut text).unwrap();
    assert_eq!(text, "hello");

    let messages = ours.open("messages").unwrap();
    assert_eq!(messages.into_descriptor(DescriptorKind::Tcp).unwrap_err().code, Code::State);
}

#[test]
fn idle_descriptors_keep_their_session_open_and_the_last_one_closes_it() {
    let pair = Pair::new();
    let (near, far, ours, theirs) = sockets(&pair);
    ours.close(Duration::from_secs(5)).unwrap();
    (&far).write_all(b"still here").unwrap();
    let mut text = [0; 10];
    (&near).read_exact(&mut text).unwrap();
    assert_eq!(&text, b"still here");
    drop(near);
    drop(far);
    theirs.wait_state(|state| state.is_final(), SOON).unwrap();
}

#[test]
fn many_descriptors_at_once_on_few_sessions() {
    const COUNT: usize = 200;
    let pair = Pair::new();
    let (ours, theirs) = pair.session();
    let mut near: Vec<TcpStream> = (0..COUNT)
        .map(|number| {
            let options =
                ChannelOptions { name: number.to_string(), bytes: true, bulk: false, stored: false };
            socket(ours.open_with(options, SOON).unwrap())
        })
        .collect();
    for (number, socket) in near.iter_mut().enumerate() {
        socket.write_all(&(number as u32).to_be_bytes()).unwrap();
        socket.shutdown(Shutdown::Write).unwrap();
    }
    for _ in 0..COUNT {
        let channel = theirs.accept_channel(SOON).unwrap();
        let mut far = socket(channel);
        let mut bytes = Vec::new();
        far.read_to_end(&mut bytes).unwrap();
        far.write_all(&bytes).unwrap();
    }
    for (number, mut socket) in near.into_iter().enumerate() {
        let mut bytes = Vec::new();
        socket.read_to_end(&mut bytes).unwrap();
        assert_eq!(bytes, (number as u32).to_be_bytes());
    }
}
