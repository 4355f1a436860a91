//! HAProxy's own configuration: sections with servers become services, everything else becomes the base configuration.

mod section;
mod server;
mod settings;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use proxymgr_actors::decide::base::sections::{Base, Directive, File, Line, Place, Section};
use proxymgr_actors::decide::option_policy::OptionPolicy;

use self::section::{ImportedSection, import};
use super::yaml_text::YamlText;
use super::{BASE_FILE, BaseFile, Imported, SERVICES, SETTINGS_FILE};

/// What to know about a line.
type Note = (Place, String);

/// The directory of the base configuration where the original is several.
const BASE_DIRECTORY: &str = "haproxy.d";

/// Converts a configuration: one file, or the files of a directory in HAProxy's order. `chosen` are the sections that
/// become services; without any, all that can. The result is for this directory.
///
/// # Errors
/// A chosen section does not exist, or has no server that could become a host.
pub fn from_haproxy(base: &Base, chosen: &[String], directory: &Path) -> Result<Imported, String> {
    let policy = OptionPolicy::default();
    let mut imported = Imported::default();
    let tracked = tracked_servers(base);
    let mut notes: Vec<Note> = Vec::new();
    let mut sections = BTreeMap::new();
    let mut refused = BTreeMap::new();
    for (section, is_conditional) in with_conditions(base) {
        let Some(name) = section.name.as_deref().filter(|_| matches!(section.keyword, "backend" | "listen")) else {
            continue;
        };
        let is_meant = match chosen {
            [] => section.lines.iter().any(|line| matches!(line.keyword(), "server" | "server-template")),
            chosen => chosen.iter().any(|chosen| chosen == name),
        };
        if !is_meant {
            continue;
        }
        let result = match is_conditional {
            true => Err("it is within a conditional".to_owned()),
            false => import(section, &tracked, &policy),
        };
        match result {
            Ok(service) => drop(sections.insert(name.to_owned(), service)),
            Err(reason) => {
                let note = format!("{} {name} stays in the base: {reason}", section.keyword);
                notes.push((section.place().clone(), note));
                refused.insert(name.to_owned(), format!("{}: {name}: {reason}", section.place()));
            }
        }
    }
    if let Some(name) = chosen.iter().find(|name| !sections.contains_key(*name)) {
        let absent = || format!("{name}: there is no backend or listen section with this name");
        return Err(refused.get(name).cloned().unwrap_or_else(absent));
    }
    for file in &base.files {
        let name = match base.files.as_slice() {
            [_] => BASE_FILE.to_owned(),
            _ => format!("{BASE_DIRECTORY}/{}", file_name(file)),
        };
        imported.base.push(BaseFile { name, text: base_text(file, &sections) });
    }
    notes.extend(notes_about(base, &sections));
    notes.sort();
    imported.notes = notes.into_iter().map(|(place, note)| format!("{place}: {note}")).collect();
    imported.environment = settings::variables(base).into_iter().collect();
    let sockets = sections.iter().map(|(name, section)| (name.as_str(), section.sockets()));
    let sockets: Vec<_> = sockets.filter(|(_, paths)| !paths.is_empty()).collect();
    imported.settings = settings::settings(base, &imported.environment, &sockets, directory);
    imported.notes.extend(next_steps(&sections, directory));
    imported.services =
        sections.into_values().map(|service| (format!("{}.yml", service.name), definition(&service))).collect();
    Ok(imported)
}

/// Returns each section, and whether it exists only under a condition.
fn with_conditions(base: &Base) -> Vec<(&Section, bool)> {
    let mut sections = Vec::new();
    for file in &base.files {
        let mut depth = depth_after(0, &file.preamble);
        for section in &file.sections {
            sections.push((section, depth > 0));
            depth = depth_after(depth, &section.lines);
        }
    }
    sections
}

fn depth_after(depth: usize, lines: &[Line]) -> usize {
    lines.iter().fold(depth, |depth, line| match line.directive() {
        Some(Directive::If) => depth + 1,
        Some(Directive::Endif) => depth.saturating_sub(1),
        _ => depth,
    })
}

fn file_name(file: &File) -> String {
    let path = Path::new(&*file.name);
    path.file_name().map_or_else(|| BASE_FILE.to_owned(), |name| name.to_string_lossy().into_owned())
}

fn base_text(file: &File, services: &BTreeMap<String, ImportedSection>) -> String {
    let mut text: String = file.preamble.iter().map(|line| line.text.as_str()).collect();
    for section in &file.sections {
        match services.values().find(|service| service.place == *section.place()) {
            Some(service) => text.push_str(&service.rest),
            None => text.push_str(&section.to_string()),
        }
    }
    text
}

/// Returns the servers that `track` names, as `backend/server`.
fn tracked_servers(base: &Base) -> BTreeSet<String> {
    let mut tracked = BTreeSet::new();
    for section in base.sections() {
        for line in section.lines.iter().filter(|line| matches!(line.keyword(), "server" | "default-server")) {
            let words: Vec<&str> = line.arguments().map(|token| token.text.as_str()).collect();
            for pair in words.windows(2).filter(|pair| pair[0] == "track") {
                let own = section.name.as_deref().unwrap_or_default();
                tracked.insert(if pair[1].contains('/') { pair[1].to_owned() } else { format!("{own}/{}", pair[1]) });
            }
        }
    }
    tracked
}

/// Returns what an operator should know about each service.
fn notes_about(base: &Base, services: &BTreeMap<String, ImportedSection>) -> Vec<Note> {
    let mut notes = Vec::new();
    for service in services.values() {
        let note = |reason| format!("this server of {} stays in the base: {reason}", service.name);
        notes.extend(service.stays.iter().map(|(place, reason)| (place.clone(), note(reason))));
    }
    for section in base.sections() {
        let is_managed = section.name.as_ref().is_some_and(|name| services.contains_key(name));
        for line in &section.lines {
            let arguments: Vec<&str> = line.arguments().map(|token| token.text.as_str()).collect();
            let note = match (line.keyword(), arguments.as_slice()) {
                ("use-server", [server, ..]) if is_managed => {
                    format!("use-server names {server}: give that host the same \"name\" in discovery")
                }
                ("hash-type", ["consistent", ..]) if is_managed => {
                    "proxymgr derives the ids of servers from their addresses: once, most keys of this consistent hash \
                     move to other servers"
                        .to_owned()
                }
                _ => continue,
            };
            notes.push((line.place.clone(), note));
        }
    }
    notes
}

/// Returns what an operator does next.
fn next_steps(services: &BTreeMap<String, ImportedSection>, directory: &Path) -> Vec<String> {
    let mut steps = vec!["Next:".to_owned()];
    steps.extend(services.values().map(|service| {
        let (name, count) = (&service.name, service.hosts.len());
        let hosts = if count == 1 { "host" } else { "hosts" };
        format!("  {SERVICES}/{name}.yml lists {count} {hosts}: replace type and hosts by where they are discovered")
    }));
    if services.is_empty() {
        steps.push("  no section has servers that can be discovered: everything stays in the base".to_owned());
    }
    let settings = directory.join(SETTINGS_FILE);
    steps.push(format!("  proxymgr check -c {} --connect", settings.display()));
    steps.push(format!("  proxymgr run -c {}, in place of HAProxy's own service", settings.display()));
    steps
}

fn definition(service: &ImportedSection) -> String {
    let mut yaml = YamlText::with_header(&[
        &format!("The servers of {} in the base configuration, with the hosts that it listed.", service.name),
        "To discover them, replace type and hosts, for example by",
        "  type: consul",
        &format!("  service: {}", service.name),
    ]);
    yaml.key("type", "static");
    yaml.entries("hosts", &service.hosts);
    if !service.server_options.is_empty() {
        yaml.list("server_options", &service.server_options);
    }
    yaml.finish()
}
