//! Strategies that apply changes of a service's hosts to the running HAProxy.

use serde::{Deserialize, Serialize};

/// The strategy chosen by a service's definition or the settings.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum UpdateChoice {
    /// The best strategy for the running HAProxy.
    #[default]
    Auto,
    /// [`UpdateStrategy::Dynamic`], where HAProxy supports it.
    Dynamic,
    /// [`UpdateStrategy::Slots`].
    Slots,
    /// [`UpdateStrategy::Toggle`].
    Toggle,
    /// [`UpdateStrategy::Reload`].
    Reload,
}

impl UpdateChoice {
    /// The names of all choices.
    pub const NAMES: [&'static str; 5] = ["auto", "dynamic", "slots", "toggle", "reload"];

    /// Reads one of [`Self::NAMES`].
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "auto" => Some(Self::Auto),
            "dynamic" => Some(Self::Dynamic),
            "slots" => Some(Self::Slots),
            "toggle" => Some(Self::Toggle),
            "reload" => Some(Self::Reload),
            _ => None,
        }
    }
}

/// The strategy in use.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum UpdateStrategy {
    /// Servers are added and deleted at run time.
    #[default]
    Dynamic,
    /// Spare servers get their addresses at run time.
    Slots,
    /// Servers are enabled and disabled at run time; new ones need a reload.
    Toggle,
    /// Servers are added, removed and moved by reloads.
    Reload,
}

impl UpdateStrategy {
    /// Returns the strategy as used in all outputs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Dynamic => "dynamic",
            Self::Slots => "slots",
            Self::Toggle => "toggle",
            Self::Reload => "reload",
        }
    }
}

/// The number of slots of a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlotRules {
    /// The minimum number of slots, including those in use.
    pub base: usize,
    /// The number of slots to add when they run short.
    pub grow_by: usize,
    /// The minimum number of free slots; with fewer, slots are added.
    pub min_free: usize,
}

impl SlotRules {
    /// Creates rules with `base` slots, and as many more when fewer than a tenth of them are free.
    pub fn of(base: usize) -> Self {
        Self { base, grow_by: base, min_free: base.div_ceil(10) }
    }

    /// Returns the number of slots that counts against quotas and grants: those that a service has in any case, or adds at
    /// once. It never has more than its hosts and twice this number.
    pub fn counted(self) -> usize {
        self.base.max(self.min_free).max(self.grow_by)
    }
}

/// The keys of a service's definition about updates.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceUpdate {
    /// The strategy; `None` for that of the settings.
    pub choice: Option<UpdateChoice>,
    /// Its slots; `None` where it has none.
    pub slots: Option<SlotRules>,
}
