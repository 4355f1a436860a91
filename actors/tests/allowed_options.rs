//! The grammar against tables of accepted and refused lines.

#[path = "../../fuzz/properties.rs"]
mod properties;

use proptest::prelude::*;
use proxymgr_actors::decide::grammar::samples;
use proxymgr_actors::decide::haproxy_config::{SectionStyle, section_header};
use proxymgr_actors::decide::option_policy::OptionPolicy;
use proxymgr_actors::decide::quoting::{joined, split_line};
use proxymgr_actors::decide::service_definition;
use proxymgr_actors::model::{RawDefinition, ServiceDefinition, Word};
use serde_json::json;

fn policy() -> OptionPolicy {
    OptionPolicy::default()
}

/// Returns the result for a line of a table: `> OPTIONS` are server options.
fn judged(service: &str, line: &str) -> Result<Vec<Word>, String> {
    match line.strip_prefix("> ") {
        Some(options) => policy().server_options(&[options.to_owned()]),
        None => policy().listen_line(service, line),
    }
}

/// Returns the lines of the table with the services that they belong to, without the marks of versions.
fn accepted() -> Vec<(&'static str, &'static str)> {
    let mut service = "";
    let mut lines = Vec::new();
    for line in properties::ACCEPTED.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        match line.strip_prefix("= ") {
            Some(name) => service = name,
            None if line.starts_with('@') => lines.push((service, line.split_once(' ').expect("a mark and a line").1)),
            None => lines.push((service, line)),
        }
    }
    lines
}

#[test]
fn lines_of_public_configurations_are_accepted() {
    let lines = accepted();
    let refused = lines.iter().filter_map(|(service, line)| Some(format!("{line}: {}", judged(service, line).err()?)));
    assert_eq!(Vec::from_iter(refused), Vec::<String>::new());
    assert!(lines.len() >= 416, "{} lines", lines.len());
}

#[test]
fn lines_of_one_service_are_accepted_together() {
    let lines = accepted();
    for service in lines.iter().map(|(service, _)| *service).collect::<std::collections::BTreeSet<_>>() {
        let own = lines.iter().filter(|(name, line)| *name == service && !line.starts_with("> "));
        let own = Vec::from_iter(own.map(|(_, line)| (*line).to_owned()));
        let refused = policy().listen_options(service, &own).err();
        assert_eq!(refused, None, "{service}");
    }
}

#[test]
fn attacks_are_refused() {
    let lines = Vec::from_iter(properties::REFUSED.lines().filter(|line| !line.is_empty() && !line.starts_with("# ")));
    let mut accepted = Vec::new();
    for line in &lines {
        let mut text = (*line).to_owned();
        for (escape, character) in
            [("\\u000a", '\n'), ("\\u000d", '\r'), ("\\u0000", '\0'), ("\\u2028", '\u{2028}'), ("\\ufdd0", '\u{FDD0}')]
        {
            text = text.replace(escape, &character.to_string());
        }
        match judged("web", &text) {
            Ok(words) => accepted.push(format!("{line}: {words:?}")),
            Err(reason) => {
                assert!(!reason.chars().any(char::is_control), "the reason breaks the log's line: {reason:?}")
            }
        }
    }
    assert_eq!(accepted, Vec::<String>::new());
    assert!(lines.len() >= 150, "{} lines", lines.len());
}

#[test]
fn samples_of_the_table_are_accepted_and_keep_their_words() {
    for seed in 0..3_000 {
        let words = samples::line(&mut samples::choices(seed));
        let words = Vec::from_iter(words.iter().map(|word| Word::new(word).unwrap()));
        let line = joined(&words);
        let read = policy().listen_line("web", &line).unwrap_or_else(|reason| panic!("{line}: {reason}"));
        assert_eq!(read, words, "{line}");
        assert_eq!(split_line(&joined(&read)).unwrap(), read, "{line}");
    }
}

#[test]
fn properties_hold_for_the_seeds() {
    for (is_server, text) in properties::seeds() {
        if is_server { properties::server_options(&text) } else { properties::listen_line(&text) }
    }
}

/// A text of the seeds with some characters replaced, doubled or removed.
fn mutated() -> impl Strategy<Value = String> {
    let piece = proptest::sample::select(vec![
        "", " ", "'", "\"", "\\", "#", ",", "(", ")", "%[", "]", "{", "}", "proc.", "env(X)", " addr ", "unix@/x",
        "\\x", "\n", "\u{FDD0}", "$X", "a", "0", "-f", "!", "\t", "é",
    ]);
    let changes = proptest::collection::vec((any::<prop::sample::Index>(), 0..3_usize, piece), 1..5);
    (proptest::sample::select(properties::seeds()), changes).prop_map(|((_, mut text), changes)| {
        for (at, removed, piece) in changes {
            let mut characters = Vec::from_iter(text.chars());
            let at = at.index(characters.len() + 1);
            let end = (at + removed).min(characters.len());
            characters.splice(at..end, piece.chars());
            text = characters.into_iter().collect();
        }
        text
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn properties_hold_for_changed_seeds(text in mutated()) {
        properties::listen_line(&text);
        properties::server_options(&text);
    }
}

fn define(lines: &[String]) -> Result<ServiceDefinition, Vec<String>> {
    let raw = RawDefinition::new(json!({"type": "static", "listen_options": lines}).to_string(), "a test");
    service_definition::parse("web", &raw, &policy()).map(|parsed| parsed.definition)
}

#[test]
fn statistics_show_the_own_section_only() {
    for (lines, times) in [
        (vec!["mode http", "stats enable"], 1),
        (vec!["stats uri /s", "stats auth a:b"], 1),
        (vec!["stats enable", "stats scope ."], 1),
        (vec!["mode http"], 0),
    ] {
        let definition = define(&lines.iter().map(|&line| line.to_owned()).collect::<Vec<_>>()).unwrap();
        let header = section_header(&definition, SectionStyle::default());
        assert_eq!(header.matches("    stats scope .\n").count(), times, "{lines:?}");
    }
}

#[test]
fn acl_is_defined_before_its_use() {
    let lines = |lines: &[&str]| lines.iter().map(|&line| line.to_owned()).collect::<Vec<_>>();
    assert!(define(&lines(&["acl a path /", "http-request deny if a !a or { src 10.0.0.1 } METH_GET"])).is_ok());
    for refused in
        [&["http-request deny if a"][..], &["http-request deny if a", "acl a path /"], &["monitor fail if TRUE a"]]
    {
        assert!(define(&lines(refused)).is_err(), "{refused:?}");
    }
}

#[test]
fn service_is_bounded_as_a_whole() {
    let acl = |regex: &str| format!("acl x path_reg {regex}");
    let of_rules = |count: usize, rule: &str| vec![rule.to_owned(); count];
    for (accepted, refused) in [
        (vec![acl("^/a"); 64], vec![acl("^/a"); 65]),
        // Each takes a twenty-fifth of a second.
        (
            of_rules(4, "http-request deny if { path_reg a*[bc] }"),
            of_rules(5, "http-request deny if { path_reg a*[bc] }"),
        ),
        (
            [vec![acl("a*[bc]")], of_rules(4, "http-request deny if x")].concat(),
            [vec![acl("a*[bc]")], of_rules(5, "http-request deny if x")].concat(),
        ),
        // A header has up to 7,000 values, each of which the test looks at, for each use.
        (
            [vec!["acl x hdr(a) z".to_owned()], of_rules(300, "http-request deny if x")].concat(),
            [vec!["acl x hdr(a) z".to_owned()], of_rules(300, "http-request deny if x !x")].concat(),
        ),
        (
            [vec!["acl x cook(a) z".to_owned()], of_rules(300, "ignore-persist if x")].concat(),
            [vec!["acl x cook(a) z".to_owned()], of_rules(400, "ignore-persist if x")].concat(),
        ),
        (
            of_rules(300, "http-request deny if { urlp(a) z }"),
            of_rules(300, "http-request deny if { urlp(a),lower -m str z }"),
        ),
        (
            of_rules(30, "redirect location / if { req.hdr(a),sha2(256),hex -m str z }"),
            of_rules(40, "redirect location / if { req.hdr(a),sha2(256),hex -m str z }"),
        ),
        (
            [vec!["acl x hdr_cnt(a) 1".to_owned()], of_rules(400, "http-request deny if x x x x")].concat(),
            [vec!["acl x hdr_cnt(a) 1".to_owned()], of_rules(400, "http-request deny if x x x x x x")].concat(),
        ),
        (
            [vec!["acl x req.fhdr(a),regsub(b,c,g) -m str z".to_owned()], of_rules(60, "http-request deny if x")]
                .concat(),
            [vec!["acl x req.fhdr(a),regsub(b,c,g) -m str z".to_owned()], of_rules(80, "http-request deny if x")]
                .concat(),
        ),
        // Each byte of a text is compared with each of the list.
        (
            of_rules(8, &format!("http-request set-var(txn.x) path,field(9,{})", "b".repeat(2_000))),
            of_rules(10, &format!("http-request set-var(txn.x) path,field(9,{})", "b".repeat(2_000))),
        ),
        (of_rules(4, "capture cookie A len 4096"), of_rules(5, "capture cookie A len 4096")),
        (of_rules(1, "stick-table type ip size 1m"), of_rules(3, "stick-table type ip size 1m")),
        (
            of_rules(8, &format!("description {}", "a".repeat(8_000))),
            of_rules(9, &format!("description {}", "a".repeat(8_000))),
        ),
    ] {
        assert!(define(&accepted).is_ok(), "{:?}: {:?}", accepted[0], define(&accepted));
        assert!(define(&refused).is_err(), "{:?}", refused[0]);
    }
}

#[test]
fn stored_line_breaks_do_not_reach_the_log() {
    let log = r#"log-format "%[var(txn.a)]""#.to_owned();
    for (stores, is_refused) in [
        ("http-request set-var(txn.a) bin(0a)", true),
        ("http-request set-var(txn.a) req.hdr(x),b64dec", true),
        ("http-request set-var(txn.a) req.hdr(x) url_dec", true),
        ("tcp-request content set-var-fmt(txn.a) %[bin(0a)]", true),
        (r"tcp-request content set-var-fmt(txn.a) a\nb", true),
        ("http-request capture req.body len 100", true),
        ("http-request set-header X %[bin(0a),set-var(txn.b)]", true),
        ("http-request deny if { req.hdr(x),b64dec,set-var(txn.b) -m found }", true),
        ("http-request set-var(txn.a) bin(0a),hex", false),
        ("http-request set-header X %[bin(0a)]", false),
        ("http-request set-var(txn.a) req.hdr(x),lower", false),
    ] {
        assert!(define(&[stores.to_owned()]).is_ok(), "{stores}");
        let together = define(&[log.clone(), stores.to_owned()]);
        assert_eq!(together.is_err(), is_refused, "{stores}: {together:?}");
    }
}

#[test]
fn operator_grants_a_fetch_or_a_converter_by_its_name() {
    let granting = OptionPolicy { extra: vec!["http_auth".to_owned(), "map".to_owned()], ..policy() };
    for line in ["http-request auth unless { http_auth(users) }", "http-request set-header X %[src,map(/etc/x)]"] {
        assert!(policy().listen_line("web", line).is_err(), "{line}");
        assert!(granting.listen_line("web", line).is_ok(), "{line}");
    }
    assert!(granting.listen_line("web", "http-request set-header X %[src,map_ip(/etc/x)]").is_err());
}
