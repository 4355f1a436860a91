//! Reloads: their reasons, and no lost connection.

use std::net::SocketAddr;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;

use crate::stage::{
    self, LIMIT, ServiceFiles, addresses, backends, daemon, wait_for_ready, wait_for_reload_after, wait_for_state,
};
use crate::support::daemon::Daemon;
use crate::support::dir::TestDir;
use crate::support::eventually::check;
use crate::support::haproxy::HaproxyVersion;
use crate::support::load::Load;
use crate::support::{haproxy, http};

#[tokio::test]
async fn reloads_under_load_lose_no_request() {
    for version in haproxy::versions() {
        let dir = TestDir::new();
        let files = ServiceFiles::new(&dir);
        let backends = backends(&dir, 2);
        let port = dir.port();
        files.define("web", port, json!({"listen_options": ["mode http", "timeout client 30s"]}));
        files.hosts("web", &backends);
        let daemon = daemon(&dir).haproxy(&version).files(&files.services()).start();
        wait_for_ready(&daemon, "web", &addresses(&backends)).await;
        let front = SocketAddr::from(([127, 0, 0, 1], port));
        let loads: Vec<_> = [true, false]
            .map(|keep_alive| {
                let load = Load::new(front).clients(5).keep_alive(keep_alive).pause(Duration::from_millis(1));
                load.start()
            })
            .into_iter()
            .collect();
        for n in 0..5 {
            let before = stage::reloads(&daemon).await;
            let options = json!({"listen_options": ["mode http", format!("timeout client {}s", 31 + n)]});
            files.define("web", port, options);
            wait_for_reload_after(&daemon, before).await;
        }
        for load in loads {
            load.stop().await.assert_nothing_failed();
        }
        let old = wait_for_state(&daemon, "old processes end", "process_supervisor", |state| {
            state["draining"].as_array().is_some_and(Vec::is_empty)
        });
        old.await;
    }
}

#[tokio::test]
async fn stick_tables_survive_reloads() {
    for version in haproxy::versions() {
        let dir = TestDir::new();
        let (files, backends, port) = (ServiceFiles::new(&dir), backends(&dir, 1), dir.port());
        let define = |timeout: u8| {
            let lines = ["stick-table type ip size 1k expire 10m store http_req_cnt", "http-request track-sc0 src"];
            let lines = lines.map(str::to_owned).into_iter().chain([format!("timeout server {timeout}s")]);
            files.define("web", port, json!({"listen_options": lines.collect::<Vec<_>>()}));
        };
        define(30);
        files.hosts("web", &backends);
        let daemon = daemon(&dir).haproxy(&version).files(&files.services()).start();
        wait_for_ready(&daemon, "web", &addresses(&backends)).await;
        for _ in 0..3 {
            http::get(SocketAddr::from(([127, 0, 0, 1], port)), "/").await.expect("it serves");
        }
        for timeout in 31..33 {
            let before = stage::reloads(&daemon).await;
            define(timeout);
            wait_for_reload_after(&daemon, before).await;
            let kept = async || {
                let table = haproxy::runtime(&daemon.socket(), "show table web").await.map_err(|e| e.to_string())?;
                check(table.contains("http_req_cnt=3"), &table)
            };
            daemon.eventually(LIMIT, "the new process has the table", kept).await;
        }
    }
}

/// Returns the value of a column in the statistics of a section, or of a server in it.
async fn counter(daemon: &Daemon, section: &str, server: &str, column: &str) -> Result<u64, String> {
    let text = haproxy::runtime(&daemon.socket(), "show stat").await.map_err(|error| error.to_string())?;
    let mut lines = text.lines().map(|line| line.trim_start_matches("# ").split(',').collect::<Vec<_>>());
    let columns = lines.next().ok_or("no answer")?;
    let at = columns.iter().position(|name| *name == column).ok_or_else(|| text.clone())?;
    let row =
        lines.find(|row| row[..2] == [section, server]).ok_or_else(|| format!("no {section}/{server}: {text}"))?;
    row[at].parse().map_err(|_| format!("{column} is {:?}", row[at]))
}

fn keeps_counters(version: &HaproxyVersion) -> bool {
    version.branch >= (3, 0)
}

#[tokio::test]
async fn counters_survive_reloads_and_start_at_zero_after_a_crash() {
    for version in haproxy::versions() {
        let dir = TestDir::new();
        let (files, backends) = (ServiceFiles::new(&dir), backends(&dir, 2));
        let (port, shared) = (dir.port(), dir.port());
        files.define("web", port, json!({"listen_options": ["mode http"]}));
        files.define("shop", shared, json!({"domains": ["localhost"], "listen_options": ["mode http"]}));
        ["web", "shop"].iter().for_each(|name| files.hosts(name, &backends[..1]));
        let daemon = daemon(&dir).haproxy(&version).files(&files.services()).start();
        for name in ["web", "shop"] {
            wait_for_ready(&daemon, name, &addresses(&backends[..1])).await;
        }
        // One server of each service is added at run time, where the version can.
        ["web", "shop"].iter().for_each(|name| files.hosts(name, &backends));
        for name in ["web", "shop"] {
            wait_for_ready(&daemon, name, &addresses(&backends)).await;
        }
        let fronts = [port, shared].map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
        for front in fronts {
            for _ in 0..8 {
                assert_eq!(http::get(front, "/").await.expect("it serves").status, 200);
            }
        }
        let frontend = format!("http:127.0.0.1:{shared}");
        let servers = haproxy::servers_state(&daemon.socket()).await.expect("it answers");
        let servers: Vec<_> =
            servers.iter().map(|server| (server.backend().to_owned(), server.name().to_owned())).collect();
        assert_eq!(servers.len(), 4, "{}: {servers:?}", version.label);
        let sections = [("web", "FRONTEND"), ("web", "BACKEND"), ("shop", "BACKEND"), (&frontend, "FRONTEND")];
        let sections = sections.map(|(section, server)| (section.to_owned(), server.to_owned()));
        let objects: Vec<_> = sections.into_iter().chain(servers).collect();
        let sessions = async || {
            let mut counted = Vec::new();
            for (section, server) in &objects {
                counted.push(counter(&daemon, section, server, "stot").await.expect("it is in the statistics"));
            }
            counted
        };
        let counted = sessions().await;
        assert_eq!(counted[..4], [8; 4], "{}: {objects:?}", version.label);
        assert!(counted.iter().all(|sessions| *sessions > 0), "{}: {counted:?}", version.label);
        let zero = vec![0; counted.len()];
        let kept = if keeps_counters(&version) { &counted } else { &zero };
        for lines in [json!(["mode http", "timeout server 31s"]), json!(["mode http", "timeout server 32s"])] {
            let before = stage::reloads(&daemon).await;
            files.define("web", port, json!({"listen_options": lines}));
            wait_for_reload_after(&daemon, before).await;
            assert_eq!(sessions().await, *kept, "{}", version.label);
        }
        let before = stage::reloads(&daemon).await;
        let pid = haproxy::info(&daemon.socket()).await.expect("it answers")["Pid"].parse().expect("a number");
        kill(Pid::from_raw(pid), Signal::SIGKILL).expect("it runs");
        wait_for_reload_after(&daemon, before).await;
        assert_eq!(sessions().await, zero, "{}", version.label);
    }
}

#[tokio::test]
async fn damaged_file_with_counters_is_harmless() {
    for version in haproxy::versions() {
        let dir = TestDir::new();
        let (files, backends) = stage::web_in_files(&dir, dir.port(), 1, json!({}));
        let daemon = daemon(&dir).haproxy(&version).files(&files.services()).start();
        wait_for_ready(&daemon, "web", &addresses(&backends)).await;
        // It cannot be replaced either.
        let file = daemon.socket().with_file_name("haproxy.cfg.stats");
        std::fs::remove_file(&file).ok();
        std::fs::create_dir(&file).expect("a free name");
        let before = stage::reloads(&daemon).await;
        files.define("web", dir.port(), json!({}));
        wait_for_reload_after(&daemon, before).await;
        wait_for_ready(&daemon, "web", &addresses(&backends)).await;
        let status = daemon.run_command(&["status"]).await;
        assert!(status.status.success(), "{}: {}", version.label, String::from_utf8_lossy(&status.stdout));
    }
}

#[tokio::test]
async fn reload_has_reasons() {
    let dir = TestDir::new();
    let files = ServiceFiles::new(&dir);
    let backends = backends(&dir, 1);
    let port = dir.port();
    files.define("web", port, json!({}));
    files.hosts("web", &backends);
    let daemon = daemon(&dir).files(&files.services()).start();
    wait_for_ready(&daemon, "web", &addresses(&backends)).await;
    let other_port = dir.port();
    for (port, more, words) in [
        (port, json!({"listen_options": ["balance leastconn"]}), "`balance leastconn` was added".to_owned()),
        (other_port, json!({"listen_options": ["balance leastconn"]}), format!("127.0.0.1:{other_port}")),
        (
            other_port,
            json!({"listen_options": ["balance leastconn"], "server_options": ["maxconn 9"]}),
            "options".into(),
        ),
    ] {
        let before = stage::reloads(&daemon).await;
        files.define("web", port, more);
        wait_for_reload_after(&daemon, before).await;
        let state = stage::actor_state(&daemon, "haproxy_state").await.expect("it answers");
        let reasons = state["last_reload"].to_string();
        assert!(reasons.contains(&words), "{reasons} should say {words}");
    }
    assert_eq!(http::get(([127, 0, 0, 1], other_port).into(), "/").await.expect("served").status, 200);
}

#[tokio::test]
async fn rejected_section_keeps_last_good_one() {
    for version in haproxy::versions() {
        let dir = TestDir::new();
        let files = ServiceFiles::new(&dir);
        let backends = backends(&dir, 1);
        let ports = [dir.port(), dir.port()];
        for (name, port) in ["good", "bad"].iter().zip(ports) {
            files.define(name, port, json!({}));
            files.hosts(name, &backends);
        }
        let daemon = daemon(&dir).haproxy(&version).files(&files.services()).start();
        wait_for_ready(&daemon, "good", &addresses(&backends)).await;
        wait_for_ready(&daemon, "bad", &addresses(&backends)).await;

        files.define("bad", ports[1], json!({"listen_options": ["http-request track-sc9 src"]}));
        let state = wait_for_state(&daemon, "the refused service is named", "haproxy_state", |state| {
            state["services"]["bad"]["problem"].is_string()
        })
        .await;
        let problem = state["services"]["bad"]["problem"].as_str().expect("a text");
        assert!(problem.contains("track-sc9"), "{}: {problem}", version.label);
        files.define("good", ports[0], json!({"listen_options": ["balance leastconn"]}));
        daemon
            .eventually(LIMIT, "the other service changes nevertheless", async || {
                let config = daemon.haproxy_config();
                check(config.contains("balance leastconn") && !config.contains("track-sc9"), &config)
            })
            .await;
        for port in ports {
            assert_eq!(http::get(([127, 0, 0, 1], port).into(), "/").await.expect("served").status, 200);
        }
    }
}

#[tokio::test]
async fn used_port_is_reported_and_retried() {
    let dir = TestDir::new();
    let files = ServiceFiles::new(&dir);
    let backends = backends(&dir, 1);
    let taken = dir.port();
    let holder = std::net::TcpListener::bind(("127.0.0.1", taken)).expect("a reserved port is free");
    for (name, port) in [("web", dir.port()), ("api", taken)] {
        files.define(name, port, json!({}));
        files.hosts(name, &backends);
    }
    let daemon = daemon(&dir).files(&files.services()).start();
    wait_for_ready(&daemon, "web", &addresses(&backends)).await;
    let state = wait_for_state(&daemon, "the taken port is named", "haproxy_state", |state| {
        state["services"]["api"]["problem"].is_string()
    })
    .await;
    let problem = state["services"]["api"]["problem"].as_str().expect("a text");
    assert!(problem.contains(&taken.to_string()) && problem.contains(&std::process::id().to_string()), "{problem}");
    drop(holder);
    wait_for_ready(&daemon, "api", &addresses(&backends)).await;
    assert_eq!(http::get(([127, 0, 0, 1], taken).into(), "/").await.expect("served").status, 200);
}
