//! Settings of the guards, of the definitions of services, and of ZooKeeper.

use std::time::Duration;

use super::super::TakesEffect::{OnReload, OnRestart};
use super::super::Unset::{Empty, Otherwise, Text};
use super::super::{Key, Kind, key};
use super::{DAY, duration};

/// `guards`, `discovery`, `quotas`, `service_config`, `zookeeper` and `annotations`.
pub(super) const SERVICES: &[Key] = &[
    key(
        "guards.min_hosts",
        Kind::Number { min: 0, max: 100_000 },
        Text("1"),
        OnReload,
        "Blocks a list that shrinks below so many serving hosts. Services can override it (min_hosts). 0 allows no hosts.",
    )
    .details(
        "A host serves if its state in discovery is ready. With 1, the removal of the last serving host waits until discovery \
         recovers or an operator accepts it (proxymgr accept). A host that stays listed and is put into maintenance or drain \
         was not removed.",
    ),
    key(
        "guards.max_removal",
        Kind::Share,
        Otherwise("0.5 for services of 4 hosts or more, only min_hosts for smaller ones"),
        OnReload,
        "Blocks a list in which a larger share of a service's serving hosts is missing. Services can override it (max_removal).",
    )
    .example("0.5")
    .details(
        "Compared with the most serving hosts within guards.window. A host that joins and is ready makes up for one that leaves, \
         so that rolling deployments and blue-green switches to as many hosts pass. By default, a scale-in by more than half \
         within guards.window, or a switch to less than half of the hosts of both sides, waits for an operator (proxymgr \
         accept), or needs max_removal: 1, which leaves the limit to min_hosts. A value holds for services of every size.",
    ),
    key(
        "guards.max_services_removal",
        Kind::Share,
        Text("0.5"),
        OnReload,
        "Blocks the removal of services where a larger share of them is missing. One of several can always be removed.",
    )
    .details(
        "Compared with the most services within guards.window. The removal of the last service waits for an operator (proxymgr \
         accept), unless this is 1. A service is removed once its definition has been missing for 1s, or for 5m where \
         definitions are derived from instances (consul_catalog, marathon); a definition that returns within that time was only \
         updated.",
    ),
    key(
        "guards.window",
        duration(1, DAY),
        Text("30s"),
        OnReload,
        "How far back the guards look: hosts or services that leave one by one within it count as leaving at once.",
    ),
    key(
        "discovery.confirm_interval",
        duration(1_000, DAY),
        Text("5m"),
        OnRestart,
        "How often each source of hosts and of definitions is read again in case its watch lost a change.",
    )
    .details(
        "A change that only this finds is applied, logged and counted in proxymgr_discovery_missed_changes_total. Spread over \
         the interval by the name of the service.",
    ),
    key(
        "discovery.damping",
        Kind::Switch,
        Text("true"),
        OnRestart,
        "Whether a host that leaves and returns again and again is kept out until it stays.",
    ),
    key(
        "discovery.file_root",
        Kind::Lines,
        Empty,
        OnRestart,
        "The directories below which definitions of type file may name files of hosts, at any depth.",
    )
    .details(
        "One directory or a list of absolute paths. If empty: the directory of the definitions (service_config.type: file), \
         the directory hosts beside it, and /etc/proxymgr/hosts. The author of a definition cannot have any other file read, \
         not even through links. A relative path in a definition begins at the first directory.",
    ),
    key(
        "discovery.host_networks",
        Kind::Lines,
        Empty,
        OnRestart,
        "The networks that hosts of services may be in: [10.0.0.0/8, \"2001:db8::/32\"]. If empty, all but special ones.",
    )
    .details(
        "Never hosts are: link-local, unspecified, multicast and broadcast addresses, the status listener, and the Runtime \
         APIs of targets. With networks, host names are refused, too: they could lead anywhere. The servers of sources that \
         definitions name may be in any network, with the same exceptions. A refused host is reported, and the others are used.",
    ),
    key(
        "quotas.services",
        Kind::Number { min: 1, max: 20_000 },
        Text("10000"),
        OnRestart,
        "The most services. Definitions beyond that are left out; services that exist stay.",
    )
    .details("A source with more than 20,000 definitions is not used, and the last good definitions stay."),
    key(
        "quotas.hosts_per_service",
        Kind::Number { min: 1, max: 1_000_000 },
        Text("25000"),
        OnRestart,
        "The most hosts of one service. A longer list is not used; the last good one stays.",
    ),
    key(
        "quotas.hosts",
        Kind::Number { min: 1, max: 10_000_000 },
        Text("200000"),
        OnRestart,
        "The most hosts of all services together. A list that exceeds it is not used; the last good one stays.",
    ),
    key(
        "quotas.slots",
        Kind::Number { min: 0, max: 1_000_000 },
        Text("20000"),
        OnRestart,
        "The most slots that the definitions of all services ask for together; the largest of base, grow_by and min_free counts. A \
         definition that exceeds it is refused.",
    ),
    key(
        "quotas.stick_table_entries",
        Kind::Number { min: 0, max: 4_000_000_000 },
        Text("10000000"),
        OnRestart,
        "The most entries (size) that the stick tables of all services have together. A definition that exceeds it is refused.",
    )
    .details(
        "An entry of more than 200 bytes counts once for each 200 bytes that it begins. Full tables of the default take 2 GB, \
         half the memory of a machine of 4 GB; the old process has its tables, too, while it drains after a reload.",
    ),
    key(
        "grants",
        Kind::Entries,
        Empty,
        OnReload,
        "What services may use, by the beginning of their names. docs/security.md has an example.",
    )
    .details(
        "For each service the entry with the longest matching prefix holds, alone. A key that it lacks is as without grants. A \
         definition or annotation outside its grant is refused.\n\
         - prefix: the beginning of the names of the services; \"\" for all\n\
         - domains: [www.example.org, \"*.example.org\"], or \"*\"; services with such a grant may also take a path or a name below \
         other services' domains\n\
         - ports: [80, \"8000-8999\"]\n\
         - binds: the addresses that they may listen on; \"*\" is every IPv4 address, which is the default of definitions\n\
         - unix_sockets: [/run/team-a/], beginnings of the paths of unix sockets in their binds, which are refused without it\n\
         - certificates: [shop], names that their tls may have\n\
         - host_unix_sockets: [/run/team-a/], beginnings of the paths of unix sockets that their hosts may be (unix@/run/team-a/x.sock), \
         which are refused without it\n\
         - host_networks, hosts: in place of discovery.host_networks and quotas.hosts_per_service\n\
         - sources: the kinds of sources of hosts (type)\n\
         - options: in addition to haproxy.extra_options, for these services only\n\
         - slots: the most slots of one service",
    ),
    key(
        "service_config.type",
        Kind::Choice(&["zookeeper", "consul", "consul_catalog", "etcd", "marathon", "file"]),
        Text("zookeeper"),
        OnRestart,
        "The source of the definitions of services.",
    )
    .details(
        "zookeeper (one znode per service), consul or etcd (one key per service), consul_catalog (tags of the services in \
         Consul's catalog), marathon (its apps and their labels), or file (one .json or .yml file per service).",
    ),
    key(
        "service_config.servers",
        Kind::Servers,
        Text("localhost:2181"),
        OnRestart,
        "For type zookeeper, the ensemble: host:port, separated by commas, with an optional chroot after the last.",
    )
    .details("Services name the ensemble of their hosts themselves; all that name the same one share a session."),
    key(
        "service_config.path",
        Kind::Path,
        Otherwise("/service_config for types zookeeper, consul (where keys begin without a slash) and etcd; required for type file"),
        OnRestart,
        "The znode, key prefix or directory with one entry per service. The entry's name is the name of the service.",
    )
    .example("/service_config"),
    key(
        "service_config.tag",
        Kind::Text,
        Text("proxymgr"),
        OnRestart,
        "For type consul_catalog, the tag of the services, and of their instances, that are used.",
    )
    .details(
        "Tags such as proxymgr.port=8080, proxymgr.listen_options=mode http or proxymgr.max_removal=0.5 are the keys of the \
         definition. listen_options and server_options have one tag per line, and are sorted alphabetically.",
    ),
    key(
        "zookeeper.session_timeout",
        duration(1_000, Duration::from_secs(300)),
        Text("6s"),
        OnRestart,
        "The session time-out. A member that does not answer is replaced by another within it.",
    ),
    key(
        "zookeeper.auth",
        Kind::Secret,
        Otherwise("no authentication"),
        OnRestart,
        "user:password for ZooKeeper's digest scheme. Better set as PROXYMGR_ZOOKEEPER__AUTH. Never shown.",
    )
    .example("proxymgr:secret"),
    key(
        "zookeeper.tls.ca",
        Kind::Path,
        Otherwise("no TLS"),
        OnRestart,
        "PEM file with the authorities of the ensemble's certificates. Enables TLS.",
    )
    .example("/etc/proxymgr/zookeeper-ca.pem"),
    key(
        "zookeeper.tls.certificate",
        Kind::Path,
        Otherwise("none"),
        OnRestart,
        "PEM file with proxymgr's own certificate, if the ensemble requires one. Needs zookeeper.tls.key.",
    )
    .example("/etc/proxymgr/zookeeper-client.pem"),
    key(
        "zookeeper.tls.key",
        Kind::Path,
        Otherwise("none"),
        OnRestart,
        "PEM file with the private key of zookeeper.tls.certificate.",
    )
    .example("/etc/proxymgr/zookeeper-client.key"),
    key(
        "annotations.path",
        Kind::Path,
        Otherwise("no annotations"),
        OnRestart,
        "The znode of the annotations, with one child per service. Created with the first annotation.",
    )
    .example("/annotations"),
    key(
        "annotations.servers",
        Kind::Servers,
        Otherwise("service_config.servers, for type zookeeper"),
        OnRestart,
        "The ZooKeeper ensemble of the annotations: host:port, separated by commas.",
    )
    .example("zk1:2181,zk2:2181"),
];
