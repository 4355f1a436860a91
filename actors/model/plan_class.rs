//! The classes of decisions.

use serde::{Deserialize, Serialize};

/// The classes of decisions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PlanClass {
    /// An existing server is made ready or changed, or a server is added at run time.
    RuntimeEnable,
    /// A server is taken out of service at run time.
    RuntimeDisable,
    /// The Runtime API of this HAProxy cannot express it.
    Reload,
}

impl PlanClass {
    /// All classes.
    pub const ALL: [Self; 3] = [Self::RuntimeEnable, Self::RuntimeDisable, Self::Reload];

    /// Returns the class as used in all outputs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::RuntimeEnable => "runtime-enable",
            Self::RuntimeDisable => "runtime-disable",
            Self::Reload => "reload",
        }
    }
}
