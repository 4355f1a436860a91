//! The text of haproxy.cfg: the base configuration, then one section per service.
//!
//! All values from discovery have types that cannot contain a line break, and every word is quoted, so that the file
//! has exactly the lines written here. [`loaded_config`](super::loaded_config) reads it back.

use std::fmt::Write;
use std::os::fd::RawFd;
use std::sync::Arc;

use memchr::memrchr_iter;

pub use super::base_config::{base_config, base_default_server_words, is_ours};
use super::capabilities::{HASH_BY_ADDRESS, HASH_KEY};
use super::common_ends::between_common_ends;
use super::config_lines::mode_of;
pub use super::config_text::STATS_DESCRIPTOR;
use super::config_text::{INDENT, clients_connect_to, push_bind};
use super::log_format;
use super::quoting::joined;
use super::routing::routed_at;
use super::section_style::IDLE_CLOSE;
pub use super::section_style::SectionStyle;
use super::server_ids::ServerIds;
use super::server_line::{SERVER_LINE_BYTES, push_server_line};
pub use super::server_line::{default_server_words, has_agent, server_line, server_words};
use super::server_order::{has_places, in_file_order};
use crate::model::{HostList, ServiceDefinition, Word};

/// Returns the section of one service. Without a descriptor it has no listening socket yet, unless HAProxy opens its
/// own; a service that shares its port gets its requests from a [`frontend`](super::frontend).
pub fn section(
    definition: &ServiceDefinition,
    descriptor: Option<RawFd>,
    hosts: &HostList,
    ids: &ServerIds,
    style: SectionStyle,
) -> Arc<str> {
    let mut text = section_start(definition);
    if routed_at(definition).is_none() {
        push_bind(&mut text, descriptor, definition.listen, style);
    }
    push_options(&mut text, definition, style);
    for (name, host) in in_file_order(hosts) {
        push_server_line(&mut text, definition, name, host, Some(ids));
    }
    text.push('\n');
    text.into()
}

/// Returns the section after a change of its hosts: the same text as [`section`], with the lines of unchanged hosts
/// copied from the previous text.
pub fn section_after(
    (text, hosts_before): (&str, &HostList),
    definition: &ServiceDefinition,
    hosts: &HostList,
    ids: &ServerIds,
) -> Arc<str> {
    let in_order_of_names = !has_places(hosts_before) && !has_places(hosts);
    let (of_before, of_hosts) = match in_order_of_names {
        true => between_common_ends(hosts_before.as_slice(), hosts.as_slice(), PartialEq::eq),
        false => (0..hosts_before.len(), 0..hosts.len()),
    };
    // The section ends with a line for each host, and a blank one.
    let mut line_ends = memrchr_iter(b'\n', text.as_bytes()).map(|newline| newline + 1);
    let stays_from = line_ends.nth(1 + hosts_before.len() - of_before.end).unwrap_or(0);
    let stays_to = line_ends.take(of_before.len()).last().unwrap_or(stays_from);
    let mut after = String::with_capacity(text.len() + of_hosts.len() * SERVER_LINE_BYTES);
    after.push_str(&text[..stays_to]);
    for (name, host) in &in_file_order(hosts)[of_hosts] {
        push_server_line(&mut after, definition, name, host, Some(ids));
    }
    after.push_str(&text[stays_from..]);
    after.into()
}

/// Returns a section without its descriptor and its servers. A change of it needs a reload.
pub fn section_header(definition: &ServiceDefinition, style: SectionStyle) -> Arc<str> {
    let mut text = section_start(definition);
    push_options(&mut text, definition, style);
    text.into()
}

fn section_start(definition: &ServiceDefinition) -> String {
    let keyword = if routed_at(definition).is_some() { "backend" } else { "listen" };
    let mut text = format!("{keyword} {}\n", definition.name);
    if let Some(address) = definition.listen {
        let _ = writeln!(text, "{}", clients_connect_to(address));
    }
    text
}

fn push_options(text: &mut String, definition: &ServiceDefinition, style: SectionStyle) {
    let lines = &definition.listen_options;
    let is_routed = routed_at(definition).is_some();
    if is_routed && !style.http_by_default && !lines.iter().any(|words| mode_of(words).is_some()) {
        let _ = writeln!(text, "{INDENT}mode http");
    }
    for words in lines.iter().filter(|words| !words.is_empty()) {
        let _ = writeln!(text, "{INDENT}{}", joined(words));
    }
    if shows_statistics(lines) {
        let _ = writeln!(text, "{INDENT}stats scope .");
    }
    let http = lines.iter().filter_map(|words| mode_of(words)).next_back().unwrap_or(style.http_by_default);
    let mentioned = lines.iter().flatten().any(|word| word.as_str() == IDLE_CLOSE);
    if style.idle_close && http && !mentioned && !is_routed {
        let _ = writeln!(text, "{INDENT}option {IDLE_CLOSE}");
    }
    if style.http_log_by_default && !http && !is_routed && !lines.iter().any(|words| log_format::chooses_format(words))
    {
        let _ = writeln!(text, "{INDENT}option tcplog");
    }
    if style.hash_by_address && !lines.iter().flatten().any(|word| word.as_str() == HASH_KEY) {
        let _ = writeln!(text, "{INDENT}default-server {}", HASH_BY_ADDRESS.join(" "));
    }
}

/// Returns whether the page of statistics is chosen without a scope: it would show all sections.
fn shows_statistics(lines: &[Vec<Word>]) -> bool {
    let follows_stats = |wanted: &str| {
        lines.iter().any(|words| matches!(words.as_slice(), [stats, next, ..] if stats.as_str() == "stats" && (wanted.is_empty() || next.as_str() == wanted)))
    };
    follows_stats("") && !follows_stats("scope")
}
