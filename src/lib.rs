//! proxymgr keeps HAProxy in sync with the live instances of each service.
pub mod atomic_file;
pub mod cli;
pub mod daemon;
pub mod demo;
pub mod discovery;
pub mod failure;
pub mod import;
pub mod logging;
pub mod proxy;
pub mod recording;
pub mod saved_state;
pub mod settings;
pub mod status;
pub mod terminal;
pub mod tls;
