//! The log: a logger that is passed as a value, with a child per component.
//!
//! Records are filtered by the caller, and formatted and written on a separate thread. If that thread cannot keep up,
//! records are dropped and counted, so that logging never blocks an actor. Records that dependencies write through `log`,
//! or through `tracing` with its `log` feature, go to the same stream, with the name of the dependency as component.

mod json_writer;
mod queue;
mod text_format;

use std::io::{self, BufWriter, IsTerminal, Write};
use std::sync::Arc;
use std::time::Duration;

use slog::{Drain, KV, Key, Level, Logger, OwnedKVList, Record, Serializer, o};
use slog_async::AsyncGuard;

use crate::dropped_records::DroppedRecords;
use crate::log_levels::{Levels, LogLevels};
use crate::settings::{LogFormat, LogSettings};
use json_writer::JsonWriter;
use queue::Queue;
use text_format::TextFormat;

/// Buffer for a JSON record, in bytes. A record that fits is written at once, so that no other line can come between.
const JSON_RECORD_BYTES: usize = 64 * 1024;

/// Time-out for writing the last records when the daemon stops.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(2);

/// Key of the component in a record.
pub const COMPONENT: &str = "component";

/// Key of the service in a record.
const SERVICE: &str = "service";

/// The running log. Dropping it writes the remaining records.
pub struct Logging {
    log: Logger,
    levels: Arc<LogLevels>,
    dropped: Arc<DroppedRecords>,
    guard: Option<AsyncGuard>,
    scope: Option<slog_scope::GlobalLoggerGuard>,
}

impl Logging {
    /// Starts a log on standard error, which also receives the records of dependencies.
    pub fn to_stderr(settings: &LogSettings) -> Self {
        let stderr = io::stderr();
        let colour = stderr.is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        let mut logging = Self::to(stderr, colour, settings);
        logging.scope = Some(slog_scope::set_global_logger(logging.log.clone()));
        // Fails only if another logger is installed already, as in a test process, which then keeps these records.
        let _ = slog_stdlog::init_with_level(log::Level::Error);
        logging.levels.follow(|loudest| log::set_max_level(log_level(loudest).to_level_filter()));
        logging
    }

    /// Starts a log on a writer.
    pub fn to(writer: impl Write + Send + 'static, colour: bool, settings: &LogSettings) -> Self {
        let levels = Arc::new(LogLevels::of(settings));
        let (queue, guard) = match settings.format {
            LogFormat::Text => Queue::start(TextFormat::new(writer, colour)),
            LogFormat::Json => {
                let writer = JsonWriter::new(BufWriter::with_capacity(JSON_RECORD_BYTES, writer));
                let json = slog_json::Json::new(writer).set_newlines(true).set_flush(true).add_default_keys();
                Queue::start(json.add_key_value(slog::OwnedKV(ForeignComponent)).build().ignore_res())
            }
        };
        let dropped = queue.dropped();
        let log = Logger::root(Filter { levels: Arc::clone(&levels), drain: queue }.fuse(), o!());
        Self { log, levels, dropped, guard: Some(guard), scope: None }
    }

    /// The root of all loggers.
    pub fn root(&self) -> &Logger {
        &self.log
    }

    /// Returns the counter of dropped records.
    pub fn dropped(&self) -> Arc<DroppedRecords> {
        Arc::clone(&self.dropped)
    }

    /// Returns the levels, which can be changed while the log runs; the format stays.
    pub fn levels(&self) -> Arc<LogLevels> {
        Arc::clone(&self.levels)
    }

    /// Changes the levels to those of newer settings.
    pub fn set_levels(&self, settings: &LogSettings) {
        self.levels.set_settings(settings);
    }
}

impl Drop for Logging {
    /// Waits for the last records, but not for a reader of the output that has stopped reading.
    fn drop(&mut self) {
        if let Some(scope) = self.scope.take() {
            // Other threads may still log; a global logger must exist, so their records are discarded.
            scope.cancel_reset();
            slog_scope::set_global_logger(Logger::root(slog::Discard, o!())).cancel_reset();
        }
        let Some(guard) = self.guard.take() else { return };
        let (done, flushed) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            drop(guard);
            let _ = done.send(());
        });
        let _ = flushed.recv_timeout(FLUSH_TIMEOUT);
    }
}

/// The logger of one component.
pub fn component(log: &Logger, name: &'static str) -> Logger {
    log.new(o!(COMPONENT => name))
}

fn log_level(level: Level) -> log::Level {
    match level {
        Level::Critical | Level::Error => log::Level::Error,
        Level::Warning => log::Level::Warn,
        Level::Info => log::Level::Info,
        Level::Debug => log::Level::Debug,
        Level::Trace => log::Level::Trace,
    }
}

/// Whether a record is logged.
fn passes(levels: &Levels, record: &Record<'_>, values: &OwnedKVList) -> bool {
    let level = record.level();
    if !level.is_at_least(levels.loudest()) {
        return false;
    }
    if levels.of_service(|| value_of(SERVICE, record, values)).is_some_and(|traced| level.is_at_least(traced)) {
        return true;
    }
    let own = component_of(record, values);
    match own.as_deref().and_then(|name| levels.of_component(name)) {
        Some(wanted) => level.is_at_least(wanted),
        // Whatever a client sends, no connection of the status listener may fill the log.
        None if record.tag().starts_with("actix_http::") => Level::Debug.is_at_least(levels.general()),
        // Dependencies log warnings and errors only.
        None if is_foreign(record) => level.is_at_least(levels.general()) && level.is_at_least(Level::Warning),
        None => level.is_at_least(levels.general()),
    }
}

/// Whether a dependency wrote the record: records from `log` have their target as tag, ours have no tag.
fn is_foreign(record: &Record<'_>) -> bool {
    !record.tag().is_empty() && !record.tag().starts_with("proxymgr")
}

/// Component of a record: that of its logger, or the name of the dependency that wrote it.
fn component_of(record: &Record<'_>, values: &OwnedKVList) -> Option<String> {
    value_of(COMPONENT, record, values).or_else(|| foreign_component(record).map(ToOwned::to_owned))
}

/// The value of this key of a record, or else of its logger.
fn value_of(key: &'static str, record: &Record<'_>, values: &OwnedKVList) -> Option<String> {
    let mut finder = ValueFinder { key, found: None };
    // Returns an error to stop at the value.
    let _ = record.kv().serialize(record, &mut finder).and_then(|()| values.serialize(record, &mut finder));
    finder.found
}

/// The crate of a record from `log`.
fn foreign_component<'a>(record: &'a Record<'_>) -> Option<&'a str> {
    is_foreign(record).then(|| record.tag().split("::").next().unwrap_or_default())
}

/// Adds the component to records of dependencies.
struct ForeignComponent;

impl KV for ForeignComponent {
    fn serialize(&self, record: &Record<'_>, serializer: &mut dyn Serializer) -> slog::Result {
        match foreign_component(record) {
            Some(name) => serializer.emit_str(COMPONENT, name),
            None => Ok(()),
        }
    }
}

struct ValueFinder {
    key: &'static str,
    found: Option<String>,
}

impl Serializer for ValueFinder {
    fn emit_arguments(&mut self, key: Key, value: &std::fmt::Arguments<'_>) -> slog::Result {
        if key == self.key {
            self.found = Some(value.to_string());
            return Err(slog::Error::Other);
        }
        Ok(())
    }

    fn emit_str(&mut self, key: Key, value: &str) -> slog::Result {
        self.emit_arguments(key, &format_args!("{value}"))
    }
}

/// Filters records by level before they are queued.
struct Filter<D> {
    levels: Arc<LogLevels>,
    drain: D,
}

impl<D: Drain> Drain for Filter<D> {
    type Ok = Option<D::Ok>;
    type Err = Option<D::Err>;

    fn log(&self, record: &Record<'_>, values: &OwnedKVList) -> Result<Self::Ok, Self::Err> {
        if passes(&self.levels.read(), record, values) {
            self.drain.log(record, values).map(Some).map_err(Some)
        } else {
            Ok(None)
        }
    }
}

#[cfg(test)]
mod tests;
