//! The table of all settings.

mod haproxy;
mod mesosphere;
mod operation;
mod services;
mod sources;

use std::time::Duration;

use super::{Key, Kind, Section};

const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(86_400);
const WEEK: Duration = Duration::from_secs(7 * 86_400);

const fn duration(min_ms: u64, max: Duration) -> Kind {
    Kind::Duration { min: Duration::from_millis(min_ms), max }
}

const PARTS: [&[Key]; 5] =
    [haproxy::HAPROXY, services::SERVICES, sources::SOURCES, mesosphere::MESOSPHERE, operation::OPERATION];

const COUNT: usize = {
    let mut count = 0;
    let mut part = 0;
    while part < PARTS.len() {
        count += PARTS[part].len();
        part += 1;
    }
    count
};

/// All settings, in the order of config/proxymgr.yml.
pub const KEYS: &[Key] = &{
    let mut keys = [PARTS[0][0]; COUNT];
    let (mut part, mut filled) = (0, 0);
    while part < PARTS.len() {
        let end = filled + PARTS[part].len();
        keys.split_at_mut(end).0.split_at_mut(filled).1.copy_from_slice(PARTS[part]);
        filled = end;
        part += 1;
    }
    keys
};

/// The sections with a description of their own.
pub const SECTIONS: &[Section] = &[
    Section {
        path: "guards",
        doc: "A failure of discovery can look like hosts that leave. A change beyond these limits is blocked and shown as \
              pending until an operator accepts it. It is dropped when discovery recovers.",
    },
    Section {
        path: "zookeeper",
        doc: "For every ZooKeeper ensemble: that of service_config, and those that services name.",
    },
    Section {
        path: "annotations",
        doc: "Additions to the definitions of any source: {\"domains\": [\"www.example.org\"], \"listen_options\": \
              [...], \"server_options\": [...], \"protocol\": \"http\", \"path\": \"/api\"}, one znode per service, \
              shared by all managers. Lists are appended to those of the definition. An addition that makes a \
              definition invalid is left out and shown in the status. While ZooKeeper is not reachable the last ones \
              stay, from state_dir even after a restart. GET, POST and DELETE of /annotations/SERVICE on status.listen \
              read and change them; changes need status.token.",
    },
    Section {
        path: "aws",
        doc: "For services of type aws, if proxymgr was built with --features aws: {\"type\": \"aws\", \"groups\": [\"web-a\", \
              \"web-b\"], \"region\": \"eu-west-1\", \"remote_port\": 8080, \"address\": \"public\", \"family\": \"ipv6\"}. \
              Hosts are the instances that are in service and healthy, by default with their private IPv4 addresses. \
              Credentials come from AWS's usual chain: environment, shared files, the role of the machine or container. They \
              need autoscaling:DescribeAutoScalingGroups and ec2:DescribeInstances.",
    },
    Section {
        path: "consul",
        doc: "For definitions in Consul, and for services of type consul: {\"type\": \"consul\", \"service\": \"web\", \
              \"tags\": [\"v2\"]}. docs/service-keys.md lists the further keys.",
    },
    Section { path: "consul.tls", doc: "For URLs that begin with https." },
    Section {
        path: "etcd",
        doc: "For definitions in etcd (3.4 or later), and for services of type etcd: {\"type\": \"etcd\", \"prefix\": \
              \"/services/web/\"}, with one host per key: {\"address\": \"10.0.0.1\", \"port\": 80}, or 10.0.0.1:80.",
    },
    Section { path: "etcd.tls", doc: "For URLs that begin with https." },
    Section {
        path: "dns",
        doc: "For services of type dns: {\"type\": \"dns\", \"backends\": [{\"name\": \"a.example\", \"port\": 80}, {\"srv\": \
              \"_http._tcp.b.example\"}]}. A definition may have its own \"servers\" and \"interval\", and a \"family\": ipv4, \
              ipv6, or any.",
    },
    Section {
        path: "marathon",
        doc: "For definitions in Marathon (service_config.type marathon), and for services of type marathon: {\"type\": \
              \"marathon\", \"app\": \"/shop/web\", \"port_index\": 0}. Any server forwards requests to the leader.\n\
              As definitions, every TCP port of an app is a service, named after both (marathon_shop_web_8080), on its service \
              port. Labels: proxym.domains (a,b), proxym.port.8080.config (lines of its section), proxym.port.8080.protocol \
              (http or tcp).",
    },
    Section { path: "marathon.tls", doc: "For URLs that begin with https." },
    Section {
        path: "mesos",
        doc: "For services of type mesos, whose single host is the leading master: {\"type\": \"mesos\", \"masters\": \
              [\"http://m1:5050\"]}.",
    },
    Section { path: "mesos.tls", doc: "For URLs that begin with https." },
];
