//! Parser for a haproxy.cfg that proxymgr wrote: its sections, and the service of each line.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::RawFd;
use std::sync::Arc;

use super::config_text::{END_OF_BASE, INDENT, clients_connect_to, inherited_socket_line};
use crate::model::{ServerName, ServiceName};

/// A section of the file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LoadedSection {
    /// The section without the descriptor and the servers, to compare with
    /// [`section_header`](super::haproxy_config::section_header).
    pub header: String,
    /// The descriptor it listens on.
    pub descriptor: Option<RawFd>,
    /// The servers' lines, to compare with [`server_line`](super::haproxy_config::server_line).
    pub server_lines: BTreeMap<ServerName, String>,
    /// The servers in the order of their lines.
    pub order: Vec<ServerName>,
}

/// Returns the sections of a file that proxymgr wrote; empty for any other file.
pub fn parse_sections(text: &str) -> BTreeMap<ServiceName, LoadedSection> {
    let mut sections: BTreeMap<ServiceName, LoadedSection> = BTreeMap::new();
    let mut current: Option<&mut LoadedSection> = None;
    for line in text.lines().skip_while(|line| *line != END_OF_BASE).skip(1) {
        if let Some(name) = section_name(line) {
            let section = sections.entry(name).or_default();
            section.push_head(line);
            current = Some(section);
        } else if line.is_empty() {
            current = None;
        } else if let Some(section) = current.as_deref_mut() {
            section.read_line(line);
        }
    }
    sections
}

/// Returns the descriptors that a process with this file inherits, for its sections and shared frontends.
pub fn inherited_descriptors(text: &str) -> BTreeSet<RawFd> {
    let ours = text.lines().skip_while(|line| *line != END_OF_BASE);
    ours.filter_map(|line| inherited(line.strip_prefix(INDENT)?.strip_prefix("bind ")?)).collect()
}

/// Returns whether a process of the file with these lines inherits its Runtime API socket, as
/// [`STATS_DESCRIPTOR`](super::haproxy_config::STATS_DESCRIPTOR). Reads no further than the base configuration.
pub fn inherits_stats_socket(lines: impl IntoIterator<Item = impl AsRef<str>>) -> bool {
    let expected = inherited_socket_line();
    let mut base = lines.into_iter().take_while(|line| line.as_ref() != END_OF_BASE);
    base.any(|line| line.as_ref().trim_start() == expected)
}

impl LoadedSection {
    fn read_line(&mut self, line: &str) {
        let mut words = line.strip_prefix(INDENT).unwrap_or(line).split(' ');
        let keyword_and_next = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        match keyword_and_next {
            ("server", name) if ServerName::new(name).is_ok() => {
                let name = ServerName::new(name).expect("the guard has just found it good");
                self.order.push(name.clone());
                self.server_lines.insert(name, line.to_owned());
            }
            ("bind", address) if self.descriptor.is_none() && inherited(address).is_some() => {
                self.descriptor = inherited(address);
            }
            // A socket that HAProxy opens itself, at the address in the comment before.
            ("bind", address) if self.header.lines().nth(1) == Some(&*clients_connect_to(address)) => {}
            _ => self.push_head(line),
        }
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
    ServiceName::new(name).ok()
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
                (first_line, piece.lines().next().and_then(section_name))
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
