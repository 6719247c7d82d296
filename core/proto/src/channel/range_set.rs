//! A set of byte offsets, kept as ranges that neither touch nor overlap.

use std::collections::BTreeMap;
use std::ops::Range;

/// Offsets as disjoint ranges, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RangeSet {
    ranges: BTreeMap<u64, u64>,
}

impl RangeSet {
    /// Adds a range.
    pub fn insert(&mut self, range: Range<u64>) {
        if range.is_empty() {
            return;
        }
        let (mut start, mut end) = (range.start, range.end);
        if let Some((&before, &before_end)) = self.ranges.range(..=start).next_back()
            && before_end >= start
        {
            start = before;
            end = end.max(before_end);
        }
        while let Some((&next, &next_end)) = self.ranges.range(start..=end).next() {
            end = end.max(next_end);
            self.ranges.remove(&next);
        }
        self.ranges.insert(start, end);
    }

    /// Takes a range out.
    pub fn remove(&mut self, range: Range<u64>) {
        if range.is_empty() {
            return;
        }
        if let Some((&before, &before_end)) = self.ranges.range(..range.start).next_back()
            && before_end > range.start
        {
            self.ranges.insert(before, range.start);
            if before_end > range.end {
                self.ranges.insert(range.end, before_end);
            }
        }
        while let Some((&next, &next_end)) = self.ranges.range(range.start..range.end).next() {
            self.ranges.remove(&next);
            if next_end > range.end {
                self.ranges.insert(range.end, next_end);
            }
        }
    }

    /// The first range.
    pub fn first(&self) -> Option<Range<u64>> {
        self.ranges.iter().next().map(|(&start, &end)| start..end)
    }

    /// The ranges, in order.
    pub fn iter(&self) -> impl Iterator<Item = Range<u64>> + '_ {
        self.ranges.iter().map(|(&start, &end)| start..end)
    }

    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// Takes everything out.
    pub fn clear(&mut self) {
        self.ranges.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #[test]
        fn behaves_like_a_set_of_offsets(
            steps in proptest::collection::vec((any::<bool>(), 0u64..40, 0u64..12), 0..40),
        ) {
            let mut set = RangeSet::default();
            let mut model = BTreeSet::new();
            for (add, start, len) in steps {
                if add {
                    set.insert(start..start + len);
                    model.extend(start..start + len);
                } else {
                    set.remove(start..start + len);
                    model.retain(|offset| !(start..start + len).contains(offset));
                }
                let offsets: BTreeSet<u64> = set.iter().flatten().collect();
                prop_assert_eq!(&offsets, &model);
                let ranges: Vec<_> = set.iter().collect();
                prop_assert!(ranges.windows(2).all(|pair| pair[0].end < pair[1].start));
            }
        }
    }
}
