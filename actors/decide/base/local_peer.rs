//! The peers section by which stick tables survive reloads: HAProxy passes them to the next process over a local socket.
//!
//! <https://docs.haproxy.org/3.2/configuration.html#11.2>

use std::fmt::Write;
use std::path::PathBuf;

use crate::decide::config_text::INDENT;
use crate::model::{BaseConfig, ListenAddress, ProxyManagement, Word};

/// The name of the section, and of the only peer in it.
pub const PEERS: &str = "proxymgr";

/// Returns the path of the socket.
pub fn socket_path(config: &BaseConfig) -> PathBuf {
    config.map_path.with_extension("peers")
}

/// Returns the section; `None` where the operator has peers of their own, where the process is not supervised, or where
/// the path of the socket is too long. `global` are the lines of the `global` section in words.
pub(super) fn section(config: &BaseConfig, global: &[Vec<Word>], has_own_peers: bool) -> Option<String> {
    let address = ListenAddress::unix(socket_path(config).to_str()?)?;
    if has_own_peers || config.management != ProxyManagement::Supervised {
        return None;
    }
    // The process that passes its tables on has changed to this user.
    let owner = global.iter().rev().find_map(|words| match words.as_slice() {
        [keyword, name, ..] if ["user", "uid"].contains(&keyword.as_str()) => Some(format!(" {keyword} {name}")),
        _ => None,
    });
    let mut text = format!(
        "# Stick tables survive reloads: each process gets them from the one before.\nglobal\n{INDENT}localpeer {PEERS}\n"
    );
    let _ = write!(text, "\npeers {PEERS}\n{INDENT}bind {address} mode 600{}\n", owner.unwrap_or_default());
    let _ = write!(text, "{INDENT}server {PEERS}\n\n");
    Some(text)
}

/// Returns whether the section of a service has a stick table that the local peer passes on. Its options precede its
/// servers, of which there may be thousands.
pub fn is_used_in(section: &str) -> bool {
    let words = table_words();
    let mut lines = section.lines().map(str::trim_start).take_while(|line| !line.starts_with("server "));
    lines.any(|line| line.starts_with("stick-table ") && line.ends_with(&words))
}

/// Returns the words that a `stick-table` line ends with.
pub fn table_words() -> String {
    format!(" peers {PEERS}")
}
