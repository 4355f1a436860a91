//! The state applied to a HAProxy process, by its file and at run time since.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::server_ids::ServerIds;
use super::server_line::{id_beside, server_words};
use super::server_options::used_options;
use crate::model::{
    AdminState, Endpoint, Host, InBase, ObservedServers, PersistentId, ServerName, ServiceDefinition, Word,
};

/// The state of one service that was applied to a HAProxy process, by its file and at run time since.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppliedService {
    /// The section without its servers, as [`section_header`](super::haproxy_config::section_header) writes it.
    pub header: Arc<str>,
    /// The applied state of each server.
    pub servers: BTreeMap<ServerName, AppliedServer>,
    /// What the base configuration of the process says of it: its section may have further servers.
    pub in_base: Option<Arc<InBase>>,
}

impl AppliedService {
    /// Takes it out; a state without servers remains.
    pub fn take(&mut self) -> Self {
        Self { header: self.header.clone(), servers: std::mem::take(&mut self.servers), in_base: self.in_base.clone() }
    }

    /// Returns the servers in its section that are no hosts: the operator's own, and those that stand in for servers that
    /// the base configuration names. They are never changed.
    pub fn others(&self) -> impl Iterator<Item = &ServerName> {
        let in_base = self.in_base.as_deref();
        let own = in_base.and_then(|in_base| in_base.frame.as_ref()).map(|frame| &frame.own_servers);
        let required = in_base.map(|in_base| &in_base.required_servers);
        own.into_iter().chain(required).flatten().filter(|name| !self.servers.contains_key(*name))
    }

    /// Returns the reported servers without those of the base configuration, which are never changed.
    pub fn without_others(&self, mut servers: Arc<ObservedServers>) -> Arc<ObservedServers> {
        let others: Vec<&ServerName> = self.others().filter(|name| servers.contains_key(*name)).collect();
        if !others.is_empty() {
            let servers = Arc::make_mut(&mut servers);
            for name in others {
                servers.remove(name);
            }
        }
        servers
    }
}

/// The applied state of one server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppliedServer {
    /// The address and port in the file or the command. HAProxy resolves a host name only at that time.
    pub endpoint: Endpoint,
    /// Its options without the weight, which can change at run time.
    pub options: Vec<Word>,
    /// Its id; `None` where it is not known, or one of its options.
    pub id: Option<PersistentId>,
    /// The weight last set, by its options or at run time since; `None` where it has the section's default.
    pub weight: Option<u16>,
    /// Its priority at the time of its last (re)load, because its position among HAProxy's servers changes only with a
    /// reload.
    pub priority: Option<u16>,
    /// Why the daemon last set it to drain or maintenance; `None` where the daemon did not, or it has ended.
    pub disabled_by: Option<DisabledBy>,
}

/// The reason why the daemon disabled a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DisabledBy {
    /// Discovery reports the state.
    Discovery,
    /// An operator's override via proxymgr.
    Operator,
    /// Its host is gone from discovery.
    Removal,
    /// It moves to another address.
    Move,
}

/// Returns the state that the file or `add server` applies for a server, without its id.
pub fn applied_server(definition: &ServiceDefinition, host: &Host) -> AppliedServer {
    let (options, weight) = split_weight(&server_words(definition, host));
    AppliedServer {
        endpoint: host.endpoint.clone(),
        options,
        id: None,
        weight,
        priority: host.priority,
        disabled_by: disabled_by_file(host),
    }
}

/// Returns the same as [`applied_server`], with the id.
pub fn applied_server_with_id(
    definition: &ServiceDefinition,
    name: &ServerName,
    host: &Host,
    ids: &ServerIds,
) -> AppliedServer {
    let applied = applied_server(definition, host);
    AppliedServer { id: id_beside(&applied.options, name, host, ids), ..applied }
}

/// Returns why the line of a server in the file disables it. A server to drain starts in maintenance, too.
pub fn disabled_by_file(host: &Host) -> Option<DisabledBy> {
    (host.state != AdminState::Ready).then_some(DisabledBy::Discovery)
}

/// Splits options into those without `weight N`, and the last N where there is one.
pub fn split_weight(words: &[Word]) -> (Vec<Word>, Option<u16>) {
    let mut weight = None;
    let mut rest = Vec::with_capacity(words.len());
    for option in used_options(words) {
        if option.name() == "weight" {
            weight = option.values.first().and_then(|value| value.as_str().parse().ok()).or(weight);
        } else {
            rest.extend(option.words().cloned());
        }
    }
    (rest, weight)
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::decide::option_policy::OptionPolicy;
    use crate::decide::server_ids::derived;
    use crate::decide::service_definition;
    use crate::model::{Address, Endpoint, RawDefinition};

    #[test]
    fn applied_server_has_its_id_unless_its_options_contain_one() {
        let host =
            Host::at(Endpoint::Tcp { address: Address::parse("10.0.0.1").unwrap(), port: 80.try_into().unwrap() });
        let id = |options: &str| {
            let raw = RawDefinition::new(format!(r#"{{"type": "file", "server_options": "{options}"}}"#), "a test");
            let policy = OptionPolicy { extra: vec!["id".to_owned()], ..OptionPolicy::default() };
            let definition = service_definition::parse("web", &raw, &policy).unwrap().definition;
            let name = ServerName::new("a").unwrap();
            applied_server_with_id(&definition, &name, &host, &ServerIds::default()).id
        };
        assert_eq!(id("check"), Some(derived(&host.endpoint)));
        assert_eq!(id("id 7"), None);
    }
}
