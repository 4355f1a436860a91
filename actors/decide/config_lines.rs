//! Lines of haproxy.cfg, split into words.

use super::quoting::split_line;
use crate::model::Word;

/// Splits the operator's lines into words. A line that cannot be split as a whole (for example with a comment at its
/// end) is cut at that point.
pub(super) fn operator_lines(lines: &[String]) -> impl Iterator<Item = Vec<Word>> {
    lines.iter().flat_map(|line| line.lines()).filter_map(|line| {
        split_line(line).ok().or_else(|| split_line(line.split('#').next().unwrap_or_default()).ok())
    })
}

/// Returns whether a `mode` line selects HTTP; `None` for other lines.
pub(super) fn mode_of(words: &[Word]) -> Option<bool> {
    match words {
        [keyword, mode, ..] if keyword.as_str() == "mode" => Some(mode.as_str() == "http"),
        _ => None,
    }
}

/// Returns the options of a `default-server` line; empty for other lines.
pub(super) fn default_server(words: &[Word]) -> &[Word] {
    match words {
        [keyword, options @ ..] if keyword.as_str() == "default-server" => options,
        _ => &[],
    }
}
