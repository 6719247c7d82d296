//! Where a user's Clerver files are, and who else may write there.

use clerver_proto::error::{Code, Error, Result};
use std::ffi::OsString;
use std::fs::{DirBuilder, Metadata};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// The host directory: `CLERVER_HOME`, else `$XDG_DATA_HOME/clerver`, else `$HOME/.local/share/clerver`.
/// `environment` looks a variable up (`std::env::var_os` in a program); an empty value counts as unset.
/// Touches no file.
///
/// Errors: `CONFIG` when none is set, or the one that counts is not an absolute path.
pub fn home_dir(environment: impl Fn(&str) -> Option<OsString>) -> Result<PathBuf> {
    let places = [("CLERVER_HOME", ""), ("XDG_DATA_HOME", "clerver"), ("HOME", ".local/share/clerver")];
    for (variable, below) in places {
        let Some(value) = environment(variable).filter(|value| !value.is_empty()) else { continue };
        let place = PathBuf::from(value);
        if place.is_absolute() {
            return Ok(if below.is_empty() { place } else { place.join(below) });
        }
        // The XDG specification says to ignore a relative path; for our own variable it is a mistake worth
        // telling.
        if variable != "XDG_DATA_HOME" {
            let what = format!(
                "find the host directory: {variable} is \"{}\", not an absolute path",
                place.display()
            );
            return Err(Error::new(Code::Config, what)
                .with_remedy(format!("set {variable} to a path that begins with /")));
        }
    }
    Err(Error::new(
        Code::Config,
        "find the host directory: none of CLERVER_HOME, XDG_DATA_HOME and HOME is set",
    )
    .with_remedy("set CLERVER_HOME to a directory of this user"))
}

/// Makes a directory that only its owner may enter, with its parents.
pub(crate) fn create_private_dir(path: &Path) -> Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(|error| {
        Error::new(Code::KeyFile, format!("make the host directory {}: {error}", path.display()))
            .with_remedy("set CLERVER_HOME to a directory that this user may write")
    })
}

/// Refuses a file or directory that somebody other than its owner may change.
pub(crate) fn kept_from_writers(path: &Path, metadata: &Metadata) -> Result<()> {
    let mode = metadata.permissions().mode() & 0o7777;
    if mode & 0o022 == 0 {
        return Ok(());
    }
    let path = path.display();
    Err(Error::new(
        Code::KeyFile,
        format!("use {path}: others than its owner may write it (mode {mode:04o})"),
    )
    .with_remedy(format!("check what is in it, then run: chmod go-w '{path}'")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lookup(set: &'static [(&str, &str)]) -> impl Fn(&str) -> Option<OsString> {
        move |name| set.iter().find(|(known, _)| *known == name).map(|(_, value)| OsString::from(value))
    }

    #[test]
    fn the_most_particular_variable_wins() {
        let all = lookup(&[("CLERVER_HOME", "/c"), ("XDG_DATA_HOME", "/x"), ("HOME", "/h")]);
        assert_eq!(home_dir(all).unwrap(), Path::new("/c"));
        let no_own = lookup(&[("CLERVER_HOME", ""), ("XDG_DATA_HOME", "/x"), ("HOME", "/h")]);
        assert_eq!(home_dir(no_own).unwrap(), Path::new("/x/clerver"));
        let relative_xdg = lookup(&[("XDG_DATA_HOME", "x"), ("HOME", "/h")]);
        assert_eq!(home_dir(relative_xdg).unwrap(), Path::new("/h/.local/share/clerver"));
    }

    #[test]
    fn no_directory_or_a_relative_one_is_an_error_that_says_so() {
        let error = home_dir(lookup(&[])).unwrap_err();
        assert_eq!(error.code, Code::Config);
        assert!(error.to_string().contains("CLERVER_HOME"), "{error}");
        let error = home_dir(lookup(&[("CLERVER_HOME", "here"), ("HOME", "/h")])).unwrap_err();
        assert!(error.to_string().contains("\"here\""), "{error}");
    }
}
