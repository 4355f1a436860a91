//! Orders from the command line to a real daemon with a real HAProxy.

use std::process::{Command, Output};

use serde_json::{Value, json};

use crate::stage::{BINARY, LIMIT, Stage, err, out, ready};
use crate::support::daemon::Daemon;
use crate::support::eventually::check;
use crate::support::haproxy;
use crate::support::tls::TestCa;

const TOKEN: &str = "correct-horse-battery";

/// Starts a daemon with a token, with two hosts of `web`.
async fn daemon_with_token(stage: &Stage) -> Daemon {
    let daemon = stage.builder().set("status.token", json!(TOKEN)).start();
    ready(&daemon).await;
    daemon
}

/// Waits until exactly these servers of `web` are ready in HAProxy.
async fn wait_for_ready(daemon: &Daemon, wanted: &[&str]) {
    daemon
        .eventually(LIMIT, &format!("{wanted:?} are ready"), async || {
            let ready = haproxy::ready_servers(&daemon.socket(), "web").await.map_err(|error| error.to_string())?;
            check(ready == wanted, &ready)
        })
        .await;
}

/// Runs a command without a settings file, as on another machine.
async fn from_elsewhere(arguments: &[&str]) -> Output {
    let mut command = Command::new(BINARY);
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("PROXYMGR_")) {
        command.env_remove(name);
    }
    command.args(arguments);
    let run = tokio::task::spawn_blocking(move || command.output());
    run.await.expect("no panic").expect("the binary can be run")
}

async fn haproxy_state(daemon: &Daemon) -> Value {
    let status = daemon.status_json().await.expect("the daemon answers");
    let actors = status["actors"].as_array().expect("a list").iter();
    actors.clone().find(|state| state["actor"] == "haproxy_state").expect("it is there").clone()
}

#[tokio::test]
async fn server_is_drained_maintained_and_released() {
    let stage = Stage::new(&["10.0.0.1", "10.0.0.2"]);
    let daemon = daemon_with_token(&stage).await;
    let server = "10.0.0.2:80";
    let drained =
        daemon.run_command(&["server", "drain", "web", server, "--for", "1h", "--reason", "a new disk"]).await;
    assert!(drained.status.success(), "{}", err(&drained));
    assert_eq!(out(&drained), "server 10.0.0.2:80 of web drains, for 3600 s: a new disk\n");
    wait_for_ready(&daemon, &["10.0.0.1:80"]).await;
    let status = out(&daemon.run_command(&["status"]).await);
    assert!(status.contains("override: web/10.0.0.2:80 drain for "), "{status}");

    let maint = daemon.run_command(&["server", "maint", "web", server]).await;
    assert!(maint.status.success() && out(&maint).contains("in maintenance"), "{}", err(&maint));
    daemon
        .eventually(LIMIT, "it is in maintenance", async || {
            let state = haproxy_state(&daemon).await;
            check(state["services"]["web"]["servers"][server] == "maint", &state)
        })
        .await;

    let back = daemon.run_command(&["server", "ready", "web", server]).await;
    assert!(back.status.success() && out(&back).contains("follows discovery"), "{}", err(&back));
    wait_for_ready(&daemon, &["10.0.0.1:80", "10.0.0.2:80"]).await;
}

#[tokio::test]
async fn host_is_drained_everywhere_and_last_ready_server_is_protected() {
    let stage = Stage::new(&["10.0.0.1", "10.0.0.2"]);
    stage.define("api", &["10.0.0.1", "10.0.0.2"], json!({"port": stage.dir.port()}));
    let daemon = daemon_with_token(&stage).await;
    wait_for_ready(&daemon, &["10.0.0.1:80", "10.0.0.2:80"]).await;
    let drained = daemon.run_command(&["host", "drain", "10.0.0.2", "--reason", "a new disk"]).await;
    assert!(drained.status.success(), "{}", err(&drained));
    assert_eq!(out(&drained), "10.0.0.2 drains in 2 services: api, web\n");
    wait_for_ready(&daemon, &["10.0.0.1:80"]).await;
    let shown = out(&daemon.run_command(&["host", "10.0.0.2"]).await);
    assert!(shown.contains("in 2 services") && shown.contains("override drain"), "{shown}");

    for last in [&["server", "maint", "web", "10.0.0.1:80"][..], &["host", "drain", "10.0.0.1"]] {
        let refused = daemon.run_command(last).await;
        assert_eq!(refused.status.code(), Some(5), "{last:?}: {}", out(&refused));
        assert!(err(&refused).contains("--force"), "{}", err(&refused));
    }
    wait_for_ready(&daemon, &["10.0.0.1:80"]).await;
    let forced = daemon.run_command(&["server", "drain", "web", "10.0.0.1:80", "--force"]).await;
    assert!(forced.status.success(), "{}", err(&forced));
    wait_for_ready(&daemon, &[]).await;
    daemon
        .eventually(LIMIT, "the service is down", async || {
            let status = daemon.run_command(&["status", "web"]).await;
            check(status.status.code() == Some(2) && out(&status).contains("10.0.0.1:80"), &status)
        })
        .await;
}

#[tokio::test]
async fn blocked_change_is_rejected_and_accepted_later() {
    let stage = Stage::new(&["10.0.0.1", "10.0.0.2"]);
    stage.define("web", &["10.0.0.1", "10.0.0.2"], json!({"port": stage.dir.port(), "min_hosts": 2}));
    let daemon = daemon_with_token(&stage).await;
    let blocked = async |what: &str, is: bool| {
        daemon
            .eventually(LIMIT, what, async || {
                let status = daemon.status_json().await?;
                let concerns = status["concerns"].as_array().into_iter().flatten();
                check(
                    concerns.filter(|concern| concern["kind"] == "change_blocked").count() == usize::from(is),
                    &status,
                )
            })
            .await;
    };
    let port = haproxy_state(&daemon).await["services"]["web"]["listen"].as_str().expect("an address").to_owned();
    let port: u16 = port.rsplit_once(':').expect("a port").1.parse().expect("a number");
    stage.define("web", &["10.0.0.1"], json!({"port": port, "min_hosts": 2}));
    blocked("the change is blocked", true).await;
    let rejected = daemon.run_command(&["reject", "web"]).await;
    assert!(rejected.status.success() && out(&rejected).contains("0 to add, 1 to remove"), "{}", err(&rejected));
    blocked("it is rejected", false).await;
    let status = out(&daemon.run_command(&["status"]).await);
    assert!(status.contains("change rejected by an operator"), "{status}");
    wait_for_ready(&daemon, &["10.0.0.1:80", "10.0.0.2:80"]).await;
    let accepted = daemon.run_command(&["accept", "web"]).await;
    assert!(accepted.status.success(), "{}", err(&accepted));
    wait_for_ready(&daemon, &["10.0.0.1:80"]).await;
}

#[tokio::test]
async fn refresh_and_reload_on_demand() {
    let stage = Stage::new(&["10.0.0.1"]);
    let daemon = daemon_with_token(&stage).await;
    for arguments in [&["refresh"][..], &["refresh", "web"]] {
        let refreshed = daemon.run_command(arguments).await;
        assert!(refreshed.status.success() && !out(&refreshed).is_empty(), "{}", err(&refreshed));
    }
    let before = haproxy_state(&daemon).await["counts"]["reload"].as_u64();
    let reloaded = daemon.run_command(&["reload", "--reason", "to see it"]).await;
    assert!(reloaded.status.success(), "{}", err(&reloaded));
    daemon
        .eventually(LIMIT, "it is reloaded for that reason", async || {
            let state = haproxy_state(&daemon).await;
            let reason = state["last_reload"].to_string();
            check(state["counts"]["reload"].as_u64() > before && reason.contains("to see it"), &state)
        })
        .await;
}

#[tokio::test]
async fn refused_order_exits_with_5() {
    let stage = Stage::new(&["10.0.0.1"]);
    let daemon = daemon_with_token(&stage).await;
    let before = haproxy_state(&daemon).await["counts"].clone();
    for (arguments, why) in [
        (&["server", "drain", "web", "10.9.9.9:80"][..], "the service web has no server 10.9.9.9:80"),
        (&["server", "maint", "nowhere", "10.0.0.1:80"], "there is no service nowhere"),
        (&["server", "drain", "web", "10.0.0.1:80", "--reason", "two\nlines"], "the reason must be one line"),
        (&["server", "drain", "web", "a b"], "refuses"),
        (&["accept", "web"], "no change of web is blocked by the guard"),
        (&["reject", "--definitions"], "no change of the service definitions is blocked by the guard"),
        (&["refresh", "nowhere"], "there is no service nowhere"),
    ] {
        let output = daemon.run_command(arguments).await;
        assert_eq!(output.status.code(), Some(5), "{arguments:?}: {}", err(&output));
        assert!(err(&output).contains(why), "{arguments:?}: {}", err(&output));
        assert_eq!(out(&output), "");
    }
    assert_eq!(haproxy_state(&daemon).await["counts"], before);
    wait_for_ready(&daemon, &["10.0.0.1:80"]).await;
}

#[tokio::test]
async fn token_comes_from_settings_or_file() {
    let stage = Stage::new(&["10.0.0.1"]);
    let daemon = daemon_with_token(&stage).await;
    let url = daemon.status_address().to_string();
    let (right, wrong) = (stage.dir.write("right", TOKEN), stage.dir.write("wrong", "correct-horse-batterz"));
    let (right, wrong) = (right.to_str().expect("a path"), wrong.to_str().expect("a path"));

    let done = from_elsewhere(&["refresh", "--status-url", &url, "--token-file", right]).await;
    assert!(done.status.success(), "{}", err(&done));
    for (arguments, why) in [
        (
            &["--status-url", &url][..],
            "orders need the token of the daemon: pass a file that contains it with --token-file",
        ),
        (&["--status-url", &url, "--token-file", wrong], "the token is wrong"),
        (&["--status-url", &url, "--token-file", "/nowhere/token"], "/nowhere/token"),
    ] {
        let output = from_elsewhere(&[&["refresh"], arguments].concat()).await;
        assert_eq!(output.status.code(), Some(4), "{arguments:?}: {}", err(&output));
        assert!(err(&output).contains(why), "{arguments:?}: {}", err(&output));
        assert!(!err(&output).contains("horse"), "no message contains a token: {}", err(&output));
    }

    let read_only = Stage::new(&["10.0.0.1"]);
    let read_only = read_only.start().await;
    let url = read_only.status_address().to_string();
    let output = from_elsewhere(&["refresh", "--status-url", &url, "--token-file", right]).await;
    assert_eq!(output.status.code(), Some(4));
    assert!(
        err(&output).contains("this daemon accepts no changes over TCP: use status.socket, or set status.token"),
        "{}",
        err(&output)
    );
}

#[tokio::test]
async fn orders_need_a_trusted_certificate() {
    let stage = Stage::new(&["10.0.0.1"]);
    let (ours, foreign) = (TestCa::new(&stage.dir.subdir("ours")), TestCa::new(&stage.dir.subdir("foreign")));
    let daemon = stage
        .builder()
        .set("status.token", json!(TOKEN))
        .set("status.socket", json!("none"))
        .set("status.tls_cert", json!(ours.server))
        .set("status.tls_key", json!(ours.server))
        .start();
    let reload = async |ca: &TestCa| daemon.run_command(&["reload", "--ca", ca.ca.to_str().expect("a path")]).await;
    daemon
        .eventually(LIMIT, "the order is accepted", async || {
            let output = reload(&ours).await;
            check(output.status.success(), &output)
        })
        .await;
    let output = reload(&foreign).await;
    assert_eq!(output.status.code(), Some(4));
    assert!(err(&output).contains("is not trusted") && err(&output).contains("--ca"), "{}", err(&output));
}

#[tokio::test]
async fn orders_without_daemon_exit_with_4() {
    let stage = Stage::new(&["10.0.0.1"]);
    let builder = stage.builder().set("status.token", json!(TOKEN));
    for arguments in [&["reload"][..], &["accept", "web"], &["server", "ready", "web", "10.0.0.1:80"]] {
        let output = builder.run_command(arguments).await;
        assert_eq!(output.status.code(), Some(4), "{arguments:?}");
        assert!(err(&output).contains("no proxymgr answers"), "{}", err(&output));
    }
}
