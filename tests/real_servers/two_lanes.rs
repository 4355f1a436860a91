//! Runtime changes and deployments are independent: no wait of a deployment delays the removal of a host.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::json;

use crate::stage::{
    self, LIMIT, ServiceFiles, actor_state, addresses, backends, daemon, wait_for_ready, wait_for_reload_after,
    wait_for_state,
};
use crate::support::dir::TestDir;
use crate::support::eventually::{check, eventually};
use crate::support::haproxy::{self, HaproxyVersion};

/// A HAProxy whose checks or starts wait while a file exists.
struct SlowHaproxy {
    binary: PathBuf,
    slow_check: PathBuf,
    slow_start: PathBuf,
    waits: PathBuf,
}

impl SlowHaproxy {
    fn new(dir: &TestDir, version: &HaproxyVersion) -> Self {
        let (slow_check, slow_start, waits) = (dir.join("slow-check"), dir.join("slow-start"), dir.join("waits"));
        let script = format!(
            "#!/bin/sh\nhold() {{ while [ -e \"$1\" ]; do : > {waits}; sleep 0.02; done; }}\n\
             case \" $* \" in\n*' -c '*) hold {check} ;;\n*' -v '*) ;;\n*) hold {start} ;;\nesac\nexec {haproxy} \"$@\"\n",
            waits = waits.display(),
            check = slow_check.display(),
            start = slow_start.display(),
            haproxy = version.path.display(),
        );
        let binary = dir.write("slow-haproxy", script);
        std::fs::set_permissions(&binary, std::fs::Permissions::from_mode(0o755)).expect("our own file");
        Self { binary, slow_check, slow_start, waits }
    }

    /// Returns the same version with the slow program.
    fn version(&self, version: &HaproxyVersion) -> HaproxyVersion {
        HaproxyVersion { path: self.binary.clone(), ..version.clone() }
    }

    /// Waits until the program is called and waits.
    async fn until_it_waits(&self) {
        let waits = async || check(self.waits.exists(), &"not called yet");
        eventually(LIMIT, "HAProxy is called and waits", waits).await;
    }
}

fn hold(path: &PathBuf) {
    std::fs::write(path, "").expect("a writable directory");
}

fn release(path: &PathBuf) {
    std::fs::remove_file(path).expect("it was held");
}

#[tokio::test]
async fn host_is_removed_and_added_while_a_check_hangs() {
    let version = haproxy::newest(HaproxyVersion::adds_servers).expect("a HAProxy that adds servers");
    let dir = TestDir::new();
    let files = ServiceFiles::new(&dir);
    let backends = backends(&dir, 3);
    let slow = SlowHaproxy::new(&dir, &version);
    files.define("web", dir.port(), json!({}));
    files.hosts("web", &backends[..2]);
    let daemon = daemon(&dir).haproxy(&slow.version(&version)).files(&files.services()).start();
    wait_for_ready(&daemon, "web", &addresses(&backends[..2])).await;
    let before = stage::reloads(&daemon).await;
    hold(&slow.slow_check);
    files.define("api", dir.port(), json!({}));
    files.hosts("api", &backends[..1]);
    slow.until_it_waits().await;
    files.hosts("web", &backends[1..]);
    wait_for_ready(&daemon, "web", &addresses(&backends[1..])).await;
    let state = actor_state(&daemon, "haproxy_state").await.expect("a state");
    assert_eq!(state["counts"]["reload"].as_u64(), Some(before), "the deployment is still under way");
    assert_eq!(state["phase"], "launching");
    release(&slow.slow_check);
    wait_for_reload_after(&daemon, before).await;
    wait_for_ready(&daemon, "web", &addresses(&backends[1..])).await;
}

#[tokio::test]
async fn host_removed_during_a_start_is_disabled_at_first_answer() {
    for version in haproxy::versions() {
        let dir = TestDir::new();
        let files = ServiceFiles::new(&dir);
        let backends = backends(&dir, 2);
        let slow = SlowHaproxy::new(&dir, &version);
        files.define("web", dir.port(), json!({"update": "toggle"}));
        files.hosts("web", &backends);
        let daemon = daemon(&dir).haproxy(&slow.version(&version)).files(&files.services()).start();
        wait_for_ready(&daemon, "web", &addresses(&backends)).await;
        let before = stage::reloads(&daemon).await;
        let pid = haproxy::info(&daemon.socket()).await.expect("an answer")["Pid"].clone();
        hold(&slow.slow_start);
        files.define("api", dir.port(), json!({}));
        files.hosts("api", &backends[..1]);
        slow.until_it_waits().await;
        files.hosts("web", &backends[1..]);
        wait_for_ready(&daemon, "web", &addresses(&backends[1..])).await;
        release(&slow.slow_start);
        // In the first answer of the new process the server is already in maintenance.
        let probe = async || {
            let servers = haproxy::ready_servers(&daemon.socket(), "web").await.map_err(|error| error.to_string())?;
            let info = haproxy::info(&daemon.socket()).await.map_err(|error| error.to_string())?;
            check(info["Pid"] != pid, &info["Pid"])?;
            Ok::<_, String>(servers)
        };
        let first = daemon.eventually(LIMIT, "the new process answers", probe).await;
        assert_eq!(first, addresses(&backends[1..]), "HAProxy {version:?}");
        wait_for_reload_after(&daemon, before).await;
    }
}

#[tokio::test]
async fn frozen_haproxy_is_noticed_without_a_change() {
    let dir = TestDir::new();
    let files = ServiceFiles::new(&dir);
    let backends = backends(&dir, 1);
    files.define("web", dir.port(), json!({}));
    files.hosts("web", &backends);
    let daemon = daemon(&dir).files(&files.services()).start();
    wait_for_ready(&daemon, "web", &addresses(&backends)).await;
    // While it is being started, a frozen HAProxy is a slow start.
    stage::reloads(&daemon).await;
    let pid = haproxy::info(&daemon.socket()).await.expect("an answer")["Pid"].parse().expect("a process id");
    let pid = nix::unistd::Pid::from_raw(pid);
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGSTOP).expect("our HAProxy");
    let frozen = std::time::Instant::now();
    wait_for_state(&daemon, "HAProxy does not answer", "haproxy_state", |state| state["runtime_error"].is_string())
        .await;
    let noticed = frozen.elapsed();
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGCONT).expect("our HAProxy");
    // 2 s on an idle machine; the time-out of a command is 10 s.
    assert!(noticed < Duration::from_secs(6), "noticed after {noticed:?}");
    wait_for_state(&daemon, "HAProxy answers again", "haproxy_state", |state| state["runtime_error"].is_null()).await;
}
