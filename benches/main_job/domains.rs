//! 1,000 changes of the map of domains at once, on every available HAProxy, compared with the same commands alone.

use std::collections::BTreeSet;
use std::ops::Range;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::observer::Prompt;
use crate::percentiles::{millis, percentile};
use crate::support::daemon::Daemon;
use crate::support::dir::TestDir;
use crate::support::haproxy::{self, HaproxyVersion, RunningHaproxy};

/// Domains of the service. In each round half of them are replaced, which makes this number of changes.
const DOMAINS: usize = 1_000;
const ROUNDS: usize = 5;
const LOOK_PAUSE: Duration = Duration::from_millis(1);
const GIVE_UP: Duration = Duration::from_secs(60);

pub async fn domains() {
    println!("{DOMAINS} changes of the map of domains at once ({} replaced by others)\n", DOMAINS / 2);
    println!("| HAProxy | p50 of {ROUNDS} | floor | as a multiple | reloads |\n| --- | --- | --- | --- | --- |");
    for version in haproxy::versions() {
        row(&version).await;
    }
    println!();
}

/// Returns the domains before the first round, and after each.
fn rounds() -> impl Iterator<Item = Range<usize>> {
    (0..=ROUNDS).map(|round| round * DOMAINS / 2..round * DOMAINS / 2 + DOMAINS)
}

async fn row(version: &HaproxyVersion) {
    let dir = TestDir::new();
    let floor = floor(&dir, version).await;
    let port = dir.port();
    let define = |domains: Range<usize>| {
        let domains: Vec<String> = domains.map(domain).collect();
        let definition =
            json!({"type": "static", "hosts": ["127.2.0.1:80"], "port": port, "bind": "127.0.0.1", "domains": domains});
        let new = dir.write("services/web.new", definition.to_string());
        let begun = Instant::now();
        std::fs::rename(new, dir.join("services/web.json")).expect("rename in one directory");
        begun
    };
    let daemon = Daemon::builder(crate::binary(), &dir).haproxy(version).files(&dir.join("services"));
    let daemon = daemon.set("discovery.damping", json!(false)).arg("--log-level=warning");
    let mut rounds = rounds();
    define(rounds.next().expect("the first"));
    let mut daemon = daemon.start();
    daemon.wait_until_haproxy_answers().await;
    let reloads = crate::reload_count(&daemon).await;
    let map = format!("{}.domains", daemon.dir().join("haproxy.cfg").display());
    let mut ours = Vec::new();
    for wanted in rounds {
        let begun = define(wanted.clone());
        ours.push(shown(&daemon.socket(), &map, &format!("127.0.0.1:{port}/"), wanted).await - begun);
    }
    let reloads = crate::reload_count(&daemon).await - reloads;
    let [ours, floor] = [ours, floor].map(|measured| millis(percentile(&measured, 0.5)));
    println!("| {} | {ours:.0} ms | {floor:.0} ms | {:.1} | {reloads} |", version.label, ours / floor);
}

/// Sends the same commands to a separate process.
async fn floor(dir: &TestDir, version: &HaproxyVersion) -> Vec<Duration> {
    let mut rounds = rounds();
    let mut before = rounds.next().expect("the first");
    let lines: String = before.clone().map(|n| format!("{}/ web\n", domain(n))).collect();
    let map = dir.write("bare.map", lines).display().to_string();
    let config = format!(
        "defaults\n  mode http\n  timeout connect 1s\n  timeout client 1s\n  timeout server 1s\nfrontend web\n  \
         bind 127.0.0.1:{}\n  use_backend %[req.hdr(host),map_beg({map})]\n",
        dir.port()
    );
    let bare = RunningHaproxy::start(dir, version, &config).await;
    let mut took = Vec::new();
    for wanted in rounds {
        let come = wanted.clone().filter(|n| !before.contains(n)).map(|n| format!("add map {map} {}/ web", domain(n)));
        let gone = before.clone().filter(|n| !wanted.contains(n)).map(|n| format!("del map {map} {}/", domain(n)));
        let commands: Vec<String> = come.chain(gone).collect();
        let begun = Instant::now();
        Prompt::open(&bare.socket).tell(&commands);
        took.push(shown(&bare.socket, &map, "", wanted.clone()).await - begun);
        before = wanted;
    }
    took
}

fn domain(number: usize) -> String {
    format!("d{number}.example.org")
}

/// Returns the time when the process shows exactly these domains in the map.
async fn shown(socket: &Path, map: &str, prefix: &str, wanted: Range<usize>) -> Instant {
    let wanted: BTreeSet<String> = wanted.map(|n| format!("{prefix}{}/", domain(n))).collect();
    let begun = Instant::now();
    loop {
        // Each line is `IDENTIFIER KEY VALUE`.
        let answer = haproxy::runtime(socket, &format!("show map {map}")).await.unwrap_or_default();
        let keys: BTreeSet<&str> = answer.lines().filter_map(|line| line.split(' ').nth(1)).collect();
        if keys.iter().copied().eq(wanted.iter().map(String::as_str)) {
            return Instant::now();
        }
        assert!(begun.elapsed() < GIVE_UP, "never; at last {} of {} domains", keys.len(), wanted.len());
        tokio::time::sleep(LOOK_PAUSE).await;
    }
}
