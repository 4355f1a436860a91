//! The file descriptors that HAProxy reserves: with more than it may have, it does not start (`strict-limits`, since 2.3), which
//! a check of the configuration does not notice.

use super::base::global_lines;
use super::server_line::default_server_words;
use super::server_options::contains;
use crate::model::{BaseConfig, HostList, ProxyManagement, ProxyVersion, ServiceDefinition, Word};

/// HAProxy's least number of connections (`maxconn`), which it chooses where the limit allows no more.
const CONNECTIONS_MIN: u64 = 100;

/// The descriptors of HAProxy itself, besides those of its threads.
const OWN: u64 = 50;

/// Returns how many descriptors listeners and servers of services may need together; `None` without a limit. `limit` is that of
/// the process.
pub fn for_services(config: &BaseConfig, version: Option<ProxyVersion>, limit: Option<u64>) -> Option<u64> {
    let is_strict = version >= Some(ProxyVersion { major: 2, minor: 3 });
    if config.management != ProxyManagement::Supervised || !is_strict {
        return None;
    }
    let lines = global_lines(config);
    if lines.iter().any(|words| words.starts_with(&["no".to_owned(), "strict-limits".to_owned()])) {
        return None;
    }
    let number = |keyword: &str| {
        let line = lines.iter().rfind(|words| words.first().is_some_and(|word| word == keyword))?;
        line.get(1)?.parse::<u64>().ok()
    };
    let limit = number("ulimit-n").or(limit)?;
    let limit = number("fd-hard-limit").map_or(limit, |most| most.min(limit));
    // Each connection has two sides. Where the base alone needs too much, no service is the cause.
    let of_base = number("maxconn").unwrap_or(CONNECTIONS_MIN).saturating_mul(2).saturating_add(OWN);
    limit.checked_sub(of_base)
}

/// Returns the number of descriptors that HAProxy reserves for a section. `inherited` are the server options of `defaults`.
pub fn of_section(definition: &ServiceDefinition, hosts: &HostList, inherited: &[Word]) -> u64 {
    let of_section = default_server_words(definition);
    let of_all = |option: &str| {
        [inherited, of_section.as_slice(), definition.server_options.as_slice()]
            .iter()
            .any(|words| contains(words, option))
    };
    let (has_check, has_agent) = (of_all("check"), of_all("agent-check"));
    let of_hosts = hosts.values().map(|host| {
        let check = has_check || contains(&host.options, "check");
        let agent = has_agent || contains(&host.options, "agent-check");
        1 + u64::from(check) + u64::from(agent)
    });
    of_hosts.fold(u64::try_from(definition.addresses().count()).unwrap_or(u64::MAX), u64::saturating_add)
}

/// Returns why a section is not deployed that needs this many descriptors, when this many are left.
pub fn excess(hosts: usize, needed: u64, left: u64) -> String {
    format!(
        "its {hosts} hosts, with their checks, need {needed} descriptors, and HAProxy may open {left} more: it would not start; \
         raise LimitNOFILE (ulimit -n) of proxymgr, or use fewer hosts"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const V3_4: Option<ProxyVersion> = Some(ProxyVersion { major: 3, minor: 4 });

    fn config(global: &[&str], management: ProxyManagement) -> BaseConfig {
        BaseConfig {
            files: Vec::new(),
            global: global.iter().map(|line| (*line).to_owned()).collect(),
            defaults: Vec::new(),
            socket_path: "/run/h.sock".into(),
            map_path: "/etc/h.map".into(),
            state_file: None,
            management,
        }
    }

    #[test]
    fn limit_is_that_of_haproxy() {
        let supervised =
            |global: &[&str]| for_services(&config(global, ProxyManagement::Supervised), V3_4, Some(1_024));
        assert_eq!(supervised(&[]), Some(1_024 - 250));
        assert_eq!(supervised(&["maxconn 400"]), Some(1_024 - 850));
        assert_eq!(supervised(&["ulimit-n 5000"]), Some(4_750));
        assert_eq!(supervised(&["fd-hard-limit 500"]), Some(250));
        assert_eq!(supervised(&["maxconn 4000"]), None, "no service is the cause");
        assert_eq!(supervised(&["no strict-limits"]), None);
        assert_eq!(for_services(&config(&[], ProxyManagement::Delegated), V3_4, Some(1_024)), None);
        assert_eq!(for_services(&config(&[], ProxyManagement::Supervised), V3_4, None), None);
        let v2_2 = Some(ProxyVersion { major: 2, minor: 2 });
        assert_eq!(for_services(&config(&[], ProxyManagement::Supervised), v2_2, Some(1_024)), None);
    }
}
