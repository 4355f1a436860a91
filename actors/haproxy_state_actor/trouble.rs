//! Something that is not well, and since when.

use crate::clock::Clock;

/// A trouble that may stand. Its words may change while it stands; since when it does, stays.
#[derive(Debug, Default)]
pub(super) struct Trouble(Option<Standing>);

#[derive(Debug)]
struct Standing {
    text: String,
    since_unix_ms: u64,
}

impl Trouble {
    /// It stands, in these words.
    pub(super) fn stands(&mut self, text: String, clock: Clock) {
        let since_unix_ms = self.since_unix_ms().unwrap_or_else(|| clock.unix_ms());
        self.0 = Some(Standing { text, since_unix_ms });
    }

    /// It is over. Returns whether it stood.
    pub(super) fn ends(&mut self) -> bool {
        self.0.take().is_some()
    }

    /// Its words; none where it does not stand.
    pub(super) fn text(&self) -> Option<&str> {
        self.0.as_ref().map(|standing| standing.text.as_str())
    }

    /// Since when it stands, in milliseconds since 1970; none where it does not.
    pub(super) fn since_unix_ms(&self) -> Option<u64> {
        self.0.as_ref().map(|standing| standing.since_unix_ms)
    }
}
