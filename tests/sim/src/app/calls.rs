//! Calls and the handlers that run them.

use super::{Calling, Handler, Job};
use crate::checker::flows::FlowKey;
use crate::checker::{Invariant, Verdict, broken, ensure};
use crate::plan::{MS, Plan, SEC, Service, Span, What};
use crate::toy;
use crate::world::{Pid, World};
use bytes::Bytes;
use clerver_proto::error::{Code, Error};
use clerver_proto::id::{ChannelId, SessionId};
use clerver_proto::node::{CallOptions, CallRequest, Outcome};
use std::time::Duration;

/// How long the service that does not look at cancellation runs.
pub(crate) const STUCK: Span = Span(15 * SEC, 40 * SEC);

impl World {
    pub(super) fn do_start_call(&mut self, pid: Pid, goal: usize, session: SessionId) -> Verdict {
        let What::Calls { count, service, size, deadline, cancel, .. } = self.plan.goals[goal].what else {
            return Ok(());
        };
        let run = &mut self.goals[goal];
        if run.begun >= count || run.status != (super::goals::Status::Running { pid, session }) {
            return Ok(());
        }
        run.begun += 1;
        let number = run.run;
        let rng = &mut self.procs[pid].rng;
        let (at, len) = (rng.below(toy::POOL as u64) as usize, size.draw(rng) as usize);
        let (cancels, when) = (cancel && rng.percent(50), rng.below(200 * MS));
        let options = CallOptions { deadline: deadline.map(Duration::from_nanos) };
        let request = toy::content(at, len);
        let answer = self.api(pid, "call_start", |node, now| {
            node.call_start(now, session, service.name(), request, options)
        })?;
        match answer {
            Ok(call) => {
                let Some((mine, _)) = self.flows(pid, session, call) else { return Ok(()) };
                self.check.flows.wrote(mine, pid, at, len, self.now);
                // A request that is refused is never taken.
                self.check.flows.broke(mine);
                let calling = Calling { goal, run: number, service, may_fail: cancels || deadline.is_some() };
                if let Some(known) = self.sess(pid, session) {
                    known.calls.insert(call, calling);
                }
                if cancels {
                    self.job(pid, when, Job::CancelCall(session, call));
                }
            }
            Err(error) => {
                self.goals[goal].begun -= 1;
                let again = Job::StartCall(goal, session);
                match error.code {
                    Code::Channels => {
                        if let Some(known) = self.sess(pid, session) {
                            known.waiting.push(again);
                        }
                    }
                    Code::Again => self.job(pid, 100 * MS, again),
                    code => self.give_up(goal, code),
                }
            }
        }
        Ok(())
    }

    pub(super) fn do_cancel_call(&mut self, pid: Pid, session: SessionId, call: ChannelId) -> Verdict {
        if self.sess(pid, session).is_some_and(|known| known.calls.contains_key(&call) && !known.closing) {
            self.api(pid, "call_cancel", |node, now| node.call_cancel(now, session, call))?.ok();
            // Whether an event follows a cancellation by the caller itself does not matter: it looks anyway.
            self.soon(pid, Job::ReadCall(session, call));
        }
        Ok(())
    }

    pub(super) fn do_read_call(&mut self, pid: Pid, session: SessionId, call: ChannelId) -> Verdict {
        let Some((_, theirs)) = self.flows(pid, session, call) else { return Ok(()) };
        loop {
            let Some(known) = self.sess(pid, session) else { return Ok(()) };
            let over = known.over;
            let Some(calling) = known.calls.get(&call).filter(|_| !known.closing).cloned() else {
                return Ok(());
            };
            let answer = self.api(pid, "channel_receive", |node, now| {
                node.channel_receive(now, session, call, usize::MAX)
            })?;
            match answer {
                Ok(Some(reply)) => self.check.flows.took_message(theirs, pid, &reply, self.now, None)?,
                Ok(None) => {
                    ensure!(!over, I10, "call {call} of an ended session of process {pid} says AGAIN");
                    return Ok(());
                }
                Err(error) => return self.call_over(pid, session, theirs, &calling, &error),
            }
        }
    }

    fn call_over(
        &mut self,
        pid: Pid,
        session: SessionId,
        theirs: FlowKey,
        calling: &Calling,
        error: &Error,
    ) -> Verdict {
        let call = theirs.channel;
        let slot = self.procs[pid].slot;
        self.tally(slot, Plan::tally_of("call", error.code));
        let Some(outcome) = self.ask(pid, |node| node.call_outcome(session, call)) else {
            return broken(
                Invariant::I15,
                format!("call {call} of process {pid} ended ({error}) without an outcome"),
            );
        };
        // A clone cannot know what its original had asked for.
        if !self.is_clone(pid) {
            self.check.calls.outcome(theirs.sid, call, pid, outcome)?;
        }
        ensure!(
            matches!(error.code, Code::End | Code::CallFailed) == (outcome == Outcome::Reply),
            I15,
            "call {call} of process {pid} ended with {} and outcome {outcome:?}",
            error.code
        );
        if error.code == Code::End {
            let closed = self.closed_there(pid, session);
            self.check.flows.took_end(theirs, pid, closed)?;
        } else {
            self.check.flows.broke(theirs);
        }
        let expected = match calling.service {
            Service::Echo | Service::Many | Service::Stuck => error.code == Code::End,
            Service::Fails => error.code == Code::CallFailed,
            Service::Above if self.is_own_host(pid, session) => error.code == Code::End,
            Service::Above => error.code == Code::Level && outcome == Outcome::NotRun,
            Service::Missing => error.code == Code::NoService && outcome == Outcome::NotRun,
        };
        // The clone of a process does not go on with the handlers of its original.
        let cloned = self.has_clones();
        let excused =
            calling.may_fail || cloned || self.may_end(pid, session) || error.code == Code::Draining;
        ensure!(
            expected || excused,
            I15,
            "call {call} of process {pid} to \"{}\" ended with {outcome:?} without a cause: {error}",
            calling.service.name()
        );
        if let Some(known) = self.sess(pid, session) {
            known.calls.remove(&call);
        }
        self.api(pid, "channel_release", |node, now| node.channel_release(now, session, call))?.ok();
        if self.goals[calling.goal].one_less(calling.run) {
            self.soon(pid, Job::StartCall(calling.goal, session));
        }
        Ok(())
    }

    /// Both ends are of one user on one machine, who may do everything (3.5b).
    fn is_own_host(&mut self, pid: Pid, session: SessionId) -> bool {
        let own = self.plan.nodes[self.procs[pid].slot].host;
        let peer = self.sess(pid, session).map(|known| known.slot);
        self.plan.net.local && peer.is_some_and(|peer| self.plan.nodes[peer].host == own)
    }

    /// A handler has to run.
    pub(super) fn called(&mut self, pid: Pid, session: SessionId, request: CallRequest) -> Verdict {
        let call = request.channel;
        let Some((_, theirs)) = self.flows(pid, session, call) else { return Ok(()) };
        let view = self.check.sessions.get(pid, session);
        let right = view.is_none_or(|view| view.on_wire == request.sid);
        ensure!(right, I15, "call {call} of process {pid} names another sid");
        self.check.calls.ran(theirs.sid, call, pid)?;
        self.check.flows.took_message(theirs, pid, &request.request, self.now, None)?;
        let known = Service::by_name(&request.service);
        let own_host = self.is_own_host(pid, session);
        let Some(service) = known.filter(|service| *service != Service::Above || own_host) else {
            return broken(Invariant::I15, format!("process {pid} shall run \"{}\"", request.service));
        };
        self.check.objects.registration(pid, session).inside += 1;
        let usual = self.plan.nodes[self.procs[pid].slot].handler;
        let span = if service == Service::Stuck { STUCK } else { usual };
        let time = span.draw(&mut self.procs[pid].rng);
        let replies = if service == Service::Many { self.procs[pid].rng.range(2, 5) as u32 } else { 1 };
        let handler =
            Handler { service, replies, size: request.request.len(), cancelled: false, waiting: false };
        if let Some(known) = self.sess(pid, session) {
            known.running.insert(call, handler);
        }
        self.job(pid, time, Job::Reply(session, call));
        Ok(())
    }

    pub(super) fn do_reply(&mut self, pid: Pid, session: SessionId, call: ChannelId) -> Verdict {
        let Some((mine, _)) = self.flows(pid, session, call) else { return Ok(()) };
        let Some(handler) = self.sess(pid, session).and_then(|known| known.running.get(&call).cloned())
        else {
            return Ok(());
        };
        let gives_up = handler.cancelled && handler.service != Service::Stuck;
        if gives_up || handler.replies == 0 {
            return self.do_finish(pid, session, call);
        }
        if handler.service == Service::Fails {
            self.check.flows.broke(mine);
            let why = Error::new(Code::CallFailed, "the handler failed");
            self.api(pid, "call_fail", |node, now| node.call_fail(now, session, call, why))?.ok();
            self.soon(pid, Job::Finish(session, call));
            return Ok(());
        }
        let at = self.procs[pid].rng.below(toy::POOL as u64) as usize;
        let (reply, last) = (toy::content(at, handler.size), handler.replies == 1);
        if last && handler.service != Service::Many {
            return self.do_answer(pid, session, call, at, reply);
        }
        let answer =
            self.api(pid, "call_reply", |node, now| node.call_reply(now, session, call, reply, last))?;
        match answer {
            Ok(()) => {
                self.check.flows.wrote(mine, pid, at, handler.size, self.now);
                if last {
                    self.check.flows.ended(mine, pid);
                }
                let Some(known) = self.sess(pid, session) else { return Ok(()) };
                if let Some(handler) = known.running.get_mut(&call) {
                    handler.replies -= 1;
                }
                let next = if last { Job::Finish(session, call) } else { Job::Reply(session, call) };
                self.soon(pid, next);
            }
            Err(error) if error.code == Code::Again => {
                if let Some(handler) = self.sess(pid, session).and_then(|known| known.running.get_mut(&call))
                {
                    handler.waiting = true;
                }
            }
            Err(_) => self.soon(pid, Job::Finish(session, call)),
        }
        Ok(())
    }

    /// The whole reply, by a handler that returns with it.
    fn do_answer(
        &mut self,
        pid: Pid,
        session: SessionId,
        call: ChannelId,
        at: usize,
        reply: Bytes,
    ) -> Verdict {
        let Some((mine, _)) = self.flows(pid, session, call) else { return Ok(()) };
        let size = reply.len();
        // Its objects may end as soon as it is outside.
        let inside = &mut self.check.objects.registration(pid, session).inside;
        *inside = inside.saturating_sub(1);
        let answer = self.api(pid, "call_answer", |node, now| node.call_answer(now, session, call, reply))?;
        let waits = answer.as_ref().is_err_and(|error| error.code == Code::Again);
        let Some(known) = self.sess(pid, session) else { return Ok(()) };
        if waits {
            if let Some(handler) = known.running.get_mut(&call) {
                handler.waiting = true;
            }
            self.check.objects.registration(pid, session).inside += 1;
            return Ok(());
        }
        known.running.remove(&call);
        if answer == Ok(true) {
            self.check.flows.wrote(mine, pid, at, size, self.now);
            self.check.flows.ended(mine, pid);
        }
        Ok(())
    }

    /// Handlers that wait for room will not get it any more.
    pub(super) fn wake_handlers(&mut self, pid: Pid, session: SessionId) {
        let Some(known) = self.sess(pid, session) else { return };
        let waiting: Vec<ChannelId> =
            known.running.iter().filter(|(_, handler)| handler.waiting).map(|(call, _)| *call).collect();
        waiting.into_iter().for_each(|call| self.soon(pid, Job::Finish(session, call)));
    }

    pub(super) fn do_finish(&mut self, pid: Pid, session: SessionId, call: ChannelId) -> Verdict {
        let Some(known) = self.sess(pid, session) else { return Ok(()) };
        if known.running.remove(&call).is_none() {
            return Ok(());
        }
        let inside = &mut self.check.objects.registration(pid, session).inside;
        *inside = inside.saturating_sub(1);
        self.api(pid, "call_finished", |node, now| node.call_finished(now, session, call))?.ok();
        Ok(())
    }
}
