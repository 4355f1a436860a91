//! Small sections for the tests of this folder.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::candidate::Candidate;
use crate::decide::base::BaseLayout;
use crate::decide::deployment::{BoundSection, ConfigContext, SectionSpec, ServiceSection};
use crate::decide::haproxy_config::SectionStyle;
use crate::decide::option_policy::OptionPolicy;
use crate::decide::service_definition;
use crate::message::SocketsHeld;
use crate::model::{Descriptors, RawDefinition, Routes, ServiceName};

/// Parses a service's name.
pub fn name(text: &str) -> ServiceName {
    ServiceName::new(text).expect("a good name")
}

/// Parses several names.
pub fn names(texts: &[&str]) -> BTreeSet<ServiceName> {
    texts.iter().map(|text| name(text)).collect()
}

/// Creates a service without port and hosts, with these lines. Its operator allows rules that name other sections.
pub fn spec(service: &str, lines: &[&str]) -> SectionSpec {
    let options: Vec<String> = lines.iter().map(|line| format!("{line:?}")).collect();
    let text = format!(r#"{{"type": "static", "listen_options": [{}]}}"#, options.join(", "));
    let raw = RawDefinition::new(&*text, "a test");
    let read = service_definition::parse(service, &raw, &granting()).expect("a good definition");
    SectionSpec { definition: Arc::new(read.definition), hosts: Arc::default(), ids: Default::default() }
}

fn granting() -> OptionPolicy {
    OptionPolicy {
        extra: ["http-request", "http-response", "acl"].map(str::to_owned).to_vec(),
        ..OptionPolicy::default()
    }
}

/// Creates a service that runs unchanged.
pub fn running(service: &str, lines: &[&str]) -> ServiceSection {
    let desired = spec(service, lines);
    let last_good = Some(BoundSection::new(desired.clone(), Some(Descriptors::new())));
    ServiceSection { desired, last_good, earlier_listens: BTreeSet::new(), is_running: true, refused: None }
}

/// Creates a service that does not run yet.
pub fn new(service: &str, lines: &[&str]) -> ServiceSection {
    ServiceSection {
        desired: spec(service, lines),
        last_good: None,
        earlier_listens: BTreeSet::new(),
        is_running: false,
        refused: None,
    }
}

/// Creates a service whose definition changed since it was started.
pub fn changed(service: &str, before: &[&str], lines: &[&str]) -> ServiceSection {
    ServiceSection { desired: spec(service, lines), ..running(service, before) }
}

/// Creates a candidate of these services with this base.
pub fn candidate(base: &str, services: impl IntoIterator<Item = ServiceSection>) -> Candidate {
    let context = ConfigContext {
        base: Arc::new(BaseLayout::of_text(base)),
        style: SectionStyle::default(),
        map_path: "/map".into(),
        previous_routes: Routes::default(),
        descriptors_max: None,
        stapled: Default::default(),
    };
    let named = services.into_iter().map(|service| (service.desired.definition.name.clone(), service));
    Candidate::new(context, named.collect(), SocketsHeld::default())
}
