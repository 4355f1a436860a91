//! Chaos: random faults on real processes under HTTP and HTTPS load. No request may fail but those that were in a HAProxy
//! when it was killed, none may be refused, and in the end HAProxy serves exactly the hosts that the sources have: two services
//! have them in files, a third in a ZooKeeper ensemble of three.
//!
//! `make chaos SECONDS=600` runs it for ten minutes with a seed of its own, which is printed; `SEED=5` repeats a run, as far as
//! processes can be repeated. The test suite runs it for 20 seconds.

#[path = "../real_servers/stage.rs"]
#[allow(dead_code)]
mod stage;
#[path = "../support/mod.rs"]
mod support;

mod ensemble;
mod faults;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::ensemble::Registry;
use crate::faults::{Deck, Random, World};
use crate::stage::{ServiceFiles, addresses, backends, daemon};
use crate::support::background;
use crate::support::dir::TestDir;
use crate::support::https::Client;
use crate::support::load::Load;
use crate::support::tls::TestCa;

/// Clients of each kind of load.
const CLIENTS: u64 = 3;

/// How long everything may take to be in sync again after the last fault.
const RECOVERY: Duration = Duration::from_secs(60);

/// Reads a number from the environment.
fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// Requests over HTTPS until it is stopped. Returns how many succeeded, and the failures.
async fn https_load(client: Client, stop: Arc<AtomicBool>) -> (u64, Vec<String>) {
    let (mut done, mut failures) = (0, Vec::new());
    while !stop.load(Ordering::Relaxed) {
        match client.request().await {
            Ok(_) => done += 1,
            Err(error) => failures.push(error),
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    (done, failures)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_faults_fail_no_request() {
    let (seed, duration) = (number("CHAOS_SEED", 1), Duration::from_secs(number("CHAOS_SECONDS", 20)));
    println!("seed {seed}, {} s", duration.as_secs());
    let dir = TestDir::new();
    let (ca, files, backends) = (TestCa::new(&dir), ServiceFiles::new(&dir), backends(&dir, 3));
    let pair = std::fs::read_to_string(&ca.server).expect("the authority has written it");
    dir.write("certs/shop.pem", pair);
    let [plain, secure, registered] =
        [dir.port(), dir.port(), dir.port()].map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
    files.define("plain", plain.port(), json!({}));
    files.define("secure", secure.port(), json!({"tls": {"certificates": ["shop"], "alpn": ["http/1.1"]}}));
    for service in ["plain", "secure"] {
        files.hosts(service, &backends);
    }
    let registry = Registry::start(&dir).await;
    registry.register(&backends, &backends).await;
    files.replace("services/registered.json", &registry.definition(registered.port()).to_string());
    let builder = daemon(&dir).files(&files.services()).set("haproxy.certificates", json!(dir.join("certs")));
    let builder = builder.set("haproxy.on_stop", json!("leave")).set("haproxy.observe_interval", json!("1s"));
    let daemon = builder.set("zookeeper.session_timeout", json!("4s")).start();
    let listed = ["plain", "secure", "registered"].map(|service| (service, addresses(&backends)));
    let mut world = World {
        files,
        registry,
        backends,
        daemon,
        plain: plain.port(),
        haproxy_kills: 0,
        both_have_sockets: true,
        changes: 0,
        listed: BTreeMap::from(listed),
    };
    world.serves_all_listed().await;
    let http_load = |address| {
        Load::new(address).clients(CLIENTS as usize).pause(Duration::from_millis(2)).timeout(RECOVERY).start()
    };
    let loads = [plain, registered].map(http_load);
    let stop = Arc::new(AtomicBool::new(false));
    let client = Client::new(&ca.ca, secure);
    let secure_loads: Vec<_> =
        (0..CLIENTS).map(|_| background::spawn(https_load(client.clone(), Arc::clone(&stop)))).collect();
    let (mut random, mut deck) = (Random(seed), Deck::default());
    let mut counts = BTreeMap::<String, u64>::new();
    let begun = Instant::now();
    while begun.elapsed() < duration {
        let fault = deck.draw(&mut random);
        println!("{:6.1} s  {fault:?}", begun.elapsed().as_secs_f64());
        *counts.entry(format!("{fault:?}")).or_default() += 1;
        world.suffer(fault, &mut random).await;
        tokio::time::sleep(Duration::from_millis(random.below(700))).await;
    }
    world.heal().await;
    world.serves_all_listed().await;
    // A killed HAProxy takes at most the request of each client with it.
    let in_flight = world.haproxy_kills * CLIENTS;
    println!("faults: {counts:?}; HAProxy was killed {} times", world.haproxy_kills);
    for load in loads {
        let report = load.stop().await;
        println!("HTTP: {report}");
        assert!(report.ok > 0 && report.failed() <= in_flight, "seed {seed}: {report}");
        assert!(!report.failures.keys().any(|reason| reason.contains("refused")), "seed {seed}: {report}");
    }
    stop.store(true, Ordering::Relaxed);
    let (mut done, mut failures) = (0, Vec::new());
    for load in secure_loads {
        let (more, failed) = load.await.expect("no panic");
        done += more;
        failures.extend(failed);
    }
    println!("HTTPS: {done} ok, {} failed: {failures:?}", failures.len());
    assert!(done > 0 && failures.len() as u64 <= in_flight, "seed {seed}: {failures:?}");
    assert!(!failures.iter().any(|failure| failure.contains("refused")), "seed {seed}: {failures:?}");
}
