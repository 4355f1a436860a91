//! Services on standard output.

use serde_json::{Value, json};

use crate::support::backend::Backend;
use crate::support::dir::TestDir;
use crate::support::eventually::check;
use crate::{LIMIT, daemon, define};

#[tokio::test]
async fn changes_are_printed_as_objects() {
    let dir = TestDir::new();
    let backend = Backend::start(&dir, "a");
    let builder = daemon(&dir, json!([{"type": "stdout", "format": "json"}]));
    let port = dir.port();
    define(&dir, "web", port, &["web.example"], &[&backend]);
    let daemon = builder.start();
    let objects = || -> Vec<Value> {
        daemon.log().lines().filter_map(|line| serde_json::from_str(line).ok()).filter(Value::is_object).collect()
    };
    let printed = async || {
        let last = objects().pop().unwrap_or_default();
        check(last["services"][0]["hosts"][0]["endpoint"] == backend.address().to_string(), &last)
    };
    daemon.eventually(LIMIT, "the service is printed with its host", printed).await;
    define(&dir, "web", port, &["web.example"], &[]);
    let printed = async || {
        let last = objects().pop().unwrap_or_default();
        check(last["services"][0]["hosts"] == json!([]) && last["services"][0]["port"] == port, &last)
    };
    daemon.eventually(LIMIT, "the change is printed", printed).await;
    assert_eq!(objects().len(), 2, "nothing is printed twice");
}

#[tokio::test]
async fn path_prefix_is_printed() {
    let dir = TestDir::new();
    let builder = daemon(&dir, json!([{"type": "stdout", "format": "text"}]));
    let port = dir.port();
    // In the format of proxym.
    let service = json!({
        "Id": "api", "Hosts": [], "ServicePort": port, "ApplicationProtocol": "http", "Domains": ["a.example"],
        "ProxyPath": "/api",
    });
    dir.write("services/api.json", service.to_string());
    let any = json!({"type": "static", "hosts": [], "port": port, "default": true});
    dir.write("services/any.json", any.to_string());
    let daemon = builder.start();
    let printed = async || {
        let log = daemon.log();
        let is_printed = |end: String| log.lines().any(|line| line.ends_with(&end));
        check(is_printed(format!(" {port} a.example/api")) && is_printed(format!(" {port} *")), &log)
    };
    daemon.eventually(LIMIT, "both are printed with their domains and paths", printed).await;
}
