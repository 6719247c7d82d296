//! Bytes that the library hands over without a copy.

use crate::boundary::value_or;
use crate::handle::{find, remove, tables};
use bytes::Bytes;
use std::ptr;

/// Bytes of the library, until `clv_buffer_free`.
pub struct clv_buffer(());

/// What a buffer stands for.
#[derive(Clone)]
pub(crate) struct Held(Bytes);

/// Hands bytes to the program.
pub(crate) fn held(bytes: Bytes) -> *mut clv_buffer {
    ptr::without_provenance_mut(tables().buffers.insert(Held(bytes)) as usize)
}

fn bytes_of(buffer: *const clv_buffer) -> Option<Bytes> {
    if buffer.is_null() {
        return None;
    }
    find(|tables| &tables.buffers, "buffer", buffer.addr() as u64).ok().map(|held| held.0)
}

/// First byte of a buffer; NULL for NULL and for what is no buffer (any more).
///
/// The bytes belong to the buffer: do not write to them, and do not use them after `clv_buffer_free`. They do
/// not end with a zero byte. Any thread; does not block.
#[unsafe(no_mangle)]
pub extern "C" fn clv_buffer_data(buffer: *const clv_buffer) -> *const u8 {
    value_or(ptr::null(), || bytes_of(buffer).map_or(ptr::null(), |bytes| bytes.as_ptr()))
}

/// Bytes in a buffer; 0 for NULL and for what is no buffer (any more). Any thread; does not block.
#[unsafe(no_mangle)]
pub extern "C" fn clv_buffer_size(buffer: *const clv_buffer) -> usize {
    value_or(0, || bytes_of(buffer).map_or(0, |bytes| bytes.len()))
}

/// Gives a buffer back. NULL, and a buffer that was given back before, are ignored. Any thread; does not
/// block.
#[unsafe(no_mangle)]
pub extern "C" fn clv_buffer_free(buffer: *mut clv_buffer) {
    value_or((), || {
        if !buffer.is_null() {
            drop(remove(|tables| &tables.buffers, "buffer", buffer.addr() as u64));
        }
    });
}
