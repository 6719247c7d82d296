//! The one table of error codes, and the error value that people read.
//!
//! The C constants, the Python exceptions and the Node `code` strings are made from [`Code::ALL`]; a number
//! is never reused. This module decides nothing: it names what happened, to what class it belongs (what the
//! program should do about it) and what a person can do.

use std::fmt;

/// What a program should do about an error; it decides by class, a person reads the message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Class {
    /// The same request may work later; nothing is lost.
    Retry,
    /// Would block: wait for the event that says there is room (or data), then ask again.
    Again,
    /// Somebody decided against it: trust, identity or authority.
    Denied,
    /// Continuity is broken; what may be missing is reported.
    Lost,
    /// The request was wrong for this object or moment.
    Misuse,
    /// A stated limit is reached.
    Limit,
    /// A defect in Clerver or in the peer's implementation.
    Bug,
}

impl Class {
    /// Lower-case name, as it appears in messages and in every binding.
    pub fn name(self) -> &'static str {
        match self {
            Class::Retry => "retry",
            Class::Again => "again",
            Class::Denied => "denied",
            Class::Lost => "lost",
            Class::Misuse => "misuse",
            Class::Limit => "limit",
            Class::Bug => "bug",
        }
    }
}

macro_rules! codes {
    ($($(#[$doc:meta])* $variant:ident = $number:literal, $name:literal, $class:ident, $remedy:literal;)*) => {
        /// A stable error code. The number goes on the wire and, negated, into the C constant `CLV_E_<NAME>`.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u16)]
        pub enum Code { $($(#[$doc])* $variant = $number,)* }

        impl Code {
            /// Every code, in order of number.
            pub const ALL: &'static [Code] = &[$(Code::$variant,)*];

            /// Upper-case name without a prefix, such as `TIMEOUT`.
            pub fn name(self) -> &'static str {
                match self { $(Code::$variant => $name,)* }
            }

            /// What a program should do about it.
            pub fn class(self) -> Class {
                match self { $(Code::$variant => Class::$class,)* }
            }

            /// What a person can do about it, when the error itself knows nothing better.
            pub fn remedy(self) -> &'static str {
                match self { $(Code::$variant => $remedy,)* }
            }

            /// The code of a number from the wire or from C; `None` when this version does not know it.
            pub fn from_number(number: u16) -> Option<Code> {
                match number { $($number => Some(Code::$variant),)* _ => None }
            }
        }
    };
}

codes! {
    /// The time allowed ran out; the operation may still take effect.
    Timeout = 1, "TIMEOUT", Retry, "allow more time, or look at the session's state and last link error";
    /// Would block: no room, or nothing there yet.
    Again = 2, "AGAIN", Again, "wait for the writable or readable event and try again";
    /// No address of the peer could be reached.
    Unreachable = 3, "UNREACHABLE", Retry, "check the addresses, the network and that the peer listens";
    /// A host name could not be resolved.
    Resolve = 4, "RESOLVE", Retry, "check the host name and the resolver";
    /// The peer is too busy to take this on.
    Busy = 5, "BUSY", Retry, "try again after a pause";
    /// The node is draining and takes no new work.
    Draining = 6, "DRAINING", Retry, "use another node, or try again after the restart";
    /// A link broke; the session itself may live on.
    LinkFailed = 7, "LINK_FAILED", Retry, "nothing to do: the session redials by itself";
    /// The call was certainly not run by the peer.
    NotRun = 8, "NOT_RUN", Retry, "it is safe to call again";
    /// The operation was cancelled by its caller.
    Cancelled = 9, "CANCELLED", Retry, "start it again if it is still wanted";
    /// The wait was interrupted by a signal.
    Interrupted = 10, "INTERRUPTED", Retry, "handle the signal and call again";

    /// It is queued, and not known to be stored yet.
    Unconfirmed = 11, "UNCONFIRMED", Retry, "wait for it with confirm; it must not be sent again";
    /// The store cannot take anything now: its disk is full or fails.
    Store = 12, "STORE", Retry, "free space, or repair the disk; what waits is stored then";

    /// The peer's host id is not trusted here.
    Denied = 20, "DENIED", Denied, "add the peer's host id to the authorized file of the host that refused";
    /// The peer's host id is on the block list.
    Blocked = 21, "BLOCKED", Denied, "remove the host id from the block list if this was not intended";
    /// The peer is not who it should be: its key changed or is not the one asked for.
    WrongIdentity = 22, "WRONG_IDENTITY", Denied, "if the key change is genuine, remove the old line from known_hosts; otherwise somebody is in the way";
    /// Another node answers at this address.
    WrongNode = 23, "WRONG_NODE", Denied, "check the address, or set any_node to accept another node of the same name";
    /// The proof that an end belongs to a session is wrong.
    BadProof = 24, "BAD_PROOF", Denied, "nothing to do: the link was closed and the session is untouched";
    /// The two sides speak no common version.
    Version = 25, "VERSION", Denied, "update the older side";
    /// The peer's level is below what the service, object kind or listener asks.
    Level = 26, "LEVEL", Denied, "raise the peer's level in the authorized file";
    /// A key or trust file cannot be used as it is.
    KeyFile = 27, "KEY_FILE", Denied, "make the file readable by its owner only (chmod 600) and well formed";
    /// The clocks differ by more than max_skew allows.
    Skew = 28, "SKEW", Denied, "set the clock, or raise max_skew";
    /// A HELLO was replayed from another link.
    Replayed = 29, "REPLAYED", Denied, "nothing to do: the link was closed";

    /// Continuity is broken: the peer is gone or forgot the session.
    Lost = 40, "LOST", Lost, "connect again; the report says what may be missing";
    /// The object was closed in good order.
    Closed = 41, "CLOSED", Lost, "open a new one";
    /// The peer ended this direction before its end.
    Reset = 42, "RESET", Lost, "the channel is over; what was received before stays readable";
    /// The peers' counts do not fit each other: data is missing.
    Discontinuity = 43, "DISCONTINUITY", Lost, "connect again; restore from the application's own records";
    /// It cannot be known whether the call was run.
    Unknown = 44, "UNKNOWN", Lost, "ask the peer what happened before calling again, or make the service idempotent";
    /// A newer epoch of the same end took over.
    Fenced = 45, "FENCED", Lost, "stop: another process owns this end now";
    /// The channel has no more data: the peer ended it.
    End = 46, "END", Lost, "nothing to do: everything was read";
    /// The peer stopped reading this channel.
    Stopped = 47, "STOPPED", Lost, "stop writing to this channel";
    /// The call ran and its handler reported a failure.
    CallFailed = 48, "CALL_FAILED", Lost, "read the message of the handler";
    /// The session was replaced by a newer one of the same host and name.
    Replaced = 49, "REPLACED", Lost, "another process of this name took over; do not redial";

    /// No such handle, or one that has ended.
    Handle = 60, "HANDLE", Misuse, "use a handle that is still open";
    /// An argument is not valid.
    Argument = 61, "ARG", Misuse, "correct the argument";
    /// A node cannot pair with itself.
    SelfPair = 62, "SELF", Misuse, "connect to another node; this address leads back here";
    /// The address, store or name is in use by another process.
    InUse = 63, "IN_USE", Misuse, "stop the other process or choose another one";
    /// Not possible in this state.
    State = 64, "STATE", Misuse, "look at the state first";
    /// The peer offers no such service.
    NoService = 65, "NO_SERVICE", Misuse, "check the service's name and that the peer registered it";
    /// A blocking call from inside a callback, or on a driving thread.
    InCallback = 66, "IN_CALLBACK", Misuse, "use the try_ form, or move the work to another thread";
    /// The handle belongs to the process before fork.
    Forked = 67, "FORKED", Misuse, "open a new node in the child";
    /// A configuration value is not valid.
    Config = 68, "CONFIG", Misuse, "correct the option named in the message";
    /// Text is not valid UTF-8.
    Encoding = 69, "ENCODING", Misuse, "pass UTF-8";
    /// The options differ from those of the session that is shared.
    Mismatch = 70, "MISMATCH", Misuse, "leave the options unset, or close the other session first";
    /// This feature is parsed but not built yet.
    Unsupported = 71, "UNSUPPORTED", Misuse, "use a peer of a version that supports it";
    /// `handle` was called before `poll` answered `None`.
    NotDrained = 72, "NOT_DRAINED", Misuse, "call poll until it returns None after each handle";
    /// The object is poisoned or dead.
    Poisoned = 73, "POISONED", Misuse, "the owner is gone: release what you hold";

    /// A message or frame is larger than its limit.
    Size = 80, "SIZE", Limit, "send less at once, or raise message_bytes_max on both sides";
    /// A stated limit is reached.
    Limit = 81, "LIMIT", Limit, "close what is not needed, or raise the limit named in the message";
    /// The peer takes no further channel now.
    Channels = 82, "CHANNELS", Limit, "close channels, or wait until the peer grants more";
    /// A peer was admitted too often or too slowly.
    Admission = 83, "ADMISSION", Limit, "slow down; see the admission limits of the listener";

    /// The peer broke the protocol.
    Protocol = 100, "PROTOCOL", Bug, "report it with the log of both sides";
    /// A defect in Clerver.
    Bug = 101, "BUG", Bug, "report it with the log";
    /// The operating system refused something it should not.
    System = 102, "SYSTEM", Bug, "see the system's message";
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// An error for the person who reads it: what was tried, with whom, what happened; the code carries class and
/// remedy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    /// Stable code; programs decide by it or by its class.
    pub code: Code,
    /// What was tried, with whom, and what happened, as one clause without a full stop.
    pub message: String,
    /// What to do, when something more exact than the code's own remedy is known.
    pub remedy: Option<String>,
}

impl Error {
    /// An error of this code; `message` says what was tried, with whom, and what happened.
    pub fn new(code: Code, message: impl Into<String>) -> Error {
        Error { code, message: message.into(), remedy: None }
    }

    /// The same error with a remedy that fits the case better than the code's own.
    pub fn with_remedy(mut self, remedy: impl Into<String>) -> Error {
        self.remedy = Some(remedy.into());
        self
    }

    /// The class of the code.
    pub fn class(&self) -> Class {
        self.code.class()
    }

    /// What to do about it.
    pub fn remedy(&self) -> &str {
        self.remedy.as_deref().unwrap_or_else(|| self.code.remedy())
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} [{}, {}]: {}", self.message, self.code.name(), self.class().name(), self.remedy())
    }
}

impl std::error::Error for Error {}

/// Shorthand for results with [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn numbers_and_names_are_unique_and_reversible() {
        let mut numbers = BTreeSet::new();
        let mut names = BTreeSet::new();
        for &code in Code::ALL {
            assert!(numbers.insert(code as u16), "{code} reuses a number");
            assert!(names.insert(code.name()), "{code} reuses a name");
            assert_eq!(Code::from_number(code as u16), Some(code));
            assert!(!code.remedy().is_empty());
        }
        assert_eq!(Code::from_number(0), None, "0 is OK in C and never an error");
    }

    #[test]
    fn an_error_says_what_happened_its_code_class_and_remedy() {
        let text = Error::new(Code::Unreachable, "connect to 127.0.0.1:9: connection refused").to_string();
        assert_eq!(
            text,
            "connect to 127.0.0.1:9: connection refused [UNREACHABLE, retry]: check the addresses, the network and that the peer listens"
        );
    }
}
