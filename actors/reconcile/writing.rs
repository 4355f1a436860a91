//! Writes the files after changes: haproxy.cfg, HAProxy's state file, the saved state.

use std::time::Duration;

use super::effect::{Effect, info, warn};
use super::state::State;
use crate::model::Moment;
use crate::port::{ConfigText, RuntimeError, SavedState};

impl State {
    /// Returns the file of the running process, with its changes since; `None` where there is no process.
    pub(super) fn running_text(&self) -> Option<ConfigText> {
        Some(self.running()?.text(&self.files.certificates.stapled))
    }

    /// Writes the files that are out of date and due.
    pub(super) fn write_files(&mut self, now: Moment) {
        if self.files.saved.begin(now.instant) {
            let state = self.state_to_save();
            self.outbox.push(Effect::SaveState(state));
        }
        if !self.deploys() || self.deployment.is_some() {
            return;
        }
        if self.running().is_some()
            && self.files.config.begin(now.instant)
            && let Some(text) = self.running_text()
        {
            self.outbox.push(Effect::WriteConfigFile(text));
        }
        self.follow_health(now);
    }

    /// Returns the state for the next run of the daemon. It contains the applied definitions: a new definition may need
    /// a port that is in use at the next start, while the applied one still works.
    pub(super) fn state_to_save(&self) -> SavedState {
        let sections = self.running().map(|running| &running.sections);
        self.desired.to_save(|service| {
            let section = sections.and_then(|sections| sections.get(&service.definition.name));
            let applies = section.map(|section| &section.definition).or(service.earlier.definition.as_ref());
            // In an external HAProxy no definition is applied by the daemon; hosts and limits follow the newest one.
            applies.filter(|_| self.deploys()).unwrap_or(&service.definition).clone()
        })
    }

    pub(super) fn config_file_written(&mut self, result: Result<(), String>, took: Duration, now: Moment) {
        let error = result.clone().err();
        if !self.files.config.written(result, took, now) {
            return;
        }
        self.outbox.log(match error {
            None => info("the configuration file can be written again"),
            Some(error) => {
                let message = "the configuration file cannot be written, the running HAProxy is up to date";
                warn(message).with("error", error)
            }
        });
    }

    /// Updates the state file after a change of server health.
    fn follow_health(&mut self, now: Moment) {
        if !self.process.is_serving() || self.settings.base.state_file.is_none() {
            return;
        }
        if let Some(running) = self.process.running_mut().filter(|running| running.health_changed)
            && self.files.states.health_changed(now.instant)
        {
            running.health_changed = false;
        }
        if self.files.states.begin(now.instant) {
            self.outbox.push(Effect::ReadServerStates { pid: self.pid() });
        }
    }

    /// Handles the reported states of the servers. A deployment writes the file itself, for the new process.
    pub(super) fn server_states_read(&mut self, (pid, result): (Option<u32>, Result<String, RuntimeError>)) {
        let path = self.settings.base.state_file.as_deref();
        let is_same = self.deployment.is_none() && self.process.is_serving() && self.pid() == pid;
        let (Some(path), Ok(states), true, Some(running)) = (path, result, is_same, self.running()) else {
            // The runtime lane reports and retries a HAProxy that does not answer.
            self.files.states.given_up();
            if let Some(running) = self.process.running_mut() {
                running.health_changed = true;
            }
            return;
        };
        let path = path.to_owned();
        let hosts = running.sections.iter().map(|(name, section)| (name.clone(), section.file.hosts.clone())).collect();
        self.outbox.push(Effect::WriteStateFile { path, states, hosts });
    }

    pub(super) fn state_file_written(&mut self, result: Result<(), String>, now: Moment) {
        let error = result.clone().err();
        if !self.files.states.written(result, now) {
            return;
        }
        self.outbox.log(match error {
            None => info("the state file can be written again"),
            Some(error) => {
                warn("the state file cannot be written, the health of servers cannot be kept across a crash of HAProxy")
                    .with("error", error)
            }
        });
    }

    pub(super) fn state_saved(&mut self, result: Result<(), String>, now: Moment) {
        let error = result.clone().err();
        if self.files.saved.saved(result, now)
            && let Some(error) = error
        {
            let message = "the last good state cannot be saved, a restart of the daemon would lose it";
            self.outbox.log(warn(message).with("error", error));
        }
    }
}
