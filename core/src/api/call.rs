//! A call that was started, and its replies.

use super::{Session, Wait, timed_out};
use crate::engine::{Place, Ready, deadline, now};
use bytes::Bytes;
use clerver_proto::error::{Code, Error, Result};
use clerver_proto::id::{ChannelId, Sid};
use clerver_proto::node::Outcome;
use parking_lot::Mutex;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

#[derive(Default)]
struct Progress {
    parts: u64,
    /// An empty part that may be the end of a streamed reply only.
    has_empty: bool,
    /// A part that was looked at behind an empty one.
    next: Option<Bytes>,
    outcome: Option<Outcome>,
    is_whole: bool,
    failure: Option<Error>,
}

struct Inner {
    session: Session,
    service: String,
    call: ChannelId,
    progress: Mutex<Progress>,
}

/// A call that was started. Clones are the same call; dropping the last one before the reply is whole cancels
/// it.
#[derive(Clone)]
pub struct Call(Arc<Inner>);

impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call").field("service", &self.0.service).field("id", &self.id()).finish()
    }
}

impl Call {
    pub(super) fn new(session: Session, service: &str, call: ChannelId) -> Call {
        let progress = Mutex::default();
        Call(Arc::new(Inner { session, service: service.to_owned(), call, progress }))
    }

    /// The next part of the reply; `None` once the reply is whole. Blocks for at most `wait`.
    ///
    /// Errors: what the peer answered, such as `NO_SERVICE`, `LEVEL`, `BUSY` and `CALL_FAILED`; `TIMEOUT`
    /// when the wait or the call's deadline is over; `CANCELLED`; `LOST` and `CLOSED` when the session ended.
    /// Except after a wait that is over, [`Call::outcome`] then tells whether it was run.
    pub fn receive(&self, wait: Wait) -> Result<Option<Bytes>> {
        let until = deadline(wait);
        {
            let mut progress = self.0.progress.lock();
            if let Some(next) = progress.next.take() {
                return Ok(Some(next));
            }
            if progress.is_whole {
                return Ok(None);
            }
            if let Some(failure) = &progress.failure {
                return Err(failure.clone());
            }
        }
        if !self.0.progress.lock().has_empty {
            let Some(part) = self.take(wait)? else { return Ok(None) };
            let mut progress = self.0.progress.lock();
            progress.parts += 1;
            if !part.is_empty() || progress.parts == 1 {
                return Ok(Some(part));
            }
            progress.has_empty = true;
        }
        let next = self.take(wait.map(|_| until.since(now())))?;
        let mut progress = self.0.progress.lock();
        progress.has_empty = false;
        progress.next = next;
        Ok(progress.next.is_some().then(Bytes::new))
    }

    /// As [`Call::receive`], and never blocks.
    ///
    /// Errors: `AGAIN` nothing is there yet; otherwise as [`Call::receive`].
    pub fn try_receive(&self) -> Result<Option<Bytes>> {
        self.receive(Some(Duration::ZERO)).map_err(|error| {
            // The call's own deadline is told by the same code.
            let is_over = error.code != Code::Timeout || self.0.progress.lock().failure.is_some();
            if is_over {
                error
            } else {
                Error::new(Code::Again, format!("{}: nothing there yet", error.message))
            }
        })
    }

    fn take(&self, wait: Wait) -> Result<Option<Bytes>> {
        let Inner { session, service, call, .. } = &*self.0;
        let (id, call) = (session.id(), *call);
        let what = || format!("call service \"{service}\" of {}", session.peer());
        let result = session.engine().block(
            wait,
            || Place::Channel(id, Ready::Readable(call)),
            || timed_out(&what(), wait),
            |shard, now, _| match shard.node.channel_receive(now, id, call, usize::MAX) {
                Ok(None) => None,
                Err(error) => {
                    let outcome = shard.node.call_outcome(id, call).ok();
                    Some(Ok(Err((error, outcome))))
                }
                Ok(Some(part)) => Some(Ok(Ok(part))),
            },
        )?;
        let (error, outcome) = match result {
            Ok(part) => return Ok(Some(part)),
            Err(over) => over,
        };
        let mut progress = self.0.progress.lock();
        progress.outcome = progress.outcome.or(outcome);
        if error.code == Code::End {
            progress.is_whole = true;
            return Ok(None);
        }
        let message = format!("{}: {}", what(), error.message);
        let error = Error { code: error.code, message, remedy: error.remedy };
        progress.failure = Some(error.clone());
        Err(error)
    }

    /// From now on [`crate::api::NodeEvent::Readable`] with this token tells when a part of the reply, or its
    /// end, came; the first one comes at once. Take with a wait of zero until `TIMEOUT` after each.
    ///
    /// Errors: `HANDLE` when the session is over and forgotten.
    pub fn watch(&self, token: u64) -> Result<()> {
        self.0.session.watch_channel(self.0.call, token)
    }

    /// Gives up: the handler is told, and `receive` answers `CANCELLED`. Does not block; without effect after
    /// the end.
    pub fn cancel(&self) {
        let (id, call) = (self.0.session.id(), self.0.call);
        // An error means that the call or its session is over.
        let _ = self.0.session.engine().change(|shard, now| shard.node.call_cancel(now, id, call));
    }

    /// Whether the call was run: `Reply` after a whole reply or the handler's failure, `NotRun` when it
    /// certainly was not, `Unknown` when it cannot be known, and before `receive` has come to an end.
    pub fn outcome(&self) -> Outcome {
        if let Some(outcome) = self.0.progress.lock().outcome {
            return outcome;
        }
        let (id, call) = (self.0.session.id(), self.0.call);
        let known = self.0.session.engine().change(|shard, _| shard.node.call_outcome(id, call));
        known.unwrap_or(Outcome::Unknown)
    }

    /// Names the call between both ends.
    pub fn id(&self) -> (Sid, ChannelId) {
        (self.0.session.sid(), self.0.call)
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if self.session.engine().is_forked() {
            return;
        }
        let (id, call) = (self.session.id(), self.call);
        let is_over = {
            let progress = self.progress.lock();
            progress.is_whole || progress.failure.is_some()
        };
        self.session.engine().with_shard(|shard, now, batch| {
            // Errors mean that the session has forgotten the call already.
            if !is_over {
                let _ = shard.node.call_cancel(now, id, call);
                shard.drain(now, batch);
            }
            let _ = shard.node.channel_release(now, id, call);
            shard.unwatch(id, call);
        });
    }
}
