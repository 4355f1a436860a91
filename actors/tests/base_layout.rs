//! Tests of the operator's own configuration as the base of haproxy.cfg.

use std::collections::BTreeMap;
use std::sync::Arc;

use proxymgr_actors::decide::base::{self, BaseLayout, BoundBase, ServiceTexts};
use proxymgr_actors::decide::earlier_file::{listeners, with_descriptors};
use proxymgr_actors::decide::haproxy_config::{SectionStyle, section, section_after, section_header};
use proxymgr_actors::decide::loaded_config::{LineIndex, inherited_descriptors, parse_sections};
use proxymgr_actors::decide::option_policy::OptionPolicy;
use proxymgr_actors::decide::server_ids::ServerIds;
use proxymgr_actors::decide::service_definition;
use proxymgr_actors::model::{
    Address, BaseConfig, BaseFile, Descriptors, Endpoint, Host, HostList, ProxyManagement, RawDefinition, ServerName,
    ServiceDefinition, ServiceName,
};

fn config(files: &[(&str, &str)]) -> BaseConfig {
    let file = |(path, text): &(&str, &str)| BaseFile::new(*path, *text);
    BaseConfig {
        files: files.iter().map(file).collect(),
        global: Vec::new(),
        defaults: Vec::new(),
        socket_path: "/run/proxymgr.sock".into(),
        map_path: "/run/haproxy.cfg.domains".into(),
        state_file: Some("/run/haproxy.cfg.state".into()),
        management: ProxyManagement::Supervised,
    }
}

fn layout(text: &str) -> Arc<BaseLayout> {
    Arc::new(base::layout(&config(&[("/etc/edge.cfg", text)])))
}

fn name(text: &str) -> ServiceName {
    ServiceName::new(text).unwrap()
}

fn define(service: &str, keys: &str) -> Arc<ServiceDefinition> {
    let raw = RawDefinition::new(format!(r#"{{"type": "static"{keys}}}"#), "a test");
    Arc::new(service_definition::parse(service, &raw, &OptionPolicy::default()).unwrap().definition)
}

fn hosts(numbers: &[u8]) -> HostList {
    let host = |number: &u8| {
        let address = Address::parse(&format!("10.0.0.{number}")).unwrap();
        let host = Host::at(Endpoint::Tcp { address, port: 80.try_into().unwrap() });
        (ServerName::new(&format!("s{number}")).unwrap(), Arc::new(host))
    };
    numbers.iter().map(host).collect()
}

/// The descriptors of every address of the base, from 10 on.
fn descriptors(layout: &BaseLayout) -> Descriptors {
    layout.listens().into_iter().zip(10..).map(|(address, number)| (address, Some(number))).collect()
}

/// The file with the servers of these services.
fn file(layout: &Arc<BaseLayout>, services: &[(&Arc<ServiceDefinition>, &HostList)]) -> String {
    let held = descriptors(layout);
    let names: Vec<ServiceName> = services.iter().map(|(definition, _)| definition.name.clone()).collect();
    let text = |(definition, hosts): &(&Arc<ServiceDefinition>, &HostList)| {
        let applied = layout.applied_to(definition);
        section(&applied, &held, hosts, &ServerIds::default(), SectionStyle::of(layout, None))
    };
    let sections = names.iter().zip(services.iter().map(text)).collect();
    BoundBase::new(layout.clone(), held).pieces(&ServiceTexts { sections, ..ServiceTexts::default() }).concat()
}

const EDGE: &str = "\
# Our edge.
global
\tlog /dev/log local0
\tmaster-worker

defaults
\tmode http
\ttimeout connect 5s

frontend www
\tbind *:80,:81 # both
\tbind [::]:443 ssl crt /etc/site.pem alpn h2,http/1.1
\tacl dead nbsrv(shop) lt 1
\tuse_backend api if { path_beg /api }
\tdefault_backend web

backend web
\tbalance leastconn
\tdefault-server check inter 2s
\tserver static 10.9.9.9:80 backup
\t# proxymgr: servers
\thttp-check expect status 200

listen tcp
\tmode tcp
\tbind 10.0.0.1:5432
";

#[test]
fn lines_of_the_operator_stay_as_they_are() {
    let layout = layout(EDGE);
    let text = file(&layout, &[]);
    for line in
        EDGE.lines().filter(|line| !line.contains("bind") && !line.contains("proxymgr") && !line.contains("master"))
    {
        assert!(text.lines().any(|written| written == line), "{line} is not in {text}");
    }
    assert!(text.contains("# clients connect to *:80,:81\n\tbind fd@10,fd@11 # both\n"), "{text}");
    assert!(text.contains("\tbind fd@13 ssl crt /etc/site.pem alpn h2,http/1.1\n"), "{text}");
    assert!(text.contains("    # without effect") && !text.contains("\n\tmaster-worker"), "{text}");
    assert_eq!(layout.mistakes, Vec::<String>::new());
}

#[test]
fn missing_lines_are_added_once() {
    let text = file(&layout(EDGE), &[]);
    for line in
        ["stats socket fd@3", "stats timeout 2m", "server-state-file", "load-server-state-from-file", "init-addr"]
    {
        assert_eq!(text.matches(line).count(), 1, "{line} in {text}");
    }
    let own = "global\n  stats socket /run/proxymgr.sock level admin\n  stats timeout 5m\n  server-state-base /x\n";
    let text = file(&layout(own), &[]);
    assert_eq!(text.matches("stats socket").count(), 1);
    assert!(!text.contains("server-state-file") && !text.contains("stats timeout 2m"), "{text}");
    let without = file(&layout("frontend f\n  bind :80\n"), &[]);
    assert!(without.contains("\nglobal\n    stats socket") && without.contains("\ndefaults\n"), "{without}");
}

#[test]
fn servers_are_at_the_marker() {
    let layout = layout(EDGE);
    let web = define("web", "");
    let text = file(&layout, &[(&web, &hosts(&[1, 2]))]);
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let at = |start: &str| {
        lines.iter().position(|line| line.starts_with(start)).unwrap_or_else(|| panic!("{start}: {text}"))
    };
    assert!(at("server static") < at("server s1") && at("server s1") < at("server s2"));
    assert!(at("server s2") < at("http-check expect") && at("http-check expect") < at("listen tcp"));
    assert_eq!(text.matches("\nbackend web\n").count(), 1);
}

#[test]
fn servers_are_at_the_end_without_a_marker() {
    for text in ["backend web\n  mode http\n\n# The next.\nbackend x\n", "backend web\n  {{ nodes }}\n\n# The next.\n"]
    {
        let layout = layout(text);
        let written = file(&layout, &[(&define("web", ""), &hosts(&[1]))]);
        let (before, after) = written.split_once("server s1").unwrap();
        assert!(
            before.contains("backend web") && after.contains("# The next.") && !written.contains("nodes"),
            "{written}"
        );
    }
}

#[test]
fn section_of_the_base_is_read_again() {
    let layout = layout(EDGE);
    let web = layout.applied_to(&define("web", ""));
    let (style, ids) = (SectionStyle::of(&layout, None), ServerIds::default());
    let text = file(&layout, &[(&web, &hosts(&[1, 2]))]);
    let sections = parse_sections(&text);
    assert_eq!(sections.keys().collect::<Vec<_>>(), [&name("web")], "no service has the others");
    let loaded = &sections[&name("web")];
    assert_eq!(loaded.header, *section_header(&web, style));
    assert_eq!(loaded.server_lines.len(), 2, "those of the operator are not ours");
    assert!(layout.is_in(&text));
    assert!(!self::layout(&EDGE.replace("timeout connect 5s", "timeout connect 6s")).is_in(&text));
    assert!(!self::layout(&EDGE.replace("\tlog /dev/log local0\n", "")).is_in(&text));
    let held = descriptors(&layout);
    let before = section(&web, &held, &hosts(&[1, 2]), &ids, style);
    let after = section_after((&before, &hosts(&[1, 2])), &web, &hosts(&[2, 3]), &ids, style);
    assert_eq!(after, section(&web, &held, &hosts(&[2, 3]), &ids, style));
}

#[test]
fn section_of_the_base_without_hosts_is_read_again() {
    let layout = layout("frontend f\n  bind :80\n  default_backend web\n\nbackend web\n  balance first\n");
    let web = layout.applied_to(&define("web", ""));
    let text = file(&layout, &[(&web, &hosts(&[]))]);
    let sections = parse_sections(&text);
    assert_eq!(sections[&name("web")].header, *section_header(&web, SectionStyle::of(&layout, None)), "{text}");
    assert!(sections[&name("web")].server_lines.is_empty());
    assert!(layout.is_in(&text), "{text}");
}

#[test]
fn listen_section_of_the_base_keeps_its_listener() {
    let layout = layout(EDGE);
    let tcp = layout.applied_to(&define("tcp", r#", "port": 99"#));
    let text = file(&layout, &[(&tcp, &hosts(&[1]))]);
    assert!(text.contains("\tmode tcp\n\t# clients connect to 10.0.0.1:5432\n\tbind fd@"), "{text}");
    assert!(!text.contains(":99"), "the base decides where it listens: {text}");
    assert_eq!(parse_sections(&text)[&name("tcp")].header, *section_header(&tcp, SectionStyle::of(&layout, None)));
}

#[test]
fn defaults_of_the_section_apply_to_servers_added_later() {
    let text = "defaults a\n  balance first\n  default-server rise 5\n\ndefaults b\n  default-server rise 7\n\n\
        backend web from a\n  default-server inter 1s\nbackend api\n";
    let layout = layout(text);
    let words = |service: &str| {
        let lines = layout.applied_to(&define(service, "")).lines().to_vec();
        lines.into_iter().flatten().map(|word| word.to_string()).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(words("web"), "balance first default-server rise 5 default-server inter 1s");
    assert_eq!(words("api"), "default-server rise 7");
}

#[test]
fn referenced_backends_exist_without_a_service() {
    let layout = layout(EDGE);
    let text = file(&layout, &[]);
    assert!(text.contains("\nbackend api\n    mode http\n"), "{text}");
    assert!(text.contains("\nbackend shop\n\n"), "nothing sends it requests: {text}");
    let api = define("api", "");
    let text = file(&layout, &[(&api, &hosts(&[1]))]);
    assert_eq!(text.matches("\nbackend api\n").count(), 1, "{text}");
    assert_eq!(parse_sections(&text).len(), 1);
}

#[test]
fn service_gets_the_mode_of_its_frontend() {
    let layout = layout("frontend f\n  mode http\n  bind :80\n  default_backend web\n");
    let text = file(&layout, &[(&define("web", ""), &hosts(&[1])), (&define("db", ""), &hosts(&[2]))]);
    assert!(text.contains("backend web\n    mode http\n    server s1"), "{text}");
    assert!(text.contains("backend db\n    server s2"), "{text}");
}

#[test]
fn servers_that_lines_name_exist() {
    let text = "frontend f\n  bind :80\n  acl up srv_is_up(web/s1)\n  acl old srv_is_up(own/s1)\nbackend own\n  server s1 10.0.0.9:80\n";
    let layout = layout(text);
    let web = layout.applied_to(&define("web", ""));
    let with = |numbers: &[u8]| {
        let text = file(&layout, &[(&web, &hosts(numbers))]);
        (text.matches("server s1 127.0.0.1:1 disabled").count(), parse_sections(&text)[&name("web")].server_lines.len())
    };
    assert_eq!((with(&[]), with(&[2]), with(&[1])), ((1, 0), (1, 1), (0, 1)));
    let before = section(&web, &Descriptors::new(), &hosts(&[1]), &ServerIds::default(), SectionStyle::default());
    let after =
        section_after((&before, &hosts(&[1])), &web, &hosts(&[2]), &ServerIds::default(), SectionStyle::default());
    assert!(after.contains("server s1 127.0.0.1:1 disabled") && after.contains("server s2"), "{after}");
}

#[test]
fn sockets_are_found_in_the_file_of_an_earlier_run() {
    let layout = layout(EDGE);
    let text = file(&layout, &[(&define("web", ""), &hosts(&[1]))]);
    let held: BTreeMap<_, _> = descriptors(&layout).into_iter().map(|(address, fd)| (address, fd.unwrap())).collect();
    assert_eq!(inherited_descriptors(&text), held.values().copied().collect());
    let found: BTreeMap<_, _> = listeners(&text).unwrap().into_iter().flat_map(|listener| listener.sockets).collect();
    assert_eq!(found, held);
    let renamed = with_descriptors(&text, &held.values().map(|fd| (*fd, fd + 100)).collect()).unwrap();
    assert_eq!(inherited_descriptors(&renamed), held.values().map(|fd| fd + 100).collect());
}

#[test]
fn lines_have_the_places_of_the_operators_files() {
    let layout = Arc::new(base::layout(&config(&[("a.cfg", EDGE), ("b.cfg", "backend x\n  mode http\n")])));
    let web = define("web", "");
    let text = file(&layout, &[(&web, &hosts(&[1]))]);
    let held = descriptors(&layout);
    let applied = layout.applied_to(&web);
    let of_web = section(&applied, &held, &hosts(&[1]), &ServerIds::default(), SectionStyle::of(&layout, None));
    let service = name("web");
    let sections = BTreeMap::from([(&service, of_web)]);
    let base = BoundBase::new(layout, held);
    let places = base.places(&sections);
    let index = LineIndex::of(&base.pieces(&ServiceTexts { sections, ..ServiceTexts::default() }));
    let mut found = 0;
    for (number, (line, place)) in text.lines().zip(&places).enumerate() {
        let Some(place) = place else { continue };
        let (path, of_file) = place.split_once(':').unwrap();
        let original = if path == "a.cfg" { EDGE } else { "backend x\n  mode http\n" };
        let original = original.lines().nth(of_file.parse::<usize>().unwrap() - 1).unwrap();
        let is_changed = ["bind", "clients connect", "without effect"].iter().any(|text| line.contains(text));
        assert!(line == original || is_changed, "{place}: {original:?} is {line:?}");
        assert!(original.trim() != "http-check expect status 200" || index.service_at(number + 1) == Some(&service));
        found += 1;
    }
    assert!(found > 20, "{found}");
}

#[test]
fn mistakes_have_a_place() {
    for (text, place) in [
        ("frontend f\n  bind :80\nlisten g\n  bind 0.0.0.0:80\n", "/etc/edge.cfg:4: 0.0.0.0:80"),
        ("frontend f\n  # proxymgr: servers\n", "/etc/edge.cfg:2: the servers"),
        (".if defined(X)\nbackend b\n  # proxymgr: servers\n.endif\n", "/etc/edge.cfg:3: the servers"),
    ] {
        let mistakes = &layout(text).mistakes;
        assert!(mistakes.len() == 1 && mistakes[0].starts_with(place), "{text}: {mistakes:?}");
    }
}

#[test]
fn listeners_that_cannot_be_held_have_a_reason() {
    let layout =
        layout("frontend f\n  bind :80\n  bind quic4@:443 ssl\n.if X\n  bind :81\n.endif\n  bind :82 interface eth0\n");
    let left: Vec<&str> = layout.left_binds.iter().map(|left| &*left.address).collect();
    assert_eq!(left, ["quic4@:443", ":81", ":82"]);
    assert_eq!(layout.listens().len(), 1);
    let delegated =
        BaseConfig { management: ProxyManagement::Delegated, ..config(&[("x", "frontend f\n  bind :80\n")]) };
    assert_eq!(base::layout(&delegated).listens().len(), 0, "HAProxy opens its sockets itself");
}

#[test]
fn stick_tables_get_a_local_peer() {
    let table =
        define("web", r#", "port": 80, "listen_options": ["stick-table type ip size 1k", "balance roundrobin"]"#);
    let layout = layout("global\n  user haproxy\ndefaults\n  mode http\n");
    let text = file(&layout, &[(&table, &hosts(&[1]))]);
    let peers = "peers proxymgr\n    bind unix@/run/haproxy.cfg.peers mode 600 user haproxy\n    server proxymgr\n";
    assert!(text.contains(peers) && text.contains("    localpeer proxymgr\n"), "{text}");
    assert!(text.contains("    stick-table type ip size 1k peers proxymgr\n"), "{text}");
    assert!(layout.is_in(&text) && parse_sections(&text).len() == 1);
    assert!(!file(&layout, &[(&define("web", ""), &hosts(&[1]))]).contains("peers"), "no table");
    let own = self::layout("peers mine\n  peer a 127.0.0.1:1\n");
    assert!(!file(&own, &[(&table, &hosts(&[1]))]).contains("proxymgr\n"), "the operator has peers");
}

#[test]
fn service_chooses_its_defaults() {
    let layout = layout(
        "defaults web\n  mode http\n  log-format \"%HM\"\n  default-server rise 5\ndefaults tcp\n  mode tcp\n  default-server rise 7\n",
    );
    let web = define("web", r#", "port": 80, "defaults": "web", "listen_options": ["balance first"]"#);
    let applied = layout.applied_to(&web);
    let text = file(&layout, &[(&web, &hosts(&[1]))]);
    assert!(text.contains("\nlisten web from web\n") && !text.contains("    mode"), "{text}");
    assert!(applied.includes_defaults() && applied.lines().len() == 4);
    assert_eq!(parse_sections(&text)[&name("web")].header, *section_header(&applied, SectionStyle::of(&layout, None)));
    let of_tcp = define("db", r#", "port": 81, "defaults": "web", "listen_options": ["mode tcp"]"#);
    assert!(file(&layout, &[(&of_tcp, &hosts(&[]))]).contains("    option tcplog\n"), "HAProxy 2.6 needs it");
    let held = applied.addresses().map(|address| (address, Some(5))).collect();
    let of_web = section(&applied, &held, &hosts(&[]), &ServerIds::default(), SectionStyle::of(&layout, None));
    let sockets = listeners(&format!("{}{of_web}", file(&layout, &[]))).unwrap();
    assert_eq!(sockets[0].section.as_deref(), Some("web"), "without its defaults");
}
