//! Changes of a certificate on every available HAProxy: from the renamed file to the first handshake with the new one.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::percentiles::p50_p99;
use crate::support::daemon::Daemon;
use crate::support::dir::TestDir;
use crate::support::haproxy::{self, HaproxyVersion};
use crate::support::https::Client;
use crate::support::tls::TestCa;

const CHANGES: usize = 100;
const LOOK_PAUSE: Duration = Duration::from_micros(500);
const GIVE_UP: Duration = Duration::from_secs(30);

pub async fn certificates() {
    println!("{CHANGES} changes of a certificate, file renamed -> first handshake with the new one\n");
    println!("| HAProxy | p50 / p99 | reloads |\n| --- | --- | --- |");
    for version in haproxy::versions() {
        row(&version).await;
    }
    println!();
}

async fn row(version: &HaproxyVersion) {
    let dir = TestDir::new();
    let ca = TestCa::new(&dir);
    let pairs = ["a", "b"].map(|_| ca.certificate("localhost"));
    let replace = |number: usize| {
        let next = dir.write("certs/.next", &pairs[number % 2]);
        let begun = Instant::now();
        std::fs::rename(next, dir.join("certs/shop.pem")).expect("rename in one directory");
        begun
    };
    replace(0);
    let front: SocketAddr = ([127, 0, 0, 1], dir.port()).into();
    let definition = json!({
        "type": "static", "hosts": ["127.2.0.1:80"], "port": front.port(), "bind": "127.0.0.1",
        "listen_options": ["mode http"], "tls": {"certificates": ["shop"]},
    });
    dir.write("services/web.json", definition.to_string());
    let daemon = Daemon::builder(crate::binary(), &dir).haproxy(version).files(&dir.join("services"));
    let daemon = daemon.set("haproxy.certificates", json!(dir.join("certs"))).arg("--log-level=warning");
    let mut daemon = daemon.start();
    daemon.wait_until_haproxy_answers().await;
    let reloads = crate::reload_count(&daemon).await;
    let client = Client::new(&ca.ca, front).named("localhost");
    let (mut last, _) = served(&client, None).await;
    let mut took = Vec::new();
    for number in 1..=CHANGES {
        let begun = replace(number);
        let (certificate, at) = served(&client, Some(&last)).await;
        took.push(at - begun);
        last = certificate;
    }
    let reloads = crate::reload_count(&daemon).await - reloads;
    println!("| {} | {} | {reloads} |", version.label, p50_p99(&took));
}

/// Returns the first certificate of the server that differs from the last one, and when it was served.
async fn served(client: &Client, last: Option<&Vec<u8>>) -> (Vec<u8>, Instant) {
    let begun = Instant::now();
    loop {
        if let Ok(certificate) = client.certificate().await
            && Some(&certificate) != last
        {
            return (certificate, Instant::now());
        }
        assert!(begun.elapsed() < GIVE_UP, "no other certificate is ever served");
        tokio::time::sleep(LOOK_PAUSE).await;
    }
}
