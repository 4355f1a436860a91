//! The schedule of lookups of host names. Pure: time is an argument.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tokio::time::Instant;

use crate::limits::{NAME_LOOKUP_RETRY_MAX, NAME_LOOKUP_RETRY_MIN};

/// The host names that HAProxy could not resolve.
#[derive(Debug, Default)]
pub struct Lookups {
    names: BTreeMap<Arc<str>, Lookup>,
}

#[derive(Debug, Clone, Copy)]
struct Lookup {
    /// The number of lookups so far.
    times: u32,
    next: Next,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    LookUp(Instant),
    Answer,
}

impl Lookups {
    /// Sets the names to look up. A new name is looked up at once, because it may resolve by now.
    pub fn replace(&mut self, names: &BTreeSet<Arc<str>>, now: Instant) {
        self.names.retain(|name, _| names.contains(name));
        for name in names {
            self.names.entry(name.clone()).or_insert(Lookup { times: 0, next: Next::LookUp(now) });
        }
    }

    /// Returns the names to look up now. Each then waits for its [answer](Self::answered).
    pub fn due(&mut self, now: Instant) -> Vec<Arc<str>> {
        let due = self.names.iter_mut().filter(|(_, lookup)| matches!(lookup.next, Next::LookUp(at) if at <= now));
        let asked = due.map(|(name, lookup)| {
            lookup.times += 1;
            lookup.next = Next::Answer;
            name.clone()
        });
        asked.collect()
    }

    /// Records the end of a lookup. It is repeated, with growing pauses, until the name is removed from the set:
    /// HAProxy may have been unable to use the address.
    pub fn answered(&mut self, name: &str, now: Instant) {
        if let Some(lookup) = self.names.get_mut(name) {
            let doubled = NAME_LOOKUP_RETRY_MIN.saturating_mul(1 << (lookup.times.saturating_sub(1)).min(16));
            lookup.next = Next::LookUp(now + doubled.min(NAME_LOOKUP_RETRY_MAX));
        }
    }

    /// Returns when the next lookup is due; `None` where all wait for an answer, or there is nothing to look up.
    pub fn deadline(&self) -> Option<Instant> {
        let next = self.names.values().filter_map(|lookup| match lookup.next {
            Next::LookUp(at) => Some(at),
            Next::Answer => None,
        });
        next.min()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn names(names: &[&str]) -> BTreeSet<Arc<str>> {
        names.iter().map(|name| Arc::from(*name)).collect()
    }

    fn due(lookups: &mut Lookups, now: Instant) -> Vec<String> {
        lookups.due(now).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn lookups_are_repeated_with_growing_pauses() {
        let mut now = Instant::now();
        let mut lookups = Lookups::default();
        lookups.replace(&names(&["a.example"]), now);
        let mut pause = NAME_LOOKUP_RETRY_MIN;
        for _ in 0..20 {
            assert_eq!(due(&mut lookups, now), ["a.example"]);
            assert_eq!((due(&mut lookups, now).len(), lookups.deadline()), (0, None), "it waits for its answer");
            lookups.answered("a.example", now);
            assert_eq!(lookups.deadline(), Some(now + pause));
            now += pause;
            pause = (pause * 2).min(NAME_LOOKUP_RETRY_MAX);
        }
        assert_eq!(pause, NAME_LOOKUP_RETRY_MAX);
    }

    #[test]
    fn name_that_resolved_is_forgotten() {
        let now = Instant::now();
        let mut lookups = Lookups::default();
        lookups.replace(&names(&["a.example", "b.example"]), now);
        lookups.due(now);
        lookups.replace(&names(&["b.example", "c.example"]), now);
        lookups.answered("a.example", now);
        assert_eq!(due(&mut lookups, now), ["c.example"], "b.example waits for its answer still");
        lookups.answered("b.example", now);
        assert_eq!(due(&mut lookups, now + Duration::from_secs(3_600)), ["b.example"]);
    }
}
