//! Messages on channel 0: what must be in order with each other (X1).

use super::codec::{Reader, malformed, put_bytes, put_text, put_varint};
use crate::error::Result;
use crate::id::ObjectId;
use crate::limits::{ADDRESSES_MAX, OBJECT_DATA_BYTES_MAX};
use bytes::{BufMut, Bytes, BytesMut};
use std::sync::Arc;

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
    /// The sender can be reached at these addresses; they take the place of all that it said before.
    Addresses(Vec<Arc<str>>),
    /// To the end that dials: move the session to a new link, to this address first; an empty one is any other.
    GoTo(String),
    /// The sender moves the session to a new link, for a reason with this number.
    Roam(u8),
}

const CLOSE: u8 = 1;
const TOUCH: u8 = 3;
const RELEASE: u8 = 5;
const UPDATE: u8 = 7;
const ATTACHED: u8 = 9;
const ENDED: u8 = 11;
const DRAIN: u8 = 13;
// Even: who does not know them loses nothing but speed.
const ADDRESSES: u8 = 14;
const GO_TO: u8 = 16;
const ROAM: u8 = 18;

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
            Control::Addresses(addresses) => {
                to.put_u8(ADDRESSES);
                put_varint(&mut to, addresses.len() as u64);
                addresses.iter().for_each(|address| put_text(&mut to, address));
            }
            Control::GoTo(address) => {
                to.put_u8(GO_TO);
                put_text(&mut to, address);
            }
            Control::Roam(cause) => to.put_slice(&[ROAM, *cause]),
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
            ADDRESSES => Control::Addresses(addresses(&mut from)?),
            GO_TO => Control::GoTo(from.text("address")?),
            ROAM => Control::Roam(from.u8("cause")?),
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

fn addresses(from: &mut Reader) -> Result<Vec<Arc<str>>> {
    let count = from.varint("number of addresses")?;
    if count > ADDRESSES_MAX as u64 {
        return Err(malformed(format!("{count} addresses, at most {ADDRESSES_MAX} are allowed")));
    }
    (0..count).map(|_| from.text("address").map(Arc::from)).collect()
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
            Control::Addresses(vec![]),
            Control::Addresses(vec!["10.0.0.1:7".into(), "[::1]:7".into()]),
            Control::GoTo(String::new()),
            Control::Roam(2),
        ] {
            assert_eq!(Control::decode(control.encode()), Ok(Some(control)));
        }
    }

    #[test]
    fn one_address_too_many_is_refused() {
        for (count, is_read) in [(ADDRESSES_MAX, true), (ADDRESSES_MAX + 1, false)] {
            let control = Control::Addresses(vec!["a:1".into(); count]);
            assert_eq!(Control::decode(control.encode()).is_ok(), is_read);
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
