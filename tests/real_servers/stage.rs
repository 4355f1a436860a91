//! Common start of these tests: a daemon, its services, and backends that answer with their names.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::backend::Backend;
use crate::support::daemon::{Daemon, DaemonBuilder};
use crate::support::dir::TestDir;
use crate::support::eventually::check;
use crate::support::haproxy;

/// Time-out for every expected event.
pub const LIMIT: Duration = Duration::from_secs(20);

/// Returns the daemon under test.
pub fn daemon(dir: &TestDir) -> DaemonBuilder {
    Daemon::builder(env!("CARGO_BIN_EXE_proxymgr"), dir)
}

/// Starts backends that answer with their names.
pub fn backends(dir: &TestDir, count: usize) -> Vec<Backend> {
    (1..=count).map(|n| Backend::start(dir, &format!("backend-{n}"))).collect()
}

/// Returns their addresses, sorted like those of [`haproxy::ready_servers`].
pub fn addresses<'a>(backends: impl IntoIterator<Item = &'a Backend>) -> Vec<String> {
    let mut addresses: Vec<String> = backends.into_iter().map(|backend| backend.address().to_string()).collect();
    addresses.sort();
    addresses
}

/// Returns a host's znode data.
pub fn host_json(backend: &Backend) -> Value {
    json!({"address": backend.address().ip().to_string(), "port": backend.port()})
}

/// Services in files: a directory of definitions, and one file of hosts per service.
pub struct ServiceFiles {
    dir: TestDir,
}

impl ServiceFiles {
    /// Creates the directories, without services.
    pub fn new(dir: &TestDir) -> Self {
        let dir = dir.subdir("discovery");
        std::fs::create_dir_all(dir.join("services")).expect("a new directory");
        Self { dir }
    }

    /// Returns the directory of definitions.
    pub fn services(&self) -> PathBuf {
        self.dir.join("services")
    }

    /// Defines a service that listens on this port and has its hosts in a file; `more` are further keys.
    pub fn define(&self, name: &str, port: u16, more: Value) {
        let mut definition = json!({
            "type": "file", "path": self.dir.join(format!("{name}.hosts")), "port": port, "bind": "127.0.0.1",
        });
        let keys = definition.as_object_mut().expect("an object");
        keys.extend(more.as_object().expect("an object").clone());
        self.replace(&format!("services/{name}.json"), &definition.to_string());
    }

    /// Defines a service without a listener, with its hosts in a file; `more` are further keys.
    pub fn define_backend(&self, name: &str, more: Value) {
        let mut definition = json!({"type": "file", "path": self.dir.join(format!("{name}.hosts"))});
        let keys = definition.as_object_mut().expect("an object");
        keys.extend(more.as_object().expect("an object").clone());
        self.replace(&format!("services/{name}.json"), &definition.to_string());
    }

    /// Replaces the hosts of a service.
    pub fn hosts<'a>(&self, name: &str, backends: impl IntoIterator<Item = &'a Backend>) {
        let lines = backends.into_iter().map(|backend| format!("{}\n", backend.address()));
        self.replace(&format!("{name}.hosts"), &lines.collect::<String>());
    }

    /// Removes a service.
    pub fn remove(&self, name: &str) {
        std::fs::remove_file(self.dir.join(format!("services/{name}.json"))).expect("the service is defined");
    }

    /// Replaces a file at once, by a rename.
    pub fn replace(&self, name: &str, text: &str) {
        let new = self.dir.write(format!("{name}.new"), text);
        std::fs::rename(new, self.dir.join(name)).expect("rename in one directory");
    }
}

/// Defines the service `web` with this many backends in its file of hosts; `more` are further keys.
pub fn web_in_files(dir: &TestDir, port: u16, hosts: usize, more: Value) -> (ServiceFiles, Vec<Backend>) {
    let (files, backends) = (ServiceFiles::new(dir), backends(dir, hosts));
    files.define("web", port, more);
    files.hosts("web", &backends);
    (files, backends)
}

/// Waits until exactly these backends take traffic.
pub async fn wait_for_ready(daemon: &Daemon, service: &str, wanted: &[String]) {
    let socket = daemon.socket();
    let what = format!("{service} has exactly {wanted:?} ready");
    daemon.eventually(LIMIT, &what, async || check_ready(&socket, service, wanted).await).await;
}

/// Checks that exactly these backends take traffic.
pub async fn check_ready(socket: &Path, service: &str, wanted: &[String]) -> Result<(), String> {
    let ready = haproxy::ready_servers(socket, service).await.map_err(|error| error.to_string())?;
    check(ready == wanted, &ready)
}

/// Returns the state of this actor.
pub async fn actor_state(daemon: &Daemon, actor: &str) -> Result<Value, String> {
    let status = daemon.status_json().await?;
    let actors = status["actors"].as_array().ok_or_else(|| format!("no actors in {status}"))?;
    let found = actors.iter().find(|state| state["actor"] == actor);
    found.cloned().ok_or_else(|| format!("no {actor} in {status}"))
}

/// Returns how often HAProxy was started or reloaded, once no reload is pending.
pub async fn reloads(daemon: &Daemon) -> u64 {
    let state = wait_for_state(daemon, "HAProxy runs", "haproxy_state", |state| state["phase"] == "running").await;
    state["counts"]["reload"].as_u64().expect("a number")
}

/// Waits until the state of one actor meets the condition, and returns it.
pub async fn wait_for_state(daemon: &Daemon, what: &str, actor: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    let probe = async || {
        let state = actor_state(daemon, actor).await?;
        check(wanted(&state), &state)?;
        Ok::<_, String>(state)
    };
    daemon.eventually(LIMIT, what, probe).await
}

/// Waits until HAProxy was started or reloaded this often: the daemon caches its status for a moment.
pub async fn wait_for_reloads(daemon: &Daemon, expected: u64) {
    wait_for_state(daemon, &format!("{expected} starts and reloads"), "haproxy_state", |state| {
        state["counts"]["reload"] == expected && state["phase"] == "running"
    })
    .await;
}

/// Waits for one more reload than this number, and until HAProxy is in sync again.
pub async fn wait_for_reload_after(daemon: &Daemon, before: u64) {
    wait_for_state(daemon, "HAProxy is reloaded", "haproxy_state", |state| {
        state["counts"]["reload"].as_u64() > Some(before) && state["phase"] == "running"
    })
    .await;
}
