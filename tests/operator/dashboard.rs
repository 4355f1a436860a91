//! Checks that every metric of config/grafana/proxymgr.json exists.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::metrics::scrape;
use crate::stage::{LIMIT, Stage, ready};
use crate::support::tls::TestCa;

const DASHBOARD: &str = include_str!("../../config/grafana/proxymgr.json");

/// Collects all queries of the dashboard.
fn queries(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                match value {
                    Value::String(text) if ["expr", "query", "definition"].contains(&key.as_str()) => {
                        found.push(text.clone());
                    }
                    _ => queries(value, found),
                }
            }
        }
        Value::Array(list) => list.iter().for_each(|value| queries(value, found)),
        _ => {}
    }
}

/// Returns the names of metrics in a query.
fn names(query: &str) -> impl Iterator<Item = String> {
    let words = query.split(|char: char| !char.is_ascii_alphanumeric() && char != '_');
    words.filter(|word| word.starts_with("proxymgr_") || word.starts_with("process_")).map(ToOwned::to_owned)
}

#[tokio::test]
async fn dashboard_metrics_exist() {
    let dashboard: Value = serde_json::from_str(DASHBOARD).unwrap();
    let mut found = Vec::new();
    queries(&dashboard, &mut found);
    let used: BTreeSet<String> = found.iter().flat_map(|query| names(query)).collect();
    assert!(used.len() > 30, "the dashboard uses {used:?} only");
    // With a runtime change, so that there is a last change, with annotations that are unreadable, and a certificate.
    let stage = Stage::new(&["10.0.0.1", "10.0.0.2"]);
    let pair = std::fs::read_to_string(TestCa::new(&stage.dir).server).unwrap();
    stage.dir.write("certs/shop.pem", pair);
    let nobody = format!("127.0.0.1:{}", stage.dir.port());
    let daemon = stage
        .builder()
        .set("haproxy.certificates", json!(stage.dir.join("certs")))
        .set("annotations.path", json!("/annotations"))
        .set("annotations.servers", json!(nobody))
        .start();
    ready(&daemon).await;
    stage.web(&["10.0.0.1"]);
    daemon
        .eventually(LIMIT, "every metric of the dashboard exists", async || {
            let text = scrape(daemon.status_address()).await;
            let samples = text.lines().filter(|line| !line.starts_with('#'));
            let exported: BTreeSet<&str> = samples.filter_map(|line| line.split(['{', ' ']).next()).collect();
            let missing: Vec<_> = used.iter().filter(|name| !exported.contains(name.as_str())).collect();
            if missing.is_empty() { Ok(()) } else { Err(format!("{missing:?}")) }
        })
        .await;
}

#[test]
fn panels_are_placed_and_described() {
    let dashboard: Value = serde_json::from_str(DASHBOARD).unwrap();
    let mut taken = BTreeSet::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        let place = |key: &str| panel["gridPos"][key].as_u64().unwrap();
        for (x, y) in (0..place("w")).flat_map(|x| (0..place("h")).map(move |y| (x, y))) {
            assert!(taken.insert((place("x") + x, place("y") + y)), "{} overlaps another", panel["title"]);
        }
        assert!(place("x") + place("w") <= 24);
        assert!(panel["type"] == "row" || panel["description"].as_str().is_some_and(|text| !text.is_empty()));
    }
}
