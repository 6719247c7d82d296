//! A call of a peer that waits for its handler in JavaScript.
//!
//! A worker of the node sends the request by mail and waits; it also sends the parts of a reply, because only
//! that waits for room. Invariant: whatever JavaScript does, the worker comes back: with the answer, or a while
//! after the caller gave up, or when the environment ends.

use crate::error::{self, Failure, failure};
use crate::js::post::{About, Mailbox};
use crate::js::value::Value;
use crate::session::NativeSession;
use crate::slot::{Slot, TURN};
use bytes::Bytes;
use clerver::{CallContext, Code, Error, Result};
use napi::bindgen_prelude::BufferSlice;
use napi_derive::napi;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A handler whose caller gave up is waited for this much longer, in turns: 10 s.
const PATIENCE: u128 = 10_000 / TURN.as_millis();

static NEXT: AtomicU64 = AtomicU64::new(1);

/// What JavaScript says to the worker.
enum Said {
    Part(Bytes),
    Done(Result<Vec<u8>>),
}

/// A request.
#[napi]
pub struct NativeRequest {
    number: u64,
    context: CallContext,
    slot: Arc<Slot<Said>>,
}

/// On a worker: asks the handler of a service.
pub(crate) fn ask(mailbox: &Mailbox, service: u64, context: &CallContext) -> Result<Vec<u8>> {
    let slot = Arc::new(Slot::new());
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let request = NativeRequest { number, context: context.clone(), slot: Arc::clone(&slot) };
    let gone = || {
        let what = format!("call {}: its handler's JavaScript environment ended", context.call_id().1);
        Error::new(Code::CallFailed, what)
    };
    if !mailbox.send(About::Call, service, Value::Request(request)) {
        return Err(gone());
    }
    let mut turns = 0;
    loop {
        match slot.hear() {
            Some(Said::Done(result)) => return result,
            Some(Said::Part(part)) => {
                let sent = context.reply_part(&part);
                let why = sent.err().map_or(Value::Nothing, |why| error::value(&why));
                mailbox.send(About::Part, number, why);
            }
            None if mailbox.is_shut() => return Err(gone()),
            None if context.is_cancelled() => {
                if turns == 0 {
                    mailbox.send(About::Cancelled, number, Value::Nothing);
                }
                turns += 1;
                if turns > PATIENCE {
                    return Err(Error::new(
                        Code::CallFailed,
                        "the handler did not end after its caller gave up",
                    ));
                }
            }
            None => {}
        }
    }
}

#[napi]
impl NativeRequest {
    /// Names it in mail.
    #[napi(catch_unwind)]
    pub fn number(&self) -> f64 {
        self.number as f64
    }

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

    /// One part of the reply; mail tells when it is out.
    #[napi(catch_unwind)]
    pub fn part(&self, data: BufferSlice<'_>) -> Result<(), Failure> {
        if self.context.is_cancelled() {
            return Err(failure(Error::new(Code::Stopped, "send a part of a reply: the caller gave up")));
        }
        self.slot.say(Said::Part(Bytes::copy_from_slice(&data)));
        Ok(())
    }

    /// The last part.
    #[napi(catch_unwind)]
    pub fn done(&self, data: BufferSlice<'_>) {
        self.slot.say(Said::Done(Ok(data.to_vec())));
    }

    /// The handler failed.
    #[napi(catch_unwind)]
    pub fn fail(&self, code: String, message: String) {
        self.slot.say(Said::Done(Err(error::thrown(&code, message))));
    }
}

impl Drop for NativeRequest {
    fn drop(&mut self) {
        // Heard only if nothing was said before.
        let lost = Error::new(Code::CallFailed, "the handler's environment lost the call");
        self.slot.say(Said::Done(Err(lost)));
    }
}
