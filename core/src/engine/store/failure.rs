//! What SQLite and the system say about a store, as errors for the person who has to do something.
//!
//! It decides nothing else: whether something is tried again is up to who asks. Invariant: each error names what was
//! tried and the file.

use clerver_proto::error::{Code, Error};
use rusqlite::ErrorCode;
use std::fmt::Display;
use std::path::Path;

/// What SQLite said when something was tried with a store.
pub(super) fn failure(action: &str, file: &Path, error: &rusqlite::Error) -> Error {
    let said = match error.sqlite_error() {
        Some(sqlite) => format!("{error} (SQLite {})", sqlite.extended_code),
        None => error.to_string(),
    };
    let what = |why: &dyn Display| format!("{action} {}: {why}", file.display());
    let directory = file.parent().unwrap_or(file).display();
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            let why = format!("another node or process has the directory {directory} in use");
            Error::new(Code::InUse, what(&why))
                .with_remedy("close the other one, or give this node a directory of its own")
        }
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
            unusable(action, file, &format!("the file is damaged, or no store: {said}"))
        }
        Some(ErrorCode::ReadOnly | ErrorCode::CannotOpen | ErrorCode::PermissionDenied) => {
            read_only(action, file, &said)
        }
        Some(ErrorCode::DiskFull) => Error::new(Code::Store, what(&said)).with_remedy(format!(
            "make room on the disk of {directory}; what was stored before is still there"
        )),
        _ => Error::new(Code::Store, what(&said)).with_remedy(format!(
            "look into the system's log for errors of the disk, and whether {directory} is still mounted"
        )),
    }
}

/// The file is not what it should be.
pub(super) fn unusable(action: &str, file: &Path, why: &dyn Display) -> Error {
    let place = file.display();
    Error::new(Code::Config, format!("{action} {place}: {why}")).with_remedy(format!(
        "restore it from a backup, or move {place} and {place}-wal away: the sessions in them are lost then, and a new \
         store begins"
    ))
}

/// The file or its directory may not be written.
pub(super) fn read_only(action: &str, file: &Path, why: &dyn Display) -> Error {
    let directory = file.parent().unwrap_or(file).display();
    Error::new(Code::Config, format!("{action} {}: {why}", file.display()))
        .with_remedy(format!("let this user write the directory {directory} and the files in it"))
}
