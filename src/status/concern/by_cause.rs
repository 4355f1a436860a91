//! One problem per cause: services whose sources fail for one reason have one problem, not one each.

use std::collections::HashMap;

use super::{Cause, Concern, ConcernKind};
use crate::status::format::counted;

/// Joins problems with the same cause, in the place of the first one. All others stay as they are.
pub fn by_cause(concerns: Vec<Concern>) -> Vec<Concern> {
    let mut groups: Vec<Vec<Concern>> = Vec::new();
    let mut known: HashMap<String, usize> = HashMap::new();
    for concern in concerns {
        let at = concern.cause.as_ref().and_then(|cause| known.get(&cause.text)).copied();
        match at {
            Some(at) => groups[at].push(concern),
            None => {
                known.extend(concern.cause.iter().map(|cause| (cause.text.clone(), groups.len())));
                groups.push(vec![concern]);
            }
        }
    }
    groups.into_iter().map(joined).collect()
}

/// Several problems with one cause as one.
fn joined(mut group: Vec<Concern>) -> Concern {
    let Some(cause) = group.first().and_then(|first| first.cause.clone()).filter(|_| group.len() > 1) else {
        return group.remove(0);
    };
    let services: Vec<String> = group.iter().flat_map(|concern| concern.services.iter().cloned()).collect();
    let lacking = group.iter().filter(|concern| concern.cause.as_ref().is_some_and(|cause| cause.lacks_hosts)).count();
    // The hosts of services matter to clients; the definitions that the same cause concerns come with them.
    let is_of_hosts = |concern: &&Concern| !concern.services.is_empty();
    let kind = group.iter().find(is_of_hosts).map_or(group[0].kind, |concern| concern.kind);
    let mut also: Vec<ConcernKind> = group.iter().map(|concern| concern.kind).filter(|other| *other != kind).collect();
    also.dedup();
    let text = text(&cause, services.len(), lacking, std::iter::once(&kind).chain(&also));
    Concern {
        severity: group.iter().map(|concern| concern.severity).max().unwrap_or_default(),
        serves_list_of_unix_ms: group.iter().filter_map(|concern| concern.serves_list_of_unix_ms).min(),
        services,
        also,
        ..Concern::new(kind, text, group.iter().filter_map(|concern| concern.since_unix_ms).min(), advice(kind))
    }
}

fn advice(kind: ConcernKind) -> &'static str {
    match kind {
        ConcernKind::NoList => "check that their sources have entries; `proxymgr refresh` retries at once",
        _ => "the last good lists stay in use; check the source; `proxymgr refresh` retries at once",
    }
}

/// `connection refused: ZooKeeper zk1:2181: 300 services on their last list, 2 services without hosts, definitions`.
fn text<'a>(
    Cause { text, .. }: &Cause,
    services: usize,
    lacking: usize,
    kinds: impl Iterator<Item = &'a ConcernKind>,
) -> String {
    let served = services - lacking;
    let mut effects = Vec::new();
    if served > 0 {
        effects.push(format!(
            "{} on {} last list",
            counted(served, "service"),
            if served == 1 { "its" } else { "their" }
        ));
    }
    if lacking > 0 {
        effects.push(format!("{} without hosts", counted(lacking, "service")));
    }
    for kind in kinds {
        effects.extend(match kind {
            ConcernKind::DefinitionsUnreadable => Some("the service definitions cannot be read".to_owned()),
            ConcernKind::AnnotationsUnreadable => Some("the annotations cannot be read".to_owned()),
            _ => None,
        });
    }
    format!("{text}: {}", effects.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::severity::Severity;

    fn unreadable(service: &str, cause: &str, since_unix_ms: u64) -> Concern {
        let text = format!("hosts cannot be read: {cause} (GET /{service})");
        Concern::of(ConcernKind::HostsUnreadable, service, text, Some(since_unix_ms), "")
            .serving_list_of(Some(since_unix_ms))
            .because(cause, false)
    }

    #[test]
    fn services_of_one_lost_ensemble_are_one_problem() {
        let zk = "connection refused: ZooKeeper zk1:2181";
        let definitions = Concern::new(ConcernKind::DefinitionsUnreadable, "x", Some(9), "").because(zk, false);
        let lacking = Concern { severity: Severity::Critical, ..unreadable("c", zk, 8).because(zk, true) };
        let other = unreadable("d", "connection refused: Consul", 7);
        let joined =
            by_cause(vec![definitions, unreadable("a", zk, 6), unreadable("b", zk, 5), lacking, other.clone()]);
        let [zookeeper, consul] = joined.as_slice() else { panic!("one problem per cause: {joined:?}") };
        assert_eq!(*consul, other);
        assert_eq!(zookeeper.kind, ConcernKind::HostsUnreadable);
        assert_eq!(zookeeper.also, [ConcernKind::DefinitionsUnreadable]);
        assert_eq!((zookeeper.since_unix_ms, zookeeper.serves_list_of_unix_ms), (Some(5), Some(5)));
        assert_eq!(
            (zookeeper.services.as_slice(), zookeeper.service.as_ref()),
            (&["a", "b", "c"].map(String::from)[..], None)
        );
        assert_eq!(zookeeper.severity, Severity::Critical);
        let expected = "2 services on their last list, 1 service without hosts, the service definitions cannot be read";
        assert_eq!(zookeeper.text, format!("{zk}: {expected}"));
    }

    #[test]
    fn definitions_and_annotations_of_one_source_are_one_problem() {
        let of = |kind| Concern::new(kind, "x", None, "").because("connection refused: ZooKeeper zk1:2181", false);
        let joined = by_cause(vec![of(ConcernKind::DefinitionsUnreadable), of(ConcernKind::AnnotationsUnreadable)]);
        let [concern] = joined.as_slice() else { panic!("one problem per cause: {joined:?}") };
        assert_eq!(
            (concern.kind, concern.also.as_slice()),
            (ConcernKind::DefinitionsUnreadable, &[ConcernKind::AnnotationsUnreadable][..])
        );
        assert!(
            concern.text.ends_with("the service definitions cannot be read, the annotations cannot be read"),
            "{}",
            concern.text
        );
    }
}
