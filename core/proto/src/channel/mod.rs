//! Channels: ordered, reliable, flow-controlled, two-way sequences of messages or bytes inside a session.
//!
//! A [`Channel`] joins its two halves, its header, its windows and its place in the session's budgets. It
//! knows neither links nor the session: the parent carries frames in and out. Invariants: bytes before `kept`
//! are held by the peer (I5); what the application takes is a prefix of what the peer's application wrote
//! (X3); what is granted is charged.

mod budget;
mod keep;
mod range_set;
mod receive;
mod send;

pub use budget::Budget;
pub use keep::Keep;
pub use range_set::RangeSet;
pub use receive::{ReceiveHalf, reset_error};
pub use send::{Delivery, Ending, Reset, SendHalf, Slice};

use crate::error::{Code, Error, Result};
use crate::id::ChannelId;
use crate::limits::{CHANNEL_WINDOW_BYTES_MAX, MESSAGE_PREFIX_BYTES_MAX, SLICE_BYTES_MIN, UNDONE_BYTES_MAX};
use crate::wire::codec::{malformed, peek_varint, put_varint, varint_len};
use crate::wire::header::{HEADER_BYTES_MAX, Header, Purpose};
use bytes::Bytes;

fn codec_error(what: String) -> Error {
    malformed(what)
}

/// What an application writes: a small piece is copied in any case, a large one is kept.
#[derive(Debug, Clone)]
pub enum Piece<'a> {
    /// Copied when there is room for it.
    Borrowed(&'a [u8]),
    /// Shared when it is large.
    Shared(Bytes),
}

impl Piece<'_> {
    /// Its length.
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        self.bytes().len()
    }

    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        match self {
            Piece::Borrowed(bytes) => bytes,
            Piece::Shared(bytes) => bytes,
        }
    }

    /// Only the first bytes of it.
    pub fn truncate(&mut self, len: usize) {
        match self {
            Piece::Borrowed(bytes) => *bytes = &bytes[..len],
            Piece::Shared(bytes) => bytes.truncate(len),
        }
    }

    fn into_shared(self) -> Bytes {
        match self {
            Piece::Borrowed(bytes) => Bytes::copy_from_slice(bytes),
            Piece::Shared(bytes) => bytes,
        }
    }
}

impl From<Bytes> for Piece<'_> {
    fn from(bytes: Bytes) -> Self {
        Piece::Shared(bytes)
    }
}

impl<'a> From<&'a [u8]> for Piece<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        Piece::Borrowed(bytes)
    }
}

/// Order in which channels may use a link (L5): the first kind goes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Class {
    /// Channel 0.
    Control,
    /// Calls.
    Call,
    /// Channels.
    Ordinary,
    /// Channels that yield to everything.
    Bulk,
}

impl Class {
    /// How many there are.
    pub const COUNT: usize = 4;
}

/// One channel at one end.
#[derive(Debug, Clone)]
pub struct Channel {
    /// Its id.
    pub id: ChannelId,
    /// Whether this end opened it.
    pub opened_here: bool,
    /// What it is for; of a channel that the peer opened, known once its header came.
    pub header: Option<Header>,
    /// What goes out.
    pub send: SendHalf,
    /// What comes in.
    pub receive: ReceiveHalf,
    /// The credit limit has to be told.
    pub credit_dirty: bool,
    /// STOP, and its code.
    pub stop: Option<(Code, Delivery)>,
    /// The application forgot it; it goes away when both directions are complete.
    pub released: bool,
    /// The application was told that something can be taken, and did not take everything since.
    pub readable_told: bool,
    /// It stands among those that have something to send.
    pub queued: bool,
    /// Of a stored channel, once this end stores it.
    pub keep: Option<Box<Keep>>,
    base: u64,
    window: u64,
    receive_charge: u64,
    send_charge: u64,
    /// End of the message that holds the receiving message slot.
    message_in: Option<u64>,
    /// End of the message that holds the sending message slot.
    message_out: Option<u64>,
    message_bytes_max: u64,
}

impl Channel {
    /// A channel; `limit` is what each end may send before it is told more, `message_bytes_max` what this end
    /// takes.
    pub fn new(id: ChannelId, opened_here: bool, limit: u64, message_bytes_max: u64) -> Channel {
        Channel {
            id,
            opened_here,
            header: None,
            send: SendHalf::new(limit),
            receive: ReceiveHalf::new(limit),
            credit_dirty: false,
            stop: None,
            released: false,
            readable_told: false,
            queued: false,
            keep: None,
            base: limit,
            window: limit,
            receive_charge: 0,
            send_charge: 0,
            message_in: None,
            message_out: None,
            message_bytes_max,
        }
    }

    /// Its place in the order of sending.
    pub fn class(&self) -> Class {
        match &self.header {
            None if self.id == crate::id::CONTROL => Class::Control,
            Some(Header { purpose: Purpose::Call { .. }, .. }) => Class::Call,
            Some(header) if header.bulk => Class::Bulk,
            _ => Class::Ordinary,
        }
    }

    /// Whether it carries bytes without boundaries.
    pub fn is_bytes(&self) -> bool {
        matches!(&self.header, Some(header) if header.purpose == Purpose::Bytes)
    }

    /// Whether it is a call.
    pub fn is_call(&self) -> bool {
        self.class() == Class::Call
    }

    /// Whether both directions are complete and nobody will ask again.
    pub fn is_over(&self) -> bool {
        let is_done = self.keep.as_ref().is_none_or(|keep| keep.is_done(&self.receive));
        self.released && self.send.is_complete() && self.receive.is_final() && is_done
    }

    /// Bytes of the peer that this end will not ask for again, whatever happens to it.
    pub fn held_for_good(&self) -> u64 {
        self.keep.as_ref().map_or(self.receive.held(), |keep| keep.held)
    }

    /// Nobody is there any more at the other end of it.
    pub fn give_up(&mut self, why: &Error) {
        self.send.give_up(why);
        self.receive.give_up(why.clone());
        self.stop = None;
    }

    // ---- writing ----

    /// Room for `len` bytes of one message (or of bytes, as many as fit): charges the budget, answers how
    /// many may be written now, 0 for none.
    pub fn make_room(&mut self, budget: &mut Budget, len: u64) -> u64 {
        let occupied = self.send.occupied();
        if occupied + len <= self.base {
            return len;
        }
        let ceiling = self.base + CHANNEL_WINDOW_BYTES_MAX;
        if self.is_bytes() {
            let wanted = (occupied + len).min(ceiling).saturating_sub(self.base);
            let target = wanted.max(self.send_charge);
            budget.charge(&mut self.send_charge, target);
            return (self.base + self.send_charge).saturating_sub(occupied).min(len);
        }
        let wanted = occupied + len - self.base;
        let extra = wanted.saturating_sub(self.send_charge);
        if self.message_out.is_none() && occupied + len <= ceiling && extra <= budget.free() {
            let target = wanted.max(self.send_charge);
            budget.charge(&mut self.send_charge, target);
            return len;
        }
        // What fits as soon as the peer holds what went before waits for that. The slot would make everything that
        // follows wait until the very end of this message is held.
        let fits_soon = occupied > 0 && len <= CHANNEL_WINDOW_BYTES_MAX;
        if !fits_soon && self.message_out.is_none() && budget.try_message(self.id) {
            self.message_out = Some(self.send.written() + len);
            return len;
        }
        0
    }

    /// Bytes of the peer's holding went out of memory: gives back what they were charged. Answers whether
    /// others that wait for the pool should try again.
    pub fn settle_sending(&mut self, budget: &mut Budget) -> bool {
        let mut freed = false;
        if self.message_out.is_some_and(|end| self.send.kept() >= end || self.send.occupied() == 0) {
            self.message_out = None;
            budget.release_message(self.id);
            freed = true;
        }
        let want = if self.message_out.is_some() {
            self.send_charge
        } else {
            self.send.occupied().saturating_sub(self.base).min(self.send_charge)
        };
        let was_tight = budget.free() < CHANNEL_WINDOW_BYTES_MAX;
        let before = self.send_charge;
        budget.charge(&mut self.send_charge, want);
        freed || (was_tight && self.send_charge < before)
    }

    // ---- reading ----

    /// Reads the header of a channel that the peer opened, once it is there.
    ///
    /// # Errors
    /// `PROTOCOL` when it makes no sense.
    pub fn read_header(&mut self) -> Result<bool> {
        if self.header.is_some() || self.opened_here {
            return Ok(false);
        }
        let mut joined = [0; 8];
        match Header::peek_len(self.receive.front(&mut joined))? {
            Some(len) if len <= HEADER_BYTES_MAX && self.receive.available() >= len as u64 => {
                self.header = Some(Header::decode(self.receive.take(len))?);
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    /// Puts a message with its length into the channel. Only within the room that was made for it.
    pub fn write_message(&mut self, message: Piece<'_>) {
        let prefix = varint_len(message.len() as u64);
        if message.len() < SLICE_BYTES_MIN {
            self.send.reserve(prefix + message.len());
        }
        self.send.write_with(|tail| put_varint(tail, message.len() as u64));
        self.send.write(message);
    }

    /// Length of the prefix and of the message that is next, once its prefix is there.
    fn next_message(&self) -> Result<Option<(u64, u64)>> {
        let mut joined = [0; MESSAGE_PREFIX_BYTES_MAX as usize];
        match peek_varint(self.receive.front(&mut joined)) {
            None => Ok(None),
            Some((len, prefix)) if len <= self.message_bytes_max => Ok(Some((prefix as u64, len))),
            Some((len, _)) => Err(Error::new(
                Code::Size,
                format!(
                    "receive on channel {}: a message of {len} bytes, at most {}",
                    self.id, self.message_bytes_max
                ),
            )),
        }
    }

    /// Whether [`Channel::take`] would answer something else than `AGAIN`.
    pub fn is_readable(&self) -> bool {
        if self.receive.is_discarded() {
            return false;
        }
        let ready = self.ready();
        let whole = if self.is_bytes() { ready > 0 } else { self.has_whole_message(ready) };
        whole || (self.receive.is_complete() && ready == self.receive.available())
    }

    /// Bytes that may be taken: of a stored channel, such as will be known to have been delivered before.
    fn ready(&self) -> u64 {
        let most = self.keep.as_ref().map_or(u64::MAX, |keep| keep.held);
        self.receive.available().min(most.saturating_sub(self.receive.consumed()))
    }

    /// Whether the next message is within so many bytes, or is one that must not come.
    fn has_whole_message(&self, available: u64) -> bool {
        match self.next_message() {
            Ok(Some((prefix, len))) => available >= prefix + len,
            Ok(None) => false,
            Err(_) => true,
        }
    }

    /// The next whole message, or up to `bytes_max` bytes; `None` when nothing is there yet.
    ///
    /// # Errors
    /// `END` after the last; the code of a RESET where it broke off.
    pub fn take(&mut self, bytes_max: usize) -> Result<Option<Bytes>> {
        let ready = self.ready();
        if self.is_bytes() {
            if ready > 0 {
                let most = usize::try_from(ready).unwrap_or(usize::MAX).min(bytes_max.max(1));
                return Ok(Some(self.receive.take_piece(most)));
            }
        } else if let Some((prefix, len)) = self.next_message()?
            && ready >= prefix + len
        {
            self.receive.skip(prefix as usize);
            return Ok(Some(self.receive.take(len as usize)));
        }
        if ready < self.receive.available() {
            return Ok(None);
        }
        if let Some(error) = self.receive.reset_error() {
            return Err(error.clone());
        }
        if self.receive.is_at_end() {
            return Err(Error::new(Code::End, format!("receive on channel {}: the peer ended it", self.id)));
        }
        Ok(None)
    }

    /// Raises the credit limit as far as the window and the budget allow; answers whose turn for the message
    /// slot it is when this channel gave it back.
    pub fn settle_receiving(&mut self, budget: &mut Budget) -> Option<ChannelId> {
        if self.receive.is_complete() && self.receive_charge == 0 && self.message_in.is_none() {
            let waits = self.receive.available() > 0;
            if !waits || self.is_bytes() || self.has_whole_message(self.receive.available()) {
                return None;
            }
        }
        let mut next = None;
        if self.receive.is_complete()
            && self.receive.available() > 0
            && !self.is_bytes()
            && !self.has_whole_message(self.receive.available())
        {
            // The rest of a message that will never be whole would hold the slot for ever.
            let what = format!("receive on channel {}: the peer ended it within a message", self.id);
            self.receive.cut_off(Error::new(Code::Protocol, what));
        }
        let nothing_left = self.receive.is_complete() && self.receive.available() == 0;
        if self.message_in.is_some_and(|end| self.receive.consumed() >= end) || nothing_left {
            self.message_in = None;
            next = budget.release_message(self.id);
        }
        let beyond = self.receive.outstanding().saturating_sub(self.base);
        let keep = self.receive_charge.min(beyond);
        budget.charge(&mut self.receive_charge, keep);
        if self.receive.is_complete() || self.message_in.is_some() {
            return next;
        }
        let (limit, taken, held) = (self.receive.limit(), self.receive.consumed(), self.receive.held());
        // At exactly half the next grant is due, after which less is never left.
        if limit.saturating_sub(held) <= self.window / 2 && taken + self.window > limit {
            self.window = (self.window * 2).min(self.base + CHANNEL_WINDOW_BYTES_MAX);
        }
        let message_end = self.message_end();
        let most = self.keep.as_ref().map_or(u64::MAX, |keep| keep.done + UNDONE_BYTES_MAX);
        let wish = (taken + self.window).max(message_end.unwrap_or(0)).min(most);
        if wish >= limit + self.window / 2 || message_end.is_some_and(|end| end > limit) {
            self.grant_up_to(wish, budget);
        }
        if message_end.is_some_and(|end| end > self.receive.limit() && taken <= most)
            && budget.take_message(self.id)
        {
            self.message_in = message_end;
            self.receive.grant(message_end.unwrap_or(0));
            self.credit_dirty = true;
        }
        next
    }

    /// Offset where the message ends that has begun to come and is longer than the window.
    fn message_end(&self) -> Option<u64> {
        if self.is_bytes() || self.header.is_none() && self.id != crate::id::CONTROL {
            return None;
        }
        match self.next_message() {
            Ok(Some((prefix, len))) => Some(self.receive.consumed() + prefix + len),
            _ => None,
        }
    }

    fn grant_up_to(&mut self, wish: u64, budget: &mut Budget) {
        let taken = self.receive.consumed();
        let base = taken + self.base;
        let most = base + CHANNEL_WINDOW_BYTES_MAX;
        let want = wish.min(most).saturating_sub(base).max(self.receive_charge);
        let charge = budget.charge(&mut self.receive_charge, want);
        let limit = wish.min(base + charge);
        if limit > self.receive.limit() {
            self.receive.grant(limit);
            self.credit_dirty = true;
        }
    }

    /// Gives back everything that is charged.
    pub fn uncharge(&mut self, sending: &mut Budget, receiving: &mut Budget) -> Option<ChannelId> {
        sending.charge(&mut self.send_charge, 0);
        sending.release_message(self.id);
        receiving.charge(&mut self.receive_charge, 0);
        receiving.release_message(self.id)
    }
}

#[cfg(test)]
mod tests;
