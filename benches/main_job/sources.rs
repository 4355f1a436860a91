//! Consul and etcd: the same changes as with ZooKeeper, and the cost of 500 watched Consul services.

use std::time::Duration;

use serde_json::{Value, json};

use crate::change::{PATH, Registry, first_hosts, measured, run};
use crate::observer::{Observer, Ready};
use crate::percentiles::p50_p99;
use crate::scale::usage;
use crate::support::consul::Consul;
use crate::support::daemon::{Daemon, DaemonBuilder};
use crate::support::dir::TestDir;
use crate::support::etcd::Etcd;
use crate::support::process::tcp_ports_of;

/// Longer than the interval to which the answers of one Consul query are limited.
const PAUSE: Duration = Duration::from_millis(250);

const SERVICES: usize = 500;
const IDLE: Duration = Duration::from_secs(60);
const CHANGES: u8 = 40;

impl Registry for Consul {
    async fn register(&self, address: &str) {
        Consul::register(self, "web", address, json!({"Address": address}), &[("c", "passing")]).await;
    }

    async fn deregister(&self, address: &str) {
        Consul::deregister(self, address).await;
    }
}

impl Registry for Etcd {
    async fn register(&self, address: &str) {
        self.put(&format!("{PATH}/{address}"), &format!("{address}:80")).await;
    }

    async fn deregister(&self, address: &str) {
        self.delete(&format!("{PATH}/{address}")).await;
    }
}

pub async fn sources() {
    println!("Acknowledged change -> HAProxy shows it, p50 / p99\n");
    println!("| source | removal | return | new host |\n| --- | --- | --- | --- |");
    let dir = TestDir::new();
    let consul = Consul::start(&dir).await;
    consul.put_key("service_config/web", &definition(&dir, json!({"type": "consul", "service": "web"}))).await;
    row("Consul", &dir, &consul, |daemon| {
        daemon.set("service_config", json!({"type": "consul"})).set("consul.servers", json!(consul.url()))
    })
    .await;
    let etcd = Etcd::start(&dir, 1).await;
    etcd.put("/service_config/web", &definition(&dir, json!({"type": "etcd", "prefix": PATH}))).await;
    row("etcd", &dir, &etcd, |daemon| {
        daemon.set("service_config", json!({"type": "etcd"})).set("etcd.servers", json!(etcd.url(0)))
    })
    .await;
    println!("\n{SERVICES} services from Consul, two hosts each\n");
    println!(
        "| connections | confirmations | to Consul | memory of the daemon | CPU when idle, daemon | agent | a new host, p50 / p99 |"
    );
    println!("| --- | --- | --- | --- | --- | --- | --- |");
    for (connections, confirm_interval) in [(150, "1d"), (1_000, "1d"), (1_000, "1m")] {
        many(connections, confirm_interval).await;
    }
    println!();
}

fn definition(dir: &TestDir, mut source: Value) -> String {
    source["port"] = dir.port().into();
    source["bind"] = "127.0.0.1".into();
    source.to_string()
}

async fn started(dir: &TestDir, settings: impl FnOnce(DaemonBuilder) -> DaemonBuilder) -> Daemon {
    let daemon = settings(Daemon::builder(crate::binary(), dir))
        .set("discovery.damping", json!(false))
        .arg("--log-level=warning");
    let mut daemon = daemon.start();
    daemon.wait_until_haproxy_answers().await;
    daemon
}

async fn row(
    name: &str,
    dir: &TestDir,
    registry: &impl Registry,
    settings: impl FnOnce(DaemonBuilder) -> DaemonBuilder,
) {
    for address in first_hosts() {
        registry.register(&address).await;
    }
    let daemon = started(dir, settings).await;
    let observer = Observer::of(&daemon.socket());
    let first: Ready = first_hosts().iter().map(|address| format!("{address}:80")).collect();
    observer.when("web", first.clone()).await.expect("the observer saw it");
    let reloads = crate::reload_count(&daemon).await;
    let latencies = run(&observer, registry, first, PAUSE).await;
    assert_eq!(crate::reload_count(&daemon).await, reloads, "no reload");
    let [removal, back, new] = [&latencies.removal, &latencies.back, &latencies.new].map(|measured| p50_p99(measured));
    println!("| {name} | {removal} | {back} | {new} |");
}

async fn many(connections: usize, confirm_interval: &str) {
    let dir = TestDir::new();
    let limits = json!({"limits": {"http_max_conns_per_client": connections + 50}});
    let mut consul = Consul::start_with(&dir, limits, None).await;
    for number in 0..SERVICES {
        let service = if number == 0 { "web".to_owned() } else { format!("s{number}") };
        consul
            .put_key(
                &format!("service_config/{service}"),
                &definition(&dir, json!({"type": "consul", "service": service})),
            )
            .await;
        for host in 1..=2 {
            let address = json!({"Address": format!("127.1.0.{host}")});
            consul.register(&service, &format!("{service}-{host}"), address, &[("c", "passing")]).await;
        }
    }
    let daemon = started(&dir, |daemon| {
        daemon
            .set("service_config", json!({"type": "consul"}))
            .set("consul.servers", json!(consul.url()))
            .set("consul.connections", json!(connections))
            .set("discovery.confirm_interval", json!(confirm_interval))
    })
    .await;
    let mut ready: Ready = (1..=2).map(|host| format!("127.1.0.{host}:80")).collect();
    let observer = Observer::of(&daemon.socket());
    observer.when("web", ready.clone()).await.expect("the observer saw it");
    tokio::time::sleep(Duration::from_secs(10)).await;
    let agent = consul.process().pid();
    let (_, cpu_before) = usage(daemon.pid());
    let (_, agent_before) = usage(agent);
    tokio::time::sleep(IDLE).await;
    let (memory, cpu_after) = usage(daemon.pid());
    let (_, agent_after) = usage(agent);
    let share = |before: Duration, after: Duration| (after - before).as_secs_f64() / IDLE.as_secs_f64() * 100.0;
    let sockets = tcp_ports_of(daemon.pid()).len();
    let mut latencies = Vec::new();
    for host in 0..CHANGES {
        let address = format!("127.1.1.{}", host + 1);
        ready.insert(format!("{address}:80"));
        latencies.push(measured(&observer, &ready, Registry::register(&consul, &address)).await);
        tokio::time::sleep(PAUSE).await;
    }
    println!(
        "| {connections} | {confirm_interval} | {} | {} MB | {:.2} % of a core | {:.2} % | {} |",
        sockets.saturating_sub(SERVICES + 1),
        memory / 1_024,
        share(cpu_before, cpu_after),
        share(agent_before, agent_after),
        p50_p99(&latencies)
    );
}
