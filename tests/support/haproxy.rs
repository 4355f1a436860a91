//! HAProxy: available versions, a running process, the answers of its socket.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use nix::sys::signal::Signal;
use nix::unistd::Pid;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use super::dir::TestDir;
use super::eventually::eventually_or;
use super::process::Process;

/// A HAProxy binary.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct HaproxyVersion {
    /// Its branch, for comparison: (2, 6).
    pub branch: (u16, u16),
    /// Its full version: `2.6.12`.
    pub label: String,
    /// Its path.
    pub path: PathBuf,
}

impl HaproxyVersion {
    /// Reads the version of a binary.
    pub fn of(path: &Path) -> Result<Self, String> {
        let output = Command::new(path).arg("-v").output();
        let output = output.map_err(|error| format!("{}: {error}", path.display()))?;
        let text = String::from_utf8_lossy(&output.stdout);
        // "HA-Proxy version 2.2.9-2+deb11u6 2023/12/23 - ...", and "HAProxy" from 2.4
        let version = text.split_whitespace().nth(2).unwrap_or_default();
        let label = version.split(['-', '+']).next().unwrap_or_default().to_owned();
        let mut numbers = label.split('.').map_while(|number| number.parse().ok());
        match (numbers.next(), numbers.next()) {
            (Some(major), Some(minor)) => Ok(Self { branch: (major, minor), label, path: path.to_path_buf() }),
            _ => Err(format!("{}: no version in {text:?}", path.display())),
        }
    }

    /// Whether it supports `add server` and `del server`.
    pub fn adds_servers(&self) -> bool {
        self.branch >= (2, 6)
    }
}

impl fmt::Display for HaproxyVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HAProxy {}", self.label)
    }
}

/// The installed HAProxy.
pub fn installed() -> HaproxyVersion {
    let search = std::env::var_os("PATH").unwrap_or_default();
    let directories =
        std::env::split_paths(&search).chain([PathBuf::from("/usr/sbin"), PathBuf::from("/usr/local/sbin")]);
    let path = directories.map(|directory| directory.join("haproxy")).find(|path| path.is_file());
    let path = path.expect("no haproxy on this machine: run tests/setup/install.sh test");
    HaproxyVersion::of(&path).unwrap_or_else(|error| panic!("{error}"))
}

/// All versions to test with, oldest first: the installed one and those that `make test-versions`
/// fetched to `.cache/haproxy` (or to `PROXYMGR_TEST_HAPROXY_DIR`).
pub fn versions() -> Vec<HaproxyVersion> {
    let cache = std::env::var_os("PROXYMGR_TEST_HAPROXY_DIR")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join(".cache/haproxy"), PathBuf::from);
    let fetched = std::fs::read_dir(cache).into_iter().flatten().flatten();
    let fetched = fetched.map(|entry| entry.path().join("haproxy")).filter(|path| path.is_file());
    let mut versions = vec![installed()];
    for path in fetched {
        let version = HaproxyVersion::of(&path).unwrap_or_else(|error| panic!("{error}"));
        if !versions.iter().any(|known| known.label == version.label) {
            versions.push(version);
        }
    }
    versions.sort();
    versions
}

/// The newest version to test with that `wanted` accepts.
pub fn newest(wanted: impl Fn(&HaproxyVersion) -> bool) -> Option<HaproxyVersion> {
    versions().into_iter().rfind(wanted)
}

/// A HAProxy process of the test, with its own configuration.
#[derive(Debug)]
pub struct RunningHaproxy {
    /// Its stats socket, of level admin.
    pub socket: PathBuf,
    process: Process,
}

impl RunningHaproxy {
    /// Starts it and waits until it answers. A `global` section with the stats socket precedes
    /// `config`.
    pub async fn start(dir: &TestDir, version: &HaproxyVersion, config: &str) -> Self {
        let dir = dir.subdir(&format!("haproxy-{}", version.label));
        let socket = dir.join("haproxy.sock");
        let global = format!("global\n    stats socket {} mode 600 level admin\n", socket.display());
        let config_path = dir.write("haproxy.cfg", format!("{global}\n{config}\n"));
        let mut command = Command::new(&version.path);
        command.args(["-db", "-f"]).arg(config_path);
        let mut process = Process::start(&dir, "haproxy", command);
        let log = |process: &Process| format!("its output:\n{}", process.log_tail());
        let answers = async {
            loop {
                if let Some(status) = process.exit_status() {
                    panic!("{version} ended with {status}; {}", log(&process));
                }
                if info(&socket).await.is_ok() {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(3)).await;
            }
        };
        let in_time = tokio::time::timeout(Duration::from_secs(10), answers).await;
        assert!(in_time.is_ok(), "{version} does not answer on its socket; {}", log(&process));
        Self { socket, process }
    }

    /// Its process id.
    pub fn pid(&self) -> Pid {
        self.process.pid()
    }

    /// Sends it a signal.
    pub fn signal(&mut self, signal: Signal) {
        self.process.signal(signal);
    }

    /// Its process.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }
}

/// Sends one command (or several joined by `;`) on a new connection and reads the whole answer.
pub async fn runtime(socket: &Path, command: &str) -> io::Result<String> {
    let exchange = async {
        let mut stream = UnixStream::connect(socket).await?;
        stream.write_all(format!("{command}\n").as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok(answer)
    };
    let limit = Duration::from_secs(5);
    tokio::time::timeout(limit, exchange).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

/// `show info` as a map: `Pid`, `Version`, `Uptime_sec`, `Stopping`, `CurrConns` ...
pub async fn info(socket: &Path) -> io::Result<BTreeMap<String, String>> {
    let answer = runtime(socket, "show info").await?;
    let pairs = answer.lines().filter_map(|line| line.split_once(": "));
    let info: BTreeMap<_, _> = pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    if info.contains_key("Pid") { Ok(info) } else { Err(io::Error::other(format!("no Pid in {answer:?}"))) }
}

/// Waits until HAProxy answers on its socket; returns its pid.
pub async fn wait_until_answering(socket: &Path, limit: Duration, context: impl FnOnce() -> String) -> Pid {
    let what = format!("HAProxy answers on {}", socket.display());
    let info = eventually_or(limit, &what, async || info(socket).await, context).await;
    Pid::from_raw(info["Pid"].parse().expect("a pid is a number"))
}

/// One server of `show servers state`, with columns by name.
#[derive(Clone, PartialEq, Eq)]
pub struct ServerLine(BTreeMap<String, String>);

impl ServerLine {
    /// A column: `be_name`, `srv_name`, `srv_addr`, `srv_port`, `srv_uweight` ...
    pub fn column(&self, name: &str) -> &str {
        self.0.get(name).unwrap_or_else(|| panic!("no column {name} in {:?}", self.0))
    }

    fn number(&self, name: &str) -> u32 {
        self.column(name).parse().unwrap_or_else(|_| panic!("{name} is no number in {:?}", self.0))
    }

    /// Name of the backend.
    pub fn backend(&self) -> &str {
        self.column("be_name")
    }

    /// Name of the server.
    pub fn name(&self) -> &str {
        self.column("srv_name")
    }

    /// Its address without the port.
    pub fn address(&self) -> &str {
        self.column("srv_addr")
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        u16::try_from(self.number("srv_port")).expect("a port has 16 bits")
    }

    /// Its configured weight.
    pub fn weight(&self) -> u32 {
        self.number("srv_uweight")
    }

    /// Whether it is in maintenance: forced, inherited or by resolution.
    pub fn is_in_maintenance(&self) -> bool {
        self.number("srv_admin_state") & 0x23 != 0
    }

    /// Whether it drains: forced or inherited.
    pub fn is_draining(&self) -> bool {
        self.number("srv_admin_state") & 0x18 != 0
    }

    /// Whether it is neither in maintenance nor draining.
    pub fn is_ready(&self) -> bool {
        !self.is_in_maintenance() && !self.is_draining()
    }
}

impl fmt::Debug for ServerLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match (self.is_in_maintenance(), self.is_draining()) {
            (true, _) => "maintenance",
            (_, true) => "drain",
            _ => "ready",
        };
        let (backend, name, address) = (self.backend(), self.name(), self.address());
        write!(f, "{backend}/{name} {address}:{} weight {} {state}", self.port(), self.weight())
    }
}

/// All servers of all backends.
pub async fn servers_state(socket: &Path) -> io::Result<Vec<ServerLine>> {
    let answer = runtime(socket, "show servers state").await?;
    // "1" (the format), "# be_id be_name ...", then one line per server
    let mut lines = answer.lines().skip_while(|line| !line.starts_with("# "));
    let header = lines.next().ok_or_else(|| io::Error::other(format!("no header in {answer:?}")))?;
    let names: Vec<&str> = header.trim_start_matches("# ").split_whitespace().collect();
    let servers = lines.filter(|line| !line.trim().is_empty()).map(|line| {
        let values = line.split_whitespace().map(str::to_owned);
        ServerLine(names.iter().map(|name| (*name).to_owned()).zip(values).collect())
    });
    Ok(servers.collect())
}

/// The servers of one backend that take traffic, as `address:port`, sorted.
pub async fn ready_servers(socket: &Path, backend: &str) -> io::Result<Vec<String>> {
    let servers = servers_state(socket).await?;
    let ready = servers.iter().filter(|server| server.backend() == backend && server.is_ready());
    let mut addresses: Vec<String> = ready.map(|server| format!("{}:{}", server.address(), server.port())).collect();
    addresses.sort();
    Ok(addresses)
}
