//! The API of a real daemon with a real HAProxy: it shows the real state, and orders are executed.

use std::fs;
use std::process::Command;

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::stage::{self, LIMIT, ServiceFiles, addresses, backends, daemon, wait_for_ready};
use crate::support::backend::Backend;
use crate::support::daemon::Daemon;
use crate::support::dir::TestDir;
use crate::support::eventually::check;
use crate::support::http::{self, Connection};
use crate::support::tls::TestCa;

const TOKEN: &str = "correct-horse-battery";

struct Scene {
    files: ServiceFiles,
    backends: Vec<Backend>,
    daemon: Daemon,
}

/// Starts three backends behind `web`, of which at most half may be removed at once.
async fn scene() -> Scene {
    let dir = TestDir::new();
    let files = ServiceFiles::new(&dir);
    let backends = backends(&dir, 3);
    files.define("web", dir.port(), json!({"max_removal": 0.5}));
    files.hosts("web", &backends);
    let daemon = daemon(&dir).files(&files.services()).set("status.token", json!(TOKEN)).start();
    wait_for_ready(&daemon, "web", &addresses(&backends)).await;
    Scene { files, backends, daemon }
}

impl Scene {
    async fn get(&self, path: &str) -> Result<Value, String> {
        let response = http::get(self.daemon.status_address(), &format!("/api/v1{path}")).await;
        let response = response.map_err(|error| error.to_string())?;
        check(response.status == 200, &response.text())?;
        serde_json::from_slice(&response.body).map_err(|error| error.to_string())
    }

    /// Waits until the response at this path meets the condition.
    async fn wait_for(&self, path: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let probe = async || {
            let value = self.get(path).await?;
            check(wanted(&value), &value)?;
            Ok::<_, String>(value)
        };
        self.daemon.eventually(LIMIT, path, probe).await
    }

    async fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        let body = body.to_string();
        let request = format!(
            "POST /api/v1{path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\n\
             Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        );
        let mut connection = Connection::open(self.daemon.status_address()).await.expect("it listens");
        let response = connection.exchange(&request).await.expect("it answers");
        (response.status, serde_json::from_slice(&response.body).expect("JSON"))
    }
}

#[tokio::test]
async fn api_shows_running_state() {
    let scene = scene().await;
    // HAProxy answers before the daemon has noted its start.
    let services = scene.wait_for("/services", |services| services["services"][0]["servers"]["ready"] == 3).await;
    assert_eq!(services["services"][0]["name"], "web");
    let servers = scene.get("/services/web/servers").await.expect("it answers");
    let names: Vec<&str> =
        servers["servers"].as_array().expect("a list").iter().filter_map(|s| s["name"].as_str()).collect();
    assert_eq!(names, addresses(&scene.backends));
    let plan = scene.wait_for("/plan", |plan| plan["is_empty"] == true).await;
    assert_eq!(plan["phase"], "running");
    let config = scene.get("/config").await.expect("it answers");
    assert_eq!(config["text"], scene.daemon.haproxy_config());
    assert_eq!(scene.get("/config/diff").await.expect("it answers")["is_same"], true);
    assert!(scene.get("/processes").await.expect("it answers")["current"]["pid"].is_u64());
}

#[tokio::test]
async fn drain_order_survives_discovery() {
    let scene = scene().await;
    let name = scene.backends[0].address();
    let order = json!({"reason": "a new disk", "duration": "1h"});
    let (status, answer) = scene.post(&format!("/services/web/servers/{name}/drain"), &order).await;
    assert_eq!(status, 200, "{answer}");
    wait_for_ready(&scene.daemon, "web", &addresses(&scene.backends[1..])).await;

    scene.files.hosts("web", &scene.backends[..2]);
    wait_for_ready(&scene.daemon, "web", &addresses(&scene.backends[1..2])).await;
    scene.files.hosts("web", &scene.backends);
    wait_for_ready(&scene.daemon, "web", &addresses(&scene.backends[1..])).await;
    let server = scene.get(&format!("/servers/web/{name}")).await.expect("it answers");
    assert_eq!((&server["state"], &server["wanted"]), (&json!("drain"), &json!("ready")));
    assert_eq!(server["operator"]["reason"], "a new disk");
    assert!(server["story"].to_string().contains("state drain"), "{server}");

    let (status, answer) = scene.post(&format!("/services/web/servers/{name}/ready"), &json!({})).await;
    assert_eq!(status, 200, "{answer}");
    wait_for_ready(&scene.daemon, "web", &addresses(&scene.backends)).await;
}

#[tokio::test]
async fn blocked_change_applies_once_accepted() {
    let scene = scene().await;
    assert_eq!(scene.post("/holds/web/accept", &json!({})).await.0, 409, "no change is blocked yet");
    scene.files.hosts("web", &scene.backends[..1]);
    let holds = scene.wait_for("/holds", |holds| holds["holds"][0]["state"] == "held").await;
    assert_eq!(holds["holds"][0]["removes"]["count"], 2, "{holds}");
    wait_for_ready(&scene.daemon, "web", &addresses(&scene.backends)).await;
    let (status, answer) = scene.post("/holds/web/accept", &json!({})).await;
    assert_eq!(status, 200, "{answer}");
    wait_for_ready(&scene.daemon, "web", &addresses(&scene.backends[..1])).await;
    assert_eq!(scene.get("/holds").await.expect("it answers"), json!({"holds": []}));
}

#[tokio::test]
async fn reload_order_has_its_reason() {
    let scene = scene().await;
    let before = stage::reloads(&scene.daemon).await;
    let (status, answer) = scene.post("/reload", &json!({"reason": "to see it"})).await;
    assert_eq!(status, 200, "{answer}");
    stage::wait_for_reload_after(&scene.daemon, before).await;
    let processes = scene.get("/processes").await.expect("it answers");
    assert!(processes["last_reload"].to_string().contains("to see it"), "{processes}");
}

#[tokio::test]
async fn wrong_token_changes_nothing() {
    let scene = scene().await;
    let request = "POST /api/v1/reload HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer correct-horse-batterz\r\n\
                   Content-Length: 0\r\nConnection: close\r\n\r\n";
    let before = stage::reloads(&scene.daemon).await;
    let mut connection = Connection::open(scene.daemon.status_address()).await.expect("it listens");
    assert_eq!(connection.exchange(request).await.expect("it answers").status, 401);
    let entries = scene.get("/journal?event=ordered").await.expect("it answers");
    assert_eq!(entries["entries"], json!([]));
    assert_eq!(stage::reloads(&scene.daemon).await, before);
    assert!(!scene.daemon.log().contains(TOKEN), "the token is in the log");
}

#[tokio::test]
async fn tls_certificate_is_verified_and_renewed() {
    let dir = TestDir::new();
    let files = ServiceFiles::new(&dir);
    let backends = backends(&dir, 1);
    files.define("web", dir.port(), json!({}));
    files.hosts("web", &backends);
    let (old, new) = (TestCa::new(&dir.subdir("old")), TestCa::new(&dir.subdir("new")));
    let shown = dir.join("shown.pem");
    fs::copy(&old.server, &shown).expect("a certificate");
    let settings = daemon(&dir)
        .files(&files.services())
        .set("status.tls_cert", json!(shown))
        .set("status.tls_key", json!(shown))
        .set("status.reads", json!("token"))
        .set("status.token", json!(TOKEN));
    let mut daemon = settings.start();
    daemon.wait_until_haproxy_answers().await;
    let url = format!("https://{}", daemon.status_address());
    let token = dir.write("token", TOKEN);
    let status = async |ca: &TestCa| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_proxymgr"));
        command.args(["status", "--status-url", &url, "--token-file"]).arg(&token).arg("--ca").arg(&ca.ca);
        let run = tokio::task::spawn_blocking(move || command.output());
        let output = run.await.expect("no panic in running a command").expect("it can be run");
        let text = [&output.stdout[..], &output.stderr].concat();
        (output.status.success(), String::from_utf8_lossy(&text).into_owned())
    };
    let (done, text) = status(&old).await;
    assert!(done && text.contains("web"), "{text}");
    let (done, text) = status(&new).await;
    assert!(!done && text.contains("not trusted") && text.contains("--ca"), "{text}");

    fs::write(&shown, "no certificate").expect("a file of ours");
    daemon.signal(Signal::SIGHUP);
    daemon
        .eventually(LIMIT, "the mistake is in the log", async || {
            let log = daemon.log();
            check(log.contains("status.tls_cert"), &log)
        })
        .await;
    fs::copy(&new.server, &shown).expect("a certificate");
    daemon.signal(Signal::SIGHUP);
    daemon
        .eventually(LIMIT, "the new certificate is shown", async || {
            let (done, text) = status(&new).await;
            check(done, &text)
        })
        .await;
}

#[tokio::test]
async fn mismatched_key_is_named_at_start() {
    let dir = TestDir::new();
    let files = ServiceFiles::new(&dir);
    let (one, other) = (TestCa::new(&dir.subdir("one")), TestCa::new(&dir.subdir("other")));
    let mut daemon = daemon(&dir)
        .files(&files.services())
        .set("status.tls_cert", json!(one.server))
        .set("status.tls_key", json!(other.server))
        .start();
    assert_eq!(daemon.wait_exit(LIMIT).await.code(), Some(4));
    let log = daemon.log();
    assert!(log.contains("status.tls_cert") && log.contains("status.tls_key"), "{log}");
}
