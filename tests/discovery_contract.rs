//! The contract of every source of hosts. A new kind takes part by one line at the end.

#[path = "discovery/mod.rs"]
mod discovery;
#[path = "support/mod.rs"]
mod support;

#[path = "discovery/answers.rs"]
mod answers;

use std::time::Duration;

#[cfg(feature = "aws")]
use discovery::aws_kind::AutoScaling;
use discovery::dns_kind::DnsName;
use discovery::inbox::{Hosts, Inbox, hosts, level};
use discovery::kinds::{FlatFile, InData, InName, Instances, Keys, Kind, open, sources, spec};
use discovery::marathon_kind::MarathonApp;
use proxymgr_actors::message::HostsSeen;
use proxymgr_actors::port::OpenSource;
use serde_json::json;
use support::dir::TestDir;

const A: &str = "10.0.0.1:80";
const B: &str = "10.0.0.2:80";
const C: &str = "10.0.0.3:80";

fn list<K: Kind>(entries: &[(&str, &str)]) -> Hosts {
    entries.iter().map(|(endpoint, host)| (K::key(endpoint), Some((*host).to_owned()))).collect()
}

/// Returns a host as it is reported: with its weight, if its kind has weights.
fn weighing<K: Kind>(endpoint: &str, weight: u16) -> String {
    if K::HAS_WEIGHTS { format!("{endpoint} weight {weight}") } else { endpoint.to_owned() }
}

/// A source of this kind that has reported its first list: A and B.
struct Opened<K> {
    kind: K,
    inbox: Inbox<HostsSeen>,
    source: Box<dyn OpenSource>,
    _dir: TestDir,
}

async fn opened<K: Kind>() -> Opened<K> {
    let dir = TestDir::new();
    let mut kind = K::start(&dir).await;
    kind.put(A, None).await;
    kind.put(B, None).await;
    let mut inbox = Inbox::new();
    let source = open(&kind.sources(), &kind.spec(), &inbox).unwrap();
    inbox.until_hosts(&list::<K>(&[(A, A), (B, B)])).await;
    Opened { kind, inbox, source, _dir: dir }
}

async fn the_first_list_is_whole<K: Kind>() {
    let dir = TestDir::new();
    let mut kind = K::start(&dir).await;
    kind.put(A, Some(7)).await;
    kind.put(B, None).await;
    let mut inbox = Inbox::new();
    let _source = open(&kind.sources(), &kind.spec(), &inbox).unwrap();
    let expected = list::<K>(&[(A, &weighing::<K>(A, 7)), (B, B)]);
    assert_eq!(level(&inbox.next().await), Ok(expected), "the very first message");
}

async fn an_empty_list_is_a_list<K: Kind>() {
    let dir = TestDir::new();
    let kind = K::start(&dir).await;
    let mut inbox = Inbox::new();
    let _source = open(&kind.sources(), &kind.spec(), &inbox).unwrap();
    assert_eq!(level(&inbox.next().await), Ok(Hosts::new()));
}

async fn additions_changes_and_removals_are_told<K: Kind>() {
    let mut it = opened::<K>().await;
    it.kind.put(C, None).await;
    it.inbox.until_hosts(&list::<K>(&[(A, A), (B, B), (C, C)])).await;
    if K::HAS_WEIGHTS {
        it.kind.put(C, Some(9)).await;
        it.inbox.until_hosts(&list::<K>(&[(A, A), (B, B), (C, "10.0.0.3:80 weight 9")])).await;
        it.kind.put(C, Some(0)).await;
        it.inbox.until_hosts(&list::<K>(&[(A, A), (B, B), (C, "10.0.0.3:80 weight 0")])).await;
    }
    it.kind.remove(A).await;
    it.inbox.until_hosts(&list::<K>(&[(B, B), (C, &weighing::<K>(C, 0))])).await;
    it.kind.remove(C).await;
    it.inbox.until_hosts(&list::<K>(&[(B, B)])).await;
    it.kind.put(A, None).await;
    it.inbox.until_hosts(&list::<K>(&[(A, A), (B, B)])).await;
    it.kind.remove(A).await;
    it.kind.remove(B).await;
    it.inbox.until_hosts(&hosts([])).await;
}

async fn invalid_entry_affects_no_other<K: Kind>() {
    let mut it = opened::<K>().await;
    it.kind.put_bad().await;
    let mut with_bad = list::<K>(&[(A, A), (B, B)]);
    with_bad.insert(K::bad_key().to_owned(), None);
    let seen = it.inbox.until_hosts(&with_bad).await;
    let entry = seen.result.unwrap().into_iter().find(|entry| entry.record.is_err()).unwrap();
    let error = entry.record.unwrap_err();
    assert!(error.contains("web"), "the error names the file or znode: {error}");
    it.kind.put(C, None).await;
    with_bad.insert(K::key(C), Some(C.to_owned()));
    it.inbox.until_hosts(&with_bad).await;
}

async fn unreachable_source_is_an_error_without_lost_changes<K: Kind>() {
    let mut it = opened::<K>().await;
    it.kind.go_away().await;
    let (_, before) = it.inbox.until_error().await;
    assert!(before.is_empty(), "only the error is reported: {before:?}");
    it.kind.remove(A).await;
    it.kind.put(B, Some(3)).await;
    it.kind.put(C, None).await;
    it.kind.come_back().await;
    it.inbox.until_hosts(&list::<K>(&[(B, &weighing::<K>(B, 3)), (C, C)])).await;
    it.kind.remove(C).await;
    it.inbox.until_hosts(&list::<K>(&[(B, &weighing::<K>(B, 3))])).await;
}

async fn being_away_is_told_once<K: Kind>() {
    let mut it = opened::<K>().await;
    it.kind.go_away().await;
    it.inbox.until_error().await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let more = it.inbox.waiting();
    assert!(more.is_empty(), "reported again: {more:?}");
}

async fn source_returns_unchanged<K: Kind>() {
    let mut it = opened::<K>().await;
    it.kind.go_away().await;
    it.inbox.until_error().await;
    it.kind.come_back().await;
    it.inbox.until_hosts(&list::<K>(&[(A, A), (B, B)])).await;
}

async fn source_may_become_reachable_later<K: Kind>() {
    let dir = TestDir::new();
    let mut kind = K::start(&dir).await;
    kind.put(A, None).await;
    kind.go_away().await;
    let mut inbox = Inbox::new();
    let _source = open(&kind.sources(), &kind.spec(), &inbox).unwrap();
    assert!(inbox.next().await.result.is_err());
    kind.come_back().await;
    inbox.until_hosts(&list::<K>(&[(A, A)])).await;
}

async fn a_refresh_tells_the_list_again<K: Kind>() {
    let mut it = opened::<K>().await;
    for _ in 0..3 {
        it.source.refresh();
        assert_eq!(level(&it.inbox.next().await), Ok(list::<K>(&[(A, A), (B, B)])));
    }
    it.kind.remove(A).await;
    it.inbox.until_hosts(&list::<K>(&[(B, B)])).await;
}

async fn a_dropped_source_is_silent<K: Kind>() {
    let mut it = opened::<K>().await;
    drop(it.source);
    let mut other = Inbox::new();
    let _other_source = open(&it.kind.sources(), &it.kind.spec(), &other).unwrap();
    other.next().await;
    it.kind.put(C, None).await;
    other.until_hosts(&list::<K>(&[(A, A), (B, B), (C, C)])).await;
    let more = it.inbox.waiting();
    assert!(more.is_empty(), "reported after the end: {more:?}");
}

macro_rules! contract {
    ($($(#[$when:meta])? $module:ident: $kind:ident),*; $scenarios:tt) => {
        $($(#[$when])? contract!(@ $module $kind $scenarios);)*
    };
    (@ $module:ident $kind:ident { $($scenario:ident)* }) => {
        mod $module {
            $(#[actix::test] async fn $scenario() { super::$scenario::<super::$kind>().await; })*
        }
    };
}

contract!(#[cfg(feature = "aws")] aws: AutoScaling, zookeeper: InData, campanjazk: InName, consul: Instances, dns: DnsName, etcd: Keys, file: FlatFile,
    marathon: MarathonApp; {
    the_first_list_is_whole
    an_empty_list_is_a_list
    additions_changes_and_removals_are_told
    invalid_entry_affects_no_other
    unreachable_source_is_an_error_without_lost_changes
    being_away_is_told_once
    source_returns_unchanged
    source_may_become_reachable_later
    a_refresh_tells_the_list_again
    a_dropped_source_is_silent
});

mod over_http {
    use super::answers::*;
    use super::*;

    contract!(consul: Instances, etcd: Keys, marathon: MarathonApp; {
        answer_cut_anywhere_is_an_error
        answer_without_length_cut_anywhere_is_an_error
        change_in_a_cut_answer_is_not_lost
        change_in_a_stalled_answer_is_not_lost
        slow_answer_is_an_error
        answer_from_the_past_is_not_taken
        reported_changes_are_not_missed
        answer_of_something_else_is_an_error
    });

    // Marathon is polled besides.
    mod confirmed {
        use super::*;

        contract!(etcd: Keys; { confirmation_finds_a_lost_event });
    }

    // A blocking query of Consul has no events.
    mod with_events {
        use super::*;

        contract!(etcd: Keys, marathon: MarathonApp; {
            lost_event_is_found_by_a_refresh
            event_twice_changes_nothing
        });
    }
}

// ZooKeeper numbers its answers, and a session never sees older data than before.
mod over_tcp {
    use super::answers::*;
    use super::*;

    contract!(zookeeper: InData, campanjazk: InName; {
        connection_cut_anywhere_shortens_no_list
    });
}

#[actix::test]
async fn static_hosts_are_reported_at_once_and_on_refresh() {
    let mut inbox = Inbox::new();
    let spec =
        spec("static", json!({"hosts": ["10.0.0.1:80", {"address": "::1", "port": 81, "weight": 5}, {"port": 1}]}));
    let source = open(&sources().0, &spec, &inbox).unwrap();
    let expected = hosts([("10.0.0.1:80", Some(A)), ("[::1]:81", Some("[::1]:81 weight 5")), ("hosts[2]", None)]);
    assert_eq!(level(&inbox.next().await), Ok(expected.clone()));
    source.refresh();
    assert_eq!(level(&inbox.next().await), Ok(expected));
}

#[actix::test]
async fn invalid_spec_is_refused_with_its_key() {
    let inbox = Inbox::new();
    let (sources, ensembles) = sources();
    for (kind, settings, key) in [
        ("zookeper", json!({}), "type"),
        ("eureka", json!({}), "type"),
        ("zookeeper", json!({"path": "/x"}), "server"),
        ("zookeeper", json!({"server": "h:0", "path": "/x"}), "server"),
        ("zookeeper", json!({"server": "h"}), "path"),
        ("zookeeper", json!({"server": "h", "path": "x"}), "path"),
        ("campanjazk", json!({"server": "h", "path": "/x", "remote_port": 0}), "remote_port"),
        ("consul", json!({}), "service"),
        ("consul", json!({"service": "web", "server": "consul:8500"}), "server"),
        ("consul", json!({"service": "web", "passing": "no"}), "passing"),
        ("consul", json!({"service": "web", "tags": 7}), "tags"),
        ("aws", json!({}), if cfg!(feature = "aws") { "groups" } else { "type" }),
        ("etcd", json!({}), "prefix"),
        ("etcd", json!({"prefix": "/"}), "prefix"),
        ("etcd", json!({"prefix": "/x", "server": "http://u:secret@h"}), "server"),
        ("file", json!({"path": 7}), "path"),
        ("file", json!({"path": "/"}), "path"),
        ("marathon", json!({"app": ["/x"]}), "app"),
        ("marathon", json!({"app": "x", "port_index": 0, "port_name": "a"}), "port_name"),
        ("mesos", json!({"masters": ["m1:5050"]}), "masters"),
        ("static", json!({"hosts": "10.0.0.1:80"}), "hosts"),
    ] {
        let error = open(&sources, &spec(kind, settings), &inbox).err().expect(key);
        assert!(error.starts_with(&format!("{key:?}")), "{error}");
        assert!(!error.contains("secret"), "{error}");
        assert_eq!(error.contains("did you mean \"zookeeper\"?"), kind == "zookeper", "{error}");
    }
    for kind in proxymgr::discovery::kind_names() {
        let error = open(&sources, &spec(kind, json!({})), &inbox).err().expect("required keys are missing");
        assert!(!error.contains("not a kind of source"), "{error}");
    }
    assert_eq!(ensembles.open_count(), 0, "a refused spec opens no session");
}
