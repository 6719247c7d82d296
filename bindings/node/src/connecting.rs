//! A connect that was started, as `lib/node.js` sees it.

use crate::error::{Failure, failure, unless};
use crate::js::value::Value;
use clerver::{Code, Connecting, Error};
use napi_derive::napi;

/// A connect. It is given back by `close`, because nobody knows when the collector comes by.
#[napi]
pub struct NativeConnecting {
    connecting: Option<Connecting>,
}

impl NativeConnecting {
    pub(crate) fn new(connecting: Connecting) -> NativeConnecting {
        NativeConnecting { connecting: Some(connecting) }
    }

    fn connecting(&self) -> Result<&Connecting, Failure> {
        let closed = || failure(Error::new(Code::Handle, "use a connect: it is closed"));
        self.connecting.as_ref().ok_or_else(closed)
    }
}

#[napi]
impl NativeConnecting {
    /// Readable comes with this token when it came to an end.
    #[napi(catch_unwind)]
    pub fn watch(&self, token: f64) -> Result<(), Failure> {
        self.connecting()?.watch(token as u64).map_err(failure)
    }

    /// The session; `null` while it goes on.
    #[napi(catch_unwind)]
    pub fn take(&self) -> Result<Option<Value>, Failure> {
        unless(Code::Again, self.connecting()?.try_take().map(Value::Session))
    }

    /// Gives it back; one whose session was not taken is given up.
    #[napi(catch_unwind)]
    pub fn close(&mut self) {
        self.connecting = None;
    }
}
