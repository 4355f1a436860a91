//! Definitions that are gone for a moment, that are deleted all at once, and that vanish with the last instance.

use std::time::Duration;

use serde_json::json;
use tokio::time::{Instant, sleep};

use crate::stage::{ServiceFiles, addresses, backends, daemon, reloads, wait_for_ready, wait_for_state};
use crate::support::consul::Consul;
use crate::support::dir::TestDir;
use crate::support::http;

/// Asserts that this port answers every request for this time.
async fn answers_for(port: u16, time: Duration) {
    let until = Instant::now() + time;
    while Instant::now() < until {
        http::get(([127, 0, 0, 1], port).into(), "/").await.unwrap_or_else(|error| panic!("port {port}: {error}"));
        sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn definition_written_again_keeps_its_port_and_hosts() {
    let dir = TestDir::new();
    let files = ServiceFiles::new(&dir);
    let backends = backends(&dir, 2);
    let (web, api) = (dir.port(), dir.port());
    for (name, port) in [("web", web), ("api", api)] {
        files.define(name, port, json!({}));
        files.hosts(name, &backends);
    }
    let daemon = daemon(&dir).files(&files.services()).start();
    for name in ["web", "api"] {
        wait_for_ready(&daemon, name, &addresses(&backends)).await;
    }
    let starts = reloads(&daemon).await;
    for _ in 0..5 {
        files.remove("web");
        answers_for(web, Duration::from_millis(300)).await;
        files.define("web", web, json!({}));
        answers_for(web, Duration::from_millis(1_300)).await;
    }
    assert_eq!(reloads(&daemon).await, starts);
    // The guard of the hosts survived: their list does not become empty.
    files.remove("web");
    files.hosts("web", []);
    sleep(Duration::from_millis(200)).await;
    files.define("web", web, json!({}));
    answers_for(web, Duration::from_secs(2)).await;
    wait_for_ready(&daemon, "web", &addresses(&backends)).await;
}

#[tokio::test]
async fn deletion_of_all_definitions_one_by_one_removes_none() {
    let dir = TestDir::new();
    let files = ServiceFiles::new(&dir);
    let backends = backends(&dir, 1);
    let services: Vec<(String, u16)> = (0..12).map(|number| (format!("service-{number}"), dir.port())).collect();
    for (name, port) in &services {
        files.define(name, *port, json!({}));
        files.hosts(name, &backends);
    }
    let daemon = daemon(&dir).files(&files.services()).start();
    for (name, _) in &services {
        wait_for_ready(&daemon, name, &addresses(&backends)).await;
    }
    for (name, _) in &services {
        files.remove(name);
        sleep(Duration::from_millis(4)).await;
    }
    wait_for_state(&daemon, "the removal is blocked", "service_config", |state| !state["held"].is_null()).await;
    for (_, port) in &services {
        answers_for(*port, Duration::from_millis(100)).await;
    }
}

#[tokio::test]
async fn derived_service_outlives_its_last_instance() {
    let dir = TestDir::new();
    let consul = Consul::start(&dir).await;
    let backends = backends(&dir, 2);
    let port = dir.port();
    let register = async |number: usize| {
        let tags = json!(["proxymgr", format!("proxymgr.port={port}"), "proxymgr.bind=127.0.0.1"]);
        let instance = json!({"Address": "127.0.0.1", "Port": backends[number].port(), "Tags": tags});
        consul.register("web", &format!("web-{number}"), instance, &[]).await;
    };
    register(0).await;
    let settings = daemon(&dir).set("service_config.type", json!("consul_catalog"));
    let daemon = settings.set("consul.servers", json!(consul.url())).start();
    wait_for_ready(&daemon, "web", &addresses(&backends[..1])).await;
    consul.deregister("web-0").await;
    wait_for_state(&daemon, "the empty list is blocked", "watcher", |state| !state["held"].is_null()).await;
    answers_for(port, Duration::from_secs(3)).await;
    register(1).await;
    wait_for_ready(&daemon, "web", &addresses(&backends[1..])).await;
    answers_for(port, Duration::from_millis(200)).await;
}
