//! Hosts from the children of a path: type `zookeeper`, in which a child's data describes a host, and type
//! `campanjazk`, in which its name does.

use std::collections::BTreeMap;
use std::num::NonZeroU16;
use std::sync::Arc;

use actix::Recipient;
use proxymgr_actors::decide::host_record;
use proxymgr_actors::decide::host_registration::{RegistrationFormat, RegistrationRules, from_registration};
use proxymgr_actors::decide::option_policy::OptionPolicy;
use proxymgr_actors::message::{HostsSeen, SeenHost};
use proxymgr_actors::model::definition_key::key;
use proxymgr_actors::model::{DefinitionKey, HostRecord, SourceSpec};
use tokio::time::Instant;

use super::level::{Meaning, OpenLevel};
use super::{ConnectString, Ensembles};
use crate::discovery::settings::{optional, required};

/// Where a child contains the host's address.
#[derive(Debug, Clone, Copy)]
pub(in crate::discovery) enum Registrations {
    /// In its data: `{"address": "10.0.0.1", "port": 80}`, or the format of another tool.
    InData,
    /// In its name, with one port for all hosts (`remote_port`).
    InName,
}

/// The keys of a definition that sources of type `zookeeper` read.
pub(in crate::discovery) const HOST_KEYS: &[DefinitionKey] = &[
    key(
        "server",
        "host:port, ...",
        "The ensemble, with an optional chroot: `zk1:2181,zk2:2181/prod`. Default: that of the definitions.",
    ),
    key("path", "znode", "The znode whose children are the hosts, such as `/services/web`. Required."),
    key(
        "format",
        "`proxymgr`, `nerve`, `curator` or `serverset`",
        "The format of the children's data: of proxymgr, of SmartStack, of Curator and Spring Cloud, of Finagle and Aurora. Default: detected.",
    ),
    key("endpoint", "name", "For serversets: one of the `additionalEndpoints` in place of the `serviceEndpoint`."),
    key("shard", "whole number", "For serversets: only the members of this shard."),
];

/// The keys of a definition that sources of type `campanjazk` read.
pub(in crate::discovery) const CAMPANJA_KEYS: &[DefinitionKey] = &[
    key(
        "server",
        "host:port, ...",
        "The ensemble, with an optional chroot: `zk1:2181,zk2:2181/prod`. Default: that of the definitions.",
    ),
    key("path", "znode", "The znode whose children are the hosts: their *names* are `host` or `host:port`. Required."),
    key(
        "remote_port",
        "1 to 65535",
        "The port of hosts whose name and data have none. Default: the port of the service.",
    ),
];

/// Watches the path that the definition names.
pub(in crate::discovery) fn open(
    registrations: Registrations,
    spec: &SourceSpec,
    ensembles: &Ensembles,
    default_server: Option<&ConnectString>,
    options: &Arc<OptionPolicy>,
    watcher: Recipient<HostsSeen>,
) -> Result<OpenLevel, String> {
    let connect = match (optional::<String>(spec, "server")?, default_server) {
        (Some(text), _) => text.parse().map_err(|error| format!("\"server\": {error}"))?,
        (None, Some(default)) => default.clone(),
        (None, None) => {
            return Err("\"server\" is missing: the ZooKeeper ensemble, like \"zk1:2181,zk2:2181\"".to_owned());
        }
    };
    let path: String = required(spec, "path", "the znode whose children are the hosts, like \"/services/web\"")?;
    let path = connect.path(&path).map_err(|error| format!("\"path\": {error}"))?;
    let port = match registrations {
        Registrations::InData => None,
        Registrations::InName => optional::<NonZeroU16>(spec, "remote_port")?,
    };
    let rules = match registrations {
        Registrations::InData => rules(spec)?,
        Registrations::InName => RegistrationRules::default(),
    };
    let meaning = HostLevel {
        registrations,
        rules,
        port,
        path: path.clone(),
        ensemble: connect.servers().clone(),
        options: options.clone(),
        watcher,
    };
    Ok(OpenLevel::start(ensembles.join(&connect), path, meaning))
}

/// Returns the rules by which the data of the children is read.
fn rules(spec: &SourceSpec) -> Result<RegistrationRules, String> {
    let format = optional::<String>(spec, "format")?;
    let format = format.map(|name| RegistrationFormat::named(&name).map_err(|error| format!("\"format\": {error}")));
    Ok(RegistrationRules {
        format: format.transpose()?,
        endpoint: optional(spec, "endpoint")?,
        shard: optional(spec, "shard")?,
    })
}

struct HostLevel {
    registrations: Registrations,
    rules: RegistrationRules,
    port: Option<NonZeroU16>,
    path: Arc<str>,
    ensemble: Arc<str>,
    options: Arc<OptionPolicy>,
    watcher: Recipient<HostsSeen>,
}

impl Meaning for HostLevel {
    /// `None` if the child is not one of the selected hosts.
    type Entry = Result<Option<HostRecord>, String>;

    fn entry(&self, child: &str, data: &[u8]) -> Self::Entry {
        let host = match self.registrations {
            Registrations::InData => from_registration(data, &self.rules, &self.options),
            Registrations::InName => host_record::from_child(child, data, self.port, &self.options).map(Some),
        };
        host.map_err(|error| format!("znode {}/{child}: {error}", self.path.trim_end_matches('/')))
    }

    fn refused(&self, _child: &str, reason: String) -> Self::Entry {
        Err(reason)
    }

    fn absent(&self) -> Option<String> {
        Some(format!(
            "the path {} does not exist in ZooKeeper {}; waiting until a host registers there",
            self.path, self.ensemble
        ))
    }

    fn report(&self, level: Result<&BTreeMap<Arc<str>, Self::Entry>, String>, seen_at: Instant, missed: bool) {
        let seen = |(key, entry): (&Arc<str>, &Self::Entry)| {
            entry.clone().transpose().map(|record| SeenHost { key: key.clone(), record })
        };
        let result = level.map(|entries| entries.iter().filter_map(seen).collect());
        self.watcher.do_send(HostsSeen { result, seen_at, missed });
    }
}
