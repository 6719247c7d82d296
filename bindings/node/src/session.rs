//! A session, as `lib/session.js` sees it.

use crate::call::NativeCall;
use crate::channel::NativeChannel;
use crate::error::{Failure, failure, unless};
use crate::js::post::Post;
use crate::js::value::Value;
use crate::kind::{self, PayloadTag};
use crate::slot::Slot;
use crate::{event, info, pool};
use clerver::{ChannelOptions, Code, ObjectId, Result, Session, SessionState, Wait};
use napi::bindgen_prelude::BufferSlice;
use napi_derive::napi;
use std::sync::Arc;
use std::time::Duration;

/// A wait in milliseconds; less than zero is for ever.
pub(crate) fn wait_of(milliseconds: f64) -> Wait {
    Duration::try_from_secs_f64(milliseconds / 1000.0).ok()
}

fn object_of(number: f64) -> ObjectId {
    ObjectId(number as u64)
}

/// A session.
#[napi]
pub struct NativeSession {
    session: Session,
}

impl NativeSession {
    pub(crate) fn new(session: Session) -> NativeSession {
        NativeSession { session }
    }

    fn on_thread(
        &self,
        post: &Post,
        ticket: f64,
        job: impl FnOnce(Session) -> Result<Value> + Send + 'static,
    ) {
        let session = self.session.clone();
        pool::run(post.mailbox(), ticket as u64, move || job(session));
    }
}

#[napi]
impl NativeSession {
    /// Its number in this process.
    #[napi(catch_unwind)]
    pub fn number(&self) -> f64 {
        self.session.id().0 as f64
    }

    /// Its name at both ends.
    #[napi(catch_unwind)]
    pub fn sid(&self) -> String {
        self.session.sid().to_string()
    }

    /// With whom: node and host.
    #[napi(catch_unwind)]
    pub fn peer(&self) -> Value {
        info::peer(self.session.peer())
    }

    /// State now.
    #[napi(catch_unwind)]
    pub fn state(&self) -> &'static str {
        self.session.state().name()
    }

    /// What is known of it.
    #[napi(catch_unwind)]
    pub fn info(&self) -> Result<Value, Failure> {
        self.session.info().map(|found| info::session(&found)).map_err(failure)
    }

    /// What was lost, or left.
    #[napi(catch_unwind)]
    pub fn loss_report(&self) -> Value {
        Value::maybe(self.session.loss_report(), |report| info::loss(&report))
    }

    /// Where the peer can be reached.
    #[napi(catch_unwind)]
    pub fn addresses(&self) -> Result<Value, Failure> {
        self.session.addresses().map(|found| info::addresses(&found)).map_err(failure)
    }

    /// Moves it.
    #[napi(catch_unwind)]
    pub fn roam(&self, address: Option<String>) -> Result<(), Failure> {
        self.session.roam(address.as_deref()).map_err(failure)
    }

    /// Asks the peer to move it.
    #[napi(catch_unwind)]
    pub fn go_to(&self, address: Option<String>) -> Result<(), Failure> {
        self.session.go_to(address.as_deref()).map_err(failure)
    }

    /// News of it come with this token.
    #[napi(catch_unwind)]
    pub fn watch(&self, token: f64) -> Result<(), Failure> {
        self.session.watch(token as u64).map_err(failure)
    }

    /// The next event, if there is one.
    #[napi(catch_unwind)]
    pub fn next_event(&self) -> Result<Option<Value>, Failure> {
        let next = self.session.next_event(Some(Duration::ZERO));
        unless(Code::Timeout, next.map(|next| event::of_session(&next)))
    }

    /// Opens a channel, if there is room: flags are 1 for bytes, 2 for bulk, 4 for stored.
    #[napi(catch_unwind)]
    pub fn open(&self, name: String, flags: u32) -> Result<Option<NativeChannel>, Failure> {
        let options =
            ChannelOptions { name, bytes: flags & 1 != 0, bulk: flags & 2 != 0, stored: flags & 4 != 0 };
        match self.session.open_with(options, Some(Duration::ZERO)) {
            Ok(channel) => Ok(Some(NativeChannel::new(channel))),
            Err(error) if error.code == Code::Timeout => Ok(None),
            Err(error) => Err(failure(error)),
        }
    }

    /// The next channel that the peer opened, if there is one.
    #[napi(catch_unwind)]
    pub fn accept(&self) -> Result<Option<Value>, Failure> {
        let accepted = self.session.accept_channel(Some(Duration::ZERO));
        unless(Code::Timeout, accepted.map(Value::Channel))
    }

    /// Starts a call; for one who waits `null` means that there is no room yet.
    #[napi(catch_unwind)]
    pub fn call_start(
        &self,
        service: String,
        request: BufferSlice<'_>,
        milliseconds: f64,
        waits: bool,
    ) -> Result<Option<NativeCall>, Failure> {
        match self.session.call_start(&service, &request, wait_of(milliseconds)) {
            Ok(call) => Ok(Some(NativeCall::new(call))),
            Err(error) if waits && matches!(error.code, Code::Again | Code::Channels) => Ok(None),
            Err(error) => Err(failure(error)),
        }
    }

    /// Keeps an object for the peer: its payload is JavaScript's, by number.
    #[napi(catch_unwind)]
    pub fn attach(&self, post: &Post, kind: String, payload: f64, milliseconds: f64) -> Result<f64, Failure> {
        let tag = PayloadTag::new(post.mailbox(), payload as u64);
        let attached = self.session.attach(&kind, Box::new(tag), wait_of(milliseconds));
        attached.map(|object| object.0 as f64).map_err(|(error, _)| failure(error))
    }

    /// The payload's number of an object that is kept here.
    #[napi(catch_unwind)]
    pub fn payload(&self, object: f64) -> Result<f64, Failure> {
        let number = self.session.with_object(object_of(object), kind::number_of);
        number.map(|number| number as f64).map_err(failure)
    }

    /// Holds an object until `leave` of what it answers: first the mail that it is entered, then the answer.
    #[napi(catch_unwind)]
    pub fn enter(&self, post: &Post, ticket: f64, object: f64) -> NativeVisit {
        let slot = Arc::new(Slot::new());
        let (own, mailbox, number) = (Arc::clone(&slot), post.mailbox(), ticket as u64);
        self.on_thread(post, ticket, move |session| {
            session.with_object(object_of(object), |payload| kind::visit(&mailbox, number, payload, &own))?;
            Ok(Value::Nothing)
        });
        NativeVisit { slot }
    }

    /// Takes an embalmed object over from another session.
    #[napi(catch_unwind)]
    pub fn revive(&self, from: &NativeSession, object: f64) -> Result<(), Failure> {
        self.session.revive(&from.session, object_of(object)).map_err(failure)
    }

    /// Ends an object that is kept here.
    #[napi(catch_unwind)]
    pub fn end_object(&self, object: f64) -> Result<(), Failure> {
        self.session.end_object(object_of(object)).map_err(failure)
    }

    /// A sign of life for an object there.
    #[napi(catch_unwind)]
    pub fn touch(&self, object: f64) -> Result<(), Failure> {
        self.session.touch(object_of(object)).map_err(failure)
    }

    /// Leaves data in an object there.
    #[napi(catch_unwind)]
    pub fn update(&self, object: f64, data: BufferSlice<'_>) -> Result<(), Failure> {
        self.session.update(object_of(object), &data).map_err(failure)
    }

    /// Lets an object there go.
    #[napi(catch_unwind)]
    pub fn release(&self, object: f64) -> Result<(), Failure> {
        self.session.release(object_of(object)).map_err(failure)
    }

    /// Objects that are kept here.
    #[napi(catch_unwind)]
    pub fn objects(&self) -> Result<Value, Failure> {
        let list = self.session.objects().map_err(failure)?;
        Ok(Value::List(list.into_iter().map(info::object).collect()))
    }

    /// A line for each of them. Kinds print on JavaScript's thread, so it waits on another one.
    #[napi(catch_unwind)]
    pub fn print_objects(&self, post: &Post, ticket: f64) {
        self.on_thread(post, ticket, |session| {
            let lines = session.print_objects()?;
            Ok(Value::List(lines.into_iter().map(Value::Text).collect()))
        });
    }

    /// Calls that were run here.
    #[napi(catch_unwind)]
    pub fn history(&self) -> Result<Value, Failure> {
        let list = self.session.history().map_err(failure)?;
        Ok(Value::List(list.iter().map(info::task).collect()))
    }

    /// Whether the peer holds everything; `null` for not yet.
    #[napi(catch_unwind)]
    pub fn is_delivered(&self) -> Result<Option<Value>, Failure> {
        let drained = self.session.drain(Some(Duration::ZERO));
        unless(Code::Timeout, drained.map(|()| Value::Truth(true)))
    }

    /// The same, and throws what is left.
    #[napi(catch_unwind)]
    pub fn drain(&self) -> Result<(), Failure> {
        self.session.drain(Some(Duration::ZERO)).map_err(failure)
    }

    /// Begins to close the handle; no time at all is the library's own.
    #[napi(catch_unwind)]
    pub fn close_start(&self, milliseconds: f64) -> Result<(), Failure> {
        let begun = match wait_of(milliseconds) {
            Some(Duration::ZERO) => self.session.close(Duration::ZERO),
            time => self.session.close_start(time.unwrap_or(Duration::MAX)),
        };
        begun.map_err(failure)
    }

    /// How a close that was begun went; `null` while it goes on.
    #[napi(catch_unwind)]
    pub fn close_end(&self) -> Result<Option<Value>, Failure> {
        if self.session.state() == SessionState::Closing {
            return Ok(None);
        }
        // It is over, so this does not wait.
        let ended = self.session.close(Duration::from_nanos(1));
        ended.map(|()| Some(Value::Truth(true))).map_err(failure)
    }
}

/// A use of an object that goes on.
#[napi]
pub struct NativeVisit {
    slot: Arc<Slot<()>>,
}

#[napi]
impl NativeVisit {
    /// The use is over.
    #[napi(catch_unwind)]
    pub fn leave(&self) {
        self.slot.say(());
    }
}

impl Drop for NativeVisit {
    fn drop(&mut self) {
        self.slot.say(());
    }
}
