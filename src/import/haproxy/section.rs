//! A `backend` or `listen` section of haproxy.cfg, split into a service and the rest, which stays in the base
//! configuration.

use std::collections::BTreeSet;

use proxymgr_actors::decide::base::sections::{Directive, Line, Place, Section};
use proxymgr_actors::decide::base::{MARKER, is_marker};
use proxymgr_actors::decide::option_policy::OptionPolicy;
use proxymgr_actors::decide::quoting::joined;
use proxymgr_actors::decide::service_definition;
use proxymgr_actors::model::{RawDefinition, SocketPath, Word};
use serde_json::{Value, json};

use super::server::{Server, shared_options};

/// Refused options that `default-server` does not set for servers: each server has its own.
const NOT_BY_DEFAULT: &[&str] = &["guid", "id", "redir", "track"];

/// A service, and what it leaves in its section.
#[derive(Debug)]
pub(super) struct ImportedSection {
    /// The name of the section and of the service.
    pub(super) name: String,
    /// Where the section begins.
    pub(super) place: Place,
    /// The hosts, each with the comment of its line.
    pub(super) hosts: Vec<(Value, Option<String>)>,
    /// The options of all its servers.
    pub(super) server_options: Vec<String>,
    /// The section's text, with the marker where the servers were.
    pub(super) rest: String,
    /// The `server` lines that stay, each with the reason.
    pub(super) stays: Vec<(Place, String)>,
}

impl ImportedSection {
    /// Returns the paths of the unix sockets among its hosts.
    pub(super) fn sockets(&self) -> Vec<String> {
        let addresses = self.hosts.iter().filter_map(|(host, _)| host["address"].as_str());
        addresses.filter_map(SocketPath::in_address).flatten().map(|path| path.as_str().to_owned()).collect()
    }
}

/// Splits a section. `tracked` are the servers that others track, as `backend/server`.
///
/// # Errors
/// Why no server of the section can become a host.
pub(super) fn import(
    section: &Section,
    tracked: &BTreeSet<String>,
    policy: &OptionPolicy,
) -> Result<ImportedSection, String> {
    let name = service_name(section, policy)?;
    if section.lines.iter().any(is_marker) {
        return Err("its servers are proxymgr's already".to_owned());
    }
    let mut candidates = Vec::new();
    let mut stays = Vec::new();
    let mut depth = 0_usize;
    let last_default = section.lines.iter().rposition(|line| line.keyword() == "default-server");
    for (index, line) in section.lines.iter().enumerate() {
        match line.directive() {
            Some(Directive::If) => depth += 1,
            Some(Directive::Endif) => depth = depth.saturating_sub(1),
            _ => {}
        }
        match line.keyword() {
            // All servers of a service are below the section's defaults for servers.
            "server" if last_default > Some(index) => {
                stays.push((line.place.clone(), "a default-server line below it is not for it".to_owned()));
            }
            "server" => match candidate(line, depth, &name, tracked, &candidates) {
                Ok(server) => candidates.push((index, server)),
                Err(reason) => stays.push((line.place.clone(), reason)),
            },
            "server-template" => {
                stays.push((line.place.clone(), "HAProxy resolves the servers of a template".to_owned()))
            }
            _ => {}
        }
    }
    let split = split(candidates, section, &mut stays, policy);
    if split.hosts.is_empty() {
        let reasons: Vec<String> =
            stays.iter().map(|(place, reason)| format!("line {}: {reason}", place.line)).collect();
        return Err(if reasons.is_empty() { "it has no server".to_owned() } else { reasons.join("; ") });
    }
    stays.sort();
    let rest = rest(section, &split);
    let server_options = split.of_service.iter().map(joined).collect();
    let hosts = split.hosts.into_iter().map(|(_, host, comment)| (host, comment)).collect();
    Ok(ImportedSection { name, place: section.place().clone(), hosts, server_options, rest, stays })
}

/// Returns the section's name, if a service can have it.
fn service_name(section: &Section, policy: &OptionPolicy) -> Result<String, String> {
    let name = section.name.clone().ok_or_else(|| "it has no name".to_owned())?;
    if section.header.arguments().any(|token| !token.variables.is_empty()) {
        return Err("its name depends on the environment".to_owned());
    }
    if name.starts_with('.') {
        return Err("files whose names begin with a dot are not read as definitions".to_owned());
    }
    let probe = RawDefinition::new(json!({"type": "static", "hosts": []}).to_string(), "");
    service_definition::parse(&name, &probe, policy).map_err(|mistakes| mistakes.join("; "))?;
    Ok(name)
}

/// Reads a server, unless something else keeps it in the base.
fn candidate(
    line: &Line,
    depth: usize,
    section: &str,
    tracked: &BTreeSet<String>,
    before: &[(usize, Server)],
) -> Result<Server, String> {
    if depth > 0 {
        return Err("it is within a conditional".to_owned());
    }
    let server = Server::read(line)?;
    if tracked.contains(&format!("{section}/{}", server.name)) {
        return Err("other servers track it".to_owned());
    }
    let same = before.iter().find(|(_, other)| other.endpoint == server.endpoint || other.name == server.name);
    match same {
        Some((_, other)) => Err(format!("it has the address or the name of server {}", other.name)),
        None => Ok(server),
    }
}

/// What becomes of the servers of a section.
#[derive(Debug, Default)]
struct Split {
    /// The index of each server's line, its host, and its comment.
    hosts: Vec<(usize, Value, Option<String>)>,
    /// The options of the service.
    of_service: Vec<Vec<Word>>,
    /// Shared options that services may not use, for `default-server` of the section.
    of_section: Vec<Vec<Word>>,
}

/// Distributes the options. A server with an option that nothing can express stays.
fn split(
    mut candidates: Vec<(usize, Server)>,
    section: &Section,
    stays: &mut Vec<(Place, String)>,
    policy: &OptionPolicy,
) -> Split {
    loop {
        let shared = shared_options(&Vec::from_iter(candidates.iter().map(|(_, server)| server)));
        let refusal = |option: &Vec<Word>| policy.judge_server_words(option).err();
        let (of_section, of_service): (Vec<_>, Vec<_>) = shared.iter().cloned().partition(|o| refusal(o).is_some());
        // `default-server` is also for the servers that stay below it.
        let can_default = |option: &Vec<Word>| stays.is_empty() && !NOT_BY_DEFAULT.contains(&option[0].as_str());
        let lost = of_section.iter().find(|option| !can_default(option)).and_then(refusal);
        let together = policy.judge_server_words(&of_service.concat()).err();
        let hosts = candidates.iter().map(|(index, server)| match lost.as_ref().or(together.as_ref()) {
            Some(reason) => Err((*index, reason.clone())),
            None => match server.host(&shared, policy) {
                Ok(host) => Ok((*index, host, server.comment.clone())),
                Err(reason) => Err((*index, reason)),
            },
        });
        let (hosts, kept): (Vec<_>, Vec<_>) = hosts.partition(Result::is_ok);
        let kept: Vec<(usize, String)> = kept.into_iter().filter_map(Result::err).collect();
        if kept.is_empty() {
            return Split { hosts: hosts.into_iter().flatten().collect(), of_service, of_section };
        }
        candidates.retain(|(index, _)| !kept.iter().any(|(kept, _)| kept == index));
        stays.extend(kept.into_iter().map(|(index, reason)| (section.lines[index].place.clone(), reason)));
    }
}

/// Returns the section without the servers that became hosts.
fn rest(section: &Section, split: &Split) -> String {
    let moved: BTreeSet<usize> = split.hosts.iter().map(|(index, ..)| *index).collect();
    let mut text = section.header.text.clone();
    for (index, line) in section.lines.iter().enumerate() {
        if !moved.contains(&index) {
            text.push_str(&line.text);
        } else if moved.first() == Some(&index) {
            let indent = &line.text[..line.text.len() - line.text.trim_start().len()];
            let ending = if line.text.ends_with("\r\n") { "\r\n" } else { "\n" };
            if !split.of_section.is_empty() {
                let options = joined(split.of_section.iter().flatten());
                text.push_str(&format!("{indent}default-server {options}{ending}"));
            }
            text.push_str(&format!("{indent}# {MARKER}{ending}"));
        }
    }
    text
}
