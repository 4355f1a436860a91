//! HAProxy: how it is driven, what it took, what went wrong.

use std::fmt;

use proxymgr_actors::model::ReloadCause;
use proxymgr_actors::snapshot::{ActorState, HaproxyState, ProcessSupervisorState, ProxyCounts, ProxyPhase};

use super::exposition::Families;
use super::{flag, seconds};

/// Where HAProxy may stand.
const PHASES: [(ProxyPhase, &str); 5] = [
    (ProxyPhase::Waiting, "waiting"),
    (ProxyPhase::Launching, "launching"),
    (ProxyPhase::Running, "running"),
    (ProxyPhase::Down, "down"),
    (ProxyPhase::Stopping, "stopping"),
];

/// What the HaproxyStateActor, the ProcessSupervisorActor, the SocketHolderActor and targets and further outputs say.
pub fn write(families: &mut Families<'_>, states: &[ActorState], now_unix_ms: u64) -> fmt::Result {
    for state in states {
        match state {
            ActorState::HaproxyState(state) => {
                standing(families, state)?;
                troubles(families, state)?;
                counts(families, &state.counts)?;
            }
            ActorState::ProcessSupervisor(state) => processes(families, state, now_unix_ms)?,
            ActorState::SocketHolder(state) => {
                families.gauge("sockets_held", "Listening sockets held for HAProxy", state.held.len() as f64)?;
                let help = "Services whose port cannot be had";
                families.gauge("ports_unavailable", help, state.failed.len() as f64)?;
            }
            _ => {}
        }
    }
    targets(families, states)?;
    outputs(families, states)
}

fn standing(families: &mut Families<'_>, state: &HaproxyState) -> fmt::Result {
    let phases = PHASES.map(|(phase, name)| (vec![("phase", name.to_owned())], flag(state.phase == phase)));
    families.gauges("haproxy_phase", "1 for where HAProxy stands, 0 for where not", phases)?;
    let version = state.process.iter().map(|process| (vec![("version", process.version_text.clone())], 1.0));
    families.gauges("haproxy_info", "The HAProxy that serves; always 1", version)?;
    let due = flag(!state.reload_due.is_empty());
    families.gauge("reload_due", "1 while a reload waits for its time", due)?;
    let at = state.last_reload_unix_ms.map(|at| (Vec::new(), seconds(at)));
    families.gauges("last_reload_timestamp_seconds", "When HAProxy was last started or reloaded", at)
}

/// What is not well now, by a few names.
fn troubles(families: &mut Families<'_>, state: &HaproxyState) -> fmt::Result {
    let troubles = [
        ("runtime_api", &state.runtime_error),
        ("reload", &state.reload_error),
        ("config_file", &state.file_error),
        ("saved_state", &state.saved_state_error),
    ];
    let samples = troubles.map(|(name, error)| (vec![("trouble", name.to_owned())], flag(error.is_some())));
    let help = "1 while the Runtime API does not answer, the last reload failed, haproxy.cfg or the saved state cannot \
                be written";
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
    let help = "Starts and reloads by what caused them; one that has several causes counts under each";
    families.counters("reload_causes", help, by_cause)?;
    families.counter("reload_failures", "Starts and reloads that failed", counts.reload_failed)?;
    let help = "Differences found between what should run and what ran, or what stood in haproxy.cfg";
    families.counter("drift_found", help, counts.drift)?;
    families.counter("commands_refused", "Runtime commands that HAProxy refused", counts.refused)?;
    let help = "Batches of runtime commands that got no answer";
    families.counter("runtime_api_failures", help, counts.unanswered)
}

fn processes(families: &mut Families<'_>, state: &ProcessSupervisorState, now_unix_ms: u64) -> fmt::Result {
    families.counter("haproxy_exits", "Times that HAProxy ended unasked", state.crashes)?;
    let help = "The pause before HAProxy is started again; 0 while it is well";
    families.gauge("restart_backoff_seconds", help, seconds(state.backoff_ms))?;
    let help = "Old HAProxy processes that finish their connections";
    families.gauge("old_processes", help, state.draining.len() as f64)?;
    let oldest = state.draining.iter().map(|process| now_unix_ms.saturating_sub(process.since_unix_ms)).max();
    let help = "How long the oldest of them has been finishing; 0 without any";
    families.gauge("old_process_age_max_seconds", help, seconds(oldest.unwrap_or_default()))
}

/// HAProxies that somebody else runs; their names stand in the settings.
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
    families.gauges("target_waits", "Services of a target that wait for whoever runs it to reload it", waits)?;
    let changes = targets().map(|(labels, state)| {
        let counts = &state.counts;
        (labels, counts.runtime_enable + counts.runtime_disable + counts.runtime_delete)
    });
    families.counters("target_changes", "Servers changed at a target", changes)
}

/// Outputs beside HAProxy; their names stand in the settings.
fn outputs(families: &mut Families<'_>, states: &[ActorState]) -> fmt::Result {
    let outputs = || {
        states.iter().filter_map(|state| match state {
            ActorState::Output(state) => Some((vec![("output", state.name.clone())], state)),
            _ => None,
        })
    };
    let up = outputs().map(|(labels, state)| (labels, flag(state.error.is_none())));
    families.gauges("output_in_step", "1 while a further output is in step", up)?;
    let changes = outputs().map(|(labels, state)| (labels, state.changes));
    families.counters("output_changes", "Changes of a further output", changes)
}
