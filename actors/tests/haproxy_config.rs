//! Tests of the text of haproxy.cfg: its content, that it can be parsed again, and that no input adds a line to it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proptest::prelude::*;
use proxymgr_actors::decide::base;
use proxymgr_actors::decide::haproxy_config::{
    SectionStyle, default_server_words, section, section_after, section_header, server_line, server_words,
};
use proxymgr_actors::decide::loaded_config::{LineIndex, inherited_stats_socket, parse_sections};
use proxymgr_actors::decide::option_policy::OptionPolicy;
use proxymgr_actors::decide::quoting::{joined, quoted, split_line};
use proxymgr_actors::decide::rejection::named_services;
use proxymgr_actors::decide::server_ids::ServerIds;
use proxymgr_actors::decide::{host_record, service_definition};
use proxymgr_actors::model::{
    BaseConfig, Descriptors, Host, HostList, ProxyManagement, ProxyVersion, RawDefinition, ServerName,
    ServiceDefinition, ServiceName, Word,
};
use serde_json::json;

fn define(name: &str, keys: &serde_json::Value) -> Result<ServiceDefinition, Vec<String>> {
    let raw = RawDefinition::new(keys.to_string(), "a test");
    service_definition::parse(name, &raw, &OptionPolicy::default()).map(|parsed| parsed.definition)
}

fn host(keys: &serde_json::Value) -> Result<Host, String> {
    host_record::from_json_value(keys, &OptionPolicy::default()).map(|record| Host::clone(&record.host))
}

fn hosts(named: &[(&str, serde_json::Value)]) -> HostList {
    named
        .iter()
        .map(|(name, keys)| (ServerName::new(name).expect("a good name"), host(keys).expect("a good host").into()))
        .collect()
}

fn base_of(global: &[&str], defaults: &[&str]) -> BaseConfig {
    let lines = |lines: &[&str]| lines.iter().map(|&line| line.to_owned()).collect();
    BaseConfig {
        files: Vec::new(),
        global: lines(global),
        defaults: lines(defaults),
        socket_path: "/run/haproxy/stats.sock".into(),
        map_path: "/etc/haproxy/haproxy.cfg.domains".into(),
        state_file: None,
        management: ProxyManagement::Supervised,
    }
}

fn held(definition: &ServiceDefinition, descriptor: Option<i32>) -> Descriptors {
    definition.addresses().map(|address| (address, descriptor)).collect()
}

fn texts(words: &[Word]) -> Vec<&str> {
    words.iter().map(Word::as_str).collect()
}

const V2_2: Option<ProxyVersion> = Some(ProxyVersion { major: 2, minor: 2 });
const V2_6: Option<ProxyVersion> = Some(ProxyVersion { major: 2, minor: 6 });

#[test]
fn section_contains_socket_options_and_sorted_servers() {
    let definition = define(
        "web",
        &json!({"type": "file", "port": 8080, "listen_options": ["balance roundrobin", "http-request set-header X-A \"it's $HOME\""],
                "server_options": ["check inter 2000"]}),
    )
    .expect("a good definition");
    let hosts = hosts(&[
        ("b", json!({"address": "2001:db8::1", "port": 80, "weight": 0, "backup": true, "cookie": "c'1"})),
        ("a", json!({"address": "10.0.0.1", "port": 80, "options": "weight 7 maxconn 5", "weight": 9})),
        ("c", json!({"address": "c.example", "port": 81, "state": "maint"})),
        ("d", json!({"address": "10.0.0.4", "port": 80, "state": "drain"})),
    ]);
    let style = SectionStyle { http_by_default: true, idle_close: true, ..SectionStyle::default() };
    let expected = "\
listen web
    # clients connect to 0.0.0.0:8080
    bind fd@7
    balance roundrobin
    http-request set-header X-A 'it'\\''s $HOME'
    option idle-close-on-response
    server a 10.0.0.1:80 id A check inter 2000 weight 7 maxconn 5 weight 9
    server b [2001:db8::1]:80 id B check inter 2000 weight 0 backup cookie 'c'\\''1'
    server c c.example:81 id C check inter 2000 disabled
    server d 10.0.0.4:80 id D check inter 2000 disabled

";
    let ids = ServerIds::default();
    let expected =
        hosts.iter().zip(["id A", "id B", "id C", "id D"]).fold(expected.to_owned(), |text, ((name, host), id)| {
            text.replace(id, &format!("id {}", ids.of(name, &host.endpoint)))
        });
    assert_eq!(&*section(&definition, &held(&definition, Some(7)), &hosts, &ids, style), expected);
    let without_socket = expected.replace("    bind fd@7\n", "");
    assert_eq!(&*section(&definition, &Descriptors::new(), &hosts, &ids, style), without_socket);
}

#[test]
fn hosts_with_priorities_are_in_their_order() {
    let definition = define("web", &json!({"type": "static"})).expect("a good definition");
    let placed = |places: &[(&str, Option<u16>)]| {
        let place = |(name, priority): &(&str, Option<u16>)| {
            let host =
                Host { priority: *priority, ..host(&json!({"address": "10.0.0.1", "port": 80})).expect("a host") };
            (ServerName::new(name).expect("a good name"), host.into())
        };
        places.iter().map(place).collect::<HostList>()
    };
    let names = |text: &str| {
        let servers = text.lines().filter_map(|line| line.trim().strip_prefix("server "));
        Vec::from_iter(servers.map(|rest| rest.split(' ').next().unwrap_or_default().to_owned()))
    };
    let style = SectionStyle::default();
    let lists = [
        placed(&[("a", None), ("b", None)]),
        placed(&[("a", Some(3)), ("b", Some(1)), ("c", None), ("d", Some(2))]),
        placed(&[("a", Some(1)), ("b", Some(2)), ("d", Some(0))]),
        placed(&[("a", None), ("d", None)]),
    ];
    let orders = [vec!["a", "b"], vec!["b", "d", "a", "c"], vec!["d", "a", "b"], vec!["a", "d"]];
    let ids = ServerIds::default();
    for ((before, after), order) in lists.iter().zip(lists.iter().cycle().skip(1)).zip(orders.iter().cycle().skip(1)) {
        let text = section(&definition, &Descriptors::new(), after, &ids, style);
        assert_eq!(names(&text), *order);
        let text_before = section(&definition, &Descriptors::new(), before, &ids, style);
        assert_eq!(section_after((&text_before, before), &definition, after, &ids, style), text);
        assert_eq!(
            parse_sections(&format!("{}{text}", base::text(&base_of(&[], &[]))))
                .into_values()
                .next()
                .expect("one")
                .order
                .len(),
            order.len()
        );
    }
}

#[test]
fn tcp_section_gets_tcplog_where_defaults_log_http() {
    for (defaults, options, expected) in [
        (vec!["mode http", "log-format %HM"], vec!["mode tcp"], true),
        (vec!["mode http", "option httplog"], vec!["mode tcp"], true),
        (vec!["log-format '%ci %{+Q}r'"], vec![], true),
        (vec!["mode http", "log-format %HM"], vec![], false),
        (vec!["mode http", "log-format %ci"], vec!["mode tcp"], false),
        (vec!["mode http", "option tcplog"], vec!["mode tcp"], false),
        (vec!["mode http", "log-format %HM"], vec!["mode tcp", "log-format %ci"], false),
        (vec!["mode http", "log-format %HM"], vec!["mode tcp", "option tcplog"], false),
        (vec!["mode http"], vec!["mode tcp"], false),
    ] {
        let style = SectionStyle::of(&base::layout(&base_of(&[], &defaults)), V2_6);
        let definition =
            define("web", &json!({"type": "file", "port": 80, "listen_options": options})).expect("good lines");
        let without = section_header(&definition, SectionStyle { http_log_by_default: false, ..style });
        let added = if expected { "    option tcplog\n" } else { "" };
        assert_eq!(*section_header(&definition, style), format!("{without}{added}"), "{defaults:?} {options:?}");
    }
}

#[test]
fn idle_close_is_added_to_http_sections_by_default() {
    for (version, defaults, options, expected) in [
        (V2_6, vec!["mode http"], vec![], true),
        (V2_6, vec![], vec!["mode http"], true),
        (V2_6, vec!["mode http", "mode tcp"], vec![], false),
        (V2_6, vec!["mode http"], vec!["mode tcp"], false),
        (V2_6, vec![], vec![], false),
        (V2_2, vec!["mode http"], vec![], false),
        (None, vec!["mode http"], vec![], false),
        (V2_6, vec!["mode http", "option idle-close-on-response"], vec![], false),
        (V2_6, vec!["mode http"], vec!["no option idle-close-on-response"], false),
    ] {
        let style = SectionStyle::of(&base::layout(&base_of(&[], &defaults)), version);
        let definition =
            define("web", &json!({"type": "file", "port": 80, "listen_options": options})).expect("good lines");
        let header = section_header(&definition, style);
        let added = header.contains("    option idle-close-on-response\n");
        assert_eq!(added, expected, "{version:?} {defaults:?} {options:?}");
    }
}

#[test]
fn base_contains_the_operators_lines_and_the_socket() {
    let text = base::text(&base_of(&["maxconn 1000", "  log stdout local0"], &["mode http", "timeout connect 1s"]));
    let expected = "
global
    maxconn 1000
    log stdout local0
    stats socket fd@3 level admin
    stats timeout 2m

defaults
    default-server init-addr libc,last,none
    mode http
    timeout connect 1s
    timeout client 1m
    timeout server 1m

# The services, one section each.

";
    let (header, rest) = text.split_at(text.find("\nglobal").expect("there is a global section"));
    assert_eq!(rest, expected);
    assert!(header.contains("Written by proxymgr") && header.contains("edits are lost"));
}

#[test]
fn base_config_has_no_duplicate_lines() {
    let own_socket = "stats socket /run/haproxy/stats.sock level admin user haproxy";
    let text = base::text(&base_of(&[own_socket, "stats timeout 1h"], &[]));
    assert_eq!(text.matches("stats socket").count(), 1);
    assert_eq!(text.matches("stats timeout").count(), 1);
    let other_socket = base::text(&base_of(&["stats socket /run/other.sock"], &[]));
    assert_eq!(other_socket.matches("stats socket").count(), 2, "another socket does not replace ours");
}

#[test]
fn stats_socket_is_inherited_only_from_this_daemon() {
    let ours = base_of(&[], &[]);
    assert!(inherited_stats_socket(base::text(&ours).lines()).is_some_and(|socket| !socket.exposes_listeners));
    let own_line = base_of(&["stats socket /run/haproxy/stats.sock level admin"], &[]);
    assert!(inherited_stats_socket(base::text(&own_line).lines()).is_none());
    let delegated = base::text(&BaseConfig { management: ProxyManagement::Delegated, ..ours });
    assert!(inherited_stats_socket(delegated.lines()).is_none());
    assert!(delegated.contains("stats socket /run/haproxy/stats.sock mode 600 level admin expose-fd listeners\n"));
}

#[test]
fn defaults_without_lines_have_timeouts() {
    let text = base::text(&base_of(&[], &[]));
    for line in ["timeout connect", "timeout client", "timeout server"] {
        assert!(text.contains(line), "{line}");
    }
}

#[test]
fn options_of_added_server_equal_those_of_the_file() {
    let lines = ["default-server check inter 1s", "mode tcp", "default-server fall 2"];
    let definition = define("web", &json!({"type": "file", "listen_options": lines, "server_options": "maxconn 3"}))
        .expect("a good definition");
    let host = host(&json!({"address": "10.0.0.1", "port": 1, "weight": 5, "state": "maint"})).expect("a good host");
    assert_eq!(texts(&server_words(&definition, &host)), ["maxconn", "3", "weight", "5"]);
    assert_eq!(texts(&default_server_words(&definition)), ["check", "inter", "1s", "fall", "2"]);
    let base_config = base_of(&[], &["mode http", "default-server  rise 3 # slowly", "timeout connect 1s"]);
    assert_eq!(texts(&base::layout(&base_config).default_server_words()), ["rise", "3"]);
}

#[test]
fn written_file_can_be_parsed_with_any_descriptors() {
    let base_config =
        base::text(&base_of(&[], &["mode http", "listen stats", "server trap 10.0.0.9:1", "", "listen b"]));
    let style = SectionStyle::default();
    let web = define("web", &json!({"type": "file", "port": 80, "listen_options": ["mode http"]})).expect("good");
    let db = define("db", &json!({"type": "file", "port": 81})).expect("good");
    let web_hosts = hosts(&[("s1", json!({"address": "10.0.0.1", "port": 80}))]);
    let ids = ServerIds::default();
    let text = format!(
        "{base_config}{}{}",
        section(&web, &held(&web, Some(9)), &web_hosts, &ids, style),
        section(&db, &Descriptors::new(), &hosts(&[]), &ids, style)
    );

    let sections = parse_sections(&text);
    assert_eq!(
        sections.keys().map(ServiceName::as_str).collect::<Vec<_>>(),
        ["db", "web"],
        "the operator's are not ours"
    );
    let loaded = &sections[&web.name];
    assert_eq!(loaded.header, *section_header(&web, style));
    let (name, host) = web_hosts.first().expect("one host");
    let line = server_line(&web, name, host, Some(&ids), style);
    assert_eq!(loaded.server_lines, BTreeMap::from([(name.clone(), line)]));
    assert_eq!(sections[&db.name].server_lines.len(), 0);
    assert_eq!(sections[&db.name].header, *section_header(&db, style), "a socket of HAProxy is no option");
    assert!(parse_sections("listen foreign\n    server a 10.0.0.1:80\n").is_empty(), "a file that is not ours");
    assert!(parse_sections("").is_empty());
}

#[test]
fn another_port_is_another_head() {
    let header = |port: u16| {
        let definition = define("web", &json!({"type": "file", "port": port})).expect("good");
        section_header(&definition, SectionStyle::default())
    };
    assert_ne!(header(80), header(81));
}

#[test]
fn refused_service_is_found_by_line_or_name() {
    let service = |name: &str| ServiceName::new(name).expect("a good name");
    let pieces: Vec<Arc<str>> =
        ["# base\nglobal\n\n", "listen web\n    mode http\n\n", "listen db\n    mode tcp\n\n"].map(Arc::from).to_vec();
    let index = LineIndex::of(&pieces);
    let names = BTreeSet::from([service("web"), service("db"), service("default")]);
    for (line, text, expected) in [
        // The messages of HAProxy 2.2, 2.6, 3.0 and 3.2.
        (Some(4), "parsing [/c:4] : 'cookie' expects <cookie_name> as argument.", Some("web")),
        (Some(6), "parsing [/c:6]: unable to find userlist 'web' referenced in proxy 'db'.", Some("web")),
        (Some(7), "anything", Some("db")),
        (None, "config : Proxy 'web': unable to find stick-table 'db'.", Some("web")),
        (
            None,
            "unable to find userlist 'db' referenced in arg 1 of ACL keyword 'http_auth' in proxy 'web'.",
            Some("web"),
        ),
        (None, "config : proxy 'db', server 's1': unable to find required resolvers 'web'", Some("db")),
        (None, "config : [/c] : 'server web/s1' : verify is enabled by default but no CA file", Some("web")),
        (None, "proxy 'unheard-of': no", None),
        (None, "unable to find stick-table 'web'.", None),
        (None, "Fatal errors found in configuration.", None),
        (Some(2), "parsing [/c:2] : unknown keyword 'x' in 'global' section", None),
        (Some(0), "nothing", None),
        (Some(4), "[WARNING] (1) : config : [/c:4] : odd", None),
        (None, "it's not 'closed", None),
    ] {
        let found = named_services([(line, text)], &index, &names);
        assert_eq!(found, expected.map(service).into_iter().collect(), "{line:?} {text}");
    }
    let two = named_services([(Some(4), "a"), (None, "Proxy 'db': b"), (Some(5), "c")], &index, &names);
    assert_eq!(two, BTreeSet::from([service("web"), service("db")]));
}

/// Generates texts that would do harm if they reached the file unquoted.
fn hostile_text() -> impl Strategy<Value = String> {
    let fragment = prop_oneof![
        "\\PC{0,8}",
        any::<String>().prop_map(|text| text.chars().take(8).collect()),
        proptest::sample::select(vec![
            "\n",
            "\r\n",
            "\nglobal\n",
            "\n    server x 10.0.0.1:1",
            "'",
            "\"",
            "\\",
            "\\n",
            "\\'",
            "#",
            ";",
            "<<",
            "$HOME",
            "${HOME}",
            " ",
            "\t",
            "\0",
            "\u{85}",
            "\u{2028}",
            "\u{FDD0}",
            "'\n'",
            "%[env(HOME)]",
            "listen",
            "server ",
            "bind fd@1",
            "x",
            "\\x0a",
            "\\\\",
            "' '",
            "\" \"",
        ])
        .prop_map(str::to_owned),
    ];
    proptest::collection::vec(fragment, 0..5).prop_map(|fragments| fragments.concat())
}

/// Generates the text within single quotes, as an author may write it, or unquoted.
fn perhaps_quoted() -> impl Strategy<Value = String> {
    (hostile_text(), any::<bool>())
        .prop_map(|(text, quoted)| if quoted { format!("'{}'", text.replace('\'', r"'\''")) } else { text })
}

/// Generates lines that may be allowed, with hostile ends.
fn hostile_line() -> impl Strategy<Value = String> {
    let beginnings = [
        "http-request set-header X ",
        "acl a path ",
        "mode ",
        "",
        "log-format ",
        "option ",
        "no ",
        "default-server cookie ",
    ];
    (proptest::sample::select(beginnings.to_vec()), perhaps_quoted())
        .prop_map(|(beginning, end)| beginning.to_owned() + &end)
}

/// Generates a definition of hostile parts. Parts that are refused alone are left out, so that the accepted ones are
/// tested.
fn hostile_definition() -> impl Strategy<Value = ServiceDefinition> {
    let server_options = perhaps_quoted().prop_map(|text| format!("check cookie {text}"));
    let port = prop_oneof![Just(json!(8080)), hostile_text().prop_map(|text| json!(text))];
    (hostile_text(), port, proptest::collection::vec(hostile_line(), 0..9), server_options).prop_map(
        |(name, port, mut lines, options)| {
            let policy = OptionPolicy::default();
            lines.retain(|line| policy.listen_line("web", line).is_ok());
            let mut keys = json!({"type": "file", "listen_options": lines});
            for (key, value) in [("port", port), ("server_options", json!(options))] {
                if define("web", &json!({"type": "file", key: value.clone()})).is_ok() {
                    keys[key] = value;
                }
            }
            define(&name, &keys).or_else(|_| define("web", &keys)).expect("every part of it is good")
        },
    )
}

fn hostile_host() -> impl Strategy<Value = serde_json::Value> {
    let or_good = |good: &'static str| prop_oneof![3 => Just(good.to_owned()), 1 => hostile_text()];
    (or_good("10.0.0.1"), or_good("80"), or_good("c1"), or_good("check")).prop_map(|(address, port, cookie, options)| {
        json!({"address": address, "port": port, "cookie": cookie, "options": options})
    })
}

/// Generates a word that was parsed by [`split_line`].
fn word() -> impl Strategy<Value = Word> {
    hostile_text().prop_filter_map("not a word", |text| {
        let text: String = text.chars().filter(|c| !c.is_control()).collect();
        Word::new(&text).ok().filter(|word| {
            !word.as_str().contains(|c: char| ('\u{FDD3}'..='\u{FDEF}').contains(&c) || (c as u32) & 0xFFFE == 0xFFFE)
        })
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn a_quoted_word_reads_back_as_itself(words in proptest::collection::vec(word(), 1..6)) {
        let line = joined(&words);
        prop_assert!(!line.chars().any(|c| c.is_control()), "{:?}", line);
        prop_assert_eq!(split_line(&line), Ok(words));
    }

    #[test]
    fn rewritten_line_has_the_same_meaning(line in hostile_line()) {
        if let Ok(words) = split_line(&line) {
            prop_assert_eq!(split_line(&joined(&words)), Ok(words));
        }
    }

    #[test]
    fn no_input_adds_a_line_or_begins_one(
        definition in hostile_definition(),
        host_keys in proptest::collection::vec(hostile_host(), 0..3),
        descriptor in proptest::option::of(3..9),
    ) {
        let hosts: HostList = host_keys.iter().filter_map(|keys| host(keys).ok()).enumerate()
            .map(|(i, host)| (ServerName::new(&format!("s{i}")).expect("a good name"), host.into())).collect();
        let style = SectionStyle { http_by_default: true, ..SectionStyle::default() };
        let ids = ServerIds::default();
        let text = section(&definition, &held(&definition, descriptor), &hosts, &ids, style);

        let keyword = if definition.listen.is_some() { "listen" } else { "backend" };
        let mut expected = vec![format!("{keyword} {}", definition.name)];
        expected.extend(definition.listen.map(|_| "    #".to_owned()));
        expected.extend(descriptor.filter(|_| definition.listen.is_some()).map(|_| "    bind".to_owned()));
        expected.extend(definition.listen_options.iter().map(|words| format!("    {}", quoted(&words[0]))));
        expected.extend(hosts.keys().map(|name| format!("    server {name} ")));
        expected.push(String::new());
        let lines: Vec<&str> = text.split('\n').collect();
        prop_assert_eq!(lines.len(), expected.len() + 1, "{}", text);
        for (line, beginning) in lines.iter().zip(&expected) {
            prop_assert!(line.starts_with(beginning.as_str()), "{:?} does not begin with {:?}", line, beginning);
            prop_assert!(!line.chars().any(char::is_control), "{:?}", line);
            let is_our_comment = line.starts_with("    # ");
            prop_assert!(is_our_comment || split_line(line).is_ok(), "{:?}", line);
        }

        let base_config = base::text(&base_of(&[], &[]));
        let sections = parse_sections(&format!("{base_config}{text}"));
        prop_assert_eq!(sections.len(), 1);
        let loaded = &sections[&definition.name];
        prop_assert_eq!(loaded.header.as_str(), &*section_header(&definition, style));
        let written: BTreeMap<_, _> =
            hosts.iter().map(|(name, host)| (name.clone(), server_line(&definition, name, host, Some(&ids), style))).collect();
        prop_assert_eq!(&loaded.server_lines, &written);

        let fewer: HostList = hosts.iter().skip(1).map(|(name, host)| (name.clone(), host.clone())).collect();
        let text_of_fewer = section(&definition, &held(&definition, descriptor), &fewer, &ids, style);
        prop_assert_eq!(&section_after((&text, &hosts), &definition, &fewer, &ids, style), &text_of_fewer);
        prop_assert_eq!(&section_after((&text_of_fewer, &fewer), &definition, &hosts, &ids, style), &text);
        let mut others = hosts.clone();
        others.iter_mut().for_each(|(_, host)| std::sync::Arc::make_mut(host).weight = Some(77));
        let text_of_others = section(&definition, &held(&definition, descriptor), &others, &ids, style);
        prop_assert_eq!(&section_after((&text, &hosts), &definition, &others, &ids, style), &text_of_others);

        let index = LineIndex::of(&[base_config.as_str().into(), text.clone()]);
        let first = base_config.matches('\n').count() + 1;
        prop_assert_eq!(index.service_at(first - 1), None);
        for line in first..first + expected.len() {
            prop_assert_eq!(index.service_at(line), Some(&definition.name));
        }
    }
}
