//! Certificates that change while clients connect, with real HAProxys.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use crate::stage::{LIMIT, ServiceFiles, addresses, backends, daemon, reloads, wait_for_ready, wait_for_state};
use crate::support::background;
use crate::support::daemon::Daemon;
use crate::support::dir::TestDir;
use crate::support::eventually::check;
use crate::support::haproxy::versions;
use crate::support::http;
use crate::support::https::Client;
use crate::support::tls::TestCa;

/// How often the certificate changes per version of HAProxy; the environment variable ROTATIONS sets another number.
const ROTATIONS: usize = 4;

fn rotations() -> usize {
    std::env::var("ROTATIONS").ok().and_then(|number| number.parse().ok()).unwrap_or(ROTATIONS)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changed_certificate_fails_no_handshake_and_needs_no_reload() {
    for version in versions() {
        let dir = TestDir::new();
        let (ca, files, backends) = (TestCa::new(&dir), ServiceFiles::new(&dir), backends(&dir, 1));
        let other = [&ca.client_cert, &ca.client_key].map(|path| std::fs::read_to_string(path).unwrap()).concat();
        let pairs = [std::fs::read_to_string(&ca.server).unwrap(), other];
        let write = |at: usize| {
            let next = dir.write("certs/.next", &pairs[at]);
            std::fs::rename(next, dir.join("certs").join("shop.pem")).expect("rename in one directory");
        };
        write(0);
        let port = dir.port();
        files.define("web", port, json!({"tls": {"certificates": ["shop"], "alpn": ["http/1.1"]}}));
        files.hosts("web", &backends);
        let daemon = daemon(&dir)
            .haproxy(&version)
            .files(&files.services())
            .set("haproxy.certificates", json!(dir.join("certs")));
        let daemon = daemon.start();
        wait_for_ready(&daemon, "web", &addresses(&backends)).await;
        let client = Client::new(&ca.ca, SocketAddr::from(([127, 0, 0, 1], port)));
        let before = reloads(&daemon).await;
        let (ends, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let load = background::spawn({
            let (client, ends, done) = (client.clone(), ends.clone(), done.clone());
            async move {
                let mut failures = Vec::new();
                while !ends.load(Ordering::Relaxed) {
                    match client.request().await {
                        Ok(_) => drop(done.fetch_add(1, Ordering::Relaxed)),
                        Err(error) => failures.push(error),
                    }
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                failures
            }
        });
        let mut last = client.request().await.expect("it serves");
        for rotation in 1..=rotations() {
            write(rotation % 2);
            let changed = async || {
                let served = client.request().await?;
                check(served != last, &"the same").map(|()| served)
            };
            last = daemon.eventually(LIMIT, "the other certificate is served", changed).await;
        }
        ends.store(true, Ordering::Relaxed);
        let failures = load.await.expect("no panic");
        assert!(failures.is_empty() && done.load(Ordering::Relaxed) > 50, "{version}: {done:?} {failures:?}");
        assert_eq!(reloads(&daemon).await, before, "{version}: no reload");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificate_names_come_and_go_without_reload() {
    for version in versions() {
        let dir = TestDir::new();
        let (ca, files, backends) = (TestCa::new(&dir), ServiceFiles::new(&dir), backends(&dir, 1));
        let certificate = |name: &str, text: &str| {
            let next = dir.write("certs/.next", text);
            std::fs::rename(next, dir.join("certs").join(format!("{name}.pem"))).expect("rename in one directory");
        };
        certificate("shop", &std::fs::read_to_string(&ca.server).unwrap());
        let ports = [dir.port(), dir.port()];
        let define = |names: &[&str]| {
            files.define("own", ports[0], json!({"tls": {"certificates": names}}));
            files.define("routed", ports[1], json!({"tls": {"certificates": names}, "domains": ["x"]}));
        };
        define(&["shop"]);
        ["own", "routed"].iter().for_each(|service| files.hosts(service, &backends));
        let builder = daemon(&dir).haproxy(&version).files(&files.services());
        let mut daemon = builder.set("haproxy.certificates", json!(dir.join("certs"))).start();
        wait_for_ready(&daemon, "own", &addresses(&backends)).await;
        wait_for_ready(&daemon, "routed", &addresses(&backends)).await;
        let clients = ports.map(|port| Client::new(&ca.ca, SocketAddr::from(([127, 0, 0, 1], port))));
        let default = clients[0].request().await.expect("it serves");
        let before = reloads(&daemon).await;
        // The client refuses the certificate of another name.
        let serves = async |daemon: &Daemon, name: &str, is_served: bool| {
            for client in &clients {
                let answered = async || match client.named(name).request().await {
                    Ok(_) => check(is_served, &"served"),
                    Err(error) => check(!is_served && error.contains("not valid for name"), &error),
                };
                daemon.eventually(LIMIT, &format!("{version}: {name} is served: {is_served}"), answered).await;
            }
        };
        certificate("b", &ca.certificate("b.test"));
        define(&["shop", "b"]);
        serves(&daemon, "b.test", true).await;
        assert_eq!(clients[1].request().await.as_ref(), Ok(&default), "{version}: the first one stays the default");
        define(&["shop"]);
        serves(&daemon, "b.test", false).await;
        certificate("c", &ca.certificate("c.test"));
        define(&["shop", "c", "b"]);
        serves(&daemon, "b.test", true).await;
        serves(&daemon, "c.test", true).await;
        // A renewed one is loaded, too.
        certificate("c", &ca.certificate("localhost"));
        serves(&daemon, "c.test", false).await;
        assert_eq!(reloads(&daemon).await, before, "{version}: no reload");
        // A process that is started after a crash, or by the next daemon, has all of them.
        let pid = daemon.wait_until_haproxy_answers().await;
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).unwrap();
        serves(&daemon, "b.test", true).await;
        daemon.terminate().await;
        daemon.start_again();
        serves(&daemon, "b.test", true).await;
        // Without a good certificate the service keeps what it has, and says so.
        define(&["shop", "missing"]);
        let refused = async || {
            let status = daemon.status_json().await?.to_string();
            check(status.contains("no good certificate missing"), &status)
        };
        daemon.eventually(LIMIT, "the missing certificate is reported", refused).await;
        serves(&daemon, "b.test", true).await;
        certificate("missing", &ca.certificate("missing.test"));
        serves(&daemon, "missing.test", true).await;
        serves(&daemon, "b.test", false).await;
    }
}

/// Returns whether the listener staples an OCSP response for this name by which the certificate is good.
async fn is_stapled(front: SocketAddr, name: &str) -> Result<bool, String> {
    let arguments = ["s_client", "-status", "-servername", name, "-connect"];
    let mut client = tokio::process::Command::new("openssl");
    let client = client.args(arguments).arg(front.to_string()).stdin(std::process::Stdio::null()).output();
    let shown = client.await.map_err(|error| error.to_string())?;
    let shown = String::from_utf8_lossy(&shown.stdout);
    let is_it = shown.contains(&format!("subject=CN = {name}")) || shown.contains(&format!("subject=CN={name}"));
    check(is_it, &shown).map(|()| shown.contains("Cert Status: good"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn haproxy_staples_ocsp_responses_of_changed_certificates() {
    for version in versions() {
        let dir = TestDir::new();
        let (ca, files, backends) = (TestCa::new(&dir), ServiceFiles::new(&dir), backends(&dir, 1));
        let (port, responder) = (dir.port(), dir.port());
        let write = |name: &str, text: &str| {
            let next = dir.write("certs/.next", text);
            std::fs::rename(next, dir.join("certs").join(format!("{name}.pem"))).expect("rename in one directory");
        };
        let known: Vec<String> =
            ["a.test", "b.test", "a.test"].iter().map(|name| ca.stapled_certificate(name, responder)).collect();
        write("a", &known[0]);
        write("b", &known[1]);
        write("plain", &ca.certificate("plain.test"));
        let _responder = ca.responder(responder);
        let define = |names: &[&str]| files.define("web", port, json!({"tls": {"certificates": names}}));
        define(&["plain", "a"]);
        files.hosts("web", &backends);
        let settings = daemon(&dir).haproxy(&version).files(&files.services());
        let settings = settings.set("haproxy.certificates", json!(dir.join("certs")));
        let daemon = settings.set("haproxy.ocsp_update", json!(true)).start();
        wait_for_ready(&daemon, "web", &addresses(&backends)).await;
        let front = SocketAddr::from(([127, 0, 0, 1], port));
        let before = reloads(&daemon).await;
        let fetches = version.branch >= (2, 8);
        let staples = async |name: &str, expected: bool| {
            let stapled = async || check(is_stapled(front, name).await? == expected, &"the opposite");
            daemon.eventually(LIMIT, &format!("{version}: {name} is stapled: {expected}"), stapled).await;
        };
        staples("a.test", fetches).await;
        staples("plain.test", false).await;
        define(&["plain", "a", "b"]);
        staples("b.test", fetches).await;
        let client = Client::new(&ca.ca, front).named("a.test");
        let last = client.request().await.expect("it serves");
        write("a", &known[2]);
        let changed = async || check(client.request().await? != last, &"the same");
        daemon.eventually(LIMIT, "the new certificate is served", changed).await;
        staples("a.test", fetches).await;
        assert_eq!(reloads(&daemon).await, before, "{version}: no reload");
    }
}

/// One `bind` line serves all services of a port: a newer definition once made it refuse the clients of all others.
#[tokio::test]
async fn newer_definition_leaves_the_tls_of_a_shared_port() {
    for version in versions() {
        let dir = TestDir::new();
        let (ca, files, backends) = (TestCa::new(&dir), ServiceFiles::new(&dir), backends(&dir, 1));
        dir.write("certs/shop.pem", std::fs::read_to_string(&ca.server).unwrap());
        let port = dir.port();
        let front = SocketAddr::from(([127, 0, 0, 1], port));
        let define = |name: &str, host: &str, more: Value| {
            let mut definition = json!({"domains": [host], "listen_options": ["mode http"]});
            definition.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            files.define(name, port, definition);
            files.hosts(name, &backends);
        };
        define("web", "localhost", json!({}));
        let builder = daemon(&dir).haproxy(&version).files(&files.services());
        let daemon = builder.set("haproxy.certificates", json!(dir.join("certs"))).start();
        wait_for_ready(&daemon, "web", &addresses(&backends)).await;
        define("evil", "evil.example", json!({"tls": {"certificates": ["shop"]}}));
        let state = wait_for_state(&daemon, "the new service is blocked", "haproxy_state", |state| {
            state["services"]["evil"]["problem"].is_string()
        });
        let problem = state.await["services"]["evil"]["problem"].to_string();
        assert!(problem.contains("would change TLS of port"), "{version}: {problem}");
        assert_eq!(http::get(front, "/").await.expect("it serves without TLS").status, 200, "{version}");
        // Once it is alone at the port, it gets it. No service has the client's domain.
        files.remove("web");
        let client = Client::new(&ca.ca, front);
        let has_tls = async || match client.request().await {
            Err(error) if error.contains("404 Not Found") => Ok(()),
            other => Err(format!("{other:?}")),
        };
        daemon.eventually(LIMIT, "the port has TLS", has_tls).await;
    }
}
