//! Servers whose host name HAProxy could not resolve.

use std::sync::Arc;

use super::server_line::default_server_words;
use super::server_options::contains;
use crate::model::{HostList, ObservedServers, ServerName, ServiceDefinition, Word};

/// A section that HAProxy has.
#[derive(Debug, Clone, Copy)]
pub struct SectionNames<'a> {
    /// Its definition.
    pub definition: &'a ServiceDefinition,
    /// The `default-server` arguments of the base configuration.
    pub inherited: &'a [Word],
    /// The hosts in its file.
    pub hosts: &'a HostList,
    /// Their observed state.
    pub observed: &'a ObservedServers,
}

impl<'a> SectionNames<'a> {
    /// Returns the servers that HAProxy keeps in maintenance because it could not resolve their names when it read its
    /// file, each with its host name. Servers with `resolvers` are excluded: HAProxy resolves their names again itself.
    pub fn unresolved(self) -> impl Iterator<Item = (&'a ServerName, &'a Arc<str>)> {
        let of_all = default_server_words(self.definition);
        let has_resolvers =
            [self.inherited, &of_all, &self.definition.server_options].iter().any(|words| contains(words, "resolvers"));
        self.hosts.iter().filter(move |_| !has_resolvers).filter_map(move |(server, host)| {
            match host.endpoint.host_name() {
                Some(name) if self.observed.get(server)?.is_unresolved() && !contains(&host.options, "resolvers") => {
                    Some((server, name))
                }
                _ => None,
            }
        })
    }

    /// Returns the problem of a service with such servers, and its consequence; `None` where there are none.
    pub fn problem(self) -> Option<String> {
        let mut names = self.unresolved().map(|(_, name)| name);
        let first = names.next()?;
        let more = match names.count() {
            0 => String::new(),
            more => format!(" (and {more} more like it)"),
        };
        Some(format!(
            "{first} does not resolve{more}: its server gets no traffic. It is looked up again, and a reload follows \
             once it resolves; check the name and the machine's resolver"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::option_policy::OptionPolicy;
    use crate::decide::quoting::split_line;
    use crate::decide::service_definition;
    use crate::model::{Endpoint, Host, ObservedServer, RawDefinition};

    fn unresolved(server_options: &str, inherited: &str, hosts: &HostList, observed: &ObservedServers) -> Vec<String> {
        let text = serde_json::json!({"type": "static", "server_options": server_options}).to_string();
        let raw = RawDefinition::new(text, "a test");
        let definition = service_definition::parse("web", &raw, &OptionPolicy::default()).unwrap().definition;
        let inherited = split_line(inherited).unwrap();
        let names = SectionNames { definition: &definition, inherited: &inherited, hosts, observed };
        let found = Vec::from_iter(names.unresolved().map(|(_, name)| name.to_string()));
        assert_eq!(names.problem().is_some(), !found.is_empty());
        found
    }

    fn name(text: &str) -> ServerName {
        ServerName::new(text).unwrap()
    }

    fn host(address: &str) -> Arc<Host> {
        Host::at(Endpoint::parse(&format!("{address}:80")).unwrap()).into()
    }

    fn observed(fqdn: Option<&str>, admin_state: u16) -> ObservedServer {
        ObservedServer {
            address: None,
            port: 80.try_into().ok(),
            fqdn: fqdn.map(Into::into),
            admin_state,
            operational_state: 0,
            weight: 1,
            id: None,
            agent: Default::default(),
        }
    }

    #[test]
    fn names_that_haproxy_does_not_look_up_again_are_found() {
        let hosts: HostList =
            [(name("a"), host("web1.example")), (name("b"), host("web2.example")), (name("c"), host("10.0.0.1"))]
                .into_iter()
                .collect();
        let servers = |of_a: ObservedServer, of_b: ObservedServer| {
            [(name("a"), of_a), (name("b"), of_b), (name("c"), observed(None, 0x20))].into_iter().collect()
        };
        let good: ObservedServers = servers(observed(Some("web1.example"), 0), observed(Some("web2.example"), 0x01));
        assert_eq!(unresolved("check", "", &hosts, &good), [""; 0]);
        let one: ObservedServers = servers(observed(Some("web1.example"), 0x20), observed(Some("web2.example"), 0));
        assert_eq!(unresolved("check", "", &hosts, &one), ["web1.example"]);
        let both: ObservedServers = servers(observed(Some("web1.example"), 0x20), observed(Some("web2.example"), 0x21));
        assert_eq!(unresolved("check", "", &hosts, &both), ["web1.example", "web2.example"]);
        assert_eq!(unresolved("resolvers dns", "", &hosts, &both), [""; 0]);
        assert_eq!(unresolved("", "check resolvers dns", &hosts, &both), [""; 0]);
    }
}
