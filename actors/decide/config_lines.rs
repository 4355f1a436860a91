//! Lines of haproxy.cfg in words.

use super::quoting::split_line;
use crate::model::Word;

/// The operator's lines in words. One that cannot be split (a comment at its end, say) is cut where it cannot.
pub(super) fn operator_lines(lines: &[String]) -> impl Iterator<Item = Vec<Word>> {
    lines.iter().flat_map(|line| line.lines()).filter_map(|line| {
        split_line(line).ok().or_else(|| split_line(line.split('#').next().unwrap_or_default()).ok())
    })
}

/// Whether a `mode` line chooses HTTP; none for other lines.
pub(super) fn mode_of(words: &[Word]) -> Option<bool> {
    match words {
        [keyword, mode, ..] if keyword.as_str() == "mode" => Some(mode.as_str() == "http"),
        _ => None,
    }
}

/// The options of a `default-server` line; empty for other lines.
pub(super) fn default_server(words: &[Word]) -> &[Word] {
    match words {
        [keyword, options @ ..] if keyword.as_str() == "default-server" => options,
        _ => &[],
    }
}
