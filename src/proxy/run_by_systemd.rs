//! `haproxy.run: systemd`: HAProxy is a unit, which is reloaded if it is active and started otherwise.

use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use proxymgr_actors::port::PortFuture;
use slog::Logger;

use super::command::{self, CommandFailure};
use super::ordered_processes::{OrderedProcesses, Runner};
use crate::child_environment::ChildEnvironment;
use crate::settings::CommandLine;

/// Returns the HAProxy that this unit runs on the configuration at `config_path`. `limit` applies to each call of
/// `systemctl`.
pub fn processes(unit: &str, limit: Duration, config_path: &Path, socket_path: &Path, log: Logger) -> OrderedProcesses {
    let runner = Systemd { unit: unit.into(), limit, log: log.clone() };
    OrderedProcesses::of(runner, config_path, socket_path, log)
}

struct Systemd {
    unit: Rc<str>,
    limit: Duration,
    log: Logger,
}

impl Runner for Systemd {
    fn bring_up(&self, _: Option<u32>) -> PortFuture<Result<(), String>> {
        let (unit, limit, log) = (self.unit.clone(), self.limit, self.log.clone());
        Box::pin(async move {
            let reported = |failure: CommandFailure| format!("haproxy.unit: {failure}; see `journalctl -u {unit}`");
            let verb = match command::run(&systemctl(&["is-active", "--quiet"], &unit), "", limit, &log).await {
                Ok(()) => "reload",
                Err(CommandFailure::Ended { .. }) => "start",
                Err(failure) => return Err(reported(failure)),
            };
            command::run(&systemctl(&[verb], &unit), "", limit, &log).await.map_err(reported)
        })
    }
}

fn systemctl(arguments: &[&str], unit: &str) -> CommandLine {
    let words = ["systemctl", "--no-ask-password"].iter().chain(arguments).chain([&unit]);
    CommandLine {
        words: words.map(|word| (*word).to_owned()).collect(),
        shell: false,
        environment: ChildEnvironment::default(),
    }
}
