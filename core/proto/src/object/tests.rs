//! The rules O1 to O5 one by one.

use super::*;
use crate::error::Class;
use crate::id::REGISTRATION;
use crate::limits::{EMBALMED_BYTES_MAX, HISTORY_MAX, OBJECT_DATA_BYTES_MAX, OBJECTS_MAX};

const GRACE: Duration = Duration::from_millis(100);
const PLAIN: KindRules = KindRules { embalm_for: None, has_discard: false };
const KEPT: KindRules = KindRules { embalm_for: Some(Duration::from_millis(500)), has_discard: false };
const DISCARDED: KindRules = KindRules { embalm_for: Some(Duration::from_millis(500)), has_discard: true };

/// What a callback answers that did what it was asked for.
const DONE: Option<Bytes> = Some(Bytes::new());

fn at(milliseconds: u64) -> Instant {
    Instant(milliseconds * 1_000_000)
}

fn objects() -> Objects {
    Objects::new(GRACE, false)
}

fn attach(objects: &mut Objects, rules: KindRules) -> ObjectId {
    objects.attach(at(0), "file", rules, None).unwrap()
}

fn run(object: ObjectId, action: Action) -> Effect {
    Effect::Run { object, kind: "file".into(), action, kept: Bytes::new() }
}

fn drain(objects: &mut Objects) -> Vec<Effect> {
    std::iter::from_fn(|| objects.poll()).collect()
}

fn code_of<T: std::fmt::Debug>(result: crate::error::Result<T>) -> Code {
    result.unwrap_err().code
}

/// An embalmed object: swept for lost contact at 0 ms, put aside at 1 ms.
fn embalmed(rules: KindRules) -> (Objects, ObjectId) {
    let mut objects = objects();
    let id = attach(&mut objects, rules);
    objects.update(id, Bytes::from_static(b"left")).unwrap();
    objects.sweep(at(0), Code::Lost, true);
    assert_eq!(drain(&mut objects), [run(id, Action::Embalm)]);
    objects.done(at(1), id, Action::Embalm, DONE).unwrap();
    assert_eq!(drain(&mut objects), [], "nothing has ended");
    assert_eq!(objects.infos()[1].state, ObjectState::Embalmed);
    (objects, id)
}

#[test]
fn the_registration_is_the_first_object_and_only_a_sweep_ends_it() {
    let mut objects = objects();
    assert_eq!((objects.len(), objects.is_empty()), (0, true));
    let infos = objects.infos();
    assert_eq!((infos[0].object, infos[0].kind.as_str()), (REGISTRATION, REGISTRATION_KIND));
    assert_eq!(infos[0].state, ObjectState::Alive);
    assert_eq!(objects.kind_of(REGISTRATION), Some("registration"));
    objects.touch(at(0), REGISTRATION).unwrap();
    assert_eq!(code_of(objects.end(at(0), REGISTRATION, Code::Closed)), Code::State);
    assert_eq!(code_of(objects.enter(REGISTRATION)), Code::State);
    assert_eq!(code_of(objects.done(at(0), REGISTRATION, Action::Destroy, DONE)), Code::State);
    assert!(!objects.settled() && !objects.is_over());
    objects.sweep(at(1), Code::Closed, false);
    assert_eq!(drain(&mut objects), [Effect::AllEnded]);
    assert!(objects.settled() && objects.is_over());
    assert_eq!(objects.infos()[0].state, ObjectState::Dead);
    assert_eq!(code_of(objects.touch(at(2), REGISTRATION)), Code::Poisoned);
    assert_eq!(objects.next_deadline(), Instant::NEVER);
}

#[test]
fn a_sweep_ends_in_reverse_order_one_after_the_other() {
    let mut objects = objects();
    let ids: Vec<ObjectId> = (0..3).map(|_| attach(&mut objects, PLAIN)).collect();
    objects.sweep(at(1), Code::Closed, false);
    objects.sweep(at(1), Code::Lost, true);
    for &id in ids.iter().rev() {
        assert!(!objects.settled());
        assert_eq!(drain(&mut objects), [run(id, Action::Destroy)]);
        objects.done(at(2), id, Action::Destroy, None).unwrap();
        assert_eq!(objects.poll(), Some(Effect::Ended { object: id, code: Code::Closed }));
        assert_eq!(objects.kind_of(id), None);
    }
    assert_eq!(drain(&mut objects), [Effect::AllEnded]);
    assert!(objects.settled() && objects.is_over());
}

#[test]
fn after_the_sweep_began_nothing_new_begins() {
    let mut objects = objects();
    let id = attach(&mut objects, PLAIN);
    objects.enter(id).unwrap();
    objects.sweep(at(1), Code::Closed, false);
    assert_eq!(code_of(objects.attach(at(1), "file", PLAIN, None)), Code::Poisoned);
    assert_eq!(code_of(objects.handler_started(at(1), ChannelId(2), "echo")), Code::Poisoned);
    assert_eq!(code_of(objects.enter(id)), Code::Poisoned);
    assert_eq!(code_of(objects.touch(at(1), id)), Code::Poisoned);
    assert_eq!(code_of(objects.update(id, Bytes::new())), Code::Poisoned);
    assert_eq!(code_of(objects.end(at(1), id, Code::Closed)), Code::Poisoned);
    assert_eq!(code_of(objects.revive_out(at(1), id)), Code::State);
    assert_eq!(drain(&mut objects), []);
}

#[test]
fn destroy_waits_for_the_last_use_and_the_grace_ends_in_abandon() {
    let mut objects = objects();
    let id = attach(&mut objects, PLAIN);
    objects.enter(id).unwrap();
    objects.enter(id).unwrap();
    objects.end(at(1), id, Code::Closed).unwrap();
    assert_eq!(objects.next_deadline(), at(101));
    objects.leave(at(2), id).unwrap();
    objects.tick(at(100));
    assert_eq!(drain(&mut objects), []);
    objects.tick(at(101));
    assert_eq!(drain(&mut objects), [run(id, Action::Abandon), Effect::Stuck { object: id }]);
    assert_eq!(objects.next_deadline(), Instant::NEVER, "abandoned once, and no more waiting by time");
    objects.leave(at(102), id).unwrap();
    assert_eq!(drain(&mut objects), [], "one action at a time");
    objects.done(at(103), id, Action::Abandon, DONE).unwrap();
    assert_eq!(drain(&mut objects), [run(id, Action::Destroy)]);
    objects.done(at(104), id, Action::Destroy, DONE).unwrap();
    assert_eq!(drain(&mut objects), [Effect::Ended { object: id, code: Code::Closed }]);
    assert_eq!(code_of(objects.leave(at(105), id)), Code::Handle);
}

#[test]
fn leave_needs_an_enter_and_unknown_objects_are_refused() {
    let mut objects = objects();
    let id = attach(&mut objects, PLAIN);
    assert_eq!(code_of(objects.leave(at(0), id)), Code::State);
    let never = objects.enter(ObjectId(9)).unwrap_err();
    assert_eq!((never.code, never.class()), (Code::Handle, Class::Misuse));
    assert!(never.message.contains("no such object"), "{never}");
    assert_eq!(code_of(objects.revive_out(at(0), id)), Code::State);
}

#[test]
fn destroy_waits_for_the_handlers_that_ran_at_poison_time_and_no_others() {
    let mut objects = objects();
    let id = attach(&mut objects, PLAIN);
    objects.handler_started(at(0), ChannelId(2), "old").unwrap();
    objects.end(at(1), id, Code::Closed).unwrap();
    objects.handler_started(at(2), ChannelId(4), "new").unwrap();
    assert_eq!(drain(&mut objects), []);
    objects.handler_finished(at(3), ChannelId(2), true).unwrap();
    assert_eq!(drain(&mut objects), [run(id, Action::Destroy)]);
    assert_eq!(objects.handlers_running(), 1);
}

#[test]
fn one_handler_holds_up_the_sweep_and_the_registration() {
    let mut objects = objects();
    let first = attach(&mut objects, PLAIN);
    let second = attach(&mut objects, KEPT);
    objects.handler_started(at(0), ChannelId(2), "slow").unwrap();
    objects.sweep(at(0), Code::Lost, true);
    objects.tick(at(99));
    assert_eq!((drain(&mut objects), objects.settled()), (vec![], false));
    objects.tick(at(100));
    let stuck = |object| Effect::Stuck { object };
    let abandon = [run(second, Action::Abandon), stuck(second), run(first, Action::Abandon), stuck(first)];
    assert_eq!(drain(&mut objects), abandon);
    assert!(objects.settled() && !objects.is_over());
    objects.done(at(101), first, Action::Abandon, DONE).unwrap();
    objects.done(at(101), second, Action::Abandon, DONE).unwrap();
    objects.handler_finished(at(102), ChannelId(2), false).unwrap();
    assert_eq!(drain(&mut objects), [run(second, Action::Destroy)], "abandoned: not embalmed, and in order");
    objects.done(at(103), second, Action::Destroy, DONE).unwrap();
    objects.done(at(104), first, Action::Destroy, DONE).unwrap();
    assert_eq!(drain(&mut objects).last(), Some(&Effect::AllEnded));
}

#[test]
fn the_registration_waits_for_a_handler_without_objects() {
    let mut objects = objects();
    objects.handler_started(at(0), ChannelId(2), "slow").unwrap();
    objects.sweep(at(0), Code::Closed, false);
    assert_eq!((drain(&mut objects), objects.settled(), objects.is_over()), (vec![], true, false));
    objects.handler_finished(at(1), ChannelId(2), true).unwrap();
    assert_eq!((drain(&mut objects), objects.is_over()), (vec![Effect::AllEnded], true));
}

#[test]
fn a_stuck_object_does_not_hold_up_the_others_of_a_sweep() {
    let mut objects = objects();
    let low = attach(&mut objects, PLAIN);
    let high = attach(&mut objects, PLAIN);
    objects.enter(high).unwrap();
    objects.sweep(at(0), Code::Closed, false);
    assert_eq!(drain(&mut objects), [], "the lower one waits for its turn");
    objects.tick(at(100));
    let passed = [run(high, Action::Abandon), Effect::Stuck { object: high }, run(low, Action::Destroy)];
    assert_eq!(drain(&mut objects), passed);
    objects.done(at(101), high, Action::Abandon, DONE).unwrap();
    objects.leave(at(101), high).unwrap();
    assert_eq!(drain(&mut objects), [], "one at a time");
    objects.done(at(102), low, Action::Destroy, DONE).unwrap();
    let ended = [Effect::Ended { object: low, code: Code::Closed }, run(high, Action::Destroy)];
    assert_eq!(drain(&mut objects), ended);
    assert!(!objects.is_over());
}

#[test]
fn a_single_end_runs_alone_and_a_later_sweep_waits_for_it() {
    let mut objects = objects();
    let ids: Vec<ObjectId> = (0..4).map(|_| attach(&mut objects, PLAIN)).collect();
    objects.end(at(0), ids[0], Code::Closed).unwrap();
    objects.end(at(0), ids[2], Code::Closed).unwrap();
    assert_eq!(drain(&mut objects), [run(ids[0], Action::Destroy), run(ids[2], Action::Destroy)]);
    objects.sweep(at(1), Code::Lost, false);
    assert_eq!(drain(&mut objects), [run(ids[3], Action::Destroy)]);
    objects.done(at(2), ids[3], Action::Destroy, DONE).unwrap();
    assert_eq!(
        drain(&mut objects),
        [Effect::Ended { object: ids[3], code: Code::Lost }],
        "its elder runs still"
    );
    objects.done(at(3), ids[2], Action::Destroy, DONE).unwrap();
    let next = [Effect::Ended { object: ids[2], code: Code::Closed }, run(ids[1], Action::Destroy)];
    assert_eq!(drain(&mut objects), next);
}

#[test]
fn an_own_ttl_counts_from_attach_or_the_last_touch() {
    let mut objects = objects();
    let ttl = Some(Duration::from_millis(50));
    let id = objects.attach(at(0), "file", PLAIN, ttl).unwrap();
    objects.touch(at(40), id).unwrap();
    objects.tick(at(89));
    assert_eq!(drain(&mut objects), []);
    assert_eq!(code_of(objects.touch(at(90), id)), Code::Poisoned, "due is due, even for this touch");
    assert_eq!(drain(&mut objects), [run(id, Action::Destroy)]);
    objects.done(at(91), id, Action::Destroy, DONE).unwrap();
    assert_eq!(drain(&mut objects), [Effect::Ended { object: id, code: Code::Timeout }]);
    assert_eq!(code_of(objects.attach(at(91), "file", PLAIN, Some(Duration::ZERO))), Code::Argument);
}

#[test]
fn embalming_that_fails_becomes_destroy() {
    let mut objects = objects();
    let id = attach(&mut objects, KEPT);
    objects.sweep(at(0), Code::Lost, true);
    assert_eq!(drain(&mut objects), [run(id, Action::Embalm)]);
    objects.done(at(1), id, Action::Embalm, None).unwrap();
    assert_eq!(drain(&mut objects), [run(id, Action::Destroy)]);
}

#[test]
fn only_lost_contact_embalms() {
    for contact_lost in [false, true] {
        let mut objects = objects();
        let plain = attach(&mut objects, PLAIN);
        let kept = attach(&mut objects, KEPT);
        objects.sweep(at(0), Code::Lost, contact_lost);
        let first = if contact_lost { Action::Embalm } else { Action::Destroy };
        assert_eq!(drain(&mut objects), [run(kept, first)]);
        objects.done(at(1), kept, first, DONE).unwrap();
        assert_eq!(drain(&mut objects).last(), Some(&run(plain, Action::Destroy)));
    }
}

#[test]
fn an_embalmed_object_is_discarded_at_its_deadline() {
    let (mut objects, id) = embalmed(DISCARDED);
    assert!(objects.settled() && !objects.is_over());
    assert_eq!(objects.next_deadline(), at(501));
    objects.tick(at(501));
    assert_eq!(drain(&mut objects), [run(id, Action::Discard)]);
    objects.done(at(502), id, Action::Discard, None).unwrap();
    assert_eq!(drain(&mut objects), [Effect::Ended { object: id, code: Code::Lost }, Effect::AllEnded]);
}

#[test]
fn without_discard_it_is_revived_and_destroyed() {
    let (mut objects, id) = embalmed(KEPT);
    objects.end(at(10), id, Code::Cancelled).unwrap();
    assert_eq!(drain(&mut objects), [run(id, Action::Revive)], "an early end need not wait");
    objects.done(at(11), id, Action::Revive, DONE).unwrap();
    assert_eq!(drain(&mut objects), [run(id, Action::Destroy)]);
    objects.done(at(12), id, Action::Destroy, DONE).unwrap();
    assert_eq!(drain(&mut objects), [Effect::Ended { object: id, code: Code::Cancelled }, Effect::AllEnded]);
}

#[test]
fn what_can_be_neither_revived_nor_discarded_is_leaked_not_destroyed() {
    let (mut objects, id) = embalmed(KEPT);
    objects.tick(at(501));
    objects.done(at(502), id, Action::Revive, None).unwrap();
    let expected =
        [run(id, Action::Revive), Effect::Ended { object: id, code: Code::Lost }, Effect::AllEnded];
    assert_eq!(drain(&mut objects), expected);
}

#[test]
fn a_revived_object_leaves_for_another_session() {
    let (mut objects, id) = embalmed(DISCARDED);
    objects.revive_out(at(10), id).unwrap();
    assert_eq!(code_of(objects.revive_out(at(10), id)), Code::State);
    assert_eq!(drain(&mut objects), [run(id, Action::Revive)]);
    objects.tick(at(600));
    assert_eq!(drain(&mut objects), [], "its deadline waits for the revival");
    objects.done(at(601), id, Action::Revive, DONE).unwrap();
    let (kind, data) = ("file".to_owned(), Bytes::from_static(b"left"));
    let revived = Effect::Revived { object: id, kind, rules: DISCARDED, ttl: None, data };
    assert_eq!(drain(&mut objects), [revived, Effect::AllEnded]);
}

#[test]
fn a_failed_revival_leaves_it_embalmed_until_its_deadline() {
    let (mut objects, id) = embalmed(DISCARDED);
    objects.revive_out(at(10), id).unwrap();
    objects.done(at(20), id, Action::Revive, None).unwrap();
    assert_eq!(objects.infos()[1].state, ObjectState::Embalmed);
    objects.revive_out(at(500), id).unwrap();
    objects.done(at(700), id, Action::Revive, None).unwrap();
    let expected = [run(id, Action::Revive), run(id, Action::Revive), run(id, Action::Discard)];
    assert_eq!(drain(&mut objects), expected);
}

#[test]
fn an_end_during_a_revival_wins() {
    for (ok, next) in [(true, Action::Destroy), (false, Action::Discard)] {
        let (mut objects, id) = embalmed(DISCARDED);
        objects.revive_out(at(10), id).unwrap();
        objects.end(at(11), id, Code::Cancelled).unwrap();
        assert_eq!(code_of(objects.end(at(11), id, Code::Cancelled)), Code::Poisoned);
        objects.done(at(12), id, Action::Revive, ok.then(Bytes::new)).unwrap();
        assert_eq!(drain(&mut objects), [run(id, Action::Revive), run(id, next)]);
    }
}

#[test]
fn a_wrong_or_late_answer_changes_nothing() {
    let mut objects = objects();
    let id = attach(&mut objects, PLAIN);
    objects.end(at(0), id, Code::Closed).unwrap();
    let before = format!("{objects:?}");
    assert_eq!(code_of(objects.done(at(1), id, Action::Embalm, DONE)), Code::State);
    assert_eq!(code_of(objects.done(at(1), ObjectId(7), Action::Destroy, DONE)), Code::State);
    assert_eq!(format!("{objects:?}"), before);
    objects.done(at(1), id, Action::Destroy, DONE).unwrap();
    assert_eq!(code_of(objects.done(at(1), id, Action::Destroy, DONE)), Code::State);
}

#[test]
fn a_session_settles_at_the_end_of_the_grace_even_under_a_slow_destructor() {
    let mut objects = objects();
    attach(&mut objects, PLAIN);
    objects.sweep(at(0), Code::Closed, false);
    objects.tick(at(99));
    assert!(!objects.settled());
    assert_eq!(objects.next_deadline(), at(100));
    objects.tick(at(100));
    assert!(objects.settled() && !objects.is_over());
}

#[test]
fn data_has_a_limit() {
    let mut objects = objects();
    let id = attach(&mut objects, PLAIN);
    objects.update(id, Bytes::from(vec![1; OBJECT_DATA_BYTES_MAX])).unwrap();
    assert_eq!(code_of(objects.update(id, Bytes::from(vec![1; OBJECT_DATA_BYTES_MAX + 1]))), Code::Size);
    assert_eq!(objects.infos()[1].data.len(), OBJECT_DATA_BYTES_MAX);
}

#[test]
fn a_session_has_so_many_objects_and_idle_ones_cost_nothing() {
    let mut objects = objects();
    let ttl = Some(Duration::from_secs(3600));
    for _ in 0..OBJECTS_MAX {
        objects.attach(at(0), "file", PLAIN, ttl).unwrap();
    }
    assert_eq!(code_of(objects.attach(at(0), "file", PLAIN, ttl)), Code::Limit);
    // A tick that looked at each object would take hours here.
    for milliseconds in 0..1_000_000 {
        objects.tick(at(milliseconds));
    }
    objects.end(at(1_000_000), ObjectId(5), Code::Closed).unwrap();
    assert_eq!(code_of(objects.attach(at(1_000_000), "file", PLAIN, ttl)), Code::Limit, "not dead yet");
    objects.done(at(1_000_000), ObjectId(5), Action::Destroy, DONE).unwrap();
    let id = objects.attach(at(1_000_000), "file", PLAIN, ttl).unwrap();
    assert_eq!(id, ObjectId(OBJECTS_MAX as u64 + 1), "a number is never used again");
}

#[test]
fn a_full_session_is_swept_in_reverse_in_short_time() {
    let mut objects = objects();
    let ids: Vec<ObjectId> = (0..OBJECTS_MAX).map(|_| attach(&mut objects, PLAIN)).collect();
    ids.iter().for_each(|&id| objects.enter(id).unwrap());
    objects.sweep(at(0), Code::Closed, false);
    objects.tick(at(100));
    assert_eq!(drain(&mut objects).len(), 2 * OBJECTS_MAX, "all are stuck");
    for &id in &ids {
        objects.done(at(101), id, Action::Abandon, DONE).unwrap();
        objects.leave(at(101), id).unwrap();
    }
    let mut order = Vec::new();
    while let Some(effect) = objects.poll() {
        if let Effect::Run { object, .. } = effect {
            order.push(object);
            objects.done(at(102), object, Action::Destroy, DONE).unwrap();
        }
    }
    assert!(objects.is_over());
    assert_eq!(order[0], ids[0], "it was the only one free when its turn came");
    assert!(order[1..].is_sorted_by(|a, b| a > b));
}

#[test]
fn history_is_bounded_and_counts_what_it_forgot() {
    let mut objects = objects();
    objects.handler_started(at(0), ChannelId(0), "first").unwrap();
    assert_eq!(code_of(objects.handler_started(at(0), ChannelId(0), "first")), Code::State);
    for call in 1..=HISTORY_MAX as u64 {
        objects.handler_started(at(call), ChannelId(call), "echo").unwrap();
        objects.handler_finished(at(call + 1), ChannelId(call), call % 2 == 0).unwrap();
    }
    let history = objects.history();
    assert_eq!((history.len(), objects.history_forgotten()), (HISTORY_MAX, 1));
    assert_eq!(history[1].call, ChannelId(2));
    assert_eq!((history[1].finished, history[1].replied), (Some(at(3)), true));
    assert_eq!(objects.infos()[0].in_service, 1);
    objects.handler_finished(at(900), ChannelId(0), true).unwrap();
    assert_eq!(code_of(objects.handler_finished(at(900), ChannelId(0), true)), Code::State);
    assert_eq!(objects.history(), history, "its record is forgotten");
}

/// An object with data, put aside with its session at 0 ms.
fn put_aside(rules: KindRules) -> (Objects, ObjectId) {
    let mut objects = objects();
    let id = attach(&mut objects, rules);
    objects.update(id, Bytes::from_static(b"left")).unwrap();
    objects.put_aside(at(0));
    assert_eq!(drain(&mut objects), [run(id, Action::Embalm)]);
    (objects, id)
}

#[test]
fn what_is_put_aside_comes_back_from_its_bytes_under_its_own_number() {
    let (mut objects, id) = put_aside(DISCARDED);
    objects.done(at(1), id, Action::Embalm, Some(Bytes::from_static(b"state"))).unwrap();
    assert_eq!((objects.kept_bytes(), objects.infos()[0].state), (5, ObjectState::Alive));
    assert_eq!(code_of(objects.enter(id)), Code::Poisoned);
    objects.bring_back(at(300));
    assert!(objects.is_returning());
    let kept = Bytes::from_static(b"state");
    let revive = Effect::Run { object: id, kind: "file".into(), action: Action::Revive, kept };
    assert_eq!(drain(&mut objects), [revive]);
    objects.done(at(900), id, Action::Revive, DONE).unwrap();
    assert!(!objects.is_returning() && objects.kept_bytes() == 0);
    objects.enter(id).unwrap();
    assert_eq!(objects.infos()[1].data, Bytes::from_static(b"left"));
    assert_eq!(drain(&mut objects), []);
}

#[test]
fn contact_that_comes_back_early_leaves_an_object_in_use_as_it_is() {
    let mut objects = objects();
    let id = attach(&mut objects, KEPT);
    objects.enter(id).unwrap();
    objects.put_aside(at(0));
    objects.tick(at(200));
    assert_eq!(
        drain(&mut objects),
        [],
        "it waits for its user, beyond the grace too, and nobody is told to stop"
    );
    assert_eq!(objects.infos()[1].state, ObjectState::Poisoned);
    objects.bring_back(at(300));
    assert_eq!((objects.infos()[1].state, objects.is_returning()), (ObjectState::Alive, false));
    objects.leave(at(301), id).unwrap();
    assert_eq!(drain(&mut objects), []);
}

#[test]
fn contact_that_comes_back_while_it_is_embalmed_revives_it_then() {
    let (mut objects, id) = put_aside(KEPT);
    objects.bring_back(at(10));
    assert!(objects.is_returning());
    objects.done(at(20), id, Action::Embalm, DONE).unwrap();
    assert_eq!(drain(&mut objects), [run(id, Action::Revive)]);
    objects.put_aside(at(25));
    objects.done(at(30), id, Action::Revive, DONE).unwrap();
    assert_eq!(drain(&mut objects), [run(id, Action::Embalm)], "contact was lost again meanwhile");
}

#[test]
fn what_cannot_be_revived_ends_and_what_nobody_fetches_does_too() {
    for comes_back in [true, false] {
        let (mut objects, id) = put_aside(DISCARDED);
        objects.done(at(1), id, Action::Embalm, DONE).unwrap();
        if comes_back {
            objects.bring_back(at(10));
            objects.done(at(20), id, Action::Revive, None).unwrap();
            assert_eq!(drain(&mut objects), [run(id, Action::Revive), run(id, Action::Discard)]);
            assert!(objects.is_returning(), "not over yet");
        } else {
            objects.sweep(at(400), Code::Lost, false);
            assert_eq!(drain(&mut objects), [run(id, Action::Discard)]);
        }
        objects.done(at(401), id, Action::Discard, DONE).unwrap();
        assert!(!objects.is_returning() && objects.is_empty());
    }
}

#[test]
fn what_embalms_itself_into_too_much_is_freed_at_once() {
    for (len, next) in [(EMBALMED_BYTES_MAX, None), (EMBALMED_BYTES_MAX + 1, Some(Action::Discard))] {
        let (mut objects, id) = put_aside(DISCARDED);
        objects.done(at(1), id, Action::Embalm, Some(vec![0; len].into())).unwrap();
        let asked = drain(&mut objects).pop();
        assert_eq!(
            asked.map(|effect| if let Effect::Run { action, .. } = effect {
                action
            } else {
                Action::Destroy
            }),
            next,
            "{len} bytes"
        );
    }
}

#[test]
fn an_object_that_is_released_before_its_turn_is_destroyed_and_not_embalmed() {
    let (mut objects, id) = put_aside(KEPT);
    objects.end(at(1), id, Code::Closed).unwrap();
    objects.done(at(2), id, Action::Embalm, DONE).unwrap();
    assert_eq!(drain(&mut objects), [run(id, Action::Revive)]);
    objects.done(at(3), id, Action::Revive, DONE).unwrap();
    assert_eq!(drain(&mut objects), [run(id, Action::Destroy)]);
    objects.done(at(4), id, Action::Destroy, DONE).unwrap();
    assert_eq!(drain(&mut objects), [Effect::Ended { object: id, code: Code::Closed }]);
}

#[test]
fn when_the_holder_ends_nothing_stays_embalmed_not_even_what_is_being_embalmed() {
    let (mut objects, id) = put_aside(DISCARDED);
    objects.end_embalmed(at(1), Code::Closed);
    assert_eq!(drain(&mut objects), []);
    objects.done(at(2), id, Action::Embalm, DONE).unwrap();
    assert_eq!(drain(&mut objects), [run(id, Action::Discard)]);
    objects.done(at(3), id, Action::Discard, DONE).unwrap();
    assert_eq!(drain(&mut objects), [Effect::Ended { object: id, code: Code::Lost }]);
}
