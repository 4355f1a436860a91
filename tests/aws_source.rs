//! Auto Scaling groups from moto, and from a server that refuses requests.
#![cfg(feature = "aws")]

#[path = "discovery/mod.rs"]
mod discovery;
#[path = "support/mod.rs"]
mod support;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use discovery::aws_kind::asking;
use discovery::inbox::{Hosts, Inbox, level};
use discovery::kinds::{open, spec};
use proxymgr_actors::message::HostsSeen;
use proxymgr_actors::port::OpenSource;
use serde_json::{Value, json};
use support::daemon::Daemon;
use support::dir::TestDir;
use support::eventually::{check, eventually};
use support::http;
use support::moto::{Moto, REGION, SECRET};
use support::scripted_server::{Reply, ScriptedServer};

fn watch(url: String, settings: Value) -> (Inbox<HostsSeen>, Box<dyn OpenSource>) {
    let inbox = Inbox::new();
    let source = open(&asking(url), &spec("aws", settings), &inbox).unwrap();
    (inbox, source)
}

fn at<const N: usize>(instances: [(&str, &str); N]) -> Hosts {
    instances.into_iter().map(|(id, endpoint)| (id.to_owned(), Some(endpoint.to_owned()))).collect()
}

#[actix::test]
async fn healthy_instances_of_all_groups_are_hosts() {
    let dir = TestDir::new();
    let moto = Moto::start(&dir).await;
    for group in ["web-a", "web-b", "other"] {
        moto.create_group(group).await;
    }
    let mut ids = Vec::new();
    for (group, address) in [("web-a", "10.0.0.1"), ("web-a", "10.0.0.2"), ("web-b", "10.0.0.3"), ("other", "10.0.0.4")]
    {
        let id = moto.run(address).await;
        moto.attach(group, &id).await;
        ids.push(id);
    }
    let [a, b, c] = [&*ids[0], &*ids[1], &*ids[2]];
    let settings = json!({"groups": ["web-b", "web-a"], "remote_port": 8080, "region": REGION});
    let (mut inbox, _source) = watch(moto.url(), settings);
    let all = [(a, "10.0.0.1:8080"), (b, "10.0.0.2:8080"), (c, "10.0.0.3:8080")];
    assert_eq!(level(&inbox.next().await), Ok(at(all)), "the very first message");
    moto.set_healthy(a, false).await;
    inbox.until_hosts(&at([all[1], all[2]])).await;
    moto.set_healthy(a, true).await;
    inbox.until_hosts(&at(all)).await;
    moto.stand_by("web-a", b).await;
    inbox.until_hosts(&at([all[0], all[2]])).await;
    // moto's group replaces it at once.
    moto.terminate(c).await;
    let is_gone = |seen: &HostsSeen| level(seen).is_ok_and(|seen| seen.contains_key(a) && !seen.contains_key(c));
    inbox.until("the terminated instance is removed".to_owned(), is_gone).await;
}

#[actix::test]
async fn missing_group_is_an_error() {
    let dir = TestDir::new();
    let moto = Moto::start(&dir).await;
    moto.create_group("web-a").await;
    let (mut inbox, _source) = watch(moto.url(), json!({"groups": ["web-a", "web-b"], "remote_port": 80}));
    let (error, before) = inbox.until_error().await;
    assert!(error.contains("web-b") && error.contains("eu-west-1"), "{error}");
    assert!(before.is_empty(), "{before:?}");
    moto.create_group("web-b").await;
    inbox.until_hosts(&Hosts::new()).await;
}

#[actix::test]
async fn definition_chooses_the_kind_of_address() {
    let dir = TestDir::new();
    let moto = Moto::start(&dir).await;
    moto.create_group("web").await;
    let four = moto.run("10.0.0.1").await;
    let six = moto.run_with_ipv6("2001:db8::17").await;
    moto.attach("web", &four).await;
    moto.attach("web", &six).await;
    let public = format!("{}:80", moto.public_address(&four).await);
    let (mut inbox, _source) = watch(moto.url(), json!({"groups": "web", "remote_port": 80, "address": "public"}));
    let mut expected = at([(&four, &public)]);
    expected.insert(six.clone(), None);
    inbox.until_hosts(&expected).await;
    let (mut inbox, _source) = watch(moto.url(), json!({"groups": "web", "remote_port": 80, "family": "ipv6"}));
    let mut expected = at([(&six, "[2001:db8::17]:80")]);
    expected.insert(four.clone(), None);
    let seen = inbox.until_hosts(&expected).await;
    let error = seen.result.unwrap().into_iter().find_map(|seen| seen.record.err()).unwrap();
    assert!(error.contains(&format!("{four} of group web")), "{error}");
}

#[actix::test]
async fn groups_and_instances_are_read_in_pages() {
    let dir = TestDir::new();
    let moto = Moto::start(&dir).await;
    let groups: Vec<String> = (0..55).map(|number| format!("web-{number}")).collect();
    for group in &groups {
        moto.create_group(group).await;
    }
    // More than one page of reservations; the instances belong to the last group.
    for number in 1..=105 {
        let id = moto.run(&format!("10.0.1.{number}")).await;
        moto.attach("web-54", &id).await;
    }
    let first = moto.run("10.0.0.1").await;
    moto.attach("web-0", &first).await;
    let (mut inbox, _source) = watch(moto.url(), json!({"groups": groups, "remote_port": 80}));
    let seen = level(&inbox.next().await).unwrap();
    let endpoints: BTreeSet<String> = seen.into_values().flatten().collect();
    let expected = (1..=105).map(|number| format!("10.0.1.{number}:80")).chain(["10.0.0.1:80".to_owned()]);
    assert_eq!(endpoints, expected.collect());
}

#[actix::test]
async fn rejected_credentials_keep_the_hosts() {
    let dir = TestDir::new();
    let moto = Moto::start(&dir).await;
    moto.create_group("web").await;
    let a = moto.run("10.0.0.1").await;
    moto.attach("web", &a).await;
    let (mut inbox, _source) = watch(moto.url(), json!({"groups": "web", "remote_port": 80}));
    inbox.until_hosts(&at([(&a, "10.0.0.1:80")])).await;
    moto.demand_credentials(true).await;
    let (error, before) = inbox.until_error().await;
    assert!(before.is_empty(), "{before:?}");
    assert!(error.contains("status 403"), "{error}");
    assert!(!error.contains(SECRET) && !error.contains("AKIA"), "{error}");
    moto.demand_credentials(false).await;
    inbox.until_hosts(&at([(&a, "10.0.0.1:80")])).await;
}

#[actix::test]
async fn throttling_slows_the_polling() {
    let refusal = "<ErrorResponse xmlns=\"http://autoscaling.amazonaws.com/doc/2011-01-01/\"><Error><Type>Sender</Type>\
                   <Code>Throttling</Code><Message>Rate exceeded</Message></Error></ErrorResponse>";
    let script = move |_: &str| Reply::Send("400 Bad Request", "content-type: text/xml\r\n".into(), refusal.into());
    let server = ScriptedServer::start(script).await;
    let dir = TestDir::new();
    // For the credentials.
    let _moto = Moto::start(&dir).await;
    let begun = Instant::now();
    let (mut inbox, _source) = watch(server.url(), json!({"groups": "web", "remote_port": 80}));
    let (error, _) = inbox.until_error().await;
    assert!(error.contains("Throttling"), "{error}");
    // Pauses of 1, 2 and 4 s, or down to half of each.
    let count = || server.heads().len();
    eventually(Duration::from_secs(20), "a fourth request", async || check(count() >= 4, &count())).await;
    assert!(begun.elapsed() >= Duration::from_millis(3_500), "{:?}", begun.elapsed());
    assert!(inbox.waiting().is_empty(), "the same refusal is reported once");
}

#[tokio::test]
async fn daemon_serves_a_group_without_showing_credentials() {
    let dir = TestDir::new();
    let moto = Moto::start(&dir).await;
    moto.create_group("web").await;
    let id = moto.run("127.0.0.1").await;
    moto.attach("web", &id).await;
    let files = dir.subdir("services");
    let definition = json!({"type": "aws", "groups": ["web"], "remote_port": 9, "port": dir.port()});
    files.write("web.json", definition.to_string());
    let daemon = Daemon::builder(env!("CARGO_BIN_EXE_proxymgr"), &dir)
        .files(files.path())
        .set("aws", json!({"region": REGION, "endpoint": moto.url(), "interval": "1s"}))
        .set("log.level", json!("trace"))
        .env("AWS_ACCESS_KEY_ID", "AKIATESTTESTTESTTEST")
        .env("AWS_SECRET_ACCESS_KEY", SECRET)
        .start();
    let status = daemon.status_address();
    let limit = Duration::from_secs(20);
    let shown = async |text: &str| {
        let path = if text.contains(':') { "/api/v1/services/web/servers" } else { "/api/v1/status" };
        let answer = http::get(status, path).await.map_err(|error| error.to_string())?.text();
        check(answer.contains(text), &answer).map(|()| answer)
    };
    daemon.eventually(limit, "the instance is a server", async || shown("127.0.0.1:9").await).await;
    moto.demand_credentials(true).await;
    let answer = daemon.eventually(limit, "the refusal is shown", async || shown("check the credentials").await).await;
    assert!(!answer.contains(SECRET), "{answer}");
    assert!(!daemon.log().contains(SECRET), "{}", daemon.log());
}
