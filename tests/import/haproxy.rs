//! Configurations of many kinds: everything but the servers of services stays as it was, and HAProxy accepts the result
//! wherever it accepts the original.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use proptest::prelude::*;
use proxymgr::import::{Imported, from_haproxy};
use proxymgr_actors::decide::base::sections::{Base, File, Section};
use serde_json::{Value, json};

use crate::support::dir::TestDir;
use crate::support::haproxy::{self, HaproxyVersion};
use crate::support::tls::TestCa;
use crate::{err, out, proxymgr, read_yaml};

const MARKER: &str = "# proxymgr: servers";

/// A configuration and what becomes of it.
struct Case {
    name: &'static str,
    text: &'static str,
    /// The first version of HAProxy that knows what it uses.
    since: (u16, u16),
    /// The services, with the number of their hosts.
    services: &'static [(&'static str, usize)],
    /// The number of `server` lines and sections with servers that stay in the base.
    stays: usize,
}

macro_rules! case {
    ($name:literal, $since:expr, $services:expr, $stays:expr) => {
        Case {
            name: $name,
            text: include_str!(concat!("configurations/", $name, ".cfg")),
            since: $since,
            services: $services,
            stays: $stays,
        }
    };
}

const CASES: [Case; 22] = [
    case!("tls-edge", (2, 2), &[("api", 2), ("web", 3)], 0),
    case!("peers", (2, 2), &[("app", 3)], 0),
    case!("userlist", (2, 2), &[("consoles", 1)], 0),
    case!("cache", (2, 2), &[("static", 2)], 0),
    case!("resolvers", (2, 2), &[("named", 2)], 1),
    case!("mailers", (2, 2), &[("ldap", 2)], 0),
    case!("http-errors", (2, 2), &[("shop", 1)], 0),
    case!("crt-store", (3, 0), &[("app", 1)], 0),
    case!("several-binds", (2, 2), &[("many", 1)], 0),
    case!("sni-tcp", (2, 2), &[("chat", 2), ("mail", 2)], 0),
    case!("unix-addresses", (2, 2), &[("mixed", 3), ("sockets", 2)], 0),
    case!("named-defaults", (2, 4), &[("pages", 1), ("redis", 2)], 0),
    case!("conditionals", (2, 6), &[("stable", 2)], 3),
    case!("quotes", (2, 2), &[("the.back-end", 1)], 1),
    case!("comments", (2, 2), &[("amqp", 2)], 0),
    case!("databases", (2, 2), &[("mysql", 3), ("postgres-write", 3)], 0),
    case!("sticky", (2, 2), &[("app", 2)], 3),
    case!("server-defaults", (2, 2), &[("layered", 2)], 1),
    case!("tracking", (2, 2), &[("follower", 1), ("leader", 1)], 2),
    case!("tls-to-servers", (2, 2), &[("half", 1), ("secure", 2)], 1),
    case!("environment", (2, 4), &[("env", 1)], 1),
    case!("observability", (2, 4), &[("php", 1)], 0),
];

impl Case {
    fn runs_on(&self, version: &HaproxyVersion) -> bool {
        version.branch >= self.since
    }

    /// Returns its text, with the files that it names in this directory.
    fn text_in(&self, dir: &TestDir) -> String {
        self.text.replace("@DIR@", &dir.path().to_string_lossy())
    }
}

/// Creates the files that the configurations name.
fn files(dir: &TestDir) {
    let certificate = fs::read(TestCa::new(dir).server).expect("openssl has written it");
    dir.write("site.pem", certificate);
    dir.write("503.http", "HTTP/1.0 503 Service Unavailable\r\nCache-Control: no-cache\r\n\r\nSorry\n");
}

fn import(text: &str) -> Imported {
    let base = Base { files: vec![File::read("haproxy.cfg", text)] };
    from_haproxy(&base, &[], Path::new("/etc/proxymgr")).unwrap_or_else(|problem| panic!("{problem}"))
}

/// Runs `import haproxy` on a text in this directory; returns the directory of the result, and what was reported.
fn run(dir: &TestDir, text: &str, binary: &Path) -> (PathBuf, Output) {
    let file = dir.write("original/haproxy.cfg", text);
    let to = dir.join("result");
    // It may exist from another run.
    let _ = fs::remove_dir_all(&to);
    let path = |path: &Path| path.to_str().expect("text").to_owned();
    let output = proxymgr(&["import", "haproxy", &path(&file), "--to", &path(&to), "--haproxy", &path(binary)]);
    (to, output)
}

#[test]
fn services_and_their_hosts_are_found() {
    for case in &CASES {
        let imported = import(case.text);
        let hosts = |text: &String| read_yaml(text)["hosts"].as_array().map_or(0, Vec::len);
        let found: BTreeMap<&str, usize> =
            imported.services.iter().map(|(name, text)| (name.trim_end_matches(".yml"), hosts(text))).collect();
        assert_eq!(found, BTreeMap::from_iter(case.services.iter().copied()), "{}", case.name);
        let stays: Vec<&String> = imported.notes.iter().filter(|note| note.contains("stays in the base")).collect();
        assert_eq!(stays.len(), case.stays, "{}: {stays:#?}", case.name);
    }
}

#[test]
fn unix_sockets_of_hosts_are_granted() {
    let case = CASES.iter().find(|case| case.name == "unix-addresses").expect("it is a case");
    let expected = json!([
        {"prefix": "mixed", "host_unix_sockets": ["/tmp/proxymgr-test-back.sock"]},
        {"prefix": "sockets", "host_unix_sockets": ["/tmp/proxymgr-test-back.sock", "/tmp/proxymgr-test-other.sock"]},
    ]);
    assert_eq!(read_yaml(&import(case.text).settings)["grants"], expected);
}

#[test]
fn all_other_lines_stay_as_they_were() {
    for case in &CASES {
        let imported = import(case.text);
        let base = &imported.base[0].text;
        let added = |line: &&str| line.trim() == MARKER || line.trim().starts_with("default-server ca-file");
        let kept: Vec<&str> = base.split_inclusive('\n').filter(|line| !added(line)).collect();
        let mut original = case.text.split_inclusive('\n');
        for line in &kept {
            assert!(original.any(|other| other == *line), "{}: {line:?} is new, or elsewhere:\n{base}", case.name);
        }
        let hosts: usize = case.services.iter().map(|(_, hosts)| hosts).sum();
        assert_eq!(kept.len() + hosts, case.text.lines().count(), "{}:\n{base}", case.name);
        let markers = base.lines().filter(|line| line.trim() == MARKER).count();
        assert_eq!(markers, case.services.len(), "{}", case.name);
    }
}

#[test]
fn haproxy_accepts_the_result_where_it_accepts_the_original() {
    let dir = TestDir::new();
    files(&dir);
    for version in haproxy::versions() {
        let mut checked = BTreeSet::new();
        for case in CASES.iter().filter(|case| case.runs_on(&version)) {
            let (_, output) = run(&dir, &case.text_in(&dir), &version.path);
            let said = err(&output);
            assert!(output.status.success(), "{version}, {}: {said}", case.name);
            for valid in ["the original is valid", "the result is valid"] {
                assert!(said.contains(valid), "{version}, {}: {said}", case.name);
            }
            checked.insert(case.name);
        }
        assert!(checked.len() >= 15, "{version}: {checked:?}");
    }
}

/// Returns the sections with their servers.
fn servers(text: &str) -> BTreeSet<(Option<String>, String)> {
    let file = File::read("x", text);
    let of = |section: &Section| {
        let servers = section.lines.iter().filter(|line| line.keyword() == "server");
        let names = servers.filter_map(|line| line.arguments().next()).map(|token| token.text.clone());
        names.map(|name| (section.name.clone(), name)).collect::<Vec<_>>()
    };
    file.sections.iter().flat_map(of).collect()
}

#[test]
fn rendered_result_has_the_servers_of_the_original() {
    let dir = TestDir::new();
    files(&dir);
    let newest = haproxy::newest(|_| true).expect("a version is installed").path;
    for case in &CASES {
        let text = case.text_in(&dir);
        let (to, output) = run(&dir, &text, &newest);
        assert!(output.status.success(), "{}: {}", case.name, err(&output));
        let settings = to.join("proxymgr.yml").display().to_string();
        let state = format!("state_dir={}", dir.path().display());
        let rendered = proxymgr(&["render", "-c", &settings, "--set", &state]);
        assert!(rendered.status.success(), "{}: {}", case.name, err(&rendered));
        assert_eq!(servers(&out(&rendered)), servers(&text), "{}", case.name);
    }
}

proptest! {
    /// Lines in any order make strange configurations: none of them is lost.
    #[test]
    fn no_line_of_any_configuration_is_lost(
        lines in proptest::collection::vec(proptest::sample::select(all_lines()), 0..60)
    ) {
        let text = lines.concat();
        let imported = import(&text);
        let hosts = |text: &String| read_yaml(text)["hosts"].as_array().map_or(0, Vec::len);
        let moved: usize = imported.services.values().map(hosts).sum();
        let is_added = |line: &&str| line.trim() == MARKER;
        let kept: Vec<&str> = imported.base[0].text.split_inclusive('\n').filter(|line| !is_added(line)).collect();
        let defaults = kept.iter().filter(|line| line.trim().starts_with("default-server ca-file")).count();
        prop_assert_eq!(kept.len() - defaults + moved, lines.len());
        prop_assert!(imported.services.values().all(|text| hosts(text) > 0));
        let mut original = lines.iter();
        for line in kept.iter().filter(|line| !line.trim().starts_with("default-server ca-file")) {
            prop_assert!(original.any(|other| other == line), "{:?} is new, or elsewhere", line);
        }
    }
}

/// The lines of all configurations.
fn all_lines() -> Vec<&'static str> {
    CASES.iter().flat_map(|case| case.text.split_inclusive('\n')).collect()
}

fn case(name: &str) -> &'static str {
    CASES.iter().find(|case| case.name == name).expect("a case of the table").text
}

fn service(case: &str, name: &str) -> Value {
    read_yaml(&import(self::case(case)).services[&format!("{name}.yml")])
}

#[test]
fn options_go_to_the_service_the_host_or_the_section() {
    let expected = json!({
        "type": "static", "server_options": ["check", "inter 2s", "rise 2", "fall 3"],
        "hosts": [
            {"name": "web1", "address": "10.0.1.11", "port": 8080, "options": ["maxconn 200"]},
            {"name": "web2", "address": "10.0.2.11", "port": 8080, "options": ["maxconn 200"]},
            {"name": "sorry", "address": "10.0.9.9", "port": 80, "backup": true, "options": ["maxconn 50"]},
        ],
    });
    assert_eq!(service("tls-edge", "web"), expected);
    let mysql = service("databases", "mysql");
    assert_eq!(mysql["hosts"][2]["state"], "maint");
    assert_eq!(mysql["hosts"][0]["weight"], 100);
    let secure = import(case("tls-to-servers"));
    let lines = "    default-server ca-file @DIR@/site.pem\n    # proxymgr: servers\n";
    assert!(secure.base[0].text.contains(lines), "{}", secure.base[0].text);
}

#[test]
fn comments_of_servers_move_with_them() {
    let imported = import(case("comments"));
    assert!(imported.services["amqp.yml"].contains("# rack 1: do not touch"), "{}", imported.services["amqp.yml"]);
    assert!(imported.base[0].text.contains("    # server old 10.12.0.9:5672 check\r\n    # proxymgr: servers\r\n"));
}

#[test]
fn settings_name_the_base_the_socket_and_the_environment() {
    let settings = |name| read_yaml(&import(case(name)).settings);
    let expected = json!({
        "base_config": "/etc/proxymgr/haproxy.cfg", "config_path": "/etc/haproxy/haproxy.cfg",
        "socket_path": "/tmp/proxymgr-test-edge.sock",
    });
    assert_eq!(settings("tls-edge")["haproxy"], expected);
    assert_eq!(settings("databases")["haproxy"]["socket_path"], Value::Null, "its unix socket is not of level admin");
    let environment = json!(["LISTEN", "LOG_HOST", "PROXY_REGION", "UPSTREAM"]);
    assert_eq!(settings("environment")["haproxy"]["environment"], environment);
    assert_eq!(settings("tls-edge")["service_config"], json!({"type": "file", "path": "/etc/proxymgr/services"}));
}

#[test]
fn notes_say_what_discovery_must_keep() {
    let notes = import(case("sticky")).notes.concat();
    assert!(notes.contains("use-server names blue"), "{notes}");
    let notes = import(case("sni-tcp")).notes.concat();
    assert!(notes.contains("consistent hash"), "{notes}");
}

#[test]
fn command_writes_files_once_and_reports_both_checks() {
    let dir = TestDir::new();
    let file = dir.write("haproxy.cfg", case("databases"));
    let to = dir.join("out");
    let installed = haproxy::installed().path;
    let arguments = |services: &'static str| {
        let mut arguments = vec!["import", "haproxy", file.to_str().expect("text"), "--to", to.to_str().expect("text")];
        arguments.extend(["--haproxy", installed.to_str().expect("text")]);
        if !services.is_empty() {
            arguments.extend(["--services", services]);
        }
        arguments.into_iter().map(str::to_owned).collect::<Vec<String>>()
    };
    let run = |services| {
        let arguments = arguments(services);
        proxymgr(&arguments.iter().map(String::as_str).collect::<Vec<&str>>())
    };
    let refused = run("mysql,mongo");
    assert_eq!(refused.status.code(), Some(1));
    assert!(err(&refused).contains("mongo: there is no backend or listen"), "{}", err(&refused));

    let written = run("mysql");
    let said = err(&written);
    assert!(written.status.success(), "{said}");
    assert!(said.contains("the original is valid") && said.contains("the result is valid"), "{said}");
    let listed: Vec<String> = ["proxymgr.yml", "haproxy.cfg", "services/mysql.yml"]
        .iter()
        .map(|name| to.join(name).display().to_string())
        .collect();
    assert_eq!(out(&written).lines().collect::<Vec<_>>(), listed);
    assert!(said.contains("services/mysql.yml lists 3 hosts: replace type and hosts"), "{said}");
    let base = fs::read_to_string(to.join("haproxy.cfg")).expect("written");
    assert!(base.contains("server pg1 ") && !base.contains("server primary "), "{base}");
    let settings = read_yaml(&fs::read_to_string(to.join("proxymgr.yml")).expect("written"));
    assert_eq!(settings["haproxy"]["base_config"], to.join("haproxy.cfg").to_str().expect("text"));

    fs::remove_file(to.join("proxymgr.yml")).expect("removed");
    let again = run("mysql");
    assert_eq!(again.status.code(), Some(4), "existing files are not overwritten");
    assert!(!to.join("proxymgr.yml").exists(), "all files are written, or none");
}

#[test]
fn refused_original_is_reported_and_converted() {
    let dir = TestDir::new();
    let file = dir.write("haproxy.cfg", "listen web\n  mode tcp\n  no-such-keyword\n  server a 10.0.0.1:80\n");
    let installed = haproxy::installed().path;
    let path = |path: &Path| path.to_str().expect("text").to_owned();
    let output = proxymgr(&["import", "haproxy", &path(&file), "--haproxy", &path(&installed)]);
    let said = err(&output);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("the original is refused:\n  line 3, \"no-such-keyword\""), "{said}");
    assert!(out(&output).contains("#   type: static"), "{}", out(&output));

    let output = proxymgr(&["import", "haproxy", &path(&file), "--haproxy", "/nowhere/haproxy"]);
    assert!(output.status.success() && err(&output).contains("not checked by HAProxy"), "{}", err(&output));
}

#[test]
fn directory_is_read_in_haproxys_order() {
    let dir = TestDir::new();
    dir.write("in/20-web.cfg", "backend web\n    server a 10.0.0.1:80\n");
    dir.write("in/10-base.cfg", "defaults\n    mode http\n    timeout connect 1s\n    timeout client 1s\n    timeout server 1s\n\nfrontend f\n    bind 127.0.0.1:8096\n    default_backend web");
    dir.write("in/notes.txt", "not read");
    let to = dir.join("out");
    let path = |path: &Path| path.to_str().expect("text").to_owned();
    let installed = path(&haproxy::installed().path);
    let output = proxymgr(&["import", "haproxy", &path(&dir.join("in")), "--to", &path(&to), "--haproxy", &installed]);
    assert!(output.status.success(), "{}", err(&output));
    let base = fs::read_to_string(to.join("haproxy.d/20-web.cfg")).expect("written");
    assert_eq!(base, "backend web\n    # proxymgr: servers\n");
    assert!(to.join("haproxy.d/10-base.cfg").exists() && to.join("services/web.yml").exists());
}
