//! The values that options take, and how they are read from text and TOML.

use std::path::{Path, PathBuf};

/// What kind of value an option takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A whole number within the range of the option.
    Number,
    /// `true` or `false`.
    Flag,
    /// UTF-8 text without control characters.
    Text,
    /// An absolute path.
    Path,
    /// One of these words.
    Choice(&'static [&'static str]),
}

/// One given value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    Number(u64),
    Flag(bool),
    Text(String),
    Path(PathBuf),
}

impl std::fmt::Display for Value {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Value::Number(number) => write!(f, "{number}"),
            Value::Flag(flag) => write!(f, "{flag}"),
            Value::Text(text) => f.write_str(text),
            Value::Path(path) => write!(f, "{}", path.display()),
        }
    }
}

impl From<u64> for Value {
    fn from(number: u64) -> Value {
        Value::Number(number)
    }
}

impl From<bool> for Value {
    fn from(flag: bool) -> Value {
        Value::Flag(flag)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Value {
        Value::Text(text.into())
    }
}

impl From<&Path> for Value {
    fn from(path: &Path) -> Value {
        Value::Path(path.into())
    }
}

/// A field of the settings, from a value of its kind; `None` only for another kind, which no source lets
/// through.
pub(super) trait FromValue: Sized {
    fn from_value(value: &Value) -> Option<Self>;
}

impl FromValue for u64 {
    fn from_value(value: &Value) -> Option<u64> {
        if let Value::Number(number) = value { Some(*number) } else { None }
    }
}

impl FromValue for bool {
    fn from_value(value: &Value) -> Option<bool> {
        if let Value::Flag(flag) = value { Some(*flag) } else { None }
    }
}

impl FromValue for String {
    fn from_value(value: &Value) -> Option<String> {
        if let Value::Text(text) = value { Some(text.clone()) } else { None }
    }
}

impl FromValue for PathBuf {
    fn from_value(value: &Value) -> Option<PathBuf> {
        if let Value::Path(path) = value { Some(path.clone()) } else { None }
    }
}

impl<T: FromValue> FromValue for Option<T> {
    fn from_value(value: &Value) -> Option<Option<T>> {
        T::from_value(value).map(Some)
    }
}

impl Kind {
    /// Reads a value from text; an error says what it should be.
    pub(super) fn read(self, text: &str) -> Result<Value, &'static str> {
        match self {
            Kind::Number if text.starts_with('+') => Err("a whole number"),
            Kind::Number => text.parse().map(Value::Number).map_err(|_| "a whole number"),
            Kind::Flag => match text {
                "true" | "1" => Ok(Value::Flag(true)),
                "false" | "0" => Ok(Value::Flag(false)),
                _ => Err("true or false"),
            },
            Kind::Text | Kind::Choice(_) => Ok(Value::Text(text.into())),
            Kind::Path => Ok(Value::Path(text.into())),
        }
    }

    /// Reads a value from a TOML file, where kinds are told apart by the file itself.
    pub(super) fn read_toml(self, value: &toml::Value) -> Result<Value, &'static str> {
        match (self, value) {
            (Kind::Number, toml::Value::Integer(number)) => {
                u64::try_from(*number).map(Value::Number).map_err(|_| "a whole number")
            }
            (Kind::Flag, toml::Value::Boolean(flag)) => Ok(Value::Flag(*flag)),
            (Kind::Text | Kind::Choice(_), toml::Value::String(text)) => Ok(Value::Text(text.clone())),
            (Kind::Path, toml::Value::String(text)) => Ok(Value::Path(text.into())),
            (Kind::Number, _) => Err("a whole number without quotes"),
            (Kind::Flag, _) => Err("true or false without quotes"),
            (Kind::Text | Kind::Choice(_), _) => Err("text in quotes"),
            (Kind::Path, _) => Err("a path in quotes"),
        }
    }
}
