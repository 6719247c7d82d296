//! What a program starts and does not wait for: connects, closes, drains, and replies that come later.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod api_support;

use api_support::{Pair, SOON};
use clerver::api::{
    CallContext, Channel, ChannelOptions, Code, ConnectOptions, DeferredReply, Error, Kind, Node, NodeEvent,
    Outcome, ServiceOptions, SessionState,
};
use parking_lot::Mutex;
use std::sync::mpsc;
use std::time::Duration;

const AT_ONCE: Option<Duration> = Some(Duration::ZERO);

fn to(address: &str) -> ConnectOptions {
    ConnectOptions { addresses: vec![address.to_owned()], ..ConnectOptions::default() }
}

/// The next event of this kind; the others are passed over.
fn next_of(node: &Node, wanted: impl Fn(&NodeEvent) -> bool) {
    while !wanted(&node.next_event(SOON).unwrap()) {}
}

fn readable(wanted: u64) -> impl Fn(&NodeEvent) -> bool {
    move |event| matches!(event, NodeEvent::Readable { token } if *token == wanted)
}

/// Sends until there is no room, and answers how many messages.
fn fill(channel: &Channel) -> usize {
    let message = vec![0; 200_000];
    std::iter::repeat_with(|| channel.try_send(&message)).take_while(Result::is_ok).count()
}

#[test]
fn a_connect_is_told_by_an_event_and_taken_without_a_wait() {
    let pair = Pair::new();
    let connecting = pair.client.connect_start(to(&pair.address), SOON).unwrap();
    connecting.watch(5).unwrap();
    next_of(&pair.client, readable(5));
    let session = connecting.try_take().unwrap();
    assert_eq!(session.state(), SessionState::Live);
    assert_eq!(connecting.try_take().unwrap_err().code, Code::State, "it was taken");
    assert_eq!(connecting.take(None).unwrap_err().code, Code::State, "and is not waited for");
    assert_eq!(connecting.watch(6).unwrap_err().code, Code::Handle);
    drop(connecting);
    assert_eq!(session.state(), SessionState::Live, "the session has a life of its own");

    // Who begins to watch when it is over is told as well.
    let shared = pair.client.connect_start(to(&pair.address), SOON).unwrap();
    next_of(&pair.client, |event| matches!(event, NodeEvent::Connected { shared: true, .. }));
    shared.watch(7).unwrap();
    next_of(&pair.client, readable(7));
    assert_eq!(shared.try_take().unwrap().id(), session.id());
}

#[test]
fn a_connect_that_fails_or_has_no_time_left_says_why() {
    let pair = Pair::new();
    let nobody = "127.0.0.1:1";
    let connecting = pair.client.connect_start(to(nobody), Some(Duration::from_millis(200))).unwrap();
    assert_eq!(connecting.try_take().unwrap_err().code, Code::Again);
    assert_eq!(connecting.take(Some(Duration::from_millis(1))).unwrap_err().code, Code::Timeout);
    connecting.watch(1).unwrap();
    next_of(&pair.client, readable(1));
    let error = connecting.try_take().unwrap_err();
    assert!(error.code == Code::Timeout && error.message.contains(nobody), "{error}");

    let named = format!("clv://{}/another", pair.address);
    let error = pair.client.connect_start(to(&named), SOON).unwrap().take(SOON).unwrap_err();
    assert_eq!(error.code, Code::WrongNode, "{error}");
    let error = pair.client.connect_start(to("127.0.0.1:0"), SOON).unwrap_err();
    assert_eq!(error.code, Code::Argument, "{error}");
}

#[test]
fn a_connect_that_is_given_up_ends_for_everybody() {
    let pair = Pair::new();
    let connecting = pair.client.connect_start(to("127.0.0.1:1"), None).unwrap();
    let waiting = {
        let connecting = connecting.clone();
        std::thread::spawn(move || connecting.take(None))
    };
    next_of(&pair.client, |event| matches!(event, NodeEvent::DialRetry { .. }));
    connecting.cancel();
    assert_eq!(waiting.join().unwrap().unwrap_err().code, Code::Cancelled);

    // One whose session nobody takes leaves none behind.
    let unwanted = pair.client.connect_start(to(&pair.address), SOON).unwrap();
    let theirs = pair.server.accept(SOON).unwrap();
    next_of(&pair.client, |event| matches!(event, NodeEvent::Connected { .. }));
    drop(unwanted);
    assert_eq!(theirs.wait_state(SessionState::is_final, SOON).unwrap(), SessionState::Closed);

    let late = pair.client.connect_start(to("127.0.0.1:1"), None).unwrap();
    pair.client.close(Duration::from_secs(1)).unwrap();
    assert_eq!(late.try_take().unwrap_err().code, Code::Closed);
    late.cancel();
}

#[test]
fn a_close_that_was_started_is_told_and_can_be_waited_for() {
    let pair = Pair::new();
    let (ours, theirs) = pair.session();
    ours.watch(3).unwrap();
    ours.open("words").unwrap().send(b"the last", SOON).unwrap();
    ours.close_start(Duration::from_secs(10)).unwrap();
    while ours.state() == SessionState::Closing {
        next_of(&pair.client, |event| matches!(event, NodeEvent::SessionReady { token: 3 }));
    }
    assert_eq!(ours.state(), SessionState::Closed);
    ours.close(Duration::from_secs(1)).unwrap();
    assert_eq!(theirs.accept_channel(SOON).unwrap().receive(SOON).unwrap(), "the last");

    // Nobody reads there, so it cannot be delivered.
    let (ours, _theirs) = pair.session();
    fill(&ours.open("full").unwrap());
    ours.close_start(Duration::from_millis(100)).unwrap();
    let error = ours.close(Duration::from_secs(10)).unwrap_err();
    assert_eq!(error.code, Code::Timeout, "{error}");
    ours.close(Duration::from_secs(10)).unwrap();
}

#[test]
fn the_end_of_a_drain_is_told_to_who_only_looked() {
    let pair = Pair::new();
    let (ours, theirs) = pair.session();
    ours.watch(9).unwrap();
    ours.drain(AT_ONCE).unwrap();
    let channel = ours.open("full").unwrap();
    let sent = fill(&channel);
    assert_eq!(ours.drain(AT_ONCE).unwrap_err().code, Code::Timeout);
    assert_eq!(pair.client.drain(AT_ONCE).unwrap().undelivered.len(), 1);
    let reader = theirs.accept_channel(SOON).unwrap();
    (0..sent).for_each(|_| drop(reader.receive(SOON).unwrap()));
    while ours.drain(AT_ONCE).is_err() {
        next_of(&pair.client, |event| matches!(event, NodeEvent::SessionReady { token: 9 }));
    }
    // Told once more, whoever has looked meanwhile: there is nothing left.
    next_of(&pair.client, |event| matches!(event, NodeEvent::Draining { undelivered_bytes: 0, .. }));
    assert!(pair.client.drain(AT_ONCE).unwrap().undelivered.is_empty());
}

/// A service that leaves its answers to the test.
fn deferring(node: &Node) -> mpsc::Receiver<(CallContext, DeferredReply)> {
    let (send, requests) = mpsc::channel();
    let send = Mutex::new(send);
    let serve = move |call: &CallContext| {
        send.lock().send((call.clone(), call.defer()?)).unwrap();
        Ok(b"this does not count".to_vec())
    };
    node.serve("later", ServiceOptions::default(), serve).unwrap();
    requests
}

#[test]
fn a_thousand_answers_come_later_and_no_thread_waits_for_them() {
    let pair = Pair::with(|server| server.workers(1), |client| client);
    let requests = deferring(&pair.server);
    let (ours, _theirs) = pair.session();
    let calls: Vec<_> =
        (0..1000u32).map(|number| ours.call_start("later", &number.to_be_bytes(), SOON).unwrap()).collect();
    let mut waiting: Vec<_> = calls.iter().map(|_| requests.recv().unwrap()).collect();
    // The last one first, and some fail.
    while let Some((call, reply)) = waiting.pop() {
        let number = u32::from_be_bytes(call.request()[..].try_into().unwrap());
        reply.finish(match number % 10 {
            0 => Err(Error::new(Code::CallFailed, "no tens")),
            1 => Err(Error::new(Code::NotRun, "no ones")),
            _ => Ok(call.request().to_vec()),
        });
    }
    for (number, call) in calls.iter().enumerate() {
        match (number % 10, call.receive(SOON)) {
            (0, Err(error)) => assert_eq!((error.code, call.outcome()), (Code::CallFailed, Outcome::Reply)),
            (1, Err(error)) => assert_eq!((error.code, call.outcome()), (Code::NotRun, Outcome::NotRun)),
            (_, reply) => assert_eq!(reply.unwrap().unwrap()[..], (number as u32).to_be_bytes()),
        }
    }
    assert!(pair.server.drain(SOON).unwrap().running.is_empty());
}

#[test]
fn a_deferred_reply_has_parts_and_hears_that_its_caller_gave_up() {
    let pair = Pair::new();
    let requests = deferring(&pair.server);
    let (ours, _theirs) = pair.session();
    let call = ours.call_start("later", b"", SOON).unwrap();
    let (context, reply) = requests.recv().unwrap();
    assert_eq!(context.defer().unwrap_err().code, Code::State);
    reply.watch(4).unwrap();
    let part = vec![7; 100_000];
    let mut sent = 0;
    while context.reply_part(&part).map_err(|error| assert_eq!(error.code, Code::Again)).is_ok() {
        sent += 1;
    }
    assert!(sent > 0);
    let reader = call.clone();
    let reading = std::thread::spawn(move || (0..sent).for_each(|_| drop(reader.receive(SOON).unwrap())));
    while context.reply_part(b"end").is_err() {
        next_of(&pair.server, |event| matches!(event, NodeEvent::Writable { token: 4 }));
    }
    reading.join().unwrap();
    assert_eq!(call.receive(SOON).unwrap().unwrap(), "end");
    assert!(!context.is_cancelled());
    call.cancel();
    while !context.is_cancelled() {
        next_of(&pair.server, readable(4));
    }
    assert_eq!(context.reply_part(b"more").unwrap_err().code, Code::Stopped);
    reply.finish(Ok(Vec::new()));
}

#[test]
fn a_last_reply_without_room_holds_no_worker_up() {
    let pair = Pair::with(|server| server.workers(1), |client| client);
    let requests = deferring(&pair.server);
    let inline = ServiceOptions { inline: true, ..ServiceOptions::default() };
    pair.server.serve("inline", inline, |_| Ok(vec![2; 5_000_000])).unwrap();
    pair.server.serve("echo", ServiceOptions::default(), |call| Ok(call.request().to_vec())).unwrap();
    let (ours, _theirs) = pair.session();
    let slow: Vec<_> = (0..4).map(|_| ours.call_start("later", b"", SOON).unwrap()).collect();
    let inline: Vec<_> = (0..2).map(|_| ours.call_start("inline", b"", SOON).unwrap()).collect();
    for _ in &slow {
        let (context, reply) = requests.recv().unwrap();
        // Nobody takes it, so there is no room for all of them; and all that wait are less than the session's budget.
        while context.reply_part(&[1; 100_000]).is_ok() {}
        reply.finish(Ok(vec![1; 5_000_000]));
    }
    assert_eq!(ours.call("echo", b"still here", SOON).unwrap(), "still here");
    assert!(!pair.server.drain(AT_ONCE).unwrap().running.is_empty(), "some wait for room");
    // All at once: what is not taken takes the room of the others.
    std::thread::scope(|scope| {
        for call in slow.iter().chain(&inline) {
            scope.spawn(|| {
                let parts = std::iter::from_fn(|| call.receive(SOON).unwrap());
                assert_eq!(parts.last().unwrap().len(), 5_000_000);
            });
        }
    });
    assert!(pair.server.drain(SOON).unwrap().running.is_empty());
}

#[test]
fn a_left_reply_goes_with_its_session() {
    let pair = Pair::new();
    let requests = deferring(&pair.server);
    let (ours, theirs) = pair.session();
    let _call = ours.call_start("later", b"", SOON).unwrap();
    let (context, reply) = requests.recv().unwrap();
    while context.reply_part(&[1; 100_000]).is_ok() {}
    reply.finish(Ok(vec![1; 1_000_000]));
    ours.close(Duration::ZERO).unwrap();
    theirs.wait_state(SessionState::is_final, SOON).unwrap();
    assert!(pair.server.drain(AT_ONCE).unwrap().running.is_empty());
    assert!(pair.server.close(Duration::from_secs(10)).unwrap().stuck.is_empty());
}

#[test]
fn a_deferred_reply_that_nobody_gives_is_told() {
    let pair = Pair::new();
    let requests = deferring(&pair.server);
    pair.server
        .serve("changes its mind", ServiceOptions::default(), |call| {
            let _dropped = call.defer()?;
            Err(Error::new(Code::Denied, "not you"))
        })
        .unwrap();
    let (ours, _theirs) = pair.session();
    let call = ours.call_start("later", b"", SOON).unwrap();
    drop(requests.recv().unwrap());
    let error = call.receive(SOON).unwrap_err();
    assert!(error.code == Code::CallFailed && error.message.contains("no answer"), "{error}");
    let error = ours.call("changes its mind", b"", SOON).unwrap_err();
    assert!(error.code == Code::Denied && error.message.contains("not you"), "{error}");

    // The close waits for it, and then says which it was.
    let _call = ours.call_start("later", b"", SOON).unwrap();
    let (context, reply) = requests.recv().unwrap();
    assert!(pair.server.drain(AT_ONCE).unwrap().running.contains(&"service \"later\"".to_owned()));
    let report = pair.server.close(Duration::from_millis(200)).unwrap();
    assert_eq!(report.stuck, ["service \"later\""]);
    assert_eq!(context.reply_part(b"x").unwrap_err().code, Code::Closed);
    reply.finish(Ok(Vec::new()));
}

#[test]
fn requests_whose_answer_is_deferred_count_against_the_budget() {
    let pair = Pair::new();
    let requests = deferring(&pair.server);
    let (ours, _theirs) = pair.session();
    let request = vec![0; 4_000_000];
    let mut calls = Vec::new();
    let busy = loop {
        let call = ours.call_start("later", &request, SOON).unwrap();
        match requests.recv_timeout(Duration::from_millis(300)) {
            Ok(waiting) => calls.push((call, waiting)),
            Err(_) => break call.receive(SOON).unwrap_err(),
        }
    };
    assert!(busy.code == Code::Busy && calls.len() > 1, "{} calls, then {busy}", calls.len());
    let (call, (_, reply)) = calls.pop().unwrap();
    reply.finish(Ok(b"done".to_vec()));
    assert_eq!(call.receive(SOON).unwrap().unwrap(), "done");
    let _again = ours.call_start("later", &request, SOON).unwrap();
    requests.recv_timeout(Duration::from_secs(20)).unwrap();
}

#[test]
fn what_waits_for_the_disk_is_told() {
    let stores = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let pair =
        Pair::with(|server| server.store_dir(stores.0.path()), |client| client.store_dir(stores.1.path()));
    let (ours, theirs) = pair.session();
    let options = ChannelOptions { name: "jobs".into(), stored: true, ..ChannelOptions::default() };
    let writer = ours.open_with(options, SOON).unwrap();
    writer.watch(1).unwrap();
    writer.try_send(b"first").unwrap();
    let mark = writer.stored_mark().unwrap().unwrap();
    while writer.confirm_mark(mark, AT_ONCE).map_err(|why| assert_eq!(why.code, Code::Unconfirmed)).is_err() {
        next_of(&pair.client, |event| matches!(event, NodeEvent::Writable { token: 1 }));
    }
    let reader = theirs.accept_channel(SOON).unwrap();
    reader.watch(2).unwrap();
    let taken = reader.take(SOON).unwrap();
    // Each of them may be on the disk at once; then there is nothing to wait for.
    for noted in [reader.set_restart_point(b"half", AT_ONCE), reader.ack(taken.end, AT_ONCE)] {
        if let Err(why) = noted {
            assert_eq!(why.code, Code::Unconfirmed, "{why}");
            while reader.confirm(AT_ONCE).is_err() {
                next_of(&pair.server, |event| matches!(event, NodeEvent::Writable { token: 2 }));
            }
        }
    }
    reader.confirm(AT_ONCE).unwrap();
    let ordinary = ours.open("ordinary").unwrap();
    assert!(ordinary.stored_mark().unwrap().is_none());
    ordinary.confirm(AT_ONCE).unwrap();
}

#[test]
fn an_object_does_not_wait_for_a_reply_that_was_left_for_a_lost_session() {
    let pair = Pair::with(|server| server.ttl_ms(1000), |client| client);
    let requests = deferring(&pair.server);
    let (ended, told) = mpsc::channel();
    let ended = Mutex::new(ended);
    let kind = Kind::new(move |_| ended.lock().send(()).unwrap());
    pair.server.register_kind("k", kind).unwrap();
    let (ours, theirs) = pair.session();
    theirs.attach("k", Box::new(()), None).map_err(|(error, _)| error).unwrap();
    let _call = ours.call_start("later", b"", None).unwrap();
    let (context, reply) = requests.recv().unwrap();
    while context.reply_part(&[1; 100_000]).is_ok() {}
    reply.finish(Ok(vec![1; 1_000_000]));
    pair.client.close(Duration::ZERO).unwrap();
    told.recv_timeout(Duration::from_secs(20)).unwrap();
    assert!(pair.server.close(Duration::from_secs(10)).unwrap().stuck.is_empty());
}

#[test]
fn who_answers_later_hears_of_the_end_of_a_session_that_nobody_holds() {
    let pair = Pair::new();
    let requests = deferring(&pair.server);
    let (ours, theirs) = pair.session();
    let _call = ours.call_start("later", b"", None).unwrap();
    let (context, reply) = requests.recv().unwrap();
    reply.watch(4).unwrap();
    next_of(&pair.server, readable(4));
    drop(theirs);
    next_of(&pair.server, readable(4));
    assert!(context.is_cancelled());
    reply.finish(Ok(Vec::new()));
    drop(ours);
}

#[test]
fn a_connect_that_was_taken_is_told_of_no_more() {
    let pair = Pair::new();
    let connecting = pair.client.connect_start(to(&pair.address), SOON).unwrap();
    connecting.watch(5).unwrap();
    let session = connecting.take(SOON).unwrap();
    drop(connecting);
    while let Some(event) = pair.client.try_next_event() {
        assert!(!readable(5)(&event), "{event:?}");
    }
    drop(session);
}

#[test]
fn a_close_that_goes_on_is_waited_for_again() {
    let pair = Pair::new();
    let (ours, _theirs) = pair.session();
    fill(&ours.open("full").unwrap());
    ours.close_start(Duration::from_secs(4)).unwrap();
    // It gives the protocol a second more than its wait.
    assert_eq!(ours.close(Duration::from_millis(1)).unwrap_err().code, Code::Timeout);
    assert_eq!(ours.state(), SessionState::Closing);
    assert_eq!(ours.close(Duration::from_secs(20)).unwrap_err().code, Code::Timeout);
    assert_eq!(ours.state(), SessionState::Lost);
}

#[test]
fn an_answered_call_cannot_be_deferred_and_costs_nothing() {
    let pair = Pair::new();
    let kept = std::sync::Arc::new(Mutex::new(Vec::new()));
    let keep = kept.clone();
    let serve = move |call: &CallContext| {
        keep.lock().push(call.clone());
        Ok(Vec::new())
    };
    pair.server.serve("keeps", ServiceOptions::default(), serve).unwrap();
    let (ours, _theirs) = pair.session();
    let request = vec![0; 4_000_000];
    for _ in 0..20 {
        ours.call("keeps", &request, SOON).unwrap();
        let call = kept.lock().pop().unwrap();
        assert_eq!(call.defer().unwrap_err().code, Code::State);
    }
}
