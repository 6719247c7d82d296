//! Wishes to be connected: when they dial, for what, and what they leave behind.

use super::*;
use crate::wire::Role;
use crate::wire::codec::put_varint;
use crate::wire::control::Control;

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

fn announced(world: &World, who: usize, session: SessionId) -> Vec<(String, AddressOrigin)> {
    let rows = world.nodes[who].session_addresses(session).unwrap();
    rows.into_iter().map(|row| (row.address.to_string(), row.origin)).collect()
}

/// Hands a frame of channel 0 to node 0, as if node 1 had written it next.
fn control(world: &mut World, offset: &mut u64, control: &Control) {
    let message = control.encode();
    let mut bytes = BytesMut::new();
    put_varint(&mut bytes, message.len() as u64);
    bytes.extend_from_slice(&message);
    let frame = Frame::Data { channel: ChannelId(0), offset: *offset, bytes: bytes.freeze() };
    if let Frame::Data { bytes, .. } = &frame {
        *offset += bytes.len() as u64;
    }
    let link = world.first_link();
    world.inject(0, link, &[frame]);
}

#[test]
fn what_a_peer_names_is_a_place_and_never_who_is_there() {
    let mut world = world();
    let [session, _] = world.connect();
    let named = ["clv://OTHER@evil:7/name", "a b:1", "", "x@y@z:1", "good:2"];
    let addresses = named.iter().map(|&address| address.into()).collect();
    control(&mut world, &mut 0, &Control::Addresses(addresses));
    let [given, announced_by_peer] = [AddressOrigin::Given, AddressOrigin::Announced];
    let wanted = [("b:1", given), ("evil:7", announced_by_peer), ("good:2", announced_by_peer)];
    assert_eq!(announced(&world, 0, session), wanted.map(|(address, origin)| (address.to_string(), origin)));
}

fn own(address: &str) -> OwnAddress {
    OwnAddress { address: address.into(), is_local: false }
}

/// The peer tells addresses, drains, and its client takes any node: without somebody to expect it looks only where the
/// application said.
#[test]
fn a_client_that_takes_any_node_is_not_led_astray_by_the_one_that_drains() {
    let mut world = world();
    world.command(1, |node, now| node.set_addresses(now, vec![own("evil:7")])).unwrap();
    let options = ConnectOptions { any_node: true, ..ConnectOptions::to("b:1") };
    world.command(0, |node, now| node.connect(now, options)).unwrap();
    world.pass(Duration::from_secs(2));
    let session = world.nodes[0].sessions()[0];
    assert_eq!(announced(&world, 0, session).len(), 2);
    // A redial takes what was announced into its own table.
    world.cut_all();
    world.pass(Duration::from_secs(2));
    world.reachable = false;
    world.dialled.clear();
    world.command(1, |node, now| node.drain(now)).unwrap();
    world.pass(Duration::from_secs(2));
    world.cut_all();
    world.pass(Duration::from_secs(2));
    let astray = |(address, expected): &&(String, Option<HostId>)| address != "b:1" && expected.is_none();
    assert!(
        world.dialled.len() > 4 && !world.dialled.iter().any(|dial| astray(&dial)),
        "{:?}",
        world.dialled
    );
}

#[test]
fn a_peer_cannot_send_a_session_about_without_a_pause() {
    let mut world = world();
    let [_, session] = world.connect();
    world.pass(Duration::from_secs(2));
    let before = world.dials;
    for number in 0..1000 {
        let to = format!("x{number}:1");
        world.command(1, |node, now| node.session_goto(now, session, Some(&to))).unwrap();
        world.pass(Duration::from_millis(10));
    }
    let moves = |event: &&SessionEvent| matches!(event, SessionEvent::MoveBegan { .. });
    assert!(world.dials - before < 10, "{}", world.dials - before);
    assert!((1..10).contains(&world.session_events(0).iter().filter(moves).count()));
}

#[test]
fn an_address_that_a_session_moved_to_is_dialled_again_although_nobody_else_knows_it() {
    let mut world = world();
    let [session, _] = world.connect();
    world.command(0, |node, now| node.session_roam(now, session, Some("x:9"))).unwrap();
    world.pass(Duration::from_secs(5));
    let moved = ("x:9".to_string(), AddressOrigin::Moved);
    assert!(announced(&world, 0, session).contains(&moved), "{:?}", announced(&world, 0, session));
    world.dialled.clear();
    world.cut_all();
    world.pass(Duration::from_secs(1));
    assert_eq!(world.dialled.first().map(|(address, _)| address.as_str()), Some("x:9"));
    assert_eq!(world.state(0, session), SessionState::Live);
}

/// A standby link came back before the primary one: it carries, and another one stands by.
#[test]
fn a_standby_link_that_attaches_first_carries() {
    let mut world = world();
    let options = ConnectOptions { standby_links: 1, ..ConnectOptions::to("b:1") };
    world.command(0, |node, now| node.connect(now, options)).unwrap();
    let session = world.nodes[0].sessions()[0];
    for _ in 0..30 {
        world.reachable = false;
        world.cut_all();
        world.pass(Duration::from_millis(700));
        world.reachable = true;
        world.pass(Duration::from_millis(2500));
        let roles: Vec<Role> =
            world.nodes[0].sessions.get(&session).unwrap().links.values().map(|link| link.role).collect();
        let count = |role| roles.iter().filter(|&&known| known == role).count();
        assert_eq!((count(Role::Primary), count(Role::Standby)), (1, 1), "{roles:?}");
    }
}

/// Not the link with the highest number carries, but the one that was told to last.
#[test]
fn a_standby_link_that_is_older_than_the_primary_one_takes_over_at_both_ends() {
    for near in [0, 1] {
        let mut world = world();
        world.nodes.rotate_left(near);
        let options = ConnectOptions { standby_links: 1, ..ConnectOptions::to("b:1") };
        world.command(0, |node, now| node.connect(now, options)).unwrap();
        let [a, b] = [world.nodes[0].sessions()[0], world.nodes[1].sessions()[0]];
        world.pass(Duration::from_secs(3));
        world.command(0, |node, now| node.session_roam(now, a, None)).unwrap();
        world.pass(Duration::from_secs(9));
        let link_of = |world: &World, role: Role| {
            let links = world.nodes[0]
                .sessions
                .get(&a)
                .unwrap()
                .links
                .values()
                .find(|link| link.role == role)
                .map(|link| link.id);
            links.expect("such a link")
        };
        let (primary, standby) = (link_of(&world, Role::Primary), link_of(&world, Role::Standby));
        assert!(standby < primary);
        world.handle(0, Input::LinkDoubted { link: primary });
        world.reachable = false;
        world.pass(Duration::from_millis(1500));
        for (who, session) in [(0, a), (1, b)] {
            assert!(
                world.nodes[who].sessions.get(&session).unwrap().links.contains(standby),
                "at node {who}"
            );
        }
    }
}

/// An old link lives, and nobody answers for its successor: the pauses grow all the same.
#[test]
fn a_successor_that_cannot_be_reached_is_sought_ever_more_seldom() {
    let mut world = world();
    world.connect();
    world.pass(Duration::from_secs(3599));
    world.reachable = false;
    world.dialled.clear();
    world.pass(Duration::from_secs(600));
    assert!((5..100).contains(&world.dialled.len()), "{}", world.dialled.len());
}
