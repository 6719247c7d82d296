//! Reading what C hands over: texts, bytes, structs with a size, places for outputs, waits.
//!
//! A NULL or a number out of range is an error that names the argument. That a pointer points to what its type
//! says is the caller's part of the contract, stated once here and in the header's laws.

use clerver::api::Wait;
use clerver::{Code, Error, Result};
use std::ffi::{CStr, CString, c_char};
use std::mem::size_of;
use std::time::Duration;

/// The error for an argument.
pub(crate) fn bad(what: &str, why: &str) -> Error {
    Error::new(Code::Argument, format!("{what} {why}"))
}

/// A text that must be there.
///
/// # Safety
/// NULL, or a text that ends with a zero byte and lives for `'a`.
pub(crate) unsafe fn text<'a>(text: *const c_char, what: &str) -> Result<&'a str> {
    if text.is_null() {
        return Err(bad(what, "is NULL"));
    }
    // SAFETY: of the caller.
    let text = unsafe { CStr::from_ptr(text) };
    text.to_str().map_err(|_| Error::new(Code::Encoding, format!("{what} is not UTF-8")))
}

/// Bytes; NULL is no bytes.
///
/// # Safety
/// NULL, or `size` readable bytes that live for `'a`.
pub(crate) unsafe fn bytes<'a>(data: *const u8, size: usize, what: &str) -> Result<&'a [u8]> {
    match (data.is_null(), size) {
        (_, 0) => Ok(&[]),
        (true, _) => Err(bad(what, "is NULL, but its size is not 0")),
        (false, size) if size > isize::MAX as usize => Err(bad(what, "has an impossible size")),
        // SAFETY: of the caller; the size is possible.
        (false, size) => Ok(unsafe { std::slice::from_raw_parts(data, size) }),
    }
}

/// A place for an output, which is written on success.
pub(crate) struct Out<T>(*mut T);

impl<T> Out<T> {
    /// # Safety
    /// NULL, or room for a `T`.
    pub(crate) unsafe fn new(place: *mut T, what: &str) -> Result<Out<T>> {
        if place.is_null() { Err(bad(what, "is NULL")) } else { Ok(Out(place)) }
    }

    pub(crate) fn write(self, value: T) {
        // SAFETY: `new` asked for room.
        unsafe { self.0.write_unaligned(value) };
    }
}

/// Writes an output that may be NULL.
///
/// # Safety
/// NULL, or room for a `T`.
pub(crate) unsafe fn write_optional<T>(place: *mut T, value: T) {
    if !place.is_null() {
        // SAFETY: of the caller.
        unsafe { place.write_unaligned(value) };
    }
}

/// Structs that C makes and a later version may lengthen: the first member is the size that the caller knows.
///
/// # Safety
/// Of plain numbers and pointers, for which all zeros are a value; `struct_size: usize` stands first.
pub(crate) unsafe trait Versioned: Copy {}

/// Reads a struct; what the caller's version did not have is as in `default`. NULL is `default`.
///
/// # Safety
/// NULL, or a struct of as many bytes as its first member says.
pub(crate) unsafe fn read_sized<T: Versioned>(from: *const T, default: T, what: &str) -> Result<T> {
    // SAFETY: of the caller.
    let value = unsafe { read_known(from, default, what) }?;
    // SAFETY: as above.
    unsafe { check_rest(from, what) }?;
    Ok(value)
}

/// As `read_sized`, whatever a newer caller asks for in the part that is not known here; `check_rest` looks
/// at that.
///
/// # Safety
/// As for `read_sized`.
pub(crate) unsafe fn read_known<T: Versioned>(from: *const T, default: T, what: &str) -> Result<T> {
    if from.is_null() {
        return Ok(default);
    }
    // SAFETY: of the caller.
    let given = unsafe { from.cast::<usize>().read_unaligned() };
    check_size(given, what)?;
    let known = given.min(size_of::<T>());
    let mut value = default;
    // SAFETY: both have `known` bytes, and every pattern of them is a value.
    unsafe { std::ptr::copy_nonoverlapping(from.cast::<u8>(), (&raw mut value).cast::<u8>(), known) };
    Ok(value)
}

/// Refuses a struct that asks for what this version does not know.
///
/// # Safety
/// As for `read_sized`, which `read_known` has read.
pub(crate) unsafe fn check_rest<T: Versioned>(from: *const T, what: &str) -> Result<()> {
    if from.is_null() {
        return Ok(());
    }
    // SAFETY: of the caller.
    let given = unsafe { from.cast::<usize>().read_unaligned() };
    for at in size_of::<T>()..given {
        // SAFETY: the struct has `given` bytes.
        if unsafe { from.cast::<u8>().add(at).read() } != 0 {
            let text = format!("{what} asks for something that this version of the library does not know");
            return Err(Error::new(Code::Unsupported, text).with_remedy("install the newer library"));
        }
    }
    Ok(())
}

/// A place for a struct with a size, which is written on success, as far as the caller's version knows it.
pub(crate) struct SizedOut<T> {
    place: *mut T,
    size: usize,
}

impl<T: Versioned> SizedOut<T> {
    /// # Safety
    /// NULL, or a struct of as many bytes as its first member says.
    pub(crate) unsafe fn new(place: *mut T, what: &str) -> Result<SizedOut<T>> {
        if place.is_null() {
            return Err(bad(what, "is NULL"));
        }
        // SAFETY: of the caller.
        let size = unsafe { place.cast::<usize>().read_unaligned() };
        check_size(size, what)?;
        Ok(SizedOut { place, size })
    }

    /// As `new`; NULL is an output that nobody wants.
    ///
    /// # Safety
    /// As for `new`.
    pub(crate) unsafe fn optional(place: *mut T, what: &str) -> Result<Option<SizedOut<T>>> {
        // SAFETY: of the caller.
        if place.is_null() { Ok(None) } else { unsafe { SizedOut::new(place, what) }.map(Some) }
    }

    /// Whether the caller knows the member that ends there.
    pub(crate) fn reaches(&self, end: usize) -> bool {
        self.size >= end
    }

    /// Its `struct_size` stays.
    pub(crate) fn write(self, value: T) {
        let first = size_of::<usize>();
        // SAFETY: both have that many bytes, as `new` asked for, and do not overlap.
        unsafe {
            let value = (&raw const value).cast::<u8>().add(first);
            let known = self.size.min(size_of::<T>()) - first;
            std::ptr::copy_nonoverlapping(value, self.place.cast::<u8>().add(first), known);
        }
    }
}

fn check_size(given: usize, what: &str) -> Result<()> {
    if (size_of::<usize>()..=4096).contains(&given) {
        return Ok(());
    }
    Err(bad(what, &format!("has a struct_size of {given}"))
        .with_remedy("begin with its CLV_.._INIT, which sets struct_size"))
}

/// A time-out in milliseconds: -1 is for ever.
pub(crate) fn wait(timeout_ms: i64) -> Result<Wait> {
    match timeout_ms {
        -1 => Ok(None),
        0.. => Ok(Some(Duration::from_millis(timeout_ms as u64))),
        _ => Err(bad("timeout_ms", &format!("is {timeout_ms}: 0 and more, or -1 for ever"))),
    }
}

/// A time-out of something that must end.
pub(crate) fn bounded(timeout_ms: i64) -> Result<Duration> {
    // For ever is a wish like another, and a century is long enough for it.
    Ok(wait(timeout_ms)?.unwrap_or(Duration::from_secs(100 * 365 * 86_400)))
}

/// A level of authority.
pub(crate) fn level(level: i32, what: &str) -> Result<u8> {
    u8::try_from(level).map_err(|_| bad(what, &format!("is {level}: it must be 0 to 255")))
}

/// Copies a text with its zero byte into memory of the caller.
///
/// # Safety
/// NULL, or room for `capacity` bytes.
pub(crate) unsafe fn fill(text: &str, into: *mut c_char, capacity: usize, what: &str) -> Result<()> {
    if into.is_null() {
        return Err(bad(what, "is NULL"));
    }
    let text = CString::new(text.replace('\0', "")).unwrap_or_default();
    let bytes = text.as_bytes_with_nul();
    if bytes.len() > capacity {
        let why = format!("{what} has room for {capacity} bytes, {} are needed", bytes.len());
        return Err(Error::new(Code::Size, why).with_remedy("give more room"));
    }
    // SAFETY: there is room for them, and the text is ours.
    unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr().cast(), into, bytes.len()) };
    Ok(())
}

/// A text in an array of fixed length, cut at a character if it must be.
pub(crate) fn fixed<const N: usize>(text: &str) -> [c_char; N] {
    let mut end = text.len().min(N - 1);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let mut array = [0; N];
    for (place, byte) in array.iter_mut().zip(text[..end].bytes().filter(|&byte| byte != 0)) {
        *place = byte as c_char;
    }
    array
}

#[cfg(test)]
mod tests {
    use super::*;

    #[repr(C)]
    #[derive(Clone, Copy, Debug, PartialEq)]
    struct Small {
        struct_size: usize,
        a: u64,
    }

    #[repr(C)]
    #[derive(Clone, Copy, Debug, PartialEq)]
    struct Large {
        struct_size: usize,
        a: u64,
        b: u64,
    }

    // SAFETY: numbers alone.
    unsafe impl Versioned for Small {}
    // SAFETY: numbers alone.
    unsafe impl Versioned for Large {}

    const SMALL: Small = Small { struct_size: 16, a: 0 };
    const LARGE: Large = Large { struct_size: 24, a: 7, b: 9 };

    #[test]
    fn an_older_caller_gets_defaults_for_what_it_does_not_know() {
        let given = Small { struct_size: 16, a: 1 };
        // SAFETY: the struct has the size that it says.
        let read = unsafe { read_sized((&raw const given).cast::<Large>(), LARGE, "x") }.unwrap();
        assert_eq!((read.a, read.b), (1, 9));
    }

    #[test]
    fn a_newer_caller_is_served_unless_it_asks_for_the_unknown() {
        for (b, is_good) in [(0, true), (5, false)] {
            let given = Large { struct_size: 24, a: 1, b };
            // SAFETY: as above.
            let read = unsafe { read_sized((&raw const given).cast::<Small>(), SMALL, "x") };
            assert_eq!(read.is_ok(), is_good);
        }
    }

    #[test]
    fn an_output_is_written_as_far_as_its_caller_knows_it() {
        let mut room = [Small { struct_size: 16, a: 0 }, Small { struct_size: 4, a: 4 }];
        // SAFETY: as above.
        unsafe { SizedOut::new((&raw mut room[0]).cast::<Large>(), "x") }.unwrap().write(LARGE);
        assert_eq!(room[0], Small { struct_size: 16, a: 7 });
        // SAFETY: it is refused by its size.
        let refused = unsafe { SizedOut::new((&raw mut room[1]).cast::<Large>(), "x") };
        assert_eq!(refused.err().unwrap().code, Code::Argument);
    }

    #[test]
    fn a_fixed_text_is_cut_at_a_character() {
        let text =
            |array: &[c_char]| array.iter().take_while(|&&c| c != 0).map(|&c| c as u8).collect::<Vec<u8>>();
        assert_eq!(text(&fixed::<4>("abc")), b"abc");
        assert_eq!(text(&fixed::<4>("ab\u{e9}")), b"ab");
    }
}
