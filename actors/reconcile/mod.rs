//! The reconciler: keeps what one HAProxy has in sync with what is desired. Pure: no actix, no I/O, no clock.
//!
//! ```text
//! Input  -> Reconciler::on           events and answers change the state
//!           Reconciler::next_effects what is to be done now
//! Effect <-                          carried out by the actor, answered by another Input
//! ```
//!
//! Two lanes are independent: the *runtime lane* (`exchange`, `commands`, `routes`, `observation`, `attachment`) talks to
//! the process that serves, one exchange at a time; the *deployment lane* (`deploying`, `deployment_lane`) brings up a new
//! process. They meet at the hand-over: what changed since the file of the new process was rendered goes out first.
//!
//! Whatever happens, the next step is chosen by looking at the whole. So the newest desired state always wins, and
//! nothing depends on the order of events.

mod attachment;
mod commands;
mod deploying;
mod deployment_lane;
mod desired;
mod discovery_events;
mod effect;
mod exchange;
mod files;
mod input;
mod observation;
mod observed;
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
mod time;
mod work_queue;

use tokio::time::{Duration, Instant};

use self::desired::Desired;
use self::discovery_events::NewHosts;
use self::effect::{info, warn};
use self::observed::Running;
use self::state::{Exchange, State};
use crate::limits::{FIRST_LISTS_WAIT, HEALTH_POLL_MIN, HEALTH_POLL_SERVERS_PER_SECOND, PARKED_SERVER_SWEEP};
use crate::message::{ConfigState, NextSection, PlanPiece, RunningConfig};
use crate::model::{ProxyPolicy, ProxyVersion, ReloadCause, ServiceName};
use crate::port::{ConfigText, RuntimeError, SavedService, SavedState};
use crate::snapshot::HaproxyState;

pub use self::effect::{Effect, LogLine, Severity};
pub use self::input::{Input, Observed, Overrides};
pub use self::time::Now;

/// Keeps one HAProxy in sync.
#[derive(Debug)]
pub struct Reconciler {
    state: State,
}

impl Reconciler {
    /// Nothing is desired and nothing runs yet. `target` is the name of an external HAProxy; `binary` the version of the
    /// HAProxy binary, where it is known; `restored` what an earlier run of the daemon saved.
    pub fn new(
        policy: ProxyPolicy,
        target: Option<String>,
        binary: Option<ProxyVersion>,
        restored: &[SavedService],
        now: Instant,
    ) -> Self {
        let settings = settings::Settings::new(policy, target, binary);
        let desired = Desired::restored(restored, !settings.is_external());
        Self { state: State::new(settings, desired, now) }
    }

    /// Takes in an event or an answer.
    pub fn on(&mut self, input: Input, now: Now) {
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
            Input::Refresh => state.refresh(),
            Input::ReloadOrdered(why) => state.reloads.request(ReloadCause::Operator.because(why)),
            Input::SocketOpened(service) => state.socket_opened(service),
            Input::ProcessStarted { pid, takes_commands } => state.process_started(pid, takes_commands),
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

    fn on_answer(&mut self, answer: Input, now: Now) {
        let state = &mut self.state;
        match answer {
            Input::CommandsAnswered(result) => {
                let Some((Exchange::Commands(batch), is_outdated)) = state.end_exchange() else { return };
                match result {
                    Ok((answers, ..)) if is_outdated => state.commands_outdated(&batch, Some(&answers)),
                    Ok(answers) => state.commands_answered(batch, answers, now),
                    Err(_) if is_outdated => state.commands_outdated(&batch, None),
                    Err(error) => {
                        state.commands_unanswered(&batch);
                        state.link_failed(&error, now);
                    }
                }
            }
            Input::RoutesAnswered(result) => {
                let Some((Exchange::Routes(steps), is_outdated)) = state.end_exchange() else { return };
                // There may be more than fitted, or what was refused.
                state.work.routes = true;
                match result {
                    Ok(answers) if !is_outdated => state.routes_answered(&steps, &answers),
                    Ok(_) => state.routes_unanswered(),
                    Err(error) => {
                        state.tally.counts.unanswered += 1;
                        state.routes_unanswered();
                        if !is_outdated {
                            state.link_failed(&error, now);
                        }
                    }
                }
            }
            Input::Observed(result) => {
                let Some((Exchange::Observation(services), is_outdated)) = state.end_exchange() else { return };
                match state.settings.is_external() && !state.process.is_serving() {
                    true => state.attachment_answered(result, now),
                    false => state.observed(services.as_deref(), is_outdated, result, now),
                }
            }
            Input::SessionsRead(result) => {
                let Some((Exchange::Sessions(services), _)) = state.end_exchange() else { return };
                // What still answers is found out by commands; sessions are only read again.
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
            Input::ServerStatesRead(result) => state.server_states_read(result),
            Input::StateFileWritten { result } => state.state_file_written(result, now),
            Input::StateSaved(result) => state.state_saved(result, now),
            _ => {}
        }
    }

    /// What is to be done now. To be asked after each input, and when the deadline has come.
    pub fn next_effects(&mut self, now: Now) -> Vec<Effect> {
        let state = &mut self.state;
        if !state.process.is_stopping() {
            state.run_timers(now);
            state.begin_attachment(now);
            state.begin_runtime_step(now);
            state.begin_deployment(now);
            state.compare_files();
            state.watch_liveness();
            state.write_files(now);
        }
        state.outbox.take()
    }

    /// When the next effects are due that no input announces; none where there are none. At once where there is more to
    /// plan than one turn takes.
    pub fn deadline(&self, now: Now) -> Option<Instant> {
        match self.state.process.is_stopping() {
            true => None,
            false => self.state.next_event(now.instant),
        }
    }

    /// The plan of some services: those after this one, or the first ones.
    pub fn plan(&self, after: Option<ServiceName>, now: Now) -> PlanPiece {
        self.state.preview(after, now)
    }

    /// Everything that is known, as a snapshot.
    pub fn snapshot(&self, now: Now) -> HaproxyState {
        self.state.snapshot(now)
    }

    /// The configuration that runs, and what the next one would be made of.
    pub fn config(&self) -> ConfigState {
        let state = &self.state;
        let running = state.running();
        let descriptor = |name: &ServiceName| running?.sections.get(name)?.descriptor;
        let next = state.service_sections().into_iter().map(|(name, section)| NextSection {
            definition: section.desired.definition,
            descriptor: descriptor(&name),
            hosts: section.desired.hosts,
        });
        let (next_frame, next_style) = state.base();
        ConfigState {
            next: next.collect(),
            next_frame,
            next_style,
            map_path: state.settings.policy.frame.map_path.clone(),
            running: running.filter(|_| state.deploys()).map(|running| RunningConfig {
                frame: running.base.clone(),
                sections: running
                    .sections
                    .iter()
                    .map(|(name, section)| (name.clone(), section.file.text.clone()))
                    .collect(),
                frontends: running.frontends.values().cloned().collect(),
            }),
        }
    }

    /// Whether the daemon is stopping.
    pub fn is_stopping(&self) -> bool {
        self.state.process.is_stopping()
    }

    /// Whether somebody else manages this HAProxy.
    pub fn is_external(&self) -> bool {
        self.state.settings.is_external()
    }

    /// What was not written yet: the state to save and the text of haproxy.cfg.
    pub fn unwritten(&self) -> (Option<SavedState>, Option<ConfigText>) {
        let files = &self.state.files;
        let text = files.config.has_changed().then(|| self.state.running().map(Running::text)).flatten();
        (files.saved.is_behind().then(|| self.state.state_to_save()), text.filter(|_| self.state.deploys()))
    }
}

impl State {
    /// Notes what is due by now.
    fn run_timers(&mut self, now: Now) {
        if self.timers.observe_at <= now.instant {
            self.timers.observe_at = now.instant + self.settings.policy.observe_interval;
            self.work.observe_all = true;
            self.work.compare_files = true;
        }
        if self.timers.sweep_at <= now.instant {
            self.timers.sweep_at = now.instant + PARKED_SERVER_SWEEP;
            self.work.sweep = true;
        }
        if self.timers.life_at.is_some_and(|at| at <= now.instant) {
            self.timers.life_at = None;
            self.advance_server_lives(now);
        }
        self.poll_health(now);
    }

    /// Moves servers in transition on, and notes when the next event is due.
    fn advance_server_lives(&mut self, now: Now) {
        for (name, service) in &mut self.desired.services {
            if service.life.advance(now.instant) {
                self.work.changed(name.clone());
            }
            if service.life.wants_sessions(now.instant) {
                self.work.drains.insert(name.clone());
            }
        }
        let names: Vec<ServiceName> = self.desired.services.keys().cloned().collect();
        names.iter().for_each(|name| self.expect_life_event(name));
    }

    /// The health of servers is polled where no log line of HAProxy reports it: the more servers, the less often.
    fn poll_health(&mut self, now: Now) {
        if self.settings.is_supervised() || self.timers.health_at.is_none_or(|at| at > now.instant) {
            return;
        }
        let sections = self.process.serving().into_iter().flat_map(|running| running.sections.values());
        let servers: usize = sections.map(|section| section.observed.len()).sum();
        let scaled = Duration::from_millis((servers * 1_000 / HEALTH_POLL_SERVERS_PER_SECOND) as u64);
        let longest = self.settings.policy.observe_interval.max(HEALTH_POLL_MIN);
        self.timers.health_at = Some(now.instant + scaled.clamp(HEALTH_POLL_MIN, longest));
        if self.process.is_serving() {
            self.work.observe_all = true;
        }
    }

    /// Begins the next exchange of the runtime lane, if it is free.
    fn begin_runtime_step(&mut self, now: Now) {
        let is_free = self.process.is_serving() && self.lane.in_flight.is_none();
        if !is_free || now.instant < self.lane.link.retry_at() || self.gives_way_to_reload(now) {
            return;
        }
        if !self.begin_next_exchange(now) && self.work.is_empty() && !self.reloads.is_due() {
            // What failed is no longer desired, nor are the sockets that were opened for it.
            self.reloads.problem.clear();
            self.spare_sockets();
        }
    }

    /// A reload that has waited long enough is begun before the next runtime changes.
    fn gives_way_to_reload(&mut self, now: Now) -> bool {
        self.deployment.is_none() && self.deploys() && self.reloads.is_overdue(now.instant)
    }

    /// When the first thing is due.
    fn next_event(&self, now: Instant) -> Option<Instant> {
        if self.timers.more_to_plan && self.lane.in_flight.is_none() {
            return Some(now);
        }
        let is_lane_free = self.lane.in_flight.is_none();
        let serves = self.process.is_serving();
        let waits_for_start = self.running().is_none() && !self.may_be_complete();
        let start_at = self.desired.loaded_at.map(|at| at + FIRST_LISTS_WAIT).filter(|_| waits_for_start);
        let deploys_later = self.deployment.is_none() && (self.reloads.is_due() || !serves) && !waits_for_start;
        let is_health_polled = !self.settings.is_supervised() && serves;
        let events = [
            Some(self.timers.observe_at),
            Some(self.timers.sweep_at),
            self.timers.life_at,
            self.timers.health_at.filter(|_| is_health_polled),
            start_at,
            Some(self.lane.link.retry_at()).filter(|_| is_lane_free && serves && self.has_runtime_work()),
            Some(self.reloads.not_before).filter(|_| deploys_later && self.desired.loaded_at.is_some()),
            self.reloads.overdue_at().filter(|_| self.deployment.is_none()),
            self.files.config.deadline().filter(|_| self.deployment.is_none()),
            self.files.states.deadline(self.running().is_some_and(|running| running.health_changed)),
            self.files.saved.deadline(),
        ];
        // What was due before now was looked at already: it waits for an input.
        events.into_iter().flatten().filter(|at| *at > now).min()
    }

    fn may_be_complete(&self) -> bool {
        self.desired.is_complete()
    }

    fn has_runtime_work(&self) -> bool {
        !self.work.is_empty()
            || self.work.observe_all
            || self.work.routes
            || self.work.sweep
            || !self.work.observe.is_empty()
            || !self.work.drains.is_empty()
    }

    /// Writes what is behind and due.
    fn write_files(&mut self, now: Now) {
        if self.files.saved.begin(now.instant) {
            let state = self.state_to_save();
            self.outbox.push(Effect::SaveState(state));
        }
        if !self.deploys() || self.deployment.is_some() {
            return;
        }
        if let Some(text) = self.running().map(Running::text)
            && self.files.config.begin(now.instant)
        {
            self.outbox.push(Effect::WriteConfigFile(text));
        }
        self.follow_health(now);
    }

    /// What the next run of the daemon needs. Of definitions it is those that apply: what cannot be applied, or is not yet,
    /// may meet a taken port there, and the service is served all the same.
    fn state_to_save(&self) -> SavedState {
        let sections = self.running().map(|running| &running.sections);
        self.desired.to_save(|service| {
            let section = sections.and_then(|sections| sections.get(&service.definition.name));
            let applies = section.map(|section| &section.definition).or(service.earlier.definition.as_ref());
            // Whoever manages HAProxy decides how it is served; its hosts and limits are as its newest definition says.
            applies.filter(|_| self.deploys()).unwrap_or(&service.definition).clone()
        })
    }

    fn config_file_written(&mut self, result: Result<(), String>, took: Duration, now: Now) {
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
        if !self.process.is_serving() || crate::decide::state_file::in_use(&self.settings.policy.frame).is_none() {
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
    fn server_states_read(&mut self, (pid, result): (Option<u32>, Result<String, RuntimeError>)) {
        let path = crate::decide::state_file::in_use(&self.settings.policy.frame);
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

    fn state_file_written(&mut self, result: Result<(), String>, now: Now) {
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

    fn state_saved(&mut self, result: Result<(), String>, now: Now) {
        let error = result.clone().err();
        if self.files.saved.saved(result, now)
            && let Some(error) = error
        {
            let message = "the last good state cannot be saved, a restart would not have it";
            self.outbox.log(warn(message).with("error", error));
        }
    }
}
