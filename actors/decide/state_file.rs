//! HAProxy's state file: passes the health and the weights of servers to a new process, so that a reload does not send
//! clients to a server that is known to be down.
//!
//! It contains nothing else. The servers, their addresses and administrative states come from haproxy.cfg and the plan;
//! HAProxy would otherwise load an old port, or a maintenance that has ended, from this file.

use std::collections::BTreeMap;
use std::sync::Arc;

use litemap::LiteMap;

use super::applied_service::applied_server;
pub use super::base_config::state_file_in_use as in_use;
use super::deployment::SectionSpec;
use super::haproxy_config::{SectionStyle, section_header};
use crate::model::{Address, AdminState, Host, HostList, ServerName, ServiceName};

/// A state file without servers: only the number of its format. HAProxy warns of one that is empty or missing.
pub const NOTHING_KNOWN: &str = "1\n";

/// The columns that are read. Their positions differ between versions.
const COLUMNS: [&str; 6] = ["be_name", "srv_name", "srv_addr", "srv_admin_state", "srv_fqdn", "srv_port"];

/// The hosts of each section in the file.
pub type FileHosts = LiteMap<ServiceName, Arc<HostList>>;

/// Returns the rows of `said`, the answer to `show servers state`, that are valid for a process started with the same
/// file, which has these hosts.
pub fn still_true(said: &str, hosts: &FileHosts) -> String {
    let mut text = NOTHING_KNOWN.to_owned();
    let mut places = None;
    for line in said.lines() {
        if let Some(header) = line.strip_prefix("# ") {
            places = places_of(header);
            push_line(&mut text, line);
            continue;
        }
        let Some([section, server, row @ ..]) = places.and_then(|places| row(line, places)) else { continue };
        let named = ServiceName::new(section).ok().zip(ServerName::new(server).ok());
        let host = named.and_then(|(section, server)| hosts.get(&section)?.get(&server));
        if host.is_some_and(|host| is_ready_there(host, row)) {
            push_line(&mut text, line);
        }
    }
    text
}

/// The sections of a process.
pub type Sections = BTreeMap<ServiceName, SectionSpec>;

/// Collects the rows of the answer to `show servers state` that are valid for the next process: servers that were and
/// will be ready, at the same address, with the same checks. A server that is no longer checked would stay down
/// forever.
///
/// It works line by line, so that 50,000 servers need not be processed at once.
pub struct CarriedHealth<'a> {
    before: &'a Sections,
    next: &'a Sections,
    style: SectionStyle,
    places: Option<[usize; COLUMNS.len()]>,
    /// The section of the last line, and its servers in both processes where its options are the same. Lines of one section
    /// follow each other.
    current: Option<(String, Option<Carried<'a>>)>,
    text: String,
}

impl<'a> CarriedHealth<'a> {
    /// Creates a reader. `before` are the sections of the process that answered, `next` those of the next one, which
    /// has this style.
    pub fn new(before: &'a Sections, next: &'a Sections, style: SectionStyle) -> Self {
        Self { before, next, style, places: None, current: None, text: NOTHING_KNOWN.to_owned() }
    }

    /// Reads the next line of the answer.
    pub fn read(&mut self, line: &str) {
        if let Some(header) = line.strip_prefix("# ") {
            self.places = places_of(header);
            push_line(&mut self.text, line);
            return;
        }
        let Some([section, server, row @ ..]) = self.places.and_then(|places| row(line, places)) else { return };
        if self.current.as_ref().is_none_or(|(name, _)| name != section) {
            let carried = ServiceName::new(section).ok().and_then(|name| {
                let (before, next) = (self.before.get(&name)?, self.next.get(&name)?);
                has_same_head(before, next, self.style).then_some(Carried { before, next })
            });
            self.current = Some((section.to_owned(), carried));
        }
        if let Some((_, Some(carried))) = &self.current
            && carried.is_true_of(server, row)
        {
            push_line(&mut self.text, line);
        }
    }

    /// Returns the text of the state file.
    pub fn finish(self) -> String {
        self.text
    }
}

fn has_same_head(before: &SectionSpec, next: &SectionSpec, style: SectionStyle) -> bool {
    Arc::ptr_eq(&before.definition, &next.definition)
        || section_header(&before.definition, style) == section_header(&next.definition, style)
}

/// A section that the next process has with the same options.
struct Carried<'a> {
    before: &'a SectionSpec,
    next: &'a SectionSpec,
}

impl Carried<'_> {
    fn is_true_of(&self, server: &str, row: [&str; 4]) -> bool {
        let Ok(name) = ServerName::new(server) else { return false };
        let (Some(before), Some(host)) = (self.before.hosts.get(&name), self.next.hosts.get(&name)) else {
            return false;
        };
        let is_unchanged = Arc::ptr_eq(&self.before.definition, &self.next.definition) && Arc::ptr_eq(before, host);
        let is_given_the_same = || {
            let (given_before, given_next) =
                (applied_server(&self.before.definition, before), applied_server(&self.next.definition, host));
            given_before.endpoint == given_next.endpoint && given_before.options == given_next.options
        };
        is_ready_there(host, row) && (is_unchanged || is_given_the_same())
    }
}

/// Returns whether the host should be ready, and the server of this row is ready at the same address.
fn is_ready_there(host: &Host, [address, admin_state, fqdn, port]: [&str; 4]) -> bool {
    let is_there = matches!(host.endpoint.address, Address::Ip(ip) if ip.to_string() == address)
        && host.endpoint.port.to_string() == port;
    // HAProxy resolves a host name again when it reads its file.
    let is_plain = fqdn == "-" && admin_state == "0";
    host.state == AdminState::Ready && is_plain && is_there
}

fn places_of(header: &str) -> Option<[usize; COLUMNS.len()]> {
    let mut places = [0; COLUMNS.len()];
    for (place, column) in places.iter_mut().zip(COLUMNS) {
        *place = header.split_ascii_whitespace().position(|name| name == column)?;
    }
    Some(places)
}

fn row(line: &str, places: [usize; COLUMNS.len()]) -> Option<[&str; COLUMNS.len()]> {
    let values: Vec<&str> = line.split_ascii_whitespace().collect();
    let mut row = [""; COLUMNS.len()];
    for (value, place) in row.iter_mut().zip(places) {
        *value = values.get(place)?;
    }
    Some(row)
}

fn push_line(text: &mut String, line: &str) {
    text.push_str(line);
    text.push('\n');
}
