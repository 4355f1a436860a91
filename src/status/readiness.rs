//! Readiness: whether HAProxy runs the desired state, as `/readyz`, systemd, status and page report it.

use proxymgr_actors::snapshot::{ActorState, HaproxyState, ProcessSupervisorState, ProxyPhase};
use serde::{Deserialize, Serialize};

use super::concern::{Concern, ConcernKind};
use super::view::States;

/// Whether HAProxy runs the desired state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Readiness {
    /// Whether it does.
    pub ready: bool,
    /// Why it does not; empty if it does.
    pub reasons: Vec<String>,
    /// The services without hosts, each with the cause. They do not end readiness, because that would keep clients from
    /// all other services as well.
    #[serde(default)]
    pub without_hosts: Vec<String>,
}

impl Readiness {
    /// Readiness that these snapshots show. An unreadable source is no reason: its last good list stays in use.
    pub fn of(states: &States) -> Self {
        Self::from_blockers(&blockers(states, None), states.as_deref().map_or(&[], Vec::as_slice))
    }

    /// Readiness with these problems in the way.
    pub fn from_blockers(blockers: &[Concern], states: &[ActorState]) -> Self {
        let reasons = blockers.iter().map(|blocker| blocker.text.clone()).collect();
        let without_hosts = states.iter().filter_map(|state| match state {
            ActorState::Watcher(watcher) if watcher.lacks_hosts() => {
                let cause = watcher.source.error.as_deref().unwrap_or("its source returns no host that can be used");
                Some(format!("{}: no hosts: {cause}", watcher.service))
            }
            _ => None,
        });
        Self { ready: blockers.is_empty(), reasons, without_hosts: without_hosts.collect() }
    }
}

/// Problems because of which the daemon is not ready. `started_at_unix_ms` is the start of the daemon, for problems that
/// exist since then.
pub fn blockers(states: &States, started_at_unix_ms: Option<u64>) -> Vec<Concern> {
    let states = match states {
        Ok(states) => states,
        Err(error) => return vec![actor_silent(error)],
    };
    let haproxy = states.iter().find_map(|state| match state {
        ActorState::HaproxyState(state) => Some(state),
        _ => None,
    });
    let Some(haproxy) = haproxy else { return vec![actor_silent("the state of HAProxy is not known")] };
    let supervisor = states.iter().find_map(|state| match state {
        ActorState::ProcessSupervisor(state) => Some(state),
        _ => None,
    });
    // A failed start is the reason why no process runs, not a second problem.
    let reload = reload_failed(haproxy);
    let explains = reload.is_some() && haproxy.process.is_none() && haproxy.phase != ProxyPhase::Stopping;
    let not_running = not_running(haproxy, supervisor, started_at_unix_ms).filter(|_| !explains);
    not_running.into_iter().chain(runtime_api_down(haproxy)).chain(reload).collect()
}

fn actor_silent(text: &str) -> Concern {
    let advice = "restart proxymgr: HAProxy keeps running and is adopted";
    Concern::new(ConcernKind::ActorSilent, text, None, advice)
}

fn not_running(
    haproxy: &HaproxyState,
    supervisor: Option<&ProcessSupervisorState>,
    started_at_unix_ms: Option<u64>,
) -> Option<Concern> {
    let gone = haproxy.since.gone_unix_ms;
    let (text, since_unix_ms, advice) = match haproxy.phase {
        ProxyPhase::Running => return None,
        // The previous process serves until the new one answers.
        ProxyPhase::Launching if haproxy.process.is_some() => return None,
        ProxyPhase::Launching => {
            let advice = "`proxymgr events` and the log show its progress";
            ("HAProxy is starting".to_owned(), gone.or(started_at_unix_ms), advice)
        }
        ProxyPhase::Waiting => {
            let advice = "it starts with the known lists once the definitions have been read";
            ("HAProxy is not started yet: waiting for the first lists of hosts".to_owned(), started_at_unix_ms, advice)
        }
        ProxyPhase::Down => {
            let backoff_ms = supervisor.map_or(0, |supervisor| supervisor.backoff_ms);
            let next = if backoff_ms > 0 { format!(": next start in {backoff_ms} ms") } else { String::new() };
            let advice = "restarted automatically; `proxymgr events` and the log show why it exited";
            (format!("HAProxy is not running{next}"), gone, advice)
        }
        ProxyPhase::Stopping => ("proxymgr is stopping".to_owned(), None, "requested by a signal"),
    };
    Some(Concern::new(ConcernKind::HaproxyNotRunning, text, since_unix_ms, advice))
}

fn runtime_api_down(haproxy: &HaproxyState) -> Option<Concern> {
    let error = haproxy.runtime_error.as_ref()?;
    let advice = match haproxy.run_by_others {
        true => "retried automatically; changes are applied when it answers",
        false => "retried automatically; if it stays silent, HAProxy is reloaded",
    };
    Some(Concern::new(ConcernKind::RuntimeApiDown, error, haproxy.since.runtime_error_unix_ms, advice))
}

fn reload_failed(haproxy: &HaproxyState) -> Option<Concern> {
    let error = haproxy.reload_error.as_ref()?;
    let text = match &haproxy.process {
        Some(_) => format!("the last reload failed, HAProxy runs its previous configuration: {error}"),
        None => format!("HAProxy cannot be started: {error}"),
    };
    let advice = "retried automatically; a rejected file is kept next to haproxy.cfg with the suffix .candidate";
    Some(Concern::new(ConcernKind::ReloadFailed, text, haproxy.since.reload_error_unix_ms, advice))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proxymgr_actors::model::{ProcessInfo, ProxyVersion};
    use proxymgr_actors::snapshot::WatcherState;

    use super::*;

    fn haproxy(phase: ProxyPhase, runs: bool) -> HaproxyState {
        let process = runs.then(|| ProcessInfo {
            pid: 1,
            version: ProxyVersion { major: 2, minor: 6 },
            version_text: "2.6.12".into(),
            uptime_s: 1,
            stopping: false,
        });
        HaproxyState { phase, process, ..HaproxyState::default() }
    }

    fn states(haproxy: HaproxyState) -> States {
        Ok(Arc::new(vec![ActorState::HaproxyState(haproxy)]))
    }

    fn kinds(states: &States) -> Vec<ConcernKind> {
        blockers(states, None).iter().map(|blocker| blocker.kind).collect()
    }

    #[test]
    fn running_haproxy_is_ready() {
        assert!(Readiness::of(&states(haproxy(ProxyPhase::Running, true))).ready);
        assert!(Readiness::of(&states(haproxy(ProxyPhase::Launching, true))).ready, "the old process serves");
        for phase in [ProxyPhase::Waiting, ProxyPhase::Launching, ProxyPhase::Down, ProxyPhase::Stopping] {
            assert_eq!(kinds(&states(haproxy(phase, false))), [ConcernKind::HaproxyNotRunning], "{phase:?}");
        }
    }

    #[test]
    fn failed_reload_is_one_blocker_with_its_time() {
        for runs in [true, false] {
            let phase = if runs { ProxyPhase::Running } else { ProxyPhase::Down };
            let mut haproxy = haproxy(phase, runs);
            haproxy.reload_error = Some("no memory".into());
            haproxy.since.reload_error_unix_ms = Some(7);
            let blockers = blockers(&states(haproxy), None);
            let [blocker] = blockers.as_slice() else { panic!("one problem per cause: {blockers:?}") };
            assert_eq!((blocker.kind, blocker.since_unix_ms), (ConcernKind::ReloadFailed, Some(7)));
        }
    }

    #[test]
    fn silent_runtime_api_ends_readiness() {
        let mut haproxy = haproxy(ProxyPhase::Running, true);
        haproxy.runtime_error = Some("HAProxy did not answer".into());
        haproxy.since.runtime_error_unix_ms = Some(9);
        let blockers = blockers(&states(haproxy), None);
        assert_eq!((blockers[0].kind, blockers[0].since_unix_ms), (ConcernKind::RuntimeApiDown, Some(9)));
    }

    #[test]
    fn silent_actor_ends_readiness() {
        let states: States = Err("the HaproxyStateActor did not answer within 2 s".into());
        assert_eq!(kinds(&states), [ConcernKind::ActorSilent]);
    }

    #[test]
    fn service_without_hosts_is_named_and_does_not_end_readiness() {
        let watcher = WatcherState { service: "web".into(), empty_since_unix_ms: Some(1), ..WatcherState::default() };
        let haproxy = ActorState::HaproxyState(haproxy(ProxyPhase::Running, true));
        let readiness = Readiness::of(&Ok(Arc::new(vec![haproxy, ActorState::Watcher(watcher)])));
        assert!(readiness.ready && readiness.without_hosts[0].starts_with("web: no hosts"), "{readiness:?}");
    }

    #[test]
    fn unreadable_source_does_not_end_readiness() {
        let mut watcher = WatcherState { service: "web".into(), ..WatcherState::default() };
        watcher.source.error = Some("connection refused".into());
        let haproxy = ActorState::HaproxyState(haproxy(ProxyPhase::Running, true));
        assert!(Readiness::of(&Ok(Arc::new(vec![haproxy, ActorState::Watcher(watcher)]))).ready);
    }
}
