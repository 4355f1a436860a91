//! Checks the rendered haproxy.cfg with a real HAProxy: it is accepted, and every word arrives literally.
//!
//! HAProxy is `haproxy` in PATH, or the value of PROXYMGR_TEST_HAPROXY.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::LazyLock;
use std::time::Duration;

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use proxymgr_actors::decide::base;
use proxymgr_actors::decide::haproxy_config::{SectionStyle, section};
use proxymgr_actors::decide::option_policy::OptionPolicy;
use proxymgr_actors::decide::quoting::{quoted, split_line};
use proxymgr_actors::decide::server_ids::ServerIds;
use proxymgr_actors::decide::{host_record, service_definition};
use proxymgr_actors::model::{
    BaseConfig, Descriptors, HostList, ProxyManagement, ProxyVersion, RawDefinition, ServerName, ServiceDefinition,
    Word,
};
use serde_json::{Value, json};

fn haproxy() -> Command {
    let mut command = Command::new(std::env::var_os("PROXYMGR_TEST_HAPROXY").unwrap_or_else(|| "haproxy".into()));
    // The text that would appear if a variable were expanded.
    command.env("EXPANDED", "the-environment-was-read").stdin(Stdio::null());
    command
}

static VERSION: LazyLock<ProxyVersion> = LazyLock::new(|| {
    let output = haproxy().arg("-v").output().expect("these tests need HAProxy, in PATH or as PROXYMGR_TEST_HAPROXY");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let version = text.split_whitespace().find_map(ProxyVersion::parse);
    version.unwrap_or_else(|| panic!("`haproxy -v` shows no version: {text}"))
});

/// Returns HAProxy's messages about the file; empty if there are none.
fn check(text: &str) -> Result<String, String> {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("haproxy.cfg");
    std::fs::write(&path, text).expect("write the file");
    let output = haproxy().arg("-c").arg("-f").arg(&path).output().expect("run haproxy -c");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    if output.status.success() { Ok(said) } else { Err(said) }
}

fn define(name: &str, keys: &Value) -> ServiceDefinition {
    let raw = RawDefinition::new(keys.to_string(), "a test");
    let parsed = service_definition::parse(name, &raw, &OptionPolicy::default());
    parsed.unwrap_or_else(|mistakes| panic!("{keys}: {mistakes:?}")).definition
}

fn host_list(hosts: &[Value]) -> HostList {
    let host =
        |keys| host_record::from_json_value(keys, &OptionPolicy::default()).unwrap_or_else(|e| panic!("{keys}: {e}"));
    let name = |number| ServerName::new(&format!("s{number}")).expect("letters and digits are a name");
    hosts.iter().enumerate().map(|(number, keys)| (name(number), host(keys).host)).collect()
}

fn plain_base(defaults: &[&str]) -> BaseConfig {
    BaseConfig {
        files: Vec::new(),
        global: Vec::new(),
        defaults: defaults.iter().map(|&line| line.to_owned()).collect(),
        socket_path: std::env::temp_dir().join(format!("pm-rendered-{}.sock", std::process::id())),
        state_file: None,
        management: ProxyManagement::Delegated,
        map_path: std::env::temp_dir().join(format!("pm-rendered-{}.domains", std::process::id())),
    }
}

/// A section that listens, because HAProxy refuses a file without a listener. `haproxy -c` binds nothing.
const SOMEBODY_LISTENS: &str = "listen probe\n    mode http\n    bind 127.0.0.1:1\n";

/// Lines that HAProxy 2.2 to 3.2 accept in an HTTP section, with `{}` for any text.
const LINES: [&str; 21] = [
    "balance roundrobin",
    "balance leastconn",
    "option httplog",
    "no option dontlognull",
    "option forwardfor",
    "option httpchk GET /health HTTP/1.0",
    "timeout server 30s",
    "timeout tunnel 1h",
    "http-request set-header X-Text {}",
    "http-request deny deny_status 403 if { path {} }",
    "http-request return status 200 content-type text/plain string {}",
    "http-response set-header X-Text {}",
    "http-after-response set-header X-Text {}",
    "acl named path {}",
    "http-check expect string {}",
    "cookie SRV insert indirect nocache",
    "stick-table type ip size 10k expire 5m store gpc0",
    "default-server inter 3s fall 2",
    "compression algo gzip",
    "monitor-uri {}",
    "unique-id-header X-Id",
];

const SERVER_OPTIONS: [&str; 10] = [
    "check",
    "check inter 2000 rise 2 fall 3",
    "maxconn 100",
    "weight 10",
    "backup",
    "ssl verify none sni str(www.example.org)",
    "send-proxy",
    "on-marked-down shutdown-sessions",
    "slowstart 10s",
    "pool-max-conn 10 pool-purge-delay 5s",
];

/// Printable text with characters that need quoting. No `%`, because HAProxy parses formats by itself.
fn text() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        "[a-zA-Z0-9 ]{1,6}",
        "\\PC{1,3}",
        proptest::sample::select(vec![
            "'",
            "\"",
            "\\",
            "\\\\",
            "\\n",
            "#",
            ";",
            "<<",
            "$EXPANDED",
            "${EXPANDED}",
            "\"${EXPANDED}\"",
            "'$EXPANDED'",
            "  ",
            "\\'",
            "\\x41",
            "{",
            "}",
            "[",
            "]",
            "(",
            ")",
            ",",
            "!",
            "`id`",
            "é",
        ])
        .prop_map(str::to_owned),
    ];
    let is_noncharacter = |c: char| ('\u{FDD0}'..='\u{FDEF}').contains(&c) || (c as u32) & 0xFFFE == 0xFFFE;
    proptest::collection::vec(piece, 1..6)
        .prop_map(move |pieces| pieces.concat().replace('%', "%%").replace(is_noncharacter, ""))
        .prop_filter("a word has characters", |text| !text.is_empty())
}

/// Quotes the text as one word of a line.
fn as_one_word(text: &str) -> String {
    quoted(&Word::new(text).expect("printable text is a word")).into_owned()
}

/// Each line occurs at most once, because a second stick table is a conflict.
fn definition() -> impl Strategy<Value = Value> {
    let lines = proptest::sample::subsequence(LINES.to_vec(), 0..8);
    let options = proptest::sample::subsequence(SERVER_OPTIONS.to_vec(), 0..5);
    (lines, proptest::collection::vec(text(), 8), options).prop_map(|(lines, texts, options)| {
        // The slash prevents that HAProxy reads a lone `-` or `}` as a flag or as the end of a condition.
        let fill = |(line, text): (&&str, &String)| line.replace("{}", &as_one_word(&format!("/{text}")));
        let lines: Vec<String> = lines.iter().zip(&texts).map(fill).collect();
        json!({"type": "file", "port": 80, "listen_options": lines, "server_options": options})
    })
}

fn host() -> impl Strategy<Value = Value> {
    let address = prop_oneof![
        any::<[u8; 4]>().prop_map(|octets| format!("10.{}.{}.{}", octets[1], octets[2], octets[3])),
        any::<u16>().prop_map(|tail| format!("2001:db8::{tail:x}")),
        Just("no-such-host.invalid".to_owned()),
    ];
    let state = proptest::sample::select(vec!["ready", "drain", "maint"]);
    (address, 1..=u16::MAX, 0..=256_u16, any::<bool>(), "[!-!#-+.-:<-\\[\\]-~]{1,8}", state).prop_map(
        |(address, port, weight, backup, cookie, state)| {
            json!({"address": address, "port": port, "weight": weight, "backup": backup, "cookie": cookie, "state": state})
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn haproxy_accepts_what_is_rendered(
        services in proptest::collection::vec((definition(), proptest::collection::vec(host(), 0..4)), 1..6),
    ) {
        let http = plain_base(&["mode http", "timeout connect 1s", "timeout client 1s", "timeout server 1s"]);
        let style = SectionStyle::of(&base::layout(&http), Some(*VERSION));
        let mut text = base::text(&http);
        for (number, (definition, hosts)) in services.iter().enumerate() {
            let definition = define(&format!("service-{number}"), definition);
            text.push_str(&section(&definition, &Descriptors::new(), &host_list(hosts), &ServerIds::default(), style));
        }
        text.push_str(SOMEBODY_LISTENS);
        if let Err(said) = check(&text) {
            return Err(TestCaseError::fail(format!("{said}\n{text}")));
        }
    }
}

#[test]
fn base_configuration_has_no_warnings_by_default() {
    let own_base = BaseConfig { socket_path: "/run/x y.sock".into(), ..plain_base(&[]) };
    let style = SectionStyle::of(&base::layout(&own_base), Some(*VERSION));
    let web = define("web", &json!({"type": "file", "port": 2, "listen_options": "mode http"}));
    let http = section(&web, &Descriptors::new(), &host_list(&[]), &ServerIds::default(), style);
    let probe = "listen tcp\n    bind 127.0.0.1:1\n";
    let said = check(&format!("{}{http}{probe}", base::text(&own_base))).expect("the frame is good");
    assert!(!said.contains("WARNING"), "{said}");
}

#[test]
fn unresolved_name_does_not_stop_haproxy() {
    let base_config =
        base::text(&plain_base(&["mode http", "timeout connect 1s", "timeout client 1s", "timeout server 1s"]));
    let web = define("web", &json!({"type": "file", "server_options": ["check"]}));
    let hosts = host_list(&[json!({"address": "no-such-host.invalid", "port": 80})]);
    let section = section(&web, &Descriptors::new(), &hosts, &ServerIds::default(), SectionStyle::default());
    check(&format!("{base_config}{section}{SOMEBODY_LISTENS}")).expect("HAProxy starts with the server in maintenance");
}

/// A HAProxy that ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start(config: &Path) -> Running {
    let child = haproxy().arg("-db").arg("-f").arg(config).stderr(Stdio::inherit()).spawn().expect("start HAProxy");
    Running(child)
}

/// Opens a listening socket that the next child inherits.
fn inheritable_listener() -> TcpListener {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    fcntl(&listener, FcntlArg::F_SETFD(FdFlag::empty())).expect("let the socket be inherited");
    listener
}

fn body(listener: &TcpListener, path: &str) -> Vec<u8> {
    let address = listener.local_addr().expect("a bound socket has an address");
    let mut connection = TcpStream::connect(address).expect("the test holds the socket itself");
    connection.set_read_timeout(Some(Duration::from_secs(20))).expect("a time-out can be set");
    connection.write_all(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes()).expect("send a request");
    let mut answer = Vec::new();
    connection.read_to_end(&mut answer).expect("HAProxy answers");
    let end_of_head = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n");
    answer.split_off(end_of_head.expect("the answer has a head") + 4)
}

/// Returns the bytes that a word stands for in HAProxy.
fn meant(word: &Word) -> Vec<u8> {
    word.as_str().replace('\u{FDD0}', "\n").replace('\u{FDD1}', "\r").replace('\u{FDD2}', "\t").into_bytes()
}

/// Serves each text as the body of a path, with lines that the policy accepts, and returns the bodies.
fn served(lines: &[String]) -> Vec<Vec<u8>> {
    let base_text =
        base::text(&plain_base(&["mode http", "timeout connect 1s", "timeout client 30s", "timeout server 1s"]));
    let definition = define("web", &json!({"type": "file", "port": 1, "listen_options": lines}));
    let listener = inheritable_listener();
    let held = definition.addresses().map(|address| (address, Some(listener.as_raw_fd()))).collect();
    let ids = ServerIds::default();
    let section = section(&definition, &held, &host_list(&[]), &ids, SectionStyle::default());
    let directory = tempfile::tempdir().expect("a temporary directory");
    let config = directory.path().join("haproxy.cfg");
    std::fs::write(&config, format!("{base_text}{section}")).expect("write the file");
    let _haproxy = start(&config);
    (0..lines.len()).map(|number| body(&listener, &format!("/{number}"))).collect()
}

fn returning(number: usize, word: &str) -> String {
    format!("http-request return status 200 content-type text/plain string {word} if {{ path /{number} }}")
}

fn samples<T>(strategy: &impl Strategy<Value = T>, count: usize) -> Vec<T> {
    let mut runner = TestRunner::deterministic();
    (0..count).map(|_| strategy.new_tree(&mut runner).expect("the strategy gives values").current()).collect()
}

#[test]
fn every_word_arrives_literally() {
    let mut texts = samples(&text(), 120);
    let feared =
        ["a b", "it's", "''", "'\"'", "\\", "\\\\", "#", "a#b", "$EXPANDED", "${EXPANDED}", "%[src", ";", "<<", "\\n"];
    texts.extend(feared.map(str::to_owned));
    let lines: Vec<String> = texts.iter().enumerate().map(|(n, text)| returning(n, &as_one_word(text))).collect();
    for (text, body) in texts.iter().zip(served(&lines)) {
        assert_eq!(String::from_utf8_lossy(&body), *text);
    }
}

#[test]
fn quoting_has_the_meaning_of_haproxy() {
    let hand_written = [
        r"PING\r\n",
        r"a\ b",
        r"a\#b",
        r"a\\b",
        r"\'a\'",
        r#"\"a\""#,
        r#""a\"b""#,
        r#""it's""#,
        r#"'say "a"'"#,
        r"^/a\.b\d+\$",
        r#"a'b c'"d e"f"#,
        r"\x41\x0a\x20",
        r#""a\tb""#,
        r#""\$EXPANDED""#,
        r"'\n'",
        r#""\q\'""#,
        r"\$EXPANDED",
        r"$EXPANDED",
        r"${EXPANDED}",
        "'a'\\''b'",
    ];
    let generated = samples(&text(), 150).into_iter().filter(|text| {
        // `"$NAME"` differs from HAProxy on purpose: it is never expanded.
        let expands = text.contains('"') && text.contains('$');
        !expands && split_line(text).is_ok_and(|words| words.len() == 1)
    });
    let texts: Vec<String> = hand_written.map(str::to_owned).into_iter().chain(generated).collect();
    assert!(texts.len() > 60, "too few generated texts are one word: {}", texts.len());

    // HAProxy's own parsing: the file contains the text as the author wrote it.
    let listener = inheritable_listener();
    let directory = tempfile::tempdir().expect("a temporary directory");
    let config = directory.path().join("haproxy.cfg");
    let lines: Vec<String> = texts.iter().enumerate().map(|(n, text)| returning(n, text)).collect();
    let base_text =
        base::text(&plain_base(&["mode http", "timeout connect 1s", "timeout client 30s", "timeout server 1s"]));
    let own = format!("{base_text}listen web\n    bind fd@{}\n    {}\n", listener.as_raw_fd(), lines.join("\n    "));
    std::fs::write(&config, own).expect("write the file");
    let haproxys: Vec<Vec<u8>> = {
        let _haproxy = start(&config);
        (0..texts.len()).map(|number| body(&listener, &format!("/{number}"))).collect()
    };

    for ((text, ours), haproxys) in texts.iter().zip(served(&lines)).zip(haproxys) {
        let words = split_line(text).expect("chosen so");
        assert_eq!(meant(&words[0]), haproxys, "split_line reads {text:?} as {words:?}");
        assert_eq!(ours, haproxys, "{text:?} changes when proxymgr writes it");
    }
}
