//! Work for user code: calls and object callbacks on their way from the shard to a worker.

use super::command::Command;
use super::event::LogLevel;
use super::object::SharedPayload;
use super::service::IncomingCall;
use super::shard::{CallWork, ObjectWork};
use super::workers::Task;
use super::{Engine, panic_text};
use clerver_proto::node::ObjectAction;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

impl Engine {
    pub(super) fn hand_out_call(self: &Arc<Self>, work: CallWork) {
        let is_inline = work.service.is_inline;
        let call = Arc::new(IncomingCall::new(Arc::clone(self), work));
        if is_inline {
            return self.post(Command::Run(call));
        }
        let name = format!("service \"{}\"", call.request.service);
        let taken = Arc::clone(&call);
        let run = Box::new(move || taken.run());
        if self.workers.submit(Task { name, is_call: true, run }).is_err() {
            call.refuse_busy();
        }
        self.say_deferred();
    }

    /// A program without workers has to call `run_once` for what waits: its descriptor says so.
    pub(super) fn say_deferred(&self) {
        if self.settings.caller_driven && self.workers.has_work() {
            self.wake();
        }
    }

    pub(super) fn hand_out_object(self: &Arc<Self>, work: ObjectWork) {
        let key = (work.session, work.object);
        if work.kind.is_none() && !self.shard.lock().payloads.contains_key(&key) {
            // The registration object: nothing of the program's is run, so no thread is needed for it.
            return self.run_object(&work);
        }
        let engine = Arc::clone(self);
        let name = object_task(work.action, &work.kind_name);
        let run = Box::new(move || engine.run_object(&work));
        // Refused only when the node has closed; the payload is freed with it.
        let _ = self.workers.submit(Task { name, is_call: false, run });
        self.say_deferred();
    }

    fn run_object(self: &Arc<Self>, work: &ObjectWork) {
        if self.is_forked() {
            return;
        }
        let key = (work.session, work.object);
        let payload = self.with_shard(|shard, _, _| match work.action {
            ObjectAction::Destroy | ObjectAction::Discard => shard.payloads.remove(&key),
            _ => shard.payloads.get(&key).cloned(),
        });
        let result = catch_unwind(AssertUnwindSafe(|| act(work, payload)));
        let is_ok = result.unwrap_or_else(|panic| {
            let (action, text) = (action_name(work.action), panic_text(&*panic));
            let line = format!("{action} of kind \"{}\" panicked: {text}", work.kind_name);
            self.log(LogLevel::Error, || line);
            // Whatever it did, it is not done again: an end that panicked is an end.
            matches!(work.action, ObjectAction::Destroy | ObjectAction::Discard)
        });
        if self.is_forked() {
            // The callback came back in a child.
            return;
        }
        self.with_shard(|shard, now, _| {
            // An error means that the protocol has given up on the object.
            let _ = shard.node.object_done(now, work.session, work.object, work.action, is_ok);
        });
    }
}

fn act(work: &ObjectWork, payload: Option<SharedPayload>) -> bool {
    // The registration object has neither kind nor payload.
    let (Some(kind), Some(payload)) = (&work.kind, payload) else { return true };
    match work.action {
        ObjectAction::Destroy => end(&kind.destroy, payload),
        ObjectAction::Discard => end(kind.discard.as_ref().unwrap_or(&kind.destroy), payload),
        ObjectAction::Embalm => kind.embalm.as_ref().is_some_and(|embalm| embalm(&**payload).is_ok()),
        ObjectAction::Revive => kind.revive.as_ref().is_none_or(|revive| revive(&**payload).is_ok()),
        ObjectAction::Abandon => {
            if let Some(abandon) = &kind.abandon {
                abandon(&**payload);
            }
            true
        }
    }
}

fn end(ender: &super::object::Ender, payload: SharedPayload) -> bool {
    match Arc::try_unwrap(payload) {
        Ok(payload) => ender(payload),
        // Somebody still uses it, against the protocol's count: leaking is the one safe thing to do.
        Err(payload) => std::mem::forget(payload),
    }
    true
}

/// A callback of an object, for the report of what is stuck.
pub(super) fn object_task(action: ObjectAction, kind: &str) -> String {
    format!("{} of an object of kind \"{kind}\"", action_name(action))
}

fn action_name(action: ObjectAction) -> &'static str {
    match action {
        ObjectAction::Destroy => "destroy",
        ObjectAction::Embalm => "embalm",
        ObjectAction::Revive => "revive",
        ObjectAction::Discard => "discard",
        ObjectAction::Abandon => "abandon",
    }
}
