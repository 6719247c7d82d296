//! Where this crate touches Node and libuv by their C faces: all of its unsafe code.

pub(crate) mod poll;
pub mod post;
mod uv;
pub mod value;
