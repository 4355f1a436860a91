//! The daemon in one value: who it is, what its actors say, whether it is ready, and what is not well.

use std::sync::Arc;

use proxymgr_actors::snapshot::{ActorState, HaproxyState, ProxyPhase, ServiceState};
use serde::{Deserialize, Serialize};

/// What `/api/v1/status` answers.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct StatusReport {
    /// The daemon.
    pub daemon: DaemonFacts,
    /// Whether it keeps HAProxy in step now.
    pub readiness: Readiness,
    /// Everything that is not as it should be, in words; empty when all is well.
    pub concerns: Vec<String>,
    /// What every actor says of itself.
    pub actors: Arc<Vec<ActorState>>,
}

/// The daemon, as a process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DaemonFacts {
    /// Its version.
    pub version: String,
    /// The commit it was built from.
    pub commit: String,
    /// Its process id.
    pub pid: u32,
    /// When it started, in milliseconds since 1970.
    pub started_at_unix_ms: u64,
    /// How long it has been running, in seconds.
    pub uptime_s: u64,
    /// The haproxy.cfg it writes.
    pub config_path: String,
}

/// Whether the daemon keeps HAProxy in step now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Readiness {
    /// Whether it does.
    pub ready: bool,
    /// Why not; empty when it does.
    pub reasons: Vec<String>,
}

impl StatusReport {
    /// The report of what the actors said, or of their silence.
    pub fn of(daemon: DaemonFacts, states: Result<Arc<Vec<ActorState>>, String>) -> Self {
        let readiness = Readiness::of(&states);
        let actors = states.unwrap_or_default();
        let mut concerns = readiness.reasons.clone();
        actors.iter().for_each(|state| concerns_of(state, &mut concerns));
        if let Some(haproxy) = haproxy(&actors) {
            concerns
                .extend(actors.iter().flat_map(|state| ports_not_had(state, haproxy, &concerns)).collect::<Vec<_>>());
        }
        Self { daemon, readiness, concerns, actors }
    }

    /// What the HaproxyStateActor says.
    pub fn haproxy(&self) -> Option<&HaproxyState> {
        haproxy(&self.actors)
    }
}

impl Readiness {
    /// What the actors' states mean for readiness. A source that is away is none of it: what is known is served.
    pub fn of(states: &Result<Arc<Vec<ActorState>>, String>) -> Self {
        let mut reasons = Vec::new();
        match states {
            Err(error) => reasons.push(error.clone()),
            Ok(states) => match haproxy(states) {
                None => reasons.push("the state of HAProxy is not known".to_owned()),
                Some(state) => {
                    reasons.extend(phase_reason(state).map(ToOwned::to_owned));
                    reasons.extend(state.runtime_error.iter().cloned());
                }
            },
        }
        Self { ready: reasons.is_empty(), reasons }
    }
}

fn haproxy(states: &[ActorState]) -> Option<&HaproxyState> {
    states.iter().find_map(|state| if let ActorState::HaproxyState(state) = state { Some(state) } else { None })
}

fn phase_reason(state: &HaproxyState) -> Option<&'static str> {
    match state.phase {
        ProxyPhase::Running => None,
        // The process before serves until the new one answers.
        ProxyPhase::Launching if state.process.is_some() => None,
        ProxyPhase::Launching => Some("HAProxy is being started"),
        ProxyPhase::Waiting => Some("HAProxy is not started yet: the first lists of hosts are waited for"),
        ProxyPhase::Down => Some("HAProxy is not running"),
        ProxyPhase::Stopping => Some("proxymgr is stopping"),
    }
}

fn concerns_of(state: &ActorState, concerns: &mut Vec<String>) {
    match state {
        ActorState::ServiceConfig(state) => {
            concerns.extend(state.source.error.iter().map(|error| format!("definitions cannot be read: {error}")));
            concerns
                .extend(state.held.iter().map(|held| format!("a list of definitions is held back: {}", held.reason)));
            for (name, problems) in &state.problems {
                concerns.extend(problems.iter().map(|problem| format!("definition of {name}: {problem}")));
            }
        }
        ActorState::Watcher(state) => {
            let service = &state.service;
            concerns.extend(state.source.error.iter().map(|error| format!("{service}: hosts cannot be read: {error}")));
            concerns.extend(state.held.iter().map(|held| format!("{service}: a list is held back: {}", held.reason)));
            concerns.extend(state.problems.iter().map(|(entry, problem)| format!("{service}: {entry}: {problem}")));
            if state.hosts.is_none() && state.source.error.is_none() && state.held.is_none() {
                concerns.push(format!("{service}: no hosts known yet"));
            }
        }
        ActorState::HaproxyState(state) => {
            let named = [
                ("the last reload failed", &state.reload_error),
                ("haproxy.cfg cannot be written", &state.file_error),
                ("the last good state cannot be saved", &state.saved_state_error),
            ];
            concerns.extend(named.iter().filter_map(|(what, error)| Some(format!("{what}: {}", error.as_ref()?))));
            if let Some(refused) = &state.settings_refused {
                let first = refused.mistakes.first().map_or("", String::as_str);
                let count = refused.mistakes.len();
                concerns
                    .push(format!("settings read again were refused, {count} mistakes, those before stay: {first}"));
            }
            for (service, state) in &state.services {
                concerns.extend(state.problem.iter().map(|problem| format!("{service}: {problem}")));
                concerns.extend(without_traffic(state).map(|why| format!("{service}: {why}")));
            }
        }
        ActorState::ProcessSupervisor(state) if state.backoff_ms > 0 => {
            concerns.push(format!("HAProxy keeps ending: the next start waits {} ms", state.backoff_ms));
        }
        ActorState::Output(state) => {
            concerns.extend(state.error.iter().map(|error| format!("output {}: {error}", state.name)));
        }
        ActorState::ProcessSupervisor(_) | ActorState::SocketHolder(_) | ActorState::Journal(_) => {}
    }
}

/// Why nobody answers the clients of a service that should have servers.
fn without_traffic(service: &ServiceState) -> Option<String> {
    let count = |wanted: &str| service.servers.values().filter(|state| *state == wanted).count();
    if service.servers.is_empty() || service.desired == 0 || count("ready") > 0 {
        return None;
    }
    let counts = [(count("drain"), "in drain"), (count("maint"), "in maintenance")];
    let told = counts.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}"));
    let mut told: Vec<_> = told.collect();
    if count("down") > 0 {
        told.insert(0, format!("the checks of {} fail", count("down")));
    }
    Some(format!("no server takes traffic, {}", told.join(", ")))
}

/// Ports that cannot be had, of services that are still wanted and do not say so themselves.
fn ports_not_had(state: &ActorState, haproxy: &HaproxyState, told: &[String]) -> Vec<String> {
    let ActorState::SocketHolder(state) = state else { return Vec::new() };
    let wanted = state.failed.iter().filter(|(service, _)| haproxy.services.contains_key(*service));
    let untold = wanted.filter(|(_, why)| !told.iter().any(|concern| concern.contains(why.as_str())));
    untold.map(|(service, why)| format!("{service}: {why}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proxymgr_actors::model::{ProcessInfo, ProxyVersion, ServerName};
    use std::collections::BTreeMap;

    fn haproxy_in(phase: ProxyPhase, process: bool) -> Result<Arc<Vec<ActorState>>, String> {
        let process = process.then(|| ProcessInfo {
            pid: 1,
            version: ProxyVersion { major: 2, minor: 6 },
            version_text: "2.6.12".into(),
            uptime_s: 1,
            stopping: false,
        });
        Ok(Arc::new(vec![ActorState::HaproxyState(HaproxyState { phase, process, ..HaproxyState::default() })]))
    }

    #[test]
    fn the_daemon_is_ready_while_a_haproxy_serves() {
        assert!(Readiness::of(&haproxy_in(ProxyPhase::Running, true)).ready);
        assert!(Readiness::of(&haproxy_in(ProxyPhase::Launching, true)).ready, "a reload is no outage");
        for phase in [ProxyPhase::Waiting, ProxyPhase::Launching, ProxyPhase::Down, ProxyPhase::Stopping] {
            assert!(!Readiness::of(&haproxy_in(phase, false)).ready, "{phase:?}");
        }
    }

    #[test]
    fn an_actor_that_does_not_answer_ends_readiness() {
        let readiness = Readiness::of(&Err("the HaproxyStateActor did not answer within 2 s".into()));
        assert_eq!(readiness.reasons, ["the HaproxyStateActor did not answer within 2 s"]);
    }

    #[test]
    fn a_service_whose_servers_all_rest_is_a_concern() {
        let state = |servers: &[(&str, &str)]| {
            let named = |(name, state): &(&str, &str)| (ServerName::new(name).unwrap(), (*state).to_owned());
            let servers: BTreeMap<_, _> = servers.iter().map(named).collect();
            without_traffic(&ServiceState { desired: servers.len(), servers: servers.into(), ..Default::default() })
        };
        assert_eq!(state(&[("a", "ready"), ("b", "down")]), None);
        assert_eq!(state(&[]), None, "what HAProxy has is not known yet");
        let told = state(&[("a", "maint"), ("b", "down"), ("c", "drain")]);
        assert_eq!(
            told.as_deref(),
            Some("no server takes traffic, the checks of 1 fail, 1 in drain, 1 in maintenance")
        );
    }

    #[test]
    fn a_source_that_is_away_is_a_concern_but_no_end_of_readiness() {
        let mut states = Arc::unwrap_or_clone(haproxy_in(ProxyPhase::Running, true).unwrap());
        let mut watcher = proxymgr_actors::snapshot::WatcherState { service: "web".into(), ..Default::default() };
        watcher.source.error = Some("connection refused".into());
        states.push(ActorState::Watcher(watcher));
        let facts = DaemonFacts {
            version: String::new(),
            commit: String::new(),
            pid: 1,
            started_at_unix_ms: 0,
            uptime_s: 0,
            config_path: String::new(),
        };
        let report = StatusReport::of(facts, Ok(Arc::new(states)));
        assert!(report.readiness.ready);
        assert_eq!(report.concerns, ["web: hosts cannot be read: connection refused"]);
    }
}
