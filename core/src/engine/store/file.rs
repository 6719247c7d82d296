//! The file of a store: how it is made, taken, checked and read.
//!
//! It changes nothing in records but by setting them aside (that is `writer`). Invariants: a file that is not ours, or
//! of another version, is not written; a file that was opened can be written, and belongs to this process until it is
//! dropped; each value is followed by a checksum over it and its key.

use super::Loaded;
use super::failure::{failure, read_only, unusable};
use clerver_proto::error::{Code, Error, Result};
use openssl::sha::Sha256;
use rusqlite::{Connection, OpenFlags, params};
use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Name of the file in its directory; SQLite adds `clerver.db-wal`.
pub(super) const NAME: &str = "clerver.db";
/// "CLVR".
const APPLICATION: i64 = 0x434c_5652;
/// Of the tables below and of what is in them.
const VERSION: i64 = 1;
/// Bytes of a checksum.
pub(super) const CHECKSUM_BYTES: usize = 8;
/// A log that grew longer in one large transaction becomes short again.
const LOG_BYTES_KEPT: u32 = 16 * 1024 * 1024;
/// What an error of `open` says was tried.
const OPENING: &str = "open the store";

/// The tables. Records have an index beside them, because large values inside a tree of keys make it slow and wide; a
/// key may be set aside more than once.
const TABLES: &str = "
    CREATE TABLE records (key BLOB NOT NULL PRIMARY KEY, value BLOB NOT NULL) STRICT;
    CREATE TABLE set_aside (key BLOB NOT NULL, value BLOB NOT NULL, time INTEGER NOT NULL, why TEXT NOT NULL) STRICT;
    CREATE TABLE meta (name TEXT NOT NULL PRIMARY KEY, value ANY) STRICT, WITHOUT ROWID;";

/// What a test does to the connection.
#[cfg(test)]
pub(super) type Hook = Box<dyn Fn(&Connection) + Send>;

/// See the module.
pub(super) struct StoreFile {
    pub(super) connection: Connection,
    path: PathBuf,
    /// Runs before each attempt to commit.
    #[cfg(test)]
    pub(super) before_commit: Option<Hook>,
}

impl StoreFile {
    pub(super) fn open(directory: &Path) -> Result<StoreFile> {
        // An absolute path also cannot be taken for one of SQLite's addresses (`file:`).
        let absolute = std::path::absolute(directory).map_err(|error| no_directory(directory, &error))?;
        make_directory(&absolute).map_err(|error| no_directory(&absolute, &error))?;
        let path = absolute.join(NAME);
        make_file(&path).map_err(|error| read_only("make the store", &path, &error))?;
        let failed = |error| failure(OPENING, &path, &error);
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(&path, flags).map_err(failed)?;
        // Where it may not write, SQLite opens for reading instead, and says so late.
        if connection.is_readonly("main").map_err(failed)? {
            return Err(read_only(OPENING, &path, &"this user may not write it"));
        }
        let found = Found::look(&connection).map_err(failed)?;
        found.check(&path)?;
        if !keep_log(&connection).map_err(failed)? {
            let why = "SQLite cannot keep a write-ahead log there";
            return Err(Error::new(Code::System, format!("{OPENING} {}: {why}", path.display()))
                .with_remedy("choose a directory on a local disk"));
        }
        if found.is_empty {
            make_tables(&connection).map_err(failed)?;
        }
        try_writing(&connection).map_err(failed)?;
        Ok(StoreFile {
            connection,
            path,
            #[cfg(test)]
            before_commit: None,
        })
    }

    /// Reads everything.
    pub(super) fn load(&self) -> Result<Loaded> {
        self.try_load().map_err(|error| self.failure("read the store", &error))
    }

    fn try_load(&self) -> rusqlite::Result<Loaded> {
        let mut loaded = Loaded { records: Vec::new(), damaged: Vec::new() };
        // Sorted here: SQLite would fetch them by their index, each from another place of the file.
        let mut statement = self.connection.prepare("SELECT key, value FROM records")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let (key, mut value): (Vec<u8>, Vec<u8>) = (row.get(0)?, row.get(1)?);
            let sum = value.len().checked_sub(CHECKSUM_BYTES).map(|length| value.split_off(length));
            if sum.is_some_and(|sum| sum == checksum(&key, &value)) {
                loaded.records.push((key, value));
            } else {
                loaded.damaged.push(key);
            }
        }
        loaded.records.sort_unstable();
        loaded.damaged.sort_unstable();
        Ok(loaded)
    }

    /// Moves records to where they are not loaded, as they are, with their checksums.
    pub(super) fn set_aside(&self, at: usize, part: &[u8], why: &str) -> Result<()> {
        self.try_set_aside(at, part, why)
            .map_err(|error| self.failure("set records aside in the store", &error))
    }

    fn try_set_aside(&self, at: usize, part: &[u8], why: &str) -> rusqlite::Result<()> {
        // SQLite counts from 1 and up to `i64::MAX`; no key is that long.
        let position = i64::try_from(at).unwrap_or(i64::MAX).saturating_add(1);
        let length = i64::try_from(part.len()).unwrap_or(i64::MAX);
        let transaction = self.connection.unchecked_transaction()?;
        transaction.execute(
            "INSERT INTO set_aside SELECT key, value, unixepoch(), ?4 FROM records
             WHERE substr(key, ?1, ?2) = ?3 AND length(key) >= ?1 - 1 + ?2",
            params![position, length, part, why],
        )?;
        transaction.execute(
            "DELETE FROM records WHERE substr(key, ?1, ?2) = ?3 AND length(key) >= ?1 - 1 + ?2",
            params![position, length, part],
        )?;
        transaction.commit()
    }

    /// What SQLite said when something was tried with this file.
    pub(super) fn failure(&self, action: &str, error: &rusqlite::Error) -> Error {
        failure(action, &self.path, error)
    }
}

/// Of a value and its key; it finds damage, and is no protection from anybody.
pub(super) fn checksum(key: &[u8], value: &[u8]) -> [u8; CHECKSUM_BYTES] {
    let mut hash = Sha256::new();
    hash.update(&(key.len() as u64).to_be_bytes());
    hash.update(key);
    hash.update(value);
    let [a, b, c, d, e, f, g, h, ..] = hash.finish();
    [a, b, c, d, e, f, g, h]
}

/// What a file says it is.
struct Found {
    application: i64,
    version: i64,
    /// Nothing was ever put there, or a store was not made to its end.
    is_empty: bool,
}

impl Found {
    /// Takes the file for this process and reads its head. Nothing is written.
    fn look(connection: &Connection) -> rusqlite::Result<Found> {
        connection.busy_timeout(Duration::ZERO)?;
        // Before the first look into the file: what is exclusive from the start needs no memory shared with others.
        connection.execute_batch(
            "PRAGMA locking_mode = EXCLUSIVE; PRAGMA synchronous = FULL; PRAGMA temp_store = MEMORY;",
        )?;
        let number = |name| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
        let (application, version) = (number("application_id")?, number("user_version")?);
        let tables: i64 = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
        Ok(Found { application, version, is_empty: (application, version, tables) == (0, 0, 0) })
    }

    fn check(&self, path: &Path) -> Result<()> {
        if self.is_empty {
            return Ok(());
        }
        if self.application != APPLICATION {
            return Err(unusable(OPENING, path, &"it is a database, but not a store of Clerver"));
        }
        if self.version == VERSION {
            return Ok(());
        }
        let (place, version) = (path.display(), self.version);
        let what =
            format!("{OPENING} {place}: it has version {version}, and this Clerver reads version {VERSION}");
        Err(Error::new(Code::Version, what).with_remedy(
            "use the Clerver that wrote it, or another directory: the sessions in this one are not continued then",
        ))
    }
}

/// Has commits written to a log beside the file; false where that is not possible.
fn keep_log(connection: &Connection) -> rusqlite::Result<bool> {
    let mode: String = connection.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0))?;
    connection.pragma_update(None, "journal_size_limit", LOG_BYTES_KEPT)?;
    Ok(mode == "wal")
}

fn make_tables(connection: &Connection) -> rusqlite::Result<()> {
    let transaction = connection.unchecked_transaction()?;
    transaction.execute_batch(TABLES)?;
    transaction.pragma_update(None, "application_id", APPLICATION)?;
    transaction.pragma_update(None, "user_version", VERSION)?;
    transaction.commit()
}

/// A store that cannot be written is refused at once, and not at the first session.
fn try_writing(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute("INSERT OR REPLACE INTO meta VALUES ('opened', unixepoch())", []).map(drop)
}

/// Makes a directory that only its owner may enter, and its name lasting.
fn make_directory(directory: &Path) -> io::Result<()> {
    let missing: Vec<&Path> = directory.ancestors().take_while(|place| !place.exists()).collect();
    DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    for parent in missing.into_iter().filter_map(Path::parent) {
        // Not every file system can do it for directories; SQLite does the same for the file itself.
        let _ = File::open(parent).and_then(|parent| parent.sync_all());
    }
    Ok(())
}

/// Makes an empty file that only its owner may read. One that is there is not touched: to open and close it would let
/// the lock of another store in this process go.
fn make_file(path: &Path) -> io::Result<()> {
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

fn no_directory(directory: &Path, error: &io::Error) -> Error {
    Error::new(Code::Config, format!("make the directory {} for a store: {error}", directory.display()))
        .with_remedy("give the store a directory that this user may write")
}
