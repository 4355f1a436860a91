//! A place for the files that examples name, in which `proxymgr check` runs.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::support::dir::TestDir;
use super::support::haproxy;
use super::support::tls::TestCa;

/// Directories of examples, which are below the place.
const MOVED: [&str; 4] = ["/etc/", "/run/", "/var/", "/srv/"];

/// Settings that definitions are checked with: what they need from the operator.
const OPERATOR: &str = "\
haproxy:
  certificates: /etc/proxymgr/certs
  defaults: [mode http, timeout connect 5s, timeout client 1m, timeout server 1m]
discovery: {file_root: [/etc/proxymgr/hosts]}
grants: [{prefix: \"\", unix_sockets: [/run/web/]}]
";

/// The timeouts that a base needs, without which HAProxy warns.
const BASE: &str = "defaults\n  mode http\n  timeout connect 5s\n  timeout client 1m\n  timeout server 1m\n";

/// The place.
pub struct Place {
    dir: TestDir,
}

impl Place {
    /// Creates all files that examples may name.
    pub fn new() -> Self {
        let dir = TestDir::new();
        for name in ["etc/haproxy", "etc/proxymgr/services", "etc/proxymgr/hosts", "run/haproxy", "run/web", "var/lib"]
        {
            fs::create_dir_all(dir.join(name)).expect("made");
        }
        let ca = TestCa::new(&dir);
        let read = |path: &Path| fs::read_to_string(path).expect("openssl has written it");
        let both = read(&ca.server);
        for name in ["etc/proxymgr/certs/shop.pem", "etc/proxymgr/certs/site.pem", "etc/ssl/site.pem"] {
            dir.write(name, &both);
        }
        let tls = [("ca.pem", &ca.ca), ("proxymgr.pem", &ca.client_cert), ("proxymgr.key", &ca.client_key)];
        for (name, path) in tls {
            dir.write(format!("etc/proxymgr/tls/{name}"), read(path));
        }
        dir.write("etc/proxymgr/token", "a-token\n");
        dir.write("etc/proxymgr/haproxy.cfg", BASE);
        dir.write("etc/proxymgr/nginx.conf.j2", include_str!("../../config/templates/nginx.conf.j2"));
        Self { dir }
    }

    /// Checks a definition.
    pub fn check_service(&self, text: &str) -> Result<(), String> {
        let settings = self.write("operator.yml", OPERATOR);
        let definition = self.write("web.yml", text);
        self.run(&[&definition, "-c", &settings])
    }

    /// Checks settings.
    pub fn check_settings(&self, text: &str) -> Result<(), String> {
        let settings = self.write("proxymgr.yml", text);
        self.run(&["-c", &settings])
    }

    /// Checks a base configuration.
    pub fn check_base(&self, text: &str) -> Result<(), String> {
        self.write("base.cfg", text);
        let settings = self.write("proxymgr.yml", "haproxy: {base_config: /etc/base.cfg}\n");
        self.run(&["-c", &settings])
    }

    /// Writes a file of an example, which names files below this place.
    fn write(&self, name: &str, text: &str) -> String {
        let here = self.dir.path().display().to_string();
        let moved = MOVED.iter().fold(text.to_owned(), |text, from| {
            let is_path = |before: Option<char>| before.is_none_or(|c| !c.is_alphanumeric() && c != '.' && c != '/');
            let mut moved = String::new();
            let mut rest = text.as_str();
            while let Some(at) = rest.find(from) {
                moved.push_str(&rest[..at]);
                if is_path(moved.chars().next_back()) {
                    moved.push_str(&here);
                }
                moved.push_str(from);
                rest = &rest[at + from.len()..];
            }
            moved + rest
        });
        self.dir.write(format!("etc/{name}"), moved).display().to_string()
    }

    /// Runs `proxymgr check`; the defaults of paths are below this place, too.
    fn run(&self, arguments: &[&str]) -> Result<(), String> {
        let own = [("CONFIG_PATH", "etc/haproxy/haproxy.cfg"), ("SOCKET_PATH", "run/haproxy/haproxy.sock")];
        let output = Command::new(env!("CARGO_BIN_EXE_proxymgr"))
            .arg("check")
            .args(arguments)
            .env_clear()
            .envs(own.map(|(key, path)| (format!("PROXYMGR_HAPROXY__{key}"), self.dir.join(path))))
            .env("PROXYMGR_HAPROXY__PATH", haproxy::installed().path)
            .env("PROXYMGR_STATE_DIR", self.dir.join("var/lib"))
            .output()
            .expect("proxymgr runs");
        let report = String::from_utf8_lossy(&output.stderr);
        if output.status.success() { Ok(()) } else { Err(report.into_owned()) }
    }
}

#[test]
fn mistaken_examples_are_found() {
    let place = Place::new();
    assert_eq!(place.check_service("type: static\nhosts: [\"10.0.0.1:80\"]\nport: 8080\n"), Ok(()));
    assert!(place.check_service("type: static\nhosts: [\"10.0.0.1:80\"]\nprot: 8080\n").is_err());
    assert_eq!(place.check_settings("service_config: {type: file, path: /etc/proxymgr/services}\n"), Ok(()));
    assert!(place.check_settings("service_config: {type: file, path: /etc/elsewhere}\n").is_err());
    assert!(place.check_base("defaults\n  mode hpttp\n").is_err());
}
