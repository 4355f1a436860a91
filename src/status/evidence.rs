//! What HAProxy knows of the hosts or services that a blocked change would remove: evidence for the operator who decides.

use std::collections::BTreeMap;

use proxymgr_actors::model::{BlockedChange, ServerName, ServerState, ServiceName};
use proxymgr_actors::snapshot::{HaproxyState, ServiceState};
use serde::Serialize;

use super::format::grouped;

/// Evidence about a blocked change.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Evidence {
    /// The hosts or services that would be removed, as far as they are listed.
    pub removes: Vec<Removed>,
    /// What that indicates, as one sentence; none if nothing would be removed.
    pub verdict: Option<String>,
}

/// A host or service that would be removed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Removed {
    /// Its name.
    pub name: String,
    /// What HAProxy reports of it.
    pub health: Health,
    /// Since when it is down, in milliseconds since 1970; none if it is not, or if that is not known.
    pub down_since_unix_ms: Option<u64>,
}

/// What HAProxy reports of a host, or of all servers of a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Health {
    /// Its checks succeed; of a service: some server is up.
    Up,
    /// It takes traffic, and nothing checks its health.
    Unchecked,
    /// Its checks fail; of a service: no server is up.
    Down,
    /// It is drained or in maintenance.
    Disabled,
    /// HAProxy does not have it.
    Missing,
}

impl Health {
    /// Its name for people.
    pub fn label(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Unchecked => "not checked",
            Self::Down => "down",
            Self::Disabled => "disabled",
            Self::Missing => "not in HAProxy",
        }
    }

    fn of(state: Option<ServerState>, is_checked: bool) -> Self {
        match state {
            Some(ServerState::Ready) if is_checked => Self::Up,
            Some(ServerState::Ready) => Self::Unchecked,
            Some(ServerState::Down) => Self::Down,
            Some(ServerState::Drain | ServerState::Maint) => Self::Disabled,
            None => Self::Missing,
        }
    }

    fn of_service(service: &ServiceState) -> Self {
        let has = |state| service.servers.values().any(|it| *it == state);
        match service.defined.checks_health {
            true if has(ServerState::Ready) => Self::Up,
            false if has(ServerState::Ready) => Self::Unchecked,
            _ if has(ServerState::Down) => Self::Down,
            _ if service.servers.is_empty() => Self::Missing,
            _ => Self::Disabled,
        }
    }
}

impl Evidence {
    /// Evidence about a change of the hosts of a service; none of it is known without the service.
    pub fn of_hosts(change: &BlockedChange, service: Option<&ServiceState>) -> Self {
        let removed = |name: &String| {
            let server = ServerName::new(name).ok().zip(service);
            let state = server.as_ref().and_then(|(name, service)| service.servers.get(name)).copied();
            let since = |(name, service): (ServerName, &ServiceState)| {
                service.exceptions.down_since_unix_ms.get(&name).copied()
            };
            Removed {
                name: name.clone(),
                health: Health::of(state, service.is_some_and(|service| service.defined.checks_health)),
                down_since_unix_ms: server.and_then(since),
            }
        };
        Self::new(change, change.removes.first.iter().map(removed).collect())
    }

    /// Evidence about a change of the service definitions.
    pub fn of_definitions(change: &BlockedChange, haproxy: Option<&HaproxyState>) -> Self {
        let removed = |name: &String| {
            let service = ServiceName::new(name).ok().zip(haproxy);
            let service = service.and_then(|(name, haproxy)| haproxy.services.get(&name));
            let health = service.map_or(Health::Missing, Health::of_service);
            Removed { name: name.clone(), health, down_since_unix_ms: None }
        };
        Self::new(change, change.removes.first.iter().map(removed).collect())
    }

    fn new(change: &BlockedChange, removes: Vec<Removed>) -> Self {
        Self { verdict: verdict(change.removes.count, &removes), removes }
    }
}

/// `2 would go, both up: probably discovery is wrong`.
fn verdict(count: usize, removes: &[Removed]) -> Option<String> {
    if count == 0 {
        return None;
    }
    let mut by_health: BTreeMap<Health, usize> = BTreeMap::new();
    removes.iter().for_each(|removed| *by_health.entry(removed.health).or_default() += 1);
    let kinds: Vec<(Health, usize)> = by_health.into_iter().collect();
    let seen = match kinds.as_slice() {
        [(health, 1)] => health.label().to_owned(),
        [(health, 2)] => format!("both {}", health.label()),
        [(health, _)] => format!("all {}", health.label()),
        several => {
            several.iter().map(|(health, count)| format!("{count} {}", health.label())).collect::<Vec<_>>().join(", ")
        }
    };
    let meaning = match kinds.as_slice() {
        [(Health::Up, _)] => "probably discovery is wrong",
        [(Health::Down | Health::Disabled | Health::Missing, _)] => "probably the change is right",
        _ if kinds.iter().any(|(health, _)| *health == Health::Unchecked) => {
            "without health checks HAProxy cannot know whether they serve"
        }
        _ => "look at each of them",
    };
    let unlisted = count.saturating_sub(removes.len());
    let of = if unlisted > 0 { format!("of the first {}: ", removes.len()) } else { String::new() };
    Some(format!("{} would go, {of}{seen}: {meaning}", grouped(count as u64)))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proxymgr_actors::model::NameSample;
    use proxymgr_actors::snapshot::DefinitionFacts;

    use super::*;

    fn verdict_for(states: &[ServerState], checks_health: bool) -> String {
        let names: Vec<String> = (1..=states.len()).map(|n| format!("10.0.0.{n}:80")).collect();
        let servers = names.iter().zip(states).map(|(name, state)| (ServerName::new(name).unwrap(), *state));
        let mut service = ServiceState {
            servers: Arc::new(servers.collect()),
            defined: DefinitionFacts { checks_health, ..DefinitionFacts::default() },
            ..ServiceState::default()
        };
        service.exceptions.down_since_unix_ms.insert(ServerName::new("10.0.0.1:80").unwrap(), 7);
        let change = BlockedChange { removes: NameSample::of(&names), ..BlockedChange::default() };
        let evidence = Evidence::of_hosts(&change, Some(&service));
        assert_eq!(evidence.removes[0].down_since_unix_ms, Some(7));
        evidence.verdict.unwrap()
    }

    #[test]
    fn healthy_hosts_speak_against_the_change() {
        use ServerState::{Down, Maint, Ready};
        assert_eq!(verdict_for(&[Ready, Ready], true), "2 would go, both up: probably discovery is wrong");
        assert_eq!(verdict_for(&[Down, Down], true), "2 would go, both down: probably the change is right");
        assert_eq!(
            verdict_for(&[Ready, Down, Maint], true),
            "3 would go, 1 up, 1 down, 1 disabled: look at each of them"
        );
        let unchecked = verdict_for(&[Ready], false);
        assert_eq!(unchecked, "1 would go, not checked: without health checks HAProxy cannot know whether they serve");
    }

    #[test]
    fn services_that_serve_speak_against_the_removal_of_their_definitions() {
        let mut haproxy = HaproxyState::default();
        let servers = [(ServerName::new("a").unwrap(), ServerState::Ready)];
        let defined = DefinitionFacts { checks_health: true, ..DefinitionFacts::default() };
        let web = ServiceState { servers: Arc::new(servers.into()), defined, ..ServiceState::default() };
        haproxy.services.insert(ServiceName::new("web").unwrap(), web);
        let change = BlockedChange { removes: NameSample::of(&["web"]), ..BlockedChange::default() };
        let verdict = Evidence::of_definitions(&change, Some(&haproxy)).verdict;
        assert_eq!(verdict.as_deref(), Some("1 would go, up: probably discovery is wrong"));
    }

    #[test]
    fn change_that_removes_nothing_has_no_verdict() {
        assert_eq!(Evidence::of_hosts(&BlockedChange::default(), None), Evidence::default());
    }
}
