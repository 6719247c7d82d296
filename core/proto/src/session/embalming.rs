//! A session that is kept past its TTL, because one of its ends comes and goes (C5, C6).
//!
//! Channels and calls stay as they are, in memory; the peer's objects are put aside when the hold ends. Invariants: an
//! embalmed session has no link; it is brought back by the attach of one, and by nothing else.

use super::Session;
use crate::error::{Code, Error};
use crate::id::LinkId;
use crate::io::SessionState;
use crate::time::Instant;

impl Session {
    /// Whether the end of its lease embalms it. A close that waits is told that nobody is there.
    pub(super) fn may_be_embalmed(&self) -> bool {
        self.attached
            && self.liveness.volatile
            && !self.liveness.span.is_zero()
            && matches!(self.state, SessionState::Live | SessionState::Suspended | SessionState::Reviving)
    }

    /// Whether it waits for contact beyond its lease.
    pub(crate) fn may_wait(&self) -> bool {
        self.embalmed_until.is_some() || self.may_be_embalmed()
    }

    /// When it is too late for contact to come back, or to be the same to it.
    pub(crate) fn contact_needed_by(&self) -> Instant {
        self.embalmed_until.unwrap_or_else(|| self.liveness.lease_end())
    }

    /// This end's lease ended: what it believed of the peer counts no more, what it has to say stays.
    pub(super) fn embalm(&mut self, now: Instant) {
        let why = format!("session with {}: its contact is lost, it is embalmed", self.peer);
        let links: Vec<LinkId> = self.links.keys().collect();
        for id in links {
            self.drop_link(id, Error::new(Code::LinkFailed, why.clone()), true);
        }
        self.embalmed_until = Some(now + self.liveness.span);
        self.set_state(SessionState::Embalmed, "no sign of life came back within its TTL");
    }

    /// Contact is back.
    pub(super) fn bring_back(&mut self, now: Instant) {
        if self.embalmed_until.take().is_none() {
            return;
        }
        if self.state == SessionState::Embalmed {
            self.set_state(SessionState::Reviving, "a link attached");
            self.objects.bring_back(now);
            self.settle_objects();
        }
    }

    /// Nobody came back in time.
    pub(super) fn check_embalming(&mut self, now: Instant) {
        if self.embalmed_until.is_some_and(|until| until <= now) {
            let kept = self.liveness.span.as_secs();
            let what =
                format!("session with {}: it was embalmed for {kept} s, and nobody came back", self.peer);
            self.lose(Error::new(Code::Lost, what));
        }
    }

    /// There is no room to keep it any longer.
    pub(crate) fn evict(&mut self, what: &str) {
        let text = format!("session with {}: embalmed, and given up for a newer one: {what}", self.peer);
        self.lose(Error::new(Code::Limit, text));
    }

    /// When the peer's objects are put aside or swept.
    pub(super) fn hold_due(&self) -> Instant {
        let is_done = self.swept || !self.attached || self.objects.is_aside() && !self.state.is_final();
        if is_done { Instant::NEVER } else { self.liveness.hold_end() }
    }

    /// Bytes that it is kept as.
    pub(crate) fn embalmed_bytes(&self) -> u64 {
        self.buffered() + self.objects.kept_bytes()
    }
}
