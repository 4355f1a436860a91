//! Settings of the sources of hosts, one section for each kind.

use super::super::TakesEffect::OnRestart;
use super::super::Unset::{Otherwise, Text};
use super::super::{Key, Kind, key};
use super::{DAY, HOUR, duration};

/// `aws`, `consul`, `etcd` and `dns`.
pub(super) const SOURCES: &[Key] = &[
    key(
        "aws.region",
        Kind::Text,
        Otherwise("that of the environment, the shared files or the machine"),
        OnRestart,
        "The region of Auto Scaling groups, unless a service names one.",
    )
    .example("eu-west-1"),
    key("aws.endpoint", Kind::Urls, Otherwise("AWS's own"), OnRestart, "The URL of a server to use in place of AWS.")
        .details("Such as a VPC endpoint or moto.")
        .example("http://127.0.0.1:5000"),
    key(
        "aws.interval",
        duration(1_000, HOUR),
        Text("15s"),
        OnRestart,
        "The polling interval for the groups of each service, varied by up to a tenth.",
    )
    .details(
        "Each poll takes at least two requests, and AWS limits the requests of the whole account. A rejected request is \
         retried after pauses that grow to a minute.",
    ),
    key(
        "aws.requests",
        Kind::Count { min: 1, max: 1_000 },
        Text("4"),
        OnRestart,
        "How many services are polled at the same time.",
    ),
    key(
        "consul.servers",
        Kind::Urls,
        Text("http://127.0.0.1:8500"),
        OnRestart,
        "The Consul agents: URLs, separated by commas or as a list. When one fails, the next is tried.",
    )
    .details(
        "A service may name other agents (\"server\": \"http://consul:8500\"); these receive neither the token nor the \
         certificate.",
    ),
    key(
        "consul.token",
        Kind::Secret,
        Otherwise("no token"),
        OnRestart,
        "The token for these agents. Better set as PROXYMGR_CONSUL__TOKEN, or in a file. Never shown.",
    )
    .details(
        "It needs service:read and node:read for hosts, key_prefix read for definitions. Older versions of Consul omit what \
         a token may not read, as if it did not exist.",
    )
    .example("0e1d6a5b-..."),
    key(
        "consul.token_file",
        Kind::Path,
        Otherwise("no token"),
        OnRestart,
        "A file with the token, in place of consul.token. Read again when the token is rejected.",
    )
    .example("/etc/proxymgr/consul.token"),
    key(
        "consul.datacenter",
        Kind::Text,
        Otherwise("that of the agent"),
        OnRestart,
        "The datacenter, unless a service names one.",
    )
    .example("dc1"),
    key(
        "consul.connections",
        Kind::Count { min: 1, max: 100_000 },
        Otherwise("150"),
        OnRestart,
        "The most requests that wait at the agents at once, one per watched service.",
    )
    .details(
        "If more services are watched, they take turns of 2 s. Agents accept 200 connections from one address and silently \
         drop further ones: raise limits.http_max_conns_per_client there first.",
    )
    .example("150"),
    key(
        "consul.tls.ca",
        Kind::Path,
        Otherwise("the authorities of this machine"),
        OnRestart,
        "PEM file with the authorities of the agents' certificates.",
    )
    .example("/etc/proxymgr/consul-ca.pem"),
    key(
        "consul.tls.certificate",
        Kind::Path,
        Otherwise("none"),
        OnRestart,
        "PEM file with proxymgr's own certificate, if the agents require one. Needs consul.tls.key.",
    )
    .example("/etc/proxymgr/consul-client.pem"),
    key(
        "consul.tls.key",
        Kind::Path,
        Otherwise("none"),
        OnRestart,
        "PEM file with the private key of consul.tls.certificate.",
    )
    .example("/etc/proxymgr/consul-client.key"),
    key(
        "etcd.servers",
        Kind::Urls,
        Text("http://127.0.0.1:2379"),
        OnRestart,
        "The members of the etcd cluster: URLs, separated by commas or as a list. When one fails, the next is tried.",
    )
    .details(
        "A service may name other members (\"server\": \"http://etcd:2379\"); these receive neither the password nor \
         the certificate.",
    ),
    key(
        "etcd.auth",
        Kind::Secret,
        Otherwise("no authentication"),
        OnRestart,
        "user:password for these members. Better set as PROXYMGR_ETCD__AUTH. Never shown.",
    )
    .details("The user needs read permission for the keys.")
    .example("proxymgr:secret"),
    key(
        "etcd.tls.ca",
        Kind::Path,
        Otherwise("the authorities of this machine"),
        OnRestart,
        "PEM file with the authorities of the members' certificates.",
    )
    .example("/etc/proxymgr/etcd-ca.pem"),
    key(
        "etcd.tls.certificate",
        Kind::Path,
        Otherwise("none"),
        OnRestart,
        "PEM file with proxymgr's own certificate, if the members require one. Needs etcd.tls.key.",
    )
    .example("/etc/proxymgr/etcd-client.pem"),
    key(
        "etcd.tls.key",
        Kind::Path,
        Otherwise("none"),
        OnRestart,
        "PEM file with the private key of etcd.tls.certificate.",
    )
    .example("/etc/proxymgr/etcd-client.key"),
    key(
        "dns.servers",
        Kind::Servers,
        Otherwise("those of /etc/resolv.conf, with its search list"),
        OnRestart,
        "The DNS servers, as a list of address or address:port. When one does not answer, the next is tried.",
    )
    .details(
        "/etc/hosts is not used: it differs between machines, and its entries never expire. Use hosts of type static for such \
         names.",
    )
    .example("[10.0.0.2, 10.0.0.3:5353]"),
    key(
        "dns.interval",
        duration(1_000, HOUR),
        Text("5s"),
        OnRestart,
        "The least time between two look-ups of a name, even if its TTL is shorter.",
    ),
    key(
        "dns.interval_max",
        duration(1_000, DAY),
        Text("1m"),
        OnRestart,
        "The longest time between two look-ups of a name, even if its TTL is longer.",
    )
    .details(
        "A name without addresses is an empty list, which min_hosts blocks. When a server fails, refuses or does not answer, \
         the last list stays.",
    ),
];
