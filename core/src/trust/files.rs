//! Reading a trust file as a whole, and adding one line to it.

use crate::identity::{create_private_dir, kept_from_writers};
use clerver_proto::error::{Code, Error, Result};
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

pub(super) const AUTHORIZED: &str = "authorized";
pub(super) const KNOWN_HOSTS: &str = "known_hosts";
pub(super) const BLOCKED: &str = "blocked";
const BYTES_MAX: u64 = 16 * 1024 * 1024;

pub(super) fn path(home: &Path, name: &str) -> PathBuf {
    home.join(name)
}

fn failed(action: &str, path: &Path, why: impl std::fmt::Display, remedy: &str) -> Error {
    Error::new(Code::KeyFile, format!("{action} {}: {why}", path.display())).with_remedy(remedy)
}

/// Whoever may write the directory may replace the files; a missing one has none.
pub(super) fn check_dir(home: &Path) -> Result<()> {
    match std::fs::metadata(home) {
        Ok(metadata) => kept_from_writers(home, &metadata),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => {
            Err(failed("look after", home, error, "make the host directory accessible to this user"))
        }
    }
}

/// The whole file; a missing one is empty, any other failure is an error.
pub(super) fn read(path: &Path) -> Result<Vec<u8>> {
    let remedy = "make it a file that this user can read";
    let fail = |error: std::io::Error| failed("read", path, error, remedy);
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(fail(error)),
    };
    let metadata = file.metadata().map_err(fail)?;
    if !metadata.is_file() {
        return Err(failed("read", path, "it is not a file", remedy));
    }
    kept_from_writers(path, &metadata)?;
    let mut content = Vec::new();
    file.take(BYTES_MAX + 1).read_to_end(&mut content).map_err(fail)?;
    if content.len() as u64 > BYTES_MAX {
        return Err(failed("read", path, "it is larger than 16 MiB", "remove lines that are not needed"));
    }
    Ok(content)
}

/// Adds a line at the end, on the disk when this returns. One write in append mode, so that several
/// processes do not overwrite each other's lines.
pub(super) fn append(home: &Path, name: &str, line: &str) -> Result<()> {
    let path = path(home, name);
    let remedy = "make the host directory writable for this user, or add the line by hand";
    let fail = |error: std::io::Error| failed("add a line to", &path, error, remedy);
    create_private_dir(home)?;
    let mut options = OpenOptions::new();
    let mut file = options.read(true).append(true).create(true).mode(0o600).open(&path).map_err(fail)?;
    kept_from_writers(&path, &file.metadata().map_err(fail)?)?;
    let before = file.metadata().map_err(fail)?.len();
    let mut last = [b'\n'];
    if before > 0 {
        file.seek(SeekFrom::End(-1)).and_then(|_| file.read_exact(&mut last)).map_err(fail)?;
    }
    let text = format!("{}{line}\n", if last == [b'\n'] { "" } else { "\n" });
    match file.write(text.as_bytes()) {
        Ok(size) if size == text.len() => {}
        Ok(_) => {
            // Half a line would make the whole file unreadable. A failure here adds nothing to the one below.
            let _ = file.set_len(before);
            return Err(failed("add a line to", &path, "the disk took only part of it", remedy));
        }
        Err(error) => return Err(fail(error)),
    }
    file.sync_all().map_err(fail)?;
    if before == 0 {
        File::open(home).and_then(|dir| dir.sync_all()).map_err(fail)?;
    }
    Ok(())
}
