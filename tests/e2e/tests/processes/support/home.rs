//! A host directory of its own for each test: key and trust files.

use clerver::identity::HostKey;
use clerver::trust::TrustStore;
use clerver_proto::id::HostId;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// One host, as Clerver sees it; removed when dropped.
pub(crate) struct Home {
    dir: TempDir,
    key: HostKey,
}

impl Home {
    pub(crate) fn new() -> Home {
        let dir = tempfile::Builder::new().prefix("clerver-e2e-").tempdir().unwrap();
        let key = HostKey::load_or_create(&dir.path().join("home")).unwrap();
        Home { dir, key }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.dir.path().join("home")
    }

    pub(crate) fn key_file(&self) -> PathBuf {
        self.path().join("host.key")
    }

    pub(crate) fn host_id(&self) -> HostId {
        self.key.host_id()
    }

    /// Lets this host in from now on; a node that runs already does not notice.
    pub(crate) fn authorize(&self, host: HostId) {
        trust(&self.path()).authorize(host, 1, "e2e").unwrap();
    }
}

fn trust(home: &Path) -> TrustStore {
    TrustStore::load(home).unwrap()
}
