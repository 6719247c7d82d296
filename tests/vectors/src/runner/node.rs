//! Commands about the node and what its callbacks saw.

use super::{Answer, End, number, wait};
use crate::handlers::{behave, noting_kind};
use crate::words;
use clerver::{Node, Options, Result, ServiceOptions};
use std::sync::Arc;
use std::time::Duration;

impl End {
    pub(crate) fn node_command(&mut self, words: &[&str]) -> Answer {
        let done = |()| String::new();
        Some(match words {
            ["open", options @ ..] => self.open(options),
            ["listen", address] => self.node().listen(address).map(|bound| bound.to_string()),
            ["connect", address, limit @ ..] => self.node().connect(address, wait(limit)).map(|session| {
                self.session = Some(session);
                String::new()
            }),
            ["accept"] => self.node().accept(wait(&[])).map(|session| {
                self.session = Some(session);
                String::new()
            }),
            ["serve", name, behaviour, level @ ..] => self.serve(name, behaviour, level).map(done),
            ["unserve", name] => self.node().unserve(name).map(done),
            ["kind", name] => self.node().register_kind(name, noting_kind(Arc::clone(&self.notes))).map(done),
            ["drain"] => self.node().drain(wait(&[])).map(|_| String::new()),
            ["close-node"] => self.node().close(Duration::from_secs(20)).map(|_| String::new()),
            ["note", limit @ ..] => self.notes.take(wait(limit).unwrap_or_default()),
            ["gate"] => {
                self.notes.open_gate();
                Ok(String::new())
            }
            _ => return None,
        })
    }

    fn open(&mut self, words: &[&str]) -> Result<String> {
        let mut options = Options::new();
        for word in words {
            let (name, value) = word.split_once('=').expect("an option with its value");
            options.set(name, value)?;
        }
        let node = Node::open(options)?;
        let host = node.host_id().to_string();
        self.node = Some(node);
        Ok(host)
    }

    fn serve(&self, name: &str, behaviour: &str, level: &[&str]) -> Result<()> {
        let level_min = level.first().map_or(1, |level| number(level));
        let options =
            ServiceOptions { inline: behaviour == "inline", level_min, ..ServiceOptions::default() };
        let (notes, behaviour) = (Arc::clone(&self.notes), behaviour.to_owned());
        self.node().serve(&words::text(name), options, move |call| behave(call, &behaviour, &notes))
    }
}
