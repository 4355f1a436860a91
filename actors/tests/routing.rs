//! Tests of the assignment of domains, and of HAProxy's configuration for it.

#![allow(missing_docs)]

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::Path;

use proptest::prelude::*;
use proxymgr_actors::decide::frontend::{frontends, name};
use proxymgr_actors::decide::haproxy_config::{SectionStyle, section, section_header};
use proxymgr_actors::decide::loaded_config::{LineIndex, parse_sections};
use proxymgr_actors::decide::option_policy::OptionPolicy;
use proxymgr_actors::decide::routing::{Claim, FrontendKind, assign, map_text, parse_map, plan_routes, routed_at};
use proxymgr_actors::decide::server_ids::ServerIds;
use proxymgr_actors::decide::{base, service_definition};
use proxymgr_actors::model::{
    BaseConfig, Descriptors, HostList, ObservedRoutes, ProxyManagement, RawDefinition, RouteCommand, Routes,
    ServiceDefinition, ServiceName,
};

fn define(name: &str, keys: &str) -> ServiceDefinition {
    let text = format!(r#"{{"type": "static", "port": 8080, {keys}}}"#);
    let raw = RawDefinition::new(text, "a test");
    let parsed = service_definition::parse(name, &raw, &OptionPolicy::default());
    parsed.unwrap_or_else(|mistakes| panic!("{keys}: {mistakes:?}")).definition
}

fn with_domains(name: &str, domains: &[&str]) -> ServiceDefinition {
    define(name, &format!(r#""domains": {domains:?}"#))
}

fn claims<'a>(services: &'a [&'a ServiceDefinition]) -> impl Iterator<Item = Claim<'a>> {
    services.iter().map(|definition| Claim {
        service: &definition.name,
        listen: routed_at(definition).expect("it has domains"),
        definition,
        is_leaving: false,
    })
}

fn shown(routes: &Routes) -> Vec<String> {
    routes.iter().map(|(key, service)| format!("{key}={service}")).collect()
}

fn nobody() -> Routes {
    Routes::new()
}

#[test]
fn services_with_a_port_and_domains_share_it() {
    let listens = Some("0.0.0.0:8080".parse::<SocketAddr>().unwrap());
    assert_eq!(routed_at(&with_domains("web", &["a.example"])), listens);
    assert_eq!(routed_at(&define("web", r#""default": true"#)), listens);
    assert_eq!(routed_at(&define("web", r#""domains": ["a.example"], "listen_options": ["mode http"]"#)), listens);
    assert_eq!(routed_at(&define("web", r#""domains": ["a.example"], "listen_options": ["mode tcp"]"#)), listens);
    assert_eq!(routed_at(&define("web", r#""domains": []"#)), None);
    assert_eq!(routed_at(&define("web", r#""domains": ["a.example"], "port": null"#)), None);
}

#[test]
fn contested_domain_stays_or_goes_to_the_first_name() {
    let (api, web) = (with_domains("api", &["a.example", "b.example"]), with_domains("web", &["a.example"]));
    let routing = assign(claims(&[&api, &web]), &BTreeSet::new(), &nobody());
    assert_eq!(shown(&routing.routes), ["a.example=api", "b.example=api"]);
    let complaint = routing.complaint(&web.name).unwrap();
    assert!(complaint.contains("a.example on 0.0.0.0:8080 belongs to the service api"), "{complaint}");
    assert_eq!(routing.complaint(&api.name), None);

    let had = assign(claims(&[&web]), &BTreeSet::new(), &nobody()).routes;
    let routing = assign(claims(&[&api, &web]), &BTreeSet::new(), &had);
    assert_eq!(shown(&routing.routes), ["a.example=web", "b.example=api"]);
    assert!(routing.complaint(&api.name).unwrap().contains("service web, which had it first"));
    let again = assign(claims(&[&api, &web]), &BTreeSet::new(), &routing.routes);
    assert_eq!(again, routing, "it never flaps");
}

#[test]
fn other_paths_and_ports_do_not_conflict() {
    let web = with_domains("web", &["a.example"]);
    let api = define("api", r#""domains": ["a.example"], "path_prefix": "/api/""#);
    let other = define("other", r#""domains": ["a.example"], "bind": "127.0.0.1""#);
    let routing = assign(claims(&[&web, &api, &other]), &BTreeSet::new(), &nobody());
    assert_eq!(shown(&routing.routes), ["a.example=web", "a.example/api=api", "a.example=other"]);
    assert_eq!(routing.contested, BTreeMap::new());
}

#[test]
fn removed_service_keeps_its_domain_until_claimed() {
    let (old, new) = (with_domains("old", &["a.example", "b.example"]), with_domains("new", &["a.example"]));
    let had = assign(claims(&[&old]), &BTreeSet::new(), &nobody()).routes;
    let here = [&old];
    let leaving = Claim { is_leaving: true, ..claims(&here).next().unwrap() };
    let routing = assign([leaving], &BTreeSet::new(), &had);
    assert_eq!(routing.routes, had);
    let routing = assign([leaving].into_iter().chain(claims(&[&new])), &BTreeSet::new(), &had);
    assert_eq!(shown(&routing.routes), ["a.example=new", "b.example=old"]);
    assert_eq!(routing.complaint(&old.name), None);
}

#[test]
fn released_domain_stays_until_the_new_service_exists() {
    let before = with_domains("web", &["a.example", "b.example"]);
    let after = with_domains("web", &["c.example"]);
    let had = assign(claims(&[&before]), &BTreeSet::new(), &nobody()).routes;
    let awaited = BTreeSet::from([had.first_key_value().unwrap().0.clone()]);
    let routing = assign(claims(&[&after]), &awaited, &had);
    assert_eq!(shown(&routing.routes), ["a.example=web", "c.example=web"]);
}

#[test]
fn executed_plan_reaches_the_desired_map() {
    let web = with_domains("web", &["a.example", "b.example"]);
    let wanted = assign(claims(&[&web]), &BTreeSet::new(), &nobody()).routes;
    let text = "0.0.0.0:8080/a.example/ api\n0.0.0.0:8080/c.example/ web\n# a comment\nnonsense\n";
    let observed: ObservedRoutes =
        parse_map(text).into_iter().map(|(key, service)| (key, service.to_string())).collect();
    let plan = plan_routes(&wanted, &observed);
    let texts: Vec<_> = plan.iter().map(|step| step.command.text("MAP", step.command.key().as_str())).collect();
    assert_eq!(
        texts,
        [
            "set map MAP 0.0.0.0:8080/a.example/ web",
            "add map MAP 0.0.0.0:8080/b.example/ web",
            "del map MAP 0.0.0.0:8080/c.example/",
        ]
    );
    assert_eq!(plan[0].reason, "requests for a.example go to it now and no longer to api");
    assert_eq!(parse_map(&map_text(&wanted)), wanted);
}

#[test]
fn services_with_domains_share_a_frontend() {
    let (web, api) = (with_domains("web", &["a.example"]), define("api", r#""default": true"#));
    let style = SectionStyle { idle_close: true, ..SectionStyle::default() };
    let hosts = HostList::default();
    let fifth: Descriptors = web.addresses().map(|address| (address, Some(5))).collect();
    let text = section(&web, &fifth, &hosts, &ServerIds::default(), style);
    assert_eq!(&*text, "backend web\n    # clients connect to 0.0.0.0:8080\n    mode http\n\n");
    let by_default = SectionStyle { http_by_default: true, ..style };
    assert!(!section(&web, &fifth, &hosts, &ServerIds::default(), by_default).contains("mode"));

    let shared = frontends([(&web, &fifth), (&api, &Descriptors::new())], style, Path::new("/etc/haproxy.cfg.domains"));
    let frontend = shared.values().next().unwrap();
    for line in [
        "frontend http:8080\n",
        "    bind fd@5\n",
        "    mode http\n",
        "    option idle-close-on-response\n",
        "    # The service comes from a map, updated at run time (on the socket: show map /etc/haproxy.cfg.domains).\n",
        "map_beg(/etc/haproxy.cfg.domains)",
        "    use_backend %[var(txn.proxymgr_service)]\n\n",
    ] {
        assert!(frontend.contains(line), "{frontend} should have {line}");
    }
    assert_eq!(shared.len(), 1);
    assert_eq!(name("[::1]:80".parse().unwrap(), FrontendKind::Http), "http:::1:80");

    let base_config = base::text(&BaseConfig {
        files: vec![],
        global: vec![],
        defaults: vec![],
        socket_path: "/run/x".into(),
        map_path: "/run/y".into(),
        state_file: None,
        management: ProxyManagement::Supervised,
    });
    let read = parse_sections(&format!("{base_config}{text}{frontend}"));
    assert_eq!(read.len(), 1);
    assert_eq!(read[&web.name].header, *section_header(&web, style));
    let index = LineIndex::of(&[base_config.as_str().into(), text.clone(), frontend.clone()]);
    let line = |piece: &str, before: usize| before + piece.lines().count();
    assert_eq!(index.service_at(line(&text, line(&base_config, 0))), Some(&web.name));
    assert_eq!(index.service_at(line(&text, line(&base_config, 2))), None, "a frontend belongs to no service");
}

#[test]
fn other_domains_need_no_reload() {
    let header = |domains: &[&str]| section_header(&with_domains("web", domains), SectionStyle::default());
    assert_eq!(header(&["a.example"]), header(&["b.example", "*.c.example"]));
    assert_ne!(header(&["a.example"]), header(&[]));
}

proptest! {
    #[test]
    fn claim_is_granted_or_reported_with_the_owner(
        domains in prop::collection::vec(prop::collection::btree_set(0..6_u8, 0..4), 1..6),
        had in prop::collection::btree_map(0..6_u8, 0..8_usize, 0..6),
    ) {
        let text = |n: &u8| format!("{n}.example");
        let services: Vec<_> = domains.iter().enumerate().filter(|(_, domains)| !domains.is_empty()).map(|(n, domains)| {
            let domains: Vec<_> = domains.iter().map(text).collect();
            with_domains(&format!("s{n}"), &domains.iter().map(String::as_str).collect::<Vec<_>>())
        }).collect();
        let had: String = had.iter().map(|(n, service)| format!("0.0.0.0:8080/{}/ s{service}\n", text(n))).collect();
        let had = parse_map(&had);
        let services: Vec<&ServiceDefinition> = services.iter().collect();
        let routing = assign(claims(&services), &BTreeSet::new(), &had);
        let mut claimed = BTreeSet::new();
        for service in &services {
            for domain in &service.requests.domains {
                let (key, holder) = routing.routes.iter().find(|(key, _)| key.to_string() == domain.as_str()).unwrap();
                let reported = routing.contested.get(&service.name).and_then(|contested| contested.get(key));
                prop_assert_eq!(reported, (*holder != service.name).then_some(holder));
                claimed.insert(key.clone());
            }
        }
        prop_assert_eq!(claimed, routing.routes.keys().cloned().collect::<BTreeSet<_>>());
        for (key, before) in had {
            let wants_still = services.iter().any(|service| {
                service.name == before && service.requests.domains.iter().any(|domain| key.to_string() == domain.as_str())
            });
            prop_assert!(!wants_still || routing.routes[&key] == before);
        }
        let observed = |routes: &Routes| -> ObservedRoutes {
            routes.iter().map(|(key, service)| (key.clone(), service.to_string())).collect()
        };
        let mut map = observed(&parse_map("0.0.0.0:8080/1.example/ s1\n0.0.0.0:8080/x/ gone\n"));
        for step in plan_routes(&routing.routes, &map.clone()) {
            match step.command {
                RouteCommand::Add(key, service) => prop_assert!(map.insert(key, service.to_string()).is_none()),
                RouteCommand::Set(key, service) => prop_assert!(map.insert(key, service.to_string()).is_some()),
                RouteCommand::Delete(key) => prop_assert!(map.remove(&key).is_some()),
            }
        }
        prop_assert_eq!(map, observed(&routing.routes));
    }
}

#[test]
fn a_service_cannot_have_the_name_of_a_frontend() {
    let raw = RawDefinition::new(r#"{"type": "static"}"#, "a test");
    let mistakes = service_definition::parse("http:8080", &raw, &OptionPolicy::default()).unwrap_err();
    assert!(mistakes[0].contains("frontends"), "{mistakes:?}");
    assert!(ServiceName::new("http-8080").is_ok());
}
