//! Tests of `match`: conditions of requests beside domain and path.

#![allow(missing_docs)]

use std::path::Path;
use std::sync::Arc;

use proxymgr_actors::decide::frontend::frontends;
use proxymgr_actors::decide::haproxy_config::{SectionStyle, section_header};
use proxymgr_actors::decide::option_policy::OptionPolicy;
use proxymgr_actors::decide::routing::{has_rule, mapped_at, routed_at};
use proxymgr_actors::decide::service_definition::{ParsedDefinition, parse};
use proxymgr_actors::limits::{MATCH_HEADERS_MAX, MATCH_METHODS_MAX, MATCH_SOURCES_MAX};
use proxymgr_actors::model::{Descriptors, Endpoint, Host, HostLabels, RawDefinition, SeenHost, ServiceDefinition};
use serde_json::{Value, json};

fn read(name: &str, keys: &Value) -> Result<ParsedDefinition, Vec<String>> {
    let mut definition = json!({"type": "static", "port": 80});
    definition.as_object_mut().unwrap().extend(keys.as_object().unwrap().clone());
    parse(name, &RawDefinition::new(definition.to_string(), "a test"), &OptionPolicy::default())
}

fn define(name: &str, keys: &Value) -> ServiceDefinition {
    read(name, keys).unwrap_or_else(|mistakes| panic!("{keys}: {mistakes:?}")).definition
}

/// Returns the text of the only shared frontend of these services.
fn frontend(services: &[ServiceDefinition]) -> String {
    let none = Descriptors::new();
    let services = services.iter().map(|service| (service, &none));
    let frontends = frontends(services, SectionStyle::default(), Path::new("/map"));
    frontends.values().next().expect("one shares its port").to_string()
}

#[test]
fn match_and_keys_beside_it_mean_the_same() {
    let beside = define("web", &json!({"domains": ["a.example"], "path_prefix": "/api"}));
    let within = define("web", &json!({"match": {"domains": ["a.example"], "path_prefix": "/api"}}));
    assert_eq!(beside, within);
    let within = define("web", &json!({"match": {"domains": ["a.example"], "path_prefix": "/api", "headers": null}}));
    assert_eq!(beside, within, "null is the same as no value");
    assert!(mapped_at(&within).is_some() && !has_rule(&within), "the map finds it");
    let both = read("web", &json!({"domains": ["a.example"], "match": {"domains": ["a.example"]}})).unwrap_err();
    assert_eq!(both, [r#""match": "domains" is also a key beside it; write it once"#]);
}

#[test]
fn further_conditions_make_a_rule() {
    for conditions in [json!({"headers": {"x": "1"}}), json!({"methods": ["GET"]}), json!({"sources": ["10.0.0.0/8"]})]
    {
        let web = define("web", &json!({"domains": ["a.example"], "match": conditions}));
        assert!(has_rule(&web) && routed_at(&web).is_some() && mapped_at(&web).is_none(), "{conditions}");
    }
    let by_sni = json!({"domains": ["a.example"], "listen_options": ["mode tcp"], "match": {"sources": "10.0.0.1"}});
    assert!(has_rule(&define("web", &by_sni)));
}

#[test]
fn tags_and_meta_select_hosts() {
    let web = define("web", &json!({"domains": ["a.example"], "match": {"tags": ["blue"], "meta": {"zone": "a"}}}));
    assert_eq!(web.source.labels, HostLabels::of_host(["blue"], [("zone", "a")]));
    assert!(!has_rule(&web), "they are no conditions of requests");
    let seen = |labels: Option<HostLabels>| {
        let host = Host { labels: labels.map(Arc::new), ..Host::at(Endpoint::parse("10.0.0.1:80").unwrap()) };
        SeenHost::new("a", Ok(host)).has(&web.source.labels)
    };
    assert!(seen(Some(HostLabels::of_host(["blue", "x"], [("zone", "a"), ("y", "z")]))));
    assert!(!seen(Some(HostLabels::of_host(["blue"], []))) && !seen(None));
    assert!(SeenHost::new("a", Err("a mistake".to_owned())).has(&web.source.labels), "a mistake is reported");
    for wrong in [json!({"tags": []}), json!({"meta": {}}), json!({"meta": {"zone": 3}}), json!({"tags": ["a\nb"]})] {
        let key = wrong.as_object().unwrap().keys().next().unwrap().clone();
        let mistakes = read("web", &json!({"match": wrong})).unwrap_err();
        assert!(mistakes[0].starts_with(&format!("\"match\": {key:?}: ")), "{mistakes:?}");
    }
}

#[test]
fn bad_conditions_are_refused_with_their_key() {
    let many = |count: usize, text: &dyn Fn(usize) -> String| (0..count).map(text).collect::<Vec<_>>();
    let headers: serde_json::Map<String, Value> =
        many(MATCH_HEADERS_MAX + 1, &|n| format!("x{n}")).into_iter().map(|name| (name, json!("1"))).collect();
    for (conditions, key) in [
        (json!([]), "not an object"),
        (json!({"header": {"x": "1"}}), "did you mean \"headers\""),
        (json!({"labels": ["v2"]}), "none of"),
        (json!({"headers": {}}), "\"headers\""),
        (json!({"headers": ["x"]}), "\"headers\""),
        (json!({"headers": {"x": 1}}), "\"headers\""),
        (json!({"headers": {"x": false}}), "\"headers\""),
        (json!({"headers": {"x": ""}}), "\"headers\""),
        (json!({"headers": {"x": "1", "X": "2"}}), "twice"),
        (json!({"headers": {"x) -m found }\n": "1"}}), "\"headers\""),
        (json!({"headers": {"x": "1\n    use_backend admin"}}), "\"headers\""),
        (json!({"headers": {"x": "1\u{FDD0}"}}), "\"headers\""),
        (json!({"headers": {"x,-1": "1"}}), "\"headers\""),
        (json!({"headers": {"Authorization": "Bearer 1"}}), "credential"),
        (json!({"headers": {"X-Api-Key": "1"}}), "credential"),
        (json!({"headers": headers}), "\"headers\""),
        (json!({"methods": []}), "\"methods\""),
        (json!({"methods": ["get"]}), "\"methods\""),
        (json!({"methods": ["-f", "/etc/passwd"]}), "\"methods\""),
        (json!({"methods": many(MATCH_METHODS_MAX + 1, &|n| format!("A{}", "A".repeat(n)))}), "\"methods\""),
        (json!({"sources": []}), "\"sources\""),
        (json!({"sources": ["10.0.0.1/8"]}), "10.0.0.0/8"),
        (json!({"sources": ["-f /etc/passwd"]}), "\"sources\""),
        (json!({"sources": ["a.example"]}), "\"sources\""),
        (json!({"sources": many(MATCH_SOURCES_MAX + 1, &|n| format!("10.0.{}.{}", n / 256, n % 256))}), "\"sources\""),
        (json!({"domains": ["a b"]}), "\"domains\""),
        (json!({"path_prefix": "/a b"}), "\"path_prefix\""),
    ] {
        let mistakes = read("web", &json!({"default": true, "match": conditions})).unwrap_err();
        assert!(mistakes.len() == 1 && mistakes[0].contains(key), "{conditions}: {mistakes:?}");
    }
}

#[test]
fn conditions_need_a_shared_port() {
    let sources = json!({"sources": ["10.0.0.0/8"]});
    for keys in [json!({"match": sources}), json!({"match": sources, "domains": ["a.example"], "port": null})] {
        let mistakes = read("web", &keys).unwrap_err();
        assert!(mistakes.len() == 1 && mistakes[0].contains("\"match\""), "{keys}: {mistakes:?}");
    }
    let tcp = |conditions: Value| {
        read("web", &json!({"domains": ["a.example"], "listen_options": ["mode tcp"], "match": conditions}))
    };
    assert!(tcp(json!({"headers": {"x": "1"}})).is_err() && tcp(json!({"methods": ["GET"]})).is_err());
}

#[test]
fn rules_stand_before_the_lookup_of_the_same_domain() {
    let text = frontend(&[
        define("any", &json!({"default": true, "match": {"methods": ["GET", "PUT"]}})),
        define("exact", &json!({"domains": ["a.example", "::1"], "match": {"headers": {"X": "1 -f", "y": true}}})),
        define("web", &json!({"domains": ["a.example"]})),
        define("wild", &json!({"domains": ["*.b.example"], "path_prefix": "/a", "match": {"sources": ["10.0.0.0/8"]}})),
    ]);
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    for line in [
        "acl exact:domain var(txn.proxymgr_host) -m str -- a.example [::1]",
        "acl exact:header1 req.fhdr(x) -m str -- '1 -f'",
        "acl exact:header2 req.fhdr(y) -m found",
        "acl wild:zone var(txn.proxymgr_zone) -m str -- b.example",
        "acl wild:path var(txn.proxymgr_path),concat(/) -m beg -- /a/",
        "acl wild:source src 10.0.0.0/8",
        "acl any:method method GET PUT",
    ] {
        assert!(lines.contains(&line), "{line} in\n{text}");
    }
    let rule = |service: &str, acls: &str| {
        let line = format!(
            "http-request set-var(txn.proxymgr_service) str({service}) if !{{ var(txn.proxymgr_service) -m found }} {acls}"
        );
        let places: Vec<usize> = (0..lines.len()).filter(|at| lines[*at] == line).collect();
        assert_eq!(places.len(), 1, "{line} in\n{text}");
        places[0]
    };
    let place = |text: &str| lines.iter().position(|line| line.contains(text)).unwrap();
    assert!(rule("exact", "exact:domain exact:header1 exact:header2") < place("concat(,txn.proxymgr_host,)"));
    let wild = rule("wild", "wild:zone wild:path wild:source");
    assert!(place("field(-1,.,2)") < wild && wild < place("field(-1,.,1)"));
    assert!(place("field(-1,.,1)") < rule("any", "any:method"));
    assert!(!text.contains("str(web)"));
}

#[test]
fn most_specific_rule_comes_first() {
    let of = |name: &str, more: Value| {
        let mut conditions = json!({"domains": ["a.example"]});
        conditions.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        define(name, &json!({"match": conditions}))
    };
    let text = frontend(&[
        of("f", json!({"sources": ["10.0.0.0/8"]})),
        of("g", json!({"sources": ["10.0.0.1"]})),
        of("e", json!({"methods": ["GET"], "sources": ["10.0.0.0/8"]})),
        of("h", json!({"path_prefix": "/api/v1", "sources": ["10.0.0.0/8"]})),
        of("i", json!({"path_prefix": "/api", "headers": {"x": "1"}})),
        of("k", json!({"headers": {"x": "1"}})),
        of("j", json!({"headers": {"x": "1", "y": true}})),
    ]);
    let order: String =
        text.lines().filter_map(|line| line.split_once(" str(")?.1.split_once(')')).map(|(name, _)| name).collect();
    assert!(order.starts_with("hijkefg"), "{order}");
}

#[test]
fn changed_conditions_need_a_reload() {
    let header = |keys: Value| section_header(&define("web", &keys), SectionStyle::default());
    let of = |more: Value| header(json!({"domains": ["a.example"], "match": more}));
    let one = of(json!({"headers": {"x": "1"}}));
    for other in [
        json!({"headers": {"x": "2"}}),
        json!({"headers": {"x": true}}),
        json!({"headers": {"x": "1"}, "methods": ["GET"]}),
        json!({"headers": {"x": "1"}, "path_prefix": "/api"}),
        json!({}),
    ] {
        assert_ne!(one, of(other.clone()), "{other}");
    }
    let x = json!({"headers": {"x": "1"}});
    assert_ne!(one, header(json!({"domains": ["b.example"], "match": x})));
    assert_ne!(one, header(json!({"domains": ["a.example"], "default": true, "match": x})));
    assert_eq!(of(json!({})), header(json!({"domains": ["b.example"]})), "the map changes at run time");
}
