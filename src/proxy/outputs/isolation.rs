//! Isolation of services whose data a template's check refuses, so that the others are still updated.
//!
//! The text with the last accepted data of all services has to pass, or else the mistake is not that of a service. Then
//! the changed services are tried in groups, which are halved, as those of HAProxy's configuration are.

use std::collections::{BTreeMap, BTreeSet};

use proxymgr_actors::decide::search::{Finding, References, Search};
use proxymgr_actors::limits::{OUTPUT_TRIAL_TIME_MAX, OUTPUT_TRIALS_MAX};
use proxymgr_actors::model::ServiceName;
use tokio::time::Instant;

use super::view::ServiceView;

/// The services by name.
pub(super) type Views = BTreeMap<ServiceName, ServiceView>;

/// The services that the check accepts together.
#[derive(Debug, PartialEq)]
pub(super) struct Isolated {
    /// The accepted data of each service.
    pub services: Views,
    /// The services whose newest data is not used, with the message of the check; `None` where it was not tried.
    pub refused: BTreeMap<ServiceName, Option<String>>,
}

/// Finds the services whose newest data is refused. They have their data of `good`, or are left out. `refused` was refused
/// before, and is tried last. Returns `None` where the mistake is not that of single services.
pub(super) async fn isolate(
    wanted: &Views,
    good: &Views,
    refused: &BTreeSet<ServiceName>,
    mut check: impl AsyncFnMut(&Views) -> Result<(), String>,
) -> Option<Isolated> {
    let deadline = Instant::now() + OUTPUT_TRIAL_TIME_MAX;
    let differs = |name: &&ServiceName| good.get(*name) != wanted.get(*name);
    let suspects: BTreeSet<ServiceName> = wanted.keys().filter(differs).cloned().collect();
    let mut services: Views = good
        .iter()
        .filter(|(name, _)| wanted.contains_key(*name))
        .map(|(name, view)| (name.clone(), view.clone()))
        .collect();
    check(&services).await.ok()?;
    let mut trials = 1;
    let mut bad: BTreeMap<ServiceName, Option<String>> = BTreeMap::new();
    let (known, new): (BTreeSet<_>, BTreeSet<_>) = suspects.into_iter().partition(|name| refused.contains(name));
    // A service may need what another one gives up, so those that are refused are tried once more after all others.
    for round in [new, known, BTreeSet::new()] {
        let round = if round.is_empty() { bad.keys().cloned().collect() } else { round };
        let mut search = Search::new(round, References::new());
        while let Some(group) = search.next_group() {
            if trials >= OUTPUT_TRIALS_MAX || Instant::now() >= deadline {
                break;
            }
            trials += 1;
            let mut tried = services.clone();
            tried.extend(group.iter().filter_map(|name| Some((name.clone(), wanted.get(name)?.clone()))));
            match check(&tried).await {
                Ok(()) => {
                    group.iter().for_each(|name| drop(bad.remove(name)));
                    services = tried;
                    search.group_accepted();
                }
                Err(message) => {
                    if let Finding::Bad(name) = search.group_refused(&BTreeSet::new()) {
                        bad.insert(name, Some(message));
                    }
                }
            }
        }
    }
    let not_used = wanted.iter().filter(|(name, view)| services.get(*name) != Some(view));
    let refused = not_used.map(|(name, _)| (name.clone(), bad.remove(name).flatten())).collect();
    Some(Isolated { services, refused })
}

#[cfg(test)]
mod tests {
    use super::super::view::tests::service;
    use super::*;

    fn views(names: impl IntoIterator<Item = String>) -> Views {
        names.into_iter().map(|name| (ServiceName::new(&name).unwrap(), service(&name))).collect()
    }

    fn changed(views: &Views, name: &str, domain: &str) -> Views {
        let mut views = views.clone();
        views.get_mut(&ServiceName::new(name).unwrap()).unwrap().domains = vec![domain.to_owned()];
        views
    }

    /// Refuses each service with this domain, and counts.
    async fn isolated(wanted: &Views, good: &Views, is_good: impl Fn(&Views) -> bool) -> (Option<Isolated>, usize) {
        let mut trials = 0;
        let check = async |views: &Views| {
            trials += 1;
            if is_good(views) { Ok(()) } else { Err("refused".to_owned()) }
        };
        let isolated = isolate(wanted, good, &BTreeSet::new(), check).await;
        (isolated, trials)
    }

    fn without_bad(views: &Views) -> bool {
        !views.values().any(|view| view.domains == ["bad"])
    }

    #[tokio::test]
    async fn bad_services_are_found_among_many() {
        let good = views((0..200).map(|n| format!("s{n}")));
        let wanted = changed(&changed(&changed(&good, "s7", "bad"), "s8", "new"), "s150", "bad");
        let (found, trials) = isolated(&wanted, &good, without_bad).await;
        let found = found.unwrap();
        assert_eq!(found.refused.keys().map(ServiceName::as_str).collect::<Vec<_>>(), ["s150", "s7"]);
        assert_eq!(found.services, changed(&good, "s8", "new"), "the last good data stays");
        assert!(trials < 16, "{trials}");

        let (found, trials) = isolated(&wanted, &Views::new(), without_bad).await;
        let found = found.unwrap();
        assert_eq!(found.services.len(), 198, "without a last good version they are left out");
        assert!(trials < 45, "{trials}");
    }

    #[tokio::test]
    async fn mistake_of_the_template_is_nobodys() {
        let good = views(["a".to_owned()]);
        assert_eq!(isolated(&changed(&good, "a", "new"), &good, |_| false).await, (None, 1));
    }

    #[tokio::test]
    async fn name_that_differs_by_case_is_left_out() {
        let good = views(["web".to_owned()]);
        let wanted = views(["web", "WEB", "api"].map(str::to_owned));
        let conflict = |views: &Views| {
            let lower: BTreeSet<String> = views.keys().map(|name| name.as_str().to_lowercase()).collect();
            lower.len() == views.len()
        };
        let found = isolated(&wanted, &good, conflict).await.0.unwrap();
        assert_eq!(found.refused.keys().map(ServiceName::as_str).collect::<Vec<_>>(), ["WEB"]);
        assert_eq!(found.services.len(), 2);
    }

    #[tokio::test]
    async fn exchanged_data_passes_in_the_end() {
        let base = views(["a", "b"].map(str::to_owned));
        let good = changed(&changed(&base, "a", "free"), "b", "shared");
        let wanted = changed(&changed(&base, "a", "shared"), "b", "bad");
        let wanted = changed(&wanted, "b", "other");
        let unique = |views: &Views| {
            let domains: BTreeSet<_> = views.values().flat_map(|view| &view.domains).collect();
            domains.len() == views.len()
        };
        let found = isolated(&wanted, &good, unique).await.0.unwrap();
        assert_eq!(found, Isolated { services: wanted, refused: BTreeMap::new() });
    }

    #[tokio::test]
    async fn trials_are_bounded() {
        let wanted = views((0..1_000).map(|n| format!("s{n}")));
        let (found, trials) = isolated(&wanted, &Views::new(), Views::is_empty).await;
        assert!(trials <= OUTPUT_TRIALS_MAX);
        assert_eq!(found.unwrap().refused.len(), 1_000);
    }
}
