//! The health and weights of servers survive reloads of HAProxy.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;

use crate::stage::{self, LIMIT, ServiceFiles, addresses, backends, daemon, wait_for_ready, wait_for_reload_after};
use crate::support::backend::Backend;
use crate::support::daemon::Daemon;
use crate::support::dir::TestDir;
use crate::support::eventually::check;
use crate::support::haproxy;

/// So slow that no check fails during a test: a server that is down was down before.
const SLOW_CHECK: &str = "check inter 60s rise 2 fall 1000";

/// Returns the operational state of the server at this backend's address, and its weight.
async fn state_and_weight(daemon: &Daemon, backend: &Backend) -> (String, u32) {
    let servers = haproxy::servers_state(&daemon.socket()).await.expect("HAProxy answers");
    let server = servers.iter().find(|server| server.port() == backend.port()).expect("it has this server");
    (server.column("srv_op_state").to_owned(), server.weight())
}

/// Stops the backend, and makes HAProxy treat its server as failed.
async fn fail_checks(daemon: &Daemon, backend: &mut Backend) {
    backend.stop().await;
    take_down(daemon, backend).await;
}

/// Makes HAProxy treat the server of a running backend as failed.
async fn take_down(daemon: &Daemon, backend: &Backend) {
    set_health(daemon, backend, "down").await;
    assert_eq!(state_and_weight(daemon, backend).await.0, "0");
}

async fn set_health(daemon: &Daemon, backend: &Backend, health: &str) {
    let servers = haproxy::servers_state(&daemon.socket()).await.expect("HAProxy answers");
    let server = servers.iter().find(|server| server.port() == backend.port()).expect("it has this server");
    let command = format!("set server web/{} health {health}", server.name());
    haproxy::runtime(&daemon.socket(), &command).await.expect("HAProxy answers");
}

/// Waits until the state file has these operational states of these servers.
async fn until_state_file_tells<const N: usize>(daemon: &Daemon, wanted: [(&Backend, &str); N]) {
    let path = daemon.socket().with_file_name("haproxy.cfg.state");
    let probe = async || {
        let text = std::fs::read_to_string(&path).map_err(|error| error.to_string())?;
        let has_state =
            |(backend, state): &(&Backend, &str)| reported(&text, backend.port()).as_deref() == Some(*state);
        check(wanted.iter().all(has_state), &text)
    };
    daemon.eventually(LIMIT, "the state file follows", probe).await;
}

/// Returns the operational state of the server at this port, in the text of a state file.
fn reported(text: &str, port: u16) -> Option<String> {
    let mut lines = text.lines().skip_while(|line| !line.starts_with("# "));
    let columns: Vec<&str> = lines.next()?.trim_start_matches("# ").split(' ').collect();
    let place = |name: &str| columns.iter().position(|column| *column == name);
    let (state_at, port_at) = (place("srv_op_state")?, place("srv_port")?);
    let mut rows = lines.map(|line| line.split(' ').collect::<Vec<_>>());
    rows.find(|row| row.get(port_at) == Some(&port.to_string().as_str())).map(|row| row[state_at].to_owned())
}

#[tokio::test]
async fn health_and_weights_survive_reload_on_every_version() {
    for version in haproxy::versions() {
        let dir = TestDir::new();
        let files = ServiceFiles::new(&dir);
        let mut backends = backends(&dir, 3);
        let port = dir.port();
        // Defined before `web`, so that the number of the section changes, too.
        let another = dir.port();
        let define = |backends: &[Backend], weight: u16, timeout: &str| {
            let host = |backend: &Backend| json!({"address": "127.0.0.1", "port": backend.port(), "weight": weight});
            let hosts: Vec<_> = backends.iter().map(host).collect();
            let definition = json!({
                "type": "static", "hosts": hosts, "port": port, "bind": "127.0.0.1", "server_options": [SLOW_CHECK],
            });
            files.replace("services/web.json", &definition.to_string());
            files.define("another", another, json!({"listen_options": [format!("timeout client {timeout}")]}));
        };
        files.hosts("another", []);
        define(&backends[..2], 10, "30s");
        let daemon = daemon(&dir).haproxy(&version).files(&files.services()).start();
        wait_for_ready(&daemon, "web", &addresses(&backends[..2])).await;
        // The third is added at run time, if this HAProxy supports that.
        define(&backends, 20, "30s");
        wait_for_ready(&daemon, "web", &addresses(&backends)).await;
        daemon
            .eventually(LIMIT, "the weights are set", async || {
                let seen = state_and_weight(&daemon, &backends[0]).await;
                check(seen == ("2".to_owned(), 20), &seen)
            })
            .await;
        stage::reloads(&daemon).await;
        fail_checks(&daemon, &mut backends[0]).await;
        fail_checks(&daemon, &mut backends[2]).await;

        for timeout in ["31s", "32s"] {
            let before = stage::reloads(&daemon).await;
            define(&backends, 20, timeout);
            wait_for_reload_after(&daemon, before).await;
            for (backend, state) in backends.iter().zip(["0", "2", "0"]) {
                let seen = state_and_weight(&daemon, backend).await;
                assert_eq!(seen, (state.to_owned(), 20), "{version}: {}; {}", backend.name(), daemon.log());
            }
        }
        until_state_file_tells(&daemon, [(&backends[0], "0"), (&backends[1], "2"), (&backends[2], "0")]).await;
    }
}

/// A server that is down answers again. One successful check is too few, and the next is a minute later, so a process
/// that shows it as up has not read the state file.
#[tokio::test]
async fn state_file_keeps_down_servers_down() {
    for version in haproxy::versions() {
        for (has_state_file, state) in [(true, "0"), (false, "2")] {
            let dir = TestDir::new();
            let files = ServiceFiles::new(&dir);
            let backends = backends(&dir, 2);
            let another = dir.port();
            let define = |timeout: &str| {
                files.define("another", another, json!({"listen_options": [format!("timeout client {timeout}")]}));
            };
            define("30s");
            files.hosts("another", []);
            files.define("web", dir.port(), json!({"server_options": [SLOW_CHECK]}));
            files.hosts("web", &backends);
            let builder = daemon(&dir).haproxy(&version).files(&files.services());
            let builder = builder.set("haproxy.observe_interval", json!("1s"));
            let daemon = builder.set("haproxy.state_file", json!(has_state_file)).start();
            wait_for_ready(&daemon, "web", &addresses(&backends)).await;

            for crashes in [false, true] {
                let before = stage::reloads(&daemon).await;
                if crashes && has_state_file {
                    // The file may still be that of the last reload, in which the server is down.
                    set_health(&daemon, &backends[0], "up").await;
                    until_state_file_tells(&daemon, [(&backends[0], "2"), (&backends[1], "2")]).await;
                }
                take_down(&daemon, &backends[0]).await;
                if crashes {
                    if has_state_file {
                        until_state_file_tells(&daemon, [(&backends[0], "0"), (&backends[1], "2")]).await;
                    }
                    let info = haproxy::info(&daemon.socket()).await.expect("HAProxy answers");
                    let pid = Pid::from_raw(info["Pid"].parse().expect("a pid"));
                    kill(pid, Signal::SIGKILL).expect("it runs");
                } else {
                    define("31s");
                }
                wait_for_reload_after(&daemon, before).await;
                let (down, up) =
                    (state_and_weight(&daemon, &backends[0]).await.0, state_and_weight(&daemon, &backends[1]).await.0);
                assert_eq!((down.as_str(), up.as_str()), (state, "2"), "{version}, {has_state_file}, {crashes}");
            }
        }
    }
}

#[tokio::test]
async fn damaged_state_file_is_harmless() {
    for version in haproxy::versions() {
        let dir = TestDir::new();
        let files = ServiceFiles::new(&dir);
        let backends = backends(&dir, 1);
        let port = dir.port();
        files.define("web", port, json!({"server_options": [SLOW_CHECK]}));
        files.hosts("web", &backends);
        let daemon = daemon(&dir).haproxy(&version).files(&files.services()).start();
        wait_for_ready(&daemon, "web", &addresses(&backends)).await;
        let state_file = daemon.socket().with_file_name("haproxy.cfg.state");

        let reload = async |timeout: &str| {
            let before = stage::reloads(&daemon).await;
            let options =
                json!({"server_options": [SLOW_CHECK], "listen_options": [format!("timeout client {timeout}")]});
            files.define("web", port, options);
            wait_for_reload_after(&daemon, before).await;
            assert_eq!(state_and_weight(&daemon, &backends[0]).await.0, "2", "{version}");
        };
        for (text, timeout) in [("", "31s"), ("7\n\u{0}\u{0}garbage", "32s"), ("1\n# be_id\n1 web\n", "33s")] {
            std::fs::write(&state_file, text).expect("the file can be written");
            reload(timeout).await;
        }
        // A directory has the name of the state file: it can be neither written nor read. The daemon may just have written
        // the file again.
        while let Err(error) = std::fs::create_dir(&state_file) {
            assert_eq!(error.kind(), std::io::ErrorKind::AlreadyExists);
            std::fs::remove_file(&state_file).ok();
        }
        reload("34s").await;
        assert!(daemon.log().contains("the health of servers cannot be kept"), "{}", daemon.log());
    }
}
