//! Whether a process that the daemon had before it restarted in place runs the candidate: its file may differ only in
//! servers that can be changed at run time.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::config_text::{END_OF_BASE, INDENT, SERVERS_BEGIN, SERVERS_END};
use super::deployment::SectionSpec;
use super::haproxy_config::{SectionStyle, server_line};
use super::loaded_config::{LoadedSection, parse_sections};
use crate::model::{AdminState, Endpoint, Host, HostList, ServiceName};

/// Returns the sections of the process, with the hosts that its file has. `None` where the candidate needs a new process.
pub fn continued_sections(
    file: &str,
    candidate: &str,
    sections: &BTreeMap<ServiceName, SectionSpec>,
    style: SectionStyle,
) -> Option<BTreeMap<ServiceName, SectionSpec>> {
    if !lines_without_servers(file).eq(lines_without_servers(candidate)) {
        return None;
    }
    let loaded = parse_sections(file);
    let none = LoadedSection::default();
    let in_file = |(name, spec): (&ServiceName, &SectionSpec)| {
        let hosts = hosts_in(loaded.get(name).unwrap_or(&none), spec, style)?;
        Some((name.clone(), SectionSpec { hosts: Arc::new(hosts), ..spec.clone() }))
    };
    sections.iter().map(in_file).collect()
}

/// Returns the hosts of this section that the file has, as they are in it. `None` where it has one that cannot become the
/// desired one at run time.
fn hosts_in(section: &LoadedSection, spec: &SectionSpec, style: SectionStyle) -> Option<HostList> {
    let in_both = spec.hosts.iter().filter_map(|(name, host)| Some((name, host, section.server_lines.get(name)?)));
    let as_in_file = |(name, host, line): (_, &Arc<Host>, &String)| {
        let is_its_line = |host: &Host| server_line(&spec.definition, name, host, Some(&spec.ids), style) == *line;
        if is_its_line(host) {
            return Some((name.clone(), host.clone()));
        }
        let host = host_of_line(host, line)?;
        is_its_line(&host).then(|| (name.clone(), Arc::new(host)))
    };
    in_both.map(as_in_file).collect()
}

/// Returns the host with the address, the weight and the state that its line has.
fn host_of_line(host: &Host, line: &str) -> Option<Host> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let endpoint = Endpoint::parse(words.get(2)?)?;
    let weight = words.windows(2).rev().find(|pair| pair[0] == "weight").map(|pair| pair[1].parse());
    let state = match words.last() {
        // A server in drain is disabled in the file, too.
        Some(&"disabled") if host.state == AdminState::Ready => AdminState::Maint,
        Some(&"disabled") => host.state,
        _ => AdminState::Ready,
    };
    Some(Host { endpoint, weight: weight.transpose().ok()?, state, ..host.clone() })
}

/// Returns the lines of a file without the servers of services.
fn lines_without_servers(text: &str) -> impl Iterator<Item = &str> {
    let (mut is_after_base, mut is_marked) = (false, false);
    text.lines().filter(move |line| {
        is_after_base |= *line == END_OF_BASE;
        match *line {
            SERVERS_BEGIN => is_marked = true,
            SERVERS_END => is_marked = false,
            _ => {}
        }
        let is_server = line.strip_prefix(INDENT).is_some_and(|line| line.starts_with("server "));
        !(is_server && (is_after_base || is_marked))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::haproxy_config::section;
    use crate::decide::option_policy::OptionPolicy;
    use crate::decide::server_ids::ServerIds;
    use crate::decide::service_definition;
    use crate::model::{Address, Descriptors, RawDefinition, ServerName, ServiceDefinition};

    fn definition(options: &str) -> Arc<ServiceDefinition> {
        let text = format!(r#"{{"type": "static", "port": 80, "server_options": "{options}"}}"#);
        let raw = RawDefinition::new(&*text, "a test");
        Arc::new(service_definition::parse("web", &raw, &OptionPolicy::default()).unwrap().definition)
    }

    fn host(number: u8) -> Host {
        let address = Address::parse(&format!("10.0.0.{number}")).unwrap();
        Host::at(Endpoint::Tcp { address, port: 80.try_into().unwrap() })
    }

    fn web(options: &str, hosts: impl IntoIterator<Item = (&'static str, Host)>) -> SectionSpec {
        let hosts = hosts.into_iter().map(|(name, host)| (ServerName::new(name).unwrap(), Arc::new(host)));
        SectionSpec { definition: definition(options), hosts: Arc::new(hosts.collect()), ids: ServerIds::default() }
    }

    fn file(SectionSpec { definition, hosts, ids }: &SectionSpec, descriptor: i32) -> String {
        let descriptors: Descriptors = definition.addresses().map(|address| (address, Some(descriptor))).collect();
        let section = section(definition, &descriptors, hosts, ids, SectionStyle::default());
        format!("global\n    server x 1.1.1.1:1\n{END_OF_BASE}\n\n{section}")
    }

    /// The hosts of a process with a file of `before`, for a candidate with `after`.
    fn continued(before: &SectionSpec, after: &SectionSpec) -> Option<Arc<HostList>> {
        let name = ServiceName::new("web").unwrap();
        let sections = BTreeMap::from([(name.clone(), after.clone())]);
        continued_sections(&file(before, 7), &file(after, 7), &sections, SectionStyle::default())
            .map(|mut sections| sections.remove(&name).unwrap().hosts)
    }

    #[test]
    fn hosts_that_changed_are_those_of_the_file() {
        let before = web("check", [("a", Host { weight: Some(5), ..host(1) }), ("b", host(2)), ("c", host(3))]);
        let drained = Host { state: AdminState::Drain, ..host(2) };
        let after = web("check", [("a", Host { weight: Some(7), ..host(9) }), ("b", drained), ("new", host(4))]);
        let expected = web("check", [("a", Host { weight: Some(5), ..host(1) }), ("b", host(2))]);
        assert_eq!(continued(&before, &after), Some(expected.hosts));
        assert_eq!(continued(&before, &before), Some(before.hosts.clone()));
    }

    #[test]
    fn disabled_server_keeps_the_reason() {
        let drained = web("", [("a", Host { state: AdminState::Drain, ..host(1) })]);
        assert_eq!(continued(&drained, &drained), Some(drained.hosts.clone()));
        let ready = web("", [("a", host(1))]);
        let expected = web("", [("a", Host { state: AdminState::Maint, ..host(1) })]);
        assert_eq!(continued(&drained, &ready), Some(expected.hosts));
    }

    #[test]
    fn other_options_and_sockets_need_a_new_process() {
        let before = web("check", [("a", host(1))]);
        assert_eq!(continued(&before, &web("check inter 3s", [("a", host(1))])), None);
        let sections = BTreeMap::from([(ServiceName::new("web").unwrap(), before.clone())]);
        assert_eq!(continued_sections(&file(&before, 7), &file(&before, 8), &sections, SectionStyle::default()), None);
        let other_base = file(&before, 7).replace("server x", "server y");
        assert_eq!(continued_sections(&other_base, &file(&before, 7), &sections, SectionStyle::default()), None);
    }
}
