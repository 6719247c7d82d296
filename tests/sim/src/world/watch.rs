//! What nodes say, held against the ledgers: sessions, loss reports, who sweeps when, and numbers now and then.

use super::{Phase, Pid, World};
use crate::checker::flows::FlowKey;
use crate::checker::reports::{Known, Reports};
use crate::checker::sessions::View;
use crate::checker::{Verdict, ensure};
use crate::plan::Plan;
use crate::toy::ToyHash;
use clerver_proto::crypto::KeyedHash;
use clerver_proto::id::{CONTROL, ChannelId, NodeId, ObjectId, SessionId, Sid};
use clerver_proto::limits::{CONTROL_WINDOW_BYTES, FRAME_BYTES_MAX};
use clerver_proto::node::{Event, LossReport, ObjectAction, SessionEvent, SessionState};

/// Channels that this end opened are bounded by what its peer takes, at most this many.
const PEER_CHANNELS: usize = 1024;

/// The name of a session in the ledgers. A clone draws the random numbers of its original again, so that two pairs
/// of nodes may come to use one sid; what is theirs must not be mixed up.
fn ledger_sid(sid: Sid, one: NodeId, two: NodeId) -> Sid {
    let (low, high) = (one.min(two), one.max(two));
    let parts = [&sid.0[..], &low.host.0, &low.process.0, &high.host.0, &high.process.0];
    let wide = ToyHash.keyed_hash(&[0; 32], &parts);
    Sid(std::array::from_fn(|index| wide[index]))
}

impl World {
    /// An event of a node: looked at first, then told to the application.
    pub(super) fn event(&mut self, pid: Pid, event: Event) -> Verdict {
        let slot = self.procs[pid].slot;
        match &event {
            Event::Connected { session, .. } => {
                self.tally(slot, "connected");
                self.meet(pid, *session)?;
            }
            Event::Accepted { session, .. } => {
                self.tally(slot, "accepted");
                self.meet(pid, *session)?;
            }
            Event::ConnectFailed { why, .. } => self.tally(slot, Plan::tally_of("connect_failed", why.code)),
            Event::Refused { why, .. } => self.tally(slot, Plan::tally_of("refused", why.code)),
            Event::OwnIdElsewhere { .. } => self.tally(slot, "own_id_elsewhere"),
            Event::Session { session, event } => {
                self.meet(pid, *session)?;
                self.check.sessions.event(pid, *session, event, self.now)?;
                self.watch_session(pid, *session, event)?;
            }
            Event::Forgotten { session } => {
                let living = self.check.objects.living(pid, *session);
                ensure!(
                    living == 0,
                    I8,
                    "process {pid} forgot session {session} with {living} objects alive"
                );
            }
            Event::AddressFailed { why, .. } => self.tally(slot, Plan::tally_of("address_failed", why.code)),
            Event::DialRetry { .. } | Event::Notice { .. } | Event::Restored { .. } => {}
        }
        self.react(pid, event)
    }

    /// The first time that a process speaks of a session.
    fn meet(&mut self, pid: Pid, session: SessionId) -> Verdict {
        if self.check.sessions.get(pid, session).is_some() {
            return Ok(());
        }
        let Some(info) = self.ask(pid, |node| node.session_info(session)) else { return Ok(()) };
        let view = View {
            sid: ledger_sid(info.sid, self.procs[pid].id, info.peer),
            on_wire: info.sid,
            peer: info.peer,
            arbiter: self.procs[pid].id < info.peer,
            state: SessionState::Registering,
            certain: false,
            reported: false,
            moved: false,
            closed_here: false,
            final_at: None,
            knew_at: None,
            was_embalmed: false,
        };
        self.check.sessions.appear(pid, session, view)
    }

    fn watch_session(&mut self, pid: Pid, session: SessionId, event: &SessionEvent) -> Verdict {
        let slot = self.procs[pid].slot;
        match event {
            SessionEvent::State { to, why, .. } => {
                self.tally(slot, to.name());
                if *to == SessionState::Lost {
                    self.may_be_lost(pid, session, why)?;
                }
            }
            SessionEvent::Lost(report) => {
                self.tally(slot, Plan::tally_of("lost", report.cause.code));
                self.check_report(pid, session, report)?;
            }
            SessionEvent::Closed(report) => {
                self.tally(slot, "closed report");
                self.check_report(pid, session, report)?;
            }
            SessionEvent::LinkAttached { link, address, .. } => {
                self.tally(slot, "attached");
                if let Some(address) = address {
                    self.tally(slot, format!("attached {address}"));
                }
                self.procs[pid].sessions_of_links.insert(*link, session);
            }
            SessionEvent::ObjectAction { object, action, .. } => {
                let name = format!("{action:?}").to_lowercase();
                self.tally(slot, name);
                self.watch_action(pid, session, *object, *action)?;
            }
            SessionEvent::ObjectStuck { .. } => self.tally(slot, "stuck"),
            SessionEvent::ObjectEnded { code, .. } => self.tally(slot, Plan::tally_of("object_ended", *code)),
            SessionEvent::PeerDrains => self.tally(slot, "peer drains"),
            SessionEvent::PeerAddresses(_) => self.tally(slot, "peer addresses"),
            SessionEvent::MoveBegan { cause, .. } => self.tally(slot, format!("moves {cause:?}")),
            SessionEvent::MoveFailed { .. } => self.tally(slot, "move failed"),
            SessionEvent::PeerMoves { cause } => self.tally(slot, format!("peer moves {cause:?}")),
            _ => {}
        }
        Ok(())
    }

    /// Nothing is lost without a cause (I2).
    fn may_be_lost(&self, pid: Pid, session: SessionId, why: &str) -> Verdict {
        ensure!(
            !self.plan.lossless || self.phase == Phase::Closing,
            I2,
            "process {pid} lost session {session} in a run that gives no cause: {why}"
        );
        ensure!(
            self.now < self.settled,
            I2,
            "process {pid} lost session {session} long after all faults were healed: {why}"
        );
        ensure!(
            !self.to_close.contains(&(pid, session)),
            I2,
            "process {pid} lost session {session} while it was closed in good order: {why}"
        );
        Ok(())
    }

    fn flow(view: &View, channel: ChannelId) -> (FlowKey, FlowKey) {
        let mine = FlowKey { sid: view.sid, channel, by_arbiter: view.arbiter };
        (mine, FlowKey { by_arbiter: !view.arbiter, ..mine })
    }

    /// The report of a session's end (X6).
    fn check_report(&mut self, pid: Pid, session: SessionId, report: &LossReport) -> Verdict {
        let Some(view) = self.check.sessions.get(pid, session).cloned() else { return Ok(()) };
        for row in report.channels.iter().filter(|row| row.channel != CONTROL) {
            let (mine, theirs) = World::flow(&view, row.channel);
            let written = self.check.flows.written(mine, pid);
            let taken = self.check.flows.reading(theirs, pid).bytes;
            self.check.reports.check(pid, mine, row, Known { written, taken })?;
        }
        let cloned = self.is_clone(pid);
        for (call, outcome) in report.calls.iter().filter(|_| !cloned) {
            self.check.calls.reported(view.sid, *call, *outcome)?;
        }
        let Some(known) = self.procs[pid].app.sessions.get(&session) else { return Ok(()) };
        if view.state != SessionState::Lost {
            return Ok(());
        }
        for (channel, _) in known.channels.iter().filter(|(_, chan)| chan.write.is_some()) {
            ensure!(
                report.channels.iter().any(|row| row.channel == *channel),
                I3,
                "process {pid} was still writing to channel {channel}, and the report of its loss leaves it out"
            );
        }
        Ok(())
    }

    /// An object's end begins: once, beside nobody, and not before its owner knows (I7, I8).
    fn watch_action(
        &mut self,
        pid: Pid,
        session: SessionId,
        object: ObjectId,
        action: ObjectAction,
    ) -> Verdict {
        let Some(view) = self.check.sessions.get(pid, session).cloned() else { return Ok(()) };
        let over = view.state.is_final() || view.state == SessionState::Embalmed;
        let first_end = self
            .check
            .objects
            .get(pid, session, object)
            .is_none_or(|known| known.life == crate::checker::objects::Life::Alive);
        self.check.objects.action((pid, session, object), action, over)?;
        if !first_end || !matches!(action, ObjectAction::Destroy | ObjectAction::Embalm) || view.closed_here {
            return Ok(());
        }
        let Some(known) = self.check.objects.get(pid, session, object).cloned() else { return Ok(()) };
        let window = 3 * self.plan.ttl_most();
        let holder_slot = self.procs[pid].slot;
        for (owner, theirs) in self.check.sessions.others(view.sid, view.arbiter) {
            let process = &self.procs[owner];
            let away = process.node.is_none() || process.stops > 0;
            if away || !self.is_steady(holder_slot, window) || !self.is_steady(process.slot, window) {
                continue;
            }
            let knows = self
                .check
                .sessions
                .get(owner, theirs)
                .is_some_and(|end| end.knew_at.is_some() || end.was_embalmed);
            let told = known.own_ttl && (known.owner_told || !known.known);
            let apart = self.apart.contains(&(holder_slot.min(process.slot), holder_slot.max(process.slot)));
            ensure!(
                knows || told || known.asked || known.doomed || apart,
                I7,
                "process {pid} shall {action:?} object {object} of session {session}, and its owner, process {owner}, \
                 believes that the session is {}",
                self.check.sessions.get(owner, theirs).map_or("gone", |end| end.state.name())
            );
        }
        Ok(())
    }

    /// Now and then looks at numbers that must be true at every moment (I3, I5, I6).
    pub(super) fn sample(&mut self, pid: Pid) -> Verdict {
        if !self.sampling.percent(10) {
            return Ok(());
        }
        self.check_memory(pid)?;
        let sessions = &self.procs[pid].app.sessions;
        if sessions.is_empty() {
            return Ok(());
        }
        let nth = self.sampling.below(sessions.len() as u64) as usize;
        let Some((&session, known)) = sessions.iter().nth(nth) else { return Ok(()) };
        if let Some(info) = self.ask(pid, |node| node.session_info(session)) {
            let limits = &self.plan.nodes[self.procs[pid].slot].options.limits;
            let (budget, channels) = (limits.budget_bytes, 2 * limits.channels_max as usize + 1);
            ensure!(
                info.outstanding <= budget && info.channels <= channels + PEER_CHANNELS,
                I6,
                "process {pid} has {} bytes outstanding of {budget}, and {} channels",
                info.outstanding,
                info.channels
            );
        }
        if known.channels.is_empty() {
            return Ok(());
        }
        let nth = self.sampling.below(known.channels.len() as u64) as usize;
        let Some((&channel, _)) = known.channels.iter().nth(nth) else { return Ok(()) };
        self.compare(pid, session, channel)
    }

    fn compare(&mut self, pid: Pid, session: SessionId, channel: ChannelId) -> Verdict {
        let Some(view) = self.check.sessions.get(pid, session).cloned() else { return Ok(()) };
        let Some(report) = self.ask(pid, |node| node.channel_report(session, channel)) else { return Ok(()) };
        let (mine, theirs) = World::flow(&view, channel);
        let known = Known {
            written: self.check.flows.written(mine, pid),
            taken: self.check.flows.reading(theirs, pid).bytes,
        };
        self.check.reports.check(pid, mine, &report, known)?;
        let others = self.check.sessions.others(view.sid, view.arbiter);
        let [(other, other_session)] = others.as_slice() else { return Ok(()) };
        let lost = self
            .check
            .sessions
            .get(*other, *other_session)
            .is_none_or(|view| view.state == SessionState::Lost);
        let broken = self.check.flows.is_broken(mine) || self.check.flows.is_broken(theirs);
        let frozen = |pid: Pid, session: SessionId| {
            self.procs[pid].app.sessions.get(&session).is_none_or(|known| known.frozen)
        };
        let old = frozen(pid, session) || frozen(*other, *other_session);
        if lost || broken || old || view.state == SessionState::Lost {
            return Ok(());
        }
        let Some(peer) = self.ask(*other, |node| node.channel_report(*other_session, channel)) else {
            return Ok(());
        };
        Reports::compare(channel, &report, &peer)?;
        Reports::compare(channel, &peer, &report)
    }

    /// What a node keeps is within what its limits allow (I6).
    fn check_memory(&self, pid: Pid) -> Verdict {
        let Some(node) = self.procs[pid].node.as_ref() else { return Ok(()) };
        let counters = node.counters();
        let budget = self.plan.nodes.iter().map(|node| node.options.limits.budget_bytes).max().unwrap_or(0);
        let per_session = 2 * budget + 4 * CONTROL_WINDOW_BYTES;
        let most = counters.sessions * per_session + counters.links * 2 * FRAME_BYTES_MAX as u64 + (1 << 20);
        ensure!(
            counters.buffered <= most,
            I6,
            "process {pid} keeps {} bytes for {} sessions, at most {most} are allowed",
            counters.buffered,
            counters.sessions
        );
        let links = self.procs[pid].links.len() as u64;
        ensure!(
            counters.links <= links,
            I6,
            "process {pid} counts {} links, {links} are there: dead ones are kept",
            counters.links
        );
        Ok(())
    }
}
