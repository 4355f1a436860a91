//! Parser for a haproxy.cfg that proxymgr wrote: its sections, and the service of each line.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::RawFd;
use std::sync::Arc;

use super::base::sections::File;
use super::config_text::{END_OF_BASE, INDENT, SERVERS_BEGIN, SERVERS_END, connected_to, inherited_socket_line};
use super::line_sets::{self, LineSets};
use crate::model::{ServerName, ServiceName};

/// A section of the file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LoadedSection {
    /// The section without the descriptors and the servers, with the lines of the set that it derives from, to compare with
    /// [`section_header`](super::haproxy_config::section_header).
    pub header: String,
    /// Whether it derives from a set of lines.
    pub derives: bool,
    /// The servers' lines, to compare with [`server_line`](super::haproxy_config::server_line).
    pub server_lines: BTreeMap<ServerName, String>,
    /// The servers in the order of their lines.
    pub order: Vec<ServerName>,
}

/// Returns the sections of services in a file that proxymgr wrote; empty for any other file.
pub fn parse_sections(text: &str) -> BTreeMap<ServiceName, LoadedSection> {
    if !text.lines().any(|line| line == END_OF_BASE) {
        return BTreeMap::new();
    }
    let (base, after) = text.split_at(end_of_base(text));
    let sets = sets_in(after);
    let mut sections = sections_in_base(base);
    let mut derived: Vec<(ServiceName, &LoadedSet)> = Vec::new();
    let mut current: Option<&mut LoadedSection> = None;
    let mut is_marked = false;
    for line in after.lines().skip(1) {
        if let Some(name) = section_name(line) {
            let set = line_sets::name_in(line).and_then(|name| sets.get(name));
            let section = sections.entry(name.clone()).or_default();
            match set {
                Some(set) => {
                    section.push_head(&format!("backend {name}{}", set.from));
                    derived.push((name, set));
                }
                None => section.push_head(line),
            }
            current = Some(section);
            is_marked = false;
        } else if line.is_empty() {
            current = None;
        } else if line == SERVERS_BEGIN || line == SERVERS_END {
            is_marked = line == SERVERS_BEGIN;
        } else if let Some(section) = current.as_deref_mut() {
            section.read_line(line, is_marked);
        }
    }
    for (name, set) in derived {
        let section = sections.entry(name).or_default();
        section.derives = true;
        section.header.push_str(&set.lines);
    }
    sections
}

/// A set of lines in the file.
#[derive(Debug, Default)]
struct LoadedSet {
    /// What follows the name of a section in the place of the set: its own `defaults` section, if it names one.
    from: String,
    /// The lines, which belong to each section that derives from it.
    lines: String,
}

/// Returns the sets of lines by their names.
fn sets_in(after_base: &str) -> BTreeMap<&str, LoadedSet> {
    let mut sets: BTreeMap<&str, LoadedSet> = BTreeMap::new();
    let mut current: Option<&mut LoadedSet> = None;
    for line in after_base.lines() {
        if let Some((name, from)) = line_sets::names_in_header(line) {
            let set = sets.entry(name).or_default();
            set.from = if from == line_sets::ROOT { String::new() } else { format!(" from {from}") };
            current = Some(set);
        } else if line.is_empty() {
            current = None;
        } else if let Some(set) = current.as_deref_mut() {
            set.lines.push_str(line);
            set.lines.push('\n');
        }
    }
    sets
}

/// Returns the sets of lines in a file, as they are written.
pub fn line_sets_in(text: &str) -> LineSets {
    let after_base = &text[end_of_base(text)..];
    let paragraphs = after_base.split_inclusive("\n\n");
    let set = |text: &str| Some((line_sets::names_in_header(text.lines().next()?)?.0.into(), text.into()));
    paragraphs.filter_map(set).collect()
}

/// Returns where the base ends.
fn end_of_base(text: &str) -> usize {
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        if line.trim_end_matches('\n') == END_OF_BASE {
            return at;
        }
        at += line.len();
    }
    at
}

/// Returns the sections of the base configuration that have servers of services, between two comments.
fn sections_in_base(base: &str) -> BTreeMap<ServiceName, LoadedSection> {
    let mut sections = BTreeMap::new();
    for section in File::read("", base).sections {
        // Without servers the marks are the last lines, which could be comments of the next section.
        let marked = section.lines.iter().position(|line| line.text.trim_end_matches('\n') == SERVERS_END);
        let end = section.end().max(marked.map_or(0, |at| at + 1));
        let name = section.name.as_deref().and_then(|name| ServiceName::new(name).ok());
        let lines: Vec<&str> = std::iter::once(&section.header)
            .chain(&section.lines[..end])
            .map(|line| line.text.trim_end_matches('\n'))
            .collect();
        let (Some(name), Some(begin)) = (name, lines.iter().position(|line| *line == SERVERS_BEGIN)) else { continue };
        let mark_end = lines.iter().position(|line| *line == SERVERS_END).unwrap_or(lines.len());
        let mut loaded = LoadedSection::default();
        let mut connected = None;
        for (index, line) in lines.iter().enumerate() {
            if index > begin && index < mark_end {
                loaded.read_line(line, true);
            } else if index == begin || index == mark_end {
            } else if let Some(addresses) = connected_to(line) {
                connected = Some(addresses);
            } else {
                match connected.take().and_then(|addresses| with_addresses(line, addresses)) {
                    Some(bind) => loaded.push_head(&bind),
                    None => loaded.push_head(line),
                }
            }
        }
        sections.insert(name, loaded);
    }
    sections
}

/// Returns a `bind` line with these addresses in place of its own.
fn with_addresses(line: &str, addresses: &str) -> Option<String> {
    let (before, rest) = line.split_once("bind ")?;
    let rest = rest.trim_start();
    let options = rest.find(char::is_whitespace).map_or("", |at| &rest[at..]);
    Some(format!("{before}bind {addresses}{options}"))
}

/// Returns the descriptors that a process with this file inherits for its listeners.
pub fn inherited_descriptors(text: &str) -> BTreeSet<RawFd> {
    let mut was_announced = false;
    let mut descriptors = BTreeSet::new();
    for line in text.lines() {
        let addresses = line.trim_start().strip_prefix("bind ").filter(|_| was_announced);
        if let Some(addresses) = addresses {
            let addresses = addresses.trim_start();
            let end = addresses.find(char::is_whitespace).unwrap_or(addresses.len());
            descriptors.extend(addresses[..end].split(',').filter_map(inherited));
        }
        // Each is preceded by a comment with its address, or by another one.
        was_announced = connected_to(line).is_some() || (addresses.is_some() && was_announced);
    }
    descriptors
}

/// A Runtime API socket that a process inherits, as [`STATS_DESCRIPTOR`](super::haproxy_config::STATS_DESCRIPTOR).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InheritedStatsSocket {
    /// Whether the next process can request there the listening sockets that this one opened itself.
    pub exposes_listeners: bool,
}

/// Returns the Runtime API socket that a process of the file with these lines inherits; `None` where it opens its own.
/// Reads no further than the base configuration.
pub fn inherited_stats_socket(lines: impl IntoIterator<Item = impl AsRef<str>>) -> Option<InheritedStatsSocket> {
    let [plain, exposing] = [false, true].map(inherited_socket_line);
    let mut base = lines.into_iter().take_while(|line| line.as_ref() != END_OF_BASE);
    base.find_map(|line| match line.as_ref().trim_start() {
        line if line == plain => Some(InheritedStatsSocket { exposes_listeners: false }),
        line if line == exposing => Some(InheritedStatsSocket { exposes_listeners: true }),
        _ => None,
    })
}

impl LoadedSection {
    /// Reads a line. Lines in a marked part are servers, of which those that HAProxy only requires are left out.
    fn read_line(&mut self, line: &str, is_marked: bool) {
        let mut words = line.strip_prefix(INDENT).unwrap_or(line).split(' ');
        let keyword_and_next = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        match keyword_and_next {
            ("server", _) if is_marked && line.ends_with(" 127.0.0.1:1 disabled") => {}
            ("server", name) if ServerName::new(name).is_ok() => {
                let name = ServerName::new(name).expect("the guard has just found it good");
                self.order.push(name.clone());
                self.server_lines.insert(name, line.to_owned());
            }
            ("default-server" | "guid", _) if is_marked => {}
            ("bind", address) if inherited(address).is_some() || self.listens_on(address) => {}
            _ => self.push_head(line),
        }
    }

    /// Returns whether a comment announced this address.
    fn listens_on(&self, address: &str) -> bool {
        self.header.lines().any(|line| connected_to(line) == Some(address))
    }

    fn push_head(&mut self, line: &str) {
        self.header.push_str(line);
        self.header.push('\n');
    }
}

fn inherited(address: &str) -> Option<RawFd> {
    address.strip_prefix("fd@")?.parse().ok()
}

fn section_name(line: &str) -> Option<ServiceName> {
    let name = line.strip_prefix("listen ").or_else(|| line.strip_prefix("backend "))?;
    ServiceName::new(name.split_whitespace().next()?).ok()
}

/// An index from the lines of a file to services.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LineIndex {
    /// The first line of each piece, counted from 1, in ascending order.
    pieces: Vec<(usize, Option<ServiceName>)>,
}

impl LineIndex {
    /// Creates the index of a text in pieces: the base configuration and one per service.
    pub fn of(pieces: &[Arc<str>]) -> Self {
        let mut next_line = 1;
        let pieces = pieces
            .iter()
            .map(|piece| {
                let first_line = next_line;
                next_line += piece.matches('\n').count();
                (first_line, piece.lines().next().and_then(|line| section_name(line.trim_start())))
            })
            .collect();
        Self { pieces }
    }

    /// Returns the services that have a section.
    pub fn services(&self) -> BTreeSet<ServiceName> {
        self.pieces.iter().filter_map(|(_, service)| service.clone()).collect()
    }

    /// Returns the service whose section contains this line; `None` for the base configuration.
    pub fn service_at(&self, line: usize) -> Option<&ServiceName> {
        let after = self.pieces.partition_point(|(first_line, _)| *first_line <= line);
        self.pieces.get(after.checked_sub(1)?)?.1.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::slice::from_ref;

    const FILE: &str = "global\n    bind fd@3\n";

    fn loaded(lines: &str) -> LoadedSection {
        let sections = parse_sections(&format!("{FILE}{END_OF_BASE}\nlisten web\n{lines}\n"));
        sections[&ServiceName::new("web").unwrap()].clone()
    }

    #[test]
    fn inherited_sockets_are_no_part_of_the_header() {
        let section = loaded("    bind fd@5\n    bind fd@6\n    bind fd@x\n");
        assert_eq!(section.header.lines().count(), 2);
        assert_eq!(loaded("    bind 10.0.0.1:80\n").header.lines().count(), 2, "another socket is an option");
    }

    #[test]
    fn servers_are_in_the_order_of_their_lines() {
        let section = loaded("    server b 10.0.0.2:80\n    server a 10.0.0.1:80 check\n    server a/b 10.0.0.3:80\n");
        let [a, b] = ["a", "b"].map(|name| ServerName::new(name).unwrap());
        assert_eq!(section.order, [b.clone(), a.clone()]);
        assert_eq!(section.server_lines.keys().collect::<Vec<_>>(), [&a, &b]);
        assert_eq!(section.header.lines().count(), 2, "a line without a valid name is no server of ours");
    }

    #[test]
    fn sockets_with_an_address_are_inherited() {
        let comment = "    # clients connect to *:80";
        let text = format!(
            "{FILE}{END_OF_BASE}\nlisten web\n{comment}\n    bind fd@5\n\nfrontend f\n{comment}\n    bind fd@6\n"
        );
        assert_eq!(inherited_descriptors(&text), [5, 6].into());
        assert_eq!(inherited_descriptors(FILE), BTreeSet::new());
    }

    #[test]
    fn line_of_a_file_belongs_to_a_section() {
        let pieces = ["global\n\n", "listen web\n    mode http\n\n", "listen db\n"].map(Arc::<str>::from);
        let index = LineIndex::of(&pieces);
        let services = [0, 2, 3, 5, 6].map(|line| index.service_at(line).map(ServiceName::as_str));
        assert_eq!(services, [None, None, Some("web"), Some("web"), Some("db")]);
        assert_eq!(index.services().len(), 2);
        assert_eq!(LineIndex::of(from_ref(&pieces[0])).services().len(), 0);
    }
}
