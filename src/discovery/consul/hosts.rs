//! Hosts from the health endpoint: the instances of a service that pass their checks.
//!
//! | key | meaning |
//! | --- | --- |
//! | `service` | its name in Consul |
//! | `tags` | only instances with all of these tags |
//! | `node_meta` | only instances on nodes with these pairs |
//! | `datacenter`, `namespace` | of the query |
//! | `passing` | `false`: instances in any health; those in maintenance have that state |
//! | `stale` | `true`: any server may answer, not only the leader |
//! | `filter` | a filter expression of Consul |
//! | `server` | agents in place of those of the settings; they receive no token |
//!
//! An instance without an address has the address of its node. Its weight is that of its health (`Weights`), unless
//! that is 1, which is also Consul's default. Further keys of a host are in the instance's meta data:
//! `proxymgr_weight`, `_backup`, `_priority`, `_name`, `_cookie`, `_state`, `_options`. The rest of it, and the tags, are
//! labels of the host.

use std::collections::BTreeMap;
use std::sync::Arc;

use actix::Recipient;
use proxymgr_actors::decide::host_record;
use proxymgr_actors::decide::option_policy::OptionPolicy;
use proxymgr_actors::message::{HostsSeen, SeenHost};
use proxymgr_actors::model::definition_key::key;
use proxymgr_actors::model::{DefinitionKey, HostRecord, SourceSpec};
use serde::Deserialize;
use serde_json::{Map, Value};
use tokio::time::Instant;

use super::Consul;
use super::blocking::Blocking;
use crate::discovery::http::{FullResponse, HttpError, escaped};
use crate::discovery::settings::{optional, required, servers, texts};
use crate::discovery::snapshot_watch::{SnapshotReader, SnapshotWatch};

/// The prefix of the relevant keys of the meta data.
const META_PREFIX: &str = "proxymgr_";

/// The keys after the prefix.
const META_KEYS: [&str; 7] = ["weight", "backup", "priority", "name", "cookie", "state", "options"];

/// The keys of a definition that this kind of source reads.
pub(in crate::discovery) const KEYS: &[DefinitionKey] = &[
    key(
        "service",
        "name",
        "The service in Consul, whose passing instances are the hosts, with their `Weights`. Required.",
    ),
    key("tags", "list of tags", "Only instances that have all of these."),
    key("node_meta", "map", "Only instances on nodes with these pairs: `{\"rack\": \"a\"}`."),
    key("datacenter", "name", "The datacenter. Default: `consul.datacenter`."),
    key("namespace", "name", "The namespace, in Consul Enterprise."),
    key(
        "passing",
        "true or false",
        "`false`: all instances, whatever their checks; those in maintenance have the state `maint`. Default: `true`.",
    ),
    key("stale", "true or false", "`true`: any server may answer, not only the leader."),
    key(
        "filter",
        "filter expression",
        "Only instances that Consul's filter language selects: `Service.Meta.version == \"2\"`.",
    ),
    key("server", "URL, ...", "Other agents, which get no token. Default: `consul.servers`."),
];

/// The permissions of a token that may read all instances.
const PERMISSIONS: &str = "service:read and node:read for all instances";

/// Watches the service that the definition names.
pub(in crate::discovery) fn open(
    spec: &SourceSpec,
    consul: &Consul,
    options: &Arc<OptionPolicy>,
    watcher: Recipient<HostsSeen>,
) -> Result<SnapshotWatch, String> {
    let service: String = required(spec, "service", "the name of the service in Consul, like \"web\"")?;
    if service.is_empty() {
        return Err("\"service\" is empty: the name of the service in Consul".to_owned());
    }
    let passing = optional::<bool>(spec, "passing")?.unwrap_or(true);
    let mut query = Vec::new();
    if passing {
        query.push(("passing", String::new()));
    }
    if optional::<bool>(spec, "stale")?.unwrap_or(false) {
        query.push(("stale", String::new()));
    }
    query.extend(texts(spec, "tags")?.into_iter().map(|tag| ("tag", tag)));
    for (key, value) in optional::<BTreeMap<String, String>>(spec, "node_meta")?.unwrap_or_default() {
        query.push(("node-meta", format!("{key}:{value}")));
    }
    let datacenter = optional::<String>(spec, "datacenter")?.or_else(|| consul.inner.datacenter.clone());
    query.extend(datacenter.map(|datacenter| ("dc", datacenter)));
    query.extend(optional::<String>(spec, "namespace")?.map(|namespace| ("ns", namespace)));
    query.extend(optional::<String>(spec, "filter")?.map(|filter| ("filter", filter)));
    let path = format!("/v1/health/service/{}", escaped(&service));
    let blocking = consul.inner.agents.watch(servers(spec, "http://consul:8500")?, path, query, PERMISSIONS);
    Ok(SnapshotWatch::start(Instances { blocking, service, options: options.clone(), watcher }))
}

struct Instances {
    blocking: Blocking,
    service: String,
    options: Arc<OptionPolicy>,
    watcher: Recipient<HostsSeen>,
}

impl SnapshotReader for Instances {
    type Snapshot = Vec<SeenHost>;

    async fn next(&mut self) -> Result<(Self::Snapshot, Instant), HttpError> {
        let decode = async |answer: FullResponse| answer.success()?.json::<Vec<Entry>>().await;
        let (entries, seen_at) = self.blocking.next(decode).await?;
        let mut hosts: Vec<SeenHost> = entries.iter().map(|entry| self.seen_host(entry)).collect();
        hosts.sort_unstable_by(|a, b| a.key.cmp(&b.key));
        Ok((hosts, seen_at))
    }

    fn start_over(&mut self) {
        self.blocking.start_over();
    }

    fn another(&self) -> Option<Self> {
        let Self { blocking, service, options, watcher } = self;
        let (service, options, watcher) = (service.clone(), options.clone(), watcher.clone());
        Some(Self { blocking: blocking.another(), service, options, watcher })
    }

    fn report(&self, snapshot: Result<&Self::Snapshot, String>, seen_at: Instant, missed: bool) {
        self.watcher.do_send(HostsSeen { result: snapshot.cloned(), seen_at, missed });
    }
}

impl Instances {
    fn seen_host(&self, entry: &Entry) -> SeenHost {
        let (node, id) = (&entry.node.node, &entry.service.id);
        let host = read_host(entry, &self.options);
        let place = |error| format!("service {}, instance {id:?} on node {node}: {error}", self.service);
        SeenHost::of_record(format!("{node}/{id}"), host.map_err(place))
    }
}

/// The relevant part of one element of the response: <https://developer.hashicorp.com/consul/api-docs/health>.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Entry {
    node: Node,
    service: Service,
    #[serde(default)]
    checks: Vec<Check>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Node {
    node: String,
    #[serde(default)]
    address: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Service {
    #[serde(rename = "ID")]
    id: String,
    #[serde(default)]
    address: String,
    #[serde(default)]
    port: i64,
    weights: Option<Weights>,
    meta: Option<BTreeMap<String, String>>,
    tags: Option<Vec<String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Weights {
    passing: i64,
    warning: i64,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Check {
    #[serde(rename = "CheckID")]
    check_id: String,
    status: String,
}

impl Entry {
    /// Whether one of its checks has this status.
    fn has(&self, status: &str) -> bool {
        self.checks.iter().any(|check| check.status == status)
    }

    fn is_in_maintenance(&self) -> bool {
        let is_maintenance = |id: &str| id == "_node_maintenance" || id.starts_with("_service_maintenance");
        self.checks.iter().any(|check| check.status == "critical" && is_maintenance(&check.check_id))
    }

    /// Its weight; none if it is Consul's default.
    fn weight(&self) -> Option<i64> {
        let weights = self.service.weights.as_ref()?;
        let has_warning = self.has("warning") && !self.has("critical");
        if has_warning { Some(weights.warning) } else { Some(weights.passing) }.filter(|weight| *weight != 1)
    }
}

/// Converts the entry to the host record of all sources, so that the same rules and messages apply.
pub(super) fn read_host(entry: &Entry, options: &OptionPolicy) -> Result<HostRecord, String> {
    let address = if entry.service.address.is_empty() { &entry.node.address } else { &entry.service.address };
    let mut record = Map::new();
    record.insert("address".into(), Value::from(address.as_str()));
    record.insert("port".into(), Value::from(entry.service.port));
    if let Some(weight) = entry.weight() {
        record.insert("weight".into(), Value::from(weight));
    }
    record.insert("tags".into(), entry.service.tags.iter().flatten().map(String::as_str).collect());
    let mut labels = Map::new();
    for (key, value) in entry.service.meta.iter().flatten() {
        let Some(ours) = key.strip_prefix(META_PREFIX) else {
            labels.insert(key.clone(), Value::from(value.as_str()));
            continue;
        };
        if !META_KEYS.contains(&ours) {
            return Err(format!(
                "the meta key {key:?} is not one of {META_PREFIX}{}",
                META_KEYS.join(&format!(", {META_PREFIX}"))
            ));
        }
        record.insert(ours.to_owned(), Value::from(value.as_str()));
    }
    record.insert("meta".into(), Value::Object(labels));
    // An operator's command overrides the instance's own state.
    if entry.is_in_maintenance() {
        record.insert("state".into(), Value::from("maint"));
    }
    host_record::from_json_value(&Value::Object(record), options)
}

#[cfg(test)]
mod tests {
    use proxymgr_actors::model::{Host, HostLabels};
    use serde_json::json;

    use super::*;

    fn host(service: Value, checks: Value) -> Result<Host, String> {
        let entry = json!({"Node": {"Node": "n", "Address": "10.0.0.9"}, "Service": service, "Checks": checks});
        let record = read_host(&serde_json::from_value(entry).unwrap(), &OptionPolicy::default());
        record.map(|record| Host::clone(&record.host))
    }

    fn check(id: &str, status: &str) -> Value {
        json!({"CheckID": id, "Status": status})
    }

    #[test]
    fn address_defaults_to_that_of_the_node() {
        let own = host(json!({"ID": "w", "Address": "10.0.0.1", "Port": 80}), json!([])).unwrap();
        assert_eq!(own.endpoint.to_string(), "10.0.0.1:80");
        let nodes = host(json!({"ID": "w", "Address": "", "Port": 80, "Meta": null}), json!([])).unwrap();
        assert_eq!(nodes.endpoint.to_string(), "10.0.0.9:80");
    }

    #[test]
    fn weight_depends_on_health() {
        let service = |passing: i64, warning: i64| json!({"ID": "w", "Port": 80, "Weights": {"Passing": passing, "Warning": warning}});
        let weight = |service: Value, statuses: &[&str]| {
            let checks: Vec<Value> = statuses.iter().map(|status| check("c", status)).collect();
            host(service, json!(checks)).map(|host| host.weight)
        };
        assert_eq!(weight(service(10, 5), &["passing"]), Ok(Some(10)));
        assert_eq!(weight(service(10, 5), &["passing", "warning"]), Ok(Some(5)));
        assert_eq!(weight(service(10, 0), &["warning"]), Ok(Some(0)));
        assert_eq!(weight(service(1, 1), &[]), Ok(None), "Consul's default is HAProxy's");
        let error = weight(service(300, 1), &[]).unwrap_err();
        assert!(error.contains("\"weight\": 300 is not a whole number from 0 to 256"), "{error}");
    }

    #[test]
    fn maintenance_is_a_state() {
        use proxymgr_actors::model::AdminState;
        let state =
            |id: &str, status: &str| host(json!({"ID": "w", "Port": 80}), json!([check(id, status)])).unwrap().state;
        assert_eq!(state("_service_maintenance:w", "critical"), AdminState::Maint);
        assert_eq!(state("_node_maintenance", "critical"), AdminState::Maint);
        assert_eq!(state("http", "critical"), AdminState::Ready);
    }

    #[test]
    fn meta_data_has_the_other_keys() {
        let with = |meta: Value| host(json!({"ID": "w", "Port": 80, "Meta": meta}), json!([]));
        let host = with(json!({"proxymgr_backup": "true", "proxymgr_weight": "3", "version": "7"})).unwrap();
        assert_eq!((host.backup, host.weight), (true, Some(3)));
        assert_eq!(host.labels.as_deref(), Some(&HostLabels::of_host([], [("version", "7")])));
        assert!(with(json!({"proxymgr_wait": "3"})).unwrap_err().contains("proxymgr_wait"));
    }

    #[test]
    fn tags_are_those_of_the_host() {
        let tagged = host(json!({"ID": "w", "Port": 80, "Tags": ["blue", "v2"]}), json!([])).unwrap();
        assert_eq!(tagged.labels.as_deref(), Some(&HostLabels::of_host(["blue", "v2"], [])));
        assert_eq!(host(json!({"ID": "w", "Port": 80, "Tags": null}), json!([])).unwrap().labels, None);
    }
}
