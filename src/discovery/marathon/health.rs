//! The health of tasks.
//!
//! The leader keeps the results of health checks in memory: after a change of leaders every task is unknown until the
//! new leader has checked it. Until then the last known health counts. A task that was unknown when proxymgr started
//! may be healthy: it is reported as an invalid entry, which keeps a host that was in service. A task that appears
//! later without a result has just started.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::app::{App, Task};

/// The health of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Health {
    /// It passes all checks, or has none.
    Passing,
    /// It fails a check, has just started, or is not running.
    Failing,
    /// It is being stopped, and passed its checks before: it may drain.
    Stopping,
    /// There is no result yet.
    Unknown,
}

/// The last known health of every task.
#[derive(Debug, Default)]
pub(super) struct HealthMemory {
    passing: BTreeMap<Arc<str>, bool>,
    /// The tasks that have been unknown since proxymgr started.
    unknown_at_first: Option<BTreeSet<Arc<str>>>,
}

impl HealthMemory {
    /// Updates the memory with a complete response; returns the health of each task.
    pub(super) fn judge(&mut self, apps: &[App]) -> BTreeMap<Arc<str>, Health> {
        let is_first = self.unknown_at_first.is_none();
        let before = std::mem::take(&mut self.passing);
        let unknown_before = self.unknown_at_first.take().unwrap_or_default();
        let mut unknown = BTreeSet::new();
        let mut healths = BTreeMap::new();
        for (app, task) in apps.iter().flat_map(|app| app.tasks.iter().map(move |task| (app, task))) {
            let id: Arc<str> = task.id.as_str().into();
            let passing = is_passing(app, task).or_else(|| before.get(&id).copied());
            let health = match (task.state.as_deref(), passing) {
                (None | Some("TASK_RUNNING"), Some(true)) => Health::Passing,
                (None | Some("TASK_RUNNING"), None) if is_first || unknown_before.contains(&id) => {
                    unknown.insert(id.clone());
                    Health::Unknown
                }
                (Some("TASK_KILLING"), Some(true)) => Health::Stopping,
                _ => Health::Failing,
            };
            self.passing.extend(passing.map(|passing| (id.clone(), passing)));
            healths.insert(id, health);
        }
        self.unknown_at_first = Some(unknown);
        healths
    }
}

/// Whether a task passes its checks; none if a result is missing and no check failed.
fn is_passing(app: &App, task: &Task) -> Option<bool> {
    let checks = app.health_checks.as_ref().map_or(0, Vec::len);
    let results = task.health_check_results.iter().flatten().flatten();
    let results = Vec::from_iter(results.map(|result| result.alive));
    if results.contains(&false) {
        return Some(false);
    }
    (results.len() >= checks).then_some(true)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn task(id: &str, results: Value) -> Value {
        json!({"id": id, "state": "TASK_RUNNING", "healthCheckResults": results})
    }

    fn judge(memory: &mut HealthMemory, tasks: &[Value]) -> Vec<Health> {
        let app = json!({"id": "/web", "healthChecks": [{"protocol": "HTTP"}], "tasks": tasks});
        let healths = memory.judge(&[serde_json::from_value(app).unwrap()]);
        tasks.iter().map(|task| healths[task["id"].as_str().unwrap()]).collect()
    }

    fn alive(alive: bool) -> Value {
        json!([{"alive": alive}])
    }

    #[test]
    fn last_known_health_survives_a_change_of_leaders() {
        let mut memory = HealthMemory::default();
        let known = [task("a", alive(true)), task("b", alive(false))];
        assert_eq!(judge(&mut memory, &known), [Health::Passing, Health::Failing]);
        for nothing in [json!(null), json!([]), json!([null])] {
            let unknown = [task("a", nothing.clone()), task("b", nothing)];
            assert_eq!(judge(&mut memory, &unknown), [Health::Passing, Health::Failing]);
        }
        let checked = [task("a", alive(false)), task("b", alive(true))];
        assert_eq!(judge(&mut memory, &checked), [Health::Failing, Health::Passing]);
    }

    #[test]
    fn unknown_task_is_failing_unless_present_at_start() {
        let mut memory = HealthMemory::default();
        assert_eq!(judge(&mut memory, &[task("a", json!([]))]), [Health::Unknown]);
        let both = [task("a", json!([])), task("new", json!([]))];
        assert_eq!(judge(&mut memory, &both), [Health::Unknown, Health::Failing]);
        let checked = [task("a", alive(false)), task("new", alive(true))];
        assert_eq!(judge(&mut memory, &checked), [Health::Failing, Health::Passing]);
    }

    #[test]
    fn only_healthy_tasks_drain_when_stopped() {
        let mut memory = HealthMemory::default();
        let of_state = |state: &str| json!({"id": state, "state": state, "healthCheckResults": alive(true)});
        let states = ["TASK_KILLING", "TASK_STAGING", "TASK_UNREACHABLE"].map(of_state);
        assert_eq!(judge(&mut memory, &states), [Health::Stopping, Health::Failing, Health::Failing]);
    }
}
