//! Addresses that a user types: read or refused, and what is read prints as it reads.
#![no_main]

use clerver::address::Address;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(address) = text.parse::<Address>() {
        let printed = address.to_string();
        assert_eq!(printed.parse::<Address>().as_ref(), Ok(&address), "it prints as {printed:?}");
        assert!(!address.pin_name().is_empty());
    }
});
