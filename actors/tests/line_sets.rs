//! Tests of the sets of lines that backends derive from.

mod support;

use std::collections::BTreeMap;
use std::sync::Arc;

use proxymgr_actors::decide::base::{BaseLayout, BoundBase, ServiceTexts};
use proxymgr_actors::decide::haproxy_config::{SectionStyle, section, section_header};
use proxymgr_actors::decide::line_sets::{self, LineSet};
use proxymgr_actors::decide::loaded_config::{line_sets_in, parse_sections};
use proxymgr_actors::decide::option_policy::OptionPolicy;
use proxymgr_actors::decide::server_ids::ServerIds;
use proxymgr_actors::decide::service_definition;
use proxymgr_actors::model::{
    Descriptors, HostList, ProxyManagement, ProxyVersion, RawDefinition, ServiceDefinition, ServiceName,
};

fn layout(text: &str) -> Arc<BaseLayout> {
    support::layout(text, ProxyManagement::Supervised)
}

const PLAIN: &str = "defaults\n    mode http\n    timeout connect 5s\n";

fn style_of(layout: &BaseLayout, minor: u16) -> SectionStyle {
    SectionStyle::of(layout, Some(ProxyVersion { major: 3, minor }))
}

fn style(base: &str) -> SectionStyle {
    style_of(&layout(base), 4)
}

fn define(service: &str, keys: &str) -> Arc<ServiceDefinition> {
    let raw = RawDefinition::new(format!(r#"{{"type": "static"{keys}}}"#), "a test");
    Arc::new(service_definition::parse(service, &raw, &OptionPolicy::default()).unwrap().definition)
}

fn with_lines(service: &str, lines: &[&str]) -> Arc<ServiceDefinition> {
    define(service, &format!(r#", "listen_options": {lines:?}"#))
}

fn set(service: &str, lines: &[&str]) -> Option<LineSet> {
    line_sets::of(&with_lines(service, lines), style(PLAIN))
}

#[test]
fn equal_lines_are_one_set() {
    let [web, api] = ["web", "api"].map(|name| set(name, &["timeout server 9s", "balance leastconn"]).unwrap());
    assert_eq!(web, api);
    assert_eq!(
        *web.text,
        format!(
            "defaults {} from proxymgr:defaults\n    timeout server 9s\n    balance leastconn\n    \
                 default-server hash-key addr-port\n\n",
            web.name
        )
    );
    assert_ne!(web.name, set("web", &["timeout server 8s", "balance leastconn"]).unwrap().name);
}

#[test]
fn other_lines_stay_in_their_section() {
    for line in [
        "stick-table type ip size 1k",
        "http-request track-sc0 src",
        "stats enable",
        "http-request deny if { nbsrv(web) lt 1 }",
        "http-request capture req.hdr(host) len 10",
    ] {
        assert_eq!(set("web", &[line]), None, "{line}");
    }
    assert!(line_sets::of(&define("web", r#", "port": 80"#), style(PLAIN)).is_none(), "it has a listener");
    assert!(line_sets::of(&define("web", r#", "port": 80, "domains": ["a.example"]"#), style(PLAIN)).is_some());
}

#[test]
fn earlier_versions_have_no_sets() {
    let layout = layout(PLAIN);
    assert!(line_sets::of(&define("web", ""), style_of(&layout, 2)).is_none());
    assert!(line_sets::of(&define("web", ""), SectionStyle::of(&layout, None)).is_none());
}

#[test]
fn defaults_within_conditionals_are_not_copied() {
    let conditional = "defaults http\n    mode http\n.if defined(DEBUG)\ndefaults\n    mode tcp\n.endif\n";
    assert!(line_sets::of(&define("web", ""), style(conditional)).is_none());
    let named = line_sets::of(&define("web", r#", "defaults": "http""#), style(conditional)).unwrap();
    assert!(named.text.contains(" from http\n"), "{}", named.text);
}

#[test]
fn sections_are_the_same_with_and_without_sets() {
    let layout = layout(PLAIN);
    let style = style_of(&layout, 4);
    let definitions = [with_lines("web", &["timeout server 9s"]), with_lines("tab", &["stick-table type ip size 1k"])];
    let none = Descriptors::new();
    let text = |definition: &Arc<ServiceDefinition>| {
        section(definition, &none, &HostList::new(), &ServerIds::default(), style)
    };
    let sections: BTreeMap<&ServiceName, Arc<str>> =
        definitions.iter().map(|definition| (&definition.name, text(definition))).collect();
    let line_sets = line_sets::of_all(definitions.iter().map(|definition| &**definition), style);
    assert_eq!(line_sets.len(), 1);
    let texts = ServiceTexts { sections, frontends: Vec::new(), line_sets: line_sets.clone(), have_guids: true };
    let file = BoundBase::new(layout, none.clone()).pieces(&texts).concat();
    assert_eq!(line_sets_in(&file), line_sets, "{file}");
    assert!(file.contains("defaults proxymgr:defaults\n"), "{file}");
    let loaded = parse_sections(&file);
    for definition in &definitions {
        assert_eq!(loaded[&definition.name].header, *section_header(definition, style), "{file}");
    }
    let derive: Vec<bool> = definitions.iter().map(|definition| loaded[&definition.name].derives).collect();
    assert_eq!(derive, [true, false]);
}
