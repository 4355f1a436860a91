//! Reasons for reloads: a text for people, and one of a few causes for counters.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The causes of a reload, few enough for a counter of each.
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
    /// A certificate changed that could not be loaded at run time.
    Certificate,
    /// An operator asked for it.
    Operator,
}

impl ReloadCause {
    /// All causes.
    pub const ALL: [Self; 13] = [
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
        Self::Certificate,
        Self::Operator,
    ];

    /// Returns the cause as used in all outputs.
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
            Self::Certificate => "certificate",
            Self::Operator => "operator",
        }
    }

    /// Creates a reason with this cause and text.
    pub fn because(self, text: impl Into<String>) -> ReloadReason {
        ReloadReason { cause: self, text: text.into() }
    }
}

/// One reason for a reload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReloadReason {
    /// The cause.
    pub cause: ReloadCause,
    /// The text.
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
