//! Draining and closing a node, in bounded time.
//!
//! Invariants: `close` returns within its wait and a short bound; what a stuck handler uses is leaked, never
//! freed.

use super::command::Command;
use super::{Blocking, Engine, clock, is_inline, workers};
use clerver_proto::error::{Code, Error, Result};
use clerver_proto::id::{NodeId, SessionId};
use clerver_proto::node::{ChannelReport, SessionState};
use clerver_proto::time::Instant;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Progress that rings no bell (callbacks, sockets) is looked at this often.
const LOOK: Duration = Duration::from_millis(10);
/// The thread of the node gets this long to end by itself.
const LAST_TURN: Duration = Duration::from_millis(500);
/// Handles of one shared session that are closed; each connect and accept counts as one.
const HANDLES_MAX: usize = 4096;

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
            let undelivered = self.undelivered();
            let running = self.running_calls();
            if (undelivered.is_empty() && running.is_empty()) || clock::now() >= until {
                return Ok(Drained { undelivered, running });
            }
            self.pause(until)?;
        }
    }

    /// Channels of open sessions whose data the peer does not hold yet.
    fn undelivered(self: &Arc<Self>) -> Vec<Leftover> {
        self.with_shard(|shard, _, _| {
            let mut found = Vec::new();
            for (&session, hub) in &shard.hubs {
                for &channel in hub.slots.keys() {
                    match shard.node.channel_report(session, channel) {
                        Ok(report) if report.held < report.written => found.push((session, hub.peer, report)),
                        _ => {}
                    }
                }
            }
            found
        })
    }

    fn running_calls(self: &Arc<Self>) -> Vec<String> {
        let count = self.with_shard(|shard, _, _| shard.running.len());
        let mut names = self.workers.busy();
        names.truncate(names.len().min(count));
        names
    }

    /// Waits a moment for progress that rings no bell; without a thread of ours, makes it.
    fn pause(self: &Arc<Self>, until: Instant) -> Result<()> {
        if self.settings.caller_driven {
            self.run_deferred();
        }
        let wait = Some(until.since(clock::now()).min(LOOK));
        let bell = super::Bell::default();
        let over = || Error::new(Code::Timeout, "pause");
        match self.block(Blocking { bell: &bell, session: None, wait }, over, |_, _, _| None::<Result<()>>) {
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
        while clock::now() < until && !self.is_quiet() {
            if self.pause(until).is_err() {
                break;
            }
        }
        let mut closed = Closed { undelivered: Vec::new(), stuck: self.workers.busy() };
        let left = self.undelivered();
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
        closed.undelivered.extend(left);
        self.stop(may_wait);
        Ok(closed)
    }

    /// Asks every session to end; false when the node is closing or closed already.
    fn begin_close(self: &Arc<Self>, until: Instant) -> bool {
        self.post(Command::StopListening);
        self.with_shard(|shard, now, batch| {
            if shard.closed.is_some() || shard.endings.is_some() {
                return false;
            }
            shard.endings = Some(Vec::new());
            let timeout = until.since(now);
            // The process may go with the node: peers' objects end here and now.
            let _ = shard.node.sweep_all(now);
            shard.drain(now, batch);
            for session in shard.node.sessions() {
                for _ in 0..HANDLES_MAX {
                    let is_over = shard.node.session_close(now, session, timeout).is_err();
                    shard.drain(now, batch);
                    let state = shard.node.session_info(session).map(|info| info.state);
                    if is_over
                        || state.is_err()
                        || state.is_ok_and(|s| s == SessionState::Closing || s.is_final())
                    {
                        break;
                    }
                }
            }
            true
        })
    }

    /// Whether all sessions have ended, all was sent, their objects are gone, and no user code runs.
    fn is_quiet(self: &Arc<Self>) -> bool {
        let is_over = self.with_shard(|shard, _, _| {
            let ended = |session| shard.node.session_info(session).map_or(true, |info| info.state.is_final());
            shard.node.sessions().into_iter().all(ended)
                && shard.payloads.is_empty()
                && shard.links.values().all(|link| link.is_quiet())
        });
        is_over && self.workers.busy().is_empty()
    }

    fn stop(self: &Arc<Self>, may_wait: bool) {
        self.workers.stop();
        self.resolvers.stop();
        self.is_stopping.store(true, Ordering::Release);
        self.post(Command::Look);
        if self.settings.caller_driven {
            if let Some(mut driver) = self.driver.try_lock() {
                driver.clear();
            }
        } else if may_wait {
            let mut ended = self.driver_ended.lock();
            if !*ended {
                // An inline handler that hangs must not hang the program too.
                self.driver_ended_bell.wait_for(&mut ended, LAST_TURN);
            }
        }
    }
}
