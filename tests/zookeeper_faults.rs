//! ZooKeeper under all kinds of faults while hosts change: afterwards no change may be missing.

#[path = "discovery/mod.rs"]
mod discovery;
#[path = "support/mod.rs"]
mod support;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use discovery::inbox::{Hosts, Inbox, level, texts};
use discovery::kinds::{open, sources_with, spec};
use futures_util::future::join_all;
use proxymgr::discovery::Sources;
use proxymgr::discovery::zookeeper::{DigestAuth, TlsFiles, TlsIdentityFiles, ZookeeperDefinitions, ZookeeperOptions};
use proxymgr_actors::message::{DefinitionsSeen, HostsSeen};
use proxymgr_actors::port::{DefinitionSource, OpenSource};
use serde_json::json;
use support::dir::TestDir;
use support::eventually::{check, eventually};
use support::znodes;
use support::zookeeper::{Ensemble, ServedSession};
use zookeeper::{Acl, Acls, AuthId, Client, CreateMode, Permission, SessionId};

const SESSION_TIMEOUT: Duration = Duration::from_secs(4);
const SERVICES: usize = 4;
const HOSTS_PER_SERVICE: u64 = 8;

fn options() -> ZookeeperOptions {
    ZookeeperOptions { session_timeout: SESSION_TIMEOUT, ..ZookeeperOptions::default() }
}

/// Watched services, their expected hosts, and a client that changes them.
struct Watched {
    client: Client,
    inboxes: Vec<Inbox<HostsSeen>>,
    expected: Vec<Hosts>,
    random: u64,
    _sources: Vec<Box<dyn OpenSource>>,
}

impl Watched {
    async fn start(ensemble: &Ensemble) -> Self {
        let client = ensemble.client().await;
        let (sources, _) = sources_with(options());
        let mut watched = Self {
            client,
            inboxes: Vec::new(),
            expected: vec![Hosts::new(); SERVICES],
            random: 0x9E37_79B9_7F4A_7C15,
            _sources: Vec::new(),
        };
        for service in 0..SERVICES {
            let path = format!("/services/{service}");
            znodes::put_bytes(&watched.client, &path, b"").await;
            let inbox = Inbox::new();
            let settings = json!({"server": ensemble.connect_string(), "path": path});
            watched._sources.push(open(&sources, &spec("zookeeper", settings), &inbox).unwrap());
            watched.inboxes.push(inbox);
        }
        watched.churn(20).await;
        watched.until_all_is_told().await;
        watched
    }

    fn random(&mut self, below: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random % below
    }

    /// Adds, changes and removes hosts at random.
    async fn churn(&mut self, changes: usize) {
        for _ in 0..changes {
            let service = self.random(SERVICES as u64) as usize;
            let (host, weight) = (self.random(HOSTS_PER_SERVICE), self.random(250));
            let (key, address) = (format!("host-{host}"), format!("10.0.{service}.{host}"));
            let znode = format!("/services/{service}/{key}");
            if self.random(3) == 0 {
                znodes::delete(&self.client, &znode).await;
                self.expected[service].remove(&key);
            } else {
                let record = json!({"address": address, "port": 80, "weight": weight});
                znodes::put(&self.client, &znode, &record).await;
                self.expected[service].insert(key, Some(format!("{address}:80 weight {weight}")));
            }
        }
    }

    /// Waits until each service's last message is the expected one. Returns the number of messages.
    async fn until_all_is_told(&mut self) -> usize {
        let mut messages = 0;
        for (inbox, expected) in self.inboxes.iter_mut().zip(&self.expected) {
            let expected: Result<Hosts, String> = Ok(expected.clone());
            let fits = expected.clone();
            let (_, before) = inbox.until(format!("the hosts are {expected:?}"), move |seen| level(seen) == fits).await;
            messages += before.len() + 1;
        }
        messages
    }

    /// Changes every service once more, so that each has a message to wait for.
    async fn touch_all(&mut self) {
        for service in 0..SERVICES {
            let record = json!({"address": "10.9.9.9", "port": 99, "weight": self.random(250)});
            znodes::put(&self.client, &format!("/services/{service}/last"), &record).await;
            let weight = &record["weight"];
            self.expected[service].insert("last".to_owned(), Some(format!("10.9.9.9:99 weight {weight}")));
        }
    }

    /// Returns the session of the sources, as the members report it.
    async fn session(&self, ensemble: &Ensemble) -> ServedSession {
        session_besides(ensemble, self.client.session_id()).await
    }
}

async fn session_besides(ensemble: &Ensemble, other: SessionId) -> ServedSession {
    eventually(Duration::from_secs(10), "the sources have one session", async || {
        let sessions = ensemble.sessions().await;
        let ours: Vec<_> = sessions.into_iter().filter(|session| session.id != other).collect();
        match ours[..] {
            [session] => Ok(session),
            _ => Err(format!("{ours:?}")),
        }
    })
    .await
}

#[actix::test]
async fn killed_member_loses_no_change() {
    let dir = TestDir::new();
    let mut ensemble = Ensemble::start(&dir, 3).await;
    let mut watched = Watched::start(&ensemble).await;
    for _ in 0..3 {
        let serving = watched.session(&ensemble).await.member;
        ensemble.stop(serving);
        watched.churn(30).await;
        watched.touch_all().await;
        watched.until_all_is_told().await;
        ensemble.start_member(serving).await;
        watched.churn(10).await;
        watched.touch_all().await;
        watched.until_all_is_told().await;
    }
}

#[actix::test]
async fn frozen_member_is_left_within_session_timeout() {
    let dir = TestDir::new();
    let mut ensemble = Ensemble::start(&dir, 3).await;
    let mut watched = Watched::start(&ensemble).await;
    let serving = watched.session(&ensemble).await.member;
    let leads = ensemble.leader().await == Some(serving);
    // The client that makes the changes must use another member.
    let other = serving % ensemble.size() + 1;
    watched.client = Client::connect(&ensemble.connect_string_of(other)).await.unwrap();
    ensemble.freeze(serving);
    let frozen = Instant::now();
    watched.churn(30).await;
    watched.touch_all().await;
    watched.until_all_is_told().await;
    // If the leader is frozen, the other members need time to elect a new one.
    let limit = if leads { SESSION_TIMEOUT * 3 } else { SESSION_TIMEOUT };
    assert!(frozen.elapsed() < limit, "{:?}; it led: {leads}", frozen.elapsed());
    ensemble.thaw(serving);
    watched.churn(10).await;
    watched.touch_all().await;
    watched.until_all_is_told().await;
}

#[actix::test]
async fn ensemble_is_read_again_after_a_long_freeze() {
    let dir = TestDir::new();
    let mut ensemble = Ensemble::start(&dir, 3).await;
    let mut watched = Watched::start(&ensemble).await;
    (1..=3).for_each(|member| ensemble.freeze(member));
    for inbox in &mut watched.inboxes {
        let (error, before) = inbox.until_error().await;
        assert!(before.is_empty() && error.starts_with("no answer in time: ZooKeeper"), "{error}, after {before:?}");
    }
    tokio::time::sleep(SESSION_TIMEOUT * 2).await;
    (1..=3).for_each(|member| ensemble.thaw(member));
    ensemble.wait_for_leader().await;
    // The client's own session may have expired as well.
    watched.client = ensemble.client().await;
    watched.churn(30).await;
    watched.touch_all().await;
    watched.until_all_is_told().await;
}

#[actix::test]
async fn expired_session_is_replaced_without_an_error() {
    let dir = TestDir::new();
    let ensemble = Ensemble::start(&dir, 1).await;
    let mut watched = Watched::start(&ensemble).await;
    for _ in 0..3 {
        let session = watched.session(&ensemble).await.id;
        ensemble.expire(session).await;
        watched.churn(30).await;
        watched.touch_all().await;
        watched.until_all_is_told().await;
        assert_ne!(watched.session(&ensemble).await.id, session);
    }
    let errors = watched.inboxes.iter_mut().flat_map(Inbox::waiting).filter(|seen| seen.result.is_err()).count();
    assert_eq!(errors, 0, "a session that is replaced at once is not reported");
}

#[actix::test]
async fn source_waits_for_an_unreachable_ensemble() {
    let dir = TestDir::new();
    let mut ensemble = Ensemble::start(&dir, 1).await;
    let client = ensemble.client().await;
    znodes::put(&client, "/services/web/a", &json!({"address": "10.0.0.1", "port": 80})).await;
    ensemble.stop_all();
    let (sources, _) = sources_with(options());
    let mut inbox = Inbox::new();
    let settings = json!({"server": ensemble.connect_string(), "path": "/services/web"});
    let _source = open(&sources, &spec("zookeeper", settings), &inbox).unwrap();
    let error = inbox.next().await.result.unwrap_err();
    assert_eq!(error, format!("connection refused: ZooKeeper {}", ensemble.connect_string()));
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(inbox.waiting().is_empty(), "it is reported once");
    ensemble.start_all().await;
    let (_, before) = inbox.until("a list".into(), |seen| seen.result.is_ok()).await;
    // A server that has just been started may answer that it has no quorum yet.
    assert!(before.iter().all(|seen| seen.result.is_err()), "{before:?}");
}

#[actix::test]
async fn missing_path_is_an_error_until_it_returns() {
    let dir = TestDir::new();
    let ensemble = Ensemble::start(&dir, 1).await;
    let client = ensemble.client().await;
    let (sources, _) = sources_with(options());
    let mut inbox = Inbox::new();
    let settings = json!({"server": ensemble.connect_string(), "path": "/services/web"});
    let _source = open(&sources, &spec("zookeeper", settings), &inbox).unwrap();
    let error = inbox.next().await.result.unwrap_err();
    assert!(error.contains("the path /services/web does not exist"), "{error}");
    for _ in 0..5 {
        znodes::put(&client, "/services/web/a", &json!({"address": "10.0.0.1", "port": 80})).await;
        inbox.until_hosts(&Hosts::from([("a".into(), Some("10.0.0.1:80".into()))])).await;
        znodes::delete_recursive(&client, "/services").await;
        inbox.until_error().await;
    }
}

/// A server that is patched for CVE-2024-23944 drops the events that a client may not see, and spends their watches:
/// only reading everything again shows what changed meanwhile.
#[actix::test]
async fn lost_permission_is_an_error_and_no_list() {
    let dir = TestDir::new();
    let ensemble = Ensemble::start(&dir, 1).await;
    let client = ensemble.client().await;
    client.auth("digest", b"other:secret").await.unwrap();
    let put = async |name: &str, address: &str| {
        znodes::put(&client, &format!("/services/web/{name}"), &json!({"address": address, "port": 80})).await;
    };
    let (a, b, c) = ("10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80");
    let list = |hosts: &[(&str, Option<&str>)]| -> Hosts {
        hosts.iter().map(|(name, host)| ((*name).to_owned(), host.map(str::to_owned))).collect()
    };
    put("a", "10.0.0.1").await;
    put("b", "10.0.0.2").await;
    let mut inbox = Inbox::new();
    let settings = json!({"server": ensemble.connect_string(), "path": "/services/web"});
    let source = open(&sources_with(options()).0, &spec("zookeeper", settings), &inbox).unwrap();
    inbox.until_hosts(&list(&[("a", Some(a)), ("b", Some(b))])).await;
    let ours = [Acl::new(Permission::ALL, AuthId::authed())];
    let all = [Acl::new(Permission::ALL, AuthId::anyone())];
    // The permission for one host is lost: its entry is invalid, which keeps it.
    client.set_acl("/services/web/b", &ours, None).await.unwrap();
    source.refresh();
    inbox.until_hosts(&list(&[("a", Some(a)), ("b", None)])).await;
    client.set_acl("/services/web/b", &all, None).await.unwrap();
    source.refresh();
    inbox.until_hosts(&list(&[("a", Some(a)), ("b", Some(b))])).await;
    // That for the list is lost while it changes.
    client.set_acl("/services/web", &ours, None).await.unwrap();
    put("c", "10.0.0.3").await;
    source.refresh();
    let (error, before) = inbox.until_error().await;
    assert!(error.starts_with("access denied: znode /services/web ") && before.is_empty(), "{error}, {before:?}");
    client.set_acl("/services/web", &all, None).await.unwrap();
    source.refresh();
    inbox.until_hosts(&list(&[("a", Some(a)), ("b", Some(b)), ("c", Some(c))])).await;
    // It is lost and given back without an error in between: the event of the change may be lost.
    client.set_acl("/services/web", &ours, None).await.unwrap();
    znodes::delete(&client, "/services/web/c").await;
    client.set_acl("/services/web", &all, None).await.unwrap();
    source.refresh();
    inbox.until_hosts(&list(&[("a", Some(a)), ("b", Some(b))])).await;
}

/// More watches than the client's package can set again on one connection (see `session.rs`): 5,000 paths of some 50
/// bytes.
#[actix::test]
async fn thousands_of_hosts_survive_a_fail_over() {
    const HOSTS: usize = 5_000;
    let dir = TestDir::new();
    let mut ensemble = Ensemble::start(&dir, 3).await;
    let client = ensemble.client().await;
    let path = "/services/a-service-with-a-rather-long-name";
    znodes::put_bytes(&client, path, b"").await;
    let host = |index: usize| format!("10.1.{}.{}", index / 250, index % 250);
    for batch in Vec::from_iter(0..HOSTS).chunks(500) {
        let put = async |index: usize| {
            let record = json!({"address": host(index), "port": 80});
            znodes::put(&client, &format!("{path}/host-{index}"), &record).await;
        };
        join_all(batch.iter().map(|index| put(*index))).await;
    }
    let expected = |skipped: usize| -> Hosts {
        (skipped..HOSTS).map(|index| (format!("host-{index}"), Some(format!("{}:80", host(index))))).collect()
    };
    let (sources, _) = sources_with(options());
    let mut inbox = Inbox::new();
    let settings = json!({"server": ensemble.connect_string(), "path": path});
    let opened = Instant::now();
    let _source = open(&sources, &spec("zookeeper", settings), &inbox).unwrap();
    assert_eq!(level(&inbox.next().await), Ok(expected(0)));
    println!("{HOSTS} hosts read in {:?}", opened.elapsed());
    let serving = session_besides(&ensemble, client.session_id()).await.member;
    ensemble.stop(serving);
    let stopped = Instant::now();
    znodes::delete(&client, &format!("{path}/host-0")).await;
    inbox.until_hosts(&expected(1)).await;
    println!("reported {:?} after the member died", stopped.elapsed());
    znodes::delete(&client, &format!("{path}/host-1")).await;
    inbox.until_hosts(&expected(2)).await;
}

#[actix::test]
async fn services_of_one_ensemble_share_one_session() {
    let dir = TestDir::new();
    let ensemble = Ensemble::start(&dir, 3).await;
    let client = ensemble.client().await;
    znodes::put_bytes(&client, "/a/b/c", b"").await;
    let (sources, ensembles) = sources_with(options());
    let members = ensemble.connect_string();
    let reversed = Vec::from_iter(members.rsplit(',')).join(", ");
    let mut inbox = Inbox::new();
    let mut opened = Vec::new();
    for (server, path) in [(members.clone(), "/a"), (reversed.clone(), "/a/b"), (format!("{reversed}/a"), "/b")] {
        opened.push(open(&sources, &spec("zookeeper", json!({"server": server, "path": path})), &inbox).unwrap());
        inbox.until("a list".into(), |seen| seen.result.is_ok()).await;
    }
    let definitions = ZookeeperDefinitions::new(ensembles.clone(), members.parse().unwrap(), "/a").unwrap();
    let mut reader = Inbox::<DefinitionsSeen>::new();
    let opened_definitions = definitions.open(reader.recipient.clone());
    reader.next().await;
    assert_eq!(ensembles.open_count(), 1);
    session_besides(&ensemble, client.session_id()).await;
    opened.clear();
    session_besides(&ensemble, client.session_id()).await;
    drop(opened_definitions);
    eventually(Duration::from_secs(5), "the session is closed", async || {
        let sessions = ensemble.sessions().await;
        check(sessions.iter().all(|session| session.id == client.session_id()), &sessions)
    })
    .await;
    assert_eq!(ensembles.open_count(), 0);
}

#[actix::test]
async fn definitions_follow_their_znodes() {
    let dir = TestDir::new();
    let ensemble = Ensemble::start(&dir, 1).await;
    let client = ensemble.client().await;
    let ensembles = sources_with(options()).1;
    let connect = ensemble.connect_string().parse().unwrap();
    let definitions = ZookeeperDefinitions::new(ensembles, connect, "/service_config").unwrap();
    let mut reader = Inbox::<DefinitionsSeen>::new();
    let _source = definitions.open(reader.recipient.clone());
    let error = reader.next().await.result.unwrap_err();
    assert!(error.contains("/service_config") && error.contains("zkCli.sh -server"), "{error}");

    let mut expected = BTreeMap::new();
    znodes::put_bytes(&client, "/service_config", b"").await;
    for (name, text) in [("web", "{\"port\":1}"), ("api", "{bad"), ("web", "{\"port\":2}"), ("raw", "\u{e4}")] {
        znodes::put_bytes(&client, &format!("/service_config/{name}"), text.as_bytes()).await;
        expected.insert(name.to_owned(), text.to_owned());
        let fits = Ok(expected.clone());
        reader.until(format!("{expected:?}"), move |seen| texts(seen) == fits).await;
    }
    znodes::delete(&client, "/service_config/api").await;
    expected.remove("api");
    znodes::put_bytes(&client, "/service_config/raw", b"\xff").await;
    expected.insert("raw".to_owned(), String::new());
    let (seen, _) = reader.until(format!("{expected:?}"), move |seen| texts(seen) == Ok(expected.clone())).await;
    let definitions = seen.result.unwrap();
    assert_eq!(&*definitions["web"].origin, "znode /service_config/web");
    assert_eq!(&*definitions["raw"].origin, "znode /service_config/raw");
    let problem = definitions["raw"].problem.as_deref();
    assert_eq!(problem, Some("it is not UTF-8 text: line 1 contains another encoding, or is binary"));
}

#[actix::test]
async fn tls_and_digest_sessions_read_what_they_may() {
    let dir = TestDir::new();
    let ensemble = Ensemble::start_tls(&dir, 1).await;
    let client = ensemble.client().await;
    client.auth("digest", b"proxymgr:secret").await.unwrap();
    znodes::put(&client, "/services/web/open", &json!({"address": "10.0.0.1", "port": 80})).await;
    let record = json!({"address": "10.0.0.2", "port": 80}).to_string();
    let ours = [Acl::new(Permission::ALL, AuthId::authed())];
    let create = async |name: &str, acls: &[Acl]| {
        let options = CreateMode::Persistent.with_acls(Acls::new(acls));
        client.create(&format!("/services/web/{name}"), record.as_bytes(), &options).await.unwrap();
    };
    create("closed", &ours).await;

    let tls = ensemble.tls();
    let identity = TlsIdentityFiles { certificate: tls.client_cert.clone(), key: tls.client_key.clone() };
    let mut options = options();
    options.tls = Some(TlsFiles { ca: tls.ca.clone(), identity: Some(identity) });
    let settings = json!({"server": ensemble.secure_connect_string(), "path": "/services/web"});
    let reported = async |sources: &Sources, inbox: &mut Inbox<HostsSeen>| {
        let source = open(sources, &spec("zookeeper", settings.clone()), inbox).unwrap();
        (inbox.next().await, source)
    };

    let mut inbox = Inbox::new();
    let (seen, _source) = reported(&sources_with(options.clone()).0, &mut inbox).await;
    let entries = seen.result.unwrap();
    let closed = entries.iter().find(|entry| &*entry.key == "closed").unwrap();
    let error = closed.record.as_ref().unwrap_err();
    assert!(error.contains("znode /services/web/closed") && error.starts_with("access denied: "), "{error}");
    assert!(entries.iter().any(|entry| entry.record.is_ok()), "{entries:?}");

    options.auth = Some(DigestAuth::parse("proxymgr:secret").unwrap());
    assert!(!format!("{options:?}").contains("secret"));
    let mut inbox = Inbox::new();
    let (seen, _source) = reported(&sources_with(options.clone()).0, &mut inbox).await;
    assert!(seen.result.unwrap().iter().all(|entry| entry.record.is_ok()));

    options.tls = Some(TlsFiles { ca: tls.client_cert.clone(), identity: None });
    let mut inbox = Inbox::new();
    let (seen, _source) = reported(&sources_with(options.clone()).0, &mut inbox).await;
    let error = seen.result.unwrap_err();
    assert!(error.contains("certificate"), "{error}");

    options.tls = Some(TlsFiles { ca: dir.join("missing.pem"), identity: None });
    let mut inbox = Inbox::new();
    let (seen, _source) = reported(&sources_with(options).0, &mut inbox).await;
    let error = seen.result.unwrap_err();
    assert!(error.starts_with("cannot read ZooKeeper's TLS ca") && error.contains("missing.pem"), "{error}");
}

#[actix::test]
async fn zookeeper_registrations_of_other_tools_are_hosts() {
    let dir = TestDir::new();
    let ensemble = Ensemble::start(&dir, 1).await;
    let client = ensemble.client().await;
    let put = async |name: &str, data: serde_json::Value| znodes::put(&client, &format!("/s/{name}"), &data).await;
    let member = |host: &str, status: &str, shard: u8| {
        let endpoint = json!({"host": host, "port": 80});
        let admin = json!({"admin": {"host": host, "port": 99}});
        json!({"serviceEndpoint": endpoint, "additionalEndpoints": admin, "status": status, "shard": shard})
    };
    put("i-1_0000000001", json!({"host": "10.0.0.1", "port": 80, "name": "i-1", "weight": 5})).await;
    put("6e2c3fd5", json!({"name": "web", "address": "10.0.0.2", "port": 80, "serviceType": "DYNAMIC"})).await;
    put("member_0000000001", member("10.0.0.3", "ALIVE", 0)).await;
    put("vector_0000000001", json!({"vector": [{"select": "member=member_0000000001", "weight": 2}]})).await;
    let reported = async |more: serde_json::Value| {
        let mut settings = json!({"server": ensemble.connect_string(), "path": "/s"});
        settings.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let mut inbox = Inbox::new();
        let source = open(&sources_with(options()).0, &spec("zookeeper", settings), &inbox)?;
        let reported = level(&inbox.next().await);
        drop(source);
        reported
    };
    let host = |key: &str, host: Option<&str>| (key.to_owned(), host.map(str::to_owned));
    let by_nerve = host("i-1_0000000001", Some("10.0.0.1:80 weight 5"));
    let by_curator = host("6e2c3fd5", Some("10.0.0.2:80"));
    let all = [by_nerve.clone(), by_curator.clone(), host("member_0000000001", Some("10.0.0.3:80"))];
    assert_eq!(reported(json!({})).await, Ok(all.into()));
    let admin = [by_nerve.clone(), by_curator.clone(), host("member_0000000001", Some("10.0.0.3:99"))];
    assert_eq!(reported(json!({"endpoint": "admin"})).await, Ok(admin.into()));
    assert_eq!(reported(json!({"shard": 1})).await, Ok([by_nerve, by_curator].into()));
    let only_curator =
        [host("i-1_0000000001", None), host("6e2c3fd5", Some("10.0.0.2:80")), host("member_0000000001", None)];
    assert_eq!(reported(json!({"format": "curator"})).await, Ok(only_curator.into()));
    assert!(reported(json!({"format": "eureka"})).await.unwrap_err().starts_with("\"format\": \"eureka\" is none of"));
}
