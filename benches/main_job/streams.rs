//! The cost of 500 readers of the status page's event stream for a change, while 1,000 hosts per second change.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep};
use zookeeper::Client;

use crate::change::{address, create, daemon_in_step, delete, first_hosts, measured};
use crate::observer::{Observer, Ready};
use crate::percentiles::{millis, p50_p99, percentile};
use crate::support::daemon::Daemon;
use crate::support::dir::TestDir;
use crate::support::eventually::{check, eventually};
use crate::support::znodes;
use crate::support::zookeeper::Ensemble;

const STREAMS: usize = 500;
const CHANGES_PER_SECOND: u64 = 1_000;
/// Changes made at once; repeated often enough to reach `CHANGES_PER_SECOND`.
const CHANGES_AT_ONCE: u64 = 10;
const SERVICES: u64 = 20;
const HOSTS: u64 = 50;
/// Number of measurements with and without streams, in turns, and of removals and returns in each.
const TURNS: usize = 4;
const ROUNDS: u8 = 100;

pub async fn streams() {
    let dir = TestDir::new();
    let ensemble = Ensemble::start(&dir, 1).await;
    let client = ensemble.client().await;
    for host in first_hosts() {
        create(&client, &host).await;
    }
    for service in 0..SERVICES {
        let path = format!("/services/s{service}");
        for host in 0..HOSTS {
            register(&client, service, host).await;
        }
        let definition = json!({"type": "zookeeper", "path": path, "port": dir.port(), "bind": "127.0.0.1"});
        znodes::put(&client, &format!("/service_config/s{service}"), &definition).await;
    }
    let ready: Ready = first_hosts().into_iter().map(|host| format!("{host}:80")).collect();
    let (daemon, observer) = daemon_in_step(&dir, &ensemble, &client, &ready).await;
    let reloads = crate::reload_count(&daemon).await;
    let changes = Arc::new(AtomicU64::new(0));
    let load = tokio::spawn(keep_changing(client.clone(), Arc::clone(&changes)));
    let begun = Instant::now();

    let (mut without, mut with) = (Vec::new(), Vec::new());
    let bytes = Arc::new(AtomicU64::new(0));
    for _ in 0..TURNS {
        removals_and_returns(&observer, &client, &ready, &mut without).await;
        let readers = open(&daemon, &bytes).await;
        removals_and_returns(&observer, &client, &ready, &mut with).await;
        assert_eq!(readers.len(), STREAMS);
        drop(readers);
    }
    let rate = changes.load(Ordering::Relaxed) as f64 / begun.elapsed().as_secs_f64();
    assert!(!load.is_finished(), "hosts were changed to the end");
    load.abort();
    assert_eq!(crate::reload_count(&daemon).await, reloads, "no reload");

    println!("{STREAMS} event streams, {rate:.0} acknowledged changes a second in {SERVICES} other services\n");
    println!(
        "| acknowledged removal or return -> HAProxy shows it, p50 / p99 | without | with | p50, with / without |"
    );
    println!("| --- | --- | --- | --- |");
    let ratio = millis(percentile(&with, 0.5)) / millis(percentile(&without, 0.5)).max(0.001);
    let sent = bytes.load(Ordering::Relaxed) / 1_000_000;
    println!("| {} of each, {sent} MB sent | {} | {} | {ratio:.2} |\n", with.len(), p50_p99(&without), p50_p99(&with));
}

/// Removes hosts of the other services and returns them, until it is aborted.
async fn keep_changing(client: Client, changes: Arc<AtomicU64>) {
    let mut ticks = interval(Duration::from_millis(1_000 * CHANGES_AT_ONCE / CHANGES_PER_SECOND));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut under_way = JoinSet::new();
    for number in 0_u64.. {
        ticks.tick().await;
        for change in number * CHANGES_AT_ONCE..(number + 1) * CHANGES_AT_ONCE {
            // Each host is removed in one pass over all hosts, and returned in the next.
            let (host, client, changes) = (change % (SERVICES * HOSTS / 2), client.clone(), Arc::clone(&changes));
            let comes_back = change / (SERVICES * HOSTS / 2) % 2 == 1;
            under_way.spawn(async move {
                let (service, host) = (host % SERVICES, host / SERVICES);
                if comes_back {
                    register(&client, service, host).await;
                } else {
                    znodes::delete(&client, &path(service, host)).await;
                }
                changes.fetch_add(1, Ordering::Relaxed);
            });
        }
        while let Some(done) = under_way.try_join_next() {
            done.expect("the change was made");
        }
    }
}

fn path(service: u64, host: u64) -> String {
    format!("/services/s{service}/127.2.{service}.{}", host + 1)
}

async fn register(client: &Client, service: u64, host: u64) {
    let data = json!({"address": format!("127.2.{service}.{}", host + 1), "port": 80});
    znodes::put(client, &path(service, host), &data).await;
}

async fn removals_and_returns(observer: &Observer, client: &Client, all: &Ready, latencies: &mut Vec<Duration>) {
    for round in 0..ROUNDS {
        let host = address(round % 10 + 1);
        let mut fewer = all.clone();
        fewer.remove(&format!("{host}:80"));
        latencies.push(measured(observer, &fewer, delete(client, &host)).await);
        latencies.push(measured(observer, all, create(client, &host)).await);
    }
}

/// Opens streams whose readers discard everything, and waits until each has its first data.
async fn open(daemon: &Daemon, bytes: &Arc<AtomicU64>) -> JoinSet<()> {
    let address = daemon.status_address();
    let greeted = Arc::new(AtomicU64::new(0));
    let mut readers = JoinSet::new();
    for reader in 0..STREAMS {
        let (greeted, bytes) = (Arc::clone(&greeted), Arc::clone(bytes));
        readers.spawn(async move {
            let mut taken = vec![0; 65_536];
            let (mut stream, mut read) = loop {
                let mut stream = connect(address, reader).await.expect("it listens");
                stream.write_all(b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n").await.expect("it reads");
                let read = stream.read(&mut taken).await.expect("it answers");
                if taken.starts_with(b"HTTP/1.1 200") {
                    break (stream, read);
                }
                // The server notices closed streams of the previous turn only with the next heartbeat.
                assert!(taken.starts_with(b"HTTP/1.1 503"), "{}", String::from_utf8_lossy(&taken[..read]));
                sleep(Duration::from_secs(1)).await;
            };
            greeted.fetch_add(1, Ordering::Relaxed);
            while read > 0 {
                bytes.fetch_add(read as u64, Ordering::Relaxed);
                read = stream.read(&mut taken).await.expect("it goes on");
            }
        });
    }
    eventually(Duration::from_secs(60), "every reader is greeted", async || {
        let greeted = greeted.load(Ordering::Relaxed);
        check(greeted == STREAMS as u64, &greeted)
    })
    .await;
    readers
}

/// Connects from a separate address for each reader, because the listener limits requests per client address.
async fn connect(status: SocketAddr, reader: usize) -> io::Result<TcpStream> {
    let [.., high, low] = reader.to_be_bytes();
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::from(([127, 3, high, low], 0)))?;
    socket.connect(status).await
}
