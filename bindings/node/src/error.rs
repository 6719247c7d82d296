//! Errors on their way to JavaScript, and its errors on their way back.

use crate::js::value::Value;
use clerver::{Code, Error};
use napi_derive::napi;

/// Stands between message and remedy; `lib/errors.js` knows it.
const SEPARATOR: char = '\u{1f}';

/// What a native function throws: an error whose `code` is the name of the code.
pub(crate) type Failure = napi::Error<String>;

/// As JavaScript gets it thrown.
pub(crate) fn failure(error: Error) -> Failure {
    let text = format!("{}{SEPARATOR}{}", error.message, error.remedy());
    napi::Error::new(error.code.name().to_owned(), text)
}

/// As JavaScript gets it in an answer.
pub(crate) fn value(error: &Error) -> Value {
    Value::Record(vec![
        ("code", Value::text(error.code.name())),
        ("message", Value::text(&error.message)),
        ("remedy", Value::text(error.remedy())),
    ])
}

/// What a handler threw: its code counts if it is one of ours.
pub(crate) fn thrown(code: &str, message: String) -> Error {
    let code = Code::ALL.iter().copied().find(|known| known.name() == code);
    Error::new(code.unwrap_or(Code::CallFailed), message)
}

/// `None` when there is nothing yet.
pub(crate) fn unless(code: Code, result: Result<Value, Error>) -> Result<Option<Value>, Failure> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.code == code => Ok(None),
        Err(error) => Err(failure(error)),
    }
}

/// All codes: name, number, class and what a person can do.
#[napi(catch_unwind)]
pub fn codes() -> Value {
    let row = |code: &Code| {
        Value::Record(vec![
            ("code", Value::text(code.name())),
            ("number", Value::count(u64::from(*code as u16))),
            ("class", Value::text(code.class().name())),
            ("remedy", Value::text(code.remedy())),
        ])
    };
    Value::List(Code::ALL.iter().map(row).collect())
}
