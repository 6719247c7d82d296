//! The cases, as the files have them.

use serde::Deserialize;
use std::path::{Path, PathBuf};

/// One case: what one end does, and what the other must see.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// Its name, of which there is one.
    pub name: String,
    /// What a user relies on.
    pub says: String,
    /// Options of both nodes, beside those of the director.
    #[serde(default)]
    pub options: String,
    /// The steps, in order.
    pub steps: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    case: Vec<Case>,
}

/// One step, as text says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step<'a> {
    /// Who does it: `client`, `server` or `network`.
    pub who: &'a str,
    /// The answer is looked at when the same end is to do something else, or at the end.
    pub is_beside: bool,
    /// What to do.
    pub command: &'a str,
    /// The answer, when it is not just `ok`.
    pub answer: Option<&'a str>,
}

impl<'a> Step<'a> {
    /// Reads `WHO: COMMAND`, `WHO: COMMAND -> ANSWER`, and the same with `WHO&:`.
    ///
    /// # Errors
    /// The text, when it is no step.
    pub fn read(text: &'a str) -> Result<Step<'a>, String> {
        let (who, rest) = text.split_once(": ").ok_or_else(|| format!("no step: {text}"))?;
        let (command, answer) = match rest.split_once(" -> ") {
            Some((command, answer)) => (command, Some(answer)),
            None => (rest, None),
        };
        let (who, is_beside) = who.strip_suffix('&').map_or((who, false), |who| (who, true));
        if !["client", "server", "network"].contains(&who) {
            return Err(format!("nobody is called {who}: {text}"));
        }
        Ok(Step { who, is_beside, command, answer })
    }
}

/// Where the cases are.
pub fn directory() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// All cases of all files, by name of file, then in order.
///
/// # Errors
/// What is wrong with which file.
pub fn load(directory: &Path) -> Result<Vec<Case>, String> {
    let listed = std::fs::read_dir(directory).map_err(|error| format!("{}: {error}", directory.display()))?;
    let mut paths: Vec<PathBuf> = listed.filter_map(|entry| Some(entry.ok()?.path())).collect();
    paths.retain(|path| path.extension().is_some_and(|end| end == "toml") && !path.ends_with("Cargo.toml"));
    paths.sort();
    let mut cases = Vec::new();
    for path in paths {
        let wrong = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
        let text = std::fs::read_to_string(&path).map_err(|error| wrong(&error))?;
        let file: File = toml::from_str(&text).map_err(|error| wrong(&error))?;
        cases.extend(file.case);
    }
    Ok(cases)
}
