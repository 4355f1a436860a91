//! DNS servers that answer unhelpfully: without a TTL, with a part of the hosts, with other hosts each time.

#[path = "discovery/mod.rs"]
mod discovery;
#[path = "support/mod.rs"]
mod support;

use std::cell::Cell;
use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use discovery::inbox::{Inbox, hosts};
use discovery::kinds::{open, sources, spec};
use hickory_resolver::proto::rr::rdata::{A, SRV};
use hickory_resolver::proto::rr::{Name, RData, RecordType};
use proxymgr_actors::message::HostsSeen;
use proxymgr_actors::port::OpenSource;
use serde_json::{Value, json};
use support::consul::Consul;
use support::dir::TestDir;
use support::dnsmasq::Dnsmasq;
use support::name_server::{NameServer, Transport};

/// Watches these backends with an interval of 100 ms.
fn watch(server: SocketAddr, backends: Value) -> (Inbox<HostsSeen>, Box<dyn OpenSource>) {
    let definition =
        json!({"backends": backends, "servers": [server.to_string()], "interval": "100ms", "family": "ipv4"});
    let inbox = Inbox::new();
    let source = open(&sources().0, &spec("dns", definition), &inbox).unwrap();
    (inbox, source)
}

fn address(host: u8) -> RData {
    RData::A(A(Ipv4Addr::new(10, 0, 0, host)))
}

/// The addresses of the good hosts, and the keys of the bad entries.
fn good_and_bad(seen: &HostsSeen) -> (BTreeSet<String>, Vec<String>) {
    let entries = seen.result.as_ref().expect("a list");
    let good = entries.iter().filter_map(|entry| entry.host().map(|host| host.endpoint.to_string()));
    let bad = entries.iter().filter(|entry| entry.record.is_err()).map(|entry| entry.key.to_string());
    (good.collect(), bad.collect())
}

/// A server that answers with three of `count` hosts by UDP, other ones each time, and with all of them by TCP.
async fn cutting(dir: &TestDir, has_tcp: bool, count: &Rc<Cell<u8>>) -> NameServer {
    let (count, mut turn) = (count.clone(), 0_u16);
    NameServer::start(dir, has_tcp, move |transport, _, kind| {
        let count = count.get();
        let all = 1..=count;
        if kind != RecordType::A {
            return Vec::new();
        }
        if transport == Transport::Tcp || count <= 3 {
            return all.map(address).collect();
        }
        turn += 1;
        (0..3).map(|at| address(u8::try_from((turn * 7 + at * 5) % u16::from(count) + 1).unwrap())).collect()
    })
    .await
}

#[actix::test]
async fn missing_name_without_soa_is_looked_up_after_interval() {
    let dir = TestDir::new();
    let mut dnsmasq = Dnsmasq::start(&dir);
    let (mut inbox, _source) = watch(dnsmasq.address(), json!([{"name": "web.test", "port": 80}]));
    inbox.until_hosts(&hosts([])).await;
    dnsmasq.replace("10.0.0.1 web.test\n");
    inbox.until_hosts(&hosts([("10.0.0.1:80", Some("10.0.0.1:80"))])).await;
}

#[actix::test]
async fn all_instances_of_consul_are_found() {
    let dir = TestDir::new();
    let consul = Consul::start(&dir).await;
    for host in 1..=60 {
        let more = json!({"Address": format!("10.0.0.{host}")});
        consul.register("web", &format!("web-{host}"), more, &[]).await;
    }
    let (mut inbox, _source) = watch(consul.dns_address(), json!([{"srv": "web.service.consul"}]));
    let seen = inbox.next().await;
    assert_eq!(good_and_bad(&seen).0.len(), 60);
    tokio::time::sleep(Duration::from_millis(1_000)).await;
    assert!(inbox.waiting().is_empty(), "the list does not change");
}

#[actix::test]
async fn cut_answer_is_completed_by_tcp() {
    let dir = TestDir::new();
    let count = Rc::new(Cell::new(3));
    let server = cutting(&dir, true, &count).await;
    let (mut inbox, _source) = watch(server.address(), json!([{"name": "web.test", "port": 80}]));
    assert_eq!(good_and_bad(&inbox.next().await).0.len(), 3);
    // From here on the server cuts its answers.
    count.set(60);
    assert_eq!(good_and_bad(&inbox.next().await).0.len(), 60);
    tokio::time::sleep(Duration::from_millis(1_000)).await;
    assert!(inbox.waiting().is_empty(), "the list does not change");
    count.set(59);
    assert_eq!(good_and_bad(&inbox.next().await).0.len(), 59);
}

#[actix::test]
async fn cut_srv_answer_is_completed_by_tcp() {
    let dir = TestDir::new();
    let mut turn = 0_u16;
    let server = NameServer::start(&dir, true, move |transport, name, kind| match kind {
        RecordType::SRV => {
            turn += 1;
            let target = |host: u16| {
                let target = Name::from_ascii(format!("h{host}.test.")).unwrap();
                RData::SRV(SRV::new(1, 1, 80, target))
            };
            let some = [turn % 40 + 1, (turn + 13) % 40 + 1];
            if transport == Transport::Tcp { (1..=40).map(target).collect() } else { some.map(target).to_vec() }
        }
        RecordType::A => name.trim_matches(|c: char| !c.is_ascii_digit()).parse().map(address).into_iter().collect(),
        _ => Vec::new(),
    })
    .await;
    let (mut inbox, _source) = watch(server.address(), json!([{"srv": "_http._tcp.web.test"}]));
    assert_eq!(good_and_bad(&inbox.next().await).0.len(), 40);
}

#[actix::test]
async fn rotating_answers_are_reported_and_united() {
    let dir = TestDir::new();
    let count = Rc::new(Cell::new(12));
    let server = cutting(&dir, false, &count).await;
    let (mut inbox, _source) = watch(server.address(), json!([{"name": "web.test", "port": 80}]));
    let is_united = |seen: &HostsSeen| {
        let (good, bad) = good_and_bad(seen);
        good.len() == 12 && bad == ["web.test A"]
    };
    let (seen, _) = inbox.until("all hosts and a report".into(), is_united).await;
    let report = seen.result.unwrap().into_iter().find_map(|entry| entry.record.err()).unwrap();
    assert!(report.starts_with("its answers rotate: an answer had 3 of at least "), "{report}");
    tokio::time::sleep(Duration::from_millis(1_000)).await;
    assert!(inbox.waiting().is_empty(), "the list does not change");
    // From here on the server answers with the same hosts each time.
    count.set(3);
    let are_three = |seen: &HostsSeen| good_and_bad(seen) == (BTreeSet::from([1, 2, 3].map(endpoint)), Vec::new());
    inbox.until("the three hosts, and no report".into(), are_three).await;
}

fn endpoint(host: u8) -> String {
    format!("10.0.0.{host}:80")
}

#[actix::test]
async fn server_that_does_not_answer_is_named() {
    let dir = TestDir::new();
    let nobody = SocketAddr::from((Ipv4Addr::LOCALHOST, dir.port()));
    let (mut inbox, _source) = watch(nobody, json!([{"name": "web.test", "port": 80}]));
    let (error, _) = inbox.until_error().await;
    assert!(error.contains(&format!("{nobody} does not answer")), "{error}");
    assert!(!error.contains("os error"), "{error}");
}
