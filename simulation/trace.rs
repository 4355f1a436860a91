//! The trace of a run: virtual time, sender, receiver, event.

use std::collections::VecDeque;
use std::fmt::{self, Display, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use slog::{Discard, Drain, KV, Key, Logger, OwnedKVList, Record, Serializer, o};
use tokio::time::Instant;

/// One event.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TraceLine {
    /// Virtual time since the world began, in milliseconds.
    pub at_ms: u64,
    /// Sender or logging component.
    pub from: String,
    /// Receiver; empty for log records.
    pub to: String,
    /// The event.
    pub what: String,
}

impl fmt::Display for TraceLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (seconds, millis) = (self.at_ms / 1000, self.at_ms % 1000);
        let way = if self.to.is_empty() { self.from.clone() } else { format!("{} -> {}", self.from, self.to) };
        write!(f, "{seconds:>5}.{millis:03} s  {way:<44}  {}", self.what)
    }
}

/// Number of lines that a failure shows.
const LINES_TOLD: usize = 40;

/// Prefix of the line of a violation.
pub(super) const VIOLATION: &str = "VIOLATION";

/// Returns the last lines; up to the violation, if there is one.
pub(super) fn last_of(lines: &[TraceLine]) -> &[TraceLine] {
    let failed = lines.iter().position(|line| line.what.starts_with(VIOLATION));
    let end = failed.map_or(lines.len(), |at| at + 1);
    &lines[end.saturating_sub(LINES_TOLD)..end]
}

/// The retained lines and their maximum number; `None` for no limit.
#[derive(Default)]
struct Kept {
    lines: VecDeque<TraceLine>,
    max: Option<usize>,
}

impl fmt::Debug for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kept").field("lines", &self.lines.len()).field("max", &self.max).finish()
    }
}

/// The trace, shared by all writers.
#[derive(Debug, Clone)]
pub struct Trace {
    origin: Instant,
    // A logger's drain must be Send; all writers are on one thread.
    kept: Arc<Mutex<Kept>>,
}

impl Trace {
    /// Creates an empty trace that begins now.
    pub fn new() -> Self {
        Self { origin: Instant::now(), kept: Arc::default() }
    }

    /// Converts an instant into milliseconds since the world began.
    pub(super) fn at_ms(&self, instant: Instant) -> u64 {
        u64::try_from(instant.saturating_duration_since(self.origin).as_millis()).unwrap_or(u64::MAX)
    }

    /// Adds an event.
    pub fn note(&self, from: impl Display, to: impl Display, what: impl Display) {
        let mut kept = self.kept();
        // Nothing is formatted if no line is kept.
        if kept.max == Some(0) {
            return;
        }
        if kept.max.is_some_and(|max| kept.lines.len() >= max) {
            kept.lines.pop_front();
        }
        let (from, to, what) = (from.to_string(), to.to_string(), what.to_string());
        kept.lines.push_back(TraceLine { at_ms: self.now_ms(), from, to, what });
    }

    /// Returns the virtual time since the world began, in milliseconds.
    pub fn now_ms(&self) -> u64 {
        self.at_ms(Instant::now())
    }

    /// Keeps only the last lines. With 0, all loggers that are created later are silent.
    pub fn keep_last(&self, max: usize) {
        let mut kept = self.kept();
        kept.max = Some(max);
        let surplus = kept.lines.len().saturating_sub(max);
        kept.lines.drain(..surplus);
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns all retained lines.
    pub fn lines(&self) -> Vec<TraceLine> {
        self.kept().lines.iter().cloned().collect()
    }

    /// Returns a logger whose records become part of the trace, under the component that logs.
    pub fn logger(&self) -> Logger {
        if self.kept().max == Some(0) {
            return Logger::root(Discard, o!());
        }
        Logger::root(TraceDrain(self.clone()).fuse(), o!())
    }
}

impl Default for Trace {
    fn default() -> Self {
        Self::new()
    }
}

struct TraceDrain(Trace);

impl Drain for TraceDrain {
    type Ok = ();
    type Err = slog::Never;

    fn log(&self, record: &Record<'_>, values: &OwnedKVList) -> Result<(), slog::Never> {
        let mut of_logger = Words::none();
        let mut of_record = Words::none();
        // Writing to memory cannot fail.
        let _ = values.serialize(record, &mut of_logger);
        let _ = record.kv().serialize(record, &mut of_record);
        self.0.note(of_logger.who(), "", format_args!("{}{}", record.msg(), of_record));
        Ok(())
    }
}

/// Typical length of a record's pairs.
const PAIRS_BYTES: usize = 128;

/// Typical number of a record's pairs.
const PAIRS: usize = 8;

/// Key-value pairs of a record or of a logger.
struct Words {
    component: Option<String>,
    /// The pairs, each after a blank, in the order in which slog visits them: the last first.
    pairs: String,
    /// Start of each pair.
    starts: Vec<usize>,
}

impl Words {
    fn none() -> Self {
        Self { component: None, pairs: String::with_capacity(PAIRS_BYTES), starts: Vec::with_capacity(PAIRS) }
    }

    /// Returns the component of a logger with these pairs.
    fn who(&self) -> String {
        let who = self.component.as_deref().unwrap_or("actor");
        if self.starts.is_empty() { who.to_owned() } else { format!("{who} ({})", self.to_string().trim()) }
    }
}

impl Display for Words {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut end = self.pairs.len();
        self.starts
            .iter()
            .rev()
            .try_for_each(|start| f.write_str(&self.pairs[*start..std::mem::replace(&mut end, *start)]))
    }
}

impl Serializer for Words {
    fn emit_arguments(&mut self, key: Key, value: &fmt::Arguments<'_>) -> slog::Result {
        // The innermost logger comes first.
        if key == "component" {
            self.component.get_or_insert_with(|| value.to_string());
            return Ok(());
        }
        self.starts.push(self.pairs.len());
        write!(self.pairs, " {key}={value}").map_err(Into::into)
    }
}

#[cfg(test)]
mod tests {
    use slog::{info, o};

    use super::*;

    struct NeverTold;

    impl Display for NeverTold {
        fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
            unreachable!("nobody reads it")
        }
    }

    #[tokio::test]
    async fn trace_keeps_only_last_lines() {
        let trace = Trace::new();
        trace.keep_last(2);
        (1..=3).for_each(|what| trace.note("a source", "a watcher", what));
        let lines: Vec<_> = trace.lines().into_iter().map(|line| [line.from, line.to, line.what]).collect();
        assert_eq!(lines, [["a source", "a watcher", "2"], ["a source", "a watcher", "3"]]);
        trace.keep_last(0);
        trace.note("a source", "", NeverTold);
        info!(trace.logger(), "{}", NeverTold);
        assert_eq!(trace.lines(), []);
    }

    #[tokio::test]
    async fn trace_line_names_component_and_pairs() {
        let trace = Trace::new();
        let log = trace.logger().new(o!("component" => "watcher")).new(o!("service" => "web"));
        info!(log, "hosts changed"; "added" => 1, "removed" => 2);
        let line = trace.lines().remove(0);
        assert_eq!([line.from, line.to, line.what], ["watcher (service=web)", "", "hosts changed added=1 removed=2"]);
    }
}
