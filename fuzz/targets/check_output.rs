//! The output of `haproxy -c`, and the services that its messages belong to.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    // HAProxy's output is read as text in any encoding.
    let messages = proxymgr::proxy::properties::check_output(&String::from_utf8_lossy(bytes));
    proxymgr_actors::deployment_properties::attribution(&messages);
});
