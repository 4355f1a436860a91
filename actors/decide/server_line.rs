//! The line of a server in haproxy.cfg, and its options, which `add server` accepts, too.

use std::fmt::Write;

use super::capabilities::HASH_BY_ID;
use super::config_lines::default_server;
use super::config_text::INDENT;
use super::guid;
use super::quoting::quoted;
use super::section_style::SectionStyle;
use super::server_ids::ServerIds;
use super::server_options::contains;
use crate::model::{AdminState, Endpoint, Host, PersistentId, ServerName, ServiceDefinition, Word};

/// The approximate length of a server's line.
pub(super) const SERVER_LINE_BYTES: usize = 128;

/// Returns one server's line, without its line feed, and without an id where there are no `ids`. The file cannot
/// express drain: such a server starts in maintenance, so that it gets no traffic before its drain is set.
pub fn server_line(
    definition: &ServiceDefinition,
    name: &ServerName,
    host: &Host,
    ids: Option<&ServerIds>,
    style: SectionStyle,
) -> String {
    let mut line = String::with_capacity(SERVER_LINE_BYTES);
    push_server_line(&mut line, definition, name, host, ids, style);
    line.pop();
    line
}

/// Adds one server's line, with its line feed.
pub(super) fn push_server_line(
    text: &mut String,
    definition: &ServiceDefinition,
    name: &ServerName,
    host: &Host,
    ids: Option<&ServerIds>,
    style: SectionStyle,
) {
    let _ = write!(text, "{INDENT}server {name} {}", host.endpoint);
    let words = server_words(definition, host);
    if let Some(id) = ids.and_then(|ids| id_beside(&words, name, host, ids)) {
        let _ = write!(text, " id {id}");
    }
    if style.guids
        && let Some([option, guid]) = guid::option_beside(&words, &definition.name, name)
    {
        let _ = write!(text, " {} {}", option.as_str(), guid.as_str());
    }
    for word in words {
        text.push(' ');
        text.push_str(&quoted(&word));
    }
    if style.hash_keys && matches!(host.endpoint, Endpoint::Unix(_)) {
        let _ = write!(text, " {}", HASH_BY_ID.join(" "));
    }
    if host.state != AdminState::Ready {
        text.push_str(" disabled");
    }
    text.push('\n');
}

/// Returns the id of a server with these options; `None` where the options contain an id, which the operator has to
/// allow.
pub(super) fn id_beside(words: &[Word], name: &ServerName, host: &Host, ids: &ServerIds) -> Option<PersistentId> {
    (!contains(words, "id")).then(|| ids.of(name, &host.endpoint))
}

/// Returns whether the line of this server configures an agent check, which is active from HAProxy's start on.
pub fn has_agent(definition: &ServiceDefinition, host: &Host) -> bool {
    let words = [server_words(definition, host), default_server_words(definition)];
    words.iter().any(|words| contains(words, "agent-check"))
}

/// Returns the options of a server after its address and its id, for the file and `add server`: the service's options,
/// then the host's own, which win because HAProxy uses the last one.
pub fn server_words(definition: &ServiceDefinition, host: &Host) -> Vec<Word> {
    let word = |text: &str| Word::new(text).expect("a keyword or a number is a word");
    let mut words = definition.server_options.clone();
    words.extend(host.options.iter().cloned());
    if let Some(weight) = host.weight {
        words.extend([word("weight"), word(&weight.to_string())]);
    }
    if host.backup {
        words.push(word("backup"));
    }
    if let Some(cookie) = &host.cookie {
        words.extend([word("cookie"), cookie.clone()]);
    }
    words
}

/// Returns the options that the service's `default-server` lines set for every server of the file. A server added at
/// run time inherits nothing, so they are put before its own.
pub fn default_server_words(definition: &ServiceDefinition) -> Vec<Word> {
    definition.lines().iter().flat_map(|words| default_server(words)).cloned().collect()
}
