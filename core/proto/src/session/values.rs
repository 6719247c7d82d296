//! State frames (X1): values that are sent as they are now, not as they were.
//!
//! A part of [`Streams`]: which value waits to be told, and how it looks as a frame.

use super::link::Value;
use super::streams::Streams;
use crate::channel::Delivery;
use crate::wire::Frame;

impl Streams {
    pub(super) fn want_value(&mut self, value: Value) {
        self.values.insert(value);
    }

    /// The next state frame, with its current value; values of channels that are gone are skipped.
    pub(crate) fn next_value(&mut self) -> Option<(Value, Frame)> {
        if self.values.is_empty() {
            return None;
        }
        while let Some(value) = self.values.pop_first() {
            if let Some(frame) = self.value_frame(value) {
                return Some((value, frame));
            }
        }
        None
    }

    /// A state frame did not fit: it stays the next.
    pub(crate) fn unsend_value(&mut self, value: Value) {
        match value {
            Value::Reset(id) => {
                if let Some(channel) = self.channels.get_mut(id) {
                    channel.send.reset_delivery = Delivery::Wanted;
                }
            }
            Value::Stop(id) => {
                if let Some((_, delivery)) =
                    self.channels.get_mut(id).and_then(|channel| channel.stop.as_mut())
                {
                    *delivery = Delivery::Wanted;
                }
            }
            Value::Credit(_) | Value::ChannelCredit => {}
        }
        self.values.insert(value);
    }

    fn value_frame(&mut self, value: Value) -> Option<Frame> {
        match value {
            Value::ChannelCredit => Some(Frame::ChannelCredit { count: self.announced }),
            Value::Credit(id) => {
                let limit = self.channels.get(id)?.receive.limit();
                Some(Frame::Credit { channel: id, limit })
            }
            Value::Reset(id) => {
                let send = &mut self.channels.get_mut(id)?.send;
                let reset = send.reset_info()?.clone();
                send.reset_delivery = Delivery::InFlight;
                Some(Frame::Reset {
                    channel: id,
                    size: reset.size,
                    code: reset.code as u16,
                    text: reset.text,
                })
            }
            Value::Stop(id) => {
                let (code, delivery) = self.channels.get_mut(id)?.stop.as_mut()?;
                *delivery = Delivery::InFlight;
                Some(Frame::Stop { channel: id, code: *code as u16 })
            }
        }
    }
}
