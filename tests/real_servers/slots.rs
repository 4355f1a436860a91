//! Services in slots on real HAProxies, as needed for 2.2 and older versions.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use serde_json::{Value, json};

use crate::stage::{self, LIMIT, ServiceFiles, addresses, backends, daemon, wait_for_ready, wait_for_state};
use crate::support::backend::Backend;
use crate::support::daemon::Daemon;
use crate::support::dir::TestDir;
use crate::support::eventually::check;
use crate::support::{haproxy, http};

/// Returns the daemon's state of the service `web`.
async fn web(daemon: &Daemon) -> Value {
    stage::actor_state(daemon, "haproxy_state").await.expect("its state")["services"]["web"].clone()
}

/// Returns the host of each slot.
async fn slots(daemon: &Daemon) -> BTreeMap<String, String> {
    serde_json::from_value(web(daemon).await["slots"].clone()).expect("names")
}

fn slotted(base: usize, min_free: usize) -> Value {
    let slots = json!({"base": base, "min_free": min_free});
    // The tests remove all hosts but one of five.
    json!({"update": "slots", "slots": slots, "server_options": ["check inter 200ms"], "listen_options": ["mode http"],
        "max_removal": 1})
}

/// Waits until the saved state has these slots.
async fn until_saved(daemon: &Daemon, slots: &BTreeMap<String, String>) {
    let saved = async || {
        let files = std::fs::read_dir(daemon.dir().join("state")).map_err(|error| error.to_string())?;
        let complete = files.flatten().filter(|file| file.path().extension().is_some_and(|end| end == "json"));
        let text: String = complete.filter_map(|file| std::fs::read_to_string(file.path()).ok()).collect();
        check(slots.keys().all(|host| text.contains(&format!("\"server\":\"{host}\""))), &text)
    };
    daemon.eventually(LIMIT, "the table of slots is saved", saved).await;
}

/// Waits until requests are answered by exactly these backends.
async fn wait_until_served_by(daemon: &Daemon, port: u16, wanted: &[&Backend]) {
    let names: BTreeSet<String> = wanted.iter().map(|backend| backend.name().to_owned()).collect();
    let probe = async || {
        let mut answers = BTreeSet::new();
        for _ in 0..2 * names.len() {
            let answer = http::get(SocketAddr::from(([127, 0, 0, 1], port)), "/").await;
            answers.insert(answer.map_err(|error| error.to_string())?.text().trim().to_owned());
        }
        check(answers == names, &answers)
    };
    daemon.eventually(LIMIT, "clients reach exactly the hosts", probe).await;
}

#[tokio::test]
async fn slots_need_no_reload_on_every_version() {
    for version in haproxy::versions() {
        let dir = TestDir::new();
        let files = ServiceFiles::new(&dir);
        let backends = backends(&dir, 5);
        let port = dir.port();
        files.define("web", port, slotted(5, 0));
        files.hosts("web", &backends[..1]);
        let daemon = daemon(&dir).haproxy(&version).files(&files.services()).start();
        wait_for_ready(&daemon, "web", &addresses(&backends[..1])).await;
        for serving in [0..3, 1..3, 1..5, 0..5, 3..4, 0..2] {
            files.hosts("web", &backends[serving.clone()]);
            wait_for_ready(&daemon, "web", &addresses(&backends[serving.clone()])).await;
            wait_until_served_by(&daemon, port, &backends[serving].iter().collect::<Vec<_>>()).await;
        }
        assert_eq!(stage::reloads(&daemon).await, 1, "{version:?}");
        assert_eq!(web(&daemon).await["free_slots"], 3);
    }
}

#[tokio::test]
async fn slots_grow_early_and_survive_adoption() {
    for version in haproxy::versions() {
        let dir = TestDir::new();
        let files = ServiceFiles::new(&dir);
        let backends = backends(&dir, 4);
        files.define("web", dir.port(), slotted(3, 1));
        files.hosts("web", &backends[..2]);
        let mut daemon = daemon(&dir).haproxy(&version).files(&files.services()).start();
        wait_for_ready(&daemon, "web", &addresses(&backends[..2])).await;
        files.hosts("web", &backends[..3]);
        // Until the reload the new host has the last slot.
        let grown = |state: &Value| state["services"]["web"]["free_slots"] == 3;
        wait_for_state(&daemon, "the slots grow", "haproxy_state", grown).await;
        wait_for_ready(&daemon, "web", &addresses(&backends[..3])).await;
        assert_eq!(stage::reloads(&daemon).await, 2, "{version:?}");
        files.hosts("web", &backends[1..3]);
        wait_for_ready(&daemon, "web", &addresses(&backends[1..3])).await;
        let two = |state: &Value| state["services"]["web"]["slots"].as_object().is_some_and(|slots| slots.len() == 2);
        wait_for_state(&daemon, "two hosts have slots", "haproxy_state", two).await;
        let before = slots(&daemon).await;
        until_saved(&daemon, &before).await;

        daemon.kill();
        daemon.start_again();
        let taken_over = |state: &Value| state["phase"] == "running" && two(state);
        wait_for_state(&daemon, "HAProxy is adopted", "haproxy_state", taken_over).await;
        wait_for_ready(&daemon, "web", &addresses(&backends[1..3])).await;
        assert_eq!(slots(&daemon).await, before, "{version:?}");
    }
}

/// Both servers are drained on HAProxy's socket; the daemon is killed, and one host is replaced before the next daemon
/// adopts HAProxy.
#[tokio::test]
async fn drain_on_socket_is_not_inherited_with_slot() {
    for version in haproxy::versions() {
        let dir = TestDir::new();
        let files = ServiceFiles::new(&dir);
        let backends = backends(&dir, 3);
        files.define("web", dir.port(), slotted(2, 0));
        files.hosts("web", &backends[..2]);
        let mut daemon = daemon(&dir).haproxy(&version).files(&files.services()).start();
        wait_for_ready(&daemon, "web", &addresses(&backends[..2])).await;
        let before = slots(&daemon).await;
        until_saved(&daemon, &before).await;
        for slot in before.values() {
            let command = format!("set server web/{slot} state drain");
            haproxy::runtime(&daemon.socket(), &command).await.expect("HAProxy takes it");
        }
        daemon.kill();
        files.hosts("web", [&backends[0], &backends[2]]);
        daemon.start_again();
        let seats = |state: &Value| state["services"]["web"]["slots"].clone();
        let taken = before[&backends[1].address().to_string()].clone();
        let successor = backends[2].address().to_string();
        wait_for_state(&daemon, "the new host has the slot", "haproxy_state", |state| {
            state["phase"] == "running" && seats(state)[&successor] == taken.as_str()
        })
        .await;
        wait_for_ready(&daemon, "web", &addresses(&backends[2..])).await;
        let servers = haproxy::servers_state(&daemon.socket()).await.expect("it answers");
        let drained: Vec<u16> =
            servers.iter().filter(|server| server.is_draining()).map(|server| server.port()).collect();
        assert_eq!(drained, [backends[0].port()], "{version:?}: {servers:?}");
    }
}
