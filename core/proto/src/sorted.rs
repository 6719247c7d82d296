//! A map for few keys that mostly rise: pairs in the order of their keys, in one piece of memory.
//!
//! Not for many keys: putting one in or taking one out moves what stands behind it. In return it costs nothing
//! while it is empty, a search stays within few cache lines, and the back is cheap. Invariant: keys rise.

/// Up to so many pairs take no memory for more: many tables of an idle session have one.
const EXACT_MAX: usize = 4;

/// See the module.
#[derive(Debug, Clone)]
pub(crate) struct Sorted<K, V> {
    pairs: Vec<(K, V)>,
}

impl<K, V> Default for Sorted<K, V> {
    fn default() -> Self {
        Sorted { pairs: Vec::new() }
    }
}

impl<K: Ord + Copy, V> Sorted<K, V> {
    /// Where a key is, or where it would go.
    fn place(&self, key: K) -> Result<usize, usize> {
        match self.pairs.last() {
            Some((last, _)) if *last == key => Ok(self.pairs.len() - 1),
            Some((last, _)) if *last > key => self.pairs.binary_search_by_key(&key, |(known, _)| *known),
            _ => Err(self.pairs.len()),
        }
    }

    pub(crate) fn get(&self, key: K) -> Option<&V> {
        self.place(key).ok().map(|at| &self.pairs[at].1)
    }

    pub(crate) fn get_mut(&mut self, key: K) -> Option<&mut V> {
        self.place(key).ok().map(|at| &mut self.pairs[at].1)
    }

    pub(crate) fn contains(&self, key: K) -> bool {
        self.place(key).is_ok()
    }

    /// Puts a pair in; answers the value that stood in its place.
    pub(crate) fn insert(&mut self, key: K, value: V) -> Option<V> {
        match self.place(key) {
            Ok(at) => Some(std::mem::replace(&mut self.pairs[at].1, value)),
            Err(at) => {
                self.put(at, key, value);
                None
            }
        }
    }

    /// The value of a key, made now if there is none.
    pub(crate) fn get_or_insert_with(&mut self, key: K, make: impl FnOnce() -> V) -> &mut V {
        let at = self.place(key).unwrap_or_else(|at| {
            self.put(at, key, make());
            at
        });
        &mut self.pairs[at].1
    }

    fn put(&mut self, at: usize, key: K, value: V) {
        if self.pairs.len() < EXACT_MAX {
            self.pairs.reserve_exact(1);
        }
        if at == self.pairs.len() {
            self.pairs.push((key, value))
        } else {
            self.pairs.insert(at, (key, value))
        }
    }

    pub(crate) fn remove(&mut self, key: K) -> Option<V> {
        let at = self.place(key).ok()?;
        Some(self.pairs.remove(at).1)
    }

    pub(crate) fn retain(&mut self, mut keep: impl FnMut(K, &mut V) -> bool) {
        self.pairs.retain_mut(|(key, value)| keep(*key, value));
    }

    pub(crate) fn clear(&mut self) {
        self.pairs.clear();
    }

    pub(crate) fn len(&self) -> usize {
        self.pairs.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }

    pub(crate) fn first_key(&self) -> Option<K> {
        self.pairs.first().map(|(key, _)| *key)
    }

    pub(crate) fn into_iter(self) -> impl Iterator<Item = (K, V)> {
        self.pairs.into_iter()
    }

    pub(crate) fn keys(&self) -> impl DoubleEndedIterator<Item = K> + '_ {
        self.pairs.iter().map(|(key, _)| *key)
    }

    pub(crate) fn values(&self) -> impl Iterator<Item = &V> {
        self.pairs.iter().map(|(_, value)| value)
    }

    pub(crate) fn values_mut(&mut self) -> impl Iterator<Item = &mut V> {
        self.pairs.iter_mut().map(|(_, value)| value)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (K, &V)> {
        self.pairs.iter().map(|(key, value)| (*key, value))
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (K, &mut V)> {
        self.pairs.iter_mut().map(|(key, value)| (*key, value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    proptest! {
        #[test]
        fn behaves_like_a_map(steps in proptest::collection::vec((any::<bool>(), 0u64..20, any::<u8>()), 0..60)) {
            let (mut sorted, mut model) = (Sorted::default(), BTreeMap::new());
            for (add, key, value) in steps {
                if add {
                    sorted.insert(key, value);
                    model.insert(key, value);
                } else {
                    prop_assert_eq!(sorted.remove(key), model.remove(&key));
                }
                prop_assert_eq!(sorted.get(key), model.get(&key));
                prop_assert!(sorted.iter().eq(model.iter().map(|(&key, value)| (key, value))));
            }
        }
    }
}
