//! The environment and the configuration file as sources of options.

use super::table::OPTIONS;
use super::{Options, Source, known, refused};
use crate::identity::home_dir;
use clerver_proto::error::{Code, Error, Result};
use std::ffi::{OsStr, OsString};
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

const PREFIX: &str = "CLERVER_";
/// Names the configuration file itself.
const CONFIG_VARIABLE: &str = "CLERVER_CONFIG";
/// The file in the host directory that is read when `CLERVER_CONFIG` is not set.
const FILE_NAME: &str = "clerver.toml";
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// Variables that begin like ours and are no options: the file, the log, what `make` reads, and what Kubernetes
/// sets in every pod beside a service that is called "clerver".
fn is_foreign(variable: &str) -> bool {
    matches!(variable, CONFIG_VARIABLE | "CLERVER_LOG" | "CLERVER_PORT" | "CLERVER_NO_INSTALL")
        || variable.starts_with("CLERVER_SERVICE_")
        || variable.starts_with("CLERVER_PORT_")
}

impl Options {
    /// Adds what the environment of this process and the configuration file say, below the program's own
    /// wishes. Blocks for the disk. The file is `CLERVER_CONFIG`, which must exist then, or `clerver.toml`
    /// in the host directory if there is one. Sets `home` when it can be found.
    ///
    /// Errors: `CONFIG` with source, option, value and what is allowed; `UNSUPPORTED`.
    pub fn load_process(&mut self) -> Result<&mut Options> {
        self.load(std::env::vars_os())
    }

    /// As [`Options::load_process`], with the environment given as pairs.
    pub fn load(
        &mut self,
        environment: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Result<&mut Options> {
        let environment: Vec<(OsString, OsString)> = environment.into_iter().collect();
        let lookup =
            |name: &str| environment.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone());
        self.load_environment(&environment)?;
        let home = match self.resolve_home() {
            Some(home) => Some(home),
            None => {
                let found = home_dir(lookup).ok();
                if let Some(home) = &found {
                    self.put_text(
                        Source::File,
                        "the host directory",
                        "home",
                        &utf8("home", home.as_os_str())?,
                    )?;
                }
                found
            }
        };
        match (lookup(CONFIG_VARIABLE).filter(|value| !value.is_empty()), home) {
            (Some(path), _) => self.load_file(Path::new(&path)),
            (None, Some(home)) => self.load_file_if_there(&home.join(FILE_NAME)),
            (None, None) => Ok(self),
        }
    }

    fn resolve_home(&self) -> Option<PathBuf> {
        match &self.counting("home")?.value {
            super::Value::Path(path) => Some(path.clone()),
            _ => None,
        }
    }

    fn load_environment(&mut self, environment: &[(OsString, OsString)]) -> Result<()> {
        for (variable, value) in environment {
            if !variable.as_encoded_bytes().starts_with(PREFIX.as_bytes()) {
                continue;
            }
            let variable = utf8("the name of a variable", variable)?;
            if is_foreign(&variable) {
                continue;
            }
            let value = utf8(&variable, value)?;
            // An empty variable is how a shell unsets one for a single command.
            if value.is_empty() {
                continue;
            }
            let place = format!("environment variable {variable}");
            let name = OPTIONS.iter().find(|option| option.variable() == variable).map(|option| option.name);
            match name {
                Some(name) => self.put_text(Source::Environment, &place, name, &value)?,
                None => {
                    known(&variable[PREFIX.len()..].to_ascii_lowercase(), &place)?;
                }
            }
        }
        Ok(())
    }

    /// Adds what a TOML file says, below environment and program. Blocks for the disk. The keys are the
    /// names of the options, at the top level.
    ///
    /// Errors: `CONFIG` with file, option, value and what is allowed, also when the file is missing;
    /// `UNSUPPORTED`.
    pub fn load_file(&mut self, path: &Path) -> Result<&mut Options> {
        let text = read(path).map_err(|error| unreadable(path, error))?;
        self.load_toml(path, &text)
    }

    fn load_file_if_there(&mut self, path: &Path) -> Result<&mut Options> {
        match read(path) {
            Ok(text) => self.load_toml(path, &text),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(self),
            Err(error) => Err(unreadable(path, error)),
        }
    }

    fn load_toml(&mut self, path: &Path, content: &[u8]) -> Result<&mut Options> {
        let place = format!("file {}", path.display());
        let bad = |line: usize, why: &str| {
            Error::new(Code::Config, format!("read options from {place} line {line}: {why}"))
                .with_remedy("write one \"name = value\" per line (TOML)")
        };
        let line_at = |offset: usize| 1 + content.iter().take(offset).filter(|&&byte| byte == b'\n').count();
        let text = std::str::from_utf8(content)
            .map_err(|error| bad(line_at(error.valid_up_to()), "it is not UTF-8"))?;
        let table: toml::Table = text.parse().map_err(|error: toml::de::Error| {
            bad(line_at(error.span().map_or(0, |span| span.start)), error.message())
        })?;
        for (name, value) in &table {
            let option = known(name, &place)?;
            if name == "home" {
                let what = format!("set option home from {place}: a file in it cannot say where it is");
                return Err(
                    Error::new(Code::Config, what).with_remedy("set CLERVER_HOME, or home in the program")
                );
            }
            let read = option.kind.read_toml(value);
            let value = read.map_err(|should_be| refused(option, &place, &value.to_string(), should_be))?;
            self.put(Source::File, &place, option, value)?;
        }
        Ok(self)
    }
}

fn read(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut content = Vec::new();
    std::fs::File::open(path)?.take(FILE_BYTES_MAX + 1).read_to_end(&mut content)?;
    if content.len() as u64 > FILE_BYTES_MAX {
        return Err(std::io::Error::other("it is larger than 1 MiB"));
    }
    Ok(content)
}

fn unreadable(path: &Path, error: std::io::Error) -> Error {
    Error::new(Code::Config, format!("read options from file {}: {error}", path.display()))
        .with_remedy(format!("make it readable, or correct {CONFIG_VARIABLE}"))
}

fn utf8(what: &str, value: &OsStr) -> Result<String> {
    value.to_str().map(String::from).ok_or_else(|| {
        let shown = value.to_string_lossy();
        Error::new(
            Code::Config,
            format!("read the environment: {what} is \"{}\", not UTF-8", shown.escape_debug()),
        )
        .with_remedy("set it again as UTF-8, or unset it")
    })
}
