//! Reads the output of `haproxy -c` as messages with the candidate's line numbers.
//!
//! Forms seen: `config : parsing [FILE:LINE] : TEXT` and `config : [FILE:LINE] : TEXT` (2.6 to 3.2), `parsing
//! [FILE:LINE] : TEXT` (2.2), `Parsing [FILE:LINE]: TEXT`, and texts without a place. Lines without a severity belong
//! to the message before them.

use proxymgr_actors::limits::CONFIG_MESSAGE_CHARS_MAX;
use proxymgr_actors::port::ConfigMessage;

use super::haproxy_message::{Message, Severity, split};

/// The maximum number of messages kept of one check.
pub(super) const MESSAGES_MAX: usize = 1_000;

/// The maximum number of lines kept of one message: some list every known keyword.
const LINES_PER_MESSAGE_MAX: usize = 4;

/// HAProxy ends every refusal with one of these; it is shown only if there is no other message.
const CLOSING_WORDS: [&str; 2] = ["Error(s) found in configuration file", "Fatal errors found in configuration"];

/// Whether a message is about the health of a server that HAProxy reads from its state file, and not about the file that it
/// checks.
pub(super) fn is_of_health(words: &str) -> bool {
    words.contains(", changed from server-state after a reload") || words.ends_with("has no server available!")
}

/// The messages that HAProxy printed to `stderr` about `file`.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct CheckOutput {
    /// Why HAProxy refuses the file.
    pub alerts: Vec<ConfigMessage>,
    /// The warnings about a file that it accepts.
    pub warnings: Vec<ConfigMessage>,
}

/// Reads what HAProxy printed. A message begins with a severity and HAProxy's own process id. Text of the file that
/// HAProxy quotes within a message may look like a message, but cannot contain that id.
pub(super) fn read(stderr: &str, file: &str) -> CheckOutput {
    let mut found: Vec<(Severity, Vec<&str>)> = Vec::new();
    let mut origin = None;
    for line in stderr.lines() {
        let begins = split(line).filter(|message| *origin.get_or_insert(message.pid) == message.pid);
        match (begins, found.last_mut()) {
            (Some(Message { severity, words, .. }), _) => {
                if found.len() < MESSAGES_MAX {
                    found.push((severity, vec![words]));
                }
            }
            (None, Some((_, lines))) => {
                let listing = lines[0].ends_with("Registered keywords :");
                if !listing && lines.len() < LINES_PER_MESSAGE_MAX && !line.trim().is_empty() {
                    lines.push(line.trim());
                }
            }
            // Not a message of HAProxy: from the loader or the C library.
            (None, None) if !line.trim().is_empty() => found.push((Severity::Alert, vec![line.trim()])),
            (None, None) => {}
        }
    }
    found.retain(|(_, lines)| !is_of_health(lines[0]));
    let is_closing = |lines: &[&str]| CLOSING_WORDS.iter().any(|words| lines[0].contains(words));
    let of = |wanted: Severity| found.iter().filter(move |(severity, _)| *severity == wanted).map(|(_, lines)| lines);
    let has_reasons = of(Severity::Alert).any(|lines| !is_closing(lines));
    let alerts = of(Severity::Alert).filter(|lines| !has_reasons || !is_closing(lines));
    let message = |lines: &Vec<&str>| message(&lines.join(" "), file);
    CheckOutput { alerts: alerts.map(message).collect(), warnings: of(Severity::Warning).map(message).collect() }
}

/// A place counts only at the beginning: further on it may be quoted from the text of a definition.
fn message(words: &str, file: &str) -> ConfigMessage {
    let words = words.strip_prefix("config").and_then(|rest| rest.trim_start().strip_prefix(": ")).unwrap_or(words);
    let begin = ["parsing ", "Parsing "].iter().find_map(|begin| words.strip_prefix(begin)).unwrap_or(words);
    let place = begin.strip_prefix('[').and_then(|rest| rest.strip_prefix(file)?.strip_prefix(':')?.split_once(']'));
    let Some((Ok(number), after)) = place.map(|(number, after)| (number.parse(), after)) else {
        return ConfigMessage { line: None, text: shown(words, file) };
    };
    ConfigMessage { line: Some(number), text: shown(after.trim_start_matches([' ', ':']), file) }
}

/// Returns the text for people: shortened, without control characters and without the candidate's path, which means
/// nothing to a reader (`declared at FILE:8` becomes `declared at line 8`).
fn shown(text: &str, file: &str) -> String {
    let text = text.replace(&format!("{file}:"), "line ");
    text.chars().filter(|c| !c.is_control()).take(CONFIG_MESSAGE_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(stderr: &str) -> Vec<(Option<usize>, String)> {
        read(stderr, "/d/c.candidate").alerts.into_iter().map(|message| (message.line, message.text)).collect()
    }

    fn said(line: usize, text: &str) -> (Option<usize>, String) {
        (Some(line), text.to_owned())
    }

    #[test]
    fn alerts_have_the_candidates_line_numbers() {
        let stderr = "\
[NOTICE]   (20527) : haproxy version is 2.6.12-1+deb12u4
[WARNING]  (20527) : config : parsing acl keyword 'path_beg' :
  no pattern to match against were provided.

[ALERT]    (20527) : config : parsing [/d/c.candidate:10] : unknown keyword 'bogus' in 'listen' section
[ALERT]    (20527) : config : [/d/c.candidate:12] : 'server b/x' : unknown keyword 'wat'.
[ALERT]    (20527) : config : Parsing [/d/c.candidate:13]: proxy 'b' declared at /d/c.candidate:8.
[ALERT]    (20527) : config : Error(s) found in configuration file : /d/c.candidate
[ALERT]    (20527) : config : Fatal errors found in configuration.
";
        let expected = [
            said(10, "unknown keyword 'bogus' in 'listen' section"),
            said(12, "'server b/x' : unknown keyword 'wat'."),
            said(13, "proxy 'b' declared at line 8."),
        ];
        assert_eq!(check(stderr), expected);
    }

    #[test]
    fn format_of_2_2_is_read_without_keyword_list() {
        let stderr = "\
[ALERT] 323/114450 (20502) : parsing [/d/c.candidate:12] : 'server x' unknown keyword 'wat'. Registered keywords :
    [ SSL] allow-0rtt [dflt_ok]
    [ SSL] alpn <arg> [dflt_ok]
[ALERT] 323/114450 (20502) : Fatal errors found in configuration.
";
        assert_eq!(check(stderr), [said(12, "'server x' unknown keyword 'wat'. Registered keywords :")]);
    }

    #[test]
    fn health_from_the_state_file_is_no_warning() {
        let stderr = "\
[WARNING]  (17) : Server web/a is DOWN, changed from server-state after a reload. 0 active and 0 backup servers left.
[ALERT]    (17) : proxy 'web' has no server available!
[WARNING]  (17) : config : missing timeouts for proxy 'web'.
";
        let CheckOutput { alerts, warnings } = read(stderr, "/d/c.candidate");
        assert_eq!((alerts.len(), warnings.len()), (0, 1), "{warnings:?}");
    }

    #[test]
    fn words_that_are_not_haproxys_are_kept() {
        let stderr = "haproxy: error while loading shared libraries: libpcre2.so\n";
        assert_eq!(check(stderr), [(None, stderr.trim().to_owned())]);
        let only_closing = "[ALERT]    (1) : config : Fatal errors found in configuration.\n";
        assert_eq!(check(only_closing), [(None, "Fatal errors found in configuration.".to_owned())]);
    }

    #[test]
    fn warnings_are_kept_apart_with_their_places() {
        let stderr = "\
[NOTICE]   (7) : haproxy version is 2.6.12-1+deb12u4
[WARNING]  (7) : config : parsing acl keyword 'path_beg' :
  no pattern to match against were provided.
[WARNING]  (7) : config: Can't open global server state file
[WARNING]  (7) : config : parsing [/d/c.candidate:10] : 'option forwardfor' ignored.
";
        let warnings = [
            ConfigMessage {
                line: None,
                text: "parsing acl keyword 'path_beg' : no pattern to match against were provided.".to_owned(),
            },
            ConfigMessage { line: None, text: "Can't open global server state file".to_owned() },
            ConfigMessage { line: Some(10), text: "'option forwardfor' ignored.".to_owned() },
        ];
        assert_eq!(read(stderr, "/d/c.candidate"), CheckOutput { alerts: Vec::new(), warnings: warnings.to_vec() });
    }

    #[test]
    fn quoted_places_and_messages_are_ignored() {
        let stderr = "\
[ALERT]    (7) : config : Proxy 'b': unable to find table '[/d/c.candidate:10]' \u{1b}[31m
[ALERT]    (8) : config : parsing [/d/c.candidate:11] : forged by a line feed
[ALERT]    (7) : config : parsing [/d/c.candidate:12] : true
";
        let text = "Proxy 'b': unable to find table '[line 10]' [31m [ALERT]    (8) : config : parsing [line 11] : \
                    forged by a line feed";
        assert_eq!(check(stderr), [(None, text.to_owned()), said(12, "true")]);
    }
}
