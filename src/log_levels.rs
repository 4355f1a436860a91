//! The levels of the log: those of the settings, and others for a limited time, of a component or of everything about one
//! service.

use std::collections::BTreeMap;
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use slog::Level;

use crate::settings::LogSettings;

/// The most levels for a limited time at once.
pub const TIMED_LEVELS_MAX: usize = 32;

/// The levels, shared by the log and the status listener.
#[derive(Debug, Default)]
pub struct LogLevels(RwLock<Levels>);

/// The levels at one time.
#[derive(Debug)]
pub struct Levels {
    settings: LogSettings,
    timed: Vec<TimedLevel>,
    loudest: Level,
    /// Is called with the most verbose level when it may have changed.
    changed: Option<fn(Level)>,
}

/// A level that ends by itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimedLevel {
    /// The records that have it.
    #[serde(flatten)]
    pub scope: LogScope,
    /// The level.
    pub level: LevelName,
    /// When it ends, in milliseconds since 1970.
    pub until_unix_ms: u64,
}

/// Which records a level applies to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogScope {
    /// Those of a component; a dependency has the name of its crate.
    Component(String),
    /// Those about a service, of all components.
    Service(String),
}

/// A level, as the settings name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)]
pub enum LevelName {
    Critical,
    Error,
    Warning,
    Info,
    Debug,
    Trace,
}

/// The levels as the API shows them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LevelsInUse {
    /// The level of the settings.
    pub level: LevelName,
    /// Those of single components.
    pub levels: BTreeMap<String, LevelName>,
    /// Those for a limited time.
    pub timed: Vec<TimedLevel>,
}

impl LogLevels {
    /// The levels of these settings.
    pub fn of(settings: &LogSettings) -> Self {
        let levels = Self::default();
        levels.set_settings(settings);
        levels
    }

    /// The current levels.
    pub fn read(&self) -> RwLockReadGuard<'_, Levels> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Replaces the levels of the settings. Those for a limited time stay.
    pub fn set_settings(&self, settings: &LogSettings) {
        let mut levels = self.write();
        levels.settings = settings.clone();
        levels.update();
    }

    /// Sets a level for a limited time, in place of an earlier one of the same records.
    ///
    /// # Errors
    /// There are too many.
    pub fn set_for_a_time(&self, level: TimedLevel, now_unix_ms: u64) -> Result<(), String> {
        let mut levels = self.write();
        levels.timed.retain(|known| known.until_unix_ms > now_unix_ms && known.scope != level.scope);
        if levels.timed.len() == TIMED_LEVELS_MAX {
            return Err(format!("at most {TIMED_LEVELS_MAX} levels can be set for a time; end some first"));
        }
        levels.timed.push(level);
        levels.update();
        Ok(())
    }

    /// Ends all levels that were set for a limited time.
    pub fn end_timed(&self) {
        let mut levels = self.write();
        levels.timed.clear();
        levels.update();
    }

    /// Calls this function with the most verbose level, now and whenever it may have changed.
    pub fn follow(&self, changed: fn(Level)) {
        let mut levels = self.write();
        levels.changed = Some(changed);
        levels.update();
    }

    /// The levels as the API shows them.
    pub fn in_use(&self, now_unix_ms: u64) -> LevelsInUse {
        let levels = self.read();
        let LogSettings { level, levels: components, .. } = &levels.settings;
        LevelsInUse {
            level: LevelName::of(*level),
            levels: components.iter().map(|(name, level)| (name.clone(), LevelName::of(*level))).collect(),
            timed: levels.timed.iter().filter(|timed| timed.until_unix_ms > now_unix_ms).cloned().collect(),
        }
    }

    fn write(&self) -> RwLockWriteGuard<'_, Levels> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Levels {
    fn default() -> Self {
        let settings = LogSettings::default();
        Self { loudest: settings.level, settings, timed: Vec::new(), changed: None }
    }
}

impl Levels {
    /// The level of records whose component has none of its own.
    pub fn general(&self) -> Level {
        self.settings.level
    }

    /// The most verbose of all levels.
    pub fn loudest(&self) -> Level {
        self.loudest
    }

    /// The level of a component, if it has one of its own.
    pub fn of_component(&self, name: &str) -> Option<Level> {
        let timed = self.of_scope(|scope| matches!(scope, LogScope::Component(component) if component == name));
        timed.or_else(|| self.settings.levels.get(name).copied())
    }

    /// The level of records about a service, if one is set; `name` is only called if any service has one.
    pub fn of_service(&self, name: impl FnOnce() -> Option<String>) -> Option<Level> {
        let is_set = self.timed.iter().any(|timed| matches!(timed.scope, LogScope::Service(_)));
        let name = is_set.then(name)??;
        self.of_scope(|scope| matches!(scope, LogScope::Service(service) if *service == name))
    }

    fn of_scope(&self, is_wanted: impl Fn(&LogScope) -> bool) -> Option<Level> {
        let timed = self.timed.iter().find(|timed| is_wanted(&timed.scope))?;
        (timed.until_unix_ms > unix_ms()).then(|| timed.level.level())
    }

    /// Computes the most verbose level.
    fn update(&mut self) {
        let timed = self.timed.iter().map(|timed| timed.level.level());
        let all = self.settings.levels.values().copied().chain(timed).chain([self.settings.level]);
        self.loudest = all.max_by_key(|level| level.as_usize()).unwrap_or(self.settings.level);
        if let Some(changed) = self.changed {
            changed(self.loudest);
        }
    }
}

impl LevelName {
    /// The level.
    pub fn level(self) -> Level {
        match self {
            Self::Critical => Level::Critical,
            Self::Error => Level::Error,
            Self::Warning => Level::Warning,
            Self::Info => Level::Info,
            Self::Debug => Level::Debug,
            Self::Trace => Level::Trace,
        }
    }

    fn of(level: Level) -> Self {
        match level {
            Level::Critical => Self::Critical,
            Level::Error => Self::Error,
            Level::Warning => Self::Warning,
            Level::Info => Self::Info,
            Level::Debug => Self::Debug,
            Level::Trace => Self::Trace,
        }
    }
}

fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn level_ends_by_itself_and_by_order() {
        let levels = LogLevels::default();
        let set = |name: &str, until_unix_ms| {
            let scope = LogScope::Component(name.to_owned());
            levels.set_for_a_time(TimedLevel { scope, level: LevelName::Debug, until_unix_ms }, 0).unwrap();
        };
        set("watcher", u64::MAX);
        set("haproxy", 1);
        assert_eq!(levels.read().of_component("watcher"), Some(Level::Debug));
        assert_eq!(levels.read().of_component("haproxy"), None, "it has ended");
        assert_eq!(levels.in_use(1).timed.len(), 1);
        assert_eq!(levels.read().loudest(), Level::Debug);
        levels.set_settings(&LogSettings { level: Level::Warning, ..LogSettings::default() });
        assert_eq!(levels.read().of_component("watcher"), Some(Level::Debug), "SIGHUP does not end it");
        levels.end_timed();
        assert_eq!((levels.read().of_component("watcher"), levels.read().loudest()), (None, Level::Warning));
    }

    #[test]
    fn number_of_timed_levels_is_limited() {
        let levels = LogLevels::default();
        let set = |name: usize, until_unix_ms| {
            let scope = LogScope::Service(name.to_string());
            levels.set_for_a_time(TimedLevel { scope, level: LevelName::Debug, until_unix_ms }, 5)
        };
        (0..TIMED_LEVELS_MAX).for_each(|n| set(n, 9).unwrap());
        assert!(set(0, 9).is_ok(), "it replaces the earlier one");
        assert!(set(TIMED_LEVELS_MAX, 9).is_err());
    }
}
