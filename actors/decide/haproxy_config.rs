//! The text of haproxy.cfg: the base configuration, then one section per service.
//!
//! All values from discovery have types that cannot contain a line break, and every word is quoted, so that the file
//! has exactly the lines written here. [`loaded_config`](super::loaded_config) reads it back.

use std::fmt::Write;
use std::sync::Arc;

use memchr::memrchr_iter;

use super::base::layout::{push_placeholder, written};
use super::capabilities::{GUID, HASH_BY_ADDRESS, HASH_KEY};
use super::common_ends::between_common_ends;
pub use super::config_text::STATS_DESCRIPTOR;
use super::config_text::{INDENT, SERVERS_BEGIN, SERVERS_END, WITH_OPTIONS, clients_connect_to, push_bind};
use super::guid;
use super::line_sets;
use super::match_rules;
use super::option_lines::push_options;
use super::quoting::joined;
use super::routing::{has_listener, routed_at};
pub use super::section_style::SectionStyle;
use super::server_ids::ServerIds;
use super::server_line::{SERVER_LINE_BYTES, push_server_line};
pub use super::server_line::{default_server_words, has_agent, server_line, server_words};
use super::server_order::{has_places, in_file_order};
use super::tls_words;
use crate::model::{Descriptors, HostList, ListenAddress, SectionFrame, ServiceDefinition, ServiceName, Word};

/// Returns the section of one service. An address without a descriptor is not open yet, unless HAProxy opens its own; a
/// service that shares its port gets its requests from a [`frontend`](super::frontend), and one with a section in the
/// base configuration has that, with its servers.
pub fn section(
    definition: &ServiceDefinition,
    descriptors: &Descriptors,
    hosts: &HostList,
    ids: &ServerIds,
    style: SectionStyle,
) -> Arc<str> {
    let set = line_sets::of(definition, style);
    let mut text = match definition.frame() {
        Some(frame) => written(&frame.head, descriptors),
        None => section_start(definition, set.as_ref().map(|set| &*set.name)),
    };
    if definition.frame().is_none() {
        push_binds(&mut text, definition, descriptors, style);
        push_guid(&mut text, definition.name.as_str(), style);
        if set.is_none() {
            push_options(&mut text, definition, style);
        }
    }
    push_servers(&mut text, definition, hosts, ids, style);
    match definition.frame() {
        Some(frame) => text.push_str(&written(&frame.tail, descriptors)),
        None => text.push('\n'),
    }
    text.into()
}

fn push_binds(text: &mut String, definition: &ServiceDefinition, descriptors: &Descriptors, style: SectionStyle) {
    if routed_at(definition).is_some() {
        return;
    }
    let redirect = definition.redirect_from().map(ListenAddress::from);
    let tls = tls_words::of_service(definition);
    for address in definition.addresses() {
        let options = bind_options(definition, redirect.as_ref() == Some(&address), &tls);
        push_bind(text, &address, descriptors, &options, style);
    }
}

/// Returns the options of a `bind` line, each with a space before it, with these of TLS.
fn bind_options(definition: &ServiceDefinition, is_redirect: bool, tls: &str) -> String {
    let own = match definition.section.bind_options.is_empty() {
        true => String::new(),
        false => format!(" {}", joined(&definition.section.bind_options)),
    };
    if is_redirect { own } else { own + tls }
}

/// Adds the servers. Beside lines of the base configuration, they stand between two comments.
fn push_servers(
    text: &mut String,
    definition: &ServiceDefinition,
    hosts: &HostList,
    ids: &ServerIds,
    style: SectionStyle,
) {
    let is_marked = has_marks(definition);
    if is_marked {
        let _ = writeln!(text, "{SERVERS_BEGIN}");
        let mentions = |lines: &[Vec<Word>]| lines.iter().flatten().any(|word| word.as_str() == HASH_KEY);
        if definition.frame().is_some() && style.hash_by_address && !mentions(definition.lines()) {
            let _ = writeln!(text, "{INDENT}default-server {}", HASH_BY_ADDRESS.join(" "));
        }
        if definition.frame().is_some() && !starts_with(definition.lines(), GUID) {
            push_guid(text, definition.name.as_str(), style);
        }
        let required = definition.in_base.iter().flat_map(|in_base| &in_base.required_servers);
        for server in required.filter(|server| !hosts.contains_key(*server)) {
            push_placeholder(text, server.as_str());
        }
    }
    for (name, host) in in_file_order(hosts) {
        push_server_line(text, definition, name, host, Some(ids), style);
    }
    if is_marked {
        let _ = writeln!(text, "{SERVERS_END}");
    }
}

fn starts_with(lines: &[Vec<Word>], keyword: &str) -> bool {
    lines.iter().any(|words| words.first().is_some_and(|word| word.as_str() == keyword))
}

/// Returns whether comments mark the servers of the service, because its section has other servers, too.
fn has_marks(definition: &ServiceDefinition) -> bool {
    definition.in_base.as_ref().is_some_and(|in_base| in_base.frame.is_some() || !in_base.required_servers.is_empty())
}

/// Returns the section after a change of its hosts: the same text as [`section`], with the lines of unchanged hosts
/// copied from the previous text.
pub fn section_after(
    (text, hosts_before): (&str, &HostList),
    definition: &ServiceDefinition,
    hosts: &HostList,
    ids: &ServerIds,
    style: SectionStyle,
) -> Arc<str> {
    if has_marks(definition) {
        return marked_section_after(text, definition, hosts, ids, style);
    }
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
        push_server_line(&mut after, definition, name, host, Some(ids), style);
    }
    after.push_str(&text[stays_from..]);
    after.into()
}

/// Returns the section with other servers between the comments that mark them.
fn marked_section_after(
    text: &str,
    definition: &ServiceDefinition,
    hosts: &HostList,
    ids: &ServerIds,
    style: SectionStyle,
) -> Arc<str> {
    let begin = text.find(SERVERS_BEGIN).unwrap_or(text.len());
    let end = text.rfind(SERVERS_END).map_or(text.len(), |at| at + SERVERS_END.len() + 1);
    let mut after = text[..begin].to_owned();
    push_servers(&mut after, definition, hosts, ids, style);
    after.push_str(&text[end..]);
    after.into()
}

/// Returns a section without its descriptors and its servers, with the lines that it gets from a
/// [set](super::line_sets). A change of it needs a reload.
pub fn section_header(definition: &ServiceDefinition, style: SectionStyle) -> Arc<str> {
    let mut text = match definition.frame() {
        Some(SectionFrame { head, tail, .. }) => {
            written(head, &Descriptors::new()) + &written(tail, &Descriptors::new())
        }
        None => section_start(definition, None),
    };
    if definition.frame().is_none() {
        push_guid(&mut text, definition.name.as_str(), style);
        push_options(&mut text, definition, style);
    }
    text.into()
}

/// Adds the line by which the counters of a section survive a reload.
pub(super) fn push_guid(text: &mut String, section: &str, style: SectionStyle) {
    if style.guids {
        let _ = writeln!(text, "{INDENT}{GUID} {}", guid::of_section(section));
    }
}

/// Returns the start of a section, which derives from a set of lines where there is one.
fn section_start(definition: &ServiceDefinition, set: Option<&str>) -> String {
    let keyword = if has_listener(definition) { "listen" } else { "backend" };
    let mut text = match set.or(definition.named_defaults().map(ServiceName::as_str)) {
        Some(defaults) => format!("{keyword} {} from {defaults}\n", definition.name),
        None => format!("{keyword} {}\n", definition.name),
    };
    let redirect = definition.redirect_from().map(ListenAddress::from);
    let tls = tls_words::in_comment(definition);
    for address in definition.addresses() {
        let options = bind_options(definition, redirect.as_ref() == Some(&address), &tls);
        let with = if options.is_empty() { "" } else { WITH_OPTIONS };
        let _ = writeln!(text, "{}{with}{options}", clients_connect_to(address));
    }
    for line in match_rules::description(definition) {
        let _ = writeln!(text, "{INDENT}# match: {line}");
    }
    text
}
