//! What `haproxy -c` says about a candidate, as messages with the candidate's line numbers.
//!
//! Forms seen: `config : parsing [FILE:LINE] : TEXT` and `config : [FILE:LINE] : TEXT` (2.6 to 3.2), `parsing
//! [FILE:LINE] : TEXT` (2.2), `Parsing [FILE:LINE]: TEXT`, and texts without a place. Lines without a severity belong
//! to the message before them.

use proxymgr_actors::port::ConfigMessage;

use super::haproxy_message::{Severity, split};

/// The most messages that are kept of one check.
const MESSAGES_MAX: usize = 1_000;

/// The most lines that are kept of one message: some list every keyword there is.
const LINES_PER_MESSAGE_MAX: usize = 4;

/// Said at the end of every refusal; of use only where nothing else was said.
const CLOSING_WORDS: [&str; 2] = ["Error(s) found in configuration file", "Fatal errors found in configuration"];

/// The alerts, or if there are none the warnings, that HAProxy printed to `stderr` about the file it was given as `file`.
pub(super) fn messages(stderr: &str, file: &str) -> Vec<ConfigMessage> {
    let mut found: Vec<(Severity, Vec<&str>)> = Vec::new();
    for line in stderr.lines() {
        match (split(line), found.last_mut()) {
            (Some((severity, words)), _) => {
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
            // Not HAProxy's own form: the loader's or the C library's words.
            (None, None) if !line.trim().is_empty() => found.push((Severity::Alert, vec![line.trim()])),
            (None, None) => {}
        }
    }
    found.retain(|(severity, _)| *severity != Severity::Notice);
    let is_closing = |lines: &Vec<&str>| CLOSING_WORDS.iter().any(|words| lines[0].contains(words));
    if found.iter().any(|(severity, lines)| *severity == Severity::Alert && !is_closing(lines)) {
        found.retain(|(_, lines)| !is_closing(lines));
    }
    if found.iter().any(|(severity, _)| *severity == Severity::Alert) {
        // A warning refuses nothing, and must not put the blame on the service it is about.
        found.retain(|(severity, _)| *severity == Severity::Alert);
    }
    found.into_iter().map(|(_, lines)| message(&lines.join(" "), file)).collect()
}

fn message(words: &str, file: &str) -> ConfigMessage {
    let words = words.strip_prefix("config : ").unwrap_or(words);
    let place = format!("[{file}:");
    let Some((before, after)) = words.split_once(place.as_str()) else {
        return ConfigMessage { line: None, text: without_file(words, file) };
    };
    let Some((number, after)) = after.split_once(']') else {
        return ConfigMessage { line: None, text: without_file(words, file) };
    };
    let after = after.trim_start_matches([' ', ':']);
    let text = match before.trim() {
        "" | "parsing" | "Parsing" => after.to_owned(),
        before => format!("{before} {after}"),
    };
    ConfigMessage { line: number.parse().ok(), text: without_file(&text, file) }
}

/// The candidate's own path tells a reader nothing: `declared at FILE:8` becomes `declared at line 8`.
fn without_file(text: &str, file: &str) -> String {
    text.replace(&format!("{file}:"), "line ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(stderr: &str) -> Vec<(Option<usize>, String)> {
        messages(stderr, "/d/c.candidate").into_iter().map(|message| (message.line, message.text)).collect()
    }

    fn said(line: usize, text: &str) -> (Option<usize>, String) {
        (Some(line), text.to_owned())
    }

    #[test]
    fn alerts_alone_are_told_with_the_candidates_lines() {
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
    fn the_form_of_2_2_is_understood_without_its_list_of_keywords() {
        let stderr = "\
[ALERT] 323/114450 (20502) : parsing [/d/c.candidate:12] : 'server x' unknown keyword 'wat'. Registered keywords :
    [ SSL] allow-0rtt [dflt_ok]
    [ SSL] alpn <arg> [dflt_ok]
[ALERT] 323/114450 (20502) : Fatal errors found in configuration.
";
        assert_eq!(check(stderr), [said(12, "'server x' unknown keyword 'wat'. Registered keywords :")]);
    }

    #[test]
    fn words_that_are_not_haproxys_are_kept() {
        let stderr = "haproxy: error while loading shared libraries: libpcre2.so\n";
        assert_eq!(check(stderr), [(None, stderr.trim().to_owned())]);
        let only_closing = "[ALERT]    (1) : config : Fatal errors found in configuration.\n";
        assert_eq!(check(only_closing), [(None, "Fatal errors found in configuration.".to_owned())]);
    }
}
