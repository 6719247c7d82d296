//! Calls: what a caller may believe of one that was cancelled, failed, or did not fit.

use super::*;

#[test]
fn data_that_was_on_its_way_when_a_call_was_cancelled_does_not_cost_the_link() {
    let mut world = world();
    let [a, b] = world.connect();
    world.offer_echo(1);
    let call = world.call_echo(0, a);
    // The caller cancels while the reply is on its way to it.
    world.held = Some(vec![]);
    world.command(0, |node, now| node.call_cancel(now, a, call)).unwrap();
    world.reply(1, b, call, "ho");
    world.deliver();
    assert!(world.hangups.is_empty(), "{:?}", world.hangups);
    assert_eq!(world.dials, 1);
}

#[test]
fn calls_that_were_made_and_given_up_without_a_link_leave_no_channel_behind() {
    let mut world = world();
    let [a, b] = world.connect();
    world.reachable = false;
    world.cut_all();
    for _ in 0..100 {
        let call = world.call_echo(0, a);
        world.command(0, |node, now| node.call_cancel(now, a, call)).unwrap();
        world.release(0, a, call);
    }
    world.reachable = true;
    world.pass(Duration::from_secs(20));
    assert_eq!((world.info(0, a).channels, world.info(1, b).channels), (1, 1));
}

#[test]
fn a_call_that_does_not_fit_now_can_be_tried_again_for_ever() {
    let mut world = world();
    let [a, b] = world.connect();
    // Messages that nobody reads take the slot for large ones, then the pool.
    let big = mebibytes(15);
    for _ in 0..12 {
        let channel = world.open(0, a).unwrap();
        if world.try_send(0, a, channel, &big).is_err() {
            for _ in 0..11 {
                if world.try_send(0, a, channel, &big.slice(..200_000)).is_err() {
                    break;
                }
            }
        }
    }
    for _ in 0..2000 {
        let request = big.slice(..900_000);
        let call =
            world.command(0, |node, now| node.call_start(now, a, "echo", request, CallOptions::default()));
        assert_eq!(call.unwrap_err().code, Code::Again);
    }
    assert_eq!((world.info(0, a).channels, world.info(1, b).channels), (13, 13));
}

#[test]
fn a_call_that_ran_is_never_reported_as_one_that_did_not() {
    let mut world = world();
    let [a, b] = world.connect();
    world.offer_echo(1);
    // The handler fails with a code that would mean "not run" if the call had been refused.
    let first = world.call_echo(0, a);
    let why = Error::new(Code::Busy, "half done");
    world.command(1, |node, now| node.call_fail(now, b, first, why)).unwrap();
    world.finish_call(1, b, first);
    assert_eq!(world.receive(0, a, first).unwrap_err().code, Code::CallFailed);
    assert_eq!(world.nodes[0].call_outcome(a, first).unwrap(), Outcome::Reply);

    // The caller's own trust ends the session while the handler runs.
    let second = world.call_echo(0, a);
    let trust = Trust { levels: [(HostId([2; 32]), 0)].into(), ..Default::default() };
    world.command(0, |node, now| node.set_trust(now, trust)).unwrap();
    assert_eq!(world.nodes[0].call_outcome(a, second).unwrap(), Outcome::Unknown);
    assert_eq!(world.nodes[1].history(b).unwrap().len(), 2);
}

#[test]
fn a_handler_is_told_of_a_call_that_was_cancelled_and_released_without_a_link() {
    let mut world = world();
    let [a, b] = world.connect();
    world.offer_echo(1);
    let call = world.call_echo(0, a);
    // The peer holds the whole request and said so: nothing of it will be sent again.
    world.pass(Duration::from_millis(500));
    world.reachable = false;
    world.cut_all();
    world.command(0, |node, now| node.call_cancel(now, a, call)).unwrap();
    assert_eq!(world.receive(0, a, call).unwrap_err().code, Code::Cancelled);
    world.release(0, a, call);
    world.reachable = true;
    world.pass(Duration::from_secs(20));
    let told = world.session_events(1).iter().any(|event| matches!(event, SessionEvent::CallCancelled(_)));
    assert!(told, "{:?}", world.state(1, b));
}

#[test]
fn a_reply_that_is_whole_counts_as_a_reply_when_the_session_is_lost() {
    let mut world = world();
    let [a, b] = world.connect();
    world.offer_echo(1);
    let call = world.call_echo(0, a);
    world.reply(1, b, call, "ho");
    world.finish_call(1, b, call);
    world.reachable = false;
    world.cut_all();
    world.pass(Duration::from_secs(30));
    assert_eq!(world.state(0, a), SessionState::Lost);
    assert_eq!(world.receive(0, a, call).unwrap(), "ho");
    assert_eq!(world.receive(0, a, call).unwrap_err().code, Code::End);
    assert_eq!(world.nodes[0].call_outcome(a, call).unwrap(), Outcome::Reply);
}

#[test]
fn a_call_that_a_close_cut_short_has_an_outcome() {
    let mut world = world();
    let [a, _] = world.connect();
    world.offer_echo(1);
    let (request, options) =
        (Bytes::from_static(b"hi"), CallOptions { deadline: Some(Duration::from_secs(1000)) });
    let call = world.command(0, |node, now| node.call_start(now, a, "echo", request, options)).unwrap();
    world.command(0, |node, now| node.session_close(now, a, Duration::from_secs(5))).unwrap();
    world.pass(Duration::from_secs(20));
    assert_eq!(world.state(0, a), SessionState::Closed);
    assert_eq!(world.nodes[0].call_outcome(a, call).unwrap(), Outcome::Unknown);
}

#[test]
fn a_failure_that_nobody_read_counts_in_the_report_of_the_loss() {
    let mut world = world();
    let [a, b] = world.connect();
    world.offer_echo(1);
    let call = world.call_echo(0, a);
    let why = Error::new(Code::CallFailed, "no");
    world.command(1, |node, now| node.call_fail(now, b, call, why)).unwrap();
    world.finish_call(1, b, call);
    world.reachable = false;
    world.cut_all();
    world.pass(Duration::from_secs(30));
    assert_eq!(world.state(0, a), SessionState::Lost);
    assert_eq!(world.nodes[0].call_outcome(a, call).unwrap(), Outcome::Reply);
    assert_eq!(world.receive(0, a, call).unwrap_err().code, Code::CallFailed);
}

#[test]
fn a_call_whose_header_was_on_its_way_when_the_peer_closed_is_not_said_to_be_answered() {
    let mut world = world();
    let [a, b] = world.connect();
    world.offer_echo(1);
    world.held = Some(vec![]);
    let call = world.call_echo(0, a);
    let link = world.first_link();
    // The first byte of the header came, the rest is still on its way.
    world.inject(1, link, &[Frame::Data { channel: call, offset: 0, bytes: Bytes::from_static(&[9]) }]);
    world.held = None;
    world.command(1, |node, now| node.session_close(now, b, Duration::from_secs(5))).unwrap();
    let error = world.receive(0, a, call).unwrap_err();
    assert_eq!(error.code, Code::Closed, "{error}");
    assert_eq!(world.nodes[0].call_outcome(a, call).unwrap(), Outcome::Unknown);
}
