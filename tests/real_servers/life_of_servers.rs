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
use proxymgr_actors::model::{AdminState, OnStop, ServerName, ServiceName};
use proxymgr_actors::operator::{Order, SetServer};
use proxymgr_actors::port::SavedJournal;
use proxymgr_actors::wiring::Actors;
use serde_json::json;
use slog::{Discard, Logger, o};

use crate::stage::{LIMIT, addresses, check_ready, daemon, wait_for_ready, web_in_files};
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

async fn check_server(socket: &Path, backend: &Backend, fits: impl Fn(&ServerLine) -> bool) -> Result<(), String> {
    let server = server(socket, backend).await?;
    check(server.as_ref().is_some_and(fits), &server)
}

/// A host is removed while it answers a request: it drains, the answer arrives, and it goes into maintenance.
async fn leaves_while_it_is_busy(version: &HaproxyVersion, until_deleted: bool) {
    let dir = TestDir::new();
    let port = dir.port();
    let (files, backends) = web_in_files(&dir, port, 2, json!({"drain_timeout": "1m"}));
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
    let drains = async || check_server(&socket, leaving, ServerLine::is_draining).await;
    daemon.eventually(LIMIT, "the host that left drains", drains).await;
    assert!(begun.elapsed() < BUSY, "the machine is too slow to see it drain");
    let answer = request.await.expect("no panic").expect("the request is answered");
    assert_eq!((answer.status, answer.text()), (200, leaving.name().to_owned()), "{}", version.label);
    let waits = async || check_server(&socket, leaving, ServerLine::is_in_maintenance).await;
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
    let binary = HaproxyBinary::of(&settings.haproxy);
    let version = supported_version(&binary).await.expect("HAProxy is installed");
    let discovery = adapters::Discovery::to_look(settings, &log).expect("the settings are good");
    let (outside, _) = adapters::outside(settings, &discovery, &binary, None, &log);
    std::fs::create_dir_all(&settings.state_dir).expect("a new directory");
    let restored = saved_state::load(&adapters::saved_state_path(settings)).state;
    Actors::start(
        outside,
        adapters::orders(settings, Some(version), restored, SavedJournal::default()),
        Clock::starting_at(1),
        &log,
    )
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

async fn wait_until_ready(socket: &Path, backends: &[Backend]) {
    let wanted = addresses(backends);
    let what = format!("exactly {wanted:?} are ready");
    eventually(LIMIT, &what, async || check_ready(socket, "web", &wanted).await).await;
}

async fn pid(socket: &Path) -> Result<String, String> {
    Ok(haproxy::info(socket).await.map_err(|error| error.to_string())?["Pid"].clone())
}

async fn wait_for_process_after(socket: &Path, before: &str) {
    let probe = async || {
        let pid = pid(socket).await?;
        check(pid != before, &pid)
    };
    eventually(LIMIT, "another process answers", probe).await;
}

#[test]
fn override_survives_reload_and_restart() {
    for version in haproxy::versions() {
        let dir = TestDir::new();
        let (files, backends) = web_in_files(&dir, dir.port(), 2, json!({}));
        let builder = daemon(&dir).haproxy(&version).files(&files.services());
        let settings = Settings::load(&SettingsSources::at(&builder.write_config())).expect("good settings").settings;
        let _end = EndHaproxy(settings.haproxy.config_path.clone());
        let socket = builder.socket();
        let service = ServiceName::new("web").expect("a name");
        let server_name = ServerName::new(&backends[0].address().to_string()).expect("a name");
        let set = |state, reason: Option<&str>| {
            let (service, server, reason) = (service.clone(), server_name.clone(), reason.map(str::to_owned));
            Order::SetServer(SetServer { service, server, state, for_ms: None, reason, by: None })
        };

        actix::System::new().block_on(async {
            let actors = manager(&settings).await;
            haproxy::wait_until_answering(&socket, LIMIT, String::new).await;
            let drain = set(AdminState::Drain, Some("a new disk"));
            eventually(LIMIT, "the order is carried out", async || actors.order(drain.clone()).await).await;
            wait_until_ready(&socket, &backends[1..]).await;
            let before = pid(&socket).await.expect("it answers");
            actors.order(Order::Reload { reason: None }).await.expect("the order is carried out");
            wait_for_process_after(&socket, &before).await;
            wait_until_ready(&socket, &backends[1..]).await;
        });
        // The manager has ended without stopping HAProxy, which continues.
        actix::System::new().block_on(async {
            let before = pid(&socket).await.expect("HAProxy outlives its manager");
            let actors = manager(&settings).await;
            // The manager adopts HAProxy and reloads it.
            wait_for_process_after(&socket, &before).await;
            wait_until_ready(&socket, &backends[1..]).await;
            let drains = |server: &ServerLine| server.is_draining() && !server.is_in_maintenance();
            let restored = async || check_server(&socket, &backends[0], drains).await;
            eventually(LIMIT, &format!("HAProxy {} has the drain", version.label), restored).await;
            actors.order(set(AdminState::Ready, None)).await.expect("the order is carried out");
            wait_until_ready(&socket, &backends).await;
            actors.stop(OnStop::Stop).await;
        });
    }
}

/// A server is drained on HAProxy's socket; the daemon is killed, and the next one adopts HAProxy.
#[tokio::test]
async fn drain_on_socket_survives_daemon_restart() {
    let dir = TestDir::new();
    let (files, backends) = web_in_files(&dir, dir.port(), 2, json!({}));
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
            let pid = pid(&socket).await?;
            check(pid != before.to_string(), &pid)?;
            check_server(&socket, &backends[0], ServerLine::is_draining).await
        })
        .await;
    wait_for_ready(&daemon, "web", &addresses(&backends[1..])).await;
}
