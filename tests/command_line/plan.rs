//! `render` and `plan`: the desired state without a daemon.

use std::fs;
use std::process::Command;

use nix::sys::signal::Signal;
use serde_json::json;

use crate::support::daemon::Daemon;
use crate::support::dir::TestDir;
use crate::support::eventually::check;
use crate::support::haproxy;
use crate::{BINARY, LIMIT, daemon_of_files, err, out, web};

#[tokio::test]
async fn render_prints_valid_configuration() {
    let dir = TestDir::new();
    let output = daemon_of_files(&dir).run_command(&["render"]).await;
    assert!(output.status.success(), "{}", err(&output));
    let text = out(&output);
    assert!(text.contains("listen web") && text.contains("10.0.0.2:80"), "{text}");
    let file = dir.write("rendered.cfg", text);
    let checked = Command::new(haproxy::installed().path).args(["-c", "-f"]).arg(file).output().unwrap();
    assert!(checked.status.success(), "{}", err(&checked));
}

#[tokio::test]
async fn render_uses_saved_state_without_discovery() {
    let dir = TestDir::new();
    let mut daemon = daemon_of_files(&dir).start();
    daemon.wait_until_haproxy_answers().await;
    let state = daemon.dir().join("state");
    daemon
        .eventually(LIMIT, "the state is saved", async || {
            let saved = fs::read_dir(&state)
                .into_iter()
                .flatten()
                .flatten()
                .find_map(|file| fs::read_to_string(file.path()).ok());
            check(saved.as_ref().is_some_and(|text| text.contains("10.0.0.2")), &saved)
        })
        .await;
    daemon.terminate().await;
    fs::remove_dir_all(dir.join("services")).unwrap();
    let output = daemon.run_command(&["render", "--timeout", "300ms"]).await;
    assert!(output.status.success(), "{}", err(&output));
    assert!(out(&output).contains("10.0.0.2:80"), "{}", out(&output));
    assert!(err(&output).contains("using the saved state"), "{}", err(&output));
}

#[tokio::test]
async fn render_and_plan_without_data_exit_with_4() {
    let dir = TestDir::new();
    let daemon = Daemon::builder(BINARY, &dir).files(&dir.join("nowhere"));
    fs::create_dir_all(daemon.config_path().with_file_name("state")).unwrap();
    let cfg = daemon.config_path().with_file_name("haproxy.cfg").display().to_string();
    let saved = format!("state/{}.json", cfg.trim_start_matches('/').replace('-', "%2d").replace('/', "-"));
    let saved = daemon.config_path().with_file_name(saved);
    fs::write(&saved, "damaged").unwrap();
    for command in ["render", "plan"] {
        let output = daemon.run_command(&[command, "--timeout", "300ms"]).await;
        assert_eq!(output.status.code(), Some(4), "{command}");
        assert_eq!(out(&output), "", "{command}");
        for part in ["nothing is known", "definitions cannot be read", "is damaged"] {
            assert!(err(&output).contains(part), "{part} in {}", err(&output));
        }
    }
    assert_eq!(fs::read_to_string(&saved).unwrap(), "damaged", "the file is unchanged");
}

#[tokio::test]
async fn plan_shows_commands_and_reloads_only() {
    let dir = TestDir::new();
    let mut daemon = daemon_of_files(&dir).start();
    let before = daemon.run_command(&["plan"]).await;
    assert!(before.status.success(), "{}", err(&before));
    daemon.wait_until_haproxy_answers().await;
    daemon
        .eventually(LIMIT, "there is nothing to do", async || {
            let plan = daemon.run_command(&["plan"]).await;
            check(out(&plan).starts_with("Nothing to do"), &plan)
        })
        .await;

    // A stopped daemon cannot apply the changes before the plan is made.
    daemon.signal(Signal::SIGSTOP);
    web(&dir, &["10.0.0.1", "10.0.0.3"]);
    dir.write(
        "services/new.json",
        json!({"type": "static", "hosts": [], "min_hosts": 0, "port": dir.port()}).to_string(),
    );
    let plan = daemon.run_command(&["plan"]).await;
    let text = out(&plan);
    assert!(plan.status.success(), "{}", err(&plan));
    assert!(text.contains("runtime-disable web/10.0.0.2:80: "), "{text}");
    assert!(text.contains("    set server web/10.0.0.2:80 state maint"), "{text}");
    assert!(text.contains("runtime-enable web/10.0.0.3:80: "), "{text}");
    assert!(text.contains("reload\n    new: the service is new"), "{text}");
    let servers = haproxy::servers_state(&daemon.socket()).await.unwrap();
    assert!(servers.iter().all(|server| server.name() != "10.0.0.3:80"), "the plan was carried out");
    daemon.signal(Signal::SIGCONT);
}

#[tokio::test]
async fn plan_shows_the_file_what_is_blocked_and_what_haproxy_refuses() {
    let dir = TestDir::new();
    let settings = daemon_of_files(&dir);
    let state = settings.config_path().with_file_name("state");
    let mut daemon = settings.start();
    daemon.wait_until_haproxy_answers().await;
    daemon
        .eventually(LIMIT, "the state is saved", async || {
            let mut files = fs::read_dir(&state).unwrap().map(|entry| entry.unwrap().path());
            let saved = files.any(|path| fs::read_to_string(path).is_ok_and(|text| text.contains("10.0.0.2:80")));
            let plan = daemon.run_command(&["plan"]).await;
            check(saved && out(&plan) == "Nothing to do: HAProxy is in sync.\n", &plan)
        })
        .await;
    daemon.signal(Signal::SIGSTOP);

    web(&dir, &["10.0.0.1", "10.0.0.2", "10.0.0.3"]);
    let plan = daemon.run_command(&["plan"]).await;
    let text = out(&plan);
    assert!(text.contains("\n@@ ") && text.contains(" @@ listen web\n"), "{text}");
    let added = |line: &&str| line.starts_with("+    server 10.0.0.3:80 10.0.0.3:80 ");
    assert_eq!(text.lines().filter(added).count(), 1, "{text}");
    assert_eq!(text.lines().filter(|line| line.starts_with('-')).count(), 1, "nothing else changes: {text}");

    let line = "http-request track-sc9 src";
    let bad = json!({"type": "static", "hosts": [], "min_hosts": 0, "port": dir.port(), "listen_options": [line]});
    dir.write("services/bad.json", bad.to_string());
    let plan = daemon.run_command(&["plan"]).await;
    let text = out(&plan);
    assert!(text.contains("\n+listen bad\n"), "{text}");
    let refused = "\nrefused by HAProxy: a running service stays as it is, a new one is left out\n    bad: \"http-request track-sc9 src\": ";
    assert!(text.contains(refused), "{text}");

    fs::remove_file(dir.join("services/bad.json")).unwrap();
    web(&dir, &[]);
    let plan = daemon.run_command(&["plan"]).await;
    let text = out(&plan);
    let blocked = "blocked, until an operator accepts it or the source changes\n    web: ";
    assert!(text.starts_with("Nothing to do") && text.contains(blocked) && !text.contains("@@"), "{text}");

    fs::remove_file(dir.join("services/web.json")).unwrap();
    let plan = daemon.run_command(&["plan"]).await;
    assert!(out(&plan).contains("\n    removal of 1 service: "), "{}", out(&plan));
    daemon.signal(Signal::SIGCONT);
}

#[tokio::test]
async fn hosts_are_selected_by_tags_and_meta() {
    let dir = TestDir::new();
    let ports = [dir.port(), dir.port()];
    let define = |first: &str| {
        let hosts = json!([
            {"address": "10.0.0.1", "port": 80, "tags": [first], "meta": {"zone": "a"}},
            {"address": "10.0.0.2", "port": 80, "tags": ["stable", "new"], "meta": {"zone": "b"}},
        ]);
        let of = |selected: serde_json::Value, port: u16| json!({"type": "static", "hosts": hosts, "min_hosts": 0, "bind": "127.0.0.1", "port": port, "match": selected});
        dir.write("services/canary.json", of(json!({"tags": ["canary"]}), ports[0]).to_string());
        dir.write("services/zone.json", of(json!({"meta": {"zone": "b"}, "tags": "new"}), ports[1]).to_string());
    };
    define("canary");
    let mut daemon = Daemon::builder(BINARY, &dir).files(&dir.join("services")).start();
    daemon.wait_until_haproxy_answers().await;
    let serves = async |service: &str, wanted: &[&str]| {
        daemon
            .eventually(LIMIT, &format!("{service} has {wanted:?}"), async || {
                let servers = haproxy::servers_state(&daemon.socket()).await.map_err(|error| error.to_string())?;
                let ours = servers.iter().filter(|server| server.backend() == service && server.is_ready());
                let names: Vec<_> = ours.map(|server| server.name()).collect();
                check(names == wanted, &names)
            })
            .await;
    };
    serves("canary", &["10.0.0.1:80"]).await;
    serves("zone", &["10.0.0.2:80"]).await;
    define("stable");
    serves("canary", &[]).await;
    serves("zone", &["10.0.0.2:80"]).await;
}
