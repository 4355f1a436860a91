//! Consul in operation and under faults, including those that its documentation warns of.

#[path = "discovery/mod.rs"]
mod discovery;
#[path = "support/mod.rs"]
mod support;

use std::time::Duration;

use discovery::gate::Gate;
use discovery::inbox::{Inbox, hosts, level, texts};
use discovery::kinds::{open, sources, spec};
use discovery::proxy::{Fault, Proxy};
use proxymgr::discovery::consul::{
    Consul as Client, ConsulCatalogDefinitions, ConsulKeyDefinitions, ConsulOptions, TOKEN_HEADER,
};
use proxymgr::discovery::http::{Credentials, TlsFiles};
use proxymgr_actors::message::{DefinitionsSeen, HostsSeen};
use proxymgr_actors::port::{DefinitionSource, OpenSource};
use serde_json::{Value, json};
use support::consul::{Consul, MASTER_TOKEN};
use support::daemon::Daemon;
use support::dir::TestDir;
use support::scripted_server::{Reply, ScriptedServer};
use support::tls::TestCa;

fn options(servers: &str) -> ConsulOptions {
    ConsulOptions { servers: servers.parse().unwrap(), ..ConsulOptions::default() }
}

/// Watches the service `web` of these agents, with further keys of its definition.
fn watch(options: ConsulOptions, more: Value) -> (Inbox<HostsSeen>, Box<dyn OpenSource>) {
    let inbox = Inbox::new();
    let mut settings = json!({"service": "web"});
    for (key, value) in more.as_object().into_iter().flatten() {
        settings[key] = value.clone();
    }
    let sources = sources().0.with_consul(Client::new(options));
    let source = open(&sources, &spec("consul", settings), &inbox).unwrap();
    (inbox, source)
}

fn at(address: &str) -> Value {
    json!({"Address": address})
}

const A: (&str, Option<&str>) = ("n/a", Some("10.0.0.1:80"));
const B: (&str, Option<&str>) = ("n/b", Some("10.0.0.2:80"));
const C: (&str, Option<&str>) = ("n/c", Some("10.0.0.3:80"));

#[actix::test]
async fn health_tags_and_nodes_select_instances() {
    let dir = TestDir::new();
    let consul = Consul::start(&dir).await;
    consul.register("web", "a", json!({"Address": "10.0.0.1", "Tags": ["v2", "x"]}), &[("http", "passing")]).await;
    let weights = json!({"Passing": 10, "Warning": 4});
    consul.register("web", "b", json!({"Address": "10.0.0.2", "Weights": weights}), &[("c", "warning")]).await;
    consul.register("web", "c", at("10.0.0.3"), &[("_service_maintenance:c", "critical")]).await;
    consul.register("web", "d", json!({}), &[]).await;
    consul.register("other", "e", at("10.0.0.5"), &[]).await;
    let d = ("n/d", Some("10.9.9.9:80"));

    let (mut passing, _open) = watch(options(&consul.url()), json!({}));
    assert_eq!(level(&passing.next().await), Ok(hosts([A, d])), "the address of the node is used");
    let (mut all, _open) = watch(options(&consul.url()), json!({"passing": false, "stale": true}));
    let b = ("n/b", Some("10.0.0.2:80 weight 4"));
    let seen = all.until_hosts(&hosts([A, b, C, d])).await;
    let states: Vec<String> =
        seen.result.unwrap().iter().map(|seen| format!("{:?}", seen.host().unwrap().state)).collect();
    assert_eq!(states, ["Ready", "Ready", "Maint", "Ready"]);
    for narrowing in [json!({"tags": ["v2", "x"]}), json!({"tags": "v2"}), json!({"filter": "\"v2\" in Service.Tags"})]
    {
        let (mut tagged, _open) = watch(options(&consul.url()), narrowing);
        assert_eq!(level(&tagged.next().await), Ok(hosts([A])));
    }
    let (mut elsewhere, _open) = watch(options(&consul.url()), json!({"node_meta": {"rack": "7"}}));
    assert_eq!(level(&elsewhere.next().await), Ok(hosts([])));
    let (mut nowhere, _open) = watch(options(&consul.url()), json!({"datacenter": "mars"}));
    let (error, _) = nowhere.until_error().await;
    assert!(error.contains("No path to datacenter"), "{error}");

    consul.register("web", "a", json!({"Address": "10.0.0.1", "Tags": ["v2"]}), &[("http", "critical")]).await;
    passing.until_hosts(&hosts([d])).await;
    consul.register("web", "c", at("10.0.0.3"), &[("_service_maintenance:c", "passing")]).await;
    passing.until_hosts(&hosts([C, d])).await;
}

#[actix::test]
async fn agent_that_lost_its_data_is_read_again() {
    let dir = TestDir::new();
    let mut consul = Consul::start(&dir).await;
    for number in 0..60 {
        consul.put_key("far", &number.to_string()).await;
    }
    consul.register("web", "a", at("10.0.0.1"), &[]).await;
    let (mut inbox, _open) = watch(options(&consul.url()), json!({}));
    inbox.until_hosts(&hosts([A])).await;
    consul.kill();
    consul.start_again().await;
    consul.register("web", "b", at("10.0.0.2"), &[]).await;
    inbox.until_hosts(&hosts([B])).await;
    consul.register("web", "c", at("10.0.0.3"), &[]).await;
    inbox.until_hosts(&hosts([B, C])).await;
}

#[actix::test]
async fn restored_snapshot_is_read_at_once() {
    let dir = TestDir::new();
    let consul = Consul::start(&dir).await;
    consul.register("web", "a", at("10.0.0.1"), &[]).await;
    let snapshot = consul.snapshot().await;
    consul.register("web", "b", at("10.0.0.2"), &[]).await;
    let (mut inbox, _open) = watch(options(&consul.url()), json!({}));
    inbox.until_hosts(&hosts([A, B])).await;
    // The blocking query waits by then.
    tokio::time::sleep(Duration::from_millis(500)).await;
    consul.restore(&snapshot).await;
    inbox.until_hosts(&hosts([A])).await;
    consul.register("web", "c", at("10.0.0.3"), &[]).await;
    inbox.until_hosts(&hosts([A, C])).await;
}

#[actix::test]
async fn answers_without_news_are_rate_limited() {
    let stuck = ScriptedServer::start(|_| Reply::Send("200 OK", "X-Consul-Index: 7\r\n".to_owned(), "[]".to_owned()));
    let stuck = stuck.await;
    let (mut inbox, _open) = watch(options(&stuck.url()), json!({}));
    assert_eq!(level(&inbox.next().await), Ok(hosts([])));
    tokio::time::sleep(Duration::from_secs(4)).await;
    let requests = stuck.heads().len();
    assert!((4..=16).contains(&requests), "{requests} requests");
    assert!(inbox.waiting().is_empty(), "the list did not change");
}

/// The real Consul 1.8.7 does not have this header; the proxy adds it.
const FILTERED: Fault = Fault::Header("X-Consul-Results-Filtered-By-ACLs: true");

#[actix::test]
async fn list_filtered_by_acls_is_not_taken() {
    let dir = TestDir::new();
    let consul = Consul::start(&dir).await;
    consul.register("web", "a", at("10.0.0.1"), &[]).await;
    consul.register("web", "b", at("10.0.0.2"), &[]).await;
    let proxy = Proxy::to(consul.address().port()).await;
    let (mut inbox, _open) = watch(options(&format!("http://{}", proxy.address())), json!({}));
    inbox.until_hosts(&hosts([A, B])).await;
    proxy.set(FILTERED);
    consul.deregister("b").await;
    let (error, before) = inbox.until_error().await;
    assert!(before.is_empty(), "{before:?}");
    assert!(error.contains("service:read") && error.contains("node:read"), "{error}");
    let (mut late, _late_open) = watch(options(&format!("http://{}", proxy.address())), json!({}));
    assert!(late.next().await.result.is_err(), "the first list may be filtered as well");
    proxy.heal();
    inbox.until_hosts(&hosts([A])).await;
    late.until_hosts(&hosts([A])).await;
}

#[actix::test]
async fn definitions_filtered_by_acls_are_not_taken() {
    let dir = TestDir::new();
    let consul = Consul::start(&dir).await;
    let proxy = Proxy::to(consul.address().port()).await;
    let client = Client::new(options(&format!("http://{}", proxy.address())));
    consul.put_key("services/web", "{}").await;
    consul.put_key("services/api", "{}").await;
    for service in ["web", "api"] {
        consul.register(service, service, json!({"Tags": ["proxymgr"]}), &[]).await;
    }
    let by_key: Box<dyn DefinitionSource> = Box::new(ConsulKeyDefinitions::new(client.clone(), "services").unwrap());
    let by_tag: Box<dyn DefinitionSource> = Box::new(ConsulCatalogDefinitions::new(client, "proxymgr"));
    for (definitions, permission) in [(by_key, "key_prefix"), (by_tag, "service:read")] {
        let mut inbox = Inbox::<DefinitionsSeen>::new();
        let names = |seen: &DefinitionsSeen| texts(seen).map(|texts| texts.into_keys().collect::<Vec<_>>().join(" "));
        let open = definitions.open(inbox.recipient.clone());
        assert_eq!(names(&inbox.next().await), Ok("api web".to_owned()));
        proxy.set(FILTERED);
        consul.delete_key("services/api").await;
        consul.deregister("api").await;
        open.refresh();
        let error = inbox.next().await.result.expect_err("the list is not confirmed");
        assert!(error.contains(permission), "{error}");
        proxy.heal();
        inbox.until("web alone".into(), move |seen| names(seen) == Ok("web".to_owned())).await;
        consul.put_key("services/api", "{}").await;
        consul.register("api", "api", json!({"Tags": ["proxymgr"]}), &[]).await;
    }
}

#[actix::test]
async fn definitions_stay_while_the_token_may_not_read_them() {
    let dir = TestDir::new();
    let consul = Consul::start_with_acl(&dir).await;
    let may_read = |prefix: &str| format!("key_prefix \"{prefix}\" {{ policy = \"read\" }}");
    let policy = consul.make_policy("reader", &may_read("services/")).await;
    let token = consul.token_of("reader").await;
    let token = Credentials::Header { name: TOKEN_HEADER, value: token.into() };
    let client = Client::new(ConsulOptions { token, ..options(&consul.url()) });
    consul.put_key("services/web", "{}").await;
    consul.put_key("services/api", "{}").await;
    let mut inbox = Inbox::new();
    let open = ConsulKeyDefinitions::new(client, "services").unwrap().open(inbox.recipient.clone());
    inbox.until_texts([("api", "{}"), ("web", "{}")]).await;
    // Without any right, and with the right to read one of the two.
    for rules in [may_read("other/"), may_read("services/web")] {
        consul.change_policy(&policy, "reader", &rules).await;
        open.refresh();
        let error = inbox.next().await.result.expect_err("no key was deleted");
        assert!(error.contains("key_prefix"), "{error}");
        consul.change_policy(&policy, "reader", &may_read("services/")).await;
        inbox.until_texts([("api", "{}"), ("web", "{}")]).await;
    }
}

#[actix::test]
async fn index_is_reset_for_another_agent() {
    let dir = TestDir::new();
    let (far, near) = (Consul::start(&dir.subdir("far")).await, Consul::start(&dir.subdir("near")).await);
    for number in 0..60 {
        far.put_key("far", &number.to_string()).await;
    }
    far.register("web", "a", at("10.0.0.1"), &[]).await;
    near.register("web", "b", at("10.0.0.2"), &[]).await;
    let (to_far, to_near) = (Gate::to(far.address().port()).await, Gate::to(near.address().port()).await);
    to_near.shut();
    let servers = format!("http://{},http://{}", to_far.address(), to_near.address());
    let (mut inbox, _open) = watch(options(&servers), json!({}));
    inbox.until_hosts(&hosts([A])).await;
    to_near.open();
    to_far.shut();
    inbox.until_hosts(&hosts([B])).await;
}

#[actix::test]
async fn frozen_agent_is_an_error_without_lost_changes() {
    let dir = TestDir::new();
    let mut frozen = Consul::start(&dir).await;
    frozen.register("web", "a", at("10.0.0.1"), &[]).await;
    let (mut alone, _open) = watch(options(&frozen.url()), json!({}));
    alone.until_hosts(&hosts([A])).await;
    frozen.register("web", "b", at("10.0.0.2"), &[]).await;
    // These come from a blocking query, and another one follows.
    alone.until_hosts(&hosts([A, B])).await;
    frozen.freeze();
    let (error, before) = alone.until_error().await;
    assert!(error.contains("no answer within"), "{error}");
    assert!(before.is_empty(), "{before:?}");
    frozen.thaw();
    alone.until_hosts(&hosts([A, B])).await;
    frozen.register("web", "c", at("10.0.0.3"), &[]).await;
    alone.until_hosts(&hosts([A, B, C])).await;
}

#[actix::test]
async fn one_reachable_agent_is_enough() {
    let dir = TestDir::new();
    let consul = Consul::start(&dir).await;
    consul.register("web", "a", at("10.0.0.1"), &[]).await;
    let (one, two) = (Gate::to(consul.address().port()).await, Gate::to(consul.address().port()).await);
    let servers = format!("http://127.0.0.1:{},http://{},http://{}", dir.port(), one.address(), two.address());
    let (mut inbox, _open) = watch(options(&servers), json!({}));
    inbox.until_hosts(&hosts([A])).await;
    one.shut();
    consul.register("web", "b", at("10.0.0.2"), &[]).await;
    inbox.until_hosts(&hosts([A, B])).await;
    one.open();
    two.shut();
    consul.register("web", "c", at("10.0.0.3"), &[]).await;
    let expected = Ok(hosts([A, B, C]));
    let (_, before) = inbox.until("all three".to_owned(), move |seen| level(seen) == expected).await;
    assert!(before.iter().all(|seen| seen.result.is_ok()), "no error while one agent answers: {before:?}");
}

#[actix::test]
async fn token_is_sent_to_configured_agents_only() {
    let dir = TestDir::new();
    let consul = Consul::start_with_acl(&dir).await;
    consul.register("web", "a", at("10.0.0.1"), &[]).await;
    let with_token = |value: &str| {
        let token = Credentials::Header { name: TOKEN_HEADER, value: value.into() };
        ConsulOptions { token, ..options(&consul.url()) }
    };
    let reader = consul
        .make_token("reader", "service_prefix \"\" { policy = \"read\" } node_prefix \"\" { policy = \"read\" }")
        .await;
    let (mut good, _open) = watch(with_token(&reader), json!({}));
    good.until_hosts(&hosts([A])).await;
    let (mut bad, _open) = watch(with_token("0e1d6a5b-0000-4000-8000-00000000bbbb"), json!({}));
    let (error, _) = bad.until_error().await;
    assert!(error.contains("status 403: ACL not found"), "{error}");
    assert!(!error.contains("00000000bbbb"), "{error}");

    // The same agent by another host name, as in a definition: the token is not sent there, and Consul shows nothing.
    let server = format!("http://localhost:{}", consul.address().port());
    let (mut stranger, _open) = watch(with_token(MASTER_TOKEN), json!({"server": server}));
    assert_eq!(level(&stranger.next().await), Ok(hosts([])));
}

#[actix::test]
async fn definitions_come_from_keys() {
    let dir = TestDir::new();
    let mut consul = Consul::start(&dir).await;
    let mut inbox = Inbox::new();
    let definitions = ConsulKeyDefinitions::new(Client::new(options(&consul.url())), "/proxy/services").unwrap();
    let _open = definitions.open(inbox.recipient.clone());
    let error = inbox.until_no_texts().await;
    assert!(error.contains("there is no key proxy/services/ in Consul http://127.0.0.1:"), "{error}");
    consul.put_key("proxy/services/", "").await;
    inbox.until_texts([]).await;
    consul.put_key("proxy/services/web", "{\"type\":\"static\"}").await;
    consul.put_key("proxy/services2", "x").await;
    consul.put_key("proxy/services/folder/", "").await;
    let (seen, _) = inbox.until_texts([("web", "{\"type\":\"static\"}")]).await;
    assert_eq!(&*seen.result.unwrap()["web"].origin, "Consul key proxy/services/web");
    consul.put_key("proxy/services/api", "{}").await;
    consul.put_key("proxy/services/web", "{}").await;
    inbox.until_texts([("api", "{}"), ("web", "{}")]).await;
    consul.delete_key("proxy/services/web").await;
    inbox.until_texts([("api", "{}")]).await;
    consul.kill();
    inbox.until_no_texts().await;
    consul.start_again().await;
    consul.put_key("proxy/services/new", "{}").await;
    inbox.until_texts([("new", "{}")]).await;
}

#[actix::test]
async fn last_definition_can_be_deleted_but_not_lost() {
    let dir = TestDir::new();
    let mut consul = Consul::start(&dir).await;
    let mut inbox = Inbox::new();
    let definitions = ConsulKeyDefinitions::new(Client::new(options(&consul.url())), "services").unwrap();
    let open = definitions.open(inbox.recipient.clone());
    inbox.until_no_texts().await;
    consul.put_key("services/web", "{}").await;
    inbox.until_texts([("web", "{}")]).await;
    consul.delete_key("services/web").await;
    inbox.until_texts([]).await;
    open.refresh();
    inbox.until_texts([]).await;
    for number in 0..30 {
        consul.put_key("services/web", &number.to_string()).await;
    }
    inbox.until_texts([("web", "29")]).await;
    consul.kill();
    inbox.until_no_texts().await;
    consul.start_again().await;
    inbox.until_keys_are_missing().await;
}

#[actix::test]
async fn definitions_come_from_tags() {
    let dir = TestDir::new();
    let consul = Consul::start(&dir).await;
    let mut inbox = Inbox::new();
    let definitions = ConsulCatalogDefinitions::new(Client::new(options(&consul.url())), "proxymgr");
    let _open = definitions.open(inbox.recipient.clone());
    inbox.until_texts([]).await;
    consul.register("web", "a", json!({"Tags": ["proxymgr", "proxymgr.port=80"]}), &[]).await;
    consul.register("db", "d", json!({"Tags": ["proxymgr.port=81"]}), &[]).await;
    let text = |port: u16| format!(r#"{{"port":{port},"service":"web","tags":["proxymgr"],"type":"consul"}}"#);
    inbox.until_texts([("web", &text(80))]).await;
    consul.register("web", "b", json!({"Tags": ["proxymgr", "proxymgr.port=90"]}), &[]).await;
    let (seen, _) = inbox.until_texts([("web", "")]).await;
    let problem = seen.result.unwrap()["web"].problem.clone().unwrap();
    assert!(problem.contains("proxymgr.port: 80 and 90"), "{problem}");
    consul.deregister("a").await;
    inbox.until_texts([("web", &text(90))]).await;
    consul.deregister("b").await;
    inbox.until_texts([]).await;
}

#[actix::test]
async fn services_beyond_the_connection_limit_take_turns() {
    const SERVICES: usize = 7;
    let dir = TestDir::new();
    let consul = Consul::start(&dir).await;
    let sources =
        sources().0.with_consul(Client::new(ConsulOptions { connections_max: Some(3), ..options(&consul.url()) }));
    let mut watched = Vec::new();
    for number in 0..SERVICES {
        let inbox = Inbox::new();
        let service = format!("s{number}");
        let source = open(&sources, &spec("consul", json!({"service": service})), &inbox).unwrap();
        watched.push((service, inbox, source));
    }
    for (_, inbox, _) in &mut watched {
        inbox.until_hosts(&hosts([])).await;
    }
    for (service, inbox, _) in &mut watched {
        consul.register(service, service, at("10.0.0.1"), &[]).await;
        let key = format!("n/{service}");
        inbox.until_hosts(&hosts([(&key, Some("10.0.0.1:80"))])).await;
    }
}

#[actix::test]
async fn tls_checks_the_authority_and_sends_the_certificate() {
    let dir = TestDir::new();
    let ca = TestCa::new(&dir);
    let settings = json!({
        "cert_file": ca.server, "key_file": ca.server, "ca_file": ca.ca, "verify_incoming_https": true,
    });
    let consul = Consul::start_with(&dir, settings, None).await;
    consul.register("web", "a", at("10.0.0.1"), &[]).await;
    let with = |tls: TlsFiles| ConsulOptions { tls, ..options(&consul.https_url()) };
    let identity = Some((ca.client_cert.clone(), ca.client_key.clone()));
    let (mut good, _open) = watch(with(TlsFiles { ca: Some(ca.ca.clone()), identity: identity.clone() }), json!({}));
    good.until_hosts(&hosts([A])).await;
    let (mut stranger, _open) = watch(with(TlsFiles { ca: None, identity: identity.clone() }), json!({}));
    let (error, _) = stranger.until_error().await;
    assert!(error.contains("unknown authority"), "{error}");
    let (mut nobody, _open) = watch(with(TlsFiles { ca: Some(ca.ca.clone()), identity: None }), json!({}));
    nobody.until_error().await;
    let missing = dir.join("missing.pem");
    let (mut missing_file, _open) = watch(with(TlsFiles { ca: Some(missing.clone()), identity: None }), json!({}));
    let (error, _) = missing_file.until_error().await;
    assert!(error.contains("missing.pem"), "{error}");
    std::fs::copy(&ca.ca, &missing).unwrap();
    let (error, _) = missing_file.until_error().await;
    assert!(!error.contains("missing.pem"), "the file is read again: {error}");
}

#[tokio::test]
async fn token_is_in_no_log_status_or_file() {
    const TOKEN: &str = "0e1d6a5b-5ec7-4e75-8000-00000000cccc";
    let dir = TestDir::new();
    let consul = Consul::start_with_acl(&dir).await;
    let files = dir.subdir("services");
    files.write("web.json", json!({"type": "consul", "service": "web", "port": dir.port()}).to_string());
    let daemon = Daemon::builder(env!("CARGO_BIN_EXE_proxymgr"), &dir)
        .files(files.path())
        .set("consul.servers", json!(consul.url()))
        .set("log.level", json!("trace"))
        .env("PROXYMGR_CONSUL__TOKEN", TOKEN)
        .start();
    daemon.assert_secret_is_hidden(TOKEN, "ACL not found").await;
}
