//! Latency of a removed or returning host while another service, or another source, asks for very much.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::percentiles::millis;
use crate::stalls::{CHANGED, Scene, p50_max, shown};
use crate::support::daemon::Daemon;
use crate::support::dir::TestDir;
use crate::support::eventually::eventually;

/// Hosts of the service whose hosts change.
const HOSTS: u16 = 30;
/// Hosts that another service gets at once.
const MASS: u16 = 20_000;
/// Definitions that are created at once.
const DEFINITIONS: usize = 100_000;
const PAUSE: Duration = Duration::from_millis(5);
/// How long after the last definition the latency is still measured.
const AFTER: Duration = Duration::from_secs(10);

pub async fn isolation() {
    println!("A host leaves or returns: hosts file renamed -> HAProxy shows it, p50 / max\n");
    println!("| meanwhile | latency | changes | it took |");
    println!("| --- | --- | --- | --- |");
    mass_of_hosts().await;
    mass_of_definitions().await;
    println!();
}

async fn started(dir: &TestDir, scene: &Scene) -> Daemon {
    scene.define(CHANGED, dir.port(), 30);
    let daemon = Daemon::builder(crate::binary(), dir)
        .files(&scene.services)
        .set("discovery.damping", json!(false))
        .arg("--log-level=warning")
        .start();
    until_shown(&daemon.socket(), CHANGED, usize::from(HOSTS)).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    daemon
}

async fn until_shown(socket: &Path, service: &'static str, hosts: usize) {
    eventually(Duration::from_secs(120), "every host is served", async || {
        let socket = socket.to_owned();
        match tokio::task::spawn_blocking(move || shown(&socket, service).map(|ready| ready.len())).await {
            Ok(Some(ready)) if ready == hosts => Ok(()),
            seen => Err(format!("{seen:?}")),
        }
    })
    .await;
}

async fn mass_of_hosts() {
    let dir = TestDir::new();
    let scene = Scene::new(&dir, HOSTS);
    scene.define("mass", dir.port(), 30);
    scene.write_list("mass", 1..=1);
    let daemon = started(&dir, &scene).await;
    scene.write_list("mass", 1..=MASS);
    let begun = Instant::now();
    let (mut latencies, mut complete) = (Vec::new(), None);
    while complete.is_none() {
        latencies.extend(scene.toggle(&daemon.socket()).await);
        // A look at so many servers keeps HAProxy busy itself.
        if latencies.len() % 20 == 0 && ready_of_mass(&daemon.socket()).await == usize::from(MASS) {
            complete = Some(begun.elapsed());
        }
        assert!(begun.elapsed() < Duration::from_secs(90), "never complete");
        tokio::time::sleep(PAUSE).await;
    }
    let took = millis(complete.unwrap_or_default()) / 1_000.0;
    println!(
        "| another service gets {MASS} hosts at once | {} | {} | {took:.1} s |",
        p50_max(&latencies),
        latencies.len()
    );
}

async fn ready_of_mass(socket: &Path) -> usize {
    let socket = socket.to_owned();
    let ready = tokio::task::spawn_blocking(move || shown(&socket, "mass").map_or(0, |ready| ready.len())).await;
    ready.unwrap_or_default()
}

async fn mass_of_definitions() {
    let dir = TestDir::new();
    let scene = Scene::new(&dir, HOSTS);
    let daemon = started(&dir, &scene).await;
    let folder = scene.services.clone();
    let port = dir.port();
    let begun = Instant::now();
    let writing = tokio::task::spawn_blocking(move || {
        for n in 0..DEFINITIONS {
            let definition = json!({
                "type": "static", "hosts": ["127.1.0.1:80"], "port": port, "domains": [format!("d{n}.example")],
            });
            std::fs::write(folder.join(format!("d{n}.json")), definition.to_string()).expect("a writable directory");
        }
    });
    let (mut latencies, mut written) = (Vec::new(), None);
    while written.is_none_or(|at: Instant| at.elapsed() < AFTER) {
        latencies.extend(scene.toggle(&daemon.socket()).await);
        if written.is_none() && writing.is_finished() {
            written = Some(Instant::now());
        }
        tokio::time::sleep(PAUSE).await;
    }
    let took = begun.elapsed().as_secs_f64();
    let count = latencies.len();
    println!("| {DEFINITIONS} definitions appear | {} | {count} | {took:.1} s |", p50_max(&latencies));
}
