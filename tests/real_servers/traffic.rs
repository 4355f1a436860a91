//! The distribution of requests over hosts, under every algorithm and on every available HAProxy: the server states
//! that HAProxy reports do not show it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use serde_json::{Value, json};

use crate::stage::{LIMIT, ServiceFiles, addresses, backends, daemon, reloads, wait_for_ready, wait_for_reload_after};
use crate::support::backend::Backend;
use crate::support::daemon::Daemon;
use crate::support::dir::TestDir;
use crate::support::eventually::check;
use crate::support::haproxy;
use crate::support::http::Connection;

/// Maximum of requests until every host got one: with 16 places for each of six hosts in a consistent hash, one host
/// may have few.
const REQUESTS_MAX: usize = 2_000;

/// Algorithms that support servers added at run time, each with its lines.
const ALGORITHMS: [(&str, &[&str]); 5] = [
    ("roundrobin", &["balance roundrobin"]),
    ("leastconn", &["balance leastconn"]),
    ("random", &["balance random"]),
    ("uri", &["balance uri", "hash-type consistent"]),
    ("hdr", &["balance hdr(x-key)", "hash-type consistent"]),
];

fn balanced(lines: &[&str]) -> Value {
    json!({"listen_options": lines})
}

/// Returns the name of the host that answers the request with this number.
async fn answered_by(port: u16, number: usize) -> String {
    let request = format!("GET /{number} HTTP/1.1\r\nHost: a\r\nX-Key: {number}\r\nConnection: close\r\n\r\n");
    let mut connection = Connection::open(SocketAddr::from(([127, 0, 0, 1], port))).await.expect("HAProxy accepts");
    let response = connection.exchange(&request).await.expect("an answer");
    assert_eq!(response.status, 200);
    response.text()
}

/// Returns the hosts that answer, once all of them have, or after [`REQUESTS_MAX`] requests.
async fn serving(port: u16, count: usize) -> BTreeSet<String> {
    let mut seen = BTreeSet::new();
    for number in 0..REQUESTS_MAX {
        seen.insert(answered_by(port, number).await);
        if seen.len() == count {
            break;
        }
    }
    seen
}

fn names<'a>(backends: impl IntoIterator<Item = &'a Backend>) -> BTreeSet<String> {
    backends.into_iter().map(|backend| backend.name().to_owned()).collect()
}

/// Returns, for each key, the host that answers it.
async fn answers(port: u16, keys: usize) -> BTreeMap<usize, String> {
    let mut answers = BTreeMap::new();
    for key in 0..keys {
        answers.insert(key, answered_by(port, key).await);
    }
    answers
}

fn moved(before: &BTreeMap<usize, String>, after: &BTreeMap<usize, String>) -> usize {
    before.iter().filter(|(key, host)| after[key] != **host).count()
}

#[tokio::test]
async fn added_hosts_get_traffic_under_every_algorithm() {
    for version in haproxy::versions() {
        let dir = TestDir::new();
        let files = ServiceFiles::new(&dir);
        let backends = backends(&dir, 6);
        let services = ALGORITHMS.map(|(name, lines)| (name, lines, dir.port()));
        for (name, lines, port) in services {
            files.define(name, port, balanced(lines));
            files.hosts(name, &backends[..1]);
        }
        let daemon = daemon(&dir).haproxy(&version).files(&files.services()).start();
        for (name, ..) in services {
            wait_for_ready(&daemon, name, &addresses(&backends[..1])).await;
        }
        for (name, ..) in services {
            files.hosts(name, &backends);
        }
        for (name, _, port) in services {
            wait_for_ready(&daemon, name, &addresses(&backends)).await;
            assert_eq!(serving(port, backends.len()).await, names(&backends), "{version}: {name}");
        }
        if version.adds_servers() {
            assert_eq!(reloads(&daemon).await, 1, "{version}");
        }
    }
}

#[tokio::test]
async fn static_algorithm_serves_an_added_host_after_one_reload() {
    for version in haproxy::versions() {
        let dir = TestDir::new();
        let files = ServiceFiles::new(&dir);
        let backends = backends(&dir, 2);
        let port = dir.port();
        files.define("web", port, balanced(&["balance static-rr"]));
        files.hosts("web", &backends[..1]);
        let daemon = daemon(&dir).haproxy(&version).files(&files.services()).start();
        wait_for_ready(&daemon, "web", &addresses(&backends[..1])).await;
        files.hosts("web", &backends);
        wait_for_ready(&daemon, "web", &addresses(&backends)).await;
        assert_eq!(serving(port, 2).await, names(&backends), "{version}");
        assert_eq!(reloads(&daemon).await, 2, "{version}");
    }
}

/// Maximum of 500 keys that may move at a reload for another service: 2 %.
const MOVED_MAX: usize = 9;

#[tokio::test]
async fn keys_stay_with_hosts_across_reloads_and_managers() {
    for version in haproxy::versions() {
        let dir = TestDir::new();
        let files = ServiceFiles::new(&dir);
        let backends = backends(&dir, 6);
        let (port, other_port) = (dir.port(), dir.port());
        let uri = balanced(&["balance uri", "hash-type consistent"]);
        files.define("web", port, uri.clone());
        files.hosts("web", &backends[1..]);
        let first = daemon(&dir).haproxy(&version).files(&files.services()).start();
        wait_for_ready(&first, "web", &addresses(&backends[1..])).await;
        // The new host may be the first by name or not, because ports are random.
        files.hosts("web", &backends);
        wait_for_ready(&first, "web", &addresses(&backends)).await;
        let before = answers(port, 500).await;
        let reloads_before = reloads(&first).await;
        files.define("unrelated", dir.port(), json!({}));
        files.hosts("unrelated", &backends[..1]);
        wait_for_reload_after(&first, reloads_before).await;
        wait_for_ready(&first, "web", &addresses(&backends)).await;
        let moved_at_reload = moved(&before, &answers(port, 500).await);
        assert!(moved_at_reload <= MOVED_MAX, "{version}: {moved_at_reload} of 500 keys moved");

        // Another manager, without knowledge of the first, gets the same hosts at once.
        let dir = TestDir::new();
        let files = ServiceFiles::new(&dir);
        files.define("web", other_port, uri);
        files.hosts("web", &backends);
        let second = daemon(&dir).haproxy(&version).files(&files.services()).start();
        wait_for_ready(&second, "web", &addresses(&backends)).await;
        assert_eq!(moved(&before, &answers(other_port, 500).await), 0, "{version}");
    }
}

#[tokio::test]
async fn balance_first_fills_hosts_in_their_order() {
    const BUSY: Duration = Duration::from_secs(2);
    for version in haproxy::versions() {
        let dir = TestDir::new();
        let files = ServiceFiles::new(&dir);
        let mut backends = backends(&dir, 3);
        backends.sort_by_key(|backend| backend.address().to_string());
        let port = dir.port();
        let definition = json!({"listen_options": ["balance first"], "server_options": ["maxconn 1"]});
        files.define("web", port, definition);
        files.hosts("web", &backends[1..2]);
        let daemon = daemon(&dir).haproxy(&version).files(&files.services()).start();
        wait_for_ready(&daemon, "web", &addresses(&backends[1..2])).await;
        files.hosts("web", &backends);
        wait_for_ready(&daemon, "web", &addresses(&backends)).await;
        // HAProxy ends the session of a request a moment after its client has the answer.
        let are_idle = async || check(sessions(&daemon).await == 0, &"a session is open");
        for number in 0..5 {
            daemon.eventually(LIMIT, "all servers are idle", are_idle).await;
            assert_eq!(answered_by(port, number).await, backends[0].name(), "{version}");
        }
        daemon.eventually(LIMIT, "all servers are idle", are_idle).await;
        // While a host is at its `maxconn`, the next one gets the requests.
        backends.iter().for_each(|backend| backend.set_delay(BUSY));
        let arrived = || backends.iter().map(Backend::connections).sum::<u64>();
        let mut busy = Vec::new();
        for backend in &backends {
            let before = arrived();
            busy.push((backend.name(), tokio::spawn(answered_by(port, 0))));
            let has_arrived = async || check(arrived() > before, &before);
            daemon.eventually(LIMIT, "the request is at its host", has_arrived).await;
        }
        for (name, request) in busy {
            assert_eq!(request.await.expect("no panic"), name, "{version}");
        }
    }
}

/// Returns the open sessions of the servers of `web`: `scur` in `show stat`.
async fn sessions(daemon: &Daemon) -> u32 {
    let table = haproxy::runtime(&daemon.socket(), "show stat web 4 -1").await.expect("HAProxy answers");
    let servers = table.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    servers.map(|line| line.split(',').nth(4).and_then(|scur| scur.parse::<u32>().ok()).expect("a number")).sum()
}
