//! The `proxymgr.yml` for an imported configuration.

use std::collections::BTreeSet;
use std::path::Path;

use proxymgr_actors::decide::base::sections::{Base, Line};
use serde_json::json;

use super::BASE_DIRECTORY;
use crate::child_environment::check_name;
use crate::import::yaml_text::YamlText;
use crate::import::{BASE_FILE, SERVICES};

/// Writes the settings: the base configuration, the socket that it opens, the variables that it uses, and the grants for
/// unix sockets that are hosts, by service.
pub(super) fn settings(
    base: &Base,
    environment: &[String],
    sockets: &[(&str, Vec<String>)],
    directory: &Path,
) -> String {
    let mut yaml = YamlText::with_header(&[
        "Converted from a haproxy.cfg. Check it with `proxymgr check -c FILE`.",
        "The operator's own lines are in base_config. proxymgr adds the servers of the services, and writes config_path.",
    ]);
    yaml.section("haproxy", |haproxy| {
        let name = if base.files.len() == 1 { BASE_FILE } else { BASE_DIRECTORY };
        haproxy.key("base_config", directory.join(name).to_string_lossy());
        haproxy.key("config_path", "/etc/haproxy/haproxy.cfg");
        if let Some(socket) = stats_socket(base) {
            haproxy.key("socket_path", socket);
        }
        if !environment.is_empty() {
            haproxy.key("environment", environment);
        }
    });
    yaml.blank();
    yaml.section("service_config", |services| {
        services.key("type", "file");
        services.key("path", directory.join(SERVICES).to_string_lossy());
    });
    if !sockets.is_empty() {
        yaml.blank();
        let grant =
            |(prefix, paths): &(&str, Vec<String>)| (json!({"prefix": prefix, "host_unix_sockets": paths}), None);
        yaml.entries("grants", &sockets.iter().map(grant).collect::<Vec<_>>());
    }
    yaml.finish()
}

fn lines(base: &Base) -> impl Iterator<Item = &Line> {
    base.files
        .iter()
        .flat_map(|file| &file.preamble)
        .chain(base.sections().flat_map(|section| std::iter::once(&section.header).chain(&section.lines)))
}

/// Returns the path of the first `stats socket` of level admin.
fn stats_socket(base: &Base) -> Option<&str> {
    let lines = base.sections().filter(|section| section.keyword == "global").flat_map(|section| &section.lines);
    lines
        .filter_map(|line| {
            let words: Vec<&str> = line.tokens().iter().map(|token| token.text.as_str()).collect();
            let ["stats", "socket", address, options @ ..] = words.as_slice() else { return None };
            let path = address.strip_prefix("unix@").unwrap_or(address);
            let is_admin = options.windows(2).any(|pair| pair == ["level", "admin"]);
            (is_admin && path.starts_with('/') && !path.contains('$')).then_some(path)
        })
        .next()
}

/// Returns the environment variables that the configuration expands and does not set itself.
pub(super) fn variables(base: &Base) -> BTreeSet<String> {
    let mut used = BTreeSet::new();
    let mut own = BTreeSet::new();
    for line in lines(base) {
        if matches!(line.keyword(), "setenv" | "presetenv") {
            own.extend(line.arguments().next().map(|token| token.text.clone()));
        }
        for token in line.tokens() {
            used.extend(token.variables.iter().map(|variable| variable.name.clone()));
            used.extend(named(&token.text, "env("));
            // Addresses are expanded without quotes, too.
            used.extend(named(&token.text, "${"));
        }
    }
    used.retain(|name| !name.starts_with("HAPROXY_") && !own.contains(name) && check_name(name).is_ok());
    used
}

/// Returns the names that follow each `begin`, which is not the end of a longer word.
fn named<'a>(text: &'a str, begin: &'static str) -> impl Iterator<Item = String> + 'a {
    let is_name = |char: char| char.is_ascii_alphanumeric() || char == '_';
    text.match_indices(begin)
        .filter(move |(at, _)| !text[..*at].ends_with(is_name))
        .map(move |(at, _)| text[at + begin.len()..].chars().take_while(|char| is_name(*char)).collect())
}
