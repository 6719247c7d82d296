//! Channels: their number, their budget, and who waits for whom.

use super::*;
use crate::channel::{Channel, ReceiveHalf};
use crate::limits::SessionLimits;
use crate::wire::header::{Header, Purpose};

#[test]
fn a_reader_of_bytes_never_gets_an_empty_piece() {
    let mut channel = Channel::new(ChannelId(2), true, 4096, 1000);
    channel.header = Some(Header { purpose: Purpose::Bytes, bulk: true, stored: false, name: String::new() });
    // An early piece that what comes before it covers wholly.
    channel.receive.on_data(100, Bytes::from(vec![1; 100])).unwrap();
    channel.receive.on_data(0, Bytes::from(vec![1; 200])).unwrap();
    channel.receive.on_data(200, Bytes::from(vec![1; 50])).unwrap();
    let mut taken = vec![];
    while let Ok(Some(piece)) = channel.take(1000) {
        taken.push(piece.len());
        assert!(taken.len() < 10, "{taken:?}");
    }
    assert!(taken.iter().all(|&len| len > 0), "{taken:?}");
    assert_eq!(taken.iter().sum::<usize>(), 250);
}

#[test]
fn ended_channels_that_nobody_reads_still_count_against_the_budget() {
    let mut world = world();
    let [a, b] = world.connect();
    let big = mebibytes(16);
    let mut refused = 0;
    for _ in 0..6 {
        let channel = world.open(0, a).unwrap();
        match world.try_send(0, a, channel, &big) {
            Ok(count) => assert_eq!(count, big.len()),
            Err(error) => {
                assert_eq!(error.code, Code::Again);
                refused += 1;
            }
        }
        world.command(0, |node, now| node.channel_end(now, a, channel)).unwrap();
        world.pass(Duration::from_millis(100));
        let outstanding = world.info(1, b).outstanding;
        assert!(outstanding <= SessionLimits::default().budget_bytes, "{outstanding}");
    }
    assert!(refused > 0);
}

#[test]
fn channels_that_were_released_can_all_be_opened_again() {
    let mut world = world();
    let [a, b] = world.connect();
    let mut channels: Vec<ChannelId> = (0..300).map(|_| world.open(0, a).unwrap()).collect();
    for channel in channels.drain(..200) {
        world.release(0, a, channel);
        world.release(1, b, channel);
    }
    world.pass(Duration::from_secs(1));
    let mut open = channels.len();
    // In two rounds: the peer's word that there may be more comes on its way.
    for _ in 0..2 {
        while world.open(0, a).is_ok() {
            open += 1;
        }
        world.pass(Duration::from_secs(30));
    }
    assert_eq!(open, 1024);
}

#[test]
fn who_waits_for_room_is_told_at_once_when_a_reset_gives_it_back() {
    let slow = |options: &mut NodeOptions| options.beat = Duration::from_secs(20);
    let mut world = World::new(node(1, 1, slow), node(2, 2, |_| {}));
    let [a, _] = world.connect();
    world.cut_bytes = true;
    let (first, second) = (world.open(0, a).unwrap(), world.open(0, a).unwrap());
    let big = mebibytes(15);
    world.try_send(0, a, first, &big).unwrap();
    assert_eq!(world.try_send(0, a, second, &big).unwrap_err().code, Code::Again);
    let told = |world: &World| {
        world.session_events(0).iter().any(|event| matches!(event, SessionEvent::Writable(_)))
    };
    assert!(!told(&world));
    let why = Error::new(Code::Cancelled, "x");
    world.command(0, |node, now| node.channel_reset(now, a, first, why)).unwrap();
    assert!(told(&world), "without any time passing");
}

#[test]
fn early_pieces_are_counted_and_bounded_and_do_not_pin_the_buffer_they_came_in() {
    let mut half = ReceiveHalf::new(1 << 20);
    let buffer = Bytes::from(vec![1; 64 << 10]);
    for count in 0..8192 {
        half.on_data(1 + 2 * count, buffer.slice(..1)).unwrap();
        assert_eq!(half.buffered(), count + 1);
    }
    let refused = half.on_data(1 + 2 * 8192, buffer.slice(..1)).unwrap_err();
    assert_eq!(refused.code, Code::Protocol);
    assert_eq!(half.buffered(), 8192, "what was refused is not kept");
    assert!(buffer.is_unique(), "a piece of one byte keeps one byte, not the buffer");
    // What is missing may still come, and brings all of it in order.
    half.on_data(0, buffer.slice(..1)).unwrap();
    assert_eq!(half.available(), 2);
}

/// A known limit (X4): a session takes one large message at a time, and it is the reader who ends that.
#[test]
fn large_messages_wait_behind_one_that_nobody_takes_until_it_is_taken() {
    let mut world = world();
    let [a, b] = world.connect();
    let big = mebibytes(10);
    let [first, second, small] = [0; 3].map(|_| world.open(0, a).unwrap());
    world.try_send(0, a, first, &big).unwrap();
    world.pass(Duration::from_secs(2));
    world.try_send(0, a, second, &big).unwrap();
    world.send(0, a, small, "small");
    world.pass(Duration::from_secs(5));
    assert_eq!(world.receive(1, b, small).unwrap(), "small", "only what is large waits");
    assert_eq!(world.receive(1, b, second).unwrap_err().code, Code::Again, "nobody took the first one");
    world.pass(Duration::from_secs(60));
    assert_eq!(world.receive(1, b, second).unwrap_err().code, Code::Again, "time does not help");

    assert_eq!(world.receive(1, b, first).unwrap().len(), big.len());
    world.pass(Duration::from_secs(1));
    assert_eq!(world.receive(1, b, second).unwrap().len(), big.len());
    assert_eq!((world.state(0, a), world.state(1, b)), (SessionState::Live, SessionState::Live));
}

/// The last bytes that the peer holds are said to be held a little later; nobody waits for that while there is room.
#[test]
fn a_writer_that_ran_ahead_goes_on_before_the_last_of_it_is_said_to_be_held() {
    let mut world = world();
    let ([a, b], channel) = open_pair(&mut world);
    let message = Bytes::from(vec![7; 64 << 10]);
    for round in 0..20 {
        world.held = Some(vec![]);
        let mut sent = 0;
        while world.try_send(0, a, channel, &message).is_ok() {
            sent += 1;
        }
        assert!(sent > 0, "round {round}");
        world.deliver();
        while let Ok(Some(_)) =
            world.command(1, |node, now| node.channel_receive(now, b, channel, usize::MAX))
        {}
    }
}
