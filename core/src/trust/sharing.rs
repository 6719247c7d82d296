//! Contents of trust files that several stores of this process have read.
//!
//! Not a cache: every store reads its files itself.

use super::{KnownHosts, TrustSnapshot};
use crate::sharing::equal_of;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};

/// What the stores of one host directory have in common.
#[derive(Default)]
struct Contents {
    snapshot: Weak<TrustSnapshot>,
    known: Weak<KnownHosts>,
}

static IN_USE: Mutex<BTreeMap<PathBuf, Contents>> = Mutex::new(BTreeMap::new());

fn with_contents<R>(home: &Path, share: impl FnOnce(&mut Contents) -> R) -> R {
    let mut in_use = IN_USE.lock();
    if !in_use.contains_key(home) {
        in_use.retain(|_, held| held.snapshot.strong_count() + held.known.strong_count() > 0);
    }
    share(in_use.entry(home.to_owned()).or_default())
}

pub(super) fn snapshot(home: &Path, fresh: TrustSnapshot) -> Arc<TrustSnapshot> {
    with_contents(home, |held| equal_of(&mut held.snapshot, fresh))
}

pub(super) fn known(home: &Path, fresh: KnownHosts) -> Arc<KnownHosts> {
    with_contents(home, |held| equal_of(&mut held.known, fresh))
}

#[cfg(test)]
mod tests {
    use super::super::TrustStore;
    use super::*;
    use clerver_proto::id::HostId;

    #[test]
    fn stores_of_one_directory_share_what_is_equal_and_keep_what_they_read() {
        let dir = tempfile::tempdir().unwrap();
        let load = || TrustStore::load(dir.path()).unwrap();
        let (mut first, second) = (load(), load());
        let other = tempfile::tempdir().unwrap();
        let elsewhere = TrustStore::load(other.path()).unwrap();
        assert!(Arc::ptr_eq(&first.snapshot, &second.snapshot) && Arc::ptr_eq(&first.known, &second.known));
        assert!(!Arc::ptr_eq(&first.snapshot, &elsewhere.snapshot));
        first.authorize(HostId([1; 32]), 7, "").unwrap();
        first.check_dial("db:1", None, HostId([1; 32])).unwrap();
        assert_eq!((first.level_of(HostId([1; 32])), second.level_of(HostId([1; 32]))), (Some(7), None));
        assert_eq!((first.pinned("db:1").is_some(), second.pinned("db:1")), (true, None));
        let third = load();
        assert!(Arc::ptr_eq(&first.snapshot, &third.snapshot) && Arc::ptr_eq(&first.known, &third.known));
    }
}
