//! Hides credentials in texts of HAProxy's configuration.

use proxymgr_actors::model::requests::{CREDENTIAL_HEADERS, carries_credentials};

/// What is shown in place of a credential.
const HIDDEN: &str = "(not shown)";

/// Actions with a header and its value.
const HEADER_ACTIONS: [&str; 8] = [
    "set-header",
    "add-header",
    "replace-header",
    "replace-value",
    "early-hint",
    "hdr",
    "http-send-name-header",
    "reqadd",
];

/// Arguments that are followed by a credential.
const ARGUMENTS: [&str; 7] =
    ["password", "insecure-password", "key", "secret", "agent-send", "dynamic-cookie-key", "ssl-passphrase"];

/// The text with its credentials hidden.
pub fn masked(text: &str) -> String {
    let mut masked: String = text.lines().map(|line| mask_line(line) + "\n").collect();
    if !text.ends_with('\n') {
        masked.pop();
    }
    masked
}

/// A line up to its first credential. The rest is not shown, because the end of a credential is not certain.
fn mask_line(line: &str) -> String {
    let line = without_user_info(line);
    let words: Vec<&str> = line.split_whitespace().collect();
    let Some(at) = secret_at(&words).filter(|at| *at < words.len()) else {
        return match header_in_text(&line) {
            Some(end) => format!("{}{HIDDEN}", &line[..end]),
            None => line,
        };
    };
    let indent: String = line.chars().take_while(|character| character.is_whitespace()).collect();
    format!("{indent}{} {HIDDEN}", words[..at].join(" "))
}

/// The index of the first word that is, or may be, a credential.
fn secret_at(words: &[&str]) -> Option<usize> {
    match words {
        ["stats", "auth", ..] => return Some(2),
        ["setenv" | "presetenv", ..] => return Some(1),
        ["tcp-check", "send" | "send-binary" | "send-lf" | "send-binary-lf", rest @ ..] if logs_in(rest) => {
            return Some(2);
        }
        [first, ..] if first.contains("password") => return Some(1),
        _ => {}
    }
    let follows = |at: usize, word: &str| {
        if ARGUMENTS.contains(&word) {
            return Some(at + 1);
        }
        let header = words.get(at + 1)?;
        (HEADER_ACTIONS.contains(&word) && is_secret_header(header)).then_some(at + 2)
    };
    words.iter().enumerate().find_map(|(at, word)| follows(at, word))
}

/// Whether the data of a check is a login, such as Redis's `AUTH`.
fn logs_in(words: &[&str]) -> bool {
    let text = words.join(" ").to_ascii_lowercase();
    ["auth", "pass", "login", "token"].iter().any(|part| text.contains(part))
}

fn is_secret_header(name: &str) -> bool {
    carries_credentials(name.trim_matches(['"', '\'']))
}

/// The end of the name in `Authorization:` within a text, as in `option httpchk GET / HTTP/1.1\r\nAuthorization:...`.
fn header_in_text(line: &str) -> Option<usize> {
    // ASCII only, so that the positions in both texts are the same.
    let lower = line.to_ascii_lowercase();
    let ends =
        CREDENTIAL_HEADERS.iter().filter_map(|header| Some(lower.find(&format!("{header}:"))? + header.len() + 1));
    ends.min()
}

/// The line with user and password of URLs replaced.
fn without_user_info(line: &str) -> String {
    let mut masked = String::with_capacity(line.len());
    let mut rest = line;
    while let Some(at) = rest.find("://") {
        let (before, after) = rest.split_at(at + 3);
        masked.push_str(before);
        let end =
            after.find(|c: char| c.is_whitespace() || matches!(c, '/' | '"' | '\'' | ',' | ')')).unwrap_or(after.len());
        rest = after;
        if let Some(user_info) = after[..end].rfind('@') {
            masked.push_str("***");
            rest = &after[user_info..];
        }
    }
    masked + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_hidden() {
        for (line, shown) in [
            ("    stats auth admin:pass", "    stats auth (not shown)"),
            ("    user joe insecure-password x", "    user joe insecure-password (not shown)"),
            ("    user joe password $6$x groups a", "    user joe password (not shown)"),
            ("    setenv TOKEN abc", "    setenv (not shown)"),
            (
                "  http-request set-header Authorization \"Basic dTpw\" if x",
                "  http-request set-header Authorization (not shown)",
            ),
            ("  http-response add-header Set-Cookie a=b", "  http-response add-header Set-Cookie (not shown)"),
            ("  http-request set-header X-Api-Key abc", "  http-request set-header X-Api-Key (not shown)"),
            (
                "  http-check send meth GET hdr Host a hdr Proxy-Authorization x",
                "  http-check send meth GET hdr Host a hdr Proxy-Authorization (not shown)",
            ),
            (
                "  option httpchk GET / HTTP/1.1\\r\\nAuthorization:\\ Basic\\ dTpw",
                "  option httpchk GET / HTTP/1.1\\r\\nAuthorization:(not shown)",
            ),
            ("  tcp-check send AUTH\\ hunter2\\r\\n", "  tcp-check send (not shown)"),
            ("  server a 1.1.1.1:1 check agent-send hunter2", "  server a 1.1.1.1:1 check agent-send (not shown)"),
            ("  dynamic-cookie-key hunter2", "  dynamic-cookie-key (not shown)"),
            ("  http-request redirect location http://u:p@h/x", "  http-request redirect location http://***@h/x"),
        ] {
            assert_eq!(mask_line(line), shown);
        }
    }

    #[test]
    fn other_lines_stay() {
        for line in [
            "    server a 1.1.1.1:1 check",
            "  http-request set-header X-Forwarded-Proto https if { ssl_fc }",
            "  tcp-check send PING\\r\\n",
            "  http-request redirect location https://h/a@b",
            "  cookie SRV insert indirect",
        ] {
            assert_eq!(mask_line(line), line);
        }
    }
}
