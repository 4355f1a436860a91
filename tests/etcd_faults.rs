//! etcd in operation and under faults: a watch that ends for any reason must not lose a change.

#[path = "discovery/mod.rs"]
mod discovery;
#[path = "support/mod.rs"]
mod support;

use discovery::gate::Gate;
use discovery::inbox::{Inbox, hosts, level};
use discovery::kinds::{open, sources, spec};
use proxymgr::discovery::etcd::{Etcd as Client, EtcdDefinitions, EtcdOptions, EtcdUser};
use proxymgr::discovery::http::TlsFiles;
use proxymgr_actors::message::HostsSeen;
use proxymgr_actors::port::{DefinitionSource, OpenSource};
use serde_json::json;
use support::daemon::Daemon;
use support::dir::TestDir;
use support::etcd::Etcd;
use support::tls::TestCa;

const A: (&str, Option<&str>) = ("10.0.0.1:80", Some("10.0.0.1:80"));
const B: (&str, Option<&str>) = ("10.0.0.2:80", Some("10.0.0.2:80"));
const C: (&str, Option<&str>) = ("10.0.0.3:80", Some("10.0.0.3:80"));

const PASSWORD: &str = "s3cret-of-etcd";

fn options(servers: &str) -> EtcdOptions {
    EtcdOptions { servers: servers.parse().unwrap(), ..EtcdOptions::default() }
}

/// Watches the hosts below `/services/web/`.
fn watch(options: EtcdOptions) -> (Inbox<HostsSeen>, Box<dyn OpenSource>) {
    let inbox = Inbox::new();
    let sources = sources().0.with_etcd(Client::new(options));
    let source = open(&sources, &spec("etcd", json!({"prefix": "/services/web/"})), &inbox).unwrap();
    (inbox, source)
}

async fn put(etcd: &Etcd, host: (&str, Option<&str>)) -> i64 {
    etcd.put(&format!("/services/web/{}", host.0), host.0).await
}

async fn delete(etcd: &Etcd, host: (&str, Option<&str>)) {
    etcd.delete(&format!("/services/web/{}", host.0)).await;
}

#[actix::test]
async fn watch_resumes_even_after_compaction() {
    let dir = TestDir::new();
    let etcd = Etcd::start(&dir, 1).await;
    put(&etcd, A).await;
    let gate = Gate::to(etcd.address(0).port()).await;
    let (mut inbox, _open) = watch(options(&format!("http://{}", gate.address())));
    inbox.until_hosts(&hosts([A])).await;
    for is_compacted in [false, true] {
        gate.shut();
        delete(&etcd, A).await;
        let revision = put(&etcd, B).await;
        if is_compacted {
            // The removal of A is no longer in the history: only a new read shows it.
            etcd.compact(revision).await;
        }
        gate.open();
        inbox.until_hosts(&hosts([B])).await;
        put(&etcd, C).await;
        inbox.until_hosts(&hosts([B, C])).await;
        delete(&etcd, B).await;
        delete(&etcd, C).await;
        put(&etcd, A).await;
        inbox.until_hosts(&hosts([A])).await;
    }
}

#[actix::test]
async fn restored_older_store_is_read_again() {
    let dir = TestDir::new();
    let mut etcd = Etcd::start(&dir, 1).await;
    for _ in 0..30 {
        put(&etcd, A).await;
    }
    let (mut inbox, _open) = watch(options(&etcd.url(0)));
    inbox.until_hosts(&hosts([A])).await;
    etcd.kill(0);
    etcd.start_empty(0).await;
    put(&etcd, B).await;
    inbox.until_hosts(&hosts([B])).await;
    put(&etcd, C).await;
    inbox.until_hosts(&hosts([B, C])).await;
}

#[actix::test]
async fn host_is_removed_with_its_lease() {
    let dir = TestDir::new();
    let etcd = Etcd::start(&dir, 1).await;
    put(&etcd, A).await;
    let lease = etcd.lease(1).await;
    etcd.put_with_lease("/services/web/10.0.0.2:80", "10.0.0.2:80", lease).await;
    let (mut inbox, _open) = watch(options(&etcd.url(0)));
    inbox.until_hosts(&hosts([A])).await;
}

#[actix::test]
async fn frozen_member_is_an_error_without_lost_changes() {
    let dir = TestDir::new();
    let mut etcd = Etcd::start(&dir, 1).await;
    put(&etcd, A).await;
    let (mut inbox, _open) = watch(options(&etcd.url(0)));
    inbox.until_hosts(&hosts([A])).await;
    put(&etcd, B).await;
    // These come from the watch, which stays open without further events.
    inbox.until_hosts(&hosts([A, B])).await;
    etcd.freeze(0);
    let (error, before) = inbox.until_error().await;
    assert!(error.contains("no answer within"), "{error}");
    assert!(before.is_empty(), "{before:?}");
    etcd.thaw(0);
    inbox.until_hosts(&hosts([A, B])).await;
    put(&etcd, C).await;
    inbox.until_hosts(&hosts([A, B, C])).await;
}

#[actix::test]
async fn member_without_majority_is_not_used() {
    let dir = TestDir::new();
    let mut etcd = Etcd::start(&dir, 3).await;
    put(&etcd, A).await;
    let (mut inbox, _open) = watch(options(&etcd.urls()));
    inbox.until_hosts(&hosts([A])).await;
    etcd.kill(2);
    put(&etcd, B).await;
    inbox.until_hosts(&hosts([A, B])).await;
    // The last member still accepts connections, but would never answer.
    etcd.kill(1);
    let (error, before) = inbox.until_error().await;
    assert!(before.iter().all(|seen| seen.result.is_ok()), "{before:?}");
    assert!(error.contains("etcd"), "{error}");
    etcd.start_again(1).await;
    inbox.until_hosts(&hosts([A, B])).await;
    put(&etcd, C).await;
    inbox.until_hosts(&hosts([A, B, C])).await;
}

#[actix::test]
async fn login_is_repeated_when_the_token_is_lost() {
    let dir = TestDir::new();
    let mut etcd = Etcd::start(&dir, 1).await;
    put(&etcd, A).await;
    let user = |text: &str| EtcdOptions { user: Some(EtcdUser::parse(text).unwrap()), ..options(&etcd.url(0)) };
    let (reader, wrong) = (user(&format!("reader:{PASSWORD}")), user("reader:wr0ng"));
    let nobody = options(&etcd.url(0));
    // Credentials do no harm before authentication is enabled, and work from then on.
    let (mut early, _early_open) = watch(reader.clone());
    early.until_hosts(&hosts([A])).await;
    etcd.demand_users("/services/", PASSWORD).await;

    let (mut inbox, _open) = watch(reader);
    inbox.until_hosts(&hosts([A])).await;
    let (mut refused, _refused_open) = watch(wrong);
    let (error, _) = refused.until_error().await;
    assert!(error.contains("\"reader\""), "{error}");
    assert!(!error.contains("wr0ng"), "{error}");
    let (mut anonymous, _anonymous_open) = watch(nobody);
    let (error, _) = anonymous.until_error().await;
    assert!(error.contains("user name is empty"), "{error}");

    // A member's tokens do not survive its restart.
    etcd.kill(0);
    inbox.until_error().await;
    etcd.start_again(0).await;
    etcd.log_in(PASSWORD).await;
    put(&etcd, B).await;
    inbox.until_hosts(&hosts([A, B])).await;
    early.until_hosts(&hosts([A, B])).await;
}

#[actix::test]
async fn revoked_permission_is_an_error_and_no_list() {
    let dir = TestDir::new();
    let mut etcd = Etcd::start(&dir, 1).await;
    put(&etcd, A).await;
    etcd.demand_users("/services/", PASSWORD).await;
    let user = Some(EtcdUser::parse(&format!("reader:{PASSWORD}")).unwrap());
    let (mut inbox, open) = watch(EtcdOptions { user, ..options(&etcd.url(0)) });
    inbox.until_hosts(&hosts([A])).await;
    let role = json!({"user": "reader", "role": "reads"});
    etcd.call("auth/user/revoke", &json!({"name": "reader", "role": "reads"})).await;
    open.refresh();
    let (error, before) = inbox.until_error().await;
    assert!(error.starts_with("access denied, ") && before.is_empty(), "{error}, {before:?}");
    put(&etcd, B).await;
    etcd.call("auth/user/grant", &role).await;
    inbox.until_hosts(&hosts([A, B])).await;
}

#[actix::test]
async fn tls_shows_our_certificate() {
    let dir = TestDir::new();
    let ca = TestCa::new(&dir);
    let etcd = Etcd::start_tls(&dir, &ca).await;
    put(&etcd, A).await;
    let identity = Some((ca.client_cert.clone(), ca.client_key.clone()));
    let tls = TlsFiles { ca: Some(ca.ca.clone()), identity };
    let (mut inbox, _open) = watch(EtcdOptions { tls, ..options(&etcd.secure_url()) });
    inbox.until_hosts(&hosts([A])).await;
    put(&etcd, B).await;
    inbox.until_hosts(&hosts([A, B])).await;
    let (mut stranger, _stranger_open) = watch(options(&etcd.secure_url()));
    let (error, _) = stranger.until_error().await;
    assert!(error.contains("unknown authority"), "{error}");
}

#[actix::test]
async fn definitions_come_from_keys() {
    let dir = TestDir::new();
    let mut etcd = Etcd::start(&dir, 1).await;
    let mut inbox = Inbox::new();
    let definitions = EtcdDefinitions::new(Client::new(options(&etcd.url(0))), "/proxy/services").unwrap();
    let _open = definitions.open(inbox.recipient.clone());
    let error = inbox.until_no_texts().await;
    assert!(error.contains("there is no key that begins with /proxy/services/ in etcd"), "{error}");
    etcd.put("/proxy/services2/x", "no").await;
    etcd.put("/proxy/services/folder/", "").await;
    etcd.put("/proxy/services/web", "{\"type\":\"static\"}").await;
    let (seen, _) = inbox.until_texts([("web", "{\"type\":\"static\"}")]).await;
    assert_eq!(&*seen.result.unwrap()["web"].origin, "etcd key /proxy/services/web");
    etcd.put("/proxy/services/api", "{}").await;
    etcd.put("/proxy/services/web", "{}").await;
    inbox.until_texts([("api", "{}"), ("web", "{}")]).await;
    etcd.put("/proxy/services/folder/", "").await;
    etcd.delete("/proxy/services/web").await;
    inbox.until_texts([("api", "{}")]).await;
    etcd.kill(0);
    inbox.until_no_texts().await;
    etcd.start_again(0).await;
    etcd.put("/proxy/services/new", "{}").await;
    inbox.until_texts([("api", "{}"), ("new", "{}")]).await;
}

#[actix::test]
async fn last_definition_can_be_deleted_but_not_lost() {
    let dir = TestDir::new();
    let mut etcd = Etcd::start(&dir, 1).await;
    let mut inbox = Inbox::new();
    let definitions = EtcdDefinitions::new(Client::new(options(&etcd.url(0))), "/services").unwrap();
    let open = definitions.open(inbox.recipient.clone());
    inbox.until_no_texts().await;
    etcd.put("/services/web", "{}").await;
    inbox.until_texts([("web", "{}")]).await;
    etcd.delete("/services/web").await;
    inbox.until_texts([]).await;
    open.refresh();
    inbox.until_texts([]).await;
    for _ in 0..10 {
        etcd.put("/services/web", "{}").await;
    }
    inbox.until_texts([("web", "{}")]).await;
    etcd.kill(0);
    etcd.start_empty(0).await;
    inbox.until_keys_are_missing().await;
}

#[actix::test]
async fn burst_of_changes_is_complete() {
    let dir = TestDir::new();
    let etcd = Etcd::start(&dir, 1).await;
    let (mut inbox, _open) = watch(options(&etcd.url(0)));
    assert_eq!(level(&inbox.next().await), Ok(hosts([])));
    let names: Vec<String> = (0..300).map(|number| format!("10.1.{}.{}:80", number / 200, number % 200 + 1)).collect();
    for name in &names {
        etcd.put(&format!("/services/web/{name}"), name).await;
    }
    let all = names.iter().map(|name| (name.clone(), Some(name.clone()))).collect();
    inbox.until_hosts(&all).await;
}

#[tokio::test]
async fn password_is_in_no_log_status_or_file() {
    let dir = TestDir::new();
    let mut etcd = Etcd::start(&dir, 1).await;
    etcd.put("/services/web/a", "10.0.0.1:80").await;
    etcd.demand_users("/other/", PASSWORD).await;
    let files = dir.subdir("services");
    files.write("web.json", json!({"type": "etcd", "prefix": "/services/web", "port": dir.port()}).to_string());
    let daemon = Daemon::builder(env!("CARGO_BIN_EXE_proxymgr"), &dir)
        .files(files.path())
        .set("etcd.servers", json!(etcd.url(0)))
        .set("log.level", json!("trace"))
        .env("PROXYMGR_ETCD__AUTH", &format!("reader:{PASSWORD}"))
        .start();
    daemon.assert_secret_is_hidden(PASSWORD, "permission denied").await;
}
