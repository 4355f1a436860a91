//! 100 reloads under load.

use std::time::Duration;

use serde_json::json;

use crate::support::backend::Backend;
use crate::support::daemon::Daemon;
use crate::support::dir::TestDir;
use crate::support::eventually::{check, eventually};
use crate::support::load::Load;

const RELOADS: u64 = 100;
const CLIENTS: usize = 25;

pub async fn reloads() {
    let dir = TestDir::new();
    let backends = [Backend::start(&dir, "one"), Backend::start(&dir, "two")];
    let port = dir.port();
    let define = |n: u64| {
        let definition = json!({
            "type": "static", "port": port, "bind": "127.0.0.1",
            "hosts": backends.iter().map(|backend| backend.address().to_string()).collect::<Vec<_>>(),
            "listen_options": ["mode http", format!("timeout client {}s", 30 + n)],
        });
        let new = dir.write("services/web.new", definition.to_string());
        std::fs::rename(new, dir.join("services/web.json")).expect("rename in one directory");
    };
    define(0);
    let mut daemon = Daemon::builder(crate::binary(), &dir)
        .files(&dir.join("services"))
        .set("haproxy.reload_interval", json!("100ms"))
        .arg("--log-level=warning")
        .start();
    daemon.wait_until_haproxy_answers().await;
    let front = ([127, 0, 0, 1], port).into();
    let load = |keep_alive: bool| {
        Load::new(front).clients(CLIENTS).keep_alive(keep_alive).pause(Duration::from_millis(1)).start()
    };
    let loads = [("keep-alive", load(true)), ("a connection each", load(false))];
    let mut done = crate::reload_count(&daemon).await;
    for n in 1..=RELOADS {
        let before = done;
        define(n);
        eventually(Duration::from_secs(20), "the reload", async || {
            done = crate::reload_count(&daemon).await;
            check(done > before, &done)
        })
        .await;
    }
    println!("{RELOADS} reloads under load, {CLIENTS} clients of each kind\n");
    println!("| clients | requests | failed |\n| --- | --- | --- |");
    for (name, load) in loads {
        let report = load.stop().await;
        println!("| {name} | {} | {} |", report.ok, report.failed());
    }
    println!();
}
