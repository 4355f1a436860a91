//! HAProxy's state file: passes the health and the weights of servers to a new process, so that a reload does not send
//! clients to a server that is known to be down.
//!
//! It contains nothing else. The servers, their addresses and administrative states come from haproxy.cfg and the plan;
//! HAProxy would otherwise load an old port, or a maintenance that has ended, from this file.

use std::collections::BTreeMap;
use std::sync::Arc;

use litemap::LiteMap;

use super::applied_service::applied_server;
use super::deployment::SectionSpec;
use super::haproxy_config::{SectionStyle, section_header};
use super::servers_state::{ServerRow, ServerRows};
use crate::model::{AdminState, Endpoint, Host, HostList, ObservedServer, ServerName, ServiceName};

/// A state file without servers: only the number of its format. HAProxy warns of one that is empty or missing.
pub const NOTHING_KNOWN: &str = "1\n";

/// The hosts of each section in the file.
pub type FileHosts = LiteMap<ServiceName, Arc<HostList>>;

/// Returns the rows of `said`, the answer to `show servers state`, that are valid for a process started with the same
/// file, which has these hosts.
pub fn still_true(said: &str, hosts: &FileHosts) -> String {
    let mut rows = ValidRows::new();
    for line in said.lines() {
        rows.read(line, |row| {
            let named = ServiceName::new(row.section).ok().zip(ServerName::new(row.server).ok());
            let host = named.and_then(|(section, server)| hosts.get(&section)?.get(&server));
            host.is_some_and(|host| is_ready_there(host, &row.observed))
        });
    }
    rows.text
}

/// The text of a state file, and the position in the answer that it is read from.
struct ValidRows {
    rows: ServerRows,
    text: String,
}

impl ValidRows {
    fn new() -> Self {
        Self { rows: ServerRows::default(), text: NOTHING_KNOWN.to_owned() }
    }

    /// Copies a header, or a row that is valid. A line that cannot be parsed is left out.
    fn read(&mut self, line: &str, is_valid: impl FnOnce(&ServerRow<'_>) -> bool) {
        let row = self.rows.read(line).ok().flatten();
        if line.starts_with("# ") || row.is_some_and(|row| is_valid(&row)) {
            self.text.push_str(line);
            self.text.push('\n');
        }
    }
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
    /// The section of the last line, and its servers in both processes where its options are the same. Lines of one section
    /// follow each other.
    current: Option<(String, Option<Carried<'a>>)>,
    rows: ValidRows,
}

impl<'a> CarriedHealth<'a> {
    /// Creates a reader. `before` are the sections of the process that answered, `next` those of the next one, which
    /// has this style.
    pub fn new(before: &'a Sections, next: &'a Sections, style: SectionStyle) -> Self {
        Self { before, next, style, current: None, rows: ValidRows::new() }
    }

    /// Reads the next line of the answer.
    pub fn read(&mut self, line: &str) {
        self.rows.read(line, |row| {
            if self.current.as_ref().is_none_or(|(name, _)| name != row.section) {
                let carried = ServiceName::new(row.section).ok().and_then(|name| {
                    let (before, next) = (self.before.get(&name)?, self.next.get(&name)?);
                    has_same_head(before, next, self.style).then_some(Carried { before, next })
                });
                self.current = Some((row.section.to_owned(), carried));
            }
            self.current.as_ref().is_some_and(|(_, carried)| carried.as_ref().is_some_and(|it| it.is_true_of(row)))
        });
    }

    /// Returns the text of the state file.
    pub fn finish(self) -> String {
        self.rows.text
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
    fn is_true_of(&self, row: &ServerRow<'_>) -> bool {
        let Ok(name) = ServerName::new(row.server) else { return false };
        let (Some(before), Some(host)) = (self.before.hosts.get(&name), self.next.hosts.get(&name)) else {
            return false;
        };
        let is_unchanged = Arc::ptr_eq(&self.before.definition, &self.next.definition) && Arc::ptr_eq(before, host);
        let is_given_the_same = || {
            let (given_before, given_next) =
                (applied_server(&self.before.definition, before), applied_server(&self.next.definition, host));
            given_before.endpoint == given_next.endpoint && given_before.options == given_next.options
        };
        is_ready_there(host, &row.observed) && (is_unchanged || is_given_the_same())
    }
}

/// Returns whether the host should be ready, and its server is ready at the same address, or with the same name: HAProxy
/// resolves it again when it reads its file, and uses the last address where that fails.
fn is_ready_there(host: &Host, observed: &ObservedServer) -> bool {
    let is_ready = host.state == AdminState::Ready && observed.admin_state == 0;
    is_ready
        && match &host.endpoint {
            Endpoint::Tcp { .. } => observed.address.is_some() && observed.endpoint().as_ref() == Some(&host.endpoint),
            Endpoint::Unix(_) => observed.is_unix(),
        }
}
