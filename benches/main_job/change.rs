//! Acknowledged znode change -> HAProxy shows it: removal, return and new host, and the floor in the same run.

use std::time::{Duration, Instant};

use serde_json::json;
use zookeeper::Client;

use crate::floor;
use crate::observer::{Observer, Ready};
use crate::percentiles::{millis, p50_p99, percentile};
use crate::support::daemon::Daemon;
use crate::support::dir::TestDir;
use crate::support::haproxy::{self, RunningHaproxy};
use crate::support::znodes;
use crate::support::zookeeper::Ensemble;

const HOSTS: u8 = 10;
const ROUNDS: u8 = 100;

/// Path of the hosts whose changes are measured.
pub const PATH: &str = "/services/web";

/// Measured latencies of one system.
#[derive(Default)]
pub struct Latencies {
    pub removal: Vec<Duration>,
    pub back: Vec<Duration>,
    pub new: Vec<Duration>,
}

/// A store in which hosts register.
#[allow(async_fn_in_trait)]
pub trait Registry {
    /// Registers a host; resolves when that is acknowledged.
    async fn register(&self, address: &str);
    /// Removes a host; resolves when that is acknowledged.
    async fn deregister(&self, address: &str);
}

impl Registry for Client {
    async fn register(&self, address: &str) {
        create(self, address).await;
    }

    async fn deregister(&self, address: &str) {
        delete(self, address).await;
    }
}

/// Creates a host's znode; resolves when ZooKeeper has acknowledged that.
pub async fn create(client: &Client, address: &str) {
    znodes::put(client, &format!("{PATH}/{address}"), &json!({"address": address, "port": 80})).await;
}

/// Deletes a host's znode.
pub async fn delete(client: &Client, address: &str) {
    znodes::delete(client, &format!("{PATH}/{address}")).await;
}

/// Makes a change, and returns the time from its acknowledgement until HAProxy showed it.
pub async fn measured(observer: &Observer, wanted: &Ready, change: impl Future<Output = ()>) -> Duration {
    let shown = observer.when("web", wanted.clone());
    change.await;
    let acknowledged = Instant::now();
    let shown = shown.await.expect("the observer saw it");
    shown.saturating_duration_since(acknowledged)
}

/// Creates the first hosts and one service in ZooKeeper, and starts a daemon until HAProxy has them.
pub async fn daemon_in_step(dir: &TestDir, ensemble: &Ensemble, client: &Client, first: &Ready) -> (Daemon, Observer) {
    let definition = json!({"type": "zookeeper", "path": PATH, "port": dir.port(), "bind": "127.0.0.1"});
    znodes::put(client, "/service_config/web", &definition).await;
    let mut daemon = Daemon::builder(crate::binary(), dir)
        .zookeeper(&ensemble.connect_string(), "/service_config")
        .set("discovery.damping", json!(false))
        .arg("--log-level=warning")
        .start();
    daemon.wait_until_haproxy_answers().await;
    let observer = Observer::of(&daemon.socket());
    observer.when("web", first.clone()).await.expect("the observer saw it");
    (daemon, observer)
}

/// Returns `127.1.0.N`, on port 80.
pub fn address(n: u8) -> String {
    format!("127.1.0.{n}")
}

/// Returns the first hosts of the service that is changed.
pub fn first_hosts() -> Vec<String> {
    (1..=HOSTS).map(address).collect()
}

/// Removes, returns and adds hosts, one at a time with a pause after each.
pub async fn run(observer: &Observer, registry: &impl Registry, mut ready: Ready, pause: Duration) -> Latencies {
    let mut latencies = Latencies::default();
    for round in 0..ROUNDS {
        let address = address(round % HOSTS + 1);
        ready.remove(&format!("{address}:80"));
        latencies.removal.push(measured(observer, &ready, registry.deregister(&address)).await);
        tokio::time::sleep(pause).await;
        ready.insert(format!("{address}:80"));
        latencies.back.push(measured(observer, &ready, registry.register(&address)).await);
        tokio::time::sleep(pause).await;
    }
    for round in 0..ROUNDS {
        let address = address(HOSTS + 1 + round);
        ready.insert(format!("{address}:80"));
        latencies.new.push(measured(observer, &ready, registry.register(&address)).await);
        tokio::time::sleep(pause).await;
    }
    for round in 0..ROUNDS {
        registry.deregister(&address(HOSTS + 1 + round)).await;
    }
    latencies
}

pub async fn latency() {
    let dir = TestDir::new();
    let ensemble = Ensemble::start(&dir, 1).await;
    let client = ensemble.client().await;
    let first: Ready = (1..=HOSTS).map(|n| format!("{}:80", address(n))).collect();
    for n in 1..=HOSTS {
        create(&client, &address(n)).await;
    }
    let (daemon, observer) = daemon_in_step(&dir, &ensemble, &client, &first).await;
    let reloads = crate::reload_count(&daemon).await;
    let ours = run(&observer, &client, first.clone(), Duration::ZERO).await;
    assert_eq!(crate::reload_count(&daemon).await, reloads, "no reload");
    drop(daemon);

    let config = format!(
        "defaults\n  timeout connect 1s\n  timeout client 1s\n  timeout server 1s\nlisten web\n  bind 127.0.0.1:{}\n",
        dir.port()
    );
    let bare = RunningHaproxy::start(&dir, &haproxy::installed(), &config).await;
    floor::start(ensemble.connect_string(), PATH, bare.socket.clone());
    let observer = Observer::of(&bare.socket);
    observer.when("web", first.clone()).await.expect("the observer saw it");
    let floor = run(&observer, &client, first, Duration::ZERO).await;

    println!("Acknowledged znode change -> HAProxy shows it, {ROUNDS} of each, p50 / p99\n");
    println!("| change | proxymgr | floor | p50 as a multiple of the floor |\n| --- | --- | --- | --- |");
    for (name, ours, floor) in
        [("removal", ours.removal, floor.removal), ("return", ours.back, floor.back), ("new host", ours.new, floor.new)]
    {
        let ratio = millis(percentile(&ours, 0.5)) / millis(percentile(&floor, 0.5)).max(0.001);
        println!("| {name} | {} | {} | {ratio:.1} |", p50_p99(&ours), p50_p99(&floor));
    }
    println!();
}
