//! Lines between the director and its children: a word, then `key=value` pairs without spaces.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::sync::mpsc::Sender;

/// One line of a child.
#[derive(Debug, Clone)]
pub(crate) struct Line {
    /// Which child.
    pub(crate) from: &'static str,
    /// What it is about; empty when the child has ended.
    pub(crate) word: String,
    /// The line as it came.
    pub(crate) text: String,
    values: BTreeMap<String, String>,
}

impl Line {
    /// Reads what a child said.
    pub(crate) fn read(from: &'static str, text: String) -> Line {
        let mut words = text.split_whitespace();
        let word = words.next().unwrap_or_default().to_owned();
        let pairs = words.filter_map(|pair| pair.split_once('='));
        let values = pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
        Line { from, word, text, values }
    }

    /// The value of a key, empty when it is not there.
    pub(crate) fn value(&self, key: &str) -> &str {
        self.values.get(key).map_or("", String::as_str)
    }

    /// The value of a key as a number, 0 when it is none.
    pub(crate) fn number(&self, key: &str) -> u64 {
        self.value(key).parse().unwrap_or(0)
    }
}

/// Hands on every line of a child, and an empty one at its end.
pub(crate) fn read_all(from: &'static str, output: impl Read, to: &Sender<Line>) {
    for line in BufReader::new(output).lines() {
        let Ok(line) = line else { break };
        if !line.trim().is_empty() && to.send(Line::read(from, line)).is_err() {
            return;
        }
    }
    // The director may have finished before.
    let _ = to.send(Line::read(from, String::new()));
}

/// The next line that the director says; `None` when it has ended.
pub(crate) fn heard() -> Option<String> {
    let mut line = String::new();
    match std::io::stdin().lock().read_line(&mut line) {
        Ok(0) | Err(_) => None,
        Ok(_) => Some(line.trim().to_owned()),
    }
}
