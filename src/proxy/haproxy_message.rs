//! The form of what HAProxy writes to stderr: `[ALERT]    (pid) : text`, in 2.2 `[ALERT] 323/114450 (pid) : text`.

/// The severity that HAProxy gives a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Severity {
    Alert,
    Warning,
    Notice,
}

/// The first line of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Message<'a> {
    pub severity: Severity,
    /// The process that HAProxy names as the origin; `None` if it names none.
    pub pid: Option<u32>,
    pub words: &'a str,
}

/// Splits the first line of a message; returns `None` for a line without a severity, such as the further lines of a
/// message.
pub(super) fn split(line: &str) -> Option<Message<'_>> {
    let (severity, rest) = [
        ("[ALERT]", Severity::Alert),
        ("[WARNING]", Severity::Warning),
        ("[NOTICE]", Severity::Notice),
        ("[DIAG]", Severity::Notice),
    ]
    .into_iter()
    .find_map(|(mark, severity)| line.strip_prefix(mark).map(|rest| (severity, rest)))?;
    let (pid, words) = match rest.split_once(") : ").filter(|(origin, _)| is_origin(origin)) {
        Some((origin, words)) => (origin.rsplit_once('(').and_then(|(_, pid)| pid.parse().ok()), words),
        None => (None, rest),
    };
    Some(Message { severity, pid, words: words.trim() })
}

/// Whether the text is ` 323/114450 (123`: a date and a process id, and nothing that could be part of the message.
fn is_origin(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b' ' | b'/' | b'('))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(severity: Severity, pid: Option<u32>, words: &str) -> Option<Message<'_>> {
        Some(Message { severity, pid, words })
    }

    #[test]
    fn both_forms_are_understood() {
        let new = "[WARNING]  (17) : proxy 'b' has no 'bind' directive.";
        assert_eq!(split(new), message(Severity::Warning, Some(17), "proxy 'b' has no 'bind' directive."));
        let old = "[ALERT] 323/114450 (17) : parsing [/etc/x:10] : unknown keyword";
        assert_eq!(split(old), message(Severity::Alert, Some(17), "parsing [/etc/x:10] : unknown keyword"));
        assert_eq!(split("  no pattern to match (1) : x"), None);
        assert_eq!(split("[NOTICE] what (1) : x"), message(Severity::Notice, None, "what (1) : x"));
    }
}
