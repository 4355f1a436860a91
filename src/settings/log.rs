//! `log`: levels and format.

use std::collections::BTreeMap;

use super::reader::Reader;

/// Settings of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogSettings {
    /// The default level.
    pub level: slog::Level,
    /// The format of records.
    pub format: LogFormat,
    /// Levels of single components.
    pub levels: BTreeMap<String, slog::Level>,
}

impl Default for LogSettings {
    fn default() -> Self {
        Self { level: slog::Level::Info, format: LogFormat::Text, levels: BTreeMap::new() }
    }
}

/// The format of log records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// A line of text.
    Text,
    /// A JSON object.
    Json,
}

/// Reads the keys of `log`.
pub(super) fn read(reader: &mut Reader) -> Option<LogSettings> {
    let level = reader.choice("log.level");
    let format = reader.choice("log.format");
    let levels = reader.levels("log.levels");
    Some(LogSettings {
        level: slog_level(level?),
        format: if format? == "json" { LogFormat::Json } else { LogFormat::Text },
        levels: levels.into_iter().map(|(component, level)| (component, slog_level(level))).collect(),
    })
}

fn slog_level(word: &str) -> slog::Level {
    match word {
        "critical" => slog::Level::Critical,
        "error" => slog::Level::Error,
        "warning" => slog::Level::Warning,
        "debug" => slog::Level::Debug,
        "trace" => slog::Level::Trace,
        _ => slog::Level::Info,
    }
}
