//! Draining and closing a node, in bounded time.
//!
//! Invariants: `close` returns within its wait and a short bound; what a stuck handler uses is leaked, never
//! freed.

use super::bridge::closing;
use super::command::Command;
use super::event::LogLevel;
use super::event_loop::LAST_TURN;
use super::service::Running;
use super::shard::{Batch, Shard};
use super::{Engine, Place, clock, is_inline, workers};
use clerver_proto::error::{Code, Error, Result};
use clerver_proto::id::{NodeId, SessionId};
use clerver_proto::node::{ChannelReport, SessionState};
use clerver_proto::time::Instant;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Progress that rings no bell (callbacks, sockets) is looked at this often.
const LOOK: Duration = Duration::from_millis(10);
/// Handles of one shared session that are closed; each connect and accept counts as one.
const HANDLES_MAX: usize = 4096;

/// What is queued for the store goes there, however little time is left.
const STORE_WAIT: Duration = Duration::from_secs(1);

/// A channel with data that the peer does not hold.
pub(crate) type Leftover = (SessionId, Option<NodeId>, ChannelReport);

/// How far a drain came.
#[derive(Debug, Default)]
pub(crate) struct Drained {
    pub(crate) undelivered: Vec<Leftover>,
    pub(crate) running: Vec<String>,
}

/// How a close went.
#[derive(Debug, Default)]
pub(crate) struct Closed {
    pub(crate) undelivered: Vec<Leftover>,
    pub(crate) stuck: Vec<String>,
}

impl Engine {
    /// Takes no new work, and waits until the old is done or the time is over.
    pub(crate) fn drain(self: &Arc<Self>, wait: Option<Duration>) -> Result<Drained> {
        if is_inline() {
            return Err(Error::new(Code::InCallback, "drain a node from an inline handler"));
        }
        let until = clock::deadline(wait);
        self.change(|shard, now| shard.node.drain(now))?;
        loop {
            let (undelivered, running) = self.with_shard(|shard, now, batch| shard.look_at_drain(now, batch));
            if (undelivered.is_empty() && running.is_empty()) || clock::now() >= until {
                return Ok(Drained { undelivered, running });
            }
            self.pause(until, |_| false)?;
        }
    }

    /// Waits a moment for progress; most of it rings the bell of events, the rest is looked at again soon. Without a
    /// thread of ours, makes it.
    fn pause(self: &Arc<Self>, until: Instant, is_over: impl Fn(&Shard) -> bool) -> Result<()> {
        if self.settings.caller_driven {
            self.run_deferred();
        }
        let wait = Some(until.since(clock::now()).min(LOOK));
        let over = || Error::new(Code::Timeout, "pause");
        let place = || Place::At(self.event_bell(), None);
        let mut has_waited = false;
        let look = |shard: &mut Shard, _, _: &mut Batch| {
            (std::mem::replace(&mut has_waited, true) || is_over(shard)).then_some(Ok(()))
        };
        match self.block(wait, place, over, look) {
            Err(error) if error.code == Code::Timeout => Ok(()),
            other => other,
        }
    }

    /// Ends all sessions, then the node. Returns within `wait` and a short bound; the second close does
    /// nothing.
    ///
    /// From a handler it does not wait for anything, least of all for that handler.
    pub(crate) fn close(self: &Arc<Self>, wait: Duration) -> Result<Closed> {
        self.check_process()?;
        let may_wait = !is_inline() && !workers::is_worker();
        let until = clock::now() + if may_wait { wait } else { Duration::ZERO };
        if !self.begin_close(until) {
            return Ok(Closed::default());
        }
        let cut_at = until - wait / 5;
        while clock::now() < until && !self.is_quiet() {
            if clock::now() >= cut_at {
                self.close_bridges(closing::CUT);
            }
            // A peer, or a connect on its way, may have made another one.
            self.close_sessions(until, false);
            if self.pause(until, |shard| self.is_quiet_in(shard)).is_err() {
                break;
            }
        }
        let mut closed = Closed { undelivered: Vec::new(), stuck: self.stuck() };
        let left = self.with_shard(|shard, _, _| shard.undelivered());
        let why = Error::new(Code::Closed, format!("use node {}: it was closed", self.id));
        let dropped = self.with_shard(|shard, _, batch| {
            for (session, peer, report) in shard.endings.take().unwrap_or_default() {
                let cut = report.channels.into_iter().filter(|channel| channel.held < channel.written);
                closed.undelivered.extend(cut.map(|channel| (session, peer, channel)));
            }
            shard.close(why, batch)
        });
        // User code may run when these go, so they go here, where no lock is held.
        drop(dropped);
        let store = self.shard.lock().store.take();
        if let Some(store) = store
            && !store.close(until.since(clock::now()).max(STORE_WAIT))
        {
            closed.stuck.push("the store, which could not write everything".to_owned());
        }
        closed.undelivered.extend(left);
        self.stop(may_wait);
        *self.presence.lock() = None;
        Ok(closed)
    }

    /// Tells the bridges how far the close has come.
    fn close_bridges(self: &Arc<Self>, stage: u8) {
        if self.closing.swap(stage, Ordering::AcqRel) != stage {
            self.post(Command::PumpAll);
        }
    }

    /// Asks every session to end; false when the node is closing or closed already.
    fn begin_close(self: &Arc<Self>, until: Instant) -> bool {
        self.post(Command::StopListening);
        let is_first = self.with_shard(|shard, now, batch| {
            if shard.closed.is_some() || shard.endings.is_some() {
                return false;
            }
            shard.endings = Some(Vec::new());
            // Errors mean that the protocol was left undrained, which the shard never does.
            let _ = shard.node.drain(now);
            shard.drain(now, batch);
            self.cancel_connects(shard, now, batch);
            // The process may go with the node: peers' objects end here and now.
            let _ = shard.node.sweep_all(now);
            true
        });
        if is_first {
            self.close_bridges(closing::FINISH);
            self.close_sessions(until, true);
        }
        is_first
    }

    /// Connects that wait for a session end here, and make none any more.
    fn cancel_connects(&self, shard: &mut Shard, now: Instant, batch: &mut Batch) {
        let awaited = shard.connecting.iter().filter(|(_, connecting)| connecting.is_awaited());
        for connector in awaited.map(|(connector, _)| connector).collect::<Vec<_>>() {
            let address =
                shard.connecting.get(&connector).map_or("", |connecting| connecting.address.as_str());
            let what = format!("connect to {address}: node {} was closed", self.id);
            shard.cancel_connect(now, connector, Error::new(Code::Closed, what), batch);
        }
    }

    /// Asks every session to end; the first time also those that their peers are ending.
    fn close_sessions(self: &Arc<Self>, until: Instant, is_first: bool) {
        self.with_shard(|shard, now, batch| {
            for session in shard.node.sessions() {
                // What is on its way through a bridge goes first, or its end would look like the whole.
                if shard.hubs.get(&session).is_some_and(|hub| hub.bridges > 0) {
                    continue;
                }
                // The next process goes on with it.
                if shard.node.is_kept(session) {
                    continue;
                }
                for handle in 0..HANDLES_MAX {
                    let state = shard.node.session_info(session).map(|info| info.state);
                    let ends = state.is_ok_and(|state| state == SessionState::Closing || state.is_final());
                    if ends && !(is_first && handle == 0) {
                        break;
                    }
                    let is_over = shard.node.session_close(now, session, until.since(now)).is_err();
                    shard.drain(now, batch);
                    if is_over {
                        break;
                    }
                }
            }
        });
    }

    /// Handlers and callbacks that have not returned, and destructors that were not run.
    fn stuck(self: &Arc<Self>) -> Vec<String> {
        let (others, mut destructors) = self.with_shard(|shard, _, _| {
            // Of the others the workers know.
            let others = shard.running.values().filter(|running| running.is_inline || running.is_deferred());
            (others.map(|running| running.name()).collect::<Vec<_>>(), shard.destructors())
        });
        // After the others: a destructor that is handed out in between is found twice, and not never.
        let busy = self.workers.busy();
        for (_, destroys) in &busy {
            destroys.map(|object| destructors.remove(&object));
        }
        busy.into_iter().map(|(name, _)| name).chain(others).chain(destructors.into_values()).collect()
    }

    /// Whether all sessions have ended, all was sent, their objects are gone, and no user code runs.
    fn is_quiet(self: &Arc<Self>) -> bool {
        self.with_shard(|shard, _, _| self.is_quiet_in(shard))
    }

    fn is_quiet_in(&self, shard: &Shard) -> bool {
        let is_deferred = |running: &Arc<Running>| running.is_deferred();
        let is_answered = shard.is_answered() && !shard.running.values().any(is_deferred);
        shard.is_over() && self.workers.busy().is_empty() && is_answered
    }

    fn stop_workers(&self) {
        self.workers.stop();
        self.log.close(!self.settings.caller_driven);
    }

    /// The loop is done with this node, whose mail and links go, for handles of the program may keep the engine.
    pub(super) fn release(self: &Arc<Self>) {
        if self.has_left.swap(true, Ordering::AcqRel) {
            return;
        }
        self.event_loop.drop_mail_of(self);
        let links = self.shard.lock().leave();
        // What they own may be the program's, so it goes here, where no lock is held.
        drop(links);
        self.event_loop.note_left();
    }

    /// The loop panicked: nothing of the node is used any more.
    pub(super) fn break_down(self: &Arc<Self>, text: &str) {
        let why = Error::new(Code::Bug, format!("use node {}: its loop panicked: {text}", self.id));
        self.log(LogLevel::Error, || why.to_string());
        let mut batch = Batch::default();
        let mut shard = self.shard.lock();
        shard.is_broken = true;
        let dropped = shard.close(why, &mut batch);
        drop(shard);
        for bell in batch.bells {
            bell.ring();
        }
        drop(dropped);
        self.stop_workers();
        self.release();
    }

    fn stop(self: &Arc<Self>, may_wait: bool) {
        self.stop_workers();
        if may_wait {
            self.workers.wait_for_idle_threads(LAST_TURN);
        }
        self.event_loop.leave(self, may_wait);
    }
}

impl Shard {
    /// Whether all sessions have ended, their objects are gone, and all was sent.
    fn is_over(&self) -> bool {
        let ended = |session| {
            self.node.is_kept(session)
                || self.node.session_info(session).map_or(true, |info| info.state.is_final())
        };
        self.node.sessions().into_iter().all(ended)
            && self.payloads.is_empty()
            // What is embalmed has no payload.
            && self.node.counters().objects == 0
            && self.hubs.values().all(|hub| hub.bridges == 0)
            && self.links.values().all(|link| link.is_quiet())
            // A link that was cut off before its peer has read all would take the rest with it.
            && self.lingering == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[test]
    fn a_closed_engine_that_is_held_keeps_no_links_and_no_mail() {
        let home = tempfile::tempdir().unwrap();
        let open =
            || Engine::start(crate::options::Options::new().home(home.path()).resolve().unwrap()).unwrap();
        let (server, client) = (open(), open());
        let place = server.listen("127.0.0.1:0", 1).unwrap();
        let wish = clerver_proto::node::ConnectOptions::to(place.to_string());
        client.change(|shard, now| shard.node.connect(now, wish)).unwrap();
        let (place, wait) = (|| Place::At(client.event_bell(), None), Some(Duration::from_secs(10)));
        let over = || Error::new(Code::Timeout, "no link");
        let linked = |shard: &mut Shard, _: Instant, _: &mut Batch| {
            (!shard.links.is_empty() && !shard.node.sessions().is_empty()).then_some(Ok(()))
        };
        client.block(wait, place, over, linked).unwrap();
        client.close(Duration::ZERO).unwrap();
        client.post(Command::PumpAll);
        assert!(client.shard.lock().links.is_empty() && !client.event_loop.has_mail());
        server.close(Duration::ZERO).unwrap();
    }

    #[test]
    fn a_panic_of_the_loop_ends_every_wait_with_the_bug() {
        let home = tempfile::tempdir().unwrap();
        let engine =
            Engine::start(crate::options::Options::new().home(home.path()).resolve().unwrap()).unwrap();
        let (waiter, (send, result)) = (Arc::clone(&engine), mpsc::channel());
        std::thread::spawn(move || {
            let over = || Error::new(Code::Timeout, "over");
            let place = || Place::At(waiter.accept_bell(), None);
            send.send(waiter.block(None, place, over, |_, _, _| None::<Result<()>>).unwrap_err())
        });
        engine.post(Command::Panic);
        let error = result.recv_timeout(Duration::from_secs(10)).unwrap();
        assert!(error.code == Code::Bug && error.message.contains("as the test wants"), "{error}");
        assert_eq!(engine.change(|_, _| Ok(())).unwrap_err().code, Code::Bug);
        assert!(engine.close(Duration::from_secs(1)).unwrap().stuck.is_empty());
    }
}
