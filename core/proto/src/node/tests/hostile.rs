//! A peer that breaks the protocol, or uses it to make this end work or remember: it loses its link, and
//! nobody loses more.

use super::*;
use crate::limits::{FRAME_BYTES_MAX, SessionLimits};
use crate::wire::header::{Header, Purpose};
use crate::wire::{Decoder, Hello, Offer, Role, Table};

/// The codes with which a node refused links.
fn refusals(world: &World, who: usize) -> Vec<Code> {
    let refusal = |event: &Event| if let Event::Refused { why, .. } = event { Some(why.code) } else { None };
    world.events[who].iter().filter_map(refusal).collect()
}

#[test]
fn frames_that_are_not_built_cannot_make_the_answers_pile_up() {
    let mut world = world();
    world.connect();
    let link = world.first_link();
    // The peer does not read: its answers have no room.
    world.set_room(1, link, 0);
    let hops: Vec<Frame> = (0..10_000).map(|_| Frame::Hop { transfer: 0, portion: 0, bytes: 0 }).collect();
    let bytes = encoded(&hops);
    world.nodes[1].handle(world.now, Input::Bytes { link, bytes: bytes.into() }).unwrap();
    let links = world.nodes[1].sessions.values().flat_map(|session| session.links.values());
    let kept: usize = links.map(|link| link.prelude.len()).sum();
    assert!(kept < 10_000, "{kept} bytes of answers wait");
}

#[test]
fn a_channel_beyond_what_was_announced_costs_the_link_and_no_more() {
    let mut world = world();
    let [a, b] = world.connect();
    // A hundred channels are over, but that a hundred more may be opened was not announced yet.
    let channels: Vec<ChannelId> = (0..100).map(|_| world.open(0, a).unwrap()).collect();
    for channel in channels {
        world.release(0, a, channel);
        world.release(1, b, channel);
    }
    world.pass(Duration::from_secs(1));
    assert_eq!(world.info(1, b).channels, 1);

    let link = world.first_link();
    let opened_by_arbiter = |counter: u64| ChannelId(counter << 1 | 1);
    let mut header = BytesMut::new();
    Header { purpose: Purpose::Messages, bulk: false, stored: true, name: String::new() }.encode(&mut header);
    let header = header.freeze();
    let size = header.len() as u64;
    world.inject(
        1,
        link,
        &[
            Frame::End { channel: opened_by_arbiter(1124), size: 0 },
            Frame::Data { channel: opened_by_arbiter(101), offset: 0, bytes: header },
            Frame::End { channel: opened_by_arbiter(101), size },
        ],
    );
    assert_eq!(refusals(&world, 1), [Code::Protocol]);
    assert_eq!(world.info(1, b).channels, 1, "none was made");

    world.pass(Duration::from_secs(2));
    assert_eq!((world.state(0, a), world.state(1, b)), (SessionState::Live, SessionState::Live));
    let channel = world.open(0, a).unwrap();
    world.send(0, a, channel, "after");
    assert_eq!(world.receive(1, b, channel).unwrap(), "after");
}

#[test]
fn a_message_longer_than_was_announced_stops_its_writer() {
    let strict = |options: &mut NodeOptions| options.limits.message_bytes_max = 1000;
    let mut world = World::new(node(1, 1, |_| {}), node(2, 2, strict));
    // Node 0 never hears of that limit, so it writes as a peer would that does not care.
    world.held = Some(vec![]);
    world.command(0, |node, now| node.connect(now, ConnectOptions::to("b:1"))).unwrap();
    let mut held = world.held.take().unwrap();
    let (_, _, hello) = held.iter_mut().find(|(to, ..)| *to == 0).expect("HELLO of node 1");
    *hello = without_limits(hello.clone());
    world.held = Some(held);
    world.deliver();
    let [a, b] = [world.nodes[0].sessions()[0], world.nodes[1].sessions()[0]];

    let channel = world.open(0, a).unwrap();
    world.try_send(0, a, channel, &mebibytes(1)).unwrap();
    assert_eq!(world.receive(1, b, channel).unwrap_err().code, Code::Size);
    assert_eq!(world.receive(1, b, channel).unwrap_err().code, Code::Size, "and so it stays");
    world.pass(Duration::from_secs(1));
    assert_eq!(world.try_send(0, a, channel, &Bytes::from_static(b"x")).unwrap_err().code, Code::Stopped);
    assert!(world.hangups.is_empty(), "{:?}", world.hangups);
}

/// This HELLO with the limits that every node has unless told otherwise.
fn without_limits(bytes: Bytes) -> Bytes {
    let mut decoder = Decoder::default();
    decoder.push(bytes.into());
    let Ok(Some(Frame::Hello(mut hello))) = decoder.next(FRAME_BYTES_MAX) else { panic!("not a HELLO") };
    hello.limits = SessionLimits::default();
    encoded(&[Frame::Hello(hello)])
}

#[test]
fn more_early_pieces_than_anybody_needs_cost_the_link_and_no_memory() {
    let mut world = world();
    let [a, b] = world.connect();
    // Reading makes the window of the channel grow beyond what the pieces need.
    let channel = bulk_channel(&mut world, a);
    let data = Bytes::from(vec![1; 4000]);
    let mut read = 0;
    while read < 400_000 {
        assert_eq!(world.try_send(0, a, channel, &data), Ok(data.len()));
        while let Ok(Some(piece)) =
            world.command(1, |node, now| node.channel_receive(now, b, channel, 1 << 20))
        {
            read += piece.len() as u64;
        }
        world.pass(Duration::from_millis(20));
    }

    let link = world.first_link();
    let next = world.nodes[1].channel_report(b, channel).unwrap().received;
    let piece = |count: u64| {
        let offset = next + 1 + 2 * count;
        Frame::Data { channel, offset, bytes: Bytes::from_static(b"x") }
    };
    // Without its answers node 0 does not see that it is told of frames that it never sent.
    world.held = Some(vec![]);
    world.inject(1, link, &(0..8192).map(piece).collect::<Vec<_>>());
    assert_eq!((refusals(&world, 1), world.info(1, b).links), (vec![], 1));
    assert_eq!(world.nodes[1].counters().buffered, 8192);
    world.inject(1, link, &[piece(8192)]);
    assert_eq!((refusals(&world, 1), world.info(1, b).links), (vec![Code::Protocol], 0));
    assert_eq!(world.nodes[1].counters().buffered, 8192, "what was refused is not kept");
}

/// A session that ended, and HELLOs with which the end `from` may bring another link.
fn ended_session(from: usize) -> (World, crate::id::Sid, u64, Hello) {
    let mut world = world();
    let [a, b] = world.connect();
    let session = world.nodes[1].sessions.get(&b).expect("the session");
    let (sid, n) = (session.sid, session.n);
    let info = world.nodes[from].links.values().next().expect("a link").info.clone();
    let mut hello = world.nodes[from].hello(&info, Role::Primary, None);
    hello.binding = world.nodes[from].binding(&[77; 32], true);
    hello.link_counter = 999;
    world.command(0, |node, now| node.session_close(now, a, Duration::from_secs(5))).unwrap();
    world.pass(Duration::from_secs(1));
    assert_eq!(world.state(1, b), SessionState::Closed);
    world.held = Some(vec![]);
    (world, sid, n, hello)
}

/// Brings a link to `to`, says this on it, and answers what came back.
fn say_on_a_fresh_link(world: &mut World, to: usize, hello: Hello, frame: Frame) -> Vec<Frame> {
    let link = LinkId(77);
    world.handle(to, Input::LinkUp { link, info: accepted(HostId([2 - to as u8; 32]), [77; 32]) });
    world.handle(to, Input::Writable { link, bytes: 1 << 20 });
    world.inject(to, link, &[Frame::Hello(Box::new(hello)), frame]);
    let mut decoder = Decoder::default();
    for (_, _, bytes) in world.held.take().unwrap_or_default() {
        decoder.push(bytes.into());
    }
    std::iter::from_fn(|| decoder.next(FRAME_BYTES_MAX).expect("a frame")).collect()
}

#[test]
fn an_attach_to_a_session_that_ended_is_answered_by_its_end() {
    let (mut world, sid, _, hello) = ended_session(1);
    let frame = Frame::Attach { sid, table: Table::default(), proof: [0; 32] };
    let answers = say_on_a_fresh_link(&mut world, 0, hello, frame);
    let is_told = |frame: &Frame| matches!(frame, Frame::Gone { sid: of, proof: Some(_), .. } if *of == sid);
    assert!(answers.iter().any(is_told), "{answers:?}");
}

#[test]
fn a_sid_that_ended_is_not_adopted_again_whatever_its_number() {
    let (mut world, sid, n, hello) = ended_session(0);
    let before = world.nodes[1].sessions().len();
    let frame = Frame::Session { sid, n: n + 1, offer: Offer::Fresh { secret: [3; 32] } };
    let answers = say_on_a_fresh_link(&mut world, 1, hello, frame);
    assert!(
        answers.iter().any(|frame| matches!(frame, Frame::Gone { sid: of, .. } if *of == sid)),
        "{answers:?}"
    );
    assert_eq!(world.nodes[1].sessions().len(), before);
}
