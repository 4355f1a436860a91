//! What happened in a run, as a sequence: virtual time, who to whom, what.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use slog::{Drain, KV, Key, Logger, OwnedKVList, Record, Serializer, o};
use tokio::time::Instant;

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TraceLine {
    /// Virtual time since the world began, in milliseconds.
    pub at_ms: u64,
    /// Who.
    pub from: String,
    /// To whom; empty for what an actor says of itself.
    pub to: String,
    /// What.
    pub what: String,
}

impl fmt::Display for TraceLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (seconds, millis) = (self.at_ms / 1000, self.at_ms % 1000);
        let way = if self.to.is_empty() { self.from.clone() } else { format!("{} -> {}", self.from, self.to) };
        write!(f, "{seconds:>5}.{millis:03} s  {way:<44}  {}", self.what)
    }
}

/// How many of the last things that happened a failure tells.
const LINES_TOLD: usize = 40;

/// What a failure begins with.
pub(super) const VIOLATION: &str = "VIOLATION";

/// The last things that happened: up to the failure, where one is among them.
pub(super) fn last_of(lines: &[TraceLine]) -> &[TraceLine] {
    let failed = lines.iter().position(|line| line.what.starts_with(VIOLATION));
    let end = failed.map_or(lines.len(), |at| at + 1);
    &lines[end.saturating_sub(LINES_TOLD)..end]
}

/// The lines that are kept, and how many that may be; all of them where nobody said so.
#[derive(Debug, Default)]
struct Kept {
    lines: VecDeque<TraceLine>,
    max: Option<usize>,
}

/// The sequence, shared by everyone who adds to it.
#[derive(Debug, Clone)]
pub struct Trace {
    origin: Instant,
    // A logger's drain must be Send; all writers are on one thread.
    kept: Arc<Mutex<Kept>>,
}

impl Trace {
    /// An empty sequence that begins now.
    pub fn new() -> Self {
        Self { origin: Instant::now(), kept: Arc::default() }
    }

    /// An instant, in milliseconds since the world began.
    pub(super) fn at_ms(&self, instant: Instant) -> u64 {
        u64::try_from(instant.saturating_duration_since(self.origin).as_millis()).unwrap_or(u64::MAX)
    }

    /// Notes what happened now.
    pub fn note(&self, from: impl Into<String>, to: impl Into<String>, what: impl Into<String>) {
        let line = TraceLine { at_ms: self.now_ms(), from: from.into(), to: to.into(), what: what.into() };
        let mut kept = self.kept();
        if kept.max.is_some_and(|max| kept.lines.len() >= max) {
            kept.lines.pop_front();
        }
        kept.lines.push_back(line);
    }

    /// Virtual time since the world began, in milliseconds.
    pub fn now_ms(&self) -> u64 {
        self.at_ms(Instant::now())
    }

    /// Keeps only so many lines from now on, the last.
    pub fn keep_last(&self, max: usize) {
        let mut kept = self.kept();
        kept.max = Some(max);
        let surplus = kept.lines.len().saturating_sub(max);
        kept.lines.drain(..surplus);
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Everything so far.
    pub fn lines(&self) -> Vec<TraceLine> {
        self.kept().lines.iter().cloned().collect()
    }

    /// A logger whose records become part of the sequence, told by the component that logs.
    pub fn logger(&self) -> Logger {
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
        let mut of_logger = Words::default();
        let mut of_record = Words::default();
        // Writing to memory cannot fail.
        let _ = values.serialize(record, &mut of_logger);
        let _ = record.kv().serialize(record, &mut of_record);
        let who = of_logger.component.take().unwrap_or_else(|| "actor".to_owned());
        let who = if of_logger.text.is_empty() { who } else { format!("{who} ({})", of_logger.text.trim()) };
        self.0.note(who, "", format!("{}{}", record.msg(), of_record.text));
        Ok(())
    }
}

#[derive(Default)]
struct Words {
    component: Option<String>,
    text: String,
}

impl Serializer for Words {
    fn emit_arguments(&mut self, key: Key, value: &fmt::Arguments<'_>) -> slog::Result {
        // The innermost logger comes first.
        if key == "component" {
            self.component.get_or_insert_with(|| value.to_string());
        } else {
            // slog visits the last pair first.
            self.text.insert_str(0, &format!(" {key}={value}"));
        }
        Ok(())
    }
}
