//! Output of the log lines of pure code.

use slog::{KV, Level, Logger, Record, Serializer, b, log};

use crate::reconcile::{LogLine, Severity};

struct Fields<'a>(&'a LogLine);

impl KV for Fields<'_> {
    fn serialize(&self, _: &Record<'_>, serializer: &mut dyn Serializer) -> slog::Result {
        let Self(line) = self;
        // The drains print the last value first.
        line.fields.iter().rev().try_for_each(|(key, value)| serializer.emit_str(key, value))
    }
}

/// Writes the line.
pub fn write(logger: &Logger, line: &LogLine) {
    let fields = Fields(line);
    match line.severity {
        Severity::Debug => log!(logger, Level::Debug, "", "{}", line.message; b!(fields)),
        Severity::Info => log!(logger, Level::Info, "", "{}", line.message; fields),
        Severity::Warning => log!(logger, Level::Warning, "", "{}", line.message; fields),
    }
}
