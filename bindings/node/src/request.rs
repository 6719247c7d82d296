//! A call of a peer whose answer JavaScript owes.
//!
//! A worker of the node leaves the answer for later and sends the request by mail; no thread waits for the handler.
//! Invariant: whatever JavaScript does, the caller gets an answer: that of the handler, or when the request is
//! forgotten, or when the environment ends, for the mailbox keeps the duty to answer.

use crate::error::{self, Failure, failure};
use crate::js::post::{About, Mailbox};
use crate::js::value::Value;
use crate::session::NativeSession;
use clerver::{CallContext, Code, Result};
use napi::bindgen_prelude::BufferSlice;
use napi_derive::napi;
use std::sync::atomic::{AtomicU64, Ordering};

static NEXT: AtomicU64 = AtomicU64::new(1);

/// A request.
#[napi]
pub struct NativeRequest {
    /// Under which its mailbox keeps the duty to answer it.
    number: u64,
    context: CallContext,
    mailbox: Mailbox,
}

/// On a worker: gives a request to the handler of a service. What it returns does not count.
pub(crate) fn hand_over(mailbox: &Mailbox, service: u64, context: &CallContext) -> Result<Vec<u8>> {
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    mailbox.owe(number, context.defer()?);
    let request = NativeRequest { number, context: context.clone(), mailbox: mailbox.clone() };
    // Nobody reads it when the environment has ended; then it was answered with that.
    mailbox.send(About::Call, service, Value::Request(request));
    Ok(Vec::new())
}

#[napi]
impl NativeRequest {
    /// The request.
    #[napi(catch_unwind)]
    pub fn data(&self) -> Value {
        Value::Data(self.context.request().clone())
    }

    /// The caller's session.
    #[napi(catch_unwind)]
    pub fn session(&self) -> NativeSession {
        NativeSession::new(self.context.session().clone())
    }

    /// Names the call between both ends.
    #[napi(catch_unwind)]
    pub fn id(&self) -> String {
        let (sid, channel) = self.context.call_id();
        format!("{sid}/{channel}")
    }

    /// The caller's level.
    #[napi(catch_unwind)]
    pub fn level(&self) -> u8 {
        self.context.caller_level()
    }

    /// Milliseconds until the caller gives up; `null` for never.
    #[napi(catch_unwind)]
    pub fn remaining(&self) -> Option<f64> {
        self.context.remaining().map(|left| left.as_secs_f64() * 1000.0)
    }

    /// Whether the caller gave up.
    #[napi(catch_unwind)]
    pub fn is_cancelled(&self) -> bool {
        self.context.is_cancelled()
    }

    /// Readable comes with this token when the caller gave up, writable when there is room for a part.
    #[napi(catch_unwind)]
    pub fn watch(&self, token: f64) -> Result<(), Failure> {
        let Some(reply) = self.mailbox.settle(self.number) else { return Ok(()) };
        let watched = reply.watch(token as u64);
        self.mailbox.owe(self.number, reply);
        watched.map_err(failure)
    }

    /// One part of the reply; `false` when there is no room for it yet.
    #[napi(catch_unwind)]
    pub fn part(&self, data: BufferSlice<'_>) -> Result<bool, Failure> {
        match self.context.reply_part(&data) {
            Ok(()) => Ok(true),
            Err(error) if error.code == Code::Again => Ok(false),
            Err(error) => Err(failure(error)),
        }
    }

    /// The last part.
    #[napi(catch_unwind)]
    pub fn done(&self, data: BufferSlice<'_>) {
        self.finish(Ok(data.to_vec()));
    }

    /// The handler failed.
    #[napi(catch_unwind)]
    pub fn fail(&self, code: String, message: String) {
        self.finish(Err(error::thrown(&code, message)));
    }
}

impl NativeRequest {
    /// The first answer counts.
    fn finish(&self, result: Result<Vec<u8>>) {
        if let Some(reply) = self.mailbox.settle(self.number) {
            reply.finish(result);
        }
    }
}

impl Drop for NativeRequest {
    fn drop(&mut self) {
        // Without effect once it was answered.
        drop(self.mailbox.settle(self.number));
    }
}
