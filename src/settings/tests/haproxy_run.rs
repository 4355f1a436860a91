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
            "haproxy: {run: command, reload_command: [x, y], command_shell: true}",
            "p.yml:1: haproxy.reload_command: is a list of words, which no shell can run: write one text, or leave shell \
             out",
        ),
    ] {
        check(yaml, &[expect]);
    }
}
