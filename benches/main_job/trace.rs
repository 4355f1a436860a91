//! 200 recorded changes (100 new hosts, 50 removals, 50 returns), one every 0.2 s.

use std::time::{Duration, Instant};

use crate::change::{address, create, daemon_in_step, delete, measured};
use crate::observer::Ready;
use crate::percentiles::{millis, p50_p99};
use crate::support::dir::TestDir;
use crate::support::zookeeper::Ensemble;

const TRACE: &str = include_str!("trace200.json");
const PERIOD: Duration = Duration::from_millis(200);
const FIRST_HOSTS: u8 = 10;

pub async fn trace() {
    let changes: Vec<(String, String)> = serde_json::from_str(TRACE).expect("the trace is JSON");
    let dir = TestDir::new();
    let ensemble = Ensemble::start(&dir, 1).await;
    let client = ensemble.client().await;
    let mut ready: Ready = (1..=FIRST_HOSTS).map(|n| format!("{}:80", address(n))).collect();
    for n in 1..=FIRST_HOSTS {
        create(&client, &address(n)).await;
    }
    let (daemon, observer) = daemon_in_step(&dir, &ensemble, &client, &ready).await;
    let reloads = crate::reload_count(&daemon).await;
    let mut latencies = Vec::new();
    for (kind, address) in &changes {
        let begun = Instant::now();
        let latency = if kind == "del" {
            ready.remove(&format!("{address}:80"));
            measured(&observer, &ready, delete(&client, address)).await
        } else {
            ready.insert(format!("{address}:80"));
            measured(&observer, &ready, create(&client, address)).await
        };
        latencies.push(latency);
        tokio::time::sleep(PERIOD.saturating_sub(begun.elapsed())).await;
    }
    let reloads = crate::reload_count(&daemon).await - reloads;
    let longest = latencies.iter().max().copied().unwrap_or_default();
    println!(
        "Trace of {} changes, one every 0.2 s: all applied, {reloads} reloads, p50 / p99 {}, longest {:.2} ms\n",
        latencies.len(),
        p50_p99(&latencies),
        millis(longest),
    );
}
