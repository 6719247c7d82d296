//! Options of a node, by name.

use crate::boundary::{enter, value_or};
use crate::handle::{find, remove, tables};
use crate::raw::{self, Out};
use crate::status::clv_status;
use clerver::{Options, Result};
use parking_lot::Mutex;
use std::ffi::c_char;
use std::path::Path;
use std::ptr;
use std::sync::Arc;

/// Wishes for a node, until `clv_options_free`. One may be used for several nodes.
pub struct clv_options(());

/// The options of a pointer; those of NULL are empty.
pub(crate) fn options_of(options: *const clv_options) -> Result<Options> {
    if options.is_null() {
        return Ok(Options::new());
    }
    Ok(known(options)?.lock().clone())
}

fn known(options: *const clv_options) -> Result<Arc<Mutex<Options>>> {
    if options.is_null() {
        return Err(raw::bad("options", "is NULL"));
    }
    find(|tables| &tables.options, "options", options.addr() as u64)
}

/// Makes empty options: everything as the environment (`CLERVER_*`), the configuration file and the defaults
/// say.
///
/// Free them with `clv_options_free`. Any thread; does not block. Errors: CLV_E_ARG.
///
/// # Safety
/// `out` is NULL or has room for a pointer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn clv_options_new(out: *mut *mut clv_options) -> clv_status {
    enter(|| {
        // SAFETY: the caller's part.
        let out = unsafe { Out::new(out, "out") }?;
        let handle = tables().options.insert(Arc::new(Mutex::new(Options::new())));
        out.write(ptr::without_provenance_mut(handle as usize));
        Ok(())
    })
}

/// Sets an option by name from text, such as "beat_ms" to "500"; the guide lists them all. It counts more
/// than the environment and the configuration file.
///
/// Any thread; does not block. Errors: CLV_E_CONFIG no such option, or no such value (clv_last_remedy says
/// what is allowed); CLV_E_UNSUPPORTED; CLV_E_ARG; CLV_E_ENCODING; CLV_E_HANDLE.
///
/// # Safety
/// The texts are NULL or end with a zero byte.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn clv_options_set(
    options: *mut clv_options,
    name: *const c_char,
    value: *const c_char,
) -> clv_status {
    enter(|| {
        let options = known(options)?;
        // SAFETY: the caller's part.
        let (name, value) = unsafe { (raw::text(name, "name")?, raw::text(value, "value")?) };
        options.lock().set(name, value).map(drop)
    })
}

/// Adds what a TOML file says (name = value, one per line), below the environment and the program's own
/// wishes.
///
/// Any thread; blocks for the disk. Errors: CLV_E_CONFIG with file, option, value and what is allowed, also
/// when the file is missing; CLV_E_UNSUPPORTED; CLV_E_ARG; CLV_E_ENCODING; CLV_E_HANDLE.
///
/// # Safety
/// `path` is NULL or ends with a zero byte.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn clv_options_load_file(options: *mut clv_options, path: *const c_char) -> clv_status {
    enter(|| {
        let options = known(options)?;
        // SAFETY: the caller's part.
        let path = unsafe { raw::text(path, "path") }?;
        // Read apart, so that nobody waits for the disk under the lock, and nothing stays half done.
        let mut read = options.lock().clone();
        read.load_file(Path::new(path))?;
        *options.lock() = read;
        Ok(())
    })
}

/// Gives options back. NULL, and options that were given back before, are ignored. Any thread; does not
/// block.
#[unsafe(no_mangle)]
pub extern "C" fn clv_options_free(options: *mut clv_options) {
    value_or((), || {
        if !options.is_null() {
            drop(remove(|tables| &tables.options, "options", options.addr() as u64));
        }
    });
}
