//! Bridges: plain sockets of this process whose other end is a channel of bytes.
//!
//! The driver pumps each in both directions whenever its socket or its channel is ready: no thread, and no
//! buffer while it is idle. A bridge decides nothing about sessions.
//!
//! Invariants: at most one piece waits in each direction, so a slow side stops the other; the program reads
//! the end of file only after END of the channel, and the peer reads END only after the program's end of
//! file: whatever else happens is a reset at both.

use super::command::Command;
use super::driver::Driver;
use super::event::LogLevel;
use super::local_pair::local_pair;
use super::sources::Source;
use super::watch::Watcher;
use super::{DescriptorKind, Engine, descriptor, system};
use bytes::{Buf, Bytes};
use clerver_proto::error::{Code, Error, Result};
use clerver_proto::id::{ChannelId, SessionId};
use mio::Interest;
use socket2::Socket;
use std::io::ErrorKind;
use std::net::Shutdown;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Carried at once.
const PIECE_BYTES: usize = 64 * 1024;
/// Pieces in each direction before the other sources get their turn.
const PIECES_PER_TURN: usize = 8;
/// What was written last gets this long to arrive when nobody else keeps the session open.
const LAST_BYTES_TIME: Duration = Duration::from_secs(10);

/// How far the node's close has come, for bridges.
pub(super) mod closing {
    /// It is open.
    pub(crate) const NO: u8 = 0;
    /// What waits in sockets is still carried.
    pub(crate) const FINISH: u8 = 1;
    /// Nothing is carried any more.
    pub(crate) const CUT: u8 = 2;
}

/// See the module.
pub(crate) struct Bridge {
    socket: Socket,
    session: SessionId,
    channel: ChannelId,
    /// Of the program, on its way into the channel.
    outbound: Bytes,
    /// Of the channel, on its way to the program.
    inbound: Bytes,
    /// The program wrote all, and the channel took it.
    has_sent_all: bool,
    /// The channel ended, and the program was told.
    has_received_all: bool,
    /// The peer reads no more: what the program writes is dropped, until both directions are done.
    is_unheard: bool,
    /// Something was dropped, and the program has to learn of it.
    has_dropped: bool,
}

/// One step in one direction.
enum Step {
    Progress,
    /// Nothing until something happens.
    Waits,
    Over(Ending),
}

/// How a bridge ends.
enum Ending {
    /// Both directions ended in good order.
    Done,
    /// The channel is over before its end: the program reads a reset.
    ChannelCut,
    /// The program went away before its end, or may not stay: the peer reads a reset.
    ProgramCut(String),
}

impl AsRawFd for Bridge {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

impl Bridge {
    fn pump(&mut self, engine: &Arc<Engine>, buffer: &mut Vec<u8>) -> Step {
        for _ in 0..PIECES_PER_TURN {
            let (out, inward) = (self.carry_out(engine, buffer), self.carry_in(engine));
            if self.has_received_all && (self.has_sent_all || self.is_unheard) {
                return Step::Over(if self.has_dropped { Ending::ChannelCut } else { Ending::Done });
            }
            match (out, inward) {
                (Step::Over(ending), _) | (_, Step::Over(ending)) => return Step::Over(ending),
                (Step::Waits, Step::Waits) => return Step::Waits,
                _ => {}
            }
        }
        Step::Progress
    }

    /// From the program into the channel.
    fn carry_out(&mut self, engine: &Arc<Engine>, buffer: &mut Vec<u8>) -> Step {
        if self.has_sent_all {
            return Step::Waits;
        }
        if self.outbound.is_empty() {
            buffer.clear();
            buffer.reserve(PIECE_BYTES);
            match descriptor::receive(self.socket.as_fd(), buffer, false) {
                Ok(0) => return self.end_of_file(engine),
                Ok(_) => self.outbound = Bytes::copy_from_slice(buffer),
                Err(error) if error.kind() == ErrorKind::Interrupted => return Step::Progress,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    let is_closing = engine.closing.load(Ordering::Acquire) != closing::NO;
                    let why = || Ending::ProgramCut("the node closed while the descriptor was open".into());
                    return if is_closing { Step::Over(why()) } else { Step::Waits };
                }
                Err(error) => return Step::Over(Ending::ProgramCut(format!("its descriptor: {error}"))),
            }
        }
        if self.is_unheard {
            self.has_dropped = true;
            self.outbound.clear();
            return Step::Progress;
        }
        let (session, channel, piece) = (self.session, self.channel, self.outbound.clone());
        match engine.change(|shard, now| shard.node.channel_send(now, session, channel, piece)) {
            Ok(taken) => {
                self.outbound.advance(taken.min(self.outbound.len()));
                Step::Progress
            }
            Err(error) if error.code == Code::Again => Step::Waits,
            // Nobody reads it there any more. What the peer has said is still read here; whether it is whole, the
            // reading side knows.
            Err(_) => {
                self.is_unheard = true;
                Step::Progress
            }
        }
    }

    fn end_of_file(&mut self, engine: &Arc<Engine>) -> Step {
        let (session, channel) = (self.session, self.channel);
        self.has_sent_all = true;
        // An error means that the session is over, and that the reading side says so.
        let _ = engine.change(|shard, now| shard.node.channel_end(now, session, channel));
        Step::Progress
    }

    /// From the channel to the program.
    fn carry_in(&mut self, engine: &Arc<Engine>) -> Step {
        if self.has_received_all {
            return Step::Waits;
        }
        if self.inbound.is_empty() {
            let (session, channel) = (self.session, self.channel);
            let taken =
                engine.change(|shard, now| shard.node.channel_receive(now, session, channel, PIECE_BYTES));
            match taken {
                Ok(Some(piece)) => self.inbound = piece,
                Ok(None) => return Step::Waits,
                Err(error) if error.code == Code::End => {
                    self.has_received_all = true;
                    // The program may have closed already, and then it needs no end.
                    let _ = self.socket.shutdown(Shutdown::Write);
                    return Step::Progress;
                }
                Err(_) => return Step::Over(Ending::ChannelCut),
            }
        }
        // A program whose descriptor is gone must not get SIGPIPE for it.
        match self.socket.send_with_flags(&self.inbound, descriptor::NO_SIGNAL) {
            Ok(size) => {
                self.inbound.advance(size);
                Step::Progress
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => Step::Progress,
            Err(error) if error.kind() == ErrorKind::WouldBlock => Step::Waits,
            Err(error) => Step::Over(Ending::ProgramCut(format!("its descriptor: {error}"))),
        }
    }

    /// Closing will be a reset, not an end of file.
    pub(super) fn cut(&self) {
        // A Unix socket cannot, and then the end of file is all there is.
        let _ = self.socket.set_linger(Some(Duration::ZERO));
    }
}

impl Driver {
    /// A program turned a channel into a descriptor.
    pub(super) fn install_bridge(&mut self, engine: &Arc<Engine>, bridge: Box<Bridge>) {
        let token = self.sources.token();
        let (session, channel) = (bridge.session, bridge.channel);
        let watched = self.watch(bridge.as_raw_fd(), token, Interest::READABLE | Interest::WRITABLE);
        self.sources.insert(engine, token, Source::Bridge(bridge));
        if let Err(error) = watched {
            engine.log(LogLevel::Error, || system("watch a local connection", &error).to_string());
            return self.end_bridge(engine, token, Ending::ProgramCut("it cannot be watched".into()));
        }
        engine.with_shard(|shard, _, _| shard.set_watcher(session, channel, Watcher::Bridge(token)));
        self.pump(engine, token);
    }

    /// Carries what a bridge can carry now.
    pub(super) fn pump(&mut self, engine: &Arc<Engine>, token: usize) {
        let Some(Source::Bridge(bridge)) = self.sources.get_mut(token) else { return };
        let step = if engine.closing.load(Ordering::Acquire) == closing::CUT {
            Step::Over(Ending::ProgramCut("the node closed before everything was carried".into()))
        } else {
            bridge.pump(engine, &mut self.piece)
        };
        match step {
            Step::Waits => {}
            Step::Progress => engine.post(Command::Pump(token)),
            Step::Over(ending) => self.end_bridge(engine, token, ending),
        }
    }

    /// The node closes: every bridge carries what it has, or ends.
    pub(super) fn pump_all(&mut self, engine: &Arc<Engine>) {
        for token in self.sources.of(engine.number) {
            self.pump(engine, token);
        }
    }

    fn end_bridge(&mut self, engine: &Arc<Engine>, token: usize, ending: Ending) {
        let Some(Source::Bridge(bridge)) = self.remove(token) else { return };
        let reset = match ending {
            Ending::Done => None,
            Ending::ChannelCut => {
                bridge.cut();
                None
            }
            Ending::ProgramCut(why) => {
                bridge.cut();
                Some(Error::new(Code::Reset, why))
            }
        };
        let (session, channel) = (bridge.session, bridge.channel);
        engine.with_shard(|shard, now, batch| {
            // Errors mean that the session has forgotten the channel already.
            if let Some(why) = reset {
                let _ = shard.node.channel_reset(now, session, channel, why);
                shard.drain(now, batch);
            }
            let _ = shard.node.channel_release(now, session, channel);
            shard.drain(now, batch);
            shard.unwatch(session, channel);
            let _ = shard.node.session_close(now, session, LAST_BYTES_TIME);
            shard.drain(now, batch);
            if let Some(hub) = shard.hubs.get_mut(&session) {
                hub.bridges = hub.bridges.saturating_sub(1);
                hub.handles = hub.handles.saturating_sub(1);
            }
            shard.drop_if_unused(session);
        });
    }
}

impl Engine {
    /// Makes a descriptor for the program whose other end is this channel. The bridge is one more handle of the
    /// session, and releases the channel when it ends.
    pub(crate) fn bridge(
        self: &Arc<Self>,
        session: SessionId,
        channel: ChannelId,
        kind: DescriptorKind,
    ) -> Result<OwnedFd> {
        self.check_process()?;
        let (theirs, socket) = local_pair(kind)?;
        self.change(|shard, now| {
            shard.node.session_share(now, session)?;
            let hub = shard.hub(session);
            hub.handles += 1;
            hub.bridges += 1;
            Ok(())
        })?;
        self.post(Command::Bridge(Box::new(Bridge {
            socket,
            session,
            channel,
            outbound: Bytes::new(),
            inbound: Bytes::new(),
            has_sent_all: false,
            has_received_all: false,
            is_unheard: false,
            has_dropped: false,
        })));
        Ok(theirs)
    }
}
