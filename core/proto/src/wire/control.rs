//! Messages on channel 0: what must be in order with each other (X1).

use super::codec::{Reader, malformed, put_bytes, put_text, put_varint};
use crate::error::Result;
use crate::id::ObjectId;
use crate::limits::OBJECT_DATA_BYTES_MAX;
use bytes::{BufMut, Bytes, BytesMut};

/// One control message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Control {
    /// The sender closes the session: it writes and reads no more.
    Close {
        /// Why.
        code: u16,
        /// Channels that the sender opened in all: until they came, it is not closed.
        channels: u64,
        /// Why, for a person.
        text: String,
    },
    /// From the owner: this object still lives.
    Touch(ObjectId),
    /// From the owner: this object is not needed any more.
    Release(ObjectId),
    /// From the owner: data for the holder.
    Update(ObjectId, Bytes),
    /// From the holder: an object of the receiver exists now.
    Attached {
        /// Which.
        object: ObjectId,
        /// Its kind.
        kind: String,
        /// How long it lives without a touch; 0 for as long as the session.
        ttl_ms: u64,
    },
    /// From the holder: this object of the receiver ended.
    Ended {
        /// Which.
        object: ObjectId,
        /// Why (an error code).
        code: u16,
    },
    /// From the sender: it is draining and takes no new channels or calls.
    Drain,
}

const CLOSE: u8 = 1;
const TOUCH: u8 = 3;
const RELEASE: u8 = 5;
const UPDATE: u8 = 7;
const ATTACHED: u8 = 9;
const ENDED: u8 = 11;
const DRAIN: u8 = 13;

impl Control {
    /// The message's bytes.
    pub fn encode(&self) -> Bytes {
        let mut to = BytesMut::new();
        match self {
            Control::Close { code, channels, text } => {
                to.put_u8(CLOSE);
                to.put_u16(*code);
                put_varint(&mut to, *channels);
                put_text(&mut to, text);
            }
            Control::Touch(object) => put_object(&mut to, TOUCH, *object),
            Control::Release(object) => put_object(&mut to, RELEASE, *object),
            Control::Update(object, data) => {
                put_object(&mut to, UPDATE, *object);
                put_bytes(&mut to, data);
            }
            Control::Attached { object, kind, ttl_ms } => {
                put_object(&mut to, ATTACHED, *object);
                put_text(&mut to, kind);
                put_varint(&mut to, *ttl_ms);
            }
            Control::Ended { object, code } => {
                put_object(&mut to, ENDED, *object);
                to.put_u16(*code);
            }
            Control::Drain => to.put_u8(DRAIN),
        }
        to.freeze()
    }

    /// Reads one message; `None` for an even type that this version does not know.
    pub fn decode(message: Bytes) -> Result<Option<Control>> {
        let mut from = Reader::new(message);
        let kind = from.u8("control type")?;
        let control = match kind {
            CLOSE => Control::Close {
                code: from.u16("code")?,
                channels: from.varint("channels")?,
                text: from.text("text")?,
            },
            TOUCH => Control::Touch(object(&mut from)?),
            RELEASE => Control::Release(object(&mut from)?),
            UPDATE => Control::Update(object(&mut from)?, from.bytes(OBJECT_DATA_BYTES_MAX, "object data")?),
            ATTACHED => Control::Attached {
                object: object(&mut from)?,
                kind: from.text("kind")?,
                ttl_ms: from.varint("ttl")?,
            },
            ENDED => Control::Ended { object: object(&mut from)?, code: from.u16("code")? },
            DRAIN => Control::Drain,
            unknown if unknown % 2 == 0 => return Ok(None),
            unknown => return Err(malformed(format!("control type {unknown} is not known"))),
        };
        from.end("control message")?;
        Ok(Some(control))
    }
}

fn put_object(to: &mut BytesMut, kind: u8, object: ObjectId) {
    to.put_u8(kind);
    put_varint(to, object.0);
}

fn object(from: &mut Reader) -> Result<ObjectId> {
    from.varint("object").map(ObjectId)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::header::{Header, Purpose};
    use proptest::prelude::*;

    #[test]
    fn control_messages_read_back() {
        for control in [
            Control::Close { code: 41, channels: 3, text: "bye".into() },
            Control::Touch(ObjectId(1)),
            Control::Release(ObjectId(1 << 40)),
            Control::Update(ObjectId(3), Bytes::from_static(b"42 %")),
            Control::Attached { object: ObjectId(3), kind: "file".into(), ttl_ms: 0 },
            Control::Ended { object: ObjectId(3), code: 40 },
            Control::Drain,
        ] {
            assert_eq!(Control::decode(control.encode()), Ok(Some(control)));
        }
    }

    proptest! {
        #[test]
        fn headers_read_back(kind in 0..3, deadline_ms in 0..1u64 << 61, bulk: bool, stored: bool, name in ".{0,60}") {
            let purpose = match kind {
                0 => Purpose::Messages,
                1 => Purpose::Bytes,
                _ => Purpose::Call { deadline_ms },
            };
            let header = Header { purpose, bulk, stored, name };
            let mut wire = BytesMut::new();
            header.encode(&mut wire);
            prop_assert_eq!(wire.len(), header.encoded_len());
            prop_assert_eq!(Header::peek_len(&wire), Ok(Some(wire.len())));
            prop_assert_eq!(Header::decode(wire.freeze()), Ok(header));
        }

        #[test]
        fn random_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = Header::peek_len(&bytes);
            let _ = Header::decode(Bytes::from(bytes.clone()));
            let _ = Control::decode(Bytes::from(bytes));
        }
    }
}
