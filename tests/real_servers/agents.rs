//! Servers with an agent, on every available HAProxy: the agent's reports are respected, and cannot undo an order.

use std::time::Duration;

use serde_json::{Value, json};

use crate::stage::{LIMIT, ServiceFiles, backends, daemon, reloads, wait_for_reload_after};
use crate::support::agent::Agent;
use crate::support::backend::Backend;
use crate::support::daemon::Daemon;
use crate::support::dir::TestDir;
use crate::support::eventually::{check, stays};
use crate::support::haproxy::{self, HaproxyVersion, ServerLine};

/// Long enough for several reports of agents and several observations.
const WATCHED: Duration = Duration::from_millis(1_500);

const RAMP_UP: Duration = Duration::from_secs(2);

/// A daemon that observes often, and a service `web` with two hosts that share an agent.
struct Stage {
    dir: TestDir,
    files: ServiceFiles,
    backends: Vec<Backend>,
    agent: Agent,
    daemon: Daemon,
}

impl Stage {
    async fn new(version: &HaproxyVersion, more: Value, hosts: usize) -> Self {
        let dir = TestDir::new();
        let files = ServiceFiles::new(&dir);
        let backends = backends(&dir, 2);
        let agent = Agent::start(&dir, "ready 100%");
        let mut definition = json!({"server_options": [agent.options(), "weight 100"]});
        definition.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        files.define("web", dir.port(), definition);
        files.hosts("web", &backends[..hosts]);
        let daemon = daemon(&dir)
            .haproxy(version)
            .set("haproxy.observe_interval", json!("1s"))
            // A service may not have its servers' agents on the loopback interface.
            .set("haproxy.extra_options", json!(["agent-addr"]))
            .files(&files.services())
            .start();
        let stage = Self { dir, files, backends, agent, daemon };
        stage.wait_for_server(0, "the first is ready", ServerLine::is_ready).await;
        stage
    }

    async fn server(&self, index: usize) -> Result<ServerLine, String> {
        let servers = haproxy::servers_state(&self.daemon.socket()).await.map_err(|error| error.to_string())?;
        let port = self.backends[index].port();
        servers.into_iter().find(|server| server.port() == port).ok_or_else(|| "it is not there".to_owned())
    }

    /// Waits until the server meets the condition, and checks that it stays so.
    async fn wait_for_server(&self, index: usize, what: &str, wanted: impl Fn(&ServerLine) -> bool) {
        let probe = async || {
            let server = self.server(index).await?;
            check(wanted(&server), &server)
        };
        self.daemon.eventually(LIMIT, what, probe).await;
        stays(WATCHED, what, probe).await;
    }
}

#[tokio::test]
async fn state_and_weight_of_agents_are_not_repaired() {
    for version in haproxy::versions() {
        let stage = Stage::new(&version, json!({}), 1).await;
        stage.agent.report("maint");
        stage.wait_for_server(0, "in maintenance by its agent", ServerLine::is_in_maintenance).await;
        stage.agent.report("drain");
        stage.wait_for_server(0, "drained by its agent", |server| server.is_draining()).await;
        stage.agent.report("ready 40%");
        stage.wait_for_server(0, "weighed by its agent", |server| server.is_ready() && server.weight() == 40).await;
    }
}

#[tokio::test]
async fn agent_cannot_bring_a_removed_host_back() {
    for version in haproxy::versions() {
        let stage = Stage::new(&version, json!({}), 2).await;
        stage.wait_for_server(1, "the second is ready", ServerLine::is_ready).await;
        stage.files.hosts("web", &stage.backends[..1]);
        let out = |server: &ServerLine| server.is_in_maintenance();
        stage.wait_for_server(1, "removed, though its agent reports ready", out).await;
        // After its return, the reports of its agent count again.
        stage.agent.report("ready 40%");
        stage.files.hosts("web", &stage.backends);
        stage.wait_for_server(1, "back", |server| server.is_ready() && server.weight() == 40).await;
    }
}

#[tokio::test]
async fn agent_cannot_undo_an_ordered_state() {
    for version in haproxy::versions() {
        let stage = Stage::new(&version, json!({}), 1).await;
        let host = |state: &str| format!("{} state={state}\n", stage.backends[0].address());
        stage.files.replace("web.hosts", &host("maint"));
        stage.wait_for_server(0, "in maintenance by order", ServerLine::is_in_maintenance).await;
        stage.files.replace("web.hosts", &host("drain"));
        stage
            .wait_for_server(0, "drained by order", |server| server.is_draining() && !server.is_in_maintenance())
            .await;
        stage.agent.report("maint");
        stage.files.replace("web.hosts", &host("ready"));
        stage.wait_for_server(0, "left to its agent again", ServerLine::is_in_maintenance).await;
    }
}

#[tokio::test]
async fn agent_decides_over_the_weight_after_ramp_up() {
    for version in haproxy::versions() {
        let stage = Stage::new(&version, json!({"ramp_up": format!("{}s", RAMP_UP.as_secs())}), 1).await;
        stage.agent.report("ready 50%");
        stage.files.hosts("web", &stage.backends);
        stage.daemon.eventually(LIMIT, "the new host is served", async || stage.server(1).await).await;
        // Until then the weights of the ramp-up and the agent's alternate.
        tokio::time::sleep(RAMP_UP).await;
        let by_agent = |server: &ServerLine| server.is_ready() && server.weight() == 50;
        stage.wait_for_server(1, "the new server has the weight of its agent", by_agent).await;
        let asked = stage.agent.asked();
        let probe = async || check(stage.agent.asked() > asked + 4, &asked);
        stage.daemon.eventually(LIMIT, "the agents are still asked", probe).await;
    }
}

/// A process that has just started queries the agents of all servers in its file, including those in maintenance.
#[tokio::test]
async fn agent_cannot_end_a_maintenance_of_the_file() {
    for version in haproxy::versions() {
        let stage = Stage::new(&version, json!({}), 1).await;
        stage.files.replace("web.hosts", &format!("{} state=maint\n", stage.backends[0].address()));
        stage.wait_for_server(0, "in maintenance", ServerLine::is_in_maintenance).await;
        let before = reloads(&stage.daemon).await;
        stage.files.define("other", stage.dir.port(), json!({}));
        wait_for_reload_after(&stage.daemon, before).await;
        let is_out = async || {
            let server = stage.server(0).await?;
            check(server.is_in_maintenance(), &server)
        };
        // An agent may be faster than the first command, once.
        stage.daemon.eventually(LIMIT, "in maintenance after the reload", is_out).await;
        stage.wait_for_server(0, "and it stays there", ServerLine::is_in_maintenance).await;
    }
}
