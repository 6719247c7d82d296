//! Waiting for everything in one place: the node's event descriptor and the events of what is watched.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod api_support;

use api_support::{Pair, SOON};
use clerver::api::{Channel, Code, Node, NodeEvent, ServiceOptions, Session, SessionEvent};
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use std::collections::BTreeMap;
use std::os::fd::AsRawFd;
use std::time::Duration;

const LISTENER: u64 = 1 << 32;

/// An echo server in one thread that never blocks but in `poll`.
fn serve_echo(node: &Node, messages: usize) {
    let mut poll = Poll::new().unwrap();
    let fd = node.event_descriptor().unwrap().as_raw_fd();
    poll.registry().register(&mut SourceFd(&fd), Token(0), Interest::READABLE).unwrap();
    let mut events = Events::with_capacity(4);
    let mut sessions: Vec<Session> = Vec::new();
    let mut channels: BTreeMap<u64, Channel> = BTreeMap::new();
    let mut echoed = 0;
    while echoed < messages {
        poll.poll(&mut events, Some(Duration::from_secs(20))).unwrap();
        assert!(!events.is_empty(), "nothing came, {echoed} echoed");
        while let Some(event) = node.try_next_event() {
            match event {
                NodeEvent::Accepted { .. } => {
                    let session = node.accept(Some(Duration::ZERO)).unwrap();
                    session.watch(LISTENER + sessions.len() as u64).unwrap();
                    sessions.push(session);
                }
                NodeEvent::SessionReady { token } => {
                    let session = &sessions[(token - LISTENER) as usize];
                    while session.next_event(Some(Duration::ZERO)).is_ok() {}
                    while let Ok(channel) = session.accept_channel(Some(Duration::ZERO)) {
                        let token = channels.len() as u64;
                        channel.watch(token).unwrap();
                        channels.insert(token, channel);
                    }
                }
                NodeEvent::Readable { token } => {
                    let channel = &channels[&token];
                    while let Ok(message) = channel.try_receive() {
                        channel.try_send(&message).unwrap();
                        echoed += 1;
                    }
                }
                _ => {}
            }
        }
    }
}

#[test]
fn one_thread_serves_many_channels_by_the_descriptor_of_its_node() {
    let pair = Pair::new();
    let server = pair.server.clone();
    let serving = std::thread::spawn(move || serve_echo(&server, 60));
    let ours = pair.client.connect(&pair.address, SOON).unwrap();
    let channels: Vec<Channel> = (0..20).map(|number| ours.open(&number.to_string()).unwrap()).collect();
    for round in 0..3 {
        for (number, channel) in channels.iter().enumerate() {
            channel.send(format!("{number} {round}").as_bytes(), SOON).unwrap();
        }
        for (number, channel) in channels.iter().enumerate() {
            assert_eq!(channel.receive(SOON).unwrap(), format!("{number} {round}"));
        }
    }
    serving.join().unwrap();
}

fn next_of(node: &Node, wanted: impl Fn(&NodeEvent) -> bool) {
    while !wanted(&node.next_event(SOON).unwrap()) {}
}

#[test]
fn a_call_a_full_channel_and_an_end_are_told_too() {
    let pair = Pair::new();
    pair.server.serve("slow", ServiceOptions::default(), |call| Ok(call.request().to_vec())).unwrap();
    let (ours, theirs) = pair.session();

    let call = ours.call_start("slow", b"reply", SOON).unwrap();
    call.watch(7).unwrap();
    let reply = loop {
        next_of(&pair.client, |event| matches!(event, NodeEvent::Readable { token: 7 }));
        match call.receive(Some(Duration::ZERO)) {
            Ok(part) => break part.unwrap(),
            Err(error) => assert_eq!(error.code, Code::Timeout),
        }
    };
    assert_eq!(reply, "reply");

    // Nobody reads there, so it fills up.
    let channel = ours.open("full").unwrap();
    channel.watch(8).unwrap();
    let message = vec![1; 100_000];
    let mut sent = 0;
    while channel.try_send(&message).is_ok() {
        sent += 1;
    }
    let reader = theirs.accept_channel(SOON).unwrap();
    let reading = std::thread::spawn(move || {
        for _ in 0..=sent {
            reader.receive(SOON).unwrap();
        }
        reader
    });
    while channel.try_send(&message).is_err() {
        next_of(&pair.client, |event| matches!(event, NodeEvent::Writable { token: 8 }));
    }
    reading.join().unwrap();

    ours.watch(9).unwrap();
    theirs.close(Duration::from_secs(5)).unwrap();
    loop {
        next_of(&pair.client, |event| matches!(event, NodeEvent::SessionReady { token: 9 }));
        let told = std::iter::from_fn(|| ours.next_event(Some(Duration::ZERO)).ok());
        if told.into_iter().any(|event| matches!(event, SessionEvent::Closed(_))) {
            break;
        }
    }
}
