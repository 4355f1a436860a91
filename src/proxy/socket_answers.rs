//! Collects what is read from the answers of HAProxy's Runtime API, line by line.

use proxymgr_actors::decide::servers_state::ServerStateReader;
use proxymgr_actors::model::{Observation, ProcessInfo, ProxyVersion};

/// The servers read so far, and the first error.
#[derive(Default)]
pub(super) struct Reading {
    pub(super) servers: ServerStateReader,
    /// How many answers have ended.
    pub(super) answered: usize,
    problem: Option<String>,
}

impl Reading {
    pub(super) fn server_line(&mut self, line: &str) {
        if line == "Permission denied" {
            self.problem.get_or_insert_with(|| "permission denied: the stats socket needs `level admin`".to_owned());
        } else if let Err(problem) = self.servers.line(line) {
            self.problem.get_or_insert(problem);
        }
    }

    pub(super) fn finish(self) -> Result<Observation, String> {
        match self.problem {
            Some(problem) => Err(problem),
            None => Ok(self.servers.finish()),
        }
    }
}

/// The values read from `show info`.
#[derive(Default)]
pub(super) struct Info {
    pid: Option<u32>,
    version_text: Option<String>,
    uptime_s: Option<u64>,
    stopping: Option<bool>,
}

impl Info {
    pub(super) fn line(&mut self, line: &str) {
        match line.split_once(": ") {
            Some(("Pid", value)) => self.pid = value.parse().ok(),
            Some(("Version", value)) => self.version_text = Some(value.to_owned()),
            Some(("Uptime_sec", value)) => self.uptime_s = value.parse().ok(),
            Some(("Stopping", value)) => self.stopping = Some(value != "0"),
            _ => {}
        }
    }

    pub(super) fn finish(self) -> Result<ProcessInfo, String> {
        let lacks = |what: &str| format!("`show info` has no usable {what}; is this HAProxy's stats socket?");
        let version_text = self.version_text.ok_or_else(|| lacks("Version"))?;
        Ok(ProcessInfo {
            pid: self.pid.ok_or_else(|| lacks("Pid"))?,
            version: ProxyVersion::parse(&version_text).ok_or_else(|| lacks("Version"))?,
            version_text,
            uptime_s: self.uptime_s.ok_or_else(|| lacks("Uptime_sec"))?,
            stopping: self.stopping.ok_or_else(|| lacks("Stopping"))?,
        })
    }
}
