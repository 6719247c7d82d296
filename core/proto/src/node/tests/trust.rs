//! Who is let in, and on whose word.

use super::*;
use crate::wire::{Offer, Role};

#[test]
fn a_host_that_is_blocked_between_tls_and_hello_gets_no_session() {
    let mut world = world();
    world.held = Some(vec![]);
    world.command(0, |node, now| node.connect(now, ConnectOptions::to("b:1"))).unwrap();
    let trust = Trust { blocked: [HostId([1; 32])].into(), ..Default::default() };
    world.command(1, |node, now| node.set_trust(now, trust)).unwrap();
    world.deliver();
    assert_eq!(world.nodes[1].sessions(), []);
    assert_eq!(world.nodes[0].counters().links, 0);
}

/// Whoever has the arbiter's key and knows its process id, but not what the session was minted with, tries to
/// bring a link into it.
#[test]
fn a_session_that_is_offered_afresh_takes_no_link_without_its_secret() {
    let mut world = world();
    let [_, b] = world.connect();
    let session = world.nodes[1].sessions.get(&b).expect("the session");
    let (sid, n) = (session.sid, session.n);
    let (link, exporter) = (LinkId(77), [77; 32]);
    let info = world.nodes[0].links.values().next().expect("a link").info.clone();
    let mut hello = world.nodes[0].hello(&info, Role::Primary, None);
    hello.binding = world.nodes[0].binding(&exporter, true);
    hello.link_counter = 999;

    world.held = Some(vec![]);
    let info = accepted(HostId([1; 32]), exporter);
    world.handle(1, Input::LinkUp { link, info });
    world.handle(1, Input::Writable { link, bytes: 1 << 20 });
    let offer = Offer::Fresh { secret: [0; 32] };
    world.inject(1, link, &[Frame::Hello(Box::new(hello)), Frame::Session { sid, n, offer }]);
    assert_eq!(world.info(1, b).links, 1);
    let refused = world.events[1].iter().any(|event| match event {
        Event::Refused { why, .. } => why.code == Code::BadProof,
        _ => false,
    });
    assert!(refused, "{:?}", world.events[1]);
}
