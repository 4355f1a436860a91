//! Which tasks pass their checks.
//!
//! A leader keeps what its checks found in memory: after a change of leaders every task is unknown until the new one has
//! checked it. So what was known of a task before counts, until something else is found out. Of a task that was unknown
//! when proxymgr started nothing is known at all: it may serve, and is told as an entry that cannot be read, so that a host
//! which served before stays. One that comes later and was never checked has just started.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::app::{App, Task};

/// What is known of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Health {
    /// It passes all checks, or there are none.
    Passing,
    /// It fails a check, has just started, or does not run.
    Failing,
    /// It is being ended: it may finish what it has.
    Ending,
    /// Nobody can say yet.
    Unknown,
}

/// What was found out so far.
#[derive(Debug, Default)]
pub(super) struct Memory {
    passing: BTreeMap<Arc<str>, bool>,
    /// Of tasks that were unknown at first.
    unknown_at_first: Option<BTreeSet<Arc<str>>>,
}

impl Memory {
    /// Takes in a whole answer, and says how each task is.
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
                (Some("TASK_KILLING"), Some(true)) => Health::Ending,
                _ => Health::Failing,
            };
            self.passing.extend(passing.map(|passing| (id.clone(), passing)));
            healths.insert(id, health);
        }
        self.unknown_at_first = Some(unknown);
        healths
    }
}

/// What the checks of a task found; none where one of them has not found anything yet, and none failed.
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

    fn judge(memory: &mut Memory, tasks: &[Value]) -> Vec<Health> {
        let app = json!({"id": "/web", "healthChecks": [{"protocol": "HTTP"}], "tasks": tasks});
        let healths = memory.judge(&[serde_json::from_value(app).unwrap()]);
        tasks.iter().map(|task| healths[task["id"].as_str().unwrap()]).collect()
    }

    fn alive(alive: bool) -> Value {
        json!([{"alive": alive}])
    }

    #[test]
    fn what_was_known_counts_after_a_change_of_leaders() {
        let mut memory = Memory::default();
        let known = [task("a", alive(true)), task("b", alive(false))];
        assert_eq!(judge(&mut memory, &known), [Health::Passing, Health::Failing]);
        for nothing in [json!(null), json!([]), json!([null])] {
            let unknown = [task("a", nothing.clone()), task("b", nothing)];
            assert_eq!(judge(&mut memory, &unknown), [Health::Passing, Health::Failing]);
        }
        let found_out = [task("a", alive(false)), task("b", alive(true))];
        assert_eq!(judge(&mut memory, &found_out), [Health::Failing, Health::Passing]);
    }

    #[test]
    fn a_task_that_was_unknown_at_first_may_serve_and_one_that_comes_later_has_just_started() {
        let mut memory = Memory::default();
        assert_eq!(judge(&mut memory, &[task("a", json!([]))]), [Health::Unknown]);
        let both = [task("a", json!([])), task("new", json!([]))];
        assert_eq!(judge(&mut memory, &both), [Health::Unknown, Health::Failing]);
        let found_out = [task("a", alive(false)), task("new", alive(true))];
        assert_eq!(judge(&mut memory, &found_out), [Health::Failing, Health::Passing]);
    }

    #[test]
    fn a_task_that_is_being_ended_finishes_what_it_has_and_one_that_does_not_run_has_nothing() {
        let mut memory = Memory::default();
        let of_state = |state: &str| json!({"id": state, "state": state, "healthCheckResults": alive(true)});
        let states = ["TASK_KILLING", "TASK_STAGING", "TASK_UNREACHABLE"].map(of_state);
        assert_eq!(judge(&mut memory, &states), [Health::Ending, Health::Failing, Health::Failing]);
    }
}
