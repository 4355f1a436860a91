//! Files that are written after changes, each on its own schedule: haproxy.cfg, HAProxy's state file, the saved state.
//! None of them delays a runtime change.

use std::time::{Duration, Instant};

use super::certificate_sync::CertificateSync;
use super::problem::Problem;
use crate::limits::{CONFIG_WRITE_PACE, CONFIG_WRITE_RETRY, STATE_SAVE_INTERVAL};
use crate::model::Moment;

/// The sync state of each file.
#[derive(Debug, Default)]
pub struct Files {
    /// haproxy.cfg and the map.
    pub config: ConfigFileSync,
    /// HAProxy's state file.
    pub states: StateFileSync,
    /// The saved state of the daemon.
    pub saved: SavedStateSync,
    /// The certificates, which are written before they are known here.
    pub certificates: CertificateSync,
    /// Whether the files are being read for comparison.
    pub comparing: bool,
}

/// Returns the pause after a write of this duration. It is bounded, so that one slow write does not delay the next for
/// long.
fn pause_after(took: Duration) -> Duration {
    (took * CONFIG_WRITE_PACE).min(CONFIG_WRITE_RETRY)
}

/// The sync state of haproxy.cfg with the running process.
#[derive(Debug, Default)]
pub struct ConfigFileSync {
    behind: bool,
    ahead: bool,
    writing: bool,
    next_at: Option<Instant>,
    /// Why the last write failed.
    pub problem: Problem,
}

impl ConfigFileSync {
    /// Records that the text changed since it was last written.
    pub fn changed(&mut self) {
        self.behind = true;
    }

    /// Records that the file was replaced for a process that does not serve.
    pub fn overtaken(&mut self) {
        self.behind = true;
        self.ahead = true;
    }

    /// Records that a deployment just replaced the whole file.
    pub fn replaced(&mut self) {
        self.behind = false;
        self.ahead = false;
        self.problem.clear();
    }

    /// Returns whether the file contains a configuration that no process serves.
    pub fn is_ahead(&self) -> bool {
        self.ahead
    }

    /// Returns whether the file may differ from the configuration of the process.
    pub fn is_behind(&self) -> bool {
        self.behind || self.writing
    }

    /// Returns whether a write is under way.
    pub fn is_writing(&self) -> bool {
        self.writing
    }

    /// Returns whether a write is due. If so, it begins now.
    pub fn begin(&mut self, now: Instant) -> bool {
        let is_due = self.behind && !self.writing && self.next_at.is_none_or(|at| at <= now);
        if is_due {
            self.behind = false;
            self.writing = true;
        }
        is_due
    }

    /// Records the result of a write and its duration. Returns whether the outcome is to be logged: the first failure
    /// of its kind, or the first success after a failure.
    pub fn written(&mut self, result: Result<(), String>, took: Duration, now: Moment) -> bool {
        self.writing = false;
        let (pause, is_news) = match result {
            Ok(()) => {
                self.ahead = false;
                (pause_after(took), self.problem.clear())
            }
            Err(error) => {
                self.behind = true;
                (CONFIG_WRITE_RETRY, self.problem.set(error, now))
            }
        };
        self.next_at = Some(now.instant + pause);
        is_news
    }

    /// Returns when a write becomes due.
    pub fn deadline(&self) -> Option<Instant> {
        self.next_at.filter(|_| self.behind && !self.writing)
    }
}

/// The sync state of HAProxy's state file, from which a process that starts after a crash loads the health of its
/// servers.
#[derive(Debug, Default)]
pub struct StateFileSync {
    stage: StateFileStage,
    /// Why the last write failed.
    pub problem: Problem,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum StateFileStage {
    /// Up to date; the next health change makes a write due.
    #[default]
    Idle,
    /// A write is due at this moment.
    Due(Instant),
    /// A read from HAProxy or a write of the file is under way, since this moment.
    Working(Instant),
    /// No other write before this moment.
    Pausing(Instant),
}

impl StateFileSync {
    /// Records a change of some server's health. Returns whether a write for it is scheduled.
    pub fn health_changed(&mut self, now: Instant) -> bool {
        let is_free = match self.stage {
            StateFileStage::Idle => true,
            StateFileStage::Pausing(until) => until <= now,
            _ => false,
        };
        if is_free {
            self.stage = StateFileStage::Due(now + STATE_SAVE_INTERVAL);
        }
        is_free
    }

    /// Returns whether a read from HAProxy is due. If so, it begins now.
    pub fn begin(&mut self, now: Instant) -> bool {
        let is_due = matches!(self.stage, StateFileStage::Due(at) if at <= now);
        if is_due {
            self.stage = StateFileStage::Working(now);
        }
        is_due
    }

    /// Gives up this write: HAProxy did not answer, or another process serves by now.
    pub fn given_up(&mut self) {
        self.stage = StateFileStage::Idle;
    }

    /// Records the result of a write. Returns whether it is to be logged.
    pub fn written(&mut self, result: Result<(), String>, now: Moment) -> bool {
        let took = match self.stage {
            StateFileStage::Working(since) => now.instant.saturating_duration_since(since),
            _ => Duration::ZERO,
        };
        self.stage = StateFileStage::Pausing(now.instant + pause_after(took));
        match result {
            Ok(()) => self.problem.clear(),
            Err(error) => self.problem.set(error, now),
        }
    }

    /// Returns when the next step is due.
    pub fn deadline(&self, health_changed: bool) -> Option<Instant> {
        match self.stage {
            StateFileStage::Due(at) => Some(at),
            StateFileStage::Pausing(until) if health_changed => Some(until),
            _ => None,
        }
    }
}

/// The sync state of the saved state with the desired state.
#[derive(Debug, Default)]
pub struct SavedStateSync {
    behind: bool,
    saving: bool,
    due_at: Option<Instant>,
    /// Why the last save failed.
    pub problem: Problem,
}

impl SavedStateSync {
    /// Schedules a save after a change of the desired state.
    pub fn changed(&mut self, now: Instant) {
        self.behind = true;
        self.due_at.get_or_insert(now + STATE_SAVE_INTERVAL);
    }

    /// Schedules a save at once, after a change that a restart must not undo.
    pub fn changed_for_good(&mut self, now: Instant) {
        self.behind = true;
        self.due_at = Some(now);
    }

    /// Returns whether it is out of date.
    pub fn is_behind(&self) -> bool {
        self.behind
    }

    /// Returns whether a save is due. If so, it begins now.
    pub fn begin(&mut self, now: Instant) -> bool {
        let is_due = self.behind && !self.saving && self.due_at.is_some_and(|at| at <= now);
        if is_due {
            self.behind = false;
            self.saving = true;
            self.due_at = None;
        }
        is_due
    }

    /// Records the result of a save. Returns whether a failure is to be logged.
    pub fn saved(&mut self, result: Result<(), String>, now: Moment) -> bool {
        self.saving = false;
        let is_news = match result {
            Ok(()) => {
                self.problem.clear();
                false
            }
            Err(error) => {
                self.behind = true;
                self.problem.set(error, now)
            }
        };
        if self.behind {
            self.due_at.get_or_insert(now.instant + STATE_SAVE_INTERVAL);
        }
        is_news
    }

    /// Returns when a save becomes due.
    pub fn deadline(&self) -> Option<Instant> {
        self.due_at.filter(|_| self.behind && !self.saving)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;

    fn now() -> Moment {
        Clock::starting_at(7).now()
    }

    fn later(now: Moment, by: Duration) -> Moment {
        Moment { instant: now.instant + by, ..now }
    }

    #[test]
    fn config_file_follows_at_its_own_pace() {
        let (mut file, start) = (ConfigFileSync::default(), now());
        assert!(!file.begin(start.instant), "nothing changed");
        file.changed();
        assert!(file.begin(start.instant) && file.is_writing());
        file.changed();
        assert!(!file.begin(start.instant), "one write at a time");
        let took = Duration::from_millis(3);
        assert!(!file.written(Ok(()), took, start));
        assert_eq!(file.deadline(), Some(start.instant + took * CONFIG_WRITE_PACE));
        assert!(!file.begin(start.instant) && file.begin(start.instant + took * CONFIG_WRITE_PACE));
    }

    #[test]
    fn write_that_hung_does_not_delay_the_next_for_long() {
        let (mut file, start) = (ConfigFileSync::default(), now());
        file.changed();
        assert!(file.begin(start.instant));
        file.changed();
        file.written(Ok(()), Duration::from_secs(30), start);
        assert_eq!(file.deadline(), Some(start.instant + CONFIG_WRITE_RETRY));
    }

    #[test]
    fn failed_write_is_retried_and_reported_once() {
        let (mut file, start) = (ConfigFileSync::default(), now());
        file.changed();
        assert!(file.begin(start.instant));
        assert!(file.written(Err("disk full".to_owned()), Duration::ZERO, start));
        let retry = later(start, CONFIG_WRITE_RETRY);
        assert!(file.is_behind() && !file.begin(start.instant) && file.begin(retry.instant));
        assert!(!file.written(Err("disk full".to_owned()), Duration::ZERO, retry), "known already");
        assert!(file.begin(later(retry, CONFIG_WRITE_RETRY).instant));
        assert!(file.written(Ok(()), Duration::ZERO, retry) && file.problem.text().is_none());
    }

    #[test]
    fn replaced_file_is_neither_behind_nor_ahead() {
        let mut file = ConfigFileSync::default();
        file.overtaken();
        assert!(file.is_ahead() && file.is_behind());
        file.replaced();
        assert!(!file.is_ahead() && !file.is_behind());
    }

    #[test]
    fn state_file_follows_once_per_pause() {
        let (mut file, start) = (StateFileSync::default(), now());
        assert!(file.health_changed(start.instant) && !file.health_changed(start.instant));
        let due = later(start, STATE_SAVE_INTERVAL);
        assert!(!file.begin(start.instant) && file.begin(due.instant));
        let done = later(due, Duration::from_millis(2));
        assert!(!file.written(Ok(()), done));
        assert_eq!(file.deadline(true), Some(done.instant + Duration::from_millis(2) * CONFIG_WRITE_PACE));
        assert!(!file.health_changed(done.instant));
        assert!(file.health_changed(later(done, Duration::from_millis(2) * CONFIG_WRITE_PACE).instant));
    }

    #[test]
    fn state_is_saved_later_or_at_once() {
        let (mut saved, start) = (SavedStateSync::default(), now());
        saved.changed(start.instant);
        assert!(!saved.begin(start.instant));
        saved.changed_for_good(start.instant);
        assert!(saved.begin(start.instant));
        saved.changed_for_good(start.instant);
        assert!(!saved.begin(start.instant), "one save at a time");
        assert!(saved.saved(Err("full".to_owned()), start) && saved.is_behind());
        assert!(saved.begin(start.instant));
        assert!(!saved.saved(Ok(()), start) && !saved.is_behind() && saved.deadline().is_none());
    }

    #[test]
    fn state_file_has_a_deadline_while_a_write_is_due() {
        let (mut file, start) = (StateFileSync::default(), now());
        assert_eq!(file.deadline(true), None, "a health change is recorded with its own input");
        file.health_changed(start.instant);
        let due = start.instant + STATE_SAVE_INTERVAL;
        assert_eq!((file.deadline(true), file.deadline(false)), (Some(due), Some(due)));
        assert!(file.begin(due));
        assert_eq!((file.deadline(true), file.health_changed(due)), (None, false), "a write is under way");
        file.given_up();
        assert!(file.health_changed(due), "it is written for the next change");
    }

    #[test]
    fn state_file_pauses_only_for_another_change() {
        let (mut file, start) = (StateFileSync::default(), now());
        file.health_changed(start.instant);
        file.begin(start.instant + STATE_SAVE_INTERVAL);
        let done = later(start, STATE_SAVE_INTERVAL + Duration::from_millis(1));
        assert!(file.written(Err("disk full".to_owned()), done));
        assert_eq!(file.deadline(false), None);
        assert!(file.deadline(true).is_some() && file.problem.text().is_some());
    }

    #[test]
    fn config_file_that_is_behind_has_a_deadline() {
        let (mut file, start) = (ConfigFileSync::default(), now());
        file.changed();
        assert!(file.is_behind() && file.begin(start.instant));
        assert!(file.is_writing() && file.is_behind(), "it is being written");
        file.overtaken();
        file.written(Ok(()), Duration::from_millis(3), start);
        assert!(!file.is_ahead() && file.is_behind());
        assert_eq!(file.deadline(), Some(start.instant + Duration::from_millis(3) * CONFIG_WRITE_PACE));
        assert!(file.begin(later(start, CONFIG_WRITE_RETRY).instant) && file.deadline().is_none());
    }

    #[test]
    fn failed_save_is_repeated_after_the_interval() {
        let (mut saved, start) = (SavedStateSync::default(), now());
        saved.changed(start.instant);
        assert_eq!(saved.deadline(), Some(start.instant + STATE_SAVE_INTERVAL));
        let due = later(start, STATE_SAVE_INTERVAL);
        assert!(saved.begin(due.instant) && saved.deadline().is_none() && !saved.is_behind());
        assert!(saved.saved(Err("disk full".to_owned()), due));
        assert_eq!(saved.deadline(), Some(due.instant + STATE_SAVE_INTERVAL));
        saved.begin(later(due, STATE_SAVE_INTERVAL).instant);
        assert!(!saved.saved(Err("disk full".to_owned()), due), "it is known");
    }
}
