//! Answers of the sources of hosts and definitions.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| proxymgr::discovery::properties::answer(bytes));
