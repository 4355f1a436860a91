//! A real supervisord in the directory of the test, for the shipped program configuration.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use nix::sys::signal::Signal;
use nix::unistd::Pid;

use super::dir::TestDir;
use super::eventually::{check, eventually_or};
use super::process::{self, Process};

/// Time-out for the start of supervisord and for each state.
const LIMIT: Duration = Duration::from_secs(20);

/// A supervisord with one included file. Its programs end with it.
#[derive(Debug)]
pub struct Supervisord {
    dir: TestDir,
    config_path: PathBuf,
    process: Process,
}

impl Supervisord {
    /// Starts it with a program configuration in which each `from` is replaced by its `to`: installed
    /// paths by those of the test. Each `from` must occur.
    pub async fn start(dir: &TestDir, program: &str, replace: &[(&str, &str)]) -> Self {
        let dir = dir.subdir("supervisord");
        let mut program = program.to_owned();
        for (from, to) in replace {
            assert!(program.contains(from), "the program configuration has no {from:?}:\n{program}");
            program = program.replace(from, to);
        }
        let included = dir.write("program.conf", program);
        let config_path = dir.write("supervisord.conf", main_config(&dir, &included));
        let mut command = Command::new("supervisord");
        command.args(["--nodaemon", "--configuration"]).arg(&config_path).current_dir(dir.path());
        let process = Process::start(&dir, "supervisord-output", command);
        let supervisord = Self { dir, config_path, process };
        let answers = async || {
            let answer = supervisord.ctl(&["pid"]).await;
            answer.trim().parse::<u32>().map_err(|_| answer)
        };
        eventually_or(LIMIT, "supervisord answers", answers, || supervisord.process.log_tail()).await;
        supervisord
    }

    /// Runs `supervisorctl` and returns its output.
    pub async fn ctl(&self, arguments: &[&str]) -> String {
        let mut command = Command::new("supervisorctl");
        command.arg("--configuration").arg(&self.config_path).args(arguments);
        let run = tokio::task::spawn_blocking(move || command.output());
        let output = run.await.expect("no panic in running a command");
        let output = output.unwrap_or_else(|error| panic!("run supervisorctl {arguments:?}: {error}"));
        String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
    }

    /// State of a program: `RUNNING`, `STOPPED`, `BACKOFF`, `FATAL`, `STARTING`, `EXITED` ...
    pub async fn state(&self, program: &str) -> String {
        // "proxymgr   RUNNING   pid 4711, uptime 0:00:03"
        let status = self.ctl(&["status", program]).await;
        status.split_whitespace().nth(1).unwrap_or_default().to_owned()
    }

    /// Waits for a state of a program.
    pub async fn wait_for_state(&self, program: &str, state: &str) {
        let what = format!("supervisord has {program} {state}");
        let reached = async || {
            let seen = self.state(program).await;
            check(seen == state, &seen)
        };
        eventually_or(LIMIT, &what, reached, || self.log_tail()).await;
    }

    /// Process id of a running program.
    pub async fn pid(&self, program: &str) -> Option<Pid> {
        let answer = self.ctl(&["pid", program]).await;
        answer.trim().parse().ok().filter(|pid| *pid > 0).map(Pid::from_raw)
    }

    /// Stops supervisord, which stops its programs first.
    pub async fn terminate(&mut self) {
        self.process.signal(Signal::SIGTERM);
        self.process.wait_exit(LIMIT).await;
    }

    /// Directory of its files.
    pub fn dir(&self) -> &TestDir {
        &self.dir
    }

    fn log_tail(&self) -> String {
        format!("-- supervisord:\n{}", self.process.log_tail())
    }
}

impl Drop for Supervisord {
    fn drop(&mut self) {
        self.process.kill();
        process::sweep(self.dir.path());
    }
}

fn main_config(dir: &TestDir, included: &Path) -> String {
    let directory = dir.path().display();
    format!(
        "[unix_http_server]\nfile={directory}/supervisor.sock\nchmod=0600\n\n\
         [supervisord]\nlogfile={directory}/supervisord.log\npidfile={directory}/supervisord.pid\n\
         childlogdir={directory}\nnodaemon=true\n\n\
         [rpcinterface:supervisor]\n\
         supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface\n\n\
         [supervisorctl]\nserverurl=unix://{directory}/supervisor.sock\n\n\
         [include]\nfiles={}\n",
        included.display()
    )
}
