//! One end of the vectors, in Rust: reads a command per line, does it with the crate `clerver`, and answers in one
//! line. `README.md` has the commands.

mod channel;
mod handlers;
mod node;
mod session;

use clerver::{Call, Channel, Error, Node, Result, Session};
use clerver_vectors::words;
use handlers::Notes;
use std::collections::BTreeMap;
use std::io::{BufRead, Write};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

/// Longer than anything takes that works.
const WAIT_MS: u64 = 20_000;

/// What a command does: a success with the words of its answer, a failure, or nothing, if it is none of these.
type Answer = Option<Result<String>>;

/// What is kept between commands.
#[derive(Default)]
struct End {
    node: Option<Node>,
    session: Option<Session>,
    channels: BTreeMap<String, Channel>,
    calls: BTreeMap<String, Call>,
    notes: Arc<Notes>,
}

impl End {
    fn obey(&mut self, words: &[&str]) -> Answer {
        let done = self.node_command(words).or_else(|| self.session_command(words));
        done.or_else(|| self.call_command(words)).or_else(|| self.channel_command(words))
    }

    fn node(&self) -> &Node {
        self.node.as_ref().expect("a case opens the node first")
    }

    fn session(&self) -> &Session {
        self.session.as_ref().expect("a case connects or accepts first")
    }
}

fn number<T: FromStr>(word: &str) -> T {
    word.parse().ok().expect("a number")
}

/// The wait that a command names at its end, or the usual one.
fn wait(words: &[&str]) -> Option<Duration> {
    Some(Duration::from_millis(words.first().map_or(WAIT_MS, |word| number(word))))
}

/// Percent escapes for everything but letters and digits: an error's text is never cut to its length.
fn escaped(text: &str) -> String {
    let byte = |byte: u8| {
        if byte.is_ascii_alphanumeric() { char::from(byte).to_string() } else { format!("%{byte:02X}") }
    };
    text.bytes().map(byte).collect()
}

fn line_of(answer: Answer) -> String {
    match answer {
        Some(Ok(words)) if words.is_empty() => "ok".into(),
        Some(Ok(words)) => format!("ok {words}"),
        Some(Err(Error { code, message, .. })) => format!("error {} {}", code.name(), escaped(&message)),
        None => format!("error ARG {}", escaped("no such command")),
    }
}

fn main() {
    let mut end = End::default();
    for line in std::io::stdin().lock().lines().map_while(std::result::Result::ok) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let answer = line_of(end.obey(&words));
        let mut output = std::io::stdout().lock();
        if writeln!(output, "{answer}").and_then(|()| output.flush()).is_err() {
            break;
        }
    }
    // What the case left open ends in good order, if the node is not closed already.
    if let Some(node) = &end.node {
        let _ = node.close(Duration::from_secs(1));
    }
}
