//! The grammar of the trust files. `#` begins a comment line; blank lines mean nothing.

use super::LEVEL_DEFAULT;
use clerver_proto::error::{Code, Error, Result};
use clerver_proto::id::HostId;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// A pinned host, and the line that says so (from 1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Known {
    pub(super) host: HostId,
    pub(super) line: usize,
}

fn bad(path: &Path, line: usize, why: &str) -> Error {
    Error::new(Code::KeyFile, format!("read {} line {line}: {why}", path.display()))
        .with_remedy("correct or remove the line; until then nothing of this file is used")
}

/// Gives each line that says something, with its number, to `take`.
fn each(path: &Path, content: &[u8], mut take: impl FnMut(usize, &str) -> Result<(), String>) -> Result<()> {
    let text = std::str::from_utf8(content).map_err(|error| {
        let before = &content[..error.valid_up_to()];
        let line = 1 + before.iter().filter(|&&byte| byte == b'\n').count();
        bad(path, line, "it is not UTF-8 text")
    })?;
    // It would become part of the first name, which then matches nothing.
    if text.starts_with('\u{feff}') {
        return Err(bad(path, 1, "it begins with a byte order mark"));
    }
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.contains(|letter: char| letter.is_control() && letter != '\t') {
            return Err(bad(path, index + 1, "it has a control character"));
        }
        if !line.is_empty() && !line.starts_with('#') {
            take(index + 1, line).map_err(|why| bad(path, index + 1, &why))?;
        }
    }
    Ok(())
}

fn host(word: Option<&str>) -> Result<HostId, String> {
    let word = word.ok_or("the host id is missing")?;
    word.parse().map_err(|error: Error| error.message)
}

/// `HOSTID [level [comment]]`
pub(super) fn levels(path: &Path, content: &[u8]) -> Result<BTreeMap<HostId, u8>> {
    let mut levels: BTreeMap<HostId, u8> = BTreeMap::new();
    each(path, content, |_, line| {
        let mut words = line.split_whitespace();
        let host = host(words.next())?;
        let level = match words.next() {
            None => LEVEL_DEFAULT,
            Some(word) => {
                word.parse().map_err(|_| format!("level \"{word}\" is not a number from 0 to 255"))?
            }
        };
        match levels.insert(host, level) {
            Some(other) if other != level => Err(format!("host {host} has level {other} in a line above")),
            _ => Ok(()),
        }
    })?;
    Ok(levels)
}

/// `name HOSTID [comment]`
pub(super) fn known(path: &Path, content: &[u8]) -> Result<BTreeMap<String, Known>> {
    let mut known: BTreeMap<String, Known> = BTreeMap::new();
    each(path, content, |line, text| {
        let mut words = text.split_whitespace();
        let name = words.next().unwrap_or_default();
        let host = host(words.next())?;
        match known.get(name) {
            Some(first) if first.host != host => Err(format!(
                "name \"{name}\" belongs to another host, {}, in line {}",
                first.host, first.line
            )),
            Some(_) => Ok(()),
            None => {
                known.insert(name.into(), Known { host, line });
                Ok(())
            }
        }
    })?;
    Ok(known)
}

/// `HOSTID [comment]`
pub(super) fn blocked(path: &Path, content: &[u8]) -> Result<BTreeSet<HostId>> {
    let mut hosts = BTreeSet::new();
    each(path, content, |_, line| {
        hosts.insert(host(line.split_whitespace().next())?);
        Ok(())
    })?;
    Ok(hosts)
}

/// A name must come back out of the file as it went in.
pub(super) fn check_name(name: &str) -> Result<()> {
    let why = match name {
        "" => "it is empty",
        _ if name.starts_with('#') => "it begins with #",
        _ if name.len() > 1024 => "it is longer than 1024 bytes",
        _ if name.contains(|letter: char| letter.is_whitespace() || letter.is_control()) => "it has a space",
        _ => return Ok(()),
    };
    Err(Error::new(Code::Argument, format!("use the name \"{}\" of a host: {why}", name.escape_debug())))
}

pub(super) fn check_comment(comment: &str) -> Result<()> {
    if comment.contains(char::is_control) {
        let what = format!("use the comment \"{}\": it has a control character", comment.escape_debug());
        return Err(Error::new(Code::Argument, what));
    }
    Ok(())
}
