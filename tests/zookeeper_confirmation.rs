//! Confirmations of hosts in ZooKeeper: they find what watches did not report, and only that.

#[path = "discovery/mod.rs"]
mod discovery;
#[path = "support/mod.rs"]
mod support;

use discovery::inbox::{Hosts, Inbox, hosts, level};
use discovery::kinds::{open, sources, spec};
use serde_json::json;
use support::dir::TestDir;
use support::znodes;
use support::zookeeper::Ensemble;
use zookeeper::{Acl, AuthId, Permission};

/// ZooKeeper since 3.8.4 (CVE-2024-23944) checks the ACL when a watch fires: without the right to read, the event is
/// dropped and the watch is spent.
#[actix::test]
async fn confirmation_finds_a_change_whose_event_was_dropped() {
    let dir = TestDir::new();
    let ensemble = Ensemble::start(&dir, 1).await;
    let client = ensemble.client().await;
    client.auth("digest", b"operator:secret").await.unwrap();
    let znode = "/services/web/a";
    znodes::put(&client, znode, &json!({"address": "10.0.0.1", "port": 80})).await;
    let (sources, _) = sources();
    let mut inbox = Inbox::new();
    let settings = json!({"server": ensemble.connect_string(), "path": "/services/web"});
    let source = open(&sources, &spec("zookeeper", settings), &inbox).unwrap();
    inbox.until_hosts(&hosts([("a", Some("10.0.0.1:80"))])).await;

    client.set_acl(znode, &[Acl::new(Permission::ALL, AuthId::authed())], None).await.unwrap();
    znodes::put(&client, znode, &json!({"address": "10.0.0.2", "port": 80})).await;
    client.set_acl(znode, &[Acl::new(Permission::ALL, AuthId::anyone())], None).await.unwrap();
    // The event of a later change comes after all earlier ones.
    znodes::put(&client, "/services/web/b", &json!({"address": "10.0.0.3", "port": 80})).await;
    let stale = inbox.until_hosts(&hosts([("a", Some("10.0.0.1:80")), ("b", Some("10.0.0.3:80"))])).await;
    assert!(!stale.missed);
    assert!(inbox.waiting().is_empty());

    source.confirm();
    let found = inbox.next().await;
    assert_eq!(level(&found), Ok(hosts([("a", Some("10.0.0.2:80")), ("b", Some("10.0.0.3:80"))])));
    assert!(found.missed);
    source.confirm();
    assert!(!inbox.next().await.missed, "an unchanged list is confirmed");
    znodes::put(&client, znode, &json!({"address": "10.0.0.4", "port": 80})).await;
    inbox.until_hosts(&hosts([("a", Some("10.0.0.4:80")), ("b", Some("10.0.0.3:80"))])).await;
}

#[actix::test]
async fn changes_that_watches_report_are_not_missed() {
    let dir = TestDir::new();
    let ensemble = Ensemble::start(&dir, 1).await;
    let client = ensemble.client().await;
    let (sources, _) = sources();
    let mut inbox = Inbox::new();
    let mut expected = Hosts::new();
    znodes::put_bytes(&client, "/services/web", b"").await;
    let settings = json!({"server": ensemble.connect_string(), "path": "/services/web"});
    let source = open(&sources, &spec("zookeeper", settings), &inbox).unwrap();
    for round in 0..100 {
        let (host, address) = (format!("host-{}", round % 7), format!("10.0.0.{round}"));
        source.confirm();
        znodes::put(&client, &format!("/services/web/{host}"), &json!({"address": address, "port": 80})).await;
        expected.insert(host, Some(format!("{address}:80")));
        if round % 3 == 0 {
            source.confirm();
        }
    }
    let (last, before) = {
        let list = Ok(expected.clone());
        inbox.until(format!("the hosts are {expected:?}"), move |seen| level(seen) == list).await
    };
    assert_eq!(before.iter().chain([&last]).filter(|seen| seen.missed).count(), 0);
}
