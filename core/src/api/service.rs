//! Services: handlers that peers call by name.

use super::Session;
use crate::engine::IncomingCall;
use bytes::Bytes;
use clerver_proto::error::{Code, Error, Result};
use clerver_proto::id::{ChannelId, Sid};
use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// How a service is offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServiceOptions {
    /// Run the handler on the engine's thread: fastest, but it must never block, and everything else of the
    /// node waits for it.
    pub inline: bool,
    /// Level that a caller needs; 1, every authorised peer, by default.
    pub level_min: u8,
    /// Running a call twice does no harm. Without effect until sessions outlive their process.
    pub idempotent: bool,
}

impl Default for ServiceOptions {
    fn default() -> Self {
        ServiceOptions { inline: false, level_min: 1, idempotent: false }
    }
}

/// One call, as its handler sees it. Of use until it is answered; clones are the same call.
#[derive(Clone)]
pub struct CallContext {
    call: Arc<IncomingCall>,
    /// Made when it is asked for.
    session: OnceLock<Session>,
}

impl fmt::Debug for CallContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CallContext").field("request", &self.call.request).finish_non_exhaustive()
    }
}

impl CallContext {
    pub(super) fn new(call: &Arc<IncomingCall>) -> CallContext {
        CallContext { call: Arc::clone(call), session: OnceLock::new() }
    }

    /// The request; shared with the library, cloning it copies nothing.
    pub fn request(&self) -> &Bytes {
        &self.call.request.request
    }

    /// The caller's session. A clone of it does not keep the session open.
    pub fn session(&self) -> &Session {
        self.session.get_or_init(|| Session::borrowed(&self.call))
    }

    /// Names the call between both ends, for logs and for making its effects unique.
    pub fn call_id(&self) -> (Sid, ChannelId) {
        (self.call.request.sid, self.call.request.channel)
    }

    /// The caller's level.
    pub fn caller_level(&self) -> u8 {
        self.call.request.level
    }

    /// Whether the caller gave up, or its session ended: nobody waits for the reply.
    pub fn is_cancelled(&self) -> bool {
        self.call.is_cancelled()
    }

    /// Time until the caller gives up; `None` when it waits for ever.
    pub fn remaining(&self) -> Option<Duration> {
        self.call.remaining()
    }

    /// Leaves the answer for later: what the handler returns now does not count, unless it is an error. No thread waits
    /// meanwhile. The request counts as one that waits for a worker until it is answered: a session whose requests that
    /// wait are more than `session_budget_bytes` gets `BUSY`.
    ///
    /// Errors: `STATE` it was left for later already, or is answered.
    pub fn defer(&self) -> Result<DeferredReply> {
        if !self.call.defer() {
            let what = format!("defer the reply to a call of service \"{}\"", self.call.request.service);
            return Err(Error::new(Code::State, format!("{what}: it is deferred or answered already")));
        }
        Ok(DeferredReply(Some(Arc::clone(&self.call))))
    }

    /// Sends one part of a streamed reply. What the handler returns is the last part; an empty one then only
    /// ends the reply. Waits for room, without end but for the session's.
    ///
    /// Errors: `STOPPED` the caller gave up; `LOST`, `CLOSED` its session ended; `AGAIN` no room, in an
    /// inline handler and after [`CallContext::defer`].
    pub fn reply_part(&self, part: &[u8]) -> Result<()> {
        self.call.reply_part(Bytes::copy_from_slice(part))
    }
}

/// The duty to answer a call later, from any thread. Dropped without an answer, the caller gets `CALL_FAILED`.
///
/// A close of the node waits for it, and names the service when it waited in vain.
pub struct DeferredReply(Option<Arc<IncomingCall>>);

impl fmt::Debug for DeferredReply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let request = self.0.as_ref().map(|call| &call.request);
        f.debug_struct("DeferredReply").field("request", &request).finish_non_exhaustive()
    }
}

impl DeferredReply {
    /// Answers as if the handler had returned this. Does not block: what has no room goes when there is.
    pub fn finish(mut self, result: Result<Vec<u8>>) {
        if let Some(call) = self.0.take() {
            call.answer(result);
        }
    }

    /// From now on [`super::NodeEvent::Readable`] with this token tells that the caller gave up
    /// ([`CallContext::is_cancelled`]), and [`super::NodeEvent::Writable`] that there is room for a part of the reply
    /// after `AGAIN`; both come once at once.
    ///
    /// Errors: `HANDLE` the session is over and forgotten.
    pub fn watch(&self, token: u64) -> Result<()> {
        match &self.0 {
            Some(call) => Session::borrowed(call).watch_channel(call.call(), token),
            None => Ok(()),
        }
    }
}

impl Drop for DeferredReply {
    fn drop(&mut self) {
        if let Some(call) = self.0.take() {
            if call.engine.is_forked() {
                // The child runs no destructor of the parent's things.
                return std::mem::forget(call);
            }
            call.leave();
        }
    }
}
