//! Real DNS answers: errors, empty answers, delays, truncation, aliases.

#[path = "discovery/mod.rs"]
mod discovery;
#[path = "support/mod.rs"]
mod support;

use std::time::{Duration, Instant};

use discovery::inbox::{Inbox, hosts, level};
use discovery::kinds::{open, sources, spec};
use proxymgr::discovery::dns::DnsOptions;
use proxymgr_actors::message::HostsSeen;
use proxymgr_actors::model::Host;
use proxymgr_actors::port::OpenSource;
use serde_json::{Value, json};
use support::dir::TestDir;
use support::knot::Knot;

const A: (&str, Option<&str>) = ("10.0.0.1:80", Some("10.0.0.1:80"));
const B: (&str, Option<&str>) = ("10.0.0.2:80", Some("10.0.0.2:80"));

/// Watches these backends; `more` are further keys of the definition.
fn watch(knot: &Knot, backends: Value, more: Value) -> (Inbox<HostsSeen>, Box<dyn OpenSource>) {
    let mut settings = json!({"backends": backends, "servers": [knot.address().to_string()], "interval": "100ms"});
    settings.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let inbox = Inbox::new();
    let source = open(&sources().0, &spec("dns", settings), &inbox).unwrap();
    (inbox, source)
}

fn web() -> Value {
    json!([{"name": "web.test", "port": 80}])
}

/// Returns the good hosts of a message.
fn good(seen: &HostsSeen) -> Vec<Host> {
    seen.result.as_ref().unwrap().iter().filter_map(|entry| entry.host().map(|host| Host::clone(host))).collect()
}

#[actix::test]
async fn missing_name_is_an_empty_list_missing_server_an_error() {
    let dir = TestDir::new();
    let mut knot = Knot::start(&dir).await;
    knot.add("web 0 A 10.0.0.1");
    let (mut inbox, _source) = watch(&knot, web(), json!({}));
    inbox.until_hosts(&hosts([A])).await;
    // First the name has only another record: NOERROR without an answer. Then the name does not exist: NXDOMAIN.
    knot.replace(&["web 0 TXT nothing"]);
    inbox.until_hosts(&hosts([])).await;
    knot.replace(&["web 0 A 10.0.0.2"]);
    inbox.until_hosts(&hosts([B])).await;
    knot.replace(&[]);
    inbox.until_hosts(&hosts([])).await;
    knot.replace(&["web 0 A 10.0.0.1"]);
    inbox.until_hosts(&hosts([A])).await;
    knot.kill();
    let (error, before) = inbox.until_error().await;
    assert!(before.is_empty(), "{before:?}");
    assert!(error.contains("web.test") && error.contains(&knot.address().to_string()), "{error}");
    knot.replace(&["web 0 A 10.0.0.2"]);
    knot.run().await;
    inbox.until_hosts(&hosts([B])).await;
}

#[actix::test]
async fn servfail_and_refused_are_errors() {
    let dir = TestDir::new();
    let knot = Knot::start(&dir).await;
    knot.expire_frail();
    for (name, reason) in [("web.frail", "SERVFAIL"), ("web.elsewhere", "REFUSED")] {
        let (mut inbox, _source) = watch(&knot, json!([{"name": name, "port": 80}]), json!({}));
        let error = inbox.next().await.result.unwrap_err();
        assert!(error.contains(name) && error.contains(reason), "{error}");
    }
}

#[actix::test]
async fn failing_name_keeps_its_hosts_and_delays_no_other() {
    let dir = TestDir::new();
    let mut knot = Knot::start(&dir).await;
    knot.add("web 0 A 10.0.0.1");
    let backends = json!([{"name": "web.test", "port": 80}, {"name": "web.frail", "port": 80}]);
    let (mut inbox, _source) = watch(&knot, backends, json!({}));
    inbox.until_hosts(&hosts([A, ("10.0.0.8:80", Some("10.0.0.8:80"))])).await;
    knot.expire_frail();
    // An entry without a host keeps its last good host. The earlier answer without IPv6 addresses is kept, too.
    let kept = |host| hosts([host, ("10.0.0.8:80", None), ("web.frail AAAA", None)]);
    let seen = inbox.until_hosts(&kept(A)).await;
    let entry = seen.result.unwrap().into_iter().find(|entry| &*entry.key == "10.0.0.8:80").unwrap();
    let reason = format!("web.frail cannot be looked up: {} answers SERVFAIL", knot.address());
    assert_eq!(entry.record.unwrap_err(), reason);
    knot.replace(&["web 0 A 10.0.0.2"]);
    inbox.until_hosts(&kept(B)).await;
}

#[actix::test]
async fn reopened_source_has_the_last_known_hosts() {
    let dir = TestDir::new();
    let mut knot = Knot::start(&dir).await;
    knot.add("web 0 A 10.0.0.1");
    let (frail, web) = (json!({"name": "web.frail", "port": 80}), json!({"name": "web.test", "port": 80}));
    let servers = [knot.address().to_string()];
    let of = |backends: Value| spec("dns", json!({"backends": backends, "servers": servers, "interval": "100ms"}));
    let sources = sources().0;
    let mut before = Inbox::new();
    let source = open(&sources, &of(json!([frail])), &before).unwrap();
    before.until_hosts(&hosts([("10.0.0.8:80", Some("10.0.0.8:80"))])).await;
    knot.expire_frail();
    before.until_error().await;
    let mut after = Inbox::new();
    let _after = open(&sources, &of(json!([frail, web])), &after).unwrap();
    drop(source);
    let seen = after.next().await;
    assert_eq!(level(&seen), Ok(hosts([A, ("10.0.0.8:80", None), ("web.frail AAAA", None)])));
}

#[actix::test]
async fn services_have_ports_weights_and_backups() {
    let dir = TestDir::new();
    let mut knot = Knot::start(&dir).await;
    let addresses = ["h1 0 A 10.0.0.1", "h2 0 A 10.0.0.2", "h2 0 AAAA 2001:db8::2", "h3 0 A 10.0.0.3"];
    let service = ["_http._tcp 0 SRV 10 3 81 h1", "_http._tcp 0 SRV 10 1 82 h2", "_http._tcp 0 SRV 20 1 83 h3"];
    knot.replace(&[&addresses[..], &service].concat());
    let (mut inbox, _source) = watch(&knot, json!([{"srv": "_http._tcp.test"}]), json!({}));
    let seen = inbox.next().await;
    let shown = |seen: &HostsSeen| {
        let host = |host: Host| format!("{} {} {}", host.endpoint, host.weight.unwrap_or_default(), host.backup);
        Vec::from_iter(good(seen).into_iter().map(host))
    };
    let expected = ["10.0.0.1:81 3 false", "10.0.0.2:82 1 false", "10.0.0.3:83 1 true", "[2001:db8::2]:82 1 false"];
    assert_eq!(shown(&seen), expected);
    // The servers of the first priority are removed: the next priority is used.
    knot.replace(&[&addresses[..], &service[2..]].concat());
    inbox.until("one host".into(), |seen| shown(seen) == ["10.0.0.3:83 1 false"]).await;
    // An alias of the service, a target that does not exist, and a record that the service is not available.
    knot.replace(
        &[
            &addresses[..],
            &["_http._tcp 0 CNAME _web._tcp", "_web._tcp 0 SRV 1 0 81 h1", "_web._tcp 0 SRV 1 0 82 none"],
        ]
        .concat(),
    );
    inbox.until("an alias is followed".into(), |seen| shown(seen) == ["10.0.0.1:81 0 false"]).await;
    knot.replace(&["_http._tcp 0 SRV 0 0 0 ."]);
    inbox.until_hosts(&hosts([])).await;
}

#[actix::test]
async fn service_keeps_hosts_of_failing_targets() {
    let dir = TestDir::new();
    let mut knot = Knot::start(&dir).await;
    knot.replace(&["h1 0 A 10.0.0.1", "_http._tcp 0 SRV 1 1 80 h1", "_http._tcp 0 SRV 1 1 80 web.frail."]);
    let (mut inbox, _source) = watch(&knot, json!([{"srv": "_http._tcp.test"}]), json!({"family": "ipv4"}));
    inbox.until("both".into(), |seen| good(seen).len() == 2).await;
    knot.expire_frail();
    let kept = hosts([("10.0.0.1:80", Some("10.0.0.1:80 weight 1")), ("10.0.0.8:80", None)]);
    inbox.until_hosts(&kept).await;
    knot.freeze();
    inbox.until_error().await;
}

#[actix::test]
async fn answers_are_used_for_their_ttl_within_bounds() {
    let dir = TestDir::new();
    let mut knot = Knot::start(&dir).await;
    // Within the bounds, shorter than the shortest interval, and longer than the longest.
    for (ttl, interval, interval_max, expected_ms) in
        [(2, "100ms", 60, 2_000), (0, "2s", 60, 2_000), (3_600, "100ms", 2, 2_000)]
    {
        knot.replace(&[&format!("web {ttl} A 10.0.0.1")]);
        let options = DnsOptions {
            servers: vec![knot.address()],
            interval_max: Duration::from_secs(interval_max),
            ..DnsOptions::default()
        };
        let mut inbox = Inbox::new();
        let definition = json!({"backends": web(), "interval": interval, "family": "ipv4"});
        let begun = Instant::now();
        let _source = open(&sources().0.with_dns(options), &spec("dns", definition), &inbox).unwrap();
        inbox.until_hosts(&hosts([A])).await;
        knot.replace(&[&format!("web {ttl} A 10.0.0.2")]);
        inbox.until_hosts(&hosts([B])).await;
        let looked_again = begun.elapsed().as_millis();
        assert!(looked_again >= expected_ms, "ttl {ttl}, {interval} to {interval_max} s: after {looked_again} ms");
    }
}

#[actix::test]
async fn long_answers_are_read_by_tcp() {
    let dir = TestDir::new();
    let mut knot = Knot::start(&dir).await;
    let records = Vec::from_iter((1..=250).map(|host| format!("web 0 A 10.0.1.{host}")));
    knot.replace(&Vec::from_iter(records.iter().map(String::as_str)));
    let (mut inbox, _source) = watch(&knot, web(), json!({}));
    let seen = inbox.next().await;
    assert_eq!(good(&seen).len(), 250);
    assert!(good(&seen).is_sorted_by_key(|host| host.endpoint.to_string()), "sorted by endpoint");
}

#[actix::test]
async fn failing_server_leads_to_the_next() {
    let dir = TestDir::new();
    let mut knot = Knot::start(&dir).await;
    knot.add("web 0 A 10.0.0.1");
    let refusing = Knot::start(&dir.subdir("refusing")).await;
    refusing.expire_frail();
    let (nobody, good) = (format!("127.0.0.1:{}", dir.port()), knot.address().to_string());
    let backends = json!([{"name": "web.frail", "port": 80}]);
    for servers in [[&nobody, &good], [&refusing.address().to_string(), &good]] {
        let (mut inbox, _source) = watch(&knot, backends.clone(), json!({"servers": servers, "family": "ipv4"}));
        assert_eq!(level(&inbox.next().await), Ok(hosts([("10.0.0.8:80", Some("10.0.0.8:80"))])));
    }
}

#[actix::test]
async fn aliases_families_and_addresses_are_looked_up() {
    let dir = TestDir::new();
    let mut knot = Knot::start(&dir).await;
    knot.replace(&[
        "web 0 CNAME a",
        "a 0 CNAME b",
        "b 0 A 10.0.0.1",
        "b 0 AAAA 2001:db8::1",
        "loop 0 CNAME loop2",
        "loop2 0 CNAME loop",
    ]);
    let six = ("[2001:db8::1]:80", Some("[2001:db8::1]:80"));
    for (family, expected) in [("ipv4", hosts([A])), ("ipv6", hosts([six])), ("any", hosts([A, six]))] {
        let (mut inbox, _source) = watch(&knot, web(), json!({"family": family}));
        assert_eq!(level(&inbox.next().await), Ok(expected));
    }
    let (mut inbox, _source) = watch(&knot, json!([{"name": "10.0.0.2", "port": 80}]), json!({}));
    assert_eq!(level(&inbox.next().await), Ok(hosts([B])));
    let (mut inbox, _source) = watch(&knot, json!([{"name": "loop.test", "port": 80}]), json!({}));
    assert!(inbox.next().await.result.unwrap_err().contains("loop.test cannot be looked up"));
}
