//! Plain data on its way to JavaScript, made on any thread.

use crate::{channel, node, request, session};
use bytes::Bytes;
use clerver::{Channel, Node, Session};
use napi::bindgen_prelude::{Object, ToNapiValue, sys};
use napi::{Env, Result};
use std::time::Duration;

/// A value that JavaScript gets; handles become objects of their native class.
pub enum Value {
    /// `null`.
    Nothing,
    /// A boolean.
    Truth(bool),
    /// A number.
    Number(f64),
    /// A string.
    Text(String),
    /// A Buffer, by copy.
    Data(Bytes),
    /// An array.
    List(Vec<Value>),
    /// An object.
    Record(Vec<(&'static str, Value)>),
    /// A handle.
    Node(Node),
    /// A handle.
    Session(Session),
    /// A handle.
    Channel(Channel),
    /// A call that waits for its handler.
    Request(request::NativeRequest),
}

impl Value {
    pub(crate) fn text(text: impl Into<String>) -> Value {
        Value::Text(text.into())
    }

    /// Exact up to 2^53.
    pub(crate) fn count(number: u64) -> Value {
        Value::Number(number as f64)
    }

    /// Milliseconds.
    pub(crate) fn span(span: Duration) -> Value {
        Value::Number(span.as_secs_f64() * 1000.0)
    }

    pub(crate) fn maybe<T>(value: Option<T>, made: impl FnOnce(T) -> Value) -> Value {
        value.map_or(Value::Nothing, made)
    }
}

impl ToNapiValue for Value {
    unsafe fn to_napi_value(env: sys::napi_env, value: Value) -> Result<sys::napi_value> {
        // SAFETY: the caller's promise that the environment is the one of this thread holds for each of these.
        unsafe {
            match value {
                Value::Nothing => {
                    napi::bindgen_prelude::Null::to_napi_value(env, napi::bindgen_prelude::Null)
                }
                Value::Truth(truth) => bool::to_napi_value(env, truth),
                Value::Number(number) => f64::to_napi_value(env, number),
                Value::Text(text) => String::to_napi_value(env, text),
                Value::Data(data) => copied(env, &data),
                Value::List(list) => Vec::to_napi_value(env, list),
                Value::Record(fields) => {
                    let mut object = Object::new(&Env::from_raw(env))?;
                    for (name, value) in fields {
                        object.set(name, value)?;
                    }
                    Object::to_napi_value(env, object)
                }
                Value::Node(node) => made(env, node::NativeNode::new(node)),
                Value::Session(session) => made(env, session::NativeSession::new(session)),
                Value::Channel(channel) => made(env, channel::NativeChannel::new(channel)),
                Value::Request(request) => made(env, request),
            }
        }
    }
}

/// # Safety
/// The environment is the one of this thread.
unsafe fn made<T: ToNapiValue>(env: sys::napi_env, value: T) -> Result<sys::napi_value> {
    // SAFETY: as the caller promises.
    unsafe { T::to_napi_value(env, value) }
}

/// # Safety
/// The environment is the one of this thread.
unsafe fn copied(env: sys::napi_env, data: &[u8]) -> Result<sys::napi_value> {
    let (mut at, mut made) = (std::ptr::null_mut(), std::ptr::null_mut());
    // SAFETY: as the caller promises; the data is read during the call.
    let status = unsafe {
        sys::napi_create_buffer_copy(env, data.len(), data.as_ptr().cast(), &raw mut at, &raw mut made)
    };
    napi::check_status!(status, "make a Buffer of {} bytes", data.len())?;
    Ok(made)
}
