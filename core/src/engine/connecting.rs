//! Connects that were asked for, until somebody took what became of them.
//!
//! Invariant: what becomes of one is settled once; whoever waits for it, thread or program, is told then.

use super::bell::Bell;
use super::shard::{Batch, Shard};
use clerver_proto::error::{Code, Error, Result};
use clerver_proto::id::{ConnectorId, SessionId};
use clerver_proto::time::Instant;

/// A connect that was asked for.
pub(crate) struct PendingConnect {
    pub(crate) address: String,
    result: Option<Result<SessionId>>,
    /// Its session, once somebody took the result; it redials until that ends.
    pub(super) session: Option<SessionId>,
    pub(crate) last_failure: Option<Box<Error>>,
    pub(crate) bell: Bell,
    /// Token of the program's event about it.
    pub(super) watched: Option<u64>,
}

impl PendingConnect {
    pub(crate) fn new(address: String) -> Box<PendingConnect> {
        let bell = Bell::default();
        Box::new(PendingConnect {
            address,
            result: None,
            session: None,
            last_failure: None,
            bell,
            watched: None,
        })
    }

    /// Whether a caller waits for its result.
    pub(super) fn is_awaited(&self) -> bool {
        self.result.is_none() && self.session.is_none()
    }

    /// Whether a caller is about to take this session.
    pub(super) fn offers(&self, session: SessionId) -> bool {
        self.result.as_ref().is_some_and(|result| result.as_ref() == Ok(&session))
    }
}

impl Shard {
    /// What became of a connect, for those who wait. The first word counts.
    pub(super) fn settle_connect(
        &mut self,
        connector: ConnectorId,
        result: Result<SessionId>,
        batch: &mut Batch,
    ) {
        let Some(connecting) = self.connecting.get_mut(&connector) else { return };
        if connecting.is_awaited() {
            connecting.result = Some(result);
            self.ring_connect(connector, batch);
        }
    }

    /// Takes what became of a connect; its connector then belongs to the session. `None` while it goes on.
    ///
    /// Errors: what it failed with; `STATE` it was taken already.
    pub(crate) fn take_connect(&mut self, connector: ConnectorId) -> Option<Result<SessionId>> {
        let Some(connecting) = self.connecting.get_mut(&connector).filter(|known| known.session.is_none())
        else {
            return Some(Err(Error::new(Code::State, "take the session of a connect: it was taken already")));
        };
        let result = connecting.result.take()?;
        // An event that waits would come behind the end of the handle.
        connecting.watched = None;
        connecting.session = result.as_ref().ok().copied();
        // It may have ended before its caller woke; then the handle tells why.
        let lives = |session| self.hubs.get(session).is_some_and(|hub| !hub.state.is_final());
        if !result.as_ref().is_ok_and(lives) {
            self.connecting.remove(&connector);
        }
        Some(result)
    }

    /// Ends a connect that goes on; whoever waits is told why.
    pub(crate) fn cancel_connect(
        &mut self,
        now: Instant,
        connector: ConnectorId,
        why: Error,
        batch: &mut Batch,
    ) {
        if self.connecting.get(&connector).is_some_and(|connecting| connecting.is_awaited()) {
            // An error means that it ended by itself.
            let _ = self.node.connect_cancel(now, connector);
            self.drain(now, batch);
            self.settle_connect(connector, Err(why), batch);
        }
    }

    /// From now on the program is told of this connect by an event; what became of it already is told at once.
    pub(crate) fn watch_connect(
        &mut self,
        connector: ConnectorId,
        token: u64,
        batch: &mut Batch,
    ) -> Result<()> {
        let gone = || Error::new(Code::Handle, "watch a connect: its result was taken");
        let connecting =
            self.connecting.get_mut(&connector).filter(|connecting| connecting.session.is_none());
        let connecting = connecting.ok_or_else(gone)?;
        connecting.watched = Some(token);
        if connecting.result.is_some() {
            self.ring_connect(connector, batch);
        }
        Ok(())
    }
}
