//! What the author of a definition cannot reach: files outside the root, this daemon's own listeners, special addresses.

use std::os::unix::fs::symlink;

use serde_json::{Value, json};

use crate::stage::{LIMIT, ServiceFiles, backends, daemon, wait_for_ready};
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
