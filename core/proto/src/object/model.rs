//! Random sequences of operations against a checker that knows the rules, and nothing of how they are kept.
//!
//! The checker keeps sets where the code keeps numbers and queues. It must find the canary, or it proves
//! nothing.

use super::*;
use crate::id::REGISTRATION;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestError, TestRunner};
use std::collections::{BTreeMap, BTreeSet};

const GRACE: Duration = Duration::from_nanos(100);

#[derive(Debug, Clone)]
enum Op {
    Attach { ttl: Option<u64>, embalm: Option<u64>, discard: bool },
    Touch(usize),
    End(usize),
    Enter(usize),
    Leave(usize),
    Start,
    Finish(usize),
    Done(usize, bool),
    WrongDone(usize, usize),
    Revive(usize),
    Advance(u64),
    Sweep(bool),
    Aside,
    Back,
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let pick = || 0usize..64;
    let op = prop_oneof![
        6 => (proptest::option::weighted(0.3, 1u64..300), proptest::option::of(0u64..300), any::<bool>())
            .prop_map(|(ttl, embalm, discard)| Op::Attach { ttl, embalm, discard }),
        2 => pick().prop_map(Op::Touch),
        3 => pick().prop_map(Op::End),
        5 => pick().prop_map(Op::Enter),
        4 => pick().prop_map(Op::Leave),
        2 => Just(Op::Start),
        2 => pick().prop_map(Op::Finish),
        6 => (pick(), prop::bool::weighted(0.7)).prop_map(|(at, ok)| Op::Done(at, ok)),
        1 => (pick(), 0usize..5).prop_map(|(at, action)| Op::WrongDone(at, action)),
        2 => pick().prop_map(Op::Revive),
        4 => (0u64..150).prop_map(Op::Advance),
        1 => any::<bool>().prop_map(Op::Sweep),
        2 => Just(Op::Aside),
        2 => Just(Op::Back),
    ];
    proptest::collection::vec(op, 0..120)
}

/// What the checker saw of one object.
#[derive(Debug, Clone, Default)]
struct Seen {
    in_service: u32,
    /// Handlers that ran when it was poisoned; `None` while alive.
    guards: Option<BTreeSet<ChannelId>>,
    running: Option<Action>,
    /// Its end began before the sweep, alone.
    alone: bool,
    aside: bool,
    can_embalm: bool,
    /// It is to be embalmed because its session is.
    goes_aside: bool,
    destroys: u32,
    abandons: u32,
    stuck: bool,
    discards: bool,
    last: Option<(Action, bool)>,
    ends: u32,
}

struct World {
    objects: Objects,
    now: Instant,
    seen: BTreeMap<ObjectId, Seen>,
    calls: BTreeSet<ChannelId>,
    next_call: u64,
    swept: Option<Instant>,
    contact_lost: bool,
    settled: bool,
    /// The session is embalmed.
    aside: bool,
    all_ended: u32,
}

type Check = Result<(), String>;

fn ensure(holds: bool, what: impl FnOnce() -> String) -> Check {
    if holds { Ok(()) } else { Err(what()) }
}

fn pick<T: Copy>(from: impl IntoIterator<Item = T>, at: usize) -> Option<T> {
    let all: Vec<T> = from.into_iter().collect();
    all.get(at % all.len().max(1)).copied()
}

impl World {
    fn new(canary: bool) -> World {
        World {
            objects: Objects::new(GRACE, canary),
            now: Instant(1000),
            seen: BTreeMap::new(),
            calls: BTreeSet::new(),
            next_call: 1,
            swept: None,
            contact_lost: false,
            settled: false,
            aside: false,
            all_ended: 0,
        }
    }

    fn any(&self, at: usize) -> Option<ObjectId> {
        pick(self.seen.keys().copied(), at)
    }

    fn state_of(&self, id: ObjectId) -> Option<ObjectState> {
        self.objects.infos().into_iter().find(|info| info.object == id).map(|info| info.state)
    }

    fn apply(&mut self, op: &Op) -> Check {
        match *op {
            Op::Attach { ttl, embalm, discard } => self.attach(ttl, embalm, discard)?,
            Op::Touch(at) => {
                if let Some(id) = self.any(at) {
                    let alive = self.seen[&id].guards.is_none();
                    let result = self.objects.touch(self.now, id);
                    ensure(result.is_ok() == alive, || format!("touch {id}: {result:?}"))?;
                }
            }
            Op::End(at) => {
                if let Some(id) = self.any(at) {
                    let aside = self.state_of(id) == Some(ObjectState::Embalmed);
                    let alive = self.seen[&id].guards.is_none();
                    let result = self.objects.end(self.now, id, Code::Closed);
                    let seen = self.seen.get_mut(&id).unwrap();
                    let may = alive || aside || seen.goes_aside && seen.ends == 0;
                    seen.goes_aside = false;
                    ensure(result.is_ok() == may, || format!("end {id}: {result:?}"))?;
                }
            }
            Op::Enter(at) => {
                if let Some(id) = self.any(at) {
                    let result = self.objects.enter(id);
                    let seen = self.seen.get_mut(&id).unwrap();
                    ensure(result.is_ok() == seen.guards.is_none(), || format!("enter {id}: {result:?}"))?;
                    seen.in_service += u32::from(result.is_ok());
                }
            }
            Op::Leave(at) => self.leave(at)?,
            Op::Start => {
                let call = ChannelId(self.next_call);
                self.next_call += 1;
                let result = self.objects.handler_started(self.now, call, "s");
                ensure(result.is_ok() == self.swept.is_none(), || format!("start: {result:?}"))?;
                if result.is_ok() {
                    self.calls.insert(call);
                }
            }
            Op::Finish(at) => {
                if let Some(call) = pick(self.calls.iter().copied(), at) {
                    self.calls.remove(&call);
                    self.objects.handler_finished(self.now, call, true).map_err(|error| error.to_string())?;
                }
            }
            Op::Done(at, ok) => self.answer(at, ok)?,
            Op::WrongDone(at, action) => self.answer_wrongly(at, action)?,
            Op::Revive(at) => {
                if let Some(id) = self.any(at) {
                    let _ = self.objects.revive_out(self.now, id);
                }
            }
            Op::Advance(span) => {
                self.now = self.now + Duration::from_nanos(span);
                self.objects.tick(self.now);
            }
            Op::Sweep(contact_lost) => self.sweep(contact_lost),
            Op::Aside => self.put_aside(),
            Op::Back => {
                self.aside = false;
                self.objects.bring_back(self.now);
            }
        }
        self.look()
    }

    fn attach(&mut self, ttl: Option<u64>, embalm: Option<u64>, discard: bool) -> Check {
        let rules = KindRules { embalm_for: embalm.map(Duration::from_nanos), has_discard: discard };
        let result = self.objects.attach(self.now, "k", rules, ttl.map(Duration::from_nanos));
        let may = self.swept.is_none() && !self.aside;
        ensure(result.is_ok() == may, || format!("attach: {result:?}"))?;
        if let Ok(id) = result {
            let seen = Seen { discards: discard, can_embalm: embalm.is_some(), ..Seen::default() };
            self.seen.insert(id, seen);
        }
        Ok(())
    }

    fn put_aside(&mut self) {
        if self.swept.is_none() && !self.aside {
            self.aside = true;
            for seen in self.seen.values_mut().filter(|seen| seen.guards.is_none()) {
                seen.goes_aside = seen.can_embalm;
            }
        }
        self.objects.put_aside(self.now);
    }

    fn sweep(&mut self, contact_lost: bool) {
        if self.swept.is_none() {
            self.swept = Some(self.now);
            self.contact_lost = contact_lost;
            self.aside = false;
            for seen in self.seen.values_mut() {
                seen.alone = seen.guards.is_some();
                let may_go = if seen.alone { seen.goes_aside } else { seen.can_embalm };
                seen.goes_aside = contact_lost && may_go;
            }
        }
        self.objects.sweep(self.now, Code::Lost, contact_lost);
    }

    fn leave(&mut self, at: usize) -> Check {
        let Some(id) = self.any(at) else { return Ok(()) };
        let seen = self.seen.get_mut(&id).unwrap();
        let may = seen.in_service > 0;
        seen.in_service = seen.in_service.saturating_sub(1);
        let result = self.objects.leave(self.now, id);
        ensure(result.is_ok() == may, || format!("leave {id}: {result:?}"))
    }

    fn answer(&mut self, at: usize, ok: bool) -> Check {
        let running = self.seen.iter().filter_map(|(&id, seen)| Some((id, seen.running?)));
        let Some((id, action)) = pick(running, at) else { return Ok(()) };
        let returns = self.swept.is_none() && self.state_of(id) == Some(ObjectState::Embalmed);
        let seen = self.seen.get_mut(&id).unwrap();
        seen.running = None;
        seen.last = Some((action, ok));
        match action {
            Action::Embalm => (seen.aside, seen.goes_aside) = (ok, false),
            Action::Revive => {
                seen.aside = !ok;
                if ok && self.aside && returns {
                    // Its session is embalmed once more: so is it.
                    (seen.goes_aside, seen.guards) = (true, Some(self.calls.clone()));
                }
            }
            Action::Destroy | Action::Discard | Action::Abandon => {}
        }
        let bytes = (action == Action::Embalm).then(|| Bytes::copy_from_slice(&id.0.to_be_bytes()));
        let answer = ok.then(|| bytes.unwrap_or_default());
        self.objects.done(self.now, id, action, answer).map_err(|error| error.to_string())
    }

    fn answer_wrongly(&mut self, at: usize, action: usize) -> Check {
        use Action::*;
        let action = [Destroy, Embalm, Revive, Discard, Abandon][action];
        let Some(id) = self.any(at) else { return Ok(()) };
        if self.seen[&id].running == Some(action) {
            return Ok(());
        }
        let before = format!("{:?}", self.objects);
        let result = self.objects.done(self.now, id, action, Some(Bytes::new()));
        ensure(result.is_err_and(|error| error.code == Code::State), || format!("wrong {action:?} of {id}"))?;
        ensure(format!("{:?}", self.objects) == before, || "a wrong answer changed something".into())
    }

    /// Reads what changed, then takes and checks all effects.
    fn look(&mut self) -> Check {
        let infos = self.objects.infos();
        for info in infos.iter().filter(|info| info.object != REGISTRATION) {
            let seen = self.seen.get_mut(&info.object).unwrap();
            ensure(info.in_service == seen.in_service, || format!("in service: {info:?}"))?;
            if info.state != ObjectState::Alive && seen.guards.is_none() {
                seen.guards = Some(self.calls.clone());
            } else if info.state == ObjectState::Alive && seen.guards.is_some() {
                let came_back =
                    seen.running.is_none() && !seen.aside && seen.ends == 0 && self.swept.is_none();
                ensure(came_back && seen.can_embalm, || format!("alive again: {info:?} {seen:?}"))?;
                (seen.guards, seen.goes_aside) = (None, false);
            }
            let left = !self.aside || info.state != ObjectState::Alive;
            ensure(left, || format!("alive while its session is embalmed: {info:?}"))?;
        }
        while let Some(effect) = self.objects.poll() {
            ensure(self.all_ended == 0, || format!("{effect:?} after the end of all"))?;
            match effect {
                Effect::Run { object, action, kept, .. } => {
                    let is_handed = matches!(action, Action::Revive | Action::Discard);
                    let right = if is_handed { &object.0.to_be_bytes()[..] } else { &[][..] };
                    ensure(kept == right, || format!("{action:?} of {object} got {kept:?}"))?;
                    self.check_run(object, action)?;
                }
                Effect::Stuck { object } => {
                    let seen = self.seen.get_mut(&object).unwrap();
                    ensure(!seen.stuck && seen.abandons == 1, || format!("stuck {object}"))?;
                    seen.stuck = true;
                }
                Effect::Ended { object, .. } => self.check_end(object, false)?,
                Effect::Revived { object, .. } => self.check_end(object, true)?,
                Effect::AllEnded => {
                    self.all_ended += 1;
                    let over = self.calls.is_empty() && self.seen.values().all(|seen| seen.ends == 1);
                    ensure(over && self.swept.is_some(), || "all ended too early".into())?;
                }
            }
        }
        self.check_whole()
    }

    fn check_end(&mut self, id: ObjectId, revived: bool) -> Check {
        let seen = self.seen.get_mut(&id).unwrap();
        seen.ends += 1;
        let fits = match seen.last {
            Some((Action::Revive, true)) => revived,
            Some((Action::Revive, false)) => !revived && !seen.discards,
            Some((Action::Destroy | Action::Discard, _)) => !revived,
            _ => false,
        };
        ensure(fits && seen.ends == 1 && seen.running.is_none(), || format!("end of {id}: {seen:?}"))
    }

    fn busy(&self, seen: &Seen) -> bool {
        let mut guards = seen.guards.iter().flatten();
        seen.in_service > 0 || guards.any(|call| self.calls.contains(call))
    }

    fn check_run(&mut self, id: ObjectId, action: Action) -> Check {
        let swept = self.swept.is_some();
        let seen = &self.seen[&id];
        let say = |what: &str| format!("{action:?} of {id}: {what}: {seen:?}");
        let busy = self.busy(seen);
        ensure(seen.guards.is_some() && seen.running.is_none() && seen.ends == 0, || say("not its time"))?;
        match action {
            Action::Abandon => ensure(busy && seen.abandons == 0 && !seen.aside, || say("not stuck"))?,
            Action::Destroy | Action::Embalm => {
                ensure(!busy, || say("beside a handler"))?;
                ensure(!seen.aside && seen.destroys == 0, || say("ended already"))?;
                let may_embalm = seen.goes_aside;
                ensure(action == Action::Destroy || may_embalm, || say("may not be put aside"))?;
            }
            Action::Revive | Action::Discard => ensure(seen.aside, || say("was not put aside"))?,
        }
        let ends = matches!(action, Action::Destroy | Action::Embalm | Action::Discard);
        if swept && ends && !seen.alone {
            for (&other, that) in &self.seen {
                let in_flight =
                    matches!(that.running, Some(Action::Destroy | Action::Embalm | Action::Discard));
                ensure(that.alone || !in_flight, || format!("{action:?} of {id} beside {other}"))?;
                let passed = that.ends == 1 || that.aside || that.stuck;
                ensure(other <= id || passed, || format!("{action:?} of {id} before {other}"))?;
            }
        }
        let seen = self.seen.get_mut(&id).unwrap();
        seen.running = Some(action);
        seen.destroys += u32::from(action == Action::Destroy);
        seen.abandons += u32::from(action == Action::Abandon);
        seen.goes_aside &= action != Action::Abandon;
        Ok(())
    }

    fn check_whole(&mut self) -> Check {
        let objects = &self.objects;
        ensure(objects.next_deadline() > self.now, || "a deadline was left behind".into())?;
        let living = self.seen.values().filter(|seen| seen.ends == 0).count();
        ensure(objects.len() == living, || format!("{} objects, {living} expected", objects.len()))?;
        ensure(objects.handlers_running() == self.calls.len(), || "handlers".into())?;
        ensure(objects.is_over() == (self.all_ended == 1), || "over".into())?;
        let idle = self.seen.iter().all(|(&id, seen)| {
            let abandoned = seen.stuck && (self.busy(seen) || seen.running == Some(Action::Abandon));
            seen.ends == 1 || abandoned || self.state_of(id) == Some(ObjectState::Embalmed)
        });
        self.settled |= self.swept.is_some_and(|at| idle || self.now >= at + GRACE);
        ensure(self.objects.settled() == self.settled, || "settled at the wrong time".into())
    }

    /// Everything ends once it is swept, all handlers leave and all answers come.
    fn finish(&mut self, contact_lost: bool, ok: bool) -> Check {
        self.apply(&Op::Sweep(contact_lost))?;
        for _ in 0..10_000 {
            let used =
                self.seen.iter().find(|(_, seen)| seen.in_service > 0 && seen.ends == 0).map(|(&id, _)| id);
            if let Some(id) = used {
                let at = self.seen.keys().position(|&other| other == id).unwrap();
                self.apply(&Op::Leave(at))?;
            } else if !self.calls.is_empty() {
                self.apply(&Op::Finish(0))?;
            } else if self.seen.values().any(|seen| seen.running.is_some()) {
                self.apply(&Op::Done(0, ok))?;
            } else if self.objects.next_deadline() != Instant::NEVER {
                let span = self.objects.next_deadline().since(self.now);
                self.apply(&Op::Advance(u64::try_from(span.as_nanos()).unwrap()))?;
            } else {
                return ensure(self.objects.is_over(), || format!("it hangs: {:?}", self.objects));
            }
        }
        Err("it never ends".into())
    }
}

fn play(ops: &[Op], canary: bool, contact_lost: bool, ok: bool) -> Check {
    let mut world = World::new(canary);
    for op in ops {
        world.apply(op).map_err(|what| format!("{op:?}: {what}"))?;
    }
    world.finish(contact_lost, ok).map_err(|what| format!("at the end: {what}"))
}

proptest! {
    #![proptest_config(Config { cases: 500, failure_persistence: None, ..Config::default() })]

    #[test]
    fn any_sequence_keeps_the_rules(ops in ops(), contact_lost: bool, ok: bool) {
        play(&ops, false, contact_lost, ok).map_err(TestCaseError::fail)?;
    }
}

#[test]
fn the_checker_finds_the_canary() {
    let ops =
        [Op::Attach { ttl: None, embalm: None, discard: false }, Op::Enter(0), Op::End(0), Op::Advance(100)];
    assert_eq!(play(&ops, false, false, true), Ok(()));
    let found = play(&ops, true, false, true).unwrap_err();
    assert!(found.contains("beside a handler"), "{found}");
}

#[test]
fn random_sequences_find_the_canary() {
    let config = Config { cases: 1000, failure_persistence: None, max_shrink_iters: 0, ..Config::default() };
    let result =
        TestRunner::new(config).run(&ops(), |ops| play(&ops, true, false, true).map_err(TestCaseError::fail));
    match result {
        Err(TestError::Fail(reason, _)) => assert!(reason.message().contains("beside a handler"), "{reason}"),
        other => panic!("the canary lives: {other:?}"),
    }
}
