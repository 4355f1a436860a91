//! The size of batches of runtime commands: a change that comes meanwhile waits for the whole batch.

use std::time::Duration;

use crate::limits::{
    RUNTIME_BATCH_COMMANDS_FIRST, RUNTIME_BATCH_COMMANDS_MAX, RUNTIME_BATCH_COMMANDS_MIN, RUNTIME_BATCH_TIME,
};

/// How many commands HAProxy executes within the time that one batch may take.
#[derive(Debug)]
pub struct BatchPace {
    commands: usize,
}

impl Default for BatchPace {
    fn default() -> Self {
        Self { commands: RUNTIME_BATCH_COMMANDS_FIRST }
    }
}

impl BatchPace {
    /// Returns the most commands of the next batch.
    pub fn commands(&self) -> usize {
        self.commands
    }

    /// Records how long HAProxy took for a batch. Its size shrinks at once, and grows while full batches are fast.
    pub fn answered(&mut self, commands: usize, took: Duration) {
        if took > RUNTIME_BATCH_TIME {
            let share = RUNTIME_BATCH_TIME.as_secs_f64() / took.as_secs_f64();
            #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
            let fitting = (commands as f64 * share) as usize;
            self.commands = fitting.max(RUNTIME_BATCH_COMMANDS_MIN);
        } else if took < RUNTIME_BATCH_TIME / 2 && commands >= self.commands / 2 {
            self.commands = (self.commands * 2).min(RUNTIME_BATCH_COMMANDS_MAX);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slow_batch_makes_the_next_one_fit() {
        let mut pace = BatchPace::default();
        pace.answered(200, 2 * RUNTIME_BATCH_TIME);
        assert_eq!(pace.commands(), 100);
        pace.answered(100, 100 * RUNTIME_BATCH_TIME);
        assert_eq!(pace.commands(), RUNTIME_BATCH_COMMANDS_MIN);
    }

    #[test]
    fn fast_full_batches_grow() {
        let mut pace = BatchPace::default();
        pace.answered(1, Duration::from_micros(300));
        assert_eq!(pace.commands(), RUNTIME_BATCH_COMMANDS_FIRST, "one command shows nothing");
        pace.answered(200, RUNTIME_BATCH_TIME);
        assert_eq!(pace.commands(), RUNTIME_BATCH_COMMANDS_FIRST, "it is as large as it may be");
        pace.answered(200, RUNTIME_BATCH_TIME / 3);
        assert_eq!(pace.commands(), 2 * RUNTIME_BATCH_COMMANDS_FIRST);
        for _ in 0..9 {
            pace.answered(RUNTIME_BATCH_COMMANDS_MAX, Duration::from_millis(1));
        }
        assert_eq!(pace.commands(), RUNTIME_BATCH_COMMANDS_MAX);
    }
}
