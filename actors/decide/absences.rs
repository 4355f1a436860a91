//! Definitions that the newest list of their source lacks. A removal takes effect only after a grace period: a definition
//! that is written again within it was only updated.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::limits::{DEFINITION_GRACE, DERIVED_DEFINITION_GRACE};
use crate::model::Moment;

/// The known definitions that the newest list lacks.
#[derive(Debug)]
pub struct Absences {
    grace: Duration,
    /// Since when each definition is missing.
    since: BTreeMap<Arc<str>, Moment>,
}

impl Absences {
    /// Creates the record for a source whose definitions are derived from instances, or are not.
    pub fn of_source(are_derived: bool) -> Self {
        let grace = if are_derived { DERIVED_DEFINITION_GRACE } else { DEFINITION_GRACE };
        Self { grace, since: BTreeMap::new() }
    }

    /// Returns the length of the grace period.
    pub fn grace(&self) -> Duration {
        self.grace
    }

    /// Records a new list, by the names of the known definitions that it lacks. Returns those that were not missing
    /// before.
    pub fn update<'a>(&mut self, missing: impl Iterator<Item = &'a Arc<str>>, now: Moment) -> Vec<Arc<str>> {
        let before = std::mem::take(&mut self.since);
        self.since = missing.map(|name| (name.clone(), before.get(name).copied().unwrap_or(now))).collect();
        self.since.keys().filter(|name| !before.contains_key(*name)).cloned().collect()
    }

    /// Forgets every absence: the removals took effect.
    pub fn clear(&mut self) {
        self.since.clear();
    }

    /// Returns whether the grace period of a missing definition is over.
    pub fn is_over(&self, name: &str, now: Moment) -> bool {
        self.since.get(name).is_some_and(|since| now.since(*since) >= self.grace)
    }

    /// Returns the time until the next grace period ends; `None` where none is running.
    pub fn until_next_end(&self, now: Moment) -> Option<Duration> {
        let left = self.since.values().map(|since| self.grace.saturating_sub(now.since(*since)));
        left.filter(|left| *left > Duration::ZERO).min()
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    #[test]
    fn grace_counts_from_the_first_list_without_the_definition() {
        let start = Instant::now().into_std();
        let at = |ms: u64| Moment { instant: start + Duration::from_millis(ms), unix_ms: ms };
        let (web, api): (Arc<str>, Arc<str>) = ("web".into(), "api".into());
        let mut absences = Absences::of_source(false);
        assert_eq!(absences.update([&web].into_iter(), at(0)), std::slice::from_ref(&web));
        assert_eq!(absences.update([&web, &api].into_iter(), at(400)), std::slice::from_ref(&api));
        assert_eq!(absences.until_next_end(at(400)), Some(Duration::from_millis(600)));
        assert!(!absences.is_over("web", at(999)) && absences.is_over("web", at(1_000)));
        assert_eq!(absences.until_next_end(at(1_000)), Some(Duration::from_millis(400)), "the other one");
        assert!(absences.update([&api].into_iter(), at(1_100)).is_empty());
        assert_eq!(absences.update([&web, &api].into_iter(), at(1_200)), [web]);
        assert!(!absences.is_over("web", at(1_500)) && absences.is_over("api", at(1_500)));
    }
}
