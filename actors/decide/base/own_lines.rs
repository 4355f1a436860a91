//! The lines that proxymgr adds to the base configuration where they are missing.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::decide::config_text::inherited_socket_line;
use crate::decide::line_sets::ROOT;
use crate::decide::quoting::quoted;
use crate::model::{BaseConfig, ProxyManagement, Word};

const HEADER: &str = "\
# Written by proxymgr, which replaces this file with every change: edits are lost.
";

const FROM_SETTINGS: &str = "\
# The lines of `global` and `defaults` come from proxymgr's settings, the sections from discovery.
";

const FROM_FILES: &str = "\
# The lines up to the services come from haproxy.base_config, with servers, sections and sockets of proxymgr.
";

const INHERITED: &str = "\
# The descriptors (fd@N) are listening sockets that HAProxy inherits: only proxymgr can start it, or check this file.
";

/// How long HAProxy keeps an idle connection to its socket: long enough that the persistent one is open when a change
/// comes, short enough that a leaked one does not keep a stopping process alive forever.
const STATS_TIMEOUT: &str = "2m";

/// The lines of a `defaults` section where the operator has none.
pub(super) const DEFAULT_LINES: [&str; 6] = [
    "mode tcp",
    "option redispatch",
    "timeout connect 5s",
    "timeout client 1m",
    "timeout server 1m",
    "timeout tunnel 1h",
];

/// Returns whether proxymgr wrote this text.
pub fn is_ours(text: &str) -> bool {
    text.starts_with("# Written by proxymgr")
}

/// Returns the comment at the start of the file.
pub(super) fn header(config: &BaseConfig) -> String {
    let origin = if config.files.is_empty() { FROM_SETTINGS } else { FROM_FILES };
    let inherited = if config.management == ProxyManagement::Supervised { INHERITED } else { "" };
    format!("{HEADER}{origin}{inherited}")
}

/// Returns the path of the state file, if HAProxy reads one. It reads none where the operator's own lines configure
/// server states, or with `zero-warning`: HAProxy would not start, because it warns of each server that it loads as
/// down.
pub(super) fn state_file_in_use<'a>(config: &BaseConfig, mut lines: impl Iterator<Item = &'a str>) -> Option<PathBuf> {
    let decided = lines.any(|line| line.contains("server-state") || line.contains("zero-warning"));
    config.state_file.clone().filter(|_| !decided)
}

/// Returns the lines that the `global` section with these lines lacks. `opens_sockets` tells whether HAProxy opens some
/// listening sockets itself, which the next process then takes over.
pub(super) fn of_global(
    config: &BaseConfig,
    global: &[Vec<Word>],
    state_file: Option<&Path>,
    opens_sockets: bool,
) -> Vec<String> {
    let path = config.socket_path.to_string_lossy();
    let begins_with = |start: &[&str]| {
        global.iter().any(|words| {
            words.len() >= start.len() && words.iter().zip(start).all(|(word, start)| word.as_str() == *start)
        })
    };
    let mut lines = Vec::new();
    if !begins_with(&["stats", "socket", &path]) {
        lines.push(match config.management {
            ProxyManagement::Supervised => inherited_socket_line(opens_sockets),
            // A new process requests there the listening sockets that it cannot inherit (`-x`).
            ProxyManagement::Delegated | ProxyManagement::External => {
                format!("stats socket {} mode 600 level admin expose-fd listeners", path_word(&config.socket_path))
            }
        });
    }
    if !begins_with(&["stats", "timeout"]) {
        lines.push(format!("stats timeout {STATS_TIMEOUT}"));
    }
    lines.extend(state_file.map(|path| format!("server-state-file {}", path_word(path))));
    lines
}

/// Returns the lines that every `defaults` section begins with.
pub(super) fn of_defaults(has_state_file: bool) -> Vec<String> {
    // A name that does not resolve keeps its last address, from the state file. Without one it disables its server,
    // instead of preventing the start of HAProxy.
    let mut lines = vec!["default-server init-addr libc,last,none".to_owned()];
    if has_state_file {
        lines.push("load-server-state-from-file global".to_owned());
    }
    lines
}

/// Returns the section with the lines of `defaults` that sets of lines derive from. `from` is the name of the section
/// that these derive from themselves.
pub(super) fn defaults_root(from: Option<&str>, lines: &str) -> Arc<str> {
    let from = from.map(|from| format!(" from {from}")).unwrap_or_default();
    let comment = "# The lines of `defaults`, for backends that can come and go at run time.";
    format!("{comment}\ndefaults {ROOT}{from}\n{lines}\n").into()
}

/// Returns a path as a word of the configuration.
pub(super) fn path_word(path: &Path) -> String {
    let path = path.to_string_lossy();
    Word::new(&path).map_or_else(|_| path.to_string(), |word| quoted(&word).into_owned())
}
