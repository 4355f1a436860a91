//! Child processes that cannot outlive their test.
//!
//! A [`Process`] is killed and reaped when it is dropped. The kernel kills it when the test process dies
//! (`PR_SET_PDEATHSIG`). Grandchildren (such as HAProxy, which survives proxymgr) have the mark of the
//! test directory in their environment, by which [`sweep`] finds them; a [`Watchdog`] sweeps after a
//! killed test.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{OnceLock, mpsc};
use std::time::{Duration, Instant};

use nix::sys::prctl;
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, getpid, getppid};

use super::dir::TestDir;

/// The environment variable that names the test directory a process belongs to.
pub(super) const MARK: &str = "STARTED_BY_TEST_IN";

/// Interval of polling.
const POLL_INTERVAL: Duration = Duration::from_millis(2);

/// A child process of the test, running or not; its output is in a file in the directory of the test.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log_path: PathBuf,
}

impl Process {
    /// Starts a command with its output appended to `NAME.log` in `dir`, without the variables
    /// `PROXYMGR_...`.
    pub fn start(dir: &TestDir, name: &str, command: Command) -> Self {
        Self::start_with_env(dir, name, command, &[])
    }

    /// Like [`Process::start`], with these environment variables.
    pub fn start_with_env(dir: &TestDir, name: &str, mut command: Command, env: &[(String, String)]) -> Self {
        let log_path = dir.join(format!("{name}.log"));
        let log = File::options().create(true).append(true).open(&log_path);
        let log = log.unwrap_or_else(|error| panic!("open {}: {error}", log_path.display()));
        command.stdin(Stdio::null()).stderr(log.try_clone().expect("duplicate a descriptor")).stdout(log);
        mark(&mut command, dir);
        command.envs(env.iter().map(|(name, value)| (name, value)));
        end_with_parent(&mut command);
        let program = command.get_program().to_string_lossy().into_owned();
        let child = spawn_from_lasting_thread(command).unwrap_or_else(|error| panic!("start {program}: {error}"));
        Self { name: name.to_owned(), child, log_path }
    }

    /// Its process id.
    pub fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id().cast_signed())
    }

    /// Sends it a signal, unless it has exited.
    pub fn signal(&mut self, signal: Signal) {
        if self.exit_status().is_none() {
            kill(self.pid(), signal).unwrap_or_else(|error| panic!("send {signal} to {}: {error}", self.name));
            if signal == Signal::SIGSTOP {
                self.wait_until_stopped();
            }
        }
    }

    /// Waits until a stop signal has taken effect; until then the process still answers.
    fn wait_until_stopped(&self) {
        let is_stopped = || {
            let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid())).unwrap_or_default();
            stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('T'))
        };
        let deadline = std::time::Instant::now() + Duration::from_secs(5);
        while !is_stopped() {
            assert!(std::time::Instant::now() < deadline, "{} does not stop", self.name);
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Its exit status, if it has exited; reaps it.
    pub fn exit_status(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap_or_else(|error| panic!("wait for {}: {error}", self.name))
    }

    /// Waits until it has exited; panics with its output after `limit`.
    pub async fn wait_exit(&mut self, limit: Duration) -> ExitStatus {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(status) = self.exit_status() {
                return status;
            }
            let name = &self.name;
            assert!(Instant::now() < deadline, "{name} still runs after {limit:?}; it wrote:\n{}", self.log_tail());
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }

    /// Kills it, frozen or not, and reaps it.
    pub fn kill(&mut self) {
        // An error means that it is reaped already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Its output so far.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log_path).unwrap_or_default()).into_owned()
    }

    /// The last lines of its output.
    pub fn log_tail(&self) -> String {
        tail(&self.log(), 40)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The last `lines` lines of a text.
pub fn tail(text: &str, lines: usize) -> String {
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

/// Adds the mark of the test to a command, and removes settings for other processes.
pub(super) fn mark(command: &mut Command, dir: &TestDir) {
    dir.watch_over_processes();
    for (name, _) in std::env::vars_os() {
        if name.as_bytes().starts_with(b"PROXYMGR_") {
            command.env_remove(name);
        }
    }
    command.env(MARK, dir.path());
}

#[expect(unsafe_code, reason = "what a child does between fork and exec is not checked by the compiler")]
fn end_with_parent(command: &mut Command) {
    let parent = getpid();
    let set_death_signal = move || {
        prctl::set_pdeathsig(Signal::SIGKILL)?;
        // The parent may have died before the signal was set.
        if getppid() == parent { Ok(()) } else { Err(io::ErrorKind::BrokenPipe.into()) }
    };
    // SAFETY: prctl and getppid are async-signal-safe, and the closure allocates nothing.
    unsafe { command.pre_exec(set_death_signal) };
}

/// Spawns from a thread that never ends, because `PR_SET_PDEATHSIG` goes by the *thread* which
/// forked: a worker thread of some runtime may end long before the test.
fn spawn_from_lasting_thread(command: Command) -> io::Result<Child> {
    type Order = (Command, mpsc::Sender<io::Result<Child>>);
    static SPAWNER: OnceLock<mpsc::Sender<Order>> = OnceLock::new();
    let spawner = SPAWNER.get_or_init(|| {
        let (sender, orders) = mpsc::channel::<Order>();
        let serve = move || {
            for (mut command, reply) in orders {
                // The caller is waiting, or has panicked; then the child is not needed.
                if let Err(mpsc::SendError(Ok(mut unwanted))) = reply.send(command.spawn()) {
                    let _ = unwanted.kill();
                    let _ = unwanted.wait();
                }
            }
        };
        std::thread::Builder::new().name("test-spawner".into()).spawn(serve).expect("start a thread");
        sender
    });
    let (reply, child) = mpsc::channel();
    spawner.send((command, reply)).expect("the spawner never ends");
    child.recv().expect("the spawner answers every order")
}

/// Kills all processes of `dir` and its subdirectories, until none is left.
#[allow(clippy::print_stderr, reason = "the reader of a failed test's output needs it")]
pub fn sweep(dir: &Path) {
    let deadline = Instant::now() + Duration::from_secs(5);
    loop {
        let left = processes_of(dir);
        if left.is_empty() {
            return;
        }
        for pid in &left {
            let _ = kill(*pid, Signal::SIGKILL);
        }
        if Instant::now() > deadline {
            eprintln!("cannot end what was started in {}: {left:?}", dir.display());
            return;
        }
        std::thread::sleep(POLL_INTERVAL);
    }
}

/// Processes with the mark of `dir` or a subdirectory, or with a working directory there: nginx overwrites its
/// environment.
pub fn processes_of(dir: &Path) -> Vec<Pid> {
    let belongs = |environment: &[u8]| {
        environment.split(|byte| *byte == 0).any(|variable| {
            variable
                .strip_prefix(MARK.as_bytes())
                .and_then(|rest| rest.strip_prefix(b"="))
                .is_some_and(|owner| Path::new(std::ffi::OsStr::from_bytes(owner)).starts_with(dir))
        })
    };
    let processes = fs::read_dir("/proc").expect("/proc is mounted").flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let works_there = |pid: &i32| fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|cwd| cwd.starts_with(dir));
    let is_marked = |pid: &i32| fs::read(format!("/proc/{pid}/environ")).is_ok_and(|environment| belongs(&environment));
    pids.filter(|pid| is_marked(pid) || works_there(pid)).map(Pid::from_raw).filter(|pid| *pid != getpid()).collect()
}

/// The local ports of a process's TCP sockets: connections and listeners, both IP versions.
pub fn tcp_ports_of(pid: Pid) -> BTreeSet<u16> {
    let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    let inodes: BTreeSet<String> = descriptors
        .filter_map(|descriptor| {
            let target = fs::read_link(descriptor.path()).ok()?;
            Some(target.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned())
        })
        .collect();
    let tables =
        ["tcp", "tcp6"].map(|table| fs::read_to_string(format!("/proc/{pid}/net/{table}")).unwrap_or_default());
    let lines = tables.iter().flat_map(|table| table.lines().skip(1));
    // sl local_address rem_address st tx_queue:rx_queue tr:tm->when retrnsmt uid timeout inode ...
    lines
        .filter_map(|line| {
            let columns: Vec<&str> = line.split_whitespace().collect();
            let (_, port) = columns.get(1)?.rsplit_once(':')?;
            inodes.contains(*columns.get(9)?).then(|| u16::from_str_radix(port, 16).ok())?
        })
        .collect()
}

/// A shell that kills the processes of a killed test.
#[derive(Debug)]
pub(super) struct Watchdog(Child);

impl Watchdog {
    /// Reads from a pipe that ends with the test.
    pub(super) fn start(dir: &Path) -> Self {
        let script = r#"
            read -r _
            for process in /proc/[0-9]*; do
                if tr '\0' '\n' <"$process/environ" | grep -q -e "^$1=$2\$" -e "^$1=$2/"; then
                    kill -9 "${process#/proc/}"
                fi
            done"#;
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script, "watchdog", MARK]).arg(dir);
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        // In another process group, so that signals to the test do not reach it.
        command.process_group(0);
        Self(command.spawn().expect("start /bin/sh"))
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
