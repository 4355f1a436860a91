//! What HAProxy knows about its servers outlives its reloads.

use serde_json::json;

use crate::stage::{self, LIMIT, ServiceFiles, addresses, backends, daemon, wait_for_ready, wait_for_reload_after};
use crate::support::backend::Backend;
use crate::support::daemon::Daemon;
use crate::support::dir::TestDir;
use crate::support::eventually::check;
use crate::support::haproxy;

/// Checks that fail say nothing until long after a test: who is down was so before.
const SLOW_CHECK: &str = "check inter 60s rise 2 fall 1000";

/// The operational state of the server at this backend's address, and its weight.
async fn state_and_weight(daemon: &Daemon, backend: &Backend) -> (String, u32) {
    let servers = haproxy::servers_state(&daemon.socket()).await.expect("HAProxy answers");
    let server = servers.iter().find(|server| server.port() == backend.port()).expect("it has this server");
    (server.column("srv_op_state").to_owned(), server.weight())
}

/// Has HAProxy take this server for one whose checks have failed.
async fn fail_checks(daemon: &Daemon, backend: &mut Backend) {
    backend.stop().await;
    let servers = haproxy::servers_state(&daemon.socket()).await.expect("HAProxy answers");
    let server = servers.iter().find(|server| server.port() == backend.port()).expect("it has this server");
    let command = format!("set server web/{} health down", server.name());
    haproxy::runtime(&daemon.socket(), &command).await.expect("HAProxy answers");
    assert_eq!(state_and_weight(daemon, backend).await.0, "0");
}

#[tokio::test]
async fn health_and_weights_survive_a_reload_on_every_haproxy() {
    for version in haproxy::versions() {
        let dir = TestDir::new();
        let files = ServiceFiles::new(&dir);
        let mut backends = backends(&dir, 3);
        let port = dir.port();
        // Before `web`, so that the number of its section changes, too.
        let another = dir.port();
        let define = |backends: &[Backend], weight: u16, timeout: &str| {
            let host = |backend: &Backend| json!({"address": "127.0.0.1", "port": backend.port(), "weight": weight});
            let hosts: Vec<_> = backends.iter().map(host).collect();
            let definition = json!({
                "type": "static", "hosts": hosts, "port": port, "bind": "127.0.0.1", "server_options": [SLOW_CHECK],
            });
            files.replace("services/web.json", &definition.to_string());
            files.define("another", another, json!({"listen_options": [format!("timeout client {timeout}")]}));
        };
        files.hosts("another", []);
        define(&backends[..2], 10, "30s");
        let daemon = daemon(&dir).haproxy(&version).files(&files.services()).start();
        wait_for_ready(&daemon, "web", &addresses(&backends[..2])).await;
        // The third is added at run time, where this HAProxy can.
        define(&backends, 20, "30s");
        wait_for_ready(&daemon, "web", &addresses(&backends)).await;
        daemon
            .eventually(LIMIT, "the weights are set", async || {
                let seen = state_and_weight(&daemon, &backends[0]).await;
                check(seen == ("2".to_owned(), 20), &seen)
            })
            .await;
        stage::reloads(&daemon).await;
        fail_checks(&daemon, &mut backends[0]).await;
        fail_checks(&daemon, &mut backends[2]).await;

        for timeout in ["31s", "32s"] {
            let before = stage::reloads(&daemon).await;
            define(&backends, 20, timeout);
            wait_for_reload_after(&daemon, before).await;
            for (backend, state) in backends.iter().zip(["0", "2", "0"]) {
                let seen = state_and_weight(&daemon, backend).await;
                assert_eq!(seen, (state.to_owned(), 20), "{version}: {}; {}", backend.name(), daemon.log());
            }
        }
        // A process that somebody starts later must not take it for true.
        let state_file = daemon.socket().with_file_name("haproxy.cfg.state");
        daemon
            .eventually(LIMIT, "the state file says nothing", async || {
                let text = std::fs::read_to_string(&state_file).map_err(|error| error.to_string())?;
                check(text == "1\n", &text)
            })
            .await;
    }
}

#[tokio::test]
async fn a_damaged_state_file_harms_nothing_on_any_haproxy() {
    for version in haproxy::versions() {
        let dir = TestDir::new();
        let files = ServiceFiles::new(&dir);
        let backends = backends(&dir, 1);
        let port = dir.port();
        files.define("web", port, json!({"server_options": [SLOW_CHECK]}));
        files.hosts("web", &backends);
        let daemon = daemon(&dir).haproxy(&version).files(&files.services()).start();
        wait_for_ready(&daemon, "web", &addresses(&backends)).await;
        let state_file = daemon.socket().with_file_name("haproxy.cfg.state");

        let reload = async |timeout: &str| {
            let before = stage::reloads(&daemon).await;
            let options =
                json!({"server_options": [SLOW_CHECK], "listen_options": [format!("timeout client {timeout}")]});
            files.define("web", port, options);
            wait_for_reload_after(&daemon, before).await;
            assert_eq!(state_and_weight(&daemon, &backends[0]).await.0, "2", "{version}");
        };
        for (text, timeout) in [("", "31s"), ("7\n\u{0}\u{0}garbage", "32s"), ("1\n# be_id\n1 web\n", "33s")] {
            std::fs::write(&state_file, text).expect("the file can be written");
            reload(timeout).await;
        }
        // Nothing can be written there, and nothing be read.
        std::fs::remove_file(&state_file).ok();
        std::fs::create_dir(&state_file).expect("the name is free");
        reload("34s").await;
        assert!(daemon.log().contains("the health of servers cannot be kept"), "{}", daemon.log());
    }
}
