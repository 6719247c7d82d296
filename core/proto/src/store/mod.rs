//! What a node asks of its store, and how what it keeps there is written (D1, S6).
//!
//! A store is an ordered map from keys to values, outside. What changes in it comes as numbered batches, each of which
//! is there whole or not at all, and none before those with lower numbers. Not here: files, and when something is
//! stored (`session::keeping`). Invariants: nothing that depends on a batch is said before it is done; a record that
//! cannot be read costs its session, and no other.

pub(crate) mod record;

/// One change in a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A value, in place of what the key had.
    Put {
        /// Where.
        key: Vec<u8>,
        /// What.
        value: Vec<u8>,
    },
    /// No key that begins so has a value any more.
    Delete {
        /// How the keys begin.
        prefix: Vec<u8>,
    },
    /// Of the keys from `first` up to and with `last`, only the greatest one stays.
    Prune {
        /// Lowest key.
        first: Vec<u8>,
        /// Highest key.
        last: Vec<u8>,
    },
}

/// A key and its value.
pub type Record = (Vec<u8>, Vec<u8>);
