//! `check` of definitions, as continuous integration calls it, and of settings with two writers for one file.

mod support;

use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::json;

use support::dir::TestDir;
use support::scripted_server::{Reply, ScriptedServer};

const BINARY: &str = env!("CARGO_BIN_EXE_proxymgr");

/// A definition without mistakes.
const GOOD: &str = "type: static\nhosts: [\"10.0.0.1:80\"]\nport: 8080\nlisten_options: [mode http]\n";

fn proxymgr(arguments: &[&str]) -> Command {
    let mut command = Command::new(BINARY);
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("PROXYMGR_")) {
        command.env_remove(name);
    }
    command.args(arguments);
    command
}

fn check(path: &Path) -> Output {
    proxymgr(&["check", path.to_str().expect("text")]).output().expect("proxymgr runs")
}

fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Checks one file; returns the lines of the report below its heading.
fn problems(dir: &TestDir, name: &str, text: &str) -> Vec<String> {
    let path = dir.write(format!("services/{name}"), text);
    let output = check(&path);
    assert_eq!(output.status.code(), Some(1), "{text}: {}", err(&output));
    let place = format!("  {}", path.display());
    err(&output).lines().skip(1).map(|line| line.replace(&place, "")).collect()
}

#[test]
fn valid_definitions_pass() {
    let dir = TestDir::new();
    let file = dir.write("services/web.yml", GOOD);
    dir.write(
        "services/api.json",
        r#"{"type": "consul", "service": "api", "port": 8081, "server_options": ["check"]}"#,
    );
    dir.write("services/notes.txt", "not a definition");
    for (path, count) in [(file, "1 service"), (dir.join("services"), "2 services")] {
        let output = check(&path);
        let out = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{}", err(&output));
        assert_eq!(out, format!("The definitions are valid: {count}.\n"));
    }
}

#[test]
fn every_mistake_has_file_line_and_key() {
    let dir = TestDir::new();
    let yaml =
        "type: consul\nservice: web\nport: 70000\nlisten_options:\n  - mode http\n  - lua-load /x\nmin_hosts: -1\n";
    let found = problems(&dir, "web.yml", yaml);
    let begin: Vec<String> = found.iter().map(|line| line.split(' ').take(2).collect::<Vec<_>>().join(" ")).collect();
    assert_eq!(begin, [":3: port:", ":6: listen_options:", ":7: min_hosts:"], "{found:#?}");

    let json = "{\n  \"type\": \"static\",\n  \"hosts\": [\n    \"10.0.0.1:80\",\n    {\"address\": \"10.0.0.2\"}\n  ],\n  \"port\": 80\n}\n";
    let found = problems(&dir, "web.json", json);
    assert!(
        matches!(&*found, [one] if one.starts_with(":5: hosts: ") && one.contains("\"port\" is missing")),
        "{found:#?}"
    );
}

#[test]
fn each_kind_of_mistake_is_found() {
    let dir = TestDir::new();
    for (text, begin, part) in [
        ("type: static\nhosts: []\nprot: 80\n", ":3: prot: ", "did you mean \"port\""),
        ("type: static\nhosts:\n  - {address: 10.0.0.1, port: 80, wieght: 3}\nport: 80\n", ":3: hosts: ", "\"weight\""),
        // The place is that in the definition, not among the hosts that belong to the service.
        (
            "type: static\nhosts:\n  - {address: 10.0.0.1, port: 80}\n  - {address: 10.0.0.2, tags: [a]}\nport: 80\nmatch: {tags: [a]}\n",
            ":4: hosts: ",
            "\"port\" is missing",
        ),
        ("type: zookeper\npath: /a\nport: 80\n", ":1: ", "did you mean \"zookeeper\""),
        ("type: consul\nport: 80\n", "", "\"service\" is missing"),
        ("type: static\nhosts: [\"10.0.0.1:80\"]\nport: 80\nserver_options: [ssl]\n", "", "HAProxy refuses it"),
        ("port: 80\n", "", "\"type\" is missing"),
        ("type: [\n", ":", "it is not YAML"),
        ("", ": ", "it has no data"),
    ] {
        let found = problems(&dir, "web.yml", text);
        let is_it = |line: &String| line.starts_with(begin) && line.contains(part);
        assert!(found.iter().any(is_it), "{text}: {begin:?} {part:?} is not in {found:#?}");
    }
}

#[test]
fn line_that_only_haproxy_refuses_is_named() {
    let dir = TestDir::new();
    let text = format!("{}  - http-request track-sc9 src\n", GOOD.replace("[mode http]", "\n  - mode http"));
    let found = problems(&dir, "web.yml", &text);
    let begin = ":6: listen_options: HAProxy refuses it: \"http-request track-sc9 src\": ";
    assert!(matches!(&*found, [one] if one.starts_with(begin)), "{found:#?}");
}

#[test]
fn definitions_are_judged_together() {
    let dir = TestDir::new();
    dir.write("services/web.yml", GOOD);
    dir.write("services/web.json", r#"{"type": "static", "hosts": ["10.0.0.1:80"], "port": 8090}"#);
    let routed = |domain: &str| format!("{}domains: [{domain}]\n", GOOD.replace("8080", "8100"));
    dir.write("services/one.yml", routed("one.example"));
    dir.write("services/two.yml", routed("two.example"));
    dir.write("services/on-their-port.yml", GOOD.replace("8080", "8100").replace("mode http", "mode tcp"));
    let said = err(&check(&dir.join("services")));
    for part in [
        "3 problems:",
        "web.yml: the service web is already defined by",
        "one.yml:3: port: 0.0.0.0:8100 is also the address of on-their-port;",
        "two.yml:3: port: 0.0.0.0:8100 is also the address of on-their-port;",
    ] {
        assert!(said.contains(part), "{part} is not in {said}");
    }
}

#[test]
fn standard_input_is_checked_under_its_name() {
    let dir = TestDir::new();
    let settings = dir.write("p.yml", "grants: [{prefix: web-, ports: [8080]}]\n");
    let run = |name: &str, text: &str| {
        let arguments = ["check", "-", "--name", name, "-c", settings.to_str().expect("text")];
        let mut child = proxymgr(&arguments)
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("proxymgr runs");
        child.stdin.take().expect("piped").write_all(text.as_bytes()).expect("written");
        child.wait_with_output().expect("proxymgr ends")
    };
    let good = run("web-a", GOOD);
    assert!(good.status.success(), "{}", err(&good));
    let granted = run("web-a", &GOOD.replace("8080", "8081"));
    assert!(err(&granted).contains("standard input:3: port: 8081 is not granted"), "{}", err(&granted));
    let json = run("db", "{\"type\": \"static\", \"hosts\": [\"10.0.0.1:80\"], \"port\": 1}");
    assert!(json.status.success(), "{}", err(&json));
}

#[test]
fn settings_are_checked_with_their_definitions() {
    let dir = TestDir::new();
    dir.write("services/web.yml", GOOD);
    let settings = format!(
        "haproxy: {{config_path: {0}/haproxy.cfg, socket_path: {0}/h.sock}}\nstate_dir: {0}\n\
         service_config: {{type: file, path: {0}/services}}\n",
        dir.path().display()
    );
    let settings = dir.write("p.yml", settings);
    let run = || proxymgr(&["check", "-c", settings.to_str().expect("text")]).output().expect("proxymgr runs");
    let good = run();
    assert!(good.status.success(), "{}", err(&good));
    dir.write("services/bad.yml", "type: static\nhosts: []\nlisten_options: [nonsense]\n");
    let bad = run();
    assert_eq!(bad.status.code(), Some(1));
    assert!(err(&bad).contains("bad.yml:3: listen_options: "), "{}", err(&bad));
}

#[test]
fn two_writers_of_one_file_are_found() {
    let dir = TestDir::new();
    dir.write("services/web.yml", GOOD);
    dir.write("t.j2", "x");
    symlink(dir.path(), dir.join("link")).expect("linked");
    for path in ["haproxy.cfg", "link/haproxy.cfg", "services/../haproxy.cfg", "haproxy.cfg.domains"] {
        let settings = format!(
            "haproxy: {{config_path: {0}/haproxy.cfg, socket_path: {0}/h.sock}}\nstate_dir: {0}\n\
             service_config: {{type: file, path: {0}/services}}\n\
             outputs: [{{type: template, template: {0}/t.j2, path: {0}/{path}}}]\n",
            dir.path().display()
        );
        let settings = dir.write("p.yml", settings);
        let output = proxymgr(&["check", "-c", settings.to_str().expect("text")]).output().expect("proxymgr runs");
        assert_eq!(output.status.code(), Some(1), "{path}");
        assert!(err(&output).contains("outputs.0.path: "), "{path}: {}", err(&output));
    }
}

#[test]
fn base_that_proxymgr_would_replace_is_found() {
    let dir = TestDir::new();
    dir.write("haproxy.cfg", "defaults\n  mode http\n  timeout connect 1s\n  timeout client 1s\n  timeout server 1s\n");
    dir.write("services/web.yml", GOOD);
    symlink(dir.path(), dir.join("link")).expect("linked");
    let settings = format!(
        "haproxy: {{base_config: {0}/link/haproxy.cfg, config_path: {0}/haproxy.cfg, socket_path: {0}/h.sock}}\n\
         state_dir: {0}\nservice_config: {{type: file, path: {0}/services}}\n",
        dir.path().display()
    );
    let settings = dir.write("p.yml", settings);
    let output = proxymgr(&["check", "-c", settings.to_str().expect("text")]).output().expect("proxymgr runs");
    assert_eq!(output.status.code(), Some(1), "{}", err(&output));
    assert!(err(&output).contains("is also haproxy.config_path"), "{}", err(&output));
}

#[test]
fn service_and_base_on_one_address_are_found() {
    let dir = TestDir::new();
    let defaults = "defaults\n  mode http\n  timeout connect 1s\n  timeout client 1s\n  timeout server 1s\n";
    let base = dir.write("base.cfg", format!("{defaults}frontend f\n  bind :8080\n"));
    dir.write("services/web.yml", GOOD);
    let settings = dir.write("p.yml", format!("haproxy: {{base_config: {}}}\n", base.display()));
    let services = dir.join("services");
    let arguments = ["check", services.to_str().expect("text"), "-c", settings.to_str().expect("text")];
    let output = proxymgr(&arguments).output().expect("proxymgr runs");
    assert_eq!(output.status.code(), Some(1), "{}", err(&output));
    assert!(err(&output).contains("web.yml:3: port: 0.0.0.0:8080 is also that of "), "{}", err(&output));
}

#[test]
fn missing_path_is_reported() {
    let output = check(Path::new("/nowhere/at/all.yml"));
    assert_eq!(output.status.code(), Some(1), "{}", err(&output));
    assert!(err(&output).contains("cannot read /nowhere/at/all.yml"), "{}", err(&output));
}

/// Definitions in Consul, with a mistake on the second line.
#[tokio::test]
async fn mistake_in_a_queried_definition_fails_connect() {
    let dir = TestDir::new();
    let definition = BASE64_STANDARD.encode("{\"type\": \"static\", \"hosts\": [\"10.0.0.1:80\"],\n \"port\": 70000}");
    let entry = json!([{"Key": "service_config/web", "Value": definition, "ModifyIndex": 1, "CreateIndex": 1}]);
    let consul =
        ScriptedServer::start(move |_| Reply::Send("200 OK", "X-Consul-Index: 7\r\n".to_owned(), entry.to_string()))
            .await;
    let settings = format!(
        "haproxy: {{config_path: {0}/haproxy.cfg, socket_path: {0}/h.sock}}\nstate_dir: {0}\n\
         service_config: {{type: consul}}\nconsul: {{servers: \"http://{1}\"}}\n",
        dir.path().display(),
        consul.address()
    );
    let settings = dir.write("p.yml", settings);
    let mut command = proxymgr(&["check", "--connect", "-c", settings.to_str().expect("text")]);
    let run = tokio::task::spawn_blocking(move || command.output().expect("proxymgr runs"));
    let output = run.await.expect("no panic in running a command");
    let out = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(1), "{out}{}", err(&output));
    assert!(out.contains("web:2: port: "), "{out}");
}
