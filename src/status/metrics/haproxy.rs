//! HAProxy: phase, changes, reloads, problems, processes, targets, outputs.

use std::fmt;

use proxymgr_actors::model::ReloadCause;
use proxymgr_actors::snapshot::{ActorState, HaproxyState, ProcessSupervisorState, ProxyCounts, ProxyPhase};

use super::exposition::Families;
use super::{flag, seconds};

/// Phases of HAProxy.
const PHASES: [(ProxyPhase, &str); 5] = [
    (ProxyPhase::Waiting, "waiting"),
    (ProxyPhase::Launching, "launching"),
    (ProxyPhase::Running, "running"),
    (ProxyPhase::Down, "down"),
    (ProxyPhase::Stopping, "stopping"),
];

/// Figures of HAProxy, its processes and sockets, of targets and of outputs.
pub fn write(families: &mut Families<'_>, states: &[ActorState], now_unix_ms: u64) -> fmt::Result {
    for state in states {
        match state {
            ActorState::HaproxyState(state) => {
                phase(families, state)?;
                problems(families, state)?;
                counts(families, &state.counts)?;
            }
            ActorState::ProcessSupervisor(state) => processes(families, state, now_unix_ms)?,
            ActorState::SocketHolder(state) => {
                families.gauge("sockets_held", "Listening sockets held for HAProxy", state.held.len() as f64)?;
                let help = "Services whose port is not available";
                families.gauge("ports_unavailable", help, state.failed.len() as f64)?;
            }
            _ => {}
        }
    }
    targets(families, states)?;
    outputs(families, states)
}

fn phase(families: &mut Families<'_>, state: &HaproxyState) -> fmt::Result {
    let phases = PHASES.map(|(phase, name)| (vec![("phase", name.to_owned())], flag(state.phase == phase)));
    families.gauges("haproxy_phase", "1 for the current phase of HAProxy", phases)?;
    let version = state.process.iter().map(|process| (vec![("version", process.version_text.clone())], 1.0));
    families.gauges("haproxy_info", "The serving HAProxy; always 1", version)?;
    let due = flag(!state.reload_due.is_empty());
    families.gauge("reload_due", "1 while a reload is pending", due)?;
    let at = state.last_reload_unix_ms.map(|at| (Vec::new(), seconds(at)));
    families.gauges("last_reload_timestamp_seconds", "When HAProxy was last started or reloaded", at)
}

/// Current problems of HAProxy.
fn problems(families: &mut Families<'_>, state: &HaproxyState) -> fmt::Result {
    let problems = [
        ("runtime_api", &state.runtime_error),
        ("reload", &state.reload_error),
        ("config_file", &state.file_error),
        ("saved_state", &state.saved_state_error),
    ];
    let samples = problems.map(|(name, error)| (vec![("trouble", name.to_owned())], flag(error.is_some())));
    let help = "1 while the Runtime API does not answer, the last reload has failed, or haproxy.cfg or the saved state \
                cannot be written";
    families.gauges("haproxy_trouble", help, samples)
}

fn counts(families: &mut Families<'_>, counts: &ProxyCounts) -> fmt::Result {
    let changes =
        [("enable", counts.runtime_enable), ("disable", counts.runtime_disable), ("delete", counts.runtime_delete)];
    let changes = changes.map(|(change, count)| (vec![("change", change.to_owned())], count));
    families.counters("runtime_changes", "Servers changed at run time, without a reload", changes)?;
    families.counter("reloads", "Starts and reloads of HAProxy", counts.reload)?;
    let by_cause = ReloadCause::ALL.map(|cause| {
        let count = counts.reload_causes.get(&cause).copied().unwrap_or_default();
        (vec![("cause", cause.as_str().to_owned())], count)
    });
    let help = "Starts and reloads by cause; one with several causes counts under each";
    families.counters("reload_causes", help, by_cause)?;
    families.counter("reload_failures", "Starts and reloads that failed", counts.reload_failed)?;
    let help = "Differences found between the desired state and HAProxy or haproxy.cfg";
    families.counter("drift_found", help, counts.drift)?;
    families.counter("commands_refused", "Runtime commands that HAProxy refused", counts.refused)?;
    let help = "Batches of runtime commands without an answer";
    families.counter("runtime_api_failures", help, counts.unanswered)
}

fn processes(families: &mut Families<'_>, state: &ProcessSupervisorState, now_unix_ms: u64) -> fmt::Result {
    families.counter("haproxy_exits", "Unexpected exits of HAProxy", state.crashes)?;
    let help = "Pause before HAProxy is restarted; 0 while it runs normally";
    families.gauge("restart_backoff_seconds", help, seconds(state.backoff_ms))?;
    let help = "Draining HAProxy processes";
    families.gauge("old_processes", help, state.draining.len() as f64)?;
    let oldest = state.draining.iter().map(|process| now_unix_ms.saturating_sub(process.since_unix_ms)).max();
    let help = "Age of the oldest draining process; 0 without any";
    families.gauge("old_process_age_max_seconds", help, seconds(oldest.unwrap_or_default()))
}

/// Targets; their names come from the settings.
fn targets(families: &mut Families<'_>, states: &[ActorState]) -> fmt::Result {
    let targets = || {
        states.iter().filter_map(|state| match state {
            ActorState::Target(state) => Some((vec![("target", state.name.clone())], &state.haproxy)),
            _ => None,
        })
    };
    let answers = |state: &HaproxyState| state.process.is_some() && state.runtime_error.is_none();
    let up = targets().map(|(labels, state)| (labels, flag(answers(state))));
    families.gauges("target_up", "1 while a target answers", up)?;
    let waits = targets().map(|(labels, state)| (labels, state.reload_due.len() as f64));
    families.gauges("target_waits", "Services of a target that need a reload by its operator", waits)?;
    let changes = targets().map(|(labels, state)| {
        let counts = &state.counts;
        (labels, counts.runtime_enable + counts.runtime_disable + counts.runtime_delete)
    });
    families.counters("target_changes", "Servers changed at a target", changes)
}

/// Outputs; their names come from the settings.
fn outputs(families: &mut Families<'_>, states: &[ActorState]) -> fmt::Result {
    let outputs = || {
        states.iter().filter_map(|state| match state {
            ActorState::Output(state) => Some((vec![("output", state.name.clone())], state)),
            _ => None,
        })
    };
    let up = outputs().map(|(labels, state)| (labels, flag(state.error.is_none())));
    families.gauges("output_in_step", "1 while an output is in sync", up)?;
    let changes = outputs().map(|(labels, state)| (labels, state.changes));
    families.counters("output_changes", "Changes of an output", changes)
}
