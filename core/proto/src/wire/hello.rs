//! HELLO: who an end is and what it can take (S2).
//!
//! The body begins with a magic word and the version range, which never change; a later version may append
//! fields, which an older reader skips.

use super::codec::{Reader, malformed, put_text, put_varint};
use crate::error::{Code, Error, Result};
use crate::id::{HostId, NodeId, ProcessId, Sid};
use crate::limits::{SessionLimits, VERSION_MAX, VERSION_MIN};
use bytes::{BufMut, BytesMut};

const MAGIC: &[u8; 4] = b"CLVR";

/// What a link may carry (L3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Role {
    /// All frames.
    Primary = 0,
    /// Link frames only, until it is needed.
    Standby = 1,
    /// Stream frames of bulk channels only.
    Bulk = 2,
    /// Bulk with a budget of one portion; its frames exist, the role is refused until transfers are built.
    Hop = 3,
}

impl Role {
    /// Lower-case name.
    pub fn name(self) -> &'static str {
        match self {
            Role::Primary => "primary",
            Role::Standby => "standby",
            Role::Bulk => "bulk",
            Role::Hop => "hop",
        }
    }

    /// Reads a role from its byte.
    pub fn from_byte(byte: u8) -> Result<Role> {
        [Role::Primary, Role::Standby, Role::Bulk, Role::Hop]
            .into_iter()
            .find(|role| *role as u8 == byte)
            .ok_or_else(|| malformed(format!("role {byte} is not known")))
    }
}

/// The first frame of both ends of each link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hello {
    /// Oldest version spoken.
    pub version_min: u16,
    /// Newest version spoken.
    pub version_max: u16,
    /// Who speaks; its host must be the one that TLS proved.
    pub node: NodeId,
    /// Hash of this link's TLS exporter, so that a HELLO is worth nothing on another link.
    pub binding: [u8; 16],
    /// The dialler's counter for this link; 0 from the end that accepted it.
    pub link_counter: u64,
    /// The role that the dialler wants.
    pub role: Role,
    /// The end has a store to revive a session from (S6); nobody sets it yet.
    pub revive: bool,
    /// The end expects to come and go (a mobile device).
    pub volatile: bool,
    /// The link is for this session only: without it, do not make another.
    pub for_session: Option<Sid>,
    /// What this end takes.
    pub limits: SessionLimits,
    /// Heartbeat interval asked for.
    pub beat_ms: u64,
    /// TTL asked for.
    pub ttl_ms: u64,
    /// TTL below which this end does not go (it rises with load).
    pub ttl_floor_ms: u64,
    /// TTL above which this end does not go.
    pub ttl_max_ms: u64,
    /// How long this end keeps a session past its TTL (C5); 0 is not at all.
    pub embalm_ms: u64,
    /// Wall clock, in milliseconds since 1970, for the skew report (S8).
    pub wall_ms: u64,
    /// What people call the machine.
    pub host_name: String,
    /// What people call the node.
    pub node_name: String,
    /// Where people can look at it, or empty.
    pub web_address: String,
}

impl Hello {
    pub(super) fn encode(&self, to: &mut BytesMut) {
        to.put_slice(MAGIC);
        to.put_u16(self.version_min);
        to.put_u16(self.version_max);
        to.put_slice(&self.node.host.0);
        to.put_slice(&self.node.process.0);
        to.put_slice(&self.binding);
        put_varint(to, self.link_counter);
        to.put_u8(self.role as u8);
        let flags = [self.revive, self.volatile, self.for_session.is_some()];
        to.put_u8(flags.iter().rev().fold(0, |bits, &flag| bits << 1 | u8::from(flag)));
        if let Some(sid) = self.for_session {
            to.put_slice(&sid.0);
        }
        for number in [
            self.limits.message_bytes_max,
            self.limits.budget_bytes,
            self.limits.channels_max,
            self.beat_ms,
            self.ttl_ms,
            self.ttl_floor_ms,
            self.ttl_max_ms,
            self.embalm_ms,
            self.wall_ms,
        ] {
            put_varint(to, number);
        }
        for text in [&self.host_name, &self.node_name, &self.web_address] {
            put_text(to, text);
        }
    }

    pub(super) fn decode(from: &mut Reader) -> Result<Hello> {
        if &from.array::<4>("magic")? != MAGIC {
            return Err(malformed("HELLO does not begin with CLVR".into()));
        }
        let (version_min, version_max) = (from.u16("oldest version")?, from.u16("newest version")?);
        if version_max < VERSION_MIN || version_min > VERSION_MAX || version_min > version_max {
            return Err(Error::new(
                Code::Version,
                format!(
                    "the peer speaks versions {version_min} to {version_max}, this side {VERSION_MIN} to {VERSION_MAX}"
                ),
            ));
        }
        let node =
            NodeId { host: HostId(from.array("host id")?), process: ProcessId(from.array("process id")?) };
        let binding = from.array("binding")?;
        let link_counter = from.varint("link counter")?;
        let role = Role::from_byte(from.u8("role")?)?;
        let flags = from.u8("flags")?;
        let for_session = if flags & 4 != 0 { Some(Sid(from.array("sid")?)) } else { None };
        let limits = SessionLimits {
            message_bytes_max: from.varint("message limit")?,
            budget_bytes: from.varint("budget")?,
            channels_max: from.varint("channel limit")?,
        };
        limits.check().map_err(|error| malformed(format!("HELLO limits: {}", error.message)))?;
        let hello = Hello {
            version_min,
            version_max,
            node,
            binding,
            link_counter,
            role,
            revive: flags & 1 != 0,
            volatile: flags & 2 != 0,
            for_session,
            limits,
            beat_ms: from.varint("beat")?,
            ttl_ms: from.varint("ttl")?,
            ttl_floor_ms: from.varint("ttl floor")?,
            ttl_max_ms: from.varint("ttl max")?,
            embalm_ms: from.varint("embalm time")?,
            wall_ms: from.varint("wall time")?,
            host_name: from.text("host name")?,
            node_name: from.text("node name")?,
            web_address: from.text("web address")?,
        };
        if hello.beat_ms == 0 || hello.ttl_max_ms == 0 {
            return Err(malformed("HELLO has a beat or ttl_max of zero".into()));
        }
        Ok(hello)
    }
}
