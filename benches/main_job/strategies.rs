//! 1,000 changes at once, and single changes, by each way of driving HAProxy, on every available version, compared with
//! the same commands, or the start of the next process, alone.

use std::fmt;
use std::fmt::Write;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::bare::Bare;
use crate::observer::{Ready, ready_in};
use crate::percentiles::{millis, p50_p99, percentile};
use crate::support::daemon::Daemon;
use crate::support::dir::TestDir;
use crate::support::haproxy::{self, HaproxyVersion};

/// Hosts of the service. In each round half of them are replaced, which makes this number of changes.
const HOSTS: usize = 1_000;
const ROUNDS: usize = 5;
/// Hosts of a service for single changes, and the number of changes.
const FEW: usize = 10;
const SINGLES: usize = 100;
const RELOADS: usize = 20;

/// A query costs HAProxy a millisecond: the pause is long compared with that, and short compared with the measured
/// times.
const LOOK_PAUSE: Duration = Duration::from_millis(1);
const GIVE_UP: Duration = Duration::from_secs(60);
/// Short, so that the pause between reloads is not measured.
const RELOAD_INTERVAL: Duration = Duration::from_millis(100);

/// How changes reach HAProxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    Dynamic,
    Slots,
    Reload,
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Dynamic => "dynamic",
            Self::Slots => "slots",
            Self::Reload => "reload",
        })
    }
}

pub async fn strategies() {
    println!("{HOSTS} changes at once ({} hosts of {HOSTS} replaced by others), and one change alone\n", HOSTS / 2);
    println!(
        "| HAProxy | way | {HOSTS} changes, p50 of {ROUNDS} | floor | as a multiple | reloads | one change, p50 / p99 |"
    );
    println!("| --- | --- | --- | --- | --- | --- | --- |");
    for version in haproxy::versions() {
        for way in [Way::Dynamic, Way::Slots, Way::Reload] {
            if way == Way::Dynamic && !version.adds_servers() {
                println!("| {} | {way} | not in this version | | | | |", version.label);
                continue;
            }
            row(&version, way).await;
        }
    }
    println!();
}

async fn row(version: &HaproxyVersion, way: Way) {
    let dir = TestDir::new();
    let rounds = || (1..=ROUNDS).map(|round| hosts(round * HOSTS / 2..round * HOSTS / 2 + HOSTS));
    let mut bare = Bare::start(&dir, version, way, &hosts(0..HOSTS), HOSTS * 3 / 2).await;
    let mut floor = Vec::new();
    for wanted in rounds() {
        let begun = bare.apply(&wanted);
        floor.push(shown(&bare.socket(), &wanted).await - begun);
    }
    drop(bare);

    let mut ours = Ours::start(&dir, version, way, &hosts(0..HOSTS)).await;
    let reloads = crate::reload_count(&ours.daemon).await;
    let mut took = Vec::new();
    for wanted in rounds() {
        tokio::time::sleep(RELOAD_INTERVAL * 2).await;
        took.push(ours.apply(&wanted).await);
    }
    let reloads = crate::reload_count(&ours.daemon).await - reloads;
    drop(ours);

    let mut few = Ours::start(&dir, version, way, &hosts(0..FEW)).await;
    let mut singles = Vec::new();
    for change in 0..if way == Way::Reload { RELOADS } else { SINGLES } {
        if way == Way::Reload {
            crate::reload_count(&few.daemon).await;
            tokio::time::sleep(RELOAD_INTERVAL * 2).await;
        }
        // One host is removed, then another is added.
        let wanted = hosts((change + 1).div_ceil(2)..FEW + change.div_ceil(2));
        singles.push(few.apply(&wanted).await);
    }
    let ratio = millis(percentile(&took, 0.5)) / millis(percentile(&floor, 0.5));
    println!(
        "| {} | {way} | {:.0} ms | {:.0} ms | {ratio:.1} | {reloads} | {} |",
        version.label,
        millis(percentile(&took, 0.5)),
        millis(percentile(&floor, 0.5)),
        p50_p99(&singles)
    );
}

/// A daemon with one service, whose hosts are in a file.
struct Ours {
    daemon: Daemon,
    dir: TestDir,
    live: PathBuf,
}

impl Ours {
    async fn start(dir: &TestDir, version: &HaproxyVersion, way: Way, ready: &Ready) -> Self {
        let dir = dir.subdir(&format!("ours-{}", ready.len()));
        let live = dir.write("web.hosts", lines(ready));
        let definition = json!({
            "type": "file", "path": live, "port": dir.port(), "bind": "127.0.0.1",
            "update": way.to_string(), "slots": {"base": ready.len() * 3 / 2, "min_free": 0},
        });
        dir.write("services/web.json", definition.to_string());
        let mut daemon = Daemon::builder(crate::binary(), &dir)
            .haproxy(version)
            .files(&dir.join("services"))
            .set("haproxy.reload_interval", json!(format!("{}ms", RELOAD_INTERVAL.as_millis())))
            .set("discovery.damping", json!(false))
            .arg("--log-level=warning")
            .start();
        daemon.wait_until_haproxy_answers().await;
        shown(&daemon.socket(), ready).await;
        crate::reload_count(&daemon).await;
        Self { daemon, dir, live }
    }

    /// Replaces the hosts. Returns the time until HAProxy showed that.
    async fn apply(&mut self, wanted: &Ready) -> Duration {
        let new = self.dir.write("web.new", lines(wanted));
        let begun = Instant::now();
        std::fs::rename(new, &self.live).expect("rename in one directory");
        shown(&self.daemon.socket(), wanted).await - begun
    }
}

/// Returns `127.2.X.Y:80` of these numbers.
fn hosts(numbers: Range<usize>) -> Ready {
    numbers.map(|n| format!("127.2.{}.{}:80", n / 250, n % 250 + 1)).collect()
}

fn lines(hosts: &Ready) -> String {
    hosts.iter().fold(String::new(), |mut lines, host| {
        let _ = writeln!(lines, "{host}");
        lines
    })
}

/// Returns the time when the process behind the socket shows that exactly these hosts take traffic.
async fn shown(socket: &Path, wanted: &Ready) -> Instant {
    let begun = Instant::now();
    // Each query uses a new connection: an open one stays with the process before a reload.
    while haproxy::runtime(socket, "show servers state web")
        .await
        .is_ok_and(|answer| ready_in(&answer, "web") != *wanted)
    {
        assert!(begun.elapsed() < GIVE_UP, "never: {} hosts", wanted.len());
        tokio::time::sleep(LOOK_PAUSE).await;
    }
    Instant::now()
}
