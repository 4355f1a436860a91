//! The sample files of the imported tools, converted by the command and read by the settings.

#![allow(missing_docs)]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use proxymgr::settings::{OutputSettings, ServiceConfigSettings, Settings, SettingsSources};

const EP2: &str = include_str!("recorded/import/ep2.conf");
const EP2_TEMPLATE: &str = include_str!("recorded/import/haproxy.cfg.template");
const PROXYM: &str = include_str!("recorded/import/proxym.env");

fn proxymgr(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_proxymgr")).args(arguments).output().expect("proxymgr runs")
}

fn load(file: &Path) -> Settings {
    let sources = SettingsSources { file: Some(file.to_owned()), ..SettingsSources::default() };
    Settings::load(&sources).unwrap_or_else(|mistakes| panic!("{mistakes}")).settings
}

fn text(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn import_of_elasticpyproxy_loads() {
    let dir = tempfile::tempdir().expect("a directory");
    let (conf, template) = (dir.path().join("ep2.conf"), dir.path().join("haproxy.cfg.template"));
    fs::write(&conf, EP2).expect("written");
    fs::write(&template, EP2_TEMPLATE).expect("written");
    let arguments = ["import", "ep2", conf.to_str().expect("text"), "--template", template.to_str().expect("text")];
    let printed = text(&proxymgr(&arguments));
    let file = dir.path().join("proxymgr.yml");
    fs::write(&file, &printed).expect("written");
    let settings = load(&file);
    assert_eq!(settings.haproxy.config_path, Path::new("/etc/haproxy/haproxy.cfg"));
    assert!(settings.haproxy.policy.base_config.global.contains(&"user haproxy".to_owned()), "{printed}");
    assert!(settings.haproxy.policy.base_config.defaults.contains(&"timeout client  50000".to_owned()), "{printed}");
    for reported in ["#   type: aws", "#   port: 7001", "#   slots: 5", "`listen stats`", "{{ ssl_fc }}"] {
        assert!(printed.contains(reported), "{reported} is not in\n{printed}");
    }

    let out = dir.path().join("out");
    let arguments = [&arguments[..], &["--write", out.to_str().expect("text")]].concat();
    text(&proxymgr(&arguments));
    assert_eq!(load(&out.join("proxymgr.yml")), settings);
    let service = fs::read_to_string(out.join("services/haproxynode.yml")).expect("the service is written");
    assert!(service.contains("balance roundrobin"), "{service}");
    let again = proxymgr(&arguments);
    assert_eq!(again.status.code(), Some(4), "existing files are not overwritten");
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
