//! `aws`: one Auto Scaling group, from moto.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::Duration;

use proxymgr::discovery::Sources;
use proxymgr::discovery::aws::AwsOptions;
use proxymgr_actors::model::SourceSpec;
use serde_json::json;

use super::gate::Gate;
use super::kinds::{Kind, sources, spec};
use crate::support::dir::TestDir;
use crate::support::moto::{Moto, REGION};

/// An address that is invalid for real instances, but that moto accepts.
const BAD: &str = "10.0.0.300:80";

thread_local! {
    /// Ids of the instances, which AWS chooses and which are the keys of their hosts. Each test runs in one thread.
    static IDS: RefCell<BTreeMap<String, String>> = RefCell::default();
}

/// Returns sources that query this server at a short interval.
pub fn asking(url: String) -> Sources {
    let interval = Duration::from_millis(100);
    let options = AwsOptions { region: Some(REGION.into()), endpoint: Some(url), interval, ..AwsOptions::default() };
    sources().0.with_aws(options)
}

/// `aws`, with one group.
pub struct AutoScaling {
    moto: Moto,
    gate: Gate,
}

impl AutoScaling {
    async fn add(&self, endpoint: &str) {
        let known = IDS.with_borrow(|ids| ids.get(endpoint).cloned());
        let id = match known {
            Some(id) => id,
            None => self.moto.run(endpoint.strip_suffix(":80").expect("the port of the definition")).await,
        };
        self.moto.attach("web", &id).await;
        IDS.with_borrow_mut(|ids| ids.insert(endpoint.to_owned(), id));
    }
}

impl Kind for AutoScaling {
    const HAS_WEIGHTS: bool = false;

    async fn start(dir: &TestDir) -> Self {
        let moto = Moto::start(dir).await;
        moto.create_group("web").await;
        let gate = Gate::to(moto.address().port()).await;
        Self { moto, gate }
    }

    fn sources(&self) -> Sources {
        asking(format!("http://{}", self.gate.address()))
    }

    fn spec(&self) -> SourceSpec {
        spec("aws", json!({"groups": ["web"], "remote_port": 80}))
    }

    async fn put(&mut self, endpoint: &str, weight: Option<u16>) {
        // Weights have no effect here, and an instance of the group cannot be attached again.
        if weight.is_none() || IDS.with_borrow(|ids| !ids.contains_key(endpoint)) {
            self.add(endpoint).await;
        }
    }

    async fn put_bad(&mut self) {
        self.add(BAD).await;
    }

    async fn remove(&mut self, endpoint: &str) {
        self.moto.detach("web", &Self::key(endpoint)).await;
    }

    fn key(endpoint: &str) -> String {
        IDS.with_borrow(|ids| ids[endpoint].clone())
    }

    fn bad_key() -> &'static str {
        Self::key(BAD).leak()
    }

    async fn go_away(&mut self) {
        self.gate.shut();
    }

    async fn come_back(&mut self) {
        self.gate.open();
    }
}
