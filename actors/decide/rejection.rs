//! Finds the services that messages of `haproxy -c` name. The result is only a hint: a definition's own text may be
//! part of a message.
//!
//! HAProxy names a line for most mistakes (`parsing [file:12] : ...`). For those that it finds once everything is read
//! it names the section: `Proxy 'web': unable to find stick-table 'x'`, `[file:12] : 'server web/s1' : ...`, `... in
//! proxy 'web'`.

use std::collections::BTreeSet;

use super::loaded_config::LineIndex;
use crate::model::ServiceName;

/// Returns the services that the messages name; empty where they name none. A message is the line it names, if any, and
/// HAProxy's text. Warnings and notices are ignored where they still have their level.
pub fn named_services<'a>(
    messages: impl IntoIterator<Item = (Option<usize>, &'a str)>,
    index: &LineIndex,
    names: &BTreeSet<ServiceName>,
) -> BTreeSet<ServiceName> {
    let alerts = messages.into_iter().filter(|(_, text)| !is_below_alert(text));
    alerts
        .filter_map(|(line, text)| {
            let by_line = line.and_then(|line| index.service_at(line)).filter(|name| names.contains(*name));
            by_line.or_else(|| named_in(text, names)).cloned()
        })
        .collect()
}

fn is_below_alert(text: &str) -> bool {
    ["[WARNING]", "[NOTICE]", "[DIAG]", "[DEBUG]"].iter().any(|level| text.trim_start().starts_with(level))
}

/// Returns the first known service that the text names as a section: in quotes after a word for a section, or in
/// `'server SECTION/SERVER'`. A name in quotes elsewhere may be anything: `unable to find stick-table 'web'`.
fn named_in<'n>(text: &str, names: &'n BTreeSet<ServiceName>) -> Option<&'n ServiceName> {
    let pieces: Vec<&str> = text.split('\'').collect();
    // Quoted pieces have an odd index; the piece before each is the text in front of the quote.
    pieces.windows(2).enumerate().filter(|(at, _)| at % 2 == 0).find_map(|(_, pair)| {
        let [before, quoted] = pair else { return None };
        let section = match quoted.strip_prefix("server ").and_then(|server| server.split_once('/')) {
            Some((section, _server)) => section,
            None if names_a_section(before) => quoted,
            None => return None,
        };
        names.iter().find(|name| name.as_str() == section)
    })
}

fn names_a_section(text: &str) -> bool {
    let word = text.split_whitespace().next_back().unwrap_or_default().trim_matches(|c: char| !c.is_alphanumeric());
    ["proxy", "listen", "frontend", "backend", "section"].iter().any(|known| word.eq_ignore_ascii_case(known))
}
