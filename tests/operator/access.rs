//! Who may give orders, and what is recorded about them.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use crate::stage::{LIMIT, Stage, err, out, ready};
use crate::support::daemon::Daemon;
use crate::support::eventually::check;
use crate::support::http;

const TOKEN: &str = "correct-horse-battery";

/// `printf deploy-horse-battery | sha256sum`
const DEPLOY: (&str, &str) =
    ("deploy-horse-battery", "8a649d8b5a4c5c93c462fd27a69d974969ee061d380876f78f5068411a36ee3a");

/// A process of another user at the status port: records what it gets, and answers like a daemon.
struct Impostor(Arc<Mutex<String>>);

impl Impostor {
    fn at(address: SocketAddr) -> Self {
        let listener = TcpListener::bind(address).expect("the port is free");
        listener.set_nonblocking(true).expect("a socket can be made non-blocking");
        let received = Arc::<Mutex<String>>::default();
        let record = Arc::downgrade(&received);
        std::thread::spawn(move || {
            while let Some(record) = record.upgrade() {
                if let Ok((mut client, _)) = listener.accept() {
                    let mut bytes = [0; 4_096];
                    let _ = client.set_nonblocking(false);
                    let length = client.read(&mut bytes).unwrap_or(0);
                    record.lock().unwrap().push_str(&String::from_utf8_lossy(&bytes[..length]));
                    let _ = client.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 15\r\n\r\n{\"done\":\"done\"}");
                }
                drop(record);
                std::thread::sleep(std::time::Duration::from_millis(5));
            }
        });
        Self(received)
    }

    fn received(&self) -> String {
        self.0.lock().unwrap().clone()
    }
}

async fn journal_of_orders(daemon: &Daemon) -> Vec<Value> {
    let text = http::get(daemon.status_address(), "/api/v1/journal").await.expect("the journal").text();
    let journal: Value = serde_json::from_str(&text).expect("JSON");
    let entries = journal["entries"].as_array().expect("entries").iter();
    entries.map(|entry| entry["event"].clone()).filter(|event| event["event"] == "order_requested").collect()
}

async fn post(daemon: &Daemon, path: &str, token: &str) -> u16 {
    let header = format!("Authorization: Bearer {token}");
    http::request(daemon.status_address(), "POST", path, &[&header], "").await.expect("an answer").status
}

#[tokio::test]
async fn order_over_the_socket_needs_no_token() {
    let stage = Stage::new(&["10.0.0.1"]);
    let daemon = stage.start().await;
    let done = daemon.run_command(&["refresh", "web"]).await;
    assert!(done.status.success(), "{}", err(&done));
    let orders = journal_of_orders(&daemon).await;
    let user = nix::unistd::User::from_uid(nix::unistd::Uid::effective()).ok().flatten().expect("a user").name;
    assert_eq!(orders[0]["who"], format!("user {user}"), "{orders:?}");
    assert_eq!(orders[0]["accepted"], true, "{orders:?}");
    assert!(orders[0]["from"].as_str().is_some_and(|from| from.contains("unix socket, uid")), "{orders:?}");
    assert!(daemon.log().contains("order accepted"), "{}", daemon.log());
    let mode = std::os::unix::fs::PermissionsExt::mode(
        &std::fs::metadata(daemon.dir().join("state/proxymgr.sock")).expect("the socket").permissions(),
    );
    assert_eq!(mode & 0o777, 0o600);
}

#[tokio::test]
async fn taken_status_port_neither_stops_the_daemon_nor_gets_the_token() {
    let stage = Stage::new(&["10.0.0.1"]);
    let builder = stage.builder().set("status.token", json!(TOKEN));
    builder.write_config();
    let without_daemon = {
        let daemon = builder.clone().start();
        let address = daemon.status_address();
        drop(daemon);
        address
    };
    let impostor = Impostor::at(without_daemon);
    let refused = builder.run_command(&["refresh"]).await;
    assert_eq!(refused.status.code(), Some(4), "{}", out(&refused));

    let daemon = builder.start();
    daemon
        .eventually(LIMIT, "HAProxy is managed, and the port is reported", async || {
            let status = daemon.run_command(&["status", "--json"]).await;
            let report: Value = serde_json::from_slice(&status.stdout).map_err(|_| err(&status))?;
            let concerns = report["concerns"].to_string();
            check(report["readiness"]["ready"] == true && concerns.contains("listener_down"), &report)
        })
        .await;
    let done = daemon.run_command(&["refresh"]).await;
    assert!(done.status.success(), "{}", err(&done));
    let received = impostor.received();
    assert!(!received.contains("POST") && !received.contains("authorization"), "{received}");
    drop(impostor);
    ready(&daemon).await;
}

#[tokio::test]
async fn tokens_have_roles_and_names() {
    let stage = Stage::new(&["10.0.0.1"]);
    let tokens = json!([{"name": "deploy", "sha256": DEPLOY.1, "role": "operate"}]);
    let daemon = stage.builder().set("status.token", json!(TOKEN)).set("status.tokens", tokens).start();
    ready(&daemon).await;
    assert_eq!(post(&daemon, "/api/v1/refresh", DEPLOY.0).await, 200);
    assert_eq!(post(&daemon, "/annotations/web", DEPLOY.0).await, 403);
    assert_eq!(post(&daemon, "/api/v1/log", DEPLOY.0).await, 403);
    assert_eq!(post(&daemon, "/api/v1/refresh", TOKEN).await, 200);
    assert_eq!(post(&daemon, "/api/v1/refresh", "a-wrong-horse-battery").await, 401);
    let orders = journal_of_orders(&daemon).await;
    let who: Vec<_> = orders.iter().map(|order| (order["who"].as_str().unwrap(), order["accepted"] == true)).collect();
    for expected in
        [("token deploy", true), ("token deploy", false), ("token status.token", true), ("an unknown token", false)]
    {
        assert!(who.contains(&expected), "{expected:?} in {orders:?}");
    }
    // The log is written by a thread of its own.
    let is_logged = async || {
        let log = daemon.log();
        check(log.contains("wrong token") && log.contains("127.0.0.1:"), &log)
    };
    daemon.eventually(LIMIT, "the wrong token is in the log", is_logged).await;
    let log = daemon.log();
    for secret in [TOKEN, DEPLOY.0, DEPLOY.1, "a-wrong-horse"] {
        assert!(!log.contains(secret), "{log}");
    }
}

#[tokio::test]
async fn garbage_does_not_fill_the_log() {
    let stage = Stage::new(&["10.0.0.1"]);
    let daemon = stage.start().await;
    for garbage in ["\u{16}\u{3}\u{1}garbage\r\n\r\n", "GET / HTTP/9.9\r\n\r\n", "\0\0\0\0\r\n\r\n"] {
        let mut client = std::net::TcpStream::connect(daemon.status_address()).expect("the listener accepts");
        client.write_all(garbage.as_bytes()).expect("it reads");
        let _ = client.read_to_end(&mut Vec::new());
    }
    ready(&daemon).await;
    let log = daemon.log();
    assert!(!log.contains("actix_http") && !log.contains("ERROR"), "{log}");
}
