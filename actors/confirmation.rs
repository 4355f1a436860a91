//! The periodic confirmation of what a source has reported, in case its watch lost a change.

use std::hash::{DefaultHasher, Hash, Hasher};

use tokio::time::Duration;

/// When a source is confirmed.
#[derive(Debug)]
pub struct Confirmation {
    interval: Duration,
    /// Whether the source has not answered the last one.
    is_unanswered: bool,
}

impl Confirmation {
    /// Creates the schedule for a source that is confirmed once per interval.
    pub fn every(interval: Duration) -> Self {
        Self { interval, is_unanswered: false }
    }

    /// Returns the pause before the first confirmation: between half and the whole interval, by the name of the source,
    /// so that not all sources are read at the same time.
    pub fn first_pause(&self, name: &str) -> Duration {
        const STEPS: u32 = 1 << 16;
        let mut hasher = DefaultHasher::new();
        name.hash(&mut hasher);
        let step = (hasher.finish() % u64::from(STEPS)) as u32;
        self.interval / 2 + self.interval / 2 / STEPS * step
    }

    /// Returns the pause between two confirmations.
    pub fn pause(&self) -> Duration {
        self.interval
    }

    /// Records a request. Returns whether the previous one was never answered.
    pub fn requested(&mut self) -> bool {
        std::mem::replace(&mut self.is_unanswered, true)
    }

    /// Records that the source reported something.
    pub fn answered(&mut self) {
        self.is_unanswered = false;
    }

    /// Returns the error of a source that did not answer.
    pub fn error(&self) -> String {
        format!("the source did not answer within {:?}", self.interval)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_confirmations_are_spread_over_half_the_interval() {
        let confirmation = Confirmation::every(Duration::from_secs(300));
        let pauses: Vec<Duration> = (0..1_000).map(|n| confirmation.first_pause(&format!("service-{n}"))).collect();
        let within = |from, to| pauses.iter().filter(|p| (from..to).contains(&p.as_secs())).count();
        assert_eq!(within(150, 300), 1_000);
        assert!((60..140).contains(&within(180, 195)), "a tenth of them: {}", within(180, 195));
    }

    #[test]
    fn source_that_answers_nothing_is_noticed_at_the_next_confirmation() {
        let mut confirmation = Confirmation::every(Duration::from_secs(300));
        assert!(!confirmation.requested());
        confirmation.answered();
        assert!(!confirmation.requested());
        assert!(confirmation.requested());
    }
}
