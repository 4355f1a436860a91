//! Log formats of `defaults` that a section in TCP mode cannot inherit.
//!
//! HAProxy 2.2 and 2.6 refuse the whole file when a section in TCP mode inherits a `log-format` with a variable that
//! exists in HTTP mode only; all versions warn of an inherited `option httplog`. `option tcplog` in the section makes all of them
//! accept the file (measured on 2.2.9, 2.6.12, 3.0.11 and 3.2.26).

use crate::model::Word;

/// Variables of `log-format` that exist in HTTP mode only. Source: `configuration.txt` 8.2.6, "Custom log format", and
/// what 2.2 and 2.6 refuse in TCP mode.
const HTTP_VARIABLES: [&str; 18] =
    ["CC", "CS", "HM", "HP", "HPO", "HQ", "HU", "HV", "Ta", "Ti", "Tq", "TR", "Tr", "r", "tr", "trg", "trl", "tsc"];

/// Returns whether a line sets the log format of its section.
pub(super) fn chooses_format(words: &[Word]) -> bool {
    format_of(words).is_some()
}

/// Returns whether the log format of these lines, of several the last, exists in HTTP mode only.
pub(super) fn is_for_http<'a>(lines: impl IntoIterator<Item = &'a [Word]>) -> bool {
    match lines.into_iter().filter_map(format_of).last() {
        Some(Format::Option(name)) => name != "tcplog",
        Some(Format::Custom(text)) => variables(text).any(|name| HTTP_VARIABLES.contains(&name)),
        None => false,
    }
}

enum Format<'a> {
    /// `option httplog`, `option httpslog`, `option tcplog`.
    Option(&'a str),
    /// `log-format TEXT`.
    Custom(&'a str),
}

fn format_of(words: &[Word]) -> Option<Format<'_>> {
    match words {
        [keyword, text, ..] if keyword.as_str() == "log-format" => Some(Format::Custom(text.as_str())),
        [keyword, name, ..] if keyword.as_str() == "option" => match name.as_str() {
            name @ ("httplog" | "httpslog" | "tcplog") => Some(Format::Option(name)),
            _ => None,
        },
        _ => None,
    }
}

/// Returns the names of the variables in a format, such as `%HM`, `%{+Q}r` and `%(name)Ta`, without `%%` and
/// expressions (`%[...]`), which HAProxy itself refuses in either mode where it cannot evaluate them.
fn variables(format: &str) -> impl Iterator<Item = &str> {
    let mut rest = format;
    std::iter::from_fn(move || {
        loop {
            let (_, after) = rest.split_once('%')?;
            if let Some(literal) = after.strip_prefix('%') {
                rest = literal;
                continue;
            }
            let named = after_closing(after, '(', ')');
            let flagged = after_closing(named, '{', '}');
            let length = flagged.bytes().take_while(u8::is_ascii_alphanumeric).count();
            let (name, next) = flagged.split_at(length);
            rest = next;
            return Some(name);
        }
    })
}

/// Returns the text after a part in brackets, or the text itself where it does not begin with one.
fn after_closing(text: &str, open: char, close: char) -> &str {
    text.strip_prefix(open).and_then(|inner| inner.split_once(close)).map_or(text, |(_, after)| after)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::quoting::split_line;

    fn http_only(lines: &[&str]) -> bool {
        let lines = Vec::from_iter(lines.iter().map(|line| split_line(line).unwrap()));
        is_for_http(lines.iter().map(Vec::as_slice))
    }

    #[test]
    fn format_with_http_variables_is_recognised() {
        for format in ["%HM", "%ci\\ %{+Q}r", "%%%ST\\ %TR/%Tw", "%(t)Ta", "%{+Q,+E}HU", "%tr"] {
            assert!(http_only(&[&format!("log-format {format}")]), "{format}");
        }
        for format in ["%ci:%cp", "%{+Q}o\\ %t", "%%HM", "%ST%Tt", "%[src]HM", "100%", "%{+Q"] {
            assert!(!http_only(&[&format!("log-format {format}")]), "{format}");
        }
    }

    #[test]
    fn last_choice_counts() {
        assert!(http_only(&["option httplog", "mode http"]));
        assert!(http_only(&["option tcplog", "option httplog clf"]));
        assert!(!http_only(&["log-format %HM", "option tcplog"]));
        assert!(!http_only(&["option httplog", "log-format %ci"]));
        assert!(!http_only(&["option redispatch"]));
    }
}
