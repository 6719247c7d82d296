//! Messages on channel 0: read or refused, and what is read reads back.
#![no_main]

use bytes::Bytes;
use clerver_proto::wire::control::Control;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(Some(control)) = Control::decode(Bytes::copy_from_slice(data)) {
        assert_eq!(Control::decode(control.encode()), Ok(Some(control)));
    }
});
