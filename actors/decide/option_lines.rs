//! The lines of the section of a service: those of its definition, and those that follow from the version of HAProxy and
//! from the base configuration.

use std::fmt::Write;

use super::base::local_peer;
use super::capabilities::{HASH_BY_ADDRESS, HASH_KEY};
use super::config_lines::mode_of;
use super::config_text::INDENT;
use super::log_format;
use super::quoting::joined;
use super::routing::{FrontendKind, has_listener, shares};
use super::section_style::{IDLE_CLOSE, SectionStyle};
use crate::model::{ServiceDefinition, Word};

/// Adds the lines of the section of a service, without its `bind` lines and servers.
pub(super) fn push_options(text: &mut String, definition: &ServiceDefinition, style: SectionStyle) {
    let lines = &definition.listen_options;
    let style = style.for_lines(definition);
    let in_base = definition.in_base.as_deref();
    let of_base = in_base.and_then(|in_base| in_base.chosen_http.or(in_base.is_http));
    let of_shared = shares(definition).map(|kind| kind == FrontendKind::Http);
    // A redirect to HTTPS is a rule of HTTP.
    let of_redirect = definition.redirect_from().map(|_| true);
    let implied = of_shared.or(of_redirect).or(of_base).unwrap_or(style.http_by_default);
    if implied != style.http_by_default && !lines.iter().any(|words| mode_of(words).is_some()) {
        let _ = writeln!(text, "{INDENT}mode {}", if implied { "http" } else { "tcp" });
    }
    if definition.redirect_from().is_some() {
        let _ = writeln!(text, "{INDENT}http-request redirect scheme https code 301 unless {{ ssl_fc }}");
    }
    for words in lines.iter().filter(|words| !words.is_empty()) {
        let is_table = words[0].as_str() == "stick-table" && !words.iter().any(|word| word.as_str() == "peers");
        let of_peer = if is_table && style.keeps_tables { local_peer::table_words() } else { String::new() };
        let _ = writeln!(text, "{INDENT}{}{of_peer}", joined(words));
    }
    if shows_statistics(lines) {
        let _ = writeln!(text, "{INDENT}stats scope .");
    }
    let http = lines.iter().filter_map(|words| mode_of(words)).next_back().unwrap_or(implied);
    let mentioned = definition.lines().iter().flatten().any(|word| word.as_str() == IDLE_CLOSE);
    let listens = has_listener(definition);
    // An option of listeners.
    if style.idle_close && http && !mentioned && listens {
        let _ = writeln!(text, "{INDENT}option {IDLE_CLOSE}");
    }
    if style.http_log_by_default && !http && listens && !lines.iter().any(|words| log_format::chooses_format(words)) {
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
