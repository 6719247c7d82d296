//! A session that outlives its connections.
//!
//! Two processes that use this crate are *clervers*: each is client and server at once. [`api`] is the way
//! in: open a [`Node`] with [`Options`], connect or accept a [`Session`], and use channels, calls and living
//! objects on it. The session survives what happens to its connections; when a peer really is gone, the
//! objects kept for it are ended by their destructors.
//!
//! The modules below it are its parts: key and directory of the host (`identity`), whom it believes
//! (`trust`), links in memory (`tls`), addresses and options as text; the engine between them and the
//! protocol is private.

pub mod address;
pub mod api;
mod engine;
pub mod identity;
pub mod keyed_hash;
pub mod options;
mod sharing;
pub mod tls;
pub mod trust;

pub use api::{
    Call, CallContext, Channel, CloseReport, ConnectOptions, Connecting, DeferredReply, Delivery,
    DescriptorKind, DrainReport, Kind, ListenOptions, LogLevel, Node, NodeEvent, Payload, ServiceOptions,
    Session, SessionEvent, StoredMark, Undelivered, Wait,
};
pub use engine::{process_mark, set_interrupt_check};

pub use clerver_proto::error::{Class, Code, Error, Result};
pub use clerver_proto::id::{ChannelId, HostId, NodeId, ObjectId, SessionId, Sid};
pub use clerver_proto::limits::EMBALMED_BYTES_MAX;
pub use clerver_proto::node::{
    AddressOrigin, ChannelOptions, ChannelReport, Counters, LossReport, MoveCause, Outcome, PeerAddress,
    SessionInfo, SessionState,
};
pub use clerver_proto::object::{ObjectInfo, ObjectState, TaskRecord};
pub use options::Options;

/// The example of the README is compiled with the tests.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
