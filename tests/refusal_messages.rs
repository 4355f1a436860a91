//! Messages about input that cannot be used: they have the cause and the place in the terms of the author, and no text
//! of a library.

#[path = "discovery/mod.rs"]
mod discovery;
#[path = "support/mod.rs"]
mod support;

use std::path::Path;

use discovery::inbox::Inbox;
use discovery::kinds::{open, sources, spec};
use proxymgr::discovery::file::FileDefinitions;
use proxymgr::settings::{Settings, SettingsSources};
use proxymgr_actors::decide::host_record::from_child;
use proxymgr_actors::decide::host_registration::{RegistrationRules, from_registration};
use proxymgr_actors::decide::option_policy::OptionPolicy;
use proxymgr_actors::decide::{annotation, rivals};
use proxymgr_actors::message::{DefinitionsSeen, HostsSeen};
use proxymgr_actors::model::RawDefinition;
use proxymgr_actors::port::DefinitionSource;
use serde_json::{Value, json};
use slog::{Logger, o};
use support::dir::TestDir;

/// Parts of the messages of the parsers of JSON, YAML, numbers, text and DNS.
const PHRASES_OF_LIBRARIES: &[&str] = &[
    "EOF while",
    "at line 1 column",
    "expected value",
    "expected ident",
    "expected `",
    "expected ','",
    "did not find",
    "while parsing",
    "while scanning",
    "trailing characters",
    "key must be a string",
    "control character (",
    "recursion limit",
    "invalid type",
    "invalid value",
    "invalid utf-8",
    "valid UTF-8",
    "invalid digit",
    "unknown variant",
    "missing field",
    "mapping",
    "scalar",
    "simple key",
    "document start",
    "from_str",
    "DuplicateKeyPolicy",
    "Options if",
    "budget",
    "Nodes",
    "Error(",
    "proto error",
    "io error",
];

#[track_caller]
fn check(input: &str, message: &str, causes: &[&str]) {
    for phrase in PHRASES_OF_LIBRARIES {
        assert!(!message.contains(phrase), "{input}: {message:?} contains {phrase:?}");
    }
    for cause in causes {
        assert!(message.contains(cause), "{input}: {message:?} lacks {cause:?}");
    }
    assert!(!message.chars().any(|c| c.is_control() && c != '\n'), "{input}: {message:?}");
}

#[actix::test]
async fn unreadable_definition_file_is_explained() {
    let many = format!("a: [{}]", "1, ".repeat(300_000));
    let cases: &[(&str, &[u8], &[&str])] = &[
        ("empty.json", b"", &["empty.json: it has no data"]),
        ("blank.json", b" \n", &["it has no data"]),
        ("mark.json", "\u{feff}".as_bytes(), &["it has no data"]),
        ("cut.json", b"{\n\"type\": \"file\",\n\"pa", &["cut.json: it is not JSON", "ends within a string", "line 3"]),
        ("brace.json", b"{\"type\": \"file\"", &["a closing } is missing"]),
        ("comma.json", b"{\n\"type\": \"file\"\n\"port\": 80}", &["a comma or a closing } is missing", "line 3"]),
        ("last.json", b"{\"type\": \"file\",}", &["no entry follows a comma"]),
        ("bare.json", b"{type: 1}", &["a key is not in double quotes"]),
        ("word.json", b"nonsense", &["not JSON", "line 1"]),
        ("two.json", b"{} {}", &["more text follows"]),
        ("list.json", b"[]", &["a service is a JSON object, not []"]),
        ("latin.json", b"{\"a\": \"\xe9\"}", &["not UTF-8 text: line 1 contains another encoding"]),
        ("wide.json", b"\xff\xfe{\0", &["UTF-16", "save it as UTF-8"]),
        ("empty.yml", b"", &["it has no data"]),
        ("comment.yml", b"# nothing\n", &["it has no data"]),
        ("twice.yml", b"type: file\nport: 1\nport: 2\n", &["line 3", "the key \"port\" is used twice"]),
        ("documents.yml", b"type: file\n---\ntype: dns\n", &["second document"]),
        ("open.yml", b"a: [1\nb: 2\n", &["not YAML", "] "]),
        ("tab.yml", b"a:\n\t- b\n", &["line 2", "tab"]),
        ("colon.yml", b"a: b: c\n", &["line 1", "quotes"]),
        ("alias.yml", b"a: *b\n", &["line 1", "alias"]),
        ("many.yml", many.as_bytes(), &["too large"]),
        ("text.yml", b"just text\n", &["a service is a JSON object, not \"just text\""]),
        ("same.json", b"{\"type\": \"static\"}", &[]),
        ("same.yml", b"type: static\n", &["the service same is already defined by ", "same.json"]),
        ("kind.json", b"{\"type\": 7}", &["\"type\": 7 is not the name of a kind of source"]),
        ("port.json", b"{\"type\": \"file\", \"port\": \"x\"}", &["\"port\": \"x\" is not a port"]),
    ];
    let dir = TestDir::new();
    for (name, text, _) in cases {
        // Each in its own directory, so that files of one name do not conflict.
        let directory = if name.starts_with("same") { "same" } else { *name };
        dir.write(format!("{directory}/{name}"), text);
    }
    for (name, _, causes) in cases.iter().filter(|(_, _, causes)| !causes.is_empty()) {
        let directory = if name.starts_with("same") { "same" } else { *name };
        for (service, raw) in definitions(&dir.join(directory)).await {
            let mistakes = annotation::parse(&service, &raw, &OptionPolicy::default()).err().unwrap_or_default();
            let messages = Vec::from_iter(mistakes.iter().map(|mistake| format!("{}: {mistake}", raw.origin)));
            if raw.origin.ends_with(name) {
                check(name, &messages.join("\n"), causes);
            }
        }
    }
}

async fn definitions(directory: &Path) -> Vec<(String, RawDefinition)> {
    let mut inbox = Inbox::<DefinitionsSeen>::new();
    let source = FileDefinitions::new(directory.to_owned(), &Logger::root(slog::Discard, o!()));
    let _source = source.open(inbox.recipient.clone());
    let definitions = rivals::settle(inbox.next().await.result.unwrap().into(), |_| None);
    definitions.iter().map(|(name, raw)| (name.to_string(), raw.clone())).collect()
}

#[test]
fn unusable_host_record_is_explained() {
    let policy = OptionPolicy::default();
    let record = |data: &[u8]| from_registration(data, &RegistrationRules::default(), &policy).map(|_| ());
    let child = |data: &[u8]| from_child("web1:80", data, None, &policy).map(|_| ());
    let cases: &[(&[u8], &[&str])] = &[
        (b"", &["it has no data"]),
        (b"\xff\xfe", &["UTF-16"]),
        (b"\xe9", &["not UTF-8 text"]),
        (b"{\"address\": \"10.0.0.1\"", &["not JSON", "a closing } is missing"]),
        (b"{\"address\": }", &["a value is missing"]),
        (b"10.0.0.1:80", &["not JSON"]),
        (b"{\"address\": \"http://a\", \"port\": 80}", &["is a URL"]),
        (b"{\"address\": \"::1:80:x\", \"port\": 80}", &["is neither an IP address nor a host name"]),
        (b"{\"address\": \"a\", \"port\": 1e9}", &["\"port\"", "not a port"]),
        (b"{\"serviceEndpoint\": 7}", &["an endpoint is an object"]),
        (b"{\"serviceType\": 1, \"payload\": {\"metadata\": {\"instance_status\": 5}}}", &["\"instance_status\": 5"]),
    ];
    for (data, causes) in cases {
        check(&String::from_utf8_lossy(data), &record(data).unwrap_err(), causes);
    }
    check("child", &child(b"ready").unwrap_err(), &["its data: it is not JSON"]);
    check("child", &child(b"\xff").unwrap_err(), &["its data: it is not UTF-8"]);
}

#[actix::test]
async fn unusable_line_of_hosts_is_explained() {
    let dir = TestDir::new();
    for (line, causes) in [
        ("http://a.example:80/x", &["is a URL, not a host and port; write host:port"][..]),
        ("web", &["has no port; write host:port"]),
        ("web:port", &["the port: the string is not a port"]),
        ("web:80:b", &["more than one colon; write host:port"]),
        ("::1:80", &["brackets"]),
        ("web:80 weight=many", &["\"weight\": the string is not a whole number"]),
    ] {
        let path = dir.write("web.hosts", format!("\u{feff}# hosts\n{line}\n"));
        let mut inbox = Inbox::<HostsSeen>::new();
        let _source = open(&sources().0, &spec("file", json!({"path": path})), &inbox).unwrap();
        let seen = inbox.next().await.result.unwrap();
        let message = seen[0].record.as_ref().unwrap_err();
        check(line, message, causes);
        check(line, message, &["web.hosts, line 2: "]);
    }
}

#[actix::test]
async fn unusable_key_of_a_source_is_explained() {
    for (kind, settings, causes) in [
        ("file", json!({}), &["\"path\" is missing"][..]),
        ("file", json!({"path": 7}), &["\"path\" is 7; it must be a path"]),
        ("zookeeper", json!({"server": ["zk"], "path": "/a"}), &["\"server\" is [\"zk\"]; it must be a string"]),
        ("zookeeper", json!({"server": "zk", "path": "a"}), &["\"path\"", "does not begin with '/'"]),
        (
            "zookeeper",
            json!({"server": "zk", "path": "/a", "shard": "x"}),
            &["\"shard\" is \"x\"; it must be a whole number"],
        ),
        (
            "campanjazk",
            json!({"server": "zk", "path": "/a", "remote_port": 0}),
            &["\"remote_port\" is 0; it must be a port"],
        ),
        ("consul", json!({"service": true}), &["\"service\" is true; it must be a string"]),
        ("consul", json!({"service": "web", "passing": "no"}), &["\"passing\" is \"no\"; it must be true or false"]),
        ("consul", json!({"service": "web", "tags": [1]}), &["\"tags\" is [1]; it must be a list of strings"]),
        ("consul", json!({"service": "web", "node_meta": ["a"]}), &["\"node_meta\"", "an object"]),
        ("etcd", json!({"prefix": {}}), &["\"prefix\" is {}; it must be a string"]),
        ("dns", json!({"backends": {"name": "a"}}), &["\"backends\"", "it must be a list of objects"]),
        ("dns", json!({"backends": [{"name": "http://a", "port": 80}]}), &["\"backends\"[0]", "http://a"]),
        ("dns", json!({"backends": [{"name": "a", "port": 80}], "interval": "soon"}), &["\"interval\" is \"soon\""]),
        ("static", json!({"hosts": "a:80"}), &["\"hosts\" is \"a:80\"; it must be a list"]),
        ("mesos", json!({"masters": 5}), &["\"masters\" is 5; it must be a list of strings"]),
        ("marathon", json!({"app": 5}), &["\"app\" is 5; it must be a string"]),
        ("zoo", json!({}), &["\"type\" is \"zoo\", which is not a kind of source"]),
    ] {
        let inbox = Inbox::<HostsSeen>::new();
        let message = open(&sources().0, &spec(kind, settings.clone()), &inbox).err();
        check(&format!("{kind} {settings}"), &message.expect(kind), causes);
    }
}

#[test]
fn unreadable_settings_file_is_explained() {
    let dir = TestDir::new();
    let cases: &[(&[u8], &[&str])] = &[
        (
            b"service_config:\n  type: zookeeper\n  servers: <%= ENV['ZK'] %>\n",
            &["p.yml:3: contains ERB (<%= ENV['ZK'] %>)"],
        ),
        (b"service_config:\n  servers: {{ ZK }}\n", &["p.yml:2: contains a variable of a template ({{ ZK }})"]),
        (b"haproxy:\n\tglobal: []\n", &["p.yml:2: is not valid YAML", "tab"]),
        (b"haproxy:\n  path: a\n  path: b\n", &["p.yml:3", "the key \"path\" is used twice"]),
        (b"haproxy: {}\n---\nhaproxy: {}\n", &["second document"]),
        (b"haproxy: [\n", &["is not valid YAML", "] or }"]),
        (b"just text\n", &["p.yml:1", "must be a map of sections"]),
        (b"- a\n", &["p.yml:1", "must be a map of sections"]),
        (b"\xff\xfeh\0", &["p.yml: cannot be read: it is UTF-16 text; save it as UTF-8"]),
        (b"haproxy:\n  path: \xe9\n", &["p.yml: cannot be read: it is not UTF-8 text: line 2"]),
        (b"haproxy: 5\n", &["haproxy", "5 must be a map of keys"]),
        (b"haproxy:\n  reload_interval: soon\n", &["p.yml:2", "haproxy.reload_interval"]),
        (b"? [a]\n: 1\n", &["is not valid YAML"]),
    ];
    for (text, causes) in cases {
        let path = dir.write("p.yml", text);
        let sources = SettingsSources { file: Some(path), ..SettingsSources::default() };
        let mistakes = Settings::load(&sources).expect_err("it is refused");
        check(&String::from_utf8_lossy(text), &mistakes.to_string(), causes);
    }
    let path = dir.write("p.yml", "\u{feff}service_config:\n  type: zookeeper\n  path: /service_config/\n");
    let loaded = Settings::load(&SettingsSources { file: Some(path), ..SettingsSources::default() });
    assert!(loaded.is_ok(), "a byte order mark and a slash at the end are accepted: {loaded:?}");
}

#[test]
fn unusable_annotation_is_explained() {
    for (text, causes) in [
        ("", &["it has no data"][..]),
        ("{", &["a closing } is missing"]),
        ("garbage", &["it is not JSON"]),
        ("[]", &["an annotation is a JSON object"]),
        (r#"{"domains": 7}"#, &["\"domains\": 7"]),
    ] {
        let mistakes = annotation::read(text).map(Value::Object).expect_err(text);
        check(text, &mistakes.join("; "), causes);
    }
}
