//! 10,000 host changes at once: 20 services get 500 hosts each.

use std::fmt::Write;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::daemon::Daemon;
use crate::support::dir::TestDir;
use crate::support::eventually::{check, eventually};
use crate::support::haproxy;

const SERVICES: u8 = 20;
const HOSTS: u16 = 500;

pub async fn mass() {
    let dir = TestDir::new();
    for service in 0..SERVICES {
        let hosts = dir.write(format!("s{service}.hosts"), "127.2.0.1:80\n");
        let definition = json!({"type": "file", "path": hosts, "port": dir.port(), "bind": "127.0.0.1"});
        dir.write(format!("services/s{service}.json"), definition.to_string());
    }
    let mut daemon =
        Daemon::builder(crate::binary(), &dir).files(&dir.join("services")).arg("--log-level=warning").start();
    daemon.wait_until_haproxy_answers().await;
    let socket = daemon.socket();
    let ready = async || {
        let servers = haproxy::servers_state(&socket).await.map_err(|error| error.to_string())?;
        Ok::<_, String>(servers.iter().filter(|server| server.is_ready()).count())
    };
    let limit = Duration::from_secs(60);
    eventually(limit, "the first hosts", async || check(ready().await? == usize::from(SERVICES), &"not yet")).await;
    let reloads = crate::reload_count(&daemon).await;
    let names: Vec<_> = (0..SERVICES)
        .map(|service| {
            let lines = (1..=HOSTS).fold(String::new(), |mut lines, n| {
                let _ = writeln!(lines, "127.2.{}.{}:80", n / 250, n % 250 + 1);
                lines
            });
            let new = dir.write(format!("s{service}.new"), lines);
            (new, dir.join(format!("s{service}.hosts")))
        })
        .collect();
    let begun = Instant::now();
    for (new, live) in names {
        std::fs::rename(new, live).expect("rename in one directory");
    }
    let all = usize::from(SERVICES) * usize::from(HOSTS);
    eventually(limit, "all hosts", async || {
        let ready = ready().await?;
        check(ready == all, &ready)
    })
    .await;
    let took = begun.elapsed();
    let reloads = crate::reload_count(&daemon).await - reloads;
    println!(
        "{all} hosts at once ({SERVICES} services x {HOSTS}): all taking traffic {:.2} s after their files changed, {reloads} reloads\n",
        took.as_secs_f64()
    );
}
