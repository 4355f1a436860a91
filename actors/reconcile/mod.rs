//! The reconciler keeps one HAProxy in sync with the desired state. It is pure: no actix, no I/O, no clock.
//!
//! ```text
//! Input  -> Reconciler::on           events and answers change the state
//!           Reconciler::next_effects what is to be done now
//! Effect <-                          carried out by the actor, answered by another Input
//! ```
//!
//! Two lanes are independent: the *runtime lane* (`exchange`, `commands`, `routes`, `observation`, `attachment`) talks
//! to the process that serves, one exchange at a time; the *deployment lane* (`deploying`, `deployment_lane`) brings up
//! a new process. They meet at the handover: changes since the file of the new process was rendered are sent first.
//!
//! After every input the next step is chosen from the whole state. So the newest desired state always wins, and the
//! result does not depend on the order of events.

mod attachment;
mod backends;
mod certificate_sync;
mod certificates;
mod commands;
mod deploying;
mod deployment_lane;
mod desired;
mod discovery_events;
mod down_servers;
mod effect;
mod exchange;
mod files;
mod handover;
mod input;
mod names;
mod observation;
mod observed;
mod pace;
mod planning;
mod preview;
mod problem;
mod process_state;
mod reload_queue;
mod report;
mod routes;
mod runtime_link;
mod section;
mod server_life;
mod settings;
mod state;
#[cfg(test)]
mod tests;
mod time;
mod timing;
mod work_queue;
mod writing;

use std::time::Instant;

use self::desired::Desired;
use self::discovery_events::NewHosts;
use self::state::{Exchange, State};
use crate::decide::base::BoundBase;
use crate::message::{ConfigState, NextSection, PlanPiece, RunningConfig};
use crate::model::{Descriptors, Moment, ProxyPolicy, ProxyVersion, ReloadCause, ServiceName};
use crate::port::{ConfigText, RuntimeError, SavedService, SavedState};
use crate::snapshot::HaproxyState;

pub use self::effect::{Effect, LogLine, Severity};
pub use self::input::{Input, Observed, Overrides};

/// Keeps one HAProxy in sync.
#[derive(Debug)]
pub struct Reconciler {
    state: State,
}

impl Reconciler {
    /// Creates a reconciler without services and without a process. `is_target` is true for one of `haproxy.targets`;
    /// `binary` is the version of the HAProxy binary, where it is known; `restored` is what an earlier run of the
    /// daemon saved.
    pub fn new(
        policy: ProxyPolicy,
        is_target: bool,
        binary: Option<ProxyVersion>,
        restored: &[SavedService],
        now: Instant,
    ) -> Self {
        let settings = settings::Settings::new(policy, is_target, binary);
        let desired = Desired::restored(restored, !settings.is_external());
        Self { state: State::new(settings, desired, now) }
    }

    /// Handles an event or an answer.
    pub fn on(&mut self, input: Input, now: Moment) {
        let state = &mut self.state;
        match input {
            Input::ServiceDefined(definition) => state.service_defined(definition, now),
            Input::ServiceRemoved(service) => state.service_removed(service, now),
            Input::DefinitionsLoaded => drop(state.desired.loaded_at.get_or_insert(now.instant)),
            Input::HostsChanged { change, service, revision, diff, hosts, seen_at, shown_unix_ms } => {
                let change = NewHosts::pending(change, seen_at);
                state.hosts_changed(service, NewHosts { change, revision, diff, hosts, shown_unix_ms }, now);
            }
            Input::HostsUnknown(service) => state.hosts_unknown(service),
            Input::OverridesChanged { service, overrides, ordered } => {
                state.overrides_changed(service, overrides, ordered, now);
            }
            Input::GuardChanged(service, memory) => {
                if let Some(service) = state.desired.services.get_mut(&service) {
                    service.source.guard = Some(memory);
                    state.save_later(now);
                }
            }
            Input::DefinitionsGuardChanged(memory) => {
                state.desired.definitions_guard = memory;
                state.save_later(now);
            }
            Input::PolicyChanged(policy) => state.policy_changed(policy),
            Input::SettingsRefused(mistakes) => state.settings_refused(mistakes, now),
            Input::CertificatesChanged(certificates) => state.certificates_changed(&certificates),
            Input::Refresh => state.refresh(),
            Input::ReloadOrdered(why) => state.reloads.request(ReloadCause::Operator.because(why)),
            Input::SocketOpened(service) => state.socket_opened(service),
            Input::NameResolves(name) => state.name_resolves(&name),
            Input::OrphanAdopted(observation) => state.orphan_adopted(observation),
            Input::ProcessStarted { pid, takes_commands, servers } => {
                state.process_started(pid, takes_commands, servers);
            }
            Input::SuccessorTakesOver => state.successor_takes_over(),
            Input::SuccessorAnswered { pid } => state.successor_answered(pid),
            Input::ProcessExited { pid, exit } => state.process_exited(pid, exit.to_string(), now),
            Input::ServerHealthReported { pid, service } => {
                if state.pid() == Some(pid) {
                    state.work.observe.insert(service);
                }
            }
            Input::Silent(error) => state.silent(&error, now),
            Input::Deployed(result) => state.deployed(result, now),
            Input::Stop => state.process.stop(),
            answer => self.on_answer(answer, now),
        }
    }

    fn on_answer(&mut self, answer: Input, now: Moment) {
        let state = &mut self.state;
        match answer {
            Input::CommandsAnswered(result) => {
                state.measure_pace(&result);
                let Some((Exchange::Commands(batch), is_outdated)) = state.end_change() else { return };
                match result {
                    Ok((answers, ..)) if is_outdated => state.commands_outdated(&batch, Some(&answers)),
                    Ok(answers) => state.commands_answered(&batch, answers),
                    Err(RuntimeError::Replaced) => state.commands_outdated(&batch, None),
                    Err(_) if is_outdated => state.commands_outdated(&batch, None),
                    Err(error) => {
                        state.commands_unanswered(&batch);
                        state.link_failed(&error, now);
                    }
                }
            }
            Input::RoutesAnswered(result) => {
                let Some((Exchange::Routes(steps), is_outdated)) = state.end_change() else { return };
                // The batch may not have held all changes, or some were refused.
                state.work.routes = true;
                match result {
                    Ok(answers) if !is_outdated => state.routes_answered(&steps, &answers),
                    Ok(_) | Err(RuntimeError::Replaced) => state.routes_unanswered(),
                    Err(error) => {
                        state.tally.counts.unanswered += 1;
                        state.routes_unanswered();
                        if !is_outdated {
                            state.link_failed(&error, now);
                        }
                    }
                }
            }
            Input::BackendsAnswered(result) => {
                let Some((Exchange::Backends(changes), is_outdated)) = state.end_change() else { return };
                match result {
                    Ok(answers) if !is_outdated => state.backends_answered(&changes, &answers, now),
                    // The process that serves now has what its file has.
                    Ok(_) | Err(RuntimeError::Replaced) => state.review_backends(&changes),
                    Err(_) if is_outdated => state.review_backends(&changes),
                    Err(error) => {
                        state.tally.counts.unanswered += 1;
                        state.backends_unanswered(&changes, now);
                        state.link_failed(&error, now);
                    }
                }
            }
            Input::Observed(result) => {
                let Some((Exchange::Observation(services), is_outdated)) = state.end_read() else { return };
                match state.settings.is_external() && !state.process.is_serving() {
                    true => state.attachment_answered(result, now),
                    false => state.observed(services.as_deref(), is_outdated, result, now),
                }
            }
            Input::SessionsRead(result) => {
                let Some((Exchange::Sessions(services), _)) = state.end_read() else { return };
                // A failed read of sessions is only repeated; commands detect a HAProxy that does not answer.
                let sessions = result.unwrap_or_default();
                for name in services {
                    let Some(service) = state.desired.services.get_mut(&name) else { continue };
                    if service.life.sessions_read(&name, &sessions, &service.slots, now.instant) {
                        state.work.changed(name.clone());
                    }
                    state.expect_life_event(&name);
                }
            }
            Input::ConfigFileWritten { result, took } => state.config_file_written(result, took, now),
            Input::FilesRead { config, map } => state.files_read(config, map),
            Input::CertificateChanged(result) => state.certificate_changed(result, now),
            Input::ServerStatesRead(result) => state.server_states_read(result),
            Input::StateFileWritten { result } => state.state_file_written(result, now),
            Input::StateSaved(result) => state.state_saved(result, now),
            _ => {}
        }
    }

    /// Returns the effects that are due now. Must be called after each input, and at the deadline.
    pub fn next_effects(&mut self, now: Moment) -> Vec<Effect> {
        let state = &mut self.state;
        if !state.process.is_stopping() {
            state.run_timers(now);
            state.begin_attachment(now);
            state.begin_runtime_step(now);
            state.begin_deployment(now);
            state.change_certificates();
            state.compare_files();
            state.watch_liveness();
            state.write_files(now);
        }
        state.outbox.take()
    }

    /// Returns when effects become due without an input; `None` where there are none. That is `now` where there is more
    /// to plan than one turn takes.
    pub fn deadline(&self, now: Moment) -> Option<Instant> {
        match self.state.process.is_stopping() {
            true => None,
            false => self.state.next_event(now.instant),
        }
    }

    /// Returns the plans of some services: those after this one, or the first ones.
    pub fn plan(&self, after: Option<ServiceName>, now: Moment) -> PlanPiece {
        self.state.preview(after, now)
    }

    /// Returns a snapshot of the whole state.
    pub fn snapshot(&self, now: Moment) -> HaproxyState {
        self.state.snapshot(now)
    }

    /// Returns the running configuration and the inputs of the next one.
    pub fn config(&self) -> ConfigState {
        let state = &self.state;
        let running = state.running();
        let descriptors = |name: &ServiceName| Some(running?.sections.get(name)?.descriptors.clone());
        let next = state.service_sections().into_iter().map(|(name, section)| NextSection {
            definition: section.desired.definition,
            descriptors: descriptors(&name).unwrap_or_default(),
            hosts: section.desired.hosts,
            ids: section.desired.ids,
        });
        let (next_base, next_style) = state.base();
        ConfigState {
            next: next.collect(),
            next_base: BoundBase::new(next_base, Descriptors::new()).lines().into(),
            next_style,
            map_path: state.settings.policy.base_config.map_path.clone(),
            running: running.filter(|_| state.deploys()).map(|running| RunningConfig {
                pieces: running.text(&state.files.certificates.stapled).pieces,
                base_config: running.base.lines().into(),
                sections: running
                    .sections
                    .iter()
                    .map(|(name, section)| (name.clone(), section.file.text.clone()))
                    .collect(),
                frontends: running.frontends.values().cloned().collect(),
            }),
        }
    }

    /// Returns whether the daemon is stopping.
    pub fn is_stopping(&self) -> bool {
        self.state.process.is_stopping()
    }

    /// Returns whether this HAProxy is external.
    pub fn is_external(&self) -> bool {
        self.state.settings.is_external()
    }

    /// Returns whether the text of haproxy.cfg is what a process runs: a deployment under way may have replaced it.
    pub fn is_settled(&self) -> bool {
        let state = &self.state;
        !state.deploys() || state.process.is_serving() && state.deployment.is_none()
    }

    /// Returns what is not written yet: the state to save and the text of haproxy.cfg. A write under way may fail, so its text
    /// is not written either.
    pub fn unwritten(&self) -> (Option<SavedState>, Option<ConfigText>) {
        let files = &self.state.files;
        let text = files.config.is_behind().then(|| self.state.running_text()).flatten();
        // Servers that go down cause no save of their own.
        let has_down = || self.state.desired.services.values().any(|service| !service.down.since_unix_ms().is_empty());
        let is_behind = files.saved.is_behind() || has_down();
        (is_behind.then(|| self.state.state_to_save()), text.filter(|_| self.state.deploys()))
    }
}
