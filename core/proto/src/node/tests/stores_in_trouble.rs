//! Stored channels when several things go wrong at once: what a review found that the simulator had not.

use super::stores::{apply, loss, restart, stored, sync, visited};
use super::*;

const MS: fn(u64) -> Duration = Duration::from_millis;

fn done_with_all(world: &mut World, who: usize, session: SessionId, channel: ChannelId) {
    let taken = world.nodes[who].channel_stored(session, channel).unwrap().map_or(0, |stored| stored.taken);
    world.command(who, |node, now| node.channel_done(now, session, channel, taken)).unwrap();
}

/// Sends much, which the other end takes and is done with.
fn warm_up(world: &mut World, [a, b]: [SessionId; 2], channel: ChannelId) {
    for _ in 0..200 {
        let _ = world.try_send(0, a, channel, &Bytes::from(vec![1; 8000]));
        world.pass(MS(5));
        while let Ok(Some(_)) = world.command(1, |node, now| node.channel_receive(now, b, channel, 1 << 20)) {
        }
        done_with_all(world, 1, b, channel);
    }
}

#[test]
fn more_is_stored_after_the_tables_were_compared() {
    let (mut world, [a, b], channel) = visited();
    warm_up(&mut world, [a, b], channel);
    world.is_slow[1] = true;
    for _ in 0..40 {
        let _ = world.try_send(0, a, channel, &Bytes::from(vec![2; 8000]));
        world.pass(MS(2));
    }
    let disk = world.disks[0].clone();
    restart(&mut world, 0, 9, &disk);
    world.full = true;
    world.pass(Duration::from_secs(2));
    world.held = Some(vec![]);
    sync(&mut world, 1);
    (world.held, world.full) = (None, false);
    world.cut_all();
    world.pass(Duration::from_secs(3));
    assert_eq!((loss(&world, 0), loss(&world, 1)), (None, None));
}

#[test]
fn a_reset_whose_data_was_not_lacked_is_restored() {
    let (mut world, [a, b], channel) = visited();
    world.is_slow[1] = true;
    world.send(0, a, channel, "two");
    world.pass(MS(50));
    let why = Error::new(Code::Cancelled, "no");
    world.command(0, |node, now| node.channel_reset(now, a, channel, why)).unwrap();
    let disk = world.disks[0].clone();
    sync(&mut world, 1);
    restart(&mut world, 0, 9, &disk);
    world.pass(Duration::from_secs(2));
    world.cut_all();
    world.pass(Duration::from_secs(3));
    assert_eq!((loss(&world, 0), loss(&world, 1)), (None, None));
    assert_eq!([world.state(0, a), world.state(1, b)], [SessionState::Live; 2]);
}

#[test]
fn an_ack_is_answered_after_the_session_was_closed_and_refused_after_it_was_lost() {
    let (mut world, [a, b], channel) = visited();
    world.command(0, |node, now| node.session_close(now, a, Duration::from_secs(5))).unwrap();
    world.pass(Duration::from_secs(1));
    assert_eq!(world.receive(1, b, channel).unwrap(), "one");
    done_with_all(&mut world, 1, b, channel);
    let stored = world.nodes[1].channel_stored(b, channel).unwrap().unwrap();
    assert_eq!((stored.done, stored.done_stored), (stored.taken, stored.taken));
    assert!(world.disks[1].is_empty());

    let (mut world, [_, b], channel) = visited();
    world.reachable = false;
    world.cut_all();
    world.pass(Duration::from_secs(86_500));
    assert_eq!(world.receive(1, b, channel).unwrap(), "one");
    let done = world.command(1, |node, now| node.channel_done(now, b, channel, 13));
    assert_eq!(done.unwrap_err().code, Code::Lost);
}

#[test]
fn a_reset_within_a_message_leaves_a_record_that_can_be_read() {
    let (mut world, [a, b], channel) = visited();
    assert_eq!(world.receive(1, b, channel).unwrap(), "one");
    world.held = Some(vec![]);
    world.try_send(0, a, channel, &Bytes::from(vec![3; 10_000])).unwrap();
    let why = Error::new(Code::Cancelled, "no");
    world.command(0, |node, now| node.channel_reset(now, a, channel, why)).unwrap();
    let (held, link) = (world.held.take().unwrap(), world.first_link());
    let all: Vec<u8> =
        held.iter().filter(|(to, ..)| *to == 1).flat_map(|(_, _, bytes)| bytes.to_vec()).collect();
    world.handle(1, Input::Bytes { link, bytes: BytesMut::from(&all[..]) });
    let disk = world.disks[1].clone();
    assert!(restart(&mut world, 1, 9, &disk).unreadable.is_empty());
    let b = world.nodes[1].sessions()[0];
    assert_eq!(world.receive(1, b, channel).unwrap(), "one", "it was taken, and not acknowledged");
    assert_eq!(world.receive(1, b, channel).unwrap_err().code, Code::Cancelled);
}

#[test]
fn a_handle_that_is_released_after_the_close_deletes_nothing() {
    let (mut world, [a, b], channel) = visited();
    world.command(0, |node, now| node.session_close(now, a, Duration::from_secs(5))).unwrap();
    world.pass(Duration::from_secs(1));
    world.release(1, b, channel);
    let disk = world.disks[1].clone();
    restart(&mut world, 1, 9, &disk);
    let b = world.nodes[1].sessions()[0];
    assert_eq!(
        (world.state(1, b), world.receive(1, b, channel).unwrap()),
        (SessionState::Closed, "one".into())
    );
}

#[test]
fn a_session_is_closed_once_all_of_it_is_stored() {
    let (mut world, [a, b], channel) = visited();
    world.command(1, |node, now| node.channel_end(now, b, channel)).unwrap();
    world.pass(MS(100));
    world.is_slow[1] = true;
    world.send(0, a, channel, "two");
    world.command(0, |node, now| node.session_close(now, a, Duration::from_secs(50))).unwrap();
    world.pass(MS(500));
    assert_ne!(world.state(0, a), SessionState::Closed, "the reader's disk does not have it");
    world.asked[1].clear();
    world.is_slow[1] = false;
    let disk = world.disks[1].clone();
    restart(&mut world, 1, 9, &disk);
    world.pass(Duration::from_secs(2));
    let b = world.nodes[1].sessions()[0];
    assert_eq!(
        (world.receive(1, b, channel).unwrap(), world.receive(1, b, channel).unwrap()),
        ("one".into(), "two".into())
    );
    assert_eq!([world.state(0, a), world.state(1, b)], [SessionState::Closed; 2]);
}

#[test]
fn the_peer_closed_before_this_end_had_stored_that() {
    let (mut world, [a, b], channel) = visited();
    let before = world.disks[1].clone();
    world.command(0, |node, now| node.session_close(now, a, Duration::from_secs(5))).unwrap();
    world.pass(MS(500));
    assert_eq!(world.state(1, b), SessionState::Closed);
    let mut disk = world.disks[1].clone();
    let (key, value) = before.iter().find(|(key, _)| key[0] == b's').unwrap();
    disk.insert(key.clone(), value.clone());
    restart(&mut world, 1, 9, &disk);
    world.command(1, |node, now| node.connect(now, ConnectOptions::to("a:1"))).unwrap();
    world.pass(Duration::from_secs(3));
    let b = world.nodes[1].sessions()[0];
    assert_eq!((loss(&world, 1), world.state(1, b)), (None, SessionState::Closed));
    let disk = world.disks[1].clone();
    restart(&mut world, 1, 10, &disk);
    // The connect made another one meanwhile.
    let sessions = world.nodes[1].sessions();
    let b = sessions.into_iter().find(|&id| world.state(1, id) == SessionState::Closed).unwrap();
    assert_eq!(world.receive(1, b, channel).unwrap(), "one", "it was not acknowledged");
}

#[test]
fn what_is_missing_goes_on_a_full_link() {
    let node = |host, seed| node(host, seed, |options| options.has_store = true);
    let mut world = World::new(node(1, 1), node(2, 2));
    let [a, b] = world.connect();
    let channel = world.command(0, |node, now| node.channel_open(now, a, stored("jobs"))).unwrap();
    world.pass(Duration::from_secs(3));
    world.command(1, |node, now| node.channel_accept(now, b)).unwrap();
    warm_up(&mut world, [a, b], channel);
    world.pass(Duration::from_secs(1));
    let first = world.first_link();
    world.holes.insert(first);
    world.try_send(0, a, channel, &Bytes::from(vec![1; 2000])).unwrap();
    world.command(0, |node, now| node.session_roam(now, a, Some("b:2"))).unwrap();
    for _ in 0..200 {
        let _ = world.try_send(0, a, channel, &Bytes::from(vec![2; 1000]));
        world.pass(MS(10));
        while let Ok(Some(_)) = world.command(1, |node, now| node.channel_receive(now, b, channel, 1 << 20)) {
        }
    }
    world.pass(Duration::from_secs(30));
    let report = world.nodes[0].channel_report(a, channel).unwrap();
    assert_eq!(report.held, report.written);
}

#[test]
fn bytes_may_be_acknowledged_between_two_takes() {
    let node = |host, seed| node(host, seed, |options| options.has_store = true);
    let mut world = World::new(node(1, 1), node(2, 2));
    let [a, b] = world.connect();
    let options = ChannelOptions { bytes: true, ..stored("bytes") };
    let channel = world.command(0, |node, now| node.channel_open(now, a, options)).unwrap();
    world.send(0, a, channel, "0123456789");
    world.pass(MS(100));
    world.command(1, |node, now| node.channel_accept(now, b)).unwrap();
    for _ in 0..2 {
        world.command(1, |node, now| node.channel_receive(now, b, channel, 4)).unwrap();
    }
    let taken = world.nodes[1].channel_stored(b, channel).unwrap().unwrap().taken;
    world.command(1, |node, now| node.channel_done(now, b, channel, taken - 2)).unwrap();
    assert_eq!(world.nodes[1].channel_stored(b, channel).unwrap().unwrap().done, taken - 2);
}

#[test]
fn a_channel_that_is_over_goes_at_both_ends() {
    for reader_ends in [true, false] {
        let (mut world, [a, b], channel) = visited();
        world.command(0, |node, now| node.channel_end(now, a, channel)).unwrap();
        world.release(0, a, channel);
        assert_eq!(world.receive(1, b, channel).unwrap(), "one");
        done_with_all(&mut world, 1, b, channel);
        if reader_ends {
            world.command(1, |node, now| node.channel_end(now, b, channel)).unwrap();
        }
        world.release(1, b, channel);
        world.pass(Duration::from_secs(5));
        for (who, session) in [(0, a), (1, b)] {
            // Channel 0 and the record of the session are left.
            assert_eq!((world.info(who, session).channels, world.disks[who].len()), (1, 1));
            let next = world.command(who, |node, now| node.channel_accept(now, session));
            assert_eq!(next.unwrap_err().code, Code::Again);
        }
    }
}

#[test]
fn a_session_from_the_store_is_not_given_up_before_its_peer_can_come() {
    let open = |host, seed| {
        node(host, seed, |options| (options.has_store, options.embalming.bytes_max) = (true, 1000))
    };
    let mut world = World::new(open(1, 1), open(2, 2));
    let [a, b] = world.connect();
    let channel = world.command(0, |node, now| node.channel_open(now, a, stored("jobs"))).unwrap();
    world.try_send(0, a, channel, &Bytes::from(vec![1; 3000])).unwrap();
    world.pass(Duration::from_secs(2));
    let disk = world.disks[1].clone();
    world.nodes[1] = open(2, 9);
    let now = world.now;
    let restored = world.nodes[1].restore(now, disk.into_iter().collect(), &[]).unwrap();
    apply(&mut world.disks[1], restored.changes);
    world.reachable = false;
    world.drain(1);
    world.pass(MS(50));
    assert_eq!((loss(&world, 1), world.state(1, b)), (None, SessionState::Embalmed));
}

#[test]
fn a_node_that_drains_takes_what_was_confirmed() {
    let (mut world, [a, b], _) = visited();
    world.reachable = false;
    world.cut_all();
    let late = world.command(0, |node, now| node.channel_open(now, a, stored("late"))).unwrap();
    world.send(0, a, late, "confirmed");
    world.command(1, |node, now| node.drain(now)).unwrap();
    world.reachable = true;
    world.pass(Duration::from_secs(3));
    assert_eq!(world.command(1, |node, now| node.channel_accept(now, b)).unwrap().channel, late);
    assert_eq!(world.receive(1, b, late).unwrap(), "confirmed");
}

#[test]
fn a_table_that_lies_opens_nothing() {
    let (mut world, [a, b], _) = visited();
    let of_writer = world.nodes[0].sessions.get(&a).unwrap();
    let (sid, secret, is_arbiter, epoch) =
        (of_writer.sid, of_writer.secret, of_writer.is_arbiter, of_writer.epoch + 1);
    let mut table = of_writer.kept_table();
    world.reachable = false;
    world.cut_all();
    let (link, twin) = (LinkId(900), node(1, 77, |_| {}).id());
    world.links.insert(link, [true; 2]);
    world.handle(1, Input::LinkUp { link, info: accepted(HostId([1; 32]), [5; 32]) });
    world.handle(1, Input::Writable { link, bytes: 1 << 20 });
    let mut hello = world.nodes[0].hello_with([0; 16], 1, crate::wire::Role::Primary, Some(sid));
    (hello.node, hello.revive) = (twin, true);
    hello.binding = world.nodes[0].binding(&[5; 32], true);
    for counter in 2..1500u64 {
        let channel = ChannelId(counter * 2 + u64::from(is_arbiter));
        table.rows.push(crate::wire::TableRow { channel, kept: 0, written: 0, held: 0 });
    }
    table.opened = 8000;
    let claim = crate::session::Claim::Revives(epoch);
    let proof = crate::session::proof(&Toy, claim, &secret, &[5; 32], is_arbiter);
    world.inject(1, link, &[Frame::Hello(Box::new(hello)), Frame::Revive { sid, epoch, table, proof }]);
    assert_eq!(loss(&world, 1), Some(Code::Discontinuity));
    assert!(world.info(1, b).channels <= 2);
}

#[test]
fn a_key_that_is_too_large_is_no_overflow() {
    let (mut world, _, _) = visited();
    let mut disk = world.disks[0].clone();
    let data = disk.keys().find(|key| key[0] == b'o').cloned().unwrap();
    disk.insert([&data[..25], &[255; 8]].concat(), vec![1; 9]);
    let zero = [b"c", &data[1..17], &[0; 8]].concat();
    assert!(restart(&mut world, 0, 9, &disk).unreadable.is_empty());
    disk.insert(zero, vec![1]);
    assert_eq!(restart(&mut world, 0, 10, &disk).unreadable.len(), 1);
}
