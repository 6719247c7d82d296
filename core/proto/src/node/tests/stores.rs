//! Sessions that are stored, and processes that take over the end of one that died (S6, S9, D1).

use super::*;
use crate::store::{Change, Record};

pub(super) fn apply(disk: &mut BTreeMap<Vec<u8>, Vec<u8>>, changes: Vec<Change>) {
    changes.into_iter().for_each(|change| change.apply(disk));
}

/// A slow disk comes to its end.
pub(super) fn sync(world: &mut World, who: usize) {
    world.is_slow[who] = false;
    for (operation, changes) in std::mem::take(&mut world.asked[who]) {
        apply(&mut world.disks[who], changes);
        world.handle(who, Input::Done { operation });
    }
}

pub(super) fn stored(name: &str) -> ChannelOptions {
    ChannelOptions { name: name.into(), stored: true, ..ChannelOptions::default() }
}

/// Both have stores; the first one opened a stored channel and sent one message, which the other one holds.
pub(super) fn visited() -> (World, [SessionId; 2], ChannelId) {
    let node = |host, seed| node(host, seed, |options| options.has_store = true);
    let mut world = World::new(node(1, 1), node(2, 2));
    let [a, b] = world.connect();
    let channel = world.command(0, |node, now| node.channel_open(now, a, stored("jobs"))).unwrap();
    world.send(0, a, channel, "one");
    world.pass(Duration::from_millis(100));
    assert_eq!(world.command(1, |node, now| node.channel_accept(now, b)).unwrap().channel, channel);
    (world, [a, b], channel)
}

/// A new process in the place of one that died without a word, from these records.
pub(super) fn restart(
    world: &mut World,
    who: usize,
    seed: u8,
    disk: &BTreeMap<Vec<u8>, Vec<u8>>,
) -> Restored {
    let host = world.nodes[who].id().host.0[0];
    world.nodes[who] = node(host, seed, |options| options.has_store = true);
    let records: Vec<Record> = disk.clone().into_iter().collect();
    let now = world.now;
    let mut restored = world.nodes[who].restore(now, records, &[]).unwrap();
    world.disks[who].clone_from(disk);
    apply(&mut world.disks[who], std::mem::take(&mut restored.changes));
    for link in std::mem::take(&mut world.links).into_keys() {
        world.handle(1 - who, Input::LinkDown { link, why: Error::new(Code::LinkFailed, "it died") });
    }
    world.drain(who);
    restored
}

pub(super) fn loss(world: &World, who: usize) -> Option<Code> {
    world.session_events(who).iter().find_map(|event| match event {
        SessionEvent::Lost(report) => Some(report.cause.code),
        _ => None,
    })
}

#[test]
fn the_other_end_goes_on_with_a_new_process() {
    let (mut world, [a, b], channel) = visited();
    let plain = world.open(1, b).unwrap();
    world.offer_echo(0);
    let call = world.call_echo(1, b);
    let disk = world.disks[0].clone();
    restart(&mut world, 0, 9, &disk);
    world.pass(Duration::from_secs(2));
    assert_eq!(world.info(1, b).peer, world.nodes[0].id());
    assert_eq!([world.state(0, a), world.state(1, b)], [SessionState::Live; 2]);
    let revived =
        world.session_events(1).iter().any(|event| matches!(event, SessionEvent::PeerRevived { .. }));
    assert!(revived);
    // What is not stored ended with the process.
    assert_eq!(world.receive(1, b, plain).unwrap_err().code, Code::Lost);
    let mut parts = Parts::new();
    let taken = world.command(1, |node, now| node.call_take(now, b, call, &mut parts));
    assert_eq!(taken.unwrap_err().code, Code::Lost);
    // What is stored goes on both ways, and new channels can be opened by both.
    let again = world.command(0, |node, now| node.channel_accept(now, a)).unwrap();
    assert_eq!((again.channel, &*again.header.name), (channel, "jobs"));
    world.send(0, a, channel, "two");
    world.send(1, b, channel, "back");
    world.pass(Duration::from_millis(100));
    assert_eq!(world.receive(1, b, channel).unwrap(), "one");
    assert_eq!(world.receive(1, b, channel).unwrap(), "two");
    assert_eq!(world.receive(0, a, channel).unwrap(), "back");
    for (who, session) in [(0, a), (1, b)] {
        let fresh = world.open(who, session).unwrap();
        world.send(who, session, fresh, "new");
        let peer = if who == 0 { b } else { a };
        assert_eq!(
            world.command(1 - who, |node, now| node.channel_accept(now, peer)).unwrap().channel,
            fresh
        );
        assert_eq!(world.receive(1 - who, peer, fresh).unwrap(), "new");
    }
}

#[test]
fn of_two_processes_with_one_store_the_second_is_fenced() {
    let (mut world, [a, b], channel) = visited();
    let disk = world.disks[0].clone();
    restart(&mut world, 0, 9, &disk);
    world.pass(Duration::from_secs(2));
    assert_eq!(world.state(1, b), SessionState::Live);
    // The same store again: its epoch is one that was heard.
    let first = world.info(1, b).peer;
    restart(&mut world, 0, 10, &disk);
    world.pass(Duration::from_secs(2));
    assert_eq!((loss(&world, 0), loss(&world, 1)), (Some(Code::Fenced), None));
    assert_eq!(world.info(1, b).peer, first);
    assert_eq!(world.state(0, a), SessionState::Lost);
    assert_eq!(world.receive(1, b, channel).unwrap(), "one");
    assert!(world.disks[0].is_empty(), "what is lost is not kept");
}

#[test]
fn an_old_backup_is_a_discontinuity() {
    let (mut world, [a, b], channel) = visited();
    let backup = world.disks[0].clone();
    world.send(0, a, channel, "two");
    world.pass(Duration::from_millis(100));
    restart(&mut world, 0, 9, &backup);
    world.pass(Duration::from_secs(2));
    assert_eq!((loss(&world, 0), loss(&world, 1)), (Some(Code::Discontinuity), Some(Code::Discontinuity)));
    // What came before stays readable.
    assert_eq!(world.receive(1, b, channel).unwrap(), "one");
    assert_eq!(world.receive(1, b, channel).unwrap(), "two");
    assert_eq!(world.receive(1, b, channel).unwrap_err().code, Code::Discontinuity);
}

#[test]
fn a_record_that_cannot_be_read_costs_its_session_and_no_other() {
    let (mut world, _, channel) = visited();
    let mut disk = world.disks[0].clone();
    let other: BTreeMap<_, _> =
        disk.iter().map(|(key, value)| ([&key[..1], &[7; 16], &key[17..]].concat(), value.clone())).collect();
    let data = disk.keys().find(|key| key[0] == b'o').cloned().expect("the message is stored");
    disk.remove(&data);
    disk.extend(other);
    let restored = restart(&mut world, 0, 9, &disk);
    assert_eq!(restored.unreadable.len(), 1);
    assert!(restored.unreadable[0].1.message.contains("are not there"), "{:?}", restored.unreadable);
    let left = world.nodes[0].sessions();
    assert_eq!(left.len(), 1);
    assert_eq!(world.command(0, |node, now| node.channel_accept(now, left[0])).unwrap().channel, channel);
    for value in [&b""[..], &[2; 40], &[1; 90]] {
        let mut disk = world.disks[0].clone();
        disk.retain(|key, _| key[1..17] != [7; 16]);
        let session = disk.keys().find(|key| key[0] == b's').cloned().expect("a session is stored");
        disk.insert(session, value.to_vec());
        assert_eq!(restart(&mut world, 0, 11, &disk).unreadable.len(), 1, "{value:?}");
    }
}

#[test]
fn whoever_is_not_the_peer_revives_nothing() {
    let (mut world, [_, b], channel) = visited();
    let sid = world.info(1, b).sid;
    world.cut_all();
    world.reachable = false;
    let before = world.info(1, b).peer;
    for proof in [[0; 32], [9; 32]] {
        let link = LinkId(900 + u64::from(proof[0]));
        world.links.insert(link, [true; 2]);
        let twin = node(1, 77, |_| {}).id();
        world.handle(1, Input::LinkUp { link, info: accepted(HostId([1; 32]), [5; 32]) });
        world.handle(1, Input::Writable { link, bytes: 1 << 20 });
        let mut hello = world.nodes[0].hello_with([0; 16], 1, crate::wire::Role::Primary, Some(sid));
        hello.node = twin;
        hello.revive = true;
        hello.binding = world.nodes[0].binding(&[5; 32], true);
        let revive = Frame::Revive { sid, epoch: 99, table: crate::wire::Table::default(), proof };
        world.inject(1, link, &[Frame::Hello(Box::new(hello)), revive]);
    }
    assert_eq!((world.info(1, b).peer, loss(&world, 1)), (before, None));
    let refused = world.events[1]
        .iter()
        .filter(|event| matches!(event, Event::Refused { why, .. } if why.code == Code::BadProof));
    assert_eq!(refused.count(), 2);
    assert_eq!(world.receive(1, b, channel).unwrap(), "one");
}

#[test]
fn who_has_no_store_opens_no_stored_channel_and_takes_one() {
    let mut world = World::new(node(1, 1, |_| {}), node(2, 2, |options| options.has_store = true));
    let [a, b] = world.connect();
    let refused = world.command(0, |node, now| node.channel_open(now, a, stored("jobs")));
    assert_eq!(refused.unwrap_err().code, Code::Unsupported);
    let channel = world.command(1, |node, now| node.channel_open(now, b, stored("jobs"))).unwrap();
    world.send(1, b, channel, "one");
    world.pass(Duration::from_millis(100));
    assert_eq!(world.command(0, |node, now| node.channel_accept(now, a)).unwrap().channel, channel);
    assert_eq!(world.receive(0, a, channel).unwrap(), "one");
    assert_eq!(world.nodes[0].channel_stored(a, channel).unwrap(), None);
    // Nothing to note, and no error: a program need not know.
    world.command(0, |node, now| node.channel_done(now, a, channel, 3)).unwrap();
    let plain = world.open(0, a).unwrap();
    let done = world.command(0, |node, now| node.channel_done(now, a, plain, 0));
    assert_eq!(done.unwrap_err().code, Code::State);
}

#[test]
fn what_was_embalmed_by_a_process_that_died_is_discarded_once() {
    let (mut world, [_, b], _) = visited();
    let kind = KindOptions { level_min: 0, embalm_for: Some(Duration::from_secs(3600)), has_discard: true };
    world.command(1, |node, now| node.kind_register(now, "seat", kind)).unwrap();
    let seat = world.command(1, |node, now| node.object_attach(now, b, "seat", None)).unwrap();
    world.cut_all();
    world.reachable = false;
    world.pass(Duration::from_secs(12));
    assert_eq!(world.state(1, b), SessionState::Embalmed);
    let bytes = Some(Bytes::from_static(b"Ada"));
    world.command(1, |node, now| node.object_done(now, b, seat, ObjectAction::Embalm, bytes)).unwrap();
    let mut disk = world.disks[1].clone();
    let damaged = [&disk.keys().find(|key| key[0] == b'e').expect("it is stored")[..17], &[9; 8]].concat();
    disk.insert(damaged.clone(), vec![77]);
    let restored = restart(&mut world, 1, 9, &disk);
    assert_eq!(restored.unreadable_objects.len(), 1);
    assert_eq!((&restored.unreadable_objects[0].0, restored.unreadable.len()), (&damaged, 0));
    let discards = |world: &World| {
        let of_relics = |event: &&Event| {
            matches!(
                event,
                Event::Session { session: SessionId(0), event: SessionEvent::ObjectAction { .. } }
            )
        };
        world.events[1].iter().filter(of_relics).count()
    };
    let other = KindOptions { level_min: 0, embalm_for: None, has_discard: true };
    world.command(1, |node, now| node.kind_register(now, "other", other)).unwrap();
    assert_eq!(discards(&world), 0);
    world.command(1, |node, now| node.kind_register(now, "seat", kind)).unwrap();
    assert_eq!(discards(&world), 1);
    let (relics, first, done) = (SessionId(0), ObjectId(0), Some(Bytes::new()));
    world.command(1, |node, now| node.object_done(now, relics, first, ObjectAction::Discard, done)).unwrap();
    let left: Vec<_> = world.disks[1].keys().filter(|key| key[0] == b'e').collect();
    assert_eq!(left, [&damaged], "what cannot be read is for whoever has the store to set aside");
}
