//! A map that has one entry in most nodes and thousands in a few: a sorted vector while it is small, then a tree.
//!
//! A tree alone has room for eleven entries in its smallest piece, which a process with many idle nodes pays for each
//! of its tables. Invariant: a small map has at most `FEW_MAX` entries; one that became large stays a tree.

use crate::sorted::Sorted;
use std::collections::BTreeMap;

/// More entries than this are kept in a tree.
const FEW_MAX: usize = 8;

#[derive(Debug, Clone)]
enum Entries<K, V> {
    Few(Sorted<K, V>),
    #[expect(clippy::box_collection, reason = "otherwise every small map would be a word larger")]
    Many(Box<BTreeMap<K, V>>),
}

/// See the module. Its methods are those of `BTreeMap`, and so is its order.
#[derive(Debug, Clone)]
pub struct SmallMap<K, V>(Entries<K, V>);

impl<K, V> Default for SmallMap<K, V> {
    fn default() -> Self {
        SmallMap(Entries::Few(Sorted::default()))
    }
}

impl<K: Ord + Copy, V> SmallMap<K, V> {
    /// The value of a key.
    pub fn get(&self, key: &K) -> Option<&V> {
        match &self.0 {
            Entries::Few(few) => few.get(*key),
            Entries::Many(many) => many.get(key),
        }
    }

    /// The value of a key, to be changed.
    pub fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        match &mut self.0 {
            Entries::Few(few) => few.get_mut(*key),
            Entries::Many(many) => many.get_mut(key),
        }
    }

    /// Whether there is such a key.
    pub fn contains_key(&self, key: &K) -> bool {
        self.get(key).is_some()
    }

    /// The value of a key, made now if there is none.
    pub fn get_or_insert_with(&mut self, key: K, make: impl FnOnce() -> V) -> &mut V {
        self.make_room(key);
        match &mut self.0 {
            Entries::Few(few) => few.get_or_insert_with(key, make),
            Entries::Many(many) => many.entry(key).or_insert_with(make),
        }
    }

    /// Puts a value in; answers the one that stood in its place.
    pub fn insert(&mut self, key: K, value: V) -> Option<V> {
        self.make_room(key);
        match &mut self.0 {
            Entries::Few(few) => few.insert(key, value),
            Entries::Many(many) => many.insert(key, value),
        }
    }

    /// Becomes a tree if this key is one more than a vector shall have.
    fn make_room(&mut self, key: K) {
        if let Entries::Few(few) = &mut self.0
            && few.len() == FEW_MAX
            && !few.contains(key)
        {
            self.0 = Entries::Many(Box::new(std::mem::take(few).into_iter().collect()));
        }
    }

    /// Takes a value out.
    pub fn remove(&mut self, key: &K) -> Option<V> {
        match &mut self.0 {
            Entries::Few(few) => few.remove(*key),
            Entries::Many(many) => many.remove(key),
        }
    }

    /// Drops the entries that are not to be kept.
    pub fn retain(&mut self, mut keep: impl FnMut(&K, &mut V) -> bool) {
        match &mut self.0 {
            Entries::Few(few) => few.retain(|key, value| keep(&key, value)),
            Entries::Many(many) => many.retain(keep),
        }
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        match &self.0 {
            Entries::Few(few) => few.len(),
            Entries::Many(many) => many.len(),
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The lowest key.
    pub fn first_key(&self) -> Option<K> {
        match &self.0 {
            Entries::Few(few) => few.first_key(),
            Entries::Many(many) => many.first_key_value().map(|(key, _)| *key),
        }
    }

    /// All entries, keys rising.
    pub fn iter(&self) -> impl Iterator<Item = (K, &V)> {
        let (few, many) = match &self.0 {
            Entries::Few(few) => (Some(few), None),
            Entries::Many(many) => (None, Some(&**many)),
        };
        let many = many.into_iter().flatten().map(|(key, value)| (*key, value));
        few.into_iter().flat_map(Sorted::iter).chain(many)
    }

    /// All entries, with values to be changed, keys rising.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (K, &mut V)> {
        let (few, many) = match &mut self.0 {
            Entries::Few(few) => (Some(few), None),
            Entries::Many(many) => (None, Some(&mut **many)),
        };
        let many = many.into_iter().flatten().map(|(key, value)| (*key, value));
        few.into_iter().flat_map(Sorted::iter_mut).chain(many)
    }

    /// The keys, rising.
    pub fn keys(&self) -> impl Iterator<Item = K> {
        self.iter().map(|(key, _)| key)
    }

    /// The values, in the order of their keys.
    pub fn values(&self) -> impl Iterator<Item = &V> {
        self.iter().map(|(_, value)| value)
    }

    /// The values, to be changed, in the order of their keys.
    pub fn values_mut(&mut self) -> impl Iterator<Item = &mut V> {
        self.iter_mut().map(|(_, value)| value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn is_no_larger_than_a_tree() {
        assert_eq!(size_of::<SmallMap<u64, u64>>(), size_of::<BTreeMap<u64, u64>>());
    }

    proptest! {
        #[test]
        fn behaves_like_a_tree_whether_small_or_large(
            steps in proptest::collection::vec((0u8..4, 0u64..20, any::<u8>()), 0..80),
        ) {
            let (mut map, mut model) = (SmallMap::default(), BTreeMap::new());
            for (step, key, value) in steps {
                match step {
                    0 => prop_assert_eq!(map.insert(key, value), model.insert(key, value)),
                    1 => {
                        let made = *map.get_or_insert_with(key, || value);
                        prop_assert_eq!(made, *model.entry(key).or_insert(value));
                    }
                    2 => prop_assert_eq!(map.remove(&key), model.remove(&key)),
                    _ => {
                        map.retain(|&known, _| known != key);
                        model.retain(|&known, _| known != key);
                    }
                }
                prop_assert_eq!(map.get(&key), model.get(&key));
                prop_assert_eq!(map.first_key(), model.keys().next().copied());
                prop_assert_eq!((map.len(), map.is_empty()), (model.len(), model.is_empty()));
                map.values_mut().chain(model.values_mut()).for_each(|value| *value = value.wrapping_add(1));
                prop_assert!(map.iter().eq(model.iter().map(|(&key, value)| (key, value))));
            }
        }
    }
}
