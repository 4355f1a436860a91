//! `dns`: the addresses of a name, from a real server.

use proxymgr_actors::model::SourceSpec;
use serde_json::json;

use super::kinds::{Kind, spec};
use crate::support::dir::TestDir;
use crate::support::knot::Knot;

/// `dns`, with one name.
pub struct DnsName(Knot);

fn record(endpoint: &str) -> String {
    format!("web 0 A {}", endpoint.strip_suffix(":80").expect("the port of the definition"))
}

impl Kind for DnsName {
    const HAS_WEIGHTS: bool = false;

    async fn start(dir: &TestDir) -> Self {
        Self(Knot::start(dir).await)
    }

    fn spec(&self) -> SourceSpec {
        let backends = json!([{"name": "web.test", "port": 80}]);
        spec("dns", json!({"backends": backends, "servers": [self.0.address().to_string()], "interval": "100ms"}))
    }

    async fn put(&mut self, endpoint: &str, _weight: Option<u16>) {
        self.0.add(&record(endpoint));
    }

    async fn put_bad(&mut self) {
        self.0.add("web 0 A 0.0.0.0");
    }

    async fn remove(&mut self, endpoint: &str) {
        self.0.remove(&record(endpoint));
    }

    fn bad_key() -> &'static str {
        "web.test 0.0.0.0"
    }

    async fn go_away(&mut self) {
        self.0.freeze();
    }

    async fn come_back(&mut self) {
        self.0.thaw();
    }
}
