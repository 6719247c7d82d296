//! The TLS handshake of one connection, dialled or accepted, until it is a link.
//!
//! It proves keys; whether the dialled name belongs to the key is asked of the trust store here, whether an
//! accepted peer is authorised is decided by the protocol. Invariants: nothing is read for TLS before the
//! first byte says TLS; every handshake has a deadline.

use super::command::Command;
use super::driver::{Driver, Timer};
use super::event::{LogLevel, NodeEvent};
use super::link::{Link, empty};
use super::seat::SLICE;
use super::sources::Source;
use super::workers::Task;
use super::{Engine, clock, descriptor};
use crate::tls::{HandshakeState, TlsLink};
use crate::trust::Pinned;
use clerver_proto::error::{Code, Error, Result};
use clerver_proto::id::{AttemptId, HostId, LinkId};
use clerver_proto::node::{Input, LinkInfo};
use clerver_proto::time::Instant;
use mio::unix::SourceFd;
use mio::{Interest, Token};
use std::io::{ErrorKind, Write};
use std::net::TcpStream;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::sync::Arc;
use std::time::Duration;

/// An accepted connection has to say something within this time.
pub(super) const FIRST_BYTE_TIME: Duration = Duration::from_secs(5);
/// The first byte of TLS.
const TLS_FIRST_BYTE: u8 = 0x16;

/// Where a connection came from.
pub(super) enum Origin {
    /// Dialled; `name` is what the user calls it, which is what gets pinned.
    Dialled { attempt: AttemptId, name: String, expected: Option<HostId> },
    /// Accepted by a listener that asks for a level.
    Accepted { level_min: u8, until: Instant },
}

/// See the module.
pub(super) struct Handshake {
    socket: TcpStream,
    tls: TlsLink,
    with: String,
    is_local: bool,
    origin: Origin,
    stage: Stage,
    unsent: Vec<u8>,
}

/// How far a connection is on its way to a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Accepted; it said nothing yet.
    Silent,
    /// It speaks TLS, and waits until fewer handshakes run.
    Ready,
    /// TLS.
    Running,
    /// TLS is done; the trust store is being asked.
    Checking(HostId, [u8; 32]),
}

impl AsRawFd for Handshake {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

enum Step {
    Wait,
    Done { peer: HostId, exporter: [u8; 32] },
}

impl Handshake {
    pub(super) fn new(
        socket: TcpStream,
        tls: TlsLink,
        with: String,
        is_local: bool,
        origin: Origin,
    ) -> Handshake {
        let stage = match origin {
            Origin::Dialled { .. } => Stage::Running,
            Origin::Accepted { .. } => Stage::Silent,
        };
        Handshake { socket, tls, with, is_local, origin, stage, unsent: Vec::new() }
    }

    pub(super) fn is_dialled(&self) -> bool {
        matches!(self.origin, Origin::Dialled { .. })
    }

    /// Whether a TLS handshake runs.
    pub(super) fn has_begun(&self) -> bool {
        matches!(self.stage, Stage::Running | Stage::Checking(..))
    }

    /// An accepted connection that spoke may go on; answers until when.
    pub(super) fn begin(&mut self) -> Option<Instant> {
        let Origin::Accepted { until, .. } = self.origin else { return None };
        self.stage = Stage::Running;
        Some(until)
    }

    fn advance(&mut self, cipher: &mut Vec<u8>) -> Result<Step> {
        loop {
            let result = self.tls.handshake();
            // Even after an error there may be an alert that tells the peer why.
            self.unsent.extend(self.tls.take_output());
            let is_sent = self.send();
            match (result?, is_sent?) {
                (HandshakeState::Done { peer, exporter }, true) => return Ok(Step::Done { peer, exporter }),
                (_, false) => return Ok(Step::Wait),
                (HandshakeState::InProgress, true) => {}
            }
            empty(cipher);
            match descriptor::receive(self.socket.as_fd(), cipher, false) {
                Ok(0) => self.tls.feed_end(),
                Ok(_) => self.tls.feed(cipher),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(Step::Wait),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(self.failed(&error)),
            }
        }
    }

    /// False while there is none.
    fn check_first_byte(&self) -> Result<bool> {
        let mut first = [0];
        let refuse =
            |what: &str| Err(Error::new(Code::Protocol, format!("connection from {}: {what}", self.with)));
        match self.socket.peek(&mut first) {
            Ok(0) => refuse("it was closed before it said anything"),
            Ok(_) if first[0] == TLS_FIRST_BYTE => Ok(true),
            Ok(_) if first[0].is_ascii_uppercase() => {
                refuse("it speaks HTTP, which this version does not serve")
            }
            Ok(_) => refuse("it does not speak TLS"),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => Ok(false),
            Err(error) => Err(self.failed(&error)),
        }
    }

    /// False when the socket is full.
    fn send(&mut self) -> Result<bool> {
        while !self.unsent.is_empty() {
            match (&self.socket).write(&self.unsent) {
                Ok(size) => drop(self.unsent.drain(..size)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(self.failed(&error)),
            }
        }
        Ok(true)
    }

    fn failed(&self, error: &std::io::Error) -> Error {
        Error::new(Code::LinkFailed, format!("TLS handshake with {}: {error}", self.with))
    }
}

impl Driver {
    /// Something happened at the socket of a handshake; `is_ended` when the peer says no more.
    pub(super) fn shake(&mut self, engine: &Arc<Engine>, token: usize, is_ended: bool) {
        let Some(Source::Handshake(handshake)) = self.sources.get_mut(token) else { return };
        match handshake.stage {
            // In a storm many wait for longer than they want to: what they said costs a millisecond to answer.
            Stage::Silent | Stage::Ready if is_ended => {
                let what = format!("TLS handshake with {}: it was closed before it began", handshake.with);
                let why = handshake.check_first_byte().err();
                let why = why.unwrap_or_else(|| Error::new(Code::LinkFailed, what));
                return self.handshake_failed(engine, token, why);
            }
            Stage::Silent => match handshake.check_first_byte() {
                Ok(true) => handshake.stage = Stage::Ready,
                Ok(false) => return,
                Err(why) => return self.handshake_failed(engine, token, why),
            },
            Stage::Running => {}
            Stage::Ready | Stage::Checking(..) => return,
        }
        if handshake.stage == Stage::Ready && !self.spoke(engine, token) {
            return;
        }
        let Some(Source::Handshake(handshake)) = self.sources.get_mut(token) else { return };
        match handshake.advance(&mut self.cipher) {
            Ok(Step::Wait) => {}
            Ok(Step::Done { peer, exporter }) => self.establish(engine, token, peer, exporter),
            Err(why) => self.handshake_failed(engine, token, why),
        }
    }

    pub(super) fn handshake_due(&mut self, token: usize) {
        let Some(engine) = self.sources.node_of(token) else { return };
        let Some(Source::Handshake(handshake)) = self.sources.get(token) else { return };
        let what = format!("TLS handshake with {}: it took too long", handshake.with);
        self.handshake_failed(&engine, token, Error::new(Code::Admission, what));
    }

    fn handshake_failed(&mut self, engine: &Arc<Engine>, token: usize, why: Error) {
        let Some(Source::Handshake(handshake)) = self.remove(token) else { return };
        match handshake.origin {
            Origin::Dialled { attempt, .. } => self.dial_step_failed(engine, attempt, token, why),
            Origin::Accepted { .. } => {
                engine.log(LogLevel::Info, || why.to_string());
                let was_admitted = !matches!(handshake.stage, Stage::Silent | Stage::Ready);
                self.left_door(engine, token, was_admitted);
            }
        }
    }

    fn establish(&mut self, engine: &Arc<Engine>, token: usize, peer: HostId, exporter: [u8; 32]) {
        let Some(Source::Handshake(handshake)) = self.sources.get_mut(token) else { return };
        let peer_is_local = handshake.is_local;
        match &handshake.origin {
            Origin::Dialled { name, expected, .. } => {
                let (name, expected) = (name.clone(), *expected);
                handshake.stage = Stage::Checking(peer, exporter);
                if let Some(result) = engine.check_dialled(token, name, expected, peer) {
                    self.checked(engine, token, result);
                }
            }
            Origin::Accepted { level_min, .. } => {
                let level_min = *level_min;
                let info = LinkInfo {
                    dialled: None,
                    peer,
                    exporter,
                    place: None,
                    peer_is_local,
                    pinned: false,
                    level_min,
                };
                self.become_link(engine, token, info);
            }
        }
    }

    /// The trust store answered.
    pub(super) fn checked(&mut self, engine: &Arc<Engine>, token: usize, result: Result<()>) {
        let Some(Source::Handshake(handshake)) = self.sources.get(token) else { return };
        let (Stage::Checking(peer, exporter), Origin::Dialled { attempt, name, .. }) =
            (handshake.stage, &handshake.origin)
        else {
            return;
        };
        let (dialled, peer_is_local) = (Some(*attempt), handshake.is_local);
        let place = handshake.socket.peer_addr().ok().map(|place| place.to_string());
        let place = place.filter(|place| place != name).map(Arc::from);
        match result {
            Ok(()) => {
                let info =
                    LinkInfo { dialled, peer, exporter, place, peer_is_local, pinned: true, level_min: 0 };
                self.become_link(engine, token, info);
            }
            Err(why) => self.handshake_failed(engine, token, why),
        }
    }

    fn become_link(&mut self, engine: &Arc<Engine>, token: usize, info: LinkInfo) {
        let Some((_, Source::Handshake(handshake))) = self.sources.remove(token) else { return };
        self.timers.clear(Timer::Handshake(token));
        let Handshake { socket, tls, with, .. } = *handshake;
        let fd = socket.as_raw_fd();
        let id = LinkId(token as u64);
        // A caller that reads the link itself waits in the receive; everybody else says that they do not wait.
        let blocks = socket.set_nonblocking(false).and_then(|()| socket.set_read_timeout(Some(SLICE)));
        if let Err(error) = blocks {
            engine.log(LogLevel::Error, || format!("set up the link with {with}: {error}"));
        }
        let link = Link::new(id, with, socket, tls, engine.beat(), clock::now());
        let link = Arc::new(if info.peer_is_local { link } else { link.leaving_this_machine() });
        if !info.peer_is_local {
            self.watch_network(engine);
        }
        // Watching for room is only worth its wake-ups while the socket is full.
        if let Err(error) =
            self.poll.registry().reregister(&mut SourceFd(&fd), Token(token), Interest::READABLE)
        {
            engine.log(LogLevel::Error, || format!("watch the link with {}: {error}", link.with));
        }
        self.sources.insert(engine, token, Source::Link(Arc::clone(&link)));
        match info.dialled {
            Some(attempt) => self.dial_done((engine.number, attempt), token),
            None => self.left_door(engine, token, true),
        }
        engine.with_shard(|shard, now, batch| {
            shard.links.insert(id, Arc::clone(&link));
            shard.input(now, Input::LinkUp { link: id, info: Box::new(info) }, batch);
            shard.input(now, Input::Writable { link: id, bytes: link.first_grant() }, batch);
        });
        self.read_first(engine, token);
    }
}

impl Engine {
    fn beat(&self) -> Duration {
        Duration::from_millis(self.settings.beat_ms)
    }

    /// Asks the trust store whether this host may answer under the name. What it knows without the disk is
    /// answered at once; otherwise `Command::Checked` follows, for a new name is written down.
    fn check_dialled(
        self: &Arc<Self>,
        token: usize,
        name: String,
        expected: Option<HostId>,
        peer: HostId,
    ) -> Option<Result<()>> {
        // Another thread may hold it for a disk write.
        let known = self.trust.try_lock().and_then(|trust| trust.check_known(&name, expected, peer));
        if let Some(result) = known {
            return Some(result.map(drop));
        }
        if self.settings.caller_driven {
            // There is no thread to ask; the program's loop waits for the disk.
            return Some(self.check_and_pin(name, expected, peer));
        }
        let engine = Arc::clone(self);
        let task = Task::chore(String::new(), move || {
            let result = engine.check_and_pin(name, expected, peer);
            engine.post(Command::Checked { token, result });
        });
        // Refused only when the node has closed.
        let _ = self.event_loop.resolvers.submit(task);
        None
    }

    fn check_and_pin(self: &Arc<Self>, name: String, expected: Option<HostId>, peer: HostId) -> Result<()> {
        let pinned = self.trust.lock().check_dial(&name, expected, peer)?;
        if pinned == Pinned::New {
            self.log(LogLevel::Warn, || format!("first contact with {name}: pinned to host {peer}"));
            let event = NodeEvent::Pinned { name, host: peer };
            self.with_shard(|shard, _, batch| shard.tell(event, batch));
        }
        Ok(())
    }
}
