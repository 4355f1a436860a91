//! The errors of sources, in the terms of operators and with the cause first: an unknown host name, a refused connection,
//! another protocol, a lost quorum and denied access read differently, for every kind of source that has them.

#[path = "discovery/mod.rs"]
mod discovery;
#[path = "support/mod.rs"]
mod support;

use std::net::Ipv4Addr;
use std::time::Duration;

use discovery::inbox::Inbox;
use discovery::kinds::{open, sources, sources_with, spec};
use discovery::marathon_kind::marathon_at;
use proxymgr::discovery::Sources;
use proxymgr::discovery::consul::{Consul as ConsulClient, ConsulOptions, TOKEN_HEADER};
use proxymgr::discovery::etcd::{Etcd as EtcdClient, EtcdOptions, EtcdUser};
use proxymgr::discovery::http::Credentials;
use proxymgr::discovery::zookeeper::{DigestAuth, ZookeeperOptions};
use serde_json::{Value, json};
use support::consul::Consul;
use support::dir::TestDir;
use support::etcd::Etcd;
use support::scripted_server::{Reply, ScriptedServer};
use support::znodes;
use support::zookeeper::Ensemble;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use zookeeper::{Acl, Acls, AuthId, CreateMode, Permission};

const OVER_HTTP: [(&str, &str); 4] =
    [("consul", "Consul"), ("etcd", "etcd"), ("marathon", "Marathon"), ("mesos", "Mesos master")];

const UNKNOWN: &str = "no-such-host-whose-label-is-longer-than-63-letters-so-that-no-server-is-asked";

/// The first error that is reported, which must be one short line without the words of a library.
async fn first_error(sources: &Sources, kind: &str, settings: Value) -> String {
    let mut inbox = Inbox::new();
    let _source = open(sources, &spec(kind, settings), &inbox).unwrap();
    let error = inbox.next().await.result.expect_err("there is no list");
    assert!(error.len() < 330 && !error.contains(['\n', '<']), "{error}");
    for words in ["os error", "lookup address", "hyper", "at line", "no available hosts", "not authorized"] {
        assert!(!error.contains(words), "{words}: {error}");
    }
    error
}

async fn error_at(kind: &str, url: &str) -> String {
    let sources = sources().0.with_marathon(marathon_at(&[url.to_owned()], Duration::from_secs(3_600)));
    let settings = match kind {
        "consul" => json!({"service": "web", "server": url}),
        "etcd" => json!({"prefix": "/services/web", "server": url}),
        "marathon" => json!({"app": "/web"}),
        "mesos" => json!({"masters": [url]}),
        _ => unreachable!("{kind}"),
    };
    first_error(&sources, kind, settings).await
}

/// Starts a server that sends the banner of SSH to each client. Returns its port.
async fn ssh() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            tokio::spawn(async move {
                let _ = client.write_all(b"SSH-2.0-OpenSSH_9.2\r\n").await;
                let _ = client.read_to_end(&mut Vec::new()).await;
            });
        }
    });
    port
}

fn assert_starts(error: &str, starts: &[&str]) {
    assert!(starts.iter().any(|start| error.starts_with(start)), "{starts:?}: {error}");
}

#[actix::test]
async fn unreachable_http_servers_are_named_with_their_cause() {
    let dir = TestDir::new();
    let (closed, ssh) = (dir.port(), ssh().await);
    let page = ScriptedServer::start(|_| Reply::ok("<html><body>It works!</body></html>")).await;
    let text = ScriptedServer::start(|_| Reply::ok("hello\nworld")).await;
    for (kind, product) in OVER_HTTP {
        let error = error_at(kind, &format!("http://{UNKNOWN}:1")).await;
        assert_starts(&error, &[&format!("unknown host name {UNKNOWN}: ")]);
        assert!(error.contains(&format!(": {product} http://{UNKNOWN}:1 (")), "{error}");
        let error = error_at(kind, &format!("http://127.0.0.1:{closed}")).await;
        assert_starts(&error, &[&format!("connection refused: {product} http://127.0.0.1:{closed} (")]);
        let error = error_at(kind, &format!("http://127.0.0.1:{ssh}")).await;
        assert_starts(&error, &[&format!("the server does not speak HTTP: {product} http://")]);
        let not_consul = "not Consul, the answer has no header X-Consul-Index: ";
        let error = error_at(kind, &page.url()).await;
        assert_starts(&error, &[&format!("the answer is an HTML page, not one of {product}: "), not_consul]);
        let error = error_at(kind, &text.url()).await;
        assert_starts(&error, &["the answer is not JSON: ", not_consul]);
    }
}

#[actix::test]
async fn lost_quorum_is_named() {
    // The answers of Consul 1.8, Marathon 1.5 and Mesos 1.11.
    for (kind, status, body) in [
        ("consul", "500 Internal Server Error", "No cluster leader"),
        ("marathon", "503 Service Unavailable", "Could not determine the current leader"),
        ("mesos", "503 Service Unavailable", "No leader elected"),
    ] {
        let server = ScriptedServer::start(move |_| Reply::Send(status, String::new(), body.to_owned())).await;
        let error = error_at(kind, &server.url()).await;
        assert_starts(&error, &[&format!("no quorum, status {}: {body}: ", &status[..3])]);
    }
    let dir = TestDir::new();
    let mut etcd = Etcd::start(&dir, 3).await;
    etcd.kill(1);
    etcd.kill(2);
    let error = error_at("etcd", &etcd.url(0)).await;
    assert_starts(&error, &["no quorum, "]);
}

#[actix::test]
async fn denied_access_is_named() {
    let denying = |status: &'static str| ScriptedServer::start(move |_| Reply::status(status));
    let error = error_at("marathon", &denying("401 Unauthorized").await.url()).await;
    assert_starts(&error, &["access denied, status 401: Marathon "]);
    let error = error_at("mesos", &denying("403 Forbidden").await.url()).await;
    assert_starts(&error, &["access denied, status 403: Mesos master "]);

    let dir = TestDir::new();
    let consul = Consul::start_with_acl(&dir.subdir("consul")).await;
    let token = Credentials::Header { name: TOKEN_HEADER, value: "0e1d6a5b-0000-4000-8000-00000000bbbb".into() };
    let options = ConsulOptions { servers: consul.url().parse().unwrap(), token, ..ConsulOptions::default() };
    let with_token = sources().0.with_consul(ConsulClient::new(options));
    let error = first_error(&with_token, "consul", json!({"service": "web"})).await;
    assert_starts(&error, &["access denied, status 403: ACL not found: Consul "]);

    let mut etcd = Etcd::start(&dir.subdir("etcd"), 1).await;
    etcd.demand_users("/other/", "s3cret").await;
    let with_user = |user: Option<&str>| {
        let user = user.map(|user| EtcdUser::parse(user).unwrap());
        let options = EtcdOptions { servers: etcd.url(0).parse().unwrap(), user, ..EtcdOptions::default() };
        sources().0.with_etcd(EtcdClient::new(options))
    };
    for (user, start) in [
        (None, "access denied, status 400: etcdserver: user name is empty: etcd "),
        (Some("reader:s3cret"), "access denied, status 403: etcdserver: permission denied: etcd "),
        (Some("reader:wrong"), "access denied, the password of user \"reader\" is wrong: etcd "),
    ] {
        let error = first_error(&with_user(user), "etcd", json!({"prefix": "/services/web"})).await;
        assert_starts(&error, &[start]);
    }
}

#[actix::test]
async fn zookeeper_errors_name_their_cause() {
    let dir = TestDir::new();
    let mut ensemble = Ensemble::start(&dir, 3).await;
    let client = ensemble.client().await;
    client.auth("digest", b"other:secret").await.unwrap();
    znodes::put_bytes(&client, "/services", b"").await;
    let ours = [Acl::new(Permission::ALL, AuthId::authed())];
    client.create("/services/web", b"", &CreateMode::Persistent.with_acls(Acls::new(&ours))).await.unwrap();
    let error_at = async |server: String| {
        let options = ZookeeperOptions {
            auth: Some(DigestAuth::parse("proxymgr:secret").unwrap()),
            ..ZookeeperOptions::default()
        };
        first_error(&sources_with(options).0, "zookeeper", json!({"server": server, "path": "/services/web"})).await
    };
    let error = error_at(ensemble.connect_string()).await;
    assert_starts(&error, &["access denied: znode /services/web of ZooKeeper "]);

    let closed = format!("127.0.0.1:{}", dir.port());
    let http = ScriptedServer::start(|_| Reply::status("404 Not Found")).await.address().to_string();
    for other in [http.clone(), format!("127.0.0.1:{}", ssh().await)] {
        assert_starts(&error_at(other.clone()).await, &["another protocol, the server is not ZooKeeper"]);
    }
    assert_eq!(error_at(closed.clone()).await, format!("connection refused: ZooKeeper {closed}"));
    // This name is one, so that a DNS server is asked, which may be slow or missing.
    let texts = [
        "unknown host name no-such-host.invalid: ",
        "the host name no-such-host.invalid cannot be looked up: ",
        "no answer in time: ",
    ];
    assert_starts(&error_at("no-such-host.invalid:2181".to_owned()).await, &texts);
    let both = error_at(format!("{closed},{http}")).await;
    assert!(both.contains(&format!("; connection refused: ZooKeeper {closed}")), "{both}");

    ensemble.stop(1);
    ensemble.stop(2);
    let error = error_at(ensemble.connect_string_of(3)).await;
    assert_starts(&error, &["no quorum, the server has no majority of the ensemble: ZooKeeper "]);
}
