//! Wishes to be connected: when they dial, for what, and what they leave behind.

use super::*;

#[test]
fn a_link_that_dies_as_soon_as_it_attached_is_not_redialled_in_the_same_instant() {
    let mut world = world();
    world.connect();
    let before = world.dials;
    for _ in 0..50 {
        world.cut_all();
    }
    assert!(world.dials - before < 5, "{}", world.dials);
}

#[test]
fn a_connector_gets_through_after_a_flood_of_links_that_never_spoke() {
    let mut world = world();
    for count in 0..4096 {
        let info = accepted(HostId([2; 32]), [1; 32]);
        world.handle(0, Input::LinkUp { link: LinkId(10_000 + count), info });
    }
    world.next_link = 100_000;
    world.command(0, |node, now| node.connect(now, ConnectOptions::to("b:1"))).unwrap();
    assert_eq!(world.nodes[0].sessions().len(), 0, "full");
    world.pass(Duration::from_secs(200));
    assert_eq!(world.nodes[0].sessions().len(), 1);
}

#[test]
fn a_pair_that_never_had_a_session_is_forgotten() {
    // Node 0 is the arbiter and tries; node 1 drains.
    let mut world = world();
    world.command(1, |node, now| node.drain(now)).unwrap();
    let options = ConnectOptions { timeout: Some(Duration::from_secs(5)), ..ConnectOptions::to("b:1") };
    world.command(0, |node, now| node.connect(now, options)).unwrap();
    world.pass(Duration::from_secs(600));
    assert_eq!((world.nodes[1].pairs.len(), world.nodes[1].pair_timers.len()), (0, 0));
}

/// Node 1 was restarted: its address is that of another node now.
fn restart(world: &mut World) {
    world.reachable = false;
    world.cut_all();
    world.nodes[1] = node(2, 9, |_| {});
    world.events[1].clear();
    world.reachable = true;
}

#[test]
fn redials_that_only_meet_another_node_become_fewer() {
    let mut world = world();
    let [session, _] = world.connect();
    let before = world.dials;
    restart(&mut world);
    world.pass(Duration::from_secs(9));
    assert!(world.state(0, session).is_final());
    assert!((2..=8).contains(&(world.dials - before)), "{} dials", world.dials - before);
}

#[test]
fn who_takes_any_node_has_a_session_on_the_very_link_that_met_it() {
    for (near, far) in [(0, 0), (0, 1)] {
        let mut world = world();
        if far == 1 {
            world.nodes.swap(0, 1);
        }
        let options = ConnectOptions { any_node: true, ..ConnectOptions::to("b:1") };
        world.command(near, |node, now| node.connect(now, options)).unwrap();
        let session = world.nodes[near].sessions()[0];
        let before = world.dials;
        world.reachable = false;
        world.cut_all();
        let host = world.nodes[1].id().host.0[0];
        world.nodes[1] = node(host, 77, |_| {});
        world.reachable = true;
        world.pass(Duration::from_secs(4));
        assert_eq!(world.state(near, session), SessionState::Lost);
        let fresh: Vec<_> = world.nodes[near].sessions().into_iter().filter(|&id| id != session).collect();
        assert_eq!((fresh.len(), world.dials - before), (1, 1));
        assert_eq!(world.state(near, fresh[0]), SessionState::Live);
    }
}

/// The bulk link of a connector that takes any node; the link is up and nothing was said on it.
const BULK: LinkId = LinkId(2);

/// Connects through a balancer: the first link attached, and what comes on the bulk link is held back.
fn connect_through_a_balancer(timeout: Option<Duration>) -> (World, SessionId) {
    let mut world = world();
    let options = ConnectOptions { bulk_links: 1, any_node: true, timeout, ..ConnectOptions::to("lb:1") };
    world.held = Some(vec![]);
    world.command(0, |node, now| node.connect(now, options)).unwrap();
    for _ in 0..10 {
        for (to, link, bytes) in world.held.replace(vec![]).unwrap() {
            if link != BULK {
                world.handle(to, Input::Bytes { link, bytes: bytes.into() });
            }
        }
    }
    let session = world.nodes[0].sessions()[0];
    assert_eq!((world.state(0, session), world.info(0, session).links), (SessionState::Live, 1));
    assert!(world.links.contains_key(&BULK), "dialled");
    (world, session)
}

/// It is not node 1 but a third one that answers on the bulk link.
fn let_another_node_answer(world: &mut World) {
    let mut third = node(3, 3, |_| {});
    let info = accepted(world.nodes[0].id().host, [BULK.0 as u8; 32]);
    let mut hello = vec![];
    for input in [Input::LinkUp { link: BULK, info }, Input::Writable { link: BULK, bytes: 1 << 20 }] {
        third.handle(world.now, input).unwrap();
        while let Some(output) = third.poll(world.now) {
            if let Output::Send { parts, .. } = output {
                hello.extend_from_slice(&parts.concat());
            }
        }
    }
    assert!(!hello.is_empty());
    // TLS proved the third host.
    world.nodes[0].links.get_mut(&BULK).expect("the bulk link").info.peer = third.id().host;
    world.held = Some(vec![]);
    world.handle(0, Input::Bytes { link: BULK, bytes: BytesMut::from(&hello[..]) });
}

#[test]
fn a_bulk_link_that_reached_another_node_does_not_cost_a_live_session() {
    let (mut world, session) = connect_through_a_balancer(None);
    let_another_node_answer(&mut world);
    assert_eq!(world.state(0, session), SessionState::Live);
}

#[test]
fn a_connector_that_moves_to_another_node_has_its_whole_timeout_again() {
    let (mut world, session) = connect_through_a_balancer(Some(Duration::from_secs(5)));
    // Its only link is silent, and the timeout of the first connect is long over.
    world.now = world.now + Duration::from_secs(6);
    let_another_node_answer(&mut world);
    assert_eq!(world.state(0, session), SessionState::Lost);
    world.held = None;
    world.pass(Duration::from_secs(10));
    let failed = world.events[0].iter().any(|event| matches!(event, Event::ConnectFailed { .. }));
    assert!(!failed, "{:?}", world.events[0]);
    assert_eq!(world.nodes[0].connectors.len(), 1);
}
