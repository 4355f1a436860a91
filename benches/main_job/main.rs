//! Measures the figures of docs/figures.md with real servers: `cargo bench --bench main_job [-- latency sources trace
//! mass reloads stalls isolation strategies domains backends certificates api streams scale]`. `PROXYMGR_BINARY` selects
//! another build of the daemon. The bench asserts only that the measured changes happened.

#![allow(missing_docs, clippy::print_stdout, clippy::print_stderr, reason = "the figures are what a bench is for")]

#[path = "../../tests/support/mod.rs"]
mod support;

mod api;
mod backends;
mod bare;
mod certificates;
mod change;
mod domains;
mod floor;
mod isolation;
mod mass;
mod observer;
mod percentiles;
mod reloads;
mod scale;
mod sources;
mod stalls;
mod strategies;
mod streams;
mod trace;

use std::path::PathBuf;
use std::time::Duration;

use support::daemon::Daemon;
use support::eventually::eventually;

fn main() {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    let chosen = |name: &str| wanted.is_empty() || wanted.iter().any(|wanted| wanted == name);
    print_machine();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.expect("a runtime").block_on(async {
        if chosen("latency") {
            change::latency().await;
        }
        if chosen("sources") {
            sources::sources().await;
        }
        if chosen("trace") {
            trace::trace().await;
        }
        if chosen("mass") {
            mass::mass().await;
        }
        if chosen("reloads") {
            reloads::reloads().await;
        }
        if chosen("stalls") {
            stalls::stalls().await;
        }
        if chosen("isolation") {
            isolation::isolation().await;
        }
        if chosen("strategies") {
            strategies::strategies().await;
        }
        if chosen("domains") {
            domains::domains().await;
        }
        if chosen("backends") {
            backends::backends().await;
        }
        if chosen("certificates") {
            certificates::certificates().await;
        }
        if chosen("api") {
            api::api().await;
        }
        if chosen("streams") {
            streams::streams().await;
        }
        if chosen("scale") {
            scale::scale().await;
        }
    });
}

/// Returns the path of the measured binary.
fn binary() -> PathBuf {
    std::env::var_os("PROXYMGR_BINARY").map_or_else(|| env!("CARGO_BIN_EXE_proxymgr").into(), PathBuf::from)
}

/// Returns how often HAProxy was started or reloaded, once no reload is pending.
async fn reload_count(daemon: &Daemon) -> u64 {
    eventually(Duration::from_secs(60), "HAProxy runs and no reload is under way", async || {
        let status = daemon.status_json().await?;
        let actors = status["actors"].as_array().ok_or("no list of actors")?;
        let state = actors.iter().find(|state| state["actor"] == "haproxy_state").ok_or("no HaproxyStateActor")?;
        let count = state["counts"]["reload"].as_u64().filter(|_| state["phase"] == "running");
        count.ok_or_else(|| state["phase"].to_string())
    })
    .await
}

fn print_machine() {
    let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or(": unknown");
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    println!(
        "Machine: {cores} cores, {}; HAProxy {}.\n",
        model.trim_start_matches(['\t', ' ', ':']),
        support::haproxy::installed().label
    );
}
