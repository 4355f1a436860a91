//! The line of a server in haproxy.cfg, and its words, which `add server` takes, too.

use std::fmt::Write;

use super::config_lines::default_server;
use super::config_text::INDENT;
use super::quoting::quoted;
use super::server_ids::ServerIds;
use super::server_options::contains;
use crate::model::{AdminState, Host, PersistentId, ServerName, ServiceDefinition, Word};

/// About the length of a server's line.
pub(super) const SERVER_LINE_BYTES: usize = 128;

/// One server's line, without its line feed, and without an id where there are no `ids`. A server that is to drain has no
/// form here: it starts in maintenance, so that it gets nothing before it is told to drain.
pub fn server_line(definition: &ServiceDefinition, name: &ServerName, host: &Host, ids: Option<&ServerIds>) -> String {
    let mut line = String::with_capacity(SERVER_LINE_BYTES);
    push_server_line(&mut line, definition, name, host, ids);
    line.pop();
    line
}

/// One server's line, with its line feed.
pub(super) fn push_server_line(
    text: &mut String,
    definition: &ServiceDefinition,
    name: &ServerName,
    host: &Host,
    ids: Option<&ServerIds>,
) {
    let _ = write!(text, "{INDENT}server {name} {}", host.endpoint);
    let words = server_words(definition, host);
    if let Some(id) = ids.and_then(|ids| id_beside(&words, name, host, ids)) {
        let _ = write!(text, " id {id}");
    }
    for word in words {
        text.push(' ');
        text.push_str(&quoted(&word));
    }
    if host.state != AdminState::Ready {
        text.push_str(" disabled");
    }
    text.push('\n');
}

/// The id of a server with these options; none where they have one of their own, which the operator has to allow.
pub(super) fn id_beside(words: &[Word], name: &ServerName, host: &Host, ids: &ServerIds) -> Option<PersistentId> {
    (!contains(words, "id")).then(|| ids.of(name, &host.endpoint))
}

/// Whether the line of this server configures an agent, which HAProxy asks from its start on.
pub fn has_agent(definition: &ServiceDefinition, host: &Host) -> bool {
    let words = [server_words(definition, host), default_server_words(definition)];
    words.iter().any(|words| contains(words, "agent-check"))
}

/// All words of a server after its address and its id, the same in the file and in `add server`: the service's options, then the
/// host's own, which win because HAProxy takes the last.
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

/// What the service's `default-server` lines give to every server of the file. A server added at run time inherits
/// nothing, so that it needs them put before its own.
pub fn default_server_words(definition: &ServiceDefinition) -> Vec<Word> {
    definition.listen_options.iter().flat_map(|words| default_server(words)).cloned().collect()
}
