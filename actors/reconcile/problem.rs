//! A problem, and the time since when it exists.

use crate::model::Moment;

/// A problem. Its text may change while it persists; its start time does not.
#[derive(Debug, Default)]
pub struct Problem(Option<Persisting>);

#[derive(Debug)]
struct Persisting {
    text: String,
    since_unix_ms: u64,
}

impl Problem {
    /// Sets the problem, with this text. Returns whether the text is new.
    pub fn set(&mut self, text: String, now: Moment) -> bool {
        let is_new = self.text() != Some(&text);
        let since_unix_ms = self.since_unix_ms().unwrap_or(now.unix_ms);
        self.0 = Some(Persisting { text, since_unix_ms });
        is_new
    }

    /// Clears the problem. Returns whether there was one.
    pub fn clear(&mut self) -> bool {
        self.0.take().is_some()
    }

    /// Returns its text; `None` where there is no problem.
    pub fn text(&self) -> Option<&str> {
        self.0.as_ref().map(|problem| problem.text.as_str())
    }

    /// Returns when it began, in milliseconds since 1970.
    pub fn since_unix_ms(&self) -> Option<u64> {
        self.0.as_ref().map(|problem| problem.since_unix_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;

    #[test]
    fn problem_keeps_its_start_while_its_text_changes() {
        let at = |unix_ms| Clock::starting_at(unix_ms).now();
        let mut problem = Problem::default();
        assert!(!problem.clear());
        assert!(problem.set("disk full".to_owned(), at(1)) && !problem.set("disk full".to_owned(), at(2)));
        assert!(problem.set("no such directory".to_owned(), at(3)));
        assert_eq!((problem.text(), problem.since_unix_ms()), (Some("no such directory"), Some(1)));
        assert!(problem.clear());
        assert_eq!((problem.text(), problem.since_unix_ms()), (None, None));
        problem.set("disk full".to_owned(), at(4));
        assert_eq!(problem.since_unix_ms(), Some(4));
    }
}
