//! nginx with the configuration from the shipped template.

use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::backend::Backend;
use crate::support::daemon::Daemon;
use crate::support::dir::TestDir;
use crate::support::eventually::{check, eventually};
use crate::support::http;
use crate::support::load::Load;
use crate::support::process::Process;
use crate::{LIMIT, daemon, define, define_with, output_state};

/// Returns the shipped template, with its files and its port in the test's directory.
fn template(dir: &TestDir, port: u16) -> String {
    let shipped = include_str!("../../config/templates/nginx.conf.j2");
    let own = [
        (
            "pid /run/nginx.pid;",
            format!("pid {0}/nginx.pid; daemon off; error_log {0}/nginx.log;", dir.path().display()),
        ),
        ("listen {{ domain.port or 80 }};", format!("listen 127.0.0.1:{port};")),
        (
            "access_log off;",
            format!(
                "access_log off; client_body_temp_path {0}/body; proxy_temp_path {0}/proxy; fastcgi_temp_path {0}/fastcgi; \
             uwsgi_temp_path {0}/uwsgi; scgi_temp_path {0}/scgi;",
                dir.path().display()
            ),
        ),
    ];
    own.iter().fold(shipped.to_owned(), |text, (from, to)| {
        assert!(text.contains(from), "the template has no {from}");
        text.replacen(from, to, 1)
    })
}

fn output(dir: &TestDir) -> Value {
    let config = dir.join("nginx.conf");
    json!([{
        "type": "template", "template": dir.join("nginx.conf.j2"), "path": config,
        "check": ["nginx", "-t", "-q", "-e", dir.join("check.log"), "-c", "{candidate}"],
        "reload": ["nginx", "-e", dir.join("reload.log"), "-c", config, "-s", "reload"],
    }])
}

/// Requests a domain, or a path below it (`web.example/api`). Returns the status and the body.
async fn answer(address: SocketAddr, asked: &str) -> Result<(u16, String), String> {
    let (domain, path) = asked.split_once('/').unwrap_or((asked, ""));
    let mut connection = http::Connection::open(address).await.map_err(|error| error.to_string())?;
    let request = format!("GET /{path} HTTP/1.1\r\nHost: {domain}\r\nConnection: close\r\n\r\n");
    let response = connection.exchange(&request).await.map_err(|error| error.to_string())?;
    Ok((response.status, response.text()))
}

async fn wait_for_answer(daemon: &Daemon, address: SocketAddr, asked: &str, wanted: &str) {
    let probe = async || {
        let (status, text) = answer(address, asked).await?;
        check(text.contains(wanted) || status.to_string() == wanted, &(status, text))
    };
    daemon.eventually(LIMIT, &format!("nginx answers for {asked} with {wanted}"), probe).await;
}

fn start_nginx(dir: &TestDir) -> Process {
    let mut command = Command::new("nginx");
    command.arg("-e").arg(dir.join("nginx.log")).arg("-c").arg(dir.join("nginx.conf"));
    // After the test, its workers are recognized by their working directory.
    command.current_dir(dir.path());
    Process::start(dir, "nginx", command)
}

#[tokio::test]
async fn nginx_reloads_without_failed_requests() {
    let dir = TestDir::new();
    let (a, b) = (Backend::start(&dir, "a"), Backend::start(&dir, "b"));
    let address = SocketAddr::from(([127, 0, 0, 1], dir.port()));
    dir.write("nginx.conf.j2", template(&dir, address.port()));
    // nginx is not running when proxymgr starts: its reload fails, and is retried.
    let (web, api) = (dir.port(), dir.port());
    let daemon = {
        let builder = daemon(&dir, output(&dir));
        define(&dir, "web", web, &["web.example"], &[&a]);
        builder.start()
    };
    let written = async || check(dir.join("nginx.conf").exists(), &"no nginx.conf");
    daemon.eventually(LIMIT, "the configuration is written", written).await;
    let refused = async || {
        let state = output_state(&daemon).await?;
        check(state["error"].as_str().is_some_and(|error| error.contains("-s reload")), &state)
    };
    daemon.eventually(LIMIT, "the failed reload is reported", refused).await;
    let _nginx = start_nginx(&dir);
    wait_for_answer(&daemon, address, "web.example", "a").await;

    let load = Load::new(address).clients(4).keep_alive(false).timeout(Duration::from_secs(10)).start();
    for round in 0..3 {
        let backend = if round % 2 == 0 { &b } else { &a };
        define(&dir, "web", web, &["web.example"], &[backend]);
        wait_for_answer(&daemon, address, "web.example", backend.name()).await;
    }
    define(&dir, "api", api, &["api.example", "*.api.example"], &[&a]);
    wait_for_answer(&daemon, address, "x.api.example", "a").await;
    load.stop().await.assert_nothing_failed();
    define(&dir, "api", api, &["api.example"], &[]);
    wait_for_answer(&daemon, address, "api.example", "503").await;
    let healed = async || {
        let state = output_state(&daemon).await?;
        check(state["error"].is_null(), &state)
    };
    daemon.eventually(LIMIT, "the output is in sync", healed).await;
}

#[tokio::test]
async fn nginx_separates_services_by_path() {
    let dir = TestDir::new();
    let [site, api, admin] = ["site", "api", "admin"].map(|name| Backend::start(&dir, name));
    let address = SocketAddr::from(([127, 0, 0, 1], dir.port()));
    dir.write("nginx.conf.j2", template(&dir, address.port()));
    let port = dir.port();
    let builder = daemon(&dir, output(&dir));
    define_with(&dir, "api", port, &[&api], json!({"domains": ["web.example"], "path_prefix": "/api"}));
    define_with(&dir, "admin", port, &[&admin], json!({"domains": ["web.example"], "path_prefix": "/api/admin;v=1"}));
    let daemon = builder.start();
    let written = async || check(dir.join("nginx.conf").exists(), &"no nginx.conf");
    daemon.eventually(LIMIT, "the configuration is written", written).await;
    let _nginx = start_nginx(&dir);
    for (asked, wanted) in [
        ("web.example/api", "api"),
        ("web.example/api/v1?x=/", "api"),
        ("web.example/api/admin;v=1/", "admin"),
        ("web.example/apiary", "404"),
        ("web.example/", "404"),
    ] {
        wait_for_answer(&daemon, address, asked, wanted).await;
    }
    define(&dir, "site", port, &["web.example"], &[&site]);
    wait_for_answer(&daemon, address, "web.example/apiary", "site").await;
    wait_for_answer(&daemon, address, "web.example/api", "api").await;
    let text = std::fs::read_to_string(dir.join("nginx.conf")).expect("it was written");
    assert_eq!(text.matches("server_name web.example;").count(), 1, "{text}");
    define_with(&dir, "api", port, &[], json!({"domains": ["web.example"], "path_prefix": "/api"}));
    wait_for_answer(&daemon, address, "web.example/api/v1", "503").await;
}

#[tokio::test]
async fn invalid_nginx_candidate_changes_nothing() {
    let dir = TestDir::new();
    let backend = Backend::start(&dir, "a");
    let address = SocketAddr::from(([127, 0, 0, 1], dir.port()));
    let good = template(&dir, address.port());
    dir.write("nginx.conf.j2", &good);
    let web = dir.port();
    let builder = daemon(&dir, output(&dir));
    define(&dir, "web", web, &["web.example"], &[&backend]);
    let daemon = builder.start();
    eventually(LIMIT, "the configuration is written", async || check(dir.join("nginx.conf").exists(), &"none")).await;
    let _nginx = start_nginx(&dir);
    wait_for_answer(&daemon, address, "web.example", "a").await;
    let live = std::fs::read_to_string(dir.join("nginx.conf")).expect("it was written");

    for (broken, reported) in [
        (good.replace("proxy_next_upstream", "no_such_directive"), "no_such_directive"),
        (good.replace("if service.domains", "if servise.domains"), "servise"),
    ] {
        dir.write("nginx.conf.j2", broken);
        define(&dir, "web", web, &["web.example", "www.example"], &[&backend]);
        let probe = async || {
            let state = output_state(&daemon).await?;
            check(state["error"].as_str().is_some_and(|error| error.contains(reported)), &state)
        };
        daemon.eventually(LIMIT, &format!("the mistake {reported} is reported"), probe).await;
        assert_eq!(std::fs::read_to_string(dir.join("nginx.conf")).expect("still there"), live);
        assert!(!dir.join("nginx.conf.candidate").exists(), "a refused candidate is removed");
        define(&dir, "web", web, &["web.example"], &[&backend]);
    }
    dir.write("nginx.conf.j2", &good);
    define(&dir, "web", web, &["www.example"], &[&backend]);
    wait_for_answer(&daemon, address, "www.example", "a").await;
}

#[tokio::test]
async fn service_that_nginx_refuses_stops_no_other() {
    let dir = TestDir::new();
    let [a, b] = ["a", "b"].map(|name| Backend::start(&dir, name));
    let address = SocketAddr::from(([127, 0, 0, 1], dir.port()));
    dir.write("nginx.conf.j2", template(&dir, address.port()));
    let port = dir.port();
    let builder = daemon(&dir, output(&dir));
    define(&dir, "web", port, &["web.example"], &[&a]);
    define(&dir, "api", port, &["api.example"], &[&a]);
    let daemon = builder.start();
    let written = async || check(dir.join("nginx.conf").exists(), &"no nginx.conf");
    daemon.eventually(LIMIT, "the configuration is written", written).await;
    let _nginx = start_nginx(&dir);
    wait_for_answer(&daemon, address, "web.example", "a").await;
    wait_for_answer(&daemon, address, "api.example", "a").await;

    // nginx looks names up when it reads its configuration, and ignores case in the names of upstreams.
    let unresolvable = json!({"hosts": [{"address": "no-such-host.invalid", "port": 80}], "domains": ["api.example"]});
    define_with(&dir, "api", port, &[], unresolvable);
    define(&dir, "WEB", port, &["other.example"], &[&b]);
    define(&dir, "web", port, &["web.example"], &[&b]);
    wait_for_answer(&daemon, address, "web.example", "b").await;
    wait_for_answer(&daemon, address, "api.example", "a").await;
    let named = async || {
        let state = output_state(&daemon).await?;
        let names = |error: &str| error.contains("WEB, api is not used");
        check(state["error"].as_str().is_some_and(names), &state)
    };
    daemon.eventually(LIMIT, "the refused services are named", named).await;

    define(&dir, "api", port, &["api.example"], &[&b]);
    wait_for_answer(&daemon, address, "api.example", "b").await;
    define_with(&dir, "WEB", port, &[&b], json!({"domains": []}));
    wait_for_answer(&daemon, address, "web.example", "b").await;
}
