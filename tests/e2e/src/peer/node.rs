//! Commands about nodes: open, listen, connect, accept, services, kinds, close.

use super::{Gates, Peer, events, named, number, say, time, wait};
use clerver::api::{CallContext, ConnectOptions, Kind, ListenOptions, Node, Payload, ServiceOptions};
use clerver::options::Options;
use clerver_e2e::words::quote;
use clerver_proto::error::{Code, Error, Result};
use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

impl Peer {
    pub(super) fn node_command(&self, words: &[&str]) -> Option<Result<String>> {
        Some(match words {
            ["open", name, options @ ..] => self.open_node(name, options),
            ["id", node] => named(&self.nodes, node).map(|node| node.id().to_string()),
            ["listen", node, address] => self.listen(node, address, "1"),
            ["listen", node, address, level] => self.listen(node, address, level),
            ["connect", node, session, address, limit] => self.connect(node, session, address, limit),
            ["connect-with", node, session, limit, options, addresses @ ..] => {
                self.connect_with(node, session, limit, options, addresses)
            }
            ["announce", node, addresses @ ..] => named(&self.nodes, node)
                .and_then(|node| node.announce(Some(addresses)))
                .map(|()| String::new()),
            ["addresses", node] => {
                named(&self.nodes, node).and_then(|node| node.addresses()).map(|own| quote(&own.join(",")))
            }
            ["accept", node, session, limit] => self.accept(node, session, limit),
            ["serve", node, service, behaviour] => self.serve(node, service, behaviour, false),
            ["serve-inline", node, service, behaviour] => self.serve(node, service, behaviour, true),
            ["kind", node, kind] => self.register_kind(node, kind),
            ["lasting-kind", node, kind] => self.register_lasting_kind(node, kind, false),
            ["discarded-kind", node, kind] => self.register_lasting_kind(node, kind, true),
            ["gate", name] => {
                self.gates.open(name);
                Ok(String::new())
            }
            ["counters", node] => named(&self.nodes, node).map(|node| {
                let counters = node.counters();
                format!(
                    "sessions={} links={} objects={} buffered={}",
                    counters.sessions, counters.links, counters.objects, counters.buffered
                )
            }),
            ["drain", node, limit] => self.drain(node, limit),
            ["close-node", node, limit] => self.close_node(node, limit),
            _ => return None,
        })
    }

    fn open_node(&self, name: &str, words: &[&str]) -> Result<String> {
        let mut options = Options::new();
        for word in words {
            let pair = word.split_once('=');
            let (option, value) = pair.ok_or_else(|| Error::new(Code::Argument, "an option without ="))?;
            options.set(option, value)?;
        }
        let node = Node::open(options)?;
        events::tell_node(name, &node);
        let id = node.host_id().to_string();
        self.nodes.lock().insert(name.into(), node);
        Ok(id)
    }

    fn listen(&self, node: &str, address: &str, level: &str) -> Result<String> {
        let options = ListenOptions { level_min: number(level)? };
        Ok(named(&self.nodes, node)?.listen_with(address, options)?.to_string())
    }

    fn connect(&self, node: &str, session: &str, address: &str, limit: &str) -> Result<String> {
        let made = named(&self.nodes, node)?.connect(address, wait(limit)?)?;
        Ok(self.keep_session(session, made))
    }

    fn connect_with(
        &self,
        node: &str,
        session: &str,
        limit: &str,
        wishes: &str,
        addresses: &[&str],
    ) -> Result<String> {
        let addresses = addresses.iter().map(|&address| address.to_owned()).collect();
        let mut options = ConnectOptions { addresses, ..ConnectOptions::default() };
        for wish in wishes.split(',') {
            match wish.split_once('=').unwrap_or((wish, "")) {
                ("any", _) => options.any_node = true,
                ("race", _) => options.race = true,
                ("bulk", count) => options.bulk_links = number(count)?,
                ("standby", count) => options.standby_links = number(count)?,
                ("-", _) => {}
                (other, _) => return Err(Error::new(Code::Argument, format!("connect-with {other}"))),
            }
        }
        let made = named(&self.nodes, node)?.connect_with(options, wait(limit)?)?;
        Ok(self.keep_session(session, made))
    }

    fn accept(&self, node: &str, session: &str, limit: &str) -> Result<String> {
        let made = named(&self.nodes, node)?.accept(wait(limit)?)?;
        Ok(self.keep_session(session, made))
    }

    fn serve(&self, node: &str, service: &str, behaviour: &str, inline: bool) -> Result<String> {
        let (what, argument) = behaviour.split_once(':').unwrap_or((behaviour, ""));
        let (what, argument, gates) = (what.to_owned(), argument.to_owned(), Arc::clone(&self.gates));
        let name = service.to_owned();
        let options = ServiceOptions { inline, ..ServiceOptions::default() };
        named(&self.nodes, node)?.serve(service, options, move |call| {
            say(&format!("! handler {name} began {}", quote(&String::from_utf8_lossy(call.request()))));
            let result = behave(call, &what, &argument, &gates);
            say(&format!("! handler {name} ended"));
            result
        })?;
        Ok(String::new())
    }

    fn register_kind(&self, node: &str, kind: &str) -> Result<String> {
        let name = quote(kind);
        let made =
            Kind::new(move |payload: Payload| say(&format!("! destroyed {name} {}", text_of(&*payload))))
                .print(text_of);
        named(&self.nodes, node)?.register_kind(kind, made)?;
        Ok(String::new())
    }

    /// As `register_kind`, of objects that can be embalmed, and then discarded if so wanted.
    fn register_lasting_kind(&self, node: &str, kind: &str, is_discarded: bool) -> Result<String> {
        let (name, other, third, fourth) = (quote(kind), quote(kind), quote(kind), quote(kind));
        let mut made =
            Kind::new(move |payload: Payload| say(&format!("! destroyed {name} {}", text_of(&*payload))))
                .embalm(
                    Duration::from_secs(60),
                    move |payload| {
                        let text = payload.downcast_ref::<String>().cloned().unwrap_or_default();
                        say(&format!("! embalmed {other} {}", quote(&text)));
                        Ok(text.into_bytes())
                    },
                    move |kept| {
                        let text = String::from_utf8_lossy(kept).into_owned();
                        say(&format!("! revived {third} {}", quote(&text)));
                        Ok(Box::new(text))
                    },
                )
                .print(text_of);
        if is_discarded {
            made = made.discard(move |kept| {
                say(&format!("! discarded {fourth} {}", quote(&String::from_utf8_lossy(kept))));
            });
        }
        named(&self.nodes, node)?.register_kind(kind, made)?;
        Ok(String::new())
    }

    fn drain(&self, node: &str, limit: &str) -> Result<String> {
        let report = named(&self.nodes, node)?.drain(wait(limit)?)?;
        Ok(format!("undelivered={} running={}", report.undelivered.len(), quote(&report.running.join(", "))))
    }

    fn close_node(&self, node: &str, limit: &str) -> Result<String> {
        let report = named(&self.nodes, node)?.close(time(limit)?)?;
        Ok(format!("undelivered={} stuck={}", report.undelivered.len(), quote(&report.stuck.join(", "))))
    }
}

/// What a handler does.
fn behave(call: &CallContext, what: &str, argument: &str, gates: &Gates) -> Result<Vec<u8>> {
    match what {
        "echo" => Ok(call.request().to_vec()),
        // Waits until the command `gate` names its argument.
        "wait" => {
            gates.wait(argument);
            Ok(b"waited".to_vec())
        }
        // Keeps an object of this kind for the caller; its payload is the request.
        "keep" => {
            let text = String::from_utf8_lossy(call.request()).into_owned();
            let object = call.session().attach(argument, Box::new(text), None).map_err(|(error, _)| error)?;
            Ok(object.to_string().into_bytes())
        }
        "fail" => Err(Error::new(Code::CallFailed, argument)),
        // Replies in so many parts.
        "parts" => {
            for part in 0..number::<u64>(argument)? {
                call.reply_part(part.to_string().as_bytes())?;
            }
            Ok(b"last".to_vec())
        }
        _ => panic!("the handler was told to panic"),
    }
}

/// The payload that the helper makes is a text.
pub(super) fn text_of(payload: &(dyn Any + Send + Sync)) -> String {
    quote(payload.downcast_ref::<String>().map_or("?", String::as_str))
}
