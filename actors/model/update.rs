//! How changes of a service's hosts reach the running HAProxy.

use serde::{Deserialize, Serialize};

/// What is asked for, by a service's definition or the settings.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum UpdateChoice {
    /// What the running HAProxy does best.
    #[default]
    Auto,
    /// [`UpdateStrategy::Dynamic`], where HAProxy has it.
    Dynamic,
    /// [`UpdateStrategy::Slots`].
    Slots,
    /// [`UpdateStrategy::Toggle`].
    Toggle,
    /// [`UpdateStrategy::Reload`].
    Reload,
}

impl UpdateChoice {
    /// Every choice there is, as it is written.
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

/// What is done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum UpdateStrategy {
    /// Servers are added and deleted at run time.
    #[default]
    Dynamic,
    /// Servers are held in reserve, and given addresses at run time.
    Slots,
    /// Servers are enabled and disabled at run time; new ones come with a reload.
    Toggle,
    /// Servers come, go and move with reloads.
    Reload,
}

impl UpdateStrategy {
    /// The strategy as it is written everywhere.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Dynamic => "dynamic",
            Self::Slots => "slots",
            Self::Toggle => "toggle",
            Self::Reload => "reload",
        }
    }
}

/// How many servers a service has in reserve.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlotRules {
    /// Slots at the least, those in use included.
    pub base: usize,
    /// So many more at once when they run short.
    pub grow_by: usize,
    /// They run short when fewer than this are free.
    pub min_free: usize,
}

impl SlotRules {
    /// So many slots, as many again when fewer than a tenth of them are free.
    pub fn of(base: usize) -> Self {
        Self { base, grow_by: base, min_free: base.div_ceil(10) }
    }
}

/// What a service's definition says about its updates.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceUpdate {
    /// The strategy; none where the settings decide.
    pub choice: Option<UpdateChoice>,
    /// Its slots; none where it has none.
    pub slots: Option<SlotRules>,
}
