//! A ZooKeeper transaction is reported as one change, whatever it deletes: in two parts it would pass the guard as two
//! small changes.

#[path = "discovery/mod.rs"]
mod discovery;
#[path = "support/mod.rs"]
mod support;

use std::collections::BTreeMap;

use discovery::inbox::{Hosts, Inbox, level, texts};
use discovery::kinds::{open, sources_with, spec};
use proxymgr::discovery::zookeeper::{ZookeeperDefinitions, ZookeeperOptions};
use proxymgr_actors::message::{DefinitionsSeen, HostsSeen};
use proxymgr_actors::port::DefinitionSource;
use serde_json::json;
use support::dir::TestDir;
use support::znodes;
use support::zookeeper::Ensemble;
use zookeeper::{Acls, Client, CreateMode};

/// Number of rounds in which a transaction's events often enough arrive in a packet after that of its list.
const ROUNDS: usize = 24;

/// Deletes and creates znodes below `path` in one transaction.
async fn transaction(client: &Client, path: &str, deleted: &[String], created: &[String], data: &str) {
    let options = CreateMode::Persistent.with_acls(Acls::anyone_all());
    let mut writer = client.new_multi_writer();
    for name in deleted {
        writer.add_delete(&format!("{path}/{name}"), None).unwrap();
    }
    for name in created {
        writer.add_create(&format!("{path}/{name}"), data.as_bytes(), &options).unwrap();
    }
    writer.commit().await.unwrap();
}

fn named(numbers: impl IntoIterator<Item = usize>) -> Vec<String> {
    numbers.into_iter().map(|number| format!("child-{number}")).collect()
}

/// Alternates: two of three znodes are deleted; then the third is replaced by three others.
fn rounds() -> impl Iterator<Item = (Vec<String>, Vec<String>)> {
    (0..ROUNDS).flat_map(|round| {
        let first = 3 * round;
        [(named(first..first + 2), Vec::new()), (named(first + 2..first + 3), named(first + 3..first + 6))]
    })
}

async fn hosts_change_as_a_whole(size: usize) {
    let dir = TestDir::new();
    let ensemble = Ensemble::start(&dir, size).await;
    let client = ensemble.client().await;
    let data = json!({"address": "10.0.0.1", "port": 80}).to_string();
    znodes::put_bytes(&client, "/services/web", b"").await;
    transaction(&client, "/services/web", &[], &named(0..3), &data).await;
    let (sources, _) = sources_with(ZookeeperOptions::default());
    let mut inbox = Inbox::<HostsSeen>::new();
    let settings = json!({"server": ensemble.connect_string(), "path": "/services/web"});
    let _source = open(&sources, &spec("zookeeper", settings), &inbox).unwrap();
    let host = |name: String| (name, Some("10.0.0.1:80".to_owned()));
    let mut expected: Hosts = named(0..3).into_iter().map(host).collect();
    assert_eq!(level(&inbox.next().await), Ok(expected.clone()));
    for (deleted, created) in rounds() {
        transaction(&client, "/services/web", &deleted, &created, &data).await;
        expected.retain(|name, _| !deleted.contains(name));
        expected.extend(created.into_iter().map(host));
        assert_eq!(level(&inbox.next().await), Ok(expected.clone()));
    }
}

#[actix::test]
async fn hosts_of_a_transaction_change_as_a_whole() {
    hosts_change_as_a_whole(1).await;
}

#[actix::test]
async fn transaction_in_a_quorum_changes_hosts_as_a_whole() {
    hosts_change_as_a_whole(3).await;
}

#[actix::test]
async fn definitions_of_a_transaction_change_as_a_whole() {
    let dir = TestDir::new();
    let ensemble = Ensemble::start(&dir, 1).await;
    let client = ensemble.client().await;
    znodes::put_bytes(&client, "/service_config", b"").await;
    transaction(&client, "/service_config", &[], &named(0..3), "{}").await;
    let (_, ensembles) = sources_with(ZookeeperOptions::default());
    let connect = ensemble.connect_string().parse().unwrap();
    let definitions = ZookeeperDefinitions::new(ensembles, connect, "/service_config").unwrap();
    let mut reader = Inbox::<DefinitionsSeen>::new();
    let _source = definitions.open(reader.recipient.clone());
    let text = |name: String| (name, "{}".to_owned());
    let mut expected: BTreeMap<String, String> = named(0..3).into_iter().map(text).collect();
    assert_eq!(texts(&reader.next().await), Ok(expected.clone()));
    for (deleted, created) in rounds() {
        transaction(&client, "/service_config", &deleted, &created, "{}").await;
        expected.retain(|name, _| !deleted.contains(name));
        expected.extend(created.into_iter().map(text));
        assert_eq!(texts(&reader.next().await), Ok(expected.clone()));
    }
}

#[actix::test]
async fn child_that_is_deleted_and_created_again_is_read_again() {
    let dir = TestDir::new();
    let ensemble = Ensemble::start(&dir, 1).await;
    let client = ensemble.client().await;
    let data = |port: usize| json!({"address": "10.0.0.1", "port": port}).to_string();
    znodes::put_bytes(&client, "/services/web/child-0", data(1).as_bytes()).await;
    let (sources, _) = sources_with(ZookeeperOptions::default());
    let mut inbox = Inbox::<HostsSeen>::new();
    let settings = json!({"server": ensemble.connect_string(), "path": "/services/web"});
    let _source = open(&sources, &spec("zookeeper", settings), &inbox).unwrap();
    for port in 1..=ROUNDS {
        let expected = Hosts::from([("child-0".to_owned(), Some(format!("10.0.0.1:{port}")))]);
        let fits = Ok(expected.clone());
        inbox.until(format!("{expected:?}"), move |seen| level(seen) == fits).await;
        let again = data(port + 1);
        transaction(&client, "/services/web", &named(0..1), &named(0..1), &again).await;
    }
}
