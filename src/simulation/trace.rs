//! What happened in a run, as a sequence: virtual time, who to whom, what.

use std::collections::VecDeque;
use std::fmt::{self, Display, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use slog::{Drain, KV, Key, Logger, OwnedKVList, Record, Serializer, o};
use tokio::time::Instant;

/// One thing that happened.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
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

/// Words that are found when somebody reads them.
type Later = Box<dyn Fn() -> String + Send>;

/// A line as it was noted.
#[derive(Default)]
struct Noted {
    line: TraceLine,
    /// What it is to say; none where it says so itself.
    later: Option<Later>,
}

impl Noted {
    fn line(&self) -> TraceLine {
        let mut line = self.line.clone();
        line.what.extend(self.later.iter().map(|words| words()));
        line
    }
}

/// The lines that are kept, and how many that may be; all of them where nobody said so.
#[derive(Default)]
struct Kept {
    lines: VecDeque<Noted>,
    max: Option<usize>,
}

impl Kept {
    /// Adds a line, which gets the memory of the oldest where that is dropped for it.
    fn add(&mut self, at_ms: u64, [from, to, what]: [&dyn Display; 3], later: Option<Later>) {
        let is_full = self.max.is_some_and(|max| self.lines.len() >= max);
        let oldest = if is_full { self.lines.pop_front() } else { None };
        let mut line = oldest.unwrap_or_default().line;
        line.at_ms = at_ms;
        for (text, words) in [(&mut line.from, from), (&mut line.to, to), (&mut line.what, what)] {
            text.clear();
            // Writing to memory cannot fail.
            let _ = write!(text, "{words}");
        }
        self.lines.push_back(Noted { line, later });
    }
}

impl fmt::Debug for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kept").field("lines", &self.lines.len()).field("max", &self.max).finish()
    }
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
    pub fn note(&self, from: impl Display, to: impl Display, what: impl Display) {
        let at_ms = self.now_ms();
        self.kept().add(at_ms, [&from, &to, &what], None);
    }

    /// Notes what happened now, in words that are found only when somebody reads them: beside a load nearly everything
    /// is forgotten unread.
    pub fn note_later(&self, from: impl Display, to: impl Display, what: impl Fn() -> String + Send + 'static) {
        let at_ms = self.now_ms();
        self.kept().add(at_ms, [&from, &to, &""], Some(Box::new(what)));
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
        self.kept().lines.iter().map(Noted::line).collect()
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
        let mut of_logger = Words::none();
        let mut of_record = Words::none();
        // Writing to memory cannot fail.
        let _ = values.serialize(record, &mut of_logger);
        let _ = record.kv().serialize(record, &mut of_record);
        self.0.note(of_logger.who(), "", format_args!("{}{}", record.msg(), of_record));
        Ok(())
    }
}

/// About the length of a record's pairs.
const PAIRS_BYTES: usize = 128;

/// About the number of a record's pairs.
const PAIRS: usize = 8;

/// The pairs of a record or of a logger.
struct Words {
    component: Option<String>,
    /// The pairs, each with a blank before it, in the order in which slog visits them: the last first.
    pairs: String,
    /// Where each begins.
    starts: Vec<usize>,
}

impl Words {
    fn none() -> Self {
        Self { component: None, pairs: String::with_capacity(PAIRS_BYTES), starts: Vec::with_capacity(PAIRS) }
    }

    /// Who has a logger with these pairs.
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

    #[tokio::test]
    async fn only_the_last_lines_are_kept_where_that_is_asked_for() {
        let trace = Trace::new();
        trace.keep_last(2);
        trace.note_later("a source of many hosts", "somebody", || unreachable!("nobody reads it"));
        trace.note("one", "", "a line that is longer than the next in its place");
        trace.note_later("a source", "a watcher", || "hosts".to_owned());
        trace.note("two", "one", 2);
        let lines: Vec<_> = trace.lines().into_iter().map(|line| [line.from, line.to, line.what]).collect();
        assert_eq!(lines, [["a source", "a watcher", "hosts"], ["two", "one", "2"]]);
    }

    #[tokio::test]
    async fn a_record_is_told_by_its_component_with_its_pairs_in_order() {
        let trace = Trace::new();
        let log = trace.logger().new(o!("component" => "watcher")).new(o!("service" => "web"));
        info!(log, "hosts changed"; "added" => 1, "removed" => 2);
        let line = trace.lines().remove(0);
        assert_eq!([line.from, line.to, line.what], ["watcher (service=web)", "", "hosts changed added=1 removed=2"]);
    }
}
