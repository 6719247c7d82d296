//! Whom this host believes: three text files in the host directory, and the answers made from them.
//!
//! `authorized` says who may connect and with what level, `known_hosts` who answered under a name before,
//! `blocked` who may do nothing. This module does not know connections: it is asked with a host id that TLS
//! has proved.
//!
//! Invariants: a file with a bad line is refused as a whole, never read in part, so that a damaged block
//! list is not an empty one; a failed reload leaves what was loaded before; a name is pinned on the disk
//! before it is trusted; stores of one directory share what they read while it is equal, and never see what another
//! one read later.

mod files;
mod lines;
mod sharing;
#[cfg(test)]
mod tests;

use crate::identity::home_dir;
use clerver_proto::error::{Code, Error, Result};
use clerver_proto::id::HostId;
use lines::Known;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The level of the own user on this host.
pub const LEVEL_OWN: u8 = 255;
/// The level of a line in `authorized` that names none.
pub const LEVEL_DEFAULT: u8 = 1;

/// What a successful [`TrustStore::check_dial`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pinned {
    /// The first contact under this name: the host id is now written down. Tell the user.
    New,
    /// The same host id as before under this name.
    Known,
    /// The host id that the address itself asked for; nothing was written down.
    Expected,
}

/// Levels and block list at one moment; shared by links, never changed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TrustSnapshot {
    /// Level of each host in `authorized`; 0 is refused.
    pub levels: BTreeMap<HostId, u8>,
    /// Hosts that may do nothing, whatever their level.
    pub blocked: BTreeSet<HostId>,
    /// Where `authorized` is, for messages; `None` in memory.
    pub authorized_path: Option<PathBuf>,
}

impl TrustSnapshot {
    /// The level in `authorized`, `None` for a host that is not in it. Look at
    /// [`TrustSnapshot::is_blocked`] first.
    pub fn level_of(&self, host: HostId) -> Option<u8> {
        self.levels.get(&host).copied()
    }

    /// Whether the host is on the block list.
    pub fn is_blocked(&self, host: HostId) -> bool {
        self.blocked.contains(&host)
    }

    /// Decides about an incoming link of the host `seen`, from the address `from`. `own` is this host's id,
    /// which is trusted without a line when `is_local` (see `address::is_local_peer`). Answers the level,
    /// at least 1.
    ///
    /// Errors: `BLOCKED`; `DENIED`, for an unknown host with the command and the line that would let it in.
    pub fn admit(&self, seen: HostId, own: HostId, is_local: bool, from: &str) -> Result<u8> {
        if self.is_blocked(seen) {
            return Err(blocked(&format!("let in {from}"), seen));
        }
        if seen == own && is_local {
            return Ok(LEVEL_OWN);
        }
        match self.level_of(seen) {
            Some(0) => {
                let what = format!("let in {from}: host {seen} has level 0");
                let remedy =
                    format!("raise its level in {} if this was not intended", self.authorized_name());
                Err(Error::new(Code::Denied, what).with_remedy(remedy))
            }
            Some(level) => Ok(level),
            None => {
                let what = format!("let in {from}: host {seen} is not known here");
                let command = format!("clerver trust add {seen}");
                let line = format!("{seen} {LEVEL_DEFAULT}");
                let path = self.authorized_name();
                let remedy =
                    format!("if you know it, run \"{command}\", or add the line \"{line}\" to {path}");
                Err(Error::new(Code::Denied, what).with_remedy(remedy))
            }
        }
    }

    fn authorized_name(&self) -> String {
        match &self.authorized_path {
            Some(path) => path.display().to_string(),
            None => "the authorized hosts".into(),
        }
    }
}

fn blocked(action: &str, seen: HostId) -> Error {
    Error::new(Code::Blocked, format!("{action}: host {seen} is on the block list"))
}

/// The trust of one node, loaded from its host directory. Not shared: the owner keeps it under a lock and
/// hands out snapshots.
#[derive(Debug)]
pub struct TrustStore {
    home: Option<PathBuf>,
    snapshot: Arc<TrustSnapshot>,
    known: Arc<KnownHosts>,
}

/// Who answered under a name before.
type KnownHosts = BTreeMap<String, Known>;

impl TrustStore {
    /// An empty store that touches no disk, for tests and for nodes that carry their own lists.
    pub fn in_memory() -> TrustStore {
        TrustStore { home: None, snapshot: Arc::default(), known: Arc::default() }
    }

    /// Reads the three files of the host directory `home`; one that is missing is empty. Blocks for the disk.
    ///
    /// Errors: `KEY_FILE`, with file and line, when a file has a bad line, is no UTF-8, cannot be read, or
    /// may be written by others.
    pub fn load(home: &Path) -> Result<TrustStore> {
        let mut store = TrustStore { home: Some(home.to_path_buf()), ..TrustStore::in_memory() };
        store.reload()?;
        Ok(store)
    }

    /// As [`TrustStore::load`], from this user's own host directory.
    pub fn load_own() -> Result<TrustStore> {
        TrustStore::load(&home_dir(|name| std::env::var_os(name))?)
    }

    /// Reads the files again; true when levels or block list changed. In memory it does nothing. Blocks for
    /// the disk.
    ///
    /// Errors: as [`TrustStore::load`]; then everything stays as it was loaded before.
    pub fn reload(&mut self) -> Result<bool> {
        let Some(home) = &self.home else { return Ok(false) };
        files::check_dir(home)?;
        let path = files::path(home, files::AUTHORIZED);
        let snapshot = TrustSnapshot {
            levels: lines::levels(&path, &files::read(&path)?)?,
            blocked: read_blocked(home)?,
            authorized_path: Some(path),
        };
        self.known = read_known(home)?;
        let changed = *self.snapshot != snapshot;
        if changed {
            self.snapshot = sharing::snapshot(home, snapshot);
        }
        Ok(changed)
    }

    /// Levels and block list as they are now. Costs a reference count.
    pub fn snapshot(&self) -> Arc<TrustSnapshot> {
        Arc::clone(&self.snapshot)
    }

    /// The level in `authorized`, `None` for a host that is not in it.
    pub fn level_of(&self, host: HostId) -> Option<u8> {
        self.snapshot.level_of(host)
    }

    /// Whether the host is on the block list.
    pub fn is_blocked(&self, host: HostId) -> bool {
        self.snapshot.is_blocked(host)
    }

    /// The host id pinned under a name, if any.
    pub fn pinned(&self, name: &str) -> Option<HostId> {
        self.known.get(name).map(|known| known.host)
    }

    /// Decides whether the host `seen` is the one that the user meant by `name` (as typed, such as
    /// `db.example:7400`). With `expected`, from `clv://HOSTID@..`, it must be that one and nothing is
    /// written down. Without, a name that is new is pinned to what was seen; that blocks for a disk write.
    ///
    /// Errors: `WRONG_IDENTITY` another host than expected or pinned; `BLOCKED`; `ARG` a name with spaces
    /// or control characters; `KEY_FILE` when `known_hosts` cannot be read or written, and then nothing is
    /// pinned.
    pub fn check_dial(&mut self, name: &str, expected: Option<HostId>, seen: HostId) -> Result<Pinned> {
        if let Some(known) = self.check_known(name, expected, seen) {
            return known;
        }
        if let Some(home) = &self.home {
            // Another process of this user may have met the host in the meantime, or the user corrected the
            // file.
            self.known = read_known(home)?;
        }
        match self.known.get(name) {
            Some(known) if known.host == seen => Ok(Pinned::Known),
            Some(known) => Err(self.changed(name, known, seen)),
            None => self.pin(name, seen),
        }
    }

    /// The answer of [`TrustStore::check_dial`] where it takes no look at the disk; `None` where it does.
    pub fn check_known(&self, name: &str, expected: Option<HostId>, seen: HostId) -> Option<Result<Pinned>> {
        if let Err(error) = lines::check_name(name) {
            return Some(Err(error));
        }
        if self.is_blocked(seen) {
            return Some(Err(blocked(&format!("connect to {name}"), seen)));
        }
        match expected {
            Some(expected) if expected == seen => Some(Ok(Pinned::Expected)),
            Some(expected) => {
                let what =
                    format!("connect to {name}: the address asks for host {expected}, but {seen} answered");
                let remedy = "check the address; if it is right, somebody else answers there";
                Some(Err(Error::new(Code::WrongIdentity, what).with_remedy(remedy)))
            }
            None => (self.pinned(name) == Some(seen)).then_some(Ok(Pinned::Known)),
        }
    }

    fn pin(&mut self, name: &str, seen: HostId) -> Result<Pinned> {
        match &self.home {
            Some(home) => {
                files::append(home, files::KNOWN_HOSTS, &format!("{name} {seen}"))?;
                // Read back: of two processes that pinned at once, each must see what the other wrote.
                self.known = read_known(home)?;
            }
            None => {
                Arc::make_mut(&mut self.known).insert(name.into(), Known { host: seen, line: 0 });
            }
        }
        Ok(Pinned::New)
    }

    fn changed(&self, name: &str, known: &Known, seen: HostId) -> Error {
        let (place, remedy) = match &self.home {
            Some(home) => {
                let path = files::path(home, files::KNOWN_HOSTS);
                let place = format!("{} line {}", path.display(), known.line);
                let remedy = format!(
                    "if the change is genuine (ask the host's owner), remove {place}; \
                     otherwise somebody is in the way"
                );
                (format!("{place} says"), remedy)
            }
            None => ("before it was".into(), Code::WrongIdentity.remedy().into()),
        };
        let what = format!("connect to {name}: {place} {}, but now {seen} answered", known.host);
        Error::new(Code::WrongIdentity, what).with_remedy(remedy)
    }

    /// Adds a line to `authorized` and uses it at once. A host that has another level already is an error.
    /// Blocks for a disk write.
    ///
    /// Errors: `STATE` when the host has another level; `KEY_FILE` when the file cannot be read or written;
    /// `ARG` for a comment with control characters.
    pub fn authorize(&mut self, host: HostId, level: u8, comment: &str) -> Result<()> {
        lines::check_comment(comment)?;
        self.reload()?;
        match self.level_of(host) {
            Some(old) if old == level => return Ok(()),
            Some(old) => {
                let what = format!("trust host {host} with level {level}: it has level {old} already");
                let name = self.snapshot.authorized_name();
                return Err(Error::new(Code::State, what).with_remedy(format!("change its line in {name}")));
            }
            None => {}
        }
        if let Some(home) = &self.home {
            files::append(home, files::AUTHORIZED, format!("{host} {level} {comment}").trim_end())?;
            return self.reload().map(|_| ());
        }
        Arc::make_mut(&mut self.snapshot).levels.insert(host, level);
        Ok(())
    }

    /// Adds a line to `blocked` and uses it at once; a host that is blocked already stays so. Blocks for a
    /// disk write.
    ///
    /// Errors: `KEY_FILE` when the file cannot be read or written; `ARG` for a comment with control
    /// characters.
    pub fn block(&mut self, host: HostId, comment: &str) -> Result<()> {
        lines::check_comment(comment)?;
        self.reload()?;
        if self.is_blocked(host) {
            return Ok(());
        }
        if let Some(home) = &self.home {
            files::append(home, files::BLOCKED, format!("{host} {comment}").trim_end())?;
            return self.reload().map(|_| ());
        }
        Arc::make_mut(&mut self.snapshot).blocked.insert(host);
        Ok(())
    }
}

fn read_known(home: &Path) -> Result<Arc<KnownHosts>> {
    let path = files::path(home, files::KNOWN_HOSTS);
    let known = lines::known(&path, &files::read(&path)?)?;
    Ok(sharing::known(home, known))
}

fn read_blocked(home: &Path) -> Result<BTreeSet<HostId>> {
    let path = files::path(home, files::BLOCKED);
    lines::blocked(&path, &files::read(&path)?)
}
