//! The tasks of one app as hosts.

use std::sync::Arc;

use actix::Recipient;
use proxymgr_actors::decide::host_record;
use proxymgr_actors::decide::option_policy::OptionPolicy;
use proxymgr_actors::message::{HostsSeen, SeenHost};
use proxymgr_actors::model::HostRecord;
use serde_json::json;
use tokio::time::Instant;

use super::HostPorts;
use super::app::{AppPort, PortChoice, Task};
use super::app_watch::AppDecoder;
use super::cluster::Apps;
use super::health::Health;

/// Decodes the tasks of one app into the hosts of one service.
pub(super) struct AppHosts {
    pub(super) id: String,
    pub(super) port: PortChoice,
    pub(super) host_ports: HostPorts,
    pub(super) policy: Arc<OptionPolicy>,
    pub(super) watcher: Recipient<HostsSeen>,
}

impl AppDecoder for AppHosts {
    type Snapshot = Vec<SeenHost>;

    fn decode(&self, apps: &Apps) -> Result<Vec<SeenHost>, String> {
        let id = &self.id;
        let app = apps.apps.get(id).ok_or_else(|| format!("Marathon has no app {id}; waiting until it is created"))?;
        let port = app.port(&self.port).ok_or_else(|| match &self.port {
            PortChoice::Index(index) => format!("the app {id} has no port with index {index} (\"port_index\")"),
            PortChoice::Name(name) => format!("the app {id} has no port named {name:?} (\"port_name\")"),
        })?;
        Ok(app.tasks.iter().filter_map(|task| self.seen_host(task, &port, apps)).collect())
    }

    fn report(&self, snapshot: Result<Vec<SeenHost>, String>, seen_at: Instant) {
        self.watcher.do_send(HostsSeen::watched(snapshot, seen_at));
    }
}

impl AppHosts {
    fn seen_host(&self, task: &Task, port: &AppPort, apps: &Apps) -> Option<SeenHost> {
        let state = match apps.health.get(task.id.as_str()) {
            Some(Health::Passing) => "ready",
            Some(Health::Stopping) => "drain",
            Some(Health::Unknown) => {
                let error = format!("task {} of {}: its health is not known yet", task.id, self.id);
                return Some(SeenHost::of_record(task.id.as_str(), Err(error)));
            }
            Some(Health::Failing) | None => return None,
        };
        let host = self.host(task, port, state).map_err(|error| format!("task {} of {}: {error}", task.id, self.id));
        Some(SeenHost::of_record(task.id.as_str(), host))
    }

    fn host(&self, task: &Task, port: &AppPort, state: &str) -> Result<HostRecord, String> {
        let (address, port) = task.endpoint(port, self.host_ports)?;
        host_record::from_json_value(&json!({"address": address, "port": port, "state": state}), &self.policy)
    }
}
