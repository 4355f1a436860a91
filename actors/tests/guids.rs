//! Tests of the ids by which HAProxy keeps the counters of sections and servers across reloads.

mod support;

use std::collections::BTreeMap;
use std::sync::Arc;

use proxymgr_actors::decide::base::{BaseLayout, BoundBase, ServiceTexts};
use proxymgr_actors::decide::capabilities::Capabilities;
use proxymgr_actors::decide::frontend::frontends;
use proxymgr_actors::decide::haproxy_config::{SectionStyle, section, section_after, section_header};
use proxymgr_actors::decide::loaded_config::{inherited_descriptors, parse_sections};
use proxymgr_actors::decide::option_policy::OptionPolicy;
use proxymgr_actors::decide::overlay::Overlay;
use proxymgr_actors::decide::proxy_plan::{AppliedService, Ground, WantedService, plan_service};
use proxymgr_actors::decide::server_ids::ServerIds;
use proxymgr_actors::decide::service_definition;
use proxymgr_actors::model::{
    Descriptors, Endpoint, Host, HostList, ProxyManagement, ProxyVersion, RawDefinition, RuntimeCommand, ServerName,
    ServiceDefinition, UpdateStrategy,
};

use support::layout;

const V2_6: ProxyVersion = ProxyVersion { major: 2, minor: 6 };
const V3_0: ProxyVersion = ProxyVersion { major: 3, minor: 0 };

const PLAIN: &str = "defaults\n    mode http\n";

fn style(version: ProxyVersion) -> SectionStyle {
    SectionStyle::of(&layout(PLAIN, ProxyManagement::Supervised), Some(version))
}

fn define(service: &str, keys: &str) -> Arc<ServiceDefinition> {
    let raw = RawDefinition::new(format!(r#"{{"type": "static"{keys}}}"#), "a test");
    Arc::new(service_definition::parse(service, &raw, &OptionPolicy::default()).unwrap().definition)
}

fn hosts(names: &[&str]) -> HostList {
    let host = |(name, number): (&&str, u8)| {
        let host = Host::at(Endpoint::parse(&format!("10.0.0.{number}:80")).unwrap());
        (ServerName::new(name).unwrap(), Arc::new(host))
    };
    names.iter().zip(1..).map(host).collect()
}

fn text(definition: &ServiceDefinition, style: SectionStyle) -> String {
    section(definition, &Descriptors::new(), &hosts(&["a"]), &ServerIds::default(), style).to_string()
}

/// The file of this base with the service `web`.
fn file(layout: &Arc<BaseLayout>, version: ProxyVersion) -> String {
    let web = layout.applied_to(&define("web", ""));
    let style = SectionStyle::of(layout, Some(version));
    let sections = BTreeMap::from([(&web.name, text(&web, style).into())]);
    let texts = ServiceTexts { sections, have_guids: style.guids, ..ServiceTexts::default() };
    BoundBase::new(layout.clone(), Descriptors::new()).pieces(&texts).concat()
}

#[test]
fn sections_servers_and_frontends_have_ids_from_3_0_on() {
    let web = define("web", r#", "domains": ["a.example"], "port": 80"#);
    let of_frontend =
        |style| frontends([(&*web, &Descriptors::new())], style, "/map".as_ref()).into_values().next().unwrap();
    let young = text(&web, style(V3_0));
    assert!(young.contains("\n    guid proxymgr:web\n") && young.contains(" guid proxymgr:web:a"), "{young}");
    assert_eq!(
        parse_sections(&format!("# The services, one section each.\n\n{young}"))[&web.name].header,
        *section_header(&web, style(V3_0))
    );
    assert!(of_frontend(style(V3_0)).contains("\n    guid proxymgr::"));
    assert!(!text(&web, style(V2_6)).contains("guid") && !of_frontend(style(V2_6)).contains("guid"));
}

#[test]
fn inherited_sockets_are_found_beside_an_id() {
    let web = define("web", r#", "port": 80"#);
    let held: Descriptors = web.addresses().map(|address| (address, Some(7))).collect();
    let text = section(&web, &held, &hosts(&["a"]), &ServerIds::default(), style(V3_0));
    assert_eq!(inherited_descriptors(&text), [7].into(), "{text}");
}

#[test]
fn change_of_hosts_keeps_the_ids() {
    let web = define("web", r#", "port": 80"#);
    let (ids, none, before, after) = (ServerIds::default(), Descriptors::new(), hosts(&["a"]), hosts(&["a", "b"]));
    let written = section(&web, &none, &before, &ids, style(V3_0));
    let changed = section_after((&written, &before), &web, &after, &ids, style(V3_0));
    assert_eq!(changed, section(&web, &none, &after, &ids, style(V3_0)));
}

#[test]
fn file_with_counters_is_named_where_the_version_reads_it() {
    let named = "global\n    stats-file /run/haproxy.cfg.stats\n";
    let plain = layout(PLAIN, ProxyManagement::Supervised);
    assert!(file(&plain, V3_0).contains(named), "{}", file(&plain, V3_0));
    assert!(plain.is_in(&file(&plain, V3_0)) && plain.is_in(&file(&plain, V2_6)));
    assert!(!file(&plain, V2_6).contains("stats-file"));
    for lines in
        ["global\n    stats-file /own\n", "global\n    zero-warning\n", "global\n    shm-stats-file /dev/shm/a\n"]
    {
        let own = file(&layout(&format!("{lines}{PLAIN}"), ProxyManagement::Supervised), V3_0);
        assert!(!own.contains(named), "the operator decides: {own}");
        assert!(own.contains("guid proxymgr:web\n"), "{own}");
    }
}

#[test]
fn file_of_others_has_no_ids() {
    let external = file(&layout(PLAIN, ProxyManagement::External), V3_0);
    assert!(!external.contains("guid") && !external.contains("stats-file"), "{external}");
}

#[test]
fn section_of_the_base_has_one_id() {
    for (lines, expected) in [("", "    guid proxymgr:web\n"), ("    guid mine\n", "    guid mine\n")] {
        let base = layout(&format!("{PLAIN}backend web\n{lines}    balance first\n"), ProxyManagement::Supervised);
        let text = file(&base, V3_0);
        assert!(text.contains(expected), "{text}");
        assert_eq!(text.matches("\n    guid ").count(), 1, "{text}");
        let web = base.applied_to(&define("web", ""));
        let style = SectionStyle::of(&base, Some(V3_0));
        assert_eq!(parse_sections(&text)[&web.name].header, *section_header(&web, style), "{text}");
        assert!(base.is_in(&text), "{text}");
    }
}

#[test]
fn added_server_has_the_id_that_it_has_in_the_file() {
    let web = define("web", r#", "port": 80"#);
    let (wanted, ids) = (hosts(&["a", "b"]), ServerIds::default());
    for (version, expected) in [(V3_0, Some("guid proxymgr:web:a")), (V2_6, None)] {
        let style = style(version);
        let loaded = AppliedService { in_base: None, header: section_header(&web, style), servers: BTreeMap::new() };
        let ground = Ground { capabilities: Capabilities::of(version), inherited: &[], style, is_external: false };
        let wanted = WantedService {
            definition: &web,
            hosts: &wanted,
            ids: &ids,
            overlay: &Overlay::NONE,
            strategy: UpdateStrategy::Dynamic,
            slots: None,
        };
        let plan = plan_service(wanted, Some(&loaded), Some(&Arc::default()), &BTreeMap::new(), ground);
        let added = plan.steps.iter().flat_map(|step| &step.commands).find_map(|command| match command {
            RuntimeCommand::AddServer { options, .. } => {
                Some(options.iter().map(|word| word.as_str()).collect::<Vec<_>>().join(" "))
            }
            _ => None,
        });
        let options = added.expect("the first host is new");
        match expected {
            Some(expected) => assert!(options.contains(expected), "{options}"),
            None => assert!(!options.contains("guid"), "{options}"),
        }
    }
}

#[test]
fn id_that_the_operator_allows_is_kept() {
    let policy = OptionPolicy { extra: vec!["guid".to_owned()], ..OptionPolicy::default() };
    let raw = RawDefinition::new(r#"{"type": "static", "port": 80, "server_options": "guid mine"}"#, "a test");
    let web = service_definition::parse("web", &raw, &policy).expect("the operator allows it").definition;
    let text = text(&web, style(V3_0));
    assert!(text.contains(" guid mine") && !text.contains("guid proxymgr:web:a"), "{text}");
}
