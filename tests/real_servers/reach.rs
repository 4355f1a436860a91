//! What the author of a definition cannot reach: files outside the root, this daemon's own listeners, special addresses.

use std::os::unix::fs::symlink;

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::stage::{LIMIT, ServiceFiles, backends, daemon, wait_for_ready};
use crate::support::daemon::Daemon;
use crate::support::dir::TestDir;
use crate::support::eventually::check;
use crate::support::http;

const SECRET: &str = "hunter2-of-the-daemon";

fn service<'a>(status: &'a Value, name: &str) -> Option<&'a Value> {
    status["actors"].as_array()?.iter().find(|actor| actor["service"] == name)
}

#[tokio::test]
async fn file_outside_the_root_is_neither_read_nor_shown() {
    let dir = TestDir::new();
    let (files, backends) = (ServiceFiles::new(&dir), backends(&dir, 1));
    files.define("web", dir.port(), json!({}));
    files.hosts("web", &backends);
    let secret = dir.write("secret", format!("{SECRET}\n{SECRET}:80\n"));
    symlink(&secret, dir.join("discovery/link.hosts")).expect("a new link");
    symlink("/proc/self/environ", dir.join("discovery/environ.hosts")).expect("a new link");
    let unusable = dir.write("discovery/unusable.hosts", format!("10.0.0.1:80 weight={SECRET}\n{SECRET}\n"));
    let paths = [
        ("plain", secret.clone()),
        ("climbing", dir.join("discovery/../secret")),
        ("link", dir.join("discovery/link.hosts")),
        ("environ", dir.join("discovery/environ.hosts")),
        ("proc", "/proc/self/environ".into()),
        ("unusable", unusable),
    ];
    for (name, path) in &paths {
        files.define(name, dir.port(), json!({"path": path}));
    }
    let daemon = daemon(&dir).files(&files.services()).set("discovery.file_root", json!(dir.join("discovery")));
    let daemon = daemon.env("SOME_SECRET", SECRET).start();
    wait_for_ready(&daemon, "web", &[backends[0].address().to_string()]).await;
    let refused = async || {
        let status = daemon.status_json().await?;
        for (name, _) in &paths {
            let text = service(&status, name).map(Value::to_string).unwrap_or_default();
            let words = if *name == "unusable" { "line 2: it has no port" } else { "not below discovery.file_root" };
            check(text.contains(words), &format!("{name}: {text}"))?;
        }
        Ok::<_, String>(status)
    };
    let status = daemon.eventually(LIMIT, "all are refused", refused).await;
    let page = http::get(daemon.status_address(), "/service/unusable").await.expect("the page").text();
    let journal = http::get(daemon.status_address(), "/api/v1/journal").await.expect("the journal").text();
    for (what, text) in [("status", status.to_string()), ("page", page), ("journal", journal), ("log", daemon.log())] {
        assert!(!text.contains(SECRET), "{what}: {text}");
    }
}

#[tokio::test]
async fn special_hosts_are_refused_and_the_others_served() {
    let dir = TestDir::new();
    let (files, backends) = (ServiceFiles::new(&dir), backends(&dir, 1));
    let builder = daemon(&dir).files(&files.services());
    let daemon = builder.start();
    let port = daemon.status_address().port();
    let own = ["127.0.0.1", "127.0.0.9", "localhost"].map(|host| format!("{host}:{port}"));
    let good = backends[0].address().to_string();
    let special = ["169.254.169.254:80", "[fe80::1]:80", "0.0.0.0:80", "[::]:80", "0x0:80", "0:80"].map(str::to_owned);
    let hosts: Vec<&String> = own.iter().chain(&special).chain([&good]).collect();
    files.define("web", dir.port(), json!({"type": "static", "path": null, "hosts": hosts}));
    wait_for_ready(&daemon, "web", std::slice::from_ref(&good)).await;
    let status = daemon.status_json().await.expect("a status");
    let problems = service(&status, "web").expect("its watcher")["problems"].as_object().expect("problems").len();
    assert_eq!(problems, hosts.len() - 1, "{status}");
    let config = daemon.haproxy_config();
    assert!(!config.contains(&port.to_string()) && !config.contains("169.254"), "{config}");
}

async fn wait_for_text(daemon: &Daemon, words: &str) {
    let shown = async || {
        let text = daemon.status_json().await?.to_string();
        check(text.contains(words), &text)
    };
    daemon.eventually(LIMIT, words, shown).await;
}

#[tokio::test]
async fn definition_outside_its_grant_is_refused_until_it_is_granted() {
    let dir = TestDir::new();
    let (files, backends) = (ServiceFiles::new(&dir), backends(&dir, 1));
    let (port, other) = (dir.port(), dir.port());
    files.define("team-web", port, json!({}));
    files.define("team-db", other, json!({}));
    for name in ["team-web", "team-db"] {
        files.hosts(name, &backends);
    }
    let grant =
        |ports: &[u16], networks: &str| json!([{"prefix": "team-", "ports": ports, "host_networks": [networks]}]);
    let mut daemon = daemon(&dir).files(&files.services()).set("grants", grant(&[port], "127.0.0.0/8")).start();
    let ready = [backends[0].address().to_string()];
    wait_for_ready(&daemon, "team-web", &ready).await;
    let words = format!("\\\"port\\\": {other} is not granted to services \\\"team-*\\\"");
    wait_for_text(&daemon, &words).await;

    daemon.rewrite("grants", grant(&[port, other], "127.0.0.0/8"));
    daemon.signal(Signal::SIGHUP);
    wait_for_ready(&daemon, "team-db", &ready).await;

    daemon.rewrite("grants", grant(&[port, other], "10.0.0.0/8"));
    daemon.signal(Signal::SIGHUP);
    wait_for_text(&daemon, "is in none of the networks of the service's grant").await;
}

/// Newer definitions, whose names sort before that of the running service, claim its name, its port, and a part of its
/// requests, while the daemon is down and while it runs.
#[tokio::test]
async fn newer_definitions_take_nothing_from_a_running_service() {
    let dir = TestDir::new();
    let (files, backends) = (ServiceFiles::new(&dir), backends(&dir, 2));
    let (port, shared) = (dir.port(), dir.port());
    files.define("web", port, json!({}));
    files.define("wild", shared, json!({"domains": ["*.a.example", "a.example"]}));
    for name in ["web", "wild", "aaa", "aab", "aac"] {
        files.hosts(name, &backends[usize::from(name.starts_with('a'))..][..1]);
    }
    let mut daemon = daemon(&dir).files(&files.services()).start();
    let (first, other) = (backends[0].address().to_string(), backends[1].address().to_string());
    wait_for_ready(&daemon, "web", std::slice::from_ref(&first)).await;
    wait_for_ready(&daemon, "wild", std::slice::from_ref(&first)).await;
    let saved = async || {
        let files = std::fs::read_dir(daemon.dir().join("state")).expect("it exists").flatten();
        let whole = files.filter(|file| file.path().extension().is_some_and(|extension| extension == "json"));
        let texts = whole.filter_map(|file| std::fs::read_to_string(file.path()).ok());
        let text: String = texts.collect();
        check(text.contains("*.a.example"), &text)
    };
    daemon.eventually(LIMIT, "the services are saved", saved).await;
    daemon.kill();
    files.define("aaa", port, json!({}));
    files.define("aab", shared, json!({"domains": ["x.a.example", "b.example"]}));
    files.define("aac", shared, json!({"domains": ["a.example"], "path_prefix": "/api"}));
    // It names the running service in its content.
    files.replace(
        "services/0.json",
        &json!({"Id": "web", "Port": port, "Hosts": [{"Ip": "127.0.0.1", "Port": backends[1].address().port()}]})
            .to_string(),
    );
    daemon.start_again();
    wait_for_text(&daemon, "is already defined by ").await;
    wait_for_text(&daemon, "is already taken by the service web").await;
    wait_for_text(&daemon, "requests for x.a.example on ").await;
    wait_for_text(&daemon, "requests for a.example/api on ").await;
    wait_for_ready(&daemon, "aab", &[other]).await;
    let served_by = async |port: u16, host: &str, path: &str| {
        let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        let mut connection =
            http::Connection::open(([127, 0, 0, 1], port).into()).await.map_err(|error| error.to_string())?;
        let response = connection.exchange(&request).await.map_err(|error| error.to_string())?;
        Ok::<_, String>(response.header("x-backend").unwrap_or_default().to_owned())
    };
    daemon
        .eventually(LIMIT, "the new domain is served", async || {
            let name = served_by(shared, "b.example", "/").await?;
            check(name == backends[1].name(), &name)
        })
        .await;
    for (port, host, path) in [(port, "web", "/"), (shared, "x.a.example", "/"), (shared, "a.example", "/api")] {
        assert_eq!(served_by(port, host, path).await.as_deref(), Ok(backends[0].name()), "{host}{path}");
    }

    // The operator grants the path; the owner gives up a domain.
    daemon.rewrite("grants", json!([{"prefix": "aac", "domains": ["a.example"]}]));
    daemon.signal(Signal::SIGHUP);
    files.define("wild", shared, json!({"domains": ["a.example"]}));
    for (host, path) in [("x.a.example", "/"), ("a.example", "/api")] {
        daemon
            .eventually(LIMIT, &format!("{host}{path} is served by the new service"), async || {
                let name = served_by(shared, host, path).await?;
                check(name == backends[1].name(), &name)
            })
            .await;
    }
}
