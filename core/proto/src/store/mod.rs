//! What a node asks of its store, and how what it keeps there is written (D1, S6).
//!
//! A store is an ordered map from keys to values, outside. What changes in it comes as numbered batches, each of which
//! is there whole or not at all, and none before those with lower numbers. Not here: files, and when something is
//! stored (`session::keeping`). Invariants: nothing that depends on a batch is said before it is done; a record that
//! cannot be read costs its session, and no other.

pub(crate) mod record;

use std::collections::BTreeMap;

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

impl Change {
    /// What a store does with it, said with a map: what simulated stores do.
    pub fn apply(self, to: &mut BTreeMap<Vec<u8>, Vec<u8>>) {
        match self {
            Change::Put { key, value } => drop(to.insert(key, value)),
            Change::Delete { prefix } => to.retain(|key, _| !key.starts_with(&prefix)),
            Change::Prune { first, last } => {
                let keys: Vec<Vec<u8>> = to.range(first..=last).map(|(key, _)| key.clone()).collect();
                keys.iter().rev().skip(1).for_each(|key| drop(to.remove(key)));
            }
        }
    }
}

/// A key and its value.
pub type Record = (Vec<u8>, Vec<u8>);
