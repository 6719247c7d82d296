//! Channel 0: objects, close and drain, in order with each other (X1, O1 to O5).

use super::Session;
use crate::error::{Code, Error, Result};
use crate::id::{CONTROL, ChannelId, ObjectId};
use crate::io::{MoveCause, SessionEvent, SessionState};
use crate::limits::{CONTROL_BACKLOG_BYTES_MAX, OBJECTS_MAX};
use crate::object::{self, KindRules};
use crate::time::Instant;
use crate::wire::codec::malformed;
use crate::wire::control::Control;
use bytes::Bytes;
use std::time::Duration;

impl Session {
    /// Says something on channel 0, whatever its room: what this end itself says is bounded by its objects.
    pub(super) fn say(&mut self, control: &Control) {
        let message = control.encode();
        if let Some(channel) = self.streams.get_mut(CONTROL).filter(|channel| channel.send.is_open()) {
            channel.write_message(message.into());
        }
        self.streams.touch(CONTROL);
    }

    /// Says something that the application asked for, if there is room.
    pub(super) fn say_for_application(&mut self, doing: &str, control: &Control) -> Result<()> {
        if let Some(why) = &self.ended {
            return Err(Error::new(why.code, format!("{doing}: the session with {} ended", self.peer)));
        }
        let room = control.encode().len() as u64 + 4;
        if self.streams.make_room(CONTROL, room) == 0 {
            return Err(Error::new(Code::Again, format!("{doing}: no room on the control channel now")));
        }
        self.say(control);
        Ok(())
    }

    /// Reads what came on channel 0.
    pub(super) fn read_control(&mut self, now: Instant) -> Result<()> {
        loop {
            let Some(channel) = self.streams.get_mut(CONTROL) else { return Ok(()) };
            let message = match channel.take(0) {
                Ok(Some(message)) => message,
                Err(error) if error.code == Code::Size => return Err(malformed(error.message)),
                Ok(None) | Err(_) => return Ok(()),
            };
            self.streams.settle_taken(CONTROL);
            if let Some(control) = Control::decode(message)? {
                self.on_control(now, control)?;
            }
        }
    }

    fn on_control(&mut self, now: Instant, control: Control) -> Result<()> {
        // What lay behind a broken message is read when the session ends, and means nothing any more.
        if self.state.is_final() {
            return Ok(());
        }
        match control {
            Control::Close { channels, text, .. } => self.on_close(now, channels, &text),
            Control::Drain => {
                self.peer_drains = true;
                self.event(SessionEvent::PeerDrains);
            }
            Control::Addresses(addresses) => self.on_addresses(addresses),
            Control::GoTo(address) => self.on_go_to(now, &address),
            Control::Roam(cause) => {
                self.event(SessionEvent::PeerMoves { cause: MoveCause::from_number(cause) });
            }
            Control::Attached { object, kind, ttl_ms } => {
                if self.owned.len() >= OBJECTS_MAX {
                    return Err(malformed(format!(
                        "the peer keeps more than {OBJECTS_MAX} objects for this end"
                    )));
                }
                if ttl_ms > 0 {
                    // The first touch that is held tells from when on this end may believe.
                    self.owned.insert_unannounced(object, Duration::from_millis(ttl_ms), kind);
                    self.say_touch(now, object);
                } else {
                    self.owned.insert(object, None);
                    self.event(SessionEvent::ObjectAttached { object, kind });
                }
            }
            Control::Ended { object, code } => {
                let code = Code::from_number(code).unwrap_or(Code::Closed);
                if self.owned.remove(object) {
                    self.event(SessionEvent::ObjectEnded { object, code });
                }
            }
            // An object may have ended while its owner's word was on the way: that is no error.
            Control::Touch(object) => {
                let _ = self.objects.touch(now, object);
            }
            Control::Release(object) => {
                let _ = self.objects.end(now, object, Code::Closed);
            }
            Control::Update(object, data) => {
                if self.objects.update(object, data.clone()).is_ok() {
                    self.event(SessionEvent::ObjectUpdated { object, data });
                }
            }
        }
        Ok(())
    }

    // ---- at the holder ----

    pub(crate) fn object_attach(
        &mut self,
        now: Instant,
        kind: &str,
        rules: KindRules,
        ttl: Option<Duration>,
    ) -> Result<ObjectId> {
        self.takes_objects()?;
        let object = self.objects.attach(now, kind, rules, ttl)?;
        let ttl_ms = ttl.map_or(0, |ttl| u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX));
        self.say(&Control::Attached { object, kind: kind.to_owned(), ttl_ms });
        Ok(object)
    }

    /// Whether its peer may own more objects here.
    ///
    /// # Errors
    /// `POISONED` when it is over; `AGAIN` while it is embalmed, and while the peer reads nothing.
    pub(crate) fn takes_objects(&self) -> Result<()> {
        if self.state.is_final() {
            let what = format!("attach an object of {}: the session is over", self.peer);
            return Err(Error::new(Code::Poisoned, what));
        }
        if self
            .streams
            .get(CONTROL)
            .is_some_and(|control| control.send.occupied() > CONTROL_BACKLOG_BYTES_MAX)
        {
            let what =
                format!("attach an object of {}: the peer reads nothing of what it is told", self.peer);
            return Err(Error::new(Code::Again, what));
        }
        self.objects.takes_more()
    }

    /// Acts on what the objects ask for.
    pub(crate) fn settle_objects(&mut self) {
        while let Some(effect) = self.objects.poll() {
            match effect {
                object::Effect::Run { object, kind, action, kept } => {
                    self.event(SessionEvent::ObjectAction { object, kind, action, kept });
                }
                object::Effect::Stuck { object } => self.event(SessionEvent::ObjectStuck { object }),
                object::Effect::Ended { object, code } => {
                    if !self.state.is_final() {
                        self.say(&Control::Ended { object, code: code as u16 });
                    }
                }
                object::Effect::Revived { object, kind, rules, ttl, data } => {
                    self.revived.push_back((object, kind, rules, ttl, data));
                }
                object::Effect::AllEnded => {}
            }
        }
        if self.state == SessionState::Reviving {
            self.update_state("what was put aside is back");
        }
    }

    // ---- at the owner ----

    pub(crate) fn owner_touch(&mut self, now: Instant, object: ObjectId) -> Result<()> {
        self.check_owned(object)?;
        self.say_for_application("touch an object", &Control::Touch(object))?;
        self.note_touch(now, object);
        Ok(())
    }

    fn say_touch(&mut self, now: Instant, object: ObjectId) {
        self.say(&Control::Touch(object));
        self.note_touch(now, object);
    }

    fn note_touch(&mut self, now: Instant, object: ObjectId) {
        let held_at = self.streams.get(CONTROL).map_or(0, |control| control.send.written());
        self.owned.touched(now, held_at, object);
    }

    /// Touches that are held renew what this end may believe.
    pub(super) fn settle_touches(&mut self, now: Instant) {
        if !self.owned.has_touches() {
            return;
        }
        let held = self.streams.get(CONTROL).map_or(0, |control| control.send.kept());
        for (object, kind) in self.owned.on_held(now, held) {
            self.event(SessionEvent::ObjectAttached { object, kind });
        }
    }

    /// Objects whose own lease ended: the owner is told before the holder destroys (T2, O5).
    pub(super) fn expire_owned(&mut self, now: Instant) {
        while let Some((object, was_known)) = self.owned.pop_due(now) {
            if was_known {
                self.event(SessionEvent::ObjectEnded { object, code: Code::Timeout });
            }
            self.say(&Control::Release(object));
        }
    }

    pub(crate) fn owner_update(&mut self, object: ObjectId, data: Bytes) -> Result<()> {
        self.check_owned(object)?;
        let max = crate::limits::OBJECT_DATA_BYTES_MAX;
        if data.len() > max {
            let what = format!("update object {object}: {} bytes, at most {max} are allowed", data.len());
            return Err(Error::new(Code::Size, what));
        }
        self.say_for_application("update an object", &Control::Update(object, data))
    }

    pub(crate) fn owner_release(&mut self, object: ObjectId) -> Result<()> {
        self.check_owned(object)?;
        self.say_for_application("release an object", &Control::Release(object))
    }

    fn check_owned(&self, object: ObjectId) -> Result<()> {
        if self.owned.contains(object) {
            return Ok(());
        }
        let what = format!("object {object}: {} keeps no such object for this end", self.peer);
        Err(Error::new(Code::Handle, what))
    }

    /// This node drains: the peer is told once.
    pub(crate) fn drain(&mut self) {
        if !self.draining && !self.state.is_final() {
            self.draining = true;
            self.say(&Control::Drain);
        }
    }

    /// Channel ids, for counters.
    pub(crate) fn channel_ids(&self) -> Vec<ChannelId> {
        self.streams.ids()
    }
}
