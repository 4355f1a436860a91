//! The sample files of the imported tools, converted by the command and read by the settings.

#![allow(missing_docs)]

#[path = "../support/mod.rs"]
mod support;

mod haproxy;

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use proxymgr::settings::{OutputSettings, ServiceConfigSettings, Settings, SettingsSources};
use serde_json::Value;

const EP2: &str = include_str!("../recorded/import/ep2.conf");
const EP2_TEMPLATE: &str = include_str!("../recorded/import/haproxy.cfg.template");
const PROXYM: &str = include_str!("../recorded/import/proxym.env");
const SYNAPSE: &str = include_str!("../../config/examples/smartstack/synapse.conf.json");

fn proxymgr(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_proxymgr")).args(arguments).output().expect("proxymgr runs")
}

fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn read_yaml(text: &str) -> Value {
    proxymgr_yaml::parse(text).unwrap_or_else(|problem| panic!("{problem:?}:\n{text}"))
}

fn load(file: &Path) -> Settings {
    let sources = SettingsSources { file: Some(file.to_owned()), ..SettingsSources::default() };
    Settings::load(&sources).unwrap_or_else(|mistakes| panic!("{mistakes}")).settings
}

fn text(output: &Output) -> String {
    assert!(output.status.success(), "{}", err(output));
    out(output)
}

#[test]
fn import_of_elasticpyproxy_keeps_the_template() {
    let dir = tempfile::tempdir().expect("a directory");
    let (conf, template) = (dir.path().join("ep2.conf"), dir.path().join("haproxy.cfg.template"));
    fs::write(&conf, EP2).expect("written");
    fs::write(&template, EP2_TEMPLATE).expect("written");
    let arguments = ["import", "ep2", conf.to_str().expect("text"), "--template", template.to_str().expect("text")];
    let printed = text(&proxymgr(&arguments));
    let settings = read_yaml(&printed);
    assert_eq!(settings["haproxy"]["base_config"], "/etc/proxymgr/haproxy.cfg");
    for reported in ["#   type: aws", "#   slots: 5", "#   listen stats", "#   # \thttp-request add-header"] {
        assert!(printed.contains(reported), "{reported} is not in\n{printed}");
    }

    let to = dir.path().join("out");
    let arguments = [&arguments[..], &["--to", to.to_str().expect("text")]].concat();
    let written = proxymgr(&arguments);
    text(&written);
    assert!(err(&written).contains("{{ ssl_fc }}"), "{}", err(&written));
    let base = fs::read_to_string(to.join("haproxy.cfg")).expect("the base configuration is written");
    let changed = EP2_TEMPLATE.replace("\thttp-request add-header", "# \thttp-request add-header");
    assert_eq!(base, changed);
    let again = proxymgr(&arguments);
    assert_eq!(again.status.code(), Some(4), "existing files are not overwritten");
}

#[test]
fn import_of_synapse_loads() {
    let dir = tempfile::tempdir().expect("a directory");
    let (conf, to) = (dir.path().join("synapse.conf.json"), dir.path().join("out"));
    fs::write(&conf, SYNAPSE).expect("written");
    let arguments = ["import", "synapse", conf.to_str().expect("text"), "--to", to.to_str().expect("text")];
    let written = text(&proxymgr(&arguments));
    assert_eq!(written.lines().count(), 3, "{written}");
    let settings = load(&to.join("proxymgr.yml"));
    assert_eq!(settings.service_config, ServiceConfigSettings::File { path: to.join("services") });
    assert!(settings.haproxy.policy.base_config.global.contains(&"maxconn 4096".to_owned()));
    let checked = proxymgr(&["check", to.join("services").to_str().expect("text")]);
    assert!(checked.status.success(), "{}", err(&checked));
}

#[test]
fn import_of_proxym_loads() {
    let dir = tempfile::tempdir().expect("a directory");
    let environment = dir.path().join("proxym.env");
    fs::write(&environment, PROXYM).expect("written");
    let file = dir.path().join("proxymgr.yml");
    fs::write(&file, text(&proxymgr(&["import", "proxym", environment.to_str().expect("text")]))).expect("written");
    let settings = load(&file);
    assert_eq!(settings.service_config, ServiceConfigSettings::File { path: "/etc/proxym/services".into() });
    assert_eq!(settings.outputs.len(), 3);
    assert!(matches!(&settings.outputs[0], OutputSettings::Template(template) if template.check.is_some()));
}

#[test]
fn invalid_file_is_refused_with_its_line() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("x");
    fs::write(&file, "a = 1\nnothing\n").expect("written");
    let output = proxymgr(&["import", "ep2", file.to_str().expect("text")]);
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1));
    assert!(error.contains("line 2") && error.contains("nothing"), "{error}");
    let output = proxymgr(&["import", "proxym", "/nowhere/at/all"]);
    assert_eq!(output.status.code(), Some(1));
}
