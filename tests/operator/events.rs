//! `proxymgr events` with a real daemon.

use std::process::Command;

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::stage::{BINARY, LIMIT, Stage, err, out, ready};
use crate::support::daemon::Daemon;
use crate::support::eventually::check;
use crate::support::process::Process;

#[tokio::test]
async fn events_of_a_server_as_text_and_json() {
    let stage = Stage::new(&["10.0.0.1", "10.0.0.2"]);
    let daemon = stage.start().await;
    stage.web(&["10.0.0.1"]);
    let events = daemon
        .eventually(LIMIT, "the removal is applied", async || {
            let events = daemon.run_command(&["events", "--service", "web"]).await;
            check(out(&events).contains("applied      via runtime-disable"), &events).map(|()| events)
        })
        .await;
    let text = out(&events);
    let at = |part: &str| text.find(part).unwrap_or_else(|| panic!("{part} is not in\n{text}"));
    // The order of entries from different actors is not defined.
    at("hosts        discovery reports a new list: 1 removed");
    let decided = at("web/10.0.0.2:80          decision     runtime-disable: ");
    let commanded = at("command      set server web/10.0.0.2:80 state maint: done");
    assert!(decided < commanded, "{text}");
    assert!(!text.contains('\x1b'), "colours in a pipe:\n{text}");

    let json = daemon.run_command(&["events", "--json", "--server", "10.0.0.2:80"]).await;
    let lines: Vec<Value> = out(&json).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(lines.len() >= 2 && lines.iter().all(|entry| entry["server"] == "10.0.0.2:80"), "{lines:?}");
    let none = daemon.run_command(&["events", "-n", "1"]).await;
    assert_eq!(out(&none).lines().count(), 1);
}

async fn wait_until_printed_once(daemon: &Daemon, follower: &Process, text: &str) {
    let probe = async || {
        let log = follower.log();
        check(log.matches(text).count() == 1, &log)
    };
    daemon.eventually(LIMIT, text, probe).await;
}

#[tokio::test]
async fn following_survives_daemon_restart() {
    let stage = Stage::new(&["10.0.0.1", "10.0.0.2"]);
    let mut daemon = stage.start().await;
    let mut command = Command::new(BINARY);
    command.args(["events", "--follow", "--json", "-c"]).arg(daemon.dir().join("proxymgr.yml"));
    let mut follower = Process::start(&stage.dir, "events", command);
    stage.web(&["10.0.0.1"]);
    wait_until_printed_once(&daemon, &follower, "set server web/10.0.0.2:80 state maint").await;
    let before = follower.log().matches("service_defined").count();

    daemon.terminate().await;
    daemon.start_again();
    ready(&daemon).await;
    stage.web(&["10.0.0.1", "10.0.0.3"]);
    wait_until_printed_once(&daemon, &follower, "add server web/10.0.0.3:80").await;
    let log = follower.log();
    assert!(!log.contains("a new journal begins"), "the journal survives the restart: {log}");
    assert_eq!(log.matches("service_defined").count(), before + 1, "once each: {log}");
    assert_eq!(log.matches("set server web/10.0.0.2:80 state maint").count(), 1, "once: {log}");
    follower.signal(Signal::SIGINT);
    assert!(follower.wait_exit(LIMIT).await.success(), "{}", follower.log());
}

#[tokio::test]
async fn unreachable_daemon_exits_with_4() {
    let stage = Stage::new(&["10.0.0.1"]);
    let builder = stage.builder();
    for command in ["events", "status"] {
        let output = builder.run_command(&[command]).await;
        assert_eq!(output.status.code(), Some(4), "{command}");
        let text = err(&output);
        assert!(text.contains("no proxymgr answers") && text.contains("status.listen"), "{text}");
    }
}
