//! The plain course of a session: pairing, messages, a cut, a call, bulk, the close, the loss; and the laws
//! of driving a node.

use super::*;

#[test]
fn messages_go_both_ways_in_whichever_direction_was_dialled() {
    for (first, second) in [(1, 2), (2, 1)] {
        let mut world = World::new(node(first, 1, |_| {}), node(second, 2, |_| {}));
        let ([a, b], channel) = open_pair(&mut world);
        world.send(0, a, channel, "hello");
        world.send(1, b, channel, "hello back");
        assert_eq!(world.receive(1, b, channel).unwrap(), "hello");
        assert_eq!(world.receive(0, a, channel).unwrap(), "hello back");
        assert_eq!(world.receive(0, a, channel).unwrap_err().code, Code::Again);
        assert_eq!(world.state(0, a), SessionState::Live);
    }
}

#[test]
fn a_cut_loses_and_repeats_nothing() {
    let mut world = world();
    let ([a, b], channel) = open_pair(&mut world);
    world.cut_bytes = true;
    world.send(0, a, channel, "one");
    world.send(1, b, channel, "uno");
    world.cut_bytes = false;
    world.reachable = false;
    world.cut_all();
    assert_eq!(world.state(0, a), SessionState::Suspended);
    world.send(0, a, channel, "two");
    world.reachable = true;
    world.pass(Duration::from_secs(5));
    assert_eq!(world.state(0, a), SessionState::Live);
    assert_eq!(world.receive(1, b, channel).unwrap(), "one");
    assert_eq!(world.receive(1, b, channel).unwrap(), "two");
    assert_eq!(world.receive(0, a, channel).unwrap(), "uno");
    assert_eq!(world.receive(1, b, channel).unwrap_err().code, Code::Again);
}

#[test]
fn a_call_is_answered_and_an_unknown_one_was_not_run() {
    let mut world = world();
    let [a, b] = world.connect();
    world.command(1, |node, now| node.service_register(now, "echo", ServiceOptions::default())).unwrap();
    let call = |world: &mut World, name: &str| {
        world.command(0, |node, now| {
            node.call_start(now, a, name, Bytes::from_static(b"hi"), CallOptions::default())
        })
    };
    let first = call(&mut world, "echo").unwrap();
    let request = world.session_events(1).into_iter().find_map(|event| match event {
        SessionEvent::Call(call) => Some(call),
        _ => None,
    });
    let request = request.expect("the call came");
    assert_eq!((&request.request[..], request.channel), (&b"hi"[..], first));
    world.command(1, |node, now| node.call_reply(now, b, first, Bytes::from_static(b"ho"), true)).unwrap();
    world.command(1, |node, now| node.call_finished(now, b, first)).unwrap();
    assert_eq!(world.receive(0, a, first).unwrap(), "ho");
    assert_eq!(world.receive(0, a, first).unwrap_err().code, Code::End);
    assert_eq!(world.nodes[0].call_outcome(a, first).unwrap(), Outcome::Reply);
    world.command(0, |node, now| node.channel_release(now, a, first)).unwrap();

    let second = call(&mut world, "nope").unwrap();
    assert_eq!(world.receive(0, a, second).unwrap_err().code, Code::NoService);
    assert_eq!(world.nodes[0].call_outcome(a, second).unwrap(), Outcome::NotRun);
    let history = world.nodes[1].history(b).unwrap();
    assert_eq!((history.len(), history[0].replied), (1, true));
}

#[test]
fn close_delivers_what_was_written_and_ends_both() {
    let mut world = world();
    let ([a, b], channel) = open_pair(&mut world);
    world.send(0, a, channel, "last words");
    world.command(0, |node, now| node.session_close(now, a, Duration::from_secs(5))).unwrap();
    world.pass(Duration::from_secs(2));
    assert_eq!((world.state(0, a), world.state(1, b)), (SessionState::Closed, SessionState::Closed));
    assert_eq!(world.receive(1, b, channel).unwrap(), "last words");
    assert_eq!(world.receive(1, b, channel).unwrap_err().code, Code::End);
    for (side, session) in [(0, a), (1, b)] {
        world.command(side, |node, now| node.session_forget(now, session)).unwrap();
        world.pass(Duration::from_secs(200));
        let counters = world.nodes[side].counters();
        assert_eq!(
            (counters.sessions, counters.links, counters.timers, counters.buffered),
            (0, 0, 0, 0),
            "{side}"
        );
    }
}

#[test]
fn the_owner_knows_first_and_then_the_holder_destroys() {
    let mut world = world();
    let [a, b] = world.connect();
    world.command(1, |node, now| node.kind_register(now, "file", KindOptions::default())).unwrap();
    world.command(1, |node, now| node.object_attach(now, b, "file", None)).unwrap();
    world.pass(Duration::from_secs(3));
    world.reachable = false;
    world.cut_all();
    world.pass(Duration::from_millis(8500));
    assert_eq!((world.state(0, a), world.nodes[1].objects(b).unwrap().len()), (SessionState::Lost, 2));
    let destroyed = |world: &World| {
        world.session_events(1).iter().any(|event| matches!(event, SessionEvent::ObjectAction { .. }))
    };
    assert!(!destroyed(&world), "the holder keeps it for the whole TTL");
    world.pass(Duration::from_secs(3));
    assert!(destroyed(&world));
}

#[test]
fn another_host_is_refused_with_the_line_to_add() {
    let mut world = World::new(node(1, 1, |_| {}), node(2, 2, |options| options.trust.levels.clear()));
    world.nodes[0].connect(world.now, ConnectOptions::to("b:1")).unwrap();
    world.drain(0);
    let failed = world.events[0].iter().find_map(|event| match event {
        Event::ConnectFailed { why, .. } => Some(why.clone()),
        _ => None,
    });
    assert_eq!(failed.expect("refused at once").code, Code::Denied);
    let shown = world.events[1].iter().any(|event| match event {
        Event::Refused { why, .. } => why.remedy().contains("clerver trust add AEAQ"),
        _ => false,
    });
    assert!(shown, "{:?}", world.events[1]);
}

#[test]
fn a_node_does_not_pair_with_itself_and_says_so() {
    let (a, b) = (node(1, 1, |_| {}), node(1, 1, |_| {}));
    let mut world = World::new(a, b);
    world.nodes[0].connect(world.now, ConnectOptions::to("me:1")).unwrap();
    world.drain(0);
    assert!(
        world.events[0]
            .iter()
            .any(|event| matches!(event, Event::ConnectFailed { why, .. } if why.code == Code::SelfPair))
    );
}

#[test]
fn forgetting_to_drain_is_an_error_and_changes_nothing() {
    let mut node = node(1, 1, |_| {});
    node.connect(Instant(2_000_000), ConnectOptions::to("b:1")).unwrap();
    let before = node.fingerprint();
    assert_eq!(node.handle(Instant(2_000_000), Input::Tick).unwrap_err().code, Code::NotDrained);
    assert_eq!(node.fingerprint(), before);
}

#[test]
fn stale_input_changes_nothing() {
    let mut world = world();
    world.connect();
    let before = world.nodes[0].fingerprint();
    let why = Error::new(Code::LinkFailed, "old");
    for input in [
        Input::Bytes { link: LinkId(99), bytes: BytesMut::from(&b"old"[..]) },
        Input::Writable { link: LinkId(99), bytes: 5 },
        Input::LinkDown { link: LinkId(99), why: why.clone() },
        Input::DialFailed { attempt: AttemptId(99), why },
    ] {
        world.handle(0, input);
    }
    assert_eq!(world.nodes[0].fingerprint(), before);
}

#[test]
fn after_a_loss_a_new_session_opens_at_once_because_the_peer_is_told() {
    for (first, second) in [(1, 2), (2, 1)] {
        let mut world = World::new(node(first, 1, |_| {}), node(second, 2, |_| {}));
        let [a, b] = world.connect();
        world.pass(Duration::from_secs(3));
        world.cut_bytes = true;
        world.pass(Duration::from_millis(8900));
        assert!(world.state(0, a).is_final());
        world.cut_bytes = false;
        world.cut_all();
        world.nodes[0].connect(world.now, ConnectOptions::to("b:1")).unwrap();
        world.drain(0);
        world.pass(Duration::from_millis(300));
        assert_eq!(world.state(1, b), SessionState::Lost, "arbiter {}", first < second);
        let newest = *world.nodes[0].sessions().last().unwrap();
        assert!(newest != a && world.state(0, newest) == SessionState::Live, "arbiter {}", first < second);
    }
}

#[test]
fn bulk_goes_over_two_links_and_arrives_in_order() {
    let mut world = world();
    let options = ConnectOptions { bulk_links: 1, ..ConnectOptions::to("b:1") };
    world.nodes[0].connect(world.now, options).unwrap();
    world.drain(0);
    let [a, b] = [world.nodes[0].sessions()[0], world.nodes[1].sessions()[0]];
    assert_eq!(world.nodes[0].session_info(a).unwrap().links, 2);
    let options = ChannelOptions { bytes: true, bulk: true, ..Default::default() };
    let channel = world.command(0, |node, now| node.channel_open(now, a, options)).unwrap();
    let data: Bytes = (0..3_000_000u32).map(|at| (at % 251) as u8).collect::<Vec<u8>>().into();
    let (mut sent, mut got) = (0, Vec::new());
    while got.len() < data.len() {
        let rest = data.slice(sent..);
        match world.command(0, |node, now| node.channel_send(now, a, channel, rest)) {
            Ok(count) => sent += count,
            Err(error) => assert!(error.code == Code::Again || sent == data.len(), "{error}"),
        }
        while let Ok(Some(bytes)) =
            world.command(1, |node, now| node.channel_receive(now, b, channel, 1 << 20))
        {
            got.extend_from_slice(&bytes);
        }
        world.pass(Duration::from_millis(20));
    }
    assert_eq!(got, data);
}
