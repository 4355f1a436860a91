//! The daemon in one value: who it is, what its actors say, whether it is ready, and what is not well.

use std::sync::Arc;

use proxymgr_actors::snapshot::{ActorState, HaproxyState, ProxyPhase};
use serde::{Deserialize, Serialize};

use super::concern::{self, Concern};

/// What `/api/v1/status` answers.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct StatusReport {
    /// The daemon.
    pub daemon: DaemonFacts,
    /// Whether it keeps HAProxy in step now.
    pub readiness: Readiness,
    /// Everything that is not as it should be; empty when all is well.
    pub concerns: Vec<Concern>,
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
        let haproxy = haproxy(&actors);
        let not_ready = readiness.reasons.iter().map(|reason| not_ready(reason, haproxy, &daemon));
        let concerns = not_ready.chain(concern::concerns(&actors)).collect();
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
                    reasons.extend(reload_reason(state));
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

/// What of the last launch stands against it.
fn reload_reason(state: &HaproxyState) -> Option<String> {
    let why = state.reload_error.as_ref()?;
    Some(match &state.process {
        Some(_) => format!("the last reload failed, HAProxy runs what it had before: {why}"),
        None => format!("HAProxy could not be started: {why}"),
    })
}

/// A reason for not being ready, with what is known about it.
fn not_ready(reason: &str, haproxy: Option<&HaproxyState>, daemon: &DaemonFacts) -> Concern {
    let Some(haproxy) = haproxy else {
        return Concern::new(reason, None, "restart proxymgr: HAProxy goes on meanwhile and is taken over");
    };
    if haproxy.runtime_error.as_deref() == Some(reason) {
        let advice = match haproxy.run_by_others {
            true => "it is tried again by itself, and caught up when it answers",
            false => "it is tried again by itself, and in the end HAProxy is reloaded",
        };
        return Concern::new(reason, haproxy.since.runtime_error_unix_ms, advice);
    }
    if reload_reason(haproxy).as_deref() == Some(reason) {
        let advice = "it is tried again by itself; a refused file is kept beside haproxy.cfg, as its .candidate";
        return Concern::new(reason, haproxy.since.reload_error_unix_ms, advice);
    }
    let (since_unix_ms, advice) = match haproxy.phase {
        ProxyPhase::Waiting => {
            (Some(daemon.started_at_unix_ms), "it starts with what is known, once the definitions could be read")
        }
        ProxyPhase::Stopping => (None, "it was told to"),
        ProxyPhase::Launching if haproxy.since.gone_unix_ms.is_none() => {
            (Some(daemon.started_at_unix_ms), "it takes a moment; `proxymgr events` and the log say how it goes on")
        }
        _ => {
            let since = haproxy.since.gone_unix_ms.or(haproxy.since.reload_error_unix_ms);
            (since, "it is started again by itself; `proxymgr events` and the log say why it ended")
        }
    };
    Concern::new(reason, since_unix_ms, advice)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proxymgr_actors::model::{ProcessInfo, ProxyVersion};

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

    fn facts() -> DaemonFacts {
        DaemonFacts {
            version: String::new(),
            commit: String::new(),
            pid: 1,
            started_at_unix_ms: 0,
            uptime_s: 0,
            config_path: String::new(),
        }
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
    fn a_failed_reload_ends_readiness_and_is_told_once_with_its_time() {
        let mut states = Arc::unwrap_or_clone(haproxy_in(ProxyPhase::Running, true).unwrap());
        let ActorState::HaproxyState(state) = &mut states[0] else { panic!("it is HAProxy's") };
        state.reload_error = Some("no memory".into());
        state.since.reload_error_unix_ms = Some(7);
        let report = StatusReport::of(facts(), Ok(Arc::new(states)));
        let text = "the last reload failed, HAProxy runs what it had before: no memory";
        assert_eq!(report.readiness, Readiness { ready: false, reasons: vec![text.to_owned()] });
        let told: Vec<_> =
            report.concerns.iter().map(|concern| (concern.text.as_str(), concern.since_unix_ms)).collect();
        assert_eq!(told, [(text, Some(7))]);
    }

    #[test]
    fn an_actor_that_does_not_answer_ends_readiness() {
        let readiness = Readiness::of(&Err("the HaproxyStateActor did not answer within 2 s".into()));
        assert_eq!(readiness.reasons, ["the HaproxyStateActor did not answer within 2 s"]);
    }

    #[test]
    fn a_source_that_is_away_is_a_concern_but_no_end_of_readiness() {
        let mut states = Arc::unwrap_or_clone(haproxy_in(ProxyPhase::Running, true).unwrap());
        let mut watcher = proxymgr_actors::snapshot::WatcherState { service: "web".into(), ..Default::default() };
        watcher.source.error = Some("connection refused".into());
        states.push(ActorState::Watcher(watcher));
        let report = StatusReport::of(facts(), Ok(Arc::new(states)));
        assert!(report.readiness.ready);
        assert_eq!(report.concerns.len(), 1);
        assert_eq!(report.concerns[0].text, "web: hosts cannot be read: connection refused");
    }
}
