//! Commands about the session: states, events, objects, calls.

use super::{Answer, End, number, wait};
use crate::handlers::attach;
use crate::words;
use clerver::{Code, Error, ObjectId, Result, SessionEvent};
use std::time::Duration;

impl End {
    pub(crate) fn session_command(&mut self, words: &[&str]) -> Answer {
        let done = |()| String::new();
        let object = |word: &str| ObjectId(number(word));
        Some(match words {
            ["wait-state", state] => {
                self.session().wait_state(|now| now.name() == *state, wait(&[])).map(|_| String::new())
            }
            ["event", kind] => self.event(kind),
            ["close-session"] => self.session().close(Duration::from_secs(20)).map(done),
            ["attach", kind, text, ttl @ ..] => {
                let ttl = if ttl.is_empty() { None } else { wait(ttl) };
                attach(self.session(), kind, &words::decode(text), ttl)
            }
            ["update", which, data] => self.session().update(object(which), &words::decode(data)).map(done),
            ["touch", which] => self.session().touch(object(which)).map(done),
            ["release", which] => self.session().release(object(which)).map(done),
            ["end-object", which] => self.session().end_object(object(which)).map(done),
            ["objects"] => self
                .session()
                .objects()
                .map(|objects| objects.iter().filter(|info| info.object != ObjectId(0)).count().to_string()),
            _ => return None,
        })
    }

    /// Takes events until one of this kind comes.
    fn event(&self, kind: &str) -> Result<String> {
        loop {
            let (found, words) = match self.session().next_event(wait(&[]))? {
                SessionEvent::Lost(report) => ("lost", report.cause.code.name().to_owned()),
                SessionEvent::Closed(_) => ("closed", String::new()),
                SessionEvent::LinkAttached { .. } => ("link-attached", String::new()),
                SessionEvent::LinkEnded { .. } => ("link-ended", String::new()),
                SessionEvent::PeerDrains => ("peer-drains", String::new()),
                SessionEvent::ObjectAttached { object, kind } => {
                    ("object-attached", format!("{} {kind}", object.0))
                }
                SessionEvent::ObjectEnded { object, .. } => ("object-ended", object.0.to_string()),
                SessionEvent::ObjectUpdated { object, data } => {
                    ("object-updated", format!("{} {}", object.0, words::encode(&data)))
                }
                _ => continue,
            };
            if found == kind {
                return Ok(words);
            }
        }
    }

    pub(crate) fn call_command(&mut self, words: &[&str]) -> Answer {
        let call = |word: &str| self.calls.get(word).expect("a call that was started");
        Some(match words {
            ["call", service, data, limit @ ..] => {
                let reply = self.session().call(&words::text(service), &words::decode(data), wait(limit));
                reply.map(|reply| words::encode(&reply))
            }
            ["start", name, service, data, limit @ ..] => {
                // -1 is for ever.
                let deadline = if *limit == ["-1"] { None } else { wait(limit) };
                let started = self.session().call_start(service, &words::decode(data), deadline);
                started.map(|call| {
                    self.calls.insert((*name).to_owned(), call);
                    String::new()
                })
            }
            ["part", name] => match call(name).receive(wait(&[])) {
                Ok(Some(part)) => Ok(words::encode(&part)),
                Ok(None) => Err(Error::new(Code::End, "the reply is whole")),
                Err(error) => Err(error),
            },
            ["outcome", name] => Ok(call(name).outcome().name().to_owned()),
            ["cancel", name] => {
                call(name).cancel();
                Ok(String::new())
            }
            _ => return None,
        })
    }
}
