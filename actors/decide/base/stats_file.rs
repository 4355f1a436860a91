//! The file by which counters survive reloads: each process gets those of the one before.
//!
//! HAProxy reads it from version 3.0 on. Earlier versions refuse the keyword, so the line is only written where the version
//! is known.
//! <https://docs.haproxy.org/3.2/configuration.html#3.1-stats-file>

use std::path::{Path, PathBuf};

use super::own_lines::path_word;
use crate::decide::config_text::INDENT;
use crate::model::{BaseConfig, ProxyManagement};

/// Returns the path of the file; `None` where the operator's own `lines` name one, or with `zero-warning`: HAProxy warns
/// where the file is missing, and would not start.
pub(super) fn in_use<'a>(config: &BaseConfig, mut lines: impl Iterator<Item = &'a str>) -> Option<PathBuf> {
    let decided = lines.any(|line| line.contains("stats-file") || line.contains("zero-warning"));
    (is_written(config) && !decided).then(|| config.map_path.with_extension("stats"))
}

/// Returns whether proxymgr writes the file that HAProxy runs with.
pub(super) fn is_written(config: &BaseConfig) -> bool {
    config.management != ProxyManagement::External
}

/// Returns the lines for the file at this path.
pub(super) fn section(path: &Path) -> String {
    let comment = "# Counters survive reloads: each process gets them from the one before.";
    format!("{comment}\nglobal\n{INDENT}stats-file {}\n\n", path_word(path))
}
