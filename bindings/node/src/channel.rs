//! A channel, as `lib/channel.js` sees it: what can be done at once. `null` means that there is nothing, or no room,
//! yet.

use crate::error::{Failure, failure, unless};
use crate::info;
use crate::js::value::Value;
use crate::session::NativeSession;
use clerver::{Channel, Code, Result, StoredMark};
use napi::bindgen_prelude::BufferSlice;
use napi_derive::napi;
use std::time::Duration;

/// A channel.
#[napi]
pub struct NativeChannel {
    channel: Channel,
}

impl NativeChannel {
    pub(crate) fn new(channel: Channel) -> NativeChannel {
        NativeChannel { channel }
    }
}

/// How far a program is with a stored channel.
#[napi]
pub struct NativeMark {
    mark: StoredMark,
}

/// Nothing while it is not on the disk yet.
fn on_disk(noted: Result<()>) -> Result<Option<Value>, Failure> {
    unless(Code::Unconfirmed, noted.map(|()| Value::Truth(true)))
}

#[napi]
impl NativeChannel {
    /// Its number within its session.
    #[napi(catch_unwind)]
    pub fn number(&self) -> f64 {
        self.channel.id().0 as f64
    }

    /// What it is for.
    #[napi(catch_unwind)]
    pub fn name(&self) -> String {
        self.channel.name().to_owned()
    }

    /// Whether it carries bytes.
    #[napi(catch_unwind)]
    pub fn is_bytes(&self) -> bool {
        self.channel.is_bytes()
    }

    /// Whether this end stores it.
    #[napi(catch_unwind)]
    pub fn is_stored(&self) -> bool {
        self.channel.is_stored()
    }

    /// A handle of its session, which does not count.
    #[napi(catch_unwind)]
    pub fn session(&self) -> NativeSession {
        NativeSession::new(self.channel.session().clone())
    }

    /// Readable and writable come with this token.
    #[napi(catch_unwind)]
    pub fn watch(&self, token: f64) -> Result<(), Failure> {
        self.channel.watch(token as u64).map_err(failure)
    }

    /// Sends a message, or some of the bytes from a place on; how many it took, or -1 for no room.
    #[napi(catch_unwind)]
    pub fn try_send(&self, data: BufferSlice<'_>, from: u32) -> Result<f64, Failure> {
        let rest = data.get(from as usize..).unwrap_or_default();
        let sent = match self.channel.is_bytes() || self.channel.is_stored() {
            true => self.channel.try_send(rest),
            // Small ones that follow each other closely are gathered, large ones copied where no lock is held.
            false => self.channel.send(rest, Some(Duration::ZERO)).map(|()| rest.len()),
        };
        match sent {
            Ok(count) => Ok(count as f64),
            Err(error) if matches!(error.code, Code::Again | Code::Timeout) => Ok(-1.0),
            Err(error) => Err(failure(error)),
        }
    }

    /// The next message, or some bytes.
    #[napi(catch_unwind)]
    pub fn try_receive(&self) -> Result<Option<Value>, Failure> {
        unless(Code::Again, self.channel.try_receive().map(Value::Data))
    }

    /// The same of a stored channel.
    #[napi(catch_unwind)]
    pub fn try_take(&self) -> Result<Option<Value>, Failure> {
        unless(Code::Timeout, self.channel.take(Some(Duration::ZERO)).map(info::delivery))
    }

    /// How far the program is with a stored channel; `null` when this end does not store it.
    #[napi(catch_unwind)]
    pub fn stored_mark(&self) -> Result<Option<NativeMark>, Failure> {
        let mark = self.channel.stored_mark().map_err(failure)?;
        Ok(mark.map(|mark| NativeMark { mark }))
    }

    /// `true` once that is on the disk.
    #[napi(catch_unwind)]
    pub fn try_confirm(&self, mark: &NativeMark) -> Result<Option<Value>, Failure> {
        on_disk(self.channel.confirm_mark(mark.mark, Some(Duration::ZERO)))
    }

    /// Fails unless everything is on the disk.
    #[napi(catch_unwind)]
    pub fn confirm(&self) -> Result<(), Failure> {
        self.channel.confirm(Some(Duration::ZERO)).map_err(failure)
    }

    /// Is done with everything before a place; `true` when that is on the disk already.
    #[napi(catch_unwind)]
    pub fn ack(&self, end: f64) -> Result<Option<Value>, Failure> {
        on_disk(self.channel.ack(end as u64, Some(Duration::ZERO)))
    }

    /// Notes how far the work is; `true` when that is on the disk already.
    #[napi(catch_unwind)]
    pub fn set_restart_point(&self, point: BufferSlice<'_>) -> Result<Option<Value>, Failure> {
        on_disk(self.channel.set_restart_point(&point, Some(Duration::ZERO)))
    }

    /// Sends no more.
    #[napi(catch_unwind)]
    pub fn end(&self) -> Result<(), Failure> {
        self.channel.end().map_err(failure)
    }

    /// Breaks off.
    #[napi(catch_unwind)]
    pub fn reset(&self, why: String) -> Result<(), Failure> {
        self.channel.reset(&why).map_err(failure)
    }

    /// Reads no more.
    #[napi(catch_unwind)]
    pub fn stop(&self) {
        self.channel.stop();
    }

    /// Gives the channel back.
    #[napi(catch_unwind)]
    pub fn close(&self) {
        self.channel.close();
    }

    /// Its counts.
    #[napi(catch_unwind)]
    pub fn report(&self) -> Result<Value, Failure> {
        self.channel.report().map(|report| info::channel(&report)).map_err(failure)
    }
}
