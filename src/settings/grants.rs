//! The list `grants`: what services may use, by the prefix of their names.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::ops::RangeInclusive;

use ipnet::IpNet;
use proxymgr_actors::decide::grants::{Grant, GrantedDomain, Grants, HostGrant};
use proxymgr_actors::model::{CertificateName, ServiceName};

use super::entry::Entry;
use super::reader::Reader;

/// The most hosts or slots that a grant can name.
const COUNT_MAX: usize = 10_000_000;

/// Reads every grant.
pub(super) fn read(reader: &mut Reader) -> Grants {
    let mut prefixes = BTreeSet::new();
    let grants = reader.entries("grants", |entry| {
        entry.need("prefix", "prefix: team-a-, or prefix: \"\" for all services");
        let prefix = prefix(entry);
        if let Some(prefix) = &prefix
            && !prefixes.insert(prefix.clone())
        {
            entry.refuse("prefix", format!("{prefix:?} has a grant already; put all keys into one"));
        }
        let grant = Grant {
            prefix: prefix.clone().unwrap_or_default(),
            domains: entry.list("domains", GrantedDomain::parse),
            ports: entry.list("ports", ports),
            binds: entry.list("binds", bind),
            unix_sockets: entry.list("unix_sockets", folder),
            certificates: entry
                .list("certificates", |text| CertificateName::new(text).map_err(|error| error.to_string())),
            sources: entry.texts("sources"),
            options: entry.texts("options").unwrap_or_default(),
            slots: entry.count("slots", COUNT_MAX),
            hosts: HostGrant {
                networks: entry.list("host_networks", network),
                unix_sockets: entry.list("host_unix_sockets", folder),
                count: entry.count("hosts", COUNT_MAX),
            },
        };
        prefix.map(|_| grant)
    });
    Grants::new(grants)
}

/// Reads the beginning of the names of services; the empty one is that of all.
fn prefix(entry: &mut Entry<'_>) -> Option<String> {
    let text = entry.text("prefix")?;
    if text.is_empty() || ServiceName::new(&text).is_ok() {
        return Some(text);
    }
    entry.refuse("prefix", format!("{text:?} cannot be the beginning of a service's name"));
    None
}

/// Parses `8080` or `8000-8999`.
fn ports(text: &str) -> Result<RangeInclusive<u16>, String> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    match (first.trim().parse::<u16>(), last.trim().parse::<u16>()) {
        (Ok(first), Ok(last)) if 0 < first && first <= last => Ok(first..=last),
        _ => Err(format!("{text:?} must be a port or a range of ports, such as 8080 or \"8000-8999\"")),
    }
}

/// Parses an IP address; `*` is every IPv4 address, as in definitions.
fn bind(text: &str) -> Result<IpAddr, String> {
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    match bare {
        "*" => Ok(IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
        bare => bare.parse().map_err(|_| format!("{text:?} must be an IP address; \"*\" is every IPv4 address")),
    }
}

/// Parses the folder of unix sockets, or the beginning of their names in it.
fn folder(text: &str) -> Result<String, String> {
    match text.starts_with('/') && text.len() > 1 && !text.split('/').any(|part| part == "..") {
        true => Ok(text.to_owned()),
        false => Err(format!("{text:?} must be the beginning of an absolute path, such as /run/web/")),
    }
}

fn network(text: &str) -> Result<IpNet, String> {
    let address = || text.parse::<IpAddr>().map(IpNet::from);
    let network = text.parse::<IpNet>().or_else(|_| address());
    network.map(|network| network.trunc()).map_err(|_| format!("{text:?} must be a network, such as 10.0.0.0/8"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_numbers_and_ranges() {
        assert_eq!(ports("80"), Ok(80..=80));
        assert_eq!(ports("8000-8999"), Ok(8000..=8999));
        for text in ["", "0", "80-", "9-8", "65536", "http"] {
            assert!(ports(text).is_err(), "{text}");
        }
    }

    #[test]
    fn star_binds_every_ipv4_address() {
        assert_eq!(bind("*"), Ok(IpAddr::from([0, 0, 0, 0])));
        assert_eq!(bind("[::1]"), bind("::1"));
        assert!(bind("a.example").is_err());
    }
}
