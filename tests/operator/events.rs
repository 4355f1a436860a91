//! `proxymgr events`, of a real daemon.

use std::process::Command;

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::stage::{BINARY, LIMIT, Stage, err, out, ready};
use crate::support::eventually::check;
use crate::support::process::Process;

#[tokio::test]
async fn a_servers_story_is_told_in_lines_and_as_json() {
    let stage = Stage::new(&["10.0.0.1", "10.0.0.2"]);
    let daemon = stage.start().await;
    stage.web(&["10.0.0.1"]);
    let story = daemon
        .eventually(LIMIT, "the removal is in force", async || {
            let events = daemon.run_command(&["events", "--service", "web"]).await;
            check(out(&events).contains("in force     by runtime-disable"), &events).map(|()| events)
        })
        .await;
    let text = out(&story);
    let at = |part: &str| text.find(part).unwrap_or_else(|| panic!("{part} is not in\n{text}"));
    // The watcher's entry and those of HAProxy's actor come by different ways: only the latter have an order.
    at("event        discovery shows other hosts: 1 gone");
    let decided = at("web/10.0.0.2:80          decision     runtime-disable: the host is gone from discovery");
    let commanded = at("command      set server web/10.0.0.2:80 state maint: done");
    assert!(decided < commanded, "{text}");
    assert!(!text.contains('\x1b'), "colours in a pipe:\n{text}");

    let json = daemon.run_command(&["events", "--json", "--server", "10.0.0.2:80"]).await;
    let lines: Vec<Value> = out(&json).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(lines.len() >= 2 && lines.iter().all(|entry| entry["server"] == "10.0.0.2:80"), "{lines:?}");
    let none = daemon.run_command(&["events", "-n", "1"]).await;
    assert_eq!(out(&none).lines().count(), 1);
}

#[tokio::test]
async fn following_survives_a_restart_of_the_daemon_and_ends_with_an_interrupt() {
    let stage = Stage::new(&["10.0.0.1", "10.0.0.2"]);
    let mut daemon = stage.start().await;
    let mut command = Command::new(BINARY);
    command.args(["events", "--follow", "--json", "-c"]).arg(daemon.dir().join("proxymgr.yml"));
    let mut follower = Process::start(&stage.dir, "events", command);
    let told = async |follower: &Process, what: &str, count: usize| {
        daemon
            .eventually(LIMIT, what, async || {
                let log = follower.log();
                check(log.matches(what).count() == count, &log)
            })
            .await;
    };
    stage.web(&["10.0.0.1"]);
    told(&follower, "set server web/10.0.0.2:80 state maint", 1).await;
    let before = follower.log().matches("service_defined").count();

    daemon.terminate().await;
    daemon.start_again();
    ready(&daemon).await;
    stage.web(&["10.0.0.1", "10.0.0.3"]);
    let told = async |follower: &Process, what: &str, count: usize| {
        daemon
            .eventually(LIMIT, what, async || {
                let log = follower.log();
                check(log.matches(what).count() == count, &log)
            })
            .await;
    };
    told(&follower, "add server web/10.0.0.3:80", 1).await;
    let log = follower.log();
    assert!(log.contains("# proxymgr was restarted"), "{log}");
    assert_eq!(log.matches("service_defined").count(), before + 1, "told once each: {log}");
    assert_eq!(log.matches("set server web/10.0.0.2:80 state maint").count(), 1, "told once: {log}");
    follower.signal(Signal::SIGINT);
    assert!(follower.wait_exit(LIMIT).await.success(), "{}", follower.log());
}

#[tokio::test]
async fn a_daemon_that_is_not_there_is_exit_code_4_with_what_to_do() {
    let stage = Stage::new(&["10.0.0.1"]);
    let builder = stage.builder();
    for command in ["events", "status"] {
        let output = builder.run_command(&[command]).await;
        assert_eq!(output.status.code(), Some(4), "{command}");
        let text = err(&output);
        assert!(text.contains("no proxymgr answers") && text.contains("status.listen"), "{text}");
    }
}
