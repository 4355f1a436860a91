//! Annotations in a real ZooKeeper, through the status listener of real daemons.

#[path = "support/mod.rs"]
mod support;

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::{Value, json};
use support::daemon::{Daemon, DaemonBuilder};
use support::dir::TestDir;
use support::eventually::check;
use support::haproxy;
use support::http::{self, Response};
use support::znodes;
use support::zookeeper::Ensemble;

const LIMIT: Duration = Duration::from_secs(30);

const TOKEN: &str = "0123456789abcdef";

/// Returns a daemon with the service `web` that reads its annotations from this ensemble.
fn manager(dir: &TestDir, ensemble: &Ensemble) -> DaemonBuilder {
    let web = json!({"type": "static", "hosts": ["127.0.0.1:9"], "port": dir.port(), "listen_options": ["mode tcp"]});
    manager_of(dir, ensemble, &web)
}

/// Returns the same daemon with this definition of `web`.
fn manager_of(dir: &TestDir, ensemble: &Ensemble, web: &Value) -> DaemonBuilder {
    let files = dir.subdir(&format!("services-{}", dir.port()));
    files.write("web.json", web.to_string());
    Daemon::builder(env!("CARGO_BIN_EXE_proxymgr"), dir)
        .files(files.path())
        .set("annotations", json!({"path": "/proxy/annotations", "servers": ensemble.connect_string()}))
        .set("zookeeper.session_timeout", json!("4s"))
        .set("status.token", json!(TOKEN))
}

async fn ask(daemon: &Daemon, method: &str, path: &str, body: &str) -> Response {
    let token = format!("X-Proxymgr-Token: {TOKEN}");
    http::request(daemon.status_address(), method, path, &[&token], body).await.expect("the listener answers")
}

fn body(response: &Response) -> Value {
    serde_json::from_slice(&response.body).unwrap_or_else(|error| panic!("{error}: {}", response.text()))
}

/// Waits until haproxy.cfg meets the condition.
async fn until_config(daemon: &Daemon, what: &str, fits: impl Fn(&str) -> bool) {
    let probe = async || {
        let text = std::fs::read_to_string(daemon.dir().join("haproxy.cfg")).unwrap_or_default();
        check(fits(&text), &text)
    };
    daemon.eventually(LIMIT, what, probe).await;
}

async fn until_problem(daemon: &Daemon, fits: impl Fn(&str) -> bool) {
    let probe = async || {
        let answer = http::get(daemon.status_address(), "/api/v1/status").await.map_err(|error| error.to_string())?;
        check(fits(&answer.text()), &answer.text())
    };
    daemon.eventually(LIMIT, "the problem of web in status", probe).await;
}

/// Waits until the API reports this state of the source of the annotations.
async fn until_source(daemon: &Daemon, state: &str) {
    let probe = async || {
        let answer = http::get(daemon.status_address(), "/api/v1/sources").await.map_err(|error| error.to_string())?;
        let answer = body(&answer);
        let sources = answer["sources"].as_array().into_iter().flatten();
        let states = sources.filter(|source| source["kind"] == "annotations").map(|source| source["state"].clone());
        check(Vec::from_iter(states) == [state], &answer)
    };
    daemon.eventually(LIMIT, "the state of the annotations' source", probe).await;
}

#[tokio::test]
async fn annotations_are_shared_by_managers() {
    let dir = TestDir::new();
    let ensemble = Ensemble::start(&dir, 1).await;
    let [mut one, mut other] = [manager(&dir, &ensemble).start(), manager(&dir, &ensemble).start()];
    one.wait_until_haproxy_answers().await;
    other.wait_until_haproxy_answers().await;
    assert_eq!(body(&ask(&one, "GET", "/annotations", "").await), json!({"annotations": []}));
    assert_eq!(ask(&one, "GET", "/annotations/web", "").await.status, 404);

    let annotation = json!({"listen_options": ["option forwardfor"], "protocol": "http"});
    let refused = http::request(one.status_address(), "POST", "/annotations/web", &[], &annotation.to_string()).await;
    assert_eq!(refused.unwrap().status, 401, "a write without the token is refused");
    for (path, text, reason) in [
        ("/annotations/web", "{\"port\": 81}", "\\\"port\\\" is not a key of an annotation"),
        ("/annotations/web", "", "it has no data"),
        ("/annotations/not%20a%20name", "{}", "not a name"),
    ] {
        let answer = ask(&one, "POST", path, text).await;
        assert!(answer.status == 400 && answer.text().contains(reason), "{path} {text}: {}", answer.text());
    }
    let answer = ask(&one, "POST", "/annotations/web", &annotation.to_string()).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    for daemon in [&one, &other] {
        until_config(daemon, "it is applied", |text| text.contains("option forwardfor") && !text.contains("mode tcp"))
            .await;
    }
    let shown = body(&ask(&other, "GET", "/annotations/web", "").await);
    assert_eq!(shown["annotation"], annotation);
    assert_eq!(shown["origin"], "znode /proxy/annotations/web");

    // First a valid annotation with an option that no service may have; then, written directly to ZooKeeper, no
    // annotation.
    ask(&one, "POST", "/annotations/web", "{\"server_options\": [\"ca-file /etc/shadow\"]}").await;
    until_problem(&other, |status| status.contains("its annotation (znode /proxy/annotations/web): ")).await;
    until_config(&other, "only the definition is applied", |text| !text.contains("option forwardfor")).await;
    let client = ensemble.client().await;
    znodes::put_bytes(&client, "/proxy/annotations/web", b"garbage").await;
    until_problem(&one, |status| status.contains("it is not JSON")).await;
    until_config(&one, "only the definition", |text| text.contains("mode tcp") && text.contains("listen web")).await;

    assert_eq!(ask(&other, "DELETE", "/annotations/web", "").await.status, 200);
    until_problem(&one, |status| !status.contains("its annotation")).await;
    assert_eq!(ask(&one, "DELETE", "/annotations/web", "").await.status, 404);
}

#[tokio::test]
async fn annotation_changes_domain_without_reload() {
    let dir = TestDir::new();
    let ensemble = Ensemble::start(&dir, 1).await;
    let port = dir.port();
    let web = json!({"type": "static", "hosts": ["127.0.0.1:9"], "port": port, "domains": ["a.example"]});
    let mut daemon = manager_of(&dir, &ensemble, &web).start();
    let first = daemon.wait_until_haproxy_answers().await;
    let until_map = async |what: &str, domains: &[&str]| {
        let wanted: Vec<String> = domains.iter().map(|domain| format!("0.0.0.0:{port}/{domain}/ web")).collect();
        let map = daemon.dir().join("haproxy.cfg.domains");
        let probe = async || {
            let shown = haproxy::runtime(&daemon.socket(), &format!("show map {}", map.display())).await;
            let shown = shown.map_err(|error| error.to_string())?;
            // Each line begins with an internal identifier of HAProxy.
            let lines = shown.lines().filter_map(|line| line.split_once(' ')).map(|(_, line)| line);
            check(lines.eq(&wanted), &shown)
        };
        daemon.eventually(LIMIT, what, probe).await;
    };
    until_map("the definition's domain", &["a.example"]).await;
    let answer = ask(&daemon, "POST", "/annotations/web", &json!({"domains": ["b.example"]}).to_string()).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    until_map("the annotation's domain is added", &["a.example", "b.example"]).await;
    assert_eq!(ask(&daemon, "DELETE", "/annotations/web", "").await.status, 200);
    until_map("only the definition's domain", &["a.example"]).await;
    assert_eq!(daemon.wait_until_haproxy_answers().await, first, "the same process serves");
}

#[tokio::test]
async fn unreachable_zookeeper_keeps_annotations() {
    let dir = TestDir::new();
    let mut ensemble = Ensemble::start(&dir, 1).await;
    let client = ensemble.client().await;
    let annotation = json!({"listen_options": ["balance leastconn"]});
    znodes::put(&client, "/proxy/annotations/web", &annotation).await;
    drop(client);
    let mut daemon = manager(&dir, &ensemble).start();
    daemon.wait_until_haproxy_answers().await;
    until_config(&daemon, "the annotation is applied", |text| text.contains("balance leastconn")).await;
    ensemble.stop(1);
    let refused = async || {
        let answer = ask(&daemon, "POST", "/annotations/web", "{}").await;
        check(answer.status == 503, &answer.text()).map(|()| answer.text())
    };
    let words = daemon.eventually(LIMIT, "the order is refused", refused).await;
    assert!(words.contains("nothing was written: ") && words.contains("the last good annotations stay"), "{words}");
    assert_eq!(body(&ask(&daemon, "GET", "/annotations/web", "").await)["annotation"], annotation);
    until_source(&daemon, "away").await;
    until_problem(&daemon, |status| status.contains("annotations cannot be read: ")).await;
    let metrics = http::get(daemon.status_address(), "/metrics").await.unwrap().text();
    assert!(metrics.contains("\nproxymgr_annotations_source_up 0.0\n"), "{metrics}");
    assert!(daemon.haproxy_config().contains("balance leastconn"));

    daemon.terminate().await;
    std::fs::remove_file(daemon.dir().join("haproxy.cfg")).unwrap();
    daemon.start_again();
    daemon.wait_until_haproxy_answers().await;
    until_config(&daemon, "the annotation is applied again", |text| text.contains("balance leastconn")).await;
    ensemble.start_member(1).await;
    let written = async || {
        let answer = ask(&daemon, "POST", "/annotations/web", "{}").await;
        check(answer.status == 200, &answer.text())
    };
    daemon.eventually(LIMIT, "the order is accepted", written).await;
    until_source(&daemon, "good").await;
    until_problem(&daemon, |status| !status.contains("annotations cannot be read")).await;
    until_config(&daemon, "only the definition", |text| text.contains("listen web") && !text.contains("leastconn"))
        .await;
}

#[tokio::test]
async fn annotations_are_disabled_without_path() {
    let dir = TestDir::new();
    let files = dir.subdir("services");
    files.write("web.json", json!({"type": "static", "hosts": [], "port": dir.port()}).to_string());
    let mut daemon = Daemon::builder(env!("CARGO_BIN_EXE_proxymgr"), &dir)
        .files(files.path())
        .set("status.token", json!(TOKEN))
        .start();
    daemon.wait_until_haproxy_answers().await;
    let status: SocketAddr = daemon.status_address();
    let answer = http::get(status, "/annotations/web").await.unwrap();
    assert!(answer.status == 404 && answer.text().contains("set annotations.path"), "{}", answer.text());
}
