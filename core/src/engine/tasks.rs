//! Work for user code: calls and object callbacks on their way from the shard to a worker.

use super::command::Command;
use super::event::LogLevel;
use super::object::{Payload, SharedPayload};
use super::service::IncomingCall;
use super::shard::{CallWork, ObjectWork};
use super::workers::Task;
use super::{Engine, panic_text};
use bytes::Bytes;
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
        if self.workers.submit(Task::call(name, move || taken.run())).is_err() {
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
        let destroys = (work.action == ObjectAction::Destroy).then_some(key);
        let task = Task::chore(name, move || engine.run_object(&work));
        // Refused only when the node has closed; the payload is freed with it.
        let _ = self.workers.submit(Task { destroys, ..task });
        self.say_deferred();
    }

    fn run_object(self: &Arc<Self>, work: &ObjectWork) {
        if self.is_forked() {
            return;
        }
        let key = (work.session, work.object);
        let payload = self.with_shard(|shard, _, _| match work.action {
            ObjectAction::Destroy => shard.payloads.remove(&key),
            _ => shard.payloads.get(&key).cloned(),
        });
        let result = catch_unwind(AssertUnwindSafe(|| act(work, payload)));
        let done = result.unwrap_or_else(|panic| {
            let (action, text) = (action_name(work.action), panic_text(&*panic));
            let line = format!("{action} of kind \"{}\" panicked: {text}", work.kind_name);
            self.log(LogLevel::Error, || line);
            // Whatever it did, it is not done again: an end that panicked is an end.
            if matches!(work.action, ObjectAction::Destroy | ObjectAction::Discard) {
                Done::Ok
            } else {
                Done::Failed
            }
        });
        if self.is_forked() {
            // The callback came back in a child.
            return;
        }
        // What nobody needs any more is the program's, so it goes where no lock is held.
        let unneeded = self.with_shard(|shard, now, _| {
            let (answer, made) = match done {
                Done::Failed => (None, None),
                Done::Ok => (Some(Bytes::new()), None),
                Done::Embalmed(bytes) => (Some(bytes), None),
                Done::Revived(payload) => (Some(Bytes::new()), Some(payload)),
            };
            let is_embalmed = work.action == ObjectAction::Embalm && answer.is_some();
            let gone = if is_embalmed { shard.payloads.remove(&key) } else { None };
            // An error means that the protocol has given up on the object.
            match shard.node.object_done(now, work.session, work.object, work.action, answer) {
                Ok(()) => {
                    made.into_iter().for_each(|payload| drop(shard.payloads.insert(key, Arc::new(payload))))
                }
                Err(_) => return (gone, made),
            }
            (gone, None)
        });
        drop(unneeded);
    }
}

/// How a callback went.
enum Done {
    Ok,
    Failed,
    Embalmed(Bytes),
    Revived(Payload),
}

fn act(work: &ObjectWork, payload: Option<SharedPayload>) -> Done {
    // The registration object has neither kind nor payload.
    let Some(kind) = &work.kind else { return Done::Ok };
    match (work.action, payload) {
        (ObjectAction::Destroy, Some(payload)) => end(&kind.destroy, payload),
        (ObjectAction::Embalm, Some(payload)) => {
            let bytes = kind.embalm.as_ref().and_then(|(embalm, _)| embalm(&**payload).ok());
            return bytes.map_or(Done::Failed, |bytes| Done::Embalmed(bytes.into()));
        }
        (ObjectAction::Embalm, None) => return Done::Failed,
        (ObjectAction::Revive, _) => {
            let made = kind.embalm.as_ref().and_then(|(_, revive)| revive(&work.kept).ok());
            return made.map_or(Done::Failed, Done::Revived);
        }
        (ObjectAction::Discard, _) => {
            if let Some(discard) = &kind.discard {
                discard(&work.kept);
            }
        }
        (ObjectAction::Abandon, Some(payload)) => {
            if let Some(abandon) = &kind.abandon {
                abandon(&**payload);
            }
        }
        (ObjectAction::Destroy | ObjectAction::Abandon, None) => {}
    }
    Done::Ok
}

fn end(ender: &super::object::Ender, payload: SharedPayload) {
    match Arc::try_unwrap(payload) {
        Ok(payload) => ender(payload),
        // Somebody still uses it, against the protocol's count: leaking is the one safe thing to do.
        Err(payload) => std::mem::forget(payload),
    }
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
