//! What is not well, since when, and what to do about it.

use std::fmt;

use proxymgr_actors::model::ServerState;
use proxymgr_actors::snapshot::{
    ActorState, HaproxyState, OutputState, ServiceConfigState, ServiceState, SocketHolderState, TargetState,
    WatcherState,
};
use serde::{Deserialize, Serialize};

/// One thing that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Concern {
    /// What, in words.
    pub text: String,
    /// The service it is about; none where it is about all.
    pub service: Option<String>,
    /// Since when, in milliseconds since 1970; none where that is not known.
    pub since_unix_ms: Option<u64>,
    /// When the list that is served meanwhile was last confirmed by its source, in milliseconds since 1970; none where no
    /// list is served in another's place, or where that is not known.
    #[serde(default)]
    pub serves_list_of_unix_ms: Option<u64>,
    /// What to do, in words.
    pub advice: String,
}

impl Concern {
    /// A concern about all.
    pub fn new(text: impl Into<String>, since_unix_ms: Option<u64>, advice: impl Into<String>) -> Self {
        Self { text: text.into(), service: None, since_unix_ms, serves_list_of_unix_ms: None, advice: advice.into() }
    }

    /// A concern about this service, which begins with its name.
    fn of(service: &str, text: impl fmt::Display, since_unix_ms: Option<u64>, advice: impl Into<String>) -> Self {
        let text = format!("{service}: {text}");
        Self { service: Some(service.to_owned()), ..Self::new(text, since_unix_ms, advice) }
    }
}

impl fmt::Display for Concern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// What the actors' states give cause for, beside HAProxy's own standing.
pub fn concerns(states: &[ActorState]) -> Vec<Concern> {
    let mut concerns: Vec<Concern> = states.iter().flat_map(of_state).collect();
    let haproxy = states.iter().find_map(|state| match state {
        ActorState::HaproxyState(state) => Some(state),
        _ => None,
    });
    for state in states {
        if let (ActorState::SocketHolder(state), Some(haproxy)) = (state, haproxy) {
            let untold = ports_not_had(state, haproxy, &concerns);
            concerns.extend(untold);
        }
    }
    concerns
}

fn of_state(state: &ActorState) -> Vec<Concern> {
    match state {
        ActorState::ServiceConfig(state) => of_definitions(state),
        ActorState::Watcher(state) => of_watcher(state),
        ActorState::HaproxyState(state) => of_haproxy(state),
        ActorState::ProcessSupervisor(state) if state.backoff_ms > 0 => vec![Concern::new(
            format!("HAProxy keeps ending: the next start waits {} ms", state.backoff_ms),
            None,
            "its last words are in the log of proxymgr",
        )],
        ActorState::Output(state) => of_output(state),
        ActorState::Target(state) => of_target(state),
        ActorState::ProcessSupervisor(_) | ActorState::SocketHolder(_) | ActorState::Journal(_) => Vec::new(),
    }
}

fn of_definitions(state: &ServiceConfigState) -> Vec<Concern> {
    let away = state.source.error.iter().map(|error| {
        let text = format!("definitions cannot be read: {error}");
        let advice = "the last good ones stay; see to service_config's source";
        let serves_list_of_unix_ms = state.source.read_at_unix_ms;
        Concern { serves_list_of_unix_ms, ..Concern::new(text, Some(state.source.since_unix_ms), advice) }
    });
    let annotations = state.annotations.iter().filter_map(|health| {
        let text = format!("annotations cannot be read: {}", health.error.as_ref()?);
        let advice = "the last good ones stay, and none can be written; see to the ZooKeeper of annotations";
        let serves_list_of_unix_ms = health.read_at_unix_ms;
        Some(Concern { serves_list_of_unix_ms, ..Concern::new(text, Some(health.since_unix_ms), advice) })
    });
    let pending = state.held.iter().map(|change| {
        let text = format!("change of the definitions blocked by guard: {}", change.reason);
        let advice = "`proxymgr accept --definitions` applies it, `proxymgr reject --definitions` keeps the services";
        Concern::new(text, Some(change.since_unix_ms), advice)
    });
    let rejected = state.rejected.iter().map(|change| {
        let text = format!("change of the definitions rejected by an operator: {}", change.reason);
        let advice = "`proxymgr accept --definitions` applies it after all; check service_config's source";
        Concern::new(text, Some(change.since_unix_ms), advice)
    });
    let refused = state.problems.iter().flat_map(|(name, problems)| {
        problems.iter().map(move |problem| {
            let advice = "correct it where it is defined; until then the last good one, if any, stays";
            let text = format!("definition of {name}: {problem}");
            Concern { service: Some(name.clone()), ..Concern::new(text, None, advice) }
        })
    });
    away.chain(annotations).chain(pending).chain(rejected).chain(refused).collect()
}

fn of_watcher(state: &WatcherState) -> Vec<Concern> {
    let service = state.service.as_str();
    let away = state.source.error.iter().map(|error| {
        let advice = if state.hosts.is_some() {
            format!("its last good hosts are served; see to its source, or `proxymgr refresh {service}`")
        } else {
            format!("it has no hosts to serve; see to its source, or `proxymgr refresh {service}`")
        };
        let text = format!("hosts cannot be read: {error}");
        let serves_list_of_unix_ms = state.confirmed_unix_ms;
        Concern { serves_list_of_unix_ms, ..Concern::of(service, text, Some(state.source.since_unix_ms), advice) }
    });
    let pending = state.held.iter().map(|change| {
        let advice =
            format!("`proxymgr accept {service}` applies it, `proxymgr reject {service}` keeps the hosts in service");
        let text = format!("change blocked by guard: {}", change.reason);
        let serves_list_of_unix_ms = state.confirmed_unix_ms;
        Concern { serves_list_of_unix_ms, ..Concern::of(service, text, Some(change.since_unix_ms), advice) }
    });
    let rejected = state.rejected.iter().map(|change| {
        let advice = format!("`proxymgr accept {service}` applies it after all; check its source");
        let text = format!("change rejected by an operator: {}", change.reason);
        let serves_list_of_unix_ms = state.confirmed_unix_ms;
        Concern { serves_list_of_unix_ms, ..Concern::of(service, text, Some(change.since_unix_ms), advice) }
    });
    let refused = state.problems.iter().map(|(entry, problem)| {
        Concern::of(service, format!("{entry}: {problem}"), None, "correct the entry where it is registered")
    });
    let waiting = state.hosts.is_none() && state.source.error.is_none() && state.blocked().is_none();
    let waiting = waiting.then(|| {
        let advice = format!("see that its source has entries, or `proxymgr refresh {service}`");
        Concern::of(service, "no hosts known yet", None, advice)
    });
    away.chain(pending).chain(rejected).chain(refused).chain(waiting).collect()
}

fn of_haproxy(state: &HaproxyState) -> Vec<Concern> {
    let since = &state.since;
    let named = [
        (
            "haproxy.cfg cannot be written",
            &state.file_error,
            since.file_error_unix_ms,
            "HAProxy itself is up to date; see to room and rights in the file's directory",
        ),
        (
            "the last good state cannot be saved",
            &state.saved_state_error,
            since.saved_state_error_unix_ms,
            "a restart of proxymgr would not know it; see to room and rights in state_dir",
        ),
    ];
    let named = named.into_iter().filter_map(|(what, error, since_unix_ms, advice)| {
        Some(Concern::new(format!("{what}: {}", error.as_ref()?), since_unix_ms, advice))
    });
    let refused = state.settings_refused.iter().map(|refused| {
        let count = match refused.mistakes.len() {
            1 => "1 mistake".to_owned(),
            n => format!("{n} mistakes"),
        };
        let first = refused.mistakes.first().map_or("", String::as_str);
        let text = format!("settings read again were refused, {count}, those before stay: {first}");
        Concern::new(text, Some(refused.at_unix_ms), "`proxymgr check` names them all; mend them and send SIGHUP again")
    });
    named
        .chain(refused)
        .chain(waiting_for_others(state))
        .chain(state.services.iter().flat_map(|(name, service)| of_service(name.as_str(), service)))
        .collect()
}

/// A HAProxy that somebody else runs, beside the first.
fn of_target(state: &TargetState) -> Vec<Concern> {
    let TargetState { name, haproxy } = state;
    let away = haproxy.runtime_error.iter().map(|error| {
        let advice = "it is caught up when it answers again; the others are not affected";
        Concern::new(format!("target {name}: {error}"), haproxy.since.runtime_error_unix_ms, advice)
    });
    let waiting = waiting_for_others(haproxy)
        .map(|Concern { text, advice, .. }| Concern::new(format!("target {name}: {text}"), None, advice));
    away.chain(waiting).collect()
}

/// What only a reload can bring, where somebody else makes it.
fn waiting_for_others(state: &HaproxyState) -> Option<Concern> {
    let waits = state.run_by_others && !state.reload_due.is_empty();
    waits.then(|| {
        let text = format!("waits for whoever runs HAProxy: {}", state.reload_due.join("; "));
        Concern::new(
            text,
            None,
            "change that HAProxy's own file, where need be, and reload it; it is then looked at anew",
        )
    })
}

fn of_service(name: &str, state: &ServiceState) -> Vec<Concern> {
    let problem = state.problem.iter().map(|problem| {
        let advice = format!("once it is mended it is tried again; at once by `proxymgr refresh {name}`");
        Concern::of(name, problem, state.problem_since_unix_ms, advice)
    });
    let none_ready = without_traffic(state)
        .map(|why| Concern::of(name, why, None, "proxymgr has done its part: look at the servers themselves"));
    problem.chain(none_ready).collect()
}

/// Why nobody answers the clients of a service that should have servers.
fn without_traffic(service: &ServiceState) -> Option<String> {
    if service.servers.is_empty() || service.desired == 0 || service.count(ServerState::Ready) > 0 {
        return None;
    }
    let counts = [(ServerState::Drain, "in drain"), (ServerState::Maint, "in maintenance")];
    let counts = counts.map(|(state, what)| (service.count(state), what));
    let told = counts.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}"));
    let mut told: Vec<_> = told.collect();
    let down = service.count(ServerState::Down);
    if down > 0 {
        told.insert(0, format!("the checks of {down} fail"));
    }
    Some(format!("no server takes traffic, {}", told.join(", ")))
}

fn of_output(state: &OutputState) -> Vec<Concern> {
    let concern = |error| {
        let text = format!("output {}: {error}", state.name);
        Concern::new(text, state.since_unix_ms, "it is tried again by itself; HAProxy is not affected")
    };
    state.error.iter().map(concern).collect()
}

/// Ports that cannot be had, of services that are still wanted and do not say so themselves.
fn ports_not_had(state: &SocketHolderState, haproxy: &HaproxyState, told: &[Concern]) -> Vec<Concern> {
    let wanted = state.failed.iter().filter(|(service, _)| haproxy.services.contains_key(*service));
    let untold = wanted.filter(|(_, why)| !told.iter().any(|concern| concern.text.contains(why.as_str())));
    let advice = "the other services are served; it is tried again each second";
    untold.map(|(service, why)| Concern::of(service.as_str(), why, None, advice)).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proxymgr_actors::model::BlockedChange;
    use proxymgr_actors::model::ServerName;

    use super::*;

    #[test]
    fn a_service_whose_servers_all_rest_is_a_concern() {
        let state = |servers: &[(&str, ServerState)]| {
            let named = |(name, state): &(&str, ServerState)| (ServerName::new(name).unwrap(), *state);
            let servers: BTreeMap<_, _> = servers.iter().map(named).collect();
            without_traffic(&ServiceState { desired: servers.len(), servers: servers.into(), ..Default::default() })
        };
        assert_eq!(state(&[("a", ServerState::Ready), ("b", ServerState::Down)]), None);
        assert_eq!(state(&[]), None, "what HAProxy has is not known yet");
        let told = state(&[("a", ServerState::Maint), ("b", ServerState::Down), ("c", ServerState::Drain)]);
        assert_eq!(
            told.as_deref(),
            Some("no server takes traffic, the checks of 1 fail, 1 in drain, 1 in maintenance")
        );
    }

    #[test]
    fn a_held_list_tells_since_when_and_the_commands_that_decide() {
        let mut watcher = WatcherState { service: "web".into(), ..WatcherState::default() };
        watcher.confirmed_unix_ms = Some(3);
        watcher.held = Some(BlockedChange { reason: "all gone".into(), since_unix_ms: 5, ..BlockedChange::default() });
        let concerns = concerns(&[ActorState::Watcher(watcher)]);
        assert_eq!(concerns.len(), 1);
        assert_eq!(concerns[0].text, "web: change blocked by guard: all gone");
        assert_eq!((concerns[0].since_unix_ms, concerns[0].service.as_deref()), (Some(5), Some("web")));
        assert_eq!(concerns[0].serves_list_of_unix_ms, Some(3));
        assert!(concerns[0].advice.contains("proxymgr accept web"), "{}", concerns[0].advice);
    }
}
