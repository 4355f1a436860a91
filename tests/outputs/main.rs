//! Outputs besides HAProxy: a real nginx, a real Redis, standard output.

#![allow(missing_docs)]

mod hipache;
mod nginx;
mod own_haproxy;
mod printed;
#[path = "../support/mod.rs"]
mod support;

use std::time::Duration;

use serde_json::{Value, json};
use support::backend::Backend;
use support::daemon::{Daemon, DaemonBuilder};
use support::dir::TestDir;

/// Time-out for every expected event.
const LIMIT: Duration = Duration::from_secs(20);

/// Returns a daemon whose services are files, with these outputs.
fn daemon(dir: &TestDir, outputs: Value) -> DaemonBuilder {
    std::fs::create_dir_all(dir.join("services")).expect("a new directory");
    Daemon::builder(env!("CARGO_BIN_EXE_proxymgr"), dir).files(&dir.join("services")).set("outputs", outputs)
}

/// Defines a service with static hosts and domains, or replaces it at once.
fn define(dir: &TestDir, name: &str, port: u16, domains: &[&str], backends: &[&Backend]) {
    define_with(dir, name, port, backends, json!({"domains": domains}));
}

/// Defines a service with further keys.
fn define_with(dir: &TestDir, name: &str, port: u16, backends: &[&Backend], more: Value) {
    let hosts: Vec<String> = backends.iter().map(|backend| backend.address().to_string()).collect();
    let mut definition = json!({
        "type": "static", "hosts": hosts, "port": port, "bind": "127.0.0.1", "min_hosts": 0,
        "listen_options": ["mode http"],
    });
    definition.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
    let new = dir.write(format!("{name}.new"), definition.to_string());
    std::fs::rename(new, dir.join(format!("services/{name}.json"))).expect("rename in one directory");
}

/// Returns the state of the only output.
async fn output_state(daemon: &Daemon) -> Result<Value, String> {
    let status = daemon.status_json().await?;
    let actors = status["actors"].as_array().ok_or_else(|| format!("no actors in {status}"))?;
    actors.iter().find(|state| state["actor"] == "output").cloned().ok_or_else(|| format!("no output in {status}"))
}
