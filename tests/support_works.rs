//! Tests of the test support.

#[path = "support/mod.rs"]
mod support;

use std::process::Command;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;
use zookeeper::SessionState;

use support::backend::Backend;
use support::daemon::Daemon;
use support::dir::TestDir;
use support::eventually::{check, eventually};
use support::haproxy::{self, RunningHaproxy};
use support::load::Load;
use support::ports::Port;
use support::process::{self, Process};
use support::supervisord::Supervisord;
use support::znodes;
use support::zookeeper::Ensemble;

const LIMIT: Duration = Duration::from_secs(20);

// ---- ZooKeeper: these names matter, see .config/nextest.toml ---------------------------------------

#[tokio::test]
async fn zookeeper_fails_over_from_stopped_member() {
    let dir = TestDir::new();
    let mut ensemble = Ensemble::start(&dir, 3).await;
    let client = ensemble.client().await;
    znodes::put(&client, "/services/web/one", &json!({"port": 1})).await;
    let session = client.session_id();
    let first = ensemble.member_serving(session).await.expect("a connected client is served");

    ensemble.stop(first);
    znodes::put(&client, "/services/web/two", &json!({"port": 2})).await;

    let second = ensemble.member_serving(session).await.expect("the client uses another member");
    assert_ne!(first, second);
    assert_eq!(client.list_children("/services/web").await.expect("list").len(), 2);
    ensemble.start_member(first).await;
    assert!(ensemble.leader().await.is_some());

    znodes::delete_recursive(&client, "/services").await;
    assert_eq!(client.check_stat("/services").await, Ok(None));
}

#[tokio::test]
async fn zookeeper_replaces_frozen_leader() {
    let dir = TestDir::new();
    let mut ensemble = Ensemble::start(&dir, 3).await;
    let frozen = ensemble.wait_for_leader().await;

    ensemble.freeze(frozen);
    let leader = eventually(LIMIT, "another member leads", async || match ensemble.leader().await {
        Some(leader) if leader != frozen => Ok(leader),
        seen => Err(format!("{seen:?}")),
    })
    .await;
    assert_ne!(leader, frozen);

    ensemble.thaw(frozen);
    ensemble.wait_until_serving().await;
    assert_eq!(ensemble.leader().await, Some(leader));
}

#[tokio::test]
async fn zookeeper_expired_session_loses_ephemeral_znodes() {
    let dir = TestDir::new();
    let ensemble = Ensemble::start(&dir, 3).await;
    let (expiring, staying) = (ensemble.client().await, ensemble.client().await);
    znodes::ephemeral(&expiring, "/services/web/a", &json!({})).await;
    znodes::ephemeral(&staying, "/services/web/b", &json!({})).await;

    ensemble.expire(expiring.session_id()).await;

    let mut states = expiring.state_watcher();
    let expired = async {
        while states.state() != SessionState::Expired {
            states.changed().await;
        }
    };
    tokio::time::timeout(LIMIT, expired).await.expect("the client learns that its session has expired");
    staying.sync("/").await.expect("sync");
    assert_eq!(staying.list_children("/services/web").await.expect("list"), ["b"]);
}

#[tokio::test]
async fn zookeeper_session_is_found_by_pid() {
    let dir = TestDir::new();
    let mut ensemble = Ensemble::start(&dir, 1).await;
    let client = ensemble.client().await;
    let served = ensemble.session_of(nix::unistd::getpid()).await.expect("this process has a session");
    assert_eq!((served.id, served.member), (client.session_id(), 1));

    ensemble.stop_all();
    assert_eq!(ensemble.leader().await, None);
    ensemble.start_all().await;
    znodes::put(&client, "/kept", &json!(1)).await;
}

#[tokio::test]
async fn zookeeper_uses_tls_of_the_test_authority() {
    let dir = TestDir::new();
    let ensemble = Ensemble::start_tls(&dir, 1).await;
    let ca = std::fs::read_to_string(&ensemble.tls().ca).expect("read the authority's certificate");
    let options = zookeeper::TlsOptions::new().with_pem_ca(&ca).expect("a certificate in PEM");
    let connector = zookeeper::Client::connector().with_tls(options);
    let client = connector.secure_connect(&ensemble.secure_connect_string()).await.expect("connect with TLS");
    znodes::put(&client, "/secret", &json!(1)).await;
    assert!(client.check_stat("/secret").await.expect("read").is_some());

    let mistrustful = zookeeper::Client::connector().with_fail_eagerly().with_tls(zookeeper::TlsOptions::new());
    assert!(mistrustful.secure_connect(&ensemble.secure_connect_string()).await.is_err());
}

// ---- HAProxy, backends, load -----------------------------------------------------------------------

const PROXY: &str = "defaults
    mode http
    timeout connect 2s
    timeout client 30s
    timeout server 30s
listen web
    bind 127.0.0.1:{port}
";

#[tokio::test]
async fn every_haproxy_version_serves() {
    for version in haproxy::versions() {
        let dir = TestDir::new();
        let (a, b, port) = (Backend::start(&dir, "a"), Backend::start(&dir, "b"), dir.port());
        let servers = format!("    server a {}\n    server b {} disabled\n", a.address(), b.address());
        let config = PROXY.replace("{port}", &port.to_string()) + &servers;
        let haproxy = RunningHaproxy::start(&dir, &version, &config).await;

        assert_eq!(haproxy::info(&haproxy.socket).await.expect("show info")["Pid"], haproxy.pid().to_string());
        let servers = haproxy::servers_state(&haproxy.socket).await.expect("show servers state");
        assert!(servers[0].is_ready() && servers[1].is_in_maintenance(), "{version}: {servers:?}");
        assert_eq!((servers[0].backend(), servers[0].name(), servers[0].port()), ("web", "a", a.port()));

        let enabled = haproxy::runtime(&haproxy.socket, "set server web/b state ready").await.expect("enable");
        assert_eq!(enabled.trim(), "", "{version}");
        let ready = haproxy::ready_servers(&haproxy.socket, "web").await.expect("show servers state");
        assert_eq!(ready.len(), 2, "{version}: {ready:?}");

        for keep_alive in [false, true] {
            let load = Load::new(([127, 0, 0, 1], port).into()).clients(4).keep_alive(keep_alive);
            let report = load.run_for(Duration::from_millis(100)).await;
            report.assert_nothing_failed();
            assert!(report.answered_by.contains_key("a") && report.answered_by.contains_key("b"), "{version}");
        }
        assert!(a.requests() > 0 && b.requests() > 0);
    }
}

#[tokio::test]
async fn load_generator_counts_failed_connections() {
    let dir = TestDir::new();
    let mut backend = Backend::start(&dir, "a");
    let kept = Load::new(backend.address()).keep_alive(true).start();
    let fresh = Load::new(backend.address()).clients(3).start();
    eventually(LIMIT, "requests are answered", async || check(backend.requests() > 10, &backend)).await;

    backend.stop().await;
    tokio::time::sleep(Duration::from_millis(50)).await; // the failures to be counted
    backend.resume();
    let before = backend.requests();
    eventually(LIMIT, "requests are answered again", async || check(backend.requests() > before, &backend)).await;

    let (kept, fresh) = (kept.stop().await, fresh.stop().await);
    assert!(kept.failed() >= 1 && fresh.failed() >= 3, "{kept}\n{fresh}");
    assert!(fresh.failures.keys().any(|reason| reason.contains("refused")), "{fresh}");
    assert!(fresh.ok > 0 && fresh.latency(0.5) <= fresh.latency(1.0));
}

#[tokio::test]
async fn load_generator_counts_slow_backends() {
    let dir = TestDir::new();
    let backend = Backend::start(&dir, "a");
    let report = Load::new(backend.address()).run_for(Duration::from_millis(50)).await;
    report.assert_nothing_failed();
    assert!(backend.connections() >= report.ok);

    backend.set_delay(Duration::from_secs(60));
    let report =
        Load::new(backend.address()).timeout(Duration::from_millis(20)).run_for(Duration::from_millis(30)).await;
    assert!(report.ok == 0 && report.failures.keys().any(|reason| reason.starts_with("no answer")), "{report}");
}

// ---- processes, directories, ports -----------------------------------------------------------------

/// A program that leaves an orphaned process, as proxymgr leaves HAProxy.
fn shell_with_an_orphan() -> Command {
    let mut command = Command::new("/bin/sh");
    command.args(["-c", "setsid sleep 1000 & echo started; wait"]);
    command
}

#[tokio::test]
async fn leftover_processes_end_with_directory() {
    let dir = TestDir::new();
    let path = dir.path().to_path_buf();
    let mut shell = Process::start(&dir.subdir("shell"), "shell", shell_with_an_orphan());
    eventually(LIMIT, "both run", async || check(process::processes_of(&path).len() == 2, &shell)).await;
    shell.signal(Signal::SIGSTOP);
    drop(shell);
    assert_eq!(process::processes_of(&path).len(), 1, "the orphan continues");
    drop(dir);
    assert!(process::processes_of(&path).is_empty() && !path.exists());
}

/// The test below runs this test in a process that it kills.
const KILLED_TEST: &str = "killed_test_leaves_no_process";

#[tokio::test]
async fn killed_test_leaves_no_process() {
    let dir = TestDir::new();
    if std::env::var_os("BE_THE_TEST_THAT_IS_KILLED").is_some() {
        let _shell = Process::start(&dir, "shell", shell_with_an_orphan());
        std::fs::write(std::env::var_os("TELL_WHERE").expect("set below"), dir.path().to_str().expect("UTF-8"))
            .expect("tell");
        std::future::pending::<()>().await;
    }
    let reported = dir.join("where");
    let mut command = Command::new(std::env::current_exe().expect("this test binary"));
    command.args(["--exact", KILLED_TEST]).env("BE_THE_TEST_THAT_IS_KILLED", "1").env("TELL_WHERE", &reported);
    let mut victim = Process::start(&dir, "victim", command);
    let victims_dir = eventually(LIMIT, "the victim runs two processes", async || {
        let path = std::fs::read_to_string(&reported).unwrap_or_default();
        let processes = if path.is_empty() { 0 } else { process::processes_of(path.as_ref()).len() };
        if processes == 2 { Ok(path) } else { Err(processes) }
    })
    .await;

    victim.kill();
    let left = async || {
        let left = process::processes_of(victims_dir.as_ref());
        check(left.is_empty(), &left)
    };
    eventually(LIMIT, "both are gone", left).await;
    std::fs::remove_dir_all(victims_dir).expect("remove what the victim could not");
}

#[test]
fn failed_test_keeps_its_directory() {
    let path = std::thread::spawn(|| {
        let dir = TestDir::new();
        let path = dir.write("evidence", "it was here");
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(move || {
            let _dir = dir;
            std::panic::resume_unwind(Box::new("a failure"));
        }));
        assert!(panicked.is_err());
        path
    });
    let path = path.join().expect("the panic was caught");
    assert!(path.exists());
    std::fs::remove_dir_all(path.parent().expect("a file in a directory")).expect("clean up");
}

#[test]
fn reserved_port_is_unique() {
    let ports: Vec<Port> = (0..50).map(|_| Port::reserve()).collect();
    let mut numbers: Vec<u16> = ports.iter().map(Port::number).collect();
    numbers.sort_unstable();
    numbers.dedup();
    assert_eq!(numbers.len(), ports.len());
}

#[tokio::test]
#[should_panic(expected = "last seen: two hosts")]
async fn what_does_not_come_about_is_told_with_what_was_seen() {
    eventually::<(), _>(Duration::from_millis(20), "three hosts are there", async || Err("two hosts")).await;
}

// ---- proxymgr, with a stand-in for its binary ------------------------------------------------------

/// Behaves like proxymgr in a test: it leaves a process, ends with 0 at SIGTERM, and prints its arguments, its settings
/// and the variables `PROXYMGR_...`.
const STAND_IN: &str = r#"#!/bin/sh
echo "arguments: $*"; cat proxymgr.yml; env | grep ^PROXYMGR_
[ "$1" = run ] || exit 1
setsid sleep 1000 &
trap 'exit 0' TERM
echo ready
while :; do sleep 0.01; done
"#;

#[tokio::test]
async fn daemon_is_started_killed_and_terminated() {
    let dir = TestDir::new();
    let binary = dir.write("stand-in", STAND_IN);
    std::fs::set_permissions(&binary, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("chmod");
    let mut daemon = Daemon::builder(&binary, &dir)
        .zookeeper("127.0.0.1:1", "/services")
        .set("haproxy.reload_interval", json!("7s"))
        .unset("state_dir")
        .arg("--log-format=json")
        .env("PROXYMGR_HAPROXY__STOP_TIMEOUT", "9s")
        .start();
    let config = daemon.dir().join("proxymgr.yml");
    let wanted =
        ["ready", "reload_interval: 7s", "path: /services", "PROXYMGR_HAPROXY__STOP_TIMEOUT=9s", "--log-format=json"];
    daemon
        .eventually(LIMIT, "it has printed its settings", async || {
            check(wanted.iter().all(|part| daemon.log().contains(part)), &daemon.log())
        })
        .await;
    assert!(daemon.log().contains(&format!("arguments: run -c {} --log-format=json", config.display())));
    assert!(!daemon.log().contains("state_dir"));

    daemon.kill();
    let left = || process::processes_of(daemon.dir().path()).len();
    daemon.eventually(LIMIT, "only the process that it started is left", async || check(left() == 1, &left())).await;
    daemon.start_again();
    let started_twice = || daemon.log().matches("ready").count() == 2;
    daemon.eventually(LIMIT, "it runs again", async || check(started_twice(), &daemon.log())).await;
    assert!(daemon.terminate().await.success());

    let output = daemon.run_command(&["check"]).await;
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stdout).starts_with("arguments: check -c"));
    assert!(daemon.status_json().await.is_err(), "nothing listens on the status address");

    let daemons_dir = daemon.dir().path().to_path_buf();
    drop(daemon);
    assert!(process::processes_of(&daemons_dir).is_empty());
}

// ---- supervisord -----------------------------------------------------------------------------------

#[tokio::test]
async fn supervisord_restarts_and_stops_program() {
    let dir = TestDir::new();
    let program = "[program:sleeper]\ncommand=/usr/bin/proxymgr 1000\nstartsecs=0\nautorestart=true\n";
    let mut supervisord = Supervisord::start(&dir, program, &[("/usr/bin/proxymgr", "/bin/sleep")]).await;
    supervisord.wait_for_state("sleeper", "RUNNING").await;
    let first = supervisord.pid("sleeper").await.expect("it runs");

    kill(first, Signal::SIGKILL).expect("kill the program");
    let restarted = async || match supervisord.pid("sleeper").await {
        Some(pid) if pid != first => Ok(pid),
        seen => Err(format!("{seen:?}")),
    };
    let second: Pid = eventually(LIMIT, "it runs again", restarted).await;

    supervisord.ctl(&["stop", "sleeper"]).await;
    assert_eq!(supervisord.state("sleeper").await, "STOPPED");
    assert!(kill(second, None).is_err());
    let start = Instant::now();
    supervisord.terminate().await;
    assert!(start.elapsed() < LIMIT);
}
