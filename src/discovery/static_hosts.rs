//! Hosts that are listed in the definition itself: `{"type": "static", "hosts": ["10.0.0.1:80", {"address": ...,
//! "port": ...}]}`.

use std::sync::Arc;

use actix::Recipient;
use proxymgr_actors::decide::host_record;
use proxymgr_actors::decide::option_policy::OptionPolicy;
use proxymgr_actors::message::{HostsSeen, SeenHost};
use proxymgr_actors::model::definition_key::key as documented;
use proxymgr_actors::model::{DefinitionKey, HostRecord, SourceSpec};
use proxymgr_actors::port::OpenSource;
use serde_json::Value;
use tokio::time::Instant;

use super::settings::required;

/// The keys of a definition that this kind of source reads.
pub(super) const KEYS: &[DefinitionKey] = &[documented(
    "hosts",
    "list of hosts",
    "The hosts themselves: maps with the keys of a host, or `host:port`. Required.",
)];

/// Reports the hosts in the definition.
pub(super) fn open(
    spec: &SourceSpec,
    options: &OptionPolicy,
    watcher: Recipient<HostsSeen>,
) -> Result<StaticHosts, String> {
    let source = StaticHosts { hosts: hosts(spec, options)?, watcher };
    source.refresh();
    Ok(source)
}

/// Returns the hosts in the definition, in its order.
///
/// # Errors
/// There is no list of hosts.
pub fn hosts(spec: &SourceSpec, options: &OptionPolicy) -> Result<Vec<SeenHost>, String> {
    let entries: Vec<Value> =
        required(spec, "hosts", "a list of hosts, like [\"10.0.0.1:80\", {\"address\": \"10.0.0.2\", \"port\": 80}]")?;
    Ok(entries.iter().enumerate().map(|(index, entry)| seen_host(index, entry, options)).collect())
}

/// The hosts in a definition. They change only with the definition.
pub(super) struct StaticHosts {
    hosts: Vec<SeenHost>,
    watcher: Recipient<HostsSeen>,
}

impl OpenSource for StaticHosts {
    fn refresh(&self) {
        self.watcher.do_send(HostsSeen::watched(Ok(self.hosts.clone()), Instant::now()));
    }
}

fn seen_host(index: usize, entry: &Value, options: &OptionPolicy) -> SeenHost {
    let record = match entry {
        Value::String(line) => match host_record::from_line(line, options) {
            Ok(Some(record)) => Ok(record),
            Ok(None) => Err("is empty".to_owned()),
            Err(error) => Err(error),
        },
        other => host_record::from_json_value(other, options),
    };
    SeenHost::of_record(key(index, &record), record.map_err(|error| format!("hosts[{index}]: {entry}: {error}")))
}

/// The key of a valid entry is its endpoint, so that the order of the list does not matter.
fn key(index: usize, record: &Result<HostRecord, String>) -> Arc<str> {
    match record {
        Ok(record) => record.host.endpoint.to_string().into(),
        Err(_) => format!("hosts[{index}]").into(),
    }
}
