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
mod load;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::ensemble::Registry;
use crate::faults::{Deck, Random, World};
use crate::load::{Failure, Front, Load};
use crate::stage::{ServiceFiles, addresses, backends, daemon};
use crate::support::dir::TestDir;
use crate::support::https::Client;
use crate::support::tls::TestCa;

/// How long everything may take to be in sync again after the last fault.
const RECOVERY: Duration = Duration::from_secs(60);

/// Reads a number from the environment.
fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
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
        kills: Vec::new(),
        both_have_sockets: true,
        changes: 0,
        listed: BTreeMap::from(listed),
    };
    world.serves_all_listed().await;
    let fronts = [Front::Http(plain), Front::Http(registered), Front::Https(Client::new(&ca.ca, secure))];
    let loads = fronts.map(|front| Load::start(&front));
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
    println!("faults: {counts:?}; HAProxy was killed {} times", world.kills.len());
    for (name, load) in ["plain", "registered", "secure"].iter().zip(loads) {
        let requests = load.stop().await;
        println!("{name}: {} requests answered, {} failed", requests.answered, requests.failures.len());
        let in_flight = |failure: &&Failure| failure.was_in_flight(&world.kills);
        let unexplained: Vec<_> = requests.failures.iter().filter(|failure| !in_flight(failure)).collect();
        assert!(unexplained.is_empty(), "seed {seed}, kills {:?}: {unexplained:#?}", world.kills);
        assert!(requests.answered > 0 && !requests.failures.iter().any(Failure::was_refused), "seed {seed}");
    }
}
