//! A call that was started, as `lib/call.js` sees it.

use crate::error::{Failure, failure};
use crate::info;
use crate::js::value::Value;
use bytes::Bytes;
use clerver::{Call, Code, Error, Outcome};
use napi_derive::napi;

/// A call. It is given back by `close`, because nobody knows when the collector comes by.
#[napi]
pub struct NativeCall {
    call: Option<Call>,
    /// Of a reply that is to be taken as a whole.
    parts: Vec<Bytes>,
    outcome: Outcome,
}

impl NativeCall {
    pub(crate) fn new(call: Call) -> NativeCall {
        NativeCall { call: Some(call), parts: Vec::new(), outcome: Outcome::Unknown }
    }

    fn call(&self) -> Result<&Call, Failure> {
        let closed = || failure(Error::new(Code::Handle, "use a call: it is closed"));
        self.call.as_ref().ok_or_else(closed)
    }
}

#[napi]
impl NativeCall {
    /// Readable comes with this token.
    #[napi(catch_unwind)]
    pub fn watch(&self, token: f64) -> Result<(), Failure> {
        self.call()?.watch(token as u64).map_err(failure)
    }

    /// The next part; `false` when the reply is whole, `null` when there is nothing yet.
    #[napi(catch_unwind)]
    pub fn receive(&self) -> Result<Option<Value>, Failure> {
        match self.call()?.try_receive() {
            Ok(Some(part)) => Ok(Some(Value::Data(part))),
            Ok(None) => Ok(Some(Value::Truth(false))),
            Err(error) if error.code == Code::Again => Ok(None),
            Err(error) => Err(failure(error)),
        }
    }

    /// The whole reply, once it is there; then the call is given back.
    #[napi(catch_unwind)]
    pub fn collect(&mut self) -> Result<Option<Value>, Failure> {
        loop {
            match self.call()?.try_receive() {
                Ok(Some(part)) => self.parts.push(part),
                Ok(None) => {
                    self.close();
                    let mut parts = std::mem::take(&mut self.parts);
                    let whole = if parts.len() == 1 { parts.pop() } else { Some(parts.concat().into()) };
                    return Ok(Some(Value::Data(whole.unwrap_or_default())));
                }
                Err(error) if error.code == Code::Again => return Ok(None),
                Err(error) => {
                    self.close();
                    return Err(failure(error));
                }
            }
        }
    }

    /// Gives up.
    #[napi(catch_unwind)]
    pub fn cancel(&self) {
        if let Some(call) = &self.call {
            call.cancel();
        }
    }

    /// Whether it was run.
    #[napi(catch_unwind)]
    pub fn outcome(&self) -> &'static str {
        info::outcome(self.call.as_ref().map_or(self.outcome, Call::outcome))
    }

    /// Names the call between both ends.
    #[napi(catch_unwind)]
    pub fn id(&self) -> Result<String, Failure> {
        let (sid, channel) = self.call()?.id();
        Ok(format!("{sid}/{channel}"))
    }

    /// Gives it back; one whose reply is not whole is cancelled.
    #[napi(catch_unwind)]
    pub fn close(&mut self) {
        if let Some(call) = self.call.take() {
            self.outcome = call.outcome();
        }
    }
}
