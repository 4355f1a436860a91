//! `haproxy.run` and its keys.

use std::time::Duration;

use super::{check, load};
use crate::settings::{CommandLine, RunWay};

fn way(yaml: &str) -> RunWay {
    load(yaml, &[], &[]).unwrap().haproxy.run.way
}

#[test]
fn each_way_has_its_keys_and_their_defaults() {
    assert_eq!(way(""), RunWay::Supervise);
    assert_eq!(way("haproxy: {run: systemd}"), RunWay::Systemd { unit: "haproxy.service".to_owned() });
    let beside = RunWay::Binary { pid_file: "/etc/haproxy/haproxy.pid".into() };
    assert_eq!(way("haproxy: {run: binary}"), beside);
    assert_eq!(way("haproxy: {run: none}"), RunWay::Nobody);
    let RunWay::Command { start: None, check: Some(check), reload } = way(
        "haproxy: {run: command, check_command: [docker, exec, lb, haproxy, -c, -f, '{candidate}'], reload_command: docker \
         kill -s HUP lb}",
    ) else {
        panic!("two commands were given")
    };
    assert_eq!(check.words.last().map(String::as_str), Some("{candidate}"));
    assert_eq!(reload.words, ["docker", "kill", "-s", "HUP", "lb"]);
    let shell = way("haproxy: {run: command, command_shell: true, reload_command: 'a && b'}");
    let line = CommandLine { words: vec!["a && b".to_owned()], shell: true };
    assert_eq!(shell, RunWay::Command { start: None, check: None, reload: line });
    let settings = load("haproxy: {command_timeout: 5s}", &[], &[]).unwrap();
    assert_eq!(settings.haproxy.run.timeout, Duration::from_secs(5));
}

#[test]
fn a_haproxy_with_a_master_of_its_own_may_say_so() {
    assert!(load("haproxy: {global: [nbproc 2]}", &[], &[]).is_err(), "a supervised one has none");
    assert!(load("haproxy: {run: systemd, global: [nbproc 2]}", &[], &[]).is_ok());
}

#[test]
fn mistakes_name_their_key_and_say_what_to_do() {
    for (yaml, expect) in [
        (
            "haproxy: {run: sytemd}",
            "p.yml:1: haproxy.run: \"sytemd\" must be one of supervise, systemd, binary, command, none; did you mean systemd?",
        ),
        ("haproxy: {unit: --now}", "p.yml:1: haproxy.unit: \"--now\" is no name of a unit, such as haproxy.service"),
        ("haproxy: {pid_file: run/x}", "p.yml:1: haproxy.pid_file: run/x must be an absolute path"),
        (
            "haproxy: {run: command}",
            "haproxy.reload_command: is missing; haproxy.run: command needs it, for example [docker, kill, -s, HUP, haproxy]",
        ),
        (
            "haproxy: {reload_command: [x]}",
            "p.yml:1: haproxy.reload_command: is of no use with haproxy.run: supervise; set haproxy.run: command, or take \
             it out",
        ),
        (
            "haproxy: {run: command, reload_command: 'x; y'}",
            "p.yml:1: haproxy.reload_command: has ';', which means something to a shell, and none runs it: write a list of \
             words, or set shell: true",
        ),
        (
            "haproxy: {run: command, reload_command: [a, b], command_shell: true}",
            "p.yml:1: haproxy.reload_command: is a list of words, which no shell can run: write one text, or leave shell \
             out",
        ),
    ] {
        check(yaml, &[expect]);
    }
}

#[test]
fn targets_are_sockets_of_this_machine_and_ports_of_any() {
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
fn a_target_has_a_name_where_one_stands_before_its_address() {
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
    for (targets, problem) in [
        ("'a=tcp://a:1', 'a=tcp://b:1'", "haproxy.targets[2]: the name a is there twice"),
        ("'a=tcp://a:1', 'b=tcp://a:1'", "haproxy.targets[2]: tcp://a:1 is there twice"),
        ("'=tcp://a:1'", "haproxy.targets[1]: =tcp://a:1 has an empty name"),
    ] {
        check(&format!("haproxy: {{targets: [{targets}]}}"), &[&format!("p.yml:1: {problem}")]);
    }
}

#[test]
fn a_target_that_cannot_be_one_is_named() {
    const SHAPES: &str = "write unix:/run/haproxy.sock or tcp://10.0.0.2:9999";
    for (target, problem) in [
        ("tcp://10.0.0.2", format!("tcp://10.0.0.2 has no port: {SHAPES}")),
        ("tcp://10.0.0.2:0", format!("tcp://10.0.0.2:0 must have a host and a port: {SHAPES}")),
        ("tcp://[::1]", format!("tcp://[::1] must have a host and a port: {SHAPES}")),
        ("tcp://:9999", format!("tcp://:9999 must have a host and a port: {SHAPES}")),
        ("tcp://a:1,b:1", format!("tcp://a:1,b:1 must have a host and a port: {SHAPES}")),
        ("unix:run/x", format!("unix:run/x is no absolute path: {SHAPES}")),
        ("10.0.0.2:9999", format!("\"10.0.0.2:9999\" is not known where: {SHAPES}")),
        ("unix:/etc/haproxy/haproxy.sock", "is haproxy.socket_path, which is driven anyway".to_owned()),
    ] {
        check(&format!("haproxy: {{targets: ['{target}']}}"), &[&format!("p.yml:1: haproxy.targets[1]: {problem}")]);
    }
    let twice = "haproxy: {targets: ['tcp://a:1', 'tcp://a:1']}";
    check(twice, &["p.yml:1: haproxy.targets[2]: tcp://a:1 is there twice"]);
}
