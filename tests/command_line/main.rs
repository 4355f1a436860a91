//! The command line: commands, messages, exit codes.

#[path = "../support/mod.rs"]
mod support;

mod plan;

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::json;

use support::daemon::{Daemon, DaemonBuilder};
use support::dir::TestDir;
use support::eventually::check;
use support::haproxy;

const BINARY: &str = env!("CARGO_BIN_EXE_proxymgr");
const LIMIT: Duration = Duration::from_secs(20);

fn proxymgr(arguments: &[&str]) -> Output {
    let mut command = Command::new(BINARY);
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("PROXYMGR_")) {
        command.env_remove(name);
    }
    command.args(arguments).output().expect("the binary can be run")
}

fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn panic_in_simulation_names_seed() {
    let simulated = proxymgr(&["simulate", "--plant", "panics", "--seeds", "100", "--threads", "1"]);
    assert!(!simulated.status.success());
    let said = err(&simulated);
    assert!(said.contains("planted: the source of"), "{said}");
    assert!(said.contains("Again: proxymgr simulate --seed"), "{said}");
    // Unless a panic ends the program, the run continues and the plan is minimized.
    assert!(simulated.status.signal().is_some() || said.contains("breaks an invariant"), "{said}");
}

#[test]
fn aborting_panic_names_seed_and_plan() {
    let simulate = ["simulate", "--plant", "panics", "--seeds", "100", "--threads", "1", "--end-at-panic"];
    let simulated = proxymgr(&simulate);
    let said = err(&simulated);
    assert_eq!(simulated.status.signal(), Some(Signal::SIGABRT as i32), "{said}");
    let run = said.split("An actor panics in the run of seed ").nth(1).unwrap_or_else(|| panic!("no seed in {said}"));
    let (seed, rest) = run.split_once(' ').expect("the plan follows");
    assert!(rest.starts_with("--plant panics, plan {\"version\":"), "{said}");
    let again = proxymgr(&["simulate", "--plant", "panics", "--end-at-panic", "--seed", seed]);
    assert!(again.status.signal().is_some() && err(&again).contains("planted: the source of"), "{}", err(&again));
}

/// Returns a daemon with one service `web` of static hosts, defined in a file.
fn daemon_of_files(dir: &TestDir) -> DaemonBuilder {
    web(dir, &["10.0.0.1", "10.0.0.2"]);
    Daemon::builder(BINARY, dir).files(&dir.join("services"))
}

fn web(dir: &TestDir, hosts: &[&str]) {
    let hosts: Vec<_> = hosts.iter().map(|address| json!({"address": address, "port": 80})).collect();
    dir.write(
        "services/web.json",
        json!({"type": "static", "hosts": hosts, "bind": "127.0.0.1", "port": dir_port(dir)}).to_string(),
    );
}

/// Returns the port of the service, the same at each call.
fn dir_port(dir: &TestDir) -> u16 {
    let file = dir.join("port");
    if !file.exists() {
        fs::write(&file, dir.port().to_string()).unwrap();
    }
    fs::read_to_string(&file).unwrap().parse().unwrap()
}

#[test]
fn version_names_commit() {
    let text = out(&proxymgr(&["--version"]));
    assert!(text.starts_with(concat!("proxymgr ", env!("CARGO_PKG_VERSION"), " (commit ")), "{text}");
}

#[test]
fn help_explains_settings_signals_and_exit_codes() {
    let text = out(&proxymgr(&["--help"]));
    for part in ["proxymgr demo", "PROXYMGR_HAPROXY__SOCKET_PATH", "SIGHUP", "Exit codes:", "70  a bug"] {
        assert!(text.contains(part), "{part:?} in:\n{text}");
    }
}

#[test]
fn completions_exist_for_every_shell() {
    for shell in ["bash", "zsh", "fish"] {
        let output = proxymgr(&["completions", shell]);
        assert!(output.status.success() && out(&output).contains("proxymgr"), "{shell}");
    }
}

#[test]
fn invalid_command_line_exits_with_2() {
    assert_eq!(proxymgr(&["fly"]).status.code(), Some(2));
    let output = proxymgr(&["run", "--set", "novalue"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(err(&output).contains("KEY=VALUE"), "{}", err(&output));
}

#[test]
fn missing_settings_file_exits_with_1() {
    let output = proxymgr(&["run", "-c", "/nonexistent/proxymgr.yml"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(err(&output).contains("/nonexistent/proxymgr.yml: cannot be read"), "{}", err(&output));
}

#[test]
fn all_mistakes_in_settings_are_listed() {
    let dir = TestDir::new();
    let file = dir.write("p.yml", "haproxy:\n  sock_path: /x\nlog: {level: loud}\n");
    for command in ["run", "check", "render", "plan"] {
        let output = proxymgr(&[command, "-c", file.to_str().unwrap(), "--set", "statedir=/x"]);
        assert_eq!(output.status.code(), Some(1), "{command}");
        let text = err(&output);
        for part in [
            "3 mistakes",
            "p.yml:2: haproxy.sock_path: is not a key; did you mean haproxy.socket_path?",
            "p.yml:3: log.level: \"loud\" must be one of",
            "--set: statedir: is not a key; did you mean state_dir?",
        ] {
            assert!(text.contains(part), "{command}: {part:?} in:\n{text}");
        }
    }
}

#[tokio::test]
async fn check_warns_of_variables_that_haproxy_lacks() {
    let dir = TestDir::new();
    let lines = json!(["setenv OWN x", "description \"$OWN $REGION $LISTED\""]);
    let builder = Daemon::builder(BINARY, &dir).files(dir.path()).set("haproxy.global", lines);
    let checked = builder.set("haproxy.environment", json!(["LISTED"])).run_command(&["check"]).await;
    let said = err(&checked);
    assert!(said.contains("warning: HAProxy does not inherit REGION,"), "{said}");
    assert!(!said.contains("OWN") && !said.contains("LISTED"), "{said}");
}

#[tokio::test]
async fn check_reports_lines_that_haproxy_rejects() {
    let dir = TestDir::new();
    let daemon = daemon_of_files(&dir);
    let good = daemon.run_command(&["check"]).await;
    assert!(good.status.success(), "{}", err(&good));

    let daemon = daemon
        .set("haproxy.global", json!(["maxconn 100", "no-such-keyword 1"]))
        .set("haproxy.socket_path", json!("/nonexistent/x.sock"));
    let bad = daemon.run_command(&["check"]).await;
    assert_eq!(bad.status.code(), Some(1));
    let text = err(&bad);
    assert!(text.contains("\"no-such-keyword 1\""), "{text}");
    assert!(text.contains("haproxy.socket_path: directory /nonexistent does not exist"), "{text}");
}

#[tokio::test]
async fn check_reports_missing_or_wrong_haproxy() {
    let dir = TestDir::new();
    for (path, expect) in [("/nonexistent/haproxy", "/nonexistent/haproxy"), ("/bin/true", "/bin/true")] {
        let output = daemon_of_files(&dir).set("haproxy.path", json!(path)).run_command(&["check"]).await;
        assert_eq!(output.status.code(), Some(1));
        assert!(err(&output).contains("haproxy.path") && err(&output).contains(expect), "{}", err(&output));
    }
}

#[tokio::test]
async fn second_daemon_exits_with_3() {
    let dir = TestDir::new();
    let mut first = daemon_of_files(&dir).start();
    first.wait_until_haproxy_answers().await;
    let output = first.run_command(&["run"]).await;
    assert_eq!(output.status.code(), Some(3), "{}", err(&output));
    assert!(err(&output).contains(&format!("(pid {}, since ", first.pid())), "{}", err(&output));
    assert!(first.terminate().await.success());
}

#[tokio::test]
async fn missing_haproxy_exits_with_4() {
    let dir = TestDir::new();
    let output = daemon_of_files(&dir).set("haproxy.path", json!("/nonexistent/haproxy")).run_command(&["run"]).await;
    assert_eq!(output.status.code(), Some(4));
    assert!(err(&output).contains("/nonexistent/haproxy"), "{}", err(&output));
}

#[tokio::test]
async fn check_connect_queries_sources_and_socket() {
    let dir = TestDir::new();
    let daemon = daemon_of_files(&dir);
    let checked = daemon.run_command(&["check", "--connect"]).await;
    assert!(checked.status.success(), "{}", err(&checked));
    for part in ["definitions: 1 service\n", "hosts from static: 1 of 1 source answer, 2 hosts\n", "HAProxy's socket: "]
    {
        assert!(out(&checked).contains(part), "{part} in {}", out(&checked));
    }
    let nobody = dir.port();
    let away =
        json!({"type": "consul", "service": "x", "server": format!("http://127.0.0.1:{nobody}"), "port": dir.port()});
    dir.write("services/away.json", away.to_string());
    let away = json!({"type": "zookeeper", "server": format!("127.0.0.1:{nobody}"), "path": "/x", "port": dir.port()});
    dir.write("services/zk.json", away.to_string());
    let mut running = daemon.start();
    running.wait_until_haproxy_answers().await;
    let checked = running.run_command(&["check", "--connect", "--timeout", "3s"]).await;
    assert_eq!(checked.status.code(), Some(4), "{}", out(&checked));
    let (consul, zookeeper) = (
        format!("\n  away: connection refused: Consul http://127.0.0.1:{nobody} (GET /v1/health/service/x)\n"),
        format!("\n  zk: connection refused: ZooKeeper 127.0.0.1:{nobody}\n"),
    );
    for part in
        ["hosts from consul: 0 of 1 source answer", &consul, &zookeeper, "hosts from static: 1 of 1", " answers, pid "]
    {
        assert!(out(&checked).contains(part), "{part} in {}", out(&checked));
    }
}

#[tokio::test]
async fn json_log_contains_settings_errors() {
    let dir = TestDir::new();
    let daemon = daemon_of_files(&dir).set("haproxy.reload_interval", json!("soon"));
    let by_file = daemon.clone().set("log.format", json!("json")).run_command(&["run"]).await;
    let by_flag = daemon.run_command(&["run", "--log-format", "json"]).await;
    let missing = daemon_of_files(&dir).set("haproxy.path", json!("/nonexistent/haproxy"));
    let later = missing.run_command(&["run", "--log-format", "json"]).await;
    for (output, code, part) in
        [(by_file, 1, "haproxy.reload_interval"), (by_flag, 1, "soon"), (later, 4, "/nonexistent")]
    {
        assert_eq!(output.status.code(), Some(code), "{}", err(&output));
        let lines: Vec<serde_json::Value> =
            err(&output).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let last = lines.last().expect("a last record");
        assert!(last["msg"].as_str().is_some_and(|text| text.contains(part)), "{last}");
        assert_eq!(last["level"], "CRIT");
    }
}

#[tokio::test]
async fn status_prints_headline_or_json() {
    let dir = TestDir::new();
    let mut daemon = daemon_of_files(&dir).start();
    daemon.wait_until_haproxy_answers().await;
    daemon
        .eventually(LIMIT, "no problems", async || {
            let status = daemon.run_command(&["status"]).await;
            let text = out(&status);
            check(text.starts_with("OK: HAProxy serves 1 service.\n") && text.contains("\nweb "), &status)
        })
        .await;
    let json = daemon.run_command(&["status", "--json"]).await;
    let report: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(report["readiness"]["ready"], true);
    assert_eq!(report["daemon"]["pid"], daemon.pid().as_raw());
    daemon.terminate().await;
    let gone = daemon.run_command(&["status"]).await;
    assert_eq!(gone.status.code(), Some(4));
    assert!(err(&gone).contains("no proxymgr answers"), "{}", err(&gone));
}

#[tokio::test]
async fn sighup_applies_valid_settings_only() {
    let dir = TestDir::new();
    let mut daemon = daemon_of_files(&dir).arg("--log-format").arg("json").start();
    daemon.wait_until_haproxy_answers().await;

    daemon.rewrite("haproxy.global", json!(["maxconn 123"]));
    daemon.rewrite("haproxy.reload_interval", json!("soon"));
    daemon.signal(Signal::SIGHUP);
    logged(&daemon, "settings rejected, the previous ones stay in use").await;
    assert!(daemon.log().contains("haproxy.reload_interval: \\\"soon\\\" is not a duration"), "{}", daemon.log());
    assert!(!daemon.haproxy_config().contains("maxconn 123"));

    daemon.rewrite("haproxy.reload_interval", json!("100ms"));
    daemon.rewrite("status.hosts", json!(["lb.example"]));
    daemon.signal(Signal::SIGHUP);
    logged(&daemon, "some changed settings need a restart").await;
    daemon
        .eventually(LIMIT, "HAProxy runs with the new global section", async || {
            let text = daemon.haproxy_config();
            check(text.contains("maxconn 123"), &text)
        })
        .await;
    let log = daemon.log();
    // The last line may be incomplete.
    let (whole_lines, _) = log.rsplit_once('\n').expect("something was logged");
    for line in whole_lines.lines().filter(|line| !line.is_empty()) {
        let record: serde_json::Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        assert!(record["level"].is_string() && record["component"].is_string(), "{line}");
    }
}

#[tokio::test]
async fn second_sigterm_stops_at_once() {
    let dir = TestDir::new();
    let mut daemon = daemon_of_files(&dir).set("haproxy.stop_timeout", json!("10m")).start();
    let haproxy = daemon.wait_until_haproxy_answers().await;
    // An open connection delays the graceful stop of HAProxy.
    let open = std::net::TcpStream::connect(("127.0.0.1", dir_port(&dir))).unwrap();
    use std::io::Write;
    (&open).write_all(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n").unwrap();
    daemon.signal(Signal::SIGTERM);
    logged(&daemon, "stopping HAProxy softly").await;
    daemon.signal(Signal::SIGTERM);
    assert!(daemon.wait_exit(LIMIT).await.success(), "{}", daemon.log());
    assert!(!Path::new(&format!("/proc/{haproxy}/stat")).exists(), "HAProxy still runs\n{}", daemon.log());
}

#[tokio::test]
async fn systemd_is_notified() {
    let dir = TestDir::new();
    let socket = std::os::unix::net::UnixDatagram::bind(dir.join("notify")).unwrap();
    socket.set_nonblocking(true).unwrap();
    let mut received = String::new();
    let mut next = move || {
        let mut buffer = [0; 4_096];
        while let Ok(length) = socket.recv(&mut buffer) {
            received.push_str(&String::from_utf8_lossy(&buffer[..length]));
            received.push('\n');
        }
        received.clone()
    };
    let notify = dir.join("notify").display().to_string();
    let mut daemon = daemon_of_files(&dir).env("NOTIFY_SOCKET", &notify).env("WATCHDOG_USEC", "300000").start();
    daemon.eventually(LIMIT, "READY=1", async || check(next().contains("READY=1\n"), &next())).await;
    haproxy::info(&daemon.socket()).await.expect("HAProxy answers once the daemon is ready");
    daemon.signal(Signal::SIGHUP);
    let reloading =
        |text: &str| text.contains("RELOADING=1\nMONOTONIC_USEC=") && text.matches("READY=1\n").count() == 2;
    daemon.eventually(LIMIT, "RELOADING=1, then READY=1", async || check(reloading(&next()), &next())).await;
    let beats = next().matches("WATCHDOG=1\n").count();
    let beats_again = |text: &str| text.matches("WATCHDOG=1\n").count() > beats + 1;
    daemon.eventually(LIMIT, "WATCHDOG=1, repeatedly", async || check(beats_again(&next()), &next())).await;
    daemon.terminate().await;
    assert!(next().contains("STOPPING=1\n"), "{}", next());
}

#[test]
fn demo_serves_and_cleans_up() {
    let port = support::ports::Port::reserve();
    let out = tempfile::NamedTempFile::new().unwrap();
    let mut command = Command::new(BINARY);
    command.args(["demo", "--port", &port.number().to_string()]).stdout(out.reopen().unwrap());
    let mut demo = command.stderr(std::process::Stdio::null()).spawn().unwrap();
    let deadline = std::time::Instant::now() + LIMIT;
    let guide = loop {
        let text = fs::read_to_string(out.path()).unwrap();
        if text.contains("Ctrl-C") || std::time::Instant::now() > deadline {
            break text;
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    let answer = get(port.number());
    // The commands of the guide reach it, orders too.
    let directory = guide.split_whitespace().find_map(|word| word.strip_suffix("/haproxy.cfg")).unwrap().to_owned();
    let settings = format!("{directory}/proxymgr.yml");
    assert!(guide.contains(&format!("proxymgr status -c {settings}\n")), "{guide}");
    for command in ["status", "refresh", "plan"] {
        let said = proxymgr(&[command, "-c", &settings]);
        assert!(said.status.success(), "{command}: {}", err(&said));
    }
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(demo.id() as i32), Signal::SIGINT).unwrap();
    assert!(demo.wait().unwrap().success());
    assert!(guide.contains("serves http://127.0.0.1:") && !guide.contains("DEMO_"), "{guide}");
    assert!(answer.contains("hello from backend"), "{answer}");
    assert!(!Path::new(&directory).exists(), "{directory} was not removed");
}

fn get(port: u16) -> String {
    use std::io::{Read, Write};
    let mut stream = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

/// Waits for a text in the log of the daemon.
async fn logged(daemon: &Daemon, what: &str) {
    daemon.eventually(LIMIT, what, async || check(daemon.log().contains(what), &"not in the log")).await;
}
