//! The form of what HAProxy writes to stderr: `[ALERT]    (pid) : text`, in 2.2 `[ALERT] 323/114450 (pid) : text`.

/// How serious HAProxy says a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Severity {
    Alert,
    Warning,
    Notice,
}

/// Splits a line into HAProxy's severity and its words; none where the line has no severity, as the further lines of
/// a message have none.
pub(super) fn split(line: &str) -> Option<(Severity, &str)> {
    let (severity, rest) = [
        ("[ALERT]", Severity::Alert),
        ("[WARNING]", Severity::Warning),
        ("[NOTICE]", Severity::Notice),
        ("[DIAG]", Severity::Notice),
    ]
    .into_iter()
    .find_map(|(mark, severity)| line.strip_prefix(mark).map(|rest| (severity, rest)))?;
    let words = rest.split_once(") : ").filter(|(origin, _)| is_origin(origin)).map_or(rest, |(_, words)| words);
    Some((severity, words.trim()))
}

/// ` 323/114450 (123`: a date and a process id, and nothing that could be part of the words.
fn is_origin(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b' ' | b'/' | b'('))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_are_understood() {
        let new = "[WARNING]  (17) : proxy 'b' has no 'bind' directive.";
        assert_eq!(split(new), Some((Severity::Warning, "proxy 'b' has no 'bind' directive.")));
        let old = "[ALERT] 323/114450 (17) : parsing [/etc/x:10] : unknown keyword";
        assert_eq!(split(old), Some((Severity::Alert, "parsing [/etc/x:10] : unknown keyword")));
        assert_eq!(split("  no pattern to match (1) : x"), None);
        assert_eq!(split("[NOTICE] what (1) : x"), Some((Severity::Notice, "what (1) : x")));
    }
}
