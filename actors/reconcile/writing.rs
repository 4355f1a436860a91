//! Writes what follows every change: haproxy.cfg, HAProxy's state file, the saved state.

use tokio::time::Duration;

use super::effect::{Effect, info, warn};
use super::observed::Running;
use super::state::State;
use super::time::Now;
use crate::decide::state_file;
use crate::port::{RuntimeError, SavedState};

impl State {
    /// Writes what is behind and due.
    pub(super) fn write_files(&mut self, now: Now) {
        if self.files.saved.begin(now.instant) {
            let state = self.state_to_save();
            self.outbox.push(Effect::SaveState(state));
        }
        if !self.deploys() || self.deployment.is_some() {
            return;
        }
        if self.running().is_some()
            && self.files.config.begin(now.instant)
            && let Some(text) = self.running().map(Running::text)
        {
            self.outbox.push(Effect::WriteConfigFile(text));
        }
        self.follow_health(now);
    }

    /// What the next run of the daemon needs. Of definitions it is those that apply: what cannot be applied, or is not yet,
    /// may meet a taken port there, and the service is served all the same.
    pub(super) fn state_to_save(&self) -> SavedState {
        let sections = self.running().map(|running| &running.sections);
        self.desired.to_save(|service| {
            let section = sections.and_then(|sections| sections.get(&service.definition.name));
            let applies = section.map(|section| &section.definition).or(service.earlier.definition.as_ref());
            // Whoever manages HAProxy decides how it is served; its hosts and limits are as its newest definition says.
            applies.filter(|_| self.deploys()).unwrap_or(&service.definition).clone()
        })
    }

    pub(super) fn config_file_written(&mut self, result: Result<(), String>, took: Duration, now: Now) {
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

    /// Has the state file follow, where the health of servers changed.
    fn follow_health(&mut self, now: Now) {
        if !self.process.is_serving() || state_file::in_use(&self.settings.policy.frame).is_none() {
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

    /// HAProxy reported the states of its servers. A deployment writes the file itself, with what is true for the process
    /// to come.
    pub(super) fn server_states_read(&mut self, (pid, result): (Option<u32>, Result<String, RuntimeError>)) {
        let path = state_file::in_use(&self.settings.policy.frame);
        let is_same = self.deployment.is_none() && self.process.is_serving() && self.pid() == pid;
        let (Some(path), Ok(states), true, Some(running)) = (path, result, is_same, self.running()) else {
            // Whatever hangs there is reported, and tried again, where changes are made.
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

    pub(super) fn state_file_written(&mut self, result: Result<(), String>, now: Now) {
        let error = result.clone().err();
        if !self.files.states.written(result, now) {
            return;
        }
        self.outbox.log(match error {
            None => info("the state file can be written again"),
            Some(error) => {
                warn("the health of servers cannot be kept for a HAProxy process after a crash").with("error", error)
            }
        });
    }

    pub(super) fn state_saved(&mut self, result: Result<(), String>, now: Now) {
        let error = result.clone().err();
        if self.files.saved.saved(result, now)
            && let Some(error) = error
        {
            let message = "the last good state cannot be saved, a restart would not have it";
            self.outbox.log(warn(message).with("error", error));
        }
    }
}
