//! What the application asks of a node: one typed method each.
//!
//! Every method that takes `now` is a command: it advances timers first and must be followed by a drain.
//! Those without are questions. An unknown session, channel or object is `HANDLE`.

use super::{
    CallOptions, ChannelOptions, ChannelReport, ConnectOptions, Incoming, Node, Outcome, OwnAddress, Parts,
    PeerAddress, ServiceOptions, SessionInfo, Trust,
};
use crate::channel::Piece;
use crate::error::{Code, Error, Result};
use crate::id::{ChannelId, ConnectorId, LinkId, SessionId};
use crate::limits::{ADDRESSES_MAX, SERVICES_MAX};
use crate::options::check_text;
use crate::session::{Service, Session};
use crate::time::Instant;
use bytes::Bytes;
use std::time::Duration;

pub(super) fn no_session(id: SessionId) -> Error {
    Error::new(Code::Handle, format!("session {id} is not known here"))
}

impl Node {
    pub(super) fn session(&self, id: SessionId) -> Result<&Session> {
        self.sessions
            .get(&id)
            .map(|session| &**session)
            .filter(|session| session.attached && !session.forgotten)
            .ok_or_else(|| no_session(id))
    }

    /// Begins a command on a session.
    pub(super) fn command(&mut self, now: Instant, id: SessionId) -> Result<&mut Session> {
        self.enter(now)?;
        self.known(id)
    }

    /// A command that only takes what came, or only writes: nothing has to be said to the world before it, and often
    /// nothing after it.
    fn undrained<R>(
        &mut self,
        now: Instant,
        id: SessionId,
        act: impl FnOnce(&mut Session) -> Result<R>,
    ) -> Result<R> {
        self.now = self.now.max(now);
        if self.next_timer() <= self.now {
            self.enter_undrained(now);
        }
        let session = self.sessions.get_mut(&id).filter(|session| session.attached && !session.forgotten);
        let session = session.ok_or_else(|| no_session(id))?;
        let result = act(session);
        if session.has_news() {
            (self.drained, self.wake_due) = (false, true);
            self.dirty.insert(id);
        }
        result
    }

    fn known(&mut self, id: SessionId) -> Result<&mut Session> {
        self.dirty.insert(id);
        self.sessions
            .get_mut(&id)
            .map(|session| &mut **session)
            .filter(|session| session.attached && !session.forgotten)
            .ok_or_else(|| no_session(id))
    }

    // ---- connecting and sessions ----

    /// Wishes a session with the node at these addresses. `Connected` or `ConnectFailed` follows.
    ///
    /// # Errors
    /// `ARG` for options out of range; `DRAINING`.
    pub fn connect(&mut self, now: Instant, options: ConnectOptions) -> Result<ConnectorId> {
        self.enter(now)?;
        options.check()?;
        if self.services.draining {
            let what = format!("connect to {}: this node drains", options.addresses.join(", "));
            return Err(Error::new(Code::Draining, what));
        }
        Ok(self.start_connector(options))
    }

    /// Takes the wish back; a session that it made lives on and is not redialled by it.
    ///
    /// # Errors
    /// `HANDLE` when it is gone already.
    pub fn connect_cancel(&mut self, now: Instant, connector: ConnectorId) -> Result<()> {
        self.enter(now)?;
        if self.cancel_connector(connector) {
            return Ok(());
        }
        Err(Error::new(Code::Handle, format!("connector {connector} is not known here")))
    }

    /// Sessions that the application may use, in order of their making.
    pub fn sessions(&self) -> Vec<SessionId> {
        let known = self.sessions.values().filter(|session| session.attached && !session.forgotten);
        known.map(|session| session.id).collect()
    }

    /// What is known of a session.
    ///
    /// # Errors
    /// `HANDLE`.
    pub fn session_info(&self, session: SessionId) -> Result<SessionInfo> {
        let session = self.session(session)?;
        Ok(SessionInfo {
            sid: session.sid,
            peer: session.peer,
            peer_host_name: session.about.host_name.clone(),
            peer_name: session.about.node_name.clone(),
            state: session.state,
            level: session.about.level,
            ttl: session.liveness.ttl,
            beat: session.liveness.beat,
            links: session.links.len(),
            links_total: session.links_total,
            round_trip: session.round_trip(),
            peer_drains: session.peer_drains,
            outstanding: session.outstanding(),
            channels: session.channel_ids().len(),
        })
    }

    /// The link of a session that has exactly one attached; `None` otherwise.
    pub fn lone_link(&self, session: SessionId) -> Option<LinkId> {
        let links = &self.sessions.get(&session)?.links;
        links.keys().next().filter(|_| links.len() == 1)
    }

    /// The links of a session that are attached.
    pub fn links_of(&self, session: SessionId) -> impl Iterator<Item = LinkId> {
        self.sessions.get(&session).into_iter().flat_map(|session| session.links.keys())
    }

    /// Where this node can be reached, from now on: each peer is told, of local addresses only those on this machine.
    ///
    /// # Errors
    /// `ARG` for more than 64, or one that is empty or too long; then nothing changes.
    pub fn set_addresses(&mut self, now: Instant, addresses: Vec<OwnAddress>) -> Result<()> {
        self.enter(now)?;
        if addresses.len() > ADDRESSES_MAX {
            let what = format!("announce {} addresses, at most {ADDRESSES_MAX} are allowed", addresses.len());
            return Err(Error::new(Code::Argument, what));
        }
        for own in &addresses {
            check_text("an announced address", &own.address)?;
            if own.address.is_empty() {
                return Err(Error::new(Code::Argument, "announce an address: it is empty"));
            }
        }
        if addresses == self.addresses {
            return Ok(());
        }
        self.addresses = addresses;
        let known: Vec<_> = self.sessions.iter().filter(|(_, session)| session.attached).collect();
        let known: Vec<_> = known.into_iter().map(|(id, session)| (id, session.about.is_local)).collect();
        for (id, is_local) in known {
            self.announce_to(id, is_local);
            self.dirty.insert(id);
        }
        Ok(())
    }

    /// Where this node can be reached, as it was said last.
    pub fn addresses(&self) -> &[OwnAddress] {
        &self.addresses
    }

    /// Where the peer of a session can be reached: what the application gave, then what the peer announced.
    ///
    /// # Errors
    /// `HANDLE`.
    pub fn session_addresses(&self, session: SessionId) -> Result<Vec<PeerAddress>> {
        let session = self.session(session)?;
        let routes = self.routes_of(session);
        Ok(routes.rows().map(|row| PeerAddress { is_in_use: session.uses(&row.address), ..row }).collect())
    }

    /// Moves the session to a new link: to this address first, or to any that no link uses. The old link goes once
    /// the new one is proven. `MoveBegan` follows, then `LinkAttached` or `MoveFailed`.
    ///
    /// # Errors
    /// `HANDLE`; `ARG`; `STATE` when this end knows no address of the peer; `CLOSED` or `LOST` when it ended.
    pub fn session_roam(&mut self, now: Instant, session: SessionId, to: Option<&str>) -> Result<()> {
        self.command(now, session)?.roam(to)
    }

    /// Asks the peer, which dials, to move the session: to this address of ours first, or to any other.
    ///
    /// # Errors
    /// `HANDLE`; `ARG`; `AGAIN` no room now; `CLOSED` or `LOST` when it ended.
    pub fn session_goto(&mut self, now: Instant, session: SessionId, to: Option<&str>) -> Result<()> {
        self.command(now, session)?.go_to(to)
    }

    /// One of the handles of a shared session is closed; the session closes with the last. What was written
    /// is still delivered, until `timeout`; what was not read is dropped.
    ///
    /// # Errors
    /// `HANDLE`.
    pub fn session_close(&mut self, now: Instant, session: SessionId, timeout: Duration) -> Result<()> {
        let now = self.now.max(now);
        let session = self.command(now, session)?;
        session.shares = session.shares.saturating_sub(1);
        if session.shares == 0 {
            session.close(now, timeout);
        }
        let id = session.id;
        self.settle(id)
    }

    /// One more handle of a session that is not over: it closes one later.
    ///
    /// # Errors
    /// `HANDLE`.
    pub fn session_share(&mut self, now: Instant, session: SessionId) -> Result<()> {
        self.command(now, session)?.shares += 1;
        Ok(())
    }

    /// Forgets an ended session, with everything that could still be read from it.
    ///
    /// # Errors
    /// `HANDLE`; `STATE` when it has not ended.
    pub fn session_forget(&mut self, now: Instant, session: SessionId) -> Result<()> {
        let session = self.command(now, session)?;
        if !session.state.is_final() {
            let what = format!("forget session {}: it is {}", session.id, session.state.name());
            return Err(Error::new(Code::State, what));
        }
        session.forget();
        Ok(())
    }

    /// From now on: no new sessions, channels and calls. Peers are told.
    ///
    /// # Errors
    /// `NOT_DRAINED`.
    pub fn drain(&mut self, now: Instant) -> Result<()> {
        self.enter(now)?;
        self.services.draining = true;
        for (id, session) in self.sessions.iter_mut() {
            session.drain();
            self.dirty.insert(id);
        }
        Ok(())
    }

    /// The process ends: the objects of all peers are swept now (T3 names this exception).
    ///
    /// # Errors
    /// `NOT_DRAINED`.
    pub fn sweep_all(&mut self, now: Instant) -> Result<()> {
        self.enter(now)?;
        for (id, session) in self.sessions.iter_mut() {
            session.sweep(self.now, Code::Closed, false);
            session.objects.end_embalmed(self.now, Code::Closed);
            session.settle_objects();
            self.dirty.insert(id);
        }
        Ok(())
    }

    /// Replaces levels and block list; sessions with hosts that are refused now end.
    ///
    /// # Errors
    /// `NOT_DRAINED`.
    pub fn set_trust(&mut self, now: Instant, trust: Trust) -> Result<()> {
        self.enter(now)?;
        for (id, session) in self.sessions.iter_mut() {
            let host = session.peer.host;
            let what = if trust.blocked.contains(&host) {
                Error::new(Code::Blocked, format!("session with host {host}: it is on the block list now"))
            } else if trust.levels.get(&host) == Some(&0) {
                Error::new(Code::Denied, format!("session with host {host}: its level is 0 now"))
            } else {
                continue;
            };
            session.lose(what);
            self.dirty.insert(id);
        }
        self.new_trust = Some(Box::new(trust));
        self.recheck_links();
        Ok(())
    }

    /// Trust changed: links whose host is not admitted any more end, and with them their sessions.
    fn recheck_links(&mut self) {
        let refused: Vec<_> =
            self.links.iter().filter_map(|(id, link)| Some((id, self.level_of(&link.info).err()?))).collect();
        for (id, why) in refused {
            let attached = self.links.get(&id).and_then(|link| link.session());
            match attached.and_then(|session| self.sessions.get_mut(&session)) {
                Some(session) => {
                    session.lose(why);
                    attached.into_iter().for_each(|session| self.dirty.insert(session));
                }
                None => self.refuse(id, why),
            }
        }
    }

    /// After a command that may have ended something: act on what the channels say.
    fn settle(&mut self, id: SessionId) -> Result<()> {
        match self.sessions.get_mut(&id) {
            Some(session) => session.settle(self.now, &self.services),
            None => Ok(()),
        }
    }

    // ---- channels ----

    /// Opens a channel to the peer.
    ///
    /// # Errors
    /// `CHANNELS` when the limit is reached (`Openable` follows); `DRAINING`; `CLOSED` or `LOST` when the
    /// session ends.
    pub fn channel_open(
        &mut self,
        now: Instant,
        session: SessionId,
        options: ChannelOptions,
    ) -> Result<ChannelId> {
        self.command(now, session)?.open(options)
    }

    /// The next channel that the peer opened.
    ///
    /// # Errors
    /// `AGAIN` when there is none; `CLOSED` or `LOST` when none will come.
    pub fn channel_accept(&mut self, now: Instant, session: SessionId) -> Result<Incoming> {
        self.command(now, session)?.accept()
    }

    /// Writes a message (all or `AGAIN`), or as many bytes as there is room for (at least one, or `AGAIN`);
    /// answers how many. What was written is delivered as long as the session is not lost.
    ///
    /// # Errors
    /// `AGAIN` (`Writable` follows); `SIZE`; `STOPPED` when the peer reads no more; `CLOSED` after the end.
    pub fn channel_send<'a>(
        &mut self,
        now: Instant,
        session: SessionId,
        channel: ChannelId,
        data: impl Into<Piece<'a>>,
    ) -> Result<usize> {
        self.undrained(now, session, |session| session.send(channel, data.into()))
    }

    /// Takes the next whole message, or up to `bytes_max` bytes; `None` when nothing is there yet (`Readable`
    /// follows).
    ///
    /// # Errors
    /// `END` after the last; the code of a reset, or `LOST`, where it
    /// broke off.
    pub fn channel_receive(
        &mut self,
        now: Instant,
        session: SessionId,
        channel: ChannelId,
        bytes_max: usize,
    ) -> Result<Option<Bytes>> {
        self.undrained(now, session, |session| session.receive(channel, bytes_max))
    }

    /// This end writes no more; what was written is still delivered.
    ///
    /// # Errors
    /// `HANDLE`.
    pub fn channel_end(&mut self, now: Instant, session: SessionId, channel: ChannelId) -> Result<()> {
        self.command(now, session)?.finish(channel)
    }

    /// This end writes no more, and what was not sent is dropped; the reader sees the code and the message.
    ///
    /// # Errors
    /// `HANDLE`.
    pub fn channel_reset(
        &mut self,
        now: Instant,
        session: SessionId,
        channel: ChannelId,
        why: Error,
    ) -> Result<()> {
        self.command(now, session)?.reset(channel, &why)
    }

    /// This end reads no more; the writer sees `STOPPED`.
    ///
    /// # Errors
    /// `HANDLE`.
    pub fn channel_stop(&mut self, now: Instant, session: SessionId, channel: ChannelId) -> Result<()> {
        self.command(now, session)?.stop(channel, Code::Stopped)
    }

    /// The application forgets the channel: what it wrote still goes, what it did not read is dropped.
    ///
    /// # Errors
    /// `HANDLE`.
    pub fn channel_release(&mut self, now: Instant, session: SessionId, channel: ChannelId) -> Result<()> {
        self.command(now, session)?.release(channel)
    }

    /// The counts of a channel (X6).
    ///
    /// # Errors
    /// `HANDLE`.
    pub fn channel_report(&self, session: SessionId, channel: ChannelId) -> Result<ChannelReport> {
        self.session(session)?.report_of(channel)
    }

    /// Channels of a session whose bytes the peer does not hold yet, released ones too: what a drain waits for.
    ///
    /// # Errors
    /// `HANDLE`.
    pub fn undelivered(&self, session: SessionId) -> Result<Vec<ChannelReport>> {
        self.session(session).map(Session::undelivered)
    }

    /// Whether the peer holds everything that was written. If not, `Delivered` follows once it does, unless the session
    /// ends before.
    ///
    /// # Errors
    /// `HANDLE`.
    pub fn session_drain(&mut self, now: Instant, session: SessionId) -> Result<bool> {
        self.command(now, session).map(Session::ask_delivered)
    }

    // ---- calls ----

    /// Calls a service of the peer. Replies are taken with `channel_receive`; `END` after the last one means
    /// that the reply is whole. `channel_release` when done.
    ///
    /// # Errors
    /// As `channel_open`; `AGAIN` and `SIZE` for the request.
    pub fn call_start<'r>(
        &mut self,
        now: Instant,
        session: SessionId,
        service: &str,
        request: impl Into<Piece<'r>>,
        options: CallOptions,
    ) -> Result<ChannelId> {
        let (now, request) = (self.now.max(now), request.into());
        self.command(now, session)?.call(now, service, request, options)
    }

    /// Takes what there is of a reply; answers whether that was the rest of it (`Readable` follows if not). Then,
    /// and after an error, the call is released.
    ///
    /// # Errors
    /// As `channel_receive`, but for `END`.
    pub fn call_take(
        &mut self,
        now: Instant,
        session: SessionId,
        call: ChannelId,
        parts: &mut Parts,
    ) -> Result<bool> {
        self.undrained(now, session, |session| session.take_reply(call, parts))
    }

    /// The caller gives up.
    ///
    /// # Errors
    /// `HANDLE`.
    pub fn call_cancel(&mut self, now: Instant, session: SessionId, call: ChannelId) -> Result<()> {
        let why = Error::new(Code::Cancelled, format!("call {call}: cancelled by its caller"));
        self.command(now, session)?.cancel(call, why)?;
        self.settle(session)
    }

    /// Whether the call was run, once `channel_receive` answered anything but a message or `AGAIN`.
    ///
    /// # Errors
    /// `HANDLE`; `AGAIN` when it is not known yet.
    pub fn call_outcome(&self, session: SessionId, call: ChannelId) -> Result<Outcome> {
        self.session(session)?.outcome(call)
    }

    /// Offers a service to peers; `Call` events follow.
    ///
    /// # Errors
    /// `ARG` for a name that is too long; `IN_USE`; `LIMIT`.
    pub fn service_register(&mut self, now: Instant, name: &str, options: ServiceOptions) -> Result<()> {
        self.enter(now)?;
        check_text("service name", name)?;
        if self.services.by_name.contains_key(name) {
            return Err(Error::new(Code::InUse, format!("register service {name}: the name is taken")));
        }
        if self.services.by_name.len() >= SERVICES_MAX {
            return Err(Error::new(Code::Limit, format!("register service {name}: {SERVICES_MAX} exist")));
        }
        self.services.by_name.insert(name.into(), Service { options });
        Ok(())
    }

    /// Offers a service no more; running calls go on.
    ///
    /// # Errors
    /// `NO_SERVICE`.
    pub fn service_remove(&mut self, now: Instant, name: &str) -> Result<()> {
        self.enter(now)?;
        match self.services.by_name.remove(name) {
            Some(_) => Ok(()),
            None => Err(Error::new(Code::NoService, format!("remove service {name}: it is not registered"))),
        }
    }

    /// Replies to a running call, once or (while not `last`) several times.
    ///
    /// # Errors
    /// `AGAIN` (`Writable` follows); `STOPPED` when the caller gave up; `HANDLE` for a call that is not
    /// running.
    pub fn call_reply(
        &mut self,
        now: Instant,
        session: SessionId,
        call: ChannelId,
        reply: Bytes,
        last: bool,
    ) -> Result<()> {
        self.command(now, session)?.reply(call, reply, last)
    }

    /// The whole reply of a running call whose handler returned: `call_reply` and `call_finished` in one. Answers
    /// false when the caller is gone and took no reply.
    ///
    /// # Errors
    /// `AGAIN` (`Writable` follows), and nothing happened; `HANDLE` for a call that is not running.
    pub fn call_answer(
        &mut self,
        now: Instant,
        session: SessionId,
        call: ChannelId,
        reply: Bytes,
    ) -> Result<bool> {
        self.enter(now)?;
        self.dirty.insert(session);
        let now = self.now;
        // A handler may outlive what the application remembers of its session.
        let known = self.sessions.get_mut(&session).ok_or_else(|| no_session(session))?;
        let replied = known.answer(now, call, reply)?;
        self.settle(session)?;
        Ok(replied)
    }

    /// A running call failed; its caller sees the code and the message.
    ///
    /// # Errors
    /// `HANDLE` for a call that is not running.
    pub fn call_fail(&mut self, now: Instant, session: SessionId, call: ChannelId, why: Error) -> Result<()> {
        self.command(now, session)?.fail_call(call, &why)
    }

    /// A call that a `Call` event handed out will not be run: its caller sees `not_run`. Takes the place of
    /// `call_finished`.
    ///
    /// # Errors
    /// `HANDLE` for a call that is not running.
    pub fn call_refuse(
        &mut self,
        now: Instant,
        session: SessionId,
        call: ChannelId,
        why: Error,
    ) -> Result<()> {
        let now = self.now.max(now);
        self.command(now, session)?.refuse_call(now, call, &why)
    }

    /// The handler returned and uses nothing of the session any more. Said exactly once per `Call` event.
    ///
    /// # Errors
    /// `HANDLE` for a call that is not running.
    pub fn call_finished(&mut self, now: Instant, session: SessionId, call: ChannelId) -> Result<()> {
        self.enter(now)?;
        self.dirty.insert(session);
        // A handler may outlive what the application remembers of its session.
        let known = self.sessions.get_mut(&session).ok_or_else(|| no_session(session))?;
        known.handler_finished(now, call)?;
        self.settle(session)
    }
}
