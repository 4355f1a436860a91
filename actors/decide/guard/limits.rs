//! The limits of a guard, and the check of a list against them.

use std::fmt;
use std::time::Duration;

use crate::model::{MaxRemoval, Removal};

/// What the entries of a guarded list are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject {
    /// The hosts of one service.
    Hosts,
    /// All services.
    Services,
}

impl Subject {
    fn plural(self) -> &'static str {
        match self {
            Self::Hosts => "serving hosts",
            Self::Services => "services",
        }
    }

    fn share_key(self) -> &'static str {
        match self {
            Self::Hosts => "max_removal",
            Self::Services => "guards.max_services_removal",
        }
    }
}

/// The limits for the removal of entries.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GuardLimits {
    /// What the entries are.
    pub subject: Subject,
    /// The minimum number of entries after a removal.
    pub min_entries: usize,
    /// The largest share of the baseline that may be lost.
    pub max_removal: MaxRemoval,
    /// The number of entries that may always be removed, regardless of the share, unless they are the last ones.
    pub always_removable: usize,
    /// The length of the window for the baseline.
    pub window: Duration,
}

impl From<&Removal> for GuardLimits {
    fn from(removal: &Removal) -> Self {
        Self {
            subject: Subject::Hosts,
            min_entries: removal.min_hosts,
            max_removal: removal.max_removal,
            always_removable: 0,
            window: removal.window,
        }
    }
}

impl GuardLimits {
    /// Returns the limits of the definitions, of which one may always be removed, except the last.
    pub fn of_services(max_removal: f64, window: Duration) -> Self {
        let max_removal = MaxRemoval::Share(max_removal);
        Self { subject: Subject::Services, min_entries: 0, max_removal, always_removable: 1, window }
    }

    /// Returns whether the baseline can block a list at all.
    pub(super) fn needs_baseline(&self) -> bool {
        self.max_removal != MaxRemoval::Share(1.0)
    }

    /// Checks a list that would leave `remaining` of the `in_service` serving entries. A list that does not shrink
    /// always passes.
    pub(super) fn check(&self, remaining: usize, in_service: usize, baseline: usize) -> Result<(), BlockReason> {
        if remaining >= in_service {
            return Ok(());
        }
        if remaining < self.min_entries {
            return Err(BlockReason::BelowMinimum { remaining, in_service, minimum: self.min_entries });
        }
        let required = self.required(baseline);
        if remaining < required {
            let Self { subject, max_removal, window, .. } = *self;
            return Err(BlockReason::TooManyRemoved { subject, remaining, baseline, required, max_removal, window });
        }
        Ok(())
    }

    /// Returns the minimum number of entries that must remain of this baseline.
    fn required(&self, baseline: usize) -> usize {
        /// A share such as 0.29 of 100 is 28.999... in binary.
        const ROUNDING: f64 = 1e-9;
        let share = self.max_removal.share_of(baseline);
        // Counts of entries are far below 2^52 and shares between 0 and 1, so that the conversions are exact.
        #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let removable = (share * baseline as f64 + ROUNDING).floor() as usize;
        // One of several is a normal change; the last ones are everything.
        let always_removable = self.always_removable.min(baseline.saturating_sub(1));
        baseline.saturating_sub(removable.max(always_removable))
    }
}

/// The limit that a blocked list breaks.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum BlockReason {
    /// `min_hosts`.
    BelowMinimum {
        /// The serving hosts that would remain.
        remaining: usize,
        /// The serving hosts now.
        in_service: usize,
        /// The limit.
        minimum: usize,
    },
    /// `max_removal`, or that of the services.
    TooManyRemoved {
        /// What the entries are.
        subject: Subject,
        /// The serving entries that would remain.
        remaining: usize,
        /// The most serving entries within the window.
        baseline: usize,
        /// The fewest of them that must remain.
        required: usize,
        /// The limit.
        max_removal: MaxRemoval,
        /// The length of the window for the baseline.
        window: Duration,
    },
}

impl fmt::Display for BlockReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BelowMinimum { remaining, in_service, minimum } => {
                write!(f, "{remaining} of {in_service} serving hosts would remain and min_hosts is {minimum}")
            }
            Self::TooManyRemoved { subject, remaining, baseline, required, max_removal, window } => {
                let (subject, key) = (subject.plural(), subject.share_key());
                let (share, origin) = match max_removal {
                    MaxRemoval::Share(share) => (*share, ""),
                    MaxRemoval::BySize => (max_removal.share_of(*baseline), " by default"),
                };
                write!(
                    f,
                    "{remaining} of {baseline} {subject} would remain, at least {required} must: {key} is \
                     {share}{origin} within {window:?}"
                )
            }
        }
    }
}
