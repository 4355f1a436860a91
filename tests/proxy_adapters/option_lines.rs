//! The accepted lines of the option tables with every installed HAProxy: each is valid in a section that proxymgr renders.

use std::fmt::Write;
use std::path::Path;
use std::process::Command;

use proxymgr_actors::decide::option_policy::OptionPolicy;
use proxymgr_actors::decide::quoting::joined;

use crate::support::dir::TestDir;
use crate::support::haproxy::{HaproxyVersion, versions};

const ACCEPTED: &str = include_str!("../../actors/tests/options/accepted.txt");

const BASE: &str = "defaults\n    timeout connect 1s\n    timeout client 5s\n    timeout server 5s\n";

/// Runs `haproxy -c` on a text. Returns its messages; those of a refusal as an error.
pub fn checked(version: &HaproxyVersion, path: &Path, text: &str) -> Result<String, String> {
    std::fs::write(path, text).unwrap();
    let output = Command::new(&version.path).arg("-c").arg("-f").arg(path).output().unwrap();
    let messages = String::from_utf8_lossy(&output.stderr).into_owned();
    if output.status.success() { Ok(messages) } else { Err(messages) }
}

/// Returns the line without its mark, if this version knows it: `@2.4` is for 2.4 and later, `@-2.6` for 2.6 and earlier.
fn for_version<'a>(line: &'a str, version: &HaproxyVersion) -> Option<&'a str> {
    let Some((mark, line)) = line.strip_prefix('@').and_then(|rest| rest.split_once(' ')) else { return Some(line) };
    let (is_last, number) = mark.strip_prefix('-').map_or((false, mark), |number| (true, number));
    let (major, minor) = number.split_once('.').expect("a version has a dot");
    let marked = (major.parse().unwrap(), minor.parse().unwrap());
    let is_known = if is_last { version.branch <= marked } else { version.branch >= marked };
    is_known.then_some(line)
}

/// Renders the services of the table. Every service has a server for each line of server options.
fn rendered(version: &HaproxyVersion) -> String {
    let policy = OptionPolicy::default();
    let mut text = BASE.to_owned();
    let (mut service, mut servers, mut port) = ("", String::new(), 20_000);
    for line in ACCEPTED.lines().chain(["= end"]).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        if let Some(name) = line.strip_prefix("= ") {
            text.push_str(&servers);
            if !service.is_empty() {
                let _ = writeln!(text, "    server s0 10.0.0.1:80");
            }
            service = name;
            servers.clear();
            port += 1;
            let _ = write!(text, "listen {name}\n    bind 127.0.0.1:{port}\n");
            continue;
        }
        let Some(line) = for_version(line, version) else { continue };
        match line.strip_prefix("> ") {
            Some(options) => {
                let words = policy.server_options(&[options.to_owned()]).unwrap();
                let number = 1 + servers.lines().count();
                let _ = writeln!(servers, "    server s{number} 10.0.0.1:80 {}", joined(&words));
            }
            None => {
                let words = policy.listen_line(service, line).unwrap();
                let _ = writeln!(text, "    {}", joined(&words));
            }
        }
    }
    text
}

#[test]
fn every_version_accepts_the_lines_of_the_table() {
    let dir = TestDir::new();
    let mut refused = Vec::new();
    for version in versions() {
        let text = rendered(&version);
        if let Err(messages) = checked(&version, &dir.path().join("haproxy.cfg"), &text) {
            let of_lines = messages.lines().filter(|line| line.contains("ALERT"));
            refused.extend(of_lines.map(|line| {
                let place = line.split("haproxy.cfg:").nth(1).unwrap_or_default();
                let number: usize =
                    place.split(|c: char| !c.is_ascii_digit()).next().unwrap_or_default().parse().unwrap_or(0);
                let source = text.lines().nth(number.saturating_sub(1)).unwrap_or_default().trim();
                format!("{version}: {source}: {line}")
            }));
        }
    }
    assert_eq!(refused, Vec::<String>::new());
}
