//! Hosts that are unix sockets.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::{Value, json};

use crate::stage::{self, LIMIT, ServiceFiles, daemon, wait_for_state};
use crate::support::backend::on_unix_socket;
use crate::support::daemon::Daemon;
use crate::support::dir::TestDir;
use crate::support::eventually::check;
use crate::support::{haproxy, http};

/// Waits until requests are answered by exactly these backends.
async fn wait_until_served_by(daemon: &Daemon, port: u16, wanted: &[&str]) {
    let served = async || {
        let mut answers = BTreeSet::new();
        for _ in 0..2 * wanted.len() {
            let answer = http::get(([127, 0, 0, 1], port).into(), "/").await.map_err(|error| error.to_string())?;
            answers.insert(answer.text());
        }
        check(answers.iter().eq(wanted), &answers)
    };
    daemon.eventually(LIMIT, "clients reach exactly the unix sockets", served).await;
}

fn grant(dir: &TestDir) -> Value {
    json!([{"prefix": "web", "host_unix_sockets": [format!("{}/apps/", dir.path().display())]}])
}

fn hosts_file(files: &ServiceFiles, dir: &TestDir, names: &[&str]) {
    let line = |name: &&str| format!("unix@{}/apps/{name}.sock\n", dir.path().display());
    files.replace("web.hosts", &names.iter().map(line).collect::<String>());
}

#[tokio::test]
async fn unix_sockets_come_and_go_on_every_version() {
    for version in haproxy::versions() {
        let dir = TestDir::new();
        let apps = dir.subdir("apps");
        for name in ["a", "b"] {
            on_unix_socket(&apps.join(format!("{name}.sock")), name);
        }
        let (files, port) = (ServiceFiles::new(&dir), dir.port());
        // HAProxy 3.0 to 3.4 aborts where it hashes a unix socket by its address. Requests without the header go round.
        let lines = ["mode http", "balance hdr(x-key)", "hash-type consistent"];
        let keys = json!({"listen_options": lines, "server_options": ["check inter 200ms"], "max_removal": 1});
        files.define("web", port, keys);
        hosts_file(&files, &dir, &["a"]);
        let daemon = daemon(&dir).haproxy(&version).files(&files.services()).set("grants", grant(&dir)).start();
        wait_until_served_by(&daemon, port, &["a"]).await;
        let starts = stage::reloads(&daemon).await;
        for names in [&["a", "b"][..], &["b"], &["a", "b"]] {
            hosts_file(&files, &dir, names);
            wait_until_served_by(&daemon, port, names).await;
        }
        let by_reload = u64::from(!version.adds_servers());
        assert_eq!(stage::reloads(&daemon).await, starts + by_reload, "{version}");
    }
}

/// Waits until the only host of `web` is refused for this reason.
async fn wait_until_refused(daemon: &Daemon, reason: &str) {
    let is_refused = |state: &Value| state.to_string().contains(reason);
    wait_for_state(daemon, &format!("the host is refused: {reason}"), "watcher", is_refused).await;
}

#[tokio::test]
async fn sockets_outside_the_grant_and_of_proxymgr_are_no_hosts() {
    let dir = TestDir::new();
    let (files, port) = (ServiceFiles::new(&dir), dir.port());
    files.define("web", port, json!({}));
    let hosts = |path: &Path| files.replace("web.hosts", &format!("unix@{}\n", path.display()));
    hosts(&dir.join("other/a.sock"));
    let grants = json!([{"prefix": "web", "host_unix_sockets": [dir.join("haproxy")]}]);
    let daemon = daemon(&dir).files(&files.services()).set("grants", grants).start();
    wait_until_refused(&daemon, "needs a grant").await;
    hosts(&daemon.socket());
    wait_until_refused(&daemon, "is the Runtime API of a HAProxy").await;
}
