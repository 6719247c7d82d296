//! Kinds of objects whose callbacks are in JavaScript. There a payload is any value; here it is the value's number.
//!
//! Invariant: whoever waits for a callback comes back when the environment ends.

use crate::error;
use crate::js::post::{About, Mailbox};
use crate::js::value::Value;
use crate::slot::Slot;
use bytes::Bytes;
use clerver::{Code, Error, Kind, Payload, Result};
use napi::bindgen_prelude::BufferSlice;
use napi_derive::napi;
use parking_lot::Mutex;
use std::any::Any;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// What JavaScript answers to a callback.
enum Said {
    Nothing,
    Data(Vec<u8>),
    Text(String),
    Payload(u64),
    Failed(Error),
}

static NEXT: AtomicU64 = AtomicU64::new(1);
static WAITING: Mutex<BTreeMap<u64, Arc<Slot<Said>>>> = Mutex::new(BTreeMap::new());

/// The number of a payload; JavaScript forgets the value when it is dropped.
pub(crate) struct PayloadTag {
    mailbox: Mailbox,
    number: u64,
}

impl PayloadTag {
    pub(crate) fn new(mailbox: Mailbox, number: u64) -> PayloadTag {
        PayloadTag { mailbox, number }
    }
}

impl Drop for PayloadTag {
    fn drop(&mut self) {
        self.mailbox.send(About::Payload, self.number, Value::Nothing);
    }
}

/// The number of a payload; 0, which none has, if it is not one of ours.
pub(crate) fn number_of(payload: &(dyn Any + Send + Sync)) -> u64 {
    payload.downcast_ref::<PayloadTag>().map_or(0, |tag| tag.number)
}

/// Tells that an object is entered, and waits until it is left.
pub(crate) fn visit(mailbox: &Mailbox, ticket: u64, payload: &(dyn Any + Send + Sync), slot: &Slot<()>) {
    if mailbox.send(About::Entered, ticket, Value::count(number_of(payload))) {
        while slot.hear().is_none() && !mailbox.is_shut() {}
    }
}

/// Which callbacks a kind has, and its options.
#[napi(object)]
pub struct KindWish {
    /// Milliseconds that an embalmed object is kept; less than zero for a kind that cannot be embalmed.
    pub keep: f64,
    /// It has `discard`.
    pub discard: bool,
    /// It has `abandon`.
    pub abandon: bool,
    /// It has `print`.
    pub print: bool,
    /// Level that an owner needs.
    pub level: u8,
}

/// Asks a callback and waits for its answer.
fn ask(
    mailbox: &Mailbox,
    kind: u64,
    action: &'static str,
    payload: u64,
    data: Option<&[u8]>,
) -> Result<Said> {
    let (slot, task) = (Arc::new(Slot::new()), NEXT.fetch_add(1, Ordering::Relaxed));
    WAITING.lock().insert(task, Arc::clone(&slot));
    let what = Value::Record(vec![
        ("action", Value::text(action)),
        ("task", Value::count(task)),
        ("payload", Value::count(payload)),
        ("data", Value::maybe(data, |data| Value::Data(Bytes::copy_from_slice(data)))),
    ]);
    let is_sent = mailbox.send(About::Object, kind, what);
    let said = loop {
        match slot.hear() {
            Some(said) => break Some(said),
            None if !is_sent || mailbox.is_shut() => break None,
            None => {}
        }
    };
    WAITING.lock().remove(&task);
    match said {
        Some(Said::Failed(error)) => Err(error),
        Some(said) => Ok(said),
        None => {
            Err(Error::new(Code::Closed, format!("{action} an object: its JavaScript environment ended")))
        }
    }
}

fn answer(task: f64, said: Said) {
    let slot = WAITING.lock().remove(&(task as u64));
    if let Some(slot) = slot {
        slot.say(said);
    }
}

/// The callback returned: with data, text, a payload's number, or nothing.
#[napi(catch_unwind)]
pub fn object_done(task: f64, data: Option<BufferSlice<'_>>, text: Option<String>, payload: Option<f64>) {
    let said = match (data, text, payload) {
        (Some(data), ..) => Said::Data(data.to_vec()),
        (None, Some(text), _) => Said::Text(text),
        (None, None, Some(payload)) => Said::Payload(payload as u64),
        (None, None, None) => Said::Nothing,
    };
    answer(task, said);
}

/// The callback threw.
#[napi(catch_unwind)]
pub fn object_failed(task: f64, code: String, message: String) {
    answer(task, Said::Failed(error::thrown(&code, message)));
}

/// A kind whose callbacks come as mail for its number.
pub(crate) fn kind(mailbox: Mailbox, kind: u64, wish: &KindWish) -> Kind {
    let post = mailbox.clone();
    let mut made = Kind::new(move |payload: Payload| {
        // What it throws was told to the program already.
        let _ = ask(&post, kind, "destroy", number_of(&*payload), None);
    })
    .level_min(wish.level);
    if let Ok(keep) = Duration::try_from_secs_f64(wish.keep / 1000.0) {
        made = embalming(made, keep, &mailbox, kind);
    }
    if wish.discard {
        let post = mailbox.clone();
        made = made.discard(move |data| {
            // As above.
            let _ = ask(&post, kind, "discard", 0, Some(data));
        });
    }
    if wish.abandon {
        let post = mailbox.clone();
        made = made.abandon(move |payload| {
            // As above.
            let _ = ask(&post, kind, "abandon", number_of(payload), None);
        });
    }
    if wish.print {
        made = made.print(move |payload| match ask(&mailbox, kind, "print", number_of(payload), None) {
            Ok(Said::Text(text)) => text,
            Ok(_) => String::new(),
            Err(error) => format!("(print failed: {})", error.message),
        });
    }
    made
}

fn embalming(made: Kind, keep: Duration, mailbox: &Mailbox, kind: u64) -> Kind {
    let (first, second) = (mailbox.clone(), mailbox.clone());
    let wrong = |what: &str| Error::new(Code::Argument, what.to_owned());
    made.embalm(
        keep,
        move |payload| match ask(&first, kind, "embalm", number_of(payload), None)? {
            Said::Data(data) => Ok(data),
            _ => Err(wrong("embalm an object: its callback answered no bytes")),
        },
        move |data| match ask(&second, kind, "revive", 0, Some(data))? {
            Said::Payload(number) => Ok(Box::new(PayloadTag::new(second.clone(), number)) as Payload),
            _ => Err(wrong("revive an object: its callback answered no payload")),
        },
    )
}
