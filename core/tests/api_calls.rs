//! Calls, services and living objects between two nodes of one process.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod api_support;

use api_support::{Pair, SOON};
use clerver::api::{CallContext, Kind, NodeEvent, ServiceOptions, Session, SessionEvent};
use clerver_proto::error::{Code, Error, Result};
use clerver_proto::id::ObjectId;
use clerver_proto::node::{Outcome, SessionState};
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use parking_lot::Mutex;
use std::any::Any;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Sender};
use std::time::Duration;

const INLINE: ServiceOptions = ServiceOptions { inline: true, level_min: 1, idempotent: false };

fn echo(call: &CallContext) -> Result<Vec<u8>> {
    Ok(call.request().to_vec())
}

fn ready() -> (Pair, Session, Session) {
    let pair = Pair::new();
    pair.server.serve("echo", ServiceOptions::default(), echo).unwrap();
    pair.server.serve("inline", INLINE, echo).unwrap();
    let (ours, theirs) = pair.session();
    (pair, ours, theirs)
}

#[test]
fn a_worker_and_an_inline_handler_reply() {
    let (_pair, ours, theirs) = ready();
    let large = vec![7; 300_000];
    for service in ["echo", "inline"] {
        assert_eq!(ours.call(service, b"hello", SOON).unwrap(), "hello");
        assert_eq!(ours.call(service, b"", SOON).unwrap(), "");
        assert_eq!(ours.call(service, &large, SOON).unwrap(), large);
    }
    let history = theirs.history().unwrap();
    assert_eq!(history.len(), 6);
    assert!(history.iter().all(|task| task.replied && task.finished.is_some()));
}

#[test]
fn many_threads_call_at_once() {
    let (_pair, ours, _theirs) = ready();
    std::thread::scope(|scope| {
        for thread in 0..8u8 {
            let ours = &ours;
            scope.spawn(move || {
                for number in 0..100u8 {
                    let service = if number % 2 == 0 { "echo" } else { "inline" };
                    assert_eq!(ours.call(service, &[thread, number], SOON).unwrap(), vec![thread, number]);
                }
            });
        }
    });
}

#[test]
fn a_streamed_reply_comes_in_parts() {
    let (pair, ours, _theirs) = ready();
    let count = |call: &CallContext| {
        for number in 0..50u8 {
            call.reply_part(&[number])?;
        }
        Ok(if call.request() == "tail" { b"tail".to_vec() } else { Vec::new() })
    };
    pair.server.serve("count", ServiceOptions::default(), count).unwrap();
    for (request, tail) in [("", None), ("tail", Some("tail"))] {
        let call = ours.call_start("count", request.as_bytes(), SOON).unwrap();
        for number in 0..50u8 {
            assert_eq!(call.receive(SOON).unwrap().unwrap(), vec![number]);
        }
        if let Some(tail) = tail {
            assert_eq!(call.receive(SOON).unwrap().unwrap(), tail);
        }
        assert_eq!(call.receive(SOON).unwrap(), None);
        assert_eq!(call.receive(SOON).unwrap(), None);
        assert_eq!(call.outcome(), Outcome::Reply);
    }
    assert_eq!(ours.call("count", b"tail", SOON).unwrap().len(), 54);
}

#[test]
fn failures_come_with_code_message_and_outcome() {
    let (pair, ours, _theirs) = ready();
    let fail = |call: &CallContext| -> Result<Vec<u8>> {
        match &call.request()[..] {
            b"panic" => panic!("handler panic as the test wants"),
            b"busy" => Err(Error::new(Code::Busy, "come back later")),
            _ => Err(Error::new(Code::Argument, "the answer is wrong")),
        }
    };
    pair.server.serve("fail", ServiceOptions::default(), fail).unwrap();
    let high = ServiceOptions { level_min: 9, ..ServiceOptions::default() };
    pair.server.serve("high", high, echo).unwrap();
    let cases = [
        ("fail", "", Code::CallFailed, "the answer is wrong", Outcome::Reply),
        ("fail", "panic", Code::CallFailed, "handler panic as the test wants", Outcome::Reply),
        ("fail", "busy", Code::Busy, "come back later", Outcome::NotRun),
        ("high", "", Code::Level, "level", Outcome::NotRun),
        ("nowhere", "", Code::NoService, "nowhere", Outcome::NotRun),
    ];
    for (service, request, code, message, outcome) in cases {
        let call = ours.call_start(service, request.as_bytes(), SOON).unwrap();
        let error = call.receive(SOON).unwrap_err();
        assert_eq!(error.code, code, "{error}");
        assert!(error.message.contains(message), "{error}");
        assert_eq!(call.outcome(), outcome, "{error}");
    }
    assert_eq!(ours.call("echo", b"alive", SOON).unwrap(), "alive");
    pair.server.unserve("echo").unwrap();
    assert_eq!(ours.call("echo", b"", SOON).unwrap_err().code, Code::NoService);
}

/// A service that waits until it is cancelled, and says so.
fn serve_patience(pair: &Pair, told: Sender<bool>) {
    let (release, wait) = mpsc::channel::<()>();
    let wait = Mutex::new(wait);
    let handler = move |call: &CallContext| {
        let _keep = &release;
        told.send(false).unwrap();
        while !call.is_cancelled() {
            let _ = wait.lock().recv_timeout(Duration::from_millis(2));
        }
        told.send(true).unwrap();
        Ok(Vec::new())
    };
    pair.server.serve("patience", ServiceOptions::default(), handler).unwrap();
}

#[test]
fn a_deadline_and_a_cancel_reach_the_handler() {
    let (pair, ours, _theirs) = ready();
    let (told, heard) = mpsc::channel();
    serve_patience(&pair, told);
    let error = ours.call("patience", b"", Some(Duration::from_millis(100))).unwrap_err();
    assert_eq!(error.code, Code::Timeout);
    assert!(!heard.recv().unwrap() && heard.recv().unwrap());
    let call = ours.call_start("patience", b"", None).unwrap();
    assert!(!heard.recv().unwrap());
    call.cancel();
    assert_eq!(call.receive(SOON).unwrap_err().code, Code::Cancelled);
    assert_eq!(call.outcome(), Outcome::Unknown);
    assert!(heard.recv().unwrap());
    // To look and find nothing is not the end of the deadline, and that is told to who looks, too.
    let call = ours.call_start("patience", b"", Some(Duration::from_millis(100))).unwrap();
    assert_eq!(call.try_receive().unwrap_err().code, Code::Again);
    assert!(!heard.recv().unwrap() && heard.recv().unwrap());
    assert_eq!(call.receive(SOON).unwrap_err().code, Code::Timeout);
    assert_eq!(call.try_receive().unwrap_err().code, Code::Timeout);
    let dropped = ours.call_start("patience", b"", None).unwrap();
    assert!(!heard.recv().unwrap());
    drop(dropped);
    assert!(heard.recv().unwrap(), "dropping the call cancels it");
}

#[test]
fn waiting_in_an_inline_handler_is_refused_and_in_a_worker_it_works() {
    let (pair, ours, theirs) = ready();
    pair.client.serve("echo", ServiceOptions::default(), echo).unwrap();
    let ask = |call: &CallContext| Ok(call.session().call("echo", b"back", SOON)?.to_vec());
    pair.server.serve("ask", ServiceOptions::default(), ask).unwrap();
    pair.server.serve("ask inline", INLINE, ask).unwrap();
    assert_eq!(ours.call("ask", b"", SOON).unwrap(), "back");
    let error = ours.call("ask inline", b"", SOON).unwrap_err();
    assert_eq!(error.code, Code::CallFailed);
    assert!(error.message.contains("inline"), "{error}");
    assert_eq!(theirs.state(), SessionState::Live);
}

#[test]
fn workers_that_call_each_other_beyond_the_pool_do_not_starve() {
    let pair = Pair::with(|options| options.workers(1), |options| options.workers(1));
    let (ours, _theirs) = pair.session();
    for node in [&pair.server, &pair.client] {
        let bounce = |call: &CallContext| match call.request().first() {
            Some(&depth) if depth > 0 => Ok(call.session().call("bounce", &[depth - 1], SOON)?.to_vec()),
            _ => Ok(b"bottom".to_vec()),
        };
        node.serve("bounce", ServiceOptions::default(), bounce).unwrap();
    }
    assert_eq!(ours.call("bounce", &[5], SOON).unwrap(), "bottom");
}

/// A kind whose destructor tells what it got.
fn telling_kind(told: Sender<String>) -> Kind {
    let told = Mutex::new(told);
    Kind::new(move |payload| {
        let text = payload.downcast::<String>().unwrap();
        told.lock().send(*text).unwrap();
    })
    .print(|payload| payload.downcast_ref::<String>().unwrap().clone())
}

#[test]
fn objects_end_with_their_session_in_reverse_order_and_once() {
    let (pair, ours, theirs) = ready();
    let (told, heard) = mpsc::channel();
    pair.server.register_kind("text", telling_kind(told)).unwrap();
    let (error, payload) = theirs.attach("unknown", Box::new(1u8), None).unwrap_err();
    assert_eq!(error.code, Code::Argument);
    assert!((*payload).downcast_ref::<u8>().is_some(), "the caller keeps the payload");
    let mut objects = Vec::new();
    for name in ["first", "second", "third"] {
        objects.push(theirs.attach("text", Box::new(name.to_owned()), None).unwrap());
    }
    let length = |payload: &(dyn Any + Send + Sync)| payload.downcast_ref::<String>().map(String::len);
    assert_eq!(theirs.with_object(objects[1], length).unwrap(), Some(6));
    assert!(theirs.print_objects().unwrap().iter().any(|line| line.contains("second")));
    loop {
        if let SessionEvent::ObjectAttached { object, kind } = ours.next_event(SOON).unwrap() {
            assert_eq!(kind, "text");
            if object == objects[2] {
                break;
            }
        }
    }
    ours.update(objects[0], b"note").unwrap();
    loop {
        if let SessionEvent::ObjectUpdated { object, data } = theirs.next_event(SOON).unwrap() {
            assert_eq!((object, &data[..]), (objects[0], &b"note"[..]));
            break;
        }
    }
    ours.release(objects[1]).unwrap();
    assert_eq!(heard.recv_timeout(Duration::from_secs(10)).unwrap(), "second");
    ours.close(Duration::from_secs(10)).unwrap();
    let names: Vec<String> = (0..2).map(|_| heard.recv_timeout(Duration::from_secs(10)).unwrap()).collect();
    assert_eq!(names, ["third", "first"]);
    assert!(theirs.with_object(ObjectId(77), |_| ()).is_err());
    pair.server.close(Duration::from_secs(10)).unwrap();
    assert!(heard.recv().is_err(), "each was destroyed once, and the kind went with the node");
}

#[test]
fn an_object_in_use_is_destroyed_after_the_use() {
    let (pair, ours, theirs) = ready();
    let (told, heard) = mpsc::channel();
    pair.server.register_kind("text", telling_kind(told)).unwrap();
    let object = theirs.attach("text", Box::new("used".to_owned()), None).unwrap();
    theirs
        .with_object(object, |_| {
            ours.close(Duration::from_secs(10)).unwrap();
            theirs.wait_state(SessionState::is_final, SOON).unwrap();
            assert!(heard.recv_timeout(Duration::from_millis(50)).is_err(), "not while it is in use");
        })
        .unwrap();
    assert_eq!(heard.recv_timeout(Duration::from_secs(10)).unwrap(), "used");
}

#[test]
fn a_close_names_the_handler_that_is_stuck_and_does_not_wait_for_it() {
    let (pair, ours, _theirs) = ready();
    let (entered, inside) = mpsc::channel();
    let (release, wait) = mpsc::channel::<()>();
    let wait = Mutex::new(wait);
    let stuck = move |_: &CallContext| {
        entered.send(()).unwrap();
        let _ = wait.lock().recv();
        Ok(Vec::new())
    };
    pair.server.serve("stuck", ServiceOptions::default(), stuck).unwrap();
    let _call = ours.call_start("stuck", b"", None).unwrap();
    inside.recv().unwrap();
    let report = pair.server.close(Duration::from_millis(200)).unwrap();
    assert_eq!(report.stuck, ["service \"stuck\""]);
    drop(release);
}

fn is_readable(poll: &mut Poll, wait: Duration) -> bool {
    let mut events = Events::with_capacity(4);
    poll.poll(&mut events, Some(wait)).unwrap();
    !events.is_empty()
}

#[test]
fn the_event_descriptor_is_readable_while_events_wait() {
    let pair = Pair::new();
    let fd = pair.server.event_descriptor().unwrap().as_raw_fd();
    let fresh = || {
        // A fresh registration asks for the level, whatever edges came before.
        let poll = Poll::new().unwrap();
        poll.registry().register(&mut SourceFd(&fd), Token(0), Interest::READABLE).unwrap();
        poll
    };
    assert!(!is_readable(&mut fresh(), Duration::ZERO));
    let _session = pair.client.connect(&pair.address, SOON).unwrap();
    assert!(is_readable(&mut fresh(), Duration::from_secs(10)));
    let mut has_accepted = false;
    while let Some(event) = pair.server.try_next_event() {
        has_accepted |= matches!(event, NodeEvent::Accepted { .. });
        if !has_accepted {
            assert!(is_readable(&mut fresh(), Duration::ZERO) || pair.server.try_next_event().is_none());
        }
    }
    assert!(has_accepted);
    let session = pair.server.accept(SOON).unwrap();
    session.wait_state(|state| state == SessionState::Live, SOON).unwrap();
    while pair.server.try_next_event().is_some() {}
    assert!(!is_readable(&mut fresh(), Duration::ZERO));
}

#[test]
fn two_caller_driven_nodes_work_without_a_thread_of_ours() {
    let driven = |options: clerver::options::Options| options.caller_driven(true).max_gap_ms(1000);
    let pair = Pair::with(driven, driven);
    pair.server.serve("echo", ServiceOptions::default(), echo).unwrap();
    pair.server.serve("inline", INLINE, echo).unwrap();
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        // The program of the server: one loop on one thread.
        scope.spawn(|| {
            let mut theirs = None;
            while !is_over.load(Ordering::Acquire) {
                pair.server.run_once(Some(Duration::from_millis(20))).unwrap();
                if theirs.is_none() {
                    theirs = pair.server.accept(Some(Duration::ZERO)).ok();
                }
            }
            let theirs = theirs.unwrap();
            assert_eq!(theirs.accept_channel(SOON).unwrap().receive(SOON).unwrap(), "hello");
        });
        let ours = pair.client.connect(&pair.address, SOON).unwrap();
        for service in ["echo", "inline"] {
            assert_eq!(ours.call(service, b"driven", SOON).unwrap(), "driven");
        }
        let channel = ours.open("x").unwrap();
        channel.send(b"hello", SOON).unwrap();
        while channel.report().unwrap().held == 0 {
            pair.client.run_once(Some(Duration::from_millis(20))).unwrap();
        }
        is_over.store(true, Ordering::Release);
    });
}

#[test]
fn a_caller_driven_node_and_one_with_a_thread_call_each_other() {
    let pair = Pair::with(|options| options, |options| options.caller_driven(true).max_gap_ms(1000));
    let (asked, was_asked) = mpsc::channel();
    pair.client.serve("echo", ServiceOptions::default(), echo).unwrap();
    let back = move |call: &CallContext| {
        let result = call.session().call("echo", b"", SOON);
        asked.send(result.err().map(|error| error.code)).unwrap();
        Ok(b"done".to_vec())
    };
    pair.server.serve("back", ServiceOptions::default(), back).unwrap();
    pair.server.serve("echo", ServiceOptions::default(), echo).unwrap();
    let session = pair.client.connect(&pair.address, SOON).unwrap();
    assert_eq!(session.call("echo", b"driven by the call", SOON).unwrap(), "driven by the call");
    assert_eq!(session.call("back", b"", SOON).unwrap(), "done");
    assert_eq!(was_asked.recv().unwrap(), Some(Code::Busy), "nobody runs handlers while the call blocks");
    assert_eq!(pair.server.run_once(None).unwrap_err().code, Code::State);
}

#[test]
fn a_caller_driven_descriptor_is_readable_when_there_is_work() {
    let pair = Pair::with(|options| options, |options| options.caller_driven(true).max_gap_ms(1000));
    let session = pair.client.connect(&pair.address, SOON).unwrap();
    let fd = pair.client.event_descriptor().unwrap().as_raw_fd();
    let mut poll = Poll::new().unwrap();
    poll.registry().register(&mut SourceFd(&fd), Token(0), Interest::READABLE).unwrap();
    let theirs = Arc::new(pair.server.accept(SOON).unwrap());
    let channel = theirs.open("news").unwrap();
    channel.send(b"wake up", SOON).unwrap();
    let incoming = loop {
        match session.accept_channel(Some(Duration::ZERO)) {
            Ok(channel) => break channel,
            Err(_) => {
                is_readable(&mut poll, Duration::from_secs(5));
                pair.client.run_once(Some(Duration::ZERO)).unwrap();
            }
        }
    };
    assert_eq!(incoming.receive(SOON).unwrap(), "wake up");
}
