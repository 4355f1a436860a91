//! The part of haproxy.cfg that does not come from services: its header, `global` and `defaults`.

use std::fmt::Write;
use std::path::Path;
use std::sync::Arc;

use super::config_lines::{default_server, operator_lines};
use super::config_text::{END_OF_BASE, INDENT, inherited_socket_line};
use super::quoting::quoted;
use crate::model::{BaseConfig, ProxyManagement, Word};

const HEADER: &str = "\
# Written by proxymgr, which replaces this file with every change: edits are lost.
# The lines of `global` and `defaults` come from proxymgr's settings, the sections from discovery.
";

const INHERITED: &str = "\
# The descriptors (fd@N) are listening sockets that HAProxy inherits: only proxymgr can start it, or check this file.
";

/// Returns whether proxymgr wrote this text.
pub fn is_ours(text: &str) -> bool {
    text.starts_with("# Written by proxymgr")
}

/// How long HAProxy keeps an idle connection to its socket: long enough that the persistent one is open when a change
/// comes, short enough that a leaked one does not keep a stopping process alive forever.
const STATS_TIMEOUT: &str = "2m";

/// Timeouts that every configuration needs.
const TIMEOUTS: [(&str, &str); 3] = [("connect", "5s"), ("client", "1m"), ("server", "1m")];

const DEFAULT_LINES: [&str; 6] = [
    "mode tcp",
    "option redispatch",
    "timeout connect 5s",
    "timeout client 1m",
    "timeout server 1m",
    "timeout tunnel 1h",
];

/// Returns the path of the state file, if HAProxy reads one. It reads none where the operator's own lines configure
/// server states, or with `zero-warning`: HAProxy would not start, because it warns of each server that it loads as
/// down.
pub fn state_file_in_use(base_config: &BaseConfig) -> Option<&Path> {
    let mut lines = base_config.global.iter().chain(&base_config.defaults);
    let decided = lines.any(|line| line.contains("server-state") || line.contains("zero-warning"));
    base_config.state_file.as_deref().filter(|_| !decided)
}

/// Returns the part of the file that does not come from services: its header, `global` and `defaults`.
pub fn base_config(base_config: &BaseConfig) -> Arc<str> {
    let mut text = String::from(HEADER);
    if base_config.management == ProxyManagement::Supervised {
        text.push_str(INHERITED);
    }
    text.push_str("\nglobal\n");
    push_lines(&mut text, &base_config.global);
    push_socket(&mut text, base_config);
    if let Some(path) = state_file_in_use(base_config) {
        let _ = writeln!(text, "{INDENT}server-state-file {}", path_word(path));
    }
    text.push_str("\ndefaults\n");
    // A name that does not resolve keeps its last address, from the state file. Without one it disables its server,
    // instead of preventing the start of HAProxy.
    let _ = writeln!(text, "{INDENT}default-server init-addr libc,last,none");
    if state_file_in_use(base_config).is_some() {
        let _ = writeln!(text, "{INDENT}load-server-state-from-file global");
    }
    if base_config.defaults.is_empty() {
        push_lines(&mut text, &DEFAULT_LINES);
    } else {
        push_lines(&mut text, &base_config.defaults);
        // Without these HAProxy keeps dead connections forever, and warns about it.
        let sets = |words: Vec<Word>, name: &str| {
            words.first().is_some_and(|word| word.as_str() == "timeout")
                && words.get(1).is_some_and(|word| word.as_str() == name)
        };
        for (name, value) in TIMEOUTS {
            if !operator_lines(&base_config.defaults).any(|words| sets(words, name)) {
                let _ = writeln!(text, "{INDENT}timeout {name} {value}");
            }
        }
    }
    let _ = write!(text, "\n{END_OF_BASE}\n\n");
    text.into()
}

/// Adds the Runtime API socket, unless the operator has a line for it.
fn push_socket(text: &mut String, base_config: &BaseConfig) {
    let path = base_config.socket_path.to_string_lossy();
    let is_ours = |words: Vec<Word>| {
        let start: Vec<_> = words.iter().take(3).map(Word::as_str).collect();
        start == ["stats", "socket", &path]
    };
    if !operator_lines(&base_config.global).any(is_ours) {
        let line = match base_config.management {
            ProxyManagement::Supervised => inherited_socket_line(),
            // A new process requests there the listening sockets that it cannot inherit (`-x`).
            ProxyManagement::Delegated | ProxyManagement::External => {
                format!("stats socket {} mode 600 level admin expose-fd listeners", path_word(&base_config.socket_path))
            }
        };
        let _ = writeln!(text, "{INDENT}{line}");
    }
    if !base_config.global.iter().any(|line| line.trim_start().starts_with("stats timeout")) {
        let _ = writeln!(text, "{INDENT}stats timeout {STATS_TIMEOUT}");
    }
}

fn path_word(path: &Path) -> String {
    let path = path.to_string_lossy();
    Word::new(&path).map_or_else(|_| path.to_string(), |word| quoted(&word).into_owned())
}

fn push_lines(text: &mut String, lines: &[impl AsRef<str>]) {
    for line in lines.iter().flat_map(|line| line.as_ref().lines()) {
        let _ = writeln!(text, "{INDENT}{}", line.trim());
    }
}

/// Returns the options that the operator's `default-server` lines in `defaults` set for every server of the file.
pub fn base_default_server_words(base_config: &BaseConfig) -> Vec<Word> {
    operator_lines(&base_config.defaults).flat_map(|words| default_server(&words).to_vec()).collect()
}
