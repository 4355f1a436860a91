//! The API against its documentation, over a real connection.

mod documented;
mod events;
mod fixture;
mod mistaken;
mod schema;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use hyper::Request;
use hyper::header::AUTHORIZATION;
use proxymgr_actors::clock::Clock;
use serde_json::{Value, json};

use self::fixture::{Fixture, TOKEN};
use crate::http::Transport;
use crate::status::access::{Access, TokenSource};
use crate::status::annotations;
use crate::status::certificate_report::CertificateReport;
use crate::status::certificate_report::tests::shop;
use crate::status::client::{DaemonAddress, StatusClient, url_of};
use crate::status::listener::{StatusListener, bind};
use crate::status::part;
use crate::status::restarts::Restarts;
use crate::status::view::Identity;
use crate::token::Token;

fn listen() -> StatusListener {
    let clock = Clock::starting_at(100_000);
    let certificates = CertificateReport::default();
    certificates.set(&shop("CN=Shop", "the key is missing"), &["unreadable".into()], 1_000);
    let (restarts, ordered) = Restarts::possible(Duration::from_secs(5));
    // Orders are accepted as long as there is a receiver.
    std::mem::forget(ordered);
    let identity = Identity {
        version: "0.1.0",
        commit: "abc",
        config_path: "/x".into(),
        started_at_unix_ms: 5_000,
        clock,
        listening: Arc::default(),
        dropped_records: Arc::default(),
        log_levels: Arc::default(),
        certificates: Arc::new(certificates),
        restarts,
    };
    let access = Access { token: TokenSource::Given(Token::new(TOKEN).unwrap()), ..Access::default() };
    let mut parts = part::own();
    parts.push(annotations::part(Arc::new(Fixture)));
    let socket = bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).unwrap();
    StatusListener::start(socket, access, identity, Arc::new(Fixture), parts).unwrap()
}

fn client(listener: &StatusListener, token: Option<&str>) -> StatusClient {
    let token = token.map(|token| Token::new(token).unwrap());
    let url = url_of(listener.tcp_address().unwrap(), false);
    StatusClient::new(DaemonAddress { url, token, ..DaemonAddress::default() }).unwrap()
}

/// Sends a request; the status, the content type and the body of the answer.
async fn send(listener: &StatusListener, method: &str, path: &str, body: &str) -> (u16, String, Value) {
    let url = format!("{}{path}", url_of(listener.tcp_address().unwrap(), false));
    let request = Request::builder().method(method).uri(url).header(AUTHORIZATION, format!("Bearer {TOKEN}"));
    let mut response = Transport::new(None).send(request.body(body.into()).unwrap()).await.unwrap();
    let kind = response.headers().get("content-type").map_or("", |kind| kind.to_str().unwrap()).to_owned();
    let body = response.read(usize::MAX).await.unwrap();
    let body = serde_json::from_slice(&body).unwrap_or_else(|_| panic!("{method} {path}: {body:?}"));
    (response.status().as_u16(), kind, body)
}

#[actix::test]
async fn service_shows_its_state() {
    let listener = listen();
    let web: Value = client(&listener, None).get("/api/v1/services/web").await.unwrap();
    assert_eq!(web["servers"], json!({"ready": 1, "down": 0, "drain": 0, "maint": 2}));
    assert_eq!(web["hosts"], 2);
    assert_eq!(web["source"]["state"], "held");
    assert_eq!(web["held"]["removes"]["count"], 2);
    assert_eq!(web["problems"], json!(["change blocked by guard: all 2 hosts are gone"]));
    assert_eq!(web["last_change"]["took_us"], 430);
    let api: Value = client(&listener, None).get("/api/v1/services/api").await.unwrap();
    assert_eq!(api["source"]["state"], "away");
    assert_eq!(api["hosts"], Value::Null);
    let error = client(&listener, None).get::<Value>("/api/v1/services/none").await.unwrap_err().to_string();
    assert!(error.contains("no service none") && error.contains("/api/v1/services"), "{error}");
    listener.stop().await;
}

#[actix::test]
async fn definitions_and_annotations_come_first() {
    let listener = listen();
    let answer: Value = client(&listener, None).get("/api/v1/sources").await.unwrap();
    let sources = answer["sources"].as_array().unwrap();
    let states = sources.iter().map(|source| json!([source["service"], source["kind"], source["state"]]));
    let expected = [
        json!([null, null, "held"]),
        json!([null, "annotations", "away"]),
        json!(["api", "zookeeper", "away"]),
        json!(["web", "file", "held"]),
    ];
    assert_eq!(Vec::from_iter(states), expected);
    assert_eq!(sources[1]["error"], "connection refused");
    listener.stop().await;
}

#[actix::test]
async fn server_has_history() {
    let listener = listen();
    let server: Value = client(&listener, None).get("/api/v1/servers/web/10.0.0.2:80").await.unwrap();
    assert_eq!(server["state"], "maint");
    assert_eq!(server["operator"]["reason"], "a new kernel");
    let events: Vec<&str> = server["story"][0]["entries"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| entry["event"]["event"].as_str().unwrap())
        .collect();
    assert_eq!(events, ["hosts_changed", "decided", "commanded", "applied"]);
    assert_eq!(server["story"][0]["took_us"], 430);
    let gone: Value = client(&listener, None).get("/api/v1/servers/web/10.0.0.9:80").await.unwrap();
    assert_eq!((&gone["address"], &gone["wanted"]), (&Value::Null, &Value::Null), "only HAProxy has it");
    listener.stop().await;
}

#[actix::test]
async fn journal_has_filters_and_cursor() {
    let listener = listen();
    let asked = "/api/v1/journal?service=web&server=a&event=decided&since=10s&after=5&limit=99999999";
    let answer: Value = client(&listener, None).get(asked).await.unwrap();
    let problem = answer["entries"][0]["event"]["problem"].as_str().unwrap();
    for part in [
        "service: Some(\"web\")",
        "server: Some(\"a\")",
        "event: Some(\"decided\")",
        "since_unix_ms: Some(90",
        "after: Some(5)",
        "limit: Some(10000)",
    ] {
        assert!(problem.contains(part), "{part} in {problem}");
    }
    assert_eq!(answer["next_after"], 9);
    listener.stop().await;
}

#[actix::test]
async fn plan_has_reasons() {
    let listener = listen();
    let plan: Value = client(&listener, None).get("/api/v1/plan").await.unwrap();
    assert_eq!(plan["is_empty"], false);
    assert_eq!(plan["steps"][0]["commands"], json!(["set server web/a state maint"]));
    assert_eq!(plan["steps"][0]["class"], "runtime-disable");
    assert_eq!(plan["reload"][0]["service"], "api");
    assert_eq!(plan["reload"][0]["reason"], "the service is new");
    listener.stop().await;
}

#[actix::test]
async fn configuration_hides_passwords() {
    let listener = listen();
    let config: Value = client(&listener, None).get("/api/v1/config").await.unwrap();
    assert_eq!(config["text"], "global\n    stats auth (not shown)\nlisten web\n    mode http\n");
    let diff: Value = client(&listener, None).get("/api/v1/config/diff").await.unwrap();
    let text = diff.to_string();
    assert!(!text.contains("pass") && !text.contains("word"), "{text}");
    assert_eq!(diff["is_same"], false);
    assert_eq!(diff["differences"][0]["section"], "base configuration");
    assert_eq!(diff["differences"][1]["lines"][0], json!({"mark": "-", "text": "listen web"}));
    listener.stop().await;
}

#[actix::test]
async fn orders_reach_the_actors() {
    let listener = listen();
    for (path, body, order) in [
        ("/refresh", "", "Refresh { service: None }"),
        ("/refresh/web", "{}", "Refresh { service: Some(\"web\") }"),
        ("/reload", r#"{"reason": "a look"}"#, "Reload { reason: Some(\"a look\") }"),
        ("/reload", r#"{"reason": " "}"#, "Reload { reason: None }"),
        ("/holds/accept", "", "Accept { service: None }"),
        ("/holds/reject", "", "Reject { service: None }"),
        ("/holds/web/accept", "", "Accept { service: Some(\"web\") }"),
        ("/holds/accept/reject", "", "Reject { service: Some(\"accept\") }"),
        ("/services/web/servers/a/ready", "", "state: Ready, for_ms: None, reason: None"),
        (
            "/services/web/servers/10.0.0.1:80/drain",
            r#"{"duration": "30m", "reason": "a disk", "force": true}"#,
            "server: \"10.0.0.1:80\", state: Drain, for_ms: Some(1800000), reason: Some(\"a disk\")",
        ),
        ("/services/web/servers/a/maint", r#"{"duration": "1h 30s"}"#, "state: Maint, for_ms: Some(3630000)"),
    ] {
        let (status, _, answer) = send(&listener, "POST", &format!("/api/v1{path}"), body).await;
        assert_eq!(status, 200, "{path}: {answer}");
        assert!(answer["done"].as_str().unwrap().contains(order), "{path}: {answer}");
    }
    listener.stop().await;
}

#[actix::test]
async fn refused_order_has_status_and_reason() {
    let listener = listen();
    for (path, status, why) in [
        ("/refresh/unknown", 404, "there is no service unknown"),
        ("/services/web/servers/unknown/drain", 404, "has no server unknown"),
        ("/holds/api/accept", 409, "no change of api is blocked by the guard"),
        ("/services/web/servers/busy/drain", 503, "not now"),
    ] {
        let (answered, kind, answer) = send(&listener, "POST", &format!("/api/v1{path}"), "").await;
        assert_eq!((answered, kind.as_str()), (status, "application/problem+json"), "{path}: {answer}");
        assert!(answer["detail"].as_str().unwrap().contains(why), "{path}: {answer}");
    }
    let error = client(&listener, None).post::<Value>("/api/v1/reload", &json!({})).await.unwrap_err().to_string();
    assert!(error.contains("a token is missing"), "{error}");
    let done: Value = client(&listener, Some(TOKEN)).post("/api/v1/reload", &json!({})).await.unwrap();
    assert!(done["done"].as_str().is_some());
    listener.stop().await;
}
