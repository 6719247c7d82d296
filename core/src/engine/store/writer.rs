//! Commits batches of changes to the file of a store, with statements that are prepared once.
//!
//! It does not try again (its caller does). Invariant: after an error nothing of the batches is in the file, and the
//! same batches may be committed again.

use super::Batch;
use super::file::{CHECKSUM_BYTES, StoreFile, checksum};
use clerver_proto::error::Result;
use clerver_proto::store::Change;
use rusqlite::{Connection, Statement, params};

/// See the module.
pub(super) struct Writer<'f> {
    file: &'f StoreFile,
    /// From the first commit on.
    statements: Option<Statements<'f>>,
}

impl<'f> Writer<'f> {
    pub(super) fn new(file: &'f StoreFile) -> Writer<'f> {
        Writer { file, statements: None }
    }

    /// Commits batches as one transaction, in their order. When it answers without an error, they are on the disk.
    pub(super) fn commit(&mut self, batches: &[Batch]) -> Result<()> {
        self.try_commit(batches).map_err(|error| self.file.failure("write to the store", &error))
    }

    fn try_commit(&mut self, batches: &[Batch]) -> rusqlite::Result<()> {
        let connection = &self.file.connection;
        #[cfg(test)]
        if let Some(hook) = &self.file.before_commit {
            hook(connection);
        }
        if !connection.is_autocommit() {
            // SQLite itself takes back what failed badly, and leaves the rest to us.
            connection.execute_batch("ROLLBACK")?;
        }
        let statements = match &mut self.statements {
            Some(statements) => statements,
            none => none.insert(Statements::prepare(connection)?),
        };
        statements.begin.execute([])?;
        for change in batches.iter().flat_map(|(_, changes)| changes) {
            statements.apply(change)?;
        }
        statements.commit.execute([])?;
        Ok(())
    }
}

struct Statements<'f> {
    begin: Statement<'f>,
    commit: Statement<'f>,
    put: Statement<'f>,
    delete_between: Statement<'f>,
    delete_from: Statement<'f>,
    prune: Statement<'f>,
}

impl<'f> Statements<'f> {
    fn prepare(connection: &'f Connection) -> rusqlite::Result<Statements<'f>> {
        let prepare = |statement| connection.prepare(statement);
        Ok(Statements {
            begin: prepare("BEGIN IMMEDIATE")?,
            commit: prepare("COMMIT")?,
            put: prepare("INSERT OR REPLACE INTO records VALUES (?1, ?2)")?,
            delete_between: prepare("DELETE FROM records WHERE key >= ?1 AND key < ?2")?,
            delete_from: prepare("DELETE FROM records WHERE key >= ?1")?,
            prune: prepare(
                "DELETE FROM records WHERE key >= ?1
                 AND key < (SELECT max(key) FROM records WHERE key >= ?1 AND key <= ?2)",
            )?,
        })
    }

    fn apply(&mut self, change: &Change) -> rusqlite::Result<()> {
        match change {
            Change::Put { key, value } => {
                let mut stored = Vec::with_capacity(value.len() + CHECKSUM_BYTES);
                stored.extend_from_slice(value);
                stored.extend_from_slice(&checksum(key, value));
                self.put.execute(params![key, stored])?;
            }
            Change::Delete { prefix } => {
                match after(prefix) {
                    Some(end) => self.delete_between.execute(params![prefix, end])?,
                    None => self.delete_from.execute(params![prefix])?,
                };
            }
            Change::Prune { first, last } => {
                self.prune.execute(params![first, last])?;
            }
        }
        Ok(())
    }
}

/// The lowest key above all that begin so; `None` when there is no such key.
fn after(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|byte| *byte < u8::MAX)?;
    let mut end = prefix.get(..=last)?.to_vec();
    *end.last_mut()? += 1;
    Some(end)
}
