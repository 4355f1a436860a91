//! The accepted lines of the option tables with every installed HAProxy: each is valid in a section that proxymgr renders.

use std::fmt::Write;
use std::path::Path;
use std::process::Command;

use proptest::prelude::*;
use proxymgr_actors::decide::grammar::samples;
use proxymgr_actors::decide::option_policy::OptionPolicy;
use proxymgr_actors::decide::quoting::joined;
use proxymgr_actors::model::Word;

use crate::support::dir::TestDir;
use crate::support::haproxy::{HaproxyVersion, versions};

const ACCEPTED: &str = include_str!("../../actors/tests/options/accepted.txt");

const BASE: &str = "defaults\n    timeout connect 1s\n    timeout client 5s\n    timeout server 5s\n";

/// `normalize-uri` needs it.
const EXPERIMENTAL: &str = "global\n    expose-experimental-directives\n";

/// Runs `haproxy -c` on a text. Returns its messages; those of a refusal as an error.
fn checked(version: &HaproxyVersion, path: &Path, text: &str) -> Result<String, String> {
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
    let mut text = if version.branch >= (2, 4) { EXPERIMENTAL.to_owned() } else { String::new() };
    text.push_str(BASE);
    let (mut service, mut servers, mut port) = ("", String::new(), 20_000);
    for line in ACCEPTED.lines().chain(["= end"]).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        if let Some(name) = line.strip_prefix("= ") {
            text.push_str(&servers);
            if !service.is_empty() {
                let _ = writeln!(text, "    server s0 10.0.0.1:80 verify none");
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

/// Words of attacks, and words that have a meaning in many lines.
#[rustfmt::skip]
const FRAGMENTS: &[&str] = &[
    "addr", "unix@/run/x", "10.0.0.1", "127.0.0.1", "table", "victim", "web", "peers", "-f", "/etc/passwd", "-M", "-m", "reg", "-i",
    "--", "-u", "7", "{", "}", "!", "||", "or", "if", "unless", "TRUE", "int(1)", "src", "path", "lower", "debug", "map(/etc/passwd)",
    "src,map(/etc/passwd)", "var(proc.x)", "set-var(proc.x)", "set-var(txn.x)", "%[env(HOME)]", "%[src]", "%[", "%", "env(HOME)",
    "nbsrv(victim)", "src_inc_gpc0(victim)", "srv_is_up(victim/s)", "file", "lf-file", "errorfile", "string", "lf-string", "status",
    "hdr", "global", "listen", "victim2", "bind", "server", "s", "default", "no", "option", "stats", "scope", ".", "admin",
    "'", "\"", "\\", "#", "$HOME", "\u{FDD0}", "len", "size", "1m", "store", "gpc0", "track-sc0", "lua.x", "{}", "!{", "a,b",
];

/// A change of a line: where, and which fragment; an even number replaces a word, an odd one inserts one.
type Change = (usize, usize, usize);

fn changed(mut words: Vec<String>, changes: &[Change]) -> Vec<String> {
    for (how, at, fragment) in changes {
        let at = at % (words.len() + 1);
        let fragment = FRAGMENTS[fragment % FRAGMENTS.len()].to_owned();
        match how % 4 {
            0 if at < words.len() => words[at] = fragment,
            1 if at < words.len() => words.insert(at, words[at].clone()),
            2 if at < words.len() => drop(words.remove(at)),
            _ => words.insert(at, fragment),
        }
    }
    words
}

/// Lines of the table, most of them changed. Half of them are written without quotes.
fn line() -> impl Strategy<Value = String> {
    let changes = proptest::collection::vec(any::<Change>(), 0..4);
    (any::<u64>(), changes, any::<bool>()).prop_map(|(seed, changes, is_quoted)| {
        let words = changed(samples::line(&mut samples::choices(seed)), &changes);
        match is_quoted {
            true => joined(&Vec::from_iter(words.iter().filter_map(|word| Word::new(word).ok()))),
            false => words.join(" "),
        }
    })
}

/// Returns a message that HAProxy gives about anything else than the lines from `first` to `last`.
fn foreign_message(messages: &str, first: usize, last: usize) -> Option<&str> {
    let is_foreign = |message: &&str| {
        let number = |place: &str| -> Option<usize> { place.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok() };
        match message.split("haproxy.cfg:").nth(1).and_then(number) {
            Some(line) => !(first..=last).contains(&line),
            None => message.contains("'victim'") || message.contains(" victim"),
        }
    };
    messages.lines().filter(|line| line.contains("[ALERT]") || line.contains("[WARNING]")).find(is_foreign)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn accepted_lines_never_touch_another_section(lines in proptest::collection::vec(line(), 1..60)) {
        let policy = OptionPolicy::default();
        let accepted = lines.iter().filter_map(|line| policy.listen_line("web", line).ok());
        let own = Vec::from_iter(accepted.map(|words| format!("    {}\n", joined(&words))));
        let victim = |name: &str, port: u16| {
            format!("listen {name}\n    mode http\n    bind 127.0.0.1:{port}\n    stick-table type ip size 1k store gpc0\n    server s 10.0.0.1:80\n")
        };
        let before = format!("{BASE}    mode http\n{}listen web\n    bind 127.0.0.1:20002\n", victim("victim", 20_001));
        let text = format!("{before}{}    server s0 10.0.0.1:80\n{}", own.concat(), victim("victim-behind", 20_003));
        let first = before.lines().count() - 1;
        let last = first + own.len() + 2;
        let dir = TestDir::new();
        for version in versions() {
            if let Err(messages) = checked(&version, &dir.path().join("haproxy.cfg"), &text) {
                let foreign = foreign_message(&messages, first, last);
                prop_assert_eq!(foreign, None, "{}: {}\n{}", version, messages, text);
            }
        }
    }
}
