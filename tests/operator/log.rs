//! The log of a daemon with a real HAProxy: what an operator has to read.

use std::collections::BTreeMap;

use serde_json::json;

use crate::stage::{LIMIT, Stage, err, out, ready};
use crate::support::eventually::check;

const SERVICES: usize = 50;
const RELOADS: usize = 12;

/// The lines of the log by their message, without values.
fn messages(log: &str) -> BTreeMap<String, usize> {
    let mut messages = BTreeMap::new();
    for line in log.lines() {
        let words = line.split_whitespace().skip(1).take_while(|word| !word.contains('='));
        *messages.entry(words.collect::<Vec<_>>().join(" ")).or_default() += 1;
    }
    messages
}

#[tokio::test]
async fn reload_is_a_few_lines_whatever_the_number_of_services() {
    let stage = Stage::new(&["10.0.0.1"]);
    for n in 1..SERVICES {
        let port = stage.dir.port();
        stage.define(&format!("service-{n}"), &["10.0.0.1"], json!({"bind": "127.0.0.1", "port": port}));
    }
    let daemon = stage.builder().set("haproxy.reload_interval", json!("0s")).start();
    ready(&daemon).await;
    let before = daemon.log().lines().count();
    for n in 1..=RELOADS {
        let reload = daemon.run_command(&["reload", "--reason", &format!("reload {n}")]).await;
        assert!(reload.status.success(), "{}", err(&reload));
        daemon
            .eventually(LIMIT, "it is reloaded, and the old process has ended", async || {
                let status = daemon.status_json().await?;
                let actors = status["actors"].as_array().ok_or("no actors")?;
                let of = |name: &str| actors.iter().find(|state| state["actor"] == name).cloned().unwrap_or_default();
                let is_done = of("haproxy_state")["last_reload"].to_string().contains(&format!("reload {n}"));
                let has_ended = of("process_supervisor")["draining"] == json!([]);
                check(is_done && has_ended, &status["actors"])
            })
            .await;
    }
    let log = daemon.log();
    let lines: Vec<&str> = log.lines().skip(before).collect();
    let messages = messages(&lines.join("\n"));
    assert!(lines.len() <= RELOADS * 7, "{} lines: {messages:#?}\n{}", lines.len(), lines.join("\n"));
    for n in 1..=RELOADS {
        let reason = format!("reload {n}\"");
        assert_eq!(lines.iter().filter(|line| line.contains(&reason)).count(), 1, "{reason} is logged once");
    }
}

#[tokio::test]
async fn log_level_is_raised_for_a_time() {
    let stage = Stage::new(&["10.0.0.1", "10.0.0.2"]);
    let daemon = stage.start().await;
    let shown = out(&daemon.run_command(&["log"]).await);
    assert_eq!(shown, "info\n");
    let set = daemon.run_command(&["log", "haproxy=debug", "--service", "web", "--for", "10m"]).await;
    assert!(set.status.success(), "{}", err(&set));
    assert_eq!(out(&set).lines().count(), 2, "one line for each order");
    let shown = out(&daemon.run_command(&["log"]).await);
    assert!(shown.contains("haproxy=debug for 9m") && shown.contains("service web at debug for 9m"), "{shown}");
    let reload = daemon.run_command(&["reload"]).await;
    assert!(reload.status.success(), "{}", err(&reload));
    daemon
        .eventually(LIMIT, "the log has records at debug", async || {
            let log = daemon.log();
            check(log.lines().any(|line| line.contains("DEBUG haproxy: HAProxy: Proxy web stopped")), &log)
        })
        .await;
    let events = out(&daemon.run_command(&["events", "--event", "log_level_set"]).await);
    assert!(events.contains("component haproxy logs from debug on") && events.contains("user root"), "{events}");

    let reset = daemon.run_command(&["log", "--reset"]).await;
    assert!(reset.status.success(), "{}", err(&reset));
    assert_eq!(out(&daemon.run_command(&["log"]).await), "info\n");
}
