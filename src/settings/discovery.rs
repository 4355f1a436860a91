//! Settings of discovery in general.

use std::net::IpAddr;
use std::path::PathBuf;

use ipnet::IpNet;
use proxymgr_actors::model::{DiscoveryPolicy, Quotas};

use super::ServiceConfigSettings;
use super::reader::Reader;

/// The directory of hosts files, wherever definitions come from.
const HOSTS_DIRECTORY: &str = "/etc/proxymgr/hosts";

/// Settings of discovery in general.
#[derive(Debug, Clone, PartialEq)]
pub struct DiscoverySettings {
    /// How it is read, and how much of it is used.
    pub policy: DiscoveryPolicy,
    /// The directories of files that definitions may name.
    pub file_roots: Vec<PathBuf>,
    /// The networks of hosts; `None` for all.
    pub host_networks: Option<Vec<IpNet>>,
}

/// Reads the sections `discovery` and `quotas`.
pub(super) fn read(reader: &mut Reader, definitions: Option<&ServiceConfigSettings>) -> Option<DiscoverySettings> {
    let confirm_interval = reader.duration("discovery.confirm_interval");
    let damping = reader.switch("discovery.damping");
    let file_roots = file_roots(reader, definitions);
    let host_networks = host_networks(reader);
    let quotas = quotas(reader);
    let policy = DiscoveryPolicy { confirm_interval: confirm_interval?, damping: damping?, quotas: quotas? };
    Some(DiscoverySettings { policy, file_roots, host_networks })
}

fn quotas(reader: &mut Reader) -> Option<Quotas> {
    let mut quota = |key| usize::try_from(reader.number(key)?).ok();
    let (services, hosts_per_service) = (quota("quotas.services"), quota("quotas.hosts_per_service"));
    let (hosts, slots) = (quota("quotas.hosts"), quota("quotas.slots"));
    let stick_table_entries = reader.number("quotas.stick_table_entries");
    Some(Quotas {
        services: services?,
        hosts_per_service: hosts_per_service?,
        hosts: hosts?,
        slots: slots?,
        stick_table_entries: stick_table_entries?,
    })
}

fn file_roots(reader: &mut Reader, definitions: Option<&ServiceConfigSettings>) -> Vec<PathBuf> {
    const KEY: &str = "discovery.file_root";
    let given: Vec<PathBuf> = reader.lines(KEY).into_iter().map(PathBuf::from).collect();
    for (at, path) in given.iter().enumerate() {
        if !path.is_absolute() {
            reader.refuse_line(KEY, at, format!("{} must be the absolute path of a directory", path.display()));
        }
    }
    if !given.is_empty() {
        return given;
    }
    let mut roots = vec![PathBuf::from(HOSTS_DIRECTORY)];
    if let Some(ServiceConfigSettings::File { path }) = definitions {
        roots.splice(0..0, [path.clone(), path.with_file_name("hosts")]);
    }
    roots
}

fn host_networks(reader: &mut Reader) -> Option<Vec<IpNet>> {
    const KEY: &str = "discovery.host_networks";
    let given = reader.lines(KEY);
    let mut networks = Vec::new();
    for (at, text) in given.iter().enumerate() {
        let address = || text.parse::<IpAddr>().map(IpNet::from);
        match text.parse::<IpNet>().or_else(|_| address()) {
            Ok(network) => networks.push(network.trunc()),
            Err(_) => reader.refuse_line(KEY, at, format!("{text:?} must be a network, such as 10.0.0.0/8")),
        }
    }
    (!given.is_empty()).then_some(networks)
}
