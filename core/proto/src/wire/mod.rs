//! The wire format: frames, as values, to bytes and back (docs/PROTOCOL.md).
//!
//! A link carries frames one after the other: type (one byte), length of the body (integer), body. A type
//! that the reader does not know is skipped when even and closes the link when odd (X1). Pure functions of
//! bytes: no state, no decision what a frame means.

pub mod codec;
pub mod control;
pub mod header;
mod hello;

pub use hello::{Hello, Role};

use crate::error::{Code, Error, Result};
use crate::id::{ChannelId, LinkName, Sid};
use crate::limits::{DATA_BYTES_MAX, DEAD_LINKS_MAX, SLICE_BYTES_MIN};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use codec::{Reader, malformed, peek_varint, put_bytes, put_text, put_varint, varint_len};

/// What one end has of an open channel, for the check at each attach (S9).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TableRow {
    /// Which channel.
    pub channel: ChannelId,
    /// First byte of its own writing that it still keeps.
    pub kept: u64,
    /// Bytes that its application wrote.
    pub written: u64,
    /// Bytes of the peer's writing that it holds, without a gap.
    pub held: u64,
}

/// What one end has of its channels, for the check at each attach (S9).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Table {
    /// Channels that its writer opened in all.
    pub opened: u64,
    /// Channels of the reader that its writer saw in all; of these and its own, the ones without a row are over.
    pub seen: u64,
    /// The open channels, in order.
    pub rows: Vec<TableRow>,
}

/// How SESSION answers a HELLO (S3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Offer {
    /// A new session and its secret.
    Fresh {
        /// Known to the two ends only; every later link proves that it is.
        secret: [u8; 32],
    },
    /// The session that both are believed to have.
    Existing {
        /// The arbiter's channels.
        table: Table,
        /// That the arbiter has the secret, bound to this link (S5).
        proof: [u8; 32],
    },
}

/// One frame; its fields are those of docs/PROTOCOL.md.
#[allow(missing_docs)]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// Something the peer should know; never closes anything.
    Notice { code: u16, text: String },
    /// First frame of each end.
    Hello(Box<Hello>),
    /// The link will not be used, and why.
    Refuse { code: u16, text: String },
    /// From the arbiter, in answer to HELLO.
    Session { sid: Sid, n: u64, offer: Offer },
    /// From the other end: this link belongs to the session.
    Attach { sid: Sid, table: Table, proof: [u8; 32] },
    /// This session is not known here (any more).
    Gone { sid: Sid, code: u16, proof: Option<[u8; 32]> },
    /// Another process of the same host takes an end over (S6).
    Revive { sid: Sid, epoch: u64, table: Table, proof: [u8; 32] },
    /// The first `count` stream and state frames on this link are held.
    Lack { count: u64 },
    /// A sign of life, the number of the last one seen on this link, and how long ago it came.
    Beat { number: u64, echo: u64, echo_delay_us: u64, ttl_ms: u64 },
    /// These links of the session are dead.
    Dead { links: Vec<LinkName> },
    /// The sender uses this link no more; LACK what came, then close.
    Retire,
    /// The dialler changes what the link may carry.
    Role { role: Role },
    /// Portion of a transfer that a hop link may carry.
    Hop { transfer: u64, portion: u64, bytes: u64 },
    /// A new host key, signed by the old one.
    Rekey { record: Bytes },
    /// A message between shards of two ends.
    Shard { shard: u64, body: Bytes },
    /// The peer may send on this channel up to this offset.
    Credit { channel: ChannelId, limit: u64 },
    /// The sender ended its direction early, at this size.
    Reset { channel: ChannelId, size: u64, code: u16, text: String },
    /// The receiver wants no more of this channel.
    Stop { channel: ChannelId, code: u16 },
    /// The peer may open this many channels in all.
    ChannelCredit { count: u64 },
    /// The application is done with everything before this offset (stored channels).
    Done { channel: ChannelId, offset: u64 },
    /// Bytes of a channel.
    Data { channel: ChannelId, offset: u64, bytes: Bytes },
    /// The channel's direction ends at this size.
    End { channel: ChannelId, size: u64 },
    /// The last bytes of a channel's direction: DATA, and END behind it.
    Rest { channel: ChannelId, offset: u64, bytes: Bytes },
}

const NOTICE: u8 = 2;
const HELLO: u8 = 1;
const REFUSE: u8 = 3;
const SESSION: u8 = 5;
const ATTACH: u8 = 7;
const GONE: u8 = 9;
const REVIVE: u8 = 11;
const LACK: u8 = 13;
const BEAT: u8 = 15;
const DEAD: u8 = 17;
const RETIRE: u8 = 19;
const ROLE: u8 = 21;
const HOP: u8 = 23;
const REKEY: u8 = 25;
const SHARD: u8 = 27;
const CREDIT: u8 = 33;
const RESET: u8 = 35;
const STOP: u8 = 37;
const CHANNEL_CREDIT: u8 = 39;
const DONE: u8 = 41;
const DATA: u8 = 49;
const END: u8 = 51;
const REST: u8 = 53;

/// Bytes that a DATA frame takes besides its data.
pub fn data_overhead(channel: ChannelId, offset: u64, len: usize) -> usize {
    let body = varint_len(channel.0) + varint_len(offset) + len;
    1 + varint_len(body as u64) + body - len
}

impl Frame {
    /// Whether LACK counts this frame: stream and state frames (X2).
    pub fn is_counted(&self) -> bool {
        self.kind() >= CREDIT
    }

    /// Whether this frame belongs to an attached session rather than to the handshake.
    pub fn needs_session(&self) -> bool {
        self.kind() >= LACK
    }

    /// The frame's name in docs/PROTOCOL.md.
    pub fn name(&self) -> &'static str {
        match self.kind() {
            NOTICE => "NOTICE",
            HELLO => "HELLO",
            REFUSE => "REFUSE",
            SESSION => "SESSION",
            ATTACH => "ATTACH",
            GONE => "GONE",
            REVIVE => "REVIVE",
            LACK => "LACK",
            BEAT => "BEAT",
            DEAD => "DEAD",
            RETIRE => "RETIRE",
            ROLE => "ROLE",
            HOP => "HOP",
            REKEY => "REKEY",
            SHARD => "SHARD",
            CREDIT => "CREDIT",
            RESET => "RESET",
            STOP => "STOP",
            CHANNEL_CREDIT => "CHANNEL_CREDIT",
            DONE => "DONE",
            DATA => "DATA",
            END => "END",
            _ => "REST",
        }
    }

    fn kind(&self) -> u8 {
        match self {
            Frame::Notice { .. } => NOTICE,
            Frame::Hello(_) => HELLO,
            Frame::Refuse { .. } => REFUSE,
            Frame::Session { .. } => SESSION,
            Frame::Attach { .. } => ATTACH,
            Frame::Gone { .. } => GONE,
            Frame::Revive { .. } => REVIVE,
            Frame::Lack { .. } => LACK,
            Frame::Beat { .. } => BEAT,
            Frame::Dead { .. } => DEAD,
            Frame::Retire => RETIRE,
            Frame::Role { .. } => ROLE,
            Frame::Hop { .. } => HOP,
            Frame::Rekey { .. } => REKEY,
            Frame::Shard { .. } => SHARD,
            Frame::Credit { .. } => CREDIT,
            Frame::Reset { .. } => RESET,
            Frame::Stop { .. } => STOP,
            Frame::ChannelCredit { .. } => CHANNEL_CREDIT,
            Frame::Done { .. } => DONE,
            Frame::Data { .. } => DATA,
            Frame::End { .. } => END,
            Frame::Rest { .. } => REST,
        }
    }

    /// Appends the frame to `to`, data included.
    pub fn encode(&self, to: &mut BytesMut) {
        // Of these there are many.
        match *self {
            Frame::Lack { count } => return put_numbers(to, LACK, &[count]),
            Frame::Credit { channel, limit } => return put_numbers(to, CREDIT, &[channel.0, limit]),
            Frame::End { channel, size } => return put_numbers(to, END, &[channel.0, size]),
            _ => {}
        }
        let mut body = BytesMut::new();
        self.encode_body(&mut body);
        to.put_u8(self.kind());
        put_varint(to, body.len() as u64);
        to.put_slice(&body);
    }

    fn encode_body(&self, to: &mut BytesMut) {
        match self {
            Frame::Notice { code, text } | Frame::Refuse { code, text } => {
                to.put_u16(*code);
                put_text(to, text);
            }
            Frame::Hello(hello) => hello.encode(to),
            Frame::Session { sid, n, offer } => encode_session(to, sid, *n, offer),
            Frame::Attach { sid, table, proof } => {
                to.put_slice(&sid.0);
                to.put_slice(proof);
                put_table(to, table);
            }
            Frame::Gone { sid, code, proof } => {
                to.put_slice(&sid.0);
                to.put_u16(*code);
                to.put_slice(proof.as_ref().map_or(&[][..], |proof| &proof[..]));
            }
            Frame::Revive { sid, epoch, table, proof } => {
                to.put_slice(&sid.0);
                put_varint(to, *epoch);
                to.put_slice(proof);
                put_table(to, table);
            }
            Frame::Lack { count } | Frame::ChannelCredit { count } => put_varint(to, *count),
            Frame::Beat { number, echo, echo_delay_us, ttl_ms } => {
                put_all(to, &[*number, *echo, *echo_delay_us, *ttl_ms]);
            }
            Frame::Dead { links } => {
                for link in links {
                    to.put_u8(u8::from(link.by_arbiter));
                    put_varint(to, link.counter);
                }
            }
            Frame::Retire => {}
            Frame::Role { role } => to.put_u8(*role as u8),
            Frame::Hop { transfer, portion, bytes } => put_all(to, &[*transfer, *portion, *bytes]),
            Frame::Rekey { record } => put_bytes(to, record),
            Frame::Shard { shard, body } => {
                put_varint(to, *shard);
                put_bytes(to, body);
            }
            Frame::Credit { channel, limit } => put_all(to, &[channel.0, *limit]),
            Frame::Reset { channel, size, code, text } => {
                put_all(to, &[channel.0, *size]);
                to.put_u16(*code);
                put_text(to, text);
            }
            Frame::Stop { channel, code } => {
                put_varint(to, channel.0);
                to.put_u16(*code);
            }
            Frame::Done { channel, offset } => put_all(to, &[channel.0, *offset]),
            Frame::Data { channel, offset, bytes } | Frame::Rest { channel, offset, bytes } => {
                put_all(to, &[channel.0, *offset]);
                to.put_slice(bytes);
            }
            Frame::End { channel, size } => put_all(to, &[channel.0, *size]),
        }
    }

    /// Appends what stands before the data of a DATA frame, or of REST, so that the data itself can be sent as a
    /// slice.
    pub fn encode_data_head(to: &mut BytesMut, channel: ChannelId, offset: u64, len: usize, is_rest: bool) {
        to.put_u8(if is_rest { REST } else { DATA });
        put_varint(to, (varint_len(channel.0) + varint_len(offset) + len) as u64);
        put_all(to, &[channel.0, offset]);
    }

    /// Reads the body of a frame of this type; `None` for a type that may be skipped.
    fn decode_body(kind: u8, body: Bytes) -> Result<Option<Frame>> {
        let mut from = Reader::new(body);
        let frame = match kind {
            NOTICE => Frame::Notice { code: from.u16("code")?, text: from.text("text")? },
            // A later version may append to HELLO, so what is left over is not looked at.
            HELLO => return Hello::decode(&mut from).map(|hello| Some(Frame::Hello(Box::new(hello)))),
            REFUSE => Frame::Refuse { code: from.u16("code")?, text: from.text("text")? },
            SESSION => decode_session(&mut from)?,
            ATTACH => {
                let (sid, proof) = (Sid(from.array("sid")?), from.array("proof")?);
                Frame::Attach { sid, proof, table: read_table(&mut from)? }
            }
            GONE => {
                let (sid, code) = (Sid(from.array("sid")?), from.u16("code")?);
                let proof = if from.is_empty() { None } else { Some(from.array("proof")?) };
                Frame::Gone { sid, code, proof }
            }
            REVIVE => {
                let (sid, epoch) = (Sid(from.array("sid")?), from.varint("epoch")?);
                Frame::Revive { sid, epoch, proof: from.array("proof")?, table: read_table(&mut from)? }
            }
            LACK => Frame::Lack { count: from.varint("count")? },
            BEAT => Frame::Beat {
                number: from.varint("number")?,
                echo: from.varint("echo")?,
                echo_delay_us: from.varint("echo delay")?,
                ttl_ms: from.varint("ttl")?,
            },
            DEAD => decode_dead(&mut from)?,
            RETIRE => Frame::Retire,
            ROLE => Frame::Role { role: Role::from_byte(from.u8("role")?)? },
            HOP => Frame::Hop {
                transfer: from.varint("transfer")?,
                portion: from.varint("portion")?,
                bytes: from.varint("bytes")?,
            },
            REKEY => Frame::Rekey { record: from.bytes(4096, "record")? },
            SHARD => Frame::Shard { shard: from.varint("shard")?, body: from.bytes(DATA_BYTES_MAX, "body")? },
            CREDIT => Frame::Credit { channel: channel(&mut from)?, limit: from.varint("limit")? },
            RESET => Frame::Reset {
                channel: channel(&mut from)?,
                size: from.varint("size")?,
                code: from.u16("code")?,
                text: from.text("text")?,
            },
            STOP => Frame::Stop { channel: channel(&mut from)?, code: from.u16("code")? },
            CHANNEL_CREDIT => Frame::ChannelCredit { count: from.varint("count")? },
            DONE => Frame::Done { channel: channel(&mut from)?, offset: from.varint("offset")? },
            DATA => {
                let (channel, offset, bytes) = decode_data(&mut from)?;
                Frame::Data { channel, offset, bytes }
            }
            REST => {
                let (channel, offset, bytes) = decode_data(&mut from)?;
                Frame::Rest { channel, offset, bytes }
            }
            END => Frame::End { channel: channel(&mut from)?, size: from.varint("size")? },
            unknown if unknown % 2 == 0 => return Ok(None),
            unknown => return Err(malformed(format!("type {unknown} is not known and must not be skipped"))),
        };
        from.end(frame.name())?;
        Ok(Some(frame))
    }
}

/// A whole frame whose body is integers.
fn put_numbers(to: &mut BytesMut, kind: u8, numbers: &[u64]) {
    to.put_u8(kind);
    put_varint(to, numbers.iter().map(|&number| varint_len(number) as u64).sum());
    put_all(to, numbers);
}

fn put_all(to: &mut BytesMut, numbers: &[u64]) {
    numbers.iter().for_each(|&number| put_varint(to, number));
}

fn channel(from: &mut Reader) -> Result<ChannelId> {
    from.varint("channel").map(ChannelId)
}

fn encode_session(to: &mut BytesMut, sid: &Sid, n: u64, offer: &Offer) {
    to.put_slice(&sid.0);
    put_varint(to, n);
    match offer {
        Offer::Fresh { secret } => {
            to.put_u8(0);
            to.put_slice(secret);
        }
        Offer::Existing { table, proof } => {
            to.put_u8(1);
            to.put_slice(proof);
            put_table(to, table);
        }
    }
}

fn decode_session(from: &mut Reader) -> Result<Frame> {
    let (sid, n) = (Sid(from.array("sid")?), from.varint("n")?);
    let offer = match from.u8("offer")? {
        0 => Offer::Fresh { secret: from.array("secret")? },
        1 => Offer::Existing { proof: from.array("proof")?, table: read_table(from)? },
        other => return Err(malformed(format!("SESSION offer {other} is not known"))),
    };
    Ok(Frame::Session { sid, n, offer })
}

fn decode_dead(from: &mut Reader) -> Result<Frame> {
    let mut links = Vec::new();
    while !from.is_empty() {
        if links.len() == DEAD_LINKS_MAX {
            return Err(malformed(format!("DEAD names more than {DEAD_LINKS_MAX} links")));
        }
        let by_arbiter = from.u8("dialler")? != 0;
        links.push(LinkName { by_arbiter, counter: from.varint("link counter")? });
    }
    Ok(Frame::Dead { links })
}

fn decode_data(from: &mut Reader) -> Result<(ChannelId, u64, Bytes)> {
    let (channel, offset) = (channel(from)?, from.varint("offset")?);
    let bytes = from.rest();
    if bytes.is_empty() || bytes.len() > DATA_BYTES_MAX {
        return Err(malformed(format!("DATA has {} bytes, 1 to {DATA_BYTES_MAX} are allowed", bytes.len())));
    }
    Ok((channel, offset, bytes))
}

fn put_table(to: &mut BytesMut, table: &Table) {
    put_all(to, &[table.opened, table.seen]);
    for row in &table.rows {
        put_all(to, &[row.channel.0, row.kept, row.written, row.held]);
    }
}

fn read_table(from: &mut Reader) -> Result<Table> {
    let mut table = Table {
        opened: from.varint("channels opened")?,
        seen: from.varint("channels seen")?,
        rows: Vec::new(),
    };
    while !from.is_empty() {
        let row = TableRow {
            channel: channel(from)?,
            kept: from.varint("kept")?,
            written: from.varint("written")?,
            held: from.varint("held")?,
        };
        if row.kept > row.written || table.rows.last().is_some_and(|last| last.channel >= row.channel) {
            return Err(malformed(format!("the table row of channel {} makes no sense", row.channel)));
        }
        table.rows.push(row);
    }
    Ok(table)
}

/// Cuts the bytes of one link into frames; keeps at most one unfinished frame.
#[derive(Debug, Clone, Default)]
pub struct Decoder {
    ready: BytesMut,
}

impl Decoder {
    /// Adds bytes that came in; whole frames are then taken with [`Decoder::next`] until it answers `None`.
    pub fn push(&mut self, bytes: BytesMut) {
        self.ready.unsplit(bytes);
    }

    /// The next whole frame; types that may be skipped are skipped.
    ///
    /// # Errors
    /// `PROTOCOL` (or `VERSION`, `ENCODING`) for bytes that follow no rule; the link must be closed then.
    pub fn next(&mut self, body_bytes_max: usize) -> Result<Option<Frame>> {
        loop {
            let Some((kind, head, len)) = self.peek(body_bytes_max)? else {
                self.let_go();
                return Ok(None);
            };
            self.ready.advance(head);
            if let Some(frame) = self.next_frequent(kind, len) {
                return Ok(Some(frame));
            }
            let body = self.ready.split_to(len).freeze();
            if let Some(frame) = Frame::decode_body(kind, body)? {
                return Ok(Some(frame));
            }
        }
    }

    /// A little of an unfinished frame does not keep a large read buffer.
    fn let_go(&mut self) {
        if self.ready.len() < SLICE_BYTES_MIN {
            let rest = std::mem::take(&mut self.ready);
            self.ready.extend_from_slice(&rest);
        }
    }

    /// Frames of which there are many, read where they lie; `None` for others and for those that are wrong, which
    /// are read again with care for what is wrong with them.
    fn next_frequent(&mut self, kind: u8, len: usize) -> Option<Frame> {
        let body = &self.ready[..len];
        if kind == LACK {
            let (count, size) = peek_varint(body)?;
            return (size == len).then(|| {
                self.ready.advance(len);
                Frame::Lack { count }
            });
        }
        if !matches!(kind, CREDIT | DATA | END | REST) {
            return None;
        }
        let (channel, first) = peek_varint(body)?;
        let (number, second) = peek_varint(&body[first..])?;
        let (channel, size) = (ChannelId(channel), first + second);
        let is_data = matches!(kind, DATA | REST);
        if is_data && (1..=DATA_BYTES_MAX).contains(&(len - size)) {
            self.ready.advance(size);
            let bytes = self.ready.split_to(len - size).freeze();
            return Some(if kind == DATA {
                Frame::Data { channel, offset: number, bytes }
            } else {
                Frame::Rest { channel, offset: number, bytes }
            });
        }
        if is_data || size != len {
            return None;
        }
        self.ready.advance(len);
        Some(if kind == END {
            Frame::End { channel, size: number }
        } else {
            Frame::Credit { channel, limit: number }
        })
    }

    fn peek(&self, body_bytes_max: usize) -> Result<Option<(u8, usize, usize)>> {
        let front: &[u8] = &self.ready;
        let Some(&kind) = front.first() else { return Ok(None) };
        let Some((len, len_bytes)) = peek_varint(&front[1..]) else { return Ok(None) };
        if len > body_bytes_max as u64 {
            let what =
                format!("a frame of type {kind} has {len} bytes, at most {body_bytes_max} are allowed here");
            return Err(Error::new(Code::Protocol, format!("read frame: {what}")));
        }
        let head = 1 + len_bytes;
        Ok((front.len() - head >= len as usize).then_some((kind, head, len as usize)))
    }

    /// Bytes of an unfinished frame.
    pub fn len(&self) -> usize {
        self.ready.len()
    }

    /// Whether no unfinished frame waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests;
