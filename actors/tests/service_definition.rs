//! Tests of definitions: their parsing, and that all mistakes are reported at once.

use proxymgr_actors::decide::option_policy::OptionPolicy;
use proxymgr_actors::decide::service_definition::{ParsedDefinition, is_own_key, parse};
use proxymgr_actors::limits::{DOMAINS_MAX, LISTEN_LINES_MAX, WILDCARD_LABELS_MAX};
use proxymgr_actors::model::{RawDefinition, Removal, ServiceUpdate, SlotRules, UpdateChoice};

fn read(text: &str) -> Result<ParsedDefinition, Vec<String>> {
    named("web", text)
}

fn named(name: &str, text: &str) -> Result<ParsedDefinition, Vec<String>> {
    parse(name, &RawDefinition::new(text, "znode /service_config/web"), &OptionPolicy::default())
}

#[test]
fn the_documented_definition_is_read() {
    let parsed = read(
        r#"{"type": "zookeeper", "server": "localhost:2181", "path": "/services/testservice",
            "listen_options": ["mode http"], "server_options": ["check inter 2000"]}"#,
    )
    .expect("the ancestor's own example");
    let definition = parsed.definition;
    assert_eq!(definition.source.kind, "zookeeper");
    assert_eq!(definition.source.settings.keys().collect::<Vec<_>>(), ["path", "server"]);
    assert_eq!(definition.listen_options.len(), 1);
    assert_eq!(definition.server_options.len(), 3);
    assert_eq!(definition.removal, Removal::default());
    assert_eq!(definition.listen, None);
    assert_eq!(parsed.warnings, Vec::<String>::new(), "a service may be a backend only");
}

#[test]
fn a_byte_order_mark_is_left_out() {
    assert!(read("\u{feff}{\"type\": \"static\", \"port\": 80}").is_ok());
}

#[test]
fn definitions_of_the_predecessor_are_read() {
    let settings = |text: &str| read(text).expect(text).definition.source.settings;
    let campanja = r#"{"type": "campanjazk", "server": "zk:2181", "path": "/a/", "port": 8080"#;
    assert_eq!(settings(&format!("{campanja}}}"))["remote_port"], 8080);
    assert_eq!(settings(&format!("{campanja}, \"remote_port\": 81}}"))["remote_port"], 81);
    let file = settings(r#"{"type": "file", "file": "/hosts", "port": 80}"#);
    assert_eq!((file.get("file"), file["path"].as_str()), (None, Some("/hosts")));
    let both = settings(r#"{"type": "file", "file": "/a", "path": "/b", "port": 80}"#);
    assert_eq!((both["file"].as_str(), both["path"].as_str()), (Some("/a"), Some("/b")));
    assert!(!settings(r#"{"type": "zookeeper", "path": "/a", "port": 80}"#).contains_key("remote_port"));
}

#[test]
fn unreadable_definition_has_only_its_cause() {
    let raw = RawDefinition::unreadable("the service web is already defined by /s/web.json", "/s/web.yml");
    let mistakes = parse("web", &raw, &OptionPolicy::default()).unwrap_err();
    assert_eq!(mistakes, ["the service web is already defined by /s/web.json"]);
}

#[test]
fn the_listening_address_is_read() {
    for (keys, expected) in [
        (r#""port": 8080"#, "0.0.0.0:8080"),
        (r#""port": "8080""#, "0.0.0.0:8080"),
        (r#""port": 8080, "bind": "*""#, "0.0.0.0:8080"),
        (r#""port": 8080, "bind": "127.0.0.1""#, "127.0.0.1:8080"),
        (r#""port": 8080, "bind": "::""#, "[::]:8080"),
        (r#""port": 8080, "bind": "[::1]""#, "[::1]:8080"),
        (r#""port": 8080, "bind": null"#, "0.0.0.0:8080"),
    ] {
        let parsed = read(&format!(r#"{{"type": "file", {keys}}}"#)).expect(keys);
        assert_eq!(parsed.definition.listen.map(|address| address.to_string()).as_deref(), Some(expected), "{keys}");
        assert_eq!(parsed.warnings, Vec::<String>::new(), "{keys}");
    }
}

#[test]
fn a_mistake_is_named_with_key_and_value() {
    for (text, parts) in [
        ("", &["no data"][..]),
        ("\u{feff} ", &["no data"]),
        ("nonsense", &["not JSON", "line 1"]),
        ("[]", &["[]", "object"]),
        ("{}", &["\"type\"", "missing"]),
        (r#"{"type": 7}"#, &["\"type\"", "7"]),
        (r#"{"type": ""}"#, &["\"type\"", "\"\""]),
        (r#"{"type": "file", "port": 0}"#, &["\"port\"", "0"]),
        (r#"{"type": "file", "port": 65536}"#, &["\"port\"", "65536"]),
        (r#"{"type": "file", "port": "80x"}"#, &["\"port\"", "80x"]),
        (r#"{"type": "file", "port": 80.5}"#, &["\"port\"", "80.5"]),
        (r#"{"type": "file", "port": [80]}"#, &["\"port\"", "[80]"]),
        (r#"{"type": "file", "bind": "10.0.0.1:80"}"#, &["\"bind\"", "10.0.0.1:80", "\"port\""]),
        (r#"{"type": "file", "bind": "*:80"}"#, &["\"bind\"", "*:80", "\"port\""]),
        (r#"{"type": "file", "bind": ":80"}"#, &["\"bind\"", ":80", "\"port\""]),
        (r#"{"type": "file", "bind": "eth0"}"#, &["\"bind\"", "eth0"]),
        (r#"{"type": "file", "bind": "fd@3"}"#, &["\"bind\"", "fd@3"]),
        (r#"{"type": "file", "bind": 7}"#, &["\"bind\"", "7"]),
        (r#"{"type": "file", "listen_options": 7}"#, &["\"listen_options\"", "7"]),
        (r#"{"type": "file", "listen_options": [["mode", "http"]]}"#, &["\"listen_options\"", "[\"mode\""]),
        (r#"{"type": "file", "listen_options": ["bind :80"]}"#, &["\"listen_options\"", "bind :80", "\"port\""]),
        (r#"{"type": "file", "listen_options": ["mode http\nglobal"]}"#, &["\"listen_options\"", "line break"]),
        (r#"{"type": "file", "listen_options": "global"}"#, &["\"listen_options\"", "another section"]),
        (r#"{"type": "file", "server_options": ["crt /x"]}"#, &["\"server_options\"", "crt"]),
        (r#"{"type": "file", "server_options": {"check": true}}"#, &["\"server_options\"", "{\"check\""]),
        (r#"{"type": "file", "min_hosts": -1}"#, &["\"min_hosts\"", "-1"]),
        (r#"{"type": "file", "min_hosts": 1.5}"#, &["\"min_hosts\"", "1.5"]),
        (r#"{"type": "file", "max_removal": 1.1}"#, &["\"max_removal\"", "1.1"]),
        (r#"{"type": "file", "max_removal": "half"}"#, &["\"max_removal\"", "half"]),
    ] {
        let mistakes = read(text).map(|parsed| panic!("{text} is read as {parsed:?}")).unwrap_err();
        assert_eq!(mistakes.len(), 1, "{text}: {mistakes:?}");
        for part in parts {
            assert!(mistakes[0].contains(part), "{text}: {:?} lacks {part:?}", mistakes[0]);
        }
        assert!(!mistakes[0].chars().any(char::is_control), "{mistakes:?}");
    }
}

#[test]
fn all_mistakes_are_named_at_once() {
    let text = r#"{"port": 0, "bind": "x", "listen_options": ["global", "mode http", "log 1.2.3.4"],
                   "server_options": "crt /x", "min_hosts": "few", "max_removal": 2}"#;
    let mistakes = named("a b", text).unwrap_err();
    assert_eq!(mistakes.len(), 9, "{mistakes:#?}");
}

#[test]
fn a_name_that_cannot_be_a_section_is_refused() {
    let nested = named("team/web", "{\"type\": \"file\"}").unwrap_err();
    assert!(nested[0].contains("is in the folder \"team/\""), "{nested:?}");
    for name in ["", "a b", "a/b", "a\nb", "a;b", "a#b", "'a'", "é", "a$b"] {
        let mistakes = named(name, r#"{"type": "file", "port": 80}"#).unwrap_err();
        assert!(mistakes[0].starts_with("the service's name: "), "{name:?}: {mistakes:?}");
    }
}

#[test]
fn domains_are_read_once_each_and_in_lower_case() {
    let parsed = read(r#"{"type": "file", "port": 80, "domains": ["Example.org", "*.example.org", "example.org"]}"#);
    let domains = parsed.expect("good domains").definition.requests.domains;
    assert_eq!(domains.iter().map(|domain| domain.as_str()).collect::<Vec<_>>(), ["example.org", "*.example.org"]);
    let mistakes = read(r#"{"type": "file", "port": 80, "domains": ["exa mple"]}"#).expect_err("a space");
    assert!(
        mistakes.iter().any(|mistake| mistake.contains("\"domains\"") && mistake.contains("exa mple")),
        "{mistakes:?}"
    );
}

#[test]
fn strategy_and_slots_are_parsed_or_refused() {
    let update =
        |keys: &str| read(&format!(r#"{{"type": "static", "port": 80, {keys}}}"#)).map(|p| p.definition.update);
    let read = update(r#""update": "slots", "slots": {"base": 30, "min_free": 5}"#).unwrap();
    assert_eq!(read.choice, Some(UpdateChoice::Slots));
    assert_eq!(read.slots, Some(SlotRules { base: 30, grow_by: 30, min_free: 5 }));
    let ten = SlotRules { base: 10, grow_by: 10, min_free: 1 };
    assert_eq!(update(r#""slots": 10"#).unwrap(), ServiceUpdate { choice: None, slots: Some(ten) });
    for (keys, mistake) in [
        (
            r#""update": "slot""#,
            r#""update": "slot" is none of auto, dynamic, slots, toggle, reload; did you mean "slots"?"#,
        ),
        (r#""update": 3"#, r#""update": 3 is none of auto, dynamic, slots, toggle, reload"#),
        (r#""slots": 0"#, r#""slots": 0 is not a whole number from 1 to 10000"#),
        (r#""slots": {"grow_by": 5}"#, r#""slots": "base" is missing; it is the minimum number of slots"#),
        (r#""slots": {"base": 5, "min_free": -1}"#, r#""slots": min_free: -1 is not a whole number from 0 to 10000"#),
        (r#""slots": {"bas": 5}"#, r#""slots": "bas" is none of base, grow_by, min_free"#),
    ] {
        assert_eq!(update(keys).unwrap_err(), [mistake]);
    }
}

#[test]
fn lists_are_bounded() {
    let lines = |count| {
        format!(r#"{{"type": "file", "port": 80, "listen_options": [{}]}}"#, ["\"mode http\""; 502][..count].join(","))
    };
    assert!(read(&lines(LISTEN_LINES_MAX)).is_ok());
    assert!(read(&lines(LISTEN_LINES_MAX + 1)).is_err() && read(&lines(LISTEN_LINES_MAX + 2)).is_err());
    let domains = |count: usize| {
        let domains: Vec<_> = (0..count).map(|n| format!("\"a{n}.example\"")).collect();
        format!(r#"{{"type": "file", "port": 80, "domains": [{}]}}"#, domains.join(","))
    };
    assert!(read(&domains(DOMAINS_MAX)).is_ok());
    assert!(read(&domains(DOMAINS_MAX + 1)).is_err() && read(&domains(DOMAINS_MAX + 2)).is_err());
    let wildcard =
        |labels: usize| format!(r#"{{"type": "file", "port": 80, "domains": ["*.{}"]}}"#, vec!["a"; labels].join("."));
    assert!(read(&wildcard(WILDCARD_LABELS_MAX)).is_ok());
    assert!(read(&wildcard(WILDCARD_LABELS_MAX + 1)).is_err());
}

#[test]
fn useless_keys_are_warned_of() {
    for (keys, warnings) in [
        (r#""port": 80"#, 0),
        (r#""domains": ["a.example"]"#, 1),
        (r#""min_hosts": 1"#, 0),
        (r#""bind_options": ["tfo"]"#, 1),
        (r#""port": 80, "path_prefix": "/api""#, 1),
        (r#""port": 80, "path_prefix": "/""#, 0),
        (r#""port": 80, "path_prefix": "/api", "domains": ["a.example"]"#, 0),
        (r#""port": 80, "path_prefix": "/api", "default": true"#, 0),
        (r#""port": 80, "ramp_up": "30s""#, 1),
        (r#""port": 80, "ramp_up": "0s""#, 0),
        (r#""port": 80, "drain_timeout": "30s""#, 0),
        (r#""port": 80, "ramp_up": "30s", "server_options": ["weight 100"]"#, 0),
        (r#""port": 80, "ramp_up": "30s", "server_options": ["check"]"#, 1),
    ] {
        let parsed = read(&format!(r#"{{"type": "file", {keys}}}"#)).expect(keys);
        assert_eq!(parsed.warnings.len(), warnings, "{keys}: {:?}", parsed.warnings);
    }
}

#[test]
fn keys_of_the_service_are_not_those_of_the_source() {
    assert!(is_own_key("listen_options") && is_own_key("slots"));
    assert!(!is_own_key("path") && !is_own_key("server"));
}

#[test]
fn service_with_domains_has_no_variables_of_the_session() {
    let definition = |keys: &str, line: &str| {
        read(&format!(r#"{{"type": "static", "hosts": [], "port": 80, "listen_options": ["{line}"]{keys}}}"#))
    };
    let domains = r#", "domains": ["a.example"]"#;
    for line in [
        "http-request set-var(sess.a) src",
        "http-request set-header X %[var(sess.a)]",
        "http-request set-var(txn.a) str(b),concat(,sess.a)",
        "acl a var(sess.a) -m found",
        "http-request set-src hdr(x-fake)",
        "http-request set-src-port int(1) if TRUE",
        "http-request set-dst src",
        "tcp-request content set-dst-port int(1)",
        "http-request set-method HEAD",
        "http-request deny unless { var('sess.a') -m found }",
    ] {
        assert!(definition("", line).is_ok(), "{line}");
        assert!(definition(domains, line).is_err(), "{line}");
        assert!(definition(r#", "default": true"#, line).is_err(), "{line}");
    }
    assert!(definition(domains, "http-request set-var(txn.a) src").is_ok());
    assert!(definition(domains, r#"mode tcp", "tcp-request content set-var(sess.a) src"#).is_ok());
}
