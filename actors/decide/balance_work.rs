//! The time that HAProxy needs to prepare the balancing of a section.
//!
//! `balance random` and consistent hashes insert 16 nodes into a tree for each unit of weight. `static-rr` and the other
//! hashes fill a table with one place for each unit of weight, and look at every server for each place; they do so again
//! whenever a server goes up or down. With many servers of high weights a check of the configuration takes longer than
//! its time-out (measured on 2.6: 1,000 servers of weight 256 take several seconds), and no service could be reloaded.

use super::server_line::default_server_words;
use super::server_options::value_of;
use crate::limits::{BALANCE_NODES_MAX, BALANCE_STEPS_MAX};
use crate::model::{Host, HostList, ServiceDefinition, Word};

/// How HAProxy prepares the balancing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Structure {
    /// Nodes of a tree for each unit of weight.
    Tree,
    /// Places of a table for each unit of weight.
    Table,
}

/// Nodes for each unit of weight (`BE_WEIGHT_SCALE`).
const NODES_PER_WEIGHT: u64 = 16;

/// Returns why these hosts would take HAProxy too long, and what to do; `None` where they do not.
pub fn excess(definition: &ServiceDefinition, hosts: &HostList) -> Option<String> {
    let structure = structure(definition.lines())?;
    let weight = |words: &[Word]| value_of(words, "weight").and_then(|text| text.parse::<u64>().ok());
    let of_service = weight(&definition.server_options).or_else(|| weight(&default_server_words(definition)));
    let of_host = |host: &Host| match host.weight {
        Some(given) => u64::from(given),
        None => weight(&host.options).or(of_service).unwrap_or(1),
    };
    let (mut total, mut divisor) = (0_u64, 0_u64);
    for host in hosts.values() {
        total = total.saturating_add(of_host(host));
        divisor = greatest_common_divisor(divisor, of_host(host));
    }
    let hosts = u64::try_from(hosts.len()).unwrap_or(u64::MAX);
    let is_too_much = match structure {
        Structure::Tree => total.saturating_mul(NODES_PER_WEIGHT) > BALANCE_NODES_MAX,
        Structure::Table => (total / divisor.max(1)).saturating_mul(hosts) > BALANCE_STEPS_MAX,
    };
    is_too_much.then(|| {
        format!(
            "its {hosts} hosts have a weight of {total} together, with which HAProxy would take too long to prepare this \
             balance algorithm; give them smaller or equal weights, or use \"balance roundrobin\" or \"leastconn\""
        )
    })
}

/// Returns the structure of the last `balance` line; `None` for algorithms without one.
fn structure(lines: &[Vec<Word>]) -> Option<Structure> {
    let begins_with = |words: &[Word], keyword: &str| words.first().is_some_and(|word| word.as_str() == keyword);
    let balance = lines.iter().rfind(|words| begins_with(words, "balance"))?.get(1)?.as_str();
    let is_consistent = |words: &Vec<Word>| words.get(1).is_some_and(|word| word.as_str() == "consistent");
    match balance.split('(').next() {
        Some("roundrobin" | "leastconn" | "first" | "sticky") | None => None,
        Some("random") => Some(Structure::Tree),
        Some("static-rr") => Some(Structure::Table),
        Some(_) => {
            let hash = lines.iter().rfind(|words| begins_with(words, "hash-type"));
            Some(if hash.is_some_and(is_consistent) { Structure::Tree } else { Structure::Table })
        }
    }
}

fn greatest_common_divisor(one: u64, other: u64) -> u64 {
    if other == 0 { one } else { greatest_common_divisor(other, one % other) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::option_policy::OptionPolicy;
    use crate::decide::service_definition::parse;
    use crate::model::{Endpoint, RawDefinition, ServerName};

    fn is_too_much(lines: &[&str], options: &str, hosts: u32, weight: fn(u32) -> Option<u16>) -> bool {
        let text = serde_json::json!({"type": "file", "listen_options": lines, "server_options": options}).to_string();
        let definition =
            parse("web", &RawDefinition::new(text, "a test"), &OptionPolicy::default()).unwrap().definition;
        let host = |number: u32| {
            let address = std::net::Ipv4Addr::from(0x0A00_0000 + number);
            let mut host = Host::at(Endpoint::parse(&format!("{address}:80")).unwrap());
            host.weight = weight(number);
            (ServerName::new(&format!("s{number}")).unwrap(), std::sync::Arc::new(host))
        };
        excess(&definition, &(0..hosts).map(host).collect()).is_some()
    }

    #[test]
    fn weights_of_many_hosts_are_bounded_where_they_cost_time() {
        let heavy: [&[&str]; 6] = [
            &["balance random"],
            &["balance random(2)"],
            &["balance source", "hash-type consistent"],
            &["balance uri whole", "hash-type consistent"],
            &["balance roundrobin", "balance random"],
            &["balance hdr(host)", "hash-type consistent"],
        ];
        for lines in heavy {
            assert!(is_too_much(lines, "weight 256", 1_000, |_| None), "{lines:?}");
            assert!(is_too_much(lines, "", 1_000, |_| Some(256)), "{lines:?}");
            assert!(!is_too_much(lines, "weight 256", 200, |_| None), "{lines:?}");
            assert!(!is_too_much(lines, "", 25_000, |_| None), "{lines:?}");
        }
        for lines in [["balance source"], ["balance static-rr"], ["balance url_param id"], ["balance rdp-cookie"]] {
            assert!(is_too_much(&lines, "", 1_000, |number| Some(255 + u16::from(number % 2 == 0))), "{lines:?}");
            assert!(!is_too_much(&lines, "weight 256", 5_000, |_| None), "{lines:?}");
        }
        for lines in [["balance roundrobin"], ["balance leastconn"], ["balance first"], ["mode http"]] {
            assert!(!is_too_much(&lines, "weight 256", 25_000, |_| None), "{lines:?}");
        }
    }
}
