//! Leases and holds between two ends that do not know the same.

use super::*;

#[test]
fn a_peer_with_an_absurd_beat_does_not_exceed_the_ttl_allowed_here() {
    let absurd = |options: &mut NodeOptions| {
        options.beat = Duration::from_secs(86_400);
        options.ttl_max = options.beat * 4;
    };
    let mut world = World::new(node(1, 1, |_| {}), node(2, 2, absurd));
    let [a, b] = world.connect();
    for (who, session) in [(0, a), (1, b)] {
        let info = world.info(who, session);
        assert!(info.ttl <= Duration::from_secs(120), "{:?}", info.ttl);
        assert!(info.beat * 4 <= info.ttl, "{:?}", info.beat);
    }
}

/// I7: a TTL that rose at the owner only, because its ATTACH got lost, must not make it believe for longer
/// than the holder keeps.
#[test]
fn an_owner_whose_new_ttl_the_holder_never_heard_of_still_stops_believing_first() {
    // Node 0 is the arbiter and the holder, node 1 the owner.
    let mut world = world();
    let [a, b] = world.connect();
    assert!(world.nodes[0].id() < world.nodes[1].id());
    world.command(0, |node, now| node.kind_register(now, "file", KindOptions::default())).unwrap();
    world.command(0, |node, now| node.object_attach(now, a, "file", None)).unwrap();
    world.pass(Duration::from_secs(3));

    // The holder's load rose. On the next link the owner hears of it, but its answer gets lost.
    Arc::make_mut(&mut world.nodes[0].options).ttl_floor = Duration::from_secs(60);
    world.held = Some(vec![]);
    world.cut_all();
    world.pass(Duration::from_secs(1));
    world.reachable = false;
    assert_eq!(world.links.len(), 1, "redialled");
    for _ in 0..3 {
        for (to, link, bytes) in world.held.replace(vec![]).unwrap() {
            if to == 1 || world.info(1, b).links == 0 {
                world.handle(to, Input::Bytes { link, bytes: bytes.into() });
            }
        }
    }
    let ttl = [world.info(0, a).ttl, world.info(1, b).ttl];
    assert_eq!(ttl, [10, 60].map(Duration::from_secs), "holder, owner");

    world.held = None;
    world.cut_bytes = true;
    world.cut_all();
    world.pass(Duration::from_secs(15));
    let destroyed =
        world.session_events(0).iter().any(|event| matches!(event, SessionEvent::ObjectAction { .. }));
    assert!(destroyed, "the holder's TTL is over");
    assert!(world.state(1, b).is_final(), "the owner still believes");
}

/// T5: a session from the time when the node had few gets the TTL that it needs by now, both ends' lease included.
#[test]
fn a_floor_that_rose_reaches_a_session_with_its_next_beat() {
    let mut world = world();
    let [a, b] = world.connect();
    Arc::make_mut(&mut world.nodes[0].options).ttl_floor = Duration::from_secs(60);
    world.nodes[0].spread_ttl_floor();
    world.pass(Duration::from_secs(3));
    assert_eq!([world.info(0, a).ttl, world.info(1, b).ttl], [Duration::from_secs(60); 2]);
    world.reachable = false;
    world.cut_all();
    world.pass(Duration::from_secs(40));
    assert!(!world.state(0, a).is_final() && !world.state(1, b).is_final());
    world.pass(Duration::from_secs(21));
    assert!(world.state(0, a).is_final() && world.state(1, b).is_final());
}

/// Beats of 20 s and leases of 80 s; node 0 dials, node 1 is the arbiter. The last echo that the arbiter has
/// is of its beat at 40 s, for that at 60 s would be echoed at 80 s: its lease ends at 120 s, node 0's at
/// 140 s. Both are without a link from 61 s to 104 s.
fn nearly_too_late(seed: u8) -> (World, [SessionId; 2]) {
    let slow = |options: &mut NodeOptions| {
        options.beat = Duration::from_secs(20);
        options.ttl = Duration::from_secs(100);
        options.ttl_max = Duration::from_secs(200);
    };
    let mut world = World::new(node(2, seed, slow), node(1, 100 + seed, slow));
    let sessions = world.connect();
    world.pass(Duration::from_secs(61));
    world.reachable = false;
    world.cut_all();
    world.pass(Duration::from_secs(43));
    let states = [0, 1].map(|who| world.state(who, sessions[who]));
    assert_eq!(states, [SessionState::Suspended; 2]);
    world.reachable = true;
    (world, sessions)
}

#[test]
fn redials_come_closer_together_as_the_lease_runs_out() {
    for seed in 0..30 {
        let (mut world, sessions) = nearly_too_late(seed);
        // The redial before 104 s had at least 36 s of node 0's lease left, so the next one comes by 116 s.
        world.pass(Duration::from_secs(13));
        let states = [0, 1].map(|who| world.state(who, sessions[who]));
        assert_eq!((world.dials, states), (2, [SessionState::Live; 2]), "seed {seed}");
    }
}

#[test]
fn a_session_that_came_back_late_in_its_lease_stays() {
    for seed in 0..30 {
        let (mut world, sessions) = nearly_too_late(seed);
        // Past the end of both leases that there were before.
        world.pass(Duration::from_secs(45));
        let states = [0, 1].map(|who| world.state(who, sessions[who]));
        assert_eq!((world.dials, states), (2, [SessionState::Live; 2]), "seed {seed}");
    }
}
