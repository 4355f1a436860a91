//! Tests of HAProxy's state file: it contains exactly the rows that are valid for the next process.

#![allow(missing_docs)]

use std::collections::BTreeMap;
use std::sync::Arc;

use proxymgr_actors::decide::base;
use proxymgr_actors::decide::deployment::SectionSpec;
use proxymgr_actors::decide::haproxy_config::SectionStyle;
use proxymgr_actors::decide::option_policy::OptionPolicy;
use proxymgr_actors::decide::state_file::{CarriedHealth, FileHosts, NOTHING_KNOWN, Sections, still_true};
use proxymgr_actors::decide::{host_record, service_definition};
use proxymgr_actors::model::{BaseConfig, HostList, ProxyManagement, RawDefinition, ServerName, ServiceDefinition};
use serde_json::{Value, json};

const HEADER_2_2: &str = "# be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state srv_uweight \
    srv_iweight srv_time_since_last_change srv_check_status srv_check_result srv_check_health srv_check_state \
    srv_agent_state bk_f_forced_id srv_f_forced_id srv_fqdn srv_port srvrecord";

/// Returns the line of a server that is down.
fn line(section: &str, server: &str, address: &str, admin_state: u16, fqdn: &str, port: u16) -> String {
    format!("2 {section} 1 {server} {address} 0 {admin_state} 10 1 0 8 2 0 6 0 0 0 {fqdn} {port} -")
}

fn web(keys: Value) -> ServiceDefinition {
    let mut definition = json!({"type": "file", "path": "/x", "port": 80});
    definition.as_object_mut().unwrap().extend(keys.as_object().unwrap().clone());
    let raw = RawDefinition::new(definition.to_string(), "a test");
    service_definition::parse("web", &raw, &OptionPolicy::default()).unwrap().definition
}

fn hosts(named: &[(&str, Value)]) -> HostList {
    let host = |keys| host_record::from_json_value(keys, &OptionPolicy::default()).unwrap();
    named.iter().map(|(name, keys)| (ServerName::new(name).unwrap(), host(keys).host)).collect()
}

/// Returns the sections of a process with one section.
fn sections((definition, hosts): (&ServiceDefinition, &HostList)) -> Sections {
    let spec = SectionSpec {
        definition: Arc::new(definition.clone()),
        hosts: Arc::new(hosts.clone()),
        ids: Default::default(),
    };
    BTreeMap::from([(definition.name.clone(), spec)])
}

/// Returns the state file for a process with `next`, after one with `before` that reports these lines.
fn reported(
    lines: &[String],
    before: (&ServiceDefinition, &HostList),
    next: (&ServiceDefinition, &HostList),
) -> String {
    carried_over(&format!("1\n{HEADER_2_2}\n{}\n\n", lines.join("\n")), &sections(before), &sections(next))
}

fn carried_over(answer: &str, before: &Sections, next: &Sections) -> String {
    let mut carried = CarriedHealth::new(before, next, SectionStyle::default());
    answer.lines().for_each(|line| carried.read(line));
    carried.finish()
}

#[test]
fn only_servers_that_stay_ready_are_carried_over() {
    let web = web(json!({"server_options": ["check"]}));
    let before = hosts(&[
        ("stays", json!({"address": "10.0.0.1", "port": 1})),
        ("six", json!({"address": "fd00::1", "port": 1})),
        ("moves", json!({"address": "10.0.0.2", "port": 1})),
        ("rests", json!({"address": "10.0.0.3", "port": 1})),
        ("drained", json!({"address": "10.0.0.4", "port": 1})),
        ("named", json!({"address": "a.example", "port": 1})),
        ("renamed", json!({"address": "b.example", "port": 1})),
        ("unresolved", json!({"address": "c.example", "port": 1})),
        ("changed", json!({"address": "10.0.0.5", "port": 1})),
        ("gone", json!({"address": "10.0.0.6", "port": 1})),
        ("socket", json!({"address": "unix@/run/a.sock"})),
        ("other-socket", json!({"address": "unix@/run/b.sock"})),
    ]);
    let mut next = before.clone();
    next.extend(hosts(&[
        ("moves", json!({"address": "10.0.0.2", "port": 2})),
        ("rests", json!({"address": "10.0.0.3", "port": 1, "state": "maint"})),
        ("changed", json!({"address": "10.0.0.5", "port": 1, "options": ["no-check"]})),
        ("other-socket", json!({"address": "unix@/run/c.sock"})),
    ]));
    next.remove(&ServerName::new("gone").unwrap());
    let stays = line("web", "stays", "10.0.0.1", 0, "-", 1);
    let six = line("web", "six", "fd00::1", 0, "-", 1);
    let named = line("web", "named", "10.9.9.9", 0, "a.example", 1);
    let socket = line("web", "socket", "-", 0, "-", 0);
    let lines = [
        socket.clone(),
        line("web", "other-socket", "-", 0, "-", 0),
        stays.clone(),
        line("web", "moves", "10.0.0.2", 0, "-", 1),
        line("web", "rests", "10.0.0.3", 0, "-", 1),
        line("web", "drained", "10.0.0.4", 8, "-", 1),
        named.clone(),
        line("web", "renamed", "10.9.9.9", 0, "a.example", 1),
        line("web", "unresolved", "-", 0, "c.example", 1),
        line("web", "changed", "10.0.0.5", 0, "-", 1),
        line("web", "gone", "10.0.0.6", 0, "-", 1),
        line("web", "unknown", "10.0.0.7", 0, "-", 1),
        line("elsewhere", "stays", "10.0.0.1", 0, "-", 1),
        line("<HTTPCLIENT>", "stays", "10.0.0.1", 0, "-", 1),
        "2 web 1 stays".to_owned(),
        six.clone(),
    ];
    let carried = format!("1\n{HEADER_2_2}\n{socket}\n{stays}\n{named}\n{six}\n");
    assert_eq!(reported(&lines, (&web, &before), (&web, &next)), carried);
}

#[test]
fn state_after_a_crash_contains_servers_of_the_file() {
    let hosts = hosts(&[
        ("stays", json!({"address": "10.0.0.1", "port": 1})),
        ("moves", json!({"address": "10.0.0.2", "port": 2})),
        ("rests", json!({"address": "10.0.0.3", "port": 1, "state": "maint"})),
        ("drained", json!({"address": "10.0.0.4", "port": 1})),
    ]);
    let stays = line("web", "stays", "10.0.0.1", 0, "-", 1);
    let lines = [
        stays.clone(),
        line("web", "moves", "10.0.0.2", 0, "-", 1),
        line("web", "rests", "10.0.0.3", 0, "-", 1),
        line("web", "drained", "10.0.0.4", 8, "-", 1),
        line("web", "gone", "10.0.0.5", 0, "-", 1),
        line("elsewhere", "stays", "10.0.0.1", 0, "-", 1),
    ];
    let said = format!("1\n{HEADER_2_2}\n{}\n\n", lines.join("\n"));
    let in_file = FileHosts::from_iter([(web(json!({})).name, Arc::new(hosts))]);
    let text = still_true(&said, &in_file);
    assert_eq!(text, format!("1\n{HEADER_2_2}\n{stays}\n"));
    assert_eq!(still_true(&text, &in_file), text, "it is unchanged when read back");
    assert_eq!(still_true("garbage", &in_file), NOTHING_KNOWN);
}

#[test]
fn unchecked_server_is_not_carried_over() {
    let hosts = hosts(&[("s", json!({"address": "10.0.0.1", "port": 1}))]);
    let lines = [line("web", "s", "10.0.0.1", 0, "-", 1)];
    let checked = web(json!({"server_options": ["check"]}));
    let by_default = web(json!({"listen_options": ["default-server check"]}));
    let unchecked = web(json!({}));
    for (before, next, is_kept) in [
        (&checked, &checked, true),
        (&by_default, &by_default, true),
        (&checked, &unchecked, false),
        (&by_default, &unchecked, false),
    ] {
        let text = reported(&lines, (before, &hosts), (next, &hosts));
        assert_eq!(text.contains(&lines[0]), is_kept, "{text}");
    }
}

#[test]
fn what_cannot_be_read_says_nothing() {
    for said in ["", "\n", "Unknown command.\n", "1\n2 web 1 s 10.0.0.1 0 0 1 1 0 8 2 0 6 0 0 0 - 1 -\n"] {
        assert_eq!(carried_over(said, &Sections::new(), &Sections::new()), NOTHING_KNOWN);
    }
}

#[test]
fn the_operators_own_lines_about_it_stand() {
    let mut base = BaseConfig {
        files: Vec::new(),
        global: vec![],
        defaults: vec![],
        socket_path: "/run/haproxy.sock".into(),
        map_path: "/haproxy.cfg.domains".into(),
        state_file: Some("/haproxy.cfg.state".into()),
        management: ProxyManagement::Supervised,
    };
    let path = base.state_file.clone().expect("it is on");
    assert_eq!(base::layout(&base).state_file, Some(path));
    let text = base::text(&base);
    assert!(text.contains("    server-state-file /haproxy.cfg.state\n"), "{text}");
    assert!(text.contains("    load-server-state-from-file global\n"), "{text}");
    for line in ["server-state-file /x", "server-state-base /x", "zero-warning"] {
        base.global = vec![line.to_owned()];
        assert_eq!(base::layout(&base).state_file, None, "{line}");
    }
    base.global.clear();
    base.defaults = vec!["load-server-state-from-file local".to_owned()];
    assert_eq!(base::text(&base).matches("server-state").count(), 1);
    base.defaults.clear();
    base.state_file = None;
    assert!(!base::text(&base).contains("server-state"));
}
