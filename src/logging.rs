//! The log: a logger that is passed as a value, with a child per component.
//!
//! Records are filtered by the caller, and formatted and written on a separate thread. If that thread cannot keep up,
//! records are dropped and counted, so that logging never blocks an actor. Records that dependencies write through `log`,
//! or through `tracing` with its `log` feature, go to the same stream, with the name of the dependency as component.

mod json_writer;
mod queue;
mod text_format;

use std::collections::BTreeMap;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use slog::{Drain, KV, Key, Level, Logger, OwnedKVList, Record, Serializer, o};
use slog_async::AsyncGuard;

use crate::dropped_records::DroppedRecords;
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

/// The running log. Dropping it writes the remaining records.
pub struct Logging {
    log: Logger,
    levels: Arc<RwLock<Levels>>,
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
        let _ = slog_stdlog::init_with_level(log_level(settings.loudest()));
        logging
    }

    /// Starts a log on a writer.
    pub fn to(writer: impl Write + Send + 'static, colour: bool, settings: &LogSettings) -> Self {
        let levels = Arc::new(RwLock::new(Levels::of(settings)));
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

    /// Changes the levels; the format stays.
    pub fn set_levels(&self, settings: &LogSettings) {
        *self.levels.write().unwrap_or_else(PoisonError::into_inner) = Levels::of(settings);
        if self.scope.is_some() {
            log::set_max_level(log_level(settings.loudest()).to_level_filter());
        }
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

impl LogSettings {
    fn loudest(&self) -> Level {
        self.levels.values().copied().chain([self.level]).max_by_key(|level| level.as_usize()).unwrap_or(self.level)
    }
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

/// The log levels.
#[derive(Debug)]
struct Levels {
    default: Level,
    of_component: BTreeMap<String, Level>,
    loudest: Level,
}

impl Levels {
    fn of(settings: &LogSettings) -> Self {
        Self { default: settings.level, of_component: settings.levels.clone(), loudest: settings.loudest() }
    }

    fn pass(&self, record: &Record<'_>, values: &OwnedKVList) -> bool {
        let level = record.level();
        if !level.is_at_least(self.loudest) {
            return false;
        }
        let own = component_of(record, values);
        match own.as_deref().and_then(|name| self.of_component.get(name)) {
            Some(wanted) => level.is_at_least(*wanted),
            // Whatever a client sends, no connection of the status listener may fill the log.
            None if record.tag().starts_with("actix_http::") => Level::Debug.is_at_least(self.default),
            // Dependencies log warnings and errors only.
            None if is_foreign(record) => level.is_at_least(self.default) && level.is_at_least(Level::Warning),
            None => level.is_at_least(self.default),
        }
    }
}

/// Whether a dependency wrote the record: records from `log` have their target as tag, ours have no tag.
fn is_foreign(record: &Record<'_>) -> bool {
    !record.tag().is_empty() && !record.tag().starts_with("proxymgr")
}

/// Component of a record: that of its logger, or the name of the dependency that wrote it.
fn component_of(record: &Record<'_>, values: &OwnedKVList) -> Option<String> {
    let mut finder = ComponentFinder(None);
    // Returns an error to stop at the component.
    let _ = values.serialize(record, &mut finder);
    finder.0.or_else(|| foreign_component(record).map(ToOwned::to_owned))
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

struct ComponentFinder(Option<String>);

impl Serializer for ComponentFinder {
    fn emit_arguments(&mut self, key: Key, value: &std::fmt::Arguments<'_>) -> slog::Result {
        if key == COMPONENT && self.0.is_none() {
            self.0 = Some(value.to_string());
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
    levels: Arc<RwLock<Levels>>,
    drain: D,
}

impl<D: Drain> Drain for Filter<D> {
    type Ok = Option<D::Ok>;
    type Err = Option<D::Err>;

    fn log(&self, record: &Record<'_>, values: &OwnedKVList) -> Result<Self::Ok, Self::Err> {
        let passes = self.levels.read().unwrap_or_else(PoisonError::into_inner).pass(record, values);
        if passes { self.drain.log(record, values).map(Some).map_err(Some) } else { Ok(None) }
    }
}

#[cfg(test)]
mod tests;
