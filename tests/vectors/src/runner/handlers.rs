//! What handlers and objects do, and the notes that they leave for the command `note`.

use clerver::{CallContext, Code, Error, Kind, Payload, Result, Session};
use clerver_vectors::words;
use parking_lot::{Condvar, Mutex};
use std::collections::VecDeque;
use std::time::Duration;

#[derive(Default)]
struct State {
    notes: VecDeque<String>,
    gates_open: u32,
}

/// What callbacks saw, in order, and the gate at which some of them wait.
#[derive(Default)]
pub(crate) struct Notes {
    state: Mutex<State>,
    bell: Condvar,
}

impl Notes {
    fn add(&self, what: &str, data: &[u8]) {
        self.state.lock().notes.push_back(format!("{what} {}", words::encode(data)));
        self.bell.notify_all();
    }

    pub(crate) fn take(&self, wait: Duration) -> Result<String> {
        let mut state = self.state.lock();
        self.bell.wait_while_for(&mut state, |state| state.notes.is_empty(), wait);
        state.notes.pop_front().ok_or_else(|| Error::new(Code::Timeout, "no note"))
    }

    pub(crate) fn open_gate(&self) {
        self.state.lock().gates_open += 1;
        self.bell.notify_all();
    }

    fn pass_gate(&self) {
        let mut state = self.state.lock();
        self.bell.wait_while(&mut state, |state| state.gates_open == 0);
        state.gates_open -= 1;
    }

    /// A turn of 2 ms.
    fn pause(&self) {
        self.bell.wait_for(&mut self.state.lock(), Duration::from_millis(2));
    }
}

/// Keeps a text as an object for the peer of a session.
pub(crate) fn attach(session: &Session, kind: &str, text: &[u8], ttl: Option<Duration>) -> Result<String> {
    let kept = session.attach(kind, Box::new(text.to_vec()), ttl);
    kept.map(|object| object.0.to_string()).map_err(|(error, _)| error)
}

/// A kind whose objects are texts, and leave a note when they end.
pub(crate) fn noting_kind(notes: std::sync::Arc<Notes>) -> Kind {
    Kind::new(move |payload: Payload| {
        notes.add("destroyed", payload.downcast_ref::<Vec<u8>>().map_or(b"?", Vec::as_slice));
    })
}

/// What the handler of a service does.
pub(crate) fn behave(call: &CallContext, behaviour: &str, notes: &Notes) -> Result<Vec<u8>> {
    let request = call.request();
    match behaviour {
        "echo" | "inline" => Ok(request.to_vec()),
        "parts" => {
            request.chunks(1).try_for_each(|part| call.reply_part(part))?;
            Ok(b"last".to_vec())
        }
        "patience" => {
            notes.add("began", request);
            while !call.is_cancelled() {
                notes.pause();
            }
            notes.add("cancelled", request);
            Ok(Vec::new())
        }
        "gate" => {
            notes.add("began", request);
            notes.pass_gate();
            Ok(request.to_vec())
        }
        "keep" => attach(call.session(), "thing", request, None).map(String::into_bytes),
        "level" => Ok(call.caller_level().to_string().into_bytes()),
        "deadline" => Ok(if call.remaining().is_some() { b"some".to_vec() } else { b"none".to_vec() }),
        "busy" => Err(Error::new(Code::Busy, "as the case wants it")),
        _ => Err(Error::new(Code::CallFailed, "as the case wants it")),
    }
}
