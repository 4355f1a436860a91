//! `haproxy.run` and its keys.

use std::time::Duration;

use super::{check, load};
use crate::child_environment::ChildEnvironment;
use crate::settings::{CommandLine, RunWay};

fn way(yaml: &str) -> RunWay {
    load(yaml, &[], &[]).unwrap().haproxy.run.way
}

#[test]
fn each_way_has_its_keys_and_defaults() {
    assert_eq!(way(""), RunWay::Supervise);
    assert_eq!(way("haproxy: {run: systemd}"), RunWay::Systemd { unit: "haproxy.service".to_owned() });
    let beside = RunWay::Binary { pid_file: "/etc/haproxy/haproxy.pid".into() };
    assert_eq!(way("haproxy: {run: binary}"), beside);
    assert_eq!(way("haproxy: {run: none}"), RunWay::External);
    let RunWay::Command { start: None, check: Some(check), reload } = way(
        "haproxy: {run: command, check_command: [docker, exec, lb, haproxy, -c, -f, '{candidate}'], reload_command: docker \
         kill -s HUP lb}",
    ) else {
        panic!("two commands were given")
    };
    assert_eq!(check.words.last().map(String::as_str), Some("{candidate}"));
    assert_eq!(reload.words, ["docker", "kill", "-s", "HUP", "lb"]);
    let shell = way("haproxy: {run: command, command_shell: true, reload_command: 'a && b'}");
    let words = vec!["a && b".to_owned()];
    let line = CommandLine { words, shell: true, environment: ChildEnvironment::default() };
    assert_eq!(shell, RunWay::Command { start: None, check: None, reload: line });
    let settings = load("haproxy: {command_timeout: 5s}", &[], &[]).unwrap();
    assert_eq!(settings.haproxy.run.timeout, Duration::from_secs(5));
}

#[test]
fn certificates_need_an_absolute_path_and_a_managed_haproxy() {
    let settings = load("haproxy: {certificates: /c}", &[], &[]).unwrap();
    assert_eq!(settings.haproxy.certificates, Some("/c".into()));
    check("haproxy:\n  ocsp_update: true", &[("p.yml:2", "haproxy.ocsp_update")]);
    check("haproxy:\n  certificates: c", &[("p.yml:2", "haproxy.certificates")]);
    check("haproxy:\n  run: none\n  certificates: /c", &[("p.yml:3", "haproxy.certificates")]);
}

#[test]
fn nbproc_is_refused_only_when_supervised() {
    assert!(load("haproxy: {global: [nbproc 2]}", &[], &[]).is_err(), "supervised");
    assert!(load("haproxy: {run: systemd, global: [nbproc 2]}", &[], &[]).is_ok());
}

#[test]
fn user_and_group_are_lines_of_global() {
    let settings = load("haproxy: {user: haproxy, group: web, global: [maxconn 9]}", &[], &[]).unwrap();
    assert_eq!(settings.haproxy.policy.base_config.global, ["maxconn 9", "user haproxy", "group web"]);
    check("haproxy: {user: haproxy, global: [uid 99]}", &[("p.yml:1", "haproxy.user")]);
    check("haproxy: {group: \"a b\"}", &[("p.yml:1", "haproxy.group")]);
}

#[test]
fn invalid_values_are_refused() {
    for (yaml, key) in [
        ("haproxy: {run: sytemd}", "haproxy.run"),
        ("haproxy: {unit: --now}", "haproxy.unit"),
        ("haproxy: {pid_file: run/x}", "haproxy.pid_file"),
        ("haproxy: {reload_command: [x]}", "haproxy.reload_command"),
        ("haproxy: {environment: ['A=B']}", "haproxy.environment[1]"),
        ("haproxy: {environment: [NOTIFY_SOCKET]}", "haproxy.environment[1]"),
        ("haproxy: {run: command, reload_command: 'x; y'}", "haproxy.reload_command"),
        ("haproxy: {run: command, reload_command: [a, b], command_shell: true}", "haproxy.reload_command"),
    ] {
        check(yaml, &[("p.yml:1", key)]);
    }
    check("haproxy: {run: command}", &[("", "haproxy.reload_command")]);
}

#[test]
fn targets_are_unix_sockets_or_tcp_ports() {
    let yaml =
        "haproxy: {targets: ['unix:/run/b.sock', 'tcp://10.0.0.2:9999', 'tcp://[::1]:9999', 'tcp://lb.example:1']}";
    let haproxy = load(yaml, &[], &[]).unwrap().haproxy;
    let named: Vec<&str> = haproxy.targets.iter().map(|target| target.name.as_str()).collect();
    assert_eq!(named, ["unix:/run/b.sock", "tcp://10.0.0.2:9999", "tcp://[::1]:9999", "tcp://lb.example:1"]);
    assert_eq!(haproxy.socket.to_string(), "unix:/etc/haproxy/haproxy.sock");
    let instead = load("haproxy: {run: none, targets: ['tcp://a:1', 'tcp://b:1']}", &[], &[]).unwrap().haproxy;
    assert_eq!((instead.socket.to_string(), instead.targets.len()), ("tcp://a:1".to_owned(), 1));
    let besides = load("haproxy: {run: none, socket_path: /run/x, targets: ['tcp://a:1']}", &[], &[]).unwrap().haproxy;
    assert_eq!((besides.socket.to_string(), besides.targets.len()), ("unix:/run/x".to_owned(), 1));
}

#[test]
fn targets_can_have_names() {
    let targets = "['edge-1=tcp://a:1', 'unix:/run/x=y.sock', 'b.example=unix:/run/b.sock']";
    let haproxy = load(&format!("haproxy: {{targets: {targets}}}"), &[], &[]).unwrap().haproxy;
    let known: Vec<_> =
        haproxy.targets.iter().map(|target| (target.name.clone(), target.address.to_string())).collect();
    let pair = |name: &str, address: &str| (name.to_owned(), address.to_owned());
    assert_eq!(
        known,
        [
            pair("edge-1", "tcp://a:1"),
            pair("unix:/run/x=y.sock", "unix:/run/x=y.sock"),
            pair("b.example", "unix:/run/b.sock"),
        ]
    );
    for (targets, key) in [
        ("'a=tcp://a:1', 'a=tcp://b:1'", "haproxy.targets[2]"),
        ("'a=tcp://a:1', 'b=tcp://a:1'", "haproxy.targets[2]"),
        ("'=tcp://a:1'", "haproxy.targets[1]"),
    ] {
        check(&format!("haproxy: {{targets: [{targets}]}}"), &[("p.yml:1", key)]);
    }
}

#[test]
fn invalid_targets_are_refused() {
    for target in [
        "tcp://10.0.0.2",
        "tcp://10.0.0.2:0",
        "tcp://[::1]",
        "tcp://:9999",
        "tcp://a:1,b:1",
        "unix:run/x",
        "10.0.0.2:9999",
        "unix:/etc/haproxy/haproxy.sock",
    ] {
        check(&format!("haproxy: {{targets: ['{target}']}}"), &[("p.yml:1", "haproxy.targets[1]")]);
    }
    check("haproxy: {targets: ['tcp://a:1', 'tcp://a:1']}", &[("p.yml:1", "haproxy.targets[2]")]);
}
