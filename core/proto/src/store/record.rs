//! How a stored session is written: one record for the session, one for each channel, and the bytes of the channels.
//!
//! A key is a letter, the sid, the channel and the offset, so that all of one direction lies together and in order.
//! Not here: what of a session is stored when.

use crate::channel::{Channel, Delivery, Ending, Keep, ReceiveHalf, Reset, SendHalf};
use crate::error::{Code, Error, Result};
use crate::id::{ChannelId, ObjectId, Sid};
use crate::limits::CHANNEL_BASE_BYTES;
use crate::wire::codec::{Reader, malformed, put_bytes, put_text, put_varint};
use crate::wire::header::Header;
use crate::wire::{Frame, Hello};
use bytes::{BufMut, Bytes, BytesMut};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Form of the records.
const VERSION: u8 = 1;
/// The record of a session.
pub(crate) const SESSION: u8 = b's';
/// The record of a channel.
pub(crate) const CHANNEL: u8 = b'c';
/// Bytes that go out.
pub(crate) const OUTGOING: u8 = b'o';
/// Bytes that came in.
pub(crate) const INCOMING: u8 = b'i';
/// An embalmed object; in its key its number stands in the place of a channel.
pub(crate) const OBJECT: u8 = b'e';
/// Of one piece of data, and of whatever else is in a record.
const PART_BYTES_MAX: usize = 1 << 30;

/// A key, or how the keys of a part begin.
pub(crate) fn key(kind: u8, sid: Sid, channel: Option<ChannelId>, offset: Option<u64>) -> Vec<u8> {
    let mut key = vec![kind];
    key.extend_from_slice(&sid.0);
    channel.into_iter().for_each(|channel| key.extend_from_slice(&channel.0.to_be_bytes()));
    offset.into_iter().for_each(|offset| key.extend_from_slice(&offset.to_be_bytes()));
    key
}

/// The key of an embalmed object.
pub(crate) fn object_key(sid: Sid, object: ObjectId) -> Vec<u8> {
    key(OBJECT, sid, Some(ChannelId(object.0)), None)
}

/// An embalmed object.
pub(crate) fn encode_object(kind: &str, kept: &[u8]) -> Vec<u8> {
    let mut to = BytesMut::new();
    to.put_u8(VERSION);
    put_text(&mut to, kind);
    put_bytes(&mut to, kept);
    to.to_vec()
}

/// Its kind, and what it was embalmed as.
pub(crate) fn decode_object(value: Vec<u8>) -> Result<(String, Bytes)> {
    let mut from = Reader::new(value.into());
    check_version(&mut from)?;
    let known = (from.text("kind")?, from.bytes(PART_BYTES_MAX, "object")?);
    from.end("object")?;
    Ok(known)
}

/// Which session a key is of.
pub(crate) fn sid_of(key: &[u8]) -> Option<Sid> {
    key.get(1..17)?.try_into().ok().map(Sid)
}

/// A session as it is stored.
#[derive(Debug, Clone)]
pub(crate) struct SessionRecord {
    pub(crate) secret: [u8; 32],
    pub(crate) n: u64,
    pub(crate) is_arbiter: bool,
    /// It was closed, and not everything was read.
    pub(crate) is_over: bool,
    pub(crate) epoch: u64,
    pub(crate) peer_epoch: u64,
    pub(crate) opened_here: u64,
    pub(crate) opened_by_peer: u64,
    /// Channels of the peer whose purpose is not known yet.
    pub(crate) unread: Vec<ChannelId>,
    /// What the peer said of itself.
    pub(crate) peer: Box<Hello>,
    /// Where it can be reached.
    pub(crate) ways: Vec<Arc<str>>,
}

impl SessionRecord {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut to = BytesMut::new();
        to.put_u8(VERSION);
        to.put_slice(&self.secret);
        to.put_u8(u8::from(self.is_arbiter) | u8::from(self.is_over) << 1);
        for number in [self.n, self.epoch, self.peer_epoch, self.opened_here, self.opened_by_peer] {
            put_varint(&mut to, number);
        }
        put_varint(&mut to, self.unread.len() as u64);
        self.unread.iter().for_each(|id| put_varint(&mut to, id.0));
        put_varint(&mut to, self.ways.len() as u64);
        self.ways.iter().for_each(|way| put_text(&mut to, way));
        let mut hello = BytesMut::new();
        Frame::Hello(self.peer.clone()).encode(&mut hello);
        put_bytes(&mut to, &hello);
        to.to_vec()
    }

    fn decode(value: Bytes) -> Result<SessionRecord> {
        let mut from = Reader::new(value);
        check_version(&mut from)?;
        let secret = from.array("secret")?;
        let flags = from.u8("flags")?;
        let mut number = || from.varint("number");
        let (n, epoch, peer_epoch) = (number()?, number()?, number()?);
        let (opened_here, opened_by_peer) = (number()?, number()?);
        let mut unread = Vec::new();
        for _ in 0..from.varint("unread channels")? {
            unread.push(ChannelId(from.varint("channel")?));
        }
        let mut ways = Vec::new();
        for _ in 0..from.varint("addresses")? {
            ways.push(Arc::from(from.text("address")?));
        }
        let mut hello = crate::wire::Decoder::default();
        hello.push(BytesMut::from(&from.bytes(PART_BYTES_MAX, "HELLO")?[..]));
        let Some(Frame::Hello(peer)) = hello.next(crate::limits::FRAME_BYTES_MAX)? else {
            return Err(malformed("the record of a session has no HELLO".into()));
        };
        from.end("session")?;
        let (is_arbiter, is_over) = (flags & 1 != 0, flags & 2 != 0);
        Ok(SessionRecord {
            secret,
            n,
            is_arbiter,
            is_over,
            epoch,
            peer_epoch,
            opened_here,
            opened_by_peer,
            unread,
            peer,
            ways,
        })
    }
}

fn check_version(from: &mut Reader) -> Result<()> {
    match from.u8("version")? {
        VERSION => Ok(()),
        other => {
            let what = format!("a stored record has version {other}, this one reads {VERSION}");
            Err(Error::new(Code::Version, what))
        }
    }
}

fn put_reset(to: &mut BytesMut, size: u64, code: Code, text: &str) {
    put_varint(to, size);
    to.put_u16(code as u16);
    put_text(to, text);
}

fn read_reset(from: &mut Reader) -> Result<(u64, Code, String)> {
    let (size, code) = (from.varint("size")?, from.u16("code")?);
    Ok((size, Code::from_number(code).unwrap_or(Code::Reset), from.text("reason")?))
}

/// The record of a channel, with its outgoing bytes from `kept` on.
pub(crate) fn encode_channel(channel: &Channel, keep: &Keep, kept: u64) -> Vec<u8> {
    let mut to = BytesMut::new();
    to.put_u8(VERSION);
    let mut header = BytesMut::new();
    if let Some(known) = &channel.header {
        known.encode(&mut header);
    }
    put_bytes(&mut to, &header);
    let receive = &channel.receive;
    for number in [kept, channel.send.written(), receive.to_store(), keep.done] {
        put_varint(&mut to, number);
    }
    match channel.send.ending() {
        Ending::Open => to.put_u8(0),
        Ending::End => to.put_u8(1),
        Ending::Reset(reset) => {
            to.put_u8(2);
            put_reset(&mut to, reset.size, reset.code, &reset.text);
        }
    }
    match channel.receive.ending() {
        None => to.put_u8(0),
        Some((size, None)) => {
            to.put_u8(1);
            put_varint(&mut to, size);
        }
        Some((size, Some(why))) => {
            to.put_u8(2);
            put_reset(&mut to, size, why.code, &why.message);
        }
    }
    put_bytes(&mut to, &keep.restart_point);
    match channel.stop {
        None => to.put_u8(u8::from(channel.receive.is_discarded())),
        Some((code, _)) => {
            to.put_u8(2);
            to.put_u16(code as u16);
        }
    }
    to.to_vec()
}

/// The pieces that lie between two offsets.
fn join(pieces: &BTreeMap<u64, Bytes>, first: u64, end: u64) -> Result<Vec<Bytes>> {
    let mut at = first;
    let mut joined = Vec::new();
    for (&offset, piece) in pieces {
        let until = offset.saturating_add(piece.len() as u64);
        if until <= at || at >= end {
            continue;
        }
        if offset > at {
            break;
        }
        let last = piece.len().min((end - offset) as usize);
        joined.push(piece.slice((at - offset) as usize..last));
        at = until.min(end);
    }
    if at < end {
        return Err(malformed(format!("bytes {at} to {end} of a stored channel are not there")));
    }
    Ok(joined)
}

/// All that is stored of one session.
#[derive(Debug, Default)]
pub(crate) struct Parts {
    session: Option<Bytes>,
    channels: BTreeMap<ChannelId, Bytes>,
    outgoing: BTreeMap<ChannelId, BTreeMap<u64, Bytes>>,
    incoming: BTreeMap<ChannelId, BTreeMap<u64, Bytes>>,
}

impl Parts {
    /// Takes one record.
    pub(crate) fn add(&mut self, key: &[u8], value: Vec<u8>) -> Result<()> {
        let number = |at: usize| Some(u64::from_be_bytes(key.get(at..at + 8)?.try_into().ok()?));
        let unknown = || malformed("a stored record has a key that makes no sense".into());
        let value = Bytes::from(value);
        match (key.first(), key.len()) {
            (Some(&SESSION), 17) => self.session = Some(value),
            (Some(&CHANNEL), 25) => {
                self.channels.insert(ChannelId(number(17).ok_or_else(unknown)?), value);
            }
            (Some(&kind), 33) if kind == OUTGOING || kind == INCOMING => {
                let (channel, offset) = number(17).zip(number(25)).ok_or_else(unknown)?;
                let part = if kind == OUTGOING { &mut self.outgoing } else { &mut self.incoming };
                part.entry(ChannelId(channel)).or_default().insert(offset, value);
            }
            _ => return Err(unknown()),
        }
        Ok(())
    }

    /// What they say.
    pub(crate) fn read(self, message_bytes_max: u64) -> Result<(SessionRecord, Vec<Channel>)> {
        let session = self.session.ok_or_else(|| malformed("a stored session has no record".into()))?;
        let record = SessionRecord::decode(session)?;
        let none = BTreeMap::new();
        let mut channels = Vec::new();
        for (id, value) in self.channels {
            let outgoing = self.outgoing.get(&id).unwrap_or(&none);
            let incoming = self.incoming.get(&id).unwrap_or(&none);
            if id.counter() == 0 {
                return Err(malformed(format!("channel {id} cannot be stored")));
            }
            let opened_here = id.is_by_arbiter() == record.is_arbiter;
            let mut channel = Channel::new(id, opened_here, CHANNEL_BASE_BYTES, message_bytes_max);
            read_channel(value, (outgoing, incoming), &mut channel)?;
            channels.push(channel);
        }
        Ok((record, channels))
    }
}

fn read_channel(
    value: Bytes,
    (outgoing, incoming): (&BTreeMap<u64, Bytes>, &BTreeMap<u64, Bytes>),
    channel: &mut Channel,
) -> Result<()> {
    let mut from = Reader::new(value);
    check_version(&mut from)?;
    channel.header = Some(Header::decode(from.bytes(PART_BYTES_MAX, "header")?)?);
    let mut number = || from.varint("offset");
    let (kept, written, held, done) = (number()?, number()?, number()?, number()?);
    let ending = match from.u8("ending")? {
        0 => Ending::Open,
        1 => Ending::End,
        _ => {
            let (size, code, text) = read_reset(&mut from)?;
            Ending::Reset(Reset { size, code, text })
        }
    };
    let pieces = if matches!(ending, Ending::Reset(_)) { Vec::new() } else { join(outgoing, kept, written)? };
    channel.send = SendHalf::restored((kept, written), pieces);
    channel.send.restore_ending(ending);
    let ending = match from.u8("ending of the peer")? {
        0 => None,
        1 => Some((from.varint("size")?, None)),
        _ => {
            let (size, code, text) = read_reset(&mut from)?;
            Some((size, Some(Error::new(code, text))))
        }
    };
    let restart_point = from.bytes(PART_BYTES_MAX, "restart point")?;
    let stop = match from.u8("stop")? {
        0 => None,
        1 => Some(None),
        _ => Some(Some(Code::from_number(from.u16("code")?).unwrap_or(Code::Stopped))),
    };
    from.end("channel")?;
    let done = if stop.is_some() { held } else { done.min(held) };
    channel.receive = ReceiveHalf::restored(done, join(incoming, done, held)?);
    if let Some((size, why)) = ending {
        channel.receive.restore_ending(size, why);
    }
    if let Some(code) = stop {
        channel.receive.discard();
        channel.stop = code.map(|code| (code, Delivery::Wanted));
    }
    let mut keep = Keep::restored((kept, written), (done, held));
    keep.restart_point = restart_point;
    channel.keep = Some(Box::new(keep));
    Ok(())
}
