//! One copy of what several holders have equal.
//!
//! Not a cache: everybody makes his own first, and lets it go when an equal one is held already. Invariant: what is
//! shared is never changed.

use std::sync::{Arc, Weak};

/// This one, or the equal one that somebody still holds; `held` then knows the answer.
pub(crate) fn equal_of<T: PartialEq>(held: &mut Weak<T>, fresh: T) -> Arc<T> {
    if let Some(held) = held.upgrade().filter(|held| **held == fresh) {
        return held;
    }
    let fresh = Arc::new(fresh);
    *held = Arc::downgrade(&fresh);
    fresh
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_values_are_one_for_as_long_as_somebody_holds_them() {
        let mut held = Weak::new();
        let first = equal_of(&mut held, vec![1]);
        assert!(Arc::ptr_eq(&first, &equal_of(&mut held, vec![1])));
        let second = equal_of(&mut held, vec![2]);
        assert_eq!((&*first, &*second), (&vec![1], &vec![2]));
        drop(second);
        assert!(held.upgrade().is_none());
        assert_eq!(*equal_of(&mut held, vec![2]), [2]);
    }
}
