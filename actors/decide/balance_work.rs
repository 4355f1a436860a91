//! The time that HAProxy needs to prepare the balancing of a section.
//!
//! `balance random` and consistent hashes insert 16 nodes into a tree for each unit of weight. `static-rr` and the other
//! hashes fill a table with one place for each unit of weight, and look at every server for each place; they do so again
//! whenever a server goes up or down. With many servers of high weights a check of the configuration takes longer than
//! its time-out (measured on 2.6: 1,000 servers of weight 256 take several seconds), and no service could be reloaded.

use super::server_options::value_of;
use crate::limits::{BALANCE_NODES_MAX, BALANCE_STEPS_MAX};
use crate::model::{Host, HostList, ServiceDefinition, Word};

/// How a section balances, as far as its preparation depends on it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Balance {
    algorithm: Algorithm,
    /// Whether hashes are consistent.
    is_consistent: bool,
    /// The weight of servers without one, by `default-server`.
    weight: Option<u64>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Algorithm {
    /// One that needs no preparation.
    #[default]
    Light,
    Random,
    StaticRoundRobin,
    Hash,
}

/// How HAProxy prepares the balancing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Structure {
    /// Nodes of a tree for each unit of weight.
    Tree,
    /// Places of a table for each unit of weight.
    Table,
}

impl Balance {
    /// Returns how a section with these lines balances that inherits this.
    pub fn after<'a>(self, lines: impl IntoIterator<Item = &'a Vec<Word>>) -> Self {
        lines.into_iter().fold(self, |balance, words| {
            let argument = words.get(1).map(Word::as_str);
            match words.first().map(Word::as_str) {
                Some("balance") => Self { algorithm: Algorithm::of(argument), ..balance },
                Some("hash-type") => Self { is_consistent: argument == Some("consistent"), ..balance },
                Some("default-server") => Self { weight: weight(words).or(balance.weight), ..balance },
                _ => balance,
            }
        })
    }

    fn structure(self) -> Option<Structure> {
        match self.algorithm {
            Algorithm::Light => None,
            Algorithm::Random => Some(Structure::Tree),
            Algorithm::Hash if self.is_consistent => Some(Structure::Tree),
            Algorithm::Hash | Algorithm::StaticRoundRobin => Some(Structure::Table),
        }
    }
}

impl Algorithm {
    fn of(argument: Option<&str>) -> Self {
        match argument.and_then(|argument| argument.split('(').next()) {
            Some("roundrobin" | "leastconn" | "first" | "sticky") | None => Self::Light,
            Some("random") => Self::Random,
            Some("static-rr") => Self::StaticRoundRobin,
            Some(_) => Self::Hash,
        }
    }
}

/// Nodes for each unit of weight (`BE_WEIGHT_SCALE`).
const NODES_PER_WEIGHT: u64 = 16;

/// Returns why these hosts would take HAProxy too long, and what to do; `None` where they do not. The operator's
/// `defaults` are `inherited`.
pub fn excess(definition: &ServiceDefinition, hosts: &HostList, inherited: Balance) -> Option<String> {
    let balance = inherited.after(definition.lines());
    let structure = balance.structure()?;
    let of_service = weight(&definition.server_options).or(balance.weight);
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

fn weight(words: &[Word]) -> Option<u64> {
    value_of(words, "weight")?.parse().ok()
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
        is_too_much_with(&[], lines, options, hosts, weight)
    }

    fn is_too_much_with(
        inherited: &[&str],
        lines: &[&str],
        options: &str,
        hosts: u32,
        weight: fn(u32) -> Option<u16>,
    ) -> bool {
        let text = serde_json::json!({"type": "file", "listen_options": lines, "server_options": options}).to_string();
        let definition =
            parse("web", &RawDefinition::new(text, "a test"), &OptionPolicy::default()).unwrap().definition;
        let host = |number: u32| {
            let address = std::net::Ipv4Addr::from(0x0A00_0000 + number);
            let mut host = Host::at(Endpoint::parse(&format!("{address}:80")).unwrap());
            host.weight = weight(number);
            (ServerName::new(&format!("s{number}")).unwrap(), std::sync::Arc::new(host))
        };
        let inherited = Balance::default().after(&inherited.iter().map(|line| words(line)).collect::<Vec<_>>());
        excess(&definition, &(0..hosts).map(host).collect(), inherited).is_some()
    }

    fn words(line: &str) -> Vec<Word> {
        line.split(' ').map(|word| Word::new(word).unwrap()).collect()
    }

    #[test]
    fn defaults_of_the_operator_count() {
        let too_much = |defaults: &[&str], lines: &[&str]| is_too_much_with(defaults, lines, "", 1_000, |_| None);
        let heavy = "default-server inter 1s weight 256";
        assert!(too_much(&["balance random", heavy], &[]));
        assert!(too_much(&["hash-type consistent", heavy], &["balance source"]));
        assert!(too_much(&["balance random"], &[heavy]));
        assert!(!too_much(&["balance random", heavy], &["balance leastconn"]));
        assert!(!too_much(&["balance random", heavy], &["default-server weight 1"]));
        assert!(!too_much(&["balance random"], &["balance random"]));
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
