//! The applications: what they do when their node says something, each after a time to think.
//!
//! An application sees only what the typed methods and events of its node show, as a program would. It never acts
//! inside an event: it puts a [`Job`] on the heap. What it does is entered into the checker's ledgers.

mod calls;
mod channels;
mod ending;
pub(crate) mod goals;
mod objects;

pub(crate) use calls::STUCK;

use crate::checker::Verdict;
use crate::plan::Service;
use crate::world::{Pid, World};
use clerver_proto::id::{ChannelId, ConnectorId, ObjectId, SessionId, Sid};
use clerver_proto::node::{Event, ObjectAction, SessionEvent, SessionState};
use std::collections::BTreeMap;

/// Something an application will do.
#[derive(Debug, Clone)]
pub(crate) enum Job {
    Connect(usize),
    Start(usize, SessionId),
    Accept(SessionId),
    Read(SessionId, ChannelId),
    Write(SessionId, ChannelId),
    Release(SessionId, ChannelId),
    StartCall(usize, SessionId),
    ReadCall(SessionId, ChannelId),
    CancelCall(SessionId, ChannelId),
    Reply(SessionId, ChannelId),
    Finish(SessionId, ChannelId),
    Attach(usize, SessionId),
    Owner(OwnerDoes, SessionId, ObjectId),
    EndObject(SessionId, ObjectId),
    Enter(SessionId, ObjectId),
    Leave(SessionId, ObjectId),
    ObjectDone(SessionId, ObjectId, ObjectAction, bool),
    Revive { from: SessionId, object: ObjectId, to: SessionId },
    Close(SessionId, u64),
    WindDown(SessionId),
}

impl Job {
    /// Whether an idle application does it too: it ends what runs and reads what is there, and begins nothing.
    pub(crate) fn is_passive(&self) -> bool {
        matches!(
            self,
            Job::Accept(_)
                | Job::Read(..)
                | Job::Release(..)
                | Job::ReadCall(..)
                | Job::Finish(..)
                | Job::Leave(..)
                | Job::ObjectDone(..)
                | Job::Close(..)
                | Job::WindDown(_)
        )
    }
}

/// What an owner does with an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OwnerDoes {
    Touch,
    Update,
    Release,
}

/// What is still to be written to a channel.
#[derive(Debug, Clone)]
pub(crate) struct Writer {
    /// Messages, or bytes of a stream.
    pub left: u64,
    /// Content position, length, and since when it is wanted.
    pub next: Option<(usize, usize, u64)>,
}

/// One channel of an application.
#[derive(Debug, Clone)]
pub(crate) struct Chan {
    pub goal: usize,
    pub run: u32,
    pub opener: bool,
    pub stream: bool,
    pub write: Option<Writer>,
    /// The end was not read yet.
    pub reading: bool,
    /// A read is on the heap.
    pub read_soon: bool,
    /// Not read because the application reads nothing at the moment.
    pub parked: bool,
    /// Is not read before this time.
    pub not_before: u64,
}

/// A call that waits for its outcome.
#[derive(Debug, Clone)]
pub(crate) struct Calling {
    pub goal: usize,
    pub run: u32,
    pub service: Service,
    /// A deadline or a cancellation may end it.
    pub may_fail: bool,
}

/// A running handler.
#[derive(Debug, Clone)]
pub(crate) struct Handler {
    pub service: Service,
    pub replies: u32,
    pub size: usize,
    pub cancelled: bool,
    /// There was no room for its reply.
    pub waiting: bool,
}

/// One session of an application.
#[derive(Debug, Clone)]
pub(crate) struct Sess {
    /// Address of the peer.
    pub slot: usize,
    pub sid: Sid,
    /// This end is the arbiter.
    pub arbiter: bool,
    pub handles: u32,
    /// Its goals were started.
    pub begun: bool,
    /// Taken over from a snapshot: the application neither writes here nor starts anything.
    pub frozen: bool,
    /// Closed here: reads and writes no more.
    pub closing: bool,
    pub over: bool,
    pub channels: BTreeMap<ChannelId, Chan>,
    pub calls: BTreeMap<ChannelId, Calling>,
    pub running: BTreeMap<ChannelId, Handler>,
    /// Objects held here, with the goal they serve.
    pub held: BTreeMap<ObjectId, usize>,
    /// Goals that wait until a channel can be opened, or a call started.
    pub waiting: Vec<Job>,
    /// It waits to be told that the peer holds everything.
    pub asks_delivered: bool,
}

/// One application.
#[derive(Debug, Clone, Default)]
pub(crate) struct App {
    pub sessions: BTreeMap<SessionId, Sess>,
    pub connectors: BTreeMap<ConnectorId, usize>,
    /// How many faults keep it from reading.
    pub paused: u32,
}

impl App {
    /// What a snapshot begins on its own: nothing.
    pub(crate) fn freeze(&mut self) {
        for session in self.sessions.values_mut() {
            session.frozen = true;
            session.waiting.clear();
        }
    }

    /// Channels that were not read while the application did not read.
    pub(crate) fn unread(&self) -> impl Iterator<Item = (SessionId, ChannelId)> {
        self.sessions.iter().flat_map(|(session, known)| {
            let parked = known.channels.iter().filter(|(_, chan)| chan.parked);
            parked.map(move |(channel, _)| (*session, *channel))
        })
    }
}

impl World {
    /// A session of this application, unless it is gone.
    pub(crate) fn sess(&mut self, pid: Pid, session: SessionId) -> Option<&mut Sess> {
        self.procs[pid].app.sessions.get_mut(&session)
    }

    pub(crate) fn chan(&mut self, pid: Pid, session: SessionId, channel: ChannelId) -> Option<&mut Chan> {
        self.sess(pid, session)?.channels.get_mut(&channel)
    }

    /// Time until an application reacts.
    pub(crate) fn think(&mut self, pid: Pid) -> u64 {
        let span = self.plan.nodes[self.procs[pid].slot].think;
        span.draw(&mut self.procs[pid].rng)
    }

    /// Puts a job on the heap after a time to think.
    pub(crate) fn soon(&mut self, pid: Pid, job: Job) {
        let after = self.think(pid);
        self.job(pid, after, job);
    }

    /// The application does something now.
    pub(crate) fn perform(&mut self, pid: Pid, job: Job) -> Verdict {
        match job {
            Job::Connect(goal) => self.do_connect(pid, goal),
            Job::Start(goal, session) => self.do_start(pid, goal, session),
            Job::Accept(session) => self.do_accept(pid, session),
            Job::Read(session, channel) => self.do_read(pid, session, channel),
            Job::Write(session, channel) => self.do_write(pid, session, channel),
            Job::Release(session, channel) => self.do_release(pid, session, channel),
            Job::StartCall(goal, session) => self.do_start_call(pid, goal, session),
            Job::ReadCall(session, call) => self.do_read_call(pid, session, call),
            Job::CancelCall(session, call) => self.do_cancel_call(pid, session, call),
            Job::Reply(session, call) => self.do_reply(pid, session, call),
            Job::Finish(session, call) => self.do_finish(pid, session, call),
            Job::Attach(goal, session) => self.do_attach(pid, goal, session),
            Job::Owner(does, session, object) => self.do_owner(pid, does, session, object),
            Job::EndObject(session, object) => self.do_end_object(pid, session, object),
            Job::Enter(session, object) => self.do_enter(pid, session, object),
            Job::Leave(session, object) => self.do_leave(pid, session, object),
            Job::ObjectDone(session, object, action, ok) => self.do_done(pid, session, object, action, ok),
            Job::Revive { from, object, to } => self.do_revive(pid, from, object, to),
            Job::Close(session, timeout) => self.do_close(pid, session, timeout),
            Job::WindDown(session) => self.do_wind_down(pid, session),
        }
    }

    /// The node said something.
    pub(crate) fn react(&mut self, pid: Pid, event: Event) -> Verdict {
        match event {
            Event::Connected { connector, session, .. } => {
                self.know(pid, session);
                self.connected(pid, connector);
                if let Some(known) = self.sess(pid, session) {
                    known.handles += 1;
                }
                self.begin(pid, session);
            }
            Event::Accepted { session, .. } => {
                self.know(pid, session);
                if let Some(known) = self.sess(pid, session) {
                    known.handles += 1;
                }
                self.begin(pid, session);
            }
            Event::ConnectFailed { connector, .. } => self.connect_failed(pid, connector),
            Event::Session { session, event } => {
                self.know(pid, session);
                return self.react_to_session(pid, session, event);
            }
            Event::Forgotten { session } => {
                self.procs[pid].app.sessions.remove(&session);
            }
            _ => {}
        }
        Ok(())
    }

    fn react_to_session(&mut self, pid: Pid, session: SessionId, event: SessionEvent) -> Verdict {
        match event {
            SessionEvent::State { to: SessionState::Live, .. } => self.begin(pid, session),
            SessionEvent::State { to, .. } if to.is_final() => self.session_over(pid, session),
            SessionEvent::Opened(_) => self.soon(pid, Job::Accept(session)),
            SessionEvent::Readable(channel) => self.readable(pid, session, channel),
            SessionEvent::Writable(channel) => self.writable(pid, session, channel),
            SessionEvent::Openable => {
                let waiting = self.sess(pid, session).map(|known| std::mem::take(&mut known.waiting));
                waiting.into_iter().flatten().for_each(|job| self.soon(pid, job));
            }
            SessionEvent::LinkAttached { .. } => self.thaw(pid, session),
            SessionEvent::Delivered => return self.delivered(pid, session),
            SessionEvent::Call(request) => return self.called(pid, session, *request),
            SessionEvent::CallCancelled(call) => {
                if let Some(handler) = self.sess(pid, session).and_then(|known| known.running.get_mut(&call))
                {
                    handler.cancelled = true;
                }
            }
            SessionEvent::ObjectAttached { object, .. } => self.owned(pid, session, object),
            SessionEvent::ObjectEnded { object, .. } => self.owner_told(pid, session, object),
            SessionEvent::ObjectUpdated { object, data } => return self.updated(pid, session, object, &data),
            SessionEvent::ObjectRevived { object, from, was } => {
                return self.revived(pid, session, object, from, was);
            }
            SessionEvent::ObjectAction { object, action, kept, .. } => {
                return self.asked(pid, session, object, action, &kept);
            }
            SessionEvent::State { to: SessionState::Reviving, .. } => {
                self.check.objects.comes_back(pid, session);
            }
            _ => {}
        }
        Ok(())
    }
}
