//! Sets of lines: each is a named `defaults` section that backends with the same lines derive from.
//!
//! HAProxy 3.4 adds backends at run time, which get everything from a `defaults` section of the file. A service without
//! a listener of its own whose set the running file has needs no reload. Tried with 3.4.7: the accepted lines behave
//! there as in a backend, also for health checks and ACLs.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::option_lines::push_options;
use super::routing::has_listener;
use super::section_style::{LineSetSupport, SectionStyle};
use crate::model::{ServiceDefinition, Word};

/// The name of the `defaults` section with the lines that apply to sections without a `from` of their own.
pub const ROOT: &str = "proxymgr:defaults";

/// What the names of sets begin with.
const PREFIX: &str = "proxymgr:lines:";

/// The bytes of a set's hash in its name.
const HASH_BYTES: usize = 8;

/// The first words of lines that HAProxy accepts in `defaults` sections of backends. Those of `stats` depend on their
/// section, and stick tables belong to it.
const ACCEPTED: [&str; 31] = [
    "acl",
    "balance",
    "compression",
    "cookie",
    "default-server",
    "dynamic-cookie-key",
    "errorloc",
    "errorloc302",
    "errorloc303",
    "fullconn",
    "hash-balance-factor",
    "hash-preserve-affinity",
    "hash-type",
    "http-after-response",
    "http-check",
    "http-error",
    "http-request",
    "http-response",
    "http-reuse",
    "http-send-name-header",
    "log-tag",
    "max-keep-alive-queue",
    "mode",
    "option",
    "retries",
    "retry-on",
    "tcp-check",
    "tcp-request",
    "tcp-response",
    "timeout",
    "unique-id-header",
];

/// The sets of a file: the text of each `defaults` section by its name.
pub type LineSets = BTreeMap<Arc<str>, Arc<str>>;

/// The set of lines of one service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LineSet {
    /// The name of its `defaults` section: equal sets have equal names.
    pub name: Arc<str>,
    /// The text of its `defaults` section.
    pub text: Arc<str>,
}

/// Returns the set that the section of a service derives from; `None` where the section has its lines itself.
pub fn of(definition: &ServiceDefinition, style: SectionStyle) -> Option<LineSet> {
    let own_defaults = definition.named_defaults();
    let is_supported = match style.line_sets {
        LineSetSupport::None => false,
        LineSetSupport::OfNamedDefaults => own_defaults.is_some(),
        LineSetSupport::All => true,
    };
    if !is_supported || has_listener(definition) || definition.frame().is_some() {
        return None;
    }
    let name = definition.name.as_str();
    if !definition.listen_options.iter().all(|words| is_accepted(words, name)) {
        return None;
    }
    let mut lines = String::new();
    push_options(&mut lines, definition, style);
    let from = own_defaults.map_or(ROOT, |name| name.as_str());
    let rest = format!(" from {from}\n{lines}\n");
    let mut name = PREFIX.to_owned();
    for byte in &Sha256::digest(&rest)[..HASH_BYTES] {
        let _ = write!(name, "{byte:02x}");
    }
    let text = format!("defaults {name}{rest}");
    Some(LineSet { name: name.into(), text: text.into() })
}

/// Returns the sets of these sections.
pub fn of_all<'a>(definitions: impl IntoIterator<Item = &'a ServiceDefinition>, style: SectionStyle) -> LineSets {
    let sets = definitions.into_iter().filter_map(|definition| of(definition, style));
    sets.map(|set| (set.name, set.text)).collect()
}

/// Returns whether a line means the same in a `defaults` section. A line with the name of its section is about its own
/// servers, and no other section may have it.
fn is_accepted(words: &[Word], section: &str) -> bool {
    let Some(first) = words.first() else { return true };
    let action = words.get(1).map_or("", Word::as_str);
    let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | ':' | '_' | '-');
    let names_section = |word: &Word| word.as_str().split(|c| !is_name(c)).any(|token| token == section);
    ACCEPTED.contains(&first.as_str())
        && !action.starts_with("track-sc")
        && action != "capture"
        && !words.iter().any(names_section)
}

/// Returns the name of the set that the section with this text derives from.
pub fn name_in(section: &str) -> Option<&str> {
    let (_, name) = section.lines().next()?.split_once(" from ")?;
    name.starts_with(PREFIX).then_some(name)
}

/// Returns the name of a set, and that of the `defaults` section which it derives from, in the first line of its section.
pub(super) fn names_in_header(line: &str) -> Option<(&str, &str)> {
    let (name, from) = line.strip_prefix("defaults ")?.split_once(" from ")?;
    name.starts_with(PREFIX).then_some((name, from))
}
