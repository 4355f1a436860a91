//! Answers of the Runtime API: commands, `show servers state`, `show info`, `show map` and `show stat`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| proxymgr::proxy::properties::runtime_answers(bytes));
