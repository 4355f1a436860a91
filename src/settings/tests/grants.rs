//! Tests of `grants`.

use std::net::IpAddr;

use proxymgr_actors::decide::grants::{GrantedDomain, HostGrant};

use super::*;

#[test]
fn every_key_of_a_grant_is_read() {
    let yaml = r#"
grants:
  - prefix: team-a-
    domains: [www.example.org, "*.a.example"]
    ports: [80, "8000-8999"]
    binds: ["*", "::1"]
    host_networks: [10.1.0.0/16]
    host_unix_sockets: [/run/team-a/]
    sources: [consul, dns]
    options: ca-file
    hosts: 50
    slots: 20
  - prefix: ""
    domains: []
"#;
    let grants = load(yaml, &[], &[]).unwrap().haproxy.options.grants;
    let grant = grants.of("team-a-web").unwrap();
    assert_eq!(grant.domains.as_ref().map(Vec::len), Some(2));
    assert_eq!(grant.ports, Some(vec![80..=80, 8000..=8999]));
    assert_eq!(grant.binds, Some(vec![IpAddr::from([0, 0, 0, 0]), "::1".parse().unwrap()]));
    assert_eq!(grant.sources, Some(vec!["consul".to_owned(), "dns".to_owned()]));
    assert_eq!(grant.options, ["ca-file"]);
    let hosts = HostGrant {
        networks: Some(vec!["10.1.0.0/16".parse().unwrap()]),
        unix_sockets: Some(vec!["/run/team-a/".to_owned()]),
        count: Some(50),
    };
    assert_eq!(grant.hosts, hosts);
    assert_eq!(grant.slots, Some(20));
    let others = grants.of("web").unwrap();
    assert_eq!((others.domains.clone(), others.ports.clone()), (Some(Vec::<GrantedDomain>::new()), None));
}

#[test]
fn mistakes_in_grants_have_their_place() {
    check("grants:\n  - ports: [80]\n", &[("p.yml:2", "grants[1].prefix")]);
    check("grants:\n  - prefix: web\n    ports: [http]\n", &[("p.yml:3", "grants[1].ports")]);
    check("grants:\n  - prefix: web\n    port: [80]\n", &[("p.yml:3", "grants[1].port")]);
    check("grants:\n  - prefix: web\n    domains: [\"a b\"]\n", &[("p.yml:3", "grants[1].domains")]);
    check("grants:\n  - prefix: a b\n", &[("p.yml:2", "grants[1].prefix")]);
    check("grants:\n  - prefix: web\n  - prefix: web\n", &[("p.yml:3", "grants[2].prefix")]);
    check("grants:\n  - prefix: web\n    host_networks: [10.0.0.0/33]\n", &[("p.yml:3", "grants[1].host_networks")]);
    check(
        "grants:\n  - prefix: web\n    host_unix_sockets: [/run/../]\n",
        &[("p.yml:3", "grants[1].host_unix_sockets")],
    );
    check("grants:\n  - prefix: web\n    hosts: many\n", &[("p.yml:3", "grants[1].hosts")]);
}

#[test]
fn changed_grants_take_effect_on_reload() {
    let mut settings = load("", &[], &[]).unwrap();
    let changed = settings.adopt(load("grants: [{prefix: web, ports: [80]}]", &[], &[]).unwrap());
    assert_eq!((changed.applied, changed.need_restart), (vec!["grants"], vec![]));
    assert!(settings.haproxy.options.grants.of("web").is_some());
}
