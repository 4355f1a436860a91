//! The response time of the status listener with 1,000 services of 50 hosts each.

use std::fmt::Write;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::percentiles::p50_p99;
use crate::support::daemon::Daemon;
use crate::support::dir::TestDir;
use crate::support::eventually::{check, eventually};
use crate::support::{haproxy, http};

const SERVICES: u16 = 1_000;
const HOSTS: u16 = 50;
const QUESTIONS: usize = 30;

/// States of the actors are cached for at most a second: requests that are further apart query them again.
const APART: Duration = Duration::from_millis(1_100);

pub async fn api() {
    let dir = TestDir::new();
    let hosts = (1..=HOSTS).fold(String::new(), |mut lines, n| {
        let _ = writeln!(lines, "127.2.0.{n}:80");
        lines
    });
    for service in 0..SERVICES {
        let hosts = dir.write(format!("s{service}.hosts"), &hosts);
        let definition = json!({"type": "file", "path": hosts, "port": dir.port(), "bind": "127.0.0.1"});
        dir.write(format!("services/s{service}.json"), definition.to_string());
    }
    let daemon = Daemon::builder(crate::binary(), &dir).files(&dir.join("services")).arg("--log-level=warning").start();
    let all = usize::from(SERVICES) * usize::from(HOSTS);
    eventually(Duration::from_secs(120), "all hosts take traffic", async || {
        let servers = haproxy::servers_state(&daemon.socket()).await.map_err(|error| error.to_string())?;
        let ready = servers.iter().filter(|server| server.is_ready()).count();
        check(ready == all, &ready)
    })
    .await;
    println!("The status listener, {SERVICES} services x {HOSTS} hosts\n");
    println!("| request | size | uncached, p50 / p99 | repeated at once, p50 / p99 |");
    println!("| --- | --- | --- | --- |");
    for path in [
        "/api/v1/services",
        "/api/v1/status",
        "/api/v1/services/s7/servers",
        "/api/v1/plan",
        "/",
        "/metrics",
        "/readyz",
    ] {
        let mut anew = Vec::new();
        let mut again = Vec::new();
        let mut bytes = 0;
        for _ in 0..QUESTIONS {
            tokio::time::sleep(APART).await;
            anew.push(asked(&daemon, path, &mut bytes).await);
            again.push(asked(&daemon, path, &mut bytes).await);
        }
        println!("| `{path}` | {} kB | {} | {} |", bytes / 1_000, p50_p99(&anew), p50_p99(&again));
    }
    println!();
}

async fn asked(daemon: &Daemon, path: &str, bytes: &mut usize) -> Duration {
    let begun = Instant::now();
    let response = http::get(daemon.status_address(), path).await.expect("it answers");
    assert_eq!(response.status, 200, "{path}: {}", response.text());
    *bytes = response.body.len();
    begun.elapsed()
}
