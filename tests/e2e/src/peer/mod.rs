//! What the helper keeps between commands, and how it answers.

mod channel;
mod events;
mod node;
mod session;

use clerver::api::{Call, Channel, Node, Session};
use clerver_e2e::words::quote;
use clerver_proto::error::{Code, Error, Result};
use parking_lot::{Condvar, Mutex};
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

/// Everything that has a name in commands.
#[derive(Default)]
pub(crate) struct Peer {
    nodes: Mutex<BTreeMap<String, Node>>,
    sessions: Mutex<BTreeMap<String, Session>>,
    channels: Mutex<BTreeMap<String, Channel>>,
    calls: Mutex<BTreeMap<String, Call>>,
    gates: Arc<Gates>,
}

/// Doors at which handlers wait until a command opens them.
#[derive(Debug, Default)]
pub(crate) struct Gates {
    open: Mutex<BTreeSet<String>>,
    bell: Condvar,
}

impl Gates {
    fn open(&self, name: &str) {
        self.open.lock().insert(name.into());
        self.bell.notify_all();
    }

    fn wait(&self, name: &str) {
        let mut open = self.open.lock();
        while !open.contains(name) {
            self.bell.wait(&mut open);
        }
    }
}

/// Writes one line, whole, in order.
pub(crate) fn say(line: &str) {
    let mut output = std::io::stdout().lock();
    // A test that is gone needs no answer.
    let _ = writeln!(output, "{line}").and_then(|()| output.flush());
}

/// An error as words: code, class, message, remedy.
pub(crate) fn error_words(error: &Error) -> String {
    let (message, remedy) = (quote(&error.message), quote(error.remedy()));
    format!("{} {} {message} {remedy}", error.code.name(), error.class().name())
}

/// Runs one command and answers it.
pub(crate) fn answer(peer: &Peer, number: &str, words: &[String]) {
    match run(peer, words) {
        Ok(text) => say(&format!("= {number} ok {text}")),
        Err(error) => say(&format!("= {number} err {}", error_words(&error))),
    }
}

fn run(peer: &Peer, words: &[String]) -> Result<String> {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let done = peer.node_command(&words).or_else(|| peer.session_command(&words));
    let done = done.or_else(|| peer.channel_command(&words));
    done.unwrap_or_else(|| Err(Error::new(Code::Argument, format!("no such command: {}", words.join(" ")))))
}

/// A thing that was named before.
fn named<T: Clone>(things: &Mutex<BTreeMap<String, T>>, name: &str) -> Result<T> {
    let thing = things.lock().get(name).cloned();
    thing.ok_or_else(|| Error::new(Code::Handle, format!("the helper knows nothing called {name}")))
}

fn number<T: FromStr>(word: &str) -> Result<T> {
    word.parse().map_err(|_| Error::new(Code::Argument, format!("the helper cannot read {word}")))
}

/// A wait in milliseconds; `-` is for ever.
fn wait(word: &str) -> Result<Option<Duration>> {
    if word == "-" { Ok(None) } else { Ok(Some(Duration::from_millis(number(word)?))) }
}

/// A time in milliseconds.
fn time(word: &str) -> Result<Duration> {
    Ok(Duration::from_millis(number(word)?))
}
