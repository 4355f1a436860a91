//! Lines of `listen_options`: the policy, the splitting into words and the quoting.

#![no_main]

#[path = "../properties.rs"]
mod properties;

libfuzzer_sys::fuzz_target!(|text: &str| properties::listen_line(text));
