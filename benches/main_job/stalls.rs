//! Latency of a removed or returning host while a reload is prepared, compared with a quiet daemon.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::observer::Prompt;
use crate::percentiles::{millis, percentile};
use crate::support::daemon::Daemon;
use crate::support::dir::TestDir;
use crate::support::eventually::eventually;

/// Number of services, and of hosts of each.
const SIZES: [(usize, u16); 2] = [(300, 30), (1_000, 50)];
const QUIET_CHANGES: usize = 50;
const RELOADS: usize = 6;
/// How long a new process that answers is taken over: its first observation, and what follows from it.
const TAKE_OVER: Duration = Duration::from_millis(500);
const PAUSE: Duration = Duration::from_millis(5);

/// The service whose hosts change. It is in the middle, so that others of its size are planned before it.
pub const CHANGED: &str = "s150";

pub async fn stalls() {
    println!("Hosts file renamed -> serving HAProxy shows it, p50 / max\n");
    println!("| services x hosts | change | quiet | while a reload is prepared, started and taken over | changes |");
    println!("| --- | --- | --- | --- | --- |");
    for (services, hosts) in SIZES {
        let (quiet, busy) = measure(services, hosts).await;
        for (change, quiet, busy) in [("leaves", quiet.leaves, busy.leaves), ("returns", quiet.returns, busy.returns)] {
            let count = busy.len();
            println!("| {services} x {hosts} | a host {change} | {} | {} | {count} |", p50_max(&quiet), p50_max(&busy));
        }
    }
    println!();
}

/// How long removals and returns of a host took.
#[derive(Default)]
struct Measured {
    leaves: Vec<Duration>,
    returns: Vec<Duration>,
}

impl Measured {
    fn push(&mut self, [leave, back]: [Duration; 2]) {
        self.leaves.push(leave);
        self.returns.push(back);
    }
}

pub fn p50_max(measured: &[Duration]) -> String {
    format!("{:.1} / {:.1} ms", millis(percentile(measured, 0.5)), millis(percentile(measured, 1.0)))
}

async fn measure(services: usize, hosts: u16) -> (Measured, Measured) {
    let dir = TestDir::new();
    let scene = Scene::new(&dir, hosts);
    for service in 0..services {
        scene.define(&format!("s{service}"), dir.port(), 30);
    }
    let daemon = Daemon::builder(crate::binary(), &dir)
        .files(&scene.services)
        .set("discovery.damping", json!(false))
        .arg("--log-level=warning")
        .start();
    eventually(Duration::from_secs(120), "every service is served", async || {
        match tokio::task::spawn_blocking({
            let (socket, last) = (daemon.socket(), format!("s{}", services - 1));
            move || shown(&socket, &last).map(|ready| ready.len())
        })
        .await
        {
            Ok(Some(ready)) if ready == usize::from(hosts) => Ok(()),
            seen => Err(format!("{seen:?}")),
        }
    })
    .await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let mut quiet = Measured::default();
    for _ in 0..QUIET_CHANGES {
        quiet.push(scene.toggle(&daemon.socket()).await);
    }
    let mut busy = Measured::default();
    for reload in 0..RELOADS {
        let before = pid(&daemon.socket());
        let port = scene.port_of("s1");
        scene.define("s1", port, 31 + reload);
        let (begun, mut replaced) = (Instant::now(), None);
        while replaced.is_none_or(|at: Instant| at.elapsed() < TAKE_OVER) && begun.elapsed() < Duration::from_secs(60) {
            busy.push(scene.toggle(&daemon.socket()).await);
            if replaced.is_none() && pid(&daemon.socket()).is_some_and(|pid| Some(pid) != before) {
                replaced = Some(Instant::now());
            }
            tokio::time::sleep(PAUSE).await;
        }
        tokio::time::sleep(Duration::from_secs(3)).await;
    }
    (quiet, busy)
}

/// Returns the process that serves. The daemon's own status is not asked: to render it for thousands of servers would keep
/// one of the cores busy.
fn pid(socket: &Path) -> Option<u32> {
    Prompt::try_open(socket)?.try_pid()
}

/// Definitions and hosts in files.
pub struct Scene {
    pub services: PathBuf,
    lists: PathBuf,
    hosts: u16,
}

impl Scene {
    pub fn new(dir: &TestDir, hosts: u16) -> Self {
        let (services, lists) = (dir.join("services"), dir.join("lists"));
        for folder in [&services, &lists] {
            std::fs::create_dir_all(folder).expect("a new directory");
        }
        Self { services, lists, hosts }
    }

    pub fn define(&self, name: &str, port: u16, timeout_s: usize) {
        let list = self.lists.join(name);
        if !list.exists() {
            self.write_hosts(name, 1);
        }
        let definition = json!({
            "type": "file", "path": list, "port": port, "bind": "127.0.0.1",
            "listen_options": [format!("timeout client {timeout_s}s")],
        });
        replace(&self.services.join(format!("{name}.json")), &definition.to_string());
    }

    fn port_of(&self, name: &str) -> u16 {
        let text = std::fs::read_to_string(self.services.join(format!("{name}.json"))).expect("our own file");
        let definition: serde_json::Value = serde_json::from_str(&text).expect("our own file");
        definition["port"].as_u64().and_then(|port| u16::try_from(port).ok()).expect("a port")
    }

    /// Writes the hosts from this number on.
    fn write_hosts(&self, name: &str, first: u16) {
        self.write_list(name, first..=self.hosts);
    }

    /// Writes the hosts with these numbers.
    pub fn write_list(&self, name: &str, numbers: RangeInclusive<u16>) {
        let lines: String = numbers.map(|n| format!("127.1.{}.{}:80\n", n / 250, n % 250 + 1)).collect();
        replace(&self.lists.join(name), &lines);
    }

    /// Removes and returns the first host. Returns how long each took.
    pub async fn toggle(&self, socket: &Path) -> [Duration; 2] {
        let all = usize::from(self.hosts);
        [self.changed(socket, 2, all - 1).await, self.changed(socket, 1, all).await]
    }

    async fn changed(&self, socket: &Path, first: u16, ready: usize) -> Duration {
        self.write_hosts(CHANGED, first);
        let (changed, socket) = (Instant::now(), socket.to_owned());
        let look = move || {
            while shown(&socket, CHANGED).is_none_or(|shown| shown.len() != ready) {
                assert!(changed.elapsed() < Duration::from_secs(60), "never shown");
                std::thread::sleep(Duration::from_micros(100));
            }
            changed.elapsed()
        };
        tokio::task::spawn_blocking(look).await.expect("the look does not panic")
    }
}

/// Returns the servers that take traffic in the process that answers now; `None` without a complete answer.
pub fn shown(socket: &Path, service: &str) -> Option<BTreeSet<String>> {
    Prompt::try_open(socket)?.try_ready(service)
}

fn replace(path: &Path, text: &str) {
    let new = path.with_extension("new");
    std::fs::write(&new, text).expect("a writable directory");
    std::fs::rename(new, path).expect("one directory");
}
