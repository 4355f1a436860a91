//! Tests of host records in znodes and files, and of the messages for mistakes.

use std::num::NonZeroU16;

use proptest::prelude::*;
use proxymgr_actors::decide::host_record::{from_child, from_line};
use proxymgr_actors::decide::host_registration::{RegistrationRules, from_registration};
use proxymgr_actors::decide::option_policy::OptionPolicy;
use proxymgr_actors::model::{AdminState, Host, HostRecord};

fn policy() -> OptionPolicy {
    OptionPolicy::default()
}

fn from_json(data: &[u8]) -> Result<HostRecord, String> {
    from_registration(data, &RegistrationRules::default(), &policy()).map(|host| host.expect("no shard is asked for"))
}

fn json(text: &str) -> Result<Host, String> {
    from_json(text.as_bytes()).map(host_of)
}

fn host_of(record: HostRecord) -> Host {
    Host::clone(&record.host)
}

#[track_caller]
fn refused(result: Result<impl std::fmt::Debug, String>, input: &str, parts: &[&str]) {
    let reason = result.map(|host| panic!("{input} is read as {host:?}")).unwrap_err();
    for part in parts {
        assert!(reason.contains(part), "{input}: {reason:?} lacks {part:?}");
    }
}

#[test]
fn byte_order_mark_is_removed() {
    let host = json("\u{feff}{\"address\": \"1.2.3.4\", \"port\": 8080}").expect("editors write it");
    assert_eq!(host.endpoint.to_string(), "1.2.3.4:8080");
}

#[test]
fn the_documented_host_is_read() {
    let host = json(r#"{"address": "1.2.3.4", "port": 8080}"#).expect("the ancestor's own example");
    assert_eq!(host.endpoint.to_string(), "1.2.3.4:8080");
    assert_eq!(host, Host::at(host.endpoint.clone()));
}

#[test]
fn every_key_is_read() {
    let host = json(
        r#"{"address": "2001:db8::1", "port": "80", "name": "a", "weight": 0, "backup": true, "cookie": "c1",
            "state": "drain", "options": ["check inter 2s", "maxconn 5"], "zone": "b", "cookies": null}"#,
    )
    .expect("every key is good");
    assert_eq!(host.endpoint.to_string(), "[2001:db8::1]:80");
    assert_eq!(host.name.as_ref().map(|name| name.as_str()), Some("a"));
    assert_eq!((host.weight, host.backup, host.state), (Some(0), true, AdminState::Drain));
    assert_eq!(host.cookie.as_ref().map(|cookie| cookie.as_str()), Some("c1"));
    assert_eq!(host.options.len(), 5);
    let nulls = json(r#"{"address": "a.example", "port": 1, "name": null, "weight": null, "options": null}"#);
    assert!(nulls.is_ok(), "null is as good as absent: {nulls:?}");
}

#[test]
fn unknown_keys_are_reported_but_free_ones() {
    let unknown = |text: &str| {
        let record = from_json(text.as_bytes()).expect(text);
        Vec::from_iter(record.unknown_keys.iter().map(ToString::to_string))
    };
    assert_eq!(
        unknown(r#"{"address": "a.example", "port": 1, "zone": 1, "wieght": 5, "x-rack": 1, "_c": 1}"#),
        ["wieght", "zone"]
    );
    // Other tools may register further keys.
    assert_eq!(unknown(r#"{"host": "a.example", "port": 1, "zone": 1}"#), [""; 0]);
    let child = from_child("a.example:1", br#"{"weigth": 5}"#, None, &policy()).expect("a good name");
    assert_eq!(*child.unknown_keys, ["weigth".into()]);
    let line = from_line("a.example:1 x-rack=5 weight=3", &policy()).expect("a free key").expect("it is no comment");
    assert_eq!((line.host.weight, line.unknown_keys), (Some(3), vec![]));
}

#[test]
fn a_bad_host_is_refused_with_key_and_value() {
    for (text, parts) in [
        ("", &["no data"][..]),
        (" \n", &["no data"]),
        ("\u{feff}", &["no data"]),
        ("{", &["not JSON"]),
        ("10.0.0.1:80", &["not JSON"]),
        (r#"{"address": "http://a.example:80", "port": 80}"#, &["\"address\"", "is a URL"]),
        ("[]", &["a list", "object"]),
        ("7", &["7", "object"]),
        (r#"{"port": 80}"#, &["\"address\"", "missing"]),
        (r#"{"address": null, "port": 80}"#, &["\"address\"", "missing"]),
        (r#"{"address": "", "port": 80}"#, &["\"address\"", "empty"]),
        (r#"{"address": 5, "port": 80}"#, &["\"address\"", "5"]),
        (r#"{"address": "1.2.3.4"}"#, &["\"port\"", "missing"]),
        (r#"{"address": "1.2.3.4", "port": 0}"#, &["\"port\"", "0 is not"]),
        (r#"{"address": "1.2.3.4", "port": 65536}"#, &["\"port\"", "65536"]),
        (r#"{"address": "1.2.3.4", "port": 99999}"#, &["\"port\"", "99999"]),
        (r#"{"address": "1.2.3.4", "port": 80.5}"#, &["\"port\"", "80.5"]),
        (r#"{"address": "1.2.3.4", "port": -1}"#, &["\"port\"", "-1"]),
        (r#"{"address": "1.2.3.4", "port": "80x"}"#, &["\"port\"", "the string"]),
        (r#"{"address": "1.2.3.4", "port": "+80"}"#, &["\"port\"", "the string"]),
        (r#"{"address": "1.2.3.4", "port": ""}"#, &["\"port\"", "an empty string"]),
        (r#"{"address": "1.2.3.4", "port": true}"#, &["\"port\"", "true"]),
        (r#"{"address": "1.2.3.4:80", "port": 80}"#, &["\"address\"", "neither"]),
        (r#"{"address": "1.2.3.400", "port": 80}"#, &["\"address\"", "neither"]),
        (r#"{"address": "a b", "port": 80}"#, &["\"address\"", "neither"]),
        (r#"{"address": "a;b", "port": 80}"#, &["\"address\"", "neither"]),
        (r#"{"address": "a\nb", "port": 80}"#, &["\"address\"", "neither"]),
        (r#"{"address": "${HOME}", "port": 80}"#, &["\"address\"", "neither"]),
        (r#"{"address": "unix@/run/x", "port": 80}"#, &["\"port\"", "a unix socket has none"]),
        (r#"{"address": "unix@/run/../x"}"#, &["\"address\"", "absolute"]),
        (r#"{"address": "unix@/run/a b"}"#, &["\"address\"", "letters"]),
        (r#"{"address": "abns@x", "port": 80}"#, &["\"address\"", "neither"]),
        (r#"{"address": "/run/x", "port": 80}"#, &["\"address\"", "neither"]),
        (r#"{"address": "*", "port": 80}"#, &["\"address\"", "neither"]),
        (r#"{"address": "0.0.0.0", "port": 80}"#, &["\"address\"", "single host"]),
        (r#"{"address": "::", "port": 80}"#, &["\"address\"", "single host"]),
        (r#"{"address": "224.0.0.1", "port": 80}"#, &["\"address\"", "single host"]),
        (r#"{"address": "fe80::1%eth0", "port": 80}"#, &["\"address\"", "neither"]),
        (r#"{"address": "a.example", "port": 80, "name": "a b"}"#, &["\"name\"", "letters"]),
        (r#"{"address": "a.example", "port": 80, "name": ""}"#, &["\"name\"", "empty"]),
        (r#"{"address": "a.example", "port": 80, "weight": 257}"#, &["\"weight\"", "257"]),
        (r#"{"address": "a.example", "port": 80, "weight": -1}"#, &["\"weight\"", "-1"]),
        (r#"{"address": "a.example", "port": 80, "weight": 1.5}"#, &["\"weight\"", "1.5"]),
        (r#"{"address": "a.example", "port": 80, "backup": 1}"#, &["\"backup\"", "1"]),
        (r#"{"address": "a.example", "port": 80, "cookie": "a;b"}"#, &["\"cookie\"", "';'"]),
        (r#"{"address": "a.example", "port": 80, "cookie": "a\u0000"}"#, &["\"cookie\"", "'\\0'"]),
        (r#"{"address": "a.example", "port": 80, "cookie": ""}"#, &["\"cookie\"", "empty"]),
        (r#"{"address": "a.example", "port": 80, "state": "off"}"#, &["\"state\"", "none of ready"]),
        (r#"{"address": "a.example", "port": 80, "options": "crt /x"}"#, &["\"options\"", "crt"]),
        (r#"{"address": "a.example", "port": 80, "options": [7]}"#, &["\"options\"", "strings"]),
        (r#"{"address": "a.example", "port": 80, "options": ["check\nglobal"]}"#, &["\"options\"", "line break"]),
        (r#"{"address": "a.example", "port": 80, "options": {}}"#, &["\"options\"", "an object"]),
        (r#"{"address": "x y", "port": 0, "weight": 999}"#, &["\"address\"", "\"port\"", "\"weight\""]),
    ] {
        refused(json(text), text, parts);
    }
    let many = format!(r#"{{"address": "a.example", "port": 80, "options": "{}"}}"#, "check ".repeat(13));
    refused(json(&many), &many, &["\"options\"", "13 words"]);
    refused(from_json(&[0xff, 0xfe]), "text in UTF-16", &["UTF-16"]);
    refused(from_json(b"{\n\xff"), "bytes that are not UTF-8", &["line 2"]);
}

#[test]
fn the_name_of_a_child_is_the_host() {
    let port = NonZeroU16::new(9000);
    for (name, data, expected) in [
        ("web1.example", "", "web1.example:9000"),
        ("10.0.0.1", " \n", "10.0.0.1:9000"),
        ("10.0.0.1", "\u{feff}", "10.0.0.1:9000"),
        ("10.0.0.1", "\u{feff}{\"port\": 81}", "10.0.0.1:81"),
        ("10.0.0.1:80", "", "10.0.0.1:80"),
        ("10.0.0.1", r#"{"port": 81}"#, "10.0.0.1:81"),
        ("10.0.0.1:80", r#"{"port": 81, "weight": 3}"#, "10.0.0.1:80"),
        ("[2001:db8::1]:80", "{}", "[2001:db8::1]:80"),
        ("[2001:db8::1]", "", "[2001:db8::1]:9000"),
    ] {
        let host = host_of(from_child(name, data.as_bytes(), port, &policy()).expect(name));
        assert_eq!(host.endpoint.to_string(), expected, "{name} {data}");
    }
    for (name, data, parts) in [
        ("web1", "", &["no port", "remote_port"][..]),
        ("2001:db8::1", "", &["brackets"]),
        ("[2001:db8::1]80", "", &["after the bracket"]),
        ("[2001:db8::1", "", &["bracket"]),
        ("[web1]:80", "", &["IPv6"]),
        ("web1:", "", &["an empty string is not a port"]),
        ("web1:0", "", &["the string is not a port"]),
        (":80", "", &["empty"]),
        ("web1:80", "ready", &["not JSON"]),
        ("web1:80", "[1]", &["a list"]),
        ("web1:80", r#"{"weight": 300}"#, &["\"weight\"", "300"]),
    ] {
        refused(from_child(name, data.as_bytes(), None, &policy()), name, parts);
    }
}

#[test]
fn a_line_of_a_file_is_a_host() {
    for line in ["", "   ", "# a comment", "  # 10.0.0.1:80"] {
        assert_eq!(from_line(line, &policy()), Ok(None), "{line:?}");
    }
    for (line, endpoint, weight) in [
        ("10.0.0.1:80", "10.0.0.1:80", None),
        (" web1.example:8080 weight=10 # the big one", "web1.example:8080", Some(10)),
        ("[::1]:80\tweight=0\r", "[::1]:80", Some(0)),
    ] {
        let host = host_of(from_line(line, &policy()).expect(line).expect("it is no comment"));
        assert_eq!((host.endpoint.to_string().as_str(), host.weight), (endpoint, weight));
    }
    let host = from_line("a.example:1 backup=true name=a cookie=c state=maint", &policy());
    let host = host_of(host.expect("every word is known").expect("it is no comment"));
    assert_eq!((host.backup, host.state), (true, AdminState::Maint));
    let host = from_line("a.example:1 backup=false", &policy()).expect("both values are known");
    assert!(host.is_some_and(|record| !record.host.backup));
    for (line, parts) in [
        ("10.0.0.1", &["no port"][..]),
        ("::1:80", &["brackets"]),
        ("2001:db8::1:80", &["brackets"]),
        ("10.0.0.1:65536", &["not a port"]),
        ("10.0.0.1:80 wait=5", &["none of weight="]),
        ("10.0.0.1:80 check", &["none of weight="]),
        ("10.0.0.1:80 weight=5 weight=6", &["\"weight\"", "twice"]),
        ("10.0.0.1:80 weight=x", &["\"weight\"", "the string"]),
        ("10.0.0.1:80 backup=yes", &["\"backup\"", "neither"]),
        ("10.0.0.1;11:80", &["neither"]),
        ("http://a.example:8080/x", &["is a URL, not a host and port; write host:port"]),
        ("https://a.example", &["is a URL", "host:port"]),
        ("tcp://10.0.0.1", &["is a URL", "host:port"]),
        ("web:80:90", &["more than one colon", "host:port"]),
        ("a b:80", &["no port"]),
    ] {
        refused(from_line(line, &policy()), line, parts);
    }
}

proptest! {
    #[test]
    fn any_bytes_are_parsed_or_refused_in_one_line(data in proptest::collection::vec(any::<u8>(), 0..80)) {
        for result in [from_json(&data), from_child(&String::from_utf8_lossy(&data), &data, None, &policy())] {
            if let Err(reason) = result {
                prop_assert!(!reason.chars().any(char::is_control), "{reason:?}");
            }
        }
    }

    #[test]
    fn what_is_read_can_be_written_and_read_again(address in "\\PC{1,20}|[a-z0-9.:-]{1,20}", port in any::<u32>()) {
        let text = serde_json::json!({"address": address, "port": port}).to_string();
        if let Ok(host) = json(&text) {
            let again = from_line(&host.endpoint.to_string(), &policy());
            prop_assert_eq!(again, Ok(Some(host.into())));
        }
    }
}
