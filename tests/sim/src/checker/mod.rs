//! The all-knowing ledger, and the invariants I1 to I18 that are checked against it.
//!
//! One module per family. The checker only looks: it never changes a node, and draws no random numbers. Not here:
//! I9 and I11, which need REVIVE and a store; I12, I13 and I18 stand where their inputs are made (`world`).

pub(crate) mod calls;
pub(crate) mod credit;
pub(crate) mod flows;
pub(crate) mod objects;
pub(crate) mod reports;
pub(crate) mod sessions;

use std::fmt;

/// An invariant of INVARIANTS.md.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Invariant {
    /// What is taken is a prefix of what was written, byte for byte.
    I1,
    /// Without loss, everything written is taken in bounded time after healing; nothing is lost without a cause.
    I2,
    /// Reported numbers are true and monotone.
    I3,
    /// At most one live session per pair; both ends agree.
    I4,
    /// What the sender forgot is held by the receiver.
    I5,
    /// Memory is bounded.
    I6,
    /// The owner knows before the holder sweeps.
    I7,
    /// Objects end once, and never beside a handler.
    I8,
    /// Nothing but reads after the end; the state graph.
    I10,
    /// Stale input changes nothing.
    I12,
    /// The contract of `handle` and `poll`; no panic.
    I13,
    /// One stopped reader delays nothing else.
    I14,
    /// Calls run at most once, and `not_run` means not run.
    I15,
    /// Wrong proofs, REFUSE and WRONG_NODE change no session.
    I16,
    /// The same seed gives the same bytes.
    I17,
    /// Nothing is left when all is closed.
    I18,
    /// What the scenario declares must have come of it.
    Scenario,
}

/// A broken invariant.
#[derive(Debug, Clone)]
pub(crate) struct Failure {
    pub invariant: Invariant,
    pub what: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.invariant, self.what)
    }
}

/// Fine, or the invariant that broke.
pub(crate) type Verdict<T = ()> = Result<T, Failure>;

/// A failure as the answer of a check.
pub(crate) fn broken<T>(invariant: Invariant, what: String) -> Verdict<T> {
    Err(Failure { invariant, what })
}

/// Fails with the invariant and the text unless the condition holds.
macro_rules! ensure {
    ($condition:expr, $invariant:ident, $($text:tt)+) => {
        if !$condition {
            return $crate::checker::broken($crate::checker::Invariant::$invariant, format!($($text)+));
        }
    };
}
pub(crate) use ensure;

/// The ledgers of one run.
#[derive(Debug, Default)]
pub(crate) struct Checker {
    pub flows: flows::Flows,
    pub sessions: sessions::Sessions,
    pub calls: calls::Calls,
    pub objects: objects::Objects,
    pub reports: reports::Reports,
    pub credit: credit::Credit,
}
