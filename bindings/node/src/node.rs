//! A node, as `lib/node.js` sees it.

use crate::connecting::NativeConnecting;
use crate::error::{Failure, failure, unless};
use crate::js::poll::Poll;
use crate::js::post::{About, Post};
use crate::js::value::Value;
use crate::kind::{self, KindWish};
use crate::pool;
use crate::request;
use crate::{info, session::wait_of};
use clerver::{Code, ConnectOptions, Error, ListenOptions, LogLevel, Node, Options, Result, ServiceOptions};
use napi::Env;
use napi::bindgen_prelude::Function;
use napi_derive::napi;
use std::time::Duration;

/// A node.
#[napi]
pub struct NativeNode {
    node: Node,
    poll: Option<Poll>,
}

/// Every option: name, kind, default and meaning.
#[napi(catch_unwind)]
pub fn options() -> Value {
    let row = |option: &clerver::options::OptionInfo| {
        Value::Record(vec![
            ("name", Value::text(option.name)),
            ("kind", Value::Text(format!("{:?}", option.kind))),
            ("isSupported", Value::Truth(option.is_supported)),
        ])
    };
    Value::List(clerver::options::OPTIONS.iter().map(row).collect())
}

/// Version of the library.
#[napi(catch_unwind)]
pub fn version() -> &'static str {
    env!("CARGO_PKG_VERSION")
}

fn options_of(wishes: &[(String, String)]) -> Result<Options> {
    let mut options = Options::new();
    for (name, value) in wishes {
        match name.as_str() {
            "caller_driven" if value != "false" => {
                let what = "set option caller_driven: a program in JavaScript cannot drive a node itself";
                return Err(Error::new(Code::Unsupported, what).with_remedy("leave the option out"));
            }
            "config" => drop(options.load_file(std::path::Path::new(value))?),
            _ => drop(options.set(name, value)?),
        }
    }
    options.load_process()?;
    if options.resolve()?.caller_driven {
        options.set("caller_driven", "false")?;
    }
    Ok(options)
}

/// Opens a node: pairs of option and value, as text. The answer to the ticket is its handle.
#[napi(catch_unwind)]
pub fn open_node(post: &Post, ticket: f64, wishes: Vec<Vec<String>>) {
    let pairs: Vec<(String, String)> = wishes
        .into_iter()
        .filter_map(|pair| <[String; 2]>::try_from(pair).ok())
        .map(|[name, value]| (name, value))
        .collect();
    pool::run(post.mailbox(), ticket as u64, move || Node::open(options_of(&pairs)?).map(Value::Node));
}

impl NativeNode {
    pub(crate) fn new(node: Node) -> NativeNode {
        NativeNode { node, poll: None }
    }

    fn on_thread(&self, post: &Post, ticket: f64, job: impl FnOnce(Node) -> Result<Value> + Send + 'static) {
        let node = self.node.clone();
        pool::run(post.mailbox(), ticket as u64, move || job(node));
    }
}

#[napi]
impl NativeNode {
    /// From now on what is ready, and what happened, goes to `tell(tokens, events)`.
    #[napi(catch_unwind)]
    pub fn watch(&mut self, env: Env, post: &Post, tell: Function<'_>) -> Result<(), Failure> {
        self.poll = Some(Poll::start(env, &self.node, post.mailbox(), tell)?);
        Ok(())
    }

    /// Whether it keeps the process alive.
    #[napi(catch_unwind)]
    pub fn set_held(&self, is_held: bool) {
        if let Some(poll) = &self.poll {
            poll.set_held(is_held);
        }
    }

    /// No more events.
    #[napi(catch_unwind)]
    pub fn unwatch(&mut self) {
        self.poll = None;
    }

    /// Its id.
    #[napi(catch_unwind)]
    pub fn id(&self) -> String {
        self.node.id().to_string()
    }

    /// Its host id.
    #[napi(catch_unwind)]
    pub fn host_id(&self) -> String {
        self.node.host_id().to_string()
    }

    /// Listens; a name may take its time. A level of -1 is what the options say.
    #[napi(catch_unwind)]
    pub fn listen(&self, post: &Post, ticket: f64, address: String, level: i32) {
        self.on_thread(post, ticket, move |node| {
            let bound = match u8::try_from(level) {
                Ok(level_min) => node.listen_with(&address, ListenOptions { level_min }),
                Err(_) => node.listen(&address),
            };
            bound.map(|bound| Value::Text(bound.to_string()))
        });
    }

    /// Tells peers these addresses, or those that it finds.
    #[napi(catch_unwind)]
    pub fn announce(&self, addresses: Option<Vec<String>>) -> Result<(), Failure> {
        let texts: Option<Vec<&str>> =
            addresses.as_ref().map(|list| list.iter().map(String::as_str).collect());
        self.node.announce(texts.as_deref()).map_err(failure)
    }

    /// What peers are told.
    #[napi(catch_unwind)]
    pub fn addresses(&self) -> Result<Vec<String>, Failure> {
        self.node.addresses().map_err(failure)
    }

    /// Starts a connect: flags are 1 for race and 2 for any node.
    #[napi(catch_unwind)]
    pub fn connect(
        &self,
        addresses: Vec<String>,
        flags: u32,
        bulk_links: u8,
        standby_links: u8,
        milliseconds: f64,
    ) -> Result<NativeConnecting, Failure> {
        let options = ConnectOptions {
            addresses,
            race: flags & 1 != 0,
            any_node: flags & 2 != 0,
            bulk_links,
            standby_links,
        };
        let started = self.node.connect_start(options, wait_of(milliseconds));
        started.map(NativeConnecting::new).map_err(failure)
    }

    /// The next session that a peer made, if there is one.
    #[napi(catch_unwind)]
    pub fn accept(&self) -> Result<Option<Value>, Failure> {
        unless(Code::Timeout, self.node.accept(Some(Duration::ZERO)).map(Value::Session))
    }

    /// Offers a service, whose calls come as mail for its number.
    #[napi(catch_unwind)]
    pub fn serve(
        &self,
        post: &Post,
        number: f64,
        name: String,
        level_min: u8,
        idempotent: bool,
    ) -> Result<(), Failure> {
        let options = ServiceOptions { level_min, idempotent, inline: false };
        let (mailbox, number) = (post.mailbox(), number as u64);
        let handler = move |call: &clerver::CallContext| request::hand_over(&mailbox, number, call);
        self.node.serve(&name, options, handler).map_err(failure)
    }

    /// Offers it no more.
    #[napi(catch_unwind)]
    pub fn unserve(&self, name: String) -> Result<(), Failure> {
        self.node.unserve(&name).map_err(failure)
    }

    /// Makes a kind known, whose callbacks come as mail for its number.
    #[napi(catch_unwind)]
    pub fn register_kind(
        &self,
        post: &Post,
        number: f64,
        name: String,
        wish: KindWish,
    ) -> Result<(), Failure> {
        let made = kind::kind(post.mailbox(), number as u64, &wish);
        self.node.register_kind(&name, made).map_err(failure)
    }

    /// Drains: what is left, or `null` for one who waits until nothing is.
    #[napi(catch_unwind)]
    pub fn drain(&self, waits: bool) -> Result<Option<Value>, Failure> {
        let report = self.node.drain(Some(Duration::ZERO)).map_err(failure)?;
        let is_done = report.undelivered.is_empty() && report.running.is_empty();
        Ok((is_done || !waits).then(|| info::drained(&report)))
    }

    /// Closes.
    #[napi(catch_unwind)]
    pub fn close(&self, post: &Post, ticket: f64, milliseconds: f64) {
        let wait = wait_of(milliseconds).unwrap_or(Duration::MAX);
        self.on_thread(post, ticket, move |node| node.close(wait).map(|report| info::closed(&report)));
    }

    /// Closes on this thread: the process ends, and nobody answers handlers any more.
    #[napi(catch_unwind)]
    pub fn close_now(&self, milliseconds: f64) {
        // An error means that it is closed already.
        let _ = self.node.close(wait_of(milliseconds).unwrap_or_default());
    }

    /// Counters.
    #[napi(catch_unwind)]
    pub fn counters(&self) -> Value {
        info::counters(&self.node.counters())
    }

    /// Reads the trust files again.
    #[napi(catch_unwind)]
    pub fn reload_trust(&self, post: &Post, ticket: f64) {
        self.on_thread(post, ticket, |node| node.reload_trust().map(|()| Value::Nothing));
    }

    /// Lines of this level and more important ones come as mail for the number.
    #[napi(catch_unwind)]
    pub fn set_log(&self, post: &Post, number: f64, level: u8) {
        const LEVELS: [(LogLevel, &str); 4] = [
            (LogLevel::Error, "error"),
            (LogLevel::Warn, "warn"),
            (LogLevel::Info, "info"),
            (LogLevel::Debug, "debug"),
        ];
        let (mailbox, number) = (post.mailbox(), number as u64);
        let (wanted, _) = LEVELS[usize::from(level).min(LEVELS.len() - 1)];
        self.node.set_log(wanted, move |level, line| {
            let name = LEVELS.iter().find(|(known, _)| *known == level).map_or("debug", |(_, name)| name);
            mailbox.send(About::Line, number, Value::List(vec![Value::text(name), Value::text(line)]));
        });
    }
}
