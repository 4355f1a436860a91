//! A problem that may persist, and since when.

use super::time::Now;

/// A problem. Its text may change while it persists; its beginning stays.
#[derive(Debug, Default)]
pub struct Problem(Option<Persisting>);

#[derive(Debug)]
struct Persisting {
    text: String,
    since_unix_ms: u64,
}

impl Problem {
    /// The problem exists, in these words. Returns whether its text is new.
    pub fn set(&mut self, text: String, now: Now) -> bool {
        let is_new = self.text() != Some(&text);
        let since_unix_ms = self.since_unix_ms().unwrap_or(now.unix_ms);
        self.0 = Some(Persisting { text, since_unix_ms });
        is_new
    }

    /// The problem is over. Returns whether it existed.
    pub fn clear(&mut self) -> bool {
        self.0.take().is_some()
    }

    /// Its text; none where there is no problem.
    pub fn text(&self) -> Option<&str> {
        self.0.as_ref().map(|problem| problem.text.as_str())
    }

    /// Since when it exists, in milliseconds since 1970.
    pub fn since_unix_ms(&self) -> Option<u64> {
        self.0.as_ref().map(|problem| problem.since_unix_ms)
    }
}
