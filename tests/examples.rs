//! The complete set-ups in `config/examples`: each passes `proxymgr check` with HAProxy's own, and those that are the
//! result of an import are exactly that.

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use proxymgr::import::{Imported, from_ep2, from_synapse};
use support::dir::TestDir;
use support::haproxy;
use support::tls::TestCa;

const BINARY: &str = env!("CARGO_BIN_EXE_proxymgr");

fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("config/examples")
}

fn read(path: &str) -> String {
    let path = examples().join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Runs `proxymgr check` on an example, with its files in this directory; returns what it reports, if it fails.
fn check(example: &Path, dir: &TestDir, binary: &Path) -> Result<(), String> {
    let set = |key: &str, path: PathBuf| format!("{key}={}", path.display());
    let base = example.join("haproxy.cfg");
    let base = base.exists().then(|| ["--set".to_owned(), set("haproxy.base_config", base)]);
    let has_certificates =
        fs::read_to_string(example.join("proxymgr.yml")).expect("settings").contains("certificates:");
    let certificates =
        has_certificates.then(|| ["--set".to_owned(), set("haproxy.certificates", certificates_in(dir))]);
    let output = Command::new(BINARY)
        .args(["check", "-c"])
        .arg(example.join("proxymgr.yml"))
        .args(["--set", &set("haproxy.config_path", dir.join("haproxy.cfg"))])
        .args(["--set", &set("haproxy.socket_path", dir.join("haproxy.sock"))])
        .args(["--set", &set("haproxy.path", binary.to_owned())])
        .args(["--set", &set("state_dir", dir.path().to_owned())])
        .args(["--set", &set("service_config.path", example.join("services"))])
        .args(base.into_iter().flatten())
        .args(certificates.into_iter().flatten())
        .output()
        .expect("proxymgr runs");
    if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned()) }
}

/// Returns a directory with the certificate that the examples name.
fn certificates_in(dir: &TestDir) -> PathBuf {
    let certificates = dir.join("certs");
    if !certificates.exists() {
        let ca = TestCa::new(dir);
        dir.write("certs/shop.pem", fs::read_to_string(ca.server).expect("the certificate"));
    }
    certificates
}

#[test]
fn every_example_passes_its_check() {
    let dir = TestDir::new();
    let directories = fs::read_dir(examples()).expect("there are examples").flatten().map(|entry| entry.path());
    let examples: Vec<PathBuf> = directories.filter(|path| path.is_dir()).collect();
    assert!(examples.len() >= 6, "{examples:?}");
    for version in haproxy::versions() {
        for example in &examples {
            let problem = |problem| panic!("{version}, {}: {problem}", example.display());
            check(example, &dir, &version.path).unwrap_or_else(problem);
        }
    }
}

/// Returns all files of an import, with those of the original.
fn files(imported: Imported) -> BTreeMap<String, String> {
    let others = imported.files().map(|(name, text)| (name, text.to_owned())).collect::<Vec<_>>();
    others.into_iter().chain([("proxymgr.yml".to_owned(), imported.settings)]).collect()
}

fn is_the_import(example: &str, imported: Imported) {
    for (name, text) in files(imported) {
        let path = examples().join(example).join(&name);
        if std::env::var_os("UPDATE_REFERENCE").is_some() {
            fs::write(&path, &text).expect("written");
        }
        assert_eq!(read(&format!("{example}/{name}")), text, "{example}/{name}");
    }
}

#[test]
fn smartstack_is_the_import_of_its_synapse_conf() {
    let imported = from_synapse(&read("smartstack/synapse.conf.json"), Path::new("/etc/proxymgr"));
    is_the_import("smartstack", imported.expect("it is imported"));
}

#[test]
fn elasticpyproxy_is_the_import_of_its_conf() {
    let template = read("elasticpyproxy/haproxy.cfg");
    let imported = from_ep2(&read("elasticpyproxy/ep2.conf"), Some(&template), Path::new("/etc/proxymgr"));
    is_the_import("elasticpyproxy", imported.expect("it is imported"));
}
