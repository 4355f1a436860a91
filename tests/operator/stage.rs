//! A daemon with services in files.

use std::process::Output;
use std::time::Duration;

use serde_json::json;

use crate::support::daemon::{Daemon, DaemonBuilder};
use crate::support::dir::TestDir;
use crate::support::eventually::check;
use crate::support::http;

pub const BINARY: &str = env!("CARGO_BIN_EXE_proxymgr");
pub const LIMIT: Duration = Duration::from_secs(20);

/// Files and daemon of a test.
pub struct Stage {
    pub dir: TestDir,
    port: u16,
}

impl Stage {
    /// Creates one service `web` with static hosts.
    pub fn new(hosts: &[&str]) -> Self {
        let dir = TestDir::new();
        let stage = Self { port: dir.port(), dir };
        stage.web(hosts);
        stage
    }

    /// Sets the hosts of `web`.
    pub fn web(&self, hosts: &[&str]) {
        self.define("web", hosts, json!({"bind": "127.0.0.1", "port": self.port}));
    }

    /// Defines a service with these hosts and keys.
    pub fn define(&self, name: &str, hosts: &[&str], keys: serde_json::Value) {
        let hosts: Vec<_> = hosts.iter().map(|address| json!({"address": address, "port": 80})).collect();
        let mut definition = json!({"type": "static", "hosts": hosts});
        for (key, value) in keys.as_object().expect("keys are a map") {
            definition[key] = value.clone();
        }
        self.dir.write(format!("services/{name}.json"), definition.to_string());
    }

    /// Returns the daemon, not started yet.
    pub fn builder(&self) -> DaemonBuilder {
        Daemon::builder(BINARY, &self.dir).files(&self.dir.join("services"))
    }

    /// Starts the daemon and waits until it is ready.
    pub async fn start(&self) -> Daemon {
        let daemon = self.builder().start();
        ready(&daemon).await;
        daemon
    }
}

/// Waits until the daemon is ready.
pub async fn ready(daemon: &Daemon) {
    daemon
        .eventually(LIMIT, "the daemon is ready", async || {
            let answer = http::get(daemon.status_address(), "/readyz").await.map_err(|error| error.to_string())?;
            check(answer.status == 200, &answer)
        })
        .await;
}

pub fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

pub fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}
