//! Problems of definitions, annotations and sources of hosts.

use proxymgr_actors::model::BlockedChange;
use proxymgr_actors::snapshot::{HaproxyState, ServiceConfigState, ServiceState, WatcherState};

use super::{Concern, ConcernKind};
use crate::status::evidence::Evidence;
use crate::status::severity::Severity;

/// Problems of the service definitions and of the annotations.
pub fn of_definitions(state: &ServiceConfigState, haproxy: Option<&HaproxyState>) -> Vec<Concern> {
    let evidence = |change| Evidence::of_definitions(change, haproxy);
    let unreadable = state.source.error.iter().map(|error| {
        let text = format!("service definitions cannot be read: {error}");
        let advice = "the last good definitions stay in use; check the source named in service_config";
        Concern::new(ConcernKind::DefinitionsUnreadable, text, Some(state.source.since_unix_ms), advice)
            .serving_list_of(state.source.read_at_unix_ms)
            .because(shared_part(error), false)
    });
    let annotations = state.annotations.iter().filter_map(|health| {
        let error = health.error.as_ref()?;
        let text = format!("annotations cannot be read: {error}");
        let advice = "the last good annotations stay in use, and no annotation can be written; check the ZooKeeper \
                      named in annotations";
        let concern = Concern::new(ConcernKind::AnnotationsUnreadable, text, Some(health.since_unix_ms), advice);
        Some(concern.serving_list_of(health.read_at_unix_ms).because(shared_part(error), false))
    });
    let blocked = state.held.iter().map(|held| {
        let text = format!("service definitions: change blocked by guard: {}", with_verdict(held, &evidence(held)));
        let advice =
            "`proxymgr accept --definitions` applies it, `proxymgr reject --definitions` keeps the current ones";
        Concern::new(ConcernKind::ChangeBlocked, text, Some(held.since_unix_ms), advice)
    });
    let rejected = state.rejected.iter().map(|change| {
        let text = with_verdict(change, &evidence(change));
        let text = format!("service definitions: change rejected by an operator: {text}");
        let advice = "`proxymgr accept --definitions` still applies it; check the source named in service_config";
        Concern::new(ConcernKind::ChangeRejected, text, Some(change.since_unix_ms), advice)
    });
    let invalid = state.problems.iter().flat_map(|(name, problems)| {
        problems.iter().map(move |problem| {
            let text = format!("definition of {name}: {problem}");
            let advice = "fix the definition at its source; the last good definition, if any, stays in use";
            Concern::new(ConcernKind::DefinitionInvalid, text, None, advice).about(name)
        })
    });
    unreadable.chain(annotations).chain(blocked).chain(rejected).chain(invalid).collect()
}

/// Problems of the source of one service.
pub fn of_watcher(state: &WatcherState, haproxy: Option<&ServiceState>) -> Vec<Concern> {
    let evidence = |change| Evidence::of_hosts(change, haproxy);
    let service = state.service.as_str();
    let unreadable = state.source.error.iter().map(|error| {
        let meanwhile = if state.hosts.is_some() { "its last good hosts stay in use" } else { "it has no hosts" };
        let advice = format!("{meanwhile}; check its source; `proxymgr refresh {service}` retries at once");
        let text = format!("hosts cannot be read: {error}");
        let concern =
            Concern::of(ConcernKind::HostsUnreadable, service, text, Some(state.source.since_unix_ms), advice)
                .serving_list_of(state.confirmed_unix_ms)
                .because(shared_part(error), state.hosts.is_none());
        let severity = if state.lacks_hosts() { Severity::Critical } else { concern.severity };
        Concern { severity, ..concern }
    });
    let blocked = state.held.iter().map(|held| {
        let text = format!("change blocked by guard: {}", with_verdict(held, &evidence(held)));
        let advice =
            format!("`proxymgr accept {service}` applies it, `proxymgr reject {service}` keeps the current hosts");
        Concern::of(ConcernKind::ChangeBlocked, service, text, Some(held.since_unix_ms), advice)
            .serving_list_of(state.confirmed_unix_ms)
    });
    let rejected = state.rejected.iter().map(|change| {
        let text = format!("change rejected by an operator: {}", with_verdict(change, &evidence(change)));
        let advice = format!("`proxymgr accept {service}` still applies it; check its source");
        Concern::of(ConcernKind::ChangeRejected, service, text, Some(change.since_unix_ms), advice)
            .serving_list_of(state.confirmed_unix_ms)
    });
    let invalid = state.problems.iter().map(|(entry, problem)| {
        let text = format!("{entry}: {problem}");
        Concern::of(ConcernKind::EntryInvalid, service, text, None, "fix the entry at its source")
    });
    let waiting = state.hosts.is_none() && state.source.error.is_none() && state.blocked().is_none();
    let waiting = waiting.then(|| {
        let advice = format!("check that its source has entries; `proxymgr refresh {service}` retries at once");
        let since = Some(state.source.since_unix_ms).filter(|since| *since > 0);
        let text = "no list of hosts yet";
        Concern::of(ConcernKind::NoList, service, text, since, advice).because(text, true)
    });
    let empty = state.empty_since_unix_ms.map(|since| {
        let text = "no hosts: its source returns none that can be used, and clients get no answer";
        let advice = "check its source; if the service may be without hosts, set \"min_hosts\": 0 in its definition";
        Concern::of(ConcernKind::NoHosts, service, text, Some(since), advice)
    });
    unreadable.chain(blocked).chain(rejected).chain(invalid).chain(waiting).chain(empty).collect()
}

/// The reason of a blocked change, and what HAProxy knows of it.
fn with_verdict(change: &BlockedChange, evidence: &Evidence) -> String {
    let verdict = evidence.verdict.iter().map(|verdict| format!("; {verdict}"));
    format!("{}{}", change.reason, verdict.collect::<String>())
}

/// The part of a source's error that does not name what one service asked for: without the request `(GET /path)` that
/// errors of HTTP sources end with.
fn shared_part(error: &str) -> &str {
    let requests = ["GET ", "POST ", "PUT "];
    let begin = error.rfind(" (").filter(|at| requests.iter().any(|method| error[at + 2..].starts_with(method)));
    begin.map_or(error, |at| &error[..at])
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proxymgr_actors::model::BlockedChange;

    use super::*;

    #[test]
    fn blocked_change_names_service_time_and_commands() {
        let mut watcher = WatcherState { service: "web".into(), ..WatcherState::default() };
        watcher.confirmed_unix_ms = Some(3);
        watcher.held = Some(BlockedChange { reason: "all gone".into(), since_unix_ms: 5, ..BlockedChange::default() });
        let concerns = of_watcher(&watcher, None);
        let [concern] = concerns.as_slice() else { panic!("one problem per cause: {concerns:?}") };
        assert_eq!(concern.kind, ConcernKind::ChangeBlocked);
        assert_eq!((concern.since_unix_ms, concern.service.as_deref()), (Some(5), Some("web")));
        assert_eq!(concern.serves_list_of_unix_ms, Some(3));
        assert!(concern.advice.contains("proxymgr accept web"), "{}", concern.advice);
    }

    #[test]
    fn empty_list_is_a_problem_with_its_time() {
        let mut watcher = WatcherState { service: "web".into(), ..WatcherState::default() };
        watcher.hosts = Some(Arc::default());
        assert_eq!(of_watcher(&watcher, None), []);
        watcher.empty_since_unix_ms = Some(5);
        let concerns = of_watcher(&watcher, None);
        let [concern] = concerns.as_slice() else { panic!("one problem per cause: {concerns:?}") };
        assert_eq!((concern.kind, concern.since_unix_ms), (ConcernKind::NoHosts, Some(5)));
        assert!(concern.advice.contains("min_hosts"), "{}", concern.advice);
    }

    #[test]
    fn unreadable_source_without_hosts_is_one_problem() {
        let mut watcher = WatcherState { service: "web".into(), ..WatcherState::default() };
        watcher.source.error = Some("connection refused".into());
        let kinds: Vec<_> = of_watcher(&watcher, None).iter().map(|concern| concern.kind).collect();
        assert_eq!(kinds, [ConcernKind::HostsUnreadable]);
    }
}
