//! A daemon with services in files, as every test here needs it.

use std::time::Duration;

use serde_json::json;

use crate::support::daemon::{Daemon, DaemonBuilder};
use crate::support::dir::TestDir;

pub const BINARY: &str = env!("CARGO_BIN_EXE_proxymgr");
pub const LIMIT: Duration = Duration::from_secs(20);

/// What a test looks at.
pub struct Stage {
    pub dir: TestDir,
    port: u16,
}

impl Stage {
    /// One service `web` with static hosts.
    pub fn new(hosts: &[&str]) -> Self {
        let dir = TestDir::new();
        let stage = Self { port: dir.port(), dir };
        stage.web(hosts);
        stage
    }

    /// Gives `web` these hosts.
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

    /// The daemon to be.
    pub fn builder(&self) -> DaemonBuilder {
        Daemon::builder(BINARY, &self.dir).files(&self.dir.join("services"))
    }

    /// The daemon, once its HAProxy answers.
    pub async fn start(&self) -> Daemon {
        let mut daemon = self.builder().start();
        daemon.wait_until_haproxy_answers().await;
        daemon
    }
}
