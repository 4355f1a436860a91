//! proxymgr as a process with its own configuration and directory.

use std::fmt::Display;
use std::fs;
use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Output};
use std::time::Duration;

use nix::sys::signal::Signal;
use nix::unistd::Pid;
use serde_json::{Value, json};

use super::dir::TestDir;
use super::eventually::{check, eventually_or};
use super::haproxy::{self, HaproxyVersion};
use super::http;
use super::process::{self, Process};

/// Time-out until the HAProxy of the daemon answers.
const START_LIMIT: Duration = Duration::from_secs(15);

/// Settings and arguments of a daemon; see [`Daemon::builder`].
#[derive(Clone, Debug)]
pub struct DaemonBuilder {
    binary: PathBuf,
    dir: TestDir,
    settings: Value,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    status: SocketAddr,
}

/// A running daemon. When it is dropped, its HAProxy processes end, too.
#[derive(Debug)]
pub struct Daemon {
    builder: DaemonBuilder,
    process: Process,
}

impl DaemonBuilder {
    /// The HAProxy binary; the installed one by default.
    pub fn haproxy(self, version: &HaproxyVersion) -> Self {
        self.set("haproxy.path", json!(version.path))
    }

    /// Services are znodes below `path`.
    pub fn zookeeper(self, servers: &str, path: &str) -> Self {
        self.set("service_config", json!({"type": "zookeeper", "servers": servers, "path": path}))
    }

    /// Services are files in a directory.
    pub fn files(self, directory: &Path) -> Self {
        self.set("service_config", json!({"type": "file", "path": directory}))
    }

    /// Any setting: `set("haproxy.reload_interval", json!("200ms"))`.
    pub fn set(mut self, key: &str, value: Value) -> Self {
        let mut place = &mut self.settings;
        for part in key.split('.') {
            place = &mut place[part];
        }
        *place = value;
        self
    }

    /// Removes a setting, so that its default applies.
    pub fn unset(mut self, key: &str) -> Self {
        let (section, name) =
            key.rsplit_once('.').map_or((String::new(), key), |(s, n)| (format!("/{}", s.replace('.', "/")), n));
        if let Some(section) = self.settings.pointer_mut(&section).and_then(Value::as_object_mut) {
            section.remove(name);
        }
        self
    }

    /// An argument after `run -c FILE`.
    pub fn arg(mut self, argument: &str) -> Self {
        self.arguments.push(argument.to_owned());
        self
    }

    /// An environment variable. Variables `PROXYMGR_...` of the test process are not inherited.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Path of the settings: `proxymgr.yml` in the directory of the daemon.
    pub fn config_path(&self) -> PathBuf {
        self.dir.join("proxymgr.yml")
    }

    /// The stats socket of its HAProxy.
    pub fn socket(&self) -> PathBuf {
        PathBuf::from(self.settings["haproxy"]["socket_path"].as_str().expect("socket_path is set"))
    }

    /// Writes the settings.
    pub fn write_config(&self) -> PathBuf {
        let text = serde_saphyr::to_string(&self.settings).expect("settings can be written as YAML");
        self.dir.write("proxymgr.yml", text)
    }

    /// Writes the settings and starts `proxymgr run -c proxymgr.yml`. Returns at once.
    pub fn start(self) -> Daemon {
        self.write_config();
        self.start_as_written()
    }

    /// Like [`DaemonBuilder::start`], with the existing file at [`DaemonBuilder::config_path`].
    pub fn start_as_written(self) -> Daemon {
        let process = self.spawn();
        Daemon { builder: self, process }
    }

    /// Runs another command with the same settings to its end: `run_command(&["check"])`.
    pub async fn run_command(&self, arguments: &[&str]) -> Output {
        self.write_config();
        let mut command = self.command(arguments);
        process::mark(&mut command, &self.dir);
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        let run = tokio::task::spawn_blocking(move || command.output());
        let output = run.await.expect("no panic in running a command");
        output.unwrap_or_else(|error| panic!("run {} {arguments:?}: {error}", self.binary.display()))
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.binary);
        command.args(arguments).arg("-c").arg(self.config_path()).current_dir(self.dir.path());
        command
    }

    fn spawn(&self) -> Process {
        let mut command = self.command(&["run"]);
        command.args(&self.arguments);
        Process::start_with_env(&self.dir, "proxymgr", command, &self.environment)
    }
}

impl Daemon {
    /// A daemon that will run `binary` (`env!("CARGO_BIN_EXE_proxymgr")`, which Cargo gives to tests
    /// and benches) in a directory of its own, with the installed HAProxy and short intervals.
    pub fn builder(binary: impl AsRef<Path>, dir: &TestDir) -> DaemonBuilder {
        let root = dir.path().to_owned();
        let dir = dir.subdir(&format!("proxymgr-{}", dir.port()));
        let status = SocketAddr::from((Ipv4Addr::LOCALHOST, dir.port()));
        let settings = json!({
            "haproxy": {
                "path": haproxy::installed().path,
                "config_path": dir.join("haproxy.cfg"),
                "socket_path": dir.join("haproxy.sock"),
                "global": [],
                "defaults": ["mode http", "timeout connect 2s", "timeout client 30s", "timeout server 30s"],
                "reload_interval": "200ms",
                "environment": [process::MARK],
                "stop_timeout": "2s",
            },
            "status": { "listen": status.to_string() },
            "state_dir": dir.join("state"),
            "discovery": { "file_root": root },
        });
        let binary = binary.as_ref().to_path_buf();
        DaemonBuilder { binary, dir, settings, arguments: Vec::new(), environment: Vec::new(), status }
    }

    /// Its process id.
    pub fn pid(&self) -> Pid {
        self.process.pid()
    }

    /// Its directory, with `proxymgr.yml`, `proxymgr.log`, `haproxy.cfg`, `haproxy.sock`, `state/`.
    pub fn dir(&self) -> &TestDir {
        &self.builder.dir
    }

    /// The stats socket of its HAProxy.
    pub fn socket(&self) -> PathBuf {
        self.builder.socket()
    }

    /// The configuration that it wrote for HAProxy.
    pub fn haproxy_config(&self) -> String {
        let path = self.builder.settings["haproxy"]["config_path"].as_str().expect("config_path is set");
        fs::read_to_string(path).unwrap_or_else(|error| panic!("read {path}: {error}"))
    }

    /// Its log so far, including earlier runs.
    pub fn log(&self) -> String {
        self.process.log()
    }

    /// Sends it a signal.
    pub fn signal(&mut self, signal: Signal) {
        self.process.signal(signal);
    }

    /// Its exit status, if it has exited.
    pub fn exit_status(&mut self) -> Option<ExitStatus> {
        self.process.exit_status()
    }

    /// Waits until it has exited; panics with its log after `limit`.
    pub async fn wait_exit(&mut self, limit: Duration) -> ExitStatus {
        self.process.wait_exit(limit).await
    }

    /// Sends SIGTERM and waits until it has exited.
    pub async fn terminate(&mut self) -> ExitStatus {
        self.signal(Signal::SIGTERM);
        self.wait_exit(Duration::from_secs(15)).await
    }

    /// Kills the daemon only, like a crash: its HAProxy keeps running.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Starts it again, after it has exited, with the same settings and files.
    pub fn start_again(&mut self) {
        assert!(self.process.exit_status().is_some(), "the daemon runs still");
        self.process = self.builder.spawn();
    }

    /// Changes a setting in its file; the daemon reads it at SIGHUP or at its next start.
    pub fn rewrite(&mut self, key: &str, value: Value) {
        self.builder = self.builder.clone().set(key, value);
        self.builder.write_config();
    }

    /// Runs another command with the same settings to its end: `run_command(&["status", "--json"])`.
    pub async fn run_command(&self, arguments: &[&str]) -> Output {
        self.builder.run_command(arguments).await
    }

    /// Waits until its HAProxy answers; returns HAProxy's pid.
    pub async fn wait_until_haproxy_answers(&mut self) -> Pid {
        let socket = self.socket();
        let answers =
            self.eventually(START_LIMIT, "HAProxy answers on its socket", async || haproxy::info(&socket).await);
        let info = answers.await;
        Pid::from_raw(info["Pid"].parse().expect("a pid is a number"))
    }

    /// Address of its status listener.
    pub fn status_address(&self) -> SocketAddr {
        self.builder.status
    }

    /// `GET /api/v1/status`.
    pub async fn status_json(&self) -> Result<Value, String> {
        let response = http::get(self.builder.status, "/api/v1/status").await.map_err(|error| error.to_string())?;
        if response.status != 200 {
            return Err(format!("status {}: {}", response.status, response.text()));
        }
        serde_json::from_slice(&response.body).map_err(|error| format!("{error} in {}", response.text()))
    }

    /// Waits until the status shows this refusal, and asserts that the secret is in no status, log or file.
    pub async fn assert_secret_is_hidden(&self, secret: &str, refusal: &str) {
        let refused = async || {
            let status = self.status_json().await?.to_string();
            check(status.contains(refusal), &status).map(|()| status)
        };
        let status = self.eventually(Duration::from_secs(20), "the refusal is shown", refused).await;
        let command = self.run_command(&["status", "--json"]).await;
        let printed = String::from_utf8_lossy(&[command.stdout, command.stderr].concat()).into_owned();
        let [settings, config] =
            ["proxymgr.yml", "haproxy.cfg"].map(|file| fs::read_to_string(self.dir().join(file)).unwrap_or_default());
        for text in [status, printed, self.log(), settings, config] {
            assert!(!text.contains(secret), "{text}");
        }
    }

    /// Like [`super::eventually::eventually`]; a failure shows the end of the log of the daemon.
    #[track_caller]
    pub fn eventually<T, E: Display>(
        &self,
        limit: Duration,
        what: &str,
        probe: impl AsyncFnMut() -> Result<T, E>,
    ) -> impl Future<Output = T> {
        eventually_or(limit, what, probe, || format!("-- the daemon's log:\n{}", self.process.log_tail()))
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.process.kill();
        process::sweep(self.builder.dir.path());
    }
}
