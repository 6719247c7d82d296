//! What a session does with its links: full ones, silent ones, and several at once.

use super::*;

/// Wakes node 0 after this time; everything that it hands out then.
fn wake_after(world: &mut World, span: Duration) -> Vec<Output> {
    world.now = world.now + span;
    world.nodes[0].handle(world.now, Input::Tick).unwrap();
    let mut outputs = vec![];
    while let Some(output) = world.nodes[0].poll(world.now) {
        outputs.push(output);
    }
    outputs
}

#[test]
fn a_beat_that_is_due_on_a_full_link_waits_and_does_not_keep_the_node_busy() {
    let mut world = world();
    world.connect();
    world.full = true;
    let link = world.first_link();
    world.set_room(0, link, 0);
    let outputs = wake_after(&mut world, Duration::from_millis(1100));
    assert!(
        outputs.iter().any(|output| matches!(output, Output::Wake(at) if *at > world.now)),
        "{outputs:?}"
    );
}

#[test]
fn after_a_transfer_that_filled_the_socket_the_node_rests() {
    let mut world = world();
    let [a, _] = world.connect();
    let channel = bulk_channel(&mut world, a);
    world.full = true;
    let link = world.first_link();
    world.set_room(0, link, 2000);
    // Twice the room: what is left of it is too little for any more data.
    let sent = world.try_send(0, a, channel, &Bytes::from(vec![1; 4000]));
    assert_eq!(sent, Ok(4000));
    wake_after(&mut world, Duration::from_millis(1100));
    let outputs = wake_after(&mut world, Duration::from_millis(1100));
    assert!(outputs.len() <= 2, "{outputs:?}");
    assert!(
        outputs.iter().any(|output| matches!(output, Output::Wake(at) if *at > world.now)),
        "{outputs:?}"
    );
}

/// Node 0 writes while both of its links are black holes that it suspects already; new links come later.
#[test]
fn what_was_written_while_every_link_was_suspect_arrives_over_the_next_link() {
    let slow = |options: &mut NodeOptions| options.ttl = Duration::from_secs(60);
    let mut world = World::new(node(1, 1, slow), node(2, 2, |_| {}));
    let [a, b] = connect_with_bulk_link(&mut world);
    let options = ChannelOptions { name: "x".into(), ..Default::default() };
    let channel = world.command(0, |node, now| node.channel_open(now, a, options)).unwrap();
    world.pass(Duration::from_millis(2500));

    let ids: Vec<LinkId> = world.links.keys().copied().collect();
    let [primary, bulk] = ids[..] else { panic!("{ids:?}") };
    world.reachable = false;
    world.held = Some(vec![]);
    let (start, mut arrived) = (world.now, None);
    for step in 0..700 {
        world.now = start + Duration::from_millis(100 * step);
        world.handle(0, Input::Tick);
        world.handle(1, Input::Tick);
        // The primary link is a black hole from the first step on, the bulk link from the eleventh on.
        for (to, link, bytes) in world.held.replace(vec![]).unwrap() {
            let is_black = link == primary || (link == bulk && step > 10);
            if !is_black && world.links.contains_key(&link) {
                world.handle(to, Input::Bytes { link, bytes: bytes.into() });
            }
        }
        if step == 27 {
            world.send(0, a, channel, "late");
        }
        world.reachable |= step == 45;
        if step > 28 {
            // Refused until the channel's header is here.
            let _ = world.command(1, |node, now| node.channel_accept(now, b));
            if let Ok(text) = world.receive(1, b, channel) {
                assert_eq!(text, "late");
                arrived = Some(step);
                break;
            }
        }
    }
    assert!(arrived.is_some_and(|step| step < 100), "arrived at {arrived:?} x 100 ms");
}

#[test]
fn a_reset_that_overtakes_its_data_on_another_link_does_not_cost_a_link() {
    let mut world = world();
    let [a, _] = connect_with_bulk_link(&mut world);
    let channel = bulk_channel(&mut world, a);
    let primary = world.first_link();
    world.held = Some(vec![]);
    // The primary link is full, so the data goes on the bulk link; then the RESET goes on the primary.
    world.set_room(0, primary, 0);
    world.try_send(0, a, channel, &Bytes::from(vec![1; 3000])).unwrap();
    world.handle(0, Input::Writable { link: primary, bytes: 100_000 });
    let why = Error::new(Code::Cancelled, "no");
    world.command(0, |node, now| node.channel_reset(now, a, channel, why)).unwrap();

    let mut held = world.held.take().unwrap();
    let on: Vec<LinkId> = held.iter().map(|(_, link, _)| *link).collect();
    assert!(on.len() == 2 && on[0] != primary && on[1] == primary, "{on:?}");
    held.reverse();
    world.held = Some(held);
    world.deliver();
    assert!(world.hangups.is_empty(), "{:?}", world.hangups);
}
