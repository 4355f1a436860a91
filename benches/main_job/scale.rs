//! 1,000 services of 50 hosts each, in ZooKeeper.

use std::time::{Duration, Instant};

use futures_util::StreamExt;
use nix::unistd::Pid;
use serde_json::json;

use crate::change::{PATH, create, measured};
use crate::observer::{Observer, Ready};
use crate::percentiles::p50_p99;
use crate::support::daemon::Daemon;
use crate::support::dir::TestDir;
use crate::support::haproxy;
use crate::support::znodes;
use crate::support::zookeeper::Ensemble;

const SERVICES: u16 = 1_000;
const HOSTS: u8 = 50;
const CHANGES: u8 = 100;
const IDLE: Duration = Duration::from_secs(60);
const NEVER: Duration = Duration::from_secs(86_400);

pub async fn scale() {
    let dir = TestDir::new();
    let ensemble = Ensemble::start(&dir, 1).await;
    let client = ensemble.client().await;
    let services = (0..SERVICES).map(|n| if n == 0 { "web".to_owned() } else { format!("s{n}") });
    let mut znodes_to_make = Vec::new();
    for service in services {
        let definition = json!({"type": "zookeeper", "path": format!("/services/{service}"), "port": dir.port(), "bind": "127.0.0.1"});
        znodes_to_make.push((format!("/service_config/{service}"), definition));
        for host in 1..=HOSTS {
            let address = format!("127.1.0.{host}");
            znodes_to_make.push((format!("/services/{service}/{address}"), json!({"address": address, "port": 80})));
        }
    }
    let made = futures_util::stream::iter(znodes_to_make);
    made.for_each_concurrent(200, |(path, data)| {
        let client = client.clone();
        async move { znodes::put(&client, &path, &data).await }
    })
    .await;

    // In the time of the measurement every source is confirmed once.
    let confirming = idle_share_of(&started(&TestDir::new(), &ensemble, IDLE)).await;
    let begun = Instant::now();
    let mut daemon = started(&dir, &ensemble, NEVER);
    let info = loop {
        match haproxy::info(&daemon.socket()).await {
            Ok(info) => break info,
            Err(_) if begun.elapsed() < Duration::from_secs(120) => tokio::time::sleep(Duration::from_millis(5)).await,
            Err(error) => panic!("HAProxy never answered: {error}\n{}", daemon.log()),
        }
    };
    let started = begun.elapsed();
    assert!(info.contains_key("Pid") && daemon.exit_status().is_none());
    let mut ready: Ready = (1..=HOSTS).map(|n| format!("127.1.0.{n}:80")).collect();
    let observer = Observer::of(&daemon.socket());
    observer.when("web", ready.clone()).await.expect("the observer saw it");
    tokio::time::sleep(Duration::from_secs(5)).await;

    let (memory_before, _) = usage(daemon.pid());
    let idle_share = idle_share(&daemon).await;
    let (memory, _) = usage(daemon.pid());
    let mut latencies = Vec::new();
    for n in 0..CHANGES {
        let address = format!("127.1.1.{}", n + 1);
        ready.insert(format!("{address}:80"));
        latencies.push(measured(&observer, &ready, create(&client, &address)).await);
    }
    let servers = usize::from(SERVICES) * usize::from(HOSTS);
    println!("{SERVICES} services x {HOSTS} hosts ({servers} servers) from ZooKeeper ({PATH} and the others)\n");
    println!("| from start to HAProxy answering | memory of the daemon | CPU when idle | a new host, p50 / p99 |");
    println!("| --- | --- | --- | --- |");
    let start = started.as_secs_f64();
    let latency = p50_p99(&latencies);
    println!(
        "| {start:.1} s | {} MB (peak of the idle time {} MB) | {idle_share:.2} % of a core | {latency} |\n",
        memory / 1_024,
        memory_before.max(memory) / 1_024
    );
    println!(
        "Without confirmations. With one of every source within {IDLE:?}: {confirming:.2} % of a core; within the default of 5 min it \
         adds {:.2} %.\n",
        (confirming - idle_share) * IDLE.as_secs_f64() / 300.0
    );
}

fn started(dir: &TestDir, ensemble: &Ensemble, confirm_interval: Duration) -> Daemon {
    Daemon::builder(crate::binary(), dir)
        .zookeeper(&ensemble.connect_string(), "/service_config")
        .set("discovery.confirm_interval", json!(format!("{}s", confirm_interval.as_secs())))
        .arg("--log-level=warning")
        .start()
}

/// Returns the share of a core that a daemon needs while nothing changes, in percent, once HAProxy serves.
async fn idle_share_of(daemon: &Daemon) -> f64 {
    let begun = Instant::now();
    while haproxy::info(&daemon.socket()).await.is_err() {
        assert!(begun.elapsed() < Duration::from_secs(120), "HAProxy never answered\n{}", daemon.log());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    // The first confirmations come after half the interval.
    tokio::time::sleep(IDLE).await;
    idle_share(daemon).await
}

async fn idle_share(daemon: &Daemon) -> f64 {
    let (_, before) = usage(daemon.pid());
    tokio::time::sleep(IDLE).await;
    let (_, after) = usage(daemon.pid());
    (after - before).as_secs_f64() / IDLE.as_secs_f64() * 100.0
}

/// Returns resident memory in KiB, and the processor time used so far.
pub fn usage(pid: Pid) -> (u64, Duration) {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("the process runs");
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a line for it");
    let kib = resident.split_whitespace().next().and_then(|kib| kib.parse().ok()).expect("a number");
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("the process runs");
    let after_name = stat.rsplit(')').next().expect("a name in parentheses");
    let columns: Vec<&str> = after_name.split_whitespace().collect();
    // utime and stime, the 14th and 15th column of all; 100 ticks a second on Linux.
    let ticks: u64 = columns[11..13].iter().map(|ticks| ticks.parse::<u64>().expect("a number")).sum();
    (kib, Duration::from_millis(ticks * 10))
}
