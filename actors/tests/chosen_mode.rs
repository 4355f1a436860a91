//! Tests of `"defaults": "http"` and `"tcp"` in definitions without a base configuration of the operator.

use std::sync::Arc;

use proxymgr_actors::decide::base::{self, BaseLayout};
use proxymgr_actors::decide::haproxy_config::{SectionStyle, default_server_words, section_header};
use proxymgr_actors::decide::line_sets;
use proxymgr_actors::decide::option_policy::OptionPolicy;
use proxymgr_actors::decide::routing::{FrontendKind, shares};
use proxymgr_actors::decide::service_definition;
use proxymgr_actors::model::{
    BaseConfig, BaseFile, ProxyManagement, ProxyVersion, RawDefinition, ServiceDefinition, Word,
};

fn layout(defaults: &[&str], files: &[&str]) -> BaseLayout {
    base::layout(&BaseConfig {
        files: files.iter().map(|text| BaseFile::new("/etc/edge.cfg", *text)).collect(),
        global: Vec::new(),
        defaults: defaults.iter().map(|&line| line.to_owned()).collect(),
        socket_path: "/run/proxymgr.sock".into(),
        map_path: "/run/haproxy.cfg.domains".into(),
        state_file: None,
        management: ProxyManagement::Supervised,
    })
}

fn define(layout: &BaseLayout, keys: &str) -> Arc<ServiceDefinition> {
    let raw = RawDefinition::new(format!(r#"{{"type": "static"{keys}}}"#), "a test");
    layout.applied_to(&Arc::new(service_definition::parse("web", &raw, &OptionPolicy::default()).unwrap().definition))
}

/// Returns the lines of the section after its first two, in HAProxy 2.2 or another version.
fn lines(layout: &BaseLayout, keys: &str, (major, minor): (u16, u16)) -> Vec<String> {
    let style = SectionStyle::of(layout, Some(ProxyVersion { major, minor }));
    let header = section_header(&define(layout, keys), style);
    assert!(header.starts_with("listen web\n"), "it derives from no section: {header}");
    header.lines().skip(2).map(|line| line.trim().to_owned()).collect()
}

#[test]
fn service_gets_the_mode_that_it_chooses() {
    let http = layout(&["mode http", "option httplog"], &[]);
    let tcp = layout(&[], &[]);
    let port = r#", "port": 80"#;
    let choose = |mode: &str| format!(r#"{port}, "defaults": "{mode}""#);
    for version in [(2, 2), (2, 6), (3, 4)] {
        assert_eq!(lines(&tcp, &choose("tcp"), version), lines(&tcp, port, version));
        assert_eq!(lines(&http, &choose("http"), version), lines(&http, port, version));
    }
    assert_eq!(lines(&tcp, &choose("http"), (2, 2)), ["mode http"]);
    assert_eq!(lines(&tcp, &choose("http"), (2, 6)), ["mode http", "option idle-close-on-response"]);
    assert_eq!(lines(&http, &choose("tcp"), (2, 6)), ["mode tcp", "option tcplog"]);
    let own = format!(r#"{}, "listen_options": ["mode http"]"#, choose("tcp"));
    assert_eq!(lines(&tcp, &own, (2, 2)), ["mode http"], "its own line decides");
}

#[test]
fn other_lines_of_defaults_still_apply() {
    let layout = layout(&["default-server inter 3s"], &[]);
    let words = default_server_words(&define(&layout, r#", "port": 80, "defaults": "http""#));
    assert_eq!(words.iter().map(Word::as_str).collect::<Vec<_>>(), ["inter", "3s"]);
}

#[test]
fn shared_frontend_has_the_chosen_mode() {
    let layout = layout(&[], &[]);
    let kind = |mode: &str| {
        shares(&define(&layout, &format!(r#", "port": 443, "domains": ["a.example"], "defaults": "{mode}""#)))
    };
    assert_eq!((kind("tcp"), kind("http")), (Some(FrontendKind::Sni), Some(FrontendKind::Http)));
}

#[test]
fn backends_of_one_mode_are_one_set() {
    let layout = layout(&[], &[]);
    let style = SectionStyle::of(&layout, Some(ProxyVersion { major: 3, minor: 4 }));
    let set = |keys: &str| line_sets::of(&define(&layout, keys), style).expect("it has no listener");
    assert_eq!(set(r#", "defaults": "http""#), set(r#", "listen_options": ["mode http"]"#));
    assert!(set(r#", "defaults": "tcp""#).text.contains(" from proxymgr:defaults\n"));
}

#[test]
fn sections_of_the_operator_keep_their_names() {
    let layout = layout(&[], &["defaults http\n    mode http\n    timeout connect 5s\n"]);
    let style = SectionStyle::of(&layout, Some(ProxyVersion { major: 2, minor: 6 }));
    let header = section_header(&define(&layout, r#", "port": 80, "defaults": "http""#), style);
    assert!(header.starts_with("listen web from http\n"), "{header}");
}
