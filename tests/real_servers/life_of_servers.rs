//! Removal of servers and operators' overrides, on every real HAProxy.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use proxymgr::daemon::{adapters, supported_version};
use proxymgr::proxy::haproxy_binary::HaproxyBinary;
use proxymgr::saved_state;
use proxymgr::settings::{Settings, SettingsSources};
use proxymgr_actors::clock::Clock;
use proxymgr_actors::model::{AdminState, ServerName, ServiceName};
use proxymgr_actors::operator::{Order, SetServer};
use proxymgr_actors::wiring::Actors;
use serde_json::json;
use slog::{Discard, Logger, o};

use crate::stage::{LIMIT, ServiceFiles, addresses, backends, daemon, wait_for_ready};
use crate::support::backend::Backend;
use crate::support::dir::TestDir;
use crate::support::eventually::{check, eventually};
use crate::support::haproxy::{self, HaproxyVersion, ServerLine};
use crate::support::http;

/// Duration of a request that a leaving host must complete.
const BUSY: Duration = Duration::from_secs(3);

/// Time-out for the deletion of a removed server: a minute in maintenance, and the interval of observations.
const DELETION_LIMIT: Duration = Duration::from_secs(100);

async fn server(socket: &Path, backend: &Backend) -> Result<Option<ServerLine>, String> {
    let servers = haproxy::servers_state(socket).await.map_err(|error| error.to_string())?;
    Ok(servers.into_iter().find(|server| server.port() == backend.port()))
}

/// A host is removed while it answers a request: it drains, the answer arrives, and it goes into maintenance.
async fn leaves_while_it_is_busy(version: &HaproxyVersion, until_deleted: bool) {
    let dir = TestDir::new();
    let files = ServiceFiles::new(&dir);
    let backends = backends(&dir, 2);
    let port = dir.port();
    files.define("web", port, json!({"drain_timeout": "1m"}));
    files.hosts("web", &backends);
    let daemon = daemon(&dir).haproxy(version).files(&files.services()).start();
    wait_for_ready(&daemon, "web", &addresses(&backends)).await;
    backends.iter().for_each(|backend| backend.set_delay(BUSY));
    let begun = std::time::Instant::now();
    let request = tokio::spawn(async move { http::get(SocketAddr::from(([127, 0, 0, 1], port)), "/").await });
    let (busy, idle): (Vec<&Backend>, Vec<&Backend>) = daemon
        .eventually(LIMIT, "the request is at its host", async || {
            let (busy, idle) = backends.iter().partition::<Vec<_>, _>(|backend| backend.connections() > 0);
            check(busy.len() == 1, &busy.len())?;
            Ok::<_, String>((busy, idle))
        })
        .await;
    let leaving = busy[0];
    files.hosts("web", idle);
    let socket = daemon.socket();
    let drains = async || match server(&socket, leaving).await? {
        Some(server) if server.is_draining() => Ok(()),
        other => Err(format!("{other:?}")),
    };
    daemon.eventually(LIMIT, "the host that left drains", drains).await;
    assert!(begun.elapsed() < BUSY, "the machine is too slow to see it drain");
    let answer = request.await.expect("no panic").expect("the request is answered");
    assert_eq!((answer.status, answer.text()), (200, leaving.name().to_owned()), "{}", version.label);
    let waits = async || match server(&socket, leaving).await? {
        Some(server) if server.is_in_maintenance() => Ok(()),
        other => Err(format!("{other:?}")),
    };
    daemon.eventually(LIMIT, "once it is idle it is in maintenance", waits).await;
    assert!(begun.elapsed() >= BUSY, "not before");
    if until_deleted {
        let deleted = async || check(server(&socket, leaving).await?.is_none(), &"it is there");
        daemon.eventually(DELETION_LIMIT, "it is deleted later", deleted).await;
    }
}

#[tokio::test]
async fn removed_host_drains_on_every_version() {
    for version in haproxy::versions() {
        leaves_while_it_is_busy(&version, false).await;
    }
}

#[tokio::test]
async fn removed_host_is_deleted_after_maintenance() {
    if let Some(version) = haproxy::newest(HaproxyVersion::adds_servers) {
        leaves_while_it_is_busy(&version, true).await;
    }
}

/// Starts the production actors with their real adapters in the test process, like the daemon.
async fn manager(settings: &Settings) -> Actors {
    let log = Logger::root(Discard, o!());
    let binary = HaproxyBinary::new(&settings.haproxy.binary);
    let version = supported_version(&binary).await.expect("HAProxy is installed");
    let discovery = adapters::Discovery::to_look(settings, &log).expect("the settings are good");
    let outside = adapters::outside(settings, &discovery, &binary, &log);
    std::fs::create_dir_all(&settings.state_dir).expect("a new directory");
    let restored = saved_state::load(&adapters::saved_state_path(settings)).state;
    Actors::start(outside, adapters::orders(settings, Some(version), restored), Clock::starting_at(1), &log)
}

/// Kills all HAProxy processes of one configuration when it is dropped.
struct EndHaproxy(PathBuf);

impl Drop for EndHaproxy {
    fn drop(&mut self) {
        let processes = std::fs::read_dir("/proc").expect("/proc is mounted").flatten();
        for pid in processes.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok()) {
            let command_line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let config = self.0.to_string_lossy().into_owned();
            if command_line.split(|byte| *byte == 0).any(|word| word == config.as_bytes()) {
                // A process may have ended meanwhile.
                let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
            }
        }
    }
}

async fn wait_until_only_is_ready(socket: &Path, wanted: &Backend) {
    let what = format!("only {} is ready", wanted.name());
    let probe = async || {
        let ready = haproxy::ready_servers(socket, "web").await.map_err(|error| error.to_string())?;
        check(ready == addresses([wanted]), &ready)
    };
    eventually(LIMIT, &what, probe).await;
}

#[test]
fn override_survives_reload_and_restart() {
    for version in haproxy::versions() {
        let dir = TestDir::new();
        let files = ServiceFiles::new(&dir);
        let backends = backends(&dir, 2);
        let port = dir.port();
        files.define("web", port, json!({}));
        files.hosts("web", &backends);
        let builder = daemon(&dir).haproxy(&version).files(&files.services());
        let settings = Settings::load(&SettingsSources::at(&builder.write_config())).expect("good settings").settings;
        let _end = EndHaproxy(settings.haproxy.config_path.clone());
        let socket = builder.socket();
        let service = ServiceName::new("web").expect("a name");
        let name = ServerName::new(&backends[0].address().to_string()).expect("a name");

        actix::System::new().block_on(async {
            let actors = manager(&settings).await;
            haproxy::wait_until_answering(&socket, LIMIT, String::new).await;
            let drained = SetServer {
                service: service.clone(),
                server: name.clone(),
                state: AdminState::Drain,
                for_ms: None,
                reason: Some("a new disk".to_owned()),
            };
            eventually(LIMIT, "the order is carried out", async || {
                actors.order(Order::SetServer(drained.clone())).await
            })
            .await;
            wait_until_only_is_ready(&socket, &backends[1]).await;
            let before = haproxy::info(&socket).await.expect("it answers")["Pid"].clone();
            actors.order(Order::Reload { reason: None }).await.expect("the order is carried out");
            eventually(LIMIT, "another process answers", async || {
                let pid = haproxy::info(&socket).await.map_err(|error| error.to_string())?["Pid"].clone();
                check(pid != before, &pid)
            })
            .await;
            wait_until_only_is_ready(&socket, &backends[1]).await;
        });
        // The manager has ended without stopping HAProxy, which continues.
        actix::System::new().block_on(async {
            let before = haproxy::info(&socket).await.expect("HAProxy outlives its manager")["Pid"].clone();
            let actors = manager(&settings).await;
            eventually(LIMIT, "the manager adopts and reloads HAProxy", async || {
                let pid = haproxy::info(&socket).await.map_err(|error| error.to_string())?["Pid"].clone();
                check(pid != before, &pid)
            })
            .await;
            wait_until_only_is_ready(&socket, &backends[1]).await;
            eventually(LIMIT, "the drain is restored", async || match server(&socket, &backends[0]).await? {
                Some(server) if server.is_draining() && !server.is_in_maintenance() => Ok(()),
                other => Err(format!("{}: {other:?}", version.label)),
            })
            .await;
            let ready = SetServer { service, server: name, state: AdminState::Ready, for_ms: None, reason: None };
            actors.order(Order::SetServer(ready)).await.expect("the order is carried out");
            eventually(LIMIT, "both are ready again", async || {
                let ready = haproxy::ready_servers(&socket, "web").await.map_err(|error| error.to_string())?;
                check(ready == addresses(&backends), &ready)
            })
            .await;
            actors.stop().await;
        });
    }
}

/// A server is drained on HAProxy's socket; the daemon is killed, and the next one adopts HAProxy.
#[tokio::test]
async fn drain_on_socket_survives_daemon_restart() {
    let dir = TestDir::new();
    let files = ServiceFiles::new(&dir);
    let backends = backends(&dir, 2);
    files.define("web", dir.port(), json!({}));
    files.hosts("web", &backends);
    let mut daemon = daemon(&dir).files(&files.services()).start();
    wait_for_ready(&daemon, "web", &addresses(&backends)).await;
    let state = daemon.dir().join("state");
    daemon
        .eventually(LIMIT, "the state is saved", async || {
            // Only a complete state file counts, not the temporary file next to it.
            let files = std::fs::read_dir(&state).into_iter().flatten().flatten().map(|file| file.path());
            let saved = files.filter(|path| path.extension().is_some_and(|extension| extension == "json"));
            let text: String = saved.filter_map(|path| std::fs::read_to_string(path).ok()).collect();
            check(text.contains(&backends[1].address().to_string()), &text)
        })
        .await;
    let before = daemon.wait_until_haproxy_answers().await;
    let command = format!("set server web/{} state drain", backends[0].address());
    haproxy::runtime(&daemon.socket(), &command).await.expect("HAProxy takes it");
    daemon.kill();
    daemon.start_again();
    let socket = daemon.socket();
    daemon
        .eventually(LIMIT, "another process has it in drain", async || {
            let pid = haproxy::info(&socket).await.map_err(|error| error.to_string())?["Pid"].clone();
            check(pid != before.to_string(), &pid)?;
            let drained = server(&socket, &backends[0]).await?;
            check(drained.as_ref().is_some_and(ServerLine::is_draining), &drained)
        })
        .await;
    wait_for_ready(&daemon, "web", &addresses(&backends[1..])).await;
}
