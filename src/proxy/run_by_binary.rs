//! `haproxy.run: binary`: HAProxy's program runs in the background under its own master process (`-W -D`). A new one
//! takes over the listening sockets (`-x`) and asks the previous one to finish (`-sf`).

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use proxymgr_actors::port::PortFuture;
use slog::Logger;

use super::command;
use super::haproxy_binary::HaproxyBinary;
use super::ordered_processes::{OrderedProcesses, Runner};
use super::process_lookup;
use crate::settings::CommandLine;

/// Returns the HAProxy that `binary` runs on the configuration at `config_path`. It must go into the background within
/// `limit`.
pub fn processes(
    binary: &HaproxyBinary,
    pid_file: &Path,
    limit: Duration,
    config_path: &Path,
    socket_path: &Path,
    log: Logger,
) -> OrderedProcesses {
    let program = Program {
        binary: binary.clone(),
        pid_file: pid_file.to_owned(),
        limit,
        config_path: config_path.to_owned(),
        socket_path: socket_path.to_owned(),
        log: log.clone(),
    };
    OrderedProcesses::of(program, config_path, socket_path, log)
}

struct Program {
    binary: HaproxyBinary,
    pid_file: PathBuf,
    limit: Duration,
    config_path: PathBuf,
    socket_path: PathBuf,
    log: Logger,
}

impl Runner for Program {
    fn bring_up(&self, serving: Option<u32>) -> PortFuture<Result<(), String>> {
        let line = self.command_line(serving);
        let (limit, log) = (self.limit, self.log.clone());
        Box::pin(async move {
            command::run(&line, "", limit, &log).await.map_err(|failure| format!("haproxy.run: binary: {failure}"))
        })
    }
}

impl Program {
    fn command_line(&self, serving: Option<u32>) -> CommandLine {
        let text = |path: &Path| path.to_string_lossy().into_owned();
        let mut words = vec![text(self.binary.path()), "-W".to_owned(), "-D".to_owned()];
        words.extend(["-p".to_owned(), text(&self.pid_file), "-f".to_owned(), text(&self.config_path)]);
        if serving.is_some() {
            words.extend(["-x".to_owned(), text(&self.socket_path)]);
        }
        let before = self.masters().or(serving.map(|pid| vec![pid])).unwrap_or_default();
        if !before.is_empty() {
            words.push("-sf".to_owned());
            words.extend(before.iter().map(u32::to_string));
        }
        CommandLine { words, shell: false, environment: self.binary.environment().clone() }
    }

    /// Returns the processes in the pid file that still are our HAProxy: a stale pid may belong to another process by
    /// now.
    fn masters(&self) -> Option<Vec<u32>> {
        let text = fs::read_to_string(&self.pid_file).ok()?;
        let pids = text.split_whitespace().filter_map(|pid| pid.parse().ok());
        let ours: Vec<u32> = pids.filter(|pid| process_lookup::runs(*pid, &self.config_path)).collect();
        Some(ours).filter(|ours| !ours.is_empty())
    }
}
