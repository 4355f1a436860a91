//! Why HAProxy is reloaded: in words for people, and as one of a few causes for counting.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The kinds of causes of a reload. Few, so that each can be counted on its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReloadCause {
    /// The daemon starts.
    Start,
    /// The process that served has ended.
    Exit,
    /// The settings of HAProxy changed.
    Settings,
    /// A service is new.
    ServiceNew,
    /// A service was removed.
    ServiceRemoved,
    /// A service's own section changed: its port, its options.
    ServiceChanged,
    /// A server changed in a way that the Runtime API cannot express.
    Server,
    /// A service has too few slots left.
    Slots,
    /// HAProxy refused a change at run time, or accepted it without effect.
    Refused,
    /// The Runtime API does not answer.
    RuntimeApi,
    /// Another process answers on the Runtime API.
    Stranger,
    /// An operator asked for it.
    Operator,
}

impl ReloadCause {
    /// Every cause there is.
    pub const ALL: [Self; 12] = [
        Self::Start,
        Self::Exit,
        Self::Settings,
        Self::ServiceNew,
        Self::ServiceRemoved,
        Self::ServiceChanged,
        Self::Server,
        Self::Slots,
        Self::Refused,
        Self::RuntimeApi,
        Self::Stranger,
        Self::Operator,
    ];

    /// The cause as it is written everywhere.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Exit => "exit",
            Self::Settings => "settings",
            Self::ServiceNew => "service_new",
            Self::ServiceRemoved => "service_removed",
            Self::ServiceChanged => "service_changed",
            Self::Server => "server",
            Self::Slots => "slots",
            Self::Refused => "refused",
            Self::RuntimeApi => "runtime_api",
            Self::Stranger => "stranger",
            Self::Operator => "operator",
        }
    }

    /// The reason of this cause, in these words.
    pub fn because(self, text: impl Into<String>) -> ReloadReason {
        ReloadReason { cause: self, text: text.into() }
    }
}

/// One reason for a reload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReloadReason {
    /// What kind of cause it is.
    pub cause: ReloadCause,
    /// The reason in words.
    pub text: String,
}

impl fmt::Display for ReloadReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_is_written_the_same_way_everywhere() {
        for cause in ReloadCause::ALL {
            assert_eq!(serde_json::to_value(cause).unwrap(), cause.as_str());
        }
    }
}
