//! The hosts of one backend, also when a part of it cannot be looked up.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use proxymgr_actors::decide::option_policy::OptionPolicy;
use proxymgr_actors::limits::DNS_TARGETS_MAX;
use proxymgr_actors::model::HostRecord;
use tokio::time::Instant;

use super::backends::{Backend, Question};
use super::name_servers::{Answer, Completeness, Found, NameServers, RecordKind};
use super::rotation::Rotation;

/// HAProxy's largest weight.
const WEIGHT_MAX: u16 = 256;

/// One query, as in messages: `a.example AAAA`.
pub(super) type Part = Arc<str>;

/// What earlier look-ups of a backend found.
#[derive(Debug, Default)]
pub(super) struct LastKnown {
    /// The last known hosts, each with its query.
    pub(super) hosts: RefCell<Vec<(Part, Entry)>>,
    /// The recent answers to each query.
    rotations: RefCell<BTreeMap<Part, Rotation>>,
}

/// The key of a host, and the host or its error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) key: Arc<str>,
    pub(super) host: Result<HostRecord, String>,
}

/// The result of the look-up of a backend.
#[derive(Debug, Default)]
pub(super) struct LookUp {
    /// The hosts.
    pub(super) hosts: Vec<(Part, Entry)>,
    /// The queries that failed. Their last known hosts stay.
    pub(super) failures: BTreeMap<Part, String>,
    /// The queries whose answers rotate, each with a report.
    pub(super) rotating: BTreeMap<Part, String>,
    /// The shortest TTL.
    pub(super) ttl: Option<Duration>,
}

impl LookUp {
    fn record(&mut self, part: Part, result: Result<Answer, String>) -> Vec<Found> {
        match result {
            Ok(answer) => {
                self.ttl = self.ttl.into_iter().chain(answer.ttl).min();
                answer.found
            }
            Err(error) => {
                self.failures.insert(part, error);
                Vec::new()
            }
        }
    }
}

impl LastKnown {
    /// The records to use after an answer.
    fn settle(&self, part: &Part, found: Vec<Found>, looked_up: &mut LookUp) -> Vec<Found> {
        if looked_up.failures.contains_key(part) {
            return found;
        }
        let mut rotations = self.rotations.borrow_mut();
        let rotation = rotations.entry(part.clone()).or_default();
        let found = rotation.settle(found, Instant::now());
        looked_up.rotating.extend(rotation.report().map(|report| (part.clone(), report.to_owned())));
        found
    }
}

/// Looks up a backend.
pub(super) async fn look_up(
    backend: &Backend,
    known: &LastKnown,
    servers: &NameServers,
    policy: &OptionPolicy,
) -> LookUp {
    let mut looked_up = LookUp::default();
    match &backend.question {
        Question::Address(ip) => {
            looked_up.hosts.push((part(&ip.to_string(), "address"), entry(backend, *ip, None, policy)))
        }
        Question::Name(name) => {
            for (part, ip) in addresses(name, &backend.families, Some(known), servers, &mut looked_up).await {
                looked_up.hosts.push((part, entry(backend, ip, None, policy)));
            }
        }
        Question::Service(name) => look_up_service(name, backend, known, servers, policy, &mut looked_up).await,
    }
    looked_up
}

async fn look_up_service(
    name: &str,
    backend: &Backend,
    known: &LastKnown,
    servers: &NameServers,
    policy: &OptionPolicy,
    looked_up: &mut LookUp,
) {
    let service = part(name, record_name(RecordKind::Srv));
    let answer = servers.ask(name, RecordKind::Srv, Completeness::Compared).await;
    let found = looked_up.record(service.clone(), answer);
    let found = known.settle(&service, found, looked_up);
    let last = known.hosts.borrow().clone();
    if !last.is_empty()
        && let Some(error) = looked_up.failures.remove(&service)
    {
        // The targets are not known: all hosts stay.
        looked_up.failures.extend(last.iter().map(|(part, _)| (part.clone(), error.clone())));
    }
    if !looked_up.failures.is_empty() {
        return;
    }
    let mut targets = targets(found);
    if targets.len() > DNS_TARGETS_MAX {
        let error = format!("{} targets; only the first {DNS_TARGETS_MAX} are used", targets.len());
        looked_up.failures.insert(service, error);
        targets.truncate(DNS_TARGETS_MAX);
    }
    let look_ups = targets.iter().map(|target| async {
        let mut looked_up = LookUp::default();
        let addresses = addresses(&target.name, &backend.families, None, servers, &mut looked_up).await;
        (addresses, looked_up)
    });
    for (target, (addresses, of_target)) in targets.iter().zip(join_all(look_ups).await) {
        looked_up.failures.extend(of_target.failures);
        looked_up.ttl = looked_up.ttl.into_iter().chain(of_target.ttl).min();
        let hosts = addresses.into_iter().map(|(part, ip)| (part, entry(backend, ip, Some(target), policy)));
        looked_up.hosts.extend(hosts);
    }
}

/// The addresses of a name, each with its query. `known` is that of a name whose answers may be incomplete; without it,
/// the name is that of one host.
async fn addresses(
    name: &str,
    families: &[RecordKind],
    known: Option<&LastKnown>,
    servers: &NameServers,
    looked_up: &mut LookUp,
) -> Vec<(Part, IpAddr)> {
    let mut addresses = Vec::new();
    let completeness = if known.is_some() { Completeness::Compared } else { Completeness::Assumed };
    let answers = join_all(families.iter().map(|kind| servers.ask(name, *kind, completeness))).await;
    for (kind, answer) in families.iter().zip(answers) {
        let part = part(name, record_name(*kind));
        let found = looked_up.record(part.clone(), answer);
        let found = match known {
            Some(known) => known.settle(&part, found, looked_up),
            None => found,
        };
        for found in found {
            if let Found::Address(ip) = found {
                addresses.push((part.clone(), ip));
            }
        }
    }
    addresses
}

/// A host of a service, from its SRV record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) name: String,
    port: u16,
    pub(super) weight: Option<u16>,
    priority: u16,
    pub(super) backup: bool,
}

/// Targets with the lowest priority are active, the others are backups. Weights keep their proportions.
pub(super) fn targets(found: Vec<Found>) -> Vec<Target> {
    let records = found.into_iter().filter_map(|found| match found {
        Found::Service { priority, weight, port, target: Some(target) } => Some((priority, weight, port, target)),
        _ => None,
    });
    let records = Vec::from_iter(records);
    let first = records.iter().map(|(priority, ..)| *priority).min();
    let heaviest = records.iter().map(|(_, weight, ..)| *weight).max().unwrap_or_default();
    let has_zero = records.iter().any(|(_, weight, ..)| *weight == 0);
    let target = |(priority, weight, port, name): (u16, u16, u16, String)| Target {
        name,
        port,
        weight: haproxy_weight(weight, heaviest, has_zero),
        priority,
        backup: Some(priority) != first,
    };
    records.into_iter().map(target).collect()
}

/// The weight for HAProxy; none if all records have the weight 0, which means no weights. Beside other weights, 0 is
/// "a very small chance" (RFC 2782), but no traffic at all in HAProxy.
fn haproxy_weight(weight: u16, heaviest: u16, has_zero: bool) -> Option<u16> {
    if heaviest == 0 {
        return None;
    }
    let scaled = if heaviest > WEIGHT_MAX {
        let (weight, heaviest) = (u32::from(weight), u32::from(heaviest));
        u16::try_from(weight * u32::from(WEIGHT_MAX) / heaviest).unwrap_or(WEIGHT_MAX)
    } else if has_zero {
        weight * (WEIGHT_MAX / heaviest)
    } else {
        weight
    };
    Some(scaled.max(1))
}

fn entry(backend: &Backend, ip: IpAddr, target: Option<&Target>, policy: &OptionPolicy) -> Entry {
    match backend.host(ip, target.map(|target| target.port), policy) {
        Ok(mut record) => {
            if let Some(target) = target {
                let host = Arc::make_mut(&mut record.host);
                host.weight = target.weight;
                host.backup = target.backup;
                // Of several backups, that of the lower priority comes first.
                host.priority = target.backup.then_some(target.priority);
            }
            Entry { key: record.host.endpoint.to_string().into(), host: Ok(record) }
        }
        Err(error) => {
            let name = target.map_or_else(|| backend.question.to_string(), |target| target.name.clone());
            Entry { key: format!("{name} {ip}").into(), host: Err(format!("{name} with the address {ip}: {error}")) }
        }
    }
}

fn part(name: &str, kind: &str) -> Part {
    format!("{} {kind}", name.trim_end_matches('.')).into()
}

fn record_name(kind: RecordKind) -> &'static str {
    match kind {
        RecordKind::A => "A",
        RecordKind::Aaaa => "AAAA",
        RecordKind::Srv => "SRV",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(priority: u16, weight: u16, target: &str) -> Found {
        let target = (target != ".").then(|| target.to_owned());
        Found::Service { priority, weight, port: 80, target }
    }

    fn weights(found: Vec<Found>) -> Vec<(Option<u16>, bool)> {
        targets(found).into_iter().map(|target| (target.weight, target.backup)).collect()
    }

    #[test]
    fn lowest_priority_is_active() {
        let found = vec![service(10, 5, "a"), service(20, 5, "b"), service(10, 5, "c"), service(30, 5, "d")];
        let backup = Vec::from_iter(targets(found).into_iter().map(|target| target.backup));
        assert_eq!(backup, [false, true, false, true]);
    }

    #[test]
    fn weights_are_scaled_to_the_limits_of_haproxy() {
        assert_eq!(weights(vec![service(1, 0, "a"), service(1, 0, "b")]), [(None, false), (None, false)]);
        assert_eq!(weights(vec![service(1, 3, "a"), service(1, 1, "b")]), [(Some(3), false), (Some(1), false)]);
        assert_eq!(
            weights(vec![service(1, 60_000, "a"), service(1, 30_000, "b")]),
            [(Some(256), false), (Some(128), false)]
        );
        assert_eq!(weights(vec![service(1, 60_000, "a"), service(1, 1, "b")]), [(Some(256), false), (Some(1), false)]);
        assert_eq!(weights(vec![service(1, 2, "a"), service(1, 0, "b")]), [(Some(256), false), (Some(1), false)]);
    }

    #[test]
    fn root_target_means_no_service() {
        assert_eq!(targets(vec![service(0, 0, ".")]), []);
    }
}
