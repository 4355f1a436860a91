//! `haproxy.run: command`: an operator's commands start and reload HAProxy, on any machine.

use std::path::Path;
use std::time::Duration;

use proxymgr_actors::port::PortFuture;
use slog::Logger;

use super::command;
use super::ordered_processes::{OrderedProcesses, Runner};
use crate::settings::CommandLine;

/// Returns the HAProxy that these commands start and reload, on the configuration at `config_path`. `limit` applies to
/// each command.
pub fn processes(
    start: Option<&CommandLine>,
    reload: &CommandLine,
    limit: Duration,
    config_path: &Path,
    socket_path: &Path,
    log: Logger,
) -> OrderedProcesses {
    let commands = Commands { start: start.cloned(), reload: reload.clone(), limit, log: log.clone() };
    OrderedProcesses::of(commands, config_path, socket_path, log)
}

struct Commands {
    start: Option<CommandLine>,
    reload: CommandLine,
    limit: Duration,
    log: Logger,
}

impl Runner for Commands {
    fn bring_up(&self, serving: Option<u32>) -> PortFuture<Result<(), String>> {
        let (key, line) = match &self.start {
            Some(start) if serving.is_none() => ("haproxy.start_command", start.clone()),
            _ => ("haproxy.reload_command", self.reload.clone()),
        };
        let (limit, log) = (self.limit, self.log.clone());
        Box::pin(
            async move { command::run(&line, "", limit, &log).await.map_err(|failure| format!("{key}: {failure}")) },
        )
    }
}
