//! A connect that was started, and the session that comes of it.

use super::{ConnectOptions, Session, Wait, timed_out};
use crate::address::Address;
use crate::engine::{Batch, Bell, Engine, PendingConnect, Place, Shard};
use clerver_proto::error::{Code, Error, Result};
use clerver_proto::id::{ConnectorId, HostId};
use clerver_proto::node;
use clerver_proto::time::Instant;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

struct Inner {
    engine: Arc<Engine>,
    connector: ConnectorId,
    bell: Bell,
    wish: Wish,
}

/// A connect that was started. Clones are the same connect; dropping the last one before its session was taken gives it
/// up.
#[derive(Clone)]
pub struct Connecting(Arc<Inner>);

impl fmt::Debug for Connecting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Connecting").field(&self.0.wish.text).finish()
    }
}

impl Connecting {
    pub(super) fn start(engine: &Arc<Engine>, options: &ConnectOptions, wait: Wait) -> Result<Connecting> {
        engine.check_process()?;
        let wish = Wish::read(options, engine.settings.any_node, wait)?;
        let (connector, bell) = engine.change(|shard, now| {
            let connector = shard.node.connect(now, wish.options.clone())?;
            let connecting = PendingConnect::new(wish.text.clone());
            let bell = connecting.bell.clone();
            shard.connecting.insert(connector, connecting);
            Ok((connector, bell))
        })?;
        Ok(Connecting(Arc::new(Inner { engine: Arc::clone(engine), connector, bell, wish })))
    }

    /// Takes the session. Blocks until there is one, for at most `wait`; the connect goes on after that.
    ///
    /// Errors: what the connect failed with, as [`super::Node::connect`]; `TIMEOUT` when the wait is over, or the time
    /// that the connect had; `CANCELLED`; `STATE` it was taken already.
    pub fn take(&self, wait: Wait) -> Result<Session> {
        let connector = self.0.connector;
        self.block(wait, |shard| shard.take_connect(connector))
    }

    /// As [`Connecting::take`], and never blocks.
    ///
    /// Errors: `AGAIN` it goes on; otherwise as [`Connecting::take`].
    pub fn try_take(&self) -> Result<Session> {
        let connector = self.0.connector;
        let going_on = || Error::new(Code::Again, format!("connect to {}: it goes on", self.0.wish.text));
        // The connect's own time-out is told by the same code as that of a wait.
        self.block(Some(Duration::ZERO), |shard| {
            Some(shard.take_connect(connector).unwrap_or_else(|| Err(going_on())))
        })
    }

    fn block(
        &self,
        wait: Wait,
        mut take: impl FnMut(&mut Shard) -> Option<Result<clerver_proto::id::SessionId>>,
    ) -> Result<Session> {
        let Inner { engine, bell, wish, .. } = &*self.0;
        let place = || Place::At(bell.clone(), None);
        let attempt = |shard: &mut Shard, _: Instant, _: &mut Batch| {
            let taken = take(shard)?;
            Some(taken.and_then(|session| Session::counted(engine, shard, session)))
        };
        let session = engine.block(wait, place, || self.timed_out(wait), attempt)?;
        wish.check_name(&session)?;
        Ok(session)
    }

    fn timed_out(&self, wait: Wait) -> Error {
        let Inner { engine, connector, wish, .. } = &*self.0;
        let why = timed_out(&format!("connect to {}: no session", wish.text), wait);
        let last = engine.with_shard(|shard, _, _| shard.connecting.get(connector)?.last_failure.clone());
        match last {
            Some(last) => {
                let remedy = last.remedy().to_owned();
                Error::new(why.code, format!("{}; the last dial: {}", why.message, last.message))
                    .with_remedy(remedy)
            }
            None => why,
        }
    }

    /// From now on [`super::NodeEvent::Readable`] with this token tells when it came to an end; at once if it did
    /// already.
    ///
    /// Errors: `HANDLE` what became of it was taken.
    pub fn watch(&self, token: u64) -> Result<()> {
        self.0.engine.check_process()?;
        self.0.engine.with_shard(|shard, _, batch| {
            shard.check_open()?;
            shard.watch_connect(self.0.connector, token, batch)
        })
    }

    /// Gives up: `take` answers `CANCELLED`. Does not block; without effect once it came to an end.
    pub fn cancel(&self) {
        let Inner { engine, connector, wish, .. } = &*self.0;
        if engine.is_forked() {
            return;
        }
        let why = Error::new(Code::Cancelled, format!("connect to {}: it was given up", wish.text));
        engine.with_shard(|shard, now, batch| shard.cancel_connect(now, *connector, why, batch));
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if self.engine.is_forked() {
            // The child runs no destructor of the parent's things.
            std::mem::forget(Arc::clone(&self.engine));
            return;
        }
        let unwanted = self.engine.with_shard(|shard, now, batch| {
            let why = Error::new(Code::Cancelled, "nobody wants its session any more");
            shard.cancel_connect(now, self.connector, why, batch);
            match shard.take_connect(self.connector) {
                // It came true at the last moment.
                Some(Ok(session)) => Session::counted(&self.engine, shard, session).ok(),
                _ => None,
            }
        });
        // Its end takes the lock again.
        drop(unwanted);
    }
}

/// What a connect asks of the protocol, and of the peer's name.
struct Wish {
    options: node::ConnectOptions,
    name: Option<String>,
    /// The addresses as they were given.
    text: String,
}

impl Wish {
    fn read(options: &ConnectOptions, any_node: bool, wait: Wait) -> Result<Wish> {
        let parsed: Vec<Address> =
            options.addresses.iter().map(|text| text.parse()).collect::<Result<_>>()?;
        if let Some(address) = parsed.iter().find(|address| address.port == 0) {
            let what = format!("connect to {address}: port 0 is only good for listening");
            return Err(Error::new(Code::Argument, what));
        }
        let text = options.addresses.join(", ");
        let mut expected: Vec<HostId> = parsed.iter().filter_map(|address| address.host_id).collect();
        expected.dedup();
        let options = node::ConnectOptions {
            // In one form, so that an address is known again.
            addresses: parsed.iter().map(|address| address.to_string()).collect(),
            // Each address brings its own again when it is dialled; the protocol compares when they all
            // agree.
            expected: if expected.len() == 1 { expected.pop() } else { None },
            any_node: options.any_node || any_node,
            timeout: wait,
            bulk_links: options.bulk_links,
            race: options.race,
            standby_links: options.standby_links,
        };
        let name = parsed.into_iter().find_map(|address| address.name);
        Ok(Wish { options, name, text })
    }

    /// The address may name a node; several may come to share a port.
    fn check_name(&self, session: &Session) -> Result<()> {
        let Some(wanted) = &self.name else { return Ok(()) };
        let found = session.info()?.peer_name;
        if *wanted == found {
            return Ok(());
        }
        let what = format!("connect to {}: the node there is \"{found}\", not \"{wanted}\"", self.text);
        Err(Error::new(Code::WrongNode, what).with_remedy("check the address, or leave the name out"))
    }
}
