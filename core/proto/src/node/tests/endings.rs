//! The end of a session: what its application is told, and in which order.

use super::*;

#[test]
fn a_close_and_a_channel_that_the_peer_opens_meanwhile_end_in_good_order() {
    let mut world = world();
    let [a, b] = world.connect();
    world.held = Some(vec![]);
    let channel = world.open(1, b).unwrap();
    world.send(1, b, channel, "x");
    world.command(0, |node, now| node.session_close(now, a, Duration::from_secs(5))).unwrap();
    world.deliver();
    world.pass(Duration::from_secs(60));
    assert_eq!((world.state(0, a), world.state(1, b)), (SessionState::Closed, SessionState::Closed));
}

#[test]
fn a_waiting_reader_is_told_when_the_peer_says_that_the_session_is_gone() {
    let mut world = world();
    let ([_, b], channel) = open_pair(&mut world);
    assert_eq!(world.receive(1, b, channel).unwrap_err().code, Code::Again);
    let trust = Trust { blocked: [HostId([2; 32])].into(), ..Default::default() };
    world.command(0, |node, now| node.set_trust(now, trust)).unwrap();
    world.pass(Duration::from_secs(120));
    assert_eq!(world.state(1, b), SessionState::Lost);
    let events = world.session_events(1);
    assert!(
        events.iter().any(|event| matches!(event, SessionEvent::Readable(id) if *id == channel)),
        "{events:?}"
    );
}

#[test]
fn after_the_loss_readers_are_woken_and_nothing_else_is_said() {
    let mut world = world();
    let [a, b] = world.connect();
    world.offer_echo(1);
    world.call_echo(0, a);
    world.cut_bytes = true;
    // One message takes the slot for large ones, and the next one's writer waits for room.
    let (first, second) = (world.open(1, b).unwrap(), world.open(1, b).unwrap());
    world.try_send(1, b, first, &mebibytes(15)).unwrap();
    assert_eq!(world.try_send(1, b, second, &mebibytes(15)).unwrap_err().code, Code::Again);
    world.reachable = false;
    world.cut_all();
    world.pass(Duration::from_secs(30));
    let events = world.session_events(1);
    let at = |wanted: fn(&SessionEvent) -> bool| events.iter().position(wanted).expect("it was said");
    let lost = at(|event| matches!(event, SessionEvent::Lost(_)));
    assert!(at(|event| matches!(event, SessionEvent::CallCancelled(_))) < lost, "{events:?}");
    let after = &events[lost + 1..];
    assert_eq!(after.len(), 2, "{after:?}");
    for (event, channel) in after.iter().zip([first, second]) {
        assert!(matches!(event, SessionEvent::Readable(id) if *id == channel), "{event:?}");
    }
}
