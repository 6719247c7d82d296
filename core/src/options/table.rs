//! The one list of options. Everything else about them (fields, setters, environment, file, reference) is
//! made from it.
//!
//! Invariants: an option is named here once, with its unit in the name, and never renamed; a number without
//! a unit in its name is a count or a level.

use super::Options;
use super::value::{FromValue, Kind, Value};
use std::path::{Path, PathBuf};

/// What is known about one option.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OptionInfo {
    /// Its name in `Options::set` and in files, such as `beat_ms`.
    pub name: &'static str,
    /// What values it takes.
    pub kind: Kind,
    /// The default, as text; `None` means that it is not set.
    pub default: &'static str,
    /// Smallest and largest number, for numbers.
    pub range: (u64, u64),
    /// Meaning, default in other words, and cost, line by line.
    pub doc: &'static [&'static str],
    /// False while the feature behind it is not built: setting it is an error.
    pub is_supported: bool,
}

impl OptionInfo {
    /// The environment variable that sets it, such as `CLERVER_BEAT_MS`.
    pub fn variable(&self) -> String {
        format!("CLERVER_{}", self.name.to_ascii_uppercase())
    }
}

macro_rules! field {
    (number) => { u64 };
    (optional) => { Option<u64> };
    (flag) => { bool };
    (text) => { Option<String> };
    (path) => { Option<PathBuf> };
    (choice) => { String };
}

macro_rules! argument {
    (number) => {
        u64
    };
    (optional) => {
        u64
    };
    (flag) => {
        bool
    };
    (text) => {
        &str
    };
    (path) => {
        &Path
    };
    (choice) => {
        &str
    };
}

macro_rules! kind {
    (number) => {
        Kind::Number
    };
    (optional) => {
        Kind::Number
    };
    (flag) => {
        Kind::Flag
    };
    (text) => {
        Kind::Text
    };
    (path) => {
        Kind::Path
    };
    (choice $($word:literal)|+) => {
        Kind::Choice(&[$($word),+])
    };
}

macro_rules! default {
    (choice $default:literal) => {
        String::from($default)
    };
    ($kind:ident $default:expr) => {
        $default
    };
}

macro_rules! range {
    () => {
        (0, u64::MAX)
    };
    ($min:literal $max:literal) => {
        ($min, $max)
    };
}

macro_rules! is_supported {
    () => {
        true
    };
    (unsupported) => {
        false
    };
}

macro_rules! options {
    ($($(#[doc = $doc:literal])+ $name:ident: $kind:ident $(($($word:literal)|+))? = $default:expr
        $(, $min:literal ..= $max:literal)? $(, $unsupported:ident)?;)*) => {
        /// Every option, in the order of the reference.
        pub const OPTIONS: &[OptionInfo] = &[$(OptionInfo {
            name: stringify!($name),
            kind: kind!($kind $($($word)|+)?),
            default: stringify!($default),
            range: range!($($min $max)?),
            doc: &[$($doc),+],
            is_supported: is_supported!($($unsupported)?),
        },)*];

        /// The options as they count, after all sources were read and checked: plain data.
        #[derive(Debug, Clone, PartialEq, Eq)]
        #[non_exhaustive]
        pub struct Settings {
            $(
                $(#[doc = $doc])+
                #[doc = concat!("\n\nDefault: `", stringify!($default), "`.")]
                $(#[doc = concat!(" Range: ", stringify!($min), " to ", stringify!($max), ".")])?
                pub $name: field!($kind),
            )*
        }

        impl Default for Settings {
            fn default() -> Settings {
                Settings { $($name: default!($kind $default),)* }
            }
        }

        impl Settings {
            /// Defaults, with what `given` knows in their place.
            pub(super) fn of<'a>(given: impl Fn(&'static str) -> Option<&'a Value>) -> Settings {
                let mut settings = Settings::default();
                $(if let Some(value) = given(stringify!($name)).and_then(FromValue::from_value) {
                    settings.$name = value;
                })*
                settings
            }
        }

        impl Options {
            $(
                $(#[doc = $doc])+
                #[doc = concat!("\n\nDefault: `", stringify!($default), "`.")]
                $(#[doc = concat!(" Range: ", stringify!($min), " to ", stringify!($max), ".")])?
                #[must_use]
                pub fn $name(mut self, value: argument!($kind)) -> Options {
                    self.put_by_code(stringify!($name), Value::from(value));
                    self
                }
            )*
        }
    };
}

options! {
    /// Milliseconds between two heartbeats on a link. Costs about 60 bytes each way per beat and link; a
    /// break is noticed after 1.5 beats.
    beat_ms: number = 1_000, 50 ..= 3_600_000;
    /// Milliseconds without a sign of life until the other side may sweep what this node owns there. Raised
    /// to 4 beats and to the peer's floor when lower. Costs memory at the peer for that long after a crash.
    ttl_ms: number = 10_000, 200 ..= 604_800_000;
    /// The longest TTL in milliseconds that this node grants to a peer.
    ttl_max_ms: number = 120_000, 200 ..= 604_800_000;
    /// The largest message in bytes. A peer may make this node hold one message of this size per session.
    message_bytes_max: number = 16_777_216, 1_024 ..= 1_073_741_824;
    /// Bytes of received data that a session holds for its application at most; at least message_bytes_max
    /// plus 8 KiB for each of channels_max. Used only while the application does not read.
    session_budget_bytes: number = 33_554_432, 65_536 ..= 17_179_869_184;
    /// Open channels of a session at most. Each costs about 1 KiB while it is open.
    channels_max: number = 1_024, 1 ..= 1_024;
    /// Threads that run handlers. A handler that is blocked inside a Clerver call does not count, up to
    /// four times as many. Each costs a stack.
    workers: number = 4, 1 ..= 1_024;
    /// What people call this machine; not set means the system's host name. Identity never depends on it.
    host_name: text = None;
    /// What people call this node; not set means the name of the program.
    node_name: text = None;
    /// The directory of host key and trust files. Not from a file; not set means CLERVER_HOME, else
    /// $XDG_DATA_HOME/clerver, else ~/.local/share/clerver.
    home: path = None;
    /// Milliseconds by which the clocks of two hosts may differ before a session is refused; not set means
    /// never.
    max_skew_ms: optional = None, 0 ..= 31_536_000_000;
    /// Milliseconds that running handlers get before a destructor gives up waiting and `abandon` is called.
    grace_ms: number = 10_000, 0 ..= 3_600_000;
    /// Whether the program drives the node itself, without a thread of the library.
    caller_driven: flag = false;
    /// Who drives the sockets of the node: a thread of its "own", or one that is "shared" by all nodes of this
    /// process that say so. A program of many nodes shares: such a node costs no thread, and no descriptor but
    /// its sockets. But an inline handler that hangs then stops all of them, and they use one core together.
    engine: choice("own" | "shared") = "own";
    /// The longest time in milliseconds that a caller-driven program stays away from its loop; ttl_ms must
    /// be at least four times as long. Without meaning otherwise.
    max_gap_ms: number = 2_000, 1 ..= 86_400_000;
    /// Milliseconds that a session waits at most before it dials again after all addresses failed once; doubled with
    /// each further failure.
    redial_ms: number = 100, 1 ..= 3_600_000;
    /// The longest such pause in milliseconds.
    redial_max_ms: number = 30_000, 1 ..= 3_600_000;
    /// How often all addresses may fail in turn before a connect gives up and a session without a connection is lost.
    /// Not set means that only time counts: the patience of the connect, and ttl_ms.
    redial_attempts: optional = None, 1 ..= 1_000_000;
    /// Whether a session leaves a congested path by itself when it knows another address of its peer.
    roam: flag = true;
    /// Whether this node comes and goes, as a mobile device does: its sessions are embalmed when contact is lost for
    /// longer than the TTL, and go on when it is back. One end that says so is enough.
    volatile: flag = false;
    /// How long in milliseconds an embalmed session is kept; the shorter time of both ends counts. 0: not at all.
    embalm_ms: number = 86_400_000, 0 ..= 2_592_000_000;
    /// Embalmed sessions that this node keeps; of more, the one that was embalmed first is lost.
    embalm_sessions_max: number = 1_000, 0 ..= 1_000_000;
    /// Bytes in channels and objects of embalmed sessions that this node keeps; of more, as above.
    embalm_bytes_max: number = 268_435_456, 0 ..= 1_099_511_627_776;
    /// Whether peers are told the addresses at which this node listens, so that they can dial another one when the
    /// first fails. Loopback addresses are told on this machine only.
    announce: flag = true;
    /// Whether another node that answers at the address is taken instead of refused (WRONG_NODE).
    any_node: flag = false;
    /// Whether a session of this node ends an older one of the same host and name.
    replace: flag = false, unsupported;
    /// The level that a peer needs at the least to be let in by a listener; 1 is every authorised host, 255
    /// only the own user.
    listener_level: number = 1, 1 ..= 255;
    /// Handshakes that run at once; more wait in the system's backlog. 0 means 32 for each core. Each
    /// costs about 50 KiB and a millisecond of a core.
    handshakes_max: number = 0, 0 ..= 4_096;
    /// Milliseconds from accepting a connection to its HELLO; then it is closed.
    handshake_ms: number = 10_000, 100 ..= 600_000;
    /// Connections that one source address may open per second, with bursts of twice as many.
    source_rate_per_s: number = 50, 1 ..= 1_000_000;
    /// Events that wait for the application; then the oldest of the kinds that may be dropped go, and are
    /// counted.
    events_max: number = 4_096, 16 ..= 16_777_216;
    /// Whether a thread that waits for a channel or call alone may read the session's link itself, which saves two
    /// switches between threads per call. Off, the node's thread reads for everybody.
    callers_read: flag = true;
    /// Whether small messages that follow each other closely wait for up to a few ten microseconds, so that many
    /// leave in one packet. Off, every send leaves at once; calls and replies always do.
    gather: flag = true;
    /// The directory in which sessions and stored channels outlive the process: one process at a time, which makes it
    /// if it is missing. Each change is on the disk (fsync) before anything depends on it.
    store_dir: path = None;
}
